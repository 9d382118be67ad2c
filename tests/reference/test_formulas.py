"""The ledger is complete and says rightly which entries each entry of a quantity is computed from."""

from dataclasses import fields
from itertools import product

import numpy as np
import pytest

from reference import Trace, backprop
from reference.formulas import LEDGER, Statement, weight_gradient
from reference.network import quantity_shapes
from reference.rounding import Arithmetic
from tests.reference.networks import operand_array, random_problem

STATEMENTS = [
    pytest.param(statement, id=f"{formula.number}: {statement.quantity}")
    for formula in LEDGER
    for statement in formula.statements
]


def test_the_ledger_has_every_formula_of_the_document_in_its_order() -> None:
    assert [formula.number for formula in LEDGER] == [*map(str, range(1, 23)), "b1", "b2"]
    sections = [2] * 4 + [3] * 3 + [4] * 7 + [5] * 6 + [6] * 2 + [None] * 2
    assert [formula.section for formula in LEDGER] == sections
    assert all(formula.latex and formula.text and formula.statements for formula in LEDGER)


@pytest.mark.parametrize("widths", [(3, 2), (2, 3, 2), (3, 4, 5, 2, 3)], ids=str)
def test_every_quantity_of_every_layer_is_determined(widths) -> None:
    stated = {
        (statement.quantity, layer)
        for formula in LEDGER
        for statement in formula.statements
        if statement.widths is None  # formulas 18 and 19 state one entry, of one network
        for layer in statement.layers_of(widths)
    }
    depth = len(widths) - 1
    names = [field.name for field in fields(Trace) if field.name != "loss"]
    assert stated == {*product(names, range(depth)), ("loss", depth - 1)}


def test_formulas_18_and_19_speak_of_the_document_s_network_alone() -> None:
    for formula in LEDGER:
        for statement in formula.statements:
            assert statement.widths == ((2, 3, 2) if formula.number in ("18", "19") else None)
            if statement.widths:
                assert statement.layers_of((2, 3, 2)) == (0,)
                assert statement.layers_of((2, 3, 3)) == statement.layers_of((2, 3, 2, 2)) == ()


@pytest.mark.parametrize("statement", STATEMENTS)
def test_indices_name_exactly_the_entries_that_an_entry_is_computed_from(statement: Statement) -> None:
    # A NaN spreads to whatever is computed from it: so from every entry named, and from no other.
    problem = random_problem(statement.widths or (2, 3, 4, 5), batch=3)
    trace, shapes = backprop(problem), quantity_shapes(problem)
    for layer in statement.layers_of(problem.network.widths):
        shape = shapes[statement.quantity][0 if statement.quantity == "loss" else layer]
        assert len(statement.indices) == len(shape)
        arrays = [operand_array(problem, trace, operand, layer) for operand in statement.operands]
        target = {letter: size - 1 for letter, size in zip(statement.indices, shape, strict=True)}
        found = tuple(0 if letter.isdigit() else index for letter, index in target.items())
        value = statement.evaluate(*arrays)[found]
        for number, (operand, array) in enumerate(zip(statement.operands, arrays, strict=True)):
            assert len(operand.indices) == np.ndim(array)
            if (statement.quantity, operand.name) == ("da_dw", "w"):
                continue  # only its shape is used
            for index in np.ndindex(np.shape(array)):
                changed = np.array(array)
                changed[index] = np.nan
                named = all(
                    i == (int(letter) if letter.isdigit() else target.get(letter, i)) or (operand.by_row and size == 1)
                    for letter, i, size in zip(operand.indices, index, np.shape(array), strict=True)
                )
                result = statement.evaluate(*arrays[:number], changed, *arrays[number + 1 :])[found]
                assert np.isnan(result) if named else result == value


def test_a_formula_evaluated_again_gives_its_operand() -> None:
    problem = random_problem((2, 3, 2), batch=2)
    trace = backprop(problem)
    again = [
        (statement, operand, *operand.evaluated_again)
        for formula in LEDGER
        for statement in formula.statements
        for operand in statement.operands
        if operand.evaluated_again
    ]
    assert len(again) == 2  # ∂h/∂a in formulas 9 and 15
    for statement, operand, formula, of in again:
        for layer in statement.layers_of(problem.network.widths):
            found = formula(operand_array(problem, trace, of, layer))
            assert np.array_equal(found, operand_array(problem, trace, operand, layer))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("stack", [(), (4,)], ids=str)
def test_the_gradient_of_one_row_is_the_matrix_product_of_two_vectors(dtype, stack) -> None:
    random = np.random.default_rng(0)
    delta, x = (random.standard_normal((*stack, 1, units)).astype(dtype) for units in (5, 3))
    found = weight_gradient(delta, x)
    assert found.dtype == dtype
    assert np.array_equal(found, x.mT @ delta)


def test_the_bound_of_one_row_is_that_of_a_matrix_product() -> None:
    tf32 = Arithmetic("float32", sigmoid_ulp=4, product_unit=2.0**-10)
    delta, x = (tf32.exact(np.linspace(1, 2, units, dtype=np.float32)[None]) for units in (5, 3))
    assert np.array_equal(weight_gradient(delta, x).error, (x.mT @ delta).error)
