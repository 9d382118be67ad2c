"""The true values: the same formulas in ball arithmetic, and errors in ULP of the exact value.

A ball (python-flint's ``arb``) is a midpoint and a radius that enclose the exact real number. Balls run through
`reference.backprop` as object arrays; the precision is raised until every radius is negligible beside the last place
of the format judged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from flint import arb, ctx

from reference.backprop import backprop, gradients
from reference.network import Array, Gradients, Problem, Trace
from reference.rounding import Arithmetic

_BITS = [192 * 2**doubled for doubled in range(6)]
_NEGLIGIBLE = 2.0**-20  # of an ULP


@dataclass(frozen=True)
class Exact:
    """Exact real numbers, each as the unevaluated sum of two float64: 106 bits of the ball's midpoint.

    ``high`` is the float64 nearest to the number; ``low`` is what is left of it. Both are NaN where there is no such
    float64: the number lies beyond the largest one, or is computed from one that is not finite.
    """

    high: Array
    low: Array

    def error_in_ulp(self, values: Array, arithmetic: Arithmetic) -> Array:
        """|value − exact| / ulp(exact), ``values`` in the arithmetic's format, in the exact numbers' shape."""
        distance = np.abs((np.asarray(values, np.float64) - self.high) - self.low)
        return np.asarray(distance / arithmetic.ulp(self.high))


def balls(array: Array) -> Array:
    """An object array of balls, each exactly the float it is made from."""
    values = np.asarray(array, np.float64)
    return np.array([arb(value) for value in values.ravel().tolist()], dtype=object).reshape(values.shape)


def exact_trace(problem: Problem, bits: int = _BITS[0]) -> Trace:
    """Every quantity of ``problem`` enclosed in balls (object arrays of ``arb``), computed with ``bits`` of precision."""
    with ctx.workprec(bits):
        return backprop(problem.map(balls))


def exact_gradients(problem: Problem, arithmetic: Arithmetic) -> dict[str, tuple[Exact, ...]]:
    """The true loss and gradients: ``{"loss": (…,), "dL_dw": (…, one per layer), "dL_db": (…)}``.

    Raises
    ------
    ArithmeticError
        If no precision up to 6144 bits makes the enclosure tight; it does for every finite network seen so far.
    """
    for bits in _BITS:
        with ctx.workprec(bits):
            exact = gradients(problem.map(balls))
        found = {}
        for name in (field.name for field in fields(Gradients)):
            arrays = (exact.loss,) if name == "loss" else getattr(exact, name)
            found[name] = tuple(_split(array, bits, arithmetic) for array in arrays)
        parts = [part for arrays in found.values() for part in arrays]
        if not any(np.any(loose) for _, loose in parts):
            break
    else:
        if any(np.any(loose & ~np.isnan(part.high)) for part, loose in parts):
            raise ArithmeticError(f"exact gradients: balls of {bits} bits do not enclose the values tightly")
    return {name: tuple(part for part, _ in arrays) for name, arrays in found.items()}


def _split(array: Any, bits: int, arithmetic: Arithmetic) -> tuple[Exact, Array]:
    """The midpoints of balls, and where their radius is too large. A ball beyond float64 is as tight as it needs to be."""
    with ctx.workprec(bits):
        flat = np.asarray(array, dtype=object).ravel()
        high = [float(ball) if math.isfinite(float(ball)) else math.nan for ball in flat]
        low = [float(ball.mid() - first) for ball, first in zip(flat, high, strict=True)]
        radius = [float(ball.rad()) if ball.is_finite() else math.inf for ball in flat]
    high_, low_, radius_ = (np.array(part, np.float64).reshape(np.shape(array)) for part in (high, low, radius))
    allowed = np.where(np.isnan(high_), np.finfo(np.float64).max, _NEGLIGIBLE * arithmetic.ulp(high_))
    return Exact(high_, low_), radius_ > allowed
