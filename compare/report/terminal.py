"""The run on a terminal: progress, one table per framework, every mismatch in full, and the verdict."""

from __future__ import annotations

import math
from collections import Counter
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
from reference.rounding import FORMATS

MOST = 10
"""Mismatches, and reasons of a failure, shown per adapter; results.json has all."""

PRECISIONS = tuple(FORMATS)
"""In the order of their columns."""

WIDTH = 100
"""Every table fits in it: where the modes are many, the formulas are wrapped."""


def printed(width: int = WIDTH) -> Console:
    """Where everything is printed: what is no terminal is at least this wide."""
    console = Console(highlight=False, emoji=False)  # an adapter called pkg:X: is no emoji
    if not console.is_terminal:
        console.width = max(console.width, width)
    return console


@contextmanager
def progress(console: Console) -> Iterator[Listener]:
    """A bar per adapter while the workers run; on no terminal, a line as each ends."""
    columns = (TextColumn("{task.fields[name]:<12}"), BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.description}"), console=console, transient=True) as bars:
        rows: dict[int, Any] = {}

        def listen(report: AdapterReport, event: Mapping[str, Any]) -> None:
            one = id(report)  # an adapter may run under several interpreters
            if one not in rows:
                rows[one] = bars.add_task("importing", name=report.name, total=None)
            kind = event["event"]
            if kind == "adapter":
                name = f"{report.name}@{report.version}" if report.python else report.name
                bars.update(rows[one], name=name, total=event["tasks"])
            elif kind == "start":
                bars.update(rows[one], description=event["task"])
            elif kind == "finished":
                bars.advance(rows[one])
            elif kind == "ended":
                bars.update(rows[one], description=report.status)
                if not console.is_terminal:
                    console.print(f"{_who(report)}: {report.status}", markup=False, soft_wrap=True)

        yield listen


def show(outcome: Outcome, options: Mapping[str, Any], console: Console) -> None:
    """Print everything."""
    console.width = max(console.width, WIDTH)  # a narrower terminal wraps the lines, and cuts nothing off
    for report in outcome.adapters:
        own = _of(outcome.tallies, adapter=report.name)
        if own:
            console.print(_formulas(report, own), width=WIDTH)
            _print_not_covered(report, own, console)
            _print_unjudged(report, own, console)
            console.print()
    if outcome.tallies:
        console.print(_truth(outcome), "", _summary(outcome), "", sep="\n")
    for report in outcome.adapters:
        _print_mismatches(report, outcome, options, console)
    for report in outcome.adapters:
        _print_not_available(report, options, console)
        for reason in report.reasons[:MOST]:
            console.print(f"[red]failed[/]  {_plain(_who(report))}: {_plain(reason)}", soft_wrap=True)
        _print_more("reasons", len(report.reasons), report.name, console)
    for judged in outcome.vectors:
        for wrong in judged.wrong[:MOST]:
            found = f"found {wrong.found}, expected what the exact value {wrong.exact} rounds to"
            console.print(f"[bold red]mismatch[/]  {_plain(f'{judged.file}: {wrong.place}: {found}')}", soft_wrap=True)
        _print_more("wrong values", len(judged.wrong), judged.file, console)
    console.print(_verdict(outcome), soft_wrap=True)


def _formulas(report: AdapterReport, tallies: Mapping[Key, Tally]) -> Group:
    """Formula by formula: entries and worst ULP, and for each mode the worst fraction of the bound."""
    modes = [mode for mode in report.modes if any(key.mode == mode for key in tallies)]
    table = _table(gap=1)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("formula", min_width=24)
    for name in ("entries", "ULP", *modes):
        table.add_column(_plain(name), justify="right", no_wrap=True)
    for formula in LEDGER:
        own = _of(tallies, check="step", formula=formula.number)
        everywhere = total(own)
        cells = (_fraction_covered(total(_of(own, mode=mode))) for mode in modes)
        table.add_row(formula.number, formula.text, _count(everywhere), _ulp(everywhere), *cells)
    table.add_section()
    own = _of(tallies, check="end-to-end")
    cells = (_fraction_covered(total(_of(own, mode=mode))) for mode in modes)
    table.add_row("", "gradients, end to end", _count(total(own)), "", *cells)
    under = f" under {report.python}" if report.python else ""
    title = f"{report.framework} {report.version}{under}"
    note = ""
    if any(tally.not_covered for tally in tallies.values()):
        note = "– not covered, * not covered everywhere: see below"
    return _titled(title, "worst ULP, and worst fraction of bound in each mode", table, note)


