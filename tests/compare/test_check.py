"""The two checks: a correct trace agrees in every formula, and every planted fault is found and named."""

from collections.abc import Iterator
from dataclasses import fields, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from adapters.numpy_ import NumPy
from compare import check
from compare.tally import Case, Number, Tally
from reference import Gradients, Problem, Trace, backprop, formulas
from reference.exact import exact_gradients
from reference.formulas import LEDGER, Operand
from reference.network import Array, quantity_shapes
from reference.rounding import Arithmetic
from tests.reference.networks import full_trace, random_problem

QUANTITIES = [field.name for field in fields(Trace)]
NETS: dict[str, Any] = {
    "document": {"widths": (2, 3, 2), "batch": 1, "stack": (40,)},
    "deep": {"widths": (5, 7, 6, 4, 3), "batch": 3, "stack": (2, 5)},
}
CASES = [(net, dtype) for net in NETS for dtype in ("float32", "float64")]


def arithmetic(problem: Problem) -> Arithmetic:
    return NumPy().arithmetic("eager", str(problem.dtype))


def one_sign(net: str, dtype: str) -> Problem:
    """Every term of every sum is positive: nothing cancels, so that a few ULP of a result exceed its bound."""
    problem = random_problem(**NETS[net], dtype=dtype).map(np.abs)
    return replace(problem, t=-problem.t)


def layers(trace: Any, quantity: str) -> Iterator[tuple[int, Array]]:
    """A quantity's arrays, each with the layer that formulas give it: for the loss, the output layer."""
    if quantity == "loss":
        yield len(trace.a) - 1, trace.loss
    else:
        yield from enumerate(getattr(trace, quantity))


def with_array(trace: Trace, quantity: str, layer: int, array: Any) -> Trace:
    if quantity == "loss":
        return replace(trace, loss=array)
    arrays = getattr(trace, quantity)
    return replace(trace, **{quantity: (*arrays[:layer], array, *arrays[layer + 1 :])})


def with_entry(trace: Trace, quantity: str, layer: int, index: tuple[int, ...], value: Any) -> Trace:
    array = dict(layers(trace, quantity))[layer].copy()
    array[index] = value
    return with_array(trace, quantity, layer, array)


def step(problem: Problem, trace: Trace) -> check.Tallies:
    return check.step(problem, trace, arithmetic(problem))


def failed(tallies: check.Tallies) -> set[str]:
    return {f"{formula}/{layer}" for (formula, layer), tally in tallies.items() if tally.failures}


def label(quantity: str, layer: int) -> str:
    return quantity if quantity == "loss" else f"{quantity}[{layer}]"


# --- who states an array, and who reads it ----------------------------------------------------------------------


def relations(problem: Problem, quantity: str, layer: int) -> tuple[set[str], set[str]]:
    """The formulas, as "number/layer", that state an array of a trace, and those that read it."""
    states, reads = set(), set()
    for formula in LEDGER:
        for statement in formula.statements:
            for at in statement.layers_of(problem.network.widths):
                if (statement.quantity, at) == (quantity, layer):
                    states.add(f"{formula.number}/{at}")
                for operand in statement.operands:
                    rows_below = operand.by_row and problem.batch > 1
                    read = ("h", at - 1) if rows_below else (operand.name, at + operand.layer)
                    if read == (quantity, layer):
                        reads.add(f"{formula.number}/{at}")
    return states, reads


# Read off the document, for its own net and one row.
BY_HAND = {
    ("a", 0): ("1/0", "4/0 6/0 7/0"),
    ("a", 1): ("2/1", "3/1 6/1 7/1"),
    ("h", 0): ("4/0 6/0", "2/1 12/1 13/1 14/1 16/0 19/0 20/0 21/1 22/0"),
    ("h", 1): ("3/1 6/1", "5/1 10/1 11/1 13/1 18/0 19/0 20/0"),
    ("loss", 1): ("5/1", ""),
    ("dL_dh", 0): ("18/0 22/0", "15/0"),
    ("dL_dh", 1): ("10/1", "9/1"),
    ("dh_da", 0): ("7/0 16/0", "15/0"),
    ("dh_da", 1): ("7/1 11/1", "9/1"),
    ("dL_da", 0): ("22/0", "21/0 b1/0 b2/0"),
    ("dL_da", 1): ("13/1", "14/1 21/1 22/0 b1/1 b2/1"),
    ("da_dw", 0): ("17/0", "15/0"),
    ("da_dw", 1): ("12/1", "9/1"),
    ("dL_dw", 0): ("15/0 19/0 20/0 21/0", "8/0"),
    ("dL_dw", 1): ("9/1 13/1 21/1", "8/1"),
    ("dL_db", 0): ("b1/0", ""),
    ("dL_db", 1): ("b1/1", ""),
    ("w_new", 0): ("8/0", ""),
    ("w_new", 1): ("8/1 14/1", ""),
    ("b_new", 0): ("b2/0", ""),
    ("b_new", 1): ("b2/1", ""),
}


def test_relations_are_the_documents():
    problem = one_sign("document", "float64")
    trace = backprop(problem)
    arrays = [(quantity, layer) for quantity in QUANTITIES for layer, _ in layers(trace, quantity)]
    found = {array: relations(problem, *array) for array in arrays}
    assert found == {array: (set(states.split()), set(reads.split())) for array, (states, reads) in BY_HAND.items()}


