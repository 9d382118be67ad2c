"""The bench: its ratios follow from the samples, a missed goal says so, and what cannot be measured is one sentence."""

import itertools
import json
import os
import signal
import time
from statistics import median
from types import SimpleNamespace

import numpy as np
import pytest

from adapters.numpy_ import NumPy
from bench import __main__ as command
from bench import gradient, growth, million, picture, report, verify, whole
from bench.__main__ import main
from bench.goals import MISSED, UNDECIDED, Goal
from bench.process import Failed, processes
from bench.timing import PATIENCE, interleaved, samples
from bench.workloads import demand_agreement, full_check, multiplications, network, parameters
from compare.run import ROOT
from compare.tally import Tally
from tests.faults.catalogue import FAULTS

SEEN = {"check": "gradcheck", "framework": "pytorch", "complete": True, "least": (1e-3, 1e-2)}


def cells(markdown, start):
    (line,) = [line for line in markdown.splitlines() if line.startswith(f"| {start}")]
    return [cell.strip() for cell in line.strip("|").split("|")]


# --- goals and tables ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("goal", "number", "at_least", "mark"),
    [
        (Goal(2), 2.0, False, ""),
        (Goal(2), 2.01, False, MISSED),
        (Goal(2), float("nan"), False, MISSED),
        (Goal(2), 1.0, True, UNDECIDED),
        (Goal(2), 3.0, True, MISSED),
        (Goal(1000, least=True), 1000, False, ""),
        (Goal(1000, least=True), 999, False, MISSED),
        (Goal(1000, least=True), 1001, True, ""),
        (Goal(1000, least=True), 999, True, UNDECIDED),
    ],
)
def test_a_goal_is_met_or_says_so(goal, number, at_least, mark) -> None:
    assert goal.judge("it", number, at_least=at_least) == f"it {mark}".rstrip()


def test_verifying_is_compared_with_each_peer() -> None:
    def timed(check, parameters, seconds):
        return {"framework": "pytorch", "check": check, "parameters": parameters, "seconds": seconds}

    fast = SEEN | {"check": "gradcheck, fast mode", "complete": False}
    ours = [timed(verify.OURS, 9610, 0.01), timed(verify.OURS, 101_770, 0.1)]
    peers = [timed("gradcheck", 9610, 5.0), timed("gradcheck", 101_770, None)]
    quick = [timed("gradcheck, fast mode", 9610, 0.005), timed("gradcheck, fast mode", 101_770, 0.01)]
    shown = verify.show({"limit": 600.0, "times": [*ours, *peers, *quick], "seen": [SEEN, fast]})
    assert cells(shown, "pytorch gradcheck | 9,610")[2:] == ["5.00 s", "10.0 ms", f"500 × {MISSED}"]
    assert cells(shown, "pytorch gradcheck | 101,770")[2:] == ["> 600 s", "100 ms", "> 6,000 ×"]
    assert cells(shown, "pytorch gradcheck, fast mode | 9,610")[4] == "0.50 ×"
    assert cells(shown, "pytorch gradcheck, fast mode | 101,770")[4] == f"0.10 × {MISSED}"
    assert "pytorch 0.98" in shown  # log 10 by log 10.59
    assert cells(shown, "pytorch gradcheck | yes")[2:] == ["1.0e-03", "1.0e-02"]


def test_the_reference_is_compared_with_the_fastest() -> None:
    seconds = {"numpy eager": 3e-6, "jax jit": 2e-6, "pytorch eager": 9e-6, "tensorflow xla": None}
    case = {"widths": (2, 3, 2), "batch": 1, "dtype": "float64", "seconds": seconds}
    large = case | {"widths": (2048, 2048, 2048), "seconds": seconds | {"jax jit": 2.7e-6}}
    shown = gradient.show({"limit": 600.0, "peaks": {"float64": 1e8}, "times": [case, large]})
    assert cells(shown, "2-3-2")[3:] == ["3.00 µs", "jax jit", "2.00 µs", f"1.50 × {MISSED}", "20.0%"]  # 60 operations
    assert cells(shown, "2048")[6] == "1.11 ×"


