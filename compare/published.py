"""Known-answer vectors: worked examples from the literature, and people's own networks (``--vectors FILE``).

An example is one JSON file, valid by `vectors/schema.json`; the published ones are in `vectors/`. The number 0.05 of
an article is no float, so each precision rounds it once, and ball arithmetic takes it as it is. Printed numbers are
never what a framework is compared with, because some are wrong; they are judged themselves, by the exact values, and
those known to be wrong are kept, marked, and explained.

A file costs no more than its limits allow: `MOST_BYTES`, `MOST_COMMAS`, `MOST_NUMBERS` and `MOST_WORK`, 32 layers, the
64 characters and 3 digits of exponent of a number, and the range of float64. By them, reading one takes less than
256 MiB and less than 10 s. Nothing in it is executed: it is JSON, read into numbers and texts.
"""

from __future__ import annotations

import json
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from functools import cache
from math import copysign
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import ml_dtypes
import numpy as np
from flint import arb, ctx
from jsonschema import Draft202012Validator, ValidationError

from reference.backprop import backprop
from reference.network import Array, Network, Problem, Trace, quantity_shapes
from reference.rounding import FORMATS

VECTORS = Path(__file__).parent / "vectors"
SCHEMA = VECTORS / "schema.json"

MOST_BYTES = 2**20
"""Largest file that is read."""

MOST_COMMAS = 2**16
"""Most commas in a file: as many items as are worth looking at."""

MOST_NUMBERS = 2**15
"""Most weights, biases, inputs and targets of an example, together."""

MOST_WORK = 2**25
"""Most of weights × rows × units of the widest layer: the size of a Jacobian, by which forward modes differentiate."""

BITS = (256, 1024, 4096)
"""Of the balls that judge expected values: the next, where one is too wide."""


@dataclass(frozen=True)
class Source:
    """Where an example was published, and how its numbers are printed there."""

    name: str
    url: str
    license: str
    printed_digits: str


@dataclass(frozen=True)
class Value:
    """One number of an example.

    Attributes
    ----------
    quantity : a quantity of `Trace`, or ``loss_after``: the loss after one update, by the example's own rule
    layer, index : the entry; None and () for a loss
    printed : the number as published, with the digits it was published with; None: not printed
    recomputed : the value of the example as published, to 25 significant digits
    status : whether the exact value, rounded to the printed digits, is ``printed``
    faulty : for a negative control, the value that a known fault gives, to 25 significant digits
    """

    quantity: str
    layer: int | None
    index: tuple[int, ...]
    printed: Decimal | None
    recomputed: Decimal | None = None
    status: Literal["right", "wrong", "not printed"] = "right"
    note: str = ""
    faulty: Decimal | None = None

    def of(self, trace: Trace) -> Any:
        """This entry of a trace. Not for ``loss_after``, which is the ``loss`` of another trace."""
        quantity = getattr(trace, self.quantity)
        return quantity[()] if self.layer is None else quantity[self.layer][self.index]


@dataclass(frozen=True, eq=False)
class Published:
    """An example: worked in the literature, or one's own, which has no source.

    Attributes
    ----------
    file : where it is
    flags : what to know before using it, each explained in ``notes``
    decimals : the problem as published, in object arrays of `decimal.Decimal`; η too is one
    """

    file: str
    comment: str
    source: Source | None
    flags: tuple[str, ...]
    notes: Mapping[str, str]
    decimals: Problem
    values: tuple[Value, ...]

    @property
    def id(self) -> str:
        """The name of its file."""
        return Path(self.file).stem


@dataclass(frozen=True)
class Wrong:
    """A number of an example that its exact value contradicts: its place, and what stands there."""

    place: str
    found: str
    exact: str


@dataclass(frozen=True)
class Judged:
    """What became of an example's expected values."""

    file: str
    values: int
    wrong: tuple[Wrong, ...]


def load(path: str | Path) -> Published:
    """The example in the file ``path``, within the limits above.

    Raises
    ------
    ValueError
        If the file cannot be read, is not valid or is too much: one sentence with the file, the place in it, found
        and expected.
    """
    try:
        example = _published(str(path), _document(Path(path)))
    except ValueError as error:
        raise ValueError(f"{_name(path)}: {error}") from None
    problem(example, "float64")
    return example


@cache
def all_published() -> tuple[Published, ...]:
    """Every example in `vectors/`, in the order of their names."""
    return tuple(load(path) for path in sorted(VECTORS.glob("*.json")) if path != SCHEMA)


def problem(published: Published, dtype: str) -> Problem:
    """The example in the format ``dtype`` of `reference.rounding.FORMATS`, every decimal rounded to it once.

    Raises
    ------
    ValueError
        For an unknown format, or a number that lies beyond it.
    """
    if dtype not in FORMATS:
        raise ValueError(f"dtype: found {dtype!r}, expected one of {', '.join(FORMATS)}")
    numpy_type = np.dtype(getattr(ml_dtypes, dtype, dtype))
    decimals = published.decimals

    def rounded(numbers: Array) -> Array:
        return np.vectorize(lambda number: _nearest(number, dtype), otypes=[np.float64])(numbers).astype(numpy_type)

    try:
        return replace(decimals, eta=_nearest(decimals.eta, dtype)).map(rounded)
    except OverflowError as error:
        (number,) = error.args
        place = next(place for place, each in _numbers(decimals) if each == number)
        sentence = f"found {_shown(number)}, expected a number within the range of {dtype}"
        raise ValueError(f"{_name(published.file)}: {place}: {sentence}") from None


