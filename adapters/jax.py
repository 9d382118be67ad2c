"""JAX: reverse-mode ``jax.vjp`` and ``jax.grad``, compiled by XLA and op by op."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from adapters.interface import Adapter, Arithmetic, Gradients, NotOffered, Problem, Trace, assert_held

# σ = 1 / (1 + e⁻ᵃ). Float32: measured over all inputs 2.48. Float64: XLA's budget for exp is 1.5 ULP, 2 · 1.5 + 2.
_SIGMOID_ULP = {"float32": 3.0, "float64": 5.0}


class JAX(Adapter):
    """``jax.vjp`` of the loss, with zeros added to a and h whose gradients are the inner derivatives."""

    name = "jax"
    framework = "JAX"
    version = jax.__version__
    modes = ("jit", "eager")  # op by op, every operation is compiled for every shape: the slower way to many problems

    def __init__(self, device: str = "cpu") -> None:
        try:
            self.device = jax.devices(device)[0]
        except RuntimeError as error:
            raise NotOffered(f"JAX has no device {device!r} here: {str(error).splitlines()[0]}") from error
        with self._configured():
            self.settings = {
                "enable_x64": str(jax.config.jax_enable_x64),
                "default_matmul_precision": str(jax.config.jax_default_matmul_precision),
                "device": str(self.device),
                "threads": str(os.cpu_count()),  # XLA's CPU client takes all
            }

    def arithmetic(self, mode: str, dtype: str) -> Arithmetic:
        if dtype not in _SIGMOID_ULP:
            raise NotOffered(f"this adapter has no {dtype}")
        # XLA's CPU client runs with subnormals flushed to zero, in both precisions
        return Arithmetic(dtype, _SIGMOID_ULP[dtype], flushes=self.device.platform == "cpu")

    def trace(self, problem: Problem, mode: str) -> Trace:
        with self._configured():
            return Trace(**_numpy(_run(_trace, mode)(*self._hold(problem), problem.eta)))

    def gradients(self, problem: Problem, mode: str) -> Gradients:
        with self._configured():
            return Gradients(**_numpy(_run(_gradients, mode)(*self._hold(problem))))

    def _hold(self, problem: Problem) -> tuple[Any, ...]:
        held = [jax.device_put(array, self.device) for _, array in problem.named()]
        assert_held(problem, map(np.asarray, held))
        depth = problem.network.depth
        return held[:depth], held[depth : 2 * depth], *held[2 * depth :]

    @contextmanager
    def _configured(self) -> Iterator[None]:
        """Real float64, and matrix products in full precision; both as before afterwards."""
        with jax.enable_x64(True), jax.default_matmul_precision("highest"), jax.default_device(self.device):
            yield


def _loss(w: Any, b: Any, x: Any, t: Any) -> tuple[Any, Any]:
    h = x
    for w_l, b_l in zip(w, b, strict=True):
        h = jax.nn.sigmoid(h @ w_l + b_l)
    loss = jnp.square(h - t).sum((-2, -1)) / 2
    return loss.sum(), loss


def _gradients(w: Any, b: Any, x: Any, t: Any) -> dict[str, Any]:
    (_, loss), (dL_dw, dL_db) = jax.value_and_grad(_loss, argnums=(0, 1), has_aux=True)(w, b, x, t)
    return {"loss": loss, "dL_dw": dL_dw, "dL_db": dL_db}


def _perturbed(w: Any, b: Any, x: Any, t: Any, da: Any, dh: Any) -> tuple[Any, Any]:
    a, h = [], [x]
    for w_l, b_l, da_l, dh_l in zip(w, b, da, dh, strict=True):
        a.append(h[-1] @ w_l + b_l + da_l)
        h.append(jax.nn.sigmoid(a[-1]) + dh_l)
    return jnp.square(h[-1] - t).sum((-2, -1)) / 2, (a, h[1:])


def _trace(w: Any, b: Any, x: Any, t: Any, eta: Any) -> dict[str, Any]:
    zeros = [np.zeros((*x.shape[:-1], w_l.shape[-1]), x.dtype) for w_l in w]
    loss, pullback, (a, h) = jax.vjp(
        lambda w, b, da, dh: _perturbed(w, b, x, t, da, dh), w, b, zeros, zeros, has_aux=True
    )
    dL_dw, dL_db, dL_da, dL_dh = pullback(np.ones(loss.shape, loss.dtype))
    ones = [np.ones(a_l.shape, a_l.dtype) for a_l in a]
    _, pullback_h = jax.vjp(lambda a: list(map(jax.nn.sigmoid, a)), a)
    _, pullback_a = jax.vjp(lambda w: list(map(_linear, [x, *h[:-1]], w, b)), w)
    return {
        "a": a,
        "h": h,
        "loss": loss,
        "dL_dh": dL_dh,
        "dh_da": pullback_h(ones)[0],
        "dL_da": dL_da,
        "da_dw": pullback_a(ones)[0],
        "dL_dw": dL_dw,
        "dL_db": dL_db,
        "w_new": [w_l - eta * g for w_l, g in zip(w, dL_dw, strict=True)],
        "b_new": [b_l - eta * g for b_l, g in zip(b, dL_db, strict=True)],
    }


def _linear(h: Any, w: Any, b: Any) -> Any:
    return h @ w + b


def _numpy(quantities: dict[str, Any]) -> dict[str, Any]:
    return jax.tree.map(np.asarray, quantities)  # type: ignore[no-any-return]  # JAX is not seen by mypy


@cache
def _jitted(function: Callable[..., Any]) -> Callable[..., Any]:
    return jax.jit(function)  # type: ignore[no-any-return]


def _run(function: Callable[..., Any], mode: str) -> Callable[..., Any]:
    return _jitted(function) if mode == "jit" else function
