import numpy as np
import tensorflow as tf

for dtype in (tf.float16, tf.bfloat16):
    every = tf.bitcast(tf.constant(np.arange(2**16, dtype=np.uint16)), dtype)
    a = tf.sort(tf.cast(tf.boolean_mask(every, tf.math.is_finite(every)), tf.float32))
    for name, sigmoid in (("eager", tf.sigmoid), ("xla", tf.function(tf.sigmoid, jit_compile=True))):
        h = tf.cast(sigmoid(tf.cast(a, dtype)), tf.float32)
        print(f"{dtype.name}_{name} =", np.count_nonzero(np.diff(h) < 0))