# --- correct traces ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("net", "dtype"), CASES)
def test_correct_trace_agrees_in_every_formula(net, dtype):
    problem = random_problem(**NETS[net], dtype=dtype)
    trace = backprop(problem)
    tallies = step(problem, trace)
    own_net_only = set() if net == "document" else {"18", "19"}
    assert {formula for formula, _ in tallies} == {*map(str, range(1, 23)), "b1", "b2"} - own_net_only
    for (formula, layer), tally in tallies.items():
        assert tally.failures == 0, (formula, layer, tally.first_failure)
        assert tally.entries > 0
        assert tally.not_covered is None
        assert 0 <= tally.worst_bound_fraction <= 1
        assert tally.first_failure is None
    depth = problem.network.depth
    assert {layer for formula, layer in tallies if formula == "21"} == set(range(depth))
    assert tallies["21", 0].entries == problem.network.w[0].size
    assert tallies["13", depth - 1].entries == problem.t.size + problem.network.w[-1].size
    assert tallies["5", depth - 1].entries == np.prod(problem.network.stack)


def test_gradient_need_not_read_the_derivative_that_is_returned():
    """A framework evaluates y(1 − y) again, and rounds it otherwise: here, as far apart as two roundings allow."""
    problem = random_problem((2, 3, 2), stack=(400,), dtype="float32")
    trace = full_trace(problem)
    exact = [y.astype(np.float64) * (1 - y.astype(np.float64)) for y in trace.h]
    largest = [(1 + 1.96 * 2.0**-24) * slope for slope in exact]
    returned = tuple(np.nextafter(slope.astype(np.float32), np.float32(0)) for slope in largest)
    assert failed(step(problem, replace(trace, dh_da=returned))) == set()
    for gradient, *factors in zip(trace.dL_dw, trace.dL_dh, returned, trace.da_dw, strict=True):
        dL_dh, dh_da, da_dw = (factor.astype(np.float64) for factor in factors)
        assert np.max(np.abs(gradient / (dL_dh * dh_da * da_dw) - 1)) > 3 * 2.0**-24  # more than two products lose


# --- one entry ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize(("net", "dtype"), CASES)
def test_a_few_ulp_in_one_entry_are_found(net, dtype, quantity):
    problem = one_sign(net, dtype)
    trace = backprop(problem)
    for layer, array in layers(trace, quantity):
        # Bounds are in units of u|result|, and an ULP is 2u of a number just above a power of two, u of one below.
        lowest = np.argmin(np.frexp(np.abs(array))[0])
        index = tuple(int(i) for i in np.unravel_index(lowest, array.shape))
        value = array[index] + (16 if quantity == "h" else 8) * np.spacing(array[index])
        tallies = step(problem, with_entry(trace, quantity, layer, index, value))
        states, reads = relations(problem, quantity, layer)
        assert failed(tallies) & states, (quantity, layer)
        assert failed(tallies) <= states | reads, (quantity, layer)
        for name in failed(tallies) & states:
            _demand_right_failure(tallies[_key(name)], problem, label(quantity, layer), index, value, array[index])


@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize(("net", "dtype"), CASES)
def test_a_quarter_of_one_entry_is_found_by_all_that_state_or_read_it(net, dtype, quantity):
    problem = one_sign(net, dtype)
    trace = backprop(problem)
    for layer, array in layers(trace, quantity):
        network = tuple(size - 1 for size in problem.network.stack)
        index = network + (0,) * (array.ndim - len(network))  # the entry of formulas 18 and 19, in the last network
        value = array[index] * array.dtype.type(0.75)
        tallies = step(problem, with_entry(trace, quantity, layer, index, value))
        states, reads = relations(problem, quantity, layer)
        assert failed(tallies) == states | reads, (quantity, layer)
        for name in states:
            _demand_right_failure(tallies[_key(name)], problem, label(quantity, layer), index, value, array[index])


def _key(name: str) -> tuple[str, int]:
    formula, layer = name.split("/")
    return formula, int(layer)


def _demand_right_failure(
    tally: Tally, problem: Problem, array: str, index: tuple[int, ...], value: Any, right: Any
) -> None:
    """``value`` was planted at ``index`` where ``right`` was."""
    axes = len(problem.network.stack)
    failure = tally.first_failure
    assert failure is not None
    assert tally.failures == 1
    assert tally.worst_bound_fraction > 1
    assert (failure.stage, failure.array) == ("value", array)
    assert failure.network == np.ravel_multi_index(index[:axes], problem.network.stack)
    assert failure.entry == tuple(index[axes:])
    assert failure.got == Number(str(value), float(value).hex())
    assert failure.expected is not None
    assert failure.allowed is not None
    expected, allowed = (float.fromhex(number.hex) for number in (failure.expected, failure.allowed))
    assert abs(expected - float(right)) <= allowed < abs(expected - float(value))
    assert float(failure.expected.decimal) == expected
    where = [int(i) for i in index[axes:]] if array != "loss" else ""
    assert failure.message.startswith(f"{array}{where}: found {value!s}, expected {failure.expected.decimal} ± ")


def test_operands_of_formulas_1_and_21():
    problem = random_problem((2, 3, 2), batch=2, stack=(6,), dtype="float32")
    trace = full_trace(problem)

    def operands(quantity, layer, formula):
        wrong = with_entry(trace, quantity, layer, (4, 1, 2) if quantity == "a" else (4, 1, 0), 9)
        failure = step(problem, wrong)[formula, layer].first_failure
        assert failure is not None
        return failure.operands

    def number(value):
        return Number(str(value), float(value).hex())

    network = problem.network
    # a[1, 2] = x[1, 0] w[0, 2] + x[1, 1] w[1, 2] + b[0, 2]
    assert operands("a", 0, "1") == {
        "x[1, 0]": number(problem.x[4, 1, 0]),
        "x[1, 1]": number(problem.x[4, 1, 1]),
        "w[0][0, 2]": number(network.w[0][4, 0, 2]),
        "w[0][1, 2]": number(network.w[0][4, 1, 2]),
        "b[0][0, 2]": number(network.b[0][4, 0, 2]),
    }
    # ∂L/∂w[1, 0], summed over the rows: δ[0, 0] h[0, 1] + δ[1, 0] h[1, 1]
    assert operands("dL_dw", 1, "21") == {
        "dL_da[1][0, 0]": number(trace.dL_da[1][4, 0, 0]),
        "dL_da[1][1, 0]": number(trace.dL_da[1][4, 1, 0]),
        "h[0][0, 1]": number(trace.h[0][4, 0, 1]),
        "h[0][1, 1]": number(trace.h[0][4, 1, 1]),
    }
    # the three factors, the third row by row: h
    assert operands("dL_dw", 1, "9") == {
        "dL_dh[1][0, 0]": number(trace.dL_dh[1][4, 0, 0]),
        "dL_dh[1][1, 0]": number(trace.dL_dh[1][4, 1, 0]),
        "dh_da[1][0, 0]": number(trace.dh_da[1][4, 0, 0]),
        "dh_da[1][1, 0]": number(trace.dh_da[1][4, 1, 0]),
        "h[0][0, 1]": number(trace.h[0][4, 0, 1]),
        "h[0][1, 1]": number(trace.h[0][4, 1, 1]),
    }
    assert operands("w_new", 1, "8")["η"] == Number("0.5", "0x1.0000000000000p-1")


