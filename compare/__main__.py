"""The command line: ``python -m compare OPTIONS``, which ``nox -s compare -- OPTIONS`` runs.

Exit status: 0 all compared and all agree; 1 at least one mismatch; 2 it could not be judged.
"""

from __future__ import annotations

from compare import machine

if __name__ == "__main__":  # Ctrl-C is answered while the imports go on, too
    machine.withstand("compare")

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from adapters import REGISTRY, installed
from compare import diff, expect, results
from compare.options import Parser, known, number, seconds
from compare.problems import DTYPES, PROBLEMS, VECTORS
from compare.published import Judged, judge, load, problem
from compare.report import github, junit, summary, terminal
from compare.run import run
from compare.worker import Job
from reference.formulas import LEDGER

OLDEST_PYTHON = (3, 11)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    console = terminal.printed()
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["diff"]:
        return diff.main(Parser(prog="compare diff", description=diff.__doc__), arguments[1:], console)
    if arguments[:1] == ["report"]:
        from compare.report import command  # loads matplotlib: a page takes that second, nothing else does

        shown = command.main(Parser(prog="compare report", description=command.__doc__), arguments[1:])
        console.print(f"page: {shown}", soft_wrap=True)
        return 0
    parser = _options()
    options = parser.parse_args(arguments)
    if options.list:
        _list(terminal.printed(100))  # in a file, a line for each
        return 0
    jobs, pythons = _plan(options, parser)
    vectors = _judged(jobs[0], parser) if options.vectors else []
    expected = _expected(options, parser) if options.expect else []
    _probe(options, parser)  # before the work, not after it
    chosen = {
        "device": options.device,
        "networks": options.networks,
        "seed": options.seed,
        "dtypes": jobs[0].dtypes,
        "problems": jobs[0].problems,
        "modes": jobs[0].modes,
        "vectors": jobs[0].vectors,
    }
    with github.no_commands(console):
        try:
            with terminal.progress(console) as listener:
                outcome = run(jobs, options.timeout, listener, pythons)
        except OSError as error:
            print(f"compare: a worker cannot be started: {error.strerror or error}", file=sys.stderr)
            return machine.JUDGED_NOTHING
        outcome.vectors = vectors
        outcome.expected = expect.judge(expected, outcome.tallies)
        content = results.as_json(outcome, chosen)
        terminal.show(outcome, content, console)
    unknown = set(options.modes or ()) - {mode for adapter in outcome.adapters for mode in adapter.modes}
    if unknown and not outcome.tallies:
        print(f"compare: no adapter here has the mode {', '.join(sorted(unknown))}", file=sys.stderr)
    page = _page(content)  # first: whoever interrupts that finds nothing written
    written = _write(content, page, options, console)
    github.annotate(content, console)
    terminal.verdict(content, console)
    return outcome.exit_status if written else machine.JUDGED_NOTHING


def _expected(options: argparse.Namespace, parser: Parser) -> list[expect.Expected]:
    try:
        return expect.load(options.expect)
    except ValueError as error:
        parser.error(f"--expect: {error}")


def _probe(options: argparse.Namespace, parser: Parser) -> None:
    """End if something that is to be written cannot be."""
    for option, place, kind, probe in (
        ("--report", options.report, "directory", results.probe),
        ("--junit", options.junit, "file", results.probe_file),
        ("--summary", options.summary, "file", results.probe_file),
        (github.SUMMARY, github.summary_file(), "file", github.probe),
    ):
        if place is not None:
            try:
                probe(Path(place))
            except OSError as error:
                parser.unwritable(place, error, option, kind)


def _write(content: Mapping[str, Any], page: str | None, options: argparse.Namespace, console: Console) -> bool:
    """Write all that was asked for, and say where it is. False, and a sentence, if something cannot be written."""
    outputs: tuple[tuple[str, str | None, Callable[[str], Iterable[tuple[str, Path]]]], ...] = (
        ("--report", options.report, partial(_report, content, page)),
        ("--junit", options.junit, partial(_text, "junit", junit.make, content)),
        ("--summary", options.summary, partial(_text, "summary", summary.make, content)),
        (github.SUMMARY, github.summary_file(), partial(github.append, content)),
    )
    written = True
    for option, place, write in outputs:
        try:
            for what, path in write(place) if place is not None else ():
                console.print(f"{what}: {path}", markup=False, soft_wrap=True)
        except OSError as error:
            print(f"compare: {option} {place}: {error.strerror or error}", file=sys.stderr)
            written = False
    return written


