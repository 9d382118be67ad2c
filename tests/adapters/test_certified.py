"""adapters/certified.json, which `nox -s certify` writes, holds what adapters declare of their sigmoids, and holds here."""

import json
from functools import cache
from typing import Any

import numpy as np
import pytest
from flint import ctx

from adapters import REGISTRY
from compare.accuracy import short as short_size
from compare.certify import FILE
from compare.certify import entries as all_entries
from compare.certify import measure as certified_measure
from compare.results import cpu as cpu_model
from reference.exact import Exact, balls
from reference.formulas import sigmoid
from reference.network import Array
from reference.rounding import Arithmetic
from tests.adapters.cases import CASES, CHUNK, adapter, every_case, neurons, offered, torch_compiles

pytestmark = torch_compiles

CERTIFIED = json.loads(FILE.read_text(encoding="utf-8"))
ENTRIES = {key: found for *key_, found in all_entries(CERTIFIED) for key in [tuple(key_)]}
PATHS = ("long", "short")
VECTORS = 4096
"""Inputs of a long array that has no tail, in any vector's width."""


def here(name: str) -> bool:
    """Whether this is the framework, and the processor, that the file is about."""
    return (CERTIFIED[name]["version"], CERTIFIED[name]["cpu"]) == (adapter(name).version, cpu_model())


def entry(name: str, mode: str, dtype: str, path: str) -> dict[str, Any]:
    return ENTRIES[name, mode, dtype, path]


def test_the_file_has_nothing_that_is_not_registered() -> None:
    assert list(CERTIFIED) == sorted(REGISTRY)
    assert {(name, mode, dtype) for name, mode, dtype, _ in ENTRIES} <= set(CASES)


@every_case
def test_no_declared_constant_is_below_what_is_certified(name, mode, dtype) -> None:
    declared = offered(name, mode, dtype)
    for path in PATHS:
        found = entry(name, mode, dtype, path)
        assert found["declared_ulp"] == declared.sigmoid_ulp
        assert found["sigmoid_ulp"]["size"] <= declared.sigmoid_ulp
        assert found["invalid"] == 0
        assert declared.flushes or not found["below_least_normal"]["flushes"]


@every_case
def test_all_inputs_are_covered_in_32_bits_or_fewer(name, mode, dtype) -> None:
    """By both paths: what `nox -s certify -- --complete` writes."""
    offered(name, mode, dtype)
    long, short = (entry(name, mode, dtype, path) for path in PATHS)
    if dtype == "float64":
        assert (long["covered"], short["covered"]) == ("sampled", "sampled")
        assert long["inputs"] > 10**8
    else:
        assert (long["covered"], long["inputs"]) == ("all", 2 ** (8 * np.dtype(dtype).itemsize))
        assert (short["covered"], short["inputs"]) == (long["covered"], long["inputs"])
    assert (short["shared"] > 0) == (dtype == "float32" and mode in adapter(name).same_kernels)
    assert short["inputs"] > 20_000


def certified(name: str, mode: str, a: Array) -> tuple[Array, Array]:
    found = adapter(name).activation(a, mode)
    assert found is not None
    return found


def activation(name: str, mode: str, a: Array, path: str) -> tuple[Array, Array]:
    """σ and σ′ of each number, by the code that a vector's worth of them takes, or a short array."""
    size = VECTORS if path == "long" else short_size(a.dtype)
    found = [certified(name, mode, np.full(size, each)) for each in a]
    assert all(len({array.tobytes() for array in np.split(h, size)}) == 1 for pair in found for h in pair)
    h, dh_da = (np.array([array[0] for array in arrays]) for arrays in zip(*found, strict=True))
    return h, dh_da


@cache
def truth(number: float) -> tuple[Exact, Exact]:
    """σ and σ′ to 128 bits."""
    with ctx.workprec(192):
        a = balls(np.array([number]))
        parts = []
        for ball in (sigmoid(a)[0], (sigmoid(a) * sigmoid(-a))[0]):
            high = float(ball)
            parts.append(Exact(np.array([high]), np.array([float(ball - high)])))
    return parts[0], parts[1]


@every_case
def test_the_worst_inputs_are_as_bad_as_recorded(name, mode, dtype) -> None:
    """By ball arithmetic, which certify does not use."""
    arithmetic: Arithmetic = offered(name, mode, dtype)
    for path in PATHS:
        found = entry(name, mode, dtype, path)
        for quantity, key in enumerate(("sigmoid_ulp", "derivative_ulp")):
            number = float.fromhex(found[key]["at"])
            values = activation(name, mode, np.array([number]).astype(dtype), path)[quantity]
            error = truth(number)[quantity].error_in_ulp(values, arithmetic)[0]
            if here(name):
                assert error == pytest.approx(found[key]["size"], rel=1e-6, abs=2**-6 if dtype == "float64" else 2**-24)
            elif quantity == 0:
                assert error <= arithmetic.sigmoid_ulp


@every_case
def test_the_derivative_is_lost_from_where_it_is_recorded(name, mode, dtype) -> None:
    offered(name, mode, dtype)
    for path in PATHS:
        found = entry(name, mode, dtype, path)
        if found["derivative_lost_from"] is None:
            assert found["derivative_ulp"]["size"] < 100
            continue
        first = np.array([float.fromhex(found["derivative_lost_from"])]).astype(dtype)
        bits = first.view(f"u{first.itemsize}")
        a = np.concatenate([bits - 1, bits]).view(first.dtype)  # the number before, nearer to 0
        _, dh_da = activation(name, mode, a, path)
        exact = np.array([truth(float(number))[1].high[0] for number in a])
        lost = np.abs(dh_da.astype(np.float64) - exact) > exact / 2
        if here(name):
            assert lost[1]
            assert not lost[0] or found["covered"] == "sampled"
        assert found["derivative_ulp"]["size"] > 100 or dtype in ("bfloat16", "float16")


@every_case
def test_measured_again_a_sample_is_no_worse(name, mode, dtype) -> None:
    declared = offered(name, mode, dtype)
    starts = range(0, 2**16, 2**12) if dtype in ("bfloat16", "float16") else range(0x40000000, 0xC2000000, 0xFF00001)
    found, _ = certified_measure(name, [mode], dtype, list(starts)[:9], 2**10)
    for path in PATHS:
        worst = found[mode, path].worst["sigmoid"]
        recorded = entry(name, mode, dtype, path)["sigmoid_ulp"]
        assert 0 < worst.size <= declared.sigmoid_ulp
        if here(name) and dtype != "float64" and entry(name, mode, dtype, path)["covered"] != "sampled":
            assert worst <= (recorded["size"], float.fromhex(recorded["at"]))


def some(dtype: str, size: int) -> Array:
    """Numbers of both signs, in which σ varies."""
    random = np.random.default_rng(0)
    return (random.choice([-1, 1], size) * 2.0 ** random.uniform(-9, 6.4, size)).astype(dtype)


def same_bits(one: Array, other: Array) -> bool:
    return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())


@every_case
def test_what_is_certified_is_what_is_compared(name, mode, dtype) -> None:
    """σ and σ′ of `activation` are those of `trace`, on the inputs that reach it unchanged."""
    offered(name, mode, dtype)
    a = some(dtype, CHUNK)
    trace = adapter(name).trace(neurons(a, name), mode)
    assert trace.h is not None
    assert trace.dh_da is not None
    h, dh_da = certified(name, mode, a)
    assert same_bits(h, np.ascontiguousarray(trace.h[0].reshape(a.shape)))
    assert same_bits(dh_da, np.ascontiguousarray(trace.dh_da[0].reshape(a.shape)))
