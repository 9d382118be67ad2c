"""results.json: valid by its schema, the same for the same seed, whole or not there."""

import copy
import json
import shlex
from dataclasses import fields, replace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from compare import results, schema
from compare.__main__ import main
from compare.expect import Expected
from compare.published import Judged, Wrong
from compare.run import AdapterReport, Outcome, run
from compare.tally import Case, Failure, Key, Number, Tally, from_json
from compare.worker import Job

FAKES = "tests.compare.fake_adapters:"
OPTIONS: dict[str, Any] = {
    "device": "cpu",
    "networks": 5,
    "seed": 3,
    "dtypes": ["float32", "float64"],
    "problems": ["document"],
    "modes": None,
    "vectors": [],
}
SCHEMA = json.loads(results.SCHEMA_PATH.read_bytes())
VALIDATOR = Draft202012Validator(SCHEMA)


def job(adapter: str) -> Job:
    return Job(adapter, "cpu", None, ["float32", "float64"], ["document"], True, networks=5, seed=3)


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    """Of adapters that end in every way."""
    fakes = ("WrongValue", "NotANumber", "WrongDtype", "NoDelta", "NoFloat64", "NoDevice", "Crashes", "ReturnsNothing")
    return run([job("numpy"), *(job(FAKES + fake) for fake in fakes)], timeout=120)


@pytest.fixture(scope="module")
def content(outcome: Outcome) -> dict[str, Any]:
    return through_json(outcome)


def through_json(outcome: Outcome) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(json.dumps(results.as_json(outcome, OPTIONS), allow_nan=False))
    return content


def worst(content: dict[str, Any]) -> Any:
    return next(check for check in content["checks"] if check["worst"])


def failing(content: dict[str, Any], adapter: str) -> dict[str, Any]:
    row: dict[str, Any] = next(
        check for check in content["checks"] if check["adapter"] == adapter and check["formula"] == "1"
    )
    return row


# --- the schema -----------------------------------------------------------------------------------------------------


def test_a_real_run_is_valid(content):
    Draft202012Validator.check_schema(SCHEMA)
    assert [error.message for error in VALIDATOR.iter_errors(content)] == []
    assert content["verdict"] == "mismatch"
    assert {check["check"] for check in content["checks"]} == {"step", "end-to-end"}
    assert {adapter["status"] for adapter in content["adapters"]} == {"compared", "failed", "not compared"}
    assert content["schema"] == results.SCHEMA_VERSION


def test_every_object_of_the_schema_is_closed_and_complete():
    """So that what results.py writes and what the schema says cannot differ by a property."""

    def objects(schema: Any) -> Any:
        if isinstance(schema, dict):
            if "properties" in schema and "type" in schema:
                yield schema
            for part in schema.values():
                yield from objects(part)
        elif isinstance(schema, list):
            for part in schema:
                yield from objects(part)

    found = list(objects(SCHEMA))
    assert len(found) == 1 + len(SCHEMA["$defs"])
    for closed in found:
        assert closed["additionalProperties"] is False
        assert closed["required"] == list(closed["properties"])


def test_schema_has_the_tallies_fields():
    def names(kind: Any) -> set[str]:
        return {field.name for field in fields(kind)}

    check, failure = {*Key._fields, *names(Tally)}, names(Failure) | {"repeat"}
    expected = {
        "Agrees": check,
        "Fails": check | {"expected"},
        "NotCompared": check,
        "Differs": failure,
        "Unread": failure,
    }
    expected |= {
        "Expected": names(Expected),
        "Case": names(Case),
        "Number": names(Number),
        "Judged": names(Judged),
        "Wrong": names(Wrong),
    }
    assert {name: set(SCHEMA["$defs"][name]["properties"]) for name in expected} == expected


def test_schema_is_the_one_of_the_types():
    """If not: python -m compare.schema > compare/results.schema.json."""
    assert results.SCHEMA_PATH.read_text(encoding="utf-8") == schema.text() + "\n"


def test_schema_takes_what_is_covered_in_part(content):
    (check,) = (
        c for c in content["checks"] if c["adapter"] == "NoDelta" and c["formula"] == "13" and c["dtype"] == "float32"
    )
    assert check["entries"] > 0
    assert check["not_covered"] == "the adapter returns no dL_da"


