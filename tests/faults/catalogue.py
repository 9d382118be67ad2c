"""Faulty adapters, each a correct one but for one small named change, and exactly what the suite must say of each.

A fault is planted where it would be in the wild. For NumPy it is a formula of the reference, patched while the adapter
runs. For a framework it is a part of its mode, taken from the module beside this one that is named after the adapter:
autograd Functions, custom_vjp, custom_gradient. The smallest faults, and those of dishonest adapters, change the answer.

Each is an adapter of its own: ``python -m compare --frameworks --adapter tests.faults.catalogue:NAME``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module

import numpy as np

from adapters import REGISTRY
from adapters.interface import Adapter, Gradients, Problem, Trace
from compare.problems import build
from reference import formulas
from tests.faults import numpy_ as wrong
from tests.faults.plants import (
    Plant,
    answer,
    arrays,
    computed_in,
    echoed,
    entry,
    formula,
    formulas_of,
    part,
    times,
    ulps,
)  # fmt: skip

NOT_INDEPENDENT = "not independent"


@dataclass(frozen=True)
class Fault:
    """One small change to a correct adapter.

    Attributes
    ----------
    where : framework, mode, precision, and problem of `compare.problems` in which the fault is judged
    change : what is wrong, in a line
    step, end : the first formula that each of the two checks names, as "number/layer" and, unless it is "value", the
        stage; None where the check sees nothing, and `NOT_INDEPENDENT` where the adapter is refused before any check
    networks : size of the problem's stack
    """

    name: str
    where: str
    change: str
    plant: Plant
    step: str | None
    end: str | None
    networks: int = 50

    @property
    def framework(self) -> str:
        """The registered adapter that was changed."""
        return self.where.split()[0]

    @property
    def mode(self) -> str:
        """Its mode."""
        return self.where.split()[1]

    @property
    def dtype(self) -> str:
        """The precision."""
        return self.where.split()[2]

    @property
    def problem(self) -> Problem:
        """The suite's own problem of that name."""
        return build(self.where.split()[3], self.dtype, self.networks, seed=0)[0]

    @property
    def adapter(self) -> type[Adapter]:
        """The faulty adapter. It imports its framework."""
        return _adapter(self)

    @property
    def correct(self) -> type[Adapter]:
        """The adapter without the fault."""
        module, _, name = REGISTRY[self.framework].spec.partition(":")
        found: type[Adapter] = getattr(import_module(module), name)
        return found


@cache
def _adapter(fault: Fault) -> type[Adapter]:
    correct = fault.correct

    class Faulty(correct):  # type: ignore[misc, valid-type]
        framework = f"{correct.framework}, but: {fault.change}"
        modes = (fault.mode,)
        reference = correct.reference and fault.step != NOT_INDEPENDENT

        def __init__(self, device: str = "cpu") -> None:
            super().__init__(device)
            self.right = correct(device)  # not super(): one method may call the other, and meet the fault twice

        def trace(self, problem: Problem, mode: str) -> Trace:
            return fault.plant(self.right.trace, problem, mode)  # type: ignore[no-any-return]  # whatever it makes

        def gradients(self, problem: Problem, mode: str) -> Gradients:
            return fault.plant(self.right.gradients, problem, mode)  # type: ignore[no-any-return]

    Faulty.name = fault.name
    return Faulty


def __getattr__(name: str) -> type[Adapter]:
    try:
        return FAULTS[name].adapter
    except KeyError:
        raise AttributeError(name) from None


