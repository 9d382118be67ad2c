"""The true values are true: balls refine one another, and difference quotients of 240 digits agree with them."""

from dataclasses import fields, replace
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from flint import arb, ctx

from reference import Gradients, Network, Problem, Trace
from reference.exact import Exact, balls, exact_gradients, exact_trace
from reference.rounding import Arithmetic
from tests.reference.networks import random_problem

FLOAT32, FLOAT64 = Arithmetic("float32", sigmoid_ulp=4), Arithmetic("float64", sigmoid_ulp=4)


def flat(trace: Trace) -> list[arb]:
    names = [field.name for field in fields(Trace) if field.name != "loss"]
    arrays = [np.asarray(trace.loss), *(array for name in names for array in getattr(trace, name))]
    return [ball for array in arrays for ball in array.flat]


@pytest.mark.parametrize("scales", [(1.0,), (30.0,), (0.0, 1e-30, 1.0)], ids=str)
def test_more_bits_refine_the_same_enclosure(scales) -> None:
    problem = random_problem((2, 3, 3, 2), 2, scales=scales)
    coarse, fine = flat(exact_trace(problem, 128)), flat(exact_trace(problem, 1024))
    with ctx.workprec(2048):
        assert all(wide.contains(narrow) for wide, narrow in zip(coarse, fine, strict=True))
        # 896 bits more: where the wide ball is not exact already, the narrow one is smaller by nearly as many
        assert all(narrow.rad() <= wide.rad() * arb(2) ** -800 for wide, narrow in zip(coarse, fine, strict=True))
    assert any(not ball.is_exact() for ball in fine)


def test_the_working_precision_is_left_as_it_was() -> None:
    with ctx.workprec(77):
        exact_gradients(random_problem((2, 2)), FLOAT64)
        assert ctx.prec == 77


def test_gradients_agree_with_difference_quotients_of_240_digits() -> None:
    # Another library, no balls and no backward formula: with so many digits a plain difference quotient, whose own
    # error is h² L‴ / 6, is exact to twice the digits that two float64 hold.
    problem = random_problem((2, 3, 2), 2, seed=1)
    parameters = [*problem.network.w, *problem.network.b]
    ends = np.cumsum([array.size for array in parameters])[:-1]
    x, t = (np.vectorize(Decimal, otypes=[object])(array) for array in (problem.x, problem.t))

    def loss(numbers: list[Decimal]) -> Decimal:
        parts = np.split(np.array(numbers), ends)
        w, u, b1, b2 = (part.reshape(array.shape) for part, array in zip(parts, parameters, strict=True))
        total = Decimal(0)
        for row in range(2):
            h = [1 / (1 + (-sum(x[row, i] * w[i, j] for i in range(2)) - b1[0, j]).exp()) for j in range(3)]
            y = [1 / (1 + (-sum(h[i] * u[i, j] for i in range(3)) - b2[0, j]).exp()) for j in range(2)]
            total += sum((y[j] - t[row, j]) ** 2 for j in range(2)) / 2
        return total

    found = exact_gradients(problem, FLOAT64)
    exact = [*found["loss"], *found["dL_dw"], *found["dL_db"]]
    numbers = [(h, low) for each in exact for h, low in zip(each.high.flat, each.low.flat, strict=True)]
    with localcontext(prec=240):
        point = [Decimal(value) for array in parameters for value in array.ravel().tolist()]
        expected, h = [loss(point)], Decimal("1e-60")
        for i, value in enumerate(point):
            above, below = (loss([*point[:i], value + step, *point[i + 1 :]]) for step in (h, -h))
            expected.append((above - below) / (2 * h))
        for (high, low), true in zip(numbers, expected, strict=True):
            assert abs(Decimal(high) + Decimal(low) - true) <= abs(true) / 2**106
            assert high == float(true)


@pytest.mark.parametrize(("dtype", "arithmetic"), [("float32", FLOAT32), ("float64", FLOAT64)])
def test_error_in_ulp(dtype, arithmetic) -> None:
    # 1/3 lies between two floats, the other numbers are floats; 0's last place is that of the least subnormal.
    with ctx.workprec(200):
        rest = float(arb(1) / 3 - 1 / 3)
    exact = Exact(np.array([1 / 3, 1.0, -2.0, 0.0]), np.array([rest, 0.0, 0.0, 0.0]))
    nearest = exact.high.astype(dtype)
    for steps in (-2, -1, 0, 1, 2):
        values = nearest + np.array(steps, dtype) * np.spacing(nearest)
        errors = exact.error_in_ulp(values, arithmetic)
        true = abs(Fraction(float(values[0])) - Fraction(1, 3)) / Fraction(float(np.spacing(nearest[0])))
        assert errors[0] == pytest.approx(float(true), rel=2.0**-50, abs=0)  # four roundings of float64
        assert errors[1:].tolist() == [abs(steps)] * 3


