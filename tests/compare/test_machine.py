"""Faults of the machine: one sentence, the exit status, no half-written results.json, and no process left behind."""

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import compare.__main__ as cli
from tests.compare.test_cli import FAKES, ROOT, SMALL

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked for in Linux's /proc")

BEFORE = '{"verdict": "agree"}\n'
AGREES = ["--frameworks", "numpy", *SMALL]
HANGS = ["--frameworks", "--adapter", FAKES + "HangsInTwo", *SMALL]


class Program:
    """``python -m compare`` with a report directory that holds a results.json, and all the processes it starts."""

    def __init__(self, report: Path) -> None:
        self.report, self.mark = report, f"COMPARE_TEST={uuid.uuid4()}"
        report.mkdir()
        (report / "results.json").write_text(BEFORE)

    def start(self, *arguments: str, first: str = "", **options: Any) -> subprocess.Popen[str]:
        """``first``: what the process does before it becomes the program. A preexec_fn would fork this process, which
        the tests before may have left with threads: JAX warns of that.
        """
        command = [sys.executable, "-m", "compare", *arguments, "--report", str(self.report)]
        if first:
            become = f"import os, resource, signal, sys; {first}; os.execv(sys.executable, sys.argv[1:])"
            command = [sys.executable, "-c", become, *command]
        return self.start_command(command, **options)

    def start_command(self, command: list[str], **options: Any) -> subprocess.Popen[str]:
        name, _, value = self.mark.partition("=")
        environment = os.environ | {name: value} | options.pop("env", {})
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started: subprocess.Popen[str] = subprocess.Popen(
            command, cwd=ROOT, env=environment, text=True, start_new_session=True, **(pipes | options)
        )
        return started

    def run(self, *arguments: str, **options: Any) -> tuple[int, str, str]:
        return self.end(self.start(*arguments, **options))

    def end(self, process: subprocess.Popen[str]) -> tuple[int, str, str]:
        out, err = process.communicate(timeout=60)
        return process.returncode, (out or "").strip(), err or ""  # a progress display ends with a new line

    def alive(self) -> list[int]:
        """The processes that were started with this one's mark in their environment."""
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if self.mark.encode() in path.read_bytes().split(b"\0"):
                    found.append(int(path.parent.name))
            except OSError:  # it has ended
                continue
        return found

    def wait_for(self, processes: int) -> None:
        deadline = time.monotonic() + 60
        while len(self.alive()) != processes:
            assert time.monotonic() < deadline, f"{len(self.alive())} processes, expected {processes}"
            time.sleep(0.05)

    def wait_until_it_hangs(self) -> None:
        """In the worker and what that has started."""
        self.wait_for(3)

    def assert_nothing_changed(self) -> None:
        self.wait_for(0)
        assert os.listdir(self.report) == ["results.json"]
        assert (self.report / "results.json").read_text() == BEFORE

    def assert_whole(self, verdict: str = "agree") -> None:
        self.wait_for(0)
        assert sorted(os.listdir(self.report)) == ["index.html", "results.json"]
        content = json.loads((self.report / "results.json").read_bytes())
        assert (content["verdict"], content["schema"]) == (verdict, "1")


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    started = Program(tmp_path / "report")
    yield started
    for process in started.alive():
        os.kill(process, signal.SIGKILL)


# --- told to end ----------------------------------------------------------------------------------------------------


def interrupted(name: str) -> str:
    return f"compare: interrupted by {name}; nothing was judged\n"


@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["parent", "group"])
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signal(program, name, send):
    process = program.start(*HANGS)
    program.wait_until_it_hangs()
    send(process.pid, signal.Signals[name])
    assert program.end(process) == (2, "", interrupted(name))
    program.assert_nothing_changed()


def test_second_signal_does_not_break_off_the_end(program):
    process = program.start(*HANGS)
    program.wait_until_it_hangs()
    for name in ("SIGINT", "SIGTERM", "SIGINT"):
        process.send_signal(signal.Signals[name])
    while process.poll() is None:  # until Python itself has ended
        process.terminate()
        time.sleep(0.001)
    status, _, err = program.end(process)
    assert (status, err.count("\n")) == (2, 1)
    assert err in (interrupted("SIGINT"), interrupted("SIGTERM"))
    program.assert_nothing_changed()


