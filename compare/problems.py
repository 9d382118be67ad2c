"""What is compared: named, seeded stacks of networks, stamped with a digest of their bytes.

A problem is made anew in every worker from its name, precision, size and seed, and its digest shows that all workers
were given the same bytes. The stacks of 2-3-2 nets share one shape, so that a compiled mode compiles once for all.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType

import numpy as np

from compare.published import Published, all_published, load
from compare.published import problem as published_problem
from reference.network import Array, Network, Problem
from reference.rounding import FORMATS, Arithmetic

DTYPES = ("float32", "float64", "bfloat16", "float16")
_LONG = ("float32", "float64")
DOCUMENT = (2, 3, 2)
"""The widths of the net in the document's figure."""

VECTORS = "vectors"
"""The problem that people bring in files."""

Numbers = Callable[..., Array]
"""Draws an array of the shape given, one axis per argument."""


@dataclass(frozen=True)
class Recipe:
    """How a problem is made.

    Attributes
    ----------
    description : one line for `--list`
    make : (rng, dtype, networks) → problems; more than one where shapes differ
    every_mode : the precisions in which it is part of every mode's default plan
    first_mode : those in which it is part of the default plan of an adapter's first mode
    one_by_one : each network of the stack is a call of its own, without stack axes, because a framework takes
        different kernels for it
    jacobians : asks for the Jacobians of single steps, not for gradients; only of modes that have a call for them
    passing : one of so many that none is kept, or compared with exact values
    """

    description: str
    make: Callable[[np.random.Generator, str, int], list[Problem]]
    every_mode: tuple[str, ...] = ()
    first_mode: tuple[str, ...] = DTYPES
    one_by_one: bool = False
    jacobians: bool = False
    passing: bool = False


def recipe(name: str, vectors: Sequence[str] = ()) -> Recipe:
    """How the problem called ``name`` is made: "soak/17" is part 17 of a soak, "vectors" is in these files."""
    if name == VECTORS:
        return Recipe("networks of your own", lambda _, dtype, __: _examples(map(load, vectors), dtype), DTYPES)
    return SOAK if name.startswith("soak/") else PROBLEMS[name]


def build(name: str, dtype: str, networks: int, seed: int, vectors: Sequence[str] = ()) -> list[Problem]:
    """The problems called ``name`` in ``dtype``: the same for the same arguments, on every machine."""
    family, _, part = name.partition("/")
    rng = np.random.default_rng([seed, zlib.crc32(family.encode()), *([int(part)] if part else [])])
    return recipe(name, vectors).make(rng, dtype, networks)


def digest(problems: list[Problem]) -> str:
    """SHA-256 over names, shapes, dtypes and bytes of all arrays."""
    state = hashlib.sha256()
    for problem in problems:
        for name, array in problem.named():
            state.update(f"{name} {array.shape} {array.dtype} η={problem.eta!r};".encode())
            state.update(np.ascontiguousarray(array).tobytes())
    return state.hexdigest()


def random_problem(
    rng: np.random.Generator,
    widths: tuple[int, ...],
    batch: int,
    stack: tuple[int, ...],
    dtype: str,
    numbers: Numbers | None = None,
    eta: float = 0.5,
) -> Problem:
    """A network of these widths with every entry drawn by ``numbers`` (standard normal), targets in [0, 1)."""
    draw = numbers or rng.standard_normal

    def array(*shape: int) -> Array:
        return np.asarray(draw((*stack, *shape)), np.float64).astype(dtype)

    w = tuple(array(n, m) for n, m in pairwise(widths))
    b = tuple(array(1, m) for m in widths[1:])
    t = array(batch, widths[-1]) if numbers else rng.random((*stack, batch, widths[-1])).astype(dtype)
    return Problem(Network(w, b), array(batch, widths[0]), t, eta)


def _document(rng: np.random.Generator, dtype: str, networks: int) -> list[Problem]:
    return [random_problem(rng, DOCUMENT, 1, (networks,), dtype)]


def _single(rng: np.random.Generator, dtype: str, networks: int) -> list[Problem]:
    return [random_problem(rng, DOCUMENT, 1, (min(networks, 100),), dtype)]


