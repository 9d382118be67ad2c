"""Tallies: they merge in any order and any parts, and survive JSON."""

import json
import math
from dataclasses import replace
from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapters.numpy_ import NumPy
from compare import check
from compare.tally import Case, Failure, Key, Number, Tally, from_json, merge, to_json, total
from reference import Problem, backprop
from reference.formulas import LEDGER
from tests.reference.networks import random_problem

counts = st.integers(1, 2**40)
sizes = st.floats(0, allow_nan=False)  # infinity too
numbers = st.builds(lambda value: Number(repr(value), value.hex()), st.floats())
messages = st.sampled_from(["found 1, expected 2", "found NaN, expected 0", "found σ, expected y"])
places = {
    "array": st.sampled_from(["a[0]", "dL_dw[1]", "loss"]),
    "network": st.integers(0, 3),
    "entry": st.lists(st.integers(0, 2), max_size=2).map(tuple),
}
stages = st.sampled_from(["shape", "dtype", "finite", "value"])
failures = st.builds(Failure, **places, stage=stages, message=messages)
cases = st.builds(Case, **places)
agreeing = st.builds(Tally, counts, st.just(0), sizes, sizes, worst=cases)
failing = st.builds(Tally, counts, counts, sizes, sizes, failures, worst=cases)
not_judged = st.builds(lambda count: Tally(1, unjudged=count), st.integers(1, 9))
not_covered = st.builds(lambda reason: Tally(not_covered=reason), st.sampled_from(["no a", "no h[1]", "no σ"]))
tallies = st.one_of(agreeing, failing, not_judged, not_covered, st.just(Tally()))
keys = st.builds(
    Key,
    adapter=st.sampled_from(["numpy", "jax"]),
    mode=st.just("eager"),
    dtype=st.sampled_from(["float32", "float64"]),
    device=st.just("cpu"),
    problem=st.sampled_from(["document", "wide"]),
    check=st.sampled_from(["step", "end-to-end"]),
    formula=st.sampled_from([formula.number for formula in LEDGER]),
    layer=st.integers(0, 2),
)
parts = st.dictionaries(keys, tallies, max_size=5)


@given(tallies, tallies, tallies)
@settings(deadline=None)
def test_addition_is_associative_and_commutative(a, b, c):
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a
    assert a + Tally() == a == Tally() + a


@given(st.lists(parts, max_size=4), st.randoms(use_true_random=False), st.integers(0, 4))
@settings(max_examples=50, deadline=None)
def test_parts_merge_in_any_order_and_grouping(runs, random, cut):
    whole = merge(*runs)
    assert merge(merge(*runs[:cut]), merge(*runs[cut:])) == whole
    random.shuffle(runs)
    shuffled = merge(*runs)
    assert shuffled == whole
    assert list(shuffled) == list(whole) == sorted(whole)
    assert total(whole) == reduce(Tally.__add__, (tally for run in runs for tally in run.values()), Tally())


@given(failing, failing)
@settings(deadline=None)
def test_first_failure_is_the_first_of_the_stack(a, b):
    first = (a + b).first_failure
    assert first in (a.first_failure, b.first_failure)
    assert first.network == min(a.first_failure.network, b.first_failure.network)


@given(agreeing, agreeing)
@settings(deadline=None)
def test_the_worst_case_is_that_of_the_worst_fraction(a, b):
    both = a + b
    assert both.worst in [part.worst for part in (a, b) if part.worst_bound_fraction == both.worst_bound_fraction]


def test_what_is_missing_in_one_part_stays_missing():
    """A formula that states two quantities is not covered by one of them."""
    reason = Tally(not_covered="the adapter returns no a")
    assert reason + Tally(3) == Tally(3) + reason == Tally(3, not_covered="the adapter returns no a")
    assert reason + reason == reason
    assert reason + Tally(not_covered="no a") == Tally(not_covered="no a")


@given(st.lists(st.integers(0, 12), max_size=4))
@settings(max_examples=10, deadline=None)  # a check of every part takes a while
@example([1])
@example(list(range(12)))
def test_any_split_of_a_stack_gives_the_same_tallies(cuts):
    edges = [0, *sorted(cuts), 12]
    pieces = [slice(*edge) for edge in pairwise(edges) if edge[0] < edge[1]]
    merged = merge(*(_tallies(SPLIT.at(piece), piece.start) for piece in pieces))
    assert merged == merge(_tallies(SPLIT))


SPLIT = random_problem((2, 3, 2), stack=(12,))


def _tallies(problem: Problem, first: int = 0) -> dict[Key, Tally]:
    """Of a framework that rounds δ to float32 and has no loss."""
    trace: Any = backprop(problem)
    dL_da = tuple(delta.astype(np.float32).astype(np.float64) for delta in trace.dL_da)
    found = check.step(problem, replace(trace, dL_da=dL_da, loss=None), NumPy().arithmetic("eager", "float64"))
    key = ("numpy", "eager", "float64", "cpu", "document", "step")
    return {Key(*key, *place): tally.counted_from(first) for place, tally in found.items()}


def test_split_holds_failures_and_what_is_not_covered():
    found = _tallies(SPLIT)
    assert {key.formula for key, tally in found.items() if tally.failures} == {"13", "14", "21", "22", "b1", "b2"}
    assert {key.formula for key, tally in found.items() if tally.not_covered} == {"5"}


def in_full(kind):
    values = {"operands": st.dictionaries(st.text(), numbers, max_size=3), "left_out": st.integers(0, 9)}
    values |= dict.fromkeys(("got", "expected", "allowed"), numbers)
    return st.builds(kind, **places, **values, **({"stage": stages, "message": messages} if kind is Failure else {}))


@given(
    keys,
    st.one_of(tallies, st.builds(replace, failing, first_failure=in_full(Failure), worst=in_full(Case))),
)
@settings(deadline=None)
def test_json_round_trip(key, tally):
    row = json.loads(json.dumps(to_json(key, tally), allow_nan=False))
    assert from_json(row) == (key, tally)


@pytest.mark.parametrize("name", ["worst_bound_fraction", "worst_ulp"])
def test_infinity_is_null_in_json(name):
    key = Key("numpy", "eager", "float64", "cpu", "document", "step", "1", 0)
    infinite: dict[str, Any] = {name: math.inf}
    tally = Tally(2, 1, **infinite)
    row = to_json(key, tally)
    assert row[name] is None
    assert from_json(row) == (key, tally)
