"""The two checks: a problem and what a framework computed for it go in, tallies come out.

*Step by step*, every formula of the ledger is evaluated in `Rounded` numbers on the framework's own operands; its
result must lie within the rounding error of that one formula. *End to end*, the gradients of an unmodified call must
lie within the error that `Rounded` carries through the whole network.

A third question is asked where a framework has a Jacobian call of its own: the formulas of single steps, every output
by every input, zeros included.

Each array is judged in one order: present, shape, dtype, finite, value. A NaN never passes, and an array that is
missing is not covered, which is not the same as agreeing. Nor is an entry that cannot be judged, by the one rule for
what is not finite (BOUNDS.md, 11): where a formula reads a NaN, a NaN must come out; where a network was given an
infinity or a NaN, or correct code may overflow, no entry is judged otherwise, and all these are counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, replace
from functools import cached_property, reduce
from itertools import islice, product
from types import MappingProxyType
from typing import Any

import numpy as np

from compare.tally import Case, Failure, Number, Tally
from reference.backprop import backprop, forward_mode
from reference.backprop import gradients as gradients_of
from reference.exact import Exact
from reference.formulas import LEDGER, Formula, Operand, Statement, linear, output_error, sigmoid
from reference.network import (
    Array,
    Gradients,
    Jacobians,
    Problem,
    Shape,
    Trace,
    jacobian_shapes,
    quantity_shapes,
)
from reference.rounding import Arithmetic, Rounded, of_shape

Tallies = dict[tuple[str, int], Tally]
"""By formula number and layer."""

FORMULA_OF_GRADIENT = {"loss": "5", "dL_dw": "21", "dL_db": "b1"}
"""The formula that states each quantity of an unmodified call, for a network of any depth."""


_DERIVATIVES_OF_LOSS = ("dL_dh", "dL_da", "dL_dw", "dL_db")
_INNER_DERIVATIVES = ("dL_dh", "dL_da")
_NO_REASONS: Mapping[str, str] = MappingProxyType({})

OPERANDS = 12
"""Of the worst entry that are kept: its sum may have a thousand."""


def step(problem: Problem, trace: Trace, arithmetic: Arithmetic, reasons: Mapping[str, str] = _NO_REASONS) -> Tallies:
    """Every formula on the framework's own operands; ``reasons``: why the adapter returns no such quantity."""
    arrays = _Arrays(problem, trace, quantity_shapes(problem), arithmetic, reasons)
    return _judge_ledger(arrays, lambda formula: formula.statements)


def jacobians(problem: Problem, found: Jacobians, arithmetic: Arithmetic) -> Tallies:
    """The formulas of single steps, entry by entry, on the framework's own activations."""
    arrays = _Arrays(problem, found, jacobian_shapes(problem), arithmetic)
    return _judge_ledger(arrays, lambda formula: formula.jacobians)


def end_to_end(
    problem: Problem,
    gradients: Gradients,
    arithmetic: Arithmetic,
    truth: Mapping[str, tuple[Exact, ...]] | None,
    reasons: Mapping[str, str] = _NO_REASONS,
) -> Tallies:
    """The unmodified call's gradients against the whole network; ``truth``, if known, only measures."""
    given = [array for _, array in problem.named()]
    finite = _finite(given)
    with np.errstate(all="ignore"):
        numbers = problem.map(arithmetic.exact)
        if arithmetic.forward:
            trace = backprop(numbers)
            assert trace.h is not None  # `backprop` leaves nothing out
            assert trace.loss is not None
            finite &= np.isfinite(trace.loss.error)  # a tangent of 0 times an L that overflows is a NaN
            carried = forward_mode(numbers, trace.h)
            expected = Gradients(trace.loss, carried.dL_dw, carried.dL_db)
        else:
            expected = gradients_of(numbers)
    marked = gradients_of(problem.map(_marked)) if _any_nan(given) else None
    shapes = quantity_shapes(problem)
    tallies: Tallies = {}
    for field in fields(Gradients):
        name, found = field.name, getattr(gradients, field.name)
        bounds = (expected.loss,) if name == "loss" else getattr(expected, name)
        marks = getattr(marked, name, None)
        if name == "loss":
            found, marks = ((array,) if array is not None else None for array in (found, marks))
        for i, (bound, shape) in enumerate(zip(bounds, shapes[name], strict=True)):
            layer = problem.network.depth - 1 if name == "loss" else i
            label = name if name == "loss" or found is None else f"{name}[{i}]"
            if found is None or i >= len(found):
                tally = Tally(not_covered=reasons.get(name, f"the adapter returns no {label}"))
            else:
                reads_nan = np.asarray(False) if marks is None else np.isnan(marks[i])
                tally = _defect(label, found[i], shape, problem) or _judge(
                    label,
                    found[i],
                    bound,
                    problem,
                    "",
                    lambda *_: iter(()),
                    finite,
                    reads_nan,
                    truth[name][i] if truth else None,
                )
            tallies[FORMULA_OF_GRADIENT[name], layer] = tally
    return tallies


