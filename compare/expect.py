"""Rows that are known to deviate: ``--expect FILE``, a list that the user keeps, in TOML.

    [[deviation]]
    adapter = "tensorflow"
    mode = ["eager", "function"]
    dtype = "bfloat16"
    problem = "document"
    check = "step"
    formula = ["1", "2"]
    reason = "the matrix product cuts bfloat16 off in place of rounding it"
    link = "https://…"

A row is what one formula shows in one mode, precision, problem and check, over all layers; lists stand for every
combination. The list is strict: a row that agrees again is a failure, of the list.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from compare.problems import PROBLEMS, VECTORS
from compare.tally import Key, Tally
from reference.formulas import LEDGER
from reference.rounding import FORMATS

DEVIATES, AGREES, NOT_COMPARED = "deviates", "agrees", "not compared"

Row = tuple[str, str, str, str, str, str]
"""Adapter, mode, precision, problem, check and formula."""


def row_of(key: Key) -> Row:
    """The row to which a tally belongs."""
    return (key.adapter, key.mode, key.dtype, key.problem, key.check, key.formula)


@dataclass(frozen=True)
class Expected:
    """A row of the list. ``found``: what became of it, "deviates", "agrees" or "not compared"."""

    adapter: str
    mode: str
    dtype: str
    problem: str
    check: str
    formula: str
    reason: str
    link: str
    found: str = NOT_COMPARED

    @property
    def row(self) -> Row:
        """Which it is."""
        return (self.adapter, self.mode, self.dtype, self.problem, self.check, self.formula)


def _names(*known: str) -> dict[str, Any]:
    name: dict[str, Any] = {"enum": list(known)} if known else {"type": "string", "minLength": 1}
    return {"anyOf": [name, {"type": "array", "items": name, "minItems": 1, "uniqueItems": True}]}


_ROW = {
    "adapter": _names(),
    "mode": _names(),
    "dtype": _names(*FORMATS),
    "problem": _names(*PROBLEMS, VECTORS),
    "check": _names("step", "end-to-end"),
    "formula": _names(*(formula.number for formula in LEDGER)),
}
_TEXT = {"reason": {"type": "string", "pattern": r"\S"}, "link": {"type": "string", "pattern": "^https?://"}}
_SCHEMA = {
    "type": "object",
    "properties": {
        "deviation": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "properties": _ROW | _TEXT,
                "required": [*_ROW, *_TEXT],
                "additionalProperties": False,
            },
        }
    },
    "required": ["deviation"],
    "additionalProperties": False,
}


def load(file: str) -> list[Expected]:
    """The rows that a file lists. Raises ValueError, naming the file, the place and what is wrong, if it is no list."""
    try:
        content = tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(
            f"{file}: found no readable file ({error.strerror or error}), expected a list in TOML"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: found no TOML ({error}), expected a list of deviations") from error
    wrong = best_match(Draft202012Validator(_SCHEMA).iter_errors(content))
    if wrong is not None:
        place = wrong.json_path.removeprefix("$").removeprefix(".")
        raise ValueError(": ".join(filter(None, (file, place, wrong.message[:200]))))
    rows: dict[Row, Expected] = {}
    for i, deviation in enumerate(content["deviation"]):
        named = [[own] if isinstance(own, str) else own for own in (deviation[name] for name in _ROW)]
        for row in product(*named):
            expected = Expected(**dict(zip(_ROW, row, strict=True)), **{name: deviation[name] for name in _TEXT})
            if expected.row in rows:
                raise ValueError(f"{file}: deviation[{i}]: found {' '.join(row)} again, expected each row once")
            rows[expected.row] = expected
    return list(rows.values())


def judge(expected: Iterable[Expected], tallies: Mapping[Key, Tally]) -> list[Expected]:
    """The list, with what became of each row."""
    rows: dict[Row, Tally] = {}
    for key, tally in tallies.items():
        rows[row_of(key)] = rows.get(row_of(key), Tally()) + tally
    return [replace(one, found=_found(rows.get(one.row, Tally()))) for one in expected]


def _found(tally: Tally) -> str:
    if tally.failures:
        return DEVIATES
    return AGREES if tally.entries else NOT_COMPARED
