import numpy as np
import tensorflow as tf

at = float.fromhex("-0x1.3672c4p+2")
exact = 1 / (1 + np.exp(-at))
for name, sigmoid in (("eager", tf.sigmoid), ("xla", tf.function(tf.sigmoid, jit_compile=True))):
    h = sigmoid(tf.fill([64], tf.constant(at)))[0].numpy()
    print(f"{name} =", float(h))
    print(f"{name}_ulp =", abs(float(h) - exact) / float(np.spacing(np.float32(exact))))
print("exact =", exact)
