"""What does not fit is refused, by name, with what was found and what was expected; what fits comes out as it went in."""

import re
import warnings
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from flint import acb, arb, ctx

from reference import Gradients, Network, Problem, Trace, backprop, update
from reference.exact import balls
from reference.formulas import sigmoid
from reference.network import Array, quantity_shapes, single
from reference.rounding import Arithmetic
from tests.reference.networks import full_trace, random_problem


def f32(*shape: int) -> Array:
    return np.zeros(shape, np.float32)


W, B = (f32(2, 3), f32(3, 2)), (f32(1, 3), f32(1, 2))
NETWORK = Network(W, B)
PROBLEM = Problem(NETWORK, f32(4, 2), f32(4, 2))
TRACE = full_trace(PROBLEM)
NONE: Any = None
F64 = np.zeros((1, 2))

REFUSED = [
    (lambda: Network(W[0], B), "w: found ndarray, expected a tuple with one array per layer"),
    (lambda: Network(W, NONE), "b: found None, expected a tuple with one array per layer"),
    (lambda: Network((), ()), "w: found no arrays, expected one per layer"),
    (lambda: Network((W[0], None), B), "w[1]: the array is missing (None)"),
    (lambda: Network(W, (B[0], [0.0])), "b[1]: found list, expected an array"),
    (lambda: Network(W, B[:1]), "b: found 1 array, expected 2, one per array of w"),
    (lambda: Network(W[:1], B), "b: found 2 arrays, expected 1, one per array of w"),
    (lambda: Network((f32(3),), (f32(3),)), "w[0]: found shape (3,), expected (..., inputs, units)"),
    (lambda: Network((W[0], f32(2, 2)), B), "w[1]: found shape (2, 2), expected (3, 2)"),
    (lambda: Network((W[0], f32(2)), B), "w[1]: found shape (2,), expected (3, 2)"),
    (lambda: Network(W, (f32(3), B[1])), "b[0]: found shape (3,), expected (1, 3)"),
    (lambda: Network(W, (B[0], f32(2, 1))), "b[1]: found shape (2, 1), expected (1, 2)"),
    (lambda: Network((f32(5, 2, 3), W[1]), B), "b[0]: found shape (1, 3), expected (5, 1, 3)"),
    (
        lambda: Network((f32(5, 2, 3), f32(4, 3, 2)), (f32(5, 1, 3), f32(5, 1, 2))),
        "w[1]: found shape (4, 3, 2), expected (5, 3, 2)",
    ),
    (lambda: Network((f32(0, 3),), (f32(1, 3),)), "w[0]: found shape (0, 3), expected every width to be at least 1"),
    (lambda: Network((f32(2, 0),), (f32(1, 0),)), "w[0]: found shape (2, 0), expected every width to be at least 1"),
    (lambda: Network(W, (B[0], F64)), "b[1]: found dtype float64, expected float32, the dtype of w[0]"),
    (
        lambda: Network((np.ones((2, 2), np.int64),), (np.ones((1, 2), np.int64),)),
        "w[0]: found dtype int64, expected a floating-point, complex or object dtype",
    ),
    (lambda: Problem(NONE, f32(4, 2), f32(4, 2)), "network: found NoneType, expected a Network"),
    (lambda: Problem(NETWORK, None, f32(4, 2)), "x: the array is missing (None)"),
    (lambda: Problem(NETWORK, f32(4, 2), [[0.0, 0.0]]), "t: found list, expected an array"),
    (lambda: Problem(NETWORK, f32(2), f32(2)), "x: found shape (2,), expected (..., batch, 2)"),
    (lambda: Problem(NETWORK, f32(0, 2), f32(0, 2)), "x: found shape (0, 2), expected a batch of at least 1"),
    (lambda: Problem(NETWORK, f32(4, 3), f32(4, 2)), "x: found shape (4, 3), expected (4, 2)"),
    (lambda: Problem(NETWORK, f32(4, 2), f32(1, 2)), "t: found shape (1, 2), expected (4, 2)"),
    (lambda: Problem(NETWORK, f32(5, 4, 2), f32(5, 4, 2)), "x: found shape (5, 4, 2), expected (4, 2)"),
    (lambda: Problem(NETWORK, f32(1, 2), F64), "t: found dtype float64, expected float32, the dtype of w[0]"),
    (lambda: replace(PROBLEM, eta="fast"), "eta: found 'fast', expected a number"),
    (lambda: replace(PROBLEM, eta=[0.5]), "eta: found [0.5], expected a number"),
    (lambda: replace(PROBLEM, eta=np.nan), "eta: found nan, expected a finite number in float32"),
    (lambda: replace(PROBLEM, eta=-np.inf), "eta: found -inf, expected a finite number in float32"),
    (lambda: replace(PROBLEM, eta=1e300), "eta: found 1e+300, expected a finite number in float32"),
    (lambda: Trace(a=f32(4, 2)), "Trace.a: found ndarray, expected a tuple with one array per layer"),
    (lambda: Trace(loss=0.5), "Trace.loss: found float, expected an array"),
    (lambda: Trace(dL_dw=(W[0], None)), "Trace.dL_dw[1]: the array is missing (None)"),
    (
        lambda: Trace(a=TRACE.a, h=TRACE.h[:1]),
        "Trace: found a: 2, h: 1 arrays, expected the same number of layers in each",
    ),
    (lambda: Gradients(dL_db=f32(1, 2)), "Gradients.dL_db: found ndarray, expected a tuple with one array per layer"),
    (
        lambda: Gradients(dL_dw=W, dL_db=B[:1]),
        "Gradients: found dL_dw: 2, dL_db: 1 arrays, expected the same number of layers in each",
    ),
    (lambda: Trace(a=TRACE.a[:1]).validate(PROBLEM), "a: found 1 array, expected 2, one per layer"),
    (lambda: Trace(da_dw=W[::-1]).validate(PROBLEM), "da_dw[0]: found shape (3, 2), expected (2, 3)"),
    (lambda: Trace(b_new=(B[0], f32(2))).validate(PROBLEM), "b_new[1]: found shape (2,), expected (1, 2)"),
    (lambda: Trace(loss=f32(1)).validate(PROBLEM), "loss: found shape (1,), expected ()"),
    (
        lambda: Trace(loss=np.array(0.5)).validate(PROBLEM),
        "loss: found dtype float64, expected float32, the dtype of w[0]",
    ),
    (
        lambda: Trace(h=tuple(h.astype(np.float16) for h in TRACE.h)).validate(PROBLEM),
        "h[0]: found dtype float16, expected float32, the dtype of w[0]",
    ),
    (lambda: update(NETWORK, Gradients(), 0.5), "dL_dw: found None, expected 2 arrays, one per layer"),
    (lambda: update(NETWORK, Gradients(dL_dw=W), 0.5), "dL_db: found None, expected 2 arrays, one per layer"),
    (
        lambda: update(NETWORK, Gradients(dL_dw=W[:1], dL_db=B[:1]), 0.5),
        "dL_dw: found 1, expected 2 arrays, one per layer",
    ),
]


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_does_not_fit_is_refused_by_name(make, message) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make()


