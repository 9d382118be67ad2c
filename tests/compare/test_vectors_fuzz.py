"""Hostile files: refused in one sentence, and nothing else happens, to the loader and to the command line."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from compare.published import MOST_BYTES, MOST_NUMBERS, MOST_WORK, load
from tests.compare import fuzz_vectors

ROOT = Path(__file__).parent.parent.parent
FILES = 2000
SMALL = '{"inputs": {"w": [[[1]]], "b": [[[%s]]], "x": [[1]], "t": [[0]]}}'


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300, check=False)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory, and what is mapped, are Linux's")
def test_mutated_files():
    program = run("tests.compare.fuzz_vectors", str(FILES), "1")
    assert (program.returncode, program.stderr) == (0, "")
    counts = {
        what: int(n.replace(",", "")) for n, what in re.findall(r"^ +([\d,]+)  (.+)$", program.stdout, re.MULTILINE)
    }
    assert sum(counts.values()) == FILES
    for outcome in ("refused", "loaded", "loaded, an expected value wrong"):
        assert counts[outcome] > 5, program.stdout


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        ("raise KeyError('inputs')", "KeyError: 'inputs'\nfile 0 of seed 0"),
        ("raise ValueError('no place')", "AssertionError: no place\nfile 0 of seed 0"),
        ("raise ValueError(f'{path}: $.w: found a\\nb, expected c')", "\nfile 0 of seed 0"),
        ("eval('1')", "SystemError: while loading: compile "),
        ("__import__('pickle').loads(b'cos\\nsystem\\n.')", "SystemError: while loading: "),
        ("open('/dev/null', 'w')", "SystemError: while loading: open "),
        ("open(path, 'a')", "SystemError: while loading: open "),
        ("bytes(2**28)", "MemoryError\nfile 0 of seed 0"),
        (
            "start = time.process_time(); all(iter(lambda: time.process_time() < start + 0.45, False))",
            "AssertionError: ",
        ),
        ("threading.Event().wait(60)", "Timeout (0:00:04)!"),  # time.sleep is an event to hear since Python 3.13
    ],
    ids=["exception", "no place", "two lines", "eval", "pickle", "open", "append", "memory", "slow", "hang"],
)
@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory, and what is mapped, are Linux's")
def test_the_fuzzer_sees_what_a_loader_must_not_do(spoil, error):
    """The loader of a file that is not one of the seeds does it."""
    script = f"""
import threading
import time
from tests.compare import fuzz_vectors as fuzz
load, sane = fuzz.load, set(fuzz.SEEDS) | {{seed[:1] for seed in fuzz.SEEDS}}
def spoiled(path):
    if path.read_bytes() not in sane:
        {spoil}
    return load(path)
