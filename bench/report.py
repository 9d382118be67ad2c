"""What was found, as Markdown: printed, and in the README between two marks."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from bench import gradient, growth, million, verify, whole
from bench.goals import MISSED, UNDECIDED
from compare import results

PARTS = {"verify": verify, "gradient": gradient, "million": million, "growth": growth, "whole": whole}
BEGIN, END = "<!-- bench: nox -s bench writes what is between these marks -->", "<!-- /bench -->"
PACKAGES = ("numpy", "torch", "jax", "tensorflow", "tensorflow-cpu", "scikit-learn", "asv_runner")


def circumstances() -> dict[str, Any]:
    """Date, machine and versions."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": results.cpu(),
        "cores": os.cpu_count(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "packages": dict(filter(None, map(_installed, PACKAGES))),
    }


def _installed(package: str) -> tuple[str, str] | None:
    try:
        return package, version(package)
    except PackageNotFoundError:
        return None


def markdown(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Every part that was measured, in the parts' order, and under what circumstances."""
    parts: list[str] = []
    before = None
    for name, part in PARTS.items():
        if name in found:
            said = _said(found[name]["circumstances"])
            parts += [f"### {part.TITLE}", *([said] if said != before else []), part.show(found[name])]
            before = said
    return "\n\n".join([*parts, f"Goals missed: {missed(parts)}."])


def missed(parts: list[str]) -> int:
    """How many numbers do not show that they meet their goal."""
    return sum(part.count(MISSED) + part.count(UNDECIDED) for part in parts)


def _said(where: Mapping[str, Any]) -> str:
    packages = ", ".join(f"{name} {number}" for name, number in where["packages"].items())
    machine = f"{where['cpu']}, {where['cores']} cores, {where['platform']}"
    return f"{where['date']}, {machine}, Python {where['python']}, {packages}."


def put_into(readme: str, text: str) -> str:
    """The README with ``text`` between the marks. Raises ValueError if it lacks one."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"README.md: found no {BEGIN if not begin else END!r}, expected the marks of the bench")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"