_WRONG_FORMULA = (
    Fault("slope_missing_in_output", "numpy eager float64 document", "δ of the output is y − t",
        formula(output_delta=lambda y, t: y - t), "9/1", "21/0"),
    Fault("slope_missing_in_hidden", "numpy eager float32 document", "δ of hidden layers is not multiplied by h(1 − h)",
        formula(hidden_delta=lambda delta, w, _: formulas.hidden_error(delta, w)), "15/0", "21/0"),
    Fault("slope_of_tanh", "numpy eager float64 document", "1 − y² for y(1 − y)",
        formula(activation_derivative=lambda y: 1 - y * y), "7/0", "21/0"),
    Fault("h_for_y", "numpy eager float64 deep", "δ of the output from h(1 − h)", formulas_of(wrong.h_for_y), "9/19", "21/0"),
    Fault("h_for_x", "numpy eager float32 deep", "gradients from a layer's own h, not its x",
        formulas_of(wrong.h_for_x), "9/19", "21/0"),
    Fault("term_missing", "numpy eager float64 document", "the sum over k lacks its last term",
        formula(hidden_error=lambda delta, w: delta[..., :-1] @ w.mT[..., :-1, :]), "18/0", "21/0"),
    Fault("weights_transposed", "numpy eager float64 deep", "u in place of its transpose",
        formula(hidden_error=lambda delta, w: delta @ w), "20/18", "21/0"),
    Fault("mean_of_rows", "numpy eager float64 all-different", "gradients are means over the batch",
        formula(weight_gradient=lambda delta, x: x.mT @ delta / 3), "9/3", "21/0"),
    Fault("loss_not_halved", "numpy eager float32 document", "L without ½",
        formula(loss=lambda y, t: ((y - t) * (y - t)).sum(axis=(-2, -1))), "5/1", "5/1"),
    Fault("loss_mean", "numpy eager float64 document", "L is a mean over outputs",
        formula(loss=lambda y, t: ((y - t) ** 2).mean(axis=(-2, -1)) / 2), "5/1", "5/1"),
    Fault("ascent", "numpy eager float64 document", "w + η ∇L",
        formula(update=lambda w, gradient, eta: w + eta * gradient), "8/0", None),
    Fault("rate_forgotten", "numpy eager float32 document", "w − ∇L, without η",
        formula(update=lambda w, gradient, eta: w - gradient), "8/0", None),
    Fault("error_negative", "numpy eager float64 document", "t − y",
        formula(output_error=lambda y, t: t - y), "10/1", "21/0"),
    Fault("target_of_another_row", "numpy eager float64 all-different", "y − t with t of the next row",
        formula(output_error=lambda y, t: y - np.roll(t, 1, axis=-2)), "10/3", "21/0"),
    Fault("stale_weights", "numpy eager float64 document", "u after its update in the hidden δ",
        formulas_of(wrong.stale_weights), "18/0", "21/0"),
    Fault("layer_above", "numpy eager float64 deep", "δ through the weights of the layer above",
        formulas_of(wrong.layer_above), "22/0", "21/0"),
    Fault("layers_swapped", "numpy eager float64 deep", "gradients of the first two layers exchanged",
        answer(lambda _, found: replace(found, dL_dw=(*found.dL_dw[1::-1], *found.dL_dw[2:]))), "8/0", "21/0"),
    Fault("rows_reversed", "numpy eager float32 all-different", "δ multiplied by another row's x",
        formula(weight_gradient=lambda delta, x: x[..., ::-1, :].mT @ delta), "9/3", "21/0"),
    Fault("bias_averaged", "numpy eager float64 all-different", "the bias gradient is a mean over rows",
        formula(bias_gradient=lambda delta: delta.mean(axis=-2)[..., None, :]), "b1/0", "b1/0"),
    Fault("bias_of_last_row", "numpy eager float32 all-different", "the bias gradient is the last row's",
        formula(bias_gradient=lambda delta: delta[..., -1:, :]), "b1/0", "b1/0"),
    Fault("bias_gradient_missing", "numpy eager float32 document", "the bias gradient is zero",
        formula(bias_gradient=lambda delta: 0 * delta[..., :1, :]), "b1/0", "b1/0"),
    Fault("bias_not_stepped", "numpy eager float64 document", "b stays as it was",
        answer(lambda problem, found: replace(found, b_new=problem.network.b), only=Trace), "b2/0", None),
    Fault("bias_forgotten", "numpy eager float64 document", "a = x w",
        formula(linear=lambda x, w, b: x @ w), "1/0", "5/1"),
    Fault("gradient_doubled", "numpy eager float32 document", "the gradient is added to itself",
        formula(weight_gradient=lambda delta, x: 2 * (x.mT @ delta)), "9/1", "21/0"),
    Fault("torch_slope_missing", "pytorch eager float32 document", "a Function without y(1 − y)",
        part(sigmoid="slope_missing"), "7/0", "21/0"),
    Fault("torch_slope_of_tanh", "pytorch func float64 document", "a Function with 1 − y²",
        part(sigmoid="slope_of_tanh"), "7/0", "21/0"),
    Fault("torch_rows_reversed", "pytorch func float32 all-different", "a Function's x in another order",
        part(linear="rows_reversed"), "9/3", "21/0"),
    Fault("torch_mean_of_rows", "pytorch eager float64 all-different", "a Function's mean for a sum",
        part(linear="mean_of_rows"), "9/3", "21/0"),
    Fault("torch_no_bias_gradient", "pytorch vmap float32 document", "a Function with no gradient for b",
        part(linear="no_bias_gradient"), "b1/0", "b1/0"),
    Fault("torch_gradient_stops", "pytorch eager float64 document", "a Function with no gradient for x",
        part(linear="gradient_stops"), "18/0", "21/0"),
    Fault("torch_clipped", "pytorch vmap float64 document", "a Function that clips at ±0.1",
        part(linear="clipped"), "9/1", "21/0"),
    Fault("torch_backward_twice", "pytorch eager float32 document", "backward twice, gradients accumulate",
        part(differentiate="backward_twice"), "7/0", "21/0"),
    Fault("torch_bias_forgotten", "pytorch compile float32 document", "a = x w",
        part(linear="bias_forgotten"), "1/0", "5/1"),
    Fault("torch_mean_loss", "pytorch modules float32 document", "MSELoss averages",
        part(loss="mean_loss"), "5/1", "5/1"),
    Fault("torch_loss_not_halved", "pytorch func float64 document", "L without ½",
        part(loss="loss_not_halved"), "5/1", "5/1"),
    Fault("torch_weight_decay", "pytorch modules float64 document", "SGD with weight_decay=1e-4",
        part(step="weight_decay"), "8/0", None),
    Fault("jax_slope_missing", "jax jit float32 document", "a custom_vjp without y(1 − y)",
        part(sigmoid="slope_missing"), "7/0", "21/0"),
    Fault("jax_slope_of_tanh", "jax checkpoint float64 document", "a custom_vjp with 1 − y²",
        part(sigmoid="slope_of_tanh"), "7/0", "21/0"),
    Fault("jax_slope_negative", "jax eager float64 document", "a custom_vjp of the wrong sign",
        part(sigmoid="slope_negative"), "7/0", "21/1"),
    Fault("jax_slope_missing_forward", "jax forward float32 document", "a custom_jvp without y(1 − y)",
        part(sigmoid="tangent_without_slope"), "7/0", "21/0"),
    Fault("jax_mean_of_rows", "jax vmap float32 all-different", "a custom_vjp's mean for a sum",
        part(_linear="mean_of_rows"), "9/3", "21/0"),
    Fault("jax_rows_reversed", "jax jit float64 all-different", "a custom_vjp's x in another order",
        part(_linear="rows_reversed"), "9/3", "21/0"),
    Fault("jax_term_missing", "jax jit float64 document", "a custom_vjp's sum over k without its last term",
        part(_linear="term_missing"), "18/0", "21/0"),
    Fault("jax_bias_of_last_row", "jax jit float64 all-different", "a custom_vjp's bias gradient of one row",
        part(_linear="bias_of_last_row"), "b1/0", "b1/0"),
    Fault("jax_mean_loss", "jax jit float64 document", "L is a mean over outputs",
        part(differentiate="mean_loss"), "5/1", "5/1"),
    Fault("jax_ascent", "jax jit float32 document", "w + η ∇L", part(step="ascent"), "8/0", None),
    Fault("jax_adam", "jax optax float32 document", "Adam for SGD", part(step="adam"), "8/0", None),
    Fault("tf_slope_missing", "tensorflow eager float32 document", "a custom_gradient without y(1 − y)",
        part(sigmoid="slope_missing"), "7/0", "21/0"),
    Fault("tf_slope_of_tanh", "tensorflow function float64 document", "a custom_gradient with 1 − y²",
        part(sigmoid="slope_of_tanh"), "7/0", "21/0"),
    Fault("tf_term_missing", "tensorflow xla float64 document", "a custom_gradient's sum without its first term",
        part(layer="term_missing"), "18/0", "21/0"),
    Fault("tf_no_bias_gradient", "tensorflow function float32 document", "a custom_gradient with none for b",
        part(layer="no_bias_gradient"), "b1/0", "b1/0"),
    Fault("tf_mean_of_bias", "tensorflow eager float64 all-different", "a custom_gradient's mean for b",
        part(layer="mean_of_bias"), "b1/0", "b1/0"),
    Fault("tf_summed_twice", "tensorflow eager float32 document", "the tape's gradients added twice",
        part(differentiate="summed_twice"), "7/0", "21/0"),
    Fault("tf_mean_loss", "tensorflow modules float32 document", "the loss is Keras's mean",
        part(loss="mean_loss"), "5/1", "5/1"),
    Fault("tf_half_error", "tensorflow vmap float64 document", "a stopped gradient halves y − t",
        part(loss="half_error"), "10/1", "21/0"),
    Fault("tf_rate_forgotten", "tensorflow modules float32 document", "w − ∇L, without η",
        part(step="rate_forgotten"), "8/0", None),
    Fault("sklearn_averaging", "sklearn eager float64 all-different", "its own mean over rows",
        part(_Network="averaging"), "13/3", "21/0"),
    Fault("sklearn_penalised", "sklearn eager float64 document", "its own penalty, α = 1e-4",
        part(_Network="penalised"), "13/1", "21/0"),
)  # fmt: skip

