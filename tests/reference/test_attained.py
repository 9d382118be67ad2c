"""Each part of a bound is needed: an operation that attains it, to within what the next smaller part would change.

What random networks rarely meet: ties, the least subnormal, large enclosures, few terms.
"""

from dataclasses import replace
from itertools import permutations
from operator import eq

import ml_dtypes
import numpy as np
import pytest

from reference.formulas import sigmoid
from reference.network import Array
from reference.rounding import FORMATS, Arithmetic, Rounded

FLOAT16 = Arithmetic("float16", sigmoid_ulp=3)
FLOAT32 = Arithmetic("float32", sigmoid_ulp=4)
FLOAT64 = Arithmetic("float64", sigmoid_ulp=4)
LONG = Arithmetic("float16", sigmoid_ulp=3, accumulate="float32")
FLUSHING = Arithmetic("float32", sigmoid_ulp=4, flushes=True)
TF32 = Arithmetic("float32", sigmoid_ulp=4, product_unit=2.0**-10)
TRUNCATING = Arithmetic("bfloat16", sigmoid_ulp=3, accumulate="float32", truncates=True)
U16, U32, U_BFLOAT16 = 2.0**-11, 2.0**-24, 2.0**-8


def row(arithmetic: Arithmetic, *numbers: float) -> Rounded:
    return arithmetic.exact(np.array([numbers], np.float64))


def column(arithmetic: Arithmetic, *numbers: float) -> Rounded:
    return arithmetic.exact(np.array(numbers, np.float64)[:, None])


def enclosure(arithmetic: Arithmetic, value: float, error: float) -> Rounded:
    return Rounded(arithmetic, np.array([[value]]), np.array([[error]]))


def error(bound: Rounded) -> float:
    return float(np.max(bound.error))


@pytest.mark.parametrize("dtype", FORMATS)
def test_formats_are_those_of_the_numbers(dtype) -> None:
    precision, emin = FORMATS[dtype]
    found = ml_dtypes.finfo(dtype)
    assert (found.eps, found.smallest_normal) == (2.0 ** (1 - precision), 2.0**emin)


def test_a_product_at_a_tie_attains_v() -> None:
    """3 · 683 = 2049, which 11 bits round to 2048 or 2050: the error is u(1 + u)/(1 + u), exactly v times the product."""
    bound = row(FLOAT16, 1.5) * row(FLOAT16, 683 / 512)
    assert bound.value == 2049 / 1024
    assert 1 / 1024 <= error(bound) < 1 / 1024 * (1 + U16 / 4)


def test_a_product_of_three_may_overflow_by_its_roundings() -> None:
    """Where the exact product is still a number: each of two roundings may add v."""
    largest, random = float(np.finfo(np.float16).max), np.random.default_rng(0)
    factors = random.uniform(1, 2, (3, 100_000)).astype(np.float16)
    factors[2] = (largest / (factors[0].astype(float) * factors[1].astype(float))).astype(np.float16)
    exact = np.prod(factors.astype(float), axis=0)
    with np.errstate(over="ignore"):
        overflows = np.any([np.isinf(a * b * c) for a, b, c in permutations(factors)], axis=0)
    assert np.count_nonzero(overflows & (exact <= largest)) > 100
    bound = FLOAT16.exact(factors[0]) * FLOAT16.exact(factors[1]) * FLOAT16.exact(factors[2])
    assert np.all(np.isinf(bound.error[overflows]))
    assert np.count_nonzero(np.isinf(bound.error) & (exact < largest * (1 - 3 * U16))) == 0


def test_an_underflow_of_float64_loses_its_least_subnormal() -> None:
    """Half of it is no number: that is the bound on the error of the product, and of the computation of the bound."""
    bound = row(FLOAT64, 2.0**-600) * row(FLOAT64, 2.0**-600)
    assert 2.0**-1074 <= error(bound) < 2.0**-1069


def test_of_terms_that_are_flushed_each_is_lost_at_most_once() -> None:
    """A partial sum that is flushed is added exactly, so that n losses are all; n − 1 are attained by a chain."""
    least = FLUSHING.least_normal
    bound = row(FLUSHING, 1.5 * least, 1.25 * least) @ column(FLUSHING, 1.0, -1.0)
    assert error(bound) < 2.0001 * least
    many = row(FLUSHING, *[0.75] * 8) @ column(FLUSHING, *[least] * 8)  # each product is flushed
    assert 6 * least < error(many) < 8.0001 * least


