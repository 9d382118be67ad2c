"""Published worked examples as known-answer vectors: each printed number beside its recomputed value, and judged.

An example is one JSON file in `vectors/`, valid by `vectors/schema.json`. Its inputs are decimal strings: the number
0.05 of an article is no float, so each precision rounds it once, and ball arithmetic takes it as it is. Printed
numbers are never expected values, because some are wrong; those are kept, marked, and explained.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import ml_dtypes
import numpy as np
from flint import arb
from jsonschema import Draft202012Validator, ValidationError

from reference.network import Array, Network, Problem, Trace, quantity_shapes
from reference.rounding import FORMATS

VECTORS = Path(__file__).parent / "vectors"
SCHEMA = VECTORS / "schema.json"

MOST_BYTES = 2**20
"""Largest file that is read."""


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
    status : whether ``recomputed``, rounded to the printed digits, is ``printed``
    faulty : for a negative control, the value that a known fault gives, to 25 significant digits
    """

    quantity: str
    layer: int | None
    index: tuple[int, ...]
    printed: Decimal | None
    recomputed: Decimal
    status: Literal["right", "wrong", "not printed"]
    note: str
    faulty: Decimal | None = None

    def of(self, trace: Trace) -> Any:
        """This entry of a trace. Not for ``loss_after``, which is the ``loss`` of another trace."""
        quantity = getattr(trace, self.quantity)
        return quantity[()] if self.layer is None else quantity[self.layer][self.index]


@dataclass(frozen=True, eq=False)
class Published:
    """A worked example.

    Attributes
    ----------
    id : the name of its file
    flags : what to know before using it, each explained in ``notes``
    decimals : the problem as published, in object arrays of `decimal.Decimal`; η too is one
    """

    id: str
    comment: str
    source: Source
    flags: tuple[str, ...]
    notes: Mapping[str, str]
    decimals: Problem
    values: tuple[Value, ...]


def load(path: str | Path) -> Published:
    """The example in the file ``path``, of at most 1 MiB.

    Raises
    ------
    ValueError
        If the file cannot be read or is not valid: one sentence with the file, the place in it, found and expected.
    """
    path = Path(path)
    try:
        return _published(path.stem, _document(path))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


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

    def rounded(numbers: Array) -> Array:
        return np.vectorize(lambda number: _nearest(number, dtype), otypes=[np.float64])(numbers).astype(numpy_type)

    try:
        return replace(published.decimals, eta=_nearest(published.decimals.eta, dtype)).map(rounded)
    except OverflowError as error:
        raise ValueError(f"{published.id}: {error}") from None


def exact_problem(published: Published) -> Problem:
    """The example in balls that enclose its decimals, at the precision in force (``flint.ctx.prec``); η too is one."""

    def ball(number: Decimal) -> arb:
        return arb(f"{number:f}")

    return replace(published.decimals, eta=ball(published.decimals.eta)).map(np.vectorize(ball, otypes=[object]))


def _nearest(number: Decimal, dtype: str) -> float:
    """The number of the format that is nearest to a decimal, ties to even.

    Exact in fractions: `numpy.float32` of a string rounds to float64 first, and a number rounded twice may be wrong.
    """
    precision, emin = FORMATS[dtype]
    exact = Fraction(number)
    # Where the float is the next power of two already, that is what the number rounds to in every format.
    exponent = max(math.frexp(exact)[1] - 1, emin)
    spacing = Fraction(2) ** (exponent - precision + 1)
    nearest = round(exact / spacing) * spacing
    if abs(nearest) >= Fraction(2) ** (2 - emin):
        raise OverflowError(f"found {number:f}, expected a number within the range of {dtype}")
    return math.copysign(nearest, number)


def _document(path: Path) -> Any:
    """The JSON document in a file, valid by the schema."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise ValueError(f"found no readable file ({error}), expected a JSON file") from None
    if len(content) > MOST_BYTES:
        raise ValueError(f"found more than {MOST_BYTES} bytes, expected at most that many")
    try:
        document = json.loads(content.decode(), object_pairs_hook=_object)
        sentence = next(map(_sentence, _validator().iter_errors(document)), None)
    except (ValueError, RecursionError) as reason:
        raise ValueError(f"$: found no readable JSON ({reason}), expected a published example") from None
    if sentence:
        raise ValueError(sentence)
    return document


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
        unknown = [_shown(name) for name in instance if name not in schema["properties"]]
        found, expected = f"the property {', '.join(unknown)}", f"none but {', '.join(schema['properties'])}"
    else:
        found, expected = _shown(instance), schema["description"]
    return f"{error.json_path}: found {found}, expected {expected}"


def _shown(instance: Any) -> str:
    text = json.dumps(instance)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _published(name: str, document: dict[str, Any]) -> Published:
    """An example from a document that the schema finds valid, once its parts are found to fit each other."""
    if document["id"] != name:
        raise ValueError(f"$.id: found {_shown(document['id'])}, expected {_shown(name)}, the name of the file")
    flags, notes = document["flags"], document["notes"]
    if set(notes) != set(flags):
        raise ValueError(f"$.notes: found notes on {_listed(notes)}, expected one on each flag: {_listed(flags)}")
    inputs = document["inputs"]
    try:
        network = Network(tuple(map(_matrix, inputs["w"])), tuple(map(_matrix, inputs["b"])))
        decimals = Problem(network, _matrix(inputs["x"]), _matrix(inputs["t"]), Decimal(document["eta"]))
    except ValueError as error:  # it begins with the name of the array
        raise ValueError(f"$.inputs.{error}") from None
    return Published(
        id=name,
        comment=document["comment"],
        source=Source(**document["source"]),
        flags=tuple(flags),
        notes=MappingProxyType(notes),
        decimals=decimals,
        values=tuple(_values(document["values"], decimals)),
    )


def _values(entries: list[dict[str, Any]], decimals: Problem) -> Iterator[Value]:
    shapes = quantity_shapes(decimals)
    for number, entry in enumerate(entries):
        place, quantity, layer, index = f"$.values[{number}]", entry["quantity"], entry["layer"], tuple(entry["index"])
        if layer is not None:
            depth = decimals.network.depth
            if layer >= depth:
                raise ValueError(f"{place}.layer: found {layer}, expected a layer below {depth}")
            layer, index = int(layer), tuple(map(int, index))  # to JSON Schema, 1.0 is an integer
            shape = shapes[quantity][layer]
            if any(i >= size for i, size in zip(index, shape, strict=True)):
                raise ValueError(f"{place}.index: found {list(index)}, expected an entry of shape {shape}")
        numbers = {name: _decimal(entry.get(name)) for name in ("printed", "recomputed", "faulty")}
        yield Value(**{**entry, **numbers, "layer": layer, "index": index})


def _matrix(rows: list[list[str]]) -> Array:
    """Decimals in the shape given; ragged rows become an array of one axis, which fits no network."""
    return np.array([[Decimal(text) for text in row] for row in rows], dtype=object)


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _listed(names: Any) -> str:
    return ", ".join(names) or "none"
