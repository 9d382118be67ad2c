"""Rows that are known to deviate: the list is read, and strict."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compare import expect, results
from compare.__main__ import main
from compare.tally import Key, Tally

LIST = """
[[deviation]]
adapter = "WrongValue"
mode = ["eager", "jit"]
dtype = "float32"
problem = "document"
check = "step"
formula = ["1", "b1"]
reason = "a is wrong"
link = "https://example.org/1"
"""


@pytest.fixture
def load(tmp_path):
    def loaded(text: str) -> list[expect.Expected]:
        path = tmp_path / "known.toml"
        path.write_text(text, encoding="utf-8")
        return expect.load(str(path))

    return loaded


def key(mode="eager", formula="1", layer=0, **other):
    names = {"adapter": "WrongValue", "dtype": "float32", "device": "cpu", "problem": "document", "check": "step"}
    return Key(**names | other, mode=mode, formula=formula, layer=layer)


def test_lists_stand_for_every_combination(load):
    rows = load(LIST)
    assert [(row.mode, row.formula) for row in rows] == [("eager", "1"), ("eager", "b1"), ("jit", "1"), ("jit", "b1")]
    assert {(row.adapter, row.reason, row.link, row.found) for row in rows} == {
        ("WrongValue", "a is wrong", "https://example.org/1", "not compared")
    }


def test_a_row_deviates_if_any_layer_does_and_agrees_if_none(load):
    tallies = {
        key(layer=0): Tally(5),
        key(layer=1): Tally(5, failures=1),
        key(formula="b1"): Tally(5),
        key("jit"): Tally(unjudged=5, not_covered="no bound"),
        key("jit", "2"): Tally(5, failures=5),
    }
    found = [row.found for row in expect.judge(load(LIST), tallies)]
    assert found == ["deviates", "agrees", "not compared", "not compared"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (('link = "https://example.org/1"\n', ""), "deviation[0]: 'link' is a required property"),
        (('"a is wrong"', '" "'), "deviation[0].reason: ' ' does not match"),
        (("https://", "see "), "deviation[0].link: 'see example.org/1' does not match"),
        (('["1", "b1"]', '"23"'), "deviation[0].formula: '23' is not"),
        (('"float32"', '"float8"'), "deviation[0].dtype: 'float8' is not"),
        (('"document"', '"documents"'), "deviation[0].problem: 'documents' is not"),
        (('"step"', '"steps"'), "deviation[0].check: 'steps' is not"),
        (("mode", "note"), "deviation[0]: 'mode' is a required property"),
        (("mode", 'note = ""\nmode'), "deviation[0]: Additional properties are not allowed ('note' was unexpected)"),
        (("[[deviation]]", "[[deviations]]"), "known.toml: 'deviation' is a required property"),
        (('["1", "b1"]', '["1", "1"]'), "deviation[0].formula: ['1', '1'] has non-unique elements"),
        (
            ("[[deviation]]", LIST + "[[deviation]]"),
            "deviation[1]: found WrongValue eager float32 document step 1 again",
        ),
        (('"a is wrong"', '"'), "found no TOML ("),
        (("\n", "\0"), "found no TOML ("),
    ],
)
def test_what_is_wrong_with_a_list_is_one_sentence(change, sentence, load):
    with pytest.raises(ValueError, match=r"^\S+known\.toml: ") as error:
        load(LIST.replace(*change))
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_a_list_that_is_no_file_is_one_sentence(tmp_path):
    for path in (tmp_path, tmp_path / "none.toml"):
        with pytest.raises(ValueError, match=r"found no readable file \("):
            expect.load(str(path))


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
@settings(max_examples=200, deadline=None)
def test_whatever_is_in_the_file_there_is_a_list_or_a_sentence(tmp_path_factory, content):
    path: Path = tmp_path_factory.mktemp("list") / "known.toml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"known\.toml: "):
        expect.load(str(path))


# --- a run with a list ----------------------------------------------------------------------------------------------

COMMAND = [
    "--frameworks",
    "--adapter",
    "tests.compare.fake_adapters:WrongValue",
    "--problems",
    "document",
    "--networks",
    "5",
]


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(
        "[[deviation]]\n"
        + "".join(f"{name} = {json.dumps(row[name])}\n" for name in ("adapter", "mode", "dtype", "problem", "check", "formula"))
        + 'reason = "a[0] is\u2026 <b>wrong</b>"\nlink = "https://example.org/1"\n'
        for row in rows
    )  # fmt: skip


def compared(tmp_path: Path, text: str, capsys: Any) -> tuple[int, Any, str]:
    (tmp_path / "known.toml").write_text(text, encoding="utf-8")
    places = [
        "--report",
        str(tmp_path),
        "--junit",
        str(tmp_path / "junit.xml"),
        "--summary",
        str(tmp_path / "summary.md"),
    ]
    status = main([*COMMAND, "--expect", str(tmp_path / "known.toml"), *places])
    return status, results.load(str(tmp_path / "results.json")), capsys.readouterr().out


def junit(tmp_path: Path) -> dict[str, int]:
    root = ET.parse(tmp_path / "junit.xml").getroot()
    return {tag: len(list(root.iter(tag))) for tag in ("failure", "error")}


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> list[dict[str, Any]]:
    """Those that fail where nothing is expected, each once."""
    report = tmp_path_factory.mktemp("report")
    assert main([*COMMAND, "--report", str(report)]) == 1
    found = [row for row in results.load(str(report / "results.json"))["checks"] if row["failures"]]
    assert not any(row["expected"] for row in found)
    return list({tuple(row[name] for name in ("dtype", "check", "formula")): row for row in found}.values())


def test_a_run_whose_deviations_are_all_expected_agrees(rows, tmp_path, capsys):
    status, content, printed = compared(tmp_path, lines(rows), capsys)
    assert (status, content["verdict"]) == (0, "agree")
    assert {row["found"] for row in content["expected"]} == {"deviates"}
    assert all(row["expected"] for row in content["checks"] if row["failures"])
    assert printed.splitlines()[-1].startswith("agree: ")
    assert printed.splitlines()[-1].endswith(f" entries of {len(rows)} rows deviate as expected.")
    assert "mismatch" not in printed.replace("! mismatch", "")
    assert "expected  WrongValue eager float32, document, step: formula 1: a[0] is… <b>wrong</b>" in printed
    assert junit(tmp_path) == {"failure": 0, "error": 0}
    assert "### Expected to deviate" in (tmp_path / "summary.md").read_text(encoding="utf-8")
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "which are expected to deviate, lies within" in page
    assert 'id="failures"' not in page
    assert "<b>wrong</b>" not in page


def test_a_deviation_that_is_not_expected_is_a_mismatch(rows, tmp_path, capsys):
    status, content, printed = compared(tmp_path, lines(rows[1:]), capsys)
    assert (status, content["verdict"]) == (1, "mismatch")
    unexpected = {
        (row["dtype"], row["check"], row["formula"])
        for row in content["checks"]
        if row["failures"] and not row["expected"]
    }
    assert unexpected == {tuple(rows[0][name] for name in ("dtype", "check", "formula"))}
    assert printed.count("mismatch  WrongValue") == 1
    assert junit(tmp_path) == {"failure": 1, "error": 0}


def test_a_row_that_agrees_again_is_a_failure_of_the_list(rows, tmp_path, capsys):
    agreeing = rows[0] | {"formula": "12", "check": "step"}
    status, content, printed = compared(tmp_path, lines([*rows, agreeing]), capsys)
    assert (status, content["verdict"]) == (1, "mismatch")
    assert [row["formula"] for row in content["expected"] if row["found"] == "agrees"] == ["12"]
    assert (
        f"agrees, and is expected to deviate  WrongValue eager {agreeing['dtype']}, document, step: formula 12: "
        in printed
    )
    assert printed.splitlines()[-1].endswith(" 1 rows that are expected to deviate agree.")
    assert junit(tmp_path) == {"failure": 1, "error": 0}
    assert "### Expected to deviate, but agree" in (tmp_path / "summary.md").read_text(encoding="utf-8")


def test_a_row_that_was_not_compared_is_said_to_be_so_and_fails_nothing(rows, tmp_path, capsys):
    elsewhere = rows[0] | {"adapter": "jax"}
    status, _, printed = compared(tmp_path, lines([*rows, elsewhere]), capsys)
    assert status == 0
    assert f"not compared  jax eager {elsewhere['dtype']}, document, " in printed


def test_a_list_that_cannot_be_read_ends_the_run_before_it_begins(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main([*COMMAND, "--expect", str(tmp_path), "--report", str(tmp_path / "report")])
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith(f"compare: --expect: {tmp_path}: found no readable file")
    assert not (tmp_path / "report").exists()
