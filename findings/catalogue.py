"""The findings. A claim holds the names of numbers, not numbers: its program prints them, and `holds` judges them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROGRAMS = Path(__file__).resolve().parent / "programs"

FRAMEWORKS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "numpy": ("NumPy", ("numpy", "ml_dtypes")),
    "pytorch": ("PyTorch", ("torch",)),
    "jax": ("JAX", ("jax", "jaxlib")),
    "tensorflow": ("TensorFlow and Keras", ("tensorflow", "tensorflow-cpu", "keras")),
    "sklearn": ("scikit-learn", ("scikit-learn", "scipy")),
}
"""Each framework's name, and the packages whose versions are recorded, as far as they are installed."""

KINDS: Mapping[str, str] = {
    "derivative": "the framework agrees with the document's formula in floating point, and both lose the true value",
    "formula": "the result is not what the document's formula gives, each of its operations rounded once",
    "property": "the result is within the rounding that formulas allow, and depends on what no formula mentions",
}
"""What a finding differs from."""


@dataclass(frozen=True)
class Finding:
    """A claim about one framework, and the program that shows it in that framework alone.

    Attributes
    ----------
    name : of its program, without .py; begins with the framework's, as registered, and an underscore
    kind : of `KINDS`
    formulas : the numbers of those that are concerned
    title : what differs, in a few words
    claim : sentences; ``{NAME}`` is a number that the program prints, ``{certified.…}`` one of adapters/certified.json
    holds : whether the numbers, as attributes, are what the claim says
    upstream : threads about this at the framework's own tracker
    environment : variables that the program needs before it starts
    """

    name: str
    kind: str
    formulas: str
    title: str
    claim: str
    holds: Callable[[Any], bool]
    upstream: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def framework(self) -> str:
        """The registered name."""
        return self.name.partition("_")[0]

    @property
    def program(self) -> Path:
        """The file."""
        return PROGRAMS / f"{self.name}.py"


_AT = {"float64": 40, "float32": 20, "float16": 10, "bfloat16": 7}
"""Where the programs evaluate σ′."""

_WIDE = ("float64", "float32")
_ALL = (*_WIDE, "float16", "bfloat16")


def _saturation(where: str, *dtypes: str) -> str:
    """What all frameworks have in common; ``where`` in adapters/certified.json their σ is."""
    now = ", ".join(f"{{{dtype}:g}} and not {{{dtype}_exact:.2e}} at {_AT[dtype]} in {dtype}" for dtype in dtypes)
    lost = ", ".join(f"{{certified.{where}.{dtype}.long.derivative_lost_from:.5g}} in {dtype}" for dtype in dtypes)
    return (
        f"σ′ is {now}: evaluated as y(1 − y), as the formula is printed, after y has been rounded to 1. Of all inputs "
        f"(in float64, of a sample), it is off by more than half from a = {lost}."
    )


def _vanishes(*dtypes: str) -> Callable[[Any], bool]:
    return lambda n: all(getattr(n, dtype) == 0 < getattr(n, f"{dtype}_exact") for dtype in dtypes)


def _kept(n: Any) -> bool:
    """Not off by more than half: what `nox -s certify` calls lost."""
    return all(abs(getattr(n, f"{dtype}_highest") / getattr(n, f"{dtype}_exact") - 1) < 0.5 for dtype in _ALL)


_SUBNORMALS = (
    "Half of the least normal number is {float64:g} in float64, {float32:g} in float32 and {bfloat16:g} in bfloat16, "
    "not {float64_exact:.2e}, {float32_exact:.2e} and {bfloat16_exact:.2e}; in float16 it is {float16:.2e}, as it "
    "should be. On the CPU, results and operands below the least normal number of float64 or float32 count as zero."
)


def _flushed(n: Any) -> bool:
    return bool(n.float64 == n.float32 == n.bfloat16 == 0 and n.float16 == n.float16_exact > 0)


_TWICE = (
    "y − t = {difference:.3g} is a float32, and ∂L/∂y is {wrong}: autodiff differentiates (y − t)² to 2(y − t), which "
    "overflows from half of the largest number on, before the ½ of L takes the 2 back."
)
_INFINITY = float("-inf")

