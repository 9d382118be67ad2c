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

from compare.results import repeat_command
from compare.run import AdapterReport, Listener, Outcome
from compare.tally import Key, Number, Tally, total
from reference.formulas import LEDGER

MOST_MISMATCHES = 10
"""Mismatches shown per framework; results.json has all."""


@contextmanager
def progress(console: Console) -> Iterator[Listener]:
    """A bar per adapter while the workers run; on no terminal, a line as each ends."""
    columns = (TextColumn("{task.fields[name]:<12}"), BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.description}"), console=console, transient=True) as bars:
        rows: dict[str, Any] = {}

        def listen(report: AdapterReport, event: Mapping[str, Any]) -> None:
            if report.spec not in rows:
                rows[report.spec] = bars.add_task("importing", name=report.name, total=None)
            row, kind = rows[report.spec], event["event"]
            if kind == "adapter":
                bars.update(row, name=report.name, total=event["tasks"])
            elif kind == "start":
                bars.update(row, description=event["task"])
            elif kind == "finished":
                bars.advance(row)
            elif kind == "ended":
                bars.update(row, description=report.status)
                if not console.is_terminal:
                    console.print(f"{report.name}: {report.status}")

        yield listen


def show(outcome: Outcome, options: Mapping[str, Any], console: Console) -> None:
    """Print everything."""
    for report in outcome.adapters:
        own = {key: tally for key, tally in outcome.tallies.items() if key.adapter == report.name}
        if own:
            console.print(_formulas(report, own))
            _print_absences(report, own, console)
    if outcome.tallies:
        console.print(_truth(outcome), _summary(outcome))
    for report in outcome.adapters:
        _print_mismatches(report, outcome, options, console)
    for report in outcome.adapters:
        for refused in report.not_offered:
            what = " ".join(filter(None, (report.name, refused["mode"], refused["dtype"])))
            console.print(f"[yellow]not available[/]  {what}: {_plain(refused['reason'])}", soft_wrap=True)
        for reason in report.reasons:
            console.print(f"[red]failed[/]  {report.name}: {_plain(reason)}", soft_wrap=True)
    console.print(_verdict(outcome), soft_wrap=True)


def _formulas(report: AdapterReport, tallies: Mapping[Key, Tally]) -> Table:
    """Formula by formula, and for each mode: entries, worst ULP, worst fraction of the bound."""
    modes = [mode for mode in report.modes if any(key.mode == mode for key in tallies)]
    table = Table(title=f"{report.framework} {report.version}", box=box.SIMPLE_HEAD, title_style="bold", pad_edge=False)
    table.add_column("", justify="right")
    table.add_column("formula", no_wrap=True)
    for mode in modes:
        table.add_column(f"{mode}\nentries", justify="right")
        table.add_column("\nULP", justify="right")
        table.add_column("\nof bound", justify="right")
    for formula in LEDGER:
        cells = []
        for mode in modes:
            cells += _cells(total(_of(tallies, mode=mode, check="step", formula=formula.number)))
        table.add_row(formula.number, formula.text, *cells)
    table.add_section()
    cells = []
    for mode in modes:
        tally = total(_of(tallies, mode=mode, check="end-to-end"))
        cells += [_count(tally.entries), "", _fraction(tally)]
    table.add_row("", "gradients, end to end", *cells)
    return table


def _print_absences(report: AdapterReport, tallies: Mapping[Key, Tally], console: Console) -> None:
    """What was not covered, and why."""
    missing: dict[tuple[str, str], set[str]] = {}
    for key, tally in tallies.items():
        if tally.not_covered:
            missing.setdefault((key.mode, tally.not_covered), set()).add(key.formula)
    for (mode, reason), numbers in missing.items():
        formulas = ", ".join(formula.number for formula in LEDGER if formula.number in numbers)
        console.print(f"[yellow]not covered[/]  {report.name} {mode}, {formulas}: {_plain(reason)}", soft_wrap=True)


def _truth(outcome: Outcome) -> Table:
    """Distance of the gradients from the exact derivative, by problem: reported, judges nothing."""
    table = Table(title="Gradients against the exact derivative: worst ULP", box=box.SIMPLE_HEAD, title_style="bold",
                  caption="Judges nothing: near saturation y(1 − y) cancels, and cancelling sums lose digits, in any "
                  "correct code.", pad_edge=False)  # fmt: skip
    ends = {key: tally for key, tally in outcome.tallies.items() if key.check == "end-to-end"}
    order = [report.name for report in outcome.adapters]
    columns = sorted({(key.adapter, key.dtype) for key in ends}, key=lambda column: (order.index(column[0]), column[1]))
    table.add_column("problem")
    for adapter, dtype in columns:
        table.add_column(f"{adapter}\n{dtype}", justify="right")
    for problem in dict.fromkeys(key.problem for key in ends):
        cells = (total(_of(ends, adapter=a, dtype=d, problem=problem)) for a, d in columns)
        table.add_row(problem, *(_ulp(tally) for tally in cells))
    return table


