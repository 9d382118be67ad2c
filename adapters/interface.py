"""The one interface between the suite and a framework. Read this first; then any adapter beside it.

An adapter takes a `reference.Problem` in NumPy arrays and returns NumPy arrays of the same dtype; framework types
never cross. It writes its own forward pass in its framework's idiom and takes every derivative from the framework's
autodiff: an adapter that called a formula of the reference would prove nothing. L is ½ Σ (y − t)², summed over units
and rows, one per network of a stack (formula 5): no mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import ClassVar, Protocol

import numpy as np

from reference.network import Array, Gradients, Jacobians, Problem, Trace
from reference.rounding import Arithmetic

__all__ = [
    "Adapter", "Arithmetic", "Gradients", "Jacobians", "NotOffered", "Problem", "Trace", "assert_held",
]  # fmt: skip


class NotOffered(Exception):  # noqa: N818 - not an error: an honest answer
    """Raised by an adapter for a mode, precision or device it does not have here. Its text is the reason shown."""


class Adapter(Protocol):
    """A framework, and the ways to run it. Subclass it; ``trace`` and ``gradients`` may be called in any order.

    Attributes
    ----------
    name : the one spelling, in files, on the command line, in pytest ids and dependency groups
    framework, version : as its makers write them
    modes : the ways to run, such as ``eager`` or ``jit``
    settings : what the adapter pinned or found that bears on the numbers, for the record in results.json; optional
    not_covered : quantities that ``trace`` and ``gradients`` leave None, each with the reason shown; optional
    same_kernels : modes, each with one whose kernels compute its σ and σ′ too and that has a fast way for short arrays,
        where it has none itself; optional
    reference : True for the one adapter that is the reference; any other that calls its formulas has failed
    """

    name: ClassVar[str]
    framework: ClassVar[str]
    version: str
    modes: ClassVar[tuple[str, ...]]
    settings: Mapping[str, str] = {}
    not_covered: ClassVar[Mapping[str, str]] = MappingProxyType({})
    same_kernels: ClassVar[Mapping[str, str]] = MappingProxyType({})
    reference: ClassVar[bool] = False

    def __init__(self, device: str = "cpu") -> None:
        """Prepare to run on ``device``. Raises NotOffered(reason) if there is none."""

    def arithmetic(self, mode: str, dtype: str) -> Arithmetic:
        """What the framework's arithmetic promises here. Raises NotOffered(reason) where there is nothing to run."""
        ...

    def trace(self, problem: Problem, mode: str) -> Trace:
        """Every quantity that the document names, as this framework computes it; None for what it has no code for."""
        ...

    def gradients(self, problem: Problem, mode: str) -> Gradients:
        """The loss and gradients from the call that a user would write, with no intermediate asked for."""
        ...

    def jacobians(self, problem: Problem, mode: str) -> Jacobians | None:  # noqa: ARG002 - for those that have one
        """Each step's full derivative by the framework's own Jacobian call; None, as here, in a mode without one."""
        return None

    def activation(self, a: Array, mode: str) -> tuple[Array, Array] | None:  # noqa: ARG002 - as above
        """The framework's σ of an array (n,), and its derivative as ``trace`` takes it; None, as here, if uncertified."""
        return None

    def short_activations(self, a: Array, mode: str) -> tuple[Array, Array] | None:  # noqa: ARG002 - as above
        """``activation`` of each row of a, (rows, n), by the code that an array of n takes, all in one call; None, as here,
        where that is no faster than a call for each.
        """
        return None


def assert_held(problem: Problem, held: Iterable[Array]) -> None:
    """Raise ValueError unless ``held``, read back from the framework, is bit for bit what it was given.

    ``held`` follows the order of ``Problem.named``: w, b, x, t.
    """
    for (name, given), array in zip(problem.named(), held, strict=True):
        for what, expected, found in (
            ("dtype", given.dtype, array.dtype),
            ("shape", given.shape, array.shape),
            ("bytes", given.tobytes(), np.ascontiguousarray(array).tobytes()),
        ):
            if found != expected:
                detail = "" if what == "bytes" else f": found {found!s}, expected {expected!s}"
                raise ValueError(f"{name}: the framework does not hold the {what} it was given{detail}")