def _judge_ledger(arrays: _Arrays, statements: Callable[[Formula], tuple[Statement, ...]]) -> Tallies:
    tallies: Tallies = {}
    for formula in LEDGER:
        for statement in statements(formula):
            for layer in statement.layers_of(arrays.problem.network.widths):
                key = (formula.number, layer)
                tallies[key] = tallies.get(key, Tally()) + _judge_statement(statement, layer, arrays)
    return tallies


class _Arrays:
    """What one problem and a framework's answer hold, by the ledger's names, as given and as `Rounded` operands."""

    def __init__(
        self,
        problem: Problem,
        answer: Trace | Jacobians,
        shapes: Mapping[str, tuple[Shape, ...]],
        arithmetic: Arithmetic,
        reasons: Mapping[str, str] = _NO_REASONS,
    ) -> None:
        self.problem, self.answer, self.shapes, self.arithmetic = problem, answer, shapes, arithmetic
        self.reasons = reasons
        self._lifted: dict[tuple[str, int, bool, int], Rounded] = {}
        self._defects: dict[tuple[str, int], Tally | None] = {}

    def find(self, name: str, layer: int) -> tuple[str, Array | None]:
        """An array and what to call it; None if the trace does not have it."""
        if name == "eta":
            return "η", self.problem.eta
        if name == "t":
            return "t", self.problem.t
        if name == "h" and layer == -1:
            return "x", self.problem.x
        if name in ("w", "b"):
            return f"{name}[{layer}]", getattr(self.problem.network, name)[layer]
        found = getattr(self.answer, name, None)  # Jacobians have no a
        if name == "loss":
            return name, found
        if found is None:
            return name, None
        return f"{name}[{layer}]", found[layer] if layer < len(found) else None

    def defect(self, name: str, layer: int) -> Tally | None:
        """A tally if the trace's array is missing, or its shape or dtype is wrong."""
        key = (name, layer)
        if key not in self._defects:
            label, array = self.find(name, layer)
            if array is None:
                self._defects[key] = Tally(not_covered=self.reasons.get(name, f"the adapter returns no {label}"))
            else:
                shapes = self.shapes[name]
                self._defects[key] = _defect(label, array, shapes[0 if name == "loss" else layer], self.problem)
        return self._defects[key]

    def given(self, name: str, layer: int) -> bool:
        """Whether an array is the problem's: all others are the framework's."""
        return name in ("eta", "t", "w", "b") or (name == "h" and layer == -1)

    def unusable(self, operand: Operand, layer: int) -> str | None:
        """Why an operand cannot be read, or None."""
        if operand.by_row and self.problem.batch > 1:
            below = self.unusable(Operand("h", "bi"), layer - 1)
            if below is not None:
                return below
        defect = None if self.given(operand.name, layer) else self.defect(operand.name, layer)
        if defect is None:
            return None
        label, _ = self.find(operand.name, layer)
        return defect.not_covered or f"{label} cannot be read: {defect.first_failure and defect.first_failure.message}"

    def read_for(self, statement: Statement, layer: int) -> Iterator[tuple[Operand, int]]:
        """Every array that the bound of a statement is computed from, with its layer."""
        read = [(operand, layer + operand.layer) for operand in statement.operands]
        read += [(operand.evaluated_again[1], at) for operand, at in read if operand.evaluated_again is not None]
        read += [(Operand("h", "bi"), at - 1) for operand, at in read if self.recomputed(statement, operand)]
        if self.carried_forward(statement):
            read += [(Operand("h", "bj"), at) for at in range(self.problem.network.depth)]
        yield from read
        if self.arithmetic.complement:
            yield from ((Operand("a", "bj"), at) for operand, at in read if operand.name == "h" and at >= 0)

    def carried_forward(self, statement: Statement) -> bool:
        """Whether forward mode computes this quantity without the derivatives that the formula makes it from."""
        reads = any(operand.name in _INNER_DERIVATIVES for operand in statement.operands)
        return self.arithmetic.forward and (reads or statement.quantity in _DERIVATIVES_OF_LOSS)

    def reads_nan(self, statement: Statement, layer: int) -> Array:
        """Where the formula reads a NaN: evaluated on 1 in place of every other number, it is one."""
        operands = []
        for operand in statement.operands:
            array = self.shaped(operand, layer + operand.layer)
            read = not (self.arithmetic.forward and operand.name in _INNER_DERIVATIVES)
            operands.append(array if read else np.ones_like(array))
        return np.isnan(statement.evaluate(*map(_marked, operands))) if _any_nan(operands) else np.asarray(False)

    def finite_for(self, statement: Statement) -> Array:
        """The networks in which entries can be judged: all numbers given are finite. In forward mode the activations and L
        are too, for a tangent of 0 times anything else is a NaN.
        """
        carried = self.arithmetic.forward and statement.quantity not in ("a", "h", "loss")
        return self._finite_all if carried else self._finite_given

    @cached_property
    def _finite_given(self) -> Array:
        return _finite([array for _, array in self.problem.named()])

    @cached_property
    def _finite_all(self) -> Array:
        layers = range(self.problem.network.depth)
        read = [self.find("h", layer)[1] for layer in layers if self.defect("h", layer) is None]
        if isinstance(self.answer, Trace) and self.defect("loss", 0) is None:
            read.append(np.asarray(self.answer.loss)[..., None, None])
        return self._finite_given & _finite(read) if read else self._finite_given

    def recomputed(self, statement: Statement, operand: Operand) -> bool:
        """Whether the backward pass evaluates this activation again. It keeps the y of formula 10, the network's own
        result, and the inputs of a layer; and the derivative of σ alone has nothing to evaluate again but its own σ(a),
        which only excess precision makes another.
        """
        derivatives = (*_DERIVATIVES_OF_LOSS, *(("dh_da",) if self.arithmetic.excess else ()))
        kept = operand.name != "h" or operand.layer < 0 or statement.evaluate is output_error
        return self.arithmetic.recomputes and statement.quantity in derivatives and not kept

    def raw(self, operand: Operand, layer: int) -> tuple[str, Array, str]:
        """The operand's name, the array as given, and a letter for each of its axes."""
        indices = operand.indices
        name, array = self.find(operand.name, layer)
        if operand.by_row:
            rows = self.problem.batch > 1
            name, array = self.find("h", layer - 1) if rows else (name, array)
            indices = "bi" if rows else "ij"
        assert array is not None  # `unusable` has seen it
        return name, array, indices

    def shaped(self, operand: Operand, layer: int) -> Array:
        """The array as given, with the axis that it may lack: j of a row of inputs, b of the one row's derivative."""
        _, array, indices = self.raw(operand, layer)
        if operand.by_row:
            array = array[..., None] if indices == "bi" else array[..., None, :, :]
        return array

    def lifted(self, statement: Statement, operand: Operand, layer: int) -> Rounded | float:
        """The operand as the formula reads it: known exactly, unless the framework does not read what it returned."""
        if operand.name == "eta":
            return self.arithmetic.held(self.problem.eta)
        if self.arithmetic.forward and operand.name in _INNER_DERIVATIVES:
            carried: Rounded = getattr(self.carried, operand.name)[layer]
            return carried
        number = self._operand(operand, layer)
        if operand.evaluated_again is not None:
            formula, source = operand.evaluated_again
            again: Rounded = formula(self.lifted(statement, source, layer)).observed(self.raw(operand, layer)[1])
            return again
        if self.recomputed(statement, operand):
            network, x = self.problem.network, self._operand(Operand("h", "bi"), layer - 1)
            w, b = (self.arithmetic.exact(parameters[layer]) for parameters in (network.w, network.b))
            number = sigmoid(linear(x, w, b)).observed(self.raw(operand, layer)[1])
        return number

    def _operand(self, operand: Operand, layer: int) -> Rounded:
        key = (operand.name, layer, operand.by_row, operand.product_inputs)
        if key not in self._lifted:
            by_input = operand.by_row and self.problem.batch > 1
            given = self.given(operand.name, layer) or (by_input and layer == 0)
            read = self.arithmetic.exact if given else self.arithmetic.computed
            number = read(self.shaped(operand, layer), operand.product_inputs)
            if self.arithmetic.complement and operand.name == "h" and not given:
                number = number.paired_with(self._operand(Operand("a", "bj"), layer))
            self._lifted[key] = number
        return self._lifted[key]

    @cached_property
    def carried(self) -> Trace:
        """The derivatives of L on the framework's own activations, in forward mode."""
        depth = self.problem.network.depth
        h = tuple(self._operand(Operand("h", "bj"), layer) for layer in range(depth))
        given = replace(self.problem.map(self.arithmetic.exact), eta=self.arithmetic.held(self.problem.eta))
        return forward_mode(given, h)


