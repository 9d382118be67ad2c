"""PyTorch's gradient, matrix product and gradcheck, on tensors that it holds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from adapters import pytorch as adapter
from reference.network import Array, Problem

torch._dynamo.config.recompile_limit = 1000  # a graph for every shape; the process is the bench's own


def gradient(problem: Problem, mode: str) -> Callable[[], Any]:
    """A call that computes dL_dw and dL_db of tensors that are held already: all of w, then all of b."""
    leaves, loss = _loss(problem, mode)
    return lambda: torch.autograd.grad(loss(*leaves), leaves)


def product(a: Array, b: Array) -> Callable[[], Any]:
    """A call that computes one matrix product."""
    return partial(torch.mm, *map(torch.from_numpy, (a, b)))


def peers(problem: Problem) -> dict[str, Callable[[], Any]]:
    """gradcheck of that loss, in both modes; it raises an error if it objects."""
    leaves, loss = _loss(problem, "eager")
    slow = partial(torch.autograd.gradcheck, loss, leaves)
    return {"gradcheck": slow, "gradcheck, fast mode": partial(slow, fast_mode=True)}


def _loss(problem: Problem, mode: str) -> tuple[list[Any], Callable[..., Any]]:
    w, b, x, t = adapter.PyTorch()._hold(problem)
    run = adapter._bound(adapter._unmodified, adapter.MODES[mode])
    depth = len(w)
    leaves = [parameter.requires_grad_() for parameter in (*w, *b)]
    return leaves, lambda *given: run(given[:depth], given[depth:], x, t)[0]
