"""5. The whole comparison, from an environment that exists and from a fresh clone, beside the imports it cannot do without."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
import time as clock
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from adapters import REGISTRY
from bench.goals import Goal, ratio, table, time
from bench.process import Failed
from bench.timing import interleaved
from compare.run import ROOT

TITLE = "The whole"
IN_IMPORTS = Goal(6)
FROM_ENVIRONMENT, FROM_CLONE, ALL = "nox -s compare, existing environment", "fresh clone, and nox -s compare", "all"
QUICK = ("--networks", "50", "--frameworks", "numpy")


def measure(quick: bool, limit: float) -> dict[str, Any]:  # noqa: ARG001 - a download takes as long as it takes
    """Seconds of each command."""
    frameworks = [entry.imports for name, entry in REGISTRY.items() if name != "numpy"]
    imports = {name: f"import {name}" for name in frameworks} | {ALL: f"import {', '.join(frameworks)}"}
    calls = {name: partial(_run, [sys.executable, "-c", code], ROOT) for name, code in imports.items()}
    seconds: dict[str, float | None] = interleaved(calls, rounds=1 if quick else 3, patience=math.inf)
    nox = _nox()
    with TemporaryDirectory() as scratch:
        compare = ["-s", "compare", "--", "--report", scratch]
        _run([*nox, "-r", "-s", "compare", "--install-only"], ROOT)  # so that it exists
        seconds[FROM_ENVIRONMENT] = _run([*nox, "-R", *compare, *(QUICK if quick else ())], ROOT)[0]
        if not quick:
            clone = Path(scratch) / "clone"
            cloning = _run(["git", "clone", "--quiet", str(ROOT), str(clone)], ROOT)[0]
            seconds[FROM_CLONE] = cloning + _run([*nox, *compare], clone)[0]
    return {"quick": quick, "seconds": seconds}


def _nox() -> list[str]:
    if found := shutil.which("nox"):
        return [found]
    if find_spec("nox"):
        return [sys.executable, "-m", "nox"]
    raise Failed("found no nox, by which the whole comparison is run, expected it on the PATH")


def _run(command: Sequence[str], directory: Path) -> list[float]:
    """Seconds of a command. Raises Failed unless its status is 0."""
    start = clock.perf_counter()
    try:
        ended = subprocess.run(
            command, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise Failed(f"{command[0]}: {error.strerror or error}") from error
    if ended.returncode:
        *_, said = "", *(ended.stderr or ended.stdout).strip().splitlines()
        raise Failed(f"{' '.join(command)}: found status {ended.returncode}, expected 0: {said}")
    return [clock.perf_counter() - start]


def show(found: Mapping[str, Any]) -> str:
    """The table."""
    seconds = found["seconds"]
    rows = []
    for name, took in seconds.items():
        by_imports = took / seconds[ALL]
        text = ratio(by_imports)
        goal = name == FROM_ENVIRONMENT and not found["quick"]
        what = name if name in (FROM_ENVIRONMENT, FROM_CLONE) else f"import of {name}"
        rows.append([what, time(took), IN_IMPORTS.judge(text, by_imports) if goal else text])
    return table(("command", "time", "by the import of all"), rows)
