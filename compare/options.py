"""What the command lines of the comparison, the soak and the certification share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Sequence
from typing import NoReturn

from compare.machine import JUDGED_NOTHING


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, and ends with status 2."""

    def error(self, message: str) -> NoReturn:
        """Overrides argparse's, which prints the usage too."""
        self.exit(JUDGED_NOTHING, f"{self.prog}: {message}\n")

    def unwritable(self, path: str, error: OSError, option: str = "--report", kind: str = "directory") -> NoReturn:
        """End because what an option names cannot be written to."""
        self.error(f"{option}: found {path!r} ({error.strerror or error}), expected a {kind} that can be written to")


def known(parser: Parser, option: str, given: Sequence[str] | None, names: Collection[str]) -> None:
    """End if an option was given a name that is not one of ``names``."""
    unknown = [name for name in given or () if name not in names]
    if unknown:
        parser.error(f"{option}: found {', '.join(map(repr, unknown))}, expected one of {', '.join(names)}")


def number(least: int) -> Callable[[str], int]:
    """The type of an option that is a whole number of at least ``least``."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number of at least {least}")
        return value

    return parse


def seconds(text: str) -> float:
    """The type of an option that is a time above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number of seconds above 0")
    return value
