"""--vectors: people's own networks in every mode, and the values they expect, judged by the exact ones."""

import json
import shlex
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from compare import results
from compare.__main__ import main
from compare.problems import DTYPES, build, digest
from compare.published import SCHEMA, VECTORS, all_published, judge, load, problem
from compare.run import run
from compare.worker import Job
from tests.compare.test_cli import FAKES

MAZUR = VECTORS / "mazur-2-2-2.json"
BARE = {"inputs": {"w": [[[0.5], [2]]], "b": [[[-0.0]]], "x": [[1, 0.25]], "t": [[1e-3]]}}
"""a is 1 exactly, y = σ(1) = 0.731058578630004879…"""


def written(path: Path, *values: Any, **changed: Any) -> Path:
    path.write_text(json.dumps(BARE | changed | ({"values": list(values)} if values else {})))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "my net.json"


def compared(capsys: pytest.CaptureFixture[str], tmp_path: Path, *arguments: object) -> tuple[int, str, dict[str, Any]]:
    status = main(["--frameworks", *map(str, arguments), "--report", str(tmp_path / "report")])
    content = json.loads((tmp_path / "report" / "results.json").read_bytes())
    Draft202012Validator(json.loads(results.SCHEMA_PATH.read_bytes())).validate(content)
    out, err = capsys.readouterr()
    assert err == ""
    return status, out, content


# --- numbers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written_as", "exact"),
    [
        (
            "0.1000000000000000055511151231257827021181583404541015625",
            "0.1000000000000000055511151231257827021181583404541015625",
        ),
        ("-0", "-0"),
        ("-0.0", "-0.0"),
        ("1E-5", "0.00001"),
        ("5e-324", "5e-324"),
        ("99999", "99999"),
        ("100000", "100000"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ('"0x1.8p-3"', "0.1875"),
        ('"-0x1.999999999999ap-4"', "-0.1000000000000000055511151231257827021181583404541015625"),
    ],
)
def test_no_digit_is_lost(file, written_as, exact):
    for text in {written_as, f'"{written_as}"'} if '"' not in written_as else {written_as}:
        file.write_text(json.dumps(BARE).replace("0.001", text))
        found = load(file).decimals.t[0, 0]
        assert (found, found.is_signed()) == (Decimal(exact), exact.startswith("-"))


@pytest.mark.parametrize("number", [5e-324, 2.5e-320, -1.5, 1.7976931348623157e308, 0.1, -0.0, 2.0**-1022, 1e23])
def test_hexadecimal_floats_are_exact(file, number):
    found = problem(load(written(file, eta=number.hex())), "float64").eta
    assert found.hex() == number.hex()


def test_schema_is_for_other_tools_too():
    """They read numbers as numbers."""
    validator = Draft202012Validator(json.loads(SCHEMA.read_bytes()))
    for document in (BARE, json.loads(MAZUR.read_bytes()), json.loads(README_EXAMPLE)):
        validator.validate(document)
    assert not validator.is_valid(BARE | {"eta": "0.5f"})


README = (Path(__file__).parent.parent.parent / "README.md").read_text(encoding="utf-8")
README_EXAMPLE = README.partition("```json\n")[2].partition("```")[0]


def test_example_of_the_readme(file, capsys, tmp_path):
    file.write_text(README_EXAMPLE)
    status, out, content = compared(capsys, tmp_path, "numpy", "--vectors", file)
    assert (status, content["verdict"]) == (0, "agree")
    assert " expected values, 0 are wrong." in out


# --- the plan -------------------------------------------------------------------------------------------------------


def test_only_vectors_and_in_every_mode_and_precision(file, capsys, tmp_path):
    status, out, content = compared(capsys, tmp_path, "numpy", "--vectors", written(file), MAZUR, file)
    assert status == 0
    assert {check["problem"] for check in content["checks"]} == {"vectors"}
    assert {check["dtype"] for check in content["checks"]} == {"float16", "float32", "float64"}
    assert content["environment"]["options"]["vectors"] == [str(file), str(MAZUR)]
    assert content["environment"]["options"]["problems"] == ["vectors"]
    assert content["vectors"] == [
        {"file": str(file), "values": 0, "wrong": []},
        {"file": str(MAZUR), "values": len(load(MAZUR).values), "wrong": []},
    ]
    assert "agree: " in out


