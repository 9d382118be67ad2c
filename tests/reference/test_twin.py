"""The reference transcribes the formulas: an entry-by-entry twin in plain loops gives the same numbers.

Both run in ball arithmetic, so "the same" needs no tolerance: tight balls around the same number overlap.
"""

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from flint import arb, ctx

from reference import Problem, Trace, backprop
from reference.exact import balls
from tests.reference.networks import random_problem

BITS = 192
TIGHT = arb(2) ** -150  # balls that overlap are then this close; a wrong formula differs in the first digits


def empty() -> list[Any]:
    return []


def twin(x, w, b, t, eta):
    """Every quantity of one network, from nested lists of scalars, one row of the batch at a time."""
    depth = len(w)
    widths = [len(w[0])] + [len(w[layer][0]) for layer in range(depth)]
    a, h, dL_dh, dh_da, dL_da = ([empty() for _ in range(depth)] for _ in range(5))
    zeros = [[[arb(0) for _ in range(widths[layer + 1])] for _ in range(widths[layer])] for layer in range(depth)]
    da_dw, dL_dw = ([[list(row) for row in layer] for layer in zeros] for _ in range(2))
    dL_db = [[arb(0) for _ in range(widths[layer + 1])] for layer in range(depth)]
    loss = arb(0)

    for row in range(len(x)):
        inputs = [x[row]]
        for layer in range(depth):
            a_row, h_row = [], []
            for j in range(widths[layer + 1]):
                total = b[layer][0][j]
                for i in range(widths[layer]):
                    total += inputs[layer][i] * w[layer][i][j]
                a_row.append(total)
                h_row.append(1 / (1 + (-total).exp()))
            a[layer].append(a_row)
            h[layer].append(h_row)
            inputs.append(h_row)
        y = inputs[-1]
        for j in range(widths[-1]):
            loss += (y[j] - t[row][j]) ** 2 / 2

        delta_above = empty()
        for layer in reversed(range(depth)):
            error, slope, delta = [], [], []
            for j in range(widths[layer + 1]):
                unit = inputs[layer + 1][j]
                if layer == depth - 1:
                    error.append(unit - t[row][j])
                else:
                    total = arb(0)
                    for k in range(widths[layer + 2]):
                        total += delta_above[k] * w[layer + 1][j][k]
                    error.append(total)
                slope.append(unit * (1 - unit))
                delta.append(error[j] * slope[j])
                dL_db[layer][j] += delta[j]
                for i in range(widths[layer]):
                    da_dw[layer][i][j] += inputs[layer][i]
                    dL_dw[layer][i][j] += delta[j] * inputs[layer][i]
            dL_dh[layer].append(error)
            dh_da[layer].append(slope)
            dL_da[layer].append(delta)
            delta_above = delta

    w_new, b_new = [], []
    for layer in range(depth):
        columns = range(widths[layer + 1])
        w_new.append([[w[layer][i][j] - eta * dL_dw[layer][i][j] for j in columns] for i in range(widths[layer])])
        b_new.append([[b[layer][0][j] - eta * dL_db[layer][j] for j in columns]])
    return {
        "a": a, "h": h, "loss": [loss], "dL_dh": dL_dh, "dh_da": dh_da, "dL_da": dL_da, "da_dw": da_dw,
        "dL_dw": dL_dw, "dL_db": [[row] for row in dL_db], "w_new": w_new, "b_new": b_new,
    }  # fmt: skip


def same(found, expected) -> bool:
    found, expected = np.asarray(found, object), np.asarray(expected, object)
    tight = all(ball.rad() < TIGHT for ball in (*found.flat, *expected.flat))
    overlap = all(f.overlaps(e) for f, e in zip(found.flat, expected.flat, strict=True))
    return found.shape == expected.shape and tight and overlap


def quantities(trace: Trace) -> dict[str, Any]:
    values = {field.name: getattr(trace, field.name) for field in fields(Trace)}
    return {**values, "loss": (trace.loss,)}


SHAPES = {
    "the document's": ((2, 3, 2), 1, ()),
    "depth 1": ((3, 2), 1, ()),
    "depth 4, batch 3": ((2, 3, 1, 4, 2), 3, ()),
    "square, batch 3": ((3, 3, 3, 3), 3, ()),
    "stack 2 × 3": ((2, 3, 2), 2, (2, 3)),
    "one of everything": ((1, 1), 1, (1,)),
}


@pytest.mark.parametrize(("widths", "batch", "stack"), SHAPES.values(), ids=SHAPES)
def test_backprop_equals_its_entry_by_entry_twin(widths, batch, stack) -> None:
    with ctx.workprec(BITS):
        problem = random_problem(widths, batch, stack, scales=(0.3, 3.0), eta=0.3).map(balls)
        found = quantities(backprop(problem))
        for index in np.ndindex(stack):
            one = problem.at(index)
            w, b = ([array.tolist() for array in arrays] for arrays in (one.network.w, one.network.b))
            expected = twin(one.x.tolist(), w, b, one.t.tolist(), arb(problem.eta))
            assert found.keys() == expected.keys()
            for name, arrays in found.items():
                for array, looped in zip(arrays, expected[name], strict=True):
                    assert same(array[index], looped), name


@pytest.mark.parametrize("stack", [(4,), (2, 3), (1, 2, 2)], ids=str)
def test_a_stack_gives_the_same_as_its_single_networks(stack) -> None:
    with ctx.workprec(BITS):
        problem: Problem = random_problem((2, 3, 2), 2, stack).map(balls)
        found = quantities(backprop(problem))
        for index in np.ndindex(stack):
            for name, arrays in quantities(backprop(problem.at(index))).items():
                for one, stacked in zip(arrays, found[name], strict=True):
                    assert same(stacked[index], one), name
