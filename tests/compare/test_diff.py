"""What changed between two runs: nothing, bits, a verdict, what was asked for; each with its exit status."""

import base64
import copy
import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.interface import Gradients, Problem
from adapters.numpy_ import NumPy
from compare import bits, results
from compare.__main__ import main
from compare.diff import distance
from compare.run import run
from reference.backprop import backprop
from reference.rounding import FORMATS
from tests.compare.test_results import OPTIONS, job
from tests.reference.networks import random_problem

HERE = "tests.compare.test_diff:"
FAKES = "tests.compare.fake_adapters:"


class OneUlp(NumPy):
    """The last bit of one gradient is another: that of the last weight of the first layer, in the first network."""

    name = "OneUlp"

    def gradients(self, problem: Problem, mode: str) -> Gradients:
        found = super().gradients(problem, mode)
        assert found.dL_dw is not None
        changed = found.dL_dw[0].copy()
        changed[0, 1, 2] = np.nextafter(changed[0, 1, 2], np.inf, dtype=changed.dtype)
        return replace(found, dL_dw=(changed, *found.dL_dw[1:]))


@pytest.fixture(scope="module")
def content() -> Any:
    adapters = (
        "numpy",
        HERE + "OneUlp",
        FAKES + "WrongValue",
        FAKES + "NoDelta",
        FAKES + "NoFloat64",
        FAKES + "Crashes",
    )
    outcome = run([job(adapter) for adapter in adapters], timeout=120)
    return json.loads(json.dumps(results.as_json(outcome, OPTIONS), allow_nan=False))


@pytest.fixture
def compared(tmp_path, capsys):
    def compared(old: Any, new: Any, *options: str) -> tuple[int, str]:
        for name, one in (("old", old), ("new", new)):
            (tmp_path / f"{name}.json").write_text(json.dumps(one))
        try:
            status = main(["diff", str(tmp_path / "old.json"), str(tmp_path / "new.json"), *options])
        except SystemExit as end:
            status = int(end.code or 0)
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return compared


def only(content: Any, *adapters: str) -> Any:
    """A run of these adapters alone."""
    return content | {
        "adapters": [adapter for adapter in content["adapters"] if adapter["name"] in adapters],
        "checks": [row for row in content["checks"] if row["adapter"] in adapters],
        "bits": {name: own for name, own in content["bits"].items() if name in adapters},
    }


def test_two_runs_of_the_same_have_the_same_bits(content, compared):
    again = results.as_json(run([job("numpy")], timeout=120), OPTIONS)
    status, text = compared(only(content, "numpy"), again)
    assert status == 0
    assert text.splitlines()[-1] == "same bits: all 28 quantities; every verdict is the same."


def test_one_bit_in_one_entry_is_seen(content, compared):
    status, text = compared(content, content, "--frameworks", "numpy", "OneUlp")
    assert status == 3
    assert text.splitlines()[-1].startswith("bits changed: 2 of 28 quantities")
    for dtype in ("float32", "float64"):
        table, bits = (line for line in text.splitlines() if dtype in line)
        assert table.split()[:6] == ["OneUlp", "eager", dtype, "1/14", "1/60", "1"]
        assert bits == f"bits  OneUlp eager {dtype}, document, end-to-end: dL_dw"


def test_a_verdict_that_changed_is_named_with_both(content, compared):
    status, text = compared(content, content, "--frameworks", "numpy", "WrongValue")
    assert status == 1
    assert "verdict  WrongValue eager float32, document, step: mismatch, was agree: formula 1, " in text
    assert text.splitlines()[-1].startswith("verdicts changed: ")
    status, text = compared(content, content, "--frameworks", "WrongValue", "numpy")
    assert status == 1
    assert "verdict  numpy eager float32, document, step: agree, was mismatch: formula 1, " in text


