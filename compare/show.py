"""What the page shows of a framework beside the verdicts: the document's network with its numbers, what saturation
takes from σ′, errors that grow with depth and width, and a hundred steps of learning. All of it judges nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
from flint import ctx

from adapters import Adapter, NotOffered
from compare.problems import random_problem
from compare.tally import Number
from reference.backprop import backprop, forward_mode
from reference.exact import balls
from reference.formulas import sigmoid
from reference.network import Array, Network, Problem, Trace, quantity_shapes, single
from reference.rounding import FORMATS, Arithmetic

X, T, ETA = (0.35, 0.9), (0.01, 0.99), 0.5
W = ((0.15, -0.4, 0.62), (0.28, -0.73, 0.55))
B = (0.1, -0.2, 0.34)
U = ((0.45, -0.67), (0.52, -0.81), (0.36, -0.24))
C = (0.6, -0.12)
"""The document's figure in numbers, no two alike; B and C are the biases of the hidden and of the output layer. No sum
``a`` cancels, so that a few of its ULP are seen.
"""

SWEEP = 150
"""Points at which σ′ is compared with the exact derivative."""

STEPS = 100
"""Steps of learning."""

SHAPES = ((1, 8), (2, 8), (8, 8), (2, 2), (2, 64))
"""Depths and widths at which errors are measured: few, for a compiled mode compiles each."""

GROWN = ("float32", "float64")
"""Precisions in which they are."""

_BITS = 192
_DIGITS = 4


def show(adapter: Adapter, modes: Iterable[str], dtypes: Iterable[str], networks: int) -> dict[str, dict[str, Any]]:
    """By mode and precision, what the page shows; where the adapter fails, the reason instead.

    Every problem but those of growth has a shape that the problem "document" or "document-single" has too, so that a
    compiled mode has compiled it already. Growth and learning are of the adapter's first mode.
    """
    found: dict[str, dict[str, Any]] = {}
    for mode, dtype in product(modes, dtypes):
        parts: dict[str, Any] = dict.fromkeys(("figure", "saturation", "growth", "learning", "reason"))
        try:
            arithmetic = adapter.arithmetic(mode, dtype)
            problem, first = _figure_and_sweep(dtype, networks), mode == adapter.modes[0]
            trace = adapter.trace(problem, mode)
            parts["figure"] = _figure(problem, trace)
            if first or arithmetic.complement:
                parts["saturation"] = _saturation(problem, trace, arithmetic)
            if first and dtype in GROWN:
                parts["growth"] = [_growth(adapter, mode, arithmetic, *shape) for shape in SHAPES]
            if first:
                parts["learning"] = _learning(adapter, mode, arithmetic, single(problem, 0))
        except NotOffered:  # which the plan has said
            continue
        except Exception as error:  # noqa: BLE001 - whatever an adapter raises is the reason shown
            parts["reason"] = f"{type(error).__name__}: {error}".splitlines()[0]
        found.setdefault(mode, {})[dtype] = parts
    return found


def figure(dtype: str, networks: int = 1) -> Problem:
    """The document's network, so many times in a stack."""
    arrays = [np.array(array, dtype, ndmin=2) for array in (W, U, B, C, X, T)]
    w, u, b, c, x, t = (np.repeat(array[None], networks, axis=0) for array in arrays)
    return Problem(Network((w, u), (b, c)), x, t, ETA)


def _figure_and_sweep(dtype: str, networks: int) -> Problem:
    """The document's network, and beside it in the stack as many networks as there are points of the sweep: weights 1
    and 0 hand a and −a to the first two hidden units.
    """
    problem = figure(dtype, networks)
    (w, _), (b, _), x = problem.network.w, problem.network.b, problem.x
    a = _sweep(dtype, min(SWEEP, networks - 1))
    swept = slice(1, 1 + len(a))
    w[swept] = np.eye(2, 3)
    b[swept] = 0
    x[swept, 0] = np.stack([a, -a], axis=-1)
    return problem