def _report(content: Mapping[str, Any], page: str | None, directory: str) -> Iterator[tuple[str, Path]]:
    yield "results", results.write(content, Path(directory))
    if page is not None:
        yield "page", results.write_text(page, Path(directory), results.PAGE)


def _text(
    what: str, make: Callable[[Mapping[str, Any]], str], content: Mapping[str, Any], file: str
) -> Iterator[tuple[str, Path]]:
    yield what, results.write_text(make(content), Path(file).parent, Path(file).name)


def _page(content: Mapping[str, Any]) -> str | None:
    """The page, if it can be made: it takes libraries that judge nothing, and must not cost the results."""
    try:
        from compare.report.page import make

        return make([content])
    except Exception as error:  # noqa: BLE001 - whatever they raise
        print(f"compare: the page could not be made ({type(error).__name__}: {error})", file=sys.stderr)
        return None


def _options() -> Parser:
    parser = Parser(
        prog="compare", description="Compare every formula of the document in every framework, to the last bit.",
        epilog="Exit status: 0 all agree, 1 a mismatch, 2 could not be judged.", allow_abbrev=False,
    )  # fmt: skip
    add = parser.add_argument
    add("--frameworks", nargs="*", metavar="NAME",
        help="registered adapters, or none beside --adapter; default: all that are installed")  # fmt: skip
    add("--adapter", action="append", default=[], metavar="MODULE:CLASS", help="add one from outside; repeatable")
    add("--python", action="append", default=[], metavar="NAME=INTERPRETER",
        help="run an adapter under another environment's Python; repeatable, also for one NAME")  # fmt: skip
    add("--modes", nargs="+", metavar="NAME", help="ways to run; default: all")
    add("--dtypes", nargs="+", metavar="NAME", help=f"precisions; default: {' '.join(DTYPES)}")
    add("--problems", nargs="+", metavar="NAME", help="problems, or `all`: every problem in every mode")
    add("--vectors", nargs="+", default=[], metavar="FILE",
        help="networks of your own, with expected values or without; form: compare/vectors/schema.json")  # fmt: skip
    add("--networks", type=number(1), default=10_000, metavar="N", help="networks in a stack; default: 10000")
    add("--seed", type=number(0), default=0, metavar="S", help="seed of the random stacks; default: 0")
    add("--device", default="cpu", metavar="NAME", help="handed to the adapters; default: cpu")
    add("--timeout", type=seconds, default=600.0, metavar="SECONDS", help="per adapter and task; default: 600")
    add("--report", default="report", metavar="DIR", help="where results.json and index.html go; default: report/")
    add("--expect", metavar="FILE", help="rows that are known to deviate, in TOML; form: compare/expect.py")
    add("--junit", metavar="FILE", help="where the results go as JUnit XML; default: nowhere")
    add("--summary", metavar="FILE", help="where a summary goes as Markdown; default: nowhere")
    add("--list", action="store_true", help="list adapters, modes, precisions, problems and formulas")
    return parser


def _plan(options: argparse.Namespace, parser: Parser) -> tuple[list[Job], list[str | None]]:
    """The jobs, and the interpreter of each: None for this one."""
    known(parser, "--frameworks", options.frameworks, REGISTRY)
    if options.frameworks == [] and not options.adapter:
        parser.error(f"--frameworks: found no name and no --adapter, expected one of {', '.join(REGISTRY)}")
    known(parser, "--dtypes", options.dtypes, DTYPES)
    brought = [VECTORS] if options.vectors else []
    known(parser, "--problems", options.problems, (*PROBLEMS, *brought, "all"))
    if not options.adapter:  # the modes of an adapter from outside are known once it is loaded
        names = options.frameworks or list(REGISTRY)
        known(parser, "--modes", options.modes, dict.fromkeys(m for name in names for m in REGISTRY[name].modes))
    for spec in options.adapter:
        module, _, name = spec.partition(":")
        if not (module and name):
            parser.error(f"--adapter: found {spec!r}, expected MODULE:CLASS")
    pythons = _pythons(options, parser)
    if options.frameworks is None:
        adapters = [name for name in REGISTRY if name in pythons or installed(name)]
    else:
        adapters = list(dict.fromkeys(options.frameworks))
    adapters += dict.fromkeys(options.adapter)
    plan = [(name, python) for name in adapters for python in pythons.get(name, [None])]
    every = options.problems is not None
    named = options.problems or brought or ["all"]
    problems = [*(PROBLEMS if "all" in named else named), *brought]
    jobs = [
        Job(
            adapter=adapter,
            device=options.device,
            modes=options.modes,
            dtypes=options.dtypes or list(DTYPES),
            problems=list(dict.fromkeys(problems)),
            every_combination=every,
            networks=options.networks,
            seed=options.seed,
            vectors=[os.path.abspath(path) for path in dict.fromkeys(options.vectors)],
        )
        for adapter, _ in plan
    ]
    return jobs, [python for _, python in plan]


