"""The error of every sigmoid, certified: ``python -m compare.certify OPTIONS``, or ``nox -s certify -- OPTIONS``.

Each framework's σ and σ′, in every mode, of all numbers of 32 bits or fewer and 10⁸ of float64 (`compare.accuracy`).
A complete run writes what it found to adapters/certified.json, which a test holds together with what adapters declare.

Exit status: 0 no sigmoid exceeds what its adapter declares; 1 one does; 2 it could not be measured.
"""

from __future__ import annotations

from compare import machine

if __name__ == "__main__":
    machine.withstand("certify", "nothing is written")

import argparse
import json
import math
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from datetime import UTC, datetime
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from adapters import REGISTRY, NotOffered, installed, load
from compare import accuracy, results
from compare.accuracy import Found, short
from compare.options import Parser, known, number
from compare.problems import DTYPES
from compare.report import terminal
from compare.run import KEEP_MEMORY

FILE = Path(__file__).resolve().parent.parent / "adapters" / "certified.json"

CHUNK = 2**20
"""Inputs in a long array: so many that a call costs nothing beside its work, and that the cache holds."""

SAMPLED_CHUNK = 2**10
"""The same, where only a sample is taken."""

SAMPLE = 96 * CHUNK
"""Inputs in float64: 10⁸."""

INPUTS_PER_TASK = 2**24
WORKERS = 2
WIDTH = 150


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    console = terminal.printed(WIDTH)
    parser = _options()
    options = parser.parse_args(arguments)
    known(parser, "--frameworks", options.frameworks, REGISTRY)
    known(parser, "--dtypes", options.dtypes, DTYPES)
    registered = [name for name in REGISTRY if installed(name)] if options.frameworks is None else options.frameworks
    if not (registered or options.adapter):
        parser.error(f"--frameworks: found no name and no --adapter, expected one of {', '.join(REGISTRY)}")
    for name, value in KEEP_MEMORY.items():
        os.environ.setdefault(name, value)
    frameworks: dict[str, Any] = {}
    try:
        for spec in dict.fromkeys([*registered, *options.adapter]):
            name, frameworks[name] = _certify(spec, options, console)
        console.print(_table(frameworks))
        if options.adapter or options.modes or options.dtypes or options.sample:
            console.print("Nothing is written: that takes all modes and precisions of registered adapters.")
        else:
            write(frameworks, FILE)
    except OSError as error:
        parser.error(f"{FILE.name}: {error.strerror or error}")
    sentences = exceeded(frameworks)
    for sentence in sentences:
        console.print(f"[red]exceeded[/]  {sentence}", soft_wrap=True)
    return 1 if sentences else 0


def _options() -> Parser:
    parser = Parser(
        prog="certify", description="Certify the error of every framework's sigmoid, over all inputs.",
        epilog="Exit status: 0 none exceeds what is declared, 1 one does, 2 could not be measured.", allow_abbrev=False,
    )  # fmt: skip
    add = parser.add_argument
    modes = dict.fromkeys(mode for entry in REGISTRY.values() for mode in entry.modes)
    add("--frameworks", nargs="*", metavar="NAME",
        help="registered adapters, or none beside --adapter; default: all that are installed")  # fmt: skip
    add("--adapter", action="append", default=[], metavar="MODULE:CLASS", help="add one from outside; repeatable")
    add("--modes", nargs="+", metavar="NAME", help=f"ways to run, such as {', '.join(modes)}; default: all")
    add("--dtypes", nargs="+", metavar="NAME", help=f"precisions; default: {' '.join(DTYPES)}")
    add("--complete", action="store_true",
        help="short arrays of all float32, also where long ones have one result: minutes more")  # fmt: skip
    add("--sample", type=number(SAMPLED_CHUNK), metavar="N", help="no more than about N inputs each: a lower limit")
    return parser


# --- the work -------------------------------------------------------------------------------------------------------