def _summary(outcome: Outcome) -> Table:
    """A line for each framework, mode and precision."""
    table = Table(title="Summary", box=box.SIMPLE_HEAD, title_style="bold", pad_edge=False)
    for name, justify in (
        ("framework", "left"), ("mode", "left"), ("precision", "left"), ("formulas", "right"), ("entries", "right"),
        ("step by step", "right"), ("end to end", "right"), ("verdict", "left"),
    ):  # fmt: skip
        table.add_column(name, justify=justify)  # type: ignore[arg-type]  # rich's literal
    order = [(report.name, mode) for report in outcome.adapters for mode in report.modes]
    found = {(key.adapter, key.mode, key.dtype) for key in outcome.tallies}
    groups = sorted(found, key=lambda group: (order.index(group[:2]), group[2]))
    for adapter, mode, dtype in groups:
        own = _of(outcome.tallies, adapter=adapter, mode=mode, dtype=dtype)
        step = _of(own, check="step")
        missing = {key.formula for key, tally in step.items() if tally.not_covered}
        covered = {key.formula for key, tally in step.items() if tally.entries} - missing
        everything, failures = total(own), sum(tally.failures for tally in own.values())
        verdict = f"[red]{failures:,} mismatches[/]" if failures else "[green]agree[/]"
        if not everything.entries:
            verdict = "[yellow]nothing compared[/]"
        table.add_row(
            adapter, mode, dtype, f"{len(covered)}/{len(LEDGER)}", _count(everything.entries),
            _fraction(total(step)), _fraction(total(_of(own, check="end-to-end"))), verdict,
        )  # fmt: skip
    return table


def _print_mismatches(report: AdapterReport, outcome: Outcome, options: Mapping[str, Any], console: Console) -> None:
    """The first mismatch of each mode, precision, problem and check, in the ledger's order, with what it was computed
    from.
    """
    order = {formula.number: i for i, formula in enumerate(LEDGER)}
    texts = {formula.number: formula.text for formula in LEDGER}
    failed = [(key, tally) for key, tally in outcome.tallies.items() if key.adapter == report.name and tally.failures]
    failed.sort(key=lambda item: (*item[0][1:6], order[item[0].formula], item[0].layer))
    seen: set[tuple[str, ...]] = set()
    shown = 0
    for key, tally in failed:
        group = (key.mode, key.dtype, key.problem, key.check)
        failure = tally.first_failure
        if failure is None or group in seen:
            continue
        seen.add(group)
        shown += 1
        if shown > MOST_MISMATCHES:
            console.print(f"… and more of {report.name}: results.json has every one.")
            return
        grid = Table.grid(padding=(0, 2))
        where = "" if failure.stage in ("shape", "dtype") else f", network {failure.network}"
        where += f", entry {list(failure.entry)}" if failure.entry else ""
        grid.add_row("where", _plain(f"{failure.array}{where}; {tally.failures:,} of {tally.entries:,} entries failed"))
        if failure.got and failure.expected and failure.allowed:
            for name, number in (("got", failure.got), ("expected", failure.expected), ("allowed ±", failure.allowed)):
                grid.add_row(name, f"{number.decimal}   {number.hex}")
            for name, number in _few(failure.operands):
                grid.add_row(_plain(name), f"{number.decimal}   {number.hex}")
        else:
            grid.add_row("what", _plain(failure.message))
        grid.add_row("repeat", Text(repeat_command(key, report.spec, options), no_wrap=False))
        others = len({k.formula for k, _ in failed if (k.mode, k.dtype, k.problem, k.check) == group} - {key.formula})
        title = (
            f"[bold red]mismatch[/]  {key.adapter} {key.mode} {key.dtype}, {key.problem}, {key.check}: "
            f"formula {key.formula}, layer {key.layer}:  {_plain(texts[key.formula])}"
        )
        note = Text(f"{others} further formulas disagree here.") if others else Text()
        console.print(Group(Text.from_markup(title), grid, note))


def _few(operands: Mapping[str, Number], most: int = 24) -> Iterable[tuple[str, Number]]:
    yield from list(operands.items())[:most]
    if len(operands) > most:
        yield f"… {len(operands) - most} more", Number("", "")


def _verdict(outcome: Outcome) -> str:
    entries = sum(tally.entries for tally in outcome.tallies.values())
    failures = sum(tally.failures for tally in outcome.tallies.values())
    compared = f"{entries:,} entries compared in {outcome.seconds:.0f} s"
    return {
        "agree": f"[bold green]agree[/]: {compared}, every one within its derived bound.",
        "mismatch": f"[bold red]mismatch[/]: {compared}, {failures:,} outside their bounds.",
        "incomplete": f"[bold yellow]incomplete[/]: {compared}; not all that was asked for could be judged.",
    }[outcome.verdict]


def _of(tallies: Mapping[Key, Tally], **fields: str) -> dict[Key, Tally]:
    return {key: t for key, t in tallies.items() if all(getattr(key, name) == value for name, value in fields.items())}


def _cells(tally: Tally) -> list[str]:
    return [_count(tally.entries), _ulp(tally), _fraction(tally)] if tally.entries else ["–", "", ""]


def _count(entries: int) -> str:
    return f"{entries:,}"


def _ulp(tally: Tally) -> str:
    if not tally.entries:
        return "–"
    worst = tally.worst_ulp
    return f"{worst:.2f}" if worst < 1000 else f"{worst:.1e}".replace("e+0", "e").replace("e+", "e")


def _fraction(tally: Tally) -> str:
    if not tally.entries:
        return ""
    text = f"{tally.worst_bound_fraction:.2f}" if math.isfinite(tally.worst_bound_fraction) else "∞"
    return f"[red]{text}[/]" if tally.failures else text


def _plain(text: str | None) -> str:
    return (text or "").replace("[", "\\[")