SPOILED: dict[str, Any] = {
    "another version": lambda c: c.update(schema="0"),
    "a missing property": lambda c: c["checks"][0].pop("worst_ulp"),
    "a negative layer": lambda c: c["checks"][0].update(layer=-1),
    "an unknown property": lambda c: c.update(notes=""),
    "an unknown verdict": lambda c: c.update(verdict="pass"),
    "an unknown formula": lambda c: c["checks"][0].update(formula="23"),
    "no reason for a failure": lambda c: c["adapters"][-2].update(reason=None),
    "a failure without a place": lambda c: failing(c, "WrongValue").update(first_failure=None),
    "a place without a failure": lambda c: failing(c, "WrongValue").update(failures=0),
    "a value without the formula's": lambda c: failing(c, "WrongValue")["first_failure"].update(expected=None),
    "a worst case where nothing was compared": lambda c: worst(c).update(entries=0, not_covered="no a"),
    "nothing compared without a reason": lambda c: c["checks"][0].update(entries=0),
    "a file without its values": lambda c: c["vectors"].append({"file": "a.json", "wrong": []}),
    "no command": lambda c: failing(c, "WrongValue")["first_failure"].pop("repeat"),
    "no digest": lambda c: c["environment"]["problems"].update({"document float32": ""}),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_schema_refuses(content, spoil):
    spoiled = copy.deepcopy(content)
    spoil(spoiled)
    assert not VALIDATOR.is_valid(spoiled)


# --- the content ----------------------------------------------------------------------------------------------------


def test_same_seed_gives_the_same_file_but_for_timings(outcome, content):
    again = through_json(run([job("numpy"), job(FAKES + "WrongValue")], timeout=120))
    both = {"numpy", "WrongValue"}
    assert again["environment"] == content["environment"]
    assert again["adapters"] == [adapter for adapter in content["adapters"] if adapter["name"] in both]
    assert again["checks"] == [check for check in content["checks"] if check["adapter"] in both]
    assert through_json(outcome) == content


def test_every_tally_is_in_the_file(outcome, content):
    """But for the worst cases of all problems and layers of a formula but one."""
    rows = copy.deepcopy(content["checks"])
    for row in rows:
        if row["first_failure"]:
            del row["first_failure"]["repeat"]
    read = dict(map(from_json, rows))
    formulas: dict[Key, list[Key]] = {}
    for key, tally in outcome.tallies.items():
        formulas.setdefault(key._replace(problem="", layer=0), []).append(key)
        assert replace(read[key], worst=tally.worst) == tally
    for keys in formulas.values():
        judged = [key for key in keys if outcome.tallies[key].worst is not None]
        kept = [key for key in keys if read[key].worst is not None]
        assert len(kept) == bool(judged)
        if judged:
            fractions = {key: outcome.tallies[key].worst_bound_fraction for key in judged}
            assert fractions[kept[0]] == max(fractions.values())
            assert read[kept[0]] == outcome.tallies[kept[0]]


def test_adapters_and_digests(content):
    adapters = {adapter["name"]: adapter for adapter in content["adapters"]}
    assert list(adapters) == [
        "numpy", "WrongValue", "NotANumber", "WrongDtype", "NoDelta", "NoFloat64", FAKES + "NoDevice", "Crashes",
        "ReturnsNothing",
    ]  # fmt: skip
    assert adapters["Crashes"]["reason"].startswith("the worker was ended by SIGKILL (")
    assert adapters["NoFloat64"]["not_offered"] == [{"mode": "eager", "dtype": "float64", "reason": "no float64 here"}]
    assert adapters[FAKES + "NoDevice"]["framework"] is None
    assert {adapter["python"] for adapter in adapters.values()} == {None}
    assert list(content["environment"]["problems"]) == ["document float32", "document float64"]
    assert content["environment"]["options"] == OPTIONS
    assert content["timings"]["adapters"].keys() == adapters.keys()


# --- the file -------------------------------------------------------------------------------------------------------


def test_written_in_full(content, tmp_path):
    path = results.write(content, tmp_path / "not" / "there yet")
    assert path == tmp_path / "not" / "there yet" / "results.json"
    text = path.read_text(encoding="utf-8")
    assert json.loads(text) == content
    assert text.endswith("}\n")
    assert [other.name for other in path.parent.iterdir()] == ["results.json"]
    assert path.stat().st_mode & 0o777 == 0o644  # readable by others, whatever a temporary file is


def test_name_that_is_no_text(tmp_path):
    """The file is valid UTF-8 and gives the name back."""
    content = {"a": "Ω/\udcff\ud800.json"}
    assert json.loads(results.write(content, tmp_path).read_bytes().decode()) == content


@pytest.mark.parametrize("broken", [{"verdict": object()}, {"verdict": float("nan")}])
def test_no_half_file(broken, tmp_path):
    results.write({"verdict": "agree"}, tmp_path)
    with pytest.raises((TypeError, ValueError)):
        results.write(broken, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
    assert json.loads((tmp_path / "results.json").read_bytes()) == {"verdict": "agree"}


def test_directory_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").touch()
    for directory in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match="file"):
            results.write({}, directory)
        with pytest.raises(OSError, match="file"):
            results.probe(directory)
    results.probe(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# --- the command that repeats a failure ----------------------------------------------------------------------------


def test_repeat_command_finds_the_failure_again(content, tmp_path):
    planted = failing(content, "WrongValue")
    nox, *arguments = shlex.split(planted["first_failure"]["repeat"])
    assert [nox, *arguments[:3]] == ["nox", "-s", "compare", "--"]
    assert main([*arguments[3:], "--report", str(tmp_path)]) == 1
    again = json.loads((tmp_path / "results.json").read_bytes())
    assert [adapter["name"] for adapter in again["adapters"]] == ["WrongValue"]
    assert {(check["dtype"], check["problem"]) for check in again["checks"]} == {("float32", "document")}
    assert failing(again, "WrongValue") == planted


def test_repeat_command_of_a_registered_adapter():
    key = Key("numpy", "eager", "float64", "cpu", "wide", "step", "21", 1)
    options = {"networks": 7, "seed": 9}
    rest = "--modes eager --dtypes float64 --problems wide --device cpu --networks 7 --seed 9"
    command = results.repeat_command(key, AdapterReport("numpy", "numpy"), options)
    assert command == f"nox -s compare -- --frameworks numpy {rest}"
    elsewhere = results.repeat_command(key, AdapterReport("numpy", "numpy@2", "/my envs/2/bin/python"), options)
    assert elsewhere == f"nox -s compare -- --frameworks numpy --python 'numpy=/my envs/2/bin/python' {rest}"