def _few(rng: np.random.Generator, dtype: str, _: int) -> list[Problem]:
    return [random_problem(rng, DOCUMENT, 2, (50,), dtype)]


def _all_different(rng: np.random.Generator, dtype: str, _: int) -> list[Problem]:
    return [random_problem(rng, (5, 7, 6, 4, 3), 3, (2, 25), dtype, eta=0.1)]  # η: in no format a power of two


def _wide(rng: np.random.Generator, dtype: str, _: int) -> list[Problem]:
    return [random_problem(rng, (67, 121, 11), 29, (), dtype, lambda shape: rng.standard_normal(shape) / 8)]


def _deep(rng: np.random.Generator, dtype: str, _: int) -> list[Problem]:
    return [random_problem(rng, (4,) * 21, 2, (), dtype, lambda shape: 2 * rng.standard_normal(shape))]


def _saturated(rng: np.random.Generator, dtype: str, networks: int) -> list[Problem]:
    """Numbers up to ±1 … ±1000: a from where σ′ is accurate to where y(1 − y) has lost it and beyond where eᵃ overflows.

    At most the third root of the largest number, for gradients are sums of products of three.
    """
    scale = 10 ** rng.uniform(0, min(3, -FORMATS[dtype][1] * np.log10(2) / 3), (networks, 1, 1))
    return [random_problem(rng, DOCUMENT, 1, (networks,), dtype, lambda shape: scale * rng.uniform(-1, 1, shape))]