def test_a_weight_without_axes_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"^w\[1\]: found shape \(\), expected "):
        Network((W[0], np.float32(1)), B)


@pytest.mark.parametrize("dtype", ["U1", "M8[s]"])
def test_arrays_of_no_numbers_are_refused(dtype) -> None:
    array = np.zeros((1, 1), dtype)
    with pytest.raises(
        ValueError, match=r"^w\[0\]: found dtype .*, expected a floating-point, complex or object dtype"
    ):
        Network((array,), (array,))


# --- what fits ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stack", [(), (1,), (5,), (2, 3), (2, 1, 3)], ids=str)
def test_any_leading_axes(stack) -> None:
    problem = random_problem((2, 3, 4, 2), 5, stack)
    network = problem.network
    assert (network.depth, network.stack, network.widths) == (3, stack, (2, 3, 4, 2))
    assert (problem.batch, problem.dtype.name) == (5, "float64")
    names = ["w[0]", "w[1]", "w[2]", "b[0]", "b[1]", "b[2]", "x", "t"]
    assert [name for name, _ in problem.named()] == names
    shapes = {
        **dict.fromkeys(("a", "h", "dL_dh", "dh_da", "dL_da"), ((*stack, 5, 3), (*stack, 5, 4), (*stack, 5, 2))),
        **dict.fromkeys(("da_dw", "dL_dw", "w_new"), ((*stack, 2, 3), (*stack, 3, 4), (*stack, 4, 2))),
        **dict.fromkeys(("dL_db", "b_new"), ((*stack, 1, 3), (*stack, 1, 4), (*stack, 1, 2))),
        "loss": (stack,),
    }
    assert quantity_shapes(problem) == shapes
    assert set(shapes) == {field.name for field in fields(Trace)}
    backprop(problem).validate(problem)


def test_parts_of_a_stack() -> None:
    problem = random_problem((2, 3, 2), 2, (2, 3), eta=0.1)

    def same(one: Problem, other: Problem) -> bool:
        pairs = zip(one.named(), other.named(), strict=True)
        return one.eta == other.eta and all(np.array_equal(a, b) for (_, a), (_, b) in pairs)

    assert problem.at(1).network.stack == (3,)
    assert problem.at(np.s_[:, :2]).network.stack == (2, 2)
    assert same(single(problem, 4), problem.at((1, 1)))
    assert np.array_equal(single(problem, 4).x, problem.x[1, 1])
    assert same(single(single(problem, 4), 0), problem.at((1, 1)))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_eta_is_the_number_that_the_dtype_holds(dtype) -> None:
    problem = random_problem((2, 2), dtype=dtype, eta=0.1)
    assert type(problem.eta) is float
    assert problem.eta == float(np.dtype(dtype).type(0.1))
    in_other_numbers = problem.map(lambda array: array.astype(object))
    assert in_other_numbers.eta == problem.eta  # not 0.1 again
    assert replace(in_other_numbers, eta=arb(1) / 3).eta.overlaps(arb(1) / 3)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex128"])
