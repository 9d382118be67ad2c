"""PyTorch: autograd, ``torch.func``, inductor and modules. A mode is a line of ``MODES`` and the function it names."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from adapters.interface import Adapter, Arithmetic, Gradients, Jacobians, NotOffered, Problem, Trace, assert_held

Function = Callable[..., Any]

# σ = 1 / (1 + e⁻ᵃ). Float32: Sleef's exp, at most 1 ULP, measured over all inputs 2.48. Float64: 2 · 1 + 2.
# The short formats: σ in float32, rounded once. 3 ULP of float32 are 3 · 2⁻¹⁶ or 3 · 2⁻¹³ of theirs.
# CUDA's programming guide gives expf 2 ULP and exp 1: 2 · 2.5 + 2 and 2 · 1.5 + 2.
_SIGMOID_ULP = {
    "cpu": {"float32": 3.0, "float64": 4.0, "bfloat16": 0.5 + 3 * 2.0**-16, "float16": 0.5 + 3 * 2.0**-13},
    "cuda": {"float32": 7.0, "float64": 5.0},
}


def _backward(function: Function, arguments: Any, constants: Any) -> tuple[Any, Any]:
    leaves = tree_map(lambda p: p.detach().requires_grad_(), arguments)
    value, aux = function(*leaves, *constants)
    value.sum().backward()
    return tree_map(lambda p: p.grad, leaves), aux


def _func(function: Function, arguments: Any, constants: Any) -> tuple[Any, Any]:
    def summed(*given: Any) -> tuple[Any, Any]:
        value, aux = function(*given)
        return value.sum(), aux

    return torch.func.grad(summed, _first(arguments), has_aux=True)(*arguments, *constants)  # type: ignore[no-any-return]


def _per_network(derivative: Function, function: Function, arguments: Any, constants: Any) -> tuple[Any, Any]:
    one = derivative(function, _first(arguments), has_aux=True)
    return _over_stack(one, arguments)(*arguments, *constants)  # type: ignore[no-any-return]


def _linear(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    return x @ w + b


def _half_squares(y: Tensor, t: Tensor) -> Tensor:
    return ((y - t) ** 2).sum((-2, -1)) / 2


def _sgd(_: Mode, parameters: Any, gradients: Any, eta: float) -> Any:
    return tree_map(lambda p, g: p - eta * g, parameters, gradients)


def _module_linear(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    module = nn.Linear(w.shape[-1], w.shape[-2], device="meta")  # the weights, of one network or a stack, are handed in
    one = lambda x, w, b: torch.func.functional_call(module, {"weight": w, "bias": b[0]}, (x,))
    return _over_stack(one, w)(x, w, b)


def _module_loss(y: Tensor, t: Tensor) -> Tensor:
    return _over_stack(nn.MSELoss(reduction="sum"), y)(y, t) / 2


def _module_sgd(_: Mode, parameters: Any, gradients: Any, eta: float) -> Any:
    held = tree_map(lambda p: nn.Parameter(p.clone()), parameters)
    for parameter, gradient in zip(tree_leaves(held), tree_leaves(gradients), strict=True):
        parameter.grad = gradient
    torch.optim.SGD(tree_leaves(held), lr=eta).step()
    return held


class Mode(NamedTuple):
    """A way to run: how to compile, differentiate and step, what the network consists of, how its weights lie."""

    differentiate: Callable[[Function, Any, Any], tuple[Any, Any]] = _backward
    compile: Callable[[Function], Function] = lambda function: function
    weights: Callable[[Any], Any] = lambda w: w
    linear: Function = _linear
    sigmoid: Function = torch.sigmoid
    loss: Function = _half_squares
    step: Function = _sgd
    jacobian: Function | None = None
    arithmetic: tuple[str, ...] = ()


MODES = {
    "eager": Mode(),
    "func": Mode(_func, jacobian=torch.func.jacrev),
    "vmap": Mode(partial(_per_network, torch.func.grad)),
    "forward": Mode(partial(_per_network, torch.func.jacfwd), jacobian=torch.func.jacfwd, arithmetic=("forward",)),
    "compile": Mode(compile=partial(torch.compile, fullgraph=True, dynamic=False)),
    "modules": Mode(
        weights=lambda w: w.mT.contiguous(),  # both ways: a module keeps them transposed
        linear=_module_linear, sigmoid=nn.Sigmoid(), loss=_module_loss, step=_module_sgd,
    ),
}  # fmt: skip


class PyTorch(Adapter):
    """Gradients of the loss, also by zeros added to a and h: those are the inner derivatives."""

    name = "pytorch"
    framework = "PyTorch"
    version = str(torch.__version__)
    modes = tuple(MODES)

    def __init__(self, device: str = "cpu") -> None:
        try:
            self.device = torch.zeros((), device=device).device
        except (RuntimeError, AssertionError) as error:
            raise NotOffered(f"PyTorch has no device {device!r} here: {str(error).splitlines()[0]}") from error
        with _full_precision():
            self.settings = {
                "float32_matmul_precision": torch.get_float32_matmul_precision(),
                "cuda.matmul.allow_tf32": str(torch.backends.cuda.matmul.allow_tf32),
                "flush_denormal": str(bool(torch.tensor(1e-310, dtype=torch.float64) * 1 == 0)),
                "threads": str(torch.get_num_threads()),
            }

    def arithmetic(self, mode: str, dtype: str) -> Arithmetic:
        device = self.device.type
        sigmoid_ulp = _SIGMOID_ULP.get(device, {})
        if dtype not in sigmoid_ulp:
            raise NotOffered(f"no bound is derived for {dtype} in PyTorch on {device}")
        added: dict[str, Any] = dict.fromkeys(MODES[mode].arithmetic, True)
        short = dtype in ("bfloat16", "float16")
        if mode == "compile":
            if device != "cpu":
                raise NotOffered(
                    "inductor's kernels for GPUs approximate eᵃ with an error that grows with a: no constant holds"
                )
            if not shutil.which(_compiler()):
                raise NotOffered(f"torch.compile needs a C++ compiler, and {_compiler()} is not on the PATH")
            if short:  # what it fuses stays in float32, and its backward pass evaluates σ(a) again
                added |= {"excess": True, "recomputes": True}
        if short:  # at::opmath_type
            added |= {"accumulate": "float32", "sums": "float32"}
        # AVX512_BF16, which oneDNN uses for larger products, reads subnormals as zero and flushes results
        flushes = dtype == "bfloat16" and torch.cpu._is_avx512_bf16_supported()
        return Arithmetic(dtype, sigmoid_ulp[dtype], flushes=flushes, **added)

    def trace(self, problem: Problem, mode: str) -> Trace:
        with _full_precision():
            return Trace(**_run(_trace, mode)(*self._hold(problem), problem.eta))

    def gradients(self, problem: Problem, mode: str) -> Gradients:
        with _full_precision():
            return Gradients(**_run(_gradients, mode)(*self._hold(problem)))

    def jacobians(self, problem: Problem, mode: str) -> Jacobians | None:
        if MODES[mode].jacobian is None:
            return None
        with _full_precision():
            return Jacobians(**_run(_jacobians, mode)(*self._hold(problem)))

    def activation(self, a: Any, mode: str) -> tuple[Any, Any]:
        with _full_precision():
            h, dh_da = _run(_activation, mode)(_tensor(a)[:, None, None].to(self.device))
        return h[:, 0, 0], dh_da[:, 0, 0]

    def short_activations(self, rows: Any, mode: str) -> tuple[Any, Any]:
        # that do not touch in memory: no kernel can take them for one array, and σ's loops run once for each row; those
        # of y(1 − y), whose three roundings are the same in all, may not
        apart = nn.functional.pad(_tensor(rows), (0, 1))[:, :-1, None, None]
        with _full_precision():
            h, dh_da = _run(_activation, mode)(apart.to(self.device))
        return h[..., 0, 0], dh_da[..., 0, 0]

    def _hold(self, problem: Problem) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor]:
        held = [_tensor(array).to(self.device) for _, array in problem.named()]
        assert_held(problem, map(_array, held))
        depth = problem.network.depth
        return held[:depth], held[depth : 2 * depth], *held[2 * depth :]


def _network(mode: Mode, w: Any, b: Any, da: Any, dh: Any, x: Tensor, t: Tensor) -> tuple[Tensor, Any]:
    a, h = [], [x]
    for w_l, b_l, da_l, dh_l in zip(w, b, da, dh, strict=True):
        a.append(mode.linear(h[-1], w_l, b_l) + da_l)
        h.append(mode.sigmoid(a[-1]) + dh_l)
    loss = mode.loss(h[-1], t)
    return loss, (loss, a, h[1:])


def _unmodified(mode: Mode, w: Any, b: Any, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    h = x
    for w_l, b_l in zip(w, b, strict=True):
        h = mode.sigmoid(mode.linear(h, w_l, b_l))
    loss = mode.loss(h, t)
    return loss, loss


def _steps(mode: Mode, a: Any, w: Any, x: Any, b: Any) -> tuple[Tensor, tuple[()]]:
    """The sum of all σ(a) and all a, each from inputs that are given: its gradients are σ′ and ∂a/∂w."""
    layers = (*map(mode.sigmoid, a), *map(mode.linear, x, w, b))
    return sum(each.sum((-2, -1)) for each in layers), ()


def _gradients(mode: Mode, w: Any, b: Any, x: Tensor, t: Tensor) -> Any:
    (dL_dw, dL_db), loss = mode.differentiate(_bound(_unmodified, mode), (list(map(mode.weights, w)), b), (x, t))
    return tree_map(_array, {"loss": loss, "dL_dw": list(map(mode.weights, dL_dw)), "dL_db": dL_db})


def _trace(mode: Mode, w: Any, b: Any, x: Tensor, t: Tensor, eta: float) -> Any:
    w = list(map(mode.weights, w))
    da, dh = ([x.new_zeros((*x.shape[:-1], b_l.shape[-1])) for b_l in b] for _ in "ah")
    gradients, (loss, a, h) = mode.differentiate(_bound(_network, mode), (w, b, da, dh), (x, t))
    a, h = tree_map(Tensor.detach, (a, h))
    (dh_da, da_dw), _ = mode.differentiate(_bound(_steps, mode), (a, w), ([x, *h[:-1]], b))
    w_new, b_new = _bound(mode.step, mode)((w, b), gradients[:2], eta)
    found = dict(zip(("dL_dw", "dL_db", "dL_da", "dL_dh"), gradients, strict=True))
    found |= {"loss": loss, "a": a, "h": h, "dh_da": dh_da, "da_dw": da_dw, "w_new": w_new, "b_new": b_new}
    for name in ("dL_dw", "da_dw", "w_new"):
        found[name] = list(map(mode.weights, found[name]))
    return tree_map(_array, found)


def _jacobians(mode: Mode, w: Any, b: Any, x: Tensor, t: Tensor) -> Any:
    zeros = [0] * len(w)
    _, (_, a, h) = _network(mode, w, b, zeros, zeros, x, t)
    assert mode.jacobian is not None
    of_linear = torch.func.vmap(
        mode.jacobian(lambda x, w, b: mode.linear(x, w, b[0]), argnums=(0, 1)), in_dims=(0, None, None)
    )
    of_sigmoid = torch.func.vmap(mode.jacobian(mode.sigmoid))
    da_dx, da_dw = zip(*map(_over_stack(of_linear, w), [x, *h[:-1]], w, b), strict=True)
    found = {"h": h, "dh_da": list(map(_over_stack(of_sigmoid, w), a)), "da_dw": da_dw, "da_dx": da_dx}
    return tree_map(_array, found)


def _activation(mode: Mode, a: Tensor) -> Any:
    (dh_da,), _ = mode.differentiate(_bound(_sum, mode), (a,), ())
    return tree_map(_array, (_bound(_sigmoid, mode)(a), dh_da))


def _sigmoid(mode: Mode, a: Tensor) -> Tensor:
    return mode.sigmoid(a)


def _sum(mode: Mode, a: Tensor) -> tuple[Tensor, tuple[()]]:
    return _sigmoid(mode, a).sum((-2, -1)), ()


def _first(arguments: Any) -> tuple[int, ...]:
    return tuple(range(len(arguments)))


def _over_stack(function: Function, arrays: Any) -> Function:
    """One network's function, for as many stack axes as the first of ``arrays`` has."""
    for _ in tree_leaves(arrays)[0].shape[:-2]:
        function = torch.func.vmap(function)
    return function


def _tensor(array: Any) -> Tensor:
    bits = array.view(np.int16).copy() if array.dtype == ml_dtypes.bfloat16 else array.copy()
    tensor = torch.from_numpy(bits)
    return tensor.view(torch.bfloat16) if array.dtype == ml_dtypes.bfloat16 else tensor


def _array(tensor: Tensor) -> Any:
    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.bfloat16:
        return tensor.contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


@cache
def _bound(function: Function, mode: Mode) -> Function:
    return mode.compile(partial(function, mode))


def _run(function: Function, mode: str) -> Function:
    return partial(function, MODES[mode])


def _compiler() -> str:
    return os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")


@contextmanager
def _full_precision() -> Iterator[None]:
    """Matrix products in full float32; a graph for every shape and precision; both as before afterwards."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch._dynamo.config.patch(recompile_limit=1000, accumulated_recompile_limit=10000):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