def test_ignored_signal_stays_ignored(program):
    """As after ``nohup``."""
    process = program.start(*HANGS, first="signal.signal(signal.SIGHUP, signal.SIG_IGN)")
    program.wait_until_it_hangs()
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None
    process.terminate()
    assert program.end(process) == (2, "", interrupted("SIGTERM"))


@pytest.mark.parametrize("module", ["numpy", "rich", "jsonschema", "argparse"])
def test_signal_during_the_imports(program, module, tmp_path):
    (tmp_path / "stubs").mkdir()
    (tmp_path / "stubs" / f"{module}.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGINT)")
    status, out, err = program.run(*AGREES, env={"PYTHONPATH": str(tmp_path / "stubs")})
    assert (status, out, err) == (2, "", interrupted("SIGINT"))
    program.assert_nothing_changed()


def test_signal_while_results_are_written(program, tmp_path):
    """Half of them are."""
    (tmp_path / "stubs").mkdir()
    stub = "import json, os, signal; json.dump = lambda _, f, **k: f.write('{') and f.flush() or "
    (tmp_path / "stubs" / "sitecustomize.py").write_text(
        f"{stub}os.kill(os.getpid(), signal.SIGTERM) if k else f.write(json.dumps(_))"
    )
    status, _, err = program.run(*AGREES, env={"PYTHONPATH": str(tmp_path / "stubs")})
    assert (status, err) == (2, interrupted("SIGTERM"))
    program.assert_nothing_changed()


def test_workers_end_with_a_parent_that_is_killed(program):
    process = program.start(*HANGS)
    program.wait_until_it_hangs()
    process.kill()
    assert program.end(process) == (-signal.SIGKILL, "", "")
    program.assert_nothing_changed()


# --- what is printed can no longer be written -----------------------------------------------------------------------

LISTED = ["--list"]


def test_reader_that_leaves_after_a_line(program):
    command = [sys.executable, "-m", "compare", *AGREES, "--report", str(program.report)]
    shell = 'set -o pipefail; "$@" | head -1'
    assert program.end(program.start_command(["bash", "-c", shell, "-", *command])) == (0, "numpy: compared", "")
    program.assert_whole()


@pytest.mark.parametrize(
    ("arguments", "status", "verdict"),
    [
        (AGREES, 0, "agree"),
        (["--frameworks", "--adapter", FAKES + "WrongValue", *SMALL], 1, "mismatch"),
        (["--frameworks", "numpy", "--adapter", FAKES + "Crashes", *SMALL], 2, "incomplete"),
        (LISTED, 0, None),
        (["--help"], 0, None),
    ],
    ids=["agree", "mismatch", "incomplete", "list", "help"],
)
@pytest.mark.parametrize("both", [False, True], ids=["stdout", "stderr too"])
def test_no_reader(program, arguments, status, verdict, both):
    """All is written to a pipe that no one reads; the exit status is the verdict's all the same."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = program.run(*arguments, stdout=writer, stderr=writer if both else subprocess.PIPE)
    finally:
        os.close(writer)
    assert ended == (status, "", "")
    program.assert_whole(verdict) if verdict else program.assert_nothing_changed()


@pytest.mark.parametrize("arguments", [["--networks", "0"], AGREES], ids=["option", "report"])
def test_refusal_without_a_reader(program, arguments):
    """Of an option before the work, or of results that no disk takes, after it."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        status, _, err = limited(program, 1000, arguments, stderr=writer)
    finally:
        os.close(writer)
    assert (status, err) == (2, "")
    program.assert_nothing_changed()


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_from_the_start(program, closed):
    command = [sys.executable, "-m", "compare", *AGREES, "--report", str(program.report)]
    assert program.end(program.start_command(["sh", "-c", f'"$@" {closed}', "-", *command])) == (0, "", "")
    program.assert_whole()


@pytest.mark.parametrize("arguments", [AGREES, LISTED], ids=["run", "list"])
def test_standard_output_on_a_full_disk(program, arguments):
    with Path("/dev/full").open("w") as full:
        assert program.run(*arguments, stdout=full) == (0, "", "compare: standard output: No space left on device\n")
        assert program.run(*arguments, stdout=full, stderr=full) == (0, "", "")


