"""index.html, made of results.json alone: of one, or of several from different machines or versions."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from compare.expect import AGREES
from compare.report import figure, pictures, words
from compare.report.reproduce import reproduction
from compare.results import repeat_command
from compare.run import AdapterReport
from compare.tally import Key
from reference.formulas import LEDGER
from reference.rounding import FORMATS

FAILURES = 25
"""Shown in full; the files have all."""

OPERANDS = 4
"""Of each row's worst case that are shown: the page stays below 1.5 MB, and the files have all."""

_NUMBERS = {formula.number: place for place, formula in enumerate(LEDGER)}
_END = "end to end"


@dataclass(frozen=True)
class Adapter:
    """An adapter of one of the runs. ``label``: what the page calls it, its own on the page."""

    label: str
    run: int
    content: Mapping[str, Any]
    options: Mapping[str, Any]
    shown: Mapping[str, Any]
    checks: Sequence[Mapping[str, Any]]

    @property
    def title(self) -> str:
        """The framework and its version, as its makers write them."""
        return f"{self.content['framework'] or self.label} {self.content['version'] or ''}".strip()

    @property
    def modes(self) -> list[str]:
        """The first one first, as far as that is known."""
        return list(dict.fromkeys((*self.shown, *(check["mode"] for check in self.checks))))

    def command(self, check: Mapping[str, Any]) -> str:
        """What repeats a check."""
        spec, name, python = (self.content[key] for key in ("spec", "name", "python"))
        return repeat_command(
            Key(*(check[key] for key in Key._fields)), AdapterReport(spec, name, python), self.options
        )


@dataclass
class Row:
    """How one formula fared in one mode and precision, over all problems and layers."""

    adapter: Adapter
    mode: str
    dtype: str
    checks: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def entries(self) -> int:
        """How many numbers were compared."""
        return sum(check["entries"] for check in self.checks)

    @property
    def failures(self) -> int:
        """How many of them failed."""
        return sum(check["failures"] for check in self.checks if words.differs(check))

    @property
    def known(self) -> int:
        """How many deviate as is expected."""
        return sum(check["failures"] for check in self.checks if check["failures"] and check["expected"])

    @property
    def worst(self) -> Mapping[str, Any]:
        """The check with the largest fraction of its bound."""
        return max((check for check in self.checks if check["entries"]), key=fraction, default=self.checks[0])

    @property
    def fraction(self) -> float:
        """Of the worst check."""
        return fraction(self.worst)

    @property
    def ulp(self) -> float:
        """The largest error in ULP."""
        return max(_number(check["worst_ulp"]) for check in self.checks)

    @property
    def reasons(self) -> list[str]:
        """Why something was not covered."""
        return sorted({check["not_covered"] for check in self.checks if check["not_covered"]})

    @property
    def unjudged(self) -> int:
        """Entries that no bound can judge."""
        return sum(check["unjudged"] for check in self.checks)

    @property
    def command(self) -> str:
        """What repeats the worst check."""
        return self.adapter.command(self.worst)

    @property
    def worst_case(self) -> str | None:
        """The entry with the largest fraction of its bound, in one sentence; not of a row that compared nothing."""
        case = self.worst["worst"]
        if case is None:
            return None
        place = f"{case['array']}{list(case['entry']) or ''}, network {case['network']}"
        got, expected, allowed = (case[name]["decimal"] for name in ("got", "expected", "allowed"))
        read = [f"{name} = {number['decimal']}" for name, number in list(case["operands"].items())[:OPERANDS]]
        more = len(case["operands"]) + case["left_out"] - len(read)
        of = f" of {', '.join(read)}{f' and {more} more' if more else ''}" if read else ""
        return f"{place}: got {got}, expected {expected} ± {allowed}{of}"


