"""TensorFlow: ``GradientTape``, run eagerly, as a graph, and compiled by XLA."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

# Read by TensorFlow when it is imported: without oneDNN, products keep their written precision and order of summation.
# Where something else has imported it before, it is too late, and the record in `settings` must not say otherwise.
if "tensorflow" not in sys.modules:
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
    os.environ["ONEDNN_DEFAULT_FPMATH_MODE"] = "STRICT"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf

from adapters.interface import (
    Adapter,
    Arithmetic,
    Gradients,
    NotOffered,
    Problem,
    Trace,
    assert_held,
)

# Eigen's own table gives its logistic 7 ULP in float32 (measured 6.58) and 3 in float64; XLA's is 1 / (1 + e⁻ᵃ).
_SIGMOID_ULP = {
    "eager": {"float32": 7.0, "float64": 4.0},
    "function": {"float32": 7.0, "float64": 4.0},
    "xla": {"float32": 3.0, "float64": 5.0},
}


class TensorFlow(Adapter):
    """``GradientTape`` over the parameters and over the intermediates a and h themselves."""

    name = "tensorflow"
    framework = "TensorFlow"
    version = tf.__version__
    modes = ("eager", "function", "xla")

    def __init__(self, device: str = "cpu") -> None:
        kind = {"cpu": "CPU", "cuda": "GPU"}.get(device, device)
        if not tf.config.list_physical_devices(kind):
            raise NotOffered(f"TensorFlow has no device {device!r} here")
        self.device = f"/{kind}:0"
        with _full_precision():
            self.settings = {
                "TF_ENABLE_ONEDNN_OPTS": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "not set"),
                "ONEDNN_DEFAULT_FPMATH_MODE": os.environ.get("ONEDNN_DEFAULT_FPMATH_MODE", "not set"),
                "tensor_float_32": str(tf.config.experimental.tensor_float_32_execution_enabled()),
                "threads": str(tf.config.threading.get_intra_op_parallelism_threads() or os.cpu_count()),
            }

    def arithmetic(self, mode: str, dtype: str) -> Arithmetic:
        if dtype not in _SIGMOID_ULP[mode]:
            raise NotOffered(f"this adapter has no {dtype}")
        # On CPUs, TensorFlow runs its kernels with subnormals flushed to zero, in both precisions
        return Arithmetic(dtype, _SIGMOID_ULP[mode][dtype], flushes="CPU" in self.device)

    def trace(self, problem: Problem, mode: str) -> Trace:
        with _full_precision(), tf.device(self.device):
            eta = tf.constant(problem.eta, problem.dtype)
            return Trace(**_numpy(_run(_trace, mode)(*_hold(problem), eta)))

    def gradients(self, problem: Problem, mode: str) -> Gradients:
        with _full_precision(), tf.device(self.device):
            return Gradients(**_numpy(_run(_gradients, mode)(*_hold(problem))))


# The loss is written with tf.square: in float32 on the CPU, x ** 2 is Eigen's general power and not the rounded x · x.


def _hold(problem: Problem) -> tuple[Any, ...]:
    held = [tf.constant(array) for _, array in problem.named()]
    assert_held(problem, (tensor.numpy() for tensor in held))
    depth = problem.network.depth
    return held[:depth], held[depth : 2 * depth], *held[2 * depth :]


def _gradients(w: Any, b: Any, x: Any, t: Any) -> dict[str, Any]:
    with tf.GradientTape() as tape:
        tape.watch((w, b))
        h = x
        for w_l, b_l in zip(w, b, strict=True):
            h = tf.sigmoid(h @ w_l + b_l)
        loss = tf.reduce_sum(tf.square(h - t), axis=(-2, -1)) / 2
    dL_dw, dL_db = tape.gradient(loss, (w, b))
    return {"loss": loss, "dL_dw": dL_dw, "dL_db": dL_db}


def _trace(w: Any, b: Any, x: Any, t: Any, eta: Any) -> dict[str, Any]:
    with tf.GradientTape(persistent=True) as tape:
        tape.watch((w, b))
        a, h = [], [x]
        for w_l, b_l in zip(w, b, strict=True):
            a.append(h[-1] @ w_l + b_l)
            h.append(tf.sigmoid(a[-1]))
        h = h[1:]
        loss = tf.reduce_sum(tf.square(h[-1] - t), axis=(-2, -1)) / 2
    dL_dw, dL_db, dL_da, dL_dh = tape.gradient(loss, (w, b, a, h))
    return {
        "a": a,
        "h": h,
        "loss": loss,
        "dL_dh": dL_dh,
        "dh_da": [tape.gradient(h_l, a_l) for h_l, a_l in zip(h, a, strict=True)],
        "dL_da": dL_da,
        "da_dw": [tape.gradient(a_l, w_l) for a_l, w_l in zip(a, w, strict=True)],
        "dL_dw": dL_dw,
        "dL_db": dL_db,
        "w_new": [w_l - eta * g for w_l, g in zip(w, dL_dw, strict=True)],
        "b_new": [b_l - eta * g for b_l, g in zip(b, dL_db, strict=True)],
    }


def _numpy(quantities: dict[str, Any]) -> dict[str, Any]:
    return tf.nest.map_structure(lambda tensor: tensor.numpy(), quantities)  # type: ignore[no-any-return]


@cache
def _compiled(function: Callable[..., Any], mode: str) -> Callable[..., Any]:
    return tf.function(function, jit_compile=mode == "xla")  # type: ignore[no-any-return]


def _run(function: Callable[..., Any], mode: str) -> Callable[..., Any]:
    return function if mode == "eager" else _compiled(function, mode)


@contextmanager
def _full_precision() -> Iterator[None]:
    """Matrix products in full float32; as before afterwards."""
    experimental = tf.config.experimental
    before = experimental.tensor_float_32_execution_enabled()
    experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        experimental.enable_tensor_float_32_execution(before)
