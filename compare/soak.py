"""No false alarm: millions of random networks in every framework, in parts that one run or several go through.

``python -m compare.soak OPTIONS``, which ``nox -s soak -- OPTIONS`` runs. A part is made from the seed and its number
alone, and its tallies are added to those of the parts before it, which `FILE` keeps. However a run ends, the same
command goes on behind the last part kept, and the file becomes the same byte for byte: no time is in it.

Exit status, as of ``python -m compare``: 0 all networks compared and all agree; 1 at least one mismatch; 2 not all
could be judged.
"""

from __future__ import annotations

from compare import machine

if __name__ == "__main__":
    machine.withstand("soak", "what is done is kept, and the same command goes on")

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from adapters import REGISTRY, installed
from compare import results
from compare.options import Parser, known, number, seconds
from compare.problems import DTYPES
from compare.report import terminal
from compare.run import ROOT, AdapterReport, Listener, Outcome, run
from compare.tally import Key, Tally, from_json, merge, to_json, total
from compare.worker import Job
from reference.formulas import LEDGER

FILE = "soak.json"
SCHEMA_VERSION = "1"

STACK = 5000
"""Networks in a part: few enough for the processor's cache, and enough that NumPy's calls cost little."""

FRAMEWORKS = ("numpy", "pytorch", "jax", "tensorflow")
"""By default. Not scikit-learn: a call for each network makes it four times as slow as any of these."""

PAUSE = 2.0
"""Seconds from one writing of the file to the next: what a sudden end can cost."""


@dataclass(frozen=True)
class Soaked:
    """How far one framework has come, and what was found.

    Attributes
    ----------
    spec, name, framework, version : what was asked for, and what answered
    parts : how many are done
    problems : SHA-256 over the digests of their problems, each added to the one before
    tallies : of all these parts
    """

    spec: str
    name: str | None = None
    framework: str | None = None
    version: str | None = None
    parts: int = 0
    problems: str = hashlib.sha256().hexdigest()
    tallies: Mapping[Key, Tally] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of all else."""
        return _sha256(self._content())

    def as_json(self) -> dict[str, Any]:
        """Its part of the file."""
        content = self._content()
        return {"digest": _sha256(content), **content}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Soaked:
        """The inverse of `as_json`."""
        own = {name: content[name] for name in ("spec", "name", "framework", "version", "parts", "problems")}
        return cls(**own, tallies=dict(map(from_json, content["checks"])))

    def and_part(self, problem: str, tallies: Sequence[Mapping[Key, Tally]]) -> Soaked:
        """With one more part: its problem's digest, and its tallies in every mode."""
        problems = hashlib.sha256(f"{self.problems} {problem}".encode()).hexdigest()
        return replace(self, parts=self.parts + 1, problems=problems, tallies=merge(self.tallies, *tallies))

    def _content(self) -> dict[str, Any]:
        content = {name: value for name, value in vars(self).items() if name != "tallies"}
        return content | {"checks": [to_json(*item) for item in self.tallies.items()]}


