"""The comparison as pytest items, one per framework, mode, precision and formula, on small problems.

``pytest -k "jax and 13"`` selects formula 13 in every mode and precision of JAX, and starts no other framework. The
precisions hold digits too, but no number of a formula that has two; for the others use that a name ends with its
formula: ``pytest -k "jax and -3]"``.
"""

import subprocess
import sys
from dataclasses import replace
from itertools import product

import pytest

from compare.check import FORMULA_OF_GRADIENT
from compare.problems import DTYPES, PROBLEMS, build
from compare.run import ROOT, AdapterReport, Outcome, run
from compare.tally import Failure, Key, Tally
from compare.worker import Job
from reference.formulas import LEDGER
from tests.adapters.cases import CASES, NETWORKS, SEED, WITH_JACOBIANS, every_case

NAMES = ["document", "all-different"]

NOT_COVERED = {"sklearn": {"5", "9", "12", "15", "17"}}
"""The formulas that a framework has no code for: its loss is another one, and it never forms ∂a/∂w."""

FORMULAS = {formula.number: formula for formula in LEDGER}

Place = tuple[str, str, int]
"""A problem, a formula and a layer."""


@pytest.fixture(scope="session")
def outcome(request) -> Outcome:
    """What the workers of the selected items' adapters report; all are started together."""
    items = [item for item in request.session.items if item.function in (test_formula, test_gradients, test_jacobians)]
    names = dict.fromkeys(item.callspec.params["name"] for item in items)
    problems = [*NAMES, "jacobian"]
    return run([Job(name, "cpu", None, [*DTYPES], problems, False, NETWORKS, SEED) for name in names], timeout=300)


@pytest.mark.parametrize("formula", FORMULAS)
@every_case
def test_formula(outcome, name, mode, dtype, formula) -> None:
    judge(outcome, name, mode, dtype, "step", places(formula, dtype))


@pytest.mark.parametrize("check", ["end-to-end"])
@every_case
def test_gradients(outcome, name, mode, dtype, check) -> None:
    formulas = set(FORMULA_OF_GRADIENT.values()) - NOT_COVERED.get(name, set())
    judge(outcome, name, mode, dtype, check, set().union(*(places(formula, dtype) for formula in formulas)))


@pytest.mark.parametrize(
    ("name", "mode", "dtype"),
    [
        case
        for case in CASES
        if case[1] in WITH_JACOBIANS.get(case[0], []) and case[2] in PROBLEMS["jacobian"].every_mode
    ],
)
def test_jacobians(outcome, name, mode, dtype) -> None:
    expected = {("jacobian", number, layer) for number, layer in product(("11", "12", "16", "17", "18"), (0, 1))}
    wrong_layer = {("jacobian", number, layer) for number, layer in (("11", 0), ("12", 0), ("16", 1), ("17", 1))}
    judge(outcome, name, mode, dtype, "step", expected - wrong_layer)


def places(formula: str, dtype: str) -> set[Place]:
    """Wherever a formula is stated in what every mode runs in this precision."""
    return {
        (name, formula, layer)
        for name in NAMES
        if dtype in PROBLEMS[name].every_mode
        for problem in build(name, "float64", NETWORKS, SEED)
        for statement in FORMULAS[formula].statements
        for layer in statement.layers_of(problem.network.widths)
    }


def judge(outcome: Outcome, name: str, mode: str, dtype: str, check: str, expected: set[Place]) -> None:
    """Every expected place was compared and agrees."""
    (report,) = (report for report in outcome.adapters if report.spec == name)
    for refusal in report.not_offered:
        if (refusal["mode"], refusal["dtype"]) == (mode, dtype):
            pytest.skip(f"not offered: {refusal['reason']}")
    found = {
        (key.problem, key.formula, key.layer): tally
        for key, tally in outcome.tallies.items()
        if (key.adapter, key.mode, key.dtype, key.check) == (name, mode, dtype, check)
    }
    reasons = "; ".join([*report.reasons, *(str(refusal["reason"]) for refusal in report.not_offered)])
    assert report.status == "compared", reasons
    assert expected <= found.keys(), reasons
    if check == "step" and {formula for _, formula, _ in expected} <= NOT_COVERED.get(name, set()):
        reasons = "; ".join({str(found[place].not_covered) for place in expected})
        assert all(found[place].entries == 0 and found[place].not_covered for place in expected)
        pytest.skip(f"not covered: {reasons}")
    for place in sorted(expected):
        tally = found[place]
        assert tally.entries > 0, (place, tally.not_covered)
        assert tally.failures == 0, (place, tally.first_failure and tally.first_failure.message)
        assert tally.worst_bound_fraction <= 1, place


# --- the items themselves ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("formula", ["13", "3", "b1"])
def test_an_expression_selects_a_formula_of_a_framework(formula) -> None:
    end = formula if len(formula) == 2 else f"-{formula}]"
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-k", f"jax and {end}", __file__]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    selected = {line.partition("::")[2] for line in listed.splitlines() if "::" in line}
    assert selected == {f"test_formula[{'-'.join(case)}-{formula}]" for case in CASES if case[0] == "jax"}


KEY = Key("numpy", "eager", "float32", "cpu", "document", "step", "13", 1)
PLACE = ("document", "13", 1)
REPORT = AdapterReport("numpy", "numpy", status="compared")
AGREE = {KEY: Tally(entries=2)}
FAILURE = Failure(array="dL_dw[1]", network=0, entry=(0, 0), stage="value", message="dL_dw[1][0, 0]: found 7")
REFUSED: dict[str, str | None] = {"mode": "eager", "dtype": "float32", "reason": "no compiler"}


@pytest.mark.parametrize(
    ("report", "tallies", "message"),
    [
        (REPORT, {}, "13"),
        (REPORT, {KEY._replace(layer=0): Tally(entries=2)}, "13"),
        (REPORT, {KEY: Tally(not_covered="the adapter returns no dL_dw[1]")}, "no dL_dw"),
        (REPORT, {KEY: Tally(2, 1, 0.5, 9, FAILURE)}, "found 7"),
        (REPORT, {KEY: Tally(entries=2, worst_bound_fraction=1.5)}, "13"),
        (replace(REPORT, status="failed", reasons=["cannot import torch"]), AGREE, "cannot import torch"),
        (replace(REPORT, not_offered=[REFUSED | {"dtype": "float64"}]), {}, "no compiler"),
        (replace(REPORT, not_offered=[REFUSED | {"mode": None, "dtype": None}]), {}, "no compiler"),
    ],
)  # fmt: skip
def test_what_was_not_compared_or_differs_fails(report, tallies, message) -> None:
    judge(Outcome([REPORT], AGREE, 0.0), *KEY[:3], "step", {PLACE})
    with pytest.raises((AssertionError, pytest.skip.Exception), match=message) as end:
        judge(Outcome([report], tallies, 0.0), *KEY[:3], "step", {PLACE})
    assert end.type is AssertionError


def test_only_a_mode_and_precision_that_are_not_offered_are_skipped() -> None:
    with pytest.raises(pytest.skip.Exception, match="not offered: no compiler"):
        judge(Outcome([replace(REPORT, not_offered=[REFUSED])], {}, 0.0), *KEY[:3], "step", {PLACE})
