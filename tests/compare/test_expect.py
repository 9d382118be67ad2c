"""Rows that are known to deviate: the list is read, and strict."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compare import expect
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