def _certify(spec: str, options: argparse.Namespace, console: Console) -> tuple[str, dict[str, Any]]:
    """An adapter's name, and its part of the file."""
    start, cpu = time.monotonic(), 0.0
    found: dict[tuple[str, str, str], Found] = {}
    context = get_context("spawn")
    cores: Any = context.SimpleQueue()
    for core in (_cores() * WORKERS)[:WORKERS]:
        cores.put(core)
    pool = ProcessPoolExecutor(WORKERS, context, _begin, (cores,))
    try:
        name, version, declared = _submit(pool, describe, spec).result()
        tasks = {_submit(pool, measure, spec, *task, options.complete): task[1] for task in _plan(declared, options)}
        if not tasks:
            raise ValueError("found none of the modes and precisions that were named")
        with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
            for task in bars.track(as_completed(tasks), len(tasks), description=name):
                parts, seconds = task.result()
                cpu += seconds
                for (mode, path), part in parts.items():
                    key = (mode, tasks[task], path)
                    found[key] = found.get(key, Found()) + part
    except BrokenProcessPool:
        _options().error(f"adapter {spec}: a worker process ended abruptly")
    except Exception as error:  # noqa: BLE001 - whatever an adapter raises is the reason
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        _options().error(reason if spec in reason else f"adapter {spec}: {reason}")
    finally:
        pool.shutdown(cancel_futures=True)
    console.print(f"{name} {version}: {time.monotonic() - start:.0f} s, {cpu:.0f} s of CPU time")
    modes: dict[str, Any] = {}
    for mode, dtype, path in sorted(found):
        content = entry(found[mode, dtype, path], dtype, declared[mode][dtype], bool(options.sample))
        modes.setdefault(mode, {}).setdefault(dtype, {})[path] = content
    today = datetime.now(UTC).date().isoformat()
    return name, {"version": version, "cpu": results.cpu(), "date": today, "modes": modes}


def _plan(declared: Mapping[str, Any], options: argparse.Namespace) -> Iterator[tuple[list[str], str, list[int], int]]:
    """Arguments of `measure`: the modes, the precision, where the chunks of a task start, and their size."""
    for dtype in options.dtypes or DTYPES:
        modes = [mode for mode in declared if dtype in declared[mode] and mode in (options.modes or declared)]
        everything = SAMPLE if dtype == "float64" else _numbers(dtype)
        size = SAMPLED_CHUNK if options.sample else min(CHUNK, everything)
        step = -(-everything // options.sample) | 1 if options.sample else 1  # odd: not only of round numbers
        starts = range(0, everything, size)[::step]
        per_task = INPUTS_PER_TASK // size
        for first in range(0, len(starts) if modes else 0, per_task):
            yield modes, dtype, list(starts[first : first + per_task]), size


def _numbers(dtype: str) -> int:
    """How many there are in the format, infinities and NaN included."""
    return int(2 ** (8 * np.dtype(dtype).itemsize))


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [*range(os.cpu_count() or 1)]


def _submit(pool: ProcessPoolExecutor, *task: Any) -> Future[Any]:
    """Hand a task to the pool, whose processes start with it and hear no Ctrl-C: that is the parent's."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return pool.submit(*task)
    finally:
        signal.signal(signal.SIGINT, before)


def _begin(cores: Any) -> None:
    """In a worker: a core of its own, so that no framework starts threads for more."""
    core = cores.get()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})


_load = cache(load)


def describe(spec: str) -> tuple[str, str, dict[str, dict[str, float]]]:
    """In a worker: an adapter's name and version, and the error that it declares, by mode and precision."""
    adapter = _load(spec)
    if (
        getattr(adapter, "activation", lambda *_: None)(np.zeros(short(np.float32), np.float32), adapter.modes[0])
        is None
    ):
        raise ValueError("found no activation, expected one to certify")
    declared: dict[str, dict[str, float]] = {}
    for mode in adapter.modes:
        for dtype in DTYPES:
            try:
                declared.setdefault(mode, {})[dtype] = adapter.arithmetic(mode, dtype).sigmoid_ulp
            except NotOffered:
                continue
    return adapter.name, adapter.version, declared


def measure(
    spec: str, modes: Sequence[str], dtype: str, starts: Iterable[int], size: int, complete: bool = False
) -> tuple[dict[tuple[str, str], Found], float]:
    """In a worker: what is found on the inputs of some chunks, by mode and path, and the CPU time it took."""
    before, adapter = time.process_time(), _load(spec)
    found: dict[tuple[str, str], Found] = {}
    with np.errstate(all="ignore"):  # infinities and NaN are among the inputs
        for start in starts:
            for mode, path, part in accuracy.measure(adapter, modes, accuracy.inputs(dtype, start, size), complete):
                found[mode, path] = found.get((mode, path), Found()) + part
    return found, time.process_time() - before


# --- what is written and printed ------------------------------------------------------------------------------------


def entry(found: Found, dtype: str, declared: float, sampled: bool) -> dict[str, Any]:
    """What the file says of one mode, precision and path."""
    counts = found.counts
    if counts["inputs"] == _numbers(dtype):
        covered = "all"
    elif sampled or dtype == "float64" or counts["left"]:
        covered = "sampled"
    else:
        covered = "all around which results vary"

    def at(name: str) -> str | None:
        size, where = found.worst[name]
        return where.hex() if size > -math.inf else None

    def worst(name: str) -> dict[str, Any] | None:
        return {"size": found.worst[name].size, "at": at(name)} if at(name) else None

    return {
        "inputs": counts["inputs"],
        "covered": covered,
        "shared": counts["shared"],
        "invalid": counts["invalid"],
        "declared_ulp": declared,
        "sigmoid_ulp": worst("sigmoid"),
        "derivative_ulp": worst("derivative"),
        "derivative_ulp_of_formula": worst("formula"),
        "derivative_lost_from": at("lost"),
        "derivative_zero_from": at("zero"),
        "below_least_normal": {
            "subnormal_results": counts["subnormal"],
            "flushes": counts["subnormal"] == 0 and at("sigmoid_below") is not None,
            "sigmoid_least_subnormals": worst("sigmoid_below"),
            "derivative_least_subnormals": worst("derivative_below"),
        },
    }


def entries(frameworks: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str, dict[str, Any]]]:
    """Name, mode, precision and path of every entry, and the entry."""
    for name, framework in frameworks.items():
        for mode, dtypes in framework["modes"].items():
            for dtype, paths in dtypes.items():
                for path, content in paths.items():
                    yield name, mode, dtype, path, content


