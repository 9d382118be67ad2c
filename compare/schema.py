"""The form of results.json, in types. ``python -m compare.schema`` prints their JSON Schema, results.schema.json.

Pydantic makes it, which only the tests have: a run takes nothing from here. It reads the docstrings of a class's own
attributes; those that others inherit are described in their types.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, with_config
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import CoreSchema
from typing_extensions import TypedDict


def _said(description: str, **rules: Any) -> Any:
    return Field(description=description, **rules)


Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Size = Annotated[float, Field(ge=0)]
Infinite = Annotated[Size | None, _said("null: infinite")]
Sizes = Annotated[list[Size | None], _said("null: an infinity or a NaN")]
Names = Annotated[list[str], Field(min_length=1, json_schema_extra={"uniqueItems": True})]

_closed = with_config(ConfigDict(extra="forbid", use_attribute_docstrings=True))


@_closed
class Number(TypedDict):
    """A floating-point number in full."""

    decimal: str
    hex: Annotated[str, Field(pattern=r"^(-?(0x[01]\.[0-9a-f]+p[+-][0-9]+|inf)|nan)$")]


@_closed
class _Place(TypedDict):
    array: str
    network: Count
    entry: list[Count]
    operands: dict[str, Number]


@_closed
class Case(_Place):
    """One entry."""

    left_out: Count
    """how many operands are not shown"""
    got: Number
    expected: Number
    allowed: Number


@_closed
class _Failure(_Place):
    left_out: Annotated[Literal[0], _said("of a failure, all are shown")]
    message: str
    repeat: Annotated[str, _said("the command that compares just this again")]


@_closed
class Differs(_Failure):
    """The first entry that failed."""

    stage: Literal["finite", "value"]
    got: Number
    expected: Number
    allowed: Number


@_closed
class Unread(_Failure):
    """The first array that failed; its values were not looked at."""

    stage: Literal["present", "shape", "dtype"]
    got: None
    expected: None
    allowed: None


@_closed
class _Check(TypedDict):
    adapter: str
    mode: str
    dtype: str
    device: str
    problem: str
    check: Literal["step", "end-to-end"]
    formula: Annotated[
        str, _said("its number in the document; b1 and b2 are implied", pattern="^([1-9]|1[0-9]|2[0-2]|b[12])$")
    ]
    layer: Annotated[Count, _said("from 0, the first hidden layer")]
    worst_bound_fraction: Annotated[Size | None, _said("largest difference by what arithmetic allows; null: infinite")]
    worst_ulp: Annotated[
        Size | None,
        _said("largest difference from the formula's value, end-to-end from the exact derivative; null: infinite"),
    ]
    unjudged: Annotated[
        Count, _said("entries beside those compared: given what is not finite, or where correct code may overflow")
    ]


@_closed
class NotCompared(_Check):
    """A formula of which nothing was compared in one layer."""

    entries: Literal[0]
    failures: Literal[0]
    first_failure: None
    not_covered: str
    """why"""
    worst: None


@_closed
class _Compared(_Check):
    entries: Positive
    not_covered: Annotated[str | None, _said("why not all was compared")]
    worst: Annotated[
        Case | None,
        _said("the entry of worst_bound_fraction where this is the formula's largest in all problems and layers"),
    ]


@_closed
class Agrees(_Compared):
    """A formula of which every entry agrees in one layer."""

    failures: Literal[0]
    first_failure: None


@_closed
class Fails(_Compared):
    """A formula of which an entry failed in one layer."""

    failures: Positive
    first_failure: Differs | Unread
    expected: bool
    """whether --expect lists it"""


@_closed
class NotOffered(TypedDict):
    """What an adapter does not have here; mode and dtype are null if that is the device."""

    mode: str | None
    dtype: str | None
    reason: str


@_closed
class _Adapter(TypedDict):
    spec: Annotated[str, _said("what was asked for: a registered name, or MODULE:CLASS")]
    name: str
    framework: Annotated[str | None, _said("null, as the version, if it could not be loaded")]
    version: str | None
    python: Annotated[str | None, _said("the interpreter that --python gave it; null: the one that ran the comparison")]
    settings: dict[str, str]
    not_offered: list[NotOffered]


@_closed
class Ran(_Adapter):
    """An adapter that was asked for, and ran to its end."""

    status: Literal["compared", "not compared"]
    reason: None


@_closed
class Broke(_Adapter):
    """An adapter that was asked for, and failed."""

    status: Literal["failed"]
    reason: str


Packages = TypedDict("Packages", {"numpy": str, "python-flint": str, "ml_dtypes": str})
_closed(Packages)


@_closed
class Options(TypedDict):
    """What was asked for."""

    device: str
    networks: Positive
    seed: Count
    dtypes: Names
    problems: Names
    modes: Names | None
    """null: all that each adapter has"""
    vectors: Annotated[list[str], Field(json_schema_extra={"uniqueItems": True})]
    """the files of the problem vectors"""


@_closed
class Environment(TypedDict):
    """Where it ran, and on what."""

    python: str
    platform: str
    cpu: str
    cores: Positive | None
    packages: Packages
    """versions of what the comparison itself computes with, where no --python says otherwise"""
    options: Options
    problems: Annotated[
        dict[Annotated[str, Field(pattern="^[a-z-]+ [a-z0-9]+$")], Annotated[str, Field(pattern="^[0-9a-f]{64}$")]],
        Field(json_schema_extra={"additionalProperties": False}),
    ]
    """SHA-256 of each problem's bytes, by its name and precision"""


