"""The command line: bad options end in one sentence before any work, and the exit status is the verdict."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import compare.__main__ as cli
import compare.run
from adapters import REGISTRY
from compare.problems import DTYPES, PROBLEMS, VECTORS
from compare.worker import Job
from reference.formulas import LEDGER

ROOT = Path(__file__).parent.parent.parent
FAKES = "tests.compare.fake_adapters:"
SMALL = ["--problems", "document", "--networks", "5", "--dtypes", "float32"]
FRAMEWORKS = ", ".join(REGISTRY)
MODES = ", ".join(dict.fromkeys(mode for entry in REGISTRY.values() for mode in entry.modes))

# --- bad options ----------------------------------------------------------------------------------------------------

WHOLE_FROM_1 = "expected a whole number of at least 1"
SECONDS = "expected a number of seconds above 0"
REFUSED = {
    "--frameworks torch": f"--frameworks: found 'torch', expected one of {FRAMEWORKS}",
    "--frameworks numpy torch theano": f"--frameworks: found 'torch', 'theano', expected one of {FRAMEWORKS}",
    "--frameworks": f"--frameworks: found no name and no --adapter, expected one of {FRAMEWORKS}",
    "--modes fast": f"--modes: found 'fast', expected one of {MODES}",
    "--frameworks numpy --modes jit": "--modes: found 'jit', expected one of eager",
    "--dtypes float8": f"--dtypes: found 'float8', expected one of {', '.join(DTYPES)}",
    "--problems net": f"--problems: found 'net', expected one of {', '.join(PROBLEMS)}, all",
    "--problems vectors": f"--problems: found 'vectors', expected one of {', '.join(PROBLEMS)}, all",
    "--vectors /no/such.json": "--vectors: /no/such.json: found no readable file (No such file or directory), expected a "
    "JSON file",
    "--networks 0": f"argument --networks: found '0', {WHOLE_FROM_1}",
    "--networks -1": f"argument --networks: found '-1', {WHOLE_FROM_1}",
    "--networks 1.5": f"argument --networks: found '1.5', {WHOLE_FROM_1}",
    "--networks many": f"argument --networks: found 'many', {WHOLE_FROM_1}",
    "--seed -1": "argument --seed: found '-1', expected a whole number of at least 0",
    "--seed 1e3": "argument --seed: found '1e3', expected a whole number of at least 0",
    "--timeout 0": f"argument --timeout: found '0', {SECONDS}",
    "--timeout -1": f"argument --timeout: found '-1', {SECONDS}",
    "--timeout nan": f"argument --timeout: found 'nan', {SECONDS}",
    "--timeout inf": f"argument --timeout: found 'inf', {SECONDS}",
    "--timeout soon": f"argument --timeout: found 'soon', {SECONDS}",
    "--adapter numpy": "--adapter: found 'numpy', expected MODULE:CLASS",
    "--adapter :NumPy": "--adapter: found ':NumPy', expected MODULE:CLASS",
    "--adapter adapters.numpy_:": "--adapter: found 'adapters.numpy_:', expected MODULE:CLASS",
    "--python jax": "--python: found 'jax', expected NAME=INTERPRETER",
    "--python jax=": "--python: found 'jax=', expected NAME=INTERPRETER",
    "--python =python3": "--python: found '=python3', expected NAME=INTERPRETER",
    "--python torch=python3": f"--python: found 'torch', expected one of {FRAMEWORKS}",
    "--python a:B=python3 --adapter a:C": f"--python: found 'a:B', expected one of {FRAMEWORKS}, a:C",
    "--python jax=python3 --frameworks numpy --adapter a:B": "--python: found 'jax', expected one of numpy, a:B, which "
    "--frameworks and --adapter name",
    "--python jax=no/such=python": "--python: found 'no/such=python' (no such program), expected Python 3.11 or later",
    "--python jax=true": "--python: found 'true' (no Python), expected Python 3.11 or later",
}


@pytest.fixture
def no_work(monkeypatch):
    def refuse(*_: object) -> None:
        raise AssertionError("a worker was started")

    monkeypatch.setattr(cli, "run", refuse)


def sentence_on_refusal(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    start, newline, rest = err.partition("\n")
    assert (newline, rest) == ("\n", "")
    assert start.startswith("compare: ")
    return start.removeprefix("compare: ")


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("options", REFUSED)
def test_bad_option_is_refused_in_one_sentence(options, capsys, tmp_path):
    report = tmp_path / "report"
    assert sentence_on_refusal([*options.split(), "--report", str(report)], capsys) == REFUSED[options]
    assert not report.exists()


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("below", ["", "report", "far/below"])
def test_report_that_cannot_be_written_is_refused(below, capsys, tmp_path):
    (tmp_path / "file").touch()
    path = tmp_path / "file" / below
    sentence = sentence_on_refusal(["--report", str(path)], capsys)
    reason = "Not a directory" if below else "File exists"
    assert sentence == f"--report: found {str(path)!r} ({reason}), expected a directory that can be written to"


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("option", ["--junit", "--summary", "GITHUB_STEP_SUMMARY"])
@pytest.mark.parametrize(("below", "reason"), [("file/below", "Not a directory"), ("", "Is a directory")])
def test_file_that_cannot_be_written_is_refused(option, below, reason, capsys, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    path = str(tmp_path / below)
    if option.startswith("--"):
        given = [option, path]
    else:
        given = []
        monkeypatch.setenv(option, path)
    sentence = sentence_on_refusal(["--report", str(tmp_path / "report"), *given], capsys)
    reason = "File exists" if given and below else reason
    assert sentence == f"{option}: found {path!r} ({reason}), expected a file that can be written to"


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("content", "found"),
    [("#!/bin/sh\necho Python 3.9", "Python 3.9"), ("#!/bin/sh\necho 3.12 >&2", "no Python"), ("\x7fELF", "no Python")],
)
def test_interpreter_that_cannot_run_a_worker_is_refused(content, found, capsys, tmp_path):
    program = tmp_path / "python"
    program.write_text(content)
    program.chmod(0o755)
    sentence = sentence_on_refusal(["--python", f"numpy={program}"], capsys)
    assert sentence == f"--python: found {str(program)!r} ({found}), expected Python 3.11 or later"


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    "option", ["--modes", "--dtypes", "--problems", "--networks", "--report", "--junit", "--network 5", "x"]
)
def test_option_that_is_not_understood_is_refused(option, capsys, tmp_path):
    report = [] if option == "--report" else ["--report", str(tmp_path)]
    sentence = sentence_on_refusal([*report, *option.split()], capsys)
    assert option.split()[0] in sentence


def run_program(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "compare", *arguments], capture_output=True, text=True, cwd=ROOT, check=False
    )


def test_bad_option_as_a_program():
    program = run_program("--networks", "0")
    assert (program.returncode, program.stdout) == (2, "")
    assert program.stderr == f"compare: argument --networks: found '0', {WHOLE_FROM_1}\n"


# --- --list -------------------------------------------------------------------------------------------------------


def test_list_names_everything(capsys, monkeypatch):
    monkeypatch.setattr(cli, "installed", lambda name: name != "jax")
    monkeypatch.setattr(cli, "version", lambda _: "1.2.3")
    assert cli.main(["--list"]) == 0
    out = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "numpy eager numpy 1.2.3" in lines
    assert f"jax {' '.join(REGISTRY['jax'].modes)} not available: jax is not installed" in lines
    first_words = {line.partition(" ")[0] for line in lines}
    assert first_words >= {*REGISTRY, *PROBLEMS, VECTORS, *(formula.number for formula in LEDGER)}
    assert f"precisions {' '.join(DTYPES)}" in lines
    for formula in LEDGER:
        assert f"{formula.number} {formula.text}" in lines


def test_list_is_quick_and_imports_no_framework():
    script = (
        "import sys, time; from compare.__main__ import main; main(['--list']);"
        "print(time.process_time(), *sorted({'torch', 'jax', 'jaxlib', 'tensorflow', 'keras'} & set(sys.modules)))"
    )
    program = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    seconds, *imported = program.stdout.splitlines()[-1].split()
    assert imported == []
    assert float(seconds) < 2  # of the processor: others may be busy on it, too


# --- verdicts -------------------------------------------------------------------------------------------------------


def verdict_in(directory: Path) -> str:
    verdict: str = json.loads((directory / "results.json").read_bytes())["verdict"]
    return verdict


def test_agreement_as_a_program(tmp_path):
    program = run_program("--frameworks", "numpy", *SMALL, "--report", str(tmp_path / "report"))
    assert (program.returncode, program.stderr) == (0, "")
    assert "agree: 660 entries compared in" in program.stdout
    assert verdict_in(tmp_path / "report") == "agree"


def test_what_a_ci_shows(monkeypatch, tmp_path):
    """Colours and bars are for a terminal; the verdict is the last line, and a job's summary is added to."""
    job = tmp_path / "job.md"
    job.write_text("before\n", encoding="utf-8")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(job))
    files = ["--junit", str(tmp_path / "new" / "junit.xml"), "--summary", str(tmp_path / "summary.md")]
    fakes = ["--adapter", FAKES + "WrongValue", "--adapter", FAKES + "Crashes"]
    program = run_program("--frameworks", *fakes, *SMALL, *files, "--report", str(tmp_path))
    assert (program.returncode, program.stderr) == (1, "")
    *rest, last = program.stdout.splitlines()
    assert re.fullmatch(r"mismatch: 660 entries compared in \d+ s, \d+ outside their bounds\.", last)
    assert "\x1b" not in program.stdout
    stop, *before = [line for line in rest if line.startswith("::")]
    assert [line.split()[0] for line in before] == [
        "::" + stop.removeprefix("::stop-commands::") + "::",
        "::error",
        "::error",
    ]
    assert {line for line in rest if line.startswith(("junit: ", "summary: "))} == {
        f"junit: {files[1]}",
        f"summary: {files[3]}",
    }
    summary = Path(files[3]).read_text(encoding="utf-8")
    assert summary.startswith("## ❌ mismatch\n")
    assert job.read_text(encoding="utf-8") == "before\n" + summary
    root = ElementTree.parse(files[1]).getroot()
    content = json.loads((tmp_path / "results.json").read_bytes())
    assert [suite.attrib["name"] for suite in root] == [adapter["name"] for adapter in content["adapters"]]
    failed = {check["formula"] for check in content["checks"] if check["failures"] and check["check"] == "step"}
    assert int(root.attrib["failures"]) == len(failed)


