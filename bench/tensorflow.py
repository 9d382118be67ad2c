"""TensorFlow's gradient, matrix product and compute_gradient, on tensors that it holds."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "2", "KERAS_HOME": os.devnull}  # no reports, and no file of Keras's
# before the adapter, which switches oneDNN off where it is the first: for the fastest gradients it stays on
import tensorflow as tf

from adapters import tensorflow as adapter
from reference.network import Array, Problem

USUAL_ERROR = 1e-3
"""What TensorFlow's own tests allow the largest error of `compute_gradient`."""


def gradient(problem: Problem, mode: str) -> Callable[[], Any]:
    """A call that computes dL_dw and dL_db of tensors that are held already: all of w, then all of b."""
    held = adapter._hold(problem)
    gradients = adapter._run(adapter._gradients, mode)

    def run() -> tuple[Any, ...]:
        found = gradients(*held)
        return (*found["dL_dw"], *found["dL_db"])

    return run


def product(a: Array, b: Array) -> Callable[[], Any]:
    """A call that computes one matrix product."""
    return partial(tf.linalg.matmul, *map(tf.constant, (a, b)))


def peers(problem: Problem) -> dict[str, Callable[[], Any]]:
    """compute_gradient of the loss as a tf.function; it raises an error if the difference is not as small as usual."""
    w, b, x, t = adapter._hold(problem)
    depth = len(w)

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]  # not seen by mypy
    def loss(*given: Any) -> Any:
        return adapter._network(adapter.MODES["function"], given[:depth], given[depth:], x, t)[0]

    loss(*w, *b)  # which traces it

    def compute_gradient() -> None:
        for theory, numeric in zip(*tf.test.compute_gradient(loss, [*w, *b]), strict=True):
            if not abs(theory - numeric).max() < USUAL_ERROR:
                raise ValueError(f"compute_gradient: found a difference that is not below {USUAL_ERROR}")

    return {"compute_gradient": compute_gradient}
