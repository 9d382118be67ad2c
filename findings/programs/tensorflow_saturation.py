import numpy as np
import tensorflow as tf

for name, at in (("float64", 40.0), ("float32", 20.0), ("float16", 10.0), ("bfloat16", 7.0)):
    a = tf.constant(at, name)
    with tf.GradientTape() as tape:
        tape.watch(a)
        h = tf.sigmoid(a)
    print(f"{name} =", float(tape.gradient(h, a)))
    print(f"{name}_exact =", 1 / (2 + np.exp(at) + np.exp(-at)))