def make(results: Sequence[Mapping[str, Any]]) -> str:
    """The page of the contents of one or more results.json, each valid by results.schema.json."""
    adapters = _adapters(results)
    rows = {number: _rows(adapters, number) for number in (*_NUMBERS, _END)}
    repeated = dict.fromkeys(row.command for own in rows.values() for row in own if row.entries)
    curves = list(_curves(adapters))
    computed = list(_computed(adapters))
    return _TEMPLATE.render(
        verdict=_verdict(results, rows),
        facts=_facts(results, adapters),
        failures=_failures(adapters),
        most=FAILURES,
        summary=list(_summary(adapters)),
        unavailable=list(_unavailable(adapters)),
        uncovered=list(_uncovered(rows)),
        drawing=figure.drawing(computed[0].numbers) if computed else None,
        drawn=computed[0] if computed else None,
        panels=figure.panels(computed),
        not_shown=list(_not_shown(adapters)),
        ledger=[_entry(formula, rows[formula.number]) for formula in LEDGER],
        ends=rows[_END],
        bounds=pictures.bounds(_worst(rows)),
        saturation=pictures.saturation(curves),
        growth=pictures.growth(curves),
        learning=pictures.learning(curves),
        runs=results,
        expected=sorted((row for content in results for row in content["expected"]), key=lambda row: row["found"]),
        vectors=[judged for content in results for judged in content["vectors"]],
        problems=_problems(results),
        commands={command: f"c{number}" for number, command in enumerate(repeated)},
    )


# --- what the runs found --------------------------------------------------------------------------------------------


def fraction(check: Mapping[str, Any]) -> float:
    """The worst fraction of the bound of a check: JSON has no infinity, so null stands for it."""
    return _number(check["worst_bound_fraction"])


def _number(value: float | None) -> float:
    return math.inf if value is None else value


def _adapters(results: Sequence[Mapping[str, Any]]) -> list[Adapter]:
    """All runs' adapters. One whose name another run has too is called by its version, then by a number."""
    every = [(run, content, own) for run, content in enumerate(results) for own in content["adapters"]]
    names = Counter(own["name"] for _, _, own in every)
    taken: Counter[str] = Counter()
    adapters = []
    for run, content, own in every:
        label = own["name"] if names[own["name"]] == 1 else f"{own['name']} {own['version'] or ''}".strip()
        taken[label] += 1
        label += f" #{taken[label]}" if taken[label] > 1 else ""
        checks = [check for check in content["checks"] if check["adapter"] == own["name"]]
        shown = content["shown"].get(own["name"], {})
        adapters.append(Adapter(label, run, own, content["environment"]["options"], shown, checks))
    return adapters


def _rows(adapters: Iterable[Adapter], number: str) -> list[Row]:
    """The rows of a formula's step-by-step checks, or of all checks end to end."""
    rows = []
    for adapter in adapters:
        found: dict[tuple[str, str], Row] = {}
        for check in adapter.checks:
            if number == (check["formula"] if check["check"] == "step" else _END):
                place = (check["mode"], check["dtype"])
                found.setdefault(place, Row(adapter, *place)).checks.append(check)
        places = [(mode, dtype) for mode in adapter.modes for dtype in FORMATS]
        rows += [found[place] for place in places if place in found]
    return rows


def _entry(formula: Any, rows: Sequence[Row]) -> dict[str, Any]:
    return {
        "formula": formula,
        "mathml": Markup(figure.mathml(formula.latex)),
        "rows": rows,
        "entries": sum(row.entries for row in rows),
        "failures": sum(row.failures for row in rows),
        "worst": max((row.fraction for row in rows if row.entries), default=0.0),
        "uncovered": sum(bool(row.reasons) for row in rows),
    }


def _worst(rows: Mapping[str, Sequence[Row]]) -> dict[str, dict[str, float]]:
    """The worst fraction by adapter and formula."""
    worst: dict[str, dict[str, float]] = {}
    for number in _NUMBERS:
        for row in rows[number]:
            if row.entries:
                own = worst.setdefault(row.adapter.label, {})
                own[number] = max(own.get(number, 0.0), row.fraction)
    return worst


