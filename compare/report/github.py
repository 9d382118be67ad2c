"""What GitHub Actions shows of a run: annotations, by commands that it reads from what is printed, and a summary of the
job, from a file that it names.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from rich.console import Console

from compare.expect import AGREES
from compare.report import summary, words
from compare.report.words import TEXTS, Content, plain

ACTIONS, SUMMARY = "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"
"""Of the environment: "true" where this runs in GitHub Actions, and the file of the job's summary."""

ERRORS = 10
"""GitHub shows no more of a step."""


def _running() -> bool:
    return os.environ.get(ACTIONS) == "true"


@contextmanager
def no_commands(console: Console) -> Iterator[None]:
    """Nothing that is printed meanwhile is taken for a command, whatever an adapter calls itself."""
    if not _running():
        yield
        return
    token = secrets.token_hex(16)
    console.print(f"::stop-commands::{token}", soft_wrap=True)
    try:
        yield
    finally:
        console.print(f"::{token}::", soft_wrap=True)


def annotate(content: Content, console: Console) -> None:
    """In GitHub Actions, print an error for each failure, the most important first, and a warning if the run is
    incomplete.
    """
    for line in commands(content) if _running() else ():
        console.out(line, highlight=False)


def commands(content: Content) -> list[str]:
    """The commands that `annotate` prints."""
    lines = list(islice(_errors(content), ERRORS))
    if content["verdict"] == "incomplete":
        lines.append(_command("warning", "incomplete", words.verdict(content)))
    return lines


def _errors(content: Content) -> Iterator[str]:
    """Failed adapters before single failures: what they would have found is not known."""
    for adapter in content["adapters"]:
        if adapter["status"] == "failed":
            yield _command("error", f"failed: {words.who(adapter)}", plain(adapter["reason"]))
    for check, others in words.by_importance(content):
        said = [TEXTS[check["formula"]], *(f"{name}: {text}" for name, text in words.facts(check))]
        said += [words.further(others)] if others else []
        yield _command("error", f"mismatch: {words.title(check)}", "\n".join(said))
    for line in words.deviations(content, AGREES):
        yield _command("error", "expected to deviate, but agrees", line)
    for judged in content["vectors"]:
        for wrong in words.wrong_values(judged):
            yield _command("error", f"mismatch: {plain(judged['file'])}", wrong)


def _command(kind: str, title: str, message: str) -> str:
    return f"::{kind} title={_escaped(title).replace(':', '%3A').replace(',', '%2C')}::{_escaped(message)}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def summary_file() -> str | None:
    """The file that GitHub shows in the job's summary, if there is one."""
    return os.environ.get(SUMMARY) or None


def probe(path: Path) -> None:
    """Raise OSError now if nothing could be added to a file later."""
    with path.open("a"):
        pass


def append(content: Content, file: str) -> tuple[()]:
    """Add the summary to the end of a file, of which nothing need be said. Raises OSError."""
    with open(file, "a", encoding="utf-8") as opened:
        opened.write(summary.make(content))
    return ()
