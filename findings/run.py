"""Each finding's program, run as it is, and what it prints: lines ``name = number``."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from findings.catalogue import Finding

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 600.0
"""Seconds for one process: a compiler may be slow where it has never run."""

SETTINGS = ("TF_", "ONEDNN_", "KERAS_", "XLA_", "JAX_")
"""How the names of variables begin that change a framework's numbers: a program starts without any."""


def run(findings: Sequence[Finding]) -> dict[str, str]:
    """What each program prints, by its finding's name; all programs in one process, which has one environment.

    Raises
    ------
    ValueError
        If a program fails, or has not ended after `LIMIT`.
    """
    (settings,) = {tuple(finding.environment.items()) for finding in findings}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}
    environment = inherited | {"KERAS_HOME": os.devnull} | dict(settings)  # TensorFlow imports Keras: no file of it
    command = [sys.executable, "-m", "findings.run", *(str(finding.program) for finding in findings)]
    try:
        ran = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LIMIT, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"found no end after {LIMIT:g} s, expected numbers") from error
    if ran.returncode:
        reason = next(reversed(ran.stderr.splitlines()), f"exit status {ran.returncode}")
        raise ValueError(f"found {reason}, expected numbers")
    return dict(zip((finding.name for finding in findings), json.loads(ran.stdout), strict=True))


def numbers(printed: str) -> dict[str, float]:
    """The numbers by their names. Raises ValueError for any other line."""
    found: dict[str, float] = {}
    for line in printed.splitlines():
        name, _, value = line.partition(" = ")
        try:
            found[name] = float(value)
        except ValueError as error:
            raise ValueError(f"found {line!r}, expected a line 'name = number'") from error
    return found


def _printed(program: str) -> str:
    with redirect_stdout(StringIO()) as printed:
        runpy.run_path(program, run_name="__main__")
    return printed.getvalue()


if __name__ == "__main__":
    json.dump([_printed(program) for program in sys.argv[1:]], sys.stdout)