def test_every_mode():
    job = Job("numpy", "cpu", None, list(DTYPES), ["vectors"], False, 5, 0, vectors=[str(MAZUR)])
    adapter: Any = type("Adapter", (), {"modes": ("eager", "jit")})
    assert job.tasks(adapter) == [(mode, dtype, "vectors") for mode in adapter.modes for dtype in DTYPES]


def test_beside_other_problems(file, capsys, tmp_path):
    arguments = ["numpy", "--problems", "document", "--networks", 5, "--vectors", written(file), "--dtypes", "float32"]
    _, _, content = compared(capsys, tmp_path, *arguments)
    assert set(content["environment"]["problems"]) == {"document float32", "vectors float32"}


def test_the_problems_are_those_of_the_files(file):
    paths = [str(written(file)), str(MAZUR)]
    made = build("vectors", "float32", 7, 3, paths)
    assert digest(made) == digest([problem(load(path), "float32") for path in paths])
    assert digest(made) != digest(build("vectors", "float32", 7, 3, paths[::-1]))


def test_failure_names_the_files(file, capsys, tmp_path):
    arguments: list[object] = ["--adapter", FAKES + "WrongShape", "--dtypes", "float32", "--vectors"]
    arguments += [written(file, inputs=json.loads(MAZUR.read_bytes())["inputs"]), MAZUR]
    status, _, content = compared(capsys, tmp_path, *arguments)
    failed = next(check for check in content["checks"] if check["failures"])
    repeat = shlex.split(failed["first_failure"]["repeat"])
    assert (status, repeat[:4]) == (1, ["nox", "-s", "compare", "--"])
    repeat.remove("--frameworks")  # `compared` begins with it
    status, _, again = compared(capsys, tmp_path, *repeat[4:])
    assert (status, again["checks"]) == (1, content["checks"])


def test_a_file_that_changes_between_two_workers(file):
    first = Job("numpy", "cpu", None, ["float32"], ["vectors"], False, 5, 0, vectors=[str(written(file))])
    changed = [str(written(file.with_name("changed.json"), eta=0.25))]
    outcome = run([first, replace(first, adapter=FAKES + "Prints", vectors=changed)], timeout=120)
    assert outcome.verdict == "incomplete"
    assert outcome.adapters[1].reasons[0].startswith("problem vectors float32: digest ")


# --- expected values ------------------------------------------------------------------------------------------------

A, Y, L = (
    {"quantity": "a", "layer": 0, "index": [0, 0]},
    {"quantity": "h", "layer": 0, "index": [0, 0]},
    {"quantity": "loss"},
)
SIGMOID_OF_1 = "0.7310585786300048792511592"


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        (A | {"printed": 1}, None),
        (A | {"printed": "1.000000000000000000000000000000"}, None),
        (A | {"printed": 1.01}, ("printed", "1.01", "1.000000000000000000000000")),
        (A | {"printed": "1e0"}, None),
        (A | {"printed": "0e1"}, None),
        (Y | {"printed": 0.7}, None),
        (Y | {"printed": "0.73106"}, None),
        (Y | {"printed": "0.73105"}, ("printed", "0.73105", SIGMOID_OF_1)),
        (Y | {"printed": "0.7311"}, None),
        (Y | {"printed": "0.73110"}, ("printed", "0.73110", SIGMOID_OF_1)),
        (Y | {"printed": SIGMOID_OF_1}, None),
        (Y | {"printed": SIGMOID_OF_1[:-1] + "3"}, ("printed", SIGMOID_OF_1[:-1] + "3", SIGMOID_OF_1)),
        (Y | {"printed": "0.731", "recomputed": "0.732"}, ("recomputed", "0.732", SIGMOID_OF_1)),
        (Y | {"printed": "0.74", "status": "wrong"}, None),
        (Y | {"printed": "0.73", "status": "wrong"}, ("status", "wrong", SIGMOID_OF_1)),
        (Y | {"printed": None, "status": "not printed"}, None),
        (Y | {"printed": None, "status": "not printed", "recomputed": "0.5"}, ("recomputed", "0.5", SIGMOID_OF_1)),
        (L | {"printed": "0.26649276"}, None),
        (L | {"printed": "0.26649277"}, ("printed", "0.26649277", "0.2664927641")),
        ({"quantity": "loss_after", "printed": "0.2664"}, ("printed", "0.2664", "0.2")),
    ],
)
def test_expected_value(file, value, wrong):
    judged = judge(load(written(file, A | {"printed": 1}, value)))
    assert judged.values == 2
    found = [(each.place, each.found, each.exact[: len(wrong[2])]) for each in judged.wrong] if wrong else judged.wrong
    assert list(found) == ([(f"$.values[1].{wrong[0]}", *wrong[1:])] if wrong else [])