FINDINGS = (
    Finding(
        "numpy_sigmoid_accuracy", "formula", "3, 4, 6", "exp, and a σ made of it, are a few ULP off in float32",
        "σ(−3.457) as eᵃ / (1 + eᵃ), in float32, is {ulp:.2f} ULP off. Over all 2³² inputs, that is the largest error: "
        "{certified.numpy.eager.float32.long.sigmoid_ulp.size:.2f} ULP. Vectorized exp is not rounded correctly.",
        lambda n: n.ulp > 3,
        ("https://github.com/numpy/numpy/pull/13134",),
    ),
    Finding(
        "numpy_bfloat16_product", "property", "1, 2", "a matrix product of bfloat16 arrays is a float32 array",
        "`x @ x` of ml_dtypes' bfloat16 has {bits:.0f} bits and holds {product}; rounded to bfloat16 it is {rounded}.",
        lambda n: n.bits == 32 and n.product != n.rounded,
        ("https://github.com/jax-ml/ml_dtypes/issues/235",),
    ),
    Finding(
        "pytorch_saturation", "derivative", "7, 11, 16", "σ′ is lost where y rounds to 1",
        _saturation("pytorch.eager", *_ALL), _vanishes(*_ALL),
        ("https://github.com/pytorch/pytorch/issues/195681", "https://github.com/pytorch/pytorch/issues/195527"),
    ),
    Finding(
        "pytorch_sigmoid_length", "property", "3, 4, 6", "σ depends on the length of the array",
        "Of 10,000 numbers, σ differs in {float32:.1%} (float32) and {float64:.1%} (float64) when each is an array of "
        "its own: what does not fill a vector takes another exp.",
        lambda n: n.float32 > 0 and n.float64 > 0,
    ),
    Finding(
        "pytorch_sigmoid_underflow", "derivative", "3, 4, 6", "σ is 0 where it is still a subnormal number",
        "σ(−89) in float32 is {sigmoid:g}; its value, {exact:.2e}, is that of a subnormal, a multiple of {least:.2e}. "
        "1 / (1 + e⁻ᵃ), as printed, is zero where e⁻ᵃ overflows, and so are all derivatives that have σ as a factor.",
        lambda n: n.sigmoid == 0 < n.least < n.exact,
    ),
    Finding(
        "pytorch_bfloat16_product", "property", "1, 2, 13, 21, 22",
        "a bfloat16 matrix product flushes subnormals or not, by its size and the processor",
        "Of 4096 products of a subnormal and 1, {kept_of_4096:.0f} are kept, of 4097 there are {kept_of_4097:.0f}. "
        "Above 4096 multiplications they are oneDNN's, and the instructions of AVX512_BF16 (here: {avx512_bf16:.0f}; "
        "1 is yes) read and return subnormals as zero.",
        lambda n: n.kept_of_4096 == 4096 and n.kept_of_4097 == (0 if n.avx512_bf16 else 4097),
    ),
    Finding(
        "pytorch_excess_precision", "property", "7, 11, 16",
        "compiled 16-bit code goes on with digits that it does not return",
        "From a = 7 in bfloat16, torch.compile returns y = {compiled_y:g} and y(1 − y) = {compiled:.3g}; eager code "
        "returns {eager_y:g} and {eager:g}. What inductor fuses stays in float32, and is rounded where it is returned.",
        lambda n: n.eager_y == n.compiled_y == 1 and n.eager == 0 < n.compiled,
        ("https://github.com/pytorch/pytorch/issues/182225", "https://github.com/pytorch/pytorch/pull/145579"),
    ),
    Finding(
        "pytorch_loss_overflow", "formula", "10", "∂L/∂y is infinite although y − t is not",
        _TWICE.replace("{wrong}", "{gradient}"),
        lambda n: n.gradient == _INFINITY < n.difference,
    ),
    Finding(
        "pytorch_forward_overflow", "formula", "10", "forward mode under vmap: the derivative is NaN where L overflows",
        "With y − t = {difference:.3g}, L is infinite in float32 and ∂L/∂y = y − t is not. jacfwd gives {alone:.3g}; "
        "under vmap it gives {vmapped}: there the division by 2 has a tangent of its own, zero, which meets the "
        "infinite L.",
        lambda n: n.vmapped != n.vmapped and n.alone == n.difference,
    ),
    Finding(
        "pytorch_forward_dtype", "property", "5", "forward mode: a Python number makes the derivative float64",
        "jacfwd of ½ Σ y² for a float32 y has {times_half_forward:.0f} bits if the half is `0.5 *`, and "
        "{by_two_forward:.0f} if it is `/ 2`. In reverse mode both have {times_half_backward:.0f}.",
        lambda n: n.times_half_forward == 64 and n.times_half_backward == n.by_two_backward == n.by_two_forward == 32,
        ("https://github.com/pytorch/pytorch/issues/90065", "https://github.com/pytorch/pytorch/issues/160513"),
    ),
    Finding(
        "jax_saturation", "derivative", "7, 11, 16", "σ′ is lost where y rounds to 1, by default",
        f"{_saturation('jax.jit', *_ALL)} With `AccuracyMode.HIGHEST`, which has σ(−a) for 1 − y, it is "
        "{float64_highest:.2e}, {float32_highest:.2e}, {float16_highest:.2e} and {bfloat16_highest:.2e}: within "
        "{certified.jax.accurate.float32.long.derivative_ulp.size:.2f} ULP of every float32 derivative.",
        lambda n: _vanishes(*_ALL)(n) and _kept(n),
        (
            "https://github.com/jax-ml/jax/issues/40342",
            "https://github.com/jax-ml/jax/issues/40385",
            "https://github.com/jax-ml/jax/pull/40825",
        ),
    ),
    Finding(
        "jax_subnormals", "formula", "all",
        "subnormal numbers are flushed to zero, but for float16", _SUBNORMALS, _flushed,
        ("https://github.com/jax-ml/jax/issues/16200", "https://github.com/jax-ml/jax/issues/26658"),
    ),
    Finding(
        "jax_bias_sum", "property", "b1", "the gradient of a 16-bit bias is rounded after each addition",
        "Of 100 rows, 1 and 99 times 2⁻⁸, the gradient of the bias in bfloat16 is {gradient}; the sum is {exact}. "
        "`jnp.sum` of the same array, which adds in float32, is {sum}.",
        lambda n: abs(n.gradient - n.exact) > abs(n.sum - n.exact),
    ),
    Finding(
        "jax_excess_precision", "property", "13, 21, b1",
        "compiled bfloat16 code goes on with digits that it does not return",
        "100 products in bfloat16, each {jit_product} when returned, sum to {eager} op by op and to {jit} under jit: "
        "there the sum is of products that have not been rounded.",
        lambda n: n.eager_product == n.jit_product and n.eager != n.jit,
        ("https://github.com/jax-ml/jax/issues/23007",),
    ),
    Finding(
        "jax_fused_step", "property", "8, 14, b2", "a step w − ηg under jit is rounded once, not twice",
        "Of 10,000 weights in float32, {differ:.1%} are different after the same step under jit: the product and the "
        "difference are one fused multiply-add.",
        lambda n: 0 < n.differ < 1,
        ("https://github.com/jax-ml/jax/issues/18507", "https://github.com/openxla/xla/issues/41579"),
    ),
    Finding(
        "jax_loss_overflow", "formula", "10", "∂L/∂y is infinite although y − t is not",
        _TWICE.replace("{wrong}", "{gradient}"),
        lambda n: n.gradient == _INFINITY < n.difference,
    ),
    Finding(
        "tensorflow_saturation", "derivative", "7, 11, 16", "σ′ is lost where y rounds to 1",
        _saturation("tensorflow.function", *_ALL), _vanishes(*_ALL),
        (
            "https://github.com/tensorflow/tensorflow/issues/126060",
            "https://github.com/tensorflow/tensorflow/issues/126631",
            "https://github.com/tensorflow/tensorflow/pull/127010",
        ),
    ),
    Finding(
        "tensorflow_sigmoid_accuracy", "formula", "3, 4, 6", "σ is several ULP off in float32, outside XLA",
        "σ(−4.8508) in float32 is {eager_ulp:.2f} ULP off, and {xla_ulp:.2f} under XLA. Over all 2³² inputs the "
        "largest errors are {certified.tensorflow.function.float32.long.sigmoid_ulp.size:.2f} and "
        "{certified.tensorflow.xla.float32.long.sigmoid_ulp.size:.2f} ULP; PyTorch's and JAX's are "
        "{certified.pytorch.eager.float32.long.sigmoid_ulp.size:.2f} and "
        "{certified.jax.jit.float32.long.sigmoid_ulp.size:.2f}.",
        lambda n: n.eager_ulp > 3 > n.xla_ulp,
    ),
    Finding(
        "tensorflow_sigmoid_monotone", "formula", "3, 4, 6", "σ in 16 bits is not monotone, outside XLA",
        "From one number to the next larger, σ decreases at {float16_eager:.0f} places in float16 and at "
        "{bfloat16_eager:.0f} in bfloat16; under XLA at {float16_xla:.0f} and {bfloat16_xla:.0f}. e⁻ᵃ, the sum and the "
        "quotient are rounded one by one.",
        lambda n: n.float16_eager > 0 and n.bfloat16_eager > 0,
        ("https://github.com/tensorflow/tensorflow/issues/123104",),
    ),
    Finding(
        "tensorflow_sigmoid_length", "property", "3, 4, 6", "σ depends on the length of the array",
        "Of 2,000 numbers, σ differs in {float32:.0%} (float32) and {float64:.1%} (float64) when each is an array of "
        "its own: what does not fill a vector is computed by another algorithm.",
        lambda n: n.float32 > 0 and n.float64 > 0,
        ("https://github.com/tensorflow/tensorflow/issues/33878",),
    ),
    Finding(
        "tensorflow_subnormals", "formula", "all", "subnormal numbers are flushed to zero, but for float16",
        _SUBNORMALS, _flushed,
        (
            "https://github.com/tensorflow/tensorflow/issues/62399",
            "https://github.com/tensorflow/tensorflow/issues/127905",
        ),
    ),
    Finding(
        "tensorflow_power", "formula", "5", "x ** 2 is not the rounded square in float32",
        "Of 2²⁰ numbers from 1 to 2, `x ** 2` is not the nearest float32 to x² in {power_above_half:.0%}, and up to "
        "{power_ulp:.2f} ULP off; `tf.square` is within {square_ulp} ULP, as one rounding is.",
        lambda n: n.power_ulp > 0.5 and n.power_above_half > 0 and n.square_ulp <= 0.5,
    ),
    Finding(
        "tensorflow_bfloat16_product", "formula", "1, 2, 13, 21, 22",
        "without oneDNN, bfloat16 matrix products are cut, not rounded",
        "The matrix product of 1.0703125 and itself is {product}; x² is {exact}, and the nearest bfloat16, which `x * "
        "x` gives, {rounded}.",
        lambda n: n.product < n.exact < n.rounded and n.rounded - n.exact < n.exact - n.product,
        environment={"TF_ENABLE_ONEDNN_OPTS": "0"},
    ),
    Finding(
        "tensorflow_bias_sum", "property", "b1", "the gradient of a 16-bit bias may be rounded after each addition",
        "Of 1000 rows of 1 in bfloat16, the gradient of a bias that was added by `tf.nn.bias_add` is "
        "{bfloat16_bias_add:.0f}, of one that was added by `+` {bfloat16_plus:.0f}. In float16 it is the other way "
        "round: of 1, 2⁻¹¹ and 2⁻¹¹ it is {float16_bias_add} and {float16_plus}, and the sum is {float16_exact}.",
        lambda n: n.bfloat16_bias_add < n.bfloat16_plus == n.bfloat16_exact
        and n.float16_plus < n.float16_bias_add == n.float16_exact,
    ),
    Finding(
        "tensorflow_loss_overflow", "formula", "10", "∂L/∂y is infinite although y − t is not",
        f"{_TWICE.replace('{wrong}', '{square}')} The gradient of `tf.nn.l2_loss` is {{l2_loss:.3g}}.",
        lambda n: n.square == _INFINITY < n.difference == n.l2_loss,
    ),
    Finding(
        "tensorflow_forward_overflow", "formula", "10", "forward mode: the derivative is NaN where L overflows",
        "With y − t = {difference:.3g}, L is infinite in float32 and ∂L/∂y = y − t is not. In forward mode it is "
        "{square}: the division by 2 has a tangent of its own, zero, which meets the infinite L. With `tf.nn.l2_loss` "
        "it is {l2_loss:.3g}.",
        lambda n: n.square != n.square and n.l2_loss == n.difference,
    ),
    Finding(
        "tensorflow_learning_rate", "formula", "8, 14, b2",
        "Keras holds the learning rate as a float32, for float64 weights too",
        "A step of SGD with η = 0.1 from 0 along −1 ends at {step}: the step is {error:.3g} off, relative to η.",
        lambda n: 2**-53 < n.error < 2**-24,
    ),
    Finding(
        "sklearn_saturation", "derivative", "7, 11, 16", "σ′ is lost where y rounds to 1",
        _saturation("sklearn.eager", *_WIDE), _vanishes(*_WIDE),
    ),
    Finding(
        "sklearn_sample_weight", "property", "b1, b2",
        "float64 sample weights make the step of float32 intercepts float64",
        "With sample weights in float64, a float32 network's intercepts are stepped in {float64:.0f} bits, without or "
        "with float32 ones in {none:.0f} and {float32:.0f}: the weights' sum divides their gradient.",
        lambda n: n.none == n.float32 == 32 and n.float64 == 64,
    ),
    Finding(
        "sklearn_infinite_weight", "formula", "21", "the gradient of an infinite weight is NaN, without a penalty too",
        "A saturated unit with w = ∞ has δ = {delta:g}, so ∂L/∂w = δ x is zero; it is {gradient}, for alpha = 0 times "
        "w is added to it.",
        lambda n: n.delta == 0 and n.gradient != n.gradient,
    ),
)  # fmt: skip