@_closed
class Wrong(TypedDict):
    """An expected value that the exact one does not round to."""

    place: str
    """a JSON path in the file"""
    found: str
    exact: str
    """the exact value to 25 digits"""


@_closed
class Judged(TypedDict):
    """How many values a file of the problem vectors expects, and those that are wrong."""

    file: str
    values: Count
    wrong: list[Wrong]


@_closed
class Expected(TypedDict):
    """A row that --expect lists as known to deviate, over all layers."""

    adapter: str
    mode: str
    dtype: str
    problem: str
    check: Literal["step", "end-to-end"]
    formula: str
    reason: str
    link: str
    found: Literal["deviates", "agrees", "not compared"]


@_closed
class Saturation(TypedDict):
    """Relative errors of σ′ at each a: the framework's own σ′, and σ(a)σ(−a) of its own σ."""

    a: list[float]
    form: Literal["y(1 − y)", "σ(a)σ(−a)"]
    """which the adapter declares of the framework's σ′"""
    derivative: Sizes | None
    reflected: Sizes | None


@_closed
class Growth(TypedDict):
    """End to end, in ULP of the network's largest gradient."""

    depth: Positive
    width: Positive
    error: Infinite
    bound: Infinite


@_closed
class Learning(TypedDict):
    """The document's network with η: the loss before each step, and after it the weights' largest distance from the
    reference's, in ULP.
    """

    loss: Sizes | None
    """null: the adapter returns none"""
    distance: Sizes


@_closed
class Shown(TypedDict):
    """Of one mode in one precision; null: not shown, as growth and learning are not but in the first mode."""

    figure: dict[str, Number] | None
    """the document's network: every number, given and computed"""
    saturation: Saturation | None
    growth: list[Growth] | None
    learning: Learning | None
    reason: str | None
    """why something is missing"""


Digest = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]


@_closed
class Quantity(TypedDict):
    """What was kept of a quantity."""

    entries: Positive
    dtype: str
    kept: Annotated[str, Field(pattern="^[0-9A-Za-z+/]+=*$", json_schema_extra={"contentEncoding": "base64"})]
    """the little-endian bits of some entries, evenly spaced over all layers, in base64"""


@_closed
class Timings(TypedDict):
    """Seconds."""

    total: Size
    adapters: dict[str, dict[str, Size]]


@_closed
class Results(TypedDict):
    """Everything that a run of the comparison found. The same seed gives the same file, timings aside."""

    schema: Literal["1"]
    """the version of this form"""
    verdict: Literal["agree", "mismatch", "incomplete"]
    """mismatch if anything differed that was not expected to, or did not that was; else incomplete if anything could not
    be judged; else agree
    """
    environment: Environment
    adapters: Annotated[list[Ran | Broke], Field(min_length=1)]
    checks: list[Agrees | Fails | NotCompared]
    """how each formula fared in each layer"""
    vectors: list[Judged]
    """the expected values in the files of the problem vectors, judged by the exact values"""
    expected: list[Expected]
    """what became of the rows that --expect lists: one that agrees is a mismatch"""
    shown: dict[str, dict[str, dict[str, Shown]]]
    """what the page shows beside the verdicts, by adapter, mode and precision"""
    bits: dict[str, dict[str, dict[str, dict[str, dict[Literal["step", "end-to-end"], dict[str, Digest]]]]]]
    """the digest of each quantity, by adapter, mode, precision, problem and check: compare/bits.py"""
    kept: Annotated[dict[Digest, Quantity], Field(json_schema_extra={"additionalProperties": False})]
    """what was kept of the quantity with this digest"""
    timings: Timings


class _Generator(GenerateJsonSchema):
    """Says which JSON Schema it is, and gives no property a title, which would be its name once more."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - Pydantic's
        """Never."""
        return False

    def generate(self, schema: CoreSchema, mode: JsonSchemaMode = "validation") -> JsonSchemaValue:
        """As Pydantic does, below the dialect."""
        return {"$schema": self.schema_dialect, **super().generate(schema, mode)}


def text() -> str:
    """What results.schema.json holds."""
    return json.dumps(TypeAdapter(Results).json_schema(schema_generator=_Generator), indent=2, ensure_ascii=False)


if __name__ == "__main__":
    print(text())