def _judge_statement(statement: Statement, layer: int, arrays: _Arrays) -> Tally:
    defect = arrays.defect(statement.quantity, layer)
    if defect is not None:
        return defect
    for operand, at in arrays.read_for(statement, layer):
        reason = arrays.unusable(operand, at)
        if reason is not None:
            return Tally(not_covered=reason)
    with np.errstate(all="ignore"):  # what is not finite is judged as such, below
        bound = statement.evaluate(*(arrays.lifted(statement, o, layer + o.layer) for o in statement.operands))
        if arrays.carried_forward(statement):
            carried = _select(getattr(arrays.carried, statement.quantity)[layer], statement.indices)
            bound = carried.about(bound)
        finite, reads_nan = arrays.finite_for(statement), arrays.reads_nan(statement, layer)
    name, found = arrays.find(statement.quantity, layer)

    def operands_of(network: Shape, entry: Shape) -> Iterator[tuple[str, Any]]:
        at = dict(zip(statement.indices, entry, strict=True))
        for operand in statement.operands:
            yield from _entries(*arrays.raw(operand, layer + operand.layer), network, at, arrays.problem)

    assert found is not None  # `defect` has seen it
    got = _select(found, statement.indices)
    return _judge(name, got, bound, arrays.problem, statement.indices, operands_of, finite, reads_nan)


