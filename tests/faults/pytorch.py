"""Wrong parts for a mode of PyTorch, most of them an autograd Function whose backward pass is the fault."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from tests.adapters.tf32 import Product, cut

Function = Any


def sigmoid(wrong: Function) -> Function:
    """σ whose gradient is ``wrong``: a function of g, the gradient above it, and y."""

    class Sigmoid(torch.autograd.Function):  # type: ignore[misc]  # not seen by mypy
        generate_vmap_rule = True
        setup_context = staticmethod(lambda ctx, _, y: ctx.save_for_backward(y))
        forward = staticmethod(lambda a: torch.sigmoid(a))  # of a builtin, PyTorch finds no signature
        backward = staticmethod(lambda ctx, g: wrong(g, *ctx.saved_tensors))

    return Sigmoid.apply


def linear(**wrong: Function) -> Function:
    """x w + b whose gradients by x, w and b are the right ones, but for ``wrong``: functions of g, x and w."""
    by = {"x": lambda g, x, w: g @ w.mT, "w": lambda g, x, w: x.mT @ g, "b": lambda g, x, w: g.sum(-2, keepdim=True)}
    by |= wrong

    class Linear(torch.autograd.Function):  # type: ignore[misc]
        generate_vmap_rule = True
        setup_context = staticmethod(lambda ctx, inputs, _: ctx.save_for_backward(*inputs[:2]))
        forward = staticmethod(lambda x, w, b: x @ w + b)
        backward = staticmethod(lambda ctx, g: tuple(by[name](g, *ctx.saved_tensors) for name in "xwb"))

    return Linear.apply


def times(y: Tensor, factor: float) -> Tensor:
    """1 for every unit, but ``factor`` for the first."""
    factors = torch.ones(y.shape[-1], dtype=y.dtype)
    factors[0] = factor
    return factors


def backward_twice(function: Function, arguments: Any, constants: Any) -> tuple[Any, Any]:
    leaves = tree_map(lambda p: p.detach().clone().requires_grad_(), arguments)
    for _ in range(2):
        value, aux = function(*leaves, *constants)
        value.sum().backward()
    return tree_map(lambda p: p.grad, leaves), aux


def weight_decay(_: Any, parameters: Any, gradients: Any, eta: float) -> Any:
    held = tree_map(lambda p: nn.Parameter(p.clone()), parameters)
    for parameter, gradient in zip(tree_leaves(held), tree_leaves(gradients), strict=True):
        parameter.grad = gradient
    torch.optim.SGD(tree_leaves(held), lr=eta, weight_decay=1e-4).step()
    return held


slope_missing = sigmoid(lambda g, y: g)
slope_of_tanh = sigmoid(lambda g, y: g * (1 - y * y))
slope_of_one_unit = sigmoid(lambda g, y: g * y * (1 - y) * times(y, 1 + 1e-6))
slope_lost_when_saturated = sigmoid(lambda g, y: torch.where((y - 0.5).abs() < 0.49999, g * y * (1 - y), 0))
sigmoid_by_tanh = lambda a: 0.5 + 0.5 * torch.tanh(a / 2)
sigmoid_in_bfloat16 = lambda a: torch.sigmoid(a.bfloat16()).to(a.dtype)
rows_reversed = linear(w=lambda g, x, w: x.flip(-2).mT @ g)
mean_of_rows = linear(w=lambda g, x, w: x.mT @ g / x.shape[-2])
no_bias_gradient = linear(b=lambda g, x, w: torch.zeros_like(g[..., :1, :]))
gradient_stops = linear(x=lambda g, x, w: torch.zeros_like(x))
clipped = linear(w=lambda g, x, w: (x.mT @ g).clamp(-0.1, 0.1))
tf32 = lambda x, w, b: Product.apply(x, w, cut) + b
bfloat16_products = lambda x, w, b: (x.bfloat16() @ w.bfloat16()).to(x.dtype) + b
bias_forgotten = lambda x, w, b: x @ w + 0 * b
mean_loss = lambda y, t: nn.functional.mse_loss(y, t, reduction="none").mean((-2, -1)) / 2
loss_not_halved = lambda y, t: ((y - t) ** 2).sum((-2, -1))