def _verdict(results: Sequence[Mapping[str, Any]], rows: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    every = [row for own in rows.values() for row in own]
    compared = [row for row in every if row.entries]
    verdicts = {content["verdict"] for content in results}
    worst = max(compared, key=lambda row: row.fraction, default=None)
    covered = {number for number in _NUMBERS if any(row.entries for row in rows[number])}
    digests = sorted(item for content in results for item in content["environment"]["problems"].items())
    return {
        "word": next(word for word in ("mismatch", "incomplete", "agree") if word in verdicts),
        "entries": sum(row.entries for row in every),
        "failures": sum(row.failures for row in every),
        "wrong": sum(len(judged["wrong"]) for content in results for judged in content["vectors"]),
        "known": sum(row.known for row in every),
        "agreeing": sum(row["found"] == AGREES for content in results for row in content["expected"]),
        "unjudged": sum(row.unjudged for row in every),
        "printed": sum(not number.startswith("b") for number in covered),
        "frameworks": list(dict.fromkeys(row.adapter.title for row in compared)),
        "modes": len({(row.adapter.label, row.mode) for row in compared}),
        "dtypes": [dtype for dtype in FORMATS if any(row.dtype == dtype for row in compared)],
        "worst": worst,
        "seconds": sum(content["timings"]["total"] for content in results),
        "seeds": sorted({content["environment"]["options"]["seed"] for content in results}),
        "digest": hashlib.sha256(repr(digests).encode()).hexdigest()[:16],
    }


def _facts(results: Sequence[Mapping[str, Any]], adapters: Iterable[Adapter]) -> list[dict[str, Any]]:
    """For each run, who computed and what with."""
    return [
        {
            "environment": content["environment"],
            "seconds": content["timings"]["total"],
            "adapters": [adapter for adapter in adapters if adapter.run == run],
        }
        for run, content in enumerate(results)
    ]


def _failures(adapters: Iterable[Adapter]) -> dict[str, Any]:
    """The first failure, in the ledger's order, of each adapter, mode, precision, problem and check; how many others."""
    texts = {formula.number: formula for formula in LEDGER}
    shown, others = [], 0
    for adapter in adapters:
        failed = [check for check in adapter.checks if words.differs(check)]
        failed.sort(key=lambda check: (*_group(check), _NUMBERS[check["formula"]], check["layer"]))
        for _, group in groupby(failed, _group):
            first, *rest = group
            others += len(rest)
            formula = texts[first["formula"]]
            shown.append(
                {
                    "adapter": adapter,
                    "check": first,
                    "failure": first["first_failure"],
                    "formula": formula,
                    "mathml": Markup(figure.mathml(formula.latex)),
                    "further": len({check["formula"] for check in rest} - {first["formula"]}),
                    "program": reproduction(first),
                }
            )
    return {"shown": shown[:FAILURES], "more": max(0, len(shown) - FAILURES), "rows": len(shown) + others}


def _group(check: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(check[name] for name in ("mode", "dtype", "problem", "check"))


def _summary(adapters: Iterable[Adapter]) -> Iterator[dict[str, Any]]:
    """A line for each adapter and mode, and one for an adapter that was not compared."""
    for adapter in adapters:
        failed = adapter.content["status"] == "failed"
        for mode in adapter.modes:
            own = [check for check in adapter.checks if check["mode"] == mode]
            if not own:
                continue
            yield {
                "adapter": adapter,
                "mode": mode,
                "formulas": words.covered(own),
                "entries": sum(check["entries"] for check in own),
                "fractions": {dtype: _fractions(own, dtype) for dtype in FORMATS},
                "verdict": words.outcome(own),
            }
        if failed or not any(check["entries"] for check in adapter.checks):
            yield {
                "adapter": adapter, "mode": "–", "formulas": None, "entries": None, "fractions": {},
                "verdict": "failed" if failed else "unjudged",
            }  # fmt: skip


def _fractions(checks: Iterable[Mapping[str, Any]], dtype: str) -> list[float | None]:
    """The worst fraction in a precision, step by step and end to end."""
    own = [check for check in checks if check["dtype"] == dtype and check["entries"]]
    return [
        max((fraction(check) for check in own if (check["check"] == "step") == step), default=None)
        for step in (True, False)
    ] if own else []  # fmt: skip


def _unavailable(adapters: Iterable[Adapter]) -> Iterator[tuple[str, str, str]]:
    """Who, what and why of all that is not there, or failed."""
    for adapter in adapters:
        places: dict[str, list[str]] = {}
        for refused in adapter.content["not_offered"]:
            place = " ".join(filter(None, (refused["mode"], refused["dtype"])))
            places.setdefault(refused["reason"], []).append(place or "this device")
        for reason, found in places.items():
            yield adapter.label, ", ".join(found), reason
        if adapter.content["reason"]:
            yield adapter.label, "failed", adapter.content["reason"]


def _uncovered(rows: Mapping[str, Sequence[Row]]) -> Iterator[tuple[str, str, str]]:
    """Who, which formulas and why of all that was not covered."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for number, own in rows.items():
        for row in own:
            for reason in row.reasons:
                found.setdefault((row.adapter.label, reason), {})[number] = None
    for (label, reason), numbers in found.items():
        yield label, ", ".join(numbers), reason


# --- what is shown beside the verdicts ------------------------------------------------------------------------------


def _shown(adapters: Iterable[Adapter]) -> Iterator[tuple[Adapter, str, str, Mapping[str, Any]]]:
    for adapter in adapters:
        for mode, precisions in adapter.shown.items():
            for dtype, shown in sorted(precisions.items(), key=lambda item: list(FORMATS).index(item[0])):
                yield adapter, mode, dtype, shown


def _computed(adapters: Sequence[Adapter]) -> Iterator[figure.Computed]:
    """The figure's numbers: the reference's first, precision by precision."""
    first = sorted(adapters, key=lambda adapter: adapter.content["name"] != "numpy")
    found = [every for every in _shown(first) if every[3]["figure"]]
    for dtype in FORMATS:
        for adapter, mode, precision, shown in found:
            if precision == dtype:
                modes = tuple(m for a, m, d, _ in found if (a.label, d) == (adapter.label, dtype))
                yield figure.Computed(adapter.label, mode, dtype, modes, shown["figure"])


def _curves(adapters: Iterable[Adapter]) -> Iterator[pictures.Curves]:
    for adapter, mode, dtype, shown in _shown(adapters):
        yield pictures.Curves(adapter.label, mode, mode == next(iter(adapter.shown)), dtype, shown)


def _not_shown(adapters: Iterable[Adapter]) -> Iterator[tuple[str, str]]:
    """What of figure and pictures is missing, and why."""
    for adapter, mode, dtype, shown in _shown(adapters):
        if shown["reason"]:
            yield f"{adapter.label} {mode} {dtype}", shown["reason"]


def _problems(results: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Each problem with its digest, and once more where another run made another one."""
    return sorted({item for content in results for item in content["environment"]["problems"].items()})


# --- numbers as text ------------------------------------------------------------------------------------------------


def ulp(value: float) -> str:
    """An error in ULP in few characters."""
    if not math.isfinite(value):
        return "∞"
    return f"{value:.2f}" if value < 1000 else f"{value:.1e}".replace("e+0", "e").replace("e+", "e")


def share(value: float | None) -> str:
    """A fraction of a bound."""
    if value is None:
        return "–"
    return ulp(value)


def percent(value: float) -> str:
    """The length of a fraction's bar; one that is full is a whole bound, or more."""
    return f"{100 * min(value, 1):.0f}%"


_ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters |= {"ulp": ulp, "share": share, "percent": percent, "count": "{:,}".format}
_TEMPLATE = _ENVIRONMENT.get_template("page.html.jinja")
