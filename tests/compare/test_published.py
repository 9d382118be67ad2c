"""The published examples: their files, their numbers, the fault in one of them, and the loader of these and others."""

import copy
import json
import re
from dataclasses import fields, replace
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from flint import arb, ctx
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from compare.published import (
    MOST_BYTES,
    SCHEMA,
    VECTORS,
    Published,
    Value,
    all_published,
    exact_problem,
    load,
    problem,
)
from reference import Network, Problem, Trace, backprop, formulas
from reference.rounding import FORMATS

BITS = 256
SIGNIFICANT = 25
EXAMPLES = {example.id: example for example in all_published()}
VALUES = {
    f"{example.id}-{value.quantity}-{value.layer}-{value.index}": (example, value)
    for example in EXAMPLES.values()
    for value in example.values
}
PRINTED = {name: case for name, case in VALUES.items() if case[1].printed is not None}


# --- exact numbers ----------------------------------------------------------------------------------------------


def significant(ball: arb) -> Decimal:
    """The decimal of 25 significant digits nearest to every number of a ball."""
    with localcontext(prec=SIGNIFICANT):
        low, high = (Decimal(int(end.p)) / Decimal(int(end.q)) for end in (ball.lower().fmpq(), ball.upper().fmpq()))
    assert low == high, "the ball is too wide"
    return low


def rounds_to(ball: arb, printed: Any) -> bool:
    """Whether ``ball``, rounded to the digits of ``printed``, is ``printed``: certain, or an error."""
    distance = abs(ball - arb(str(printed)))
    half = arb(10) ** printed.as_tuple().exponent / 2
    inside, outside = bool(distance < half), bool(distance > half)
    assert inside != outside, "the ball is too wide"
    return inside


def loss(exact: Problem) -> arb:
    trace: Any = backprop(exact)
    return trace.loss[()]


def stepped(exact: Problem, trace: Any, bias: bool) -> Problem:
    """The problem after one update."""
    return replace(exact, network=Network(trace.w_new, trace.b_new if bias else exact.network.b))


def right(example: Published, value: Value) -> arb:
    """The true value, from the example's decimals through the reference."""
    exact = exact_problem(example)
    trace: Any = backprop(exact)
    if value.quantity == "loss_after":
        return loss(stepped(exact, trace, bias="NoBiasUpdate" not in example.flags))
    return value.of(trace)


def sequential(exact: Problem) -> arb:
    """The loss after one update by the fault: the hidden deltas read the output weights that are already updated."""
    trace: Any = backprop(exact)
    u = trace.w_new[1]
    delta = formulas.hidden_delta(trace.dL_da[1], u, trace.h[0])
    w = formulas.update(exact.network.w[0], formulas.weight_gradient(delta, exact.x), exact.eta)
    return loss(replace(exact, network=Network((w, u), exact.network.b)))


@pytest.mark.parametrize(("example", "value"), VALUES.values(), ids=VALUES)
def test_recomputed(example, value):
    with ctx.workprec(BITS):
        assert value.recomputed == significant(right(example, value))
    assert len(value.recomputed.as_tuple().digits) == SIGNIFICANT


@pytest.mark.parametrize(("example", "value"), PRINTED.values(), ids=PRINTED)
def test_status_of_what_is_printed(example, value):
    with ctx.workprec(BITS):
        assert rounds_to(right(example, value), value.printed) == (value.status == "right")


def test_negative_control():
    """The article's error after one round is reproduced, to every printed digit, by the fault and only by it."""
    example = EXAMPLES["mazur-2-2-2"]
    (control,) = (value for value in example.values if value.faulty is not None)
    assert (control.quantity, control.printed, control.status) == ("loss_after", Decimal("0.291027924"), "wrong")
    with ctx.workprec(BITS):
        exact = exact_problem(example)
        trace = backprop(exact)
        for bias in (False, True):
            assert not rounds_to(loss(stepped(exact, trace, bias)), control.printed)
        faulty = sequential(exact)
        assert rounds_to(faulty, control.printed)
        assert control.faulty == significant(faulty)
    assert len(control.faulty.as_tuple().digits) == SIGNIFICANT