@pytest.mark.parametrize(("dtype", "arithmetic"), [("float32", FLOAT32), ("float64", FLOAT64)])
@pytest.mark.parametrize("scales", [(1.0,), (0.0, 1e-40, 1.0, 50.0)], ids=str)
def test_the_nearest_float_is_within_half_an_ulp(dtype, arithmetic, scales) -> None:
    problem = random_problem((3, 4, 2), 2, (5,), dtype, scales)
    for arrays in exact_gradients(problem, arithmetic).values():
        for exact in arrays:
            nearest = exact.high.astype(dtype)
            assert np.all(exact.error_in_ulp(nearest, arithmetic) <= 0.5)
            # its neighbour is at least as far away, half of their gap: 0.25 ULP where the gap narrows at a power of 2
            assert np.all(exact.error_in_ulp(np.nextafter(nearest, np.array(np.inf, dtype)), arithmetic) >= 0.25)


def test_a_saturated_network_keeps_its_digits() -> None:
    # y = σ(±700): 1 − y is 1e-304, the derivative too, and every float gradient computed from y is 0 for +700.
    one = np.ones((1, 1))
    for a in (700.0, -700.0):
        problem = Problem(Network((one,), (0 * one,)), a * one, 0.5 * one)
        (gradient,) = exact_gradients(problem, FLOAT64)["dL_dw"]
        with localcontext(prec=700):
            y = 1 / (1 + Decimal(-a).exp())
            assert gradient.high.item() == float((y - Decimal(1) / 2) * y * (1 - y) * Decimal(a)) != 0


def test_a_gradient_that_is_exactly_zero_is_enclosed() -> None:
    # Two equal outputs, y = σ(0.35), with opposite weights: ∂L/∂b⁽¹⁾ cancels, and 0 has no relative precision.
    network = Network((np.ones((1, 1)), np.array([[0.7, -0.7]])), (np.zeros((1, 1)), np.array([[0.0, 0.7]])))
    problem = Problem(network, np.zeros((1, 1)), np.zeros((1, 2)))
    assert not all(ball.is_exact() for ball in flat(exact_trace(problem)))
    assert exact_gradients(problem, FLOAT64)["dL_db"][0].high.item() == 0


@pytest.mark.parametrize("hostile", [np.inf, -np.inf, np.nan])
def test_what_is_not_finite_has_no_exact_value(hostile) -> None:
    problem = random_problem((2, 2), stack=(2,))
    problem.t[1, 0, 1] = hostile
    found = exact_gradients(problem, FLOAT64)
    assert np.isnan(found["dL_dw"][0].high).tolist() == [[[False, False]] * 2, [[False, True]] * 2]
    assert np.isnan(found["loss"][0].high).tolist() == [False, True]


def test_what_is_beyond_float64_has_no_exact_value() -> None:
    problem = replace(random_problem((2, 2)), t=np.array([[1e200, 0.5]]))
    found = exact_gradients(problem, FLOAT64)
    assert np.isnan(found["loss"][0].high)
    assert np.isfinite(found["dL_dw"][0].high).all()


def test_balls_that_stay_loose_are_refused(monkeypatch) -> None:
    monkeypatch.setattr("reference.exact._BITS", [32, 48])
    with pytest.raises(ArithmeticError, match=r"^exact gradients: balls of 48 bits do not enclose the values tightly"):
        exact_gradients(random_problem((2, 2)), FLOAT64)


def test_balls_are_exactly_the_floats() -> None:
    for dtype in ("float16", "float32", "float64"):
        info = np.finfo(dtype)
        values = np.array([[info.max, -info.tiny, info.smallest_subnormal], [0.0, 1 / 3, -1.0]], dtype)
        array = balls(values)
        assert array.shape == values.shape
        assert all(
            ball.is_exact() and float(ball) == value for ball, value in zip(array.flat, values.flat, strict=True)
        )


def test_quantities_are_those_of_gradients() -> None:
    found = exact_gradients(random_problem((2, 3, 2), stack=(4,)), FLOAT64)
    assert list(found) == [field.name for field in fields(Gradients)]
    assert [each.high.shape for each in found["dL_dw"]] == [(4, 2, 3), (4, 3, 2)]
    assert found["loss"][0].high.shape == (4,)