_PRECISION = (
    Fault("float32_inside", "numpy eager float64 document", "float32 inside float64", computed_in("float32"), "1/0", "5/1"),
    Fault("float64_inside", "numpy eager float32 document", "float64 inside float32, each result rounded once",
        computed_in("float64"), "5/1", None),
    Fault("by_tanh", "numpy eager float32 document", "σ by ½ + ½ tanh(a/2)", formula(sigmoid=wrong.by_tanh), "3/1", "21/0"),
    Fault("by_tanh_in_hidden", "numpy eager float64 document", "σ of the hidden layer by ½ + ½ tanh(a/2)",
        formulas_of(wrong.by_tanh_in_hidden), "4/0", "21/0"),
    Fault("polynomial", "numpy eager float64 document", "σ by a polynomial", formula(sigmoid=wrong.polynomial), "3/1", "5/1"),
    Fault("low_bits_lost", "numpy eager float32 all-different", "sums over the batch lose 12 bits",
        formula(weight_gradient=lambda delta, x: wrong.cut(x.mT @ delta)), "9/3", "21/0"),
    Fault("sums_in_float16", "numpy eager float32 all-different", "the bias gradient is summed in float16",
        formula(bias_gradient=lambda delta: delta.sum(axis=-2, dtype=np.float16).astype(np.float32)[..., None, :]),
        "b1/0", "b1/0"),
    Fault("flushed", "numpy eager float32 extreme", "subnormal gradients flushed, undeclared",
        formula(weight_gradient=lambda delta, x: wrong.flushed(x.mT @ delta)), "15/0", "21/0"),
    Fault("torch_tf32", "pytorch eager float32 document", "products in TF32", part(linear="tf32"), "1/0", "5/1"),
    Fault("torch_bfloat16_products", "pytorch eager float32 document", "products in bfloat16",
        part(linear="bfloat16_products"), "1/0", "5/1"),
    Fault("torch_by_tanh", "pytorch compile float32 document", "σ by ½ + ½ tanh(a/2)",
        part(sigmoid="sigmoid_by_tanh"), "3/1", "21/0"),
    Fault("torch_sigmoid_in_bfloat16", "pytorch modules float32 document", "σ in bfloat16",
        part(sigmoid="sigmoid_in_bfloat16"), "3/1", "5/1"),
    Fault("jax_bfloat16_products", "jax jit float32 document", "products in bfloat16",
        part(_linear="bfloat16_products"), "1/0", "5/1"),
    Fault("jax_approximate_exp", "jax jit float64 document", "eˣ by (1 + x/2²⁰)^(2²⁰)",
        part(sigmoid="approximate_exp"), "3/1", "5/1"),
    Fault("jax_slope_in_bfloat16", "jax vmap float32 document", "y(1 − y) in bfloat16 in a custom_vjp",
        part(sigmoid="slope_in_bfloat16"), "7/0", "21/0"),
    Fault("jax_complement_undone", "jax accurate float64 saturated", "1 − y where σ(−a) is declared",
        part(sigmoid="complement_undone"), "7/0", "21/0"),
    Fault("tf_sigmoid_in_float32", "tensorflow eager float64 document", "σ in float32",
        part(sigmoid="sigmoid_in_float32"), "3/1", "5/1"),
    Fault("tf_hard_sigmoid", "tensorflow function float32 document", "Keras's piecewise linear σ",
        part(sigmoid="hard_sigmoid"), "3/1", "5/1"),
    Fault("tf_by_tanh", "tensorflow xla float64 document", "σ by ½ + ½ tanh(a/2)",
        part(sigmoid="sigmoid_by_tanh"), "3/1", "21/0"),
)  # fmt: skip