# --- the files --------------------------------------------------------------------------------------------------


def test_examples():
    assert list(EXAMPLES) == ["cs231n-sigmoid-neuron", "fiqlab-2-2-1", "mazur-2-2-2"]
    assert sum(value.printed is not None for example in EXAMPLES.values() for value in example.values) == 30


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)
def test_flags_say_what_the_numbers_are(example):
    flags, values, problem_ = set(example.flags), example.values, example.decimals
    depends_on_target = {"loss", "loss_after", "dL_dh", "dL_da", "dL_dw", "dL_db", "w_new", "b_new"}
    printed = {value.quantity for value in values if value.printed is not None}
    named = {value.quantity for value in values}
    assert ("SquareShape" in flags) == all(w.shape[0] == w.shape[1] for w in problem_.network.w)
    assert ("MeanIsHalfSum" in flags) == (problem_.t.size == 2)
    assert ("PrintedWrong" in flags) == any(value.status == "wrong" for value in values)
    assert ("NegativeControl" in flags) == any(value.faulty is not None for value in values)
    assert not ("NoBiasUpdate" in flags and "b_new" in named)
    assert not ("OwnTarget" in flags and printed & depends_on_target)
    assert not ("OwnRate" in flags and named & {"w_new", "b_new", "loss_after"})


def test_schema():
    schema = json.loads(SCHEMA.read_bytes())
    Draft202012Validator.check_schema(schema)
    quantities = schema["$defs"]["value"]["properties"]["quantity"]["enum"]
    assert quantities == [*(field.name for field in fields(Trace)), "loss_after"]
    for name in schema["$defs"]["flag"]["enum"]:
        assert name in schema["$defs"]["flag"]["description"]
    for part in parts(schema):
        if "properties" in part and part.get("type") == "object":
            assert part["additionalProperties"] is False
        assert "description" in part or not set(part) - {"$ref", "properties", "required"}, (
            f"{part} cannot say what it expects"
        )


@pytest.mark.parametrize("id_", EXAMPLES)
def test_published_examples_leave_nothing_out(id_):
    """What is optional is so for people's own networks."""
    schema = json.loads(SCHEMA.read_bytes())
    document = json.loads((VECTORS / f"{id_}.json").read_bytes())
    assert document.keys() == schema["properties"].keys()
    for value in document["values"]:
        assert schema["$defs"]["value"]["properties"].keys() - value.keys() <= {"faulty"}


def parts(schema):
    """A schema and all schemas in it that can find a document wrong: those after ``if`` only ask."""
    yield schema
    inner = [
        schema[key] for key in ("items", "propertyNames", "additionalProperties", "then", "else") if schema.get(key)
    ]
    inner += [part for key in ("properties", "$defs") for part in schema.get(key, {}).values()]
    for rule in schema.get("allOf", []):
        inner += [rule[key] for key in ("then", "else") if key in rule]
    for part in inner:
        yield from parts(part)


# --- numbers of a format ----------------------------------------------------------------------------------------

TWICE_ROUNDED = "1.00000005960464477539062500000000001"
"""Just above the middle of two float32, and rounded to that middle in float64."""


def with_input(number: str):
    """An example whose first input is ``number``."""
    example = EXAMPLES["mazur-2-2-2"]
    x = example.decimals.x.copy()
    x[0, 0] = Decimal(number)
    return replace(example, decimals=replace(example.decimals, x=x, eta=Decimal(number)))


def test_decimals_are_rounded_once():
    assert float(np.float32(TWICE_ROUNDED)) == 1.0  # what is to be avoided
    made = problem(with_input(TWICE_ROUNDED), "float32")
    assert made.x[0, 0] == made.eta == 1 + 2.0**-23


