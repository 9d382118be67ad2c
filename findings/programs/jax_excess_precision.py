import jax


def steps(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    product = x * x
    return product, product.sum()


x = jax.numpy.full(100, 1.0703125, "bfloat16")
for name, function in (("eager", steps), ("jit", jax.jit(steps))):
    product, total = function(x)
    print(f"{name}_product =", float(product[0]))
    print(f"{name} =", float(total))
