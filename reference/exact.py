"""The true values: the same formulas in ball arithmetic, and errors in ULP of the exact value.

A ball (python-flint's ``arb``) is a midpoint and a radius that enclose the exact real number. Balls run through
`reference.backprop` as object arrays; the precision is raised until every radius is negligible beside the last place
of the format judged.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from flint import arb, ctx

from reference.backprop import backprop
from reference.network import Array, Gradients, Problem, Trace
from reference.rounding import Arithmetic

_START_BITS = 192
_MOST_BITS = 6144
_NEGLIGIBLE = 2.0**-20  # of an ULP


@dataclass(frozen=True)
class Exact:
    """Exact real numbers, each as the unevaluated sum of two float64: 106 bits of the ball's midpoint.

    ``high`` is the float64 nearest to the number; ``low`` is what is left of it.
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


def exact_trace(problem: Problem, bits: int = _START_BITS) -> Trace:
    """Every quantity of ``problem`` enclosed in balls (object arrays of ``arb``), computed with ``bits`` of precision."""
    before = ctx.prec
    ctx.prec = bits
    try:
        return backprop(problem.map(balls))
    finally:
        ctx.prec = before


def exact_gradients(problem: Problem, arithmetic: Arithmetic) -> dict[str, tuple[Exact, ...]]:
    """The true loss and gradients: ``{"loss": (…,), "dL_dw": (…, one per layer), "dL_db": (…)}``.

    Raises
    ------
    ArithmeticError
        If no precision up to 6144 bits makes the enclosure tight; it does for every finite network seen so far.
    """
    bits = _START_BITS
    while bits <= _MOST_BITS:
        trace = exact_trace(problem, bits)
        found = {}
        for name in (field.name for field in fields(Gradients)):
            arrays = (trace.loss,) if name == "loss" else getattr(trace, name)
            found[name] = tuple(_split(array, bits) for array in arrays)
        if all(_tight(high, radius, arithmetic) for arrays in found.values() for high, _, radius in arrays):
            return {name: tuple(Exact(high, low) for high, low, _ in arrays) for name, arrays in found.items()}
        bits *= 2
    raise ArithmeticError(f"exact gradients: balls of {_MOST_BITS} bits do not enclose the values tightly")


def _split(array: Any, bits: int) -> tuple[Array, Array, Array]:
    """Midpoint in two parts, and radius, of each ball."""
    before = ctx.prec
    ctx.prec = bits
    try:
        flat = np.asarray(array, dtype=object).ravel()
        high = [float(ball) for ball in flat]
        low = [float(ball.mid() - first) for ball, first in zip(flat, high, strict=True)]
        radius = [float(ball.rad()) for ball in flat]
    finally:
        ctx.prec = before
    high_, low_, radius_ = (np.array(part, np.float64).reshape(np.shape(array)) for part in (high, low, radius))
    return high_, low_, radius_


def _tight(high: Array, radius: Array, arithmetic: Arithmetic) -> bool:
    return bool(np.all(np.isfinite(high) & (radius <= _NEGLIGIBLE * arithmetic.ulp(high))))
