"""What is printed: every number where it belongs, in tables that fit, and every reason once."""

import io
import re
from collections.abc import Mapping
from itertools import product
from typing import Any, cast

import pytest
from rich.console import Console

from adapters import REGISTRY
from compare import results
from compare.published import Judged, Wrong
from compare.report import terminal
from compare.report.words import plain
from compare.run import AdapterReport, Outcome
from compare.tally import Failure, Key, Tally
from reference.formulas import LEDGER

ADAPTERS = {
    "numpy": ("eager",),
    "pytorch": ("eager", "compile", "forward", "vmap", "func", "export", "checkpoint"),
    "jax@0.10.2#2": ("jit", "eager", "forward", "vmap", "grad", "pmap", "linearize"),
    "tensorflow": ("eager", "function", "xla", "forward", "vmap", "keras", "tape"),
    "scikit-learn": ("eager",),
}
DTYPES = ("bfloat16", "float16", "float32", "float64")  # not in the order of their columns
OPTIONS = {"dtypes": list(DTYPES), "networks": 5, "seed": 0, "vectors": []}
NUMBERS = [formula.number for formula in LEDGER]


def key(adapter: str, mode: str, dtype: str, formula: str, check: str = "step", problem: str = "document") -> Key:
    return Key(adapter, mode, dtype, "cpu", problem, check, formula, 0)


def outcome(changes: Mapping[Key, Tally | None] = {}, reports: Mapping[str, Any] = {}) -> Outcome:
    """Every adapter in every mode and precision, with the same numbers everywhere but for ``changes``."""
    tallies: dict[Key, Tally | None] = {}
    for adapter, modes in ADAPTERS.items():
        for mode, dtype, formula in product(modes, DTYPES, NUMBERS):
            tallies[key(adapter, mode, dtype, formula)] = Tally(50_000, 0, 0.25, 12.5)
            tallies[key(adapter, mode, dtype, formula, "end-to-end")] = Tally(10_000, 0, 0.5, 2e14)
    kept = {place: tally for place, tally in sorted({**tallies, **changes}.items()) if tally is not None}
    adapters = [
        AdapterReport(name, name, framework=name.title(), version="2.13.0+cpu", status="compared", modes=[*modes])
        for name, modes in ADAPTERS.items()
    ]
    for report in adapters:
        for field, value in reports.get(report.name, {}).items():
            setattr(report, field, value)
    return Outcome(adapters, kept, 61.0)


def shown(found: Outcome, width: int = 80, colour: bool = False) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=colour, highlight=False, emoji=False)
    content = cast("dict[str, Any]", results.as_json(found, OPTIONS))
    terminal.show(found, content, console)
    terminal.verdict(content, console)
    printed: str = console.file.getvalue()  # type: ignore[attr-defined]  # the file given above
    return printed


def table(printed: str, title: str) -> list[str]:
    """The lines from a table's title to the next empty one."""
    lines = printed.splitlines()
    start = next(i for i, line in enumerate(lines) if line.strip().startswith(title))
    end = next((i for i in range(start, len(lines)) if not lines[i]), len(lines))
    return [line.rstrip() for line in lines[start:end]]


def columns(lines: list[str]) -> tuple[str, ...]:
    """The names of the modes, in the head of a table of formulas; the longer ones are on two lines."""
    rule = next(i for i, line in enumerate(lines) if line.startswith("───"))
    *above, below = lines[2:rule]
    halves = {word.end(): word[0].removesuffix("-") for line in above for word in re.finditer(r"\S+", line)}
    names = [halves.get(word.end(), "") + word[0] for word in re.finditer(r"\S+", below)]
    return tuple(names[3:])


def row(lines: list[str], start: str) -> list[str]:
    (found,) = (line.split() for line in lines if " ".join(line.split()).startswith(start))
    return found


def without(adapter: str, mode: str, dtype: str) -> dict[Key, Tally | None]:
    return {key(adapter, mode, dtype, n, check): None for n in NUMBERS for check in ("step", "end-to-end")}


def failing(fraction: float = 1.7) -> Tally:
    failure = Failure(array="a[0]", network=0, entry=(), stage="shape", message="a[0]: found shape (5, 3)")
    return Tally(50_000, 3, fraction, 99.0, failure)


# --- size -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [40, 80, 200])
def test_every_table_fits_in_80_columns_and_nothing_is_cut_off(width):
    printed = shown(outcome({key("pytorch", "checkpoint", "float16", "13"): failing(9e9)}), width)
    tables = printed[: printed.index("mismatch  pytorch")]
    assert max(map(len, tables.splitlines())) <= 80
    assert "…" not in tables.replace("[ … ]", "")
    for name, modes in ADAPTERS.items():
        assert modes == columns(table(printed, name.title()))
        for mode in modes:
            assert len(row(table(printed, "Summary"), f"{name} {mode} ")) == 9