def test_a_million_must_take_ten_seconds_and_a_gibibyte() -> None:
    row = {"framework": "jax", "dtype": "float32", "entries": 7, "seconds": 9.0, "peak": 2**30 + 1, "imported": 2**20}
    shown = million.show(
        {"limit": 600.0, "networks": 10, "processes": 2, "times": [row, row | {"framework": "torch", "seconds": None}]}
    )
    assert cells(shown, "jax")[3:] == ["9.00 s", f"1,024 MiB {MISSED}", "1.00 MiB"]
    assert cells(shown, "torch")[3] == f"> 600 s {MISSED}"


def test_growth_is_fitted_to_the_larger_half() -> None:
    rows = [{"widths": (n,), "multiplications": n, "check": 1.0 if n < 100 else n**1.2, "gradient": n / 4, "peak": 5 * n}
            for n in (1, 10, 100, 1000, 10_000)]  # fmt: skip
    shown = growth.show({"times": rows})
    assert f"time by the power 1.20 {MISSED}, memory by the power 1.00." in shown
    assert cells(shown, "1 |")[4] == "4.00 ×"
    assert cells(shown, "100 ")[4] == f"10.0 × {MISSED}"


def test_the_whole_is_compared_with_the_imports() -> None:
    seconds = {"torch": 2.0, whole.ALL: 10.0, whole.FROM_ENVIRONMENT: 70.0, whole.FROM_CLONE: 300.0}
    shown = whole.show({"quick": False, "seconds": seconds})
    assert cells(shown, whole.FROM_ENVIRONMENT)[1:] == ["70.0 s", f"7.00 × {MISSED}"]
    assert cells(shown, whole.FROM_CLONE)[1:] == ["300 s", "30.0 ×"]


def test_the_readme_has_the_marks_and_takes_the_tables() -> None:
    found = {"whole": {"circumstances": report.circumstances(), "quick": True, "seconds": {whole.ALL: 1.0}}}
    text = report.markdown(found)
    assert "Goals missed: 0." in text
    assert "numpy 2" in text
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    once = report.put_into(readme, text)
    assert text in once
    for mark, side in ((report.BEGIN, 0), (report.END, 1)):
        assert once.split(mark)[side] == readme.split(mark)[side]
    assert report.put_into(once, "another") == report.put_into(readme, "another")
    with pytest.raises(ValueError, match="found no"):
        report.put_into("no marks", text)


def test_the_picture_has_what_was_measured() -> None:
    rows = [{"multiplications": n, "check": n, "gradient": n, "peak": n} for n in (10, 100, 1000, 10_000)]
    svg = picture.draw({"growth": {"times": rows}})
    assert svg is not None
    assert svg.count("<svg") == 1
    assert picture.draw({}) is None


# --- networks and samples -----------------------------------------------------------------------------------------------


def test_the_networks_have_the_sizes_of_the_goals() -> None:
    assert [parameters(widths) for widths in verify.NETWORKS] == [17, 808, 9_610, 101_770]
    sizes = [multiplications(widths, 1) for widths in growth.NETWORKS]
    assert sizes[0] == 2 * 6 + 3 * 6
    assert sizes[-1] / sizes[0] > 1e6
    assert sizes == sorted(sizes)


def test_what_is_wrong_is_not_measured(monkeypatch) -> None:
    problem = network((2, 3, 2), 1, "float64")
    run = gradient._ready("numpy", "eager", (2, 3, 2), 1, "float64")
    first, *others = run()
    twice = SimpleNamespace(gradient=lambda *_: lambda: (2 * first, *others))
    monkeypatch.setattr(gradient, "own_code", lambda _: twice)
    with pytest.raises(ValueError, match="formula 21, layer 0: found 6 failures"):
        gradient._ready.__wrapped__("numpy", "eager", (2, 3, 2), 1, "float64")
    full_check(NumPy(), problem)
    with pytest.raises(ValueError, match="formula 8, layer 0: found 6 failures"):
        full_check(FAULTS["ascent"].adapter(), problem)
    with pytest.raises(ValueError, match="no entry"):
        demand_agreement({("1", 0): Tally()})


