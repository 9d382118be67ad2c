"""Wrong parts for a mode of JAX, most of them with a derivative of their own, by custom_vjp or custom_jvp."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from adapters import jax as adapter

Function = Any


def sigmoid(wrong: Function) -> Function:
    """σ whose gradient is ``wrong``: a function of g, the gradient above it, and y."""
    made = jax.custom_vjp(jax.nn.sigmoid)
    made.defvjp(lambda a: (jax.nn.sigmoid(a),) * 2, lambda y, g: (wrong(g, y),))
    return made


def linear(**wrong: Function) -> Function:
    """x w + b whose gradients by x, w and b are the right ones, but for ``wrong``: functions of g, x and w."""
    by = {"x": lambda g, x, w: g @ w.mT, "w": lambda g, x, w: x.mT @ g, "b": lambda g, x, w: g.sum(-2, keepdims=True)}
    by |= wrong
    made = jax.custom_vjp(lambda x, w, b: x @ w + b)
    made.defvjp(lambda x, w, b: (x @ w + b, (x, w)), lambda held, g: tuple(by[name](g, *held) for name in "xwb"))
    return made


@jax.custom_jvp  # type: ignore[untyped-decorator]  # not seen by mypy
def tangent_without_slope(a: Any) -> Any:
    return jax.nn.sigmoid(a)


tangent_without_slope.defjvp(lambda primals, tangents: (tangent_without_slope(*primals), *tangents))


def mean_loss(function: Function, arguments: Any, constants: Any) -> tuple[Any, Any]:
    """The loss divided by the number of outputs, as `jnp.mean` has it, before it is derived by anything."""

    def mean(*given: Any) -> tuple[Any, Any]:
        value, aux = function(*given)
        return (value / 2, (value / 2, *aux[1:])) if aux else (value, aux)

    return adapter._reverse(mean, arguments, constants)


def adam(parameters: Any, gradients: Any, eta: Any) -> Any:
    optimiser = optax.adam(eta)
    updates, _ = optimiser.update(gradients, optimiser.init(parameters))
    return optax.apply_updates(parameters, updates)


slope_missing = sigmoid(lambda g, y: g)
slope_of_tanh = sigmoid(lambda g, y: g * (1 - y * y))
slope_negative = sigmoid(lambda g, y: -g * y * (1 - y))
slope_of_one_unit = sigmoid(lambda g, y: g * (y * (1 - y)).at[..., 0].multiply(1 + 1e-6))
slope_in_bfloat16 = sigmoid(lambda g, y: g * (y * (1 - y)).astype(jnp.bfloat16).astype(y.dtype))
complement_undone = jax.nn.sigmoid
approximate_exp = lambda a: 1 / (1 + (1 - a / 2**20) ** (2**20))
mean_of_rows = linear(w=lambda g, x, w: x.mT @ g / x.shape[-2])
rows_reversed = linear(w=lambda g, x, w: x[..., ::-1, :].mT @ g)
term_missing = linear(x=lambda g, x, w: g[..., :-1] @ w.mT[..., :-1, :])
bias_of_last_row = linear(b=lambda g, x, w: g[..., -1:, :])
bfloat16_products = lambda x, w, b: jnp.matmul(*(z.astype(jnp.bfloat16) for z in (x, w))).astype(x.dtype) + b
ascent = lambda parameters, gradients, eta: jax.tree.map(lambda p, g: p + eta * g, parameters, gradients)
