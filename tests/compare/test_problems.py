"""The problems: reproducible, valid, and holding the values that they promise."""

import warnings
from typing import Any

import numpy as np
import pytest

from adapters.numpy_ import NumPy
from compare import check
from compare.problems import DTYPES, PROBLEMS, build, digest
from compare.tally import Tally
from reference import Problem, backprop
from reference.network import Array
from reference.rounding import FORMATS

CASES = [(name, dtype) for name in PROBLEMS for dtype in DTYPES]
NUMPYS = [dtype for dtype in DTYPES if dtype != "bfloat16"]
"""The precisions that NumPy computes in; what frameworks make of bfloat16 is compared in `tests/test_frameworks.py`."""

# widths, batch and stack of each, made for 30 networks
SHAPES: dict[str, list[tuple[Any, ...]]] = {
    "document": [((2, 3, 2), 1, (30,))],
    "document-single": [((2, 3, 2), 1, (30,))],
    "all-different": [((5, 7, 6, 4, 3), 3, (2, 25))],
    "wide": [((67, 121, 11), 29, ())],
    "deep": [((4,) * 21, 2, ())],
    "saturated": [((2, 3, 2), 1, (30,))],
    "hostile": [((2, 3, 2), 1, (30,))],
    "extreme": [((2, 3, 2), 1, (30,))],
    "sigmoid": [((2, 3, 2), 1, (30,))],
    "jacobian": [((2, 3, 2), 2, (50,))],
}


class Format:
    """The numbers of a format, after IEEE 754."""

    def __init__(self, dtype: str) -> None:
        self.precision, self.emin = FORMATS[dtype]
        self.eps = 2.0 ** (1 - self.precision)
        self.max = (2 - self.eps) * 2.0 ** (1 - self.emin)
        self.smallest_normal = 2.0**self.emin
        self.smallest_subnormal = float(np.ldexp(1.0, self.emin - self.precision + 1))


@pytest.mark.parametrize("dtype", NUMPYS)
def test_a_format_is_what_numpy_says(dtype) -> None:
    info, found = np.finfo(dtype), Format(dtype)
    assert all(getattr(found, name) == getattr(info, name) for name in ("eps", "max", "smallest_normal"))
    assert found.smallest_subnormal == info.smallest_subnormal


def one(name: str, dtype: str, networks: int) -> Problem:
    (problem,) = build(name, dtype, networks, seed=0)
    return problem


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_same_arguments_give_the_same_bytes(name, dtype):
    first = digest(build(name, dtype, 20, 0))
    assert digest(build(name, dtype, 20, 0)) == first
    assert (digest(build(name, dtype, 20, 1)) == first) == (name == "published")  # nothing random there


def test_digests_tell_everything_apart():
    cases = [(n, d, networks, seed) for n, d in CASES if n != "published" for networks in (20, 21) for seed in (0, 1)]
    fixed_size = {"all-different", "wide", "deep", "jacobian"}
    distinct = {case if case[0] not in fixed_size else (*case[:2], case[3]) for case in cases}
    assert len({digest(build(*case)) for case in cases}) == len(distinct)


def test_digest_reads_values_shapes_precisions_and_the_learning_rate():
    problem = one("document", "float64", 4)
    x = problem.x.copy()
    x[3, 0, 1] = np.nextafter(x[3, 0, 1], 1)
    zero = Problem(problem.network, np.zeros_like(x), problem.t)
    variants = [
        problem,
        Problem(problem.network, x, problem.t),
        Problem(problem.network, problem.x, problem.t, eta=0.25),
        zero,
        Problem(problem.network, -zero.x, problem.t),
        problem.map(lambda array: array[None]),
        problem.map(lambda array: array.astype(np.float32)),
    ]
    assert len({digest([variant]) for variant in variants}) == len(variants)
    assert digest([problem.map(np.asfortranarray)]) == digest([problem])
    assert digest([problem, zero]) != digest([zero, problem])


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_shapes_precision_and_finite_values(name, dtype):
    problems = build(name, dtype, 30, 0)
    if name != "published":  # whose shapes are their authors'
        assert [(p.network.widths, p.batch, p.network.stack) for p in problems] == SHAPES[name]
    for problem in problems:
        for array_name, array in problem.named():
            assert array.dtype == dtype, array_name
            assert name == "hostile" or np.all(np.isfinite(array)), array_name


def test_single_networks_are_few():
    assert one("document-single", "float32", 10_000).network.stack == (100,)
    assert [name for name, recipe in PROBLEMS.items() if recipe.one_by_one] == ["document-single"]


def judged(problem: Problem) -> check.Tallies:
    """The reference's own run, in which nothing may overflow or be undefined, by its own check."""
    with np.errstate(all="raise", under="ignore"), warnings.catch_warnings(action="error"):
        trace: Any = backprop(problem)
    for name, arrays in vars(trace).items():
        for array in [arrays] if name == "loss" else arrays:
            assert np.all(np.isfinite(array)), name
    return check.step(problem, trace, NumPy().arithmetic("eager", str(problem.dtype)))


@pytest.mark.parametrize(("name", "dtype"), [(n, d) for n, d in CASES if d in NUMPYS and n != "hostile"])
def test_reference_agrees_with_its_own_check(name, dtype):
    for problem in build(name, dtype, 100, 0):
        for key, tally in judged(problem).items():
            assert tally.failures == 0, (key, tally.first_failure)
            assert tally.entries > 0, (key, tally.not_covered)


@pytest.mark.parametrize(("dtype", "least"), [("float32", 0.25), ("float64", 0.12)])
def test_bounds_are_sharp_on_the_documents_net(dtype, least):
    """Correct code comes near what the bounds allow: they could not be much smaller."""
    tallies = judged(one("document", dtype, 2000))
    for number in ("1", "2", "3", "4", "10", "13", "21", "22"):
        worst = sum((tally for (formula, _), tally in tallies.items() if formula == number), Tally())
        assert least <= worst.worst_bound_fraction <= 1, number


