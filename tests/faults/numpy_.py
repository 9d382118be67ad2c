"""Wrong formulas for the reference that need more than a line; each like the right one of `reference.formulas`."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference import Problem, backprop, formulas
from reference.network import Array


def h_for_y(_: Problem) -> dict[str, Any]:
    """δ of the output from the activation below it, in a network of equal layers."""
    h: list[Array] = []
    right = formulas.sigmoid

    def sigmoid(a: Array) -> Array:
        h.append(right(a))
        return h[-1]

    return {
        "sigmoid": sigmoid,
        "output_delta": lambda y, t: formulas.output_error(y, t) * formulas.activation_derivative(h[-2]),
    }


def h_for_x(_: Problem) -> dict[str, Any]:
    """Each layer's gradient from its own activation in place of its input, in a network of equal layers."""
    h: list[Array] = []
    right = formulas.sigmoid

    def sigmoid(a: Array) -> Array:
        h.append(right(a))
        return h[-1]

    return {"sigmoid": sigmoid, "weight_gradient": lambda delta, _: h.pop(0).mT @ delta}


def stale_weights(problem: Problem) -> dict[str, Any]:
    """The output layer steps before the hidden layer's δ is computed."""
    stepped: Any = backprop(problem).w_new
    right = formulas.hidden_error
    return {"hidden_error": lambda delta, _: right(delta, stepped[1])}


def layer_above(problem: Problem) -> dict[str, Any]:
    """δ through the weights of the layer above the next one, in a network of equal layers."""
    above = [*problem.network.w[2:], problem.network.w[-1]]
    right = formulas.hidden_error
    following = {id(w): other for w, other in zip(problem.network.w[1:], above, strict=True)}
    return {"hidden_error": lambda delta, w: right(delta, following[id(w)])}


def deep_only(problem: Problem) -> dict[str, Any]:
    """One unit's ∂L/∂h, wrong where a network has more than two layers."""
    right = formulas.hidden_error

    def hidden_error(delta: Array, w: Array) -> Array:
        found = right(delta, w)
        if problem.network.depth > 2:
            found[..., 0] *= problem.dtype.type(1.001)
        return found

    return {"hidden_error": hidden_error}


def polynomial(a: Array) -> Array:
    """σ by its Taylor polynomial of degree 5, clipped."""
    return np.clip(0.5 + a / 4 - a**3 / 48 + a**5 / 480, 0, 1).astype(a.dtype)


def by_tanh(a: Array) -> Array:
    half = a.dtype.type(0.5)
    return half + half * np.tanh(half * a)


def by_tanh_in_hidden(_: Problem) -> dict[str, Any]:
    """The first layer's σ by another one."""
    ways = [formulas.sigmoid, by_tanh]
    return {"sigmoid": lambda a: ways.pop()(a)}


def cut(array: Array) -> Array:
    """The low 12 bits of a float32 dropped."""
    return (array.view(np.int32) & ~0xFFF).view(np.float32)


def flushed(array: Array) -> Array:
    return np.where(np.abs(array) < np.finfo(array.dtype).smallest_normal, array.dtype.type(0), array)
