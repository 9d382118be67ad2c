"""One adapter in a process of its own: a job comes in as JSON, events go out as JSON lines; arrays never leave.

The parent starts ``python -m compare.worker``, writes the job as a line to its standard input, and keeps that open as
long as it lives. Standard output belongs to the events; whatever a framework prints goes to standard error instead.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from itertools import product
from typing import Any, TextIO

import numpy as np

from adapters import Adapter, NotOffered, load
from compare import check
from compare.bits import Quantity, quantities
from compare.independence import NotIndependent, independent
from compare.problems import build, digest, recipe
from compare.show import show
from compare.tally import Key, Tally, merge, to_json
from reference.exact import Exact, exact_gradients
from reference.network import Array, Gradients, Jacobians, Problem, Trace, quantity_shapes, single
from reference.rounding import Arithmetic

TRUTH_NETWORKS = 100
"""How many networks of a stack are compared with exact values: balls take from 40 µs to 1 ms for each."""


@dataclass(frozen=True)
class Job:
    """What a worker is asked to do. ``modes`` None: all that the adapter has, in the default plan.

    ``parts``: of a soak, the first part and the one after the last; its ``modes`` None: the adapter's first.
    ``vectors``: the files of the problem "vectors".
    """

    adapter: str
    device: str
    modes: list[str] | None
    dtypes: list[str]
    problems: list[str]
    every_combination: bool
    networks: int
    seed: int
    parts: tuple[int, int] | None = None
    vectors: Sequence[str] = ()

    def tasks(self, adapter: Adapter) -> list[tuple[str, str, str]]:
        """(mode, dtype, problem): the first mode runs every problem, the others those that cover every formula."""
        modes = [mode for mode in adapter.modes if self.modes is None or mode in self.modes]
        if self.parts is not None:  # the precisions take turns
            turns = [(self.dtypes[part % len(self.dtypes)], f"soak/{part}") for part in range(*self.parts)]
            return [(mode, *turn) for turn in turns for mode in (modes if self.modes else modes[:1])]

        def planned(mode: str, dtype: str, problem: str) -> bool:
            made = recipe(problem)
            return dtype in (made.first_mode if mode == adapter.modes[0] else made.every_mode)

        return [task for task in product(modes, self.dtypes, self.problems) if self.every_combination or planned(*task)]


class _Stopwatch:
    """Seconds spent in the framework and in the suite's own checking."""

    def __init__(self) -> None:
        self.seconds = {"framework": 0.0, "check": 0.0, "truth": 0.0}

    def time(self, what: str, function: Callable[..., Any], *arguments: Any) -> Any:
        start = time.perf_counter()
        try:
            return function(*arguments)
        finally:
            self.seconds[what] += time.perf_counter() - start


