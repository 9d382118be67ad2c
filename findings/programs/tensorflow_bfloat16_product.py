import tensorflow as tf

x = tf.constant([[1.0703125]], "bfloat16")
print("product =", float((x @ x)[0, 0]))
print("rounded =", float((x * x)[0, 0]))
print("exact =", 1.0703125**2)