@pytest.mark.parametrize("widths", [(3, 2), (2, 3, 2), (1, 1, 1, 1)], ids=str)
def test_backprop_keeps_dtype_and_shapes(dtype, widths) -> None:
    for stack in ((), (4,)):
        problem = random_problem(widths, 3, stack, dtype, eta=0.3)
        trace = backprop(problem)
        trace.validate(problem)
        assert all(getattr(trace, field.name) is not None for field in fields(Trace))


def test_backprop_of_objects_keeps_shapes() -> None:
    for stack in ((), (4,)):
        problem = random_problem((2, 3, 2), 3, stack).map(balls)
        backprop(problem).validate(problem)


def test_update_steps_every_array() -> None:
    problem = random_problem((2, 3, 2))
    trace = full_trace(problem)
    stepped = update(problem.network, trace, 0.25)
    for before, after, gradient in (
        *zip(problem.network.w, stepped.w, trace.dL_dw, strict=True),
        *zip(problem.network.b, stepped.b, trace.dL_db, strict=True),
    ):
        assert np.array_equal(after, before - 0.25 * gradient)


# --- the sigmoid ------------------------------------------------------------------------------------------------------


def hostile(dtype: str) -> Array:
    """Every kind of finite number: all of float16; of the wider ones, the ends, the turns of σ, and a million bits."""
    if dtype == "float16":
        values = np.arange(2**16, dtype=np.uint16).view(np.float16)
        return values[np.isfinite(values)]
    info = np.finfo(dtype)
    ends = np.array([0.0, info.smallest_subnormal, info.tiny, info.eps, 17, 37, 88.5, 104, 710, 745.2, info.max], dtype)
    random = np.random.default_rng(0)
    size = 2.0 ** random.uniform(-30, 10, 500_000)
    return np.concatenate([ends, -ends, size.astype(dtype), -size.astype(dtype)])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_sigmoid_of_every_kind_of_number(dtype) -> None:
    values, largest = hostile(dtype), np.finfo(dtype).max
    with np.errstate(all="raise", under="ignore"), warnings.catch_warnings(action="error"):
        found = sigmoid(values)
        ends = sigmoid(np.array([-largest, -0.0, 0.0, largest], dtype))
    assert found.dtype == dtype
    assert np.all((found >= 0) & (found <= 1))
    assert ends.tolist() == [0, 0.5, 0.5, 1]
    # within the 4 ULP that tests and adapter declare, where σ is not subnormal
    arithmetic = Arithmetic(dtype, sigmoid_ulp=4)
    with np.errstate(under="ignore"):
        exact = sigmoid(values.astype(arithmetic.working))
    normal = exact >= arithmetic.least_normal
    assert np.all(np.abs(found - exact)[normal] <= 4 * arithmetic.ulp(exact[normal]))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
def test_the_sigmoid_of_what_is_not_finite_is_its_limit(dtype) -> None:
    with np.errstate(all="raise"):
        assert np.array_equal(sigmoid(np.array([-np.inf, np.inf, np.nan], dtype)), [0, 1, np.nan], equal_nan=True)


def test_the_sigmoid_of_complex_numbers_and_of_objects_is_the_real_one() -> None:
    # exp is within 1 ULP, 2u; 1 + e⁻ᵃ rounds once; the division once, a complex one three times.
    values = np.array([-700.0, -37.5, -1.25, -1e-300, 0.0, 1e-10, 0.3, 5.0, 40.0, 700.0])
    with ctx.workprec(200):
        exact = [1 / (1 + (-arb(value)).exp()) for value in values.tolist()]
        for roundings, array in ((4, values), (6, values.astype(complex))):
            for found, true in zip(sigmoid(array).tolist(), exact, strict=True):
                assert abs(acb(found) - true) <= roundings * arb(2) ** -53 * true
        assert all(found.overlaps(true) for found, true in zip(sigmoid(balls(values)), exact, strict=True))


def test_the_sigmoid_of_a_complex_number_is_analytic() -> None:
    points = np.array([-30 + 2j, -1 - 1j, 0.5j, 2 + 3j, 700 - 1j])
    with ctx.workprec(200):
        for point, found in zip(points.tolist(), sigmoid(points).tolist(), strict=True):
            exact = 1 / (1 + (-acb(point)).exp())
            assert abs(acb(found) - exact) <= 16 * arb(2) ** -53 * abs(exact)