@pytest.mark.parametrize(
    ("adapter", "line"),
    [
        ("NoDelta", "NoDelta eager float64, document, step: not covered, was agree: formula 14, 21, "),
        ("NoFloat64", "NoFloat64 eager float64, document, step: not available, was agree: formula 1, 2, 3, "),
        ("Crashes", "Crashes eager float64, document, step: failed, was agree: formula 1, 2, 3, "),
    ],
)
def test_what_is_not_there_any_more_is_a_verdict_that_changed(adapter, line, content, compared):
    status, text = compared(content, content, "--frameworks", "numpy", adapter)
    assert status == 1
    assert f"verdict  {line}" in text


def test_a_formula_that_is_gone_is_not_covered(content, compared):
    numpy = only(content, "numpy")
    fewer = numpy | {"checks": [row for row in numpy["checks"] if row["formula"] != "13"]}
    status, text = compared(numpy, fewer)
    assert status == 1
    assert "verdict  numpy eager float32, document, step: not covered, was agree: formula 13\n" in text


def test_what_only_one_run_was_asked_for_is_lost_or_gained(content, compared):
    numpy, fewer = only(content, "numpy"), copy.deepcopy(only(content, "numpy"))
    fewer["checks"] = [row for row in fewer["checks"] if row["dtype"] == "float32"]
    del fewer["bits"]["numpy"]["eager"]["float64"]
    rows = len(numpy["checks"]) - len(fewer["checks"])
    for old, new, word in ((numpy, fewer, "lost"), (fewer, numpy, "gained")):
        status, text = compared(old, new)
        assert status == 0
        assert f"{word}  numpy eager float64: {rows} rows" in text


def test_modes_are_compared_with_one_another(content, compared):
    both = copy.deepcopy(only(content, "numpy"))
    both["checks"] += [row | {"mode": "other"} for row in both["checks"]]
    both["bits"]["numpy"]["other"] = copy.deepcopy(both["bits"]["numpy"]["eager"])
    assert compared(both, both, "--modes", "eager", "other")[0] == 0
    both["bits"]["numpy"]["other"]["float32"]["document"]["step"]["a"] = both["bits"]["numpy"]["eager"]["float32"][
        "document"
    ]["step"]["dL_dw"]
    status, text = compared(both, both, "--modes", "eager", "other")
    assert status == 3
    assert [line.split()[:5] for line in text.splitlines() if line.startswith("numpy")] == [
        ["numpy", "other", "float32", "1/14", "0/0"]
    ]


def test_a_quantity_of_another_shape_is_infinitely_far(content, compared):
    numpy, other = only(content, "numpy"), copy.deepcopy(only(content, "numpy"))
    other["kept"]["0" * 16] = {"entries": 1, "dtype": "float32", "kept": "AAAAAA=="}
    other["bits"]["numpy"]["eager"]["float32"]["document"]["step"]["a"] = "0" * 16
    status, text = compared(numpy, other)
    assert status == 3
    assert [line.split()[3:6] for line in text.splitlines() if line.startswith("numpy")] == [["1/14", "0/0", "∞"]]


def test_errors_say_which_is_nearer_to_the_exact_derivative(content, compared):
    numpy, worse = only(content, "numpy"), copy.deepcopy(only(content, "numpy"))
    for row in worse["checks"]:
        row["worst_ulp"] *= 2
    assert compared(numpy, worse)[1].count(" worse") == 2
    assert compared(worse, numpy)[1].count(" better") == 2
    assert " worse" not in compared(numpy, numpy)[1]


def test_other_problems_are_not_compared(content, compared):
    other = copy.deepcopy(only(content, "numpy"))
    other["environment"]["problems"]["document float32"] = "0" * 64
    status, text = compared(only(content, "numpy"), other)
    assert status == 0
    assert "not compared  made of other bytes: document float32" in text
    assert "all 14 quantities" in text


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--frameworks", "numpy", "torch"), "new.json: found no adapter 'torch', expected one of numpy"),
        (("--modes", "jit", "eager"), "old.json: found no mode 'jit', expected one of eager"),
    ],
)
def test_a_name_that_is_not_there_is_one_sentence(options, sentence, content, compared):
    status, text = compared(only(content, "numpy"), only(content, "numpy"), *options)
    assert status == 2
    assert text.endswith(sentence + "\n")


