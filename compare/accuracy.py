"""How accurate a framework's σ and σ′ are: on every number of a format of 32 bits or fewer, on a sample of float64.

Truth is the reference's σ in the next wider format, off by at most 4 of its unit roundoffs (`reference.rounding`): by
2⁻²⁷ ULP of float32 and 2⁻⁹ of float64. σ′(a) is σ(a) σ(−a), off by at most 2⁻²⁵ and 2⁻⁷.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, partial, reduce
from operator import add
from typing import Any, NamedTuple

import numpy as np

from adapters import Adapter
from reference.formulas import activation_derivative, sigmoid
from reference.network import Array
from reference.rounding import FORMATS, Arithmetic

FEW = 2**8
"""Inputs of a chunk that go through short arrays, where each of these costs a call."""

BLOCK = 2**15
"""Inputs that are measured at once: so few that a processor's cache holds all that is computed of them."""


class Worst(NamedTuple):
    """The largest size of something, and the input where it is."""

    size: float = -math.inf
    at: float = 0.0


@dataclass(frozen=True)
class Found:
    """What was measured on some inputs. ``+`` puts two of them together: associative, commutative.

    Attributes
    ----------
    counts : ``inputs``; ``shared``, those of them that went through short arrays in another mode that runs the same
        kernels; ``left``, inputs that did not go through short arrays though results vary around them; ``invalid``,
        results that are no numbers for a number, or numbers for NaN; ``subnormal``, results σ(a) that are not 0 and
        below the least normal number λ
    worst : the largest errors. In ULP, of σ (``sigmoid``) and σ′ (``derivative``) where they are at least λ, and of σ′
        as y(1 − y) with the framework's own y (``formula``). In least subnormal numbers, where they are below λ:
        ``sigmoid_below``, ``derivative_below``. And the least |a|, negated, for which σ′ is off by more than half
        (``lost``) or 0 (``zero``) though the true one is at least λ
    """

    counts: Counter[str] = field(default_factory=Counter)
    worst: dict[str, Worst] = field(default_factory=dict)

    def __add__(self, other: Found) -> Found:
        names = self.worst | other.worst
        pairs = {name: (self.worst.get(name, Worst()), other.worst.get(name, Worst())) for name in names}
        return Found(self.counts + other.counts, {name: max(pair) for name, pair in pairs.items()})


def measure(
    adapter: Adapter, modes: Sequence[str], a: Array, complete: bool = False
) -> Iterator[tuple[str, str, Found]]:
    """What is found on the inputs ``a``, for each mode and both paths: through one ``long`` array, and ``short`` ones.

    All inputs go through short arrays in 16 bits, and in 32 where the adapter has a fast way; but where all of a long
    array has one result, only if this is to be ``complete``. Otherwise, as in float64 and without a fast way, it is a
    few that are evenly spaced. The fast way may be that of another mode with the same kernels, if these do give its
    long array the same results.
    """
    chunk = _Chunk(a, adapter.arithmetic(modes[0], a.dtype.name))
    through_long, in_one_call = cache(partial(_long, adapter, a)), cache(partial(_in_one_call, adapter, chunk))
    for mode in modes:
        long = through_long(mode)
        known = chunk.known(*long)
        yield mode, "long", known.found
        constant = known.constant and not complete
        if not constant and a.itemsize < 8:
            results, shared = in_one_call(mode), 0
            other = getattr(adapter, "same_kernels", {}).get(mode)
            if results is None and other and a.itemsize == 4 and _same(long, through_long(other)):
                results, shared = in_one_call(other), a.size
            if results is not None:
                yield mode, "short", Found(Counter(shared=shared)) + chunk.known(*results).found
                continue
        few = chunk
        if a.itemsize > 2:
            odd = a.size // (short(a.dtype) if constant else FEW) | 1  # so that all bits change
            few = _Chunk(a[::odd], chunk.arithmetic)
        results = _in_one_call(adapter, few, mode) or _one_by_one(adapter, few, mode)
        left = Counter(left=0 if constant else a.size - few.a.size)
        yield mode, "short", Found(left) + few.measure(*results)