def test_operands_of_one_row_are_the_frameworks_three_factors():
    problem = one_sign("document", "float64")
    trace = full_trace(problem)
    failure = step(problem, with_entry(trace, "dL_dw", 0, (7, 1, 2), 9))["15", 0].first_failure
    assert failure is not None
    factors = {"dL_dh[0][0, 2]": trace.dL_dh, "dh_da[0][0, 2]": trace.dh_da, "da_dw[0][1, 2]": trace.da_dw}
    entries = {name: arrays[0][7, 1 if name.startswith("da_dw") else 0, 2] for name, arrays in factors.items()}
    assert failure.operands == {name: Number(str(v), float(v).hex()) for name, v in entries.items()}


def test_fixed_entries_of_formulas_18_and_19():
    problem = random_problem((2, 3, 2), batch=2, stack=(6,))
    trace = backprop(problem)
    for formula, quantity, fixed, other in (("18", "dL_dh", (1, 0), (1, 2)), ("19", "dL_dw", (0, 0), (1, 0))):
        failure = step(problem, with_entry(trace, quantity, 0, (4, *fixed), 9))[formula, 0].first_failure
        assert failure is not None
        assert (failure.array, failure.network, failure.entry) == (f"{quantity}[0]", 4, fixed)
        assert f"{formula}/0" not in failed(step(problem, with_entry(trace, quantity, 0, (4, *other), 9)))
        outputs = {name for name in failure.operands if name.startswith(("h[1]", "t", "w"))}
        row = {"h[1][1, 0]", "h[1][1, 1]", "t[1, 0]", "t[1, 1]"}
        assert outputs == {"w[1][0, 0]", "w[1][0, 1]"} | row | (
            {"h[1][0, 0]", "h[1][0, 1]", "t[0, 0]", "t[0, 1]"} if formula == "19" else set()
        )


@pytest.mark.parametrize(("layer", "chain", "linear"), [(0, "15", "17"), (1, "9", "12")])
def test_third_factor_of_one_row_is_the_frameworks_own(layer, chain, linear):
    for batch, named in ((1, {f"{chain}/{layer}", f"{linear}/{layer}"}), (2, {f"{linear}/{layer}"})):
        problem = random_problem((2, 3, 2), batch=batch, stack=(6,))
        assert failed(step(problem, with_entry(backprop(problem), "da_dw", layer, (4, 1, 1), 9))) == named


# --- present, shape, dtype, finite, value: in this order -------------------------------------------------------------

# For the document's net: the formulas of which nothing is left to compare without a quantity.
UNCOVERED = {
    "a": "1/0 2/1 3/1 4/0 6/0 6/1 7/0 7/1",
    "h": "2/1 3/1 4/0 5/1 6/0 6/1 9/1 10/1 11/1 12/1 13/1 14/1 15/0 16/0 18/0 19/0 20/0 21/1",
    "loss": "5/1",
    "dL_dh": "9/1 10/1 15/0 18/0",
    "dh_da": "7/0 7/1 9/1 11/1 15/0 16/0",
    "dL_da": "14/1 21/0 21/1 22/0 b1/0 b1/1 b2/0 b2/1",
    "da_dw": "9/1 12/1 15/0 17/0",
    "dL_dw": "8/0 8/1 9/1 15/0 19/0 20/0 21/0 21/1",
    "dL_db": "b1/0 b1/1",
    "w_new": "8/0 8/1 14/1",
    "b_new": "b2/0 b2/1",
}
# Formulas 13 and 22 each state two quantities; without one of these, entries that the other has in one network.
HALVES = {"h": {"22/0": 3}, "dL_dh": {"22/0": 3}, "dL_da": {"13/1": 6}, "dL_dw": {"13/1": 2}}


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_missing_quantity_is_not_covered(quantity):
    problem = random_problem(**NETS["document"])
    trace = backprop(problem)
    whole, tallies = step(problem, trace), step(problem, replace(trace, **{quantity: None}))
    uncovered = UNCOVERED[quantity].split()
    for key, tally in tallies.items():
        name = f"{key[0]}/{key[1]}"
        if name in uncovered:
            assert tally == Tally(not_covered=f"the adapter returns no {quantity}"), name
        elif name in HALVES.get(quantity, {}):
            assert tally.entries == HALVES[quantity][name] * 40 < whole[key].entries
            assert tally.not_covered == f"the adapter returns no {quantity}"  # half of a formula is not the formula
        else:
            assert tally == whole[key], name


def test_missing_layer_is_not_covered():
    problem = random_problem(**NETS["document"])
    trace = Trace(a=full_trace(problem).a[:1])
    tallies = step(problem, trace)
    assert tallies["1", 0].entries == full_trace(problem).a[0].size
    assert tallies["2", 1] == Tally(not_covered="the adapter returns no a[1]")


