"""Counts and worst cases of the comparison: the only thing that leaves a worker.

Merging is associative and commutative, so that a run can be split, spread over processes or resumed, and give the
same result.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import reduce
from typing import Any, NamedTuple, TypeVar


class Key(NamedTuple):
    """What was compared. ``check`` is "step" or "end-to-end"; ``layer`` counts from 0, the first hidden layer."""

    adapter: str
    mode: str
    dtype: str
    device: str
    problem: str
    check: str
    formula: str
    layer: int


@dataclass(frozen=True)
class Number:
    """A floating-point number in full: shortest decimal that names it in its format, and hexadecimal."""

    decimal: str
    hex: str


@dataclass(frozen=True, kw_only=True)
class Case:
    """One entry, and all that is needed to look at it.

    Attributes
    ----------
    array : the array judged, such as ``dL_dw[0]``
    network : index in the stack (its axes counted as one)
    entry : index in the network's own array
    operands : entries that the formula read, by name and index
    left_out : how many more it read
    got, expected, allowed : the framework's number, the formula's, and the largest difference that arithmetic allows
    """

    array: str
    network: int
    entry: tuple[int, ...]
    operands: Mapping[str, Number] = field(default_factory=dict)
    left_out: int = 0
    got: Number | None = None
    expected: Number | None = None
    allowed: Number | None = None

    @property
    def order(self) -> tuple[Any, ...]:
        """Earlier entries come first, whatever order they are found in."""
        return (self.network, self.array, self.entry)


@dataclass(frozen=True, kw_only=True)
class Failure(Case):
    """The first entry that failed, none of its operands left out.

    Attributes
    ----------
    stage : the check that failed: "present", "shape", "dtype", "finite" or "value"
    message : one sentence, found and expected
    """

    stage: str
    message: str

    @property
    def order(self) -> tuple[Any, ...]:
        """As of all entries; one may fail more than once."""
        return (*super().order, self.stage, self.message)


C = TypeVar("C", bound=Case)


@dataclass(frozen=True)
class Tally:
    """How one formula fared.

    Attributes
    ----------
    entries, failures : how many entries were judged, and how many failed
    worst_bound_fraction : largest |difference| / bound; infinite where the bound is zero and the difference is not
    worst_ulp : largest difference, in ULP: from the formula's value in the step check, from the exact derivative
        in the end-to-end check
    first_failure : the failure that comes first in the stack
    not_covered : why nothing was compared, or not all: a formula may state two quantities of which one is missing
    unjudged : how many entries no bound can judge: their network was given what is not finite, or correct code may
        overflow
    worst : the entry of ``worst_bound_fraction``, the first of the stack if several are
    """

    entries: int = 0
    failures: int = 0
    worst_bound_fraction: float = 0.0
    worst_ulp: float = 0.0
    first_failure: Failure | None = None
    not_covered: str | None = None
    unjudged: int = 0
    worst: Case | None = None

    def __add__(self, other: Tally) -> Tally:
        found = [f for f in (self.first_failure, other.first_failure) if f is not None]
        reasons = [r for r in (self.not_covered, other.not_covered) if r is not None]
        fraction = max(self.worst_bound_fraction, other.worst_bound_fraction)
        worst = [t.worst for t in (self, other) if t.worst is not None and t.worst_bound_fraction == fraction]
        return Tally(
            entries=self.entries + other.entries,
            failures=self.failures + other.failures,
            worst_bound_fraction=fraction,
            worst_ulp=max(self.worst_ulp, other.worst_ulp),
            first_failure=min(found, key=lambda failure: failure.order, default=None),
            not_covered=min(reasons, default=None),
            unjudged=self.unjudged + other.unjudged,
            worst=min(worst, key=lambda case: case.order, default=None),
        )

    def counted_from(self, first: int) -> Tally:
        """The same of a stack whose networks are counted from ``first``."""
        if first == 0:
            return self
        cases = {name: getattr(self, name) for name in ("first_failure", "worst")}
        moved = {name: replace(case, network=first + case.network) for name, case in cases.items() if case is not None}
        return replace(self, **moved)


def total(tallies: Mapping[Key, Tally]) -> Tally:
    """All tallies as one."""
    return reduce(Tally.__add__, tallies.values(), Tally())


def merge(*parts: Mapping[Key, Tally]) -> dict[Key, Tally]:
    """The tallies of several parts of a run as one, in the order of their keys."""
    merged: dict[Key, Tally] = {}
    for part in parts:
        for key, tally in part.items():
            merged[key] = merged.get(key, Tally()) + tally
    return dict(sorted(merged.items()))


def to_json(key: Key, tally: Tally) -> dict[str, Any]:
    """One row of results.json. JSON has no infinity: an infinite number is null."""
    row = key._asdict() | asdict(tally)
    for name in ("worst_bound_fraction", "worst_ulp"):
        row[name] = row[name] if math.isfinite(row[name]) else None
    return row


def from_json(row: Mapping[str, Any]) -> tuple[Key, Tally]:
    """The inverse of `to_json`."""
    key = Key(*(row[name] for name in Key._fields))
    failure, worst = _case(Failure, row["first_failure"]), _case(Case, row["worst"])
    fraction, ulp = (math.inf if row[n] is None else row[n] for n in ("worst_bound_fraction", "worst_ulp"))
    counts = {name: row[name] for name in ("entries", "failures", "not_covered", "unjudged")}
    return key, Tally(**counts, worst_bound_fraction=fraction, worst_ulp=ulp, first_failure=failure, worst=worst)


def _case(kind: type[C], content: Mapping[str, Any] | None) -> C | None:
    if content is None:
        return None
    numbers = {name: Number(**content[name]) if content[name] else None for name in ("got", "expected", "allowed")}
    operands = {name: Number(**number) for name, number in content["operands"].items()}
    return kind(**{**content, **numbers, "operands": operands, "entry": tuple(content["entry"])})
