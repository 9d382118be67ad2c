"""The run on a terminal: progress, one table per framework, every mismatch in full, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from compare.expect import AGREES, DEVIATES, NOT_COMPARED
from compare.report import words
from compare.report.words import MOST, Content, plain
from compare.run import AdapterReport, Listener, Outcome
from compare.tally import Key, Tally, total
from reference.formulas import LEDGER

WIDTH = 80
"""Every table fits in it: long formulas are wrapped, and long names of modes."""

COLOURS = {
    "agree": "green",
    "expected": "yellow",
    "mismatch": "red",
    "failed": "red",
    "incomplete": "yellow",
    "unjudged": "yellow",
}


def printed(width: int = WIDTH) -> Console:
    """Where everything is printed: what is no terminal is at least this wide."""
    console = Console(highlight=False, emoji=False)  # an adapter called pkg:X: is no emoji
    if not console.is_terminal:
        console.width = max(console.width, width)
    return console


@contextmanager
def progress(console: Console) -> Iterator[Listener]:
    """A bar per adapter while the workers run; on no terminal, a line as each ends."""
    name, task = (TextColumn(text, markup=False) for text in ("{task.fields[name]:<12}", "{task.description}"))
    columns = (name, BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn(), task)
    with Progress(*columns, console=console, transient=True) as bars:
        rows: dict[int, Any] = {}

        def listen(report: AdapterReport, event: Mapping[str, Any]) -> None:
            one = id(report)  # an adapter may run under several interpreters
            if one not in rows:
                rows[one] = bars.add_task("importing", name=report.name, total=None)
            kind = event["event"]
            if kind == "adapter":
                name = f"{report.name}@{report.version}" if report.python else report.name
                bars.update(rows[one], name=plain(name), total=event["tasks"])
            elif kind == "start":
                bars.update(rows[one], description=plain(event["task"]))
            elif kind == "finished":
                bars.advance(rows[one])
            elif kind == "ended":
                bars.update(rows[one], description=report.status)
                if not console.is_terminal:
                    console.print(Text(f"{words.who(vars(report))}: {report.status}"), soft_wrap=True)

        yield listen


def show(outcome: Outcome, content: Content, console: Console) -> None:
    """Print everything but the verdict. ``content``: of the outcome's results.json."""
    console.width = max(console.width, WIDTH)  # a narrower terminal wraps the lines, and cuts nothing off
    adapters = list(zip(outcome.adapters, content["adapters"], strict=True))
    for report, adapter in adapters:
        own = _of(outcome.tallies, adapter=report.name)
        if own:
            console.print(_formulas(report, own), width=WIDTH)
            say(console, "not covered", "yellow", words.not_covered(content, adapter))
            say(console, "not judged", "yellow", words.not_judged(content, adapter))
            console.print()
    if outcome.tallies:
        console.print(_truth(outcome), "", _summary(outcome, content), "", sep="\n", width=WIDTH)
    for _, adapter in adapters:
        _print_mismatches(content, adapter, console)
    for report, adapter in adapters:
        say(console, "not available", "yellow", words.not_available(content, adapter))
        reasons = [f"{words.who(adapter)}: {plain(reason)}" for reason in report.reasons]
        say(console, "failed", "red", reasons[:MOST])
        _print_more("reasons", len(reasons), report.name, console)
    for what, style, found in (
        ("expected", "yellow", DEVIATES),
        ("mismatch", "bold red", AGREES),
        ("not compared", "yellow", NOT_COMPARED),
    ):
        lines = words.deviations(content, found)
        said = " agrees, and is expected to deviate" if found == AGREES else ""
        say(console, what + said, style, lines[:MOST])
        if len(lines) > MOST:
            console.print(f"… and {len(lines) - MOST} more of these rows: results.json has every one.")
    for judged in content["vectors"]:
        wrong = [f"{plain(judged['file'])}: {value}" for value in words.wrong_values(judged)]
        say(console, "mismatch", "bold red", wrong[:MOST])
        _print_more("wrong values", len(wrong), judged["file"], console)


