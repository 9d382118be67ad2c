"""``python -m tests.faults``, which ``nox -s faults`` runs: the matrix of faults and judges, and the smallest faults seen.

Exit status: 0 every verdict of the suite is the expected one; 1 one is not; 2 a bad option.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table

from compare import results
from compare.options import Parser
from tests.faults.catalogue import FAMILIES, FAULTS, Fault
from tests.faults.judges import ALARMS, CANNOT_RUN, CAUGHT, JUDGES, MISSED, OTHERS, Case, mark
from tests.faults.sensitivity import WITNESSES, fraction_seen, least_relative, least_ulps, sample

PRECISIONS = ("float32", "float64")
WIDTH = 100
LEGEND = f"{CAUGHT} caught, {MISSED} missed, {ALARMS} alarms on the correct adapter as well, {CANNOT_RUN} cannot be run"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = Parser(prog="faults", description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--names", nargs="+", metavar="NAME", help="which faults; default: all, and the smallest seen")
    parser.add_argument("--report", default="report", metavar="DIR", help="where faults.json goes; default: report/")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names or () if name not in FAULTS]
    if unknown:
        parser.error(f"--names: found {', '.join(map(repr, unknown))}, expected names of the catalogue")
    report = Path(options.report)
    try:  # before the work, not after it
        report.mkdir(parents=True, exist_ok=True)
        results.probe(report)
    except OSError as error:
        parser.unwritable(options.report, error)
    console = Console(highlight=False)
    console.width = max(console.width, WIDTH)
    chosen = [FAULTS[name] for name in dict.fromkeys(options.names or FAULTS)]
    rows = {fault.name: judged(fault) for fault in track(chosen, "judging", console=console, transient=True)}
    content: dict[str, Any] = {"faults": list(rows.values()), "fractions": fractions(rows)}
    for family, members in FAMILIES.items():
        own = [fault for fault in members if fault.name in rows]
        if own:
            console.print(matrix(family, own, rows), "")
    console.print(LEGEND, "", caught(content["fractions"]), "")
    if not options.names:
        content |= {"least_relative": relative(console), "least_ulps": by_quantity(console)}
        console.print(smallest(content["least_relative"]), "", ulps(content["least_ulps"]), "")
    for row in rows.values():
        for judge, reason in row["reasons"].items():
            console.print(f"cannot be run  {judge} of {row['name']}: {reason}", soft_wrap=True)
    wrong = [row for row in rows.values() if row["found"] != row["expected"]]
    for row in wrong:
        console.print(
            f"[red]unexpected[/]  {row['name']}: found {row['found']}, expected {row['expected']}", soft_wrap=True
        )
    path = results.write(content, report, "faults.json")
    console.print(
        f"{len(rows) - len(wrong)} of {len(rows)} verdicts are exactly the expected ones; faults: {path}",
        soft_wrap=True,
    )
    return 1 if wrong else 0


def judged(fault: Fault) -> dict[str, Any]:
    """What the suite says of a fault, and the mark of every judge."""
    case = Case(fault.adapter(), fault.problem, fault.mode)
    marks = {name: mark(judge, case, fault) for name, judge in JUDGES.items()}
    return {
        "name": fault.name,
        "where": fault.where,
        "change": fault.change,
        "expected": {"step": fault.step, "end to end": fault.end},
        "found": {"step": case.step[0], "end to end": case.end[0]},
        "marks": {name: found[0] for name, found in marks.items()},
        "reasons": {name: found[2:] for name, found in marks.items() if found[0] == CANNOT_RUN},
    }


def fractions(rows: dict[str, Any]) -> dict[str, dict[str, int]]:
    """How often each judge caught, missed, alarmed on correct code as well, and could not be run; "either check" is ours."""
    counts = {}
    for judge in JUDGES:
        counts[judge] = Counter(row["marks"][judge] for row in rows.values())
    ours = Counter(
        CAUGHT if CAUGHT in (row["marks"]["step"], row["marks"]["end to end"]) else MISSED for row in rows.values()
    )
    names = {CAUGHT: "caught", MISSED: "missed", ALARMS: "alarms", CANNOT_RUN: "cannot run"}
    return {
        judge: {names[mark]: count[mark] for mark in names}
        for judge, count in ({"either check": ours} | counts).items()
    }


def matrix(family: str, faults: list[Fault], rows: dict[str, Any]) -> Table:
    """Faults by judges: the suite's own verdicts in words, red where they are not the expected ones."""
    table = _table(family)
    table.add_column("fault", no_wrap=True, min_width=25)
    for name in ("step", "end to end"):
        table.add_column(name, width=11)
    for name in OTHERS:
        words = name.replace(" ", "\n").replace("_", "_\n")
        table.add_column(words, justify="center", width=max(map(len, words.split("\n"))))
    for fault in faults:
        row = rows[fault.name]
        found, expected = row["found"], row["expected"]
        ours = (f"[red]{said or MISSED}[/]" if said != expected[by] else said or MISSED for by, said in found.items())
        table.add_row(fault.name, *ours, *(row["marks"][name] for name in OTHERS))
    return table


