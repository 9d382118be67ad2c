"""PyTorch: reverse-mode autograd, eager and compiled by inductor."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
import torch._functorch.config
from torch import Tensor

from adapters.interface import Adapter, Arithmetic, Gradients, NotOffered, Problem, Trace, assert_held

Tensors = Sequence[Tensor]

# σ = 1 / (1 + e⁻ᵃ). Float32: Sleef's exp, at most 1 ULP, measured over all inputs 2.48. Float64: 2 · 1 + 2.
_SIGMOID_ULP = {"float32": 3.0, "float64": 4.0}


class PyTorch(Adapter):
    """``autograd.grad`` of the loss, with zeros added to a and h whose gradients are the inner derivatives."""

    name = "pytorch"
    framework = "PyTorch"
    version = str(torch.__version__)
    modes = ("eager", "compile")

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
        if dtype not in _SIGMOID_ULP:
            raise NotOffered(f"this adapter has no {dtype}")
        if mode == "compile" and self.device.type == "cpu" and not shutil.which(_compiler()):
            raise NotOffered(f"torch.compile needs a C++ compiler, and {_compiler()} is not on the PATH")
        return Arithmetic(dtype, _SIGMOID_ULP[dtype])

    def trace(self, problem: Problem, mode: str) -> Trace:
        w, b, x, t = self._hold(problem)
        a_shapes = [(*x.shape[:-1], w_l.shape[-1]) for w_l in w]
        da, dh = ([torch.zeros(s, dtype=x.dtype, device=x.device, requires_grad=True) for s in a_shapes] for _ in "ah")
        with _full_precision():
            a, h, loss = _run(_perturbed, mode)(w, b, x, t, da, dh)
            of_loss = _grad(loss, [*w, *b, *da, *dh])
            depth = len(w)
            dL_dw, dL_db, dL_da, dL_dh = (of_loss[i * depth : (i + 1) * depth] for i in range(4))
            dh_da = [_grad(h_l, [da_l])[0] for h_l, da_l in zip(h, da, strict=True)]
            da_dw = [_grad(a_l, [w_l])[0] for a_l, w_l in zip(a, w, strict=True)]
            with torch.no_grad():
                stepped = _run(_update, mode)([*w, *b], [*dL_dw, *dL_db], problem.eta)
        return Trace(
            a=_numpy(a),
            h=_numpy(h),
            loss=_numpy([loss])[0],
            dL_dh=_numpy(dL_dh),
            dh_da=_numpy(dh_da),
            dL_da=_numpy(dL_da),
            da_dw=_numpy(da_dw),
            dL_dw=_numpy(dL_dw),
            dL_db=_numpy(dL_db),
            w_new=_numpy(stepped[:depth]),
            b_new=_numpy(stepped[depth:]),
        )

    def gradients(self, problem: Problem, mode: str) -> Gradients:
        w, b, x, t = self._hold(problem)
        with _full_precision():
            loss = _run(_loss, mode)(w, b, x, t)
            loss.sum().backward()
        return Gradients(_numpy([loss])[0], _numpy([p.grad for p in w]), _numpy([p.grad for p in b]))

    def _hold(self, problem: Problem) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor]:
        held = [torch.tensor(array, device=self.device) for _, array in problem.named()]
        assert_held(problem, _numpy(held))
        *parameters, x, t = held
        for parameter in parameters:
            parameter.requires_grad_()
        depth = problem.network.depth
        return parameters[:depth], parameters[depth:], x, t


def _loss(w: Tensors, b: Tensors, x: Tensor, t: Tensor) -> Tensor:
    h = x
    for w_l, b_l in zip(w, b, strict=True):
        h = torch.sigmoid(h @ w_l + b_l)
    return ((h - t) ** 2).sum((-2, -1)) / 2


def _perturbed(
    w: Tensors, b: Tensors, x: Tensor, t: Tensor, da: Tensors, dh: Tensors
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    a, h = [], [x]
    for w_l, b_l, da_l, dh_l in zip(w, b, da, dh, strict=True):
        a.append(h[-1] @ w_l + b_l + da_l)
        h.append(torch.sigmoid(a[-1]) + dh_l)
    return a, h[1:], ((h[-1] - t) ** 2).sum((-2, -1)) / 2


def _update(parameters: Tensors, gradients: Tensors, eta: float) -> list[Tensor]:
    return [p - eta * g for p, g in zip(parameters, gradients, strict=True)]


def _grad(of: Tensor, by: Tensors) -> tuple[Tensor, ...]:
    return torch.autograd.grad(of.sum(), by, retain_graph=True)  # type: ignore[no-any-return]


def _numpy(tensors: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(tensor.detach().cpu().numpy() for tensor in tensors)


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function, fullgraph=True, dynamic=False)  # type: ignore[no-any-return]  # not seen by mypy


def _run(function: Callable[..., Any], mode: str) -> Callable[..., Any]:
    return _compiled(function) if mode == "compile" else function


def _compiler() -> str:
    return os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")


@contextmanager
def _full_precision() -> Iterator[None]:
    """Matrix products in full float32; a compiled graph kept for several gradients; both as before afterwards."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with (
            torch._functorch.config.patch(donated_buffer=False),
            torch._dynamo.config.patch(recompile_limit=1000, accumulated_recompile_limit=10000),
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