@pytest.mark.parametrize("bias", [0.5, 1.0, -0.75, 3.0])
def test_a_bias_is_a_term_of_its_sum_whatever_its_size(bias) -> None:
    product = row(FLOAT32, 0.75, 0.5) @ column(FLOAT32, 0.75, 0.5)
    with_bias, without = product + row(FLOAT32, bias), product + row(FLOAT32, 0.0)
    products = 0.75**2 + 0.5**2
    total, value = products + abs(bias), abs(products + bias)
    assert error(with_bias) == pytest.approx(U32 * (value + products + (total + value) / 2), rel=1e-6)
    assert error(without) == pytest.approx(2 * U32 * products, rel=1e-6)


def test_of_a_sum_that_cancels_each_partial_sum_is_rounded() -> None:
    """1 + u − 1: u is lost beside 1, which is M. The sum of the magnitudes is 2, and there are two additions."""
    terms = (1.0, U32, -1.0)
    found = np.float32(terms[0]) + np.float32(terms[1]) + np.float32(terms[2])
    bound = row(FLOAT32, *terms).sum(axis=-1)
    assert found == 0
    assert U32 <= error(bound) < U32 * (1 + 8 * U32)


def test_of_products_that_cancel_each_is_rounded() -> None:
    """Two ties: 1 + 2⁻¹¹ + 2⁻²⁴ is rounded down, 1 + 2⁻¹⁰ + 3 · 2⁻²⁴ is rounded up."""
    x, y = (1 + 2.0**-12, 1 + 2.0**-12), (1 + 2.0**-12, -(1 + 3 * 2.0**-12))
    bound = row(FLOAT32, *x) @ column(FLOAT32, *y)
    one, two = (float(product) for product in np.array(x, np.float32) * np.array(y, np.float32))
    off = abs(one + two - float(bound.value.item()))
    assert off == 2 * U32
    assert off <= error(bound) < off * (1 + 2.0**-9)


def test_of_partial_sums_only_the_last_is_known() -> None:
    """Eight products of ¾, four of each sign: two sums in the same order as their signs reach 2¼, and six are between."""
    bound = row(FLOAT32, *[0.75] * 8) @ column(FLOAT32, *[0.75] * 4, *[-0.75] * 4)
    assert error(bound) == pytest.approx(U32 * (4.5 + 6 * 2.25), rel=1e-5)


@pytest.mark.parametrize("terms", [(0.4, 0.45), (0.4, 0.45, 0.1), (0.9, -0.05)])
def test_a_sum_near_the_largest_float64_is_bounded(terms) -> None:
    """The bound is computed in float64 too, where S + |s| would overflow."""
    numbers = (term * FLOAT64.largest for term in terms)
    assert error(row(FLOAT64, *numbers).sum(axis=-1)) < len(terms) * 2.0**-53 * FLOAT64.largest


def test_a_single_largest_float64_is_bounded_beside_longer_sums() -> None:
    largest = FLOAT64.largest
    with np.errstate(over="ignore", invalid="ignore"):
        bound = row(FLOAT64, 0.75) @ row(FLOAT64, 0.0, 0.75) + row(FLOAT64, largest, 1.0)
        assert np.all(bound.error < 3 * 2.0**-53 * np.array([largest, 2]))


def test_a_partial_sum_is_itself_off_by_what_was_rounded_before() -> None:
    """In bfloat16, of 64 terms: by up to a quarter."""
    short = Arithmetic("bfloat16", sigmoid_ulp=3)
    agrees = row(short, *[0.75] * 64).sum(axis=-1)
    cancels = row(short, *[0.75] * 32, *[-0.75] * 32).sum(axis=-1)
    assert error(cancels) == pytest.approx(U_BFLOAT16 * (1 + U_BFLOAT16) * 62 * (24 + 63 * U_BFLOAT16 * 48), rel=1e-9)
    assert error(agrees) == pytest.approx(63 * U_BFLOAT16 * 48, rel=1e-9)


def test_what_underflows_takes_part_in_partial_sums_and_in_the_last_one() -> None:
    bound = row(FLOAT16, *[0.75] * 32, *[-0.75] * 32) @ column(FLOAT16, *[0.75] * 64)
    rounded = U16 * (1 + U16) * (36 + 62 * (18 + 64 * U16 * 36))
    assert error(bound) == pytest.approx(rounded + 64 * 2.0**-25 * (1 + 2 * 64 * U16), rel=1e-9)


def test_the_last_rounding_of_a_sum_grows_with_the_enclosure() -> None:
    bound = (enclosure(FLOAT32, 1.0, 0.5) @ column(FLOAT32, 1.5)) + row(FLOAT32, -1.5)
    assert error(bound) - 0.75 == pytest.approx(U32 * (0.75 + 2.25), rel=1e-3)


