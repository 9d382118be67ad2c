"""What an adapter declares of its arithmetic holds, and is needed: without it, correct code would raise an alarm.

Each line below takes one declaration back. With it the comparison agrees; without it, the formulas named disagree.
"""

from dataclasses import replace
from typing import Any

import pytest

from compare import check
from compare.problems import build
from reference.exact import exact_gradients
from reference.rounding import Arithmetic
from tests.adapters.cases import NETWORKS, SEED, adapter, torch_compiles

pytestmark = torch_compiles

TAKEN_BACK: list[tuple[str, str, str, str, dict[str, Any], set[str]]] = [
    ("jax", "accurate", "float32", "saturated", {"complement": False}, {"11", "13", "16", "22"}),
    ("jax", "jit", "float32", "saturated", {"complement": True}, {"11", "13", "16", "22"}),
    ("jax", "jit", "bfloat16", "document", {"accumulate": None, "sigmoid_ulp": 0.5}, {"3", "4", "6"}),
    ("jax", "eager", "bfloat16", "all-different", {"sums": "float32"}, {"b1"}),
    ("numpy", "eager", "float16", "all-different", {"sums": "float32"}, {"b1"}),
    ("pytorch", "compile", "bfloat16", "document", {"excess": False}, {"3", "4", "6", "10"}),
    ("pytorch", "compile", "bfloat16", "document", {"recomputes": False}, {"11", "16"}),
    ("tensorflow", "eager", "bfloat16", "document", {"truncates": False}, {"1", "2"}),
    ("tensorflow", "eager", "float16", "all-different", {"sums": "float32"}, {"b1"}),
    ("tensorflow", "xla", "bfloat16", "all-different", {"excess": False}, {"b1"}),
    ("tensorflow", "forward", "float32", "all-different", {"forward": False}, {"15", "21", "22"}),
    ("tensorflow", "modules", "float64", "all-different", {"learning_rate": None}, {"8", "14", "b2"}),
]


def failures(name: str, mode: str, dtype: str, problem: str, arithmetic: Arithmetic) -> set[str]:
    """The formulas that disagree, in either check."""
    found: set[str] = set()
    for each in build(problem, dtype, NETWORKS, SEED):
        truth = exact_gradients(each, arithmetic)
        trace, gradients = adapter(name).trace(each, mode), adapter(name).gradients(each, mode)
        for tallies in (check.step(each, trace, arithmetic), check.end_to_end(each, gradients, arithmetic, truth)):
            found |= {number for (number, _), tally in tallies.items() if tally.failures}
    return found


@pytest.mark.parametrize(("name", "mode", "dtype", "problem", "instead", "formulas"), TAKEN_BACK)
def test_a_declaration_holds_and_is_needed(name, mode, dtype, problem, instead, formulas) -> None:
    declared = adapter(name).arithmetic(mode, dtype)
    assert failures(name, mode, dtype, problem, declared) == set()
    assert failures(name, mode, dtype, problem, replace(declared, **instead)) >= formulas
