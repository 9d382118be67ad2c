"""A failure again in ten lines of the framework alone: its formula on the operands that results.json holds."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from reference import formulas as f
from reference.formulas import LEDGER, Operand, Statement


class Framework(NamedTuple):
    """How a framework is written: its import, a constant of ``numbers``, σ(a), its derivative by autodiff, and sums."""

    imports: str
    constant: str
    sigmoid: str
    derivative: str
    total: str
    dot: str


_FRAMEWORKS = {
    "numpy": Framework(
        "import numpy as np",
        'np.array({numbers}, "{dtype}")',
        "1 / (1 + np.exp(-a))",
        "s = 1 / (1 + np.exp(-a))\ngot = s * (1 - s)",
        "np.sum",
        "lambda x, w: (x.reshape(1, -1) @ w.reshape(-1, 1)).sum()",
    ),
    "pytorch": Framework(
        "import torch",
        "torch.tensor({numbers}, dtype=torch.{dtype})",
        "torch.sigmoid(a)",
        "got = torch.func.grad(torch.sigmoid)(a)",
        "torch.sum",
        "lambda x, w: (x.reshape(1, -1) @ w.reshape(-1, 1)).sum()",
    ),
    "jax": Framework(
        'import jax\njax.config.update("jax_enable_x64", True)',
        'jax.numpy.array({numbers}, "{dtype}")',
        "jax.nn.sigmoid(a)",
        "got = jax.grad(jax.nn.sigmoid)(a)",
        "jax.numpy.sum",
        'lambda x, w: jax.numpy.vdot(x, w, precision="highest")',
    ),
    "tensorflow": Framework(
        "import tensorflow as tf",
        "tf.constant({numbers}, tf.{dtype})",
        "tf.sigmoid(a)",
        "with tf.GradientTape() as tape:\n    tape.watch(a)\n    h = tf.sigmoid(a)\ngot = tape.gradient(h, a)",
        "tf.reduce_sum",
        "lambda x, w: tf.reduce_sum(tf.reshape(x, (1, -1)) @ tf.reshape(w, (-1, 1)))",
    ),
}
_FRAMEWORKS["sklearn"] = _FRAMEWORKS["numpy"]

_WRITTEN: dict[Callable[..., Any], tuple[str, str]] = {
    f.linear: ("x w b", "dot(x, w) + b"),
    f.sigmoid: ("a", ""),
    f.sigmoid_derivative: ("a", ""),
    f.loss: ("y t", "total((y - t) * (y - t)) / 2"),
    f.update: ("w gradient eta", "w - eta * gradient"),
    f.chain_rule: ("dL_dh dh_da da_dw", "dot(dL_dh * dh_da, da_dw)"),
    f.output_error: ("y t", "y - t"),
    f.activation_derivative: ("y", "y * (1 - y)"),
    f.linear_derivative: ("x w", "total(x)"),
    f.output_delta: ("y t", "(y - t) * (y * (1 - y))"),
    f.output_gradient: ("y t h", "dot((y - t) * (y * (1 - y)), h)"),
    f.output_update: ("u delta h eta", "u - eta * dot(delta, h)"),
    f.dL_dh1: ("y t u", "dot((y - t) * (y * (1 - y)), u)"),
    f.dL_dw11: ("y t u h x", "dot((y - t) * (y * (1 - y)), u) * (h * (1 - h)) * x"),
    f.last_hidden_gradient: ("y t u h x", "dot((y - t) * (y * (1 - y)), u) * (h * (1 - h)) * x"),
    f.weight_gradient: ("delta x", "dot(x, delta)"),
    f.hidden_error: ("delta w", "dot(delta, w)"),
    f.hidden_delta: ("delta w y", "dot(delta, w) * (y * (1 - y))"),
    f.bias_gradient: ("delta", "total(delta)"),
    f.bias_update: ("b delta eta", "b - eta * total(delta)"),
}
"""What a statement's function is called on, and how it is written for one entry; σ and its derivative are calls."""

_OF_ONE_ROW = (f.dL_dh1, f.dL_dw11, f.last_hidden_gradient)


def reproduction(check: Mapping[str, Any]) -> str | None:
    """A program that prints the framework's number for the first failure of a check, the formula's, and what is allowed.

    None where there is none: for an adapter from outside, a failure without numbers, or one end to end.
    """
    framework = _FRAMEWORKS.get(check["adapter"].partition("@")[0])
    statement = _statement(check)
    if framework is None or statement is None:
        return None
    names, expression = _WRITTEN[statement.evaluate]
    failure = check["first_failure"]
    lines = [framework.imports]
    if "dot(" in expression:
        lines.append(f"dot = {framework.dot}")
    if "total(" in expression:
        lines.append(f"total = {framework.total}")
    for name, operand in zip(names.split(), statement.operands, strict=True):
        numbers = _entries(failure["operands"], operand, check["layer"] + operand.layer)
        if not numbers or (statement.evaluate in _OF_ONE_ROW and name == "x" and len(numbers) > 1):
            return None
        if expression and not re.search(rf"\b{name}\b", expression):
            continue
        one = f'float.fromhex("{numbers[0]}")'
        several = f'[float.fromhex(n) for n in "{" ".join(numbers)}".split()]'
        constant = framework.constant.format(numbers=several if len(numbers) > 1 else one, dtype=check["dtype"])
        lines.append(f"{name} = {constant}")
    if statement.evaluate is f.sigmoid_derivative:
        lines.append(framework.derivative)
    else:
        lines.append(f"got = {expression or framework.sigmoid}")
    expected, allowed = (failure[name]["hex"] for name in ("expected", "allowed"))
    lines.append(f'print(float(got), "expected", float.fromhex("{expected}"), "±", float.fromhex("{allowed}"))')
    return "\n".join(lines)


def _statement(check: Mapping[str, Any]) -> Statement | None:
    failure = check["first_failure"]
    if check["check"] != "step" or not failure["operands"] or check["problem"] == "jacobian":
        return None
    quantity = failure["array"].partition("[")[0]
    (formula,) = (formula for formula in LEDGER if formula.number == check["formula"])
    return next((statement for statement in formula.statements if statement.quantity == quantity), None)


def _entries(operands: Mapping[str, Mapping[str, str]], operand: Operand, layer: int) -> list[str]:
    """The hexadecimals of an operand's entries, in their order."""
    if operand.name == "eta":
        return [operands["η"]["hex"]] if "η" in operands else []
    names = [_label(operand.name, layer)]
    if operand.by_row:  # what is read of a batch
        names.append(_label("h", layer - 1))
    for name in names:
        found = [
            number["hex"] for key, number in operands.items() if re.fullmatch(re.escape(name) + r"\[[\d, ]*\]", key)
        ]
        if found:
            return found
    return []


def _label(name: str, layer: int) -> str:
    if name == "t":
        return "t"
    return "x" if name == "h" and layer < 0 else f"{name}[{layer}]"
