import jax

w, gradient = jax.random.uniform(jax.random.key(0), (2, 10_000))


def step(w: jax.Array, gradient: jax.Array) -> jax.Array:
    return w - 0.1 * gradient


print("differ =", jax.numpy.mean(step(w, gradient) != jax.jit(step)(w, gradient)).item())
