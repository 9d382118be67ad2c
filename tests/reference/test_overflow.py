"""Where a correct framework may overflow, or read what is not finite, no bound is finite; everywhere else all are."""

from functools import reduce
from itertools import permutations
from operator import mul

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.formulas import activation_derivative, loss, output_error, sigmoid, update
from reference.rounding import Arithmetic, Rounded

FLOAT32 = Arithmetic("float32", sigmoid_ulp=4)
FLOAT64 = Arithmetic("float64", sigmoid_ulp=4)
FLOAT16 = Arithmetic("float16", sigmoid_ulp=3, accumulate="float32")
ARITHMETICS = [FLOAT32, FLOAT64, FLOAT16]
every_arithmetic = pytest.mark.parametrize("arithmetic", ARITHMETICS, ids=lambda arithmetic: arithmetic.dtype)

pytestmark = pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")


def largest(arithmetic: Arithmetic) -> float:
    return float(np.finfo(arithmetic.dtype).max)


def bounded(number: Rounded) -> bool:
    return bool(np.all(np.isfinite(number.error)))


@every_arithmetic
def test_the_largest_number_is_the_formats(arithmetic):
    assert arithmetic.largest == largest(arithmetic)


sizes = st.builds(
    lambda mantissa, exponent: np.float32(np.ldexp(mantissa, exponent)), st.floats(1, 2), st.integers(-80, 80)
)


@given(st.lists(st.one_of(sizes, st.just(np.float32(0))), min_size=2, max_size=4))
def test_a_product_that_overflows_in_some_order_is_not_bounded(factors):
    bound = reduce(mul, (FLOAT32.exact(np.array([factor])) for factor in factors))
    orders = [np.multiply.reduce(order) for order in permutations(factors)]
    if bounded(bound):
        assert all(abs(np.float64(found) - bound.value).item() <= np.max(bound.error) for found in orders)
    else:
        assert np.prod(np.maximum(1, np.float64(factors))) > 0.999 * largest(FLOAT32)


@given(st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=5), st.sampled_from([0.25, 0.5, 1.0]))
def test_a_sum_that_overflows_in_some_order_is_not_bounded(terms, scale):
    stored = np.array(terms, np.float32) * np.float32(scale * largest(FLOAT32))
    ones = np.ones(len(terms), np.float32)
    for bound in (FLOAT32.exact(stored).sum(axis=0), FLOAT32.exact(stored[None]) @ FLOAT32.exact(1 * ones[:, None])):
        orders = [np.add.reduce(np.array(order)) for order in permutations(stored)]
        if bounded(bound):
            assert all(abs(np.float64(found) - bound.value).item() <= np.max(bound.error) for found in orders)
        else:
            assert np.sum(np.abs(np.float64(stored))) > 0.999 * largest(FLOAT32)


@every_arithmetic
def test_a_single_term_may_be_the_largest_number(arithmetic):
    x = arithmetic.exact(np.array([[largest(arithmetic), 0.0]]))
    w = arithmetic.exact(np.array([[1.0, 0.0], [0.5, 1.0]]))
    assert bounded(x @ w + arithmetic.exact(np.zeros((1, 2))))
    assert bounded(sigmoid(x))
    assert not bounded(arithmetic.exact(np.array([[largest(arithmetic)] * 2])) @ w)


@every_arithmetic
def test_a_sum_stored_before_its_bias_joins_may_overflow(arithmetic):
    big = arithmetic.exact(np.array([[largest(arithmetic)]]))
    total = big @ arithmetic.exact(np.array([[1.5]])) + arithmetic.exact(np.array([[-largest(arithmetic)]]))
    assert abs(float(total.value.item())) < largest(arithmetic)
    assert not bounded(total)


def test_products_may_exceed_float16_where_they_accumulate_in_float32():
    x = FLOAT16.exact(np.array([[60000.0, 60000.0]]))
    assert bounded(x @ FLOAT16.exact(np.array([[1.0], [-1.0]])))
    assert not bounded(x @ FLOAT16.exact(np.array([[1.0], [0.5]])))
    assert not bounded(Arithmetic("float16", 3).exact(x.value) @ FLOAT16.exact(np.array([[1.0], [-1.0]])))


@every_arithmetic
def test_the_derivative_of_a_square_is_twice_the_error(arithmetic):
    """TensorFlow's, in float16: y − t = −65504 came out as −∞."""
    t = arithmetic.exact(
        np.array([[largest(arithmetic), largest(arithmetic) / 2 - 2 * arithmetic.ulp(largest(arithmetic))]])
    )
    error = output_error(arithmetic.exact(np.array([[0.5, 0.5]])), t)
    assert np.isinf(error.error).tolist() == [[True, False]]
    assert not bounded(loss(arithmetic.exact(np.array([[0.5]])), t[:, :1]))


@every_arithmetic
def test_a_step_may_overflow(arithmetic):
    w, g = (arithmetic.exact(np.array([sign * largest(arithmetic)])) for sign in (1, -1))
    assert not bounded(update(w, g, 0.5))
    assert bounded(update(w / 4, g, 0.125))


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@every_arithmetic
def test_nothing_bounds_what_is_made_from_what_is_not_finite(arithmetic, value):
    """A multiplication by 0 does not make it so."""
    number = arithmetic.exact(np.array([[value, 1.0]]))
    assert np.isinf(number.error).tolist() == [[True, False]]
    made = {
        "σ": sigmoid(number),
        "σ′": activation_derivative(number),
        "sum": number + arithmetic.exact(np.array([[1.0, 1.0]])),
        "difference": 1 - number,
        "product with 0": number * arithmetic.exact(np.array([[0.0, 0.5]])),
        "selected": number * arithmetic.exact(np.array([[0.0, 1.0]])),
        "product, selected": number * number * arithmetic.exact(np.array([[0.0, 1.0]])),
        "half": number / 2,
    }
    for name, bound in made.items():
        assert np.isfinite(np.broadcast_to(bound.error, (1, 2))).tolist() == [[False, True]], name
    assert not bounded(number @ arithmetic.exact(np.array([[0.0], [1.0]])))
    assert not bounded(number.sum(axis=-1))