def test_names_from_outside_are_text_on_one_line(content, compared):
    name = "[bold]numpy[/bold]\x1b[2J\n"
    numpy, changed = only(content, "numpy"), copy.deepcopy(only(content, "OneUlp"))
    for own in (numpy, changed):
        (adapter,) = own["adapters"]
        own["bits"] = {name: own["bits"][adapter["name"]]}
        own["adapters"] = [adapter | {"name": name}]
        own["checks"] = [row | {"adapter": name} for row in own["checks"]]
    status, text = compared(numpy, changed)
    assert status == 3
    assert "\x1b" not in text
    assert "bits  [bold]numpy[/bold]\\x1b[2J\\n eager float32, document, end-to-end: dL_dw\n" in text


def test_runs_of_nothing_in_common_are_one_sentence(content, compared):
    status, text = compared(only(content, "numpy"), only(content, "OneUlp"))
    assert status == 2
    assert "expected rows on the same problems" in text


# --- bits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FORMATS)
@given(st.data())
def test_distance_counts_the_numbers_between(dtype, data):
    """Against a walk of nextafter, which ml_dtypes has too."""
    size = np.dtype(dtype).itemsize
    start = np.array([data.draw(st.integers(0, 2 ** (8 * size) - 1))], f"u{size}").view(dtype)
    steps, up = data.draw(st.integers(0, 5)), data.draw(st.booleans())
    if not np.isfinite(start.astype(float))[0]:
        return
    end, target = start.copy(), np.array([np.inf if up else -np.inf], dtype)
    with np.errstate(all="ignore"):
        for _ in range(steps):
            end = np.nextafter(end, target)
    taken = steps
    if start[0] == 0 or end[0] == 0 or (start[0] < 0) != (end[0] < 0) or not np.isfinite(end.astype(float))[0]:
        return  # ±0 are no step apart, and there is no number after the last
    assert distance(start, end) == (int(steps > 0), float(taken))


def test_distance_of_special_numbers():
    zero, inf, nan = np.float32(0), np.float32(np.inf), np.float32(np.nan)
    least = np.nextafter(zero, np.float32(1))

    def apart(a, b):
        return distance(np.array([a], np.float32), np.array([b], np.float32))

    assert apart(zero, zero) == apart(nan, nan) == (0, 0)
    assert apart(-zero, zero) == (1, 0)
    assert apart(-least, least) == (1, 2)
    assert apart(nan, -nan) == (1, 0)
    assert apart(nan, zero) == apart(zero, nan) == (1, math.inf)
    assert apart(np.finfo(np.float32).max, inf) == (1, 1)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_what_is_kept_are_entries_of_the_quantity(dtype):
    problem = random_problem((2, 3, 2), stack=(40,), dtype=dtype)
    trace: Any = backprop(problem)
    digest, kept = bits.quantities([trace], dtype)["dL_dw"]
    flat = np.concatenate([array.reshape(-1) for array in trace.dL_dw])
    numbers = np.frombuffer(base64.b64decode(kept.kept), kept.dtype)
    assert (kept.entries, kept.dtype, numbers.size) == (40 * 12, dtype, 100)
    assert set(numbers) <= set(flat)
    assert (numbers[0], numbers[-1]) == (flat[0], flat[-1])
    trace.dL_dw[1][-1, -1, -1] += 1
    assert bits.quantities([trace], dtype)["dL_dw"][0] != digest


def test_a_quantity_in_another_precision_has_no_bits():
    trace = backprop(random_problem((2, 3, 2)))
    assert "a" in bits.quantities([trace], "float64")
    assert bits.quantities([trace], "float32") == {}