def verdict(content: Content, console: Console) -> None:
    """Print the verdict: the last line."""
    word = content["verdict"]
    console.print(Text.assemble((word, f"bold {COLOURS[word]}"), f": {words.verdict(content)}"), soft_wrap=True)


def say(console: Console, what: str, style: str, lines: Iterable[str]) -> None:
    """Print lines as they are, which no markup is read in, each behind a word in a style."""
    for line in lines:
        console.print(Text.assemble((what, style), "  ", line), soft_wrap=True)


def _formulas(report: AdapterReport, tallies: Mapping[Key, Tally]) -> Group:
    """Formula by formula: entries and worst ULP, and for each mode the worst fraction of the bound."""
    modes = [mode for mode in report.modes if any(key.mode == mode for key in tallies)]
    table = _table()
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("formula")
    for name in ("count", "ULP", *modes):
        table.add_column(Text(_halved(plain(name))), justify="right", overflow="fold")
    for formula in LEDGER:
        own = _of(tallies, check="step", formula=formula.number)
        everywhere = total(own)
        cells = (_marked(total(_of(own, mode=mode))) for mode in modes)
        table.add_row(formula.number, formula.text, _count(everywhere), _ulp(everywhere), *cells)
    table.add_section()
    own = _of(tallies, check="end-to-end")
    cells = (_marked(total(_of(own, mode=mode))) for mode in modes)
    table.add_row("", words.END_TO_END, _count(total(own)), "", *cells)
    under = f" under {report.python}" if report.python else ""
    notes = ["– not covered, * not covered everywhere: see below"] * any(t.not_covered for t in tallies.values())
    notes += ["! mismatch"] * any(tally.failures for tally in tallies.values())
    title = plain(f"{report.framework} {report.version}{under}")
    meaning = "entries compared, worst ULP, and in each mode the worst fraction of bound"
    return _titled(title, meaning, table, "; ".join(notes))


def _halved(name: str) -> str:
    """A name on two lines, if it is longer than the numbers below it."""
    half = (len(name) + 1) // 2
    return name if len(name) <= 5 else f"{name[:half]}-\n{name[half:]}"


def _truth(outcome: Outcome) -> Group:
    """Distance of the gradients from the exact derivative, by problem: reported, judges nothing."""
    ends = _of(outcome.tallies, check="end-to-end")
    table = _table()
    dtypes = words.ordered(key.dtype for key in ends)
    table.add_column("problem")
    for dtype in dtypes:
        table.add_column(dtype, justify="right", min_width=9)
    for problem in dict.fromkeys(key.problem for key in ends):
        own = _of(ends, problem=problem)
        table.add_row(problem, *(_ulp(total(_of(own, dtype=dtype))) for dtype in dtypes))
    note = "Judges nothing: y(1 − y) near saturation, and sums, cancel in any correct code."
    return _titled("Gradients against the exact derivative", "worst ULP of all frameworks and modes", table, note)


def _summary(outcome: Outcome, content: Content) -> Group:
    """A line for each framework and mode, and one for each framework that failed or has nothing here."""
    table = _table()
    table.add_column("framework", overflow="fold")
    table.add_column("mode", overflow="fold")
    dtypes = words.ordered(key.dtype for key in outcome.tallies)
    for name in ("formulas", "count", *dtypes):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for report in outcome.adapters:
        theirs = _of(outcome.tallies, adapter=report.name)
        for mode in report.modes:
            own = _of(theirs, mode=mode)
            if own:
                place = (report.name, mode)
                word = words.outcome([c for c in content["checks"] if (c["adapter"], c["mode"]) == place])
                cells = (*_summary_cells(own, dtypes), Text(word, COLOURS[word]))
                table.add_row(Text(plain(report.name)), Text(plain(mode)), *cells)
        if report.status == "failed" or not theirs:
            word = "failed" if report.status == "failed" else "unjudged"
            table.add_row(Text(plain(report.name)), *["–"] * (3 + len(dtypes)), Text(word, COLOURS[word]))
    meaning = "entries compared, and the worst fraction of bound: step by step / end to end"
    return _titled("Summary", meaning, table)