def exact_problem(published: Published) -> Problem:
    """The example in balls that enclose its decimals, at the precision in force (``flint.ctx.prec``); η too is one."""

    def ball(number: Decimal) -> arb:
        return arb(str(number))

    return replace(published.decimals, eta=ball(published.decimals.eta)).map(np.vectorize(ball, otypes=[object]))


def judge(published: Published) -> Judged:
    """Whether the expected values of an example are what its exact values round to; of a tie, either number is.

    Raises
    ------
    ValueError
        If balls of 4096 bits do not enclose an exact value tightly, as where numbers of 10³⁰⁰ multiply in every layer.
    """
    claims = [
        (f"$.values[{number}].{name}", value, claim)
        for number, value in enumerate(published.values)
        for name in ("printed", "recomputed")
        if (claim := getattr(value, name)) is not None
    ]
    loose = ""
    for bits in BITS if claims else ():
        with ctx.workprec(bits):
            exact = _exact_values(published)
            found = [(place, value, claim, exact(value), _half(claim)) for place, value, claim in claims]
            loose = next((place for place, _, _, ball, half in found if not ball.rad() < half / 2**20), "")
            if not loose:
                return Judged(published.file, len(published.values), tuple(_wrong(found)))
    if loose:
        wanted = f"expected one that balls of {BITS[-1]} bits enclose"
        raise ValueError(f"{_name(published.file)}: {loose}: found an exact value that is not known, {wanted}")
    return Judged(published.file, len(published.values), ())


def _exact_values(published: Published) -> Callable[[Value], arb]:
    """The exact value of each entry, at the precision in force."""
    exact = exact_problem(published)
    trace: Any = backprop(exact)
    b = exact.network.b if "NoBiasUpdate" in published.flags else trace.b_new
    after: Any = backprop(replace(exact, network=Network(trace.w_new, b)))
    return lambda value: after.loss[()] if value.quantity == "loss_after" else value.of(trace)


def _half(number: Decimal) -> arb:
    """Half a unit of the last digit that is given."""
    return arb(10) ** int(number.as_tuple().exponent) / 2


def _wrong(found: list[tuple[str, Value, Decimal, arb, arb]]) -> Iterator[Wrong]:
    for place, value, claim, exact, half in found:
        right = not abs(exact - arb(str(claim))) > half
        digits = exact.mid().str(25, radius=False)
        if place.endswith(".printed") and value.status == "wrong":
            if right:
                yield Wrong(place.replace(".printed", ".status"), "wrong", digits)
        elif not right:
            yield Wrong(place, str(claim), digits)


def _nearest(number: Decimal, dtype: str) -> float:
    """The number of the format that is nearest to a decimal, ties to even; OverflowError of the number if none is.

    Exact in fractions: `numpy.float32` of a string rounds to float64 first, and a number rounded twice may be wrong.
    """
    precision, emin = FORMATS[dtype]
    exact = Fraction(number)
    numerator, denominator = abs(exact).as_integer_ratio()
    exponent = numerator.bit_length() - denominator.bit_length()  # or one too high
    exponent = max(exponent - (abs(exact) < Fraction(2) ** exponent), emin)
    spacing = Fraction(2) ** (exponent - precision + 1)
    nearest = round(exact / spacing) * spacing
    if abs(nearest) >= Fraction(2) ** (2 - emin):
        raise OverflowError(number)
    return copysign(nearest, number)


def _numbers(decimals: Problem) -> Iterator[tuple[str, Decimal]]:
    """Every number of an example, with its place in the file."""
    yield "$.eta", decimals.eta
    for name, numbers in decimals.named():
        for index, number in np.ndenumerate(numbers):
            yield f"$.inputs.{name}{''.join(f'[{i}]' for i in index)}", number


def _document(path: Path) -> Any:
    """The JSON document in a file, valid by the schema; numbers but 0 to 99999 are the text that is written."""
    content = _content(path)
    try:
        document = json.loads(
            content.decode(), object_pairs_hook=_object, parse_int=_integer, parse_float=str, parse_constant=_constant
        )
        sentence = next(map(_sentence, _validator().iter_errors(document)), None)
    except (ValueError, RecursionError) as reason:
        raise ValueError(f"$: found no readable JSON ({reason}), expected an example") from None
    if sentence:
        raise ValueError(sentence)
    return document


