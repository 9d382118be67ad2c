"""--python: an adapter under another environment's interpreter, or under several, in one table and one file."""

import contextlib
import io
import json
import shlex
import sysconfig
import venv
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from compare import results
from compare.__main__ import main
from compare.run import AdapterReport, _demand_own_names, _tell_apart
from compare.tally import Key, Tally
from tests.compare.test_cli import FAKES, SMALL

FAKE = FAKES + "WrongSinceTwo"


def environment(path: Path, version: str | None = None) -> str:
    """The interpreter of a new environment: with this one's packages and a framework, or with nothing."""
    venv.EnvBuilder(symlinks=True).create(path)
    if version is not None:
        (packages,) = path.glob("lib/*/site-packages")
        (packages / "a_framework.py").write_text(f"__version__ = {version!r}\n")
        (packages / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return str(path / "bin" / "python")


@pytest.fixture(scope="module")
def pythons(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """By the name that their rows should have."""
    path = tmp_path_factory.mktemp("environments")
    return {
        "WrongSinceTwo@1.9": environment(path / "old", "1.9"),
        "WrongSinceTwo@2.0": environment(path / "new", "2.0"),
        "WrongSinceTwo@2.0#2": environment(path / "new, again", "2.0"),
        FAKE: environment(path / "bare"),
    }


@pytest.fixture(scope="module")
def compared(pythons: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """What one run under all of them prints and writes."""
    report = tmp_path_factory.mktemp("report")
    options = [word for python in pythons.values() for word in ("--python", f"{FAKE}={python}")]
    arguments = ["--frameworks", "numpy", "--adapter", FAKE, *options, *SMALL, "--report", str(report)]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main(arguments) == 1
    return printed.getvalue(), json.loads((report / "results.json").read_bytes())


def test_each_interpreter_has_a_row_of_its_own(compared, pythons):
    content = compared[1]
    Draft202012Validator(json.loads(results.SCHEMA_PATH.read_bytes())).validate(content)
    found = {adapter["name"]: (adapter["python"], adapter["version"]) for adapter in content["adapters"]}
    numpy = found.pop("numpy")
    assert numpy[0] is None
    assert found == dict(zip(pythons, zip(pythons.values(), ["1.9", "2.0", "2.0", None], strict=True), strict=True))


def test_each_is_compared_as_if_it_were_alone(compared):
    def of(adapter: str) -> list[Any]:
        rows = [check | {"adapter": "", "first_failure": None} for check in checks if check["adapter"] == adapter]
        assert rows
        return rows

    checks = compared[1]["checks"]
    assert of("WrongSinceTwo@1.9") == of("numpy")
    assert of("WrongSinceTwo@2.0") == of("WrongSinceTwo@2.0#2") != of("numpy")
    assert {check["adapter"] for check in checks if check["failures"]} == {"WrongSinceTwo@2.0", "WrongSinceTwo@2.0#2"}


def test_each_is_printed_with_its_interpreter(compared, pythons):
    lines = [" ".join(line.split()) for line in compared[0].splitlines()]
    for (name, python), version in zip(list(pythons.items())[:3], ("1.9", "2.0", "2.0"), strict=True):
        title = f"NumPy, but for one thing {version} under {python}"
        assert title in " ".join(lines)
        assert f"WrongSinceTwo under {python}: compared" in lines
        verdict = "agree" if version == "1.9" else "mismatch"
        assert any(line.startswith(f"{name} eager 24/24 660 ") and line.endswith(verdict) for line in lines)


def test_environment_that_lacks_a_package_says_which(compared, pythons):
    reason = "the worker ended with exit status 1 while starting: ModuleNotFoundError: No module named 'numpy'"
    assert compared[1]["adapters"][-1]["reason"] == reason
    assert f"failed  {FAKE} under {pythons[FAKE]}: {reason}\n" in compared[0]


def test_repeat_command_finds_the_failure_under_the_same_interpreter(compared, tmp_path):
    def failure(content: Mapping[str, Any]) -> Any:
        return next(check["first_failure"] for check in content["checks"] if check["first_failure"])

    found = failure(compared[1])
    arguments = shlex.split(found["repeat"])[4:]
    assert main([*arguments, "--report", str(tmp_path)]) == 1
    again = json.loads((tmp_path / "results.json").read_bytes())
    assert [adapter["name"] for adapter in again["adapters"]] == ["WrongSinceTwo"]
    assert failure(again) == found


# --- names ----------------------------------------------------------------------------------------------------------


def worker(spec: str, name: str, version: str | None) -> Any:
    key = Key(name, "eager", "float64", "cpu", "document", "step", "1", 0)
    return SimpleNamespace(report=AdapterReport(spec, name, version=version), tallies={key: Tally(entries=1)})


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ([("jax", "jax", "1")], ["jax"]),
        ([("jax", "jax", "1"), ("torch", "torch", "1")], ["jax", "torch"]),
        ([("jax", "jax", "1"), ("jax", "jax", "2")], ["jax@1", "jax@2"]),
        ([("jax", "jax", "1")] * 3, ["jax@1", "jax@1#2", "jax@1#3"]),
        ([("jax", "jax", "1"), ("jax", "jax", None)], ["jax@1", "jax"]),
        ([("jax", "jax", None), ("jax", "jax", None)], ["jax", "jax#2"]),
        ([("jax", "jax", "1"), ("jax", "jax", "2"), ("m:C", "jax@2", "3")], ["jax@1", "jax@2#2", "jax@2"]),
    ],
)
def test_no_two_rows_have_one_name(given, names):
    workers = [worker(*one) for one in given]
    _demand_own_names(workers)
    _tell_apart(workers)
    assert [one.report.name for one in workers] == names
    for one in workers:
        assert one.report.reasons == []
        assert [key.adapter for key in one.tallies] == [one.report.name]


def test_impostor_that_runs_twice_is_still_one():
    workers = [worker("jax", "jax", "1"), worker("m:C", "jax", "1"), worker("m:C", "jax", "2")]
    _demand_own_names(workers)
    _tell_apart(workers)
    assert [one.report.name for one in workers] == ["jax", "m:C@1", "m:C@2"]
    assert [len(one.tallies) for one in workers] == [1, 0, 0]
    for one in workers[1:]:
        assert one.report.reasons == ["name: found 'jax', the name of jax; expected one of its own"]