@pytest.mark.parametrize("bias", [0.5, 1.0, -0.75, 3.0])
def test_a_bias_may_join_a_sum_that_is_stored(bias) -> None:
    """Both are rounded to 11 bits then; a bias of zero changes nothing, and there is one rounding."""
    product = row(LONG, 0.75, 0.5) @ column(LONG, 0.75, 0.5)
    value = 0.75**2 + 0.5**2
    assert error(product + row(LONG, bias)) == pytest.approx(U16 * (value + abs(value + bias)), rel=2e-3)
    assert error(product + row(LONG, 0.0)) == pytest.approx(U16 * value, rel=2e-3)


def test_the_rounding_of_a_difference_grows_with_the_enclosure() -> None:
    """1 ± ½ minus a little: where the framework's operand is 3/2, its rounding is larger than that of V."""
    bound = enclosure(FLOAT32, 1.0, 0.5) - row(FLOAT32, 2.0**-24 * (1 + 2.0**-20))
    found = float(np.float32(1.5) - np.float32(2.0**-24 * (1 + 2.0**-20)))
    assert abs(found - float(bound.value.item())) <= error(bound)
    assert error(bound) == pytest.approx(0.5 + U32 * 1.5, abs=U32 / 4)


@pytest.mark.parametrize(("entries", "roundings"), [(1, 0), (2, 1), (3, 2), (4, 3)])
def test_a_product_with_ones_rounds_its_additions_only(entries, roundings) -> None:
    bound = row(FLOAT32, *[0.75] * entries) @ column(FLOAT32, *[1.0] * entries)
    assert error(bound) == pytest.approx(roundings * U32 * 0.75 * entries, rel=1e-6, abs=1e-40)


def test_a_product_with_zeros_has_no_error() -> None:
    assert error(row(FLOAT32, 0.75, 0.5) @ column(FLOAT32, 0.0, 0.0)) == 0.0


@pytest.mark.parametrize("size", [0.25, 4.0, 100.0])
def test_reduced_products_round_each_input_relative_to_it(size) -> None:
    bound = row(TF32, size) @ column(TF32, 1.5)
    assert error(bound) == pytest.approx(1.5 * size * (2 * 2.0**-10), rel=2e-3)


@pytest.mark.parametrize("product_inputs", [0, 1, 2, 3])
def test_the_roundings_of_product_inputs_multiply(product_inputs) -> None:
    number = TF32.exact(np.array([3.0]), product_inputs)
    assert error(number) == pytest.approx(3 * ((1 + 2.0**-10) ** product_inputs - 1), rel=1e-9)


def test_the_rounding_of_what_is_stored_grows_with_the_enclosure() -> None:
    product = enclosure(LONG, 1.0, 0.5) @ column(LONG, 1.5)
    assert error(product) == pytest.approx(0.75 + U16 * 2.25, abs=U16 / 8)
    assert error(product + row(LONG, -1.5)) == pytest.approx(0.75 + U16 * 2.25 + U16 * 0.75, abs=U16 / 8)


def test_the_roundings_of_a_product_grow_with_the_enclosure() -> None:
    bound = enclosure(FLOAT16, 1.0, 0.5) * row(FLOAT16, 1.5)
    assert error(bound) == pytest.approx(0.75 + U16 * 2.25, abs=U16 / 8)


def test_a_difference_that_may_lie_below_the_least_normal_number_may_be_flushed() -> None:
    least = FLUSHING.least_normal
    assert error(enclosure(FLUSHING, 1.25 * least, 0.5 * least) - row(FLUSHING, 0.0)) >= 1.25 * least
    assert error(enclosure(FLUSHING, 1.75 * least, 0.5 * least) - row(FLUSHING, 0.0)) < 0.51 * least


def test_what_may_overflow_is_seen_by_the_whole_enclosure() -> None:
    """65504 is the largest number of float16."""
    assert error(enclosure(LONG, 6e4, 1e4) @ column(LONG, 1.0)) == np.inf
    assert error(enclosure(LONG, 6e4, 1e3) @ column(LONG, 1.0)) < np.inf
    assert error(enclosure(FLOAT16, 2e4, 2e4) - row(FLOAT16, 0.0)) == np.inf
    assert error(enclosure(FLOAT16, 2e4, 1e4) - row(FLOAT16, 0.0)) < np.inf
    assert error(row(FLOAT16, FLOAT16.largest / 2) - row(FLOAT16, 0.0)) < np.inf
    assert error(row(LONG, LONG.largest, 14.0) @ column(LONG, 1.0, 1.0)) < np.inf  # 65518 is rounded to 65504
    assert error(TF32.exact(np.array([TF32.largest]), 1)) == np.inf
    assert error(TF32.exact(np.array([TF32.largest / 2]), 1)) < np.inf


