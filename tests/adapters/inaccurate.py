"""Adapters whose sigmoid is not what they declare, or not there: NumPy, but for that."""

from dataclasses import replace
from typing import Any

import numpy as np

from adapters.interface import Arithmetic
from adapters.numpy_ import NumPy
from reference.network import Array


class OffByFiveULP(NumPy):
    """At one input: σ(−2) is declared to be off by at most 4."""

    name = "off-by-five"

    def activation(self, a: Array, mode: str) -> tuple[Array, Array]:
        h, dh_da = super().activation(a, mode)
        return np.where(a == -2, np.abs(h) - 5 * np.spacing(h), h).astype(a.dtype), dh_da


class Saturates(NumPy):
    """Returns NaN where eᵃ overflows."""

    name = "saturates"

    def activation(self, a: Array, mode: str) -> tuple[Array, Array]:
        h, dh_da = super().activation(a, mode)
        return np.where(a < -200, np.nan, h).astype(a.dtype), dh_da


class DeclaresTooLittle(NumPy):
    name = "declares-too-little"

    def arithmetic(self, mode: str, dtype: str) -> Arithmetic:
        return replace(super().arithmetic(mode, dtype), sigmoid_ulp=1.0)


class HasNone(NumPy):
    name = "has-none"

    def activation(self, *_: Any) -> Any:
        return None
