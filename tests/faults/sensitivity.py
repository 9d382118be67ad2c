"""The smallest faults that are seen: in one entry of one quantity of the document's net, whichever entry that is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from adapters import load
from compare import check, show
from reference import Problem, Trace
from reference.network import Array
from reference.rounding import Arithmetic
from tests.faults.catalogue import Fault
from tests.faults.judges import CAUGHT, Case, Judge, control, mark
from tests.faults.plants import changed, entry, layers


class Witness(NamedTuple):
    """The formula that is the first to look at for a fault in one entry of a quantity, and how many entries of a network
    it judges by that one.
    """

    quantity: str
    layer: int
    formula: str
    readers: int = 1


WITNESSES = (
    Witness("a", 0, "1"),
    Witness("a", 1, "2"),
    Witness("h", 0, "4"),
    Witness("h", 1, "3"),
    Witness("loss", 0, "5"),
    Witness("dL_dh", 0, "15", readers=2),  # 18 and 22 state it, as a sum of terms that may cancel
    Witness("dL_dh", 1, "10"),
    Witness("dh_da", 0, "16"),
    Witness("dh_da", 1, "11"),
    Witness("dL_da", 0, "b1"),
    Witness("dL_da", 1, "b1"),
    Witness("da_dw", 0, "17"),
    Witness("da_dw", 1, "12"),
    Witness("dL_dw", 0, "21"),
    Witness("dL_dw", 1, "21"),
    Witness("dL_db", 0, "b1"),
    Witness("dL_db", 1, "b1"),
    Witness("w_new", 0, "8"),
    Witness("w_new", 1, "8"),
    Witness("b_new", 0, "b2"),
    Witness("b_new", 1, "b2"),
)
"""Every array of the trace of a net of two layers. A fault in `a` is seen in ULP of the terms that it is the sum of."""


class Sample(NamedTuple):
    """Nets of the document, what a correct adapter computes for them, and the arithmetic it is judged by."""

    problem: Problem
    trace: Trace
    arithmetic: Arithmetic

    @property
    def networks(self) -> int:
        """Their number."""
        return int(self.problem.network.stack[0])


@cache
def sample(where: str, networks: int = 50) -> Sample:
    """For a framework, mode and precision, on the suite's own problem "document"."""
    case = control(f"{where} document", 0, networks)
    return Sample(case.problem, case.trace, case.arithmetic)


@cache
def figure(where: str) -> Sample:
    """The document's net in numbers, as the page shows it."""
    name, mode, dtype = where.split()
    adapter, problem = load(name), show.figure(dtype)
    return Sample(problem, adapter.trace(problem, mode), adapter.arithmetic(mode, dtype))


def entries(of: Sample, witness: Witness) -> Iterator[tuple[int, ...]]:
    """Every entry of one network's array."""
    yield from np.ndindex(layers(of.trace, witness.quantity)[witness.layer].shape[1:])


def seen(of: Sample, witness: Witness, at: tuple[int, ...], shift: Callable[[Array], Array]) -> int:
    """In how many networks the step check sees ``shift`` in that entry. It is made in all of them at once."""
    index = (slice(None), *at)
    moved = entry(witness.quantity, witness.layer, index, lambda value: value + shift(value).astype(value.dtype))
    wrong: Trace = moved(lambda *_: of.trace, of.problem, "")
    layer = of.problem.network.depth - 1 if witness.quantity == "loss" else witness.layer
    failures = check.step(of.problem, wrong, of.arithmetic)[witness.formula, layer].failures
    if failures == of.networks * witness.readers:
        return of.networks
    return sum(_fails(of, wrong, slice(i, i + 1)) for i in range(of.networks))  # by whatever formula


def _fails(of: Sample, trace: Any, part: slice) -> bool:
    theirs: Any = changed(trace, lambda _: lambda array: array[part])
    return any(tally.failures for tally in check.step(of.problem.at(part), theirs, of.arithmetic).values())


def by_entry(ulps: int) -> Callable[[Array], Array]:
    """So many units in the last place of the entry."""
    return lambda value: ulps * np.spacing(np.abs(value))


def by_terms(of: Sample, witness: Witness, at: tuple[int, ...], ulps: int) -> Callable[[Array], Array]:
    """So many units in the last place of Σ|terms| of an entry of ``a``."""
    _, unit = at
    x: Any = of.problem.x if witness.layer == 0 else layers(of.trace, "h")[0]
    w, b = of.problem.network.w[witness.layer], of.problem.network.b[witness.layer]
    terms = (np.abs(x) @ np.abs(w) + np.abs(b))[:, 0, unit]
    return lambda _: ulps * np.spacing(terms)


def fraction_seen(of: Sample, witness: Witness, ulps: int) -> float:
    """The fraction of all entries in which a shift by ``ulps`` of the entry, up or down, is seen."""
    found = [seen(of, witness, at, by_entry(n)) for at in entries(of, witness) for n in (ulps, -ulps)]
    return sum(found) / (len(found) * of.networks)


def always_seen(of: Sample, witness: Witness, ulps: int) -> bool:
    """Whether a shift by ``ulps``, up or down, is seen in every entry of every network."""
    shifts = ((at, by_terms(of, witness, at, n) if witness.quantity == "a" else by_entry(n))
              for at in entries(of, witness) for n in (ulps, -ulps))  # fmt: skip
    return all(seen(of, witness, *shift) == of.networks for shift in shifts)


def least_ulps(of: Sample, witness: Witness, most: int = 64) -> int | None:
    """The smallest number of ULP from 1 to ``most`` that is always seen; None if there is none."""
    return next((ulps for ulps in range(1, most + 1) if always_seen(of, witness, ulps)), None)


def least_relative(judge: Judge, dtype: str) -> str | tuple[float, float]:
    """The smallest relative fault, a power of two, that a judge sees in one entry of dL_dw of one net: in the entry where
    it sees best, and in every entry. A mark other than `CAUGHT` where even a factor of 1000 in some entry is not seen so.
    """

    def verdict(layer: int, at: tuple[int, ...], exponent: int) -> str:
        factor = 1 + 2.0**exponent
        plant = entry("dL_dw", layer, (0, *at), lambda value: value * value.dtype.type(factor))
        fault = Fault("", f"numpy eager {dtype} document", f"{at} times {factor}", plant, None, None, networks=1)
        return mark(judge, Case(fault.adapter(), fault.problem, fault.mode, network=0), fault)

    least = []
    for layer, shape in enumerate(((2, 3), (3, 2))):
        for at in np.ndindex(*shape):
            blind, seeing = -60, 10
            found = verdict(layer, at, seeing)
            if found != CAUGHT:
                return found
            while seeing - blind > 1:
                middle = (blind + seeing) // 2
                blind, seeing = (blind, middle) if verdict(layer, at, middle) == CAUGHT else (middle, seeing)
            least.append(2.0**seeing)
    return min(least), max(least)
