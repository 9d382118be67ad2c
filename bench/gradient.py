"""2. The reference's gradient against each framework's fastest mode."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from itertools import product
from typing import Any

import numpy as np

from adapters import load
from bench.goals import Goal, ratio, table, time
from bench.process import processes
from bench.timing import interleaved, samples
from bench.workloads import Widths, end_to_end, multiplications, network, own_code
from reference.network import Gradients, Problem

TITLE = "One gradient"
NETWORKS: tuple[Widths, ...] = ((2, 3, 2), (64, 128, 10), (784, 256, 10), (2048, 2048, 2048))
BATCHES = (1, 32, 512)
DTYPES = ("float64", "float32")
CONTENDERS = (
    ("numpy", "eager"),
    ("pytorch", "eager"),
    ("pytorch", "compile"),
    ("jax", "jit"),
    ("tensorflow", "function"),
    ("tensorflow", "xla"),
    ("sklearn", "eager"),
)
"""The modes that may be a framework's fastest."""
REFERENCE = "numpy eager"

NOT_SLOWER, NOT_MUCH_SLOWER = Goal(1.0), Goal(1.15)
"""By the fastest framework: up to `LARGE` multiplications a row, and above."""
LARGE = multiplications((784, 256, 10), 1)
JUDGED = 10**7
"""Multiplications up to which a contender's gradient is judged before it is measured: its code is the same above."""
SQUARE = 2048
"""Of the matrices by whose product the machine's peak is measured."""


def measure(quick: bool, limit: float) -> dict[str, Any]:
    """Seconds of every contender on every network, and the peak of each precision in operations a second."""
    rounds = 1 if quick else 5
    cases = list(product(NETWORKS, BATCHES, DTYPES))[: 2 if quick else None]
    frameworks = list(dict.fromkeys(framework for framework, _ in CONTENDERS))
    rows = []
    with processes(frameworks) as own:
        multipliers = {name: own[name] for name in frameworks if name != "sklearn"}  # whose products are NumPy's
        size = SQUARE // 8 if quick else SQUARE
        peaks = {}
        for dtype in DTYPES:
            calls = {
                name: partial(process.call, _sample_product, name, size, dtype) for name, process in multipliers.items()
            }
            found = interleaved(calls, rounds)
            peaks[dtype] = 2 * size**3 / min(seconds for seconds in found.values() if seconds)
        for widths, batch, dtype in cases:
            taken = interleaved(
                {
                    f"{framework} {mode}": partial(
                        own[framework].call, _sample, framework, mode, widths, batch, dtype, limit=limit
                    )
                    for framework, mode in CONTENDERS
                },
                rounds,
            )
            rows.append({"widths": widths, "batch": batch, "dtype": dtype, "seconds": taken})
    return {"limit": limit, "peaks": peaks, "times": rows}


# --- in a framework's process -------------------------------------------------------------------------------------


def _sample(framework: str, mode: str, widths: Widths, batch: int, dtype: str) -> list[float]:
    return samples(_ready(framework, mode, widths, batch, dtype))


@lru_cache(maxsize=2)
def _ready(framework: str, mode: str, widths: Widths, batch: int, dtype: str) -> Callable[[], Any]:
    problem = network(widths, batch, dtype)
    run: Callable[[], Any] = own_code(framework).gradient(problem, mode)
    arrays = run()  # which compiles
    if multiplications(widths, batch) <= JUDGED:
        end_to_end(problem, _gradients(problem, arrays), load(framework).arithmetic(mode, dtype))
    return run


def _gradients(problem: Problem, arrays: Any) -> Gradients:
    shaped = [np.asarray(a).reshape(p.shape) for a, (_, p) in zip(arrays, problem.network.named(), strict=True)]
    depth = problem.network.depth
    return Gradients(dL_dw=tuple(shaped[:depth]), dL_db=tuple(shaped[depth:]))


def _sample_product(framework: str, size: int, dtype: str) -> list[float]:
    matrix = np.random.default_rng(0).standard_normal((size, size)).astype(dtype)
    return samples(own_code(framework).product(matrix, matrix.copy()))


# --- shown ----------------------------------------------------------------------------------------------------------


def show(found: Mapping[str, Any]) -> str:
    """The table."""
    header = ("network", "batch", "precision", "reference", "fastest framework", "its time", "ratio", "of peak")
    rows = []
    for case in found["times"]:
        ours, others = fastest(case)
        name = "-".join(map(str, case["widths"]))
        if ours is None or not others:
            rows.append([name, str(case["batch"]), case["dtype"], *["–"] * 4, f"> {time(found['limit'])}"])
            continue
        best = min(others, key=others.__getitem__)
        by_best = ours / others[best]
        goal = NOT_SLOWER if multiplications(case["widths"], 1) <= LARGE else NOT_MUCH_SLOWER
        share = 2 * multiplications(case["widths"], case["batch"]) / ours / found["peaks"][case["dtype"]]
        rows.append(
            [name, str(case["batch"]), case["dtype"], time(ours), best, time(others[best]),
             goal.judge(ratio(by_best), by_best), f"{share:.1%}" if share >= 0.001 else "< 0.1%"]
        )  # fmt: skip
    peaks = ", ".join(f"{peak / 1e9:.0f} in {dtype}" for dtype, peak in found["peaks"].items())
    return f"{table(header, rows)}\n\nPeak: the fastest matrix product of any framework, in 10⁹ operations a second {peaks}."


def fastest(case: Mapping[str, Any]) -> tuple[float | None, dict[str, float]]:
    """Seconds of the reference, and of all others that met no limit."""
    seconds = case["seconds"]
    return seconds[REFERENCE], {name: took for name, took in seconds.items() if took and name != REFERENCE}
