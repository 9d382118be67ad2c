"""Every fault of the catalogue gets exactly its expected verdict, and correct adapters get none; the smallest are seen."""

import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from adapters import REGISTRY
from compare import check
from compare.run import ROOT, run
from compare.worker import Job
from reference.formulas import LEDGER
from tests.adapters.cases import torch_compiles
from tests.faults import catalogue
from tests.faults.__main__ import main
from tests.faults.catalogue import FAMILIES, FAULTS, NOT_INDEPENDENT, Fault
from tests.faults.judges import ALARMS, CAUGHT, JUDGES, MISSED, OTHERS, Case, control, mark
from tests.faults.plants import entry, layers, times, ulps
from tests.faults.sensitivity import WITNESSES, by_entry, by_terms, entries, figure, sample, seen

PLACES = dict.fromkeys((fault.where, fault.networks) for fault in FAULTS.values())
SAMPLES = [f"{way} {dtype}" for way in ("numpy eager", "pytorch eager", "jax jit", "tensorflow eager")
           for dtype in ("float32", "float64")]  # fmt: skip


@torch_compiles
@pytest.mark.parametrize("name", FAULTS)
def test_verdict(name) -> None:
    fault = FAULTS[name]
    case = Case(fault.adapter(), fault.problem, fault.mode)
    assert (case.step[0], case.end[0]) == (fault.step, fault.end)
    assert fault.step or fault.end


@torch_compiles
@pytest.mark.parametrize(("where", "networks"), PLACES)
def test_no_alarm_without_the_fault(where, networks) -> None:
    correct = control(where, networks=networks)
    tallies = [
        check.step(correct.problem, correct.trace, correct.arithmetic),
        check.end_to_end(correct.problem, correct.gradients, correct.arithmetic, None),
    ]
    assert all(sum(tally.entries for tally in found.values()) > 100 for found in tallies)
    assert (correct.step, correct.end) == ((None, None), (None, None))


def test_every_fault_is_an_adapter_for_the_command_line() -> None:
    for name, fault in FAULTS.items():
        assert getattr(catalogue, name) is fault.adapter
    with pytest.raises(AttributeError):
        _ = catalogue.no_such_fault


def test_the_catalogue_is_as_broad_as_it_says() -> None:
    assert len(FAULTS) == sum(map(len, FAMILIES.values())) >= 60
    frameworks = Counter(fault.framework for fault in FAULTS.values())
    assert set(frameworks) == set(REGISTRY)
    assert sum(frameworks[name] for name in ("pytorch", "jax", "tensorflow")) >= len(FAULTS) / 3
    assert all(fault.mode in REGISTRY[fault.framework].modes for fault in FAULTS.values())
    named = {fault.step.split("/")[0] for fault in FAULTS.values() if fault.step} - {NOT_INDEPENDENT}
    assert named >= {
        "1",
        "2",
        "3",
        "4",
        "5",
        "7",
        "8",
        "9",
        "10",
        "12",
        "13",
        "15",
        "17",
        "18",
        "20",
        "21",
        "22",
        "b1",
        "b2",
    }


def test_every_formula_sees_some_fault() -> None:
    seen_by = set()
    for fault in FAULTS.values():
        if fault.framework == "numpy":
            case = Case(fault.adapter(), fault.problem, fault.mode)
            tallies = check.step(case.problem, case.trace, case.arithmetic)
            seen_by |= {formula for (formula, _), tally in tallies.items() if tally.failures}
    assert seen_by == {formula.number for formula in LEDGER}


# --- the smallest --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("witness", WITNESSES, ids=lambda witness: f"{witness.quantity}[{witness.layer}]")
@pytest.mark.parametrize("where", SAMPLES)
def test_a_few_ulp_in_any_entry_are_always_seen(where, witness) -> None:
    """8 ULP of the entry; 16 of h, whose bound holds the sigmoid's own error; of a, 8 of the terms it is the sum of."""
    of = sample(where)
    for at in entries(of, witness):
        for n in (8, -8):
            shift = by_terms(of, witness, at, n) if witness.quantity == "a" else by_entry(n)
            if witness.quantity == "h":
                shift = by_entry(2 * n)
            assert seen(of, witness, at, shift) == of.networks, (at, n)


