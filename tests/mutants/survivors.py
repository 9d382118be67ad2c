"""The mutants of survivors.toml, which are known to live."""

import tomllib
from pathlib import Path
from typing import NamedTuple


class Mutant(NamedTuple):
    """A change: what cosmic-ray calls it, in which line of which file, and at which of the line's places."""

    module: str
    line: str
    operator: str
    place: int


def explained() -> dict[Mutant, str]:
    """The survivors that change nothing that a test could see, each with the reason."""
    table = tomllib.loads(Path(__file__).with_name("survivors.toml").read_text(encoding="utf-8"))
    return {
        Mutant(module, line, operator, place): entry["because"]
        for module, entries in table.items()
        for entry in entries
        for line in [entry["line"]]
        for operator, places in entry["mutants"].items()
        for place in places
    }