def test_empty_trace_covers_nothing():
    tallies = step(random_problem(**NETS["document"]), Trace())
    assert len(tallies) == 30
    assert all(tally.entries == 0 and tally.not_covered for tally in tallies.values())


WRONG_SHAPES = {
    "transposed": lambda array: array.swapaxes(-1, -2) if array.ndim > 1 else array[..., None],
    "a scalar": lambda array: array[(0,) * array.ndim],
    "one scalar for all": lambda array: array[(slice(1),) * array.ndim],
    "without the stack": lambda array: array[0],
    "an axis too many": lambda array: array[..., None],
}


@pytest.mark.parametrize("how", WRONG_SHAPES)
@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize(("net", "batch"), [("document", 1), ("deep", 2)])  # with 3 rows, y of the deep net is square
def test_wrong_shape_is_a_failure_of_its_own(net, batch, quantity, how):
    problem = random_problem(**NETS[net] | {"batch": batch}, dtype="float32")
    trace = backprop(problem)
    for layer, array in layers(trace, quantity):
        wrong = WRONG_SHAPES[how](array).astype(np.float64)  # its dtype is wrong too, but shape comes first
        message = f"{label(quantity, layer)}: found shape {wrong.shape}, expected {array.shape}"
        _demand_defect(problem, with_array(trace, quantity, layer, wrong), quantity, layer, "shape", message)


@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize("dtype", ["float64", "float16", "int32", ">f4", "complex64", "object"])
def test_wrong_dtype_is_a_failure_of_its_own(quantity, dtype):
    problem = random_problem(**NETS["document"], dtype="float32")
    trace = backprop(problem)
    for layer, array in layers(trace, quantity):
        message = f"{label(quantity, layer)}: found dtype {dtype}, expected float32"
        wrong = with_array(trace, quantity, layer, array.astype(dtype))
        _demand_defect(problem, wrong, quantity, layer, "dtype", message)


def test_a_loss_of_the_wrong_shape_is_one_failure():
    problem = random_problem((2, 3, 2))
    tally = step(problem, replace(full_trace(problem), loss=np.zeros(2)))["5", 1]
    assert (tally.entries, tally.failures) == (1, 1)


def test_array_of_another_library_is_a_wrong_dtype():
    problem = random_problem(**NETS["document"])
    shape, dtype = full_trace(problem).h[1].shape, problem.dtype
    foreign = with_array(backprop(problem), "h", 1, SimpleNamespace(shape=shape, dtype=dtype))
    _demand_defect(problem, foreign, "h", 1, "dtype", "h[1]: found dtype types array, expected float64")


def _demand_defect(problem: Problem, trace: Trace, quantity: str, layer: int, stage: str, message: str) -> None:
    """All that state the array fail at ``stage``, and none that reads it is counted."""
    tallies = step(problem, trace)
    states, reads = relations(problem, quantity, layer)
    assert failed(tallies) == states
    for name in states:
        failure = tallies[_key(name)].first_failure
        assert failure is not None
        assert (failure.stage, failure.array, failure.message) == (stage, label(quantity, layer), message)
        assert failure.network == 0
        array = dict(layers(full_trace(problem), quantity))[layer]
        assert tallies[_key(name)].failures == array.size
    for name in reads - states - {"13/1", "13/3", "22/0", "22/1", "22/2"}:  # two arrays: one may still be compared
        tally = tallies[_key(name)]
        assert tally.entries == 0, name
        assert tally.not_covered == f"{label(quantity, layer)} cannot be read: {message}"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("quantity", QUANTITIES)
def test_not_finite_never_passes(quantity, value):
    problem = random_problem(**NETS["document"], dtype="float32")
    trace = backprop(problem)
    for layer, array in layers(trace, quantity):
        index = (7,) + (0,) * (array.ndim - 1)
        tallies = step(problem, with_entry(trace, quantity, layer, index, value))
        states, reads = relations(problem, quantity, layer)
        again = {f"9/{layer}", f"15/{layer}"} if quantity == "h" else set()  # h(1 − h) is evaluated again
        assert states | (reads if np.isnan(value) else set()) <= failed(tallies) <= states | reads | again
        for name in states:
            tally = tallies[_key(name)]
            failure = tally.first_failure
            assert failure is not None
            assert (failure.stage, failure.array, failure.network) == ("finite", label(quantity, layer), 7)
            assert tally.worst_bound_fraction == tally.worst_ulp == np.inf
            assert failure.got == Number(str(value), float(value).hex())


@pytest.mark.parametrize("net", NETS)
def test_the_worst_case_is_where_the_worst_fraction_is(net):
    problem = random_problem(**NETS[net], dtype="float32")
    for tally in step(problem, full_trace(problem)).values():
        worst = tally.worst
        assert worst is not None
        assert worst.got is not None
        assert worst.expected is not None
        assert worst.allowed is not None
        got, expected, allowed = (float.fromhex(number.hex) for number in (worst.got, worst.expected, worst.allowed))
        assert tally.worst_bound_fraction == (abs(got - expected) / allowed if got != expected else 0)


def test_the_entry_of_a_failure_alone_is_the_worst_case_too():
    problem = one_sign("document", "float32")
    tally = step(problem, with_entry(full_trace(problem), "dL_dw", 0, (7, 1, 2), 9))["15", 0]
    assert tally.first_failure is not None
    shared = {field.name: getattr(tally.first_failure, field.name) for field in fields(Case)}
    assert tally.worst == Case(**shared)


def test_a_nan_is_the_worst_case():
    problem = random_problem(**NETS["document"])
    tally = step(problem, with_entry(full_trace(problem), "a", 0, (4, 0, 1), np.nan))["1", 0]
    assert tally.worst_bound_fraction == np.inf
    assert tally.worst is not None
    assert (tally.worst.network, tally.worst.entry) == (4, (0, 1))