fuzz.load, fuzz.SECONDS = spoiled, 0.4
fuzz.Watch._hear, hear = lambda *a: a[1:] != ("open", (str(a[0].path), "r", 524288)) and hear(*a), fuzz.Watch._hear
fuzz.main(1)
"""
    program = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert program.returncode == 1
    assert error in program.stderr


def test_mutations_are_the_same_for_the_same_seed():
    files = [fuzz_vectors.mutated(0, number) for number in range(50)]
    assert [fuzz_vectors.mutated(0, number) for number in range(50)] == files
    assert [fuzz_vectors.mutated(1, number) for number in range(50)] != files


def rows(count: int, *row: object) -> str:
    return str([list(row)] * count)


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        (
            {"w": [rows(1, 1)], "b": [[[0]]], "x": rows(20_000, 1), "t": rows(20_000, 1)},
            f"$.inputs: found 40002 numbers, expected at most {MOST_NUMBERS}",
        ),
        (
            {
                "w": [rows(100, *[1] * 100)],
                "b": [rows(1, *[0] * 100)],
                "x": rows(40, *[1] * 100),
                "t": rows(40, *[1] * 100),
            },
            f"$.inputs: found 40000000 for weights × rows × units of the widest layer, expected at most {MOST_WORK}",
        ),
    ],
    ids=["numbers", "work"],
)
def test_too_much(inputs, sentence, tmp_path):
    file = tmp_path / "large.json"
    file.write_text(f'{{"inputs": {inputs}}}'.replace("'", '"').replace('"[', "[").replace(']"', "]"))
    assert file.stat().st_size < MOST_BYTES
    with pytest.raises(ValueError, match=f"^{re.escape(f'{file}: {sentence}')}$"):
        load(file)


# --- the command line -----------------------------------------------------------------------------------------------

HOSTILE = {
    "empty": (b"", "$: found no readable JSON ("),
    "a directory": (None, "found no readable file (not a regular file)"),
    "nested": (b"[" * 200_000, "$: found no readable JSON (maximum recursion depth exceeded"),
    "exponent": ((SMALL % "1e999999999").encode(), '$.inputs.b[0][0][0]: found "1e999999999", expected a number'),
    "range": (
        (SMALL % "1e999").encode(),
        "$.inputs.b[0][0][0]: found 1E+999, expected a number within the range of float64",
    ),
    "one precision": (
        (SMALL % "7e4").encode(),
        "$.inputs.b[0][0][0]: found 7E+4, expected a number within the range of float16",
    ),
    "digits": ((SMALL % ("1" * 500_000)).encode(), '$.inputs.b[0][0][0]: found "1111'),
    "nan": ((SMALL % "NaN").encode(), "$: found no readable JSON (NaN is none of its numbers)"),
    "ragged": ((SMALL % "1], [1, 2").encode(), "$.inputs.b[0]: found shape (2,), expected (1, 1)"),
    "empty row": ((SMALL % "").encode(), "$.inputs.b[0][0]: found [], expected a list of at least one number"),
    "twice": (b'{"inputs": 1, "inputs": 2}', '$: found no readable JSON (the property "inputs" twice in one object)'),
    "byte order": (b"\xef\xbb\xbf" + (SMALL % "1").encode(), "$: found no readable JSON (Unexpected UTF-8 BOM"),
    "encoding": ((SMALL % "1").encode("utf-16"), "$: found no readable JSON ('utf-8' codec can't decode byte"),
    "surrogate": (rb'{"\ud800": 1}', r"$: found no inputs, expected every one of inputs"),
    "code": (b"cos\nsystem\n(S'touch pickled'\ntR.", "$: found no readable JSON (Expecting value"),
    "python": (b"__import__('os').system('touch evaluated')", "$: found no readable JSON (Expecting value"),
    "large": (b" " * (MOST_BYTES + 1), "$: found more than 1048576 bytes"),
    "no such value": (
        (SMALL % "1").replace('"x"', '"y"').encode(),
        "$.inputs: found no x, expected every one of w, b, x, t",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_command_line(name, tmp_path):
    content, expected = HOSTILE[name]
    file, report = tmp_path / "mine.json", tmp_path / "report"
    file.mkdir() if content is None else file.write_bytes(content)
    program = run("compare", "--frameworks", "numpy", "--vectors", str(file), "--report", str(report))
    assert (program.returncode, program.stdout) == (2, "")
    assert program.stderr.startswith(f"compare: --vectors: {file}: {expected}"), program.stderr
    assert (program.stderr.count("\n"), program.stderr[-1]) == (1, "\n")
    assert "expected" in program.stderr
    assert os.listdir(tmp_path) == ["mine.json"]


@pytest.mark.parametrize("device", ["fifo", "/dev/zero", "/dev/tty", "/proc/kmsg"])
def test_a_file_that_would_keep_its_reader_waiting(device, tmp_path):
    if device == "fifo":
        device = str(tmp_path / "fifo")
        os.mkfifo(device)
    program = run("compare", "--vectors", device)
    assert (program.returncode, program.stdout) == (2, "")
    assert program.stderr.startswith(f"compare: --vectors: {device}: ")
    assert program.stderr.count("\n") == 1


def test_name_that_is_no_text(tmp_path):
    file = os.fsdecode(os.fsencode(tmp_path) + b"/a\n\xff.json")
    Path(file).write_text(SMALL % "x")
    program = run("compare", "--vectors", file)
    assert (program.returncode, program.stdout) == (2, "")
    assert program.stderr.startswith(f"compare: --vectors: {file!a}: $: found no readable JSON (Expecting value")
    assert program.stderr.count("\n") == 1
