import jax
import numpy as np
from jax.lax import AccuracyMode, logistic

for name, at in (("float64", 40.0), ("float32", 20.0), ("float16", 10.0), ("bfloat16", 7.0)):
    with jax.enable_x64(True):
        a = jax.numpy.array(at, name)
        print(f"{name} =", float(jax.grad(jax.nn.sigmoid)(a)))
        print(f"{name}_exact =", 1 / (2 + np.exp(at) + np.exp(-at)))
        print(f"{name}_highest =", float(jax.grad(lambda a: logistic(a, accuracy=AccuracyMode.HIGHEST))(a)))
