"""Each formula of the document, written once and in its order, and the ledger that says what each one determines.

Only ordinary operators appear (``@ * - +``, ``.mT``, ``.sum``), so the same lines run in any number system: NumPy
floats give the reference, `reference.rounding.Rounded` the error bounds, python-flint balls the true values, SymPy
symbols the proofs, complex numbers the complex step. A bound can therefore never drift from its formula.

Names are the document's. ``x`` is a layer's input, (..., batch, n); ``w`` its weights, (..., n, m); ``b`` its bias,
(..., 1, m); ``a`` the linear combination and ``y`` (or ``h``) the activation, (..., batch, m); ``t`` the target.
With a batch, gradients sum over its rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from reference.network import Array

# --- the formulas -----------------------------------------------------------------------------------------------


def linear(x: Array, w: Array, b: Array) -> Array:
    """Formulas 1 and 2: a = x w + b. Shape (..., batch, m)."""
    return x @ w + b


def sigmoid(a: Array) -> Array:
    """Formulas 3, 4 and 6: σ(a) = 1 / (1 + e⁻ᵃ). Shape of ``a``.

    Real floats take the form in e^(−|a|), equal to the printed one and free of overflow for every finite ``a``. Complex
    numbers and objects take the printed form, objects by their ``exp`` method; other number systems bring their own.
    """
    if hasattr(a, "sigmoid"):
        return a.sigmoid()
    if a.dtype.kind in "cO":
        return 1 / (1 + np.exp(-a))
    tail = np.exp(-np.abs(a))
    return np.maximum(tail, np.sign(a)) / (1 + tail)  # the numerator is 1 where a ≥ 0


def sigmoid_derivative(a: Array) -> Array:
    """Formula 7: σ′(a) = σ(a)(1 − σ(a)). Shape of ``a``."""
    s = sigmoid(a)
    return s * (1 - s)


def loss(y: Array, t: Array) -> Array:
    """Formula 5: L = ½ Σ (y − t)², over units and rows. Shape (...,)."""
    error = y - t
    return (error * error).sum(axis=(-2, -1)) / 2


def update(w: Array, gradient: Array, eta: Array) -> Array:
    """Formula 8: w ← w − η ∇L. Shape of ``w``."""
    return w - eta * gradient


def chain_rule(dL_dh: Array, dh_da: Array, da_dw: Array) -> Array:
    """Formulas 9 and 15: ∂L/∂wᵢⱼ = ∂L/∂hⱼ · ∂hⱼ/∂aⱼ · ∂aⱼ/∂wᵢⱼ, the third factor row by row: (..., batch, n, m or 1)."""
    return ((dL_dh * dh_da)[..., None, :] * da_dw).sum(axis=-3)


def output_error(y: Array, t: Array) -> Array:
    """Formula 10: ∂L/∂yⱼ = yⱼ − tⱼ. Shape of ``y``."""
    return y - t


def activation_derivative(y: Array) -> Array:
    """Formulas 11 and 16: ∂yⱼ/∂aⱼ = yⱼ(1 − yⱼ). Shape of ``y``."""
    return y * (1 - y)


def linear_derivative(x: Array, w: Array) -> Array:
    """Formulas 12 and 17: ∂aⱼ/∂wᵢⱼ = xᵢ, summed over rows, the same for every unit j. Shape of ``w``."""
    return x.sum(axis=-2)[..., None].repeat(w.shape[-1], axis=-1)


def output_delta(y: Array, t: Array) -> Array:
    """Formula 13, first part: δⱼ = (yⱼ − tⱼ) yⱼ(1 − yⱼ). Shape of ``y``."""
    return output_error(y, t) * activation_derivative(y)


def output_gradient(y: Array, t: Array, h: Array) -> Array:
    """Formula 13: ∂L/∂uᵢⱼ = (yⱼ − tⱼ) yⱼ(1 − yⱼ) hᵢ. Shape (..., n, m)."""
    return weight_gradient(output_delta(y, t), h)


def output_update(u: Array, delta: Array, h: Array, eta: Array) -> Array:
    """Formula 14: uᵢⱼ ← uᵢⱼ − η δⱼ hᵢ. Shape of ``u``."""
    return update(u, weight_gradient(delta, h), eta)


def dL_dh1(y: Array, t: Array, u: Array) -> Array:
    """Formula 18, the 2-3-2 net: ∂L/∂h₁ = (y₁−t₁)y₁(1−y₁)u₁₁ + (y₂−t₂)y₂(1−y₂)u₁₂. Shape (..., batch, 1)."""
    y1, y2, t1, t2 = y[..., :1], y[..., 1:], t[..., :1], t[..., 1:]
    u11, u12 = u[..., :1, :1], u[..., :1, 1:]
    return (y1 - t1) * y1 * (1 - y1) * u11 + (y2 - t2) * y2 * (1 - y2) * u12


def dL_dw11(y: Array, t: Array, u: Array, h: Array, x: Array) -> Array:
    """Formula 19, the 2-3-2 net: ∂L/∂w₁₁ = [formula 18] h₁(1 − h₁) x₁. Shape (..., 1, 1)."""
    h1, x1 = h[..., :1], x[..., :1]
    return (dL_dh1(y, t, u) * h1 * (1 - h1) * x1).sum(axis=-2)[..., None]


def last_hidden_gradient(y: Array, t: Array, u: Array, h: Array, x: Array) -> Array:
    """Formula 20: ∂L/∂wᵢⱼ = Σₖ (yₖ−tₖ)yₖ(1−yₖ) uⱼₖ hⱼ(1−hⱼ) xᵢ. Shape (..., n, m)."""
    return weight_gradient(hidden_delta(output_delta(y, t), u, h), x)


def weight_gradient(delta: Array, x: Array) -> Array:
    """Formula 21: ∂L/∂wᵢⱼ = δⱼ xᵢ. Shape (..., n, m)."""
    if type(x) is np.ndarray and x.shape[-2] == 1:  # nothing to sum: BLAS takes up to four times as long
        return x.mT * delta
    return x.mT @ delta


def hidden_error(delta: Array, w: Array) -> Array:
    """Formula 22, its sum: ∂L/∂hⱼ = Σₖ δₖ wⱼₖ, δ and w of the next layer. Shape (..., batch, n)."""
    return delta @ w.mT


def hidden_delta(delta: Array, w: Array, y: Array) -> Array:
    """Formula 22: δⱼ = Σₖ δₖ wⱼₖ yⱼ(1 − yⱼ), δ and w of the next layer. Shape of ``y``."""
    return hidden_error(delta, w) * activation_derivative(y)


def bias_gradient(delta: Array) -> Array:
    """Formula b1, implied by 1 and 2: ∂L/∂bⱼ = δⱼ. Shape (..., 1, m)."""
    return delta.sum(axis=-2)[..., None, :]


def bias_update(b: Array, delta: Array, eta: Array) -> Array:
    """Formula b2, implied by 1 and 2: bⱼ ← bⱼ − η δⱼ. Shape of ``b``."""
    return update(b, bias_gradient(delta), eta)


def activation_jacobian(y: Array) -> Array:
    """Formulas 11 and 16, every pair of units: ∂yₖ/∂aⱼ = yⱼ(1 − yⱼ) where k = j, else 0. Shape (..., batch, m, m)."""
    return activation_derivative(y)[..., None, :] * _same_unit(y)


def weight_jacobian(x: Array, w: Array) -> Array:
    """Formulas 12 and 17, every unit and weight: ∂aₖ/∂wᵢⱼ = xᵢ where k = j, else 0. Shape (..., batch, m, n, m)."""
    return x[..., None, :, None] * _same_unit(w)[:, None, :]


def input_jacobian(x: Array, w: Array) -> Array:
    """A factor of formula 18, ∂aₖ/∂xᵢ = wᵢₖ, the same for every row of x. Shape (..., batch, m, n)."""
    return w.mT[..., None, :, :].repeat(x.shape[-2], axis=-3)


def _same_unit(array: Array) -> Array:
    """1 where two units of the layer are the same, else 0: (m, m)."""
    return np.eye(array.shape[-1], dtype=array.dtype)


# --- the ledger -------------------------------------------------------------------------------------------------

Layers = Literal["hidden", "last hidden", "output", "every"]


@dataclass(frozen=True)
class Operand:
    """An array that a formula is evaluated on.

    Attributes
    ----------
    name : an array of the problem or the trace: ``w b t eta`` or a quantity. ``h`` one layer below the first is x.
    indices : one letter per axis: ``b`` row, ``i`` unit of the layer below, ``j`` of this one, ``k`` of the next.
        A digit is that fixed entry. They say which entries a failing entry was computed from.
    layer : relative to the layer of the quantity determined
    product_inputs : frameworks compute this formula by matrix products, although it is written without ``@``. How many
        inputs these round, where they round them (TF32), counted at one of the factors, for all roundings are relative.
    by_row : the document's ∂a/∂w of one row of the batch, where the trace holds the sum over rows
    evaluated_again : the framework's gradient does not read this array; it evaluates the same formula a second
        time, in an order of its own. Holds that formula and the operand it is evaluated on, so that the bound can
        hold the rounding of both evaluations.
    """

    name: str
    indices: str
    layer: int = 0
    product_inputs: int = 0
    by_row: bool = False
    evaluated_again: tuple[Callable[[Array], Array], Operand] | None = None


@dataclass(frozen=True)
class Statement:
    """One equality of a formula: ``quantity[indices] = evaluate(*operands)`` in each of the ``layers``."""

    quantity: str
    indices: str
    layers: Layers
    evaluate: Callable[..., Array]
    operands: tuple[Operand, ...]
    widths: tuple[int, ...] | None = None  # stated for this network only

    def layers_of(self, widths: tuple[int, ...]) -> tuple[int, ...]:
        """The layers of a network with these widths that the statement speaks of, first layer first."""
        depth = len(widths) - 1
        if self.widths not in (None, widths):
            return ()
        return {
            "hidden": tuple(range(depth - 1)),
            "last hidden": (depth - 2,) if depth > 1 else (),
            "output": (depth - 1,),
            "every": tuple(range(depth)),
        }[self.layers]


@dataclass(frozen=True)
class Formula:
    """A formula of the document: its number, section, form in LaTeX and in plain characters, and what it states of
    the quantities of a `Trace`, and of `Jacobians`.
    """

    number: str
    section: int | None  # None: implied, not printed
    latex: str
    text: str
    statements: tuple[Statement, ...]
    jacobians: tuple[Statement, ...] = ()


_x, _w, _b = Operand("h", "bi", layer=-1), Operand("w", "ij"), Operand("b", "0j")
_a, _y, _t = Operand("a", "bj"), Operand("h", "bj"), Operand("t", "bj")
_delta, _eta = Operand("dL_da", "bj"), Operand("eta", "")
# seen from the last hidden layer: y, t and u of the output layer
_y_out, _t_out, _u = Operand("h", "bk", layer=1), Operand("t", "bk"), Operand("w", "jk", layer=1)
_u1 = Operand("w", "0k", layer=1, product_inputs=2)
_x_summed = Operand("h", "bi", layer=-1, product_inputs=1)
_w_summed = Operand("w", "ij", product_inputs=1)
_delta_next = Operand("dL_da", "bk", layer=1)
_three_factors = (
    Operand("dL_dh", "bj"),
    Operand("dh_da", "bj", evaluated_again=(activation_derivative, _y)),
    Operand("da_dw", "bij", by_row=True, product_inputs=2),
)

LEDGER: tuple[Formula, ...] = (
    Formula(
        "1", 2, r"\mathbf{a}^{(1)} = \mathbf{x}\mathbf{w} + \mathbf{b}^{(1)}", "a⁽¹⁾ = x w + b⁽¹⁾",
        (Statement("a", "bj", "hidden", linear, (_x, _w, _b)),),
    ),
    Formula(
        "2", 2, r"\mathbf{a}^{(2)} = \mathbf{h}\mathbf{u} + \mathbf{b}^{(2)}", "a⁽²⁾ = h u + b⁽²⁾",
        (Statement("a", "bj", "output", linear, (_x, _w, _b)),),
    ),
    Formula(
        "3", 2, r"\mathbf{y} = \sigma(\mathbf{a}^{(2)})", "y = σ(a⁽²⁾)",
        (Statement("h", "bj", "output", sigmoid, (_a,)),),
    ),
    Formula(
        "4", 2, r"\mathbf{h} = \sigma(\mathbf{a}^{(1)})", "h = σ(a⁽¹⁾)",
        (Statement("h", "bj", "hidden", sigmoid, (_a,)),),
    ),
    Formula(
        "5", 3, r"L = \frac{1}{2} \sum_i (y_i - t_i)^2", "L = ½ Σᵢ (yᵢ − tᵢ)²",
        (Statement("loss", "", "output", loss, (Operand("h", "bk"), Operand("t", "bk"))),),
    ),
    Formula(
        "6", 3, r"\sigma(x) = \frac{1}{1 + e^{-x}}", "σ(x) = 1 / (1 + e⁻ˣ)",
        (Statement("h", "bj", "every", sigmoid, (_a,)),),
    ),
    Formula(
        "7", 3, r"\sigma'(x) = \sigma(x)(1 - \sigma(x))", "σ′(x) = σ(x)(1 − σ(x))",
        (Statement("dh_da", "bj", "every", sigmoid_derivative, (_a,)),),
    ),
    Formula(
        "8", 4, r"\mathbf{u} \leftarrow \mathbf{u} - \eta \nabla_{\mathbf{u}} L(\mathbf{u})", "u ← u − η ∇ᵤL(u)",
        (Statement("w_new", "ij", "every", update, (_w, Operand("dL_dw", "ij"), _eta)),),
    ),
    Formula(
        "9", 4,
        r"\frac{\partial L}{\partial u_{ij}} = \frac{\partial L}{\partial y_j}"
        r"\frac{\partial y_j}{\partial a_j^{(2)}} \frac{\partial a_j^{(2)}}{\partial u_{ij}}",
        "∂L/∂uᵢⱼ = ∂L/∂yⱼ · ∂yⱼ/∂aⱼ · ∂aⱼ/∂uᵢⱼ",
        (Statement("dL_dw", "ij", "output", chain_rule, _three_factors),),
    ),
    Formula(
        "10", 4, r"\frac{\partial L}{\partial y_j} = y_j - t_j", "∂L/∂yⱼ = yⱼ − tⱼ",
        (Statement("dL_dh", "bj", "output", output_error, (_y, _t)),),
    ),
    Formula(
        "11", 4,
        r"\frac{\partial y_j}{\partial a_j^{(2)}} = \sigma(a_j^{(2)})(1 - \sigma(a_j^{(2)})) = y_j(1 - y_j)",
        "∂yⱼ/∂aⱼ⁽²⁾ = yⱼ(1 − yⱼ)",
        (Statement("dh_da", "bj", "output", activation_derivative, (_y,)),),
        (Statement("dh_da", "bkj", "output", activation_jacobian, (_y,)),),
    ),
    Formula(
        "12", 4, r"\frac{\partial a_j^{(2)}}{\partial u_{ij}} = h_i", "∂aⱼ⁽²⁾/∂uᵢⱼ = hᵢ",
        (Statement("da_dw", "ij", "output", linear_derivative, (_x_summed, _w)),),
        (Statement("da_dw", "bkij", "output", weight_jacobian, (_x_summed, _w)),),
    ),
    Formula(
        "13", 4, r"\frac{\partial L}{\partial u_{ij}} = (y_j - t_j)\, y_j (1 - y_j)\, h_i = \delta_j h_i",
        "∂L/∂uᵢⱼ = (yⱼ−tⱼ) yⱼ(1−yⱼ) hᵢ = δⱼ hᵢ",
        (
            Statement("dL_da", "bj", "output", output_delta, (_y, _t)),
            Statement("dL_dw", "ij", "output", output_gradient, (_y, _t, _x)),
        ),
    ),
    Formula(
        "14", 4, r"u_{ij} \leftarrow u_{ij} - \eta\, \delta_j h_i", "uᵢⱼ ← uᵢⱼ − η δⱼ hᵢ",
        (Statement("w_new", "ij", "output", output_update, (_w, _delta, _x, _eta)),),
    ),
    Formula(
        "15", 5,
        r"\frac{\partial L}{\partial w_{ij}} = \frac{\partial L}{\partial h_j}"
        r"\frac{\partial h_j}{\partial a_j^{(1)}} \frac{\partial a_j^{(1)}}{\partial w_{ij}}",
        "∂L/∂wᵢⱼ = ∂L/∂hⱼ · ∂hⱼ/∂aⱼ · ∂aⱼ/∂wᵢⱼ",
        (Statement("dL_dw", "ij", "hidden", chain_rule, _three_factors),),
    ),
    Formula(
        "16", 5,
        r"\frac{\partial h_j}{\partial a_j^{(1)}} = \sigma(a_j^{(1)})(1 - \sigma(a_j^{(1)})) = h_j(1 - h_j)",
        "∂hⱼ/∂aⱼ⁽¹⁾ = hⱼ(1 − hⱼ)",
        (Statement("dh_da", "bj", "hidden", activation_derivative, (_y,)),),
        (Statement("dh_da", "bkj", "hidden", activation_jacobian, (_y,)),),
    ),
    Formula(
        "17", 5, r"\frac{\partial a_j^{(1)}}{\partial w_{ij}} = x_i", "∂aⱼ⁽¹⁾/∂wᵢⱼ = xᵢ",
        (Statement("da_dw", "ij", "hidden", linear_derivative, (_x_summed, _w)),),
        (Statement("da_dw", "bkij", "hidden", weight_jacobian, (_x_summed, _w)),),
    ),
    Formula(
        "18", 5,
        r"\frac{\partial L}{\partial h_1} = (y_1 - t_1)\, y_1 (1 - y_1)\, u_{11} + (y_2 - t_2)\, y_2 (1 - y_2)\, u_{12}",
        "∂L/∂h₁ = Σₖ (yₖ−tₖ) yₖ(1−yₖ) u₁ₖ",
        (Statement("dL_dh", "b0", "hidden", dL_dh1, (_y_out, _t_out, _u1), widths=(2, 3, 2)),),
        (Statement("da_dx", "bji", "every", input_jacobian, (_x, _w_summed)),),
    ),
    Formula(
        "19", 5,
        r"\frac{\partial L}{\partial w_{11}} = \left[ (y_1 - t_1)\, y_1 (1 - y_1)\, u_{11}"
        r" + (y_2 - t_2)\, y_2 (1 - y_2)\, u_{12} \right] h_1 (1 - h_1)\, x_1",
        "∂L/∂w₁₁ = [ … ] h₁(1 − h₁) x₁",
        (
            Statement(
                "dL_dw", "00", "hidden", dL_dw11,
                (_y_out, _t_out, _u1, Operand("h", "b0"), Operand("h", "b0", layer=-1, product_inputs=2)),
                widths=(2, 3, 2),
            ),
        ),
    ),
    Formula(
        "20", 5,
        r"\frac{\partial L}{\partial w_{ij}} = \sum_k (y_k - t_k)\, y_k (1 - y_k)\, u_{jk}\, h_j (1 - h_j)\, x_i",
        "∂L/∂wᵢⱼ = Σₖ (yₖ−tₖ)yₖ(1−yₖ) uⱼₖ hⱼ(1−hⱼ) xᵢ",
        (Statement("dL_dw", "ij", "last hidden", last_hidden_gradient, (_y_out, _t_out, _u, _y, _x)),),
    ),
    Formula(
        "21", 6, r"\frac{\partial L}{\partial w_{ij}} = \delta_j x_i", "∂L/∂wᵢⱼ = δⱼ xᵢ",
        (Statement("dL_dw", "ij", "every", weight_gradient, (_delta, _x)),),
    ),
    Formula(
        "22", 6, r"\delta_j = \sum_k \delta_k w_{jk}\, y_j (1 - y_j)", "δⱼ = Σₖ δₖ wⱼₖ yⱼ(1 − yⱼ)",
        (
            Statement("dL_dh", "bj", "hidden", hidden_error, (_delta_next, _u)),
            Statement("dL_da", "bj", "hidden", hidden_delta, (_delta_next, _u, _y)),
        ),
    ),
    Formula(
        "b1", None, r"\frac{\partial L}{\partial b_j} = \delta_j", "∂L/∂bⱼ = δⱼ",
        (Statement("dL_db", "0j", "every", bias_gradient, (_delta,)),),
    ),
    Formula(
        "b2", None, r"b_j \leftarrow b_j - \eta\, \delta_j", "bⱼ ← bⱼ − η δⱼ",
        (Statement("b_new", "0j", "every", bias_update, (_b, _delta, _eta)),),
    ),
)  # fmt: skip
"""The document's 22 formulas in its order, then the two for biases that 1 and 2 imply."""
