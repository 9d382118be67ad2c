"""What all parts measure: networks by their size, one check of everything, and a framework's own measured code."""

from __future__ import annotations

from importlib import import_module
from itertools import pairwise
from typing import Any

import numpy as np

from adapters import Adapter
from compare import check
from compare.problems import random_problem
from reference.network import Array, Gradients, Problem
from reference.rounding import Arithmetic

Widths = tuple[int, ...]


def network(widths: Widths, batch: int, dtype: str) -> Problem:
    """A network in which no unit saturates, the same in every process."""
    rng = np.random.default_rng(0)

    def numbers(shape: tuple[int, ...]) -> Array:
        return rng.standard_normal(shape) / 8

    return random_problem(rng, widths, batch, (), dtype, numbers)


def parameters(widths: Widths) -> int:
    """Weights and biases."""
    return sum((n + 1) * m for n, m in pairwise(widths))


def multiplications(widths: Widths, batch: int) -> int:
    """Of the matrix products in one gradient: x w and xᵀ δ in every layer, δ wᵀ in all but the first."""
    first, *others = (n * m for n, m in pairwise(widths))
    return batch * (2 * first + 3 * sum(others))


def full_check(adapter: Adapter, problem: Problem) -> None:
    """All that is asked and judged of one network in an adapter's first mode. Raises ValueError if an entry fails."""
    mode = adapter.modes[0]
    arithmetic = adapter.arithmetic(mode, str(problem.dtype))
    demand_agreement(check.step(problem, adapter.trace(problem, mode), arithmetic))
    end_to_end(problem, adapter.gradients(problem, mode), arithmetic)


def end_to_end(problem: Problem, gradients: Gradients, arithmetic: Arithmetic) -> None:
    """The end-to-end check alone. Raises ValueError if an entry fails."""
    demand_agreement(check.end_to_end(problem, gradients, arithmetic, None))


def demand_agreement(tallies: check.Tallies) -> None:
    """Raise ValueError unless entries were judged and none failed: what is wrong is not worth measuring."""
    if not sum(tally.entries for tally in tallies.values()):
        raise ValueError("found no entry that was judged, expected the whole network")
    for (formula, layer), tally in tallies.items():
        if tally.failures:
            raise ValueError(f"formula {formula}, layer {layer}: found {tally.failures} failures, expected none")


def own_code(framework: str) -> Any:
    """The file named after an adapter: ``gradient``, ``product`` and ``peers``. It imports the framework."""
    return import_module(f"bench.{'numpy_' if framework == 'numpy' else framework}")