def short(dtype: Any) -> int:
    """Inputs in a short array: too few for a vector of 256 bits."""
    return int(28 // max(np.dtype(dtype).itemsize, 4))


def _long(adapter: Adapter, a: Array, mode: str) -> tuple[Array, Array]:
    results = adapter.activation(a, mode)
    assert results is not None  # whoever certifies has asked
    return results


def _in_one_call(adapter: Adapter, chunk: _Chunk, mode: str) -> tuple[Array, Array] | None:
    found = getattr(adapter, "short_activations", lambda *_: None)(chunk.rows, mode)
    return None if found is None else _unrolled(found, chunk.a.size)


def _one_by_one(adapter: Adapter, chunk: _Chunk, mode: str) -> tuple[Array, Array]:
    found = [adapter.activation(row, mode) or () for row in chunk.rows]
    return _unrolled([np.stack(arrays) for arrays in zip(*found, strict=True)], chunk.a.size)


def _unrolled(arrays: Sequence[Array], size: int) -> tuple[Array, Array]:
    h, dh_da = (np.ascontiguousarray(array).reshape(-1)[:size] for array in arrays)
    return h, dh_da


class _Known(NamedTuple):
    """Results of a chunk, what was measured on them, and whether they are the same for all of its inputs."""

    results: tuple[Array, Array]
    found: Found
    constant: bool


class _Chunk:
    """Inputs, and what was measured on them: once for all modes and paths that have the same results."""

    def __init__(self, a: Array, arithmetic: Arithmetic) -> None:
        self.a, self.arithmetic = a, arithmetic
        self._known: list[_Known] = []

    @cached_property
    def rows(self) -> Array:
        """Short arrays with all of ``a``, the last one filled up with the first ones of it."""
        size = short(self.a.dtype)
        return np.resize(self.a, (-(-self.a.size // size), size))

    @cached_property
    def truths(self) -> list[tuple[slice, Truth]]:
        """Of each block of ``a``."""
        blocks = [slice(start, start + BLOCK) for start in range(0, self.a.size, BLOCK)]
        return [(block, Truth(self.a[block], self.arithmetic)) for block in blocks]

    def measure(self, h: Array, dh_da: Array) -> Found:
        """All about results for ``a``."""
        return reduce(add, (truth.measure(h[block], dh_da[block]) for block, truth in self.truths))

    def known(self, *results: Array) -> _Known:
        """What these results have in them, measured where none before were the same."""
        h, dh_da = results
        for known in self._known:
            if _same(known.results, results):
                return known
        constant = self.constant(h, dh_da)
        found = (self.at_the_ends(h, dh_da) if constant else None) or self.measure(h, dh_da)
        self._known.append(_Known((h, dh_da), found, constant))
        return self._known[-1]

    def constant(self, *results: Array) -> bool:
        """Whether neighbours all have the same results. Inputs in float64 are no neighbours."""
        return self.a.itemsize < 8 and all(bool((_bits(array) == _bits(array)[0]).all()) for array in results)

    def at_the_ends(self, h: Array, dh_da: Array) -> Found | None:
        """The same as of all inputs, if results are constant and their two ends can tell it.

        σ and σ′ are monotonic from one to the other. Where a framework has one result for all, and their ULP is the
        same, the error is largest at an end. The relative error is so too: if σ′ is off by more than half, at an end.
        """
        ends = [0, -1]
        truth = Truth(self.a[ends], self.arithmetic)
        return truth.measure(h[ends], dh_da[ends], self.a.size) if truth.alike(h[ends], dh_da[ends]) else None


class Truth:
    """σ and σ′ of the inputs ``a``, (n,)."""

    def __init__(self, a: Array, arithmetic: Arithmetic) -> None:
        self.a, self.arithmetic = a, arithmetic
        wide = a.astype(arithmetic.working)
        self.sigmoid = sigmoid(wide)
        self.derivative = self.sigmoid * sigmoid(-wide)
        self.ulp, self.derivative_ulp = arithmetic.ulp(self.sigmoid), arithmetic.ulp(self.derivative)
        least = arithmetic.least_normal
        self.normal, self.derivative_normal = self.sigmoid >= least, self.derivative >= least
        self.below, self.derivative_below = self.sigmoid < least, self.derivative < least  # a NaN is neither

    def measure(self, h: Array, dh_da: Array, inputs: int | None = None) -> Found:
        """All about a framework's results, which stand for ``inputs``, if not for those here."""
        finite = np.isfinite(h) & np.isfinite(dh_da)
        invalid = np.count_nonzero(finite == np.isnan(self.a))
        subnormal = np.count_nonzero((h > 0) & (h < self.arithmetic.least_normal))
        each = (inputs or self.a.size) // self.a.size
        counts = Counter(inputs=self.a.size * each, invalid=int(invalid) * each, subnormal=int(subnormal) * each)
        worst = {}
        for name, (where, sizes) in self._sizes(h, dh_da).items():
            meant = where & finite
            at = int(np.argmax(sizes if meant.all() else np.where(meant, sizes, -np.inf)))
            worst[name] = Worst(float(sizes[at]), float(self.a[at])) if meant[at] else Worst()
        return Found(counts, worst)

    def alike(self, h: Array, dh_da: Array) -> bool:
        """Whether the same is true of all inputs: the ULP, which numbers are normal, and whether σ′ is lost."""
        lost, _ = self._sizes(h, dh_da)["lost"]
        same = (self.ulp, self.derivative_ulp, self.normal, self.derivative_normal, lost)
        return not np.isnan(self.a).any() and all(bool((array == array[0]).all()) for array in same)

    def _sizes(self, h: Array, dh_da: Array) -> dict[str, tuple[Array, Array]]:
        """For everything that `Found` holds the worst of: for which inputs it means something, and its sizes."""
        h, dh_da = h.astype(self.arithmetic.working), dh_da.astype(self.arithmetic.working)
        formula = activation_derivative(h)
        off, derivative_off, formula_off = (
            np.abs(found - exact).astype(np.float64, copy=False)
            for found, exact in ((h, self.sigmoid), (dh_da, self.derivative), (dh_da, formula))
        )
        off_in_ulp, derivative_off_in_ulp = off / self.ulp, derivative_off / self.derivative_ulp
        formula_off_in_ulp, nearness = formula_off / self.arithmetic.ulp(formula), -np.abs(self.a)
        return {
            "sigmoid": (self.normal, off_in_ulp),
            "sigmoid_below": (self.below, off_in_ulp),
            "formula": (formula >= self.arithmetic.least_normal, formula_off_in_ulp),
            "derivative": (self.derivative_normal, derivative_off_in_ulp),
            "derivative_below": (self.derivative_below, derivative_off_in_ulp),
            "lost": (self.derivative_normal & (2 * derivative_off > self.derivative), nearness),
            "zero": (self.derivative_normal & (dh_da == 0), nearness),
        }


def _same(results: Sequence[Array], others: Sequence[Array]) -> bool:
    """Whether they are the same bit for bit."""
    return all(np.array_equal(_bits(one), _bits(other)) for one, other in zip(results, others, strict=True))


def _bits(array: Array) -> Array:
    return array.view(f"u{array.itemsize}")


def inputs(dtype: str, start: int, size: int) -> Array:
    """``size`` numbers. In 32 bits or fewer, those whose bits count up from ``start``; in float64, a sample of its own.

    A sample is half uniform in a, half in its bits, from where σ(a) is ½ to where it is 0 or 1; the first begins with
    the `edges`.
    """
    kind: Any = np.dtype(dtype)
    if dtype != "float64":
        return np.arange(start, start + size, dtype=f"u{kind.itemsize}").view(kind)
    random = np.random.default_rng(start)
    low, high = np.array([2.0**-56, 800.0]).view(np.int64)
    by_bits = random.integers(low, high, size // 2).view(np.float64) * random.choice([-1, 1], size // 2)
    first = random.permutation(edges()) if start == 0 else by_bits[:0]
    return np.concatenate([first, by_bits, random.uniform(-800, 800, size - size // 2)])[:size]


def edges() -> Array:
    """Numbers of float64 where something changes, with their neighbours: the binades' ends, those of σ at k ln 2, where
    eᵃ overflows, vanishes beside 1, or is below λ; and zeros, infinities and NaN.
    """
    largest, (precision, emin) = np.finfo(np.float64).max, FORMATS["float64"]
    binades = np.ldexp(1.0, np.arange(emin - precision + 1, -emin + 1))
    ends = np.concatenate([np.log(2) * np.arange(1, precision - emin + 1), [np.log(largest)]])
    near = [(binades, np.arange(-4, 5)), (ends, np.arange(-50, 51)), (np.array([largest]), np.arange(-4, 1))]
    bits = np.concatenate([(numbers.view(np.int64)[:, None] + few).ravel() for numbers, few in near])
    size = np.unique(np.maximum(bits, 0)).view(np.float64)
    return np.concatenate([size, -size, [np.inf, -np.inf, np.nan]])
