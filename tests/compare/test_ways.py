"""The checks, where an arithmetic declares another way of computing: correct code agrees, and faults are still found.

NumPy plays each of these frameworks: one that carries derivatives forward, one that evaluates its activations again, one
that takes σ(−a) for 1 − σ(a), one that keeps float32 between operations on float16.
"""

from collections.abc import Callable
from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from compare import check
from compare.problems import build
from reference import Gradients, Problem, Trace, backprop
from reference import formulas as f
from reference.backprop import forward_mode
from reference.exact import exact_gradients
from reference.network import Array, Jacobians
from reference.rounding import Arithmetic
from tests.reference.networks import full_trace, random_problem

FLOAT32 = Arithmetic("float32", sigmoid_ulp=4)
NETS = {"document": ((2, 3, 2), 1, (300,)), "deep": ((5, 7, 6, 4, 3), 3, (2, 5))}


def failed(tallies: check.Tallies) -> set[str]:
    return {number for (number, _), tally in tallies.items() if tally.failures}


def assert_agree(tallies: check.Tallies) -> None:
    for place, tally in tallies.items():
        assert (tally.failures, tally.not_covered) == (0, None), (place, tally)
        assert tally.entries > 0, place


def with_layer(trace: Trace, quantity: str, layer: int, change: Callable[[Array], Array]) -> Trace:
    arrays = list(getattr(trace, quantity))
    arrays[layer] = change(arrays[layer].copy())
    return replace(trace, **{quantity: tuple(arrays)})


def first_entry(by: float) -> Callable[[Array], Array]:
    def change(array: Array) -> Array:
        array.flat[0] *= np.float32(by)
        return array

    return change


# --- forward mode -----------------------------------------------------------------------------------------------------


def forward_trace(problem: Problem) -> Trace:
    reverse = backprop(problem)
    forward = forward_mode(problem, reverse.h or ())
    carried = ("dL_dh", "dL_da", "dL_dw", "dL_db", "w_new", "b_new")
    return replace(reverse, **{name: getattr(forward, name) for name in carried})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("net", NETS)
def test_forward_mode_agrees_with_its_own_check(net, dtype) -> None:
    problem = random_problem(*NETS[net], dtype=dtype, eta=0.1)
    arithmetic = replace(FLOAT32, dtype=dtype, forward=True)
    trace = forward_trace(problem)
    tallies = check.step(problem, trace, arithmetic)
    assert_agree(tallies)
    assert max(tally.worst_bound_fraction for tally in tallies.values()) > 0.3
    gradients = Gradients(trace.loss, trace.dL_dw, trace.dL_db)
    assert_agree(check.end_to_end(problem, gradients, arithmetic, exact_gradients(problem, arithmetic)))


def test_gradients_are_held_to_what_forward_mode_may_lose() -> None:
    # its last sum runs over rows and outputs together: where that costs more than reverse mode, it is allowed more
    problem = random_problem(*NETS["deep"], dtype="float32")
    given = problem.map(FLOAT32.exact)
    whole: Any = backprop(given)
    carried: Any = forward_mode(given, whole.h)
    forward, reverse = carried.dL_dw[2], whole.dL_dw[2].error
    more = forward.error > 1.05 * reverse
    assert np.count_nonzero(more) > 100
    at_the_end = (forward.value + np.where(more, 0.99, 0.5) * forward.error).astype(np.float32)
    trace: Any = forward_trace(problem)
    gradients = Gradients(trace.loss, (*trace.dL_dw[:2], at_the_end, trace.dL_dw[3]), trace.dL_db)
    truth = exact_gradients(problem, FLOAT32)
    assert_agree(check.end_to_end(problem, gradients, replace(FLOAT32, forward=True), truth))
    assert check.end_to_end(problem, gradients, FLOAT32, truth)["21", 2].failures > 0