def _extreme(rng: np.random.Generator, dtype: str, networks: int) -> list[Problem]:
    """Zeros of both signs, subnormals, least normals, ordinary numbers, and the fourth root of the largest."""
    precision, emin = FORMATS[dtype]

    def numbers(shape: tuple[int, ...]) -> Array:
        kind = rng.integers(0, 5, shape)
        ordinary = rng.standard_normal(shape)
        tiny = np.ldexp(rng.uniform(1, 2, shape), rng.integers(emin - precision + 1, emin + min(30, -emin // 2), shape))
        large = np.ldexp(rng.uniform(1, 2, shape), rng.integers(0, -emin // 4, shape))
        signed = np.copysign(
            np.select([kind == 0, kind == 1, kind == 2], [0.0, tiny, large], np.abs(ordinary)), ordinary
        )
        return np.asarray(signed)

    return [random_problem(rng, DOCUMENT, 1, (networks,), dtype, numbers)]


def _hostile(rng: np.random.Generator, dtype: str, networks: int) -> list[Problem]:
    """Ordinary numbers with one kind of trouble per network: ±0, subnormals, the largest numbers, infinities or NaNs.

    Each array of a network has at most one such entry, so that much of the network is left to be judged.
    """
    problem = random_problem(rng, DOCUMENT, 1, (min(networks, 1000),), dtype)
    numbers = Arithmetic(dtype, sigmoid_ulp=0)
    least = numbers.least_subnormal
    troubles = np.array([0.0, least, numbers.least_normal - least, numbers.largest, np.inf, np.nan])
    trouble = rng.integers(0, troubles.size, problem.network.stack)

    def spoiled(array: Array) -> Array:
        flat = array.reshape(*array.shape[:1], -1).copy()
        struck = rng.random(trouble.shape) < 0.4
        signed = np.where(rng.random(trouble.shape) < 0.5, 1, -1) * troubles[trouble]
        flat[struck, rng.integers(0, flat.shape[1], trouble.shape)[struck]] = signed[struck].astype(dtype)
        return flat.reshape(array.shape)

    return [problem.map(spoiled)]


def _sigmoid(rng: np.random.Generator, dtype: str, networks: int) -> list[Problem]:
    """Weights 1 and 0 hand chosen numbers to the hidden units unchanged: σ and σ′ from the least subnormal to the most.

    A quarter is drawn evenly from ±30 and the rest from all binades; the ends of the format and the places where
    eᵃ overflows, σ is no longer normal, or 1 − y vanishes come first.
    """
    problem = random_problem(rng, DOCUMENT, 1, (networks,), dtype)
    precision, emin = FORMATS[dtype]
    binade = np.ldexp(rng.uniform(1, 2, (networks, 3)), rng.integers(emin - precision + 1, -emin, (networks, 3)))
    signed = np.where(rng.random(binade.shape) < 0.5, binade, -binade)
    a = np.where(rng.random(binade.shape) < 0.25, rng.uniform(-30, 30, binade.shape), signed).astype(dtype)
    numbers = Arithmetic(dtype, sigmoid_ulp=0)
    edges = [0, numbers.least_subnormal, numbers.least_normal, 2 * numbers.unit, numbers.largest]
    edges += [np.log(numbers.largest), -emin * np.log(2)]
    edges += [precision * np.log(2), (precision + 1) * np.log(2), (precision - emin - 1) * np.log(2)]
    chosen = np.array([sign * float(edge) for edge in edges for sign in (1, -1)]).astype(dtype)
    count = min(chosen.size, a.size)
    a.flat[:count] = chosen[:count]
    w = np.zeros_like(problem.network.w[0])
    w[:, 0, 0] = w[:, 1, 1] = 1
    b = np.zeros_like(problem.network.b[0])
    b[:, 0, 2] = a[:, 2]
    network = Network((w, problem.network.w[1]), (b, problem.network.b[1]))
    return [Problem(network, a[:, None, :2].copy(), problem.t)]


def _examples(examples: Iterable[Published], dtype: str) -> list[Problem]:
    return [published_problem(example, dtype) for example in examples]


def _published(_: np.random.Generator, dtype: str, __: int) -> list[Problem]:
    return _examples(all_published(), dtype)


_SOAK_WIDTHS = (2, 3, 1, 4, 2, 3, 2, 1, 3)
"""A network of depth d has the first d + 1 of them: one shape for each depth, which a compiled mode compiles once."""


def _soak(rng: np.random.Generator, dtype: str, networks: int) -> list[Problem]:
    """Depth 1 to 8; each array of each network has a scale of its own, near 1 or anywhere between 10⁻³⁰ and 10³⁰.

    The share of scales that are not near 1 is drawn for each network, low ones more often: many such arrays saturate a
    network, or overflow in it.
    """
    depth = int(rng.integers(1, len(_SOAK_WIDTHS)))
    extremes = rng.random((networks, 1, 1)) ** 2
    widest = min(30, -FORMATS[dtype][1] * np.log10(2) - 2)  # of 16 bits, what the format has

    def numbers(shape: tuple[int, ...]) -> Array:
        exponent = rng.uniform(-1, 1, extremes.shape)
        exponent[rng.random(extremes.shape) < extremes] *= widest
        return np.asarray(10**exponent * rng.standard_normal(shape))

    eta = 10 ** rng.uniform(-3, 0)
    return [random_problem(rng, _SOAK_WIDTHS[: depth + 1], 1 + depth % 2, (networks,), dtype, numbers, eta)]


SOAK = Recipe(
    "part of a soak: random networks of depth 1 to 8, numbers over 60 orders of magnitude", _soak, passing=True
)

PROBLEMS: Mapping[str, Recipe] = MappingProxyType(
    {
        "document": Recipe("the document's 2-3-2 net, a stack of them", _document, every_mode=DTYPES),
        "document-single": Recipe(
            "2-3-2 nets, up to 100, one call each", _single, every_mode=("float32",), first_mode=_LONG, one_by_one=True
        ),
        "all-different": Recipe(
            "5-7-6-4-3, batch 3, η 0.1: no two widths alike", _all_different, every_mode=("float32",)
        ),
        "wide": Recipe("67-121-11, batch 29: no multiple of a vector", _wide),
        "deep": Recipe("twenty layers of 4, batch 2", _deep),
        "saturated": Recipe("2-3-2 nets of numbers up to ±1000", _saturated, every_mode=_LONG),
        "extreme": Recipe("2-3-2 nets of zeros, subnormals and large numbers", _extreme, every_mode=_LONG),
        "hostile": Recipe("2-3-2 nets with ±0, subnormals, the largest numbers, infinities, NaNs", _hostile),
        "sigmoid": Recipe("2-3-2 nets whose hidden units sweep all of the format", _sigmoid, every_mode=_LONG),
        "jacobian": Recipe("2-3-2 nets, every output by every input", _few, every_mode=_LONG, jacobians=True),
        "published": Recipe("worked examples from the literature", _published, first_mode=_LONG),
    }
)