def exceeded(frameworks: Mapping[str, Any]) -> list[str]:
    """A sentence for every sigmoid that is less accurate than declared, or no number."""
    sentences = []
    for name, mode, dtype, path, found in entries(frameworks):
        where, worst, declared = f"{name} {mode} {dtype}, {path} arrays", found["sigmoid_ulp"], found["declared_ulp"]
        if worst and worst["size"] > declared:
            sentences.append(f"{where}: found {worst['size']:.3f} ULP at {worst['at']}, declared {declared:g}")
        if found["invalid"]:
            sentences.append(f"{where}: found {found['invalid']} results that are no numbers, or numbers for NaN")
    return sentences


def write(frameworks: Mapping[str, Any], path: Path) -> None:
    """Put these frameworks into the file in place of what it has of them; beside it and renamed. Raises OSError."""
    held = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    content = dict(sorted({**held, **frameworks}.items()))
    results.write(content, path.parent, path.name)


def _table(frameworks: Mapping[str, Any]) -> Table:
    """A line for all modes of a framework that have the same figures."""
    lines: dict[tuple[str, ...], list[str]] = {}
    for name, mode, dtype, path, found in entries(frameworks):
        lines.setdefault((name, dtype, path, *_cells(found)), []).append(mode)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("framework", "precision", "arrays", "modes"):
        table.add_column(column)
    for column in ("inputs", "σ ULP", "of", "at a =", "σ′ − y(1 − y)", "σ′ lost from a =", "σ below λ"):
        table.add_column(column, justify="right", no_wrap=True)
    order = {dtype: i for i, dtype in enumerate(DTYPES)}
    for (name, dtype, path, *cells), modes in sorted(lines.items(), key=lambda line: (line[0][0], order[line[0][1]])):
        table.add_row(name, dtype, path, " ".join(modes), *cells)
    return table


def _cells(found: Mapping[str, Any]) -> Iterator[str]:
    worst, formula, lost = (found[key] for key in ("sigmoid_ulp", "derivative_ulp_of_formula", "derivative_lost_from"))
    yield f"{found['inputs']:,}" + {"all": "", "sampled": " sampled"}.get(found["covered"], " of varying")
    yield f"{worst['size']:.3f}"
    yield f"{found['declared_ulp']:.6g}"
    yield f"{float.fromhex(worst['at']):.9g}"
    yield f"{formula['size']:.3g}"
    yield f"{float.fromhex(lost):.9g}" if lost else f"kept: {found['derivative_ulp']['size']:.3g} ULP"
    yield "0" if found["below_least_normal"]["flushes"] else "subnormal"


if __name__ == "__main__":
    status = main()
    machine.deaf()
    sys.exit(status)
