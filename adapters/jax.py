"""JAX: reverse and forward mode, compiled by XLA and op by op. A mode is a line of ``MODES`` and the function it names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.lax import AccuracyMode, logistic

from adapters.interface import Adapter, Arithmetic, Gradients, Jacobians, NotOffered, Problem, Trace, assert_held

Function = Callable[..., Any]

_enable_x64 = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64  # before 0.8

# σ = 1 / (1 + e⁻ᵃ). Float32: measured over all inputs 2.48. Float64: XLA's budget for exp is 1.5 ULP, 2 · 1.5 + 2.
# The short formats round three times: e⁻ᵃ, the sum and the quotient. On GPUs XLA's budgets are 7.5 ULP and 1.5.
_SIGMOID_ULP = {
    "cpu": {"float32": 3.0, "float64": 5.0, "bfloat16": 3.0, "float16": 3.0},
    "gpu": {"float32": 17.0, "float64": 5.0},
}


def _reverse(function: Function, arguments: Any, constants: Any) -> tuple[Any, Any]:
    value, pullback, aux = jax.vjp(lambda *given: function(*given, *constants), *arguments, has_aux=True)
    return pullback(np.ones(value.shape, value.dtype)), aux


def _per_network(derivative: Function, function: Function, arguments: Any, constants: Any) -> tuple[Any, Any]:
    one = derivative(function, argnums=tuple(range(len(arguments))), has_aux=True)
    return _over_stack(one, arguments)(*arguments, *constants)  # type: ignore[no-any-return]


def _sgd(parameters: Any, gradients: Any, eta: Any) -> Any:
    return jax.tree.map(lambda p, g: p - eta * g, parameters, gradients)


def _optax_sgd(parameters: Any, gradients: Any, eta: Any) -> Any:
    optimiser = optax.sgd(eta)
    updates, _ = optimiser.update(gradients, optimiser.init(parameters))
    return optax.apply_updates(parameters, updates)


class Mode(NamedTuple):
    """A way to run: how to compile, differentiate and step, what a layer and its σ are, and what its arithmetic adds."""

    compile: Callable[[Function], Function] = jax.jit
    differentiate: Callable[[Function, Any, Any], tuple[Any, Any]] = _reverse
    layer: Callable[[Function], Function] = lambda layer: layer
    sigmoid: Function = jax.nn.sigmoid
    step: Function = _sgd
    jacobian: Function | None = None
    arithmetic: tuple[str, ...] = ()


MODES = {
    "jit": Mode(jacobian=jax.jacobian),
    "eager": Mode(compile=lambda function: function),
    "vmap": Mode(differentiate=partial(_per_network, jax.grad)),
    "forward": Mode(differentiate=partial(_per_network, jax.jacfwd), jacobian=jax.jacfwd, arithmetic=("forward",)),
    "checkpoint": Mode(layer=jax.checkpoint, arithmetic=("recomputes",)),
    "accurate": Mode(sigmoid=partial(logistic, accuracy=AccuracyMode.HIGHEST), arithmetic=("complement",)),
    "optax": Mode(step=_optax_sgd),
}


class JAX(Adapter):
    """``jax.vjp`` of the loss, with zeros added to a and h whose gradients are the inner derivatives."""

    name = "jax"
    framework = "JAX"
    version = jax.__version__
    modes = tuple(MODES)  # jit first: op by op, every operation is compiled for every shape

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
        sigmoid_ulp = _SIGMOID_ULP.get(self.device.platform, {})
        if dtype not in sigmoid_ulp:
            raise NotOffered(f"no bound is derived for {dtype} in JAX on a {self.device.platform}")
        added: dict[str, Any] = dict.fromkeys(MODES[mode].arithmetic, True)
        return Arithmetic(
            dtype,
            sigmoid_ulp[dtype],
            # XLA's CPU client flushes subnormals of float32, whose bfloat16 is a part; those of float16 are normal there
            flushes=dtype != "float16",
            accumulate="float32" if dtype in ("bfloat16", "float16") else None,
            # xla_allow_excess_precision is on; on the CPU, only bfloat16 is computed in float32
            excess=mode != "eager" and dtype == "bfloat16",
            **added,
        )

    def trace(self, problem: Problem, mode: str) -> Trace:
        with self._configured():
            return Trace(**_numpy(_run(_trace, mode)(*self._hold(problem), problem.eta)))

    def gradients(self, problem: Problem, mode: str) -> Gradients:
        with self._configured():
            return Gradients(**_numpy(_run(_gradients, mode)(*self._hold(problem))))

    def jacobians(self, problem: Problem, mode: str) -> Jacobians | None:
        if MODES[mode].jacobian is None:
            return None
        with self._configured():
            return Jacobians(**_numpy(_run(_jacobians, mode)(*self._hold(problem))))

    def activation(self, a: Any, mode: str) -> tuple[Any, Any]:
        with self._configured():
            h, dh_da = map(np.asarray, _run(_activation, mode)(jax.device_put(a, self.device)))
        return h, dh_da

    def short_activations(self, rows: Any, mode: str) -> tuple[Any, Any]:
        with self._configured():
            h, dh_da = map(np.asarray, _row_by_row(mode)(jax.device_put(rows, self.device)))
        return h, dh_da

    def _hold(self, problem: Problem) -> tuple[Any, ...]:
        held = [jax.device_put(array, self.device) for _, array in problem.named()]
        assert_held(problem, map(np.asarray, held))
        depth = problem.network.depth
        return held[:depth], held[depth : 2 * depth], *held[2 * depth :]

    @contextmanager
    def _configured(self) -> Iterator[None]:
        """Real float64, and matrix products in full precision; both as before afterwards."""
        with _enable_x64(True), jax.default_matmul_precision("highest"), jax.default_device(self.device):
            yield


def _linear(x: Any, w: Any, b: Any) -> Any:
    return x @ w + b


def _layer(sigmoid: Function, x: Any, w: Any, b: Any, da: Any, dh: Any) -> tuple[Any, Any]:
    a = _linear(x, w, b) if da is None else _linear(x, w, b) + da
    return a, sigmoid(a) if dh is None else sigmoid(a) + dh


def _network(mode: Mode, w: Any, b: Any, da: Any, dh: Any, x: Any, t: Any) -> tuple[Any, Any]:
    layer = mode.layer(partial(_layer, mode.sigmoid))
    a: list[Any] = []
    h = [x]
    for parameters in zip(w, b, da, dh, strict=True):
        for quantity, found in zip((a, h), layer(h[-1], *parameters), strict=True):
            quantity.append(found)
    loss = jnp.square(h[-1] - t).sum((-2, -1)) / 2
    return loss, (loss, a, h[1:])


def _gradients(mode: Mode, w: Any, b: Any, x: Any, t: Any) -> dict[str, Any]:
    plain = [None] * len(w)
    (dL_dw, dL_db), (loss, _, _) = mode.differentiate(
        lambda w, b, x, t: _network(mode, w, b, plain, plain, x, t), (w, b), (x, t)
    )
    return {"loss": loss, "dL_dw": dL_dw, "dL_db": dL_db}


def _trace(mode: Mode, w: Any, b: Any, x: Any, t: Any, eta: Any) -> dict[str, Any]:
    zeros = [np.zeros((*x.shape[:-1], w_l.shape[-1]), x.dtype) for w_l in w]
    gradients, (loss, a, h) = mode.differentiate(partial(_network, mode), (w, b, zeros, zeros), (x, t))
    (dh_da,), _ = mode.differentiate(lambda a: (_total(map(mode.sigmoid, a)), ()), (a,), ())
    (da_dw,), _ = mode.differentiate(lambda w, x, b: (_total(map(_linear, x, w, b)), ()), (w,), ([x, *h[:-1]], b))
    w_new, b_new = mode.step((w, b), gradients[:2], eta)
    found = dict(zip(("dL_dw", "dL_db", "dL_da", "dL_dh"), gradients, strict=True))
    return found | {"loss": loss, "a": a, "h": h, "dh_da": dh_da, "da_dw": da_dw, "w_new": w_new, "b_new": b_new}


def _activation(mode: Mode, a: Any) -> tuple[Any, Any]:
    def of_networks(a: Any) -> tuple[Any, Any]:
        h = mode.sigmoid(a)
        return h.sum((-2, -1)), h

    (dh_da,), h = mode.differentiate(of_networks, (a[:, None, None],), ())
    return h[:, 0, 0], dh_da[:, 0, 0]


def _total(layers: Any) -> Any:
    return sum(each.sum((-2, -1)) for each in layers)


def _jacobians(mode: Mode, w: Any, b: Any, x: Any, t: Any) -> dict[str, Any]:
    _, (_, a, h) = _network(mode, w, b, [None] * len(w), [None] * len(w), x, t)
    assert mode.jacobian is not None
    of_linear = jax.vmap(mode.jacobian(lambda x, w, b: _linear(x, w, b[0]), argnums=(0, 1)), in_axes=(0, None, None))
    of_sigmoid = jax.vmap(mode.jacobian(mode.sigmoid))
    da_dx, da_dw = zip(*map(_over_stack(of_linear, w), [x, *h[:-1]], w, b), strict=True)
    return {"h": h, "dh_da": list(map(_over_stack(of_sigmoid, w), a)), "da_dw": da_dw, "da_dx": da_dx}


def _over_stack(function: Function, arrays: Any) -> Function:
    """One network's function, for as many stack axes as the first of ``arrays`` has."""
    for _ in jax.tree.leaves(arrays)[0].shape[:-2]:
        function = jax.vmap(function)
    return function


def _numpy(quantities: dict[str, Any]) -> dict[str, Any]:
    return jax.tree.map(np.asarray, quantities)  # type: ignore[no-any-return]  # JAX is not seen by mypy


@cache
def _run(function: Function, mode: str) -> Function:
    return MODES[mode].compile(partial(function, MODES[mode]))


@cache
def _row_by_row(mode: str) -> Function:
    """A loop in one compiled program, whose body has the shape of a row."""
    return jax.jit(partial(jax.lax.map, _run(_activation, mode)))  # type: ignore[no-any-return]
