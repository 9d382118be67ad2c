import jax

for name in ("float64", "float32", "bfloat16", "float16"):
    with jax.enable_x64(True):
        least_normal = jax.numpy.finfo(name).tiny
        print(f"{name} =", float(jax.numpy.array(least_normal) / 2))
        print(f"{name}_exact =", float(least_normal) / 2)
