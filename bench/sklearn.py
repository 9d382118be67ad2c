"""scikit-learn's gradient, in lists that it holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adapters.sklearn import _Network
from reference.network import Problem


def gradient(problem: Problem, mode: str) -> Callable[[], Any]:  # noqa: ARG001 - it has one
    """A call that computes dL_dw and dL_db of a network that is made already: all of w, then all of b."""
    depth = problem.network.depth
    network = _Network(activation="logistic", alpha=0)
    network.n_layers_, network.out_activation_ = depth + 1, "logistic"
    network.coefs_, network.intercepts_ = list(problem.network.w), [b[0] for b in problem.network.b]
    activations = [problem.x, *[None] * depth]
    deltas, by_w, by_b = ([None] * depth for _ in range(3))

    def run() -> tuple[Any, ...]:
        network._backprop(problem.x, problem.t, None, activations, deltas, by_w, by_b)
        return (*by_w, *by_b)

    return run