_SMALLEST = (
    Fault("torch_2_ulp_in_w_new", "pytorch eager float32 document", "2 ULP in one entry",
        entry("w_new", 1, (7, 2, 1), ulps(2)), "8/1", None),
    Fault("jax_2_ulp_in_dL_db", "jax jit float64 document", "2 ULP in one entry",
        entry("dL_db", 0, (7, 0, 2), ulps(2)), "b1/0", None),
    Fault("tf_2_ulp_in_da_dw", "tensorflow function float32 document", "2 ULP in one entry",
        entry("da_dw", 1, (7, 2, 1), ulps(2)), "12/1", None),
    Fault("2_ulp_in_da_dw", "numpy eager float64 document", "2 ULP in one entry",
        entry("da_dw", 0, (7, 1, 2), ulps(2)), "17/0", None),
    Fault("4_ulp_in_dL_dh", "numpy eager float64 document", "4 ULP in one entry",
        entry("dL_dh", 1, (7, 0, 1), ulps(4)), "9/1", None),
    Fault("4_ulp_in_loss", "numpy eager float32 document", "4 ULP in one network",
        entry("loss", 0, (7,), ulps(4)), "5/1", None),
    Fault("torch_4_ulp_in_dh_da", "pytorch func float64 document", "4 ULP in one entry",
        entry("dh_da", 0, (7, 0, 1), ulps(4)), "15/0", None),
    Fault("jax_8_ulp_in_dL_dw", "jax optax float32 document", "8 ULP in one entry",
        entry("dL_dw", 1, (7, 2, 1), ulps(8)), "8/1", None),
    Fault("tf_8_ulp_in_dL_da", "tensorflow eager float64 document", "8 ULP in one entry",
        entry("dL_da", 0, (7, 0, 1), ulps(8)), "21/0", None),
    Fault("8_ulp_in_b_new", "numpy eager float32 document", "8 ULP in one entry",
        entry("b_new", 1, (7, 0, 1), ulps(8)), "b2/1", None),
    Fault("16_ulp_in_h", "numpy eager float32 document", "16 ULP in one entry",
        entry("h", 0, (7, 0, 1), ulps(16)), "2/1", None),
    Fault("torch_16_ulp_in_y", "pytorch vmap float64 document", "16 ULP in one entry",
        entry("h", 1, (7, 0, 1), ulps(16)), "3/1", None),
    Fault("jax_64_ulp_in_a", "jax jit float32 document", "64 ULP in one entry",
        entry("a", 0, (7, 0, 1), ulps(64)), "1/0", None),
    Fault("64_ulp_in_gradients", "numpy eager float64 document", "64 ULP in one entry, of the gradients alone",
        entry("dL_dw", 1, (7, 2, 1), ulps(64), only=Gradients), None, "21/1"),
    Fault("tf_64_ulp_in_gradients", "tensorflow xla float32 document", "64 ULP in one entry, of the gradients alone",
        entry("dL_dw", 1, (7, 2, 1), ulps(64), only=Gradients), None, "21/1"),
    Fault("one_entry_of_10000", "numpy eager float64 document", "8 ULP in one entry of one of 10,000 networks",
        entry("dL_dw", 1, (7010, 2, 1), ulps(8)), "9/1", None, networks=10_000),
    Fault("torch_one_unit", "pytorch eager float32 document", "a relative 1e-6 in δ of one unit",
        part(sigmoid="slope_of_one_unit"), "7/0", None),
    Fault("jax_one_unit", "jax jit float64 document", "a relative 1e-6 in δ of one unit",
        part(sigmoid="slope_of_one_unit"), "7/0", "21/0"),
    Fault("tf_one_unit", "tensorflow function float64 document", "a relative 1e-6 in δ of one unit",
        part(sigmoid="slope_of_one_unit"), "7/0", "21/0"),
    Fault("tf_batches_only", "tensorflow function float32 all-different", "a mean for a sum where batch > 1",
        part(layer="mean_for_batches"), "9/3", "21/0"),
    Fault("deep_only", "numpy eager float32 all-different", "a relative 1e-3 in one ∂L/∂h where depth > 2",
        formulas_of(wrong.deep_only), "20/2", "21/0"),
    Fault("torch_saturated_only", "pytorch eager float32 saturated", "σ′ is zero where y is near 0 or 1",
        part(sigmoid="slope_lost_when_saturated"), "7/0", "21/0"),
)  # fmt: skip