def _content(path: Path) -> bytes:
    """The bytes of a file that does not keep its reader waiting, as a pipe, a device or one of no size may."""
    try:
        kind = path.stat()
        if not stat.S_ISREG(kind.st_mode):
            raise OSError("not a regular file")
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1) if kind.st_size else b""
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"found no readable file ({reason}), expected a JSON file") from None
    if len(content) > MOST_BYTES:
        raise ValueError(f"$: found more than {MOST_BYTES} bytes, expected at most that many")
    commas = content.count(b",")
    if commas > MOST_COMMAS:
        raise ValueError(f"$: found {commas} commas, expected at most {MOST_COMMAS}")
    return content


def _integer(text: str) -> int | str:
    """A layer or an index is an integer; any other may be long, or −0."""
    return int(text) if text.isdigit() and len(text) <= 5 else text


def _constant(text: str) -> Any:
    raise ValueError(f"{text} is none of its numbers")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; of two properties with one name, Python would drop the first in silence."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"the property {_shown(twice)} twice in one object")
    return found


@cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator(json.loads(SCHEMA.read_bytes()))


def _sentence(error: ValidationError) -> str:
    """Place, found and expected; a schema's description says what it expects."""
    schema: Any = error.schema
    instance: Any = error.instance
    if error.validator == "required":
        missing = [name for name in schema["required"] if name not in instance]
        found, expected = f"no {', '.join(missing)}", f"every one of {', '.join(schema['required'])}"
    elif error.validator == "additionalProperties":
        unknown = next(name for name in instance if name not in schema["properties"])
        found, expected = f"the property {_shown(unknown)}", f"none but {', '.join(schema['properties'])}"
    else:
        found, expected = _shown(instance), schema["description"]
    return f"{error.json_path}: found {found}, expected {expected}"


def _shown(instance: Any) -> str:
    text = str(instance) if isinstance(instance, Decimal) else json.dumps(instance)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _name(path: str | Path) -> str:
    """The name of a file in one line."""
    return str(path) if str(path).isprintable() else ascii(str(path))


def _published(file: str, document: dict[str, Any]) -> Published:
    """An example from a document that the schema finds valid, once its parts are found to fit each other."""
    name = Path(file).stem
    if document.get("id", name) != name:
        raise ValueError(f"$.id: found {_shown(document['id'])}, expected {_shown(name)}, the name of the file")
    flags, notes = document.get("flags", []), document.get("notes", {})
    if set(notes) != set(flags):
        raise ValueError(f"$.notes: found notes on {_listed(notes)}, expected one on each flag: {_listed(flags)}")
    inputs = document["inputs"]
    try:
        network = Network(tuple(map(_matrix, inputs["w"])), tuple(map(_matrix, inputs["b"])))
        decimals = Problem(network, _matrix(inputs["x"]), _matrix(inputs["t"]), _decimal(document.get("eta", "0.5")))
    except ValueError as error:  # it begins with the name of the array
        raise ValueError(f"$.inputs.{error}") from None
    _demand_little(decimals)
    return Published(
        file=file,
        comment=document.get("comment", ""),
        source=Source(**document["source"]) if "source" in document else None,
        flags=tuple(flags),
        notes=MappingProxyType(notes),
        decimals=decimals,
        values=tuple(_values(document.get("values", []), decimals)),
    )


def _demand_little(decimals: Problem) -> None:
    """Refuse what would take frameworks or ball arithmetic too long."""
    network = decimals.network
    numbers = sum(array.size for _, array in decimals.named())
    work = sum(w.size for w in network.w) * decimals.batch * max(network.widths)
    for found, most, what in (
        (numbers, MOST_NUMBERS, "numbers"),
        (work, MOST_WORK, "for weights × rows × units of the widest layer"),
    ):
        if found > most:
            raise ValueError(f"$.inputs: found {found} {what}, expected at most {most}")


def _values(entries: list[dict[str, Any]], decimals: Problem) -> Iterator[Value]:
    shapes = quantity_shapes(decimals)
    for number, entry in enumerate(entries):
        place, quantity = f"$.values[{number}]", entry["quantity"]
        layer, index = entry.get("layer"), tuple(entry.get("index", ()))
        if layer is not None:
            depth = decimals.network.depth
            if layer >= depth:
                raise ValueError(f"{place}.layer: found {layer}, expected a layer below {depth}")
            shape = shapes[quantity][layer]
            if any(i >= size for i, size in zip(index, shape, strict=True)):
                raise ValueError(f"{place}.index: found {list(index)}, expected an entry of shape {shape}")
        numbers: dict[str, Decimal | None] = {
            name: None if entry[name] is None else _decimal(entry[name])
            for name in ("printed", "recomputed", "faulty")
            if name in entry
        }
        yield Value(**{**entry, **numbers, "layer": layer, "index": index})


def _matrix(rows: list[list[str | int]]) -> Array:
    """Decimals in the shape given; ragged rows become an array of one axis, which fits no network."""
    return np.array([[_decimal(number) for number in row] for row in rows], dtype=object)


def _decimal(number: str | int) -> Decimal:
    """The number as it is written: the hexadecimal floats of the schema are float64, exactly."""
    hexadecimal = isinstance(number, str) and "x" in number
    return Decimal(float.fromhex(str(number)) if hexadecimal else number)


def _listed(names: Any) -> str:
    return ", ".join(names) or "none"