def run(job: Job) -> Iterator[dict[str, Any]]:
    """The events of a job: ``adapter`` once, then for each task ``start`` and one of ``tallies``, ``not offered``,
    ``error``; ``shown`` once where the document's net was asked for, and ``done`` at the end. A failing task does not
    stop the next.
    """
    start = time.perf_counter()
    try:
        adapter = load(job.adapter, job.device)
    except NotOffered as reason:
        yield {"event": "not offered", "mode": None, "dtype": None, "reason": str(reason)}
        yield {"event": "done", "digests": {}}
        return
    except Exception as error:  # noqa: BLE001 - whatever an adapter raises is its row's reason
        yield {"event": "error", "reason": _sentence(error)}
        yield {"event": "done", "digests": {}}
        return
    tasks = job.tasks(adapter)
    yield {
        "event": "adapter",
        "name": adapter.name,
        "framework": adapter.framework,
        "version": adapter.version,
        "modes": list(adapter.modes),
        "settings": dict(getattr(adapter, "settings", {})),
        "tasks": len(tasks),
        "seconds": {"import": time.perf_counter() - start},
    }
    runner = _Runner(job, adapter)
    refused: set[tuple[str, str]] = set()
    for mode, dtype, problem in tasks:
        yield {"event": "start", "task": f"{mode} {dtype} {problem}"}
        watch = _Stopwatch()
        try:
            arithmetic: Any = adapter.arithmetic(mode, dtype)
            if not isinstance(arithmetic, Arithmetic) or arithmetic.dtype != dtype:
                found = f"found {arithmetic!r}, expected an Arithmetic of {dtype}"
                raise ValueError(f"arithmetic({mode!r}, {dtype!r}): {found}")
            tallies, bits = runner.task(mode, arithmetic, problem, watch)
        except NotOffered as reason:
            if (mode, dtype) not in refused:
                refused.add((mode, dtype))
                yield {"event": "not offered", "mode": mode, "dtype": dtype, "reason": str(reason)}
        except NotIndependent as reason:  # whatever else it says is worth nothing
            yield {"event": "error", "reason": str(reason)}
            yield {"event": "finished"}
            break
        except Exception as error:  # noqa: BLE001 - as above
            yield {"event": "error", "reason": f"{mode} {dtype} {problem}: {_sentence(error)}"}
        else:
            yield {
                "event": "tallies",
                "rows": [to_json(key, tally) for key, tally in tallies.items()],
                "problem": runner.digests[f"{problem} {dtype}"],
                "place": (mode, dtype, problem),
                "bits": {kind: {name: digest for name, (digest, _) in found.items()} for kind, found in bits.items()},
                "kept": {digest: asdict(kept) for found in bits.values() for digest, kept in found.values()},
                "seconds": watch.seconds,
            }
        yield {"event": "finished"}
    else:
        if job.parts is None and "document" in job.problems:
            modes = dict.fromkeys(mode for mode, _, _ in tasks)
            yield {"event": "start", "task": "what the page shows"}
            yield {"event": "shown", "shown": show(adapter, modes, job.dtypes, job.networks)}
    yield {"event": "done", "digests": runner.digests}


class _Runner:
    """Runs tasks, and keeps what several of them share: the problems of a precision and their exact values."""

    def __init__(self, job: Job, adapter: Adapter) -> None:
        self.job, self.adapter = job, adapter
        self.digests: dict[str, str] = {}
        self._watched: set[tuple[str, str]] = set()
        self._problems: dict[tuple[str, str], list[Problem]] = {}
        self._truths: dict[tuple[str, int, str], dict[str, tuple[Exact, ...]]] = {}

    def task(
        self, mode: str, arithmetic: Arithmetic, name: str, watch: _Stopwatch
    ) -> tuple[dict[Key, Tally], dict[str, dict[str, tuple[str, Quantity]]]]:
        """The tallies of one task, and the quantities that the framework computed for each check."""
        dtype = arithmetic.dtype
        problems = self._made(name, dtype)
        family, _, part = name.partition("/")
        first = int(part) * self.job.networks if part else 0  # a soak counts its networks over all parts
        parts: list[dict[Key, Tally]] = []
        answers: dict[str, list[Any]] = {}
        for i, problem in enumerate(problems):
            judged: Iterator[tuple[str, Any, check.Tallies]]
            if recipe(name).jacobians:
                judged = self._jacobians(mode, arithmetic, problem, watch)
            else:
                judged = self._gradients(mode, arithmetic, problem, (name, i, dtype), watch)
            for kind, answer, tallies in judged:
                answers.setdefault(kind, []).append(answer)
                key = (self.adapter.name, mode, dtype, self.job.device, family, kind)
                parts.append({Key(*key, *place): tally.counted_from(first) for place, tally in tallies.items()})
        if recipe(name).passing:
            answers.clear()
        bits = {kind: watch.time("check", quantities, found, dtype) for kind, found in answers.items()}
        return merge(*parts), bits

    def _gradients(
        self, mode: str, arithmetic: Arithmetic, problem: Problem, key: tuple[str, int, str], watch: _Stopwatch
    ) -> Iterator[tuple[str, Trace | Gradients, check.Tallies]]:
        made, reasons = recipe(key[0]), getattr(self.adapter, "not_covered", {})
        one_by_one = made.one_by_one
        if key not in self._truths and not made.passing:
            self._truths[key] = watch.time("truth", _truth, problem, arithmetic)
        trace = watch.time("framework", self._call, self.adapter.trace, Trace, problem, mode, one_by_one)
        yield "step", trace, watch.time("check", check.step, problem, trace, arithmetic, reasons)
        gradients = watch.time("framework", self._call, self.adapter.gradients, Gradients, problem, mode, one_by_one)
        truth = self._truths.get(key)
        judged = watch.time("check", check.end_to_end, problem, gradients, arithmetic, truth, reasons)
        yield "end-to-end", gradients, judged

    def _jacobians(
        self, mode: str, arithmetic: Arithmetic, problem: Problem, watch: _Stopwatch
    ) -> Iterator[tuple[str, Jacobians, check.Tallies]]:
        method = getattr(self.adapter, "jacobians", lambda *_: None)
        found = watch.time("framework", self._call, method, Jacobians | None, problem, mode, False)
        if found is not None:
            yield "step", found, watch.time("check", check.jacobians, problem, found, arithmetic)

    def _made(self, name: str, dtype: str) -> list[Problem]:
        key = (name, dtype)
        if key not in self._problems:
            if recipe(name).passing:
                self._problems.clear()
            self._problems[key] = build(name, dtype, self.job.networks, self.job.seed, self.job.vectors)
            self.digests[f"{name} {dtype}"] = digest(self._problems[key])
        return self._problems[key]

    def _call(self, method: Callable[..., Any], kind: Any, problem: Problem, mode: str, one_by_one: bool) -> Any:
        """The adapter's answer for a problem, or its answers for the networks of a stack, put together again."""
        problems = [single(problem, i) for i in range(problem.network.stack[0])] if one_by_one else [problem]
        answers = []
        for one in problems:
            before = [array.tobytes() for _, array in one.named()]
            answer = self._answer(method, one, mode)
            if not isinstance(answer, kind):
                expected = getattr(kind, "__name__", kind)
                raise ValueError(f"{method.__name__}: found {type(answer).__name__}, expected a {expected}")
            for (name, array), given in zip(one.named(), before, strict=True):
                if array.tobytes() != given:
                    raise ValueError(f"{method.__name__} changed its argument: {name} is not what was given")
            answers.append(answer)
        return _stacked(kind, answers, problems[0]) if one_by_one else answers[0]

    def _answer(self, method: Callable[..., Any], problem: Problem, mode: str) -> Any:
        """The adapter's answer; whether it is the framework's own is seen in the first call of each mode."""
        asked = (method.__name__, mode)
        if asked in self._watched or getattr(self.adapter, "reference", False):
            return method(problem, mode)
        self._watched.add(asked)
        return independent(method, problem, mode)


