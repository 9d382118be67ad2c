import tensorflow as tf

for dtype, terms in (("bfloat16", 1000 * [1.0]), ("float16", [1.0, 2.0**-11, 2.0**-11])):
    delta, b = tf.constant(terms, dtype)[:, None], tf.zeros(1, dtype)
    for name, add in (("plus", tf.add), ("bias_add", tf.nn.bias_add)):
        with tf.GradientTape() as tape:
            tape.watch(b)
            a = add(delta, b)
        print(f"{dtype}_{name} =", float(tape.gradient(a, b, delta)[0]))
    print(f"{dtype}_exact =", sum(terms))