def _print_not_covered(report: AdapterReport, tallies: Mapping[Key, Tally], console: Console) -> None:
    """What was not compared, and why: a line for each reason."""
    missing: dict[tuple[str, str, str], set[str]] = {}
    for key, tally in tallies.items():
        if tally.not_covered:
            missing.setdefault((tally.not_covered, key.mode, key.dtype), set()).add(key.formula)
    lines: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for (reason, mode, dtype), numbers in missing.items():
        formulas = ", ".join(formula.number for formula in LEDGER if formula.number in numbers)
        lines.setdefault((reason, formulas), set()).add((mode, dtype))
    dtypes = {key.dtype for key in tallies}
    for (reason, formulas), places in lines.items():
        where = f"{_plain(report.name)} {_places(places, report.modes, dtypes)}, {formulas}"
        console.print(f"[yellow]not covered[/]  {where}: {_plain(reason)}", soft_wrap=True)


def _print_unjudged(report: AdapterReport, tallies: Mapping[Key, Tally], console: Console) -> None:
    """How many entries no bound can judge, problem by problem."""
    counts = Counter[str]()
    for key, tally in tallies.items():
        counts[key.problem] += tally.unjudged
    found = [f"{count:,} entries of {problem}" for problem, count in sorted(counts.items()) if count]
    if found:
        reason = "their network was given an infinity or a NaN, correct code may overflow, or a sum is too long"
        console.print(f"[yellow]not judged[/]  {_plain(report.name)}, {', '.join(found)}: {reason}", soft_wrap=True)


def _print_not_available(report: AdapterReport, options: Mapping[str, Any], console: Console) -> None:
    """What the adapter does not have here, and why: a line for each reason."""
    lines: dict[str, set[tuple[str, str]]] = {}
    for refused in report.not_offered:
        places = lines.setdefault(refused["reason"] or "", set())
        if refused["mode"] and refused["dtype"]:  # else it is the device, and everything
            places.add((refused["mode"], refused["dtype"]))
    for reason, places in lines.items():
        where = " ".join(filter(None, (report.name, _places(places, report.modes, set(options["dtypes"])))))
        console.print(f"[yellow]not available[/]  {_plain(where)}: {_plain(reason)}", soft_wrap=True)


def _places(places: set[tuple[str, str]], modes: Iterable[str], dtypes: set[str]) -> str:
    """Pairs of a mode and a precision in few words: "forward vmap (bfloat16 float16), jit"; every one is not named."""
    groups: dict[str, list[str]] = {}
    for mode in modes:
        found = {dtype for m, dtype in places if m == mode}
        if found:
            groups.setdefault("" if found == dtypes else f" ({' '.join(_ordered(found))})", []).append(mode)
    return ", ".join(" ".join(group) + found for found, group in groups.items())


def _truth(outcome: Outcome) -> Group:
    """Distance of the gradients from the exact derivative, by problem: reported, judges nothing."""
    ends = _of(outcome.tallies, check="end-to-end")
    table = _table()
    dtypes = _ordered(key.dtype for key in ends)
    table.add_column("problem")
    for dtype in dtypes:
        table.add_column(dtype, justify="right")
    for problem in dict.fromkeys(key.problem for key in ends):
        own = _of(ends, problem=problem)
        table.add_row(problem, *(_ulp(total(_of(own, dtype=dtype))) for dtype in dtypes))
    note = "Judges nothing: y(1 − y) near saturation, and sums, cancel in any correct code."
    return _titled("Gradients against the exact derivative", "worst ULP of all frameworks and modes", table, note)


def _summary(outcome: Outcome) -> Group:
    """A line for each framework and mode, and one for each framework that failed or has nothing here."""
    table = _table()
    table.add_column("framework", overflow="fold")
    table.add_column("mode", no_wrap=True)
    dtypes = _ordered(key.dtype for key in outcome.tallies)
    for name in ("formulas", "entries", *dtypes):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for report in outcome.adapters:
        theirs = _of(outcome.tallies, adapter=report.name)
        for mode in report.modes:
            own = _of(theirs, mode=mode)
            if own:
                table.add_row(_plain(report.name), _plain(mode), *_summary_cells(own, dtypes))
        if report.status == "failed" or not theirs:
            verdict = "[red]failed[/]" if report.status == "failed" else "[yellow]unjudged[/]"
            table.add_row(_plain(report.name), *["–"] * (3 + len(dtypes)), verdict)
    return _titled("Summary", "in each precision, the worst fraction of bound: step by step, and end to end", table)


def _summary_cells(own: Mapping[Key, Tally], dtypes: Iterable[str]) -> Iterator[str]:
    step, end = _of(own, check="step"), _of(own, check="end-to-end")
    missing = {key.formula for key, tally in step.items() if tally.not_covered}
    covered = {key.formula for key, tally in step.items() if tally.entries} - missing
    everything = total(own)
    yield f"{len(covered)}/{len(LEDGER)}"
    yield _count(everything)
    for dtype in dtypes:
        if _of(own, dtype=dtype):
            yield f"{_fraction(total(_of(step, dtype=dtype)))} {_fraction(total(_of(end, dtype=dtype)), 4)}"
        else:
            yield "–"
    if not everything.entries:
        yield "[yellow]unjudged[/]"
    else:
        yield "[red]mismatch[/]" if everything.failures else "[green]agree[/]"