# --- results that cannot be written ---------------------------------------------------------------------------------


def mounts() -> bool:
    """Whether file systems may be mounted here, for one process. Where not, limits do what they can: on every Linux."""
    try:
        return subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def limited(program: Program, size: int, arguments: list[str] = AGREES, **options: Any) -> tuple[int, str, str]:
    """No file may grow beyond ``size`` bytes."""
    return program.run(*arguments, first=f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))", **options)


def mounted(program: Program, size: int, option: str = "rw") -> tuple[int, str, str]:
    """The report directory is a file system of ``size`` bytes, of which the results of before take 4096."""
    script = f"""
        mount -t tmpfs -o size={size} none "$1" && cp "$2" "$1" && mount -o remount,{option} "$1" || exit 99
        shift 2; "$@"; status=$?
        cd "$0" && [ "$(ls -A)" = results.json ] && cat results.json; exit $status"""
    before, report = str(program.report / "results.json"), str(program.report)
    copy = program.report.parent / "results.json"
    copy.write_bytes(Path(before).read_bytes())
    command = [sys.executable, "-m", "compare", *AGREES, "--report", report]
    shell = ["unshare", "-rm", "sh", "-c", script, report, report, str(copy), *command]
    status, out, err = program.end(program.start_command(shell))
    assert out.endswith(BEFORE.strip()), "the results of before are not all that is left"
    return status, out.removesuffix(BEFORE.strip()), err


MOUNTS = mounts()


def refused(directory: str, reason: str) -> str:
    return f"compare: --report: found {directory!r} ({reason}), expected a directory that can be written to\n"


@pytest.mark.parametrize(
    ("fill", "size", "reason"),
    [(limited, 1000, "File too large"), *([(mounted, 8192, "No space left on device")] if MOUNTS else [])],
)
def test_disk_that_fills_up(program, fill, size, reason):
    status, out, err = fill(program, size)
    assert (status, err) == (2, f"compare: --report {program.report}: {reason}\n")
    assert "agree: 660 entries compared" in out
    program.assert_nothing_changed()


@pytest.mark.parametrize(
    ("fill", "size", "reason"),
    [(limited, 0, "File too large"), *([(mounted, 4096, "No space left on device")] if MOUNTS else [])],
)
def test_disk_that_is_full_already(program, fill, size, reason):
    assert fill(program, size) == (2, "", refused(str(program.report), reason))
    program.assert_nothing_changed()


def test_directory_that_takes_no_file(program):
    command = [sys.executable, "-m", "compare", *AGREES, "--report", "/proc/self"]
    ended = program.end(program.start_command(command))
    assert ended == (2, "", refused("/proc/self", "No such file or directory"))
    if MOUNTS:
        assert mounted(program, 2**20, "ro") == (2, "", refused(str(program.report), "Read-only file system"))


def test_results_json_that_is_a_directory(program):
    (program.report / "results.json").unlink()
    (program.report / "results.json").mkdir()
    status, _, err = program.run(*AGREES)
    assert (status, err) == (2, f"compare: --report {program.report}: Is a directory\n")
    assert os.listdir(program.report) == ["results.json"]


def test_no_place_for_temporary_files(monkeypatch, tmp_path, capsys):
    """What a worker writes to its standard error needs none."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    arguments = ["--frameworks", "--adapter", FAKES + "Aborts", *SMALL, "--report", str(tmp_path / "report")]
    assert cli.main(arguments) == 2
    assert "was ended by SIGABRT in eager float32 document: malloc(): corrupted top size\n" in capsys.readouterr().out


def test_worker_that_cannot_be_started(monkeypatch, tmp_path, capsys):
    def full(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr("compare.run.subprocess.Popen", full)
    assert cli.main([*AGREES, "--report", str(tmp_path / "report")]) == 2
    reason = "compare: a worker cannot be started: Resource temporarily unavailable\n"
    assert capsys.readouterr().err == reason
    assert os.listdir(tmp_path / "report") == []
