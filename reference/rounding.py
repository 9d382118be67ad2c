"""`Arithmetic`, what a framework's floating-point arithmetic promises, and `Rounded`, which turns it into error bounds.

A `Rounded` array is an enclosure: a ``value`` and an ``error`` such that every result that a correct framework can
compute for the same expression lies within ``value ± error``. It runs through the formulas of `reference.formulas`
like any other array, and each operation adds

* the errors of its operands, propagated exactly (no linearisation),
* the framework's rounding of that operation, for every order of summation and of multiplication, with or without
  fused multiply-add,
* the framework's underflow, gradual or flushed to zero, inputs included,
* an infinite error where a correct framework may overflow, or an operand is not finite: nothing bounds what follows,
* the rounding of this computation itself: in float64 for the shorter formats, in the platform's extended precision
  for float64 (where there is none, as on ARM macOS, in float64: a bound then holds two roundings instead of one).

Notation: a binary format with precision p has unit roundoff u = 2⁻ᵖ and least normal number λ = 2^emin; rounding to
nearest changes a number r by at most v|r|, v = u / (1 + u), plus half the least subnormal s = 2^(emin − p + 1) where
it underflows. The rules and their proofs are in BOUNDS.md beside this file; each method names its rule. There is no
constant to tune: the only declared numbers are the ULP constants of a framework's sigmoid.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from reference.formulas import sigmoid
from reference.network import Array

FORMATS: dict[str, tuple[int, int]] = {
    "float64": (53, -1022),
    "float32": (24, -126),
    "bfloat16": (8, -126),
    "float16": (11, -14),
}
"""Precision p and least exponent emin of each format."""

Floats: TypeAlias = Any
"""A floating-point array, or a Python float that stands for a constant one."""


class Way(NamedTuple):
    """How a sum may be computed.

    Attributes
    ----------
    unit, largest : unit roundoff and largest number of the format that accumulates
    storing : unit roundoff of one rounding to storage, 0 if there is none
    """

    unit: float
    largest: float
    storing: float


_U64 = 2.0**-53
_NORMAL64 = 2.0**-1022
_SLACK = 16 * 2.0**-1074
"""What underflow can take from a value and its bound while they are computed here: at most 16 operations of each."""

_EXPONENT = 0x7FF0000000000000
"""The bits of a float64 that hold its exponent: alone, they are the power of two at or below its absolute value."""

_ROOM = 2.0**-32
"""By this much reaches are kept smaller, and losses made larger again, lest the largest number times 1 + u overflow."""

_OWN_SIGMOID = 4.0
"""Relative error of `reference.formulas.sigmoid`, in u, in the formats this module computes in: their exp stays below
1 ULP, that is 2u (NumPy for float64, the C library for extended precision); 1 + e and the division add one u each."""


@dataclass(frozen=True)
class Arithmetic:
    """The arithmetic that an adapter declares for one mode and precision.

    Attributes
    ----------
    dtype : storage format, a key of `FORMATS`
    sigmoid_ulp : largest error of the framework's sigmoid, in ULP of the exact value, where that is at least λ
    flushes : results and operands below λ may be replaced by zero (FTZ and DAZ)
    product_unit : unit roundoff to which matrix products round their inputs (TF32: 2⁻¹⁰ if the low bits are
        dropped); 0 where they read them whole
    accumulate : format in which matrix products accumulate before one rounding to ``dtype``; None: ``dtype`` itself
    truncates : that one rounding cuts low bits off
    sums : format in which all other sums accumulate; None: some in ``dtype``, some as matrix products do
    excess : compiled code may go on with a result before that is rounded to ``dtype`` ("excess precision")
    complement : 1 − σ(a) is evaluated as σ(−a), in the derivative of the sigmoid
    recomputes : the backward pass does not read a layer's activation, but evaluates it again from the layer's input
    forward : derivatives are carried forward, from the inputs to the loss: none is read by another
    learning_rate : format that holds η; None: ``dtype``

    Raises
    ------
    ValueError
        For an unknown format, or a constant that is negative or not finite.
    """

    dtype: str
    sigmoid_ulp: float
    flushes: bool = False
    product_unit: float = 0.0
    accumulate: str | None = None
    truncates: bool = False
    sums: str | None = None
    excess: bool = False
    complement: bool = False
    recomputes: bool = False
    forward: bool = False
    learning_rate: str | None = None

    def __post_init__(self) -> None:
        for name in filter(None, (self.dtype, self.accumulate, self.sums, self.learning_rate)):
            if name not in FORMATS:
                raise ValueError(f"arithmetic: found format {name!r}, expected one of {', '.join(FORMATS)}")
        for name in ("sigmoid_ulp", "product_unit"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise ValueError(f"arithmetic: found {name} = {value!r}, expected a finite number of at least 0")

    @cached_property
    def unit(self) -> float:
        """Unit roundoff u = 2⁻ᵖ."""
        return _unit(self.dtype)

    @cached_property
    def least_normal(self) -> float:
        """λ = 2^emin."""
        return float(2.0 ** FORMATS[self.dtype][1])

    @cached_property
    def least_subnormal(self) -> float:
        """s = 2^(emin − p + 1)."""
        precision, emin = FORMATS[self.dtype]
        return float(np.ldexp(1.0, emin - precision + 1))

    @cached_property
    def largest(self) -> float:
        """The largest finite number, (1 − 2⁻ᵖ) 2^(2 − emin)."""
        return _largest(self.dtype)

    @cached_property
    def rounded_to_largest(self) -> float:
        """A number that is rounded to `largest`, as every smaller one is to a finite number."""
        return self.largest * (1 + self.unit / 2)

    @cached_property
    def working(self) -> type[np.floating[Any]]:
        """The format in which bounds for this one are computed: wider, where there is a wider one."""
        return np.longdouble if self.dtype == "float64" else np.float64

    @cached_property
    def product_ways(self) -> tuple[Way, ...]:
        """How matrix products add up."""
        storing = 2 * self.unit if self.truncates else self.unit
        return (_way(self.accumulate or self.dtype, self.dtype, storing),)

    @cached_property
    def sum_ways(self) -> tuple[Way, ...]:
        """How sums add up that a formula writes out: as matrix products, which some are in a framework, or by themselves."""
        formats = (self.sums,) if self.sums else (self.dtype, self.accumulate or self.dtype)
        alone = (_way(accumulate, self.dtype, self.unit) for accumulate in formats)
        return tuple(dict.fromkeys((*self.product_ways, *alone)))

    @cached_property
    def own_unit(self) -> float:
        """Unit roundoff of `working`."""
        return float(np.finfo(self.working).eps) / 2

    def ulp(self, value: Floats) -> Floats:
        """One unit in the last place at ``value``: 2^(max(⌊log₂|value|⌋, emin) − p + 1); s at zero. Beyond the largest
        number, as of that.
        """
        power = (np.asarray(value, np.float64).view(np.int64) & _EXPONENT).view(np.float64)  # 0 for a subnormal float64
        return np.clip(power, self.least_normal, 2 / self.least_normal) * (2 * self.unit)

    def exact(self, array: Array, product_inputs: int = 0) -> Rounded:
        """An array that the framework was given, as operand: no error, except that a flushing one may read 0 for it.

        No bound holds for what is computed from a number that is not finite: its error is infinite.

        ``product_inputs``: how often matrix products round this operand, or one that it is multiplied with, where the
        formula is written without ``@`` (see `reference.formulas.Operand`).
        """
        value = np.asarray(array, dtype=self.working)
        error: Floats = 0.0
        if self.flushes:
            size = _size(value)
            error = np.where(size < self.least_normal, size, 0.0)
            if not error.any():
                error = 0.0
        finite = np.isfinite(value)
        if not finite.all():
            error = np.where(finite, error, np.inf)
        return _product_input(Rounded(self, value, error), product_inputs)

    def computed(self, array: Array, product_inputs: int) -> Rounded:
        """An array that the framework computed, as operand: as it stored it or, in excess precision, before that."""
        stored = self.exact(array)
        if self.excess:
            error = _up(stored.error + self.unit * stored.size + _lost_by_underflow(self))
            stored = Rounded(self, stored.value, error)
        return _product_input(stored, product_inputs)

    def held(self, eta: float) -> float:
        """η, as the framework holds it."""
        return float(np.asarray(eta, self.learning_rate)) if self.learning_rate else float(eta)


@dataclass(frozen=True, eq=False)
class Rounded(NDArrayOperatorsMixin):
    """``value ± error``: where every result of a correct framework lies.

    Supports ``+ - * @``, division by a power of two, ``.mT``, ``.sum``, ``.repeat``, indexing and the sigmoid.
    Products and sums stay *open* (`Product`, `Sum`) until something other than a further factor or term uses them,
    because frameworks multiply and add in different orders, and what is lost depends on the order.
    """

    arithmetic: Arithmetic
    value: Floats
    inherited: Floats  # how far the framework's value may be from `value` before open roundings are counted

    @cached_property
    def error(self) -> Floats:
        """Bound on the distance between ``value`` and the framework's result, every rounding counted."""
        return self.inherited

    @property
    def certain(self) -> bool:
        """True for an operand without any error."""
        return _is_zero(self.error)

    @cached_property
    def size(self) -> Floats:
        """|value| in float64."""
        return _size(self.value)

    @cached_property
    def magnitude(self) -> Floats:
        """The largest absolute value that the framework's result can have."""
        return self.size if self.certain else self.size + self.error

    @cached_property
    def as_product(self) -> Product:
        """This number as a product of one factor."""
        reach, vanishes = np.maximum(1.0, self.magnitude) * (1 - _ROOM), self.magnitude == 0
        return Product(self.arithmetic, self.value, self.error, roundings=0, reach=reach, vanishes=vanishes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of ``value``."""
        return np.shape(self.value)

    @property
    def dtype(self) -> np.dtype[Any]:
        """To NumPy, these are objects."""
        return np.dtype(object)

    def closed(self) -> Rounded:
        """The same enclosure as a number that the framework has stored."""
        return Rounded(self.arithmetic, self.value, self.error)

    def observed(self, value: Array) -> Rounded:
        """This expression, as the framework evaluated it another time and got ``value``.

        Both evaluations lie within ``error`` of this one's value, hence within twice that of one another.
        """
        return replace(
            self, value=np.asarray(value, self.arithmetic.working), inherited=_up(self.inherited + self.error)
        )

    def about(self, same: Rounded) -> Rounded:
        """This enclosure about the value of ``same``, another expression of the same number.

        Both values lie within their own computation's rounding of the exact one. That is at most its share of each
        error, for wherever the framework rounds by u, this computation rounds by its unit (BOUNDS.md, 8).
        """
        own = self.arithmetic.own_unit / self.arithmetic.unit
        return Rounded(self.arithmetic, same.value, _up(self.error + own * same.error))

    # Operators and array methods

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        rule = _RULES.get(ufunc)
        if rule is None or method != "__call__" or kwargs:
            return NotImplemented
        return rule(*(x if isinstance(x, Rounded) else self.arithmetic.exact(x) for x in inputs))

    def __getitem__(self, index: Any) -> Rounded:
        return self._each(lambda array: array[index])

    @property
    def mT(self) -> Rounded:
        """The last two axes exchanged."""
        return self._each(lambda array: array.swapaxes(-1, -2))

    def repeat(self, repeats: int, axis: int) -> Rounded:
        """As `numpy.repeat`."""
        return self._each(lambda array: array.repeat(repeats, axis=axis))

    def _each(self, function: Callable[[Array], Array]) -> Rounded:
        def moved(value: Any) -> Any:
            if isinstance(value, Rounded):
                return value._each(function)
            return function(of_shape(value, self.shape)) if isinstance(value, np.ndarray) else value

        return type(self)(**{field.name: moved(getattr(self, field.name)) for field in fields(self)})

    def sum(self, axis: int | tuple[int, ...]) -> Rounded:
        """Sum of stored terms in any order (BOUNDS.md, 1).

        A term that is a product may be fused into the sum; its own rounding, counted here, covers that.
        """
        magnitude = of_shape(self.magnitude, self.shape)
        count = int(np.prod([self.shape[i] for i in np.atleast_1d(axis)]))
        inherited = 0.0 if self.certain else _up(of_shape(self.error, self.shape).sum(axis=axis), count)
        return Sum(
            arithmetic=self.arithmetic,
            value=np.asarray(self.value.sum(axis=axis)),
            inherited=inherited,
            terms=np.asarray(np.count_nonzero(magnitude, axis=axis).astype(float)),
            total=np.asarray(magnitude.sum(axis=axis)),
            products=0.0,
            additions=count,
            ways=self.arithmetic.sum_ways,
        )

    def sigmoid(self) -> Rounded:
        """σ(a): how far σ moves within a ± Δ, then k ULP of the result; below λ a framework may lose it altogether.

        |σ(a + d) − σ(a)| ≤ σ(a) σ(−a) (e^|d| − 1), because |(ln σ′)′| ≤ 1; and 1 / (1 + e⁻ᵃ) is zero once e⁻ᵃ
        overflows, where σ is subnormal. BOUNDS.md, 4.
        """
        return self._activation().paired_with(self)

    def paired_with(self, a: Rounded) -> Rounded:
        """This number as σ(a): it brings σ(−a), if the arithmetic's 1 − σ(a) is that."""
        if not self.arithmetic.complement:
            return self
        negative = Rounded(a.arithmetic, -a.value, a.error)
        return Activation(self.arithmetic, self.value, self.error, negative._activation())

    def _activation(self) -> Rounded:
        arithmetic, value = self.arithmetic, sigmoid(self.value)
        spread: Floats = 0.0
        if not self.certain:
            slope = _size(value * sigmoid(-self.value))
            with np.errstate(over="ignore", invalid="ignore"):  # whatever the error, σ moves by at most 1
                # where the slope itself underflows: σ(a) σ(−a) < e^(−|a|), with the exponent rounded up
                exponent = _up(self.error) - self.size * (1 - 2 * _U64) + 2.0**-40
                moved = np.where(slope < _NORMAL64, np.exp(exponent) + _SLACK, slope * np.expm1(self.error))
            spread = _up(np.where(np.isfinite(self.error), np.minimum(moved, 1.0), np.inf))
        size = _size(value)
        own = _up(_OWN_SIGMOID * arithmetic.own_unit * size) + _SLACK
        largest = _up(size + spread + own)
        error = spread + own + arithmetic.sigmoid_ulp * arithmetic.ulp(largest)
        lost = size - spread - own < arithmetic.least_normal
        return Rounded(arithmetic, value, _up(np.where(lost, np.maximum(error, largest), error)))


@dataclass(frozen=True, eq=False)
class Activation(Rounded):
    """σ(a) with its complement σ(−a), of which the framework's arithmetic makes use."""

    complement: Rounded


@dataclass(frozen=True, eq=False)
class Product(Rounded):
    """An open product: its factors may be multiplied in any order.

    After r roundings the relative error is at most (1 + v)ʳ − 1. Each may also underflow, by η (s/2, or λ where the
    arithmetic flushes), and the factors still to come enlarge that by at most R = Π max(1, |factor|). No partial product
    overflows where R (1 + v)ʳ is a number of the format.
    """

    roundings: int  # r, the number of multiplications
    reach: Floats  # R, each of its factors (1 − _ROOM)
    vanishes: Floats  # whether a factor is exactly zero, for then nothing is lost

    @property
    def as_product(self) -> Product:
        """Itself: its factors stay free to be multiplied in any order."""
        return self

    @cached_property
    def error(self) -> Floats:
        """Propagated errors, r roundings, r underflows; the same for this computation. Infinite if one may overflow."""
        unit, own, r = self.arithmetic.unit, self.arithmetic.own_unit, self.roundings
        if r == 0:
            return self.inherited
        relative = float(np.expm1(r * np.log1p(unit / (1 + unit))) + np.expm1(r * np.log1p(own)))
        underflow = (1 + relative) * r * (_lost_by_underflow(self.arithmetic) + _SLACK)
        reach = (1 + 2 * (r + 1) * _ROOM) * self.reach
        lost = np.where(self.vanishes, 0.0, underflow * reach)
        error = _up(self.inherited + relative * (self.size + self.inherited) + lost, 2 * r)
        return _unless((1 + relative) * reach > self.arithmetic.largest, error)


@dataclass(frozen=True, eq=False)
class Sum(Rounded):
    """An open sum: further terms may join it, and all are added in any order, fused or not.

    Of n terms that are not zero, products or stored numbers, with S = Σ|term|, the error is at most n u S, or (n − 1) u S
    where no product is rounded; and at most u|s| + (1 + u) u (P + (n − 2)(M + n u S)), where s is the sum, P = Σ|product|
    and M = (S + |s|) / 2 (BOUNDS.md, 1; valid for n u ≤ 1: beyond, the bound is infinite). A sum in a wider format is
    rounded once more, to be stored. No partial sum exceeds (1 + (n − 1) u) S: beyond the largest number of its format, it
    may overflow.
    """

    terms: Floats  # n, per entry
    total: Floats  # S
    products: Floats  # P: of those that are rounded
    additions: int  # that made `total`
    ways: tuple[Way, ...]

    @cached_property
    def roundings(self) -> Floats:
        """How often n terms are rounded: n − 1 additions, and their products. −1 for a sum of nothing, which has no bound
        below 0 all the same.
        """
        return self.terms - 1.0 if _is_zero(self.products) else self.terms

    @cached_property
    def error(self) -> Floats:
        """Propagated errors, the roundings, n underflows, and the rounding to storage: the worst of all ways.

        Infinite if one of them may overflow.
        """
        arithmetic, n = self.arithmetic, self.roundings
        further = np.maximum(n - 1.0, 0.0)
        lost = _lost_by_underflow(arithmetic)
        worst: Floats = 0.0
        for unit, largest, storing in self.ways:
            error = self.inherited + self._rounded(unit, n * (lost + _SLACK))
            overflows = self.total > largest * (1 - further * (unit + 4 * self.additions * _U64))
            if storing:  # a single number is stored already; storing may cut twice what rounding changes
                overflows |= self.size + error > arithmetic.rounded_to_largest
                error = error + (storing * (self.size + error) + storing / arithmetic.unit * lost) * (n > 0)
            worst = np.maximum(worst, _unless(overflows | (n * unit > 1), error))
        return _up(worst, self.additions)

    def _rounded(self, unit: float, lost: Floats) -> Floats:
        """What roundings, by ``unit``, and underflows, by ``lost`` in all, change: the smaller one of both bounds."""
        n, own = self.roundings, self.arithmetic.own_unit
        u, again = unit + own, n * unit * lost  # what was lost takes part in what follows
        off = n * u * self.total
        any_signs = off + lost + again
        if np.all(self.terms < 2):
            return any_signs
        value = self.size + self.inherited + n * own * self.total
        inner, partial = np.maximum(self.terms - 2.0, 0.0), self.total / 2 + value / 2 + off
        sharper = u * value + (1 + u) * u * (self.products + inner * partial) + lost + 2 * again
        return np.fmin(any_signs, sharper)  # the second is no number where 0 · ∞ is in it, of a single largest float64

    def plus(self, term: Rounded) -> Sum:
        """The sum with one more stored term, such as a bias, which may join it before it is stored, or after: for 0 that is
        the same.
        """
        arithmetic, storing = self.arithmetic, max(way.storing for way in self.ways)
        early: Floats = 0.0
        if storing:
            early = storing * self.magnitude + storing / arithmetic.unit * _lost_by_underflow(arithmetic)
            early = _unless(self.magnitude > arithmetic.rounded_to_largest, early)
            early = np.where(term.magnitude > 0, early, 0.0)
        return Sum(
            arithmetic=arithmetic,
            value=self.value + term.value,
            inherited=_up(self.inherited + term.error + early),
            terms=self.terms + (term.magnitude > 0),
            total=self.total + term.magnitude,
            products=self.products,
            additions=self.additions + 1,
            ways=self.ways,
        )


def _add(a: Rounded, b: Rounded) -> Rounded:
    if isinstance(a, Sum):
        return a.plus(b.closed())
    if isinstance(b, Sum):
        return b.plus(a.closed())
    return _added(a.value + b.value, a, b)


def _subtract(a: Rounded, b: Rounded) -> Rounded:
    if isinstance(b, Activation) and a.certain and a.shape == () and a.value == 1:
        return b.complement
    return _added(a.value - b.value, a, b)


def _added(value: Floats, a: Rounded, b: Rounded) -> Rounded:
    """One addition of stored numbers: v|result|, infinite if it may overflow. Where it underflows it is exact, unless the
    result is flushed.

    A product that is fused into it rounds once less, which the product's own error covers.
    """
    arithmetic, size = a.arithmetic, _size(value)
    v = arithmetic.unit / (1 + arithmetic.unit)
    inherited = 0.0 if a.certain and b.certain else a.error + b.error
    error = _up(inherited + (v + arithmetic.own_unit) * (size + inherited))
    if arithmetic.flushes:
        error = np.where(size - error < arithmetic.least_normal, np.maximum(error, size), error)
    # Autodiff makes y − t from 2(y − t), the derivative of a square, which may overflow before L's ½ takes the 2 back.
    return Rounded(arithmetic, value, _unless(2 * (size + inherited) > arithmetic.largest, error))


def _multiply(a: Rounded, b: Rounded) -> Rounded:
    for constant, other in ((a, b), (b, a)):
        if _is_power_of_two(constant):
            return _scaled(other, float(constant.value))
        if _selects(constant):
            return _selected(other, constant.value)
    a, b = a.as_product, b.as_product
    inherited: Floats = 0.0
    if not (_is_zero(a.inherited) and _is_zero(b.inherited)):
        inherited = _up(a.inherited * (b.size + b.inherited) + a.size * b.inherited)
    return Product(
        arithmetic=a.arithmetic,
        value=a.value * b.value,
        inherited=inherited,
        roundings=a.roundings + b.roundings + 1,
        reach=a.reach * b.reach,
        vanishes=a.vanishes | b.vanishes,
    )


def _divide(a: Rounded, b: Rounded) -> Rounded:
    if not _is_power_of_two(b):
        raise TypeError("Rounded: found a division, expected none but by a power of two")
    return _scaled(a, 1 / float(b.value))


def _scaled(a: Rounded, power_of_two: float) -> Rounded:
    """Multiplication by a power of two: exact, but for underflow, of each term where a sum is scaled before it is added."""
    scaled = a.terms if isinstance(a, Sum) else 1
    underflow = scaled * (_lost_by_underflow(a.arithmetic) + _SLACK) * (a.magnitude > 0)
    value, error = a.value * power_of_two, _up(a.error * abs(power_of_two) + underflow)
    return Rounded(a.arithmetic, value, _unless(_size(value) + error > a.arithmetic.largest, error))


def _matmul(a: Rounded, b: Rounded) -> Rounded:
    """Σ aᵢ bᵢ in any order, in the format that accumulates, with inputs rounded first where the arithmetic says so.

    BOUNDS.md, 1 and 2. Terms with a factor that is exactly zero do not count: adding zero is exact; and where all of one
    side are 0 or 1, the products are exact too.
    """
    arithmetic, n = a.arithmetic, a.shape[-1]
    exact_products = _selects(a) or _selects(b)
    a, b = _product_input(a), _product_input(b)
    inherited: Floats = 0.0
    if not (a.certain and b.certain):
        error_a, error_b = (of_shape(f.error, f.shape) for f in (a, b))
        inherited = _up(error_a @ b.magnitude + a.size @ error_b, n)
    dense = bool(a.magnitude.all() and b.magnitude.all())
    terms = np.asarray(float(n)) if dense else (a.magnitude > 0).astype(float) @ (b.magnitude > 0).astype(float)
    total = a.magnitude @ b.magnitude
    return Sum(
        arithmetic=arithmetic,
        value=a.value @ b.value,
        inherited=inherited,
        terms=terms,
        total=total,
        products=0.0 if exact_products else total,
        additions=n,
        ways=arithmetic.product_ways,
    )


def _product_input(a: Rounded, roundings: int = 1) -> Rounded:
    """The number as matrix products read it, rounded to their input format; each of several roundings is relative."""
    if not (a.arithmetic.product_unit and roundings):
        return a
    size = np.maximum(a.magnitude, a.arithmetic.least_normal) * (a.magnitude > 0)
    relative = (1 + a.arithmetic.product_unit) ** roundings - 1
    error = _unless((1 + relative) * size > a.arithmetic.largest, _up(a.error + relative * size))
    return Rounded(a.arithmetic, a.value, error)


_RULES: dict[np.ufunc, Callable[..., Rounded]] = {
    np.add: _add,
    np.subtract: _subtract,
    np.multiply: _multiply,
    np.true_divide: _divide,
    np.matmul: _matmul,
}


def _is_power_of_two(number: Rounded) -> bool:
    return number.shape == () and number.certain and abs(float(np.frexp(number.value)[0])) == 0.5


def _selects(number: Rounded) -> bool:
    """Whether the entries of an array are all 0 or 1, and no open product, whose factors may be multiplied first."""
    value = number.value
    first = np.ndim(value) > 0 and np.size(value) > 0 and value.flat[0] in (0, 1)
    return first and not isinstance(number, Product) and number.certain and bool(np.all((value == 0) | (value == 1)))


def _selected(a: Rounded, which: Array) -> Rounded:
    """Multiplication by an array of 0 and 1: exact, in any order. What is not finite stays so: 0 · ∞ is not 0."""
    a = a.as_product
    inherited = a.inherited if _is_zero(a.inherited) else a.inherited * which
    return replace(a, value=a.value * which, inherited=inherited, vanishes=a.vanishes | np.logical_not(which))


def _size(value: Floats) -> Floats:
    """|value| as float64, in which all bounds are computed; `_up` covers that rounding too."""
    return np.abs(np.asarray(value, np.float64))


def of_shape(array: Floats, shape: tuple[int, ...]) -> Array:
    """As `numpy.broadcast_to`, without its cost where there is nothing to do."""
    return array if np.shape(array) == shape else np.broadcast_to(array, shape)


def _is_zero(error: Floats) -> bool:
    return isinstance(error, float) and error == 0.0


def _unless(overflows: Any, error: Floats) -> Floats:
    """``error``, infinite where ``overflows``."""
    return np.where(overflows, np.inf, error) if np.any(overflows) else error


def _largest(dtype: str) -> float:
    precision, emin = FORMATS[dtype]
    return float(np.ldexp(1 - 2.0**-precision, 2 - emin))


def _unit(dtype: str) -> float:
    return float(2.0 ** -FORMATS[dtype][0])


def _way(accumulate: str, dtype: str, storing: float) -> Way:
    return Way(_unit(accumulate), _largest(accumulate), 0.0 if accumulate == dtype else storing)


def _lost_by_underflow(arithmetic: Arithmetic) -> float:
    """η: half the least subnormal (for float64 the whole: its half is no float64), or λ if results are flushed.

    A product whose result is an input of a matrix product also loses what rounding to that format takes from it.
    """
    if arithmetic.flushes:
        return arithmetic.least_normal
    return max(arithmetic.least_subnormal / 2, 2.0**-1074) + arithmetic.product_unit * arithmetic.least_normal


def _up(bound: Floats, operations: int = 0) -> Floats:
    """``bound`` made larger than its exact value.

    It was computed from terms that are not negative, by at most 16 + ``operations`` float64 operations in a row,
    each of which lowers it by a relative u at most.
    """
    return bound * (1 + 2 * (16 + operations) * _U64)