def _judged(job: Job, parser: Parser) -> list[Judged]:
    """The expected values of the files of a job, once every file is found to fit its precisions."""
    try:
        examples = [load(path) for path in job.vectors]
        for example in examples:
            for dtype in job.dtypes:
                problem(example, dtype)
        return [judge(example) for example in examples]
    except ValueError as error:
        parser.error(f"--vectors: {error}")


def _pythons(options: argparse.Namespace, parser: Parser) -> dict[str, Sequence[str | None]]:
    """The interpreters that --python gives to each name."""
    names = [*(REGISTRY if options.frameworks is None else options.frameworks), *options.adapter]
    chosen = "" if options.frameworks is None else ", which --frameworks and --adapter name"
    found: dict[str, dict[str, None]] = {}
    for given in options.python:
        name, equals, command = given.partition("=")  # a path may hold another one, a name cannot
        if not (name and equals and command):
            parser.error(f"--python: found {given!r}, expected NAME=INTERPRETER")
        if name not in names:
            parser.error(f"--python: found {name!r}, expected one of {', '.join(dict.fromkeys(names))}{chosen}")
        path = shutil.which(os.path.expanduser(command))
        unfit = "no such program" if path is None else _unfit(path)
        if path is None or unfit:
            oldest = ".".join(map(str, OLDEST_PYTHON))
            parser.error(f"--python: found {command!r} ({unfit}), expected Python {oldest} or later")
        found.setdefault(name, {})[os.path.abspath(path)] = None  # its link unresolved: by that it knows its packages
    return {name: list(paths) for name, paths in found.items()}


def _unfit(path: str) -> str | None:
    """Why a program cannot run a worker, if it cannot."""
    script = "import sys; print('Python %d.%d' % sys.version_info[:2])"  # in every Python's own words
    try:
        answer = subprocess.run(
            [path, "-c", script], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return "no Python"
    version = re.search(rb"Python (\d+)\.(\d+)\s*$", answer.stdout)
    if version is None:
        return "no Python"
    return None if tuple(map(int, version.groups())) >= OLDEST_PYTHON else version[0].decode().strip()


def _list(console: Console) -> None:
    adapters = Table("adapter", "modes", "framework", box=None, pad_edge=False)
    distributions = packages_distributions()
    for name, entry in REGISTRY.items():
        if installed(name):
            found = distributions.get(entry.imports, [entry.imports])[0]
            state = f"{found} {version(found)}"
        else:
            state = f"not available: {entry.imports} is not installed"
        adapters.add_row(name, " ".join(entry.modes), state)
    problems = Table("problem", "", box=None, pad_edge=False)
    for name, recipe in PROBLEMS.items():
        problems.add_row(name, recipe.description + ("" if recipe.every_mode else "; first mode only, or when named"))
    problems.add_row(VECTORS, "networks of your own, by --vectors FILE; form: compare/vectors/schema.json")
    formulas = Table("formula", "", box=None, pad_edge=False)
    for formula in LEDGER:
        formulas.add_row(formula.number, formula.text)
    for part in (adapters, f"precisions  {' '.join(DTYPES)}", problems, formulas):
        console.print(part, "")


if __name__ == "__main__":
    status = main()
    machine.deaf()  # all is judged and written
    sys.exit(status)