@pytest.mark.parametrize("dtype", FORMATS)
@example(number=Decimal("-0"))
@example(number=Decimal("0.00000014901161193847656251"))  # just above the middle of two subnormal float16
@given(number=st.decimals(-60000, 60000, places=30) | st.decimals(-1, 1, places=60).map(lambda d: d * Decimal("1e-5")))
@settings(max_examples=200, deadline=None)
def test_decimals_are_rounded_to_nearest(dtype, number):
    """Witness: no neighbour in the format lies closer."""
    numpy_type = np.dtype(getattr(ml_dtypes, dtype, dtype)).type
    made = problem(with_input(f"{number:f}"), dtype)
    found = made.x[0, 0]
    assert type(found) is numpy_type
    assert float(found) == made.eta
    assert np.signbit(float(found)) == number.is_signed()
    distance = abs(Fraction(float(found)) - Fraction(number))
    for end in (-np.inf, np.inf):
        neighbour = float(np.nextafter(found, numpy_type(end)))
        if np.isfinite(neighbour):
            assert distance <= abs(Fraction(neighbour) - Fraction(number))
    if dtype == "float64":
        assert float(found).hex() == float(f"{number:f}").hex()


def test_problem():
    made = problem(EXAMPLES["mazur-2-2-2"], "float64")
    assert [w.tolist() for w in made.network.w] == [[[0.15, 0.25], [0.2, 0.3]], [[0.4, 0.5], [0.45, 0.55]]]
    assert [b.tolist() for b in made.network.b] == [[[0.35, 0.35]], [[0.6, 0.6]]]
    assert (made.x.tolist(), made.t.tolist(), made.eta) == ([[0.05, 0.1]], [[0.01, 0.99]], 0.5)


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)
def test_exact_problem_encloses_the_decimals(example):
    with ctx.workprec(BITS):
        exact = exact_problem(example)
        pairs = [(exact.eta, example.decimals.eta)]
        for (_, balls), (_, decimals) in zip(exact.named(), example.decimals.named(), strict=True):
            pairs += zip(balls.flat, decimals.flat, strict=True)
        for ball, decimal in pairs:
            assert ball.contains(arb(str(decimal)))
            assert ball.rad() < arb(2) ** -200


@pytest.mark.parametrize(
    ("number", "dtype", "found"),
    [
        ("65520", "float16", "65520"),
        ("-1" + "0" * 39, "float32", "-1" + "0" * 39),
        ("1e400", "float64", "1E+400"),
        ("-" + "9" * 64, "float16", "-" + "9" * 56 + "..."),
    ],
)
def test_a_number_the_format_cannot_hold(number, dtype, found):
    example = with_input(number)
    sentence = f"found {found}, expected a number within the range of {dtype}"
    with pytest.raises(ValueError, match=f"^{re.escape(f'{example.file}: $.eta: {sentence}')}$"):
        problem(example, dtype)
    example = replace(example, decimals=replace(example.decimals, eta=Decimal(1)))
    with pytest.raises(ValueError, match=f"^{re.escape(f'{example.file}: $.inputs.x[0][0]: {sentence}')}$"):
        problem(example, dtype)


def test_unknown_format():
    with pytest.raises(
        ValueError, match=r"^dtype: found 'float8', expected one of float64, float32, bfloat16, float16$"
    ):
        problem(with_input("1"), "float8")


@pytest.mark.parametrize("dtype", FORMATS)
def test_numbers_of_any_exponent(dtype):
    least = Fraction(2) ** (FORMATS[dtype][1] - FORMATS[dtype][0] + 1)
    for number in ("1e-999", "-1e-400", "0e-999", "-0"):
        assert problem(with_input(number), dtype).x[0, 0] == 0
    half = Decimal(least.numerator) / Decimal(least.denominator) / 2  # at 28 digits: not the half
    assert problem(with_input(str(half * Decimal("1.000001"))), dtype).x[0, 0] == float(least)
    assert problem(with_input(str(half * Decimal("0.999999"))), dtype).x[0, 0] == 0


