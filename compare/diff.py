"""``python -m compare diff OLD.json NEW.json``: what changed between two runs, on two versions, machines or modes.

Exit status: 0 the same bits; 1 a verdict changed; 3 bits changed, within the bounds; 2 they could not be compared.
"""

from __future__ import annotations

import base64
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from compare import results
from compare.options import Parser
from compare.report.terminal import say
from compare.report.words import plain
from compare.tally import Key
from reference.formulas import LEDGER

VERDICT_CHANGED, BITS_CHANGED = 1, 3

Content = Mapping[str, Any]
Way = tuple[str, str, str]
"""Adapter, mode and precision."""


class Run:
    """One of the two runs.

    Attributes
    ----------
    rows : its checks
    quantities : the digest of each quantity, by way, problem, check and name
    absent : why there is nothing of an adapter, or of it in a mode and precision: "failed" or "not available"

    Parameters
    ----------
    content : of results.json
    only : adapter and mode to which this is narrowed, where they are named
    called : other names for these
    """

    def __init__(self, content: Content, only: Mapping[str, str], called: Mapping[str, str]) -> None:
        self.content = content
        self.rows: dict[Key, Content] = {}
        self.quantities: dict[tuple[Way, tuple[str, str, str]], str] = {}
        self.absent: dict[tuple[str | None, ...], str] = {}
        for what, name in only.items():
            places = [{"adapter": adapter["name"]} for adapter in content["adapters"]] + list(content["checks"])
            have = dict.fromkeys(place[what] for place in places if what in place)
            if name not in have:
                raise ValueError(f"found no {what} {name!r}, expected one of {', '.join(have)}")

        def chosen(**names: str) -> dict[str, str] | None:
            fits = all(names.get(what, name) == name for what, name in only.items())
            return names | {what: called[what] for what in names if what in called} if fits else None

        for row in content["checks"]:
            names = chosen(adapter=row["adapter"], mode=row["mode"])
            if names is not None:
                self.rows[Key(**{name: row[name] for name in Key._fields} | names)] = row
        for (adapter, mode, dtype, *rest), digest in _leaves(content["bits"]):
            names = chosen(adapter=adapter, mode=mode)
            if names is not None:
                problem, check, quantity = rest
                self.quantities[(names["adapter"], names["mode"], dtype), (problem, check, quantity)] = digest
        for adapter in content["adapters"]:
            names = chosen(adapter=adapter["name"])
            if names is not None and adapter["status"] == "failed":
                self.absent[names["adapter"],] = "failed"
            for refused in adapter["not_offered"]:
                way = {"adapter": adapter["name"]} | ({"mode": refused["mode"]} if refused["mode"] else {})
                names = chosen(**way)
                if names is not None:  # without a mode, it is the device
                    self.absent[(*names.values(), refused["dtype"]) if refused["mode"] else (names["adapter"],)] = (
                        "not available"
                    )

    def verdict(self, key: Key) -> str | None:
        """What it says of a row; None if it was not asked."""
        row = self.rows.get(key)
        if row is not None:
            return "mismatch" if row["failures"] else "agree" if row["entries"] else "not covered"
        for place in ((key.adapter, key.mode, key.dtype), (key.adapter,)):
            if place in self.absent:
                return self.absent[place]
        return "not covered" if key[:5] in self._asked else None

    @cached_property
    def _asked(self) -> set[tuple[str, ...]]:
        """Adapter, mode, precision, device and problem of all rows."""
        return {key[:5] for key in self.rows}