@pytest.mark.parametrize("name", REGISTRY)
def test_modes_of_a_registered_adapter_leave_room_for_its_formulas(name):
    """Most of them are on one line."""
    report = AdapterReport(name, name, framework=name, version="1", status="compared", modes=[*REGISTRY[name].modes])
    worst = Tally(2_029_657, 0, 0.25, 1e15)
    tallies = {key(name, mode, "float32", number): worst for mode, number in product(report.modes, NUMBERS)}
    lines = table(shown(Outcome([report], tallies, 1.0)), name)
    assert columns(lines) == REGISTRY[name].modes
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 4 + len(LEDGER) + 1 + 9 + 1


# --- formulas -------------------------------------------------------------------------------------------------------


def test_formula_has_its_entries_and_the_worst_of_all_precisions():
    worst = Tally(1, 0, 0.98, 1234.0)
    printed = shown(outcome({key("pytorch", "vmap", "bfloat16", "7", problem="wide"): worst}))
    lines = table(printed, "Pytorch 2.13.0+cpu")
    assert columns(lines) == ADAPTERS["pytorch"]
    assert row(lines, "7 ")[-9:] == ["1.40M", "1.2e3", ".25", ".25", ".25", ".98", ".25", ".25", ".25"]
    assert row(lines, "6 ")[-9:] == ["1.40M", "12.50", *[".25"] * 7]
    assert row(lines, "gradients, end to end")[-8:] == ["6.72M", *[".50"] * 7]
    assert ".98" not in "\n".join(table(printed, "Tensorflow"))


@pytest.mark.parametrize(("entries", "shown_as"), [
    (0, "–"), (7, "7"), (9_999, "9,999"), (10_000, "10.0k"), (123_456, "123k"), (999_499, "999k"), (999_500, "1.00M"),
    (2_029_657, "2.03M"), (22_066_122, "22.1M"), (999_499_999, "999M"), (11_034_428_641, "11.0G"),
])  # fmt: skip
def test_count_in_five_characters(entries, shown_as):
    assert terminal._count(Tally(entries)) == shown_as


@pytest.mark.parametrize(("fraction", "shown_as"), [
    (0.0, ".00"), (0.994, ".99"), (0.996, "1.0"), (1.0, "1.0"), (1.7, "1.7"), (9.96, "10"), (999.4, "999"), (1234.5, "1e3"),
    (3e15, "3e15"), (float("inf"), "∞"),
])  # fmt: skip
def test_fraction_in_three_characters(fraction, shown_as):
    assert terminal._marked(Tally(1, 0, fraction)).plain == shown_as
    assert terminal._marked(Tally(1, 1, fraction)).plain == shown_as + "!"


def test_what_is_not_covered_is_marked_and_said_once():
    reason = "the adapter returns no da_dw[0]"
    missing = Tally(not_covered=reason)
    everywhere = {key("tensorflow", "keras", dtype, "12"): missing for dtype in DTYPES}
    in_part = {key("tensorflow", mode, "bfloat16", "17"): missing for mode in ("xla", "keras")}
    printed = shown(outcome({**everywhere, **in_part}))
    lines = table(printed, "Tensorflow")
    assert row(lines, "12 ")[-7:] == [".25", ".25", ".25", ".25", ".25", "–", ".25"]
    assert row(lines, "17 ")[-7:] == [".25", ".25", ".25*", ".25", ".25", ".25*", ".25"]
    assert lines[-4].strip() == "– not covered, * not covered everywhere: see below"
    assert lines[-3:] == [
        f"not covered  tensorflow keras (bfloat16), 12, 17: {reason}",
        f"not covered  tensorflow keras (float64 float32 float16), 12: {reason}",
        f"not covered  tensorflow xla (bfloat16), 17: {reason}",
    ]
    assert row(table(printed, "Summary"), "tensorflow keras")[2] == "22/24"
    assert row(table(printed, "Summary"), "tensorflow xla")[2] == "23/24"
    assert printed.count("see below") == 1


def test_what_is_not_judged_is_counted_for_each_problem():
    some = {key("tensorflow", "xla", dtype, "13", problem="hostile"): Tally(10, unjudged=1_500) for dtype in DTYPES}
    more = {
        key("tensorflow", "xla", "float64", "5", problem="extreme"): Tally(not_covered="no finite bound", unjudged=7)
    }
    printed = shown(outcome({**some, **more}))
    (line,) = [line for line in printed.splitlines() if line.startswith("not judged")]
    assert line.startswith("not judged  tensorflow, 7 entries of extreme, 6,000 entries of hostile: ")


