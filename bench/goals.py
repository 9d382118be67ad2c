"""A goal, and a Markdown table in which a number that misses its goal says so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

MISSED = "**missed**"
UNDECIDED = "**undecided**"


class Goal(NamedTuple):
    """The most that a number may be, or with ``least`` the least."""

    limit: float
    least: bool = False

    def judge(self, text: str, number: float, *, at_least: bool = False) -> str:
        """The number as ``text``, and what it is to the goal unless it is met; NaN misses it.

        ``at_least``: the number itself is only known to be no smaller.
        """
        if number >= self.limit if self.least else number <= self.limit and not at_least:
            return text
        return f"{text} {UNDECIDED if at_least and (self.least or number <= self.limit) else MISSED}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows as a Markdown table, its first column to the left and all others to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def time(seconds: float) -> str:
    """Three digits, in µs, ms or s."""
    for scale, unit in ((1e6, "µs"), (1e3, "ms")):
        if seconds * scale < 999.5:
            return f"{_digits(seconds * scale)} {unit}"
    return f"{_digits(seconds)} s"


def memory(size: float) -> str:
    """Bytes as MiB."""
    return f"{_digits(size / 2**20)} MiB"


def ratio(number: float) -> str:
    """Three digits and a sign of multiplication."""
    return f"{_digits(number)} ×"


def _digits(number: float) -> str:
    places = 2 if number < 9.995 else 1 if number < 99.95 else 0
    return f"{number:,.{places}f}" if number >= 0.0995 else f"{number:.2g}"