# --- the loader -------------------------------------------------------------------------------------------------

DOCUMENT = json.loads((VECTORS / "mazur-2-2-2.json").read_bytes())
ID = DOCUMENT["id"]
MISSING = object()


def changed(*steps):
    """The Mazur document with the item at ``steps[:-1]`` set to ``steps[-1]``."""
    document = copy.deepcopy(DOCUMENT)
    *path, last, value = steps
    item = document
    for step in path:
        item = item[step]
    if value is MISSING:
        del item[last]
    else:
        item[last] = value
    return document


def number_expected(found: str) -> str:
    expected = "a number of at most 64 characters and an exponent of at most 3 digits, or such a one as a string"
    return f'found {found}, expected {expected}, "-0.05" or "-0x1.8p-3"'


MALFORMED = {
    "true": (changed("eta", True), "$.eta: " + number_expected("true")),
    "null": (changed("inputs", "w", 0, 0, 0, None), "$.inputs.w[0][0][0]: " + number_expected("null")),
    "nan": (changed("inputs", "x", 0, 1, "nan"), "$.inputs.x[0][1]: " + number_expected('"nan"')),
    "infinite": (changed("inputs", "t", 0, 0, "inf"), "$.inputs.t[0][0]: " + number_expected('"inf"')),
    "exponent": (changed("inputs", "b", 1, 0, 0, "1e1000"), "$.inputs.b[1][0][0]: " + number_expected('"1e1000"')),
    "range": (
        changed("inputs", "b", 1, 0, 0, "-2e308"),
        "$.inputs.b[1][0][0]: found -2E+308, expected a number within the range of float64",
    ),
    "hexadecimal of 14 digits": (
        changed("eta", "0x1.00000000000001p0"),
        "$.eta: " + number_expected('"0x1.00000000000001p0"'),
    ),
    "hexadecimal beyond float64": (changed("eta", "0x1.0p+1024"), "$.eta: " + number_expected('"0x1.0p+1024"')),
    "hexadecimal, not to the last bit": (changed("eta", "0x1.8p-1023"), "$.eta: " + number_expected('"0x1.8p-1023"')),
    "hexadecimal is not printed": (
        changed("values", 0, "printed", "0x1.0p+0"),
        '$.values[0].printed: found "0x1.0p+0", expected the decimal number that is expected, with the digits that '
        + "are, of at most 64 characters and an exponent of at most 3 digits, as a number or a string; or null",
    ),
    "newline": (changed("inputs", "w", 0, 1, 0, "0.2\n"), "$.inputs.w[0][1][0]: " + number_expected(r'"0.2\n"')),
    "digits of another script": (changed("eta", "\u0660"), "$.eta: " + number_expected(r'"\u0660"')),
    "long": (changed("eta", "1" * 65), "$.eta: " + number_expected('"' + "1" * 56 + "...")),
    "list": ([], "$: found [], expected an object: an example, which is a network and what it is given"),
    "missing": (
        changed("source", "url", MISSING),
        "$.source: found no url, expected every one of name, url, license, printed_digits",
    ),
    "unknown": (
        changed("source", "author", "?"),
        '$.source: found the property "author", expected none but name, url, license, printed_digits',
    ),
    "flag": (
        changed("flags", 0, "Odd"),
        '$.flags[0]: found "Odd", expected a flag: '
        + "SquareShape, MeanIsHalfSum, NoBiasUpdate, OwnTarget, OwnRate, PrintedWrong or NegativeControl",
    ),
    "flag without note": (
        changed("flags", ["SquareShape", "OwnRate"]),
        f"$.notes: found notes on {', '.join(DOCUMENT['notes'])}, expected one on each flag: SquareShape, OwnRate",
    ),
    "name": (changed("id", "mazur"), '$.id: found "mazur", expected "mazur-2-2-2", the name of the file'),
    "shape": (
        changed("inputs", "w", 1, [["0.4", "0.5"]]),
        "$.inputs.w[1]: found shape (1, 2), expected (2, 2)",
    ),
    "ragged": (changed("inputs", "w", 1, 1, ["1"]), "$.inputs.w[1]: found shape (2,), expected (2, 2)"),
    "layers": (
        changed("inputs", "w", [[["1"]]] * 33),
        '$.inputs.w: found [[["1"]], [["1"]], [["1"]], [["1"]], [["1"]], [["1"]], [[..., '
        + "expected a list of 1 to 32 matrices, one per layer",
    ),
    "depth": (
        changed("inputs", "b", DOCUMENT["inputs"]["b"][:1]),
        "$.inputs.b: found 1 array, expected 2, one per array of w",
    ),
    "width of x": (changed("inputs", "x", [["1"]]), "$.inputs.x: found shape (1, 1), expected (1, 2)"),
    "layer": (changed("values", 0, "layer", 2), "$.values[0].layer: found 2, expected a layer below 2"),
    "index": (
        changed("values", 0, "index", [0, 2]),
        "$.values[0].index: found [0, 2], expected an entry of shape (1, 2)",
    ),
    "index of one axis": (
        changed("values", 0, "index", [0]),
        "$.values[0].index: found [0], expected a row and a column, counted from 0",
    ),
    "layer as a float": (
        changed("values", 0, "layer", 0.0),
        '$.values[0].layer: found "0.0", expected a layer, counted from 0, or null for a loss',
    ),
    "layer left out": (
        changed("values", 0, "layer", MISSING),
        "$.values[0]: found no layer, expected every one of layer, index",
    ),
    "no layer": (
        changed("values", 0, "layer", None),
        "$.values[0].layer: found null, expected a layer, counted from 0",
    ),
    "not printed": (
        changed("values", 0, "status", "not printed"),
        '$.values[0].printed: found "0.3775", expected null, because the status is "not printed"',
    ),
    "not printed, but right": (
        changed("values", 0, "printed", None),
        "$.values[0].printed: found null, expected the printed number, because the status judges it",
    ),
    "a fault that is right": (
        changed("values", 0, "faulty", "1"),
        '$.values[0].status: found "right", expected "wrong", because the value that a fault gives is shown',
    ),
}