@pytest.mark.parametrize("arithmetic", [FLOAT16, FLOAT32, FLOAT64], ids=lambda arithmetic: arithmetic.dtype)
def test_the_computation_of_a_bound_counts_its_own_rounding(arithmetic) -> None:
    """V is rounded too, by u₀: in extended precision, 2⁻¹¹ of what float64 rounds."""
    u, own = arithmetic.unit, arithmetic.own_unit
    x, y = row(arithmetic, 1.25), row(arithmetic, 1.75)
    assert error(x * y) >= 1.25 * 1.75 * (u / (1 + u) + own * 0.999)
    assert error(x - y) >= 0.5 * (u / (1 + u) + own * 0.999)
    assert error(x @ y.mT) >= 1.25 * 1.75 * (u + own * 0.999)
    about = enclosure(arithmetic, 1.0, 1.0).about(enclosure(arithmetic, 1.0, u / own))
    assert error(about) == pytest.approx(2, rel=1e-6)


def test_what_underflows_is_rounded_again_on_its_way() -> None:
    """A loss of η in one of n operations takes part in the others."""
    tiny = 2.0**-15  # its square is 2⁻³⁰, below half of the least subnormal, 2⁻²⁵
    assert error(row(FLOAT16, tiny) * row(FLOAT16, tiny)) >= 2.0**-25 * (1 + 0.999 * U16)
    many = row(FLOAT16, *[tiny] * 512) @ column(FLOAT16, *[tiny] * 512)
    assert error(many) == pytest.approx(512 * 1.25 * 2.0**-25, rel=0.02)
    stored = row(LONG, tiny) @ column(LONG, tiny)
    assert error(stored + row(LONG, 2.0**-14)) == pytest.approx(4 * 2.0**-25 + U16 * 2.0**-14, rel=0.02)


def test_a_sigmoid_that_vanishes_has_a_bound_that_vanishes() -> None:
    """Where the slope underflows, what is left of σ still bounds how far it moves."""
    assert error(sigmoid(enclosure(FLOAT64, -760.0, 1.0))) < 2.0**-1020
    assert error(sigmoid(enclosure(FLOAT32, -760.0, 1.0))) < 2.0**-120


@pytest.mark.parametrize("ones", [[1.0], [0.0], []])
def test_a_product_with_an_array_of_0_and_1_is_exact_however_many_axes_and_entries_it_has(ones) -> None:
    which = np.array(ones)
    product = FLOAT32.exact(np.full(which.shape, 0.75)) * FLOAT32.exact(which)
    assert product.shape == which.shape
    assert np.all(product.error == 0)


def test_numbers_are_not_compared_and_not_reduced() -> None:
    """Only what has a rule is computed: an outer sum is no sum."""
    x, product, total = row(FLOAT32, 0.5), row(FLOAT32, 0.5) * row(FLOAT32, 0.75), row(FLOAT32, 0.5, 1.0).sum(axis=-1)
    for number in (x, product, total, sigmoid(row(replace(FLOAT32, complement=True), 0.5))):
        for operation in (
            lambda a: eq(a, x),
            lambda a: eq(a, a),
            lambda a: np.add.outer(a, a),
            lambda a: np.add(a, a, where=True),
        ):
            with pytest.raises(TypeError):
                operation(number)


def test_an_arithmetic_is_a_key() -> None:
    assert len({FLOAT32, FLOAT64, Arithmetic("float32", sigmoid_ulp=4)}) == 2


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_what_is_said_to_round_to_the_largest_number_does(dtype) -> None:
    arithmetic = Arithmetic(dtype, sigmoid_ulp=4)
    rounded: Array = np.float64(arithmetic.rounded_to_largest).astype(dtype)
    assert rounded == arithmetic.largest
    with np.errstate(over="ignore"):
        assert np.isinf(np.float64(arithmetic.largest * (1 + 1.01 * arithmetic.unit / 2)).astype(dtype))


@pytest.mark.parametrize("arithmetic", [FLOAT16, FLOAT32, FLOAT64], ids=lambda arithmetic: arithmetic.dtype)
def test_own_unit_is_that_of_the_format_in_which_bounds_are_computed(arithmetic) -> None:
    one, unit = arithmetic.working(1), arithmetic.working(arithmetic.own_unit)
    assert one + unit == one < one + arithmetic.working(1.5) * unit