def test_an_entry_that_is_not_judged_is_not_the_worst_case():
    problem = random_problem(**NETS["document"])
    problem.x[0] = np.inf
    worst = step(problem, evaluated(problem))["12", 1].worst  # exact: all entries lie at 0 of their bound
    assert worst is not None
    assert (worst.network, worst.entry) == (1, (0, 0))


@pytest.mark.parametrize(("width", "left_out"), [(5, 0), (6, 1), (30, 49)])
def test_the_worst_case_shows_twelve_operands(width, left_out):
    problem = random_problem((width, 1), dtype="float32")
    tally = step(problem, with_entry(full_trace(problem), "a", 0, (0, 0), 9))["2", 0]
    assert tally.worst is not None
    assert tally.first_failure is not None
    every = list(tally.first_failure.operands.items())
    assert len(every) == 2 * width + 1
    assert list(tally.worst.operands.items()) == every[:12]
    assert tally.worst.left_out == left_out
    assert tally.first_failure.left_out == 0


def test_what_is_exact_uses_nothing_of_its_bound():
    problem = random_problem(**NETS["document"], dtype="float32")
    tallies = step(problem, backprop(problem))
    assert tallies["12", 1].worst_bound_fraction == tallies["17", 0].worst_bound_fraction == 0


def test_a_failure_without_a_stack_is_of_network_0():
    problem = random_problem((2, 3, 2), stack=(), dtype="float64")
    tally = step(problem, with_entry(backprop(problem), "a", 1, (0, 0), 9.0))["2", 1]
    assert tally.first_failure is not None
    assert tally.first_failure.network == 0


@pytest.mark.parametrize("batch", [2, 3])
def test_in_excess_precision_the_problems_rows_are_what_they_are(batch):
    """Row by row, ∂a/∂w is x, which was given; of the layers above it is an h, which the framework may have before rounding."""
    problem = random_problem((2, 3, 2), batch, dtype="float32")
    excess = replace(arithmetic(problem), excess=True)
    arrays = check._Arrays(problem, backprop(problem), quantity_shapes(problem), excess)
    operand = Operand("da_dw", "ij", by_row=True)
    assert arrays._operand(operand, 0).certain
    assert not arrays._operand(operand, 1).certain


def test_in_excess_precision_one_rows_derivative_is_the_frameworks_own():
    problem = random_problem((2, 3, 2), dtype="float32")
    excess = replace(arithmetic(problem), excess=True)
    arrays = check._Arrays(problem, backprop(problem), quantity_shapes(problem), excess)
    assert not arrays._operand(Operand("da_dw", "ij", by_row=True), 0).certain


@pytest.mark.parametrize(("batch", "entries"), [(1, 6), (2, 0)])
def test_of_one_row_the_third_factor_is_read_and_not_the_layer_below(batch, entries):
    problem = random_problem((2, 3, 2), batch)
    trace = full_trace(problem)
    unusable = with_array(trace, "h", 0, trace.h[0].astype(np.float32))
    assert step(problem, unusable)["9", 1].entries == entries


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_errors_of_a_step_are_in_ulp_of_the_formulas_value(dtype):
    problem = random_problem(**NETS["document"], dtype=dtype)
    tally = step(problem, with_entry(full_trace(problem), "a", 0, (7, 0, 1), 9.0))["1", 0]
    assert tally.first_failure is not None
    assert tally.first_failure.expected is not None
    expected = float.fromhex(tally.first_failure.expected.hex)
    ulp = float(np.spacing(np.abs(np.dtype(dtype).type(expected))))
    assert tally.worst_ulp == pytest.approx(abs(9 - expected) / ulp, rel=1e-9)


def test_what_is_evaluated_again_needs_the_layer_below():
    problem = random_problem(**NETS["deep"], dtype="float32")
    trace: Any = backprop(problem)
    wrong = with_array(trace, "h", 1, trace.h[1][..., :-1])
    tallies = check.step(problem, wrong, replace(arithmetic(problem), recomputes=True))
    assert tallies["16", 2].failures == 0
    assert str(tallies["22", 2].not_covered).startswith("h[1] cannot be read: h[1]: found shape")


def test_an_entry_of_any_row_shows_the_bias_that_all_rows_share():
    problem = random_problem(**NETS["deep"], dtype="float64")
    trace: Any = backprop(problem)
    tally = step(problem, with_entry(trace, "a", 1, (0, 0, 2, 4), 9.0))["1", 1]
    assert tally.first_failure is not None
    assert tally.first_failure.entry == (2, 4)
    assert set(tally.first_failure.operands) == {
        *(f"h[0][2, {i}]" for i in range(7)),
        *(f"w[1][{i}, 4]" for i in range(7)),
        "b[1][0, 4]",
    }


# --- what is not finite, and correct code's overflow --------------------------------------------------------------------


def both_checks(problem: Problem, trace: Trace, declared: Arithmetic) -> dict[tuple[str, str, int], Tally]:
    gradients, truth = Gradients(trace.loss, trace.dL_dw, trace.dL_db), exact_gradients(problem, declared)
    found = {"step": check.step(problem, trace, declared)}
    found["end-to-end"] = check.end_to_end(problem, gradients, declared, truth)
    return {(kind, *key): tally for kind, tallies in found.items() for key, tally in tallies.items()}


def evaluated(problem: Problem) -> Trace:
    with np.errstate(all="ignore"):
        return backprop(problem)


@pytest.mark.parametrize("finite", [0.5, np.inf, np.nan])
def test_where_correct_code_may_overflow_nothing_is_judged_and_that_is_counted(finite):
    """Not even where float64 cannot hold the bound, so that any finite number would be within it."""
    problem = random_problem((2, 3, 2), stack=(4,)).map(lambda array: np.full_like(array, 1e200))
    trace = evaluated(problem)
    assert trace.a is not None
    a = np.full_like(trace.a[0], finite)
    tally = step(problem, with_array(trace, "a", 0, a))["1", 0]
    assert (tally.entries, tally.failures, tally.unjudged) == (0, 0, 12)
    assert tally.not_covered == "the rounding error of a[0] has no finite bound"