@pytest.mark.parametrize(
    ("quantity", "layer", "formulas"),
    [
        ("dL_dh", 0, {"18", "22"}),
        ("dL_da", 0, {"22"}),
        ("dL_da", 1, {"13"}),
        ("dL_dw", 0, {"15", "19", "20", "21"}),  # so small that w − η ∂L/∂w remains the same number
        ("dL_dw", 1, {"9", "13", "21", "8"}),
        ("dL_db", 0, {"b1"}),
        ("w_new", 1, {"8", "14"}),
        ("b_new", 0, {"b2"}),
    ],
)
def test_a_fault_of_1e_5_in_one_entry_of_forward_mode_is_found_and_named(quantity, layer, formulas) -> None:
    # no derivative is read by another: a wrong δ leaves ∂L/∂w as it is, and its formulas too
    problem = random_problem(*NETS["document"], dtype="float32").map(np.abs)
    problem = Problem(problem.network, problem.x, -problem.t)  # nothing cancels
    arithmetic = replace(FLOAT32, forward=True)
    assert_agree(check.step(problem, forward_trace(problem), arithmetic))
    faulty = with_layer(forward_trace(problem), quantity, layer, first_entry(1 + 1e-5))
    assert failed(check.step(problem, faulty, arithmetic)) == formulas


def test_a_wrong_formula_is_found_in_forward_mode_too(monkeypatch) -> None:
    # what encloses the quantity is right, the formula is not: its own rounding does not excuse it
    problem = random_problem(*NETS["document"], dtype="float32")
    (statement,) = next(formula for formula in f.LEDGER if formula.number == "21").statements
    wrong = replace(statement, evaluate=lambda delta, x: x.mT @ (delta * (1 + 2.0**-18)))
    ledger = tuple(replace(each, statements=(wrong,)) if each.number == "21" else each for each in f.LEDGER)
    monkeypatch.setattr(check, "LEDGER", ledger)
    assert failed(check.step(problem, forward_trace(problem), replace(FLOAT32, forward=True))) == {"21"}


def test_forward_mode_needs_every_activation() -> None:
    problem = random_problem(*NETS["document"], dtype="float32")
    trace = replace(forward_trace(problem), h=None)
    tallies = check.step(problem, trace, replace(FLOAT32, forward=True))
    assert tallies["21", 0].not_covered == "the adapter returns no h"
    assert tallies["21", 0].entries == 0


# --- activations evaluated again -----------------------------------------------------------------------------------


def test_rematerialised_activations_agree_where_that_is_declared() -> None:
    problem = random_problem(*NETS["deep"], dtype="float32")
    trace: Any = backprop(problem)
    h = [np.nextafter(h_l, np.where(np.arange(h_l.shape[-1]) % 2, 0, 1).astype("float32")) for h_l in trace.h]
    inputs, delta = [problem.x, *trace.h[:-1]], f.output_error(trace.h[-1], problem.t) * f.activation_derivative(h[-1])
    deltas = [delta]
    for layer in reversed(range(problem.network.depth - 1)):
        deltas.insert(0, f.hidden_delta(deltas[0], problem.network.w[layer + 1], h[layer]))
    dL_dh = [f.hidden_error(delta, w) for delta, w in zip(deltas[1:], problem.network.w[1:], strict=True)]
    dL_dw = tuple(map(f.weight_gradient, deltas, inputs))
    dL_db = tuple(map(f.bias_gradient, deltas))
    stepped = [tuple(f.update(p, g, problem.eta) for p, g in zip(*each, strict=True))
               for each in ((problem.network.w, dL_dw), (problem.network.b, dL_db))]  # fmt: skip
    again = replace(
        trace, dL_dh=(*dL_dh, trace.dL_dh[-1]), dL_da=tuple(deltas), dL_dw=dL_dw, dL_db=dL_db,
        w_new=stepped[0], b_new=stepped[1],
    )  # fmt: skip
    assert_agree(check.step(problem, again, replace(FLOAT32, recomputes=True)))
    assert failed(check.step(problem, again, FLOAT32)) & {"13", "22"}
    far = with_layer(again, "dL_da", 1, first_entry(1 + 1e-3))
    assert "22" in failed(check.step(problem, far, replace(FLOAT32, recomputes=True)))


