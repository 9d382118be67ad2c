"""The soak: no alarm in correct code, one in faulty code, and the same file however often it is ended."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compare import soak
from compare.problems import DTYPES, build, digest
from compare.run import Outcome, run
from compare.soak import FILE, STACK, Soak, Soaked, main
from compare.tally import from_json, total

FAKES = "tests.compare.fake_adapters:"
ROOT = Path(__file__).parents[2]


def arguments(report: Path, parts: int, *more: str) -> list[str]:
    return ["--networks", str(parts * STACK), "--report", str(report), *(more or ("--frameworks", "numpy"))]


def read(report: Path, file: str = FILE) -> Any:
    return json.loads((report / file).read_text(encoding="utf-8"))


def refused(capsys, *given: str) -> str:
    with pytest.raises(SystemExit) as end:
        main(given)
    assert end.value.code == 2
    return str(capsys.readouterr().err)


# --- what is drawn --------------------------------------------------------------------------------------------------


def test_parts_follow_from_the_seed_and_their_number_alone():
    cases = [(f"soak/{part}", dtype, 3, seed) for part in range(20) for dtype in DTYPES for seed in (0, 1)]
    assert [digest(build(*case)) for case in cases] == [digest(build(*case)) for case in cases]
    assert len({digest(build(*case)) for case in cases}) == len(cases)


@pytest.mark.parametrize("dtype", DTYPES)
def test_parts_have_every_depth_and_every_scale_in_every_array(dtype):
    depths, scales = set(), []
    for part in range(100):
        (problem,) = build(f"soak/{part}", dtype, 100, 0)
        depths.add(problem.network.depth)
        sizes = [np.abs(array.astype(np.float64)).max((-2, -1)) for _, array in problem.named()]
        assert np.all(np.isfinite(sizes))
        scales.append(np.array(sizes)[[0, -3, -2, -1]])  # w and b of a layer, x, t
    assert depths == set(range(1, 9))
    exponents = np.log10(np.concatenate(scales, axis=1))
    ends = 29 if dtype != "float16" else 2
    assert np.all(exponents.min(1) < -ends)
    assert np.all(exponents.max(1) > ends)
    assert np.all(np.mean(np.abs(exponents) < 1.5, axis=1) > 0.5)


# --- what is found --------------------------------------------------------------------------------------------------


def test_correct_code_raises_no_alarm(tmp_path, capsys):
    assert main(arguments(tmp_path, 4, "--frameworks", "numpy", "pytorch")) == 0
    found = read(tmp_path)
    assert [(one["name"], one["parts"]) for one in found["adapters"]] == [("numpy", 4), ("pytorch", 4)]
    assert len({one["problems"] for one in found["adapters"]}) == 1
    for one in found["adapters"]:
        tallies = dict(map(from_json, one["checks"]))
        judged = total(tallies)
        assert judged.failures == 0
        assert judged.entries > 4 * STACK * 50
        assert judged.unjudged < judged.entries / 20
        assert {(key.dtype, key.check) for key in tallies} == {
            (dtype, check) for dtype in ("float32", "float64") for check in ("step", "end-to-end")
        }
        assert {key.problem for key in tallies} == {"soak"}
        assert 0.5 < judged.worst_bound_fraction <= 1
    out = capsys.readouterr().out
    assert f"agree: {4 * STACK:,} networks" in out
    assert found["digest"] in out


def test_a_rare_fault_is_found_named_and_found_again(tmp_path, capsys):
    faulty = ("--frameworks", "--adapter", FAKES + "RarelyWrong")
    numbers = [part for part in range(6) if build(f"soak/{part}", "float32", 1, 0)[0].network.depth == 1]
    assert len(numbers) == 2
    assert main(arguments(tmp_path, 6, *faulty)) == 1
    (one,) = read(tmp_path)["adapters"]
    failed = {key: tally for key, tally in map(from_json, one["checks"]) if tally.failures}
    assert {key.formula for key in failed} == {"5"}
    assert total({key: tally for key, tally in failed.items() if key.check == "step"}).failures == len(numbers)
    first = total(failed).first_failure
    assert first is not None
    assert first.network == numbers[0] * STACK + 1234

    out = capsys.readouterr().out
    (repeat,) = {line for line in out.splitlines() if line.startswith("repeat ") and f"--part {numbers[0]} " in line}
    again = repeat.partition(" -- ")[2].split()
    for _ in range(2):
        assert main([*again, "--report", str(tmp_path)]) == 1
        file = f"soak-part-{numbers[0]}.json"
        (found,) = read(tmp_path, file)["adapters"]
        assert total(dict(map(from_json, found["checks"]))).first_failure == first
        (tmp_path / file).write_text("judged again, not read", encoding="utf-8")


def test_what_a_worker_had_judged_before_it_crashed_is_kept(tmp_path, capsys):
    given = arguments(tmp_path, 4, "--frameworks", "numpy", "--adapter", FAKES + "CrashesOnceCompared")
    for _ in range(2):
        assert main(given) == 2
        assert [one["parts"] for one in read(tmp_path)["adapters"]] == [4, 1]
        out = capsys.readouterr().out
        assert "failed  CrashesOnceCompared: the worker was ended by SIGKILL" in out
        assert "incomplete: " in out


def test_no_part_counts_behind_one_that_was_not_judged(tmp_path, capsys):
    assert main(arguments(tmp_path, 4, "--frameworks", "--adapter", FAKES + "NoFloat64")) == 2
    assert [one["parts"] for one in read(tmp_path)["adapters"]] == [1]
    assert "failed  NoFloat64: no float64 here" in capsys.readouterr().out


# --- how it ends ----------------------------------------------------------------------------------------------------


def start(report: Path, parts: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "compare.soak", *arguments(report, parts)]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def parts_once_kept(report: Path, more_than: int) -> int:
    """How many parts the file holds, once it does."""
    for _ in range(600):
        if (report / FILE).exists() and (parts := read(report)["adapters"][0]["parts"]) > more_than:
            return int(parts)
        time.sleep(0.05)
    raise TimeoutError("no part was kept within 30 s")


def test_ended_and_killed_it_goes_on_to_the_same_file(tmp_path):
    parts = 8
    with start(tmp_path / "ended", parts) as ended:
        parts_once_kept(tmp_path / "ended", 0)
        ended.send_signal(signal.SIGINT)
        _, errors = ended.communicate()
    kept = read(tmp_path / "ended")["adapters"][0]["parts"]
    assert (ended.returncode, errors.count("\n")) == (2, 1), errors
    assert errors.startswith("soak: interrupted by SIGINT; what is done is kept")
    assert 0 < kept < parts

    with start(tmp_path / "ended", parts) as killed:
        parts_once_kept(tmp_path / "ended", kept)
        os.killpg(killed.pid, signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL
    assert kept < read(tmp_path / "ended")["adapters"][0]["parts"] < parts

    for report in ("ended", "whole"):
        with start(tmp_path / report, parts) as whole:
            out, errors = whole.communicate()
        assert (whole.returncode, errors) == (0, ""), out
        assert read(tmp_path / report)["adapters"][0]["parts"] == parts
    assert (tmp_path / "ended" / FILE).read_bytes() == (tmp_path / "whole" / FILE).read_bytes()


def test_a_soak_that_is_done_is_shown_again_and_not_done_again(tmp_path, monkeypatch, capsys):
    assert main(arguments(tmp_path, 1)) == 0
    before = (tmp_path / FILE).read_bytes()
    capsys.readouterr()
    monkeypatch.setattr(soak, "run", lambda jobs, *_: pytest.fail("a worker") if jobs else run_nothing())
    assert main(arguments(tmp_path, 1)) == 0
    assert (tmp_path / FILE).read_bytes() == before
    assert f"agree: {STACK:,} networks" in capsys.readouterr().out


def test_an_end_between_two_writings_costs_nothing(tmp_path, monkeypatch):
    def end_behind_the_third_part(jobs, _timeout, listener):
        def listen(report, event):
            listener(report, event)
            if event["event"] == "start" and event["task"].endswith("soak/3"):
                sys.exit(2)

        return run(jobs, 600, listen)

    monkeypatch.setattr(soak, "PAUSE", 3600)
    monkeypatch.setattr(soak, "run", end_behind_the_third_part)
    with pytest.raises(SystemExit):
        main(arguments(tmp_path, 5))
    assert read(tmp_path)["adapters"][0]["parts"] == 3


def run_nothing():
    return Outcome([], {}, 0)


@pytest.mark.parametrize("more", ["Raises", "Raises --modes nope"])
def test_where_nothing_was_judged_nothing_is_kept_that_could_be_refused_later(tmp_path, capsys, more):
    assert main(arguments(tmp_path, 1, "--frameworks", "--adapter", *f"{FAKES}{more}".split())) == 2
    assert list(tmp_path.iterdir()) == []
    reason = "none of the modes nope" if "nope" in more else "ZeroDivisionError: division by zero"
    assert reason in capsys.readouterr().out


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    report: Path = tmp_path_factory.mktemp("done")
    assert main(arguments(report, 1)) == 0
    return report


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ("--seed 1", "seed 0, expected seed 1"),
        ("--networks 5001", "parts [0, 1], expected parts [0, 2]"),
        ("--dtypes float32", "dtypes ['float32', 'float64'], expected dtypes ['float32']"),
        ("--modes eager", "modes None, expected modes ['eager']"),
        ("--adapter a:B", "adapters ['numpy'], expected adapters ['numpy', 'a:B']"),
    ],
)
def test_other_options_are_refused(done, capsys, more, found):
    before = (done / FILE).read_bytes()
    errors = refused(capsys, *arguments(done, 1), *more.split())
    sentence = (
        f"soak: {done / FILE}: found a soak with {found}; go on with the same options, or name another --report\n"
    )
    assert errors == sentence
    assert (done / FILE).read_bytes() == before


def test_another_version_of_the_code_is_refused(done, monkeypatch, capsys):
    monkeypatch.setattr(soak, "_code", lambda: "0" * 64)
    assert "found a soak with code " in refused(capsys, *arguments(done, 1))


def test_another_version_of_a_framework_is_refused(tmp_path, capsys):
    given = arguments(tmp_path, 2)
    begun = Soak(tmp_path / FILE, *soak._asked(soak._options().parse_args(given), soak._options()))
    begun.adapters["numpy"] = Soaked("numpy", "numpy", "NumPy", "0.1", parts=1)
    begun.write()
    before = (tmp_path / FILE).read_bytes()
    assert f"found NumPy 0.1, expected NumPy {np.__version__}" in refused(capsys, *given)
    assert (tmp_path / FILE).read_bytes() == before


DAMAGED = {
    "an edited count": lambda text: text.replace('"entries": ', '"entries": 1', 1),
    "an edited digest": lambda text: text.replace('"digest": "', '"digest": "0', 1),
    "half of it": lambda text: text[: len(text) // 2],
    "nothing": lambda _: "",
    "a list": lambda _: "[]",
    "another schema": lambda text: text.replace('"schema": "1"', '"schema": "2"', 1),
    "no bytes of Unicode": lambda _: b"\xff",
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_file_is_refused(done, tmp_path, capsys, damage):
    damaged = DAMAGED[damage]((done / FILE).read_text(encoding="utf-8"))
    (tmp_path / FILE).write_bytes(damaged if isinstance(damaged, bytes) else damaged.encode())
    errors = refused(capsys, *arguments(tmp_path, 1))
    assert errors.startswith(f"soak: {tmp_path / FILE}: ")
    assert errors.count("\n") == 1


def test_frameworks_that_were_given_other_networks_do_not_agree(done, tmp_path, capsys):
    given = ["--networks", "1", "--report", str(tmp_path), "--frameworks", "numpy", "pytorch"]
    one = Soaked.from_json(read(done)["adapters"][0])
    begun = Soak(tmp_path / FILE, *soak._asked(soak._options().parse_args(given), soak._options()))
    other = hashlib.sha256(b"other networks").hexdigest()
    begun.adapters |= {"numpy": one, "pytorch": replace(one, spec="pytorch", name="pytorch", problems=other)}
    begun.write()
    assert main(given) == 2
    assert f"failed  pytorch: problems: digest {other[:12]}, expected {one.problems[:12]}" in capsys.readouterr().out
