"""4. Growth: time and peak memory of a full check against the number of multiplications, over six decades."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np

from adapters.numpy_ import NumPy
from bench.goals import Goal, memory, ratio, table, time
from bench.process import processes
from bench.timing import interleaved, samples
from bench.workloads import Widths, full_check, multiplications, network, own_code

TITLE = "Growth"
NETWORKS: tuple[Widths, ...] = ((2, 3, 2), *((2**n,) * 3 for n in range(3, 13)))
EXPONENT, IN_GRADIENTS = Goal(1.05), Goal(5)


def measure(quick: bool, limit: float) -> dict[str, Any]:
    """For one row of inputs in float64: seconds of a full check and of one gradient, and bytes of a full check."""
    rows = []
    with processes(["numpy"]) as own:
        for widths in NETWORKS[: 7 if quick else None]:
            calls = {name: partial(own["numpy"].call, _sample, name, widths, limit=limit) for name in _CALLS}
            seconds = interleaved(calls, rounds=1 if quick else 5)
            if None in seconds.values():
                break  # the next one is larger
            peak = own["numpy"].call(_peak, widths)
            rows.append({"widths": widths, "multiplications": multiplications(widths, 1), "peak": peak} | seconds)
    return {"times": rows}


# --- in its process -------------------------------------------------------------------------------------------------

_CALLS = ("check", "gradient")


def _sample(name: str, widths: Widths) -> list[float]:
    return samples(_calls(widths)[name])


@lru_cache(maxsize=1)
def _calls(widths: Widths) -> dict[str, Callable[[], object]]:
    problem = network(widths, 1, "float64")
    gradient = own_code("numpy").gradient(problem, "eager")
    return dict(zip(_CALLS, (partial(full_check, NumPy(), problem), gradient), strict=True))


def _peak(widths: Widths) -> int:
    """The most bytes that Python and NumPy hold at once for a full check, its network aside."""
    check = _calls(widths)["check"]
    tracemalloc.start()
    try:
        check()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# --- shown ----------------------------------------------------------------------------------------------------------


def show(found: Mapping[str, Any]) -> str:
    """The table, and the exponents."""
    header = ("network", "multiplications", "full check", "one gradient", "ratio", "memory")
    rows = []
    for row in found["times"]:
        gradients = row["check"] / row["gradient"]
        cells = [f"{row['multiplications']:,}", time(row["check"]), time(row["gradient"])]
        judged = IN_GRADIENTS.judge(ratio(gradients), gradients)
        rows.append(["-".join(map(str, row["widths"])), *cells, judged, memory(row["peak"])])
    exponents = (
        f"{name} by the power {EXPONENT.judge(f'{power:.2f}', power)}"
        for name, power in (("time", exponent(found["times"], "check")), ("memory", exponent(found["times"], "peak")))
    )
    return f"{table(header, rows)}\n\nFitted to the larger half: {', '.join(exponents)}."


def exponent(rows: Sequence[Mapping[str, Any]], of: str) -> float:
    """The power of the number of multiplications by which something grows in the larger half, fitted by least squares."""
    larger = rows[len(rows) // 2 :]
    size, number = (np.log([row[name] for row in larger]) for name in ("multiplications", of))
    return float(np.polyfit(size, number, 1)[0]) if len(larger) > 1 else float("nan")