def test_formula_that_nothing_covers():
    missing = {key("numpy", "eager", dtype, "5"): Tally(not_covered="no loss") for dtype in DTYPES}
    printed = shown(outcome(missing))
    assert row(table(printed, "Numpy"), "5 ")[-3:] == ["–", "–", "–"]
    assert "not covered  numpy eager, 5: no loss\n" in printed


# --- colours --------------------------------------------------------------------------------------------------------


def test_mismatch_is_red_in_its_own_place(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    found = outcome({key("pytorch", "vmap", "float16", "13"): failing()})
    red = re.findall("\x1b\\[(?:1;)?31m(.*?)\x1b", shown(found, colour=True))
    # formula 13, summary (fraction and verdict), the mismatch in full, the run's verdict
    assert [text.strip() for text in red] == ["1.7!", "1.7", "mismatch", "mismatch", "mismatch"]
    plain = shown(found)
    assert "\x1b" not in plain
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[31m" not in shown(found, colour=True)
    assert row(table(plain, "Pytorch"), "13 ")[-7:] == [".25", ".25", ".25", "1.7!", ".25", ".25", ".25"]


# --- summary --------------------------------------------------------------------------------------------------------


def test_summary_has_a_line_for_each_mode_and_a_column_for_each_precision():
    changes = without("pytorch", "vmap", "float16") | {
        key("pytorch", "eager", "bfloat16", "3"): failing(float("inf")),
        key("pytorch", "eager", "float32", "3", "end-to-end"): Tally(10_000, 0, 0.75, 1.0),
    }
    lines = table(shown(outcome(changes)), "Summary")
    assert row(lines, "framework")[4:8] == ["float64", "float32", "bfloat16", "float16"]
    usual = ".25/.50"
    assert row(lines, "pytorch compile")[2:] == ["24/24", "5.76M", *[usual] * 4, "agree"]
    assert row(lines, "pytorch vmap")[2:] == ["24/24", "4.32M", *[usual] * 3, "–", "agree"]
    assert row(lines, "pytorch eager")[2:] == ["24/24", "5.76M", usual, ".25/.75", "∞/.50", usual, "mismatch"]


def test_a_failed_adapter_is_a_row_of_the_summary():
    crashed = {"status": "failed", "reasons": ["the worker was ended by SIGSEGV"]}
    found = outcome(reports={"numpy": crashed, "scikit-learn": {"status": "not compared"}})
    found.tallies = {place: tally for place, tally in found.tallies.items() if place.adapter != "scikit-learn"}
    rows = [line.split() for line in table(shown(found), "Summary")]
    assert [row[-1] for row in rows if row[0] == "numpy"] == ["agree", "failed"]  # what it did before, and its end
    assert [row[1:] for row in rows if row[0] == "scikit-learn"] == [["–"] * 7 + ["unjudged"]]


def test_only_the_precisions_that_were_run_have_columns():
    changes: dict[Key, Tally | None] = {}
    for adapter, modes in ADAPTERS.items():
        for mode, dtype in product(modes, ("float16", "float32")):
            changes |= without(adapter, mode, dtype)
    printed = shown(outcome(changes))
    assert row(table(printed, "Summary"), "framework") == [
        "framework", "mode", "formulas", "count", "float64", "bfloat16", "verdict"
    ]  # fmt: skip
    assert row(table(printed, "Gradients against"), "problem") == ["problem", "float64", "bfloat16"]


def test_adapter_without_a_trace_is_not_said_to_agree_step_by_step():
    gone = Tally(not_covered="the adapter returns no trace")
    changes = {key("scikit-learn", "eager", dtype, number): gone for dtype, number in product(DTYPES, NUMBERS)}
    found = row(table(shown(outcome(changes)), "Summary"), "scikit-learn")
    assert found[2:] == ["0/24", "960k", *["–/.50"] * 4, "agree"]
    changes |= {place._replace(check="end-to-end"): gone for place in changes}
    found = row(table(shown(outcome(changes)), "Summary"), "scikit-learn")
    assert found[2:] == ["0/24", "–", *["–/–"] * 4, "unjudged"]


# --- the exact derivative -------------------------------------------------------------------------------------------


def test_truth_is_the_worst_of_all_frameworks_and_modes():
    changes = {
        key("tensorflow", "tape", "float32", "21", "end-to-end", "wide"): Tally(1, 0, 0.1, 7.0),
        key("pytorch", "vmap", "float32", "21", "end-to-end", "wide"): Tally(1, 0, 0.1, 9.0),
        key("pytorch", "vmap", "float32", "20", "step", "wide"): Tally(1, 0, 0.1, 8e9),
    }
    lines = table(shown(outcome(changes)), "Gradients against")
    assert row(lines, "problem") == ["problem", "float64", "float32", "bfloat16", "float16"]
    assert row(lines, "document") == ["document", *["2.0e14"] * 4]
    assert row(lines, "wide") == ["wide", "–", "9.00", "–", "–"]


# --- reasons --------------------------------------------------------------------------------------------------------


def refusals(reason: str, *places: tuple[str, str]) -> list[dict[str, str]]:
    return [{"mode": mode, "dtype": dtype, "reason": reason} for mode, dtype in places]


def test_equal_reasons_are_one_line():
    forward_and_vmap = product(("vmap", "forward"), ("float16", "bfloat16"))
    refused = [
        *refusals("no kernel in half precision", *forward_and_vmap, ("export", "float16")),
        *refusals("no compiler here", *product(("compile",), DTYPES)),
    ]
    device = [{"mode": None, "dtype": None, "reason": "no device 'cuda' here"}]
    printed = shown(outcome(reports={"pytorch": {"not_offered": refused}, "numpy": {"not_offered": device}}))
    assert [line for line in printed.splitlines() if line.startswith("not available")] == [
        "not available  numpy: no device 'cuda' here",
        "not available  pytorch export (float16), forward vmap (bfloat16 float16): no kernel in half precision",
        "not available  pytorch compile: no compiler here",
    ]


def test_many_failures_are_not_all_printed():
    reasons = [f"eager float32 problem-{i}: MemoryError" for i in range(13)]
    printed = shown(outcome(reports={"numpy": {"reasons": reasons, "status": "failed", "python": "/b/python"}}))
    assert printed.count("failed  numpy under /b/python: eager float32 problem-") == 10
    assert "… and 3 more reasons of numpy: results.json has every one.\n" in printed


def test_many_mismatches_are_not_all_printed():
    wrong = {key("numpy", "eager", d, "1", problem=f"problem-{i}"): failing() for d, i in product(DTYPES[:2], range(7))}
    printed = shown(outcome(wrong))
    assert printed.count("mismatch  numpy eager") == 10
    assert "… and 4 more mismatches of numpy: results.json has every one.\n" in printed


# --- what comes from outside ----------------------------------------------------------------------------------------


def test_nothing_from_outside_is_markup_or_a_control():
    name = "[red]a[/] :smile: \\[b] \x1b[31m\r\n\x08\u202e\ud800"
    wrong = Failure(array=name, network=0, entry=(), stage="shape", message=name)
    found = outcome(
        {key("numpy", "eager", "float32", "1"): Tally(5, 1, 2.0, 1.0, wrong),
         key("numpy", "eager", "float32", "2"): Tally(not_covered=name)},
        {"numpy": {"framework": name, "version": name, "python": name, "reasons": [name], "status": "failed",
                   "not_offered": refusals(name, ("eager", "float64"))},
         "scikit-learn": {"name": name}},
    )  # fmt: skip
    found.tallies |= {place._replace(adapter=name, mode=name): Tally(1, 0) for place in found.tallies}
    found.adapters[-1].modes = [name]
    found.vectors = [Judged(name, 1, (Wrong(name, name, name),))]
    printed = " ".join(shown(found, colour=False).split())
    assert all(character.isprintable() for character in printed)
    name = plain(name)
    for line in (
        f"{name} {name} under {name}", f"where {name}; 1 of 5", f"what {name} repeat", f"not covered numpy eager (float32), 2: {name}",
        f"not available numpy eager (float64): {name}", f"failed numpy under {name}: {name}",
        f"mismatch {name}: {name}: found {name}, expected what the exact value {name} rounds to",
    ):  # fmt: skip
        assert line in printed


def test_the_verdict_is_last():
    assert shown(outcome()).endswith(
        "\nagree: 132,480,000 entries compared in 61 s, every one within its derived bound.\n"
    )


# --- progress -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("colour", [False, True])
def test_one_adapter_under_two_interpreters_has_two_rows(colour):
    console = Console(file=io.StringIO(), width=100, force_terminal=colour)
    reports = [AdapterReport("jax", "jax", f"/{version}/python", "JAX", version) for version in ("0.9", "0.10")]
    with terminal.progress(console) as listen:
        for report in reports:
            listen(report, {"event": "adapter", "tasks": 3})
        for report in reports:
            report.status = "compared"
            listen(report, {"event": "ended"})
    printed = console.file.getvalue()  # type: ignore[attr-defined]  # the file given above
    if colour:
        assert "jax@0.9 " in printed
        assert "jax@0.10 " in printed
    else:
        assert printed.strip() == "jax under /0.9/python: compared\njax under /0.10/python: compared"