@pytest.mark.parametrize("printed", ["0.12", "0.13"])
def test_a_tie_may_be_rounded_either_way(file, printed):
    half = {"w": [[[0.5]]], "b": [[[0]]], "x": [[0.25]], "t": [[0]]}
    assert not judge(load(written(file, A | {"printed": printed}, inputs=half))).wrong
    tenths = {"w": [[[0.1]]], "b": [[[0.025]]], "x": [[1]], "t": [[0]]}
    assert not judge(load(written(file, A | {"printed": printed}, inputs=tenths))).wrong


def test_cancellation_is_judged_with_more_bits(file):
    inputs = {"w": [[["1e300"], ["-1e300"], ["1e-300"]]], "b": [[[0]]], "x": [[1, 1, 1]], "t": [[0]]}
    assert not judge(load(written(file, A | {"printed": "1.0e-300"}, inputs=inputs))).wrong
    assert judge(load(written(file, A | {"printed": "1.1e-300"}, inputs=inputs))).wrong


def test_what_cannot_be_judged_is_refused(file):
    pair = [[1e300, -1e300], [-1e300, 1e300]]  # of equal h it makes a = 0, and of opposite δ 10³⁰⁰ times as much
    value = {"quantity": "dL_dh", "layer": 0, "index": [0, 0], "printed": "1"}
    written(file, value, inputs={"w": [pair] * 32, "b": [[[0, 0]]] * 32, "x": [[0, 0]], "t": [[0, 1]]})
    sentence = "found an exact value that is not known, expected one that balls of 4096 bits enclose"
    with pytest.raises(ValueError, match=rf"my net\.json: \$\.values\[0\]\.printed: {sentence}$"):
        judge(load(file))


@pytest.mark.parametrize("example", all_published(), ids=lambda example: example.id)
def test_published_values_are_what_they_are_said_to_be(example):
    assert not judge(example).wrong


def test_wrong_expected_value_is_a_mismatch(file, capsys, tmp_path):
    written(file, A | {"printed": 1}, Y | {"printed": "0.7310"})
    status, out, content = compared(capsys, tmp_path, "numpy", "--vectors", file)
    assert (status, content["verdict"]) == (1, "mismatch")
    assert not any(check["failures"] for check in content["checks"])
    wrong = {"place": "$.values[1].printed", "found": "0.7310", "exact": SIGMOID_OF_1}
    assert content["vectors"] == [{"file": str(file), "values": 2, "wrong": [wrong]}]
    line = (
        f"mismatch  {file}: $.values[1].printed: found 0.7310, expected what the exact value {SIGMOID_OF_1} rounds to"
    )
    assert line in out.splitlines()
    assert "0 outside their bounds. Of 2 expected values, 1 are wrong." in out


def test_many_wrong_values_are_not_all_printed(file, capsys, tmp_path):
    written(file, *[A | {"printed": 2}] * 12)
    _, out, content = compared(capsys, tmp_path, "numpy", "--dtypes", "float32", "--vectors", file)
    assert len(content["vectors"][0]["wrong"]) == 12
    assert out.count("mismatch  ") == 10
    assert f"… and 2 more wrong values of {file}: results.json has every one." in out
