"""index.html: made of results alone, whole in itself, every number where it belongs, and nothing from outside as markup."""

import copy
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters import REGISTRY, load
from compare import check, results
from compare.__main__ import main
from compare.problems import random_problem
from compare.published import Judged, Wrong
from compare.report import figure, page, pictures
from compare.report.reproduce import _WRITTEN, reproduction
from compare.run import Outcome, run
from compare.tally import Key, to_json
from compare.worker import Job
from reference.backprop import backprop
from reference.formulas import LEDGER

FAKES = "tests.compare.fake_adapters:"
OPTIONS: dict[str, Any] = {
    "device": "cpu", "networks": 160, "seed": 3, "dtypes": ["float32", "float64", "float16"], "problems": ["document"],
    "modes": None, "vectors": [],
}  # fmt: skip


def job(adapter: str) -> Job:
    return Job(adapter, "cpu", None, OPTIONS["dtypes"], ["document"], True, networks=160, seed=3)


def content(*adapters: str) -> dict[str, Any]:
    outcome = run([job(adapter) for adapter in adapters], timeout=120)
    return as_content(outcome)


def as_content(outcome: Outcome) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(results.as_json(outcome, OPTIONS), allow_nan=False))
    return found


@pytest.fixture(scope="module")
def agreeing() -> dict[str, Any]:
    return content("numpy", FAKES + "NoFloat64")


@pytest.fixture(scope="module")
def failing() -> dict[str, Any]:
    return content(
        "numpy", *(FAKES + name for name in ("WrongValue", "NotANumber", "WrongDtype", "Crashes", "ReturnsNothing"))
    )


class Element:
    """An element of a page, what is in it, and its text."""

    def __init__(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tag, self.attributes = tag, dict(attributes)
        self.inside: list[Element | str] = []

    @property
    def text(self) -> str:
        return " ".join("".join(part if isinstance(part, str) else f" {part.text} " for part in self.inside).split())

    def all(self, tag: str = "", **attributes: str) -> Iterator["Element"]:
        for part in self.inside:
            if isinstance(part, Element):
                if tag in ("", part.tag) and all(part.attributes.get(n) == v for n, v in attributes.items()):
                    yield part
                yield from part.all(tag, **attributes)

    def one(self, tag: str = "", **attributes: str) -> "Element":
        (found,) = self.all(tag, **attributes)
        return found


class Parser(HTMLParser):
    """The standard parser, with a tree; strict about end tags, but for those that need none."""

    VOID = ("meta", "br", "link")

    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("page", [])]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, attrs)
        self.open[-1].inside.append(element)
        if tag not in self.VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].inside.append(Element(tag, attrs))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self.open[-1].inside.append(data)


def parsed(html: str) -> Element:
    parser = Parser()
    parser.feed(html)
    parser.close()
    (root,) = parser.open
    return root


@pytest.fixture(scope="module")
def shown(agreeing: dict[str, Any]) -> Element:
    return parsed(page.make([agreeing]))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves pictures out, which take most of a page's time."""
    for name in ("saturation", "growth", "learning"):
        monkeypatch.setattr(pictures, name, lambda *_: [])


# --- whole in itself ------------------------------------------------------------------------------------------------


def test_nothing_is_fetched(agreeing):
    html = page.make([agreeing])
    root = parsed(html)
    assert "//" not in re.sub(r"// what a link.*|/\*.*?\*/", "", html)  # neither http:// nor //host
    for name in ("src", "data", "action", "srcset", "xlink:href", "background"):
        assert not [element for element in root.all() if name in element.attributes]
    assert all(
        str(element.attributes["href"]).startswith("#") for element in root.all() if "href" in element.attributes
    )
    assert not list(root.all("link")) + list(root.all("img")) + list(root.all("iframe"))
    assert "@import" not in html
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)", html))