HOSTILE = [
    (array, value) for array in ("w[0]", "w[1]", "b[0]", "b[1]", "x", "t") for value in (np.inf, -np.inf, np.nan)
]


@pytest.mark.parametrize("forward", [False, True])
@pytest.mark.parametrize(("array", "value"), HOSTILE)
def test_a_network_that_was_given_what_is_not_finite_is_not_judged_and_the_others_are(array, value, forward):
    problem = random_problem(**NETS["document"], dtype="float32")
    declared = replace(arithmetic(problem), forward=forward)
    before = both_checks(problem, backprop(problem), declared)
    dict(problem.named())[array][7, 0, 0] = value
    after = both_checks(problem, evaluated(problem), declared)
    for key, tally in after.items():
        network = before[key].entries // 40
        assert (tally.failures, tally.entries, tally.unjudged) == (0, 39 * network, network), key


@pytest.mark.parametrize("array", ["w[0]", "w[1]", "b[0]", "b[1]", "x", "t"])
def test_a_nan_that_is_swallowed_is_found(array):
    """A framework that reads 0 for a NaN."""
    problem = random_problem(**NETS["document"], dtype="float32")
    given = dict(problem.named())[array]
    given[7, 0, 0] = np.nan
    trace = backprop(problem.map(np.nan_to_num))
    found = both_checks(problem, trace, arithmetic(problem))
    ends = {key for key, tally in found.items() if tally.failures and key[0] == "end-to-end"}
    assert ends >= {("end-to-end", "5", 1), ("end-to-end", "21", 1), ("end-to-end", "b1", 1)}
    first = next(tally.first_failure for key, tally in found.items() if tally.failures and key[0] == "step")
    assert first is not None
    assert (first.stage, first.network) == ("finite", 7)
    assert first.message.endswith("expected nan as an operand is")


def test_forward_mode_may_spread_a_nan_that_it_has_made():
    """A tangent of 0 times a NaN: derivatives of the same network are not judged, what precedes them is."""
    problem = random_problem(**NETS["document"], dtype="float32")
    trace = with_entry(backprop(problem), "h", 0, (7, 0, 0), np.nan)
    tallies = check.step(problem, trace, replace(arithmetic(problem), forward=True))
    assert {"4/0", "6/0"} <= failed(tallies)
    for formula in ("15", "21", "22"):
        failures = [tally.first_failure for (number, _), tally in tallies.items() if number == formula]
        assert all(failure is None or failure.stage == "finite" for failure in failures)
    assert (tallies["20", 0].unjudged, tallies["20", 0].failures) == (4, 2)  # of three units, one's formula reads it


@pytest.mark.parametrize("forward", [False, True])
def test_forward_mode_may_lose_derivatives_where_the_loss_overflows(forward):
    """Of TensorFlow's and PyTorch's they are NaN there: (y − t)² overflows, and 2(y − t) does not."""
    problem = random_problem(**NETS["document"], dtype="float32")
    problem.t[7, 0, 0] = 1e20
    trace = evaluated(problem)
    for quantity in ("dL_dh", "dL_da", "dL_dw", "dL_db", "w_new", "b_new"):
        for _, array in layers(trace, quantity):
            array[7] = np.nan
    found = both_checks(problem, trace, replace(arithmetic(problem), forward=forward))
    assert bool(failed(check.step(problem, trace, replace(arithmetic(problem), forward=forward)))) is not forward
    assert any(tally.failures for tally in found.values()) is not forward
    assert found["step", "5", 1].unjudged == 1


def test_forward_mode_without_a_loss_is_judged_but_for_that():
    problem = random_problem(**NETS["document"], dtype="float32")
    tallies = check.step(problem, replace(backprop(problem), loss=None), replace(arithmetic(problem), forward=True))
    assert {formula for (formula, _), tally in tallies.items() if tally.not_covered} == {"5"}


def test_distance_from_a_truth_of_which_nothing_is_judged_is_none():
    """The exact values are those of the first networks only, which here were given an infinity."""
    problem = random_problem(**NETS["document"], dtype="float32")
    problem.x[0, 0, 0] = np.inf
    trace, declared = evaluated(problem), arithmetic(problem)
    truth = exact_gradients(problem.at(slice(1)), declared)
    tallies = check.end_to_end(problem, Gradients(trace.loss, trace.dL_dw, trace.dL_db), declared, truth)
    assert {tally.worst_ulp for tally in tallies.values()} == {0.0}


# --- wrong formulas -------------------------------------------------------------------------------------------------


def wrongly(problem: Problem, **wrong: Any) -> Trace:
    """The trace of a framework in which some formulas are others."""
    with pytest.MonkeyPatch.context() as patch:
        for name, formula in wrong.items():
            patch.setattr(formulas, name, formula)
        return backprop(problem)


def without_sigmoid_derivative(problem: Problem) -> Trace:
    return wrongly(problem, output_delta=lambda y, t: y - t)


def without_hidden_derivative(problem: Problem) -> Trace:
    return wrongly(problem, hidden_delta=lambda delta, w, _: formulas.hidden_error(delta, w))


def mean_gradient(problem: Problem) -> Trace:
    return wrongly(problem, weight_gradient=lambda delta, x: x.mT @ delta / problem.dtype.type(problem.batch))


def mean_loss(problem: Problem) -> Trace:
    return wrongly(problem, loss=lambda y, t: ((y - t) ** 2).mean(axis=(-2, -1)) / 2)


def transposed_weights(problem: Problem) -> Trace:
    return wrongly(problem, hidden_error=lambda delta, w: delta @ w)


def mean_bias_gradient(problem: Problem) -> Trace:
    return wrongly(problem, bias_gradient=lambda delta: delta.mean(axis=-2)[..., None, :])


def bias_gradient_of_one_row(problem: Problem) -> Trace:
    return wrongly(problem, bias_gradient=lambda delta: delta[..., -1:, :])


