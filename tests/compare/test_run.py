"""A run: what fails costs its own results and no one else's, and is said in one sentence."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from compare.run import AdapterReport, Outcome, _demand_same_problems, _how_it_ended, _last_line, run
from compare.tally import Key, Tally, total
from compare.worker import Job
from reference.rounding import Arithmetic

FAKES = "tests.compare.fake_adapters:"
ABSENT = "tests.compare.absent"
KILLER = "often the system's out-of-memory killer"
INVALID = "an invalid memory access in native code"
TASKS = ("eager float32 document", "eager float64 document")


def job(adapter: str) -> Job:
    if adapter[0].isupper():
        adapter = FAKES + adapter
    return Job(adapter, "cpu", None, ["float32", "float64"], ["document"], False, networks=5, seed=0)


def in_both(reason: str) -> list[str]:
    return [f"{task}: {reason}" for task in TASKS]


def not_an_adapter(name: str, lacks: str) -> list[str]:
    return [f"ValueError: adapter {FAKES}{name}: {name} is not an adapter class (it lacks {lacks})"]


def not_an_arithmetic(dtype: str, found: object) -> str:
    sentence = f"arithmetic('eager', '{dtype}'): found {found!r}, expected an Arithmetic of {dtype}"
    return f"eager {dtype} document: ValueError: {sentence}"


def refused(*dtypes: str) -> list[dict[str, str | None]]:
    return [{"mode": "eager", "dtype": dtype, "reason": f"no {dtype} here"} for dtype in dtypes]


# How each fake adapter fails: reasons and verdict, if it runs alone. The exit status follows from the verdict.
FAILED = {
    "Crashes": [f"the worker was ended by SIGKILL ({KILLER}) in {TASKS[0]}"],
    "Aborts": [f"the worker was ended by SIGABRT in {TASKS[0]}: malloc(): corrupted top size"],
    "Exits": [f"the worker ended with exit status 0 in {TASKS[0]}"],
    "CrashesOnceRefused": [f"the worker was ended by SIGKILL ({KILLER}) in {TASKS[1]}"],
    "CrashesOnceFailed": [
        f"{TASKS[0]}: ValueError: float32 is too short",
        f"the worker was ended by SIGKILL ({KILLER}) in {TASKS[1]}",
    ],
    "CrashesOnceCompared": [f"the worker was ended by SIGKILL ({KILLER}) in {TASKS[1]}"],
    "NoConstructor": ["OSError: the licence has expired"],
    "Raises": in_both("ZeroDivisionError: division by zero"),
    "ReturnsNone": in_both("ValueError: trace: found NoneType, expected a Trace"),
    "ReturnsADict": in_both("ValueError: gradients: found dict, expected a Gradients"),
    "ChangesItsInput": in_both("ValueError: trace changed its argument: w[1] is not what was given"),
    "NoArithmetic": [not_an_arithmetic("float32", "float32"), not_an_arithmetic("float64", "float64")],
    "OnlyFloat32": [not_an_arithmetic("float64", Arithmetic("float32", 4.0))],
    "NotAnAdapter": not_an_adapter("NotAnAdapter", "framework, modes, arithmetic, trace, gradients"),
    "not_a_class": not_an_adapter("not_a_class", "name, framework, modes, arithmetic, trace, gradients"),
    "Absent": [f"ValueError: adapter {FAKES}Absent: module tests.compare.fake_adapters has no Absent"],
    f"{ABSENT}:Any": [f"ImportError: adapter {ABSENT}:Any: cannot import {ABSENT}: No module named '{ABSENT}'"],
    "Segfaults": [f"the worker was ended by SIGSEGV ({INVALID}) in {TASKS[0]}"],
    "tests.compare.at_import.raises:Any": ["RuntimeError: no driver"],
    "tests.compare.at_import.segfaults:Any": [f"the worker was ended by SIGSEGV ({INVALID}) while starting"],
    "tests.compare.at_import.exits:Any": ["the worker ended with exit status 66 while starting"],
    "Impostor": ["name: found 'numpy', the name of numpy; expected one of its own"],
}
if sys.platform == "linux":  # elsewhere nothing holds a process to its limit, and C++ has another library
    FAILED |= {
        "RunsOutOfMemory": in_both("MemoryError"),
        "RunsOutOfNativeMemory": [f"the worker was ended by SIGABRT in {TASKS[0]}: what():  std::bad_alloc"],
    }
NOT_COMPARED: dict[str, list[dict[str, str | None]]] = {
    "NoDevice": [{"mode": None, "dtype": None, "reason": "no device 'cpu' here"}],
    "NothingOffered": refused("float32", "float64"),
    "ReturnsNothing": [],
}
MISMATCH = {"WrongShape": "shape", "WrongDtype": "dtype", "NotANumber": "finite", "WrongValue": "value"}
OTHERS = ("Prints", "NoFloat64", "WrongValueThenCrash")


def spec(fake: str) -> str:
    return fake if "." in fake else FAKES + fake


@pytest.fixture(scope="module")
def together() -> Outcome:
    """NumPy and all that fail, but for those that hang, in one run."""
    return run([job("numpy"), *(job(spec(fake)) for fake in (*FAILED, *NOT_COMPARED, *MISMATCH, *OTHERS))], timeout=120)


@pytest.fixture(scope="module")
def alone() -> Outcome:
    """NumPy in a run of its own."""
    return run([job("numpy")], timeout=120)


def part(outcome: Outcome, fake: str) -> tuple[AdapterReport, Outcome]:
    """What the run would have been with this adapter only."""
    (report,) = (report for report in outcome.adapters if report.spec == spec(fake))
    tallies = {key: tally for key, tally in outcome.tallies.items() if key.adapter == report.name}
    return report, Outcome([report], tallies, 0.0)


def of(outcome: Outcome, **fields: str) -> dict[Key, Tally]:
    return {k: t for k, t in outcome.tallies.items() if all(getattr(k, name) == v for name, v in fields.items())}


@pytest.mark.parametrize("fake", FAILED)
def test_failing_adapter_says_why(together, fake):
    report, own = part(together, fake)
    assert (report.status, report.reasons) == ("failed", FAILED[fake])
    assert (own.verdict, own.exit_status) == ("incomplete", 2)
    assert not any(tally.failures for tally in own.tallies.values())


@pytest.mark.parametrize("fake", NOT_COMPARED)
def test_adapter_that_compares_nothing_agrees_with_nothing(together, fake):
    report, own = part(together, fake)
    assert (report.status, report.reasons) == ("not compared", [])
    assert report.not_offered == NOT_COMPARED[fake]
    assert total(own.tallies).entries == 0
    assert (own.verdict, own.exit_status) == ("incomplete", 2)


@pytest.mark.parametrize("fake", MISMATCH)
def test_wrong_array_is_a_mismatch(together, fake):
    report, own = part(together, fake)
    assert (report.status, report.reasons) == ("compared", [])
    assert (own.verdict, own.exit_status) == ("mismatch", 1)
    first = [own.tallies[key].first_failure for key in own.tallies if key.formula == "1"]
    assert len(first) == 2
    for failure in first:
        assert failure is not None
        assert (failure.stage, failure.array) == (MISMATCH[fake], "a[0]")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "ended with exit status 0"),
        (-signal.SIGTERM, "was ended by SIGTERM"),
        (-signal.SIGKILL, f"was ended by SIGKILL ({KILLER})"),
        (-signal.SIGSEGV, f"was ended by SIGSEGV ({INVALID})"),
        (-40, "was ended by signal 40"),  # a real-time signal has no name
    ],
)
def test_end_of_a_worker_in_words(status, words):
    assert _how_it_ended(status) == words


@pytest.mark.parametrize("before", [b"", b"x" * 20_000 + b"\n", b"\xff\n"])
def test_last_words_of_a_worker(before):
    assert _last_line(before + b"  what(): no memory \n\n") == ": what(): no memory"


def test_results_before_a_crash_are_kept(together):
    report, own = part(together, "CrashesOnceCompared")
    assert {key.dtype for key in own.tallies} == {"float32"}
    assert not any(tally.failures for tally in own.tallies.values())
    assert report.digests == {}


def test_mismatch_wins_over_a_crash(together):
    report, own = part(together, "WrongValueThenCrash")
    assert report.reasons == [f"the worker was ended by SIGABRT in {TASKS[1]}"]
    assert (report.status, own.verdict, own.exit_status) == ("failed", "mismatch", 1)


def test_one_precision_refused_leaves_the_other(together):
    report, own = part(together, "NoFloat64")
    assert (report.status, report.reasons, report.not_offered) == ("compared", [], refused("float64"))
    assert {key.dtype for key in own.tallies} == {"float32"}
    assert (own.verdict, own.exit_status) == ("agree", 0)


def test_what_an_adapter_prints_changes_nothing(together):
    report, own = part(together, "Prints")
    assert (report.status, report.reasons, own.verdict) == ("compared", [], "agree")
    assert {key._replace(adapter="numpy"): tally for key, tally in own.tallies.items()} == of(together, adapter="numpy")


def test_numpy_fares_as_if_it_were_alone(together, alone):
    assert together.verdict == "mismatch"
    assert (alone.verdict, alone.exit_status) == ("agree", 0)
    assert of(together, adapter="numpy") == alone.tallies
    assert replace(together.adapters[0], seconds={}) == replace(alone.adapters[0], seconds={})
    assert alone.adapters[0].status == "compared"
    assert total(of(alone, check="step")).entries == 2 * 5 * 114  # precisions, networks, entries of 24 formulas
    assert total(of(alone, check="end-to-end")).entries == 2 * 5 * 18  # loss, 12 weights, 5 biases
    assert set(alone.adapters[0].digests) == {"document float32", "document float64"}
    assert alone.adapters[0].seconds.keys() == {"import", "framework", "check", "truth"}


def test_reports_come_in_the_order_asked_for(together):
    assert [report.spec for report in together.adapters] == [
        "numpy", *(spec(fake) for fake in (*FAILED, *NOT_COMPARED, *MISMATCH, *OTHERS))
    ]  # fmt: skip


def test_same_seed_gives_the_same_tallies(alone):
    assert run([job("numpy")], timeout=120).tallies == alone.tallies
    other = run([replace(job("numpy"), seed=1)], timeout=120)
    assert other.tallies.keys() == alone.tallies.keys()
    assert other.tallies != alone.tallies


def test_hanging_adapters_are_stopped_with_all_they_started(alone):
    at_import = "tests.compare.at_import.hangs:Any"
    hanging = ("Hangs", "HangsInSilence", at_import, *(["LeavesAProcess"] if hasattr(os, "fork") else []))
    outcome = run([job("numpy"), *map(job, map(spec, hanging))], timeout=5)
    for fake in hanging:
        report, own = part(outcome, fake)
        assert report.status == "failed"
        when = "while starting" if fake == at_import else f"in {TASKS[0]}"
        assert report.reasons == [f"no answer within 5 s {when}; stopped"]
        assert (own.verdict, own.exit_status) == ("incomplete", 2)
    assert of(outcome, adapter="numpy") == alone.tallies
    assert outcome.verdict == "incomplete"


def test_any_exception_stops_the_workers(monkeypatch):
    processes = []
    start = subprocess.Popen

    def started(*arguments: Any, **options: Any) -> Any:
        processes.append(start(*arguments, **options))
        return processes[-1]

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", started)
    with pytest.raises(KeyboardInterrupt):
        run([job("Hangs"), job("HangsInSilence")], timeout=120, listener=interrupted)
    assert [process.returncode for process in processes] == [-signal.SIGKILL] * 2


def test_listener_is_told_of_every_task():
    heard = []

    def listen(_: AdapterReport, event: Mapping[str, Any]) -> None:
        heard.append(event["event"])

    run([job("NoFloat64")], timeout=120, listener=listen)
    tasks = ["start", "tallies", "finished", "start", "not offered", "finished"]
    assert heard == ["adapter", *tasks, "start", "shown", "done", "ended"]


def test_plan_of_a_job():
    adapter: Any = SimpleNamespace(modes=("eager", "jit"))
    plan = replace(job("numpy"), problems=["document", "wide"], dtypes=["float64"])
    everywhere = [("eager", "float64", "document"), ("eager", "float64", "wide"), ("jit", "float64", "document")]
    assert plan.tasks(adapter) == everywhere  # "wide" runs in the first mode only
    assert replace(plan, every_combination=True).tasks(adapter) == [*everywhere, ("jit", "float64", "wide")]
    assert replace(plan, modes=["jit"]).tasks(adapter) == [("jit", "float64", "document")]


# --- verdicts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statuses", "tally", "verdict", "exit_status"),
    [
        (["compared"], Tally(entries=3), "agree", 0),
        (["compared", "not compared"], Tally(entries=3), "agree", 0),
        (["compared", "failed"], Tally(entries=3), "incomplete", 2),
        (["compared"], Tally(entries=3, failures=1), "mismatch", 1),
        (["failed"], Tally(entries=3, failures=1), "mismatch", 1),
        (["compared"], Tally(not_covered="the adapter returns no a"), "incomplete", 2),
        (["not compared"], None, "incomplete", 2),
        ([], None, "incomplete", 2),
    ],
)
def test_verdict(statuses, tally, verdict, exit_status):
    key = Key("numpy", "eager", "float64", "cpu", "document", "step", "1", 0)
    reports = [AdapterReport(f"adapter {i}", f"adapter {i}", status=status) for i, status in enumerate(statuses)]
    outcome = Outcome(reports, {} if tally is None else {key: tally}, 0.0)
    assert (outcome.verdict, outcome.exit_status) == (verdict, exit_status)


def test_worker_that_made_other_problems_has_failed():
    digests: tuple[dict[str, str], ...]
    digests = ({"document float32": "a" * 64, "wide float32": "b" * 64}, {"document float32": "c" * 64}, {})
    reports = [AdapterReport(name, name, status="compared", digests=d) for name, d in zip("xyz", digests, strict=True)]
    workers: Any = [SimpleNamespace(report=report) for report in reports]
    _demand_same_problems(workers)
    assert [report.status for report in reports] == ["compared", "failed", "compared"]
    assert reports[1].reasons == ["problem document float32: digest cccccccccccc, expected aaaaaaaaaaaa"]
    assert reports[0].reasons == reports[2].reasons == []