_DISHONEST = (
    Fault("numpy_echo", "numpy eager float64 document", "returns what the reference computes",
        echoed(), NOT_INDEPENDENT, NOT_INDEPENDENT),
    Fault("torch_echo", "pytorch eager float32 document", "returns what the reference computes",
        echoed(), NOT_INDEPENDENT, NOT_INDEPENDENT),
    Fault("torch_echo_of_float64", "pytorch func float32 document", "returns the reference's float64, rounded",
        echoed("float64"), NOT_INDEPENDENT, NOT_INDEPENDENT),
    Fault("nan", "numpy eager float32 document", "every number is NaN",
        arrays(lambda array: np.full_like(array, np.nan)), "1/0 finite", "5/1 finite"),
    Fault("jax_nan_in_one_entry", "jax jit float64 document", "NaN in one entry",
        entry("dL_dw", 0, (7, 1, 2), lambda _: np.nan), "8/0 finite", "21/0 finite"),
    Fault("torch_infinite", "pytorch eager float32 document", "∞ in one entry",
        entry("dL_db", 1, (7, 0, 1), lambda _: np.inf), "b1/1 finite", "b1/1 finite"),
    Fault("tf_wrong_dtype", "tensorflow eager float32 document", "float64 returned for float32",
        arrays(lambda array: array.astype(np.float64)), "1/0 dtype", "5/1 dtype"),
    Fault("jax_wrong_shape", "jax jit float64 document", "bias gradients without their row axis",
        arrays(lambda array: array[..., 0, :], "dL_db"), "b1/0 shape", "b1/0 shape"),
    Fault("transposed", "numpy eager float64 deep", "gradients transposed where layers are equal",
        arrays(lambda array: array.mT, "dL_dw"), "8/0", "21/0"),
    Fault("torch_other_networks", "pytorch vmap float64 document", "gradients of the stack's next network",
        arrays(lambda array: np.roll(array, 1, axis=0), only=Gradients), None, "5/1"),
    Fault("gradients_zero", "numpy eager float32 document", "a right trace, and gradients that are zero",
        arrays(lambda array: 0 * array, "dL_dw", "dL_db", only=Gradients), None, "21/0"),
    Fault("tf_gradients_doubled", "tensorflow modules float64 document", "a right trace, gradients doubled",
        arrays(times(2), "dL_dw", only=Gradients), None, "21/0"),
)  # fmt: skip

FAMILIES = {
    "wrong formula": _WRONG_FORMULA, "precision": _PRECISION, "the smallest": _SMALLEST, "dishonest": _DISHONEST,
}  # fmt: skip
FAULTS = {fault.name: fault for family in FAMILIES.values() for fault in family}