def updated_weights(problem: Problem) -> Trace:
    """The output layer steps before the hidden layer's δ is computed."""
    u = full_trace(problem).w_new[1]
    right = formulas.hidden_error
    return wrongly(problem, hidden_error=lambda delta, _: right(delta, u))


def no_bias_update(problem: Problem) -> Trace:
    return replace(backprop(problem), b_new=problem.network.b)


def ascent(problem: Problem) -> Trace:
    return wrongly(problem, update=lambda w, gradient, eta: w + eta * gradient)


def rows_swapped(problem: Problem) -> Trace:
    return backprop(replace(problem, x=problem.x[..., ::-1, :]))


def targets_swapped(problem: Problem) -> Trace:
    return backprop(replace(problem, t=problem.t[..., ::-1, :]))


def in_float32(problem: Problem) -> Trace:
    trace = backprop(problem.map(lambda array: array.astype(np.float32)))
    return Trace(
        **{
            name: getattr(trace, name).astype(np.float64)
            if name == "loss"
            else tuple(array.astype(np.float64) for array in getattr(trace, name))
            for name in QUANTITIES
        }
    )


# Each with what it must be found by, derived from the document, for its own net with three rows. Whatever follows
# consistently from a wrong quantity agrees: that is what makes the first wrong step stand out.
WRONG = {
    without_sigmoid_derivative: "9/1 13/1 18/0 19/0 20/0",
    without_hidden_derivative: "15/0 19/0 20/0 22/0",
    mean_gradient: "9/1 13/1 14/1 15/0 19/0 20/0 21/0 21/1",
    mean_loss: "5/1",
    mean_bias_gradient: "b1/0 b1/1 b2/0 b2/1",
    bias_gradient_of_one_row: "b1/0 b1/1 b2/0 b2/1",
    updated_weights: "18/0 19/0 20/0 22/0",
    no_bias_update: "b2/0 b2/1",
    ascent: "8/0 8/1 14/1 b2/0 b2/1",
    rows_swapped: "1/0 15/0 19/0 20/0 21/0",
    targets_swapped: "5/1 10/1 13/1 18/0 19/0 20/0",
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.__name__)
def test_wrong_formula_is_named(wrong, dtype):
    problem = random_problem((2, 3, 2), batch=3, stack=(40,), dtype=dtype)
    assert failed(step(problem, wrong(problem))) == set(WRONG[wrong].split())


def test_transposed_weights_are_named_where_the_shape_cannot_tell():
    problem = random_problem((2, 3, 3), stack=(40,))
    assert failed(step(problem, transposed_weights(problem))) == {"20/0", "22/0"}


def test_float32_inside_float64_is_named():
    """Operands are float32 numbers: what is only moved, as h in ∂a/∂u, is right all the same."""
    single = random_problem((2, 3, 2), stack=(40,), dtype="float32")
    problem = single.map(lambda array: array.astype(np.float64))
    exact = {"12/1", "17/0", "b1/0", "b1/1"}
    everything = {f"{formula}/{layer}" for formula, layer in step(problem, backprop(problem))}
    assert failed(step(problem, in_float32(problem))) == everything - exact


# --- underflow ------------------------------------------------------------------------------------------------------


def test_flushed_subnormals_are_accepted_from_those_that_declare_them():
    ordinary = one_sign("document", "float32")
    tiny = np.float32(2.0**-90)
    network = replace(ordinary.network, w=(ordinary.network.w[0], ordinary.network.w[1] * np.float32(2.0**-40)))
    problem = replace(ordinary, network=network, x=ordinary.x * tiny)
    trace = full_trace(problem)
    least = np.finfo(np.float32).smallest_normal
    dL_dw = tuple(np.where(np.abs(g) < least, np.float32(0), g) for g in trace.dL_dw)
    assert np.all(trace.dL_dw[0] != 0)
    assert np.all(dL_dw[0] == 0)
    assert np.all(dL_dw[1] != 0)
    flushed = replace(trace, dL_dw=dL_dw)
    plain, flushing = arithmetic(problem), replace(arithmetic(problem), flushes=True)
    assert failed(check.step(problem, flushed, flushing)) == set()
    assert failed(check.step(problem, trace, flushing)) == set()
    assert failed(check.step(problem, flushed, plain)) == {"15/0", "19/0", "20/0", "21/0"}
    fault = with_entry(flushed, "dL_dw", 1, (7, 1, 1), dL_dw[1][7, 1, 1] * np.float32(1 + 2**-19))
    assert "21/1" in failed(check.step(problem, fault, flushing))


# --- end to end -----------------------------------------------------------------------------------------------------


def truth_of(problem: Problem) -> Any:
    return exact_gradients(problem, arithmetic(problem))


def end_to_end(problem: Problem, gradients: Gradients) -> check.Tallies:
    return check.end_to_end(problem, gradients, arithmetic(problem), truth_of(problem))


def gradients_of(problem: Problem) -> Any:
    trace = backprop(problem)
    return Gradients(trace.loss, trace.dL_dw, trace.dL_db)


@pytest.mark.parametrize(("net", "dtype"), CASES)
def test_correct_gradients_agree_end_to_end(net, dtype):
    problem = random_problem(**NETS[net], dtype=dtype)
    tallies = end_to_end(problem, gradients_of(problem))
    depth = problem.network.depth
    assert set(tallies) == {("5", depth - 1), *((f, layer) for f in ("21", "b1") for layer in range(depth))}
    assert failed(tallies) == set()
    assert tallies["21", 0].entries == problem.network.w[0].size
    assert tallies["b1", 0].entries == problem.network.b[0].size
    assert all(0 < tally.worst_bound_fraction <= 1 and tally.not_covered is None for tally in tallies.values())


