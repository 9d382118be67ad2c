"""TF32, simulated: a framework that uses it silently is a mismatch in float32, and agrees once that is declared."""

import pytest

from compare.problems import PROBLEMS
from compare.run import Outcome, run
from compare.tally import total
from compare.worker import Job

MODULE = "tests.adapters.tf32:"
ADAPTERS = ("SilentTF32", "DeclaredTF32", "RoundedTF32")
PROBLEM_NAMES = [name for name, recipe in PROBLEMS.items() if not recipe.jacobians]


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    jobs = [Job(MODULE + name, "cpu", None, ["float32", "float64"], PROBLEM_NAMES, True, 300, 0) for name in ADAPTERS]
    return run(jobs, timeout=300)


@pytest.mark.parametrize("name", ["declared-tf32", "rounded-tf32"])
def test_declared_it_agrees_on_every_problem(outcome, name) -> None:
    own = {key: tally for key, tally in outcome.tallies.items() if key.adapter == name}
    assert {key.problem for key in own} == set(PROBLEM_NAMES)
    if name == "rounded-tf32":  # the largest number of float32 overflows where it is rounded up to 10 bits
        own = {key: tally for key, tally in own.items() if key.problem != "sigmoid"}
    found = total(own)
    assert found.entries > 100_000
    assert found.failures == 0, found.first_failure
    assert found.worst_bound_fraction > 0.5  # and not by bounds that are too wide


@pytest.mark.parametrize(
    ("dtype", "formulas"), [("float32", {"1", "2", "13", "14", "20", "21", "22"}), ("float64", set())]
)
def test_silent_it_is_a_mismatch_in_float32_alone(outcome, dtype, formulas) -> None:
    own = {
        k: t
        for k, t in outcome.tallies.items()
        if (k.adapter, k.dtype, k.problem) == ("silent-tf32", dtype, "document")
    }
    failed = {key.formula for key, tally in own.items() if tally.failures and key.check == "step"}
    assert failed >= formulas
    assert bool(failed) == bool(formulas)
    ends = {key.formula for key, tally in own.items() if tally.failures and key.check == "end-to-end"}
    assert bool(ends) == bool(formulas)