class Soak:
    """All frameworks' progress, and the file that keeps it.

    Parameters
    ----------
    path : the file; there is none before the first run
    options : what the networks and their tallies follow from

    Raises
    ------
    ValueError
        If the file is of other options, or is no soak's file.
    """

    def __init__(self, path: Path, options: Mapping[str, Any], specs: Sequence[str]) -> None:
        self.path, self.options = path, dict(options)
        self.adapters = {spec: Soaked(spec) for spec in specs}
        self._modes: dict[str, int] = {}
        self._waiting: dict[str, list[Mapping[Key, Tally]]] = {spec: [] for spec in specs}
        self._failed: set[str] = set()
        self._written = float("-inf")
        if path.exists():
            self._read()

    @property
    def parts(self) -> int:
        """How many parts there are."""
        first, behind = self.options["parts"]
        return int(behind - first)

    @property
    def digest(self) -> str:
        """SHA-256 of the options and of every framework's digest."""
        return _sha256([self.options, [one.digest for one in self.adapters.values()]])

    @property
    def tallies(self) -> dict[Key, Tally]:
        """Everyone's."""
        return merge(*(one.tallies for one in self.adapters.values()))

    def jobs(self) -> list[Job]:
        """What is left to do."""
        first, behind = self.options["parts"]
        shared = {name: self.options[name] for name in ("device", "modes", "dtypes", "seed")}
        return [
            Job(
                adapter=spec,
                problems=[],
                every_combination=True,
                networks=STACK,
                parts=(first + one.parts, behind),
                **shared,
            )
            for spec, one in self.adapters.items()
            if one.parts < self.parts
        ]

    def hear(self, report: AdapterReport, event: Mapping[str, Any]) -> None:
        """Take in what a worker says. Where one part was not judged, no later one counts: the next run begins there.

        Raises ValueError if the parts before were judged by another version, OSError if the file cannot be written.
        """
        one, kind = self.adapters[report.spec], event["event"]
        if kind == "adapter":
            here = replace(one, **{name: event[name] for name in ("name", "framework", "version")})
            if one.parts and here != one:
                raise ValueError(f"found {one.framework} {one.version}, expected {here.framework} {here.version}")
            self.adapters[report.spec] = here
            self._modes[report.spec] = event["tasks"] // (self.parts - one.parts)
        elif kind in ("error", "not offered"):
            self._failed.add(report.spec)
        elif kind == "tallies" and report.spec not in self._failed:
            waiting = self._waiting[report.spec]
            waiting.append(dict(map(from_json, event["rows"])))
            if len(waiting) == self._modes[report.spec]:
                self.adapters[report.spec] = one.and_part(
                    event["problem"], waiting
                )  # at once: a signal may come any time
                self._waiting[report.spec] = []
                if time.monotonic() > self._written + PAUSE:
                    self.write()

    def write(self) -> None:
        """Write the file beside its place and rename it, once there is something to keep. Raises OSError."""
        if not any(one.parts for one in self.adapters.values()):
            return
        adapters = [one.as_json() for one in self.adapters.values()]
        content = {"schema": SCHEMA_VERSION, "options": self.options, "digest": self.digest, "adapters": adapters}
        results.write(content, self.path.parent, self.path.name)
        self._written = time.monotonic()

    def _read(self) -> None:
        try:
            content = json.loads(self.path.read_bytes())
            found = content["options"]
            adapters = {one["spec"]: Soaked.from_json(one) for one in content["adapters"]}
            whole = content["schema"] == SCHEMA_VERSION and found.keys() == self.options.keys()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"found no soak ({type(error).__name__}: {error})") from error
        for name, expected in self.options.items():
            if whole and found[name] != expected:
                raise ValueError(f"found a soak with {name} {found[name]}, expected {name} {expected}")
        self.adapters |= adapters
        if not whole or content["digest"] != self.digest:
            raise ValueError("found a digest that is not that of its content")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    console = terminal.printed(100)
    parser = _options()
    options = parser.parse_args(arguments)
    path = Path(options.report) / FILE
    start = time.monotonic()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        results.probe(path.parent)
        asked = _asked(options, parser)
        if options.part is not None:  # to be looked at again, however often
            path = path.with_stem(f"soak-part-{options.part}")
            path.unlink(missing_ok=True)
        soak = Soak(path, *asked)
    except OSError as error:
        parser.unwritable(options.report, error)
    except ValueError as error:
        parser.error(f"{path}: {error}; go on with the same options, or name another --report")
    try:
        try:
            with _progress(console, soak) as listener:
                outcome = run(soak.jobs(), options.timeout, listener)
        finally:
            soak.write()
    except OSError as error:
        parser.error(f"{path}: {error.strerror or error}; the same command goes on")
    except ValueError as error:
        parser.error(f"{path}: {error}; go on with the same versions, or name another --report")
    reports = {report.spec: report for report in outcome.adapters}
    _show(soak, console)
    compared = Outcome([_judged(one, soak, reports) for one in soak.adapters.values()], soak.tallies, 0)
    for report in compared.adapters:
        for reason in report.reasons:
            console.print(f"failed  {report.name}: {reason}", markup=False, soft_wrap=True)
    networks, seconds = f"{soak.parts * STACK:,} networks", f"{time.monotonic() - start:.0f} s"
    console.print(f"{compared.verdict}: {networks}, this run took {seconds}; digest {soak.digest}", soft_wrap=True)
    if path.exists():
        console.print(f"kept in {path}", soft_wrap=True)
    return compared.exit_status


