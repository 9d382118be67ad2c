"""3. A million 2-3-2 networks compared step by step with each framework."""

from __future__ import annotations

import os
import resource
import sys
import time as clock
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import product
from typing import Any

import numpy as np

from adapters import REGISTRY, Adapter, load
from bench.goals import Goal, memory, table, time
from bench.process import Process, processes
from bench.workloads import demand_agreement
from compare import check
from compare.problems import DOCUMENT, random_problem
from compare.soak import STACK
from compare.tally import Tally

TITLE = "A million networks"
DTYPES = ("float64", "float32")
IN_TIME, IN_MEMORY = Goal(10), Goal(2**30)


def measure(quick: bool, limit: float) -> dict[str, Any]:
    """Seconds and bytes of all networks in each framework and precision, import and compilation aside.

    Each framework has as many processes as there are cores, at most two, and each of these its share of the stacks.
    """
    stacks = 4 if quick else 200
    workers = min(2, os.cpu_count() or 1)
    rows = []
    for framework, dtype in product(REGISTRY, DTYPES):
        with processes(f"{framework} {i}" for i in range(workers)) as own:
            each = list(own.values())
            imported = _together(each, _prepare, [(framework, dtype)] * workers)
            shares = [(framework, dtype, i * stacks // workers, (i + 1) * stacks // workers) for i in range(workers)]
            start = clock.perf_counter()
            try:
                found = _together(each, _compare, shares, limit)
            except TimeoutError:
                found = []
            seconds = clock.perf_counter() - start if found else None
        row = {"framework": framework, "dtype": dtype, "seconds": seconds, "imported": sum(imported)}
        rows.append(row | {"entries": sum(n for n, _ in found), "peak": sum(peak for _, peak in found)})
    return {"limit": limit, "networks": stacks * STACK, "processes": workers, "times": rows}


def _together(
    each: Sequence[Process], function: Callable[..., Any], shares: Sequence[tuple[Any, ...]], limit: float | None = None
) -> list[Any]:
    for process, share in zip(each, shares, strict=True):
        process.start(function, *share)
    return [process.result(limit) for process in each]


# --- in a framework's process -------------------------------------------------------------------------------------


@cache
def _adapter(framework: str) -> Adapter:
    return load(framework)


def _prepare(framework: str, dtype: str) -> int:
    """Import and compile; the most memory that the import has taken."""
    _adapter(framework)
    imported = _peak()
    _stack(framework, dtype, 0)
    return imported


def _compare(framework: str, dtype: str, first: int, behind: int) -> tuple[int, int]:
    """Entries of so many stacks, and the most memory this process has taken."""
    entries = 0
    for number in range(first, behind):
        tallies = _stack(framework, dtype, number)
        demand_agreement(tallies)
        entries += sum(tally.entries for tally in tallies.values())
    return entries, _peak()


def _stack(framework: str, dtype: str, number: int) -> dict[tuple[str, int], Tally]:
    adapter = _adapter(framework)
    mode = adapter.modes[0]
    problem = random_problem(np.random.default_rng([0, number]), DOCUMENT, 1, (STACK,), dtype)
    return check.step(problem, adapter.trace(problem, mode), adapter.arithmetic(mode, dtype))


def _peak() -> int:
    """The most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


# --- shown ----------------------------------------------------------------------------------------------------------


def show(found: Mapping[str, Any]) -> str:
    """The table."""
    header = ("framework", "precision", "entries", "time", "memory", "of it, by the import")
    rows = []
    for row in found["times"]:
        seconds = row["seconds"]
        took = f"> {time(found['limit'])}" if seconds is None else time(seconds)
        cells = [f"{row['entries']:,}", IN_TIME.judge(took, seconds or found["limit"], at_least=seconds is None)]
        peak = IN_MEMORY.judge(memory(row["peak"]), row["peak"]) if row["peak"] else "–"
        rows.append([row["framework"], row["dtype"], *cells, peak, memory(row["imported"])])
    counted = f"{found['networks']:,} networks in stacks of {STACK:,}, by {found['processes']} processes whose memory is added."
    return f"{table(header, rows)}\n\n{counted}"