@pytest.mark.parametrize("witness", WITNESSES, ids=lambda witness: f"{witness.quantity}[{witness.layer}]")
@pytest.mark.parametrize("where", SAMPLES)
def test_8_ulp_in_any_entry_of_the_document_s_net_are_seen(where, witness) -> None:
    """Of the net in numbers, whose sums do not cancel, in `a` too; 16 of h."""
    of = figure(where)
    ulp = 16 if witness.quantity == "h" else 8
    assert all(seen(of, witness, at, by_entry(n)) == 1 for at in entries(of, witness) for n in (ulp, -ulp))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_correct_orders_of_a_differ_by_more_than_8_of_its_ulp(dtype) -> None:
    """Why a fault in `a` is told in ULP of its terms: no check that allows every order sees 8 of the sum's own in each entry."""
    of = sample(f"numpy eager {dtype}", 1000)
    (w, *_), (b, *_), x = of.problem.network.w, of.problem.network.b, of.problem.x
    first, second = x[..., :1] * w[:, :1], x[..., 1:] * w[:, 1:]
    orders = [(first + second) + b, first + (second + b), (first + b) + second]
    for a in orders:
        other = replace(of.trace, a=(a, *layers(of.trace, "a")[1:]))
        assert check.step(of.problem, other, of.arithmetic)["1", 0].failures == 0
    apart = np.ptp(orders, axis=0) / np.spacing(np.abs(orders[0]))
    assert f"{np.mean(apart > 8):.0%}" == "1%"  # as README.md says


@pytest.mark.parametrize("where", SAMPLES)
def test_what_is_not_shifted_is_not_seen(where) -> None:
    of = sample(where)
    assert seen(of, WITNESSES[0], next(entries(of, WITNESSES[0])), by_entry(0)) == 0


def test_every_array_of_the_trace_has_its_witness() -> None:
    trace = sample(SAMPLES[0]).trace
    arrays = {(name, layer) for name in vars(trace) for layer in range(len(layers(trace, name)))}
    assert {(witness.quantity, witness.layer) for witness in WITNESSES} == arrays


@pytest.mark.parametrize(
    ("dtype", "change"),
    [("float32", ulps(8)), ("float64", ulps(8)), ("float64", times(1 + 1e-7))],
    ids=["8 ULP of float32", "8 ULP of float64", "1e-7"],
)
def test_none_of_the_others_sees_so_small_a_fault(dtype, change) -> None:
    for layer, shape in enumerate(((2, 3), (3, 2))):
        for at in np.ndindex(*shape):
            plant = entry("dL_dw", layer, (0, *at), change)
            fault = Fault("", f"numpy eager {dtype} document", "", plant, None, None, networks=1)
            case = Case(fault.adapter(), fault.problem, fault.mode, network=0)
            assert mark(JUDGES["step"], case, fault) == CAUGHT
            assert all(mark(judge, case, fault) in (MISSED, ALARMS) for judge in OTHERS.values())


# --- the judges ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "marks"),
    [
        ("slope_missing_in_output", "✓✓✓✓✓✓✓✓"),
        ("ascent", "✓·✓✓✓···"),  # the gradients are right
        ("gradient_doubled", "✓✓✓✓✓!✓✓"),  # gradcheck alarms on any float32
        ("one_entry_of_10000", "✓·······"),
        ("gradients_zero", "·✓✓✓✓!✓✓"),
        ("numpy_echo", "✓✓······"),
        ("sklearn_penalised", "✓✓✓✓✓–––"),
    ],
)
def test_marks(name, marks) -> None:
    fault = FAULTS[name]
    case = Case(fault.adapter(), fault.problem, fault.mode)
    assert "".join(mark(judge, case, fault)[0] for judge in JUDGES.values()) == marks


# --- an adapter that calls the reference -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["numpy_echo", "torch_echo"])
def test_an_echo_is_refused_in_one_sentence(name) -> None:
    spec = f"tests.faults.catalogue:{name}"
    outcome = run([Job(adapter=spec, device="cpu", modes=None, dtypes=["float32", "float64"], problems=["document"],
                       every_combination=True, networks=10, seed=0)], timeout=300)  # fmt: skip
    (report,) = outcome.adapters
    assert report.status == "failed"
    assert report.reasons == [
        "not independent: trace called reference.backprop.backprop; expected the framework's own code"
    ]
    assert outcome.tallies == {}
    assert outcome.exit_status == 2


# --- the command -----------------------------------------------------------------------------------------------------


def test_matrix_and_exit_status(tmp_path, capsys, monkeypatch) -> None:
    names = ["ascent", "nan", "gradients_zero"]
    assert main(["--names", *names, "--report", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"ascent +8/0 +· +✓ +✓ +✓ +· +· +·", printed)
    assert re.search(r"either check +3 +0 +0 +0 +100%", printed)
    assert re.search(r"torch gradcheck +0 +1 +2 +0 +0%", printed)
    assert "3 of 3 verdicts are exactly the expected ones" in printed
    assert '"change": "w + η ∇L"' in (tmp_path / "faults.json").read_text(encoding="utf-8")
    monkeypatch.setitem(FAULTS, "ascent", FAULTS["ascent"].__class__(**vars(FAULTS["ascent"]) | {"step": "9/1"}))
    assert main(["--names", *names, "--report", str(tmp_path)]) == 1
    assert "unexpected" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--names", "no_such_fault"], ["--report", "/proc/none", "--names", "nan"]])
def test_bad_input_is_one_sentence(arguments) -> None:
    command = [sys.executable, "-m", "tests.faults", *arguments]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1)
    assert ended.stderr.startswith(f"faults: {arguments[0]}")
