"""The run: one worker process per adapter, started together, and what they report put together.

A worker that crashes, hangs or cannot start costs only its own results: the others' are complete, and the run says
what happened.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from compare.expect import AGREES, Expected, row_of
from compare.published import Judged
from compare.tally import Key, Tally, from_json, merge
from compare.worker import Job

ROOT = Path(__file__).resolve().parent.parent

LAST_WORDS = 10_000
"""How much of the end of a worker's standard error is kept, in bytes: a crash in a loop may write gigabytes."""

KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**31)}
"""For glibc, in processes that compute: what one array leaves is taken by the next. New pages cost up to a third of the
time.
"""

MEANING = {
    "SIGSEGV": "an invalid memory access in native code",
    "SIGBUS": "an invalid memory access in native code",
    "SIGILL": "often an instruction that this processor does not have",
    "SIGKILL": "often the system's out-of-memory killer",
}
"""What the signals usually mean that say nothing themselves; before an abort, a library says why."""


@dataclass
class AdapterReport:
    """What became of one adapter.

    Attributes
    ----------
    spec, name : what was asked for, and what it calls itself: no two in a run have one name
    python : the interpreter it ran under, if not this one
    status : "compared", "failed", or "not compared"
    bits : the digest of each quantity that the framework computed, by mode, precision, problem and check
    kept : what was kept of the quantity with a digest, a `compare.bits.Quantity`
    """

    spec: str
    name: str
    python: str | None = None
    framework: str | None = None
    version: str | None = None
    status: str = "failed"
    reasons: list[str] = field(default_factory=list)
    modes: list[str] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)
    not_offered: list[dict[str, str | None]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    shown: dict[str, Any] = field(default_factory=dict)
    bits: dict[str, dict[str, dict[str, dict[str, dict[str, str]]]]] = field(default_factory=dict)
    kept: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass
class Outcome:
    """All that a run found; what became of the expected values that ``--vectors`` brought, and of the rows that
    ``--expect`` lists.
    """

    adapters: list[AdapterReport]
    tallies: dict[Key, Tally]
    seconds: float
    vectors: list[Judged] = field(default_factory=list)
    expected: list[Expected] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """The word "mismatch" if anything differed that was not expected to, or did not that was; else "incomplete" if
        anything could not be judged; else "agree".
        """
        known = {row.row for row in self.expected}
        differs = any(tally.failures and row_of(key) not in known for key, tally in self.tallies.items())
        if differs or any(judged.wrong for judged in self.vectors) or any(row.found == AGREES for row in self.expected):
            return "mismatch"
        compared = any(tally.entries for tally in self.tallies.values())
        if not compared or any(adapter.status == "failed" for adapter in self.adapters):
            return "incomplete"
        return "agree"

    @property
    def exit_status(self) -> int:
        """0 agree, 1 mismatch, 2 incomplete."""
        return {"agree": 0, "mismatch": 1, "incomplete": 2}[self.verdict]


Listener = Callable[[AdapterReport, Mapping[str, Any]], None]
"""Told of every event of every worker, for the progress display."""


def run(
    jobs: Iterable[Job],
    timeout: float,
    listener: Listener = lambda *_: None,
    pythons: Sequence[str | None] = (),
) -> Outcome:
    """Run every job in a process of its own and gather the tallies.

    ``pythons`` holds each job's interpreter, None and what is not there meaning this one. A worker that says nothing
    for ``timeout`` seconds is stopped; on any exception (such as Ctrl-C) all are. OSError if one cannot be started.
    """
    start = time.monotonic()
    events: queue.Queue[tuple[_Worker, dict[str, Any] | None]] = queue.Queue()
    workers: list[_Worker] = []
    try:
        workers.extend(_Worker(job, python, timeout, events) for job, python in zip_longest(jobs, pythons))
        running = set(workers)
        while running:
            try:
                worker, event = events.get(timeout=0.2)
            except queue.Empty:  # only now: a worker whose words still wait in the queue is not silent
                for worker in running:
                    worker.stop_if_silent()
                continue
            worker.heard_from = time.monotonic()
            if event is None:
                worker.finish()
                running.discard(worker)
                event = {"event": "ended"}
            else:
                worker.take(event)
            listener(worker.report, event)
    finally:
        for worker in workers:
            worker.kill()
    _demand_own_names(workers)
    _tell_apart(workers)
    _demand_same_problems(workers)
    return Outcome([w.report for w in workers], merge(*(w.tallies for w in workers)), time.monotonic() - start)


class _Worker:
    """One running worker process and what it has reported so far."""

    def __init__(self, job: Job, python: str | None, timeout: float, events: queue.Queue[Any]) -> None:
        self.job, self.timeout = job, timeout
        self.report = AdapterReport(job.adapter, job.adapter, python)
        self.tallies: dict[Key, Tally] = {}
        self.when = "while starting"  # the framework's import is part of it
        self.heard_from = time.monotonic()
        self.done = self.silent = False
        self.last_words = b""
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        self.process = subprocess.Popen(
            [python or sys.executable, "-m", "compare.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,  # no file: a disk may be full
            # workers share the cores: a thread that waits for its next product must not keep one busy
            env={"OMP_WAIT_POLICY": "passive"} | KEEP_MEMORY | os.environ | {"PYTHONPATH": path},
            start_new_session=True,  # compilers that a framework starts are stopped with it
            text=True,
        )
        threading.Thread(target=self._listen, args=(events,), daemon=True).start()
        self.remembering = threading.Thread(target=self._remember, daemon=True)
        self.remembering.start()

    def _listen(self, events: queue.Queue[Any]) -> None:
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            with stdout:
                json.dump(asdict(self.job), stdin)
                print(file=stdin, flush=True)
                for line in stdout:
                    events.put((self, json.loads(line)))
        except (OSError, ValueError):
            pass  # the worker is gone, or was cut off in the middle of a line: `finish` says so
        finally:
            events.put((self, None))

    def _remember(self) -> None:
        errors = self.process.stderr
        assert errors is not None
        with errors:
            while words := os.read(errors.fileno(), 2**16):
                self.last_words = (self.last_words + words)[-LAST_WORDS:]

    def take(self, event: Mapping[str, Any]) -> None:
        """Record one event."""
        report, kind = self.report, event["event"]
        if kind == "adapter":
            report.name, report.framework, report.version = event["name"], event["framework"], event["version"]
            report.modes, report.settings = event["modes"], event["settings"]
        elif kind == "start":
            self.when = f"in {event['task']}"
        elif kind == "tallies":
            self.tallies = merge(self.tallies, dict(map(from_json, event["rows"])))
            mode, dtype, problem = event["place"]
            report.bits.setdefault(mode, {}).setdefault(dtype, {})[problem] = event["bits"]
            report.kept |= event["kept"]
        elif kind == "not offered":
            report.not_offered.append({name: event[name] for name in ("mode", "dtype", "reason")})
        elif kind == "error":
            report.reasons.append(event["reason"])
        elif kind == "shown":
            report.shown = event["shown"]
        elif kind == "done":
            self.done, report.digests = True, event["digests"]
        for name, seconds in event.get("seconds", {}).items():
            report.seconds[name] = report.seconds.get(name, 0.0) + seconds

    def stop_if_silent(self) -> None:
        """End a worker from which nothing came for too long."""
        if not self.silent and time.monotonic() - self.heard_from > self.timeout:
            self.silent = True
            self.kill()

    def finish(self) -> None:
        """The worker's output has ended: say how it ended."""
        try:
            status = self.process.wait(self.timeout)
        except subprocess.TimeoutExpired:  # it closed its output, and goes on
            self.silent = True
            self.kill()
        report = self.report
        if self.silent:
            report.reasons.append(f"no answer within {self.timeout:g} s {self.when}; stopped")
        elif not self.done:
            self.remembering.join(1)  # longer only where something that it started lives on
            report.reasons.append(f"the worker {_how_it_ended(status)} {self.when}{_last_line(self.last_words)}")
        if report.reasons:
            report.status = "failed"
        elif any(tally.entries for tally in self.tallies.values()):
            report.status = "compared"
        else:
            report.status = "not compared"

    def kill(self) -> None:
        """End the process and everything it started, which may have outlived it."""
        if self.process.returncode is None:  # not waited for yet: the id is still its own
            if hasattr(os, "killpg"):
                with suppress(ProcessLookupError, PermissionError):  # macOS refuses where all have ended
                    os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.kill()
        self.process.wait()
        if self.process.stdin is not None:
            with suppress(OSError):  # a job that was not read
                self.process.stdin.close()


def _demand_own_names(workers: list[_Worker]) -> None:
    """Tallies are told apart by their adapter's name: those of a second adapter with that name are dropped."""
    owners: dict[str, str] = {}
    for worker in workers:
        report = worker.report
        owner = owners.setdefault(report.name, report.spec)
        if owner != report.spec:
            report.status = "failed"
            report.reasons.append(f"name: found {report.name!r}, the name of {owner}; expected one of its own")
            report.name, worker.tallies = report.spec, {}


def _tell_apart(workers: list[_Worker]) -> None:
    """An adapter that ran more than once is named by its version too, and by a number where that is the same."""
    runs = Counter(worker.report.spec for worker in workers)
    taken = {worker.report.name for worker in workers if runs[worker.report.spec] == 1}
    for worker in workers:
        report = worker.report
        if runs[report.spec] > 1:
            versioned = f"{report.name}@{report.version}" if report.version else report.name
            report.name, number = versioned, 1
            while report.name in taken:
                number += 1
                report.name = f"{versioned}#{number}"
            taken.add(report.name)
            worker.tallies = {key._replace(adapter=report.name): tally for key, tally in worker.tallies.items()}


def _demand_same_problems(workers: list[_Worker]) -> None:
    """Every worker must have made the same bytes; one that did not compared something else."""
    agreed: dict[str, str] = {}
    for worker in workers:
        for problem, found in worker.report.digests.items():
            expected = agreed.setdefault(problem, found)
            if found != expected:
                worker.report.status = "failed"
                worker.report.reasons.append(f"problem {problem}: digest {found[:12]}, expected {expected[:12]}")


def _how_it_ended(status: int) -> str:
    if status >= 0:
        return f"ended with exit status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:  # a real-time signal
        name = f"signal {-status}"
    return f"was ended by {name}" + (f" ({MEANING[name]})" if name in MEANING else "")


def _last_line(words: bytes) -> str:
    """What the worker wrote last, which for an exception is its kind and message."""
    lines = words.decode(errors="replace").strip().splitlines()
    return f": {lines[-1].strip()}" if lines else ""
