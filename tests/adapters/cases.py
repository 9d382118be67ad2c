"""Every registered way to run, each adapter loaded once, and problems of few shapes."""

from functools import cache

import numpy as np
import pytest

from adapters import REGISTRY, NotOffered, load
from compare.problems import DTYPES
from reference import Network, Problem
from reference.network import Array
from reference.rounding import Arithmetic

CASES = [(name, mode, dtype) for name, entry in REGISTRY.items() for mode in entry.modes for dtype in DTYPES]

WITH_JACOBIANS = {"pytorch": ["func", "forward"], "jax": ["jit", "forward"], "tensorflow": ["eager", "function", "xla"]}
"""The modes that have a Jacobian call of their own."""

every_case = pytest.mark.parametrize(("name", "mode", "dtype"), CASES)


def offered(name: str, mode: str, dtype: str) -> Arithmetic:
    """What the adapter declares, or its refusal as this test's skip: `test_contract.REFUSED` holds the refusals."""
    try:
        return adapter(name).arithmetic(mode, dtype)
    except NotOffered as reason:
        pytest.skip(f"not offered: {reason}")


# PyTorch's compiler, and its forward mode, use a deprecated part of PyTorch.
torch_compiles = pytest.mark.filterwarnings(r"ignore:`torch\.jit\.script(_method)?` is deprecated:DeprecationWarning")

# A compiled graph belongs to one shape: tests that share it find most of PyTorch's graphs in its cache on disk.
NETWORKS, SEED = 50, 0

CHUNK = 4099
"""How many neurons in a long array: a prime, to leave a tail behind vectors of any width, and more than the 4096 products
from which on PyTorch hands bfloat16 to oneDNN.
"""

adapter = cache(load)
"""A framework that is not installed fails every test that asks for it."""


def neurons(x: Array, name: str = "") -> Problem:
    """For each number a network of one neuron, with weight 1, bias 0 and target 1: its ``a`` is that number.

    scikit-learn takes one network at a time: for it, each number is a row of the one network's batch.
    """
    if name == "sklearn":
        one = np.ones((1, 1), x.dtype)
        return Problem(Network((one,), (0 * one,)), x[:, None], np.ones_like(x[:, None]))
    one = np.ones((*x.shape, 1, 1), x.dtype)
    return Problem(Network((one,), (0 * one,)), x[..., None, None], one)
