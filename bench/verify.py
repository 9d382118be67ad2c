"""1. Verifying one network, every entry of its gradient, against the peers on the same network in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple
from unittest.mock import patch

from adapters import load
from bench.goals import Goal, ratio, table, time
from bench.process import processes
from bench.timing import interleaved, samples
from bench.workloads import Widths, full_check, network, own_code, parameters

TITLE = "Verifying one network"
NETWORKS: tuple[Widths, ...] = ((2, 3, 2), (16, 32, 8), (64, 128, 10), (784, 128, 10))


class Peer(NamedTuple):
    """A check that others use: whose it is, its name there, and whether it looks at every entry of the gradient."""

    framework: str
    name: str
    complete: bool


OURS = "this suite"
PEERS = (
    Peer("pytorch", "gradcheck", complete=True),
    Peer("pytorch", "gradcheck, fast mode", complete=False),
    Peer("jax", "check_grads", complete=False),
    Peer("tensorflow", "compute_gradient", complete=True),
)
FASTER, FROM = Goal(1000, least=True), 9_610
"""Than the complete peers, at so many parameters and above."""
NOT_SLOWER = Goal(2)
"""Than those that follow one direction: our time by theirs, at every size."""
LINEAR = Goal(1.05)
"""The exponent of our time's growth beyond `FROM`."""


def measure(quick: bool, limit: float) -> dict[str, Any]:
    """Seconds of each peer and of this suite on the same framework, and the smallest relative faults that they see."""
    frameworks = list(dict.fromkeys(peer.framework for peer in PEERS))
    checks = [Peer(framework, OURS, complete=True) for framework in frameworks] + list(PEERS)
    rows, seen = [], []
    with processes(frameworks) as own:

        def sample(peer: Peer, widths: Widths) -> Callable[[], list[float]]:
            return partial(own[peer.framework].call, _sample, peer.framework, widths, peer.name, limit=limit)

        for widths in NETWORKS[: 2 if quick else None]:
            found = interleaved({peer: sample(peer, widths) for peer in checks}, rounds=1 if quick else 5)
            rows += [_row(peer, widths, seconds) for peer, seconds in found.items()]
        for peer in (Peer("pytorch", OURS, complete=True), *PEERS):
            least = own[peer.framework].call(_least_fault, peer.name)
            seen.append({"check": peer.name, "framework": peer.framework, "complete": peer.complete, "least": least})
    return {"limit": limit, "times": rows, "seen": seen}


def _row(peer: Peer, widths: Widths, seconds: float | None) -> dict[str, Any]:
    return {"framework": peer.framework, "check": peer.name, "parameters": parameters(widths), "seconds": seconds}


# --- in a framework's process -------------------------------------------------------------------------------------


def _sample(framework: str, widths: Widths, name: str) -> list[float]:
    return samples(_checks(framework, widths)[name])


@lru_cache(maxsize=1)
def _checks(framework: str, widths: Widths) -> dict[str, Callable[[], object]]:
    adapter = load(framework)  # first: it sets what its framework reads when it is imported
    problem = network(widths, 1, "float64")
    checks: dict[str, Callable[[], object]] = own_code(framework).peers(problem)
    checks[OURS] = partial(full_check, adapter, problem)
    for name in checks.keys() - {peer.name for peer in PEERS if peer.complete}:
        checks[
            name
        ]()  # what is compiled, is now; the others take their time, and so little compilation that it is none
    return checks


def _least_fault(name: str) -> str | tuple[float, float]:
    """In one entry of dL_dw of the 2-3-2 net: in the entry where it is seen best, in every one; or a mark, as of
    `tests.faults`.
    """
    from tests.faults import judges, sensitivity

    def fast_gradcheck(case: judges.Case) -> set[str]:
        import torch

        with patch.object(torch.autograd, "gradcheck", partial(torch.autograd.gradcheck, fast_mode=True)):
            return judges.torch_gradcheck(case)

    judge: Mapping[str, judges.Judge] = {
        OURS: judges.step,
        "gradcheck": judges.torch_gradcheck,
        "gradcheck, fast mode": fast_gradcheck,
        "check_grads": judges.jax_check_grads,
        "compute_gradient": judges.tf_compute_gradient,
    }
    return sensitivity.least_relative(judge[name], "float64")


# --- shown ----------------------------------------------------------------------------------------------------------


def show(found: Mapping[str, Any]) -> str:
    """The tables."""
    seconds = {(row["framework"], row["check"], row["parameters"]): row["seconds"] for row in found["times"]}
    sizes = list(dict.fromkeys(row["parameters"] for row in found["times"]))
    rows = []
    for of in found["seen"]:
        if of["check"] != OURS:
            rows += [_compared(of, size, seconds, found["limit"]) for size in sizes]
    header = ("check", "parameters", "its time", "this suite's", "it takes, by ours")
    parts = [table(header, rows), _growth(seconds, sizes), _sensitivity(found["seen"])]
    return "\n\n".join(filter(None, parts))


def _compared(
    of: Mapping[str, Any], size: int, seconds: Mapping[tuple[str, str, int], float | None], limit: float
) -> list[str]:
    theirs, ours = (seconds[of["framework"], name, size] for name in (of["check"], OURS))
    name = f"{of['framework']} {of['check']}"
    if ours is None:
        return [name, f"{size:,}", time(theirs) if theirs else "–", f"> {time(limit)}", NOT_SLOWER.judge("–", math.nan)]
    least, more = (limit, "> ") if theirs is None else (theirs, "")
    times = least / ours
    text = more + ratio(times)
    if of["complete"]:
        judged = FASTER.judge(text, times, at_least=theirs is None) if size >= FROM else text
    else:  # the goal is of our time by theirs
        judged = NOT_SLOWER.judge(text, 1 / times)
    return [name, f"{size:,}", more + time(least), time(ours), judged]


def _growth(seconds: Mapping[tuple[str, str, int], float | None], sizes: Sequence[int]) -> str:
    """How this suite's time grows beyond `FROM`, in each framework."""
    beyond = [size for size in sizes if size >= FROM]
    words = []
    for framework in dict.fromkeys(framework for framework, *_ in seconds):
        times = [seconds[framework, OURS, size] for size in (beyond[:1] + beyond[-1:])]
        if len(beyond) > 1 and times[0] and times[1]:
            exponent = math.log(times[1] / times[0]) / math.log(beyond[-1] / beyond[0])
            words.append(f"{framework} {LINEAR.judge(f'{exponent:.2f}', exponent)}")
    if not words:
        return ""
    return f"This suite's time grows with the parameters, from {beyond[0]:,} to {beyond[-1]:,}, by the power: {', '.join(words)}."


def _sensitivity(seen: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for of in seen:
        least = of["least"]
        cells = [least, least] if isinstance(least, str) else [f"{size:.1e}" for size in least]
        name = of["check"] if of["check"] == OURS else f"{of['framework']} {of['check']}"
        rows.append([name, "yes" if of["complete"] else "no", *cells])
    return table(("smallest relative fault seen in one entry", "looks at every entry", "in the best", "in every"), rows)
