"""The formulas are right: SymPy differentiates L and finds each statement of the ledger.

σ is an abstract function that knows only σ′ = σ(1 − σ), formula 7, which is proved by itself for the real σ. Both
sides of a statement are then polynomials in σ(…) and the symbols, and expanding their difference decides equality.
"""

from dataclasses import fields
from functools import cache
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
import sympy

from reference import Network, Problem, Trace, backprop
from reference.backprop import forward_mode
from reference.formulas import LEDGER, Formula, activation_derivative, hidden_error, sigmoid, sigmoid_derivative
from reference.network import jacobian_shapes
from tests.reference.networks import operand_array

NETS = [((2, 3, 2), 1), ((2, 3, 2), 2), ((2, 2, 3, 2), 2), ((2, 2, 2), 1)]  # widths, rows


class Sigma(sympy.Function):  # type: ignore[misc]  # SymPy has no types
    """σ."""

    def fdiff(self, argindex=1):
        """Formula 7."""
        assert argindex == 1
        return self * (1 - self)


@pytest.fixture(autouse=True)
def abstract_sigma(monkeypatch: pytest.MonkeyPatch) -> None:
    # NumPy calls .exp() on objects; e⁻ᵃ = 1/σ(a) − 1 makes the reference's 1 / (1 + e⁻ᵃ) the abstract σ(a).
    monkeypatch.setattr(sympy.Expr, "exp", lambda self: 1 / Sigma(-self) - 1, raising=False)


def symbols(name: str, *shape: int) -> np.ndarray:
    return np.array([sympy.Symbol(f"{name}{index}") for index in np.ndindex(*shape)], dtype=object).reshape(shape)


def symbolic_problem(widths: tuple[int, ...], batch: int) -> Problem:
    layers = range(len(widths) - 1)
    w = tuple(symbols(f"w{layer}", widths[layer], widths[layer + 1]) for layer in layers)
    b = tuple(symbols(f"b{layer}", 1, widths[layer + 1]) for layer in layers)
    x, t = symbols("x", batch, widths[0]), symbols("t", batch, widths[-1])
    return Problem(Network(w, b), x, t, sympy.Symbol("eta"))


def derivatives(problem: Problem) -> Trace:
    """Every quantity, from the definition: a forward pass in loops and `sympy.diff`.

    α and β are added to every a and h, so that L can be differentiated with respect to those too.
    """
    w, b, widths, batch = problem.network.w, problem.network.b, problem.network.widths, problem.batch
    depth = len(w)
    alpha = [symbols(f"alpha{layer}", batch, widths[layer + 1]) for layer in range(depth)]
    beta = [symbols(f"beta{layer}", batch, widths[layer + 1]) for layer in range(depth)]
    a: list[Any] = [np.empty_like(array) for array in alpha]
    h: list[Any] = [np.empty_like(array) for array in beta]
    for layer in range(depth):
        below = h[layer - 1] if layer else problem.x
        for row, j in np.ndindex(alpha[layer].shape):
            weighted = sum(below[row, i] * w[layer][i, j] for i in range(widths[layer]))
            a[layer][row, j] = weighted + b[layer][0, j] + alpha[layer][row, j]
            h[layer][row, j] = Sigma(a[layer][row, j]) + beta[layer][row, j]
    loss: Any = sum((h[-1][index] - problem.t[index]) ** 2 / 2 for index in np.ndindex(problem.t.shape))

    unperturbed = dict.fromkeys((symbol for array in (*alpha, *beta) for symbol in array.flat), sympy.Integer(0))

    def each(quantity, like) -> tuple[np.ndarray, ...]:
        """``quantity(layer, index)`` for every entry of every layer, without perturbations, in the shapes of ``like``."""
        layers = []
        for layer, array in enumerate(like):
            values = [quantity(layer, index).xreplace(unperturbed) for index in np.ndindex(array.shape)]
            layers.append(np.array(values, dtype=object).reshape(array.shape))
        return tuple(layers)

    return Trace(
        a=each(lambda layer, index: a[layer][index], a),
        h=each(lambda layer, index: h[layer][index], h),
        loss=np.array(loss.xreplace(unperturbed), dtype=object),
        dL_dh=each(lambda layer, index: loss.diff(beta[layer][index]), beta),
        dh_da=each(lambda layer, index: h[layer][index].diff(alpha[layer][index]), alpha),
        dL_da=each(lambda layer, index: loss.diff(alpha[layer][index]), alpha),
        da_dw=each(lambda layer, index: a[layer].sum().diff(w[layer][index]), w),
        dL_dw=each(lambda layer, index: loss.diff(w[layer][index]), w),
        dL_db=each(lambda layer, index: loss.diff(b[layer][index]), b),
        w_new=each(lambda layer, index: w[layer][index] - problem.eta * loss.diff(w[layer][index]), w),
        b_new=each(lambda layer, index: b[layer][index] - problem.eta * loss.diff(b[layer][index]), b),
    )


@cache
def prove(widths: tuple[int, ...], batch: int) -> Any:
    """A problem in symbols, its trace by `backprop`, and the same trace by differentiation."""
    problem = symbolic_problem(widths, batch)
    return problem, backprop(problem), derivatives(problem)


def equal(found: np.ndarray, expected: np.ndarray) -> bool:
    pairs = zip(np.asarray(found, object).flat, np.asarray(expected, object).flat, strict=True)
    return np.shape(found) == np.shape(expected) and all(sympy.expand(f - e) == 0 for f, e in pairs)