def _options() -> Parser:
    parser = Parser(
        prog="soak", description="Millions of random networks in every framework: none may fail.",
        epilog="Exit status: 0 all agree, 1 a mismatch, 2 could not be judged.", allow_abbrev=False,
    )  # fmt: skip
    add = parser.add_argument
    add("--networks", type=number(1), default=10_000_000, metavar="N",
        help=f"how many, in parts of {STACK}, the last one whole; default: 10000000")  # fmt: skip
    add("--part", type=number(0), metavar="I", help="this part alone, in a file of its own, to look at it again")
    add("--frameworks", nargs="*", metavar="NAME",
        help=f"registered adapters; default: {' '.join(FRAMEWORKS)}, if installed")  # fmt: skip
    add("--adapter", action="append", default=[], metavar="MODULE:CLASS", help="add one from outside; repeatable")
    add("--modes", nargs="+", metavar="NAME", help="ways to run; default: each adapter's first")
    add("--dtypes", nargs="+", default=["float32", "float64"], metavar="NAME",
        help="precisions, which the parts take in turn; default: float32 float64")  # fmt: skip
    add("--seed", type=number(0), default=0, metavar="S", help="seed of all networks; default: 0")
    add("--device", default="cpu", metavar="NAME", help="handed to the adapters; default: cpu")
    add("--timeout", type=seconds, default=600.0, metavar="SECONDS", help="longest silence; default: 600")
    add("--report", default="report", metavar="DIR", help=f"where {FILE} goes; default: report/")
    return parser