# --- what the hostile ones promise ----------------------------------------------------------------------------------


def trace_of(problem: Problem) -> Any:
    return backprop(problem)


@pytest.mark.parametrize("dtype", NUMPYS)
def test_hostile_is_judged_where_it_can_be(dtype):
    """Every kind of trouble is there; of networks without an infinity, a NaN or a large number, every entry is judged."""
    problem = one("hostile", dtype, 400)
    size = np.concatenate([np.abs(array.astype(np.float64)).reshape(400, -1) for _, array in problem.named()], axis=-1)
    info = np.finfo(dtype)
    assert np.isinf(size).any()
    assert np.isnan(size).any()
    for number in (0, info.smallest_subnormal, info.tiny - info.smallest_subnormal, info.max):
        assert (size == number).any(), number
    arithmetic, moderate = NumPy().arithmetic("eager", dtype), (size < 100).all(axis=-1)
    assert 100 < np.count_nonzero(moderate) < 300
    for part, all_judged in ((problem, False), (problem.at(moderate), True)):
        tallies = check.step(part, NumPy().trace(part, "eager"), arithmetic)
        assert sum(tally.failures for tally in tallies.values()) == 0
        assert all(
            (tally.unjudged == 0) == all_judged
            for (formula, _), tally in tallies.items()
            if formula in ("1", "5", "21")
        )


@pytest.mark.parametrize("dtype", NUMPYS)
def test_saturated_reaches_from_accurate_to_lost(dtype):
    problem = one("saturated", dtype, 500)
    trace = trace_of(problem)
    limit = min(1000, Format(dtype).max ** (1 / 3))
    for name, array in problem.named():
        assert np.max(np.abs(array)) <= limit, name
        assert np.max(np.abs(array)) > limit / 2, name
    overflow = np.log(Format(dtype).max)
    for layer in (0, 1):
        a, y, slope = trace.a[layer], trace.h[layer], trace.dh_da[layer]
        for low, high in ((0, 1), (1, 10), (10, min(100, limit)), (min(100, limit), 1000)):
            size = np.abs(a)
            assert np.any((low <= size) & (size < high)), (layer, low)
        assert np.any(a > overflow)
        assert np.any(a < -overflow)
        assert np.any((y == 1) & (slope == 0))
        assert np.any((y == 0) & (slope == 0))
        lost = (slope > 0) & (y > 0.5) & (1 - y < 8 * np.finfo(dtype).eps)  # y(1 − y) has a few bits left
        assert np.any(lost)


@pytest.mark.parametrize("dtype", DTYPES)
def test_extreme_holds_every_kind_of_number_in_every_array(dtype):
    info = Format(dtype)
    near = 2.0 ** min(30, -info.emin // 2)
    for name, exact in one("extreme", dtype, 300).named():
        array = exact.astype(np.float64)
        size = np.abs(array)
        kinds = {
            "+0": (array == 0) & ~np.signbit(array),
            "-0": (array == 0) & np.signbit(array),
            "subnormal": (size > 0) & (size < info.smallest_normal),
            "least normal": (size >= info.smallest_normal) & (size < info.smallest_normal * near),
            "ordinary": (size > 0.1) & (size < 1),
            "large": size > float(info.max) ** 0.125,
        }
        for kind, found in kinds.items():
            assert np.any(found), (name, kind)
            assert np.any(found & np.signbit(array)) or kind == "+0", (name, kind)
        assert 2.0**-12 < np.max(size) / float(info.max) ** 0.25 <= 1, name


@pytest.mark.parametrize("dtype", DTYPES)
def test_sigmoid_sweeps_the_format(dtype):
    problem = one("sigmoid", dtype, 2000)
    a = swept(problem).astype(np.float64)
    info = Format(dtype)
    precision, emin, least, greatest = info.precision, info.emin, info.smallest_subnormal, info.max
    edges = [0, least, info.smallest_normal, info.eps, greatest, np.log(greatest), -np.log(info.smallest_normal)]
    edges += [precision * np.log(2), (precision + 1) * np.log(2), -np.log(least)]
    for edge in np.array(edges).astype(dtype).astype(np.float64):
        for signed in (edge, -edge):
            assert np.any((a == signed) & (np.signbit(a) == np.signbit(signed))), signed
    ordinary = a[np.isfinite(a) & (a != 0)]
    exponents = np.frexp(ordinary)[1] - 1
    width = 16 if dtype == "float64" else 4  # binades in a group: there are 2098, or at most 277, for 6000 numbers
    for sign in (1, -1):
        groups = set((exponents[np.sign(ordinary) == sign] - (emin - precision + 1)) // width)
        assert groups >= set(range((-emin - (emin - precision + 1)) // width)), sign
        near = ordinary[(np.abs(ordinary) <= 30) & (np.sign(ordinary) == sign)]
        assert np.all(np.histogram(np.abs(near), bins=30, range=(0, 30))[0] > 0), sign


def swept(problem: Problem) -> Array:
    """a of the hidden units, which must be the numbers that x and b hand to them, unchanged."""
    given = np.concatenate((problem.x, problem.network.b[0][..., 2:]), axis=-1)
    exact = problem.map(lambda array: array.astype(np.longdouble))
    assert np.array_equal(trace_of(exact).a[0].astype(given.dtype), given)
    return given


def test_sigmoid_edges_come_first():
    few = swept(one("sigmoid", "float32", 7)).ravel()
    assert np.array_equal(few[:20:2], -few[1:20:2])
    assert np.isin(np.finfo(np.float32).max, few)