def test_a_difference_is_rounded_by_v() -> None:
    bound = row(FLOAT16, 1.5) - row(FLOAT16, 2.0**-11)
    assert error(bound) == pytest.approx((1.5 - 2.0**-11) * U16 / (1 + U16), rel=1e-9)


def test_what_is_stored_may_be_cut_by_twice_the_unit() -> None:
    product = row(TRUNCATING, 0.75, 0.5) @ column(TRUNCATING, 0.75, 0.5)
    assert error(product) == pytest.approx(2 * U_BFLOAT16 * (0.75**2 + 0.5**2), rel=1e-4)


@pytest.mark.parametrize(("terms", "finite"), [(256, True), (257, False)])
def test_a_sum_may_have_as_many_terms_as_its_bound_is_valid_for(terms, finite) -> None:
    """Up to n u = 1."""
    short = Arithmetic("bfloat16", sigmoid_ulp=3)
    bound = row(short, *[0.75] * terms) @ column(short, *[0.75] * terms)
    assert bool(np.isfinite(error(bound))) == finite


def test_of_partial_sums_all_but_the_first_are_rounded_before_they_overflow() -> None:
    """The limit of two terms is 65504 (1 − u), that is 65472.02."""
    assert error(row(FLOAT16, 65470.0, 65470.0) @ column(FLOAT16, 0.5, 0.5)) < np.inf
    assert error(row(FLOAT16, 65480.0, 65480.0) @ column(FLOAT16, 0.5, 0.5)) == np.inf


@pytest.mark.parametrize("arithmetic", [FLOAT16, FLOAT32, FLOAT64], ids=lambda arithmetic: arithmetic.dtype)
def test_a_power_of_two_may_scale_up_to_the_largest_number(arithmetic) -> None:
    half, below = arithmetic.largest / 2, arithmetic.largest / 8
    with np.errstate(over="ignore"):
        assert error(enclosure(arithmetic, half, below) * 2.0) == np.inf
    assert error(enclosure(arithmetic, half - 2 * below, below) * 2.0) < np.inf
    if arithmetic is not FLOAT16:  # whose least subnormal, which might be lost, is not lost in the sum
        assert error(row(arithmetic, half) * 2.0) < np.inf


def test_scaling_may_underflow_once_or_once_per_term() -> None:
    assert error(row(FLOAT16, 3 * 2.0**-24) * 0.5) == pytest.approx(2.0**-25, rel=1e-9)
    total = (row(FLOAT16, 0.75, 0.5) * row(FLOAT16, 2.0**-12, 2.0**-12)).sum(axis=-1)
    assert error(total * 0.5) == pytest.approx(error(total) / 2 + 2 * 2.0**-25, rel=1e-6)


def test_a_sigmoid_moves_by_one_at_most() -> None:
    """From ½ to 0 or 1; and one that may lie below λ is itself within the error, which here is the larger."""
    assert error(sigmoid(enclosure(FLOAT32, 0.0, 1000.0))) == pytest.approx(1.5, rel=1e-5)


@pytest.mark.parametrize("product_inputs", [0, 1, 2])
def test_zero_is_rounded_to_zero(product_inputs) -> None:
    assert error(TF32.exact(np.array([0.0]), product_inputs)) == 0


def test_what_is_rounded_to_the_largest_number_is_stored() -> None:
    most = row(LONG, LONG.rounded_to_largest) @ column(LONG, 1.0)
    assert error(most) < np.inf
    assert error(most + row(LONG, -100.0)) < np.inf
    assert error(most + row(LONG, 1.0)) == np.inf


def test_a_product_may_reach_the_largest_number_once_rounded() -> None:
    """x y (1 + v) is compared with it, to within what `_ROOM` leaves."""
    most = FLOAT32.largest / (1 + U32 / (1 + U32)) / 1.5
    assert error(row(FLOAT32, 1.5) * row(FLOAT32, most * (1 + 2.0**-34))) == np.inf
    assert error(row(FLOAT32, 1.5) * row(FLOAT32, most * (1 - 2.0**-28))) < np.inf


def test_what_is_selected_is_exact_up_to_the_largest_number() -> None:
    ones, zero = FLOAT32.exact(np.ones((1, 1))), FLOAT32.exact(np.zeros((1, 1)))
    largest = row(FLOAT32, FLOAT32.largest)
    assert error(largest * ones) == error(largest * zero) == 0
    assert error(row(FLOAT32, 0.5) * zero * row(FLOAT32, 0.75)) == 0


def test_in_excess_precision_float64_too_loses_what_underflows() -> None:
    excess = replace(FLOAT64, excess=True)
    assert error(excess.computed(np.array([0.0]), 0)) == 2.0**-1074