def _sweep(dtype: str, points: int) -> Array:
    """From where σ(a) is nothing to where 1 − σ(a) has long been nothing; most of it where that happens."""
    precision, emin = FORMATS[dtype]
    negative = np.linspace((emin - precision - 8) * math.log(2), 0, points // 3, endpoint=False)
    positive = np.linspace(0, 2.7 * precision * math.log(2), points - points // 3)
    return np.concatenate([negative, positive]).astype(dtype)


def _figure(problem: Problem, trace: Trace) -> dict[str, dict[str, str]]:
    """Every number of the first network: those given, and those that the framework returned."""
    arrays = {name: array[0] for name, array in problem.named()} | {"η": np.asarray(problem.eta, problem.dtype)}
    for name in quantity_shapes(problem):
        found = getattr(trace, name)
        if name == "loss":
            arrays |= {} if found is None else {name: found[0]}
        else:
            arrays |= {f"{name}[{layer}]": array[0] for layer, array in enumerate(found or ())}
    return {
        name + (str(list(index)) if index else ""): vars(Number(str(array[index]), float(array[index]).hex()))
        for name, array in arrays.items()
        for index in np.ndindex(np.shape(array))
    }


def _saturation(problem: Problem, trace: Trace, arithmetic: Arithmetic) -> dict[str, Any]:
    """Relative errors of σ′ along the sweep: the framework's own, and σ(a)σ(−a) of the σ that it returned."""
    a = _sweep(problem.dtype.name, min(SWEEP, problem.network.stack[0] - 1))
    swept = slice(1, 1 + len(a))
    with ctx.workprec(_BITS):
        exact = sigmoid(balls(a)) * sigmoid(balls(-a))

        def error(found: Array) -> list[float | None]:
            return [_rounded(float(abs(got - true) / true)) for got, true in zip(balls(found), exact, strict=True)]

        derivative = reflected = None
        if trace.dh_da is not None:
            derivative = error(trace.dh_da[0][swept, 0, 0])
        if trace.h is not None:
            h = trace.h[0][swept, 0]
            with np.errstate(under="ignore"):
                reflected = error(h[:, 0] * h[:, 1])
    form = "σ(a)σ(−a)" if arithmetic.complement else "y(1 − y)"
    return {"a": [float(point) for point in a], "form": form, "derivative": derivative, "reflected": reflected}


def _growth(adapter: Adapter, mode: str, arithmetic: Arithmetic, depth: int, width: int) -> dict[str, Any]:
    """The largest error of the gradients end to end, and the largest bound, in ULP of the network's largest gradient:
    the worst of eight networks.
    """
    rng = np.random.default_rng([depth, width])
    problem = random_problem(
        rng, (width,) * (depth + 1), 1, (8,), arithmetic.dtype, lambda shape: rng.standard_normal(shape) / width**0.5
    )
    found = adapter.gradients(problem, mode).dL_dw
    numbers = problem.map(arithmetic.exact)
    expected = backprop(numbers)
    bounds = (forward_mode(numbers, expected.h) if arithmetic.forward and expected.h else expected).dL_dw
    assert bounds is not None  # `backprop` leaves nothing out
    if found is None:
        raise ValueError("the adapter returns no dL_dw")

    def largest(arrays: Iterable[Array]) -> Array:
        return np.max([np.abs(array).max(axis=(-2, -1)) for array in arrays], axis=0)

    ulp = arithmetic.ulp(largest(bound.value for bound in bounds))
    errors = [np.asarray(got, arithmetic.working) - bound.value for got, bound in zip(found, bounds, strict=True)]
    error, bound = (float((largest(each) / ulp).max()) for each in (errors, [bound.error for bound in bounds]))
    return {"depth": depth, "width": width, "error": _rounded(error), "bound": _rounded(bound)}


def _learning(adapter: Adapter, mode: str, arithmetic: Arithmetic, problem: Problem) -> dict[str, Any]:
    """The loss before each step, and after it the largest distance of a parameter from the reference's, in ULP.

    The reference learns in the same precision; in bfloat16, which NumPy lacks, in float32 from the same numbers.
    """
    lacks = arithmetic.dtype == "bfloat16"
    theirs, ours = problem, problem.map(lambda array: array.astype("float32") if lacks else array)
    losses: list[float | None] = []
    distances = []
    for _ in range(STEPS):
        trace, own = adapter.trace(theirs, mode), backprop(ours)
        if trace.w_new is None or trace.b_new is None or own.w_new is None or own.b_new is None:
            raise ValueError("the adapter returns no w_new and b_new")
        losses.append(None if trace.loss is None else _rounded(float(trace.loss)))
        pairs = zip((*trace.w_new, *trace.b_new), (*own.w_new, *own.b_new), strict=True)
        apart = [np.abs(np.float64(got) - np.float64(known)) / arithmetic.ulp(known) for got, known in pairs]
        distances.append(_rounded(max(float(distance.max()) for distance in apart)))
        theirs = replace(theirs, network=Network(trace.w_new, trace.b_new))
        ours = replace(ours, network=Network(own.w_new, own.b_new))
    return {"loss": losses if losses[0] is not None else None, "distance": distances}


def _rounded(value: float) -> float | None:
    """Four digits, enough for a picture; JSON has neither an infinity nor a NaN."""
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
