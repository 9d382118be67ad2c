"""What CI systems show of a run: JUnit XML, a summary in Markdown, annotations. All of it of results.json alone, every
verdict and reason in it, and nothing from outside as markup.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from itertools import product
from typing import Any
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from compare import results
from compare.published import Judged, Wrong
from compare.report import github, junit, summary, words
from compare.report.words import plain
from compare.run import AdapterReport, Outcome
from compare.tally import Failure, Key, Number, Tally
from reference.formulas import LEDGER

OPTIONS: dict[str, Any] = {
    "device": "cpu", "networks": 5, "seed": 0, "dtypes": ["float32", "float64"], "problems": ["document"],
    "modes": None, "vectors": [],
}  # fmt: skip

HOSTILE = (
    "a|b\\|c `d` ``e <script>alert(1)</script> &amp; \"f\" 'g' **h** _i_ ~~j~~ [k](http://l.m) ![n](o) @user me@p.q #12"
    "\n::error::r\r\n\r##[error]s %0A%25 , : \x1b[31mt\x00\x08\x85\u2028\u202e\ud800\ufffe ]]> --> [red]u[/] www.v.w WWW.v.w\n# x\n- y\n```"
)
"""In place of everything that comes from outside."""


def key(adapter: str, mode: str, dtype: str, formula: str, check: str = "step", layer: int = 0) -> Key:
    return Key(adapter, mode, dtype, "cpu", "document", check, formula, layer)


def failing(text: str = "x") -> Tally:
    half = Number("0.5", "0x1.0p-1")
    failure = Failure(
        array=text, network=3, entry=(0, 1), operands={text: half}, stage="value", message=text,
        got=half, expected=half, allowed=half,
    )  # fmt: skip
    return Tally(10, 2, 1.5, 2.0, failure)


def outcome(name: str = "good", mode: str = "eager") -> Outcome:
    """An adapter whose every formula agrees."""
    tallies = {
        key(name, mode, dtype, formula.number, check): Tally(1000, 0, 0.75, 12.5)
        for dtype, formula, check in product(OPTIONS["dtypes"], LEDGER, ("step", "end-to-end"))
    }
    report = AdapterReport(name, name, framework="Good", version="1.2", status="compared", modes=[mode])
    return Outcome([report], tallies, 61.25)


def merged(*outcomes: Outcome) -> Outcome:
    reports = [report for one in outcomes for report in one.adapters]
    return Outcome(reports, {k: t for one in outcomes for k, t in sorted(one.tallies.items())}, 61.25)


def content(found: Outcome) -> dict[str, Any]:
    valid: dict[str, Any] = json.loads(json.dumps(results.as_json(found, OPTIONS), allow_nan=False))
    return valid


@pytest.fixture
def hostile() -> Outcome:
    """Every text that an adapter or a vector file can bring holds markup of every kind."""
    found = outcome(HOSTILE, HOSTILE)
    one = key(HOSTILE, HOSTILE, "float32", "13")
    found.tallies[one] = failing(HOSTILE)
    found.tallies[one._replace(formula="12")] = Tally(not_covered=HOSTILE)
    found.tallies[one._replace(formula="11")] = Tally(5, 0, 0.5, 1.0, not_covered=HOSTILE, unjudged=7)
    (report,) = found.adapters
    found.adapters = [replace(report, spec=f"x:{HOSTILE}", framework=HOSTILE, version=HOSTILE, python=HOSTILE)]
    found.adapters[0].not_offered = [{"mode": HOSTILE, "dtype": "float64", "reason": HOSTILE}]
    found.adapters.append(AdapterReport(f"y:{HOSTILE}", f"y:{HOSTILE}", reasons=[HOSTILE]))
    found.vectors = [Judged(HOSTILE, 2, (Wrong(HOSTILE, HOSTILE, "0.5"),))]
    return found


def suites(found: Outcome) -> dict[str, ElementTree.Element]:
    return {suite.attrib["name"]: suite for suite in ElementTree.fromstring(junit.make(content(found)))}


# --- JUnit ----------------------------------------------------------------------------------------------------------


def test_a_case_for_each_framework_mode_precision_and_formula():
    found = merged(outcome("a"), outcome("b", "jit"))
    cases = [
        (c.attrib["classname"], c.attrib["name"]) for suite in suites(found).values() for c in suite.iter("testcase")
    ]
    places = [f"{adapter}.{dtype}" for adapter in ("a.eager", "b.jit") for dtype in ("float32", "float64")]
    titles = [*(f"{formula.number}: {formula.text}" for formula in LEDGER), "gradients, end to end"]
    assert cases == list(product(places, titles))


def test_a_case_says_what_was_compared():
    found = outcome()
    found.tallies[key("good", "eager", "float32", "5")] = Tally(7, 0, 0.25, 1.0, not_covered="no loss", unjudged=3)
    case = next(case for case in suites(found)["good"].iter("testcase") if case.attrib["name"].startswith("5: "))
    expected = "7 entries compared, the worst at 0.25 of its bound; 3 not judged; not covered: no loss"
    assert case.findtext("system-out") == expected


def test_a_failure_has_its_numbers_and_the_command_that_repeats_it():
    found = outcome()
    for place in (key("good", "eager", "float64", "13"), key("good", "eager", "float64", "13", layer=1)):
        found.tallies[place] = failing()
    (failure,) = suites(found)["good"].iter("failure")
    assert failure.attrib["message"] == "good eager float64, document, step: formula 13, layer 0: x"
    lines = [" ".join(line.split()) for line in (failure.text or "").splitlines()]
    assert lines == [
        "where x, network 3, entry [0, 1]; 2 of 10 entries failed",
        *(f"{name} 0.5 0x1.0p-1" for name in ("got", "expected", "allowed ±", "x")),
        "repeat nox -s compare -- --frameworks good --modes eager --dtypes float64 --problems document "
        + "--device cpu --networks 5 --seed 0",
        "1 further checks of it failed.",
    ]


def test_what_was_not_compared_is_skipped_with_its_reason():
    found = outcome()
    for check in ("step", "end-to-end"):
        found.tallies[key("good", "eager", "float32", "12", check)] = Tally(not_covered="no da_dw")
        del found.tallies[key("good", "eager", "float64", "18", check)]
    found.adapters[0].not_offered = [{"mode": "eager", "dtype": "float16", "reason": "no halves"}]
    found.adapters.append(AdapterReport("a:B", "a:B", status="not compared"))
    found.adapters[1].not_offered = [{"mode": None, "dtype": None, "reason": "no device"}]
    skipped = {
        (case.attrib["classname"], case.attrib["name"].partition(":")[0]): reason.attrib["message"]
        for suite in suites(found).values() for case in suite.iter("testcase") for reason in case.iter("skipped")
    }  # fmt: skip
    assert skipped == {
        ("good.eager.float32", "12"): "not covered: no da_dw",
        ("good.eager.float64", "18"): "no problem that was run has it",
        ("good.eager.float16", "not available"): "no halves",
        ("a:B", "not available"): "no device",
        ("a:B", "not compared"): "nothing of it was compared",
    }


def ends() -> dict[str, Outcome]:
    """A run for each way to end, and what its verdict is."""
    wrong, crashed, nothing, expected = outcome(), outcome(), outcome(), outcome()
    wrong.tallies[key("good", "eager", "float32", "1", "end-to-end")] = failing()
    crashed.adapters.append(AdapterReport("a:B", "a:B", reasons=["the worker ended", "and again"]))
    nothing.tallies = {place: Tally(not_covered="no trace") for place in nothing.tallies}
    nothing.adapters[0].status = "not compared"
    expected.vectors = [Judged("right.json", 1, ()), Judged("wrong.json", 2, (Wrong("$.values[0]", "1", "2"),))]
    return {"agree": outcome(), "wrong": wrong, "crashed": crashed, "nothing": nothing, "expected": expected}


@pytest.mark.parametrize(("found", "word", "bad"), [
    ("agree", "agree", []),
    ("wrong", "mismatch", [("failure", "good eager float32, document, end-to-end: formula 1, layer 0: x")]),
    ("crashed", "incomplete", [("error", "the worker ended; and again")]),
    ("nothing", "incomplete", [("error", "nothing of it was compared")]),
    ("expected", "mismatch", [("failure", "1 of 2 expected values are wrong")]),
])  # fmt: skip
def test_junit_has_a_failure_or_an_error_if_the_verdict_is_not_agree(found, word, bad):
    run = ends()[found]
    assert run.verdict == word
    root = ElementTree.fromstring(junit.make(content(run)))
    assert [(e.tag, e.attrib["message"]) for e in root.iter() if e.tag in ("failure", "error")] == bad
    for element in (root, *root):
        counts = {"tests": "testcase", "failures": "failure", "errors": "error"}
        counts |= {} if element is root else {"skipped": "skipped"}
        assert {name: element.get(name) for name in counts} == {
            name: str(len(list(element.iter(tag)))) for name, tag in counts.items()
        }
        assert re.fullmatch(r"\d+\.\d{3}", element.attrib["time"])


def test_nothing_from_outside_is_xml(hostile):
    root = ElementTree.fromstring(junit.make(content(hostile)))
    known = {
        "testsuites",
        "testsuite",
        "properties",
        "property",
        "testcase",
        "failure",
        "error",
        "skipped",
        "system-out",
    }
    assert {element.tag for element in root.iter()} == known
    name = plain(HOSTILE)
    assert [suite.attrib["name"] for suite in root] == [name, f"y:{name}", "expected values"]
    assert {p.attrib["name"]: p.attrib["value"] for p in root.iter("property")} == dict.fromkeys(
        ("framework", "version", "python"), name
    )
    (failure, wrong), (error,) = root.iter("failure"), root.iter("error")
    assert failure.attrib["message"].endswith(f"formula 13, layer 0: {name}")
    assert f"where        {name}, network 3" in (failure.text or "")
    assert wrong.text == f"{name}: found {name}, expected what the exact value 0.5 rounds to"
    assert error.attrib["message"] == name
    assert {s.attrib["message"] for s in root.iter("skipped")} == {f"not covered: {name}", name}
    assert {c.attrib["classname"] for c in root.iter("testcase")} >= {f"{name}.{name}.float32", f"y:{name}"}


# --- the summary ----------------------------------------------------------------------------------------------------


class Shown(HTMLParser):
    """A page's elements, the text of each cell, item and block, and what is in no element that GitHub leaves as it is."""

    def __init__(self, markdown: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.bare = ""
        self.feed(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown))

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        assert {name for name, _ in attrs} <= {"style", "class"}
        self.tags.append(tag)
        self.open.append(tag)
        if tag in ("td", "li", "pre", "h2", "h3"):
            self.texts.append((tag, ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.texts and self.open[-1] != "p":
            self.texts[-1] = (self.texts[-1][0], self.texts[-1][1] + data)
        if "code" not in self.open:
            self.bare += data

    def of(self, tag: str) -> Iterator[str]:
        return (text.strip() for name, text in self.texts if name == tag)


def test_summary_has_the_verdict_first_and_a_row_for_each_mode():
    found = merged(outcome("a"), outcome("b", "jit"))
    found.tallies[key("b", "jit", "float64", "3")] = failing()
    found.tallies = {k: t for k, t in found.tallies.items() if (k.adapter, k.dtype) != ("a", "float32")}
    lines = summary.make(content(found)).splitlines()
    assert lines[0] == "## ❌ mismatch"
    assert lines[2] == words.verdict(content(found))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    assert rows[0] == ["framework", "version", "mode", "formulas", "entries", "float64", "float32", "verdict"]
    assert [" ".join(row) for row in rows[2:]] == [
        "<code>a</code> <code>1.2</code> <code>eager</code> 24/24 48,000 0.75 0.75 – ✅ agree",
        "<code>b</code> <code>1.2</code> <code>jit</code> 24/24 95,010 1.50 0.75 0.75 0.75 ❌ mismatch",
    ]


def test_summary_has_the_most_important_failures():
    """The first of each adapter, then the second of each."""
    found = merged(outcome("a"), outcome("b"))
    for adapter, dtype, check in product("ab", OPTIONS["dtypes"], ("step", "end-to-end")):
        for layer, formula in enumerate(("21", "13", "b1")):
            found.tallies[key(adapter, "eager", dtype, formula, check, layer)] = failing()
    blocks = list(Shown(summary.make(content(found))).of("pre"))
    places = [
        f"{a} eager {d}, document, {c}" for d, c, a in product(("float32", "float64"), ("step", "end-to-end"), "ab")
    ]
    assert [block.split(": formula 13, layer 1:")[0] for block in blocks] == places
    for block in blocks:
        assert "\nrepeat       nox -s compare -- " in block
        assert block.endswith("2 further formulas disagree here.")


def test_summary_is_short_whatever_failed():
    found = outcome()
    for i in range(15):
        wrong = key("good", "eager", "float32", "3")._replace(problem=f"p{i}")
        found.tallies[wrong] = failing()
        found.adapters.append(AdapterReport(f"a:B{i}", f"a:B{i}", reasons=["x" * 10_000]))
    markdown = summary.make(content(found))
    shown = Shown(markdown)
    assert (len(list(shown.of("pre"))), len(list(shown.of("li")))) == (10, 10)
    assert markdown.count("… and 5 more: results.json has every one.") == 2
    assert len(markdown) < 30_000


def test_nothing_from_outside_is_markdown(hostile):
    shown = Shown(summary.make(content(hostile)))
    tags = {"h2", "h3", "p", "table", "thead", "tbody", "tr", "th", "td", "code", "ul", "li", "pre"}
    assert set(shown.tags) == tags
    name = plain(HOSTILE)
    cells = list(shown.of("td"))
    assert cells[:3] == [f"{name} under {name}", name, name]
    assert (len(cells), cells[8]) == (16, f"y:{name}")
    assert [item.replace(name, "X").partition(": their ")[0] for item in shown.of("li")] == [
        "y:X: X",
        "X: X: found X, expected what the exact value 0.5 rounds to",
        "X X (float32), 11, 12: X",
        "X, 7 entries of document",
        "X X (float64): X",
    ]
    (block,) = shown.of("pre")
    assert f"where        {name}, network 3, entry [0, 1]; 2 of 10 entries failed" in block
    assert not set("@#<>`") & set(shown.bare)


# --- annotations ----------------------------------------------------------------------------------------------------


def unescaped(text: str) -> str:
    for code, character in {"%3A": ":", "%2C": ",", "%0D": "\r", "%0A": "\n", "%25": "%"}.items():
        text = text.replace(code, character)
    return text


def annotations(found: Outcome) -> list[tuple[str, str, str]]:
    """Kind, title and message of each command, read as GitHub reads it."""
    read = []
    for line in github.commands(content(found)):
        command = re.fullmatch(r"::(error|warning) title=([^:,\r\n]*)::([^\r\n]*)", line)
        assert command
        read.append((command[1], unescaped(command[2]), unescaped(command[3])))
    return read


@pytest.mark.parametrize(("found", "kinds", "title"), [
    ("agree", [], ""),
    ("wrong", ["error"], "mismatch: good eager float32, document, end-to-end: formula 1, layer 0"),
    ("crashed", ["error", "warning"], "failed: a:B"),
    ("nothing", ["warning"], "incomplete"),
    ("expected", ["error"], "mismatch: wrong.json"),
])  # fmt: skip
def test_annotations(found, kinds, title):
    made = annotations(ends()[found])
    assert [kind for kind, _, _ in made] == kinds
    assert [text for _, text, _ in made[:1]] == [title] * bool(kinds)


def test_an_annotation_has_the_numbers_and_the_command():
    ((_, _, message),) = annotations(ends()["wrong"])
    first, *lines = message.splitlines()
    assert first == LEDGER[0].text
    assert lines[0] == "where: x, network 3, entry [0, 1]; 2 of 10 entries failed"
    assert lines[-1].startswith("repeat: nox -s compare -- --frameworks good ")


def test_no_more_annotations_than_github_shows():
    found = outcome()
    for i in range(15):
        found.tallies[key("good", "eager", "float32", "3")._replace(problem=f"p{i:02}")] = failing()
    found.adapters.append(AdapterReport("a:B", "a:B", reasons=["gone"]))
    assert [title.partition(":")[0] for _, title, _ in annotations(found)] == ["failed", *["mismatch"] * 9]


def test_nothing_from_outside_is_a_command(hostile):
    made = annotations(hostile)
    name = plain(HOSTILE)
    assert [(title.replace(name, "X"), name in message) for _, title, message in made] == [
        ("failed: y:X", True), ("mismatch: X X float32, document, step: formula 13, layer 0", True), ("mismatch: X", True)
    ]  # fmt: skip


@pytest.mark.parametrize("running", [True, False])
def test_commands_only_for_github(running, monkeypatch, capsys):
    if running:
        monkeypatch.setenv(github.ACTIONS, "true")
    console = Console(width=20, highlight=False)
    with github.no_commands(console):
        console.print("::error::x")
    github.annotate(content(ends()["crashed"]), console)
    lines = capsys.readouterr().out.splitlines()
    if not running:
        assert lines == ["::error::x"]
        return
    stopped = re.fullmatch(r"::stop-commands::([0-9a-f]{32})", lines[0])
    assert stopped
    assert lines[1:3] == ["::error::x", f"::{stopped[1]}::"]
    assert [line.split()[0] for line in lines[3:]] == ["::error", "::warning"]