def test_links_and_ids_of_the_page_are_whole(shown):
    ids = [element.attributes["id"] for element in shown.all() if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    for element in shown.all():
        if "href" in element.attributes:
            assert element.attributes["href"][1:] in ids
        if "aria-labelledby" in element.attributes:
            assert element.attributes["aria-labelledby"] in ids


def test_size_and_headings(agreeing, shown):
    assert len(page.make([agreeing]).encode()) < 1.5e6
    assert shown.one("html").attributes["lang"] == "en"
    levels = [int(element.tag[1]) for element in shown.all() if re.fullmatch("h[1-6]", element.tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later <= before + 1 for before, later in pairwise(levels))


def test_same_results_make_the_same_page(agreeing):
    assert page.make([agreeing]) == page.make([copy.deepcopy(agreeing)])


# --- verdict and ledger ---------------------------------------------------------------------------------------------


def test_verdict_in_one_sentence_and_what_was_compared(agreeing, shown):
    entries = sum(row["entries"] for row in agreeing["checks"])
    verdict = next(shown.all("p")).text
    assert verdict.startswith("agree :")
    assert f"every one of {entries:,} entries lies within its derived bound" in verdict
    assert f"NumPy {np.__version__}" in verdict
    facts = next(shown.all("dl")).text
    for fact in ("float64, float32, float16", "2 ways to run", "eager", "seed, digest 3,", "160 networks"):
        assert fact in facts


@pytest.mark.parametrize("formula", LEDGER, ids=lambda formula: formula.number)
def test_ledger_has_every_formula_typeset_and_every_row(agreeing, shown, formula):
    entry = shown.one("details", id=f"f{formula.number}")
    maths = next(entry.all("summary")).one("math")
    assert maths.attributes["display"] == "block"
    assert len(maths.text) > 4
    rows = list(next(entry.all("tbody")).all("tr"))
    expected: dict[tuple[str, str, str], list[Any]] = {}
    for row in agreeing["checks"]:
        if (row["formula"], row["check"]) == (formula.number, "step"):
            expected.setdefault((row["adapter"], row["mode"], row["dtype"]), []).append(row)
    assert len(rows) == len(expected) == 5  # NumPy three, the other two precisions
    for row in rows:
        cells = [cell.text for cell in row.inside if isinstance(cell, Element)]
        found = expected[cells[0], cells[1], cells[2]]
        assert cells[3] == f"{sum(c['entries'] for c in found):,}"
        assert cells[4] == page.ulp(max(c["worst_ulp"] for c in found))
        worst = max(c["worst_bound_fraction"] for c in found)
        assert cells[5] == f"{worst:.2f}"
        assert row.one("i").attributes["style"] == f"--f:{100 * worst:.0f}%"
        command = shown.one("li", id=str(row.one("a").attributes["href"])[1:]).text
        assert f"--modes {cells[1]} --dtypes {cells[2]} --problems document" in command
        assert re.search(r"document, layer [01]", cells[6])


def test_formulas_are_in_the_document_s_order(shown):
    ids = [details.attributes["id"] for details in shown.all("details") if "id" in details.attributes]
    assert ids == [*(f"f{formula.number}" for formula in LEDGER), "ends", "commands"]


@pytest.mark.usefixtures("undrawn")
def test_not_available_and_not_covered_are_visible_with_reasons(shown, failing):
    assert "NoFloat64, eager float64: no float64 here" in shown.text
    text = parsed(page.make([failing])).text
    assert "ReturnsNothing, 3, 4, 6" in text
    assert "not covered: the adapter returns no a" in text
    assert "Crashes, failed: the worker was ended by SIGKILL" in text


@pytest.mark.usefixtures("undrawn")
def test_worst_case_is_shown_where_the_results_have_it(agreeing):
    changed = copy.deepcopy(agreeing)
    for row in changed["checks"]:
        if row["worst"]:
            row["worst"] |= {"array": "a[0]", "network": 7, "entry": [0, 2], "left_out": 9}
            row["worst"] |= {name: {"decimal": "0.125", "hex": "0x1p-3"} for name in ("got", "expected", "allowed")}
            row["worst"]["operands"] = {"x[0, 1]": {"decimal": "0.8125", "hex": "0x1.ap-1"}}
    text = parsed(page.make([changed])).one("details", id="f1").text
    assert "a[0][0, 2], network 7: got 0.125, expected 0.125 ± 0.125 of x[0, 1] = 0.8125 and 9 more repeat" in text


@pytest.mark.usefixtures("undrawn")
def test_every_row_that_compared_something_shows_its_worst_case(agreeing):
    for row in parsed(page.make([agreeing])).one("details", id="f1").all("tr"):
        if any(row.all("i")):  # the bar
            assert ", network " in row.text
            assert ": got " in row.text


# --- failures -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("undrawn")
def test_failures_come_first_with_all_that_is_known(failing):
    root = parsed(page.make([failing]))
    assert next(root.all("p")).text.startswith("mismatch :")
    assert next(h.text for h in root.all("h2")) == "Failures"
    failed = [row for row in failing["checks"] if row["adapter"] == "WrongValue" and row["failures"]]
    first = min(failed, key=lambda row: (row["dtype"], int(row["formula"])))
    case = first["first_failure"]
    block = next(b for b in root.all("div") if b.attributes.get("class") == "failure" and "WrongValue" in b.text)
    for piece in (case["repeat"], case["message"], *case["operands"], case["got"]["hex"], case["expected"]["decimal"]):
        assert piece in block.text
    assert len(list(block.one("math").all())) > 3
    assert "formula 1" in block.text.lower()


@pytest.mark.usefixtures("undrawn")
def test_dtype_that_is_wrong_has_no_numbers_and_no_program(failing):
    root = parsed(page.make([failing]))
    block = next(b for b in root.all("div") if b.attributes.get("class") == "failure" and "WrongDtype" in b.text)
    assert "found dtype float16, expected float32" in block.text
    assert not list(block.all("pre"))


@pytest.mark.usefixtures("undrawn")
def test_wrong_expected_values_are_shown(agreeing):
    changed = copy.deepcopy(agreeing)
    changed["vectors"] = [{"file": "mine.json", "values": 3, "wrong": [{"place": "$.v", "found": "1", "exact": "2.5"}]}]
    text = parsed(page.make([changed])).text
    assert "Wrong values in mine.json" in text
    assert "found 1, expected what the exact value 2.5 rounds to" in text


def spoiled(statement: Any, layer: int, dtype: str) -> dict[str, Any]:
    """The row of a check that found a statement's quantity wrong in one entry."""
    problem = random_problem(np.random.default_rng(5), (2, 3, 2), 1, (4,), dtype)
    trace = backprop(problem)
    if statement.quantity == "loss":
        wrong: Any = trace.loss.copy()  # type: ignore[union-attr]
        wrong[2] += 1
    else:
        wrong = [array.copy() for array in getattr(trace, statement.quantity)]
        wrong[layer][2, 0, 0] += 1
        wrong = tuple(wrong)
    arithmetic = load("numpy").arithmetic("eager", dtype)
    tallies = check.step(problem, replace(trace, **{statement.quantity: wrong}), arithmetic)
    (number,) = (f.number for f in LEDGER if statement in f.statements)
    row = to_json(Key("?", "eager", dtype, "cpu", "document", "step", number, layer), tallies[number, layer])
    assert row["first_failure"]["array"].partition("[")[0] == statement.quantity
    return row


EVERY = [(statement, statement.layers_of((2, 3, 2))[0]) for formula in LEDGER for statement in formula.statements]


def test_every_function_of_the_ledger_is_written():
    assert set(_WRITTEN) == {statement.evaluate for formula in LEDGER for statement in formula.statements}


@pytest.mark.parametrize("adapter", [name for name in REGISTRY if name != "numpy"] + ["numpy"])
def test_programs_of_failures_print_what_is_expected(adapter):
    """Run alone, the framework itself makes no mistake: each program prints a number within what is allowed."""
    programs = []
    for dtype in ("float32", "float64"):
        for statement, layer in EVERY:
            program = reproduction(spoiled(statement, layer, dtype) | {"adapter": adapter})
            assert program is not None
            assert len(program.splitlines()) <= 10
            programs.append(program)
    script = "import json, sys\nfor program in json.load(sys.stdin): exec(program, {})"
    done = subprocess.run(
        [sys.executable, "-c", script], input=json.dumps(programs), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = re.findall(r"^(\S+) expected (\S+) ± (\S+)$", done.stdout, re.MULTILINE)
    assert len(lines) == len(programs)
    for got, expected, allowed in lines:
        assert abs(float(got) - float(expected)) <= float(allowed)


def test_no_program_for_an_unknown_framework_or_a_network_s_gradient():
    row = spoiled(LEDGER[0].statements[0], 0, "float32")
    assert reproduction(row | {"adapter": "theirs"}) is None
    assert reproduction(row | {"adapter": "jax@0.10.2"}) is not None
    assert reproduction(row | {"adapter": "jax", "check": "end-to-end"}) is None


# --- the figure -----------------------------------------------------------------------------------------------------


def test_every_unit_and_weight_of_the_figure_can_be_chosen(shown):
    names = ["x1", "x2", *(f"w{i}{j}" for i in "12" for j in "123"), "h1", "h2", "h3"]
    names += [*(f"u{i}{j}" for i in "123" for j in "12"), "y1", "y2", "t1", "t2"]
    net = shown.one("div", id="net")
    links = {link.attributes["data-pick"]: link for link in net.one("svg", role="group").all("a")}
    assert set(links) == {f"pick-{name}" for name in names}
    assert links["pick-w23"].attributes["aria-label"] == "weight w₂₃ 0.55"
    assert links["pick-w23"].text == "w₂₃ 0.55"
    assert [panel.attributes["id"] for panel in net.all("section")] == [f"pick-{name}" for name in names]


def test_panel_has_the_formula_with_the_numbers_of_the_results(agreeing, shown):
    for dtype in OPTIONS["dtypes"]:
        numbers = agreeing["shown"]["numpy"]["eager"][dtype]["figure"]
        delta, h, gradient, new = (
            numbers[name]["decimal"] for name in ("dL_da[1][0, 1]", "h[0][0, 0]", "dL_dw[1][0, 1]", "w_new[1][0, 1]")
        )
        text = shown.one("section", id="pick-u12").text
        assert f"{dtype} ({delta}) × {h} = {gradient}" in text  # both are negative
        assert f"× ({gradient}) = {new}" in text
        hidden = shown.one("section", id="pick-h1").text
        assert f"{dtype} σ({numbers['a[0][0, 0]']['decimal']}) = {numbers['h[0][0, 0]']['decimal']}" in hidden


def test_expressions_of_the_figure_are_its_results(agreeing):
    """Evaluated, each formula with its numbers gives its result: in float64, to a few units in the last place."""
    numbers = agreeing["shown"]["numpy"]["eager"]["float64"]["figure"]
    steps = [step for part in figure.PARTS for step in part.steps]
    assert len(steps) == 5 * 7 + 12 * 3 + 2
    assert {step.formula for step in steps} >= {"1", "2", "3", "4", "5", "8", "10", "11", "12", "13", "14", "16", "17"}
    for step in steps:
        code = re.sub(r"\{(.*?)\}", lambda name: f"({numbers[name[1]]['decimal']})", step.expression)
        code = code.replace("×", "*").replace("−", "-").replace("½ [", "0.5 * [").replace(")²", ")**2")
        code = code.replace("[", "(").replace("]", ")")
        value = eval(code, {"σ": lambda a: 1 / (1 + np.exp(-a))})
        assert value == pytest.approx(float(numbers[step.result]["decimal"]), rel=1e-13, abs=1e-16)


@pytest.mark.parametrize(
    ("number", "known", "shown"),
    [
        ("0.125", "0.125", "0.125"),
        ("0.126", "0.125", "0.12<mark>6</mark>"),
        ("-0.5", "0.5", "<mark>-0.5</mark>"),
        ("0.1253", "0.125", "0.125<mark>3</mark>"),
        ("0.12", "0.125", "0.1<mark>2</mark>"),
        ("<b>", "0.5", "<mark>&lt;b&gt;</mark>"),
    ],
)
def test_digits_are_marked_from_the_first_that_differs(number, known, shown):
    assert figure.marked(number, known) == shown


@pytest.mark.usefixtures("undrawn")
def test_other_digits_are_a_row_of_their_own_and_marked(agreeing):
    changed = copy.deepcopy(agreeing)
    theirs = changed["shown"]["NoFloat64"]["eager"]["float32"]["figure"]["dL_dw[0][0, 0]"]
    ours = theirs["decimal"]
    theirs["decimal"] = ours[:-1] + ("1" if ours[-1] != "1" else "2")
    panel = parsed(page.make([changed])).one("section", id="pick-w11")
    assert [mark.text for mark in panel.all("mark")] == [theirs["decimal"][-1]] * 2  # its gradient and its step
    assert "float32 0.037" in panel.text
    rows = [row.text for row in panel.all("tr") if row.text.startswith("float32")]
    assert [row.rpartition(" ")[2] for row in rows] == ["NoFloat64", "numpy", "NoFloat64", "numpy", "NoFloat64"][-5:]


@pytest.mark.usefixtures("undrawn")
def test_results_without_the_figure_say_so(agreeing):
    changed = copy.deepcopy(agreeing)
    changed["shown"] = {}
    text = parsed(page.make([changed])).text
    assert "Not shown: the problem “document” was not compared" in text
    failed = copy.deepcopy(agreeing)
    failed["shown"]["NoFloat64"]["eager"]["float32"]["reason"] = "ValueError: no such thing"
    assert "NoFloat64 eager float32: ValueError: no such thing" in parsed(page.make([failed])).text


# --- pictures -------------------------------------------------------------------------------------------------------


def test_pictures_are_drawn_and_described(shown):
    drawn = [svg for svg in shown.all("svg") if svg.attributes.get("role") == "img"]
    assert len(drawn) == 1 + 2 + 2 + 1  # bounds; σ′ of two adapters; growth in two precisions; learning
    for svg in drawn:
        assert len(svg.attributes["aria-label"]) > 50
        assert len(list(svg.all("path"))) > 10
    texts = [svg.text for svg in drawn]
    assert "lost from a = 17" in texts[1]
    assert "lost from a = 37" in texts[1]
    assert "depth, at width 8" in texts[3]
    assert "float16: ULP from the reference's weights" in texts[-1]
    assert {"1", "22", "b2"} <= set(texts[0].split())


# --- nothing from outside is markup ---------------------------------------------------------------------------------


MARKUP = "\"'><script>alert(1)</script><b class=injected onclick=x>$&amp;{{ 7*7 }}%s"


def poisoned(value: Any, kept: tuple[str, ...] = ()) -> Any:
    """Every free text of results.json with markup at its end."""
    if isinstance(value, dict):
        return {key: child if key in kept else poisoned(child, kept) for key, child in value.items()}
    if isinstance(value, list):
        return [poisoned(child, kept) for child in value]
    return value + MARKUP if isinstance(value, str) else value


def test_markup_from_outside_is_text(failing):
    outside = copy.deepcopy(failing)
    kept = (
        "schema",
        "verdict",
        "dtype",
        "check",
        "formula",
        "status",
        "form",
        "problem",
        "dtypes",
        "stage",
        "mode",
        "array",
    )
    names = {adapter["name"]: adapter["name"] + MARKUP for adapter in outside["adapters"]}
    shown = outside.pop("shown")
    outside = poisoned(outside, kept)
    for row in outside["checks"]:
        row["mode"] += MARKUP
        row["problem"] += MARKUP
    outside["shown"] = {
        names[name]: {mode + MARKUP: precisions for mode, precisions in modes.items()} for name, modes in shown.items()
    }
    outside["shown"][names["numpy"]]["eager" + MARKUP]["float32"]["reason"] = MARKUP
    outside["vectors"] = [vars(Judged("f" + MARKUP, 2, ())) | {"wrong": [vars(Wrong(MARKUP, MARKUP, MARKUP))]}]
    outside["adapters"][0]["settings"] = {"blas" + MARKUP: MARKUP}
    outside["environment"]["problems"] = {"document float32" + MARKUP: "0" * 64}
    html = page.make([outside])
    root = parsed(html)
    assert len(list(root.all("script"))) == 1
    assert not list(root.all(**{"class": "injected"}))
    assert not [element for element in root.all() if "onclick" in element.attributes]
    assert "{{ 7*7 }}" in html
    assert "49" not in re.findall(r"\$&amp;amp;(.{9})", html)[0]
    # each of them is there, as the text that it is
    for piece in (names["numpy"], np.__version__ + MARKUP, names["Crashes"], outside["adapters"][-2]["reason"]):
        assert " ".join(piece.split()) in root.text
    assert root.text.count(MARKUP) > 100


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("name", ["_hidden", "a$b$c", "a\\b^{", "Ω≈漢字", "", "%s{}"])
def test_names_are_drawn_as_they_are(agreeing, name):
    changed = json.loads(json.dumps(agreeing).replace('"NoFloat64"', json.dumps(name)))
    root = parsed(page.make([changed]))
    (bounds, *_) = (svg for svg in root.all("svg") if svg.attributes.get("role") == "img")
    assert name in bounds.text


# --- several runs, and the command ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("undrawn")
def test_several_runs_become_one_page(agreeing, failing):
    other = copy.deepcopy(agreeing)
    other["adapters"][0]["version"] = "9.9"
    root = parsed(page.make([agreeing, other, failing]))
    assert next(root.all("p")).text.startswith("mismatch :")
    for label in (f"numpy {np.__version__}", "numpy 9.9", f"numpy {np.__version__} #2", "WrongValue"):
        assert label in root.text
    entries = sum(row["entries"] for run_ in (agreeing, other, failing) for row in run_["checks"])
    assert f"{entries:,} entries" in root.text
    rows = list(next(root.one("details", id="f1").all("tbody")).all("tr"))
    assert len(rows) == 5 + 5 + 3 * 5


def test_compare_names_the_page_before_the_verdict(tmp_path, capsys):
    arguments = ["--frameworks", "numpy", "--problems", "document", "--networks", "5", "--report", str(tmp_path)]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3:-1] == [f"results: {tmp_path / 'results.json'}", f"page: {tmp_path / 'index.html'}"]
    made = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert made == page.make([json.loads((tmp_path / "results.json").read_bytes())])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.html", "results.json"]


@pytest.mark.usefixtures("undrawn")
def test_report_makes_the_page_from_files_alone(agreeing, failing, tmp_path, capsys):
    files = []
    for name, found in (("a.json", agreeing), ("b.json", failing)):
        (tmp_path / name).write_text(json.dumps(found), encoding="utf-8")
        files.append(str(tmp_path / name))
    assert main(["report", *files, "--report", str(tmp_path / "both")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"page: {tmp_path / 'both' / 'index.html'}"
    assert (tmp_path / "both" / "index.html").read_text(encoding="utf-8") == page.make([agreeing, failing])


BAD: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"{", "found no JSON ("),
    "no text": (b"\xff\xfe\x00", "found no JSON ("),
    "too deep": (b"[" * 100_000, "found no JSON ("),
    "a list": (b"[]", "$: [] is not of type 'object', expected a results.json of this version"),
    "nothing": (b"{}", "'schema' is a required property"),
}


@pytest.mark.parametrize(("written", "said"), BAD.values(), ids=BAD)
def test_file_that_is_no_result_is_refused_in_one_sentence(written, said, tmp_path, capsys):
    file = tmp_path / "bad.json"
    file.write_bytes(written)
    with pytest.raises(SystemExit) as end:
        main(["report", str(file), "--report", str(tmp_path)])
    assert end.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"compare report: {file}: ")
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "index.html").exists()


def test_report_without_a_file_or_a_place(tmp_path, capsys, agreeing):
    for arguments, said in (
        ([], "compare report: the following arguments are required: RESULTS.json"),
        ([str(tmp_path / "none.json")], "found no readable file (No such file or directory), expected a results.json"),
    ):
        with pytest.raises(SystemExit) as end:
            main(["report", *arguments])
        assert end.value.code == 2
        assert said in capsys.readouterr().err
    file = Path(tmp_path / "a.json")
    file.write_text(json.dumps(agreeing), encoding="utf-8")
    with pytest.raises(SystemExit):
        main(["report", str(file), "--report", str(file)])
    assert "expected a directory that can be written to" in capsys.readouterr().err


def test_a_page_that_cannot_be_made_costs_neither_the_results_nor_the_verdict(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setattr("compare.report.page.make", lambda _: 1 / 0)
    options = ["--frameworks", "numpy", "--dtypes", "float64", "--problems", "published", "--report", str(tmp_path)]
    assert main(options) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
    assert capsys.readouterr().err == "compare: the page could not be made (ZeroDivisionError: division by zero)\n"
