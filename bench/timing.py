"""Samples of a call's time, taken by asv's timer, and several calls' samples taken in turns."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Mapping
from statistics import median
from typing import TypeVar

from asv_runner.benchmarks.time import TimeBenchmark

Key = TypeVar("Key", bound=Hashable)

PATIENCE = 5.0
"""Seconds after which a call gets no further turn, unless it is given more."""


class _Sampling:
    """asv's attributes: warmed up, up to 5 samples of 10 ms and more, one if the call is slow."""

    warmup_time, sample_time, number = 0.05, 0.01, 0
    repeat = (1, 5, 0.1)
    min_run_count = rounds = 1


def samples(call: Callable[[], object]) -> list[float]:
    """Seconds of one call, several times."""
    found: list[float] = TimeBenchmark(repr(call), call, [_Sampling]).run()["samples"]
    return found


def interleaved(
    calls: Mapping[Key, Callable[[], list[float]]], rounds: int, patience: float = PATIENCE
) -> dict[Key, float | None]:
    """The median of all samples of each, taken in turns, so that what slows the machine for a while slows all of them.

    None where one has met its limit, which is a TimeoutError.
    """
    found: dict[Key, list[float]] = {key: [] for key in calls}
    spent = dict.fromkeys(calls, 0.0)
    for _ in range(rounds):
        for key, call in calls.items():
            if spent[key] > patience:
                continue
            start = time.perf_counter()
            try:
                found[key] += call()
            except TimeoutError:
                found[key], spent[key] = [math.inf], math.inf
            else:
                spent[key] += time.perf_counter() - start
    return {key: None if math.inf in times else median(times) for key, times in found.items()}