def _defect(name: str, array: Array, shape: Shape, problem: Problem) -> Tally | None:
    """Shape, then dtype: a tally in which every entry failed, or None."""
    kind = array.dtype if isinstance(array, np.ndarray | np.generic) else f"{type(array).__module__} array"
    for stage, found, expected in (("shape", tuple(array.shape), shape), ("dtype", kind, problem.dtype)):
        if found != expected:
            entries = int(np.prod(shape))
            message = f"{name}: found {stage} {found}, expected {expected}"
            failure = Failure(array=name, network=0, entry=(), stage=stage, message=message)
            return Tally(entries, entries, math.inf, math.inf, failure)
    return None


def _judge(
    name: str,
    got: Array,
    bound: Rounded,
    problem: Problem,
    indices: str,
    operands_of: Callable[[Shape, Shape], Iterator[tuple[str, Any]]],
    finite: Array,
    reads_nan: Array,
    truth: Exact | None = None,
) -> Tally:
    """Finite, then value: |got − value| ≤ error in every entry that can be judged.

    ``finite``: the networks of which no number is infinite or NaN; ``reads_nan``: the entries that must be NaN.
    """
    arithmetic = bound.arithmetic
    with np.errstate(all="ignore"):
        number = np.asarray(got, arithmetic.working)
        difference = np.abs(np.asarray(number - bound.value, np.float64))
        bounded = np.isfinite(bound.error) & finite.reshape(finite.shape + (1,) * (number.ndim - finite.ndim))
        judged = np.where(reads_nan, ~np.isnan(got), bounded) if reads_nan.any() else bounded
        judged = of_shape(judged, number.shape)
        failed = judged & (reads_nan | ~(difference <= bound.error))  # neither a NaN nor an infinity is within a bound
        fraction = np.where(difference == 0, 0.0, difference / bound.error)
        distance = difference / arithmetic.ulp(bound.value) if truth is None else _truth_ulp(number, truth, arithmetic)
    entries, failures = (int(np.count_nonzero(which)) for which in (judged, failed))
    unjudged = number.size - entries
    if entries == 0:
        return Tally(unjudged=unjudged, not_covered=f"the rounding error of {name} has no finite bound")

    def case(at: int, most: int | None = None) -> Case:
        index = tuple(int(i) for i in np.unravel_index(at, number.shape))
        axes = len(problem.network.stack)
        network, entry = index[:axes], index[axes:]
        if indices:  # a fixed entry, such as the 1 in formula 18, was selected before the judgement
            entry = tuple(int(letter) if letter.isdigit() else i for letter, i in zip(indices, entry, strict=True))
        operands = operands_of(network, entry)
        found, expected, allowed = (
            _number(of_shape(part, number.shape)[index]) for part in (got, bound.value, bound.error)
        )
        return Case(
            array=name,
            network=int(np.ravel_multi_index(network, problem.network.stack)) if axes else 0,
            entry=entry,
            operands={name: _number(value) for name, value in islice(operands, most)},
            left_out=sum(1 for _ in operands),
            got=found,
            expected=expected,
            allowed=allowed,
        )

    fraction = np.where(judged, fraction, -1.0)
    at = int(np.argmax(fraction))  # a NaN is the largest
    worst = math.inf if np.isnan(fraction.flat[at]) else float(fraction.flat[at])
    ulp = _worst(distance, judged[: len(distance)] if distance.ndim else judged)
    tally = Tally(entries, failures, worst, ulp, unjudged=unjudged, worst=case(at, OPERANDS))
    if failures == 0:
        return tally
    at = int(np.argmax(failed))
    first, swallowed = case(at), np.broadcast_to(reads_nan, number.shape).flat[at]
    assert first.got  # for the types: `case` gives all three
    assert first.expected
    assert first.allowed
    allows = "as an operand is" if swallowed else f"± {float.fromhex(first.allowed.hex):.3g}"
    message = f"{name}{list(first.entry) or ''}: found {first.got.decimal}, expected {first.expected.decimal} {allows}"
    finite_value = math.isfinite(float.fromhex(first.got.hex)) and not swallowed
    failure = Failure(**vars(first), stage="value" if finite_value else "finite", message=message)
    return replace(tally, first_failure=failure)


