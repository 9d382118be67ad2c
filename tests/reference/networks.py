"""Random problems, and the arrays that a statement of the ledger speaks of."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from reference import Network, Problem, Trace, backprop
from reference.formulas import Operand
from reference.network import Array


def random_problem(
    widths: tuple[int, ...],
    batch: int = 1,
    stack: tuple[int, ...] = (),
    dtype: str = "float64",
    scales: Sequence[float] = (1.0,),
    seed: int = 0,
    eta: float = 0.5,
) -> Problem:
    """Every entry is uniform in (−1, 1) times one of ``scales``, chosen entry by entry: so 0.0 gives exact zeros."""
    random = np.random.default_rng(seed)

    def array(*shape: int) -> Array:
        size = (*stack, *shape)
        return (random.uniform(-1, 1, size) * random.choice(scales, size)).astype(dtype)

    layers = list(pairwise(widths))
    network = Network(tuple(array(n, m) for n, m in layers), tuple(array(1, m) for _, m in layers))
    return Problem(network, array(batch, widths[0]), array(batch, widths[-1]), eta)


def full_trace(problem: Problem) -> Any:
    """`backprop`, whose trace lacks no quantity: to the type checker, any of them could be None."""
    return backprop(problem)


def operand_array(problem: Problem, trace: Trace, operand: Operand, layer: int) -> Array:
    """The array that ``operand`` names in a statement about ``layer``."""
    if operand.by_row and problem.batch > 1:  # of one row, ∂aⱼ/∂wᵢⱼ is that row's input, the same for every j
        return operand_array(problem, trace, Operand("h", "bi", layer=-1), layer)[..., None]
    if operand.by_row:
        return getattr(trace, operand.name)[layer][..., None, :, :]
    if operand.name in ("t", "eta"):
        return getattr(problem, operand.name)
    if operand.name in ("w", "b"):
        return getattr(problem.network, operand.name)[layer + operand.layer]
    if operand.name == "h" and layer + operand.layer < 0:
        return problem.x
    return getattr(trace, operand.name)[layer + operand.layer]