@pytest.mark.parametrize(("net", "dtype"), CASES)
def test_one_wrong_gradient_is_found_end_to_end(net, dtype):
    problem = one_sign(net, dtype)
    right, truth = gradients_of(problem), truth_of(problem)
    depth = problem.network.depth
    for quantity, formula in (("loss", "5"), ("dL_dw", "21"), ("dL_db", "b1")):
        for layer in range(depth) if quantity != "loss" else (depth - 1,):
            arrays = [right.loss] if quantity == "loss" else list(getattr(right, quantity))
            at = 0 if quantity == "loss" else layer
            index = tuple(size - 1 for size in arrays[at].shape)
            arrays[at] = arrays[at].copy()
            arrays[at][index] *= np.array(1.001, dtype)
            value = arrays[at][index]
            wrong = replace(right, **{quantity: arrays[0] if quantity == "loss" else tuple(arrays)})
            tallies = check.end_to_end(problem, wrong, arithmetic(problem), truth)
            assert failed(tallies) == {f"{formula}/{layer}"}
            original = dict(layers(backprop(problem), quantity))[layer][index]
            _demand_right_failure(tallies[formula, layer], problem, label(quantity, layer), index, value, original)


def test_gradients_of_other_networks_are_found_end_to_end():
    problem = random_problem(**NETS["document"])
    right = gradients_of(problem)

    def others(arrays):
        return tuple(np.roll(array, 1, axis=0) for array in arrays)

    echoed = Gradients(np.roll(right.loss, 1), others(right.dL_dw), others(right.dL_db))
    tallies = end_to_end(problem, echoed)
    assert all(tally.failures > 0.9 * tally.entries for tally in tallies.values())


def test_missing_gradients_are_not_covered_end_to_end():
    problem = random_problem(**NETS["document"])
    right = gradients_of(problem)
    tallies = end_to_end(problem, Gradients(dL_dw=right.dL_dw[:1]))
    assert tallies["21", 0].entries == right.dL_dw[0].size
    assert {key: tally for key, tally in tallies.items() if key != ("21", 0)} == {
        ("5", 1): Tally(not_covered="the adapter returns no loss"),
        ("21", 1): Tally(not_covered="the adapter returns no dL_dw[1]"),
        ("b1", 0): Tally(not_covered="the adapter returns no dL_db"),
        ("b1", 1): Tally(not_covered="the adapter returns no dL_db"),
    }


@pytest.mark.parametrize(
    ("wrong", "stage"),
    [
        (lambda g: g.swapaxes(-1, -2), "shape"),
        (lambda g: g[0], "shape"),
        (lambda g: g.astype(np.float64), "dtype"),
        (lambda g: np.full_like(g, np.nan), "finite"),
        (lambda g: np.full_like(g, np.inf), "finite"),
    ],
    ids=["transposed", "without the stack", "float64", "NaN", "infinite"],
)
def test_stages_end_to_end(wrong, stage):
    problem = random_problem(**NETS["document"], dtype="float32")
    right = gradients_of(problem)
    tallies = end_to_end(problem, replace(right, dL_dw=(wrong(right.dL_dw[0]), right.dL_dw[1])))
    assert failed(tallies) == {"21/0"}
    tally = tallies["21", 0]
    assert tally.first_failure is not None
    assert (tally.first_failure.stage, tally.first_failure.array) == (stage, "dL_dw[0]")
    assert tally.failures == tally.entries == right.dL_dw[0].size


@pytest.mark.parametrize(("net", "dtype"), CASES)
def test_truth_is_measured_in_ulp_of_the_exact_gradient(net, dtype):
    problem = random_problem(**NETS[net], dtype=dtype)
    truth = truth_of(problem)
    rounded: dict[str, Any] = {name: tuple(part.high.astype(dtype) for part in parts) for name, parts in truth.items()}
    exact = Gradients(rounded["loss"][0], rounded["dL_dw"], rounded["dL_db"])
    tallies = end_to_end(problem, exact)
    slack = 0 if dtype == "float64" else 2**-28  # rounded twice
    assert all(tally.worst_ulp <= 0.5 + slack for tally in tallies.values())
    for layer, gradient in enumerate(rounded["dL_dw"]):
        moved = gradient.copy()
        index = tuple(size - 1 for size in gradient.shape)
        for _ in range(4):
            moved[index] = np.nextafter(moved[index], moved.dtype.type(np.copysign(np.inf, moved[index])))
        wrong = (*rounded["dL_dw"][:layer], moved, *rounded["dL_dw"][layer + 1 :])
        after = end_to_end(problem, replace(exact, dL_dw=wrong))
        assert 3.5 <= after["21", layer].worst_ulp <= 4.5
        assert {key for key, tally in after.items() if tally != tallies[key]} == {("21", layer)}


def test_truth_may_be_known_for_the_first_networks_only():
    problem = random_problem(**NETS["document"])
    right = gradients_of(problem)
    few = exact_gradients(problem.at(slice(10)), arithmetic(problem))
    tallies = check.end_to_end(problem, right, arithmetic(problem), few)
    whole = end_to_end(problem, right)
    for key, tally in tallies.items():
        assert replace(tally, worst_ulp=0.0) == replace(whole[key], worst_ulp=0.0)
        assert 0 < tally.worst_ulp <= whole[key].worst_ulp
    first = end_to_end(problem.at(slice(10)), gradients_of(problem.at(slice(10))))
    assert {key: tally.worst_ulp for key, tally in tallies.items()} == {k: t.worst_ulp for k, t in first.items()}


def test_a_truth_that_is_no_float64_measures_nothing():
    problem = random_problem(**NETS["document"], dtype="float32")
    unknown = {
        name: tuple(replace(exact, high=np.full_like(exact.high, np.nan)) for exact in exacts)
        for name, exacts in truth_of(problem).items()
    }
    tallies = check.end_to_end(problem, gradients_of(problem), arithmetic(problem), unknown)
    assert {tally.worst_ulp for tally in tallies.values()} == {0.0}