@pytest.mark.parametrize(("document", "message"), MALFORMED.values(), ids=MALFORMED)
def test_malformed(tmp_path, document, message):
    file = tmp_path / f"{ID}.json"
    file.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=f"^{re.escape(f'{file}: {message}')}$"):
        load(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"{",
            "$: found no readable JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1))",
        ),
        (b"\xff", "$: found no readable JSON ('utf-8' codec can't decode byte 0xff in position 0: invalid start byte)"),
        (b'{"id": "a", "id": "b"}', '$: found no readable JSON (the property "id" twice in one object)'),
        (b'{"eta": NaN}', "$: found no readable JSON (NaN is none of its numbers), expected an example"),
        (b'{"eta": -Infinity}', "$: found no readable JSON (-Infinity is none of its numbers), expected an example"),
        (b"[" * 100_000, "$: found no readable JSON (maximum recursion depth exceeded"),
        (b" " * (MOST_BYTES + 1), "$: found more than 1048576 bytes, expected at most that many"),
        (b"[" + b"0," * 65537, "$: found 65537 commas, expected at most 65536"),
        (b"", "$: found no readable JSON (Expecting value: line 1 column 1 (char 0)), expected an example"),
    ],
    ids=["syntax", "encoding", "twice", "nan", "infinity", "nested", "large", "long", "empty"],
)
def test_unreadable(tmp_path, content, message):
    file = tmp_path / f"{ID}.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{re.escape(f'{file}: {message}')}[^\n]*$"):
        load(file)


def test_no_file(tmp_path):
    for path in (tmp_path, tmp_path / "none.json", "\0.json"):
        with pytest.raises(ValueError, match=r"found no readable file \(.*\), expected a JSON file$"):
            load(path)
