"""The results as Markdown, as GitHub shows it in a job's summary: the verdict, a table, and the failures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from compare.expect import AGREES, DEVIATES, NOT_COMPARED
from compare.report import words
from compare.report.words import MOST, TEXTS, Content, plain

LONGEST = 1000
"""Characters of a reason that are shown: GitHub takes a summary of up to 1 MiB."""

_SIGNS = {"agree": "✅", "expected": "☑️", "mismatch": "❌", "failed": "❌", "incomplete": "⚠️", "unjudged": "⚠️"}


def make(content: Content) -> str:
    """The Markdown of the content of a results.json, valid by its schema."""
    word = content["verdict"]
    parts = [f"## {_SIGNS[word]} {word}", words.verdict(content)]
    parts.append("\n".join(_table(content)))
    parts += _failures(content)
    parts += _list("Expected to deviate", words.deviations(content, DEVIATES))
    parts += _list("Expected to deviate, but not compared", words.deviations(content, NOT_COMPARED))
    for title, said in {
        "Not covered": words.not_covered, "Not judged": words.not_judged, "Not available": words.not_available
    }.items():  # fmt: skip
        parts += _list(title, [line for adapter in content["adapters"] for line in said(content, adapter)])
    return "\n\n".join(parts) + "\n"


def _table(content: Content) -> Iterator[str]:
    """A row for each adapter and mode, and one for an adapter that failed or has nothing here."""
    dtypes = words.ordered(check["dtype"] for check in content["checks"])
    names = ["framework", "version", "mode", "formulas", "entries", *dtypes, "verdict"]
    yield "In each precision, the worst fraction of bound: step by step, and end to end.\n"
    yield _row(names)
    yield _row(["---"] * 3 + ["---:"] * (2 + len(dtypes)) + ["---"])
    for adapter in content["adapters"]:
        who, version = _code(words.who(adapter)), _code(adapter["version"] or "–")
        theirs = [check for check in content["checks"] if check["adapter"] == adapter["name"]]
        for mode in words.modes(content, adapter):
            own = [check for check in theirs if check["mode"] == mode]
            if not own:
                continue
            entries = sum(check["entries"] for check in own)
            word = words.outcome(own)
            fractions = (_fractions([check for check in own if check["dtype"] == dtype]) for dtype in dtypes)
            counts = (f"{words.covered(own)}/{len(TEXTS)}", f"{entries:,}")
            yield _row([who, version, _code(mode), *counts, *fractions, f"{_SIGNS[word]} {word}"])
        if adapter["status"] == "failed" or not theirs:
            word = "failed" if adapter["status"] == "failed" else "unjudged"
            yield _row([who, version, *["–"] * (3 + len(dtypes)), f"{_SIGNS[word]} {word}"])


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _fractions(checks: Sequence[Content]) -> str:
    """The worst fraction of bound step by step, and end to end."""
    found = []
    for kind in ("step", "end-to-end"):
        worst = [check["worst_bound_fraction"] for check in checks if check["check"] == kind and check["entries"]]
        found.append("–" if not worst else "∞" if None in worst else f"{max(worst):.2f}")
    return " ".join(found) if checks else "–"


def _failures(content: Content) -> Iterator[str]:
    """Of all that failed, the most important."""
    failed = [f"{words.who(one)}: {plain(one['reason'])}" for one in content["adapters"] if one["status"] == "failed"]
    yield from _list("Failed", failed)
    wrong = [f"{plain(judged['file'])}: {line}" for judged in content["vectors"] for line in words.wrong_values(judged)]
    yield from _list("Wrong expected values", wrong)
    yield from _list("Expected to deviate, but agree", words.deviations(content, AGREES))
    mismatches = words.by_importance(content)
    if mismatches:
        yield "### Mismatches"
    for check, others in mismatches[:MOST]:
        lines = [f"{words.title(check)}:  {TEXTS[check['formula']]}"]
        lines += [f"{name:<12} {text}" for name, text in words.facts(check)]
        lines += [words.further(others)] if others else []
        yield "\n".join(["```text", *lines, "```"])  # none of the lines is a fence: each has words of its own
    yield from _more(len(mismatches))


def _list(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield f"### {title}"
        yield "\n".join(f"- {_code(line)}" for line in lines[:MOST])
        yield from _more(len(lines))


def _more(number: int) -> Iterator[str]:
    if number > MOST:
        yield f"… and {number - MOST} more: results.json has every one."


def _code(text: str) -> str:
    """A text as it is on one line, wherever it stands: in <code>, GitHub links neither @names nor #numbers, and a
    character that Markdown or HTML could read is written as its number.
    """
    written = re.sub(r"(?i)[^\w ,.()'+-]|_|(?<=www)\.", lambda found: f"&#{ord(found[0])};", plain(text)[:LONGEST])
    return f"<code>{written}</code>"
