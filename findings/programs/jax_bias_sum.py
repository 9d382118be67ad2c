import jax

delta = jax.numpy.array([[1.0]] + 99 * [[2.0**-8]], "bfloat16")
_, pullback = jax.vjp(lambda b: delta + b, jax.numpy.zeros(1, "bfloat16"))
print("gradient =", float(pullback(delta)[0][0]))
print("sum =", float(delta.sum()))
print("exact =", 1 + 99 * 2.0**-8)
