"""That what certify measures of all short arrays in one call is what the code of a short array computes.

Their results are the same bit for bit. Where a long array's are so too, that shows nothing, and a test looks at the code.
"""

import math
import re
from typing import Any

import numpy as np
import pytest

from adapters import REGISTRY
from compare.accuracy import short as short_size
from compare.problems import DTYPES
from reference.network import Array
from tests.adapters.cases import adapter, every_case, offered, torch_compiles
from tests.adapters.test_certified import certified, here, same_bits, some

pytestmark = torch_compiles

SAME_IN_LONG = {
    "numpy eager", "sklearn eager", "pytorch compile", "tensorflow xla", *(f"jax {m}" for m in REGISTRY["jax"].modes)
}  # fmt: skip
"""Whose long arrays have the short ones' results. That the call takes their code is another test's to show."""


@every_case
def test_short_activations_in_one_call_are_those_of_short_arrays(name, mode, dtype) -> None:
    """Of a mode without that call: those of the mode that runs its kernels."""
    offered(name, mode, dtype)
    size = short_size(dtype)
    rows = some(dtype, 100 * size).reshape(-1, size)
    found = adapter(name).short_activations(rows, adapter(name).same_kernels.get(mode, mode))
    assert found is not None
    one_by_one = zip(*(certified(name, mode, row) for row in rows), strict=True)
    assert all(
        same_bits(np.ascontiguousarray(one), np.stack(other)) for one, other in zip(found, one_by_one, strict=True)
    )
    if here(name) and dtype == "float32":
        long = certified(name, mode, rows.ravel())[0].reshape(rows.shape)
        assert same_bits(long, np.ascontiguousarray(found[0])) == (f"{name} {mode}" in SAME_IN_LONG)


def touching(rows: Array) -> bool:
    """Whether they lie in memory as one array of all their numbers."""
    return bool(rows.strides == (rows.shape[1] * rows.itemsize, rows.itemsize))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_no_step_of_numpy_takes_rows_for_one_array(dtype, monkeypatch) -> None:
    from adapters import numpy_

    seen = set()

    def ufunc(rows: Any, function: Any, method: str, *operands: Any, **keywords: Any) -> Any:
        seen.add(function.__name__)
        assert not any(touching(operand) for operand in operands if np.shape(operand) == rows.shape)
        return original(rows, function, method, *operands, **keywords)

    original = numpy_._Apart.__array_ufunc__
    monkeypatch.setattr(numpy_._Apart, "__array_ufunc__", ufunc)
    results = numpy_.NumPy().short_activations(some(dtype, 70).reshape(10, 7), "eager")
    assert all(isinstance(array, numpy_._Apart) and not touching(array) for array in results)
    assert {"exp", "add", "divide", "subtract", "multiply"} <= seen


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_step_of_scikit_learn_takes_rows_for_one_array(dtype, monkeypatch) -> None:
    from sklearn.neural_network._base import ACTIVATIONS, DERIVATIVES

    seen: list[bool] = []

    def recorded(step: Any) -> Any:
        def call(*arrays: Array) -> None:
            seen.extend(map(touching, arrays))
            step(*arrays)

        return call

    for table in (ACTIVATIONS, DERIVATIVES):
        monkeypatch.setitem(table, "logistic", recorded(table["logistic"]))
    adapter("sklearn").short_activations(some(dtype, 70).reshape(10, 7), "eager")
    assert seen == [False] * 3


@pytest.mark.parametrize("dtype", DTYPES)
def test_inductor_compiles_a_loop_over_rows_whose_body_is_the_short_array_s(dtype) -> None:
    import torch
    from torch._inductor.utils import fresh_cache, run_and_get_cpp_code

    from adapters import pytorch

    offered("pytorch", "compile", dtype)
    size = short_size(dtype)

    def body(of_activation: Any, a: Array) -> list[str]:
        pytorch._bound.cache_clear()
        torch.compiler.reset()
        with fresh_cache():
            code = run_and_get_cpp_code(of_activation, a, "compile")[1]
        lines = [line.strip() for line in code.splitlines() if "tmp" in line and line.endswith(";")]
        return [re.sub(r"static_cast<int64_t>\(.*?x\d.*?\)", "i", line) for line in lines]

    of_row = body(adapter("pytorch").activation, some(dtype, size))
    assert sum("exp(" in line for line in of_row) == 3
    assert body(adapter("pytorch").short_activations, some(dtype, 100 * size).reshape(-1, size)) == of_row


XLA = [("jax", mode) for mode in REGISTRY["jax"].modes] + [("tensorflow", "xla")]


@pytest.mark.parametrize(("name", "mode"), XLA)
def test_xla_compiles_a_loop_whose_body_has_the_shape_of_a_row(name, mode) -> None:
    rows: Any = some("float32", 700).reshape(100, 7)
    way: Any
    if name == "jax":
        from adapters import jax

        with jax.JAX()._configured():
            way = jax._row_by_row(mode)
            program = way.lower(rows).compile().as_text()
    else:
        from adapters import tensorflow

        way = tensorflow._run(tensorflow._in_a_loop, mode)
        program = way.experimental_get_compiler_ir(rows[..., None, None])(stage="optimized_hlo")
    shapes = re.findall(r"= f32\[([\d,]+)\]\S* exponential\(", program)
    assert shapes
    assert {math.prod(map(int, shape.split(","))) for shape in shapes} == {7}


MOVES = {
    "BroadcastTo", "ConcatV2", "Const", "ExpandDims", "Fill", "GatherV2", "Identity", "MatrixDiagV3", "PartitionedCall",
    "Placeholder", "PlaceholderWithDefault", "Range", "Reshape", "SplitV", "Tile", "Transpose",
}  # fmt: skip


@pytest.mark.parametrize("mode", REGISTRY["tensorflow"].modes)
def test_tensorflow_modes_of_the_same_kernels_compute_with_no_others(mode) -> None:
    """But for products and differences, which are rounded correctly everywhere; xla compiles the same graph."""
    from adapters import tensorflow

    way, a = tensorflow.MODES[mode], np.zeros((7, 1, 1), np.float32)
    traced: Any = tensorflow._graph(lambda a: tensorflow._activation(way, [a]))
    graph = traced.get_concrete_function(a).graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    assert {node.op for node in nodes} - MOVES - {"Mul", "Sub"} == {"Sigmoid", "SigmoidGrad"}
    assert adapter("tensorflow").same_kernels.get(mode, mode) in ("function", "xla")
