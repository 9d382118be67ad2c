"""The declared error of each sigmoid, measured against ball arithmetic, on this machine.

``pytest -rP tests/adapters/test_sigmoid_constants.py`` shows the largest errors and where they are.
"""

from functools import cache

import ml_dtypes
import numpy as np
from flint import ctx

from reference.exact import Exact, balls
from reference.formulas import sigmoid
from reference.network import Array
from reference.rounding import FORMATS, Arithmetic
from tests.adapters.cases import CHUNK, adapter, every_case, neurons, offered, torch_compiles

pytestmark = torch_compiles

# What the frameworks' documents and sources promise for their exponentials gives these, float32 and float64; and a σ
# that rounds to a short format after each of three operations 3, one that rounds once ½ and the float32 error.
THREE = {"bfloat16": 3.0, "float16": 3.0}
ONCE = {"bfloat16": 0.5 + 3 * 2.0**-16, "float16": 0.5 + 3 * 2.0**-13}
DERIVED: dict[str, dict[str, float]] = {
    "numpy": {"float32": 4, "float64": 4, "float16": 3},
    "pytorch": {"float32": 3, "float64": 4} | ONCE,
    "jax": {"float32": 3, "float64": 5} | THREE,
    "tensorflow": {"float32": 7, "float64": 4} | THREE,
    "tensorflow xla": {"float32": 3, "float64": 5, "bfloat16": 3, "float16": 3},
    "sklearn": {"float32": 4, "float64": 4},
}

# Largest error of NumPy, PyTorch and XLA, TensorFlow: for float32 of all inputs, for float64 of 12 million
WORST_KNOWN = {
    "float32": ("-0x1.ba7fecp+1", "-0x1.0a2bd8p+4", "-0x1.3672c4p+2"),
    "float64": ("-0x1.5e492913ee722p+1", "-0x1.25ea7e0f3dd38p+5", "-0x1.262e8d476700cp+5", "-0x1.040a2600972d6p+4"),
}

CALLS = 65  # of CHUNK: 266,435 inputs

SLOW_TO_START = ("compile", "forward", "vmap", "modules", "checkpoint", "accurate", "optax")


@cache
def inputs(dtype: str) -> tuple[Array, Exact]:
    """Numbers a of both signs, shuffled, and σ(a): all binades, and densely where σ is hardest.

    Where σ(a) < ½ it is about eᵃ: its error in ULP is largest just below the powers of two, at a ≈ −k ln 2.
    """
    precision, emin = FORMATS[dtype]
    random = np.random.default_rng(0)
    if dtype not in WORST_KNOWN:  # 16 bits: every number there is
        every = np.arange(2**16, dtype=np.uint16).view(ml_dtypes.bfloat16 if dtype == "bfloat16" else np.float16)
        every = every[np.isfinite(every.astype(np.float32))]
        return enclosed(random.permutation(np.concatenate([every, every[: -every.size % CHUNK]])))
    exponents = np.arange(emin - precision + 1, 2 - emin)
    limit = -emin * np.log(2)  # σ(−limit) is the least normal number
    powers = np.log(2) * np.arange(1, -emin + 1)
    sizes = [
        np.ldexp(random.uniform(1, 2, (2**15 // exponents.size, exponents.size)), exponents),
        powers * (1 + random.uniform(-1, 1, (2**15 // powers.size, powers.size)) / 2**6),
        limit * random.uniform(0.9, 1.1, 2**14),
        np.abs([float.fromhex(text) for text in WORST_KNOWN[dtype]]),
    ]
    size = np.concatenate([part.ravel() for part in sizes])
    even = random.uniform(-20, 20, CALLS * CHUNK - 2 * size.size)
    a = random.permutation(np.concatenate([size, -size, even]))
    return enclosed(np.clip(a, -np.finfo(dtype).max, np.finfo(dtype).max).astype(dtype))


def enclosed(a: Array) -> tuple[Array, Exact]:
    """The numbers, and σ of each to 128 bits."""
    with ctx.workprec(192):
        # σ(−2000) is not normal, and no more than that is asked of it
        exact = sigmoid(balls(np.maximum(a.astype(np.float64), -2000)))
        high = np.array([float(ball) for ball in exact])
        low = np.array([float(ball - nearest) for ball, nearest in zip(exact, high.tolist(), strict=True)])
        assert all(ball.rel_accuracy_bits() > 128 for ball in exact)
    return a, Exact(high, low)


def errors(name: str, mode: str, arithmetic: Arithmetic, a: Array, exact: Exact) -> Array:
    """How far the adapter's σ(a) is from the truth, in ULP; 0 where that is not normal."""
    trace = adapter(name).trace(neurons(a.ravel(), name), mode)
    assert trace.a is not None
    assert trace.h is not None
    normal = np.abs(a.astype(np.float64)) >= arithmetic.least_normal
    assert np.array_equal(trace.a[0].reshape(a.shape)[normal], a[normal])  # 1 a + 0
    error = exact.error_in_ulp(trace.h[0].reshape(a.shape), arithmetic)
    return np.where(exact.high >= arithmetic.least_normal, error, 0)


def calls(mode: str, dtype: str) -> list[Array]:
    """The indices of the inputs of each call: long arrays; and short ones, which some frameworks compute otherwise."""
    a, exact = inputs(dtype)
    long = np.arange(a.size).reshape(-1, CHUNK)
    if mode in SLOW_TO_START:  # one shape: every other one costs a second; the tails of the long arrays are short too
        return list(long)
    mantissa, exponent = np.frexp(exact.high)
    hard = np.flatnonzero((mantissa > 0.96) & (exponent > FORMATS[dtype][1]))
    return [*long, *hard[:150], *hard[150:300].reshape(30, 5)]


@every_case
def test_the_declared_error_of_the_sigmoid_holds_and_is_the_derived_one(name, mode, dtype, record_property) -> None:
    arithmetic = offered(name, mode, dtype)
    a, exact = inputs(dtype)
    measured = np.zeros(a.shape)
    short = []
    for index in calls(mode, dtype):
        found = errors(name, mode, arithmetic, a[index], Exact(exact.high[index], exact.low[index]))
        measured[index] = np.maximum(measured[index], found)
        if index.size < CHUNK:
            short.append(np.max(found))
    worst = int(np.argmax(measured))
    print(f"{measured[worst]:.3f} ULP at {a[worst]} = {float(a[worst]).hex()}")
    print(f"short arrays: {max(short):.3f} ULP" if short else "no short arrays")
    record_property("worst_ulp", float(measured[worst]))
    record_property("worst_input", float(a[worst]).hex())
    assert 0.49 < measured[worst] <= arithmetic.sigmoid_ulp
    assert arithmetic.sigmoid_ulp <= DERIVED.get(f"{name} {mode}", DERIVED[name])[dtype]