def _table(title: str) -> Table:
    return Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=0,
        title=title,
        title_justify="left",
        title_style="bold",
    )


def caught(counts: dict[str, dict[str, int]]) -> Table:
    """A line for each judge."""
    table = _table("How many each catches")
    table.add_column("judge")
    for name in ("caught", "missed", "alarms on correct code", "cannot be run", "catches"):
        table.add_column(name, justify="right")
    for judge, count in counts.items():
        share = count["caught"] / sum(count.values())
        table.add_row(judge, *map(str, count.values()), f"{share:.0%}")
    return table


def relative(console: Console) -> dict[str, Any]:
    """For each judge and precision: the smallest relative fault that it sees in the best and in every entry, or its mark."""
    tasks = [(name, dtype) for name in JUDGES for dtype in PRECISIONS]
    found: dict[str, Any] = {}
    for name, dtype in track(tasks, "smallest relative faults", console=console, transient=True):
        found.setdefault(name, {})[dtype] = least_relative(JUDGES[name], dtype)
    return found


def smallest(found: dict[str, Any]) -> Table:
    """The smallest relative fault in an entry of ∂L/∂w, in the entry where it is seen best and in every entry."""
    title = "The smallest relative fault seen in one entry of dL_dw: in the best, in every"
    table = _table(title)
    table.add_column("judge")
    for dtype in PRECISIONS:
        table.add_column(dtype, justify="right")
    for judge, by_dtype in found.items():
        cells = (x if isinstance(x, str) else "  ".join(f"{part:.1e}" for part in x) for x in by_dtype.values())
        table.add_row(judge, *cells)
    return table


def by_quantity(console: Console) -> list[dict[str, Any]]:
    """For each array of the trace: the ULP of one entry that are always seen, and the fraction seen at 8 ULP."""
    rows = []
    for witness in track(WITNESSES, "smallest faults of each quantity", console=console, transient=True):
        row: dict[str, Any] = {"array": f"{witness.quantity}[{witness.layer}]", "formula": witness.formula}
        for dtype in PRECISIONS:
            of = sample(f"numpy eager {dtype}")
            row[dtype] = {"ulp": least_ulps(of, witness), "seen at 8": fraction_seen(of, witness, 8)}
        rows.append(row)
    return rows


def ulps(rows: list[dict[str, Any]]) -> Table:
    """A line for each array of the trace of the document's net."""
    title = "ULP in any one entry that the step check always sees; entries in which it sees 8"
    table = _table(title)
    for name in ("array", "formula"):
        table.add_column(name)
    for dtype in PRECISIONS:
        table.add_column(dtype, justify="right")
        table.add_column("at 8 ULP", justify="right")
    for row in rows:
        unit = " of Σ|terms|" if row["array"].startswith("a[") else ""
        cells = (
            cell for dtype in PRECISIONS for cell in (f"{row[dtype]['ulp']}{unit}", f"{row[dtype]['seen at 8']:.0%}")
        )
        table.add_row(row["array"], row["formula"], *cells)
    return table


if __name__ == "__main__":
    sys.exit(main())