def _summary_cells(own: Mapping[Key, Tally], dtypes: Iterable[str]) -> Iterator[str | Text]:
    step, end = _of(own, check="step"), _of(own, check="end-to-end")
    missing = {key.formula for key, tally in step.items() if tally.not_covered}
    covered = {key.formula for key, tally in step.items() if tally.entries} - missing
    everything = total(own)
    yield f"{len(covered)}/{len(LEDGER)}"
    yield _count(everything)
    for dtype in dtypes:
        pair = (_fraction(total(_of(checks, dtype=dtype))) for checks in (step, end))
        yield Text("/").join(pair) if _of(own, dtype=dtype) else "–"


def _print_mismatches(content: Content, adapter: Content, console: Console) -> None:
    """The first mismatch of each mode, precision, problem and check, in the ledger's order, with what it was computed
    from.
    """
    failures = words.first_failures(content, adapter)
    for check, others in failures[:MOST]:
        grid = Table.grid(padding=(0, 2))
        for name, text in words.facts(check):
            grid.add_row(Text(name), Text(text, no_wrap=False))
        say(console, "mismatch", "bold red", [f"{words.title(check)}:  {words.TEXTS[check['formula']]}"])
        console.print(grid, words.further(others))
    _print_more("mismatches", len(failures), adapter["name"], console)


def _print_more(what: str, number: int, name: str, console: Console) -> None:
    """How many lines of an adapter or a file were left out."""
    if number > MOST:
        more = f"… and {number - MOST} more {what} of {plain(name)}: results.json has every one."
        console.print(Text(more), soft_wrap=True)


def _of(tallies: Mapping[Key, Tally], **fields: str) -> Mapping[Key, Tally]:
    """Those whose keys have these values."""
    for name, value in fields.items():
        tallies = {key: tally for key, tally in tallies.items() if getattr(key, name) == value}
    return tallies


def _table() -> Table:
    """An empty table, its columns a blank apart."""
    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 0))


def _titled(title: str, meaning: str, table: Table, note: str = "") -> Group:
    """A table below its title and what its numbers are; Rich's own titles are wrapped to the table's width."""
    return Group(Text(title, "bold"), Text(meaning), table, *([Text(note)] if note else []))


def _count(tally: Tally) -> str:
    """How many entries, in five characters."""
    if tally.entries < 10_000:
        return f"{tally.entries:,}" if tally.entries else "–"
    count, units = float(tally.entries), iter("kMGTP")
    while count >= 999.5:
        count, unit = count / 1000, next(units)
    return f"{count:#.3g}".rstrip(".") + unit


def _ulp(tally: Tally) -> str:
    if not tally.entries:
        return "–"
    return f"{tally.worst_ulp:.2f}" if tally.worst_ulp < 1000 else _power(f"{tally.worst_ulp:.1e}")


def _fraction(tally: Tally) -> Text:
    """The worst fraction of the bound, in three characters: red if it is a mismatch, "–" if nothing was compared."""
    worst = tally.worst_bound_fraction
    if not tally.entries:
        text = "–"
    elif math.isinf(worst):
        text = "∞"
    elif worst < 0.995:
        text = f"{worst:.2f}"[1:]
    elif worst < 999.5:
        text = f"{worst:.1f}" if worst < 9.95 else f"{worst:.0f}"
    else:
        text = _power(f"{worst:.0e}")
    return Text(text, "red" if tally.failures else "")


def _power(text: str) -> str:
    """A number in scientific notation, its exponent as short as it can be."""
    return text.replace("e+0", "e").replace("e+", "e")


def _marked(tally: Tally) -> Text:
    """As above, and whether it is a mismatch, or something was not compared."""
    marks = "!" * bool(tally.failures) + "*" * bool(tally.entries and tally.not_covered)
    return _fraction(tally).append(marks)