def statements() -> list[Any]:
    cases = []
    for (widths, batch), formula in product(NETS, LEDGER):
        if any(statement.layers_of(widths) for statement in formula.statements):
            name = f"{formula.number}, {'-'.join(map(str, widths))}, {batch} row{'s' * (batch > 1)}"
            cases.append(pytest.param(widths, batch, formula, id=name))
    return cases


@pytest.mark.parametrize(("widths", "batch", "formula"), statements())
def test_each_statement_of_the_ledger_is_the_derivative(widths: tuple[int, ...], batch: int, formula: Formula) -> None:
    problem, trace, expected = prove(widths, batch)
    for statement in formula.statements:
        entry = tuple(slice(int(c), int(c) + 1) if c.isdigit() else slice(None) for c in statement.indices)
        for layer in statement.layers_of(widths):
            operands = [operand_array(problem, trace, operand, layer) for operand in statement.operands]
            arrays = expected.loss if statement.quantity == "loss" else getattr(expected, statement.quantity)[layer]
            assert equal(statement.evaluate(*operands), arrays[entry])


@pytest.mark.parametrize(("widths", "batch"), NETS)
def test_backprop_gives_every_quantity_as_differentiation_does(widths: tuple[int, ...], batch: int) -> None:
    _, trace, expected = prove(widths, batch)
    assert equal(trace.loss, expected.loss)
    for name in (field.name for field in fields(Trace) if field.name != "loss"):
        assert all(map(equal, getattr(trace, name), getattr(expected, name))), name


@pytest.mark.parametrize(("widths", "batch"), NETS)
def test_forward_mode_gives_what_differentiation_does(widths: tuple[int, ...], batch: int) -> None:
    problem, trace, expected = prove(widths, batch)
    found = forward_mode(problem, trace.h)
    for name in ("dL_dh", "dL_da", "dL_dw", "dL_db", "w_new", "b_new"):
        assert all(map(equal, getattr(found, name), getattr(expected, name))), name


def jacobians(problem: Problem, trace: Trace) -> dict[str, Any]:
    """Every output of a step by every input, from the definition: the step in loops, of symbols, and `sympy.diff`."""
    w, b, batch = problem.network.w, problem.network.b, problem.batch
    found: dict[str, Any] = {name: [np.empty(shape, object) for shape in shapes]
                             for name, shapes in jacobian_shapes(problem).items()}  # fmt: skip
    for layer, (n, m) in enumerate(pairwise(problem.network.widths)):
        x, a = symbols("x", batch, n), symbols("a", batch, m)
        values = dict(zip(x.flat, (trace.h[layer - 1] if layer else problem.x).flat, strict=True))  # type: ignore[index]
        values |= dict(zip(a.flat, trace.a[layer].flat, strict=True))  # type: ignore[index]
        for row, k in np.ndindex(batch, m):
            step = sum(x[row, i] * w[layer][i, k] for i in range(n)) + b[layer][0, k]
            for j in range(m):
                found["dh_da"][layer][row, k, j] = Sigma(a[row, k]).diff(a[row, j]).xreplace(values)
            for i in range(n):
                found["da_dx"][layer][row, k, i] = step.diff(x[row, i]).xreplace(values)
                for j in range(m):
                    found["da_dw"][layer][row, k, i, j] = step.diff(w[layer][i, j]).xreplace(values)
    return found


@pytest.mark.parametrize(("widths", "batch"), NETS)
def test_each_jacobian_of_the_ledger_is_the_derivative(widths: tuple[int, ...], batch: int) -> None:
    problem, trace, _ = prove(widths, batch)
    expected = jacobians(problem, trace)
    seen = set()
    for statement in (statement for formula in LEDGER for statement in formula.jacobians):
        for layer in statement.layers_of(widths):
            operands = [operand_array(problem, trace, operand, layer) for operand in statement.operands]
            assert equal(statement.evaluate(*operands), expected[statement.quantity][layer]), statement.quantity
            seen.add((statement.quantity, layer))
    assert len(seen) == 3 * (len(widths) - 1)


def test_formulas_6_and_7_hold_for_the_real_sigmoid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sympy.Expr, "exp", lambda self: sympy.exp(self))
    x = sympy.Symbol("x")
    (s,), (derivative,) = sigmoid(np.array([x])), sigmoid_derivative(np.array([x]))
    assert s == 1 / (1 + sympy.exp(-x))
    assert sympy.cancel(s.diff(x) - derivative) == 0
    assert sympy.cancel(s.diff(x) - s) != 0  # the same decision procedure on a wrong one


def test_wrong_formulas_are_not_the_derivative() -> None:
    # In a 2-2-2 net every shape fits, so that only the values can tell.
    problem, trace, expected = prove((2, 2, 2), 1)
    y, t, delta, u = trace.h[1], problem.t, trace.dL_da[1], problem.network.w[1]
    wrong = {
        "13 without 1 − y": (y - t) * y,
        "13 with t − y": (t - y) * activation_derivative(y),
        "13 with the derivative of tanh": (y - t) * (1 - y * y),
        "22 without the transpose": delta @ u,
        "22 with the next layer's derivative": hidden_error(delta, u) * activation_derivative(y),
        "22 with δ of the wrong unit": hidden_error(delta[..., ::-1], u),
    }
    for name, found in wrong.items():
        assert not any(equal(found, right) for right in (*expected.dL_da, *expected.dL_dh)), name
