"""NumPy: the reference's own formulas, run in the precision itself and judged like every framework."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from adapters.interface import Adapter, Arithmetic, Gradients, NotOffered, Problem, Trace
from reference.backprop import backprop, gradients
from reference.formulas import activation_derivative, sigmoid
from reference.network import Array

# exp: at most 2.54 ULP in float32, below 1 in float64; float16 rounds it, the sum and the quotient
_SIGMOID_ULP = {"float32": 4.0, "float64": 4.0, "float16": 3.0}


def _threads() -> str:
    """What OpenBLAS goes by."""
    return os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS") or str(os.cpu_count())


class NumPy(Adapter):
    """Hand-written derivatives, no autodiff: the row that shows what the formulas themselves lose to rounding.

    It is the reference (``reference`` is True), so that it agrees is no evidence for the formulas: the tests give that.
    """

    name = "numpy"
    framework = "NumPy"
    version = np.__version__
    modes = ("eager",)
    reference = True

    def __init__(self, device: str = "cpu") -> None:
        if device != "cpu":
            raise NotOffered(f"NumPy has no device {device!r}")
        blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        self.settings = {"blas": f"{blas['name']} {blas['version']}", "threads": _threads()}

    def arithmetic(self, mode: str, dtype: str) -> Arithmetic:
        if dtype == "bfloat16":
            raise NotOffered("NumPy has no bfloat16: its matrix product of ml_dtypes' is a float32")
        if dtype not in _SIGMOID_ULP:
            raise NotOffered(f"this adapter has no {dtype}")
        # float16: products accumulate in float32; sums along the last axis too, others are rounded at each step
        return Arithmetic(dtype, _SIGMOID_ULP[dtype], accumulate="float32" if dtype == "float16" else None)

    def trace(self, problem: Problem, mode: str) -> Trace:
        with np.errstate(over="ignore", invalid="ignore"):  # the check judges what is not finite
            return backprop(problem)

    def gradients(self, problem: Problem, mode: str) -> Gradients:
        with np.errstate(over="ignore", invalid="ignore"):
            return gradients(problem)

    def activation(self, a: Array, mode: str) -> tuple[Array, Array]:
        h = sigmoid(a)
        return h, activation_derivative(h)

    def short_activations(self, rows: Array, mode: str) -> tuple[Array, Array]:
        return self.activation(_apart(rows), mode)


class _Apart(np.ndarray[Any, Any]):
    """Rows that do not touch in memory: NumPy cannot take them for one array, and its loops run once for each row."""

    def __array_ufunc__(self, ufunc: Any, method: str, *operands: Any, **keywords: Any) -> _Apart:
        plain = [operand.view(np.ndarray) if isinstance(operand, _Apart) else operand for operand in operands]
        return _apart(getattr(ufunc, method)(*plain, **keywords))


def _apart(rows: Array) -> _Apart:
    return np.pad(rows, ((0, 0), (0, 1)))[:, :-1].view(_Apart)