def _print_mismatches(report: AdapterReport, outcome: Outcome, options: Mapping[str, Any], console: Console) -> None:
    """The first mismatch of each mode, precision, problem and check, in the ledger's order, with what it was computed
    from.
    """
    order = {formula.number: i for i, formula in enumerate(LEDGER)}
    texts = {formula.number: formula.text for formula in LEDGER}
    failed = [(key, tally) for key, tally in outcome.tallies.items() if key.adapter == report.name and tally.failures]
    failed.sort(key=lambda item: (*item[0][1:6], order[item[0].formula], item[0].layer))
    seen: set[tuple[str, ...]] = set()
    for key, tally in failed:
        group = (key.mode, key.dtype, key.problem, key.check)
        failure = tally.first_failure
        if failure is None or group in seen:
            continue
        seen.add(group)
        if len(seen) > MOST:
            continue
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
        grid.add_row("repeat", Text(repeat_command(key, report, options), no_wrap=False))
        others = len({k.formula for k, _ in failed if (k.mode, k.dtype, k.problem, k.check) == group} - {key.formula})
        title = (
            f"[bold red]mismatch[/]  {key.adapter} {key.mode} {key.dtype}, {key.problem}, {key.check}: "
            f"formula {key.formula}, layer {key.layer}:  {_plain(texts[key.formula])}"
        )
        note = Text(f"{others} further formulas disagree here.") if others else Text()
        console.print(title, soft_wrap=True)
        console.print(grid, note)
    _print_more("mismatches", len(seen), report.name, console)


def _print_more(what: str, number: int, name: str, console: Console) -> None:
    """How many lines of an adapter or a file were left out."""
    if number > MOST:
        more = f"… and {number - MOST} more {what} of {name}: results.json has every one."
        console.print(more, markup=False, soft_wrap=True)


def _few(operands: Mapping[str, Number], most: int = 24) -> Iterable[tuple[str, Number]]:
    yield from list(operands.items())[:most]
    if len(operands) > most:
        yield f"… {len(operands) - most} more", Number("", "")


def _verdict(outcome: Outcome) -> str:
    entries = sum(tally.entries for tally in outcome.tallies.values())
    failures = sum(tally.failures for tally in outcome.tallies.values())
    compared = f"{entries:,} entries compared in {outcome.seconds:.0f} s"
    values = sum(judged.values for judged in outcome.vectors)
    wrong = sum(len(judged.wrong) for judged in outcome.vectors)
    expected = f" Of {values:,} expected values, {wrong:,} are wrong." if values else ""
    return {
        "agree": f"[bold green]agree[/]: {compared}, every one within its derived bound.",
        "mismatch": f"[bold red]mismatch[/]: {compared}, {failures:,} outside their bounds.",
        "incomplete": f"[bold yellow]incomplete[/]: {compared}; not all that was asked for could be judged.",
    }[outcome.verdict] + expected


def _of(tallies: Mapping[Key, Tally], **fields: str) -> Mapping[Key, Tally]:
    """Those whose keys have these values."""
    for name, value in fields.items():
        tallies = {key: tally for key, tally in tallies.items() if getattr(key, name) == value}
    return tallies


def _table(gap: int = 2) -> Table:
    """An empty table, its columns ``gap`` apart."""
    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, gap - 1, 0, 0))


def _titled(title: str, meaning: str, table: Table, note: str = "") -> Group:
    """A table below its title and what its numbers are; Rich's own titles are wrapped to the table's width."""
    return Group(Text(title, "bold"), Text(meaning), table, *([Text(note)] if note else []))


def _ordered(dtypes: Iterable[str]) -> list[str]:
    """Each precision once, in the order of their columns."""
    return sorted(set(dtypes), key=PRECISIONS.index)


def _who(report: AdapterReport) -> str:
    return f"{report.name} under {report.python}" if report.python else report.name


def _count(tally: Tally) -> str:
    return f"{tally.entries:,}" if tally.entries else "–"


def _ulp(tally: Tally) -> str:
    if not tally.entries:
        return "–"
    worst = tally.worst_ulp
    return f"{worst:.2f}" if worst < 1000 else f"{worst:.1e}".replace("e+0", "e").replace("e+", "e")


def _fraction(tally: Tally, width: int = 0) -> str:
    """The worst fraction of the bound: red if it is a mismatch, "–" if nothing was compared."""
    worst = tally.worst_bound_fraction
    text = "–" if not tally.entries else f"{worst:.2f}" if math.isfinite(worst) else "∞"
    return f"[red]{text:>{width}}[/]" if tally.failures else f"{text:>{width}}"


def _fraction_covered(tally: Tally) -> str:
    """As above, and whether something was not compared."""
    return _fraction(tally) + ("*" if tally.entries and tally.not_covered else "")


def _plain(text: str | None) -> str:
    return (text or "").replace("[", "\\[")