def _leaves(tree: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(tree, str):
        yield place, tree
    else:
        for name, branch in tree.items():
            yield from _leaves(branch, (*place, name))


class Changed(NamedTuple):
    """A quantity with other bits: of how many entries that were kept how many changed, and how far, in ULP."""

    problem: str
    check: str
    quantity: str
    kept: int
    entries: int
    ulp: float


@dataclass
class Difference:
    """What changed.

    Attributes
    ----------
    verdicts : rows of which the two runs do not say the same: the row, old and new
    quantities : how many both computed on the same problem
    changed : those with other bits
    errors : the gradients' largest distance from the exact derivative on the same problems, in ULP: old and new
    lost, gained : how many rows only one of the runs was asked for
    other_problems : what the two made of other bytes
    """

    verdicts: list[tuple[Key, str, str]] = field(default_factory=list)
    quantities: Counter[Way] = field(default_factory=Counter)
    changed: dict[Way, list[Changed]] = field(default_factory=dict)
    errors: dict[Way, tuple[float, float]] = field(default_factory=dict)
    lost: Counter[Way] = field(default_factory=Counter)
    gained: Counter[Way] = field(default_factory=Counter)
    other_problems: list[str] = field(default_factory=list)

    @property
    def exit_status(self) -> int:
        """That of the command."""
        if self.verdicts:
            return VERDICT_CHANGED
        return BITS_CHANGED if self.changed else 0


def difference(old: Run, new: Run) -> Difference:
    """What changed from one run to another."""
    found = Difference()
    made = [run.content["environment"]["problems"] for run in (old, new)]
    both = made[0].keys() & made[1].keys()
    same = {name for name in both if made[0][name] == made[1][name]}
    found.other_problems = sorted(both - same)
    for key in sorted(old.rows.keys() | new.rows.keys()):
        before, after = old.verdict(key), new.verdict(key)
        way = (key.adapter, key.mode, key.dtype)
        if before is None:
            found.gained[way] += 1
        elif after is None:
            found.lost[way] += 1
        elif before != after:
            found.verdicts.append((key, before, after))
        rows = [run.rows[key] for run in (old, new) if key in run.rows]
        if len(rows) == 2 and key.check == "end-to-end" and f"{key.problem} {key.dtype}" in same:
            worst = found.errors.get(way, (0.0, 0.0))
            found.errors[way] = (max(worst[0], _ulp(rows[0])), max(worst[1], _ulp(rows[1])))
    for place in sorted(old.quantities.keys() & new.quantities.keys()):
        way, quantity = place
        if f"{quantity[0]} {way[2]}" in same:
            found.quantities[way] += 1
            digests = old.quantities[place], new.quantities[place]
            if digests[0] != digests[1]:
                kept = (run.content["kept"][digest] for run, digest in zip((old, new), digests, strict=True))
                found.changed.setdefault(way, []).append(Changed(*quantity, *_apart(*kept)))
    return found


def _ulp(row: Content) -> float:
    return math.inf if row["worst_ulp"] is None else row["worst_ulp"]


def _apart(before: Content, after: Content) -> tuple[int, int, float]:
    """Of two quantities, how many entries were kept, how many of these have other bits, and how far they are apart."""
    numbers = [np.frombuffer(base64.b64decode(kept["kept"]), kept["dtype"]) for kept in (before, after)]
    if numbers[0].size != numbers[1].size:  # another shape, which has failed already
        return 0, 0, math.inf
    return numbers[0].size, *distance(*numbers)


def distance(old: Any, new: Any) -> tuple[int, float]:
    """How many of two arrays' numbers have other bits; and, at most, how many steps of their format lie between them.

    A step is an ULP. ±0 are none apart, nor are NaNs; a NaN and a number are infinitely far.
    """
    bits = [array.view(f"i{array.itemsize}") for array in (old, new)]
    changed, furthest, least = np.flatnonzero(bits[0] != bits[1]), 0.0, np.iinfo(bits[0].dtype).min
    for at in changed:
        if np.isnan(old[at]) or np.isnan(new[at]):
            apart = 0.0 if np.isnan(old[at]) and np.isnan(new[at]) else math.inf
        else:  # the bits of negative numbers count down from the least integer
            steps = [int(array[at]) if array[at] >= 0 else least - int(array[at]) for array in bits]
            apart = float(abs(steps[0] - steps[1]))
        furthest = max(furthest, apart)
    return changed.size, furthest


# --- the command ----------------------------------------------------------------------------------------------------


def main(parser: Parser, arguments: Sequence[str], console: Console) -> int:
    """Print what changed, and return the exit status; the parser ends with what is wrong."""
    add = parser.add_argument
    add("old", metavar="OLD.json", help="results of a run, by `nox -s compare`")
    add("new", metavar="NEW.json", help="those of another, or the same file")
    add("--frameworks", nargs=2, metavar=("OLD", "NEW"),
        help="compare one adapter with another, such as jax@0.9.2 with jax@0.10.2")  # fmt: skip
    add("--modes", nargs=2, metavar=("OLD", "NEW"), help="compare one mode with another")
    options = parser.parse_args(arguments)
    named = {"adapter": options.frameworks, "mode": options.modes}
    names = [{what: own[i] for what, own in named.items() if own} for i in range(2)]
    files, runs = (options.old, options.new), []
    for file, only in zip(files, names, strict=True):
        try:
            content = results.load(file)
        except ValueError as error:
            parser.error(str(error))
        try:
            runs.append(Run(content, only, names[1]))
        except ValueError as error:
            parser.error(f"{file}: {error}")
    found = difference(*runs)
    if not (found.quantities or found.verdicts):
        parser.error(f"{options.new}: found nothing that {options.old} has too, expected rows on the same problems")
    show(found, console)
    return found.exit_status


def show(found: Difference, console: Console) -> None:
    """Print everything, the verdict last."""
    ways = [way for way in found.quantities if way in found.changed or _differ(found.errors.get(way))]
    if ways:
        _print_ways(found, ways, console)
    groups: dict[str, dict[str, None]] = {}
    for key, before, after in found.verdicts:
        where = f"{key.adapter} {key.mode} {key.dtype}, {key.problem}, {key.check}: {after}, was {before}"
        groups.setdefault(where, {})[key.formula] = None
    for where, formulas in groups.items():
        named = ", ".join(formula.number for formula in LEDGER if formula.number in formulas)
        say(console, "verdict", "bold red", [f"{plain(where)}: formula {named}"])
    for word, rows in (("lost", found.lost), ("gained", found.gained)):
        say(console, word, "yellow", [f"{plain(' '.join(way))}: {count} rows" for way, count in sorted(rows.items())])
    if found.other_problems:
        say(console, "not compared", "yellow", [f"made of other bytes: {plain(', '.join(found.other_problems))}"])
    console.print(_verdict(found), soft_wrap=True)


def _print_ways(found: Difference, ways: Sequence[Way], console: Console) -> None:
    """A line for each way in which something changed, and which quantities."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("framework", "mode", "precision"):
        table.add_column(name, overflow="fold")
    for name in ("changed", "entries", "ULP", "error", "was"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for way in ways:
        own = found.changed.get(way, [])
        entries, kept = (sum(getattr(changed, name) for changed in own) for name in ("entries", "kept"))
        was, now = found.errors.get(way, (0.0, 0.0))
        word = "" if was == now else "[green]better[/]" if now < was else "[yellow]worse[/]"
        cells = (
            f"{len(own)}/{found.quantities[way]}",
            f"{entries}/{kept}",
            _steps(max((c.ulp for c in own), default=0)),
        )
        table.add_row(*(Text(plain(name)) for name in way), *cells, f"{now:.3g}", f"{was:.3g}", word)
    console.print(Text("What changed", "bold"))
    console.print("quantities with other bits; of their entries that were kept, how many, how far;")
    console.print("and the gradients' largest distance from the exact derivative, in ULP")
    console.print(table, "", sep="\n")
    for way, own in found.changed.items():
        problems: dict[str, dict[str, None]] = {}
        for changed in own:
            problems.setdefault(f"{changed.problem}, {changed.check}", {})[changed.quantity] = None
        said = "; ".join(f"{problem}: {' '.join(names)}" for problem, names in problems.items())
        say(console, "bits", "yellow", [plain(f"{' '.join(way)}, {said}")])


def _differ(errors: tuple[float, float] | None) -> bool:
    return errors is not None and errors[0] != errors[1]


def _verdict(found: Difference) -> str:
    changed, quantities = sum(map(len, found.changed.values())), sum(found.quantities.values())
    if found.verdicts:
        return f"[bold red]verdicts changed[/]: {len(found.verdicts)} rows; {changed:,} of {quantities:,} quantities."
    if changed:
        return f"[bold yellow]bits changed[/]: {changed:,} of {quantities:,} quantities; every verdict is the same."
    return f"[bold green]same bits[/]: all {quantities:,} quantities; every verdict is the same."


def _steps(ulp: float) -> str:
    return "–" if ulp == 0 else f"{ulp:.0f}" if ulp < 1e6 else "∞" if math.isinf(ulp) else f"{ulp:.1e}"
