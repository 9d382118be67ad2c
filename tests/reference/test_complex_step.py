"""The complex step: Im L(w + ih) / h is the derivative, with no difference taken and no backward formula used.

L is analytic, so Im L(w + ih) / h = L′(w) − h² L‴(w) / 6 + …. With h = 1e-30 what is left out is about 1e-60, far
below every rounding.
"""

import numpy as np
import pytest
from flint import acb, arb, ctx

from reference import Network, Problem, backprop
from reference.exact import balls
from reference.network import Array
from reference.rounding import Arithmetic
from tests.reference.networks import full_trace, random_problem

STEP = 1e-30
NETS = [((2, 3, 2), 1), ((3, 2), 2), ((2, 4, 3, 2), 3), ((3, 2, 4, 3, 2), 2)]


def one_step_each(array: Array, step: Array) -> Array:
    """Copies of ``array``, stacked: in each, another entry has gone one ``step``."""
    return array + step * np.eye(array.size, dtype=int).reshape(array.size, *array.shape)


def losses(problem: Problem, step: Array, name: str, layer: int) -> Array:
    """L for each entry of ``w[layer]`` or ``b[layer]`` one ``step`` away, in that array's shape."""
    stepped = getattr(problem.network, name)[layer]

    def stacked(array: Array) -> Array:
        return one_step_each(array, step) if array is stepped else np.stack([array + 0 * step] * stepped.size)

    w, b = (tuple(map(stacked, arrays)) for arrays in (problem.network.w, problem.network.b))
    return full_trace(Problem(Network(w, b), stacked(problem.x), stacked(problem.t))).loss.reshape(stepped.shape)


@pytest.mark.parametrize(("widths", "batch"), NETS)
@pytest.mark.parametrize("name", ["w", "b"])
def test_the_gradient_is_the_limit_of_the_complex_step(widths, batch, name) -> None:
    # In balls no rounding hides anything: what is left is h² |L‴| / 6. Asking for h leaves 1 / h for the unknown L‴.
    with ctx.workprec(512):
        problem = random_problem(widths, batch).map(balls)
        for layer, gradient in enumerate(getattr(backprop(problem), f"dL_d{name}")):
            largest = max(abs(entry) for entry in gradient.flat)
            for h in (arb(STEP), arb(STEP) ** 2):
                found = losses(problem, acb(0, 1) * h, name, layer)
                pairs = zip(found.flat, gradient.flat, strict=True)
                assert all(abs(loss.imag / h - entry) <= h * largest for loss, entry in pairs)


@pytest.mark.parametrize(("widths", "batch"), NETS)
@pytest.mark.parametrize("name", ["w", "b"])
def test_the_float64_gradient_is_the_complex_step_but_for_its_rounding(widths, batch, name) -> None:
    # The derived bound of the whole network, and h for what the step leaves out, as above.
    arithmetic = Arithmetic("float64", sigmoid_ulp=4)
    problem = random_problem(widths, batch)
    bounds = getattr(backprop(problem.map(arithmetic.exact)), f"dL_d{name}")
    for layer, gradient in enumerate(getattr(backprop(problem), f"dL_d{name}")):
        with ctx.workprec(512):
            exact = losses(problem.map(balls), acb(0, 1) * arb(STEP), name, layer)
            triples = zip(exact.flat, gradient.flat, bounds[layer].error.flat, strict=True)
            # Both the gradient and the true derivative lie within the error of the bound's value.
            assert all(abs(loss.imag / arb(STEP) - entry) <= 2 * arb(error) + STEP for loss, entry, error in triples)


@pytest.mark.parametrize(("widths", "batch"), NETS)
@pytest.mark.parametrize("name", ["w", "b"])
def test_in_complex128_it_is_closer_than_a_central_difference(widths, batch, name) -> None:
    # A central difference is off by u^(2/3) at its best step; a complex step takes no difference and only rounds.
    problem = random_problem(widths, batch)
    for layer, gradient in enumerate(getattr(backprop(problem), f"dL_d{name}")):
        step = losses(problem, np.complex128(1j * STEP), name, layer).imag / STEP
        assert np.abs(step - gradient).max() <= (2.0**-53) ** (2 / 3) * np.abs(gradient).max()
