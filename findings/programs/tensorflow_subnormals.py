import tensorflow as tf

for name, exponent in (("float64", -1022), ("float32", -126), ("bfloat16", -126), ("float16", -14)):
    least_normal = tf.constant(2.0**exponent, name)
    print(f"{name} =", float(least_normal / 2))
    print(f"{name}_exact =", 2.0**exponent / 2)
