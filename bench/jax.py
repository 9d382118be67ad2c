"""JAX's gradient, matrix product and check_grads, on arrays that it holds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.test_util import check_grads

from adapters import jax as adapter
from reference.network import Array, Problem

jax.config.update("jax_enable_x64", True)  # the process is the bench's own


def gradient(problem: Problem, mode: str) -> Callable[[], Any]:
    """A call that computes dL_dw and dL_db of arrays that are held already: all of w, then all of b."""
    held = adapter.JAX()._hold(problem)
    gradients = adapter._run(adapter._gradients, mode)

    def run() -> tuple[Any, ...]:
        found = jax.block_until_ready(gradients(*held))
        return (*found["dL_dw"], *found["dL_db"])

    return run


def product(a: Array, b: Array) -> Callable[[], Any]:
    """A call that computes one matrix product."""
    matmul, held = jax.jit(jnp.matmul), jax.device_put((a, b))
    return lambda: matmul(*held).block_until_ready()


def peers(problem: Problem) -> dict[str, Callable[[], Any]]:
    """check_grads of the compiled loss, in reverse; it raises an error if it objects."""
    w, b, x, t = adapter.JAX()._hold(problem)
    plain = [None] * len(w)

    @jax.jit  # type: ignore[untyped-decorator]  # not seen by mypy
    def loss(w: Any, b: Any) -> Any:
        return adapter._network(adapter.MODES["jit"], w, b, plain, plain, x, t)[0]

    return {"check_grads": partial(check_grads, loss, (w, b), order=1, modes=["rev"])}
