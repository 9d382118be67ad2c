"""results.json: everything a run found, in the form of results.schema.json. The same seed gives the same file, timings
aside.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import shlex
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from compare.expect import row_of
from compare.run import AdapterReport, Outcome
from compare.tally import Key, Tally, to_json

if TYPE_CHECKING:
    from compare import schema

PAGE = "index.html"
PACKAGES = ("numpy", "python-flint", "ml_dtypes")
SCHEMA_VERSION: Final = "1"
SCHEMA_PATH = Path(__file__).with_name("results.schema.json")


def as_json(outcome: Outcome, options: Mapping[str, Any]) -> schema.Results:
    """The content of results.json."""
    reports = {report.name: report for report in outcome.adapters}
    verdict: Any = outcome.verdict
    checks: list[Any] = []
    worst, known = _worst(outcome.tallies), {expected.row for expected in outcome.expected}
    for key, tally in outcome.tallies.items():
        row = to_json(key, tally)
        if row["first_failure"] is not None:
            row["expected"] = row_of(key) in known
            row["first_failure"]["repeat"] = repeat_command(key, reports[key.adapter], options)
        if key not in worst:  # with all of them, the file would be three times as large
            row["worst"] = None
        checks.append(row)
    bits: dict[str, Any] = {report.name: report.bits for report in outcome.adapters}
    kept: list[Any] = [item for report in outcome.adapters for item in report.kept.items()]
    digests = {name: digest for report in outcome.adapters for name, digest in report.digests.items()}
    return {
        "schema": SCHEMA_VERSION,
        "verdict": verdict,
        "environment": {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "cpu": cpu(),
            "cores": os.cpu_count(),
            "packages": cast("schema.Packages", {name: version(name) for name in PACKAGES}),
            "options": cast("schema.Options", dict(options)),
            "problems": dict(sorted(digests.items())),
        },
        "adapters": [_adapter(report) for report in outcome.adapters],
        "checks": checks,
        "vectors": [cast("schema.Judged", asdict(judged)) for judged in outcome.vectors],
        "expected": [cast("schema.Expected", asdict(expected)) for expected in outcome.expected],
        "shown": {report.name: report.shown for report in outcome.adapters},
        "bits": bits,
        "kept": dict(sorted(kept)),
        "timings": {
            "total": outcome.seconds,
            "adapters": {report.name: report.seconds for report in outcome.adapters},
        },
    }


def _worst(tallies: Mapping[Key, Tally]) -> set[Key]:
    """Where each formula has its largest fraction of a bound, among all problems and layers."""
    worst: dict[Key, Key] = {}
    for key, tally in tallies.items():
        formula = key._replace(problem="", layer=0)
        least = tallies[worst[formula]].worst_bound_fraction if formula in worst else -1.0
        if tally.worst is not None and tally.worst_bound_fraction > least:
            worst[formula] = key
    return set(worst.values())


def load(file: str) -> dict[str, Any]:
    """The content of a results.json. Raises ValueError, naming the file and what is wrong, if it is none."""
    try:
        content = json.loads(Path(file).read_bytes())
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"{file}: found no readable file ({reason}), expected a results.json") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: found no JSON ({error}), expected a results.json") from error
    validator = Draft202012Validator(json.loads(SCHEMA_PATH.read_bytes()))
    wrong = best_match(validator.iter_errors(content))
    if wrong is not None:
        raise ValueError(f"{file}: {wrong.json_path}: {wrong.message[:200]}, expected a results.json of this version")
    return content  # type: ignore[no-any-return]  # the schema says that it is an object


def write(content: Mapping[str, Any], directory: Path, name: str = "results.json") -> Path:
    """Write a JSON file in whole or not at all. Raises OSError."""

    def fill(file: TextIO) -> None:
        json.dump(content, file, indent=1, ensure_ascii=False, allow_nan=False)
        file.write("\n")

    return _write(fill, directory, name)


def write_text(text: str, directory: Path, name: str) -> Path:
    """Write a text in whole or not at all. Raises OSError."""
    return _write(lambda file: file.write(text), directory, name)


def _write(fill: Callable[[TextIO], object], directory: Path, name: str) -> Path:
    """Write a file beside its place and rename it, so that no reader sees half of it. Raises OSError.

    A name that is no Unicode, as a file's may be, is written in JSON's own escapes.
    """
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / name
    handle, beside = tempfile.mkstemp(dir=directory, prefix=f".{name}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())  # some disks say only now that they are full
        os.chmod(beside, 0o644)
        os.replace(beside, target)
    except BaseException:
        os.unlink(beside)
        raise
    return target


def probe_file(path: Path) -> None:
    """Raise OSError now if `write_text` could not create the file ``path`` later."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    probe(path.parent)


def probe(directory: Path) -> None:
    """Raise OSError now if `write` could not create a file in ``directory`` later, or not a byte of it."""
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=directory) as file:
        file.write(b"{")


def repeat_command(key: Key, report: AdapterReport, options: Mapping[str, Any]) -> str:
    """The command that compares just the adapter, mode, precision and problem of ``key`` again."""
    spec = report.spec
    which = ["--adapter", spec, "--frameworks"] if ":" in spec else ["--frameworks", spec]
    if report.python:
        which += ["--python", f"{spec}={report.python}"]
    if key.problem == "vectors":
        which += ["--vectors", *options["vectors"]]
    places = {"modes": key.mode, "dtypes": key.dtype, "problems": key.problem, "device": key.device}
    sizes = {name: str(options[name]) for name in ("networks", "seed")}
    chosen = [word for name, value in (places | sizes).items() for word in (f"--{name}", value)]
    return shlex.join(["nox", "-s", "compare", "--", *which, *chosen])


def _adapter(report: AdapterReport) -> Any:
    return {
        "spec": report.spec,
        "name": report.name,
        "framework": report.framework,
        "version": report.version,
        "python": report.python,
        "status": report.status,
        "reason": "; ".join(report.reasons) or None,
        "settings": report.settings,
        "not_offered": report.not_offered,
    }


def cpu() -> str:
    """The processor, as its maker calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