def test_samples_are_seconds_of_one_call() -> None:
    assert 0.02 <= median(samples(lambda: time.sleep(0.02))) < 0.2


def test_samples_are_taken_in_turns_and_the_limit_ends_them() -> None:
    order = []

    def call(name, *answers):
        left = iter(answers)

        def sample():
            order.append(name)
            found = next(left)
            if found is None:
                raise TimeoutError
            return found

        return sample

    found = interleaved({"a": call("a", [1.0, 5.0], [2.0], [9.0, 3.0]), "b": call("b", [1.0], None)}, rounds=3)
    assert "".join(order) == "ababa"
    assert found == {"a": 3.0, "b": None}


def test_a_slow_call_has_one_turn(monkeypatch) -> None:
    clock = itertools.count(0, PATIENCE + 1)
    monkeypatch.setattr("bench.timing.time.perf_counter", lambda: next(clock))
    turns = iter([[1.0]])  # one
    assert interleaved({"slow": lambda: next(turns)}, rounds=3) == {"slow": 1.0}


# --- processes --------------------------------------------------------------------------------------------------------------


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_answers_fails_dies_is_late_and_is_there_again() -> None:
    with processes(["numpy"]) as own:
        process = own["numpy"]
        assert process.call(multiplications, (2, 3, 2), 1) == 30
        with pytest.raises(Failed, match=r"^numpy: int: ValueError: invalid literal for int"):
            process.call(int, "one\ntwo")
        with pytest.raises(Failed, match=r"^numpy: its process ended with status 3 in _exit$"):
            process.call(os._exit, 3)
        with pytest.raises(TimeoutError):
            process.call(time.sleep, 60, limit=0.01)
        assert process.call(np.add, 1, 1) == 2
        process._process.kill()
        process._process.join()
        with pytest.raises(Failed, match=r"^numpy: its process ended by SIGKILL in add$"):
            process.call(np.add, 1, 1)


def test_a_worker_that_dies_is_one_sentence_and_status_2(monkeypatch, capsys) -> None:
    monkeypatch.setattr(growth, "_sample", die)
    with pytest.raises(SystemExit) as ended:
        main(["growth", "--quick"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == "bench: numpy: its process ended by SIGKILL in die\n"


@pytest.mark.parametrize("arguments", [["speed"], ["--limit", "0"], ["growth", "--fast"]])
def test_bad_input_is_one_sentence(arguments, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence.startswith("bench: ")


def test_a_part_is_measured_printed_and_written_beside_the_others(monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.setattr(growth, "NETWORKS", growth.NETWORKS[:2])
    monkeypatch.setattr(command, "HERE", tmp_path)
    monkeypatch.setattr(command, "ROOT", tmp_path)
    unwritten = (ROOT / "README.md").read_text(encoding="utf-8")
    (tmp_path / "README.md").write_text(unwritten, encoding="utf-8")
    before = {"whole": {"circumstances": report.circumstances(), "quick": True, "seconds": {whole.ALL: 1.0}}}
    (tmp_path / command.RESULTS).write_text(json.dumps(before), encoding="utf-8")
    status = main(["growth"])
    printed = capsys.readouterr().out
    times = cells(printed, "8-8-8")
    assert times[1] == "320"
    assert times[5].endswith("MiB")
    assert status == (1 if MISSED in printed else 0)
    found = json.loads((tmp_path / command.RESULTS).read_text(encoding="utf-8"))
    assert list(found) == ["whole", "growth"]
    readme = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert report.put_into(unwritten, "") == report.put_into(readme, "")
    assert cells(readme, "8-8-8") == times
    assert cells(readme, "import of all")[2] == "1.00 ×"
    assert (tmp_path / command.PICTURE).read_text(encoding="utf-8").count("<svg") == 1