def test_what_can_no_longer_be_written_costs_nothing_else(capsys, monkeypatch, tmp_path):
    def vanishing(*arguments):
        outcome = compare.run.run(*arguments)
        (tmp_path / "summary.md").mkdir()
        return outcome

    monkeypatch.setattr(cli, "run", vanishing)
    files = ["--summary", str(tmp_path / "summary.md"), "--junit", str(tmp_path / "junit.xml")]
    assert cli.main(["--frameworks", "numpy", *SMALL, *files, "--report", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert err == f"compare: --summary {files[1]}: Is a directory\n"
    assert out.splitlines()[-1].startswith("agree: 660 entries compared")
    assert {path.name for path in tmp_path.iterdir()} == {"results.json", "index.html", "junit.xml", "summary.md"}


def test_mismatch_is_printed_in_full(capsys, tmp_path):
    arguments = ["--frameworks", "numpy", "--adapter", FAKES + "WrongValue", *SMALL, "--report", str(tmp_path)]
    assert cli.main(arguments) == 1
    out, err = capsys.readouterr()
    assert err == ""
    rows = json.loads((tmp_path / "results.json").read_bytes())["checks"]
    (failure,) = (row["first_failure"] for row in rows if row["failures"] and row["formula"] == "1")
    title = "mismatch WrongValue eager float32, document, step: formula 1, layer 0: a⁽¹⁾ = x w + b⁽¹⁾"
    start = out.index("mismatch  WrongValue")
    printed = " ".join(out[start:].split())
    assert printed.startswith(f"{title} where a[0], network 3, entry [0, 2]; 1 of 15 entries failed got ")
    numbers = {"got": failure["got"], "expected": failure["expected"], "allowed ±": failure["allowed"]}
    assert list(failure["operands"]) == ["x[0, 0]", "x[0, 1]", "w[0][0, 2]", "w[0][1, 2]", "b[0][0, 2]"]
    for name, number in (numbers | failure["operands"]).items():
        assert f" {name} {number['decimal']} {number['hex']} " in printed
        assert np.float32(number["decimal"]) == np.float32(float.fromhex(number["hex"]))
    assert f" repeat {failure['repeat']} 3 further formulas disagree here." in printed
    assert printed.count("formula 1,") == 1
    assert "mismatch: 1,320 entries compared in" in printed
    assert verdict_in(tmp_path) == "mismatch"


def test_shape_is_printed_without_numbers(capsys, tmp_path):
    assert cli.main(["--frameworks", "--adapter", FAKES + "WrongShape", *SMALL, "--report", str(tmp_path)]) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert "where a[0]; 15 of 15 entries failed what a[0]: found shape (5, 3), expected (5, 1, 3) repeat" in printed
    assert "not covered WrongShape eager, 4, 6, 7: a[0] cannot be read: a[0]: found shape (5, 3)," in printed


def test_crash_is_not_agreement(capsys, tmp_path):
    arguments = ["--frameworks", "numpy", "--adapter", FAKES + "Crashes", *SMALL, "--report", str(tmp_path)]
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert err == ""
    assert "failed  Crashes: the worker was ended by SIGKILL (often the system's out-of-memory killer) in eager" in out
    assert "incomplete: 660 entries compared" in out
    assert verdict_in(tmp_path) == "incomplete"


def test_name_of_an_adapter_is_printed_as_it_is(capsys, tmp_path):
    # rich would take ":X:" for an emoji, and "[/]" for markup
    small = ["--problems", "document", "--networks", "5", "--report", str(tmp_path)]
    assert cli.main(["--adapter", "no_such_module:X", "--frameworks", "numpy", *small]) == 2
    reason = "ImportError: adapter no_such_module:X: cannot import no_such_module: No module named 'no_such_module'"
    assert f"failed  no_such_module:X: {reason}\n" in capsys.readouterr().out


def test_mismatch_wins_over_a_crash(capsys, tmp_path):
    arguments = ["--frameworks", "--adapter", FAKES + "WrongValue", "--adapter", FAKES + "Crashes"]
    assert cli.main([*arguments, *SMALL, "--report", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "failed  Crashes: the worker was ended by SIGKILL" in out
    assert "mismatch: 660 entries compared" in out
    assert verdict_in(tmp_path) == "mismatch"


def test_nothing_offered_is_not_agreement(capsys, tmp_path):
    assert cli.main(["--frameworks", "numpy", "--device", "cuda", *SMALL, "--report", str(tmp_path)]) == 2
    out = capsys.readouterr().out
    assert "not available  numpy: NumPy has no device 'cuda'" in out
    assert "incomplete: 0 entries compared" in out


def test_mode_that_no_adapter_from_outside_has(capsys, tmp_path):
    arguments = ["--frameworks", "--adapter", FAKES + "WrongValue", "--modes", "jit", *SMALL, "--report", str(tmp_path)]
    assert cli.main(arguments) == 2
    assert capsys.readouterr().err == "compare: no adapter here has the mode jit\n"


def test_report_that_can_no_longer_be_written(capsys, monkeypatch, tmp_path):
    report = tmp_path / "report"

    def vanishing(*arguments):
        outcome = compare.run.run(*arguments)
        report.rmdir()
        report.touch()
        return outcome

    monkeypatch.setattr(cli, "run", vanishing)
    assert cli.main(["--frameworks", "numpy", *SMALL, "--report", str(report)]) == 2
    assert capsys.readouterr().err == f"compare: --report {report}: File exists\n"


# --- the plan -------------------------------------------------------------------------------------------------------


def jobs_of(monkeypatch, tmp_path, *arguments):
    return [job for job, _ in plan(monkeypatch, tmp_path, *arguments)]


def plan(monkeypatch, tmp_path, *arguments):
    """Every job with its interpreter."""
    given: list[tuple[Job, str | None]] = []

    def stop(jobs, _timeout, _listener, pythons):
        given.extend(zip(jobs, pythons, strict=True))
        raise InterruptedError

    monkeypatch.setattr(cli, "run", stop)
    assert cli.main([*arguments, "--report", str(tmp_path)]) == 2
    return given


def test_default_plan_is_everything_that_is_installed(monkeypatch, tmp_path):
    monkeypatch.setattr(cli, "installed", lambda name: name in ("numpy", "jax"))
    jobs = jobs_of(monkeypatch, tmp_path)
    assert [job.adapter for job in jobs] == ["numpy", "jax"]
    for job in jobs:
        assert (job.dtypes, job.problems, job.modes) == (list(DTYPES), list(PROBLEMS), None)
        assert (job.networks, job.seed, job.device, job.every_combination) == (10_000, 0, "cpu", False)


def test_plan_is_narrowed_by_name(monkeypatch, tmp_path):
    asked = "--frameworks jax numpy jax --modes eager --dtypes float64 --problems deep wide --seed 7 --networks 3"
    jobs = jobs_of(monkeypatch, tmp_path, *asked.split(), "--device", "gpu", "--adapter", "a.b:C", "--adapter", "a.b:C")
    assert [job.adapter for job in jobs] == ["jax", "numpy", "a.b:C"]
    for job in jobs:
        assert (job.dtypes, job.problems, job.modes) == (["float64"], ["deep", "wide"], ["eager"])
        assert (job.networks, job.seed, job.device, job.every_combination) == (3, 7, "gpu", True)


def test_all_problems_means_every_problem_in_every_mode(monkeypatch, tmp_path):
    (job,) = jobs_of(monkeypatch, tmp_path, "--frameworks", "numpy", "--problems", "all")
    assert (job.problems, job.every_combination) == (list(PROBLEMS), True)


def test_named_interpreters_run_an_adapter_whether_or_not_it_is_installed_here(monkeypatch, tmp_path):
    monkeypatch.setattr(cli, "installed", lambda name: name == "numpy")
    other = tmp_path / "a=b" / "python"
    other.parent.mkdir()
    other.symlink_to(sys.executable)
    asked = ["--python", f"jax={other}", "--python", "a.b:C=python3", "--adapter", "a.b:C", "--adapter", "a.b:D"]
    found = plan(monkeypatch, tmp_path, *asked, "--python", f"jax={sys.executable}", "--python", f"jax={other}")
    assert [(job.adapter, python) for job, python in found] == [
        ("numpy", None),
        ("jax", str(other)),  # not what the link points to: an environment knows its packages by the link
        ("jax", sys.executable),
        ("a.b:C", shutil.which("python3")),
        ("a.b:D", None),
    ]
    (only,) = plan(monkeypatch, tmp_path, "--frameworks", "jax", "--python", f"jax={other}")
    assert only[1] == str(other)