@pytest.mark.parametrize(("quantity", "ulp", "formula"), [("dL_dh", 2, "10"), ("dh_da", 8, "11")])
def test_what_is_not_evaluated_again_keeps_its_sharp_bound(quantity, ulp, formula) -> None:
    problem = random_problem(*NETS["document"], dtype="float32").map(np.abs)
    problem = Problem(problem.network, problem.x, -problem.t)
    faulty = with_layer(backprop(problem), quantity, 1, first_entry(1 + ulp * 2.0**-23))
    assert formula in failed(check.step(problem, faulty, replace(FLOAT32, recomputes=True)))


# --- a learning rate of another format -------------------------------------------------------------------------------


def test_a_learning_rate_that_is_held_as_float32_agrees_where_that_is_declared_and_nowhere_else() -> None:
    problem = random_problem(*NETS["document"], dtype="float64", eta=0.1)
    trace = backprop(replace(problem, eta=float(np.float32(0.1))))
    arithmetic = replace(FLOAT32, dtype="float64")
    assert_agree(check.step(problem, trace, replace(arithmetic, learning_rate="float32")))
    assert failed(check.step(problem, trace, arithmetic)) == {"8", "14", "b2"}


# --- σ(−a) ------------------------------------------------------------------------------------------------------------


def complement_trace(problem: Problem) -> Trace:
    trace: Any = full_trace(problem)
    slopes = [h * f.sigmoid(-a) for a, h in zip(trace.a, trace.h, strict=True)]
    deltas = [f.output_error(trace.h[-1], problem.t) * slopes[-1]]
    for layer in reversed(range(problem.network.depth - 1)):
        deltas.insert(0, f.hidden_error(deltas[0], problem.network.w[layer + 1]) * slopes[layer])
    dL_dh = [f.hidden_error(delta, w) for delta, w in zip(deltas[1:], problem.network.w[1:], strict=True)]
    dL_dw = tuple(map(f.weight_gradient, deltas, [problem.x, *trace.h[:-1]]))
    dL_db = tuple(map(f.bias_gradient, deltas))
    w, b = problem.network.w, problem.network.b
    found: Trace = replace(
        trace, dh_da=tuple(slopes), dL_da=tuple(deltas), dL_dh=(*dL_dh, trace.dL_dh[-1]), dL_dw=dL_dw, dL_db=dL_db,
        w_new=tuple(f.update(p, g, problem.eta) for p, g in zip(w, dL_dw, strict=True)),
        b_new=tuple(f.update(p, g, problem.eta) for p, g in zip(b, dL_db, strict=True)),
    )  # fmt: skip
    return found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["document", "saturated", "sigmoid"])
def test_the_other_printed_form_agrees_where_that_is_declared_and_nowhere_else(name, dtype) -> None:
    (problem,) = build(name, dtype, 500, 0)
    arithmetic = Arithmetic(dtype, sigmoid_ulp=4, complement=True)
    trace = complement_trace(problem)
    assert_agree(check.step(problem, trace, arithmetic))
    gradients = Gradients(trace.loss, trace.dL_dw, trace.dL_db)
    truth = exact_gradients(problem.at(slice(20)), arithmetic)
    assert_agree(check.end_to_end(problem, gradients, arithmetic, truth))
    printed_first = {"11", "16"}
    assert failed(check.step(problem, trace, replace(arithmetic, complement=False))) >= printed_first
    assert failed(check.step(problem, backprop(problem), arithmetic)) >= printed_first


def test_the_other_printed_form_needs_the_a_that_belongs_to_y() -> None:
    (problem,) = build("document", "float32", 5, 0)
    trace = replace(complement_trace(problem), a=None)
    tallies = check.step(problem, trace, replace(FLOAT32, complement=True))
    assert tallies["11", 1].not_covered == "the adapter returns no a"


# --- excess precision -------------------------------------------------------------------------------------------------