def _worst(measured: Array, judged: Array) -> float:
    """The largest number among those of the entries judged; infinite where one is NaN."""
    worst = float(np.max(np.where(judged, measured, 0.0)))
    return math.inf if math.isnan(worst) else worst


def _truth_ulp(got: Array, truth: Exact, arithmetic: Arithmetic) -> Array:
    """Errors against the exact values, which may be known for the first networks of a stack only, or not at all: 0."""
    known = got[: len(truth.high)] if np.ndim(truth.high) else got
    return np.where(np.isnan(truth.high), 0.0, truth.error_in_ulp(known, arithmetic))


def _marked(array: Array) -> Array:
    """1 for every number, and NaN for a NaN: what an array holds for the question where NaNs must come out."""
    return np.where(np.isnan(array), np.nan, 1.0)


def _any_nan(arrays: Iterable[Array]) -> bool:
    return any(bool(np.isnan(array).any()) for array in arrays)


def _finite(arrays: Iterable[Array]) -> Array:
    """Of which networks all numbers in these arrays are finite: one entry per network."""
    return reduce(np.logical_and, (np.isfinite(array).all(axis=(-2, -1)) for array in arrays))


def _select(array: Array, indices: str) -> Array:
    """The entries that ``indices`` name, axes kept: all of an axis for a letter, one entry for a digit."""
    picks = (slice(int(letter), int(letter) + 1) if letter.isdigit() else slice(None) for letter in indices)
    return array[(..., *picks)]


def _entries(
    name: str, array: Array, indices: str, network: Shape, at: Mapping[str, int], problem: Problem
) -> Iterator[tuple[str, Any]]:
    """The entries of an operand that one entry of a formula reads, with names: all of an axis whose letter is summed."""
    if not indices:
        yield name, problem.dtype.type(array)
        return
    own = np.asarray(array)[network]
    for index in product(*(_read(letter, size, at) for letter, size in zip(indices, own.shape, strict=True))):
        yield f"{name}{list(index)}", own[index]


def _read(letter: str, size: int, at: Mapping[str, int]) -> Iterable[int]:
    """The places along an axis of this letter and size that one entry reads."""
    if letter.isdigit():
        return (int(letter),)
    return (at[letter],) if letter in at else range(size)


def _number(value: Any) -> Number:
    """A scalar in its own format, in decimal and hexadecimal; extended precision is shown as float64."""
    if isinstance(value, np.longdouble):
        value = np.float64(value)
    return Number(str(value), float(value).hex())
