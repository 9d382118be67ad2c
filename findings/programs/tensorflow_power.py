import numpy as np
import tensorflow as tf

x = tf.linspace(1.0, 2.0, 2**20)
exact = x.numpy().astype("float64") ** 2
for name, square in (("power", x**2), ("square", tf.square(x))):
    error = np.abs(square.numpy() - exact) / np.spacing(exact.astype("float32"))
    print(f"{name}_ulp =", error.max())
    print(f"{name}_above_half =", np.mean(error > 0.5))