def excess_trace(problem: Problem) -> Trace:
    """All of it in float32, each quantity rounded to float16 only to be returned."""
    wide: Any = backprop(problem.map(lambda array: array.astype(np.float32)))
    layers = {field.name: tuple(array.astype(np.float16) for array in getattr(wide, field.name))
              for field in fields(Trace) if field.name != "loss"}  # fmt: skip
    return Trace(**layers, loss=wide.loss.astype(np.float16))


@pytest.mark.parametrize("name", ["document", "all-different", "saturated"])
def test_excess_precision_agrees_where_that_is_declared_and_nowhere_else(name) -> None:
    (problem,) = build(name, "float16", 500, 0)
    arithmetic = Arithmetic("float16", sigmoid_ulp=0.51, accumulate="float32", sums="float32", excess=True)
    trace = excess_trace(problem)
    assert_agree(check.step(problem, trace, arithmetic))
    gradients = Gradients(trace.loss, trace.dL_dw, trace.dL_db)
    assert_agree(check.end_to_end(problem, gradients, arithmetic, exact_gradients(problem.at(slice(20)), arithmetic)))
    assert failed(check.step(problem, trace, replace(arithmetic, excess=False))) >= {"3", "10", "13"}


def test_the_problem_itself_is_not_held_in_excess_precision() -> None:
    problem = (
        random_problem((2, 3, 2), 1, (300,), dtype="float32").map(np.abs).map(lambda array: array.astype("float16"))
    )
    arithmetic = Arithmetic("float16", sigmoid_ulp=0.51, accumulate="float32", sums="float32", excess=True)
    trace = excess_trace(problem)
    assert_agree(check.step(problem, trace, arithmetic))
    two_ulp = with_layer(trace, "a", 0, lambda a: np.nextafter(np.nextafter(a, np.float16(9)), np.float16(9)))
    assert check.step(problem, two_ulp, arithmetic)["1", 0].failures > 850  # of 900


def test_a_sum_that_a_short_format_cannot_bear_in_some_networks_is_not_judged_there_and_is_elsewhere() -> None:
    problem = random_problem((2, 3, 2), 300, (2,), dtype="float32").map(lambda array: array.astype("bfloat16"))
    wide = full_trace(problem.map(lambda array: array.astype(np.float32)))
    y = wide.h[-1].astype("bfloat16")
    t = problem.t.copy()
    t[1, 10:] = y[1, 10:]  # of the second network, all but 20 terms are zero
    problem = replace(problem, t=t)
    loss = (((y.astype(np.float32) - t.astype(np.float32)) ** 2).sum((-2, -1)) / 2).astype("bfloat16")
    trace = Trace(h=(wide.h[0].astype("bfloat16"), y), loss=loss)
    tally = check.step(problem, trace, Arithmetic("bfloat16", sigmoid_ulp=3, accumulate="float32"))["5", 1]
    assert (tally.entries, tally.failures, tally.unjudged, tally.not_covered) == (1, 0, 1, None)


def test_a_quantity_that_a_framework_has_no_code_for_is_not_covered_with_its_reason() -> None:
    problem = random_problem(*NETS["document"], dtype="float32")
    trace: Any = backprop(problem)
    reasons = {"loss": "its loss is another one", "da_dw": "it never forms this"}
    tallies = check.step(problem, replace(trace, loss=None, da_dw=None), FLOAT32, reasons)
    assert tallies["5", 1].not_covered == "its loss is another one"
    assert tallies["9", 1].not_covered == tallies["17", 0].not_covered == "it never forms this"
    gradients = Gradients(None, trace.dL_dw, trace.dL_db)
    truth = exact_gradients(problem, FLOAT32)
    assert check.end_to_end(problem, gradients, FLOAT32, truth, reasons)["5", 1].not_covered == reasons["loss"]