def _asked(options: argparse.Namespace, parser: Parser) -> tuple[dict[str, Any], list[str]]:
    """What the file's content follows from, and the adapters."""
    known(parser, "--frameworks", options.frameworks, REGISTRY)
    known(parser, "--dtypes", options.dtypes, DTYPES)
    names = list(filter(installed, FRAMEWORKS)) if options.frameworks is None else options.frameworks
    if not options.adapter:  # the modes of an adapter from outside are known once it is loaded
        known(parser, "--modes", options.modes, dict.fromkeys(mode for name in names for mode in REGISTRY[name].modes))
    specs = list(dict.fromkeys([*names, *options.adapter]))
    if not specs:
        parser.error(f"--frameworks: found no name and no --adapter, expected one of {', '.join(REGISTRY)}")
    last = -(-options.networks // STACK)
    return {
        "adapters": specs,
        "modes": options.modes,
        "dtypes": options.dtypes,
        "device": options.device,
        "seed": options.seed,
        "parts": [0, last] if options.part is None else [options.part, options.part + 1],
        "networks in a part": STACK,
        "numpy": np.__version__,  # which draws them
        "code": _code(),
    }, specs


def _code() -> str:
    """The suite's own code, in brief: tallies of two versions of it are not added."""
    files = (path for room in ("adapters", "compare", "reference") for path in sorted((ROOT / room).rglob("*.py")))
    return _sha256([(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")) for path in files])[:12]


@contextmanager
def _progress(console: Console, soak: Soak) -> Iterator[Listener]:
    """A bar per framework; on no terminal, a line at each tenth of it."""
    columns = ("{task.description:<12}", "{task.fields[count]:>11}", "{task.fields[rate]:>10}")
    texts = [TextColumn(column) for column in columns]
    with Progress(texts[0], BarColumn(24), *texts[1:], TimeElapsedColumn(), TimeRemainingColumn(), console=console,
                  transient=True) as bars:  # fmt: skip
        start, before = time.monotonic(), {spec: one.parts for spec, one in soak.adapters.items()}
        rows = {
            spec: bars.add_task(spec, total=soak.parts, completed=done, count="", rate="")
            for spec, done in before.items()
        }

        def listen(report: AdapterReport, event: Mapping[str, Any]) -> None:
            spec = report.spec
            done = soak.adapters[spec].parts
            soak.hear(report, event)
            now = soak.adapters[spec].parts
            if now == done:
                return
            rate = (now - before[spec]) * STACK / (time.monotonic() - start)
            count, speed = f"{now * STACK:,}", f"{rate:,.0f}/s"
            bars.update(rows[spec], completed=now, count=count, rate=speed)
            if not console.is_terminal and now * 10 // soak.parts > done * 10 // soak.parts:
                console.print(f"{spec}: {count} networks, {speed}", markup=False, soft_wrap=True)

        yield listen


def _judged(one: Soaked, soak: Soak, reports: Mapping[str, AdapterReport]) -> AdapterReport:
    """What became of a framework in all runs: it has failed if a part is missing, or was not the others'."""
    found = reports.get(one.spec) or AdapterReport(one.spec, one.name or one.spec)
    reasons = list(found.reasons)
    reasons += [str(refused["reason"]) for refused in found.not_offered]
    if one.parts < soak.parts and not reasons:
        reasons.append(f"has none of the modes {', '.join(soak.options['modes'] or ())}")
    first = next(iter(soak.adapters.values()))
    if (one.parts, one.problems) != (first.parts, first.problems) and one.parts == first.parts:
        reasons.append(f"problems: digest {one.problems[:12]}, expected {first.problems[:12]}, that of {first.spec}")
    return AdapterReport(one.spec, found.name, status="failed" if reasons else "compared", reasons=reasons)


def _show(soak: Soak, console: Console) -> None:
    """A line for each framework, and what has failed."""
    dtypes = soak.options["dtypes"]
    columns = ("networks", "judged", "not judged", "alarms", *dtypes)
    table = Table("framework", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right")
    table.add_column("digest")
    for one in soak.adapters.values():
        everything = total(one.tallies)
        counts = (one.parts * STACK, everything.entries, everything.unjudged, everything.failures)
        worst = (total({k: t for k, t in one.tallies.items() if k.dtype == dtype}) for dtype in dtypes)
        fractions = (f"{tally.worst_bound_fraction:.4f}" if tally.entries else "–" for tally in worst)
        table.add_row(one.name or one.spec, *(f"{count:,}" for count in counts), *fractions, one.digest[:12])
    console.print("", table, "Under the precisions: the worst fraction of bound.", "", sep="\n")
    for one in soak.adapters.values():
        _show_alarms(one, soak.options, console)


def _show_alarms(one: Soaked, options: Mapping[str, Any], console: Console) -> None:
    """The first of each mode, precision and check, in the ledger's order; the file has all."""
    order = {formula.number: i for i, formula in enumerate(LEDGER)}
    failed = {key: tally for key, tally in one.tallies.items() if tally.failures}
    seen = set()
    for key in sorted(failed, key=lambda key: (order[key.formula], key.layer)):
        failure, place = failed[key].first_failure, (key.mode, key.dtype, key.check)
        if failure is None or place in seen:
            continue
        seen.add(place)
        where = f"{key.adapter} {key.mode} {key.dtype}, {key.check}, formula {key.formula}, network {failure.network}"
        count = f"{failed[key].failures:,} of {failed[key].entries:,} entries failed"
        again = f"nox -s soak -- --part {failure.network // STACK} --seed {options['seed']} --modes {key.mode}"
        again += f" --dtypes {' '.join(options['dtypes'])} --device {key.device}"
        again += f" --adapter {one.spec} --frameworks" if ":" in one.spec else f" --frameworks {one.spec}"
        for line in (f"mismatch  {where}: {failure.message}; {count}", f"repeat    {again}"):
            console.print(line, markup=False, soft_wrap=True)


def _sha256(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


if __name__ == "__main__":
    status = main()
    machine.deaf()
    sys.exit(status)