def _truth(problem: Problem, arithmetic: Arithmetic) -> dict[str, tuple[Exact, ...]]:
    """Exact loss and gradients of the first networks of a stack."""
    axes = problem.network.stack
    few = problem.at(slice(TRUTH_NETWORKS)) if axes and axes[0] > TRUTH_NETWORKS else problem
    return exact_gradients(few, arithmetic)


def _stacked(kind: type, answers: list[Any], one: Problem) -> Any:
    """Answers for single networks as the answer for their stack.

    An array whose shape is not the problem's is handed on as it is, for the check to find.
    """
    shapes = quantity_shapes(one)

    def stack(arrays: list[Array], shape: tuple[int, ...]) -> Array:
        wrong = [array for array in arrays if array.shape != shape or array.dtype != arrays[0].dtype]
        return wrong[0] if wrong else np.stack(arrays)

    stacked: dict[str, Any] = {}
    for field in fields(kind):
        found = [getattr(answer, field.name) for answer in answers]
        if any(value is None for value in found):
            continue
        if field.name == "loss":
            stacked["loss"] = stack(found, shapes["loss"][0])
        else:
            layers = zip(*found, strict=False)
            stacked[field.name] = tuple(
                stack(list(arrays), shape) for arrays, shape in zip(layers, shapes[field.name], strict=False)
            )
    return kind(**stacked)


def _sentence(error: BaseException) -> str:
    """An error as one line: its kind and its first line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def main(job: str, sink: TextIO) -> None:
    """Run a job, writing events to ``sink``."""
    for event in run(Job(**json.loads(job))):
        sink.write(json.dumps(event, allow_nan=False) + "\n")
        sink.flush()


def _end_with_parent() -> None:
    """End with all that was started here when standard input ends: the parent keeps it open, and now is gone."""
    with suppress(OSError):
        while os.read(0, 1):
            pass
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a framework prints must not mix with the events
    job = sys.stdin.readline()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    main(job, events)
