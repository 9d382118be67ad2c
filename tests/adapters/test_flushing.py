"""Subnormal numbers: who is declared to flush them to zero does so, and everywhere else they survive."""

from dataclasses import replace

import numpy as np

from compare import check
from reference import Problem, Trace
from reference.network import Array
from reference.rounding import FORMATS, Arithmetic
from tests.adapters.cases import CHUNK, adapter, every_case, neurons, offered, torch_compiles

pytestmark = torch_compiles


def subnormals(dtype: str) -> Problem:
    precision, emin = FORMATS[dtype]
    random = np.random.default_rng(0)
    counts = random.integers(1, 2 ** random.integers(1, precision, CHUNK))  # of the least one; all binades alike
    return neurons(np.ldexp(random.choice([1.0, -1.0], CHUNK) * counts, emin - precision + 1).astype(dtype))


def sizes(array: Array) -> Array:
    return np.abs(array.astype(np.float64))


def failed(problem: Problem, trace: Trace, arithmetic: Arithmetic) -> set[str]:
    return {number for (number, _), tally in check.step(problem, trace, arithmetic).items() if tally.failures}


KEPT_HERE = {("pytorch", "compile", "bfloat16")}
"""Inductor makes these products sums of its own, in float32; those that it hands to oneDNN are flushed."""


@every_case
def test_subnormals_are_flushed_exactly_where_that_is_declared(name, mode, dtype) -> None:
    declared = offered(name, mode, dtype)
    problem = subnormals(dtype)
    assert 0 < np.min(sizes(problem.x)) <= np.max(sizes(problem.x)) < declared.least_normal
    trace = adapter(name).trace(problem, mode)
    assert trace.a is not None
    flushed = int(np.count_nonzero(trace.a[0] != problem.x))  # 1 x + 0
    seen = failed(problem, trace, replace(declared, flushes=False))
    print(f"{flushed} of {CHUNK} lost in a; not gradual: {', '.join(sorted(seen, key=int)) or 'none'}")
    assert failed(problem, trace, declared) == set()
    assert (flushed > 0) == bool(seen) == (declared.flushes and (name, mode, dtype) not in KEPT_HERE)