def test_a_sum_that_a_short_format_cannot_bear_is_not_covered() -> None:
    # 300 rows, 2 outputs: the loss adds 600 numbers, and 600 u > 1 in bfloat16
    problem = random_problem((2, 3, 2), 300, dtype="float32").map(lambda array: array.astype("bfloat16"))
    wide: Any = backprop(problem.map(lambda array: array.astype(np.float32)))
    short = {field.name: tuple(array.astype("bfloat16") for array in getattr(wide, field.name))
             for field in fields(Trace) if field.name != "loss"}  # fmt: skip
    trace = Trace(**short, loss=wide.loss.astype("bfloat16"))
    tally = check.step(problem, trace, Arithmetic("bfloat16", sigmoid_ulp=3, accumulate="float32"))["5", 1]
    assert (tally.entries, tally.not_covered) == (0, "the rounding error of loss has no finite bound")


# --- Jacobians --------------------------------------------------------------------------------------------------------


def jacobians_of(problem: Problem) -> Jacobians:
    h = backprop(problem).h or ()
    inputs, w = (problem.x, *h[:-1]), problem.network.w
    return Jacobians(
        h=h,
        dh_da=tuple(map(f.activation_jacobian, h)),
        da_dw=tuple(map(f.weight_jacobian, inputs, w)),
        da_dx=tuple(map(f.input_jacobian, inputs, w)),
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("net", NETS)
def test_jacobians_agree_entry_by_entry(net, dtype) -> None:
    widths, batch, stack = NETS[net]
    problem = random_problem(widths, batch, stack, dtype=dtype)
    tallies = check.jacobians(problem, jacobians_of(problem), replace(FLOAT32, dtype=dtype))
    assert_agree(tallies)
    assert {number for number, _ in tallies} == {"11", "12", "16", "17", "18"}
    rows = batch * int(np.prod(stack))
    expected = rows * sum(m * m + m * n * m + m * n for n, m in pairwise(widths))
    assert sum(tally.entries for tally in tallies.values()) == expected


def planted(name: str, layer: int, change: Callable[[Array], Array]) -> set[str]:
    problem = random_problem((3, 3, 3), 2, (4,), dtype="float32")  # square: every mistake has the right shape
    found = jacobians_of(problem)
    arrays = [array.copy() for array in getattr(found, name)]
    arrays[layer] = change(arrays[layer])
    return failed(check.jacobians(problem, replace(found, **{name: tuple(arrays)}), FLOAT32))


def off_diagonal(array: Array) -> Array:
    array[0, 0, 0, 1] = 1e-45
    return array


@pytest.mark.parametrize(
    ("name", "layer", "change", "formulas"),
    [
        ("dh_da", 1, off_diagonal, {"11"}),
        ("dh_da", 0, off_diagonal, {"16"}),
        ("dh_da", 1, lambda array: array * np.float32(1 + 2.0**-21), {"11"}),
        ("da_dw", 1, lambda array: array.swapaxes(-1, -2), {"12"}),
        ("da_dw", 0, lambda array: np.nextafter(array, np.float32(2)), {"17"}),
        ("da_dx", 1, lambda array: array.mT, {"18"}),
        ("da_dx", 1, lambda array: array[::-1], {"18"}),
        ("dh_da", 1, lambda array: array[..., :2], {"11"}),
        ("dh_da", 1, lambda array: array.astype(np.float64), {"11"}),
        ("dh_da", 1, lambda array: array * np.float32("nan"), {"11"}),
    ],
)
def test_a_wrong_jacobian_is_found_and_named(name, layer, change, formulas) -> None:
    assert planted(name, layer, change) == formulas


def test_a_jacobian_that_is_missing_is_not_covered() -> None:
    problem = random_problem((2, 3, 2), 2, dtype="float32")
    tallies = check.jacobians(problem, replace(jacobians_of(problem), da_dx=None), FLOAT32)
    assert tallies["18", 0].not_covered == "the adapter returns no da_dx"
    assert tallies["11", 1].entries == 2 * 4


def test_jacobians_whose_bound_needs_an_a_that_they_do_not_have_are_not_covered() -> None:
    problem = random_problem((2, 3, 2), 2, dtype="float32")
    tallies = check.jacobians(problem, jacobians_of(problem), replace(FLOAT32, complement=True))
    assert tallies["11", 1].not_covered == "the adapter returns no a"
    assert tallies["18", 0].entries == 2 * 6  # reads the problem alone
