"""The document's network (its figure 1) as an SVG that carries one problem's numbers, and for each of its units and
weights a panel: every formula that speaks of it with the numbers put in, as NumPy and each framework computed them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from math import atan2, degrees
from typing import Any

from latex2mathml.converter import convert
from markupsafe import Markup, escape

Numbers = Mapping[str, Mapping[str, str]]
"""By name and index, as in results.json: each a decimal and a hexadecimal."""

_SUBSCRIPTS = str.maketrans("123", "₁₂₃")


@dataclass(frozen=True)
class Computed:
    """The figure's numbers as one adapter computed them in one mode and precision; ``modes``: all that it has there."""

    adapter: str
    mode: str
    dtype: str
    modes: tuple[str, ...]
    numbers: Numbers


@dataclass(frozen=True)
class Step:
    """A formula of one unit or weight: ``result = expression``, an entry's name in braces standing for its number."""

    formula: str
    latex: str
    expression: str
    result: str


@dataclass(frozen=True)
class Part:
    """A unit or weight of the figure: its name, and where its own number stands."""

    name: str
    what: str
    key: str
    steps: tuple[Step, ...]

    @property
    def text(self) -> str:
        """The name with its indices below."""
        return self.name.translate(_SUBSCRIPTS)

    @property
    def anchor(self) -> str:
        """The id of its panel."""
        return f"pick-{self.name}"


def _unit(layer: int, unit: int) -> Part:
    """h or y: the forward pass, then the backward pass, then its bias."""
    below, weight, inputs, name = ("x", "w", 2, "h") if layer == 0 else ("h", "u", 3, "y")
    j, k = unit + 1, layer + 1
    entry = f"[{layer}][0, {unit}]"
    source = "x[0, {i}]" if layer == 0 else "h[0][0, {i}]"
    terms = [f"{{{source.format(i=i)}}} × {{w[{layer}][{i}, {unit}]}}" for i in range(inputs)]
    sums = " + ".join(f"{below}_{i + 1} {weight}_{{{i + 1}{j}}}" for i in range(inputs))
    a, derivative = f"a_{j}^{{({k})}}", rf"\frac{{\partial {name}_{j}}}{{\partial a_{j}^{{({k})}}}}"
    error = rf"\frac{{\partial L}}{{\partial {name}_{j}}}"
    steps = [
        Step(str(k), f"{a} = {sums} + b_{j}^{{({k})}}", " + ".join([*terms, f"{{b{entry}}}"]), f"a{entry}"),
        Step("43"[layer], rf"{name}_{j} = \sigma({a})", f"σ({{a{entry}}})", f"h{entry}"),
        Step(("16", "11")[layer], rf"{derivative} = {name}_{j}(1 - {name}_{j})",
             f"{{h{entry}}} × (1 − {{h{entry}}})", f"dh_da{entry}"),
    ]  # fmt: skip
    if layer == 0:
        back = " + ".join(f"{{dL_da[1][0, {i}]}} × {{w[1][{unit}, {i}]}}" for i in range(2))
        latex = rf"{error} = \delta_1^{{(2)}} u_{{{j}1}} + \delta_2^{{(2)}} u_{{{j}2}}"
        steps.append(Step("18" if unit == 0 else "22", latex, back, f"dL_dh{entry}"))
    else:
        steps.append(Step("10", rf"{error} = y_{j} - t_{j}", f"{{h{entry}}} − {{t[0, {unit}]}}", f"dL_dh{entry}"))
    steps += [
        Step(("22", "13")[layer], rf"\delta_{j}^{{({k})}} = {error} {derivative}",
             f"{{dL_dh{entry}}} × {{dh_da{entry}}}", f"dL_da{entry}"),
        Step("b1", rf"\frac{{\partial L}}{{\partial b_{j}^{{({k})}}}} = \delta_{j}^{{({k})}}",
             f"{{dL_da{entry}}}", f"dL_db{entry}"),
        Step("b2", rf"b_{j}^{{({k})}} \leftarrow b_{j}^{{({k})}} - \eta \delta_{j}^{{({k})}}",
             f"{{b{entry}}} − {{η}} × {{dL_da{entry}}}", f"b_new{entry}"),
    ]  # fmt: skip
    return Part(f"{name}{j}", ("hidden unit", "output")[layer], f"h{entry}", tuple(steps))


def _weight(layer: int, i: int, j: int) -> Part:
    """w or u: its use, its gradient, its step."""
    name, below = ("w", "x") if layer == 0 else ("u", "h")
    k, entry, delta = layer + 1, f"[{layer}][{i}, {j}]", f"dL_da[{layer}][0, {j}]"
    source = f"x[0, {i}]" if layer == 0 else f"h[0][0, {i}]"
    symbol = f"{name}_{{{i + 1}{j + 1}}}"
    gradient = rf"\frac{{\partial L}}{{\partial {symbol}}}"
    number = ("19" if (i, j) == (0, 0) else "20", "13")[layer]
    steps = (
        Step(("17", "12")[layer], rf"\frac{{\partial a_{j + 1}^{{({k})}}}}{{\partial {symbol}}} = {below}_{i + 1}",
             f"{{{source}}}", f"da_dw{entry}"),
        Step(number, rf"{gradient} = \delta_{j + 1}^{{({k})}} {below}_{i + 1}",
             f"{{{delta}}} × {{{source}}}", f"dL_dw{entry}"),
        Step(("8", "14")[layer], rf"{symbol} \leftarrow {symbol} - \eta {gradient}",
             f"{{w{entry}}} − {{η}} × {{dL_dw{entry}}}", f"w_new{entry}"),
    )  # fmt: skip
    return Part(f"{name}{i + 1}{j + 1}", "weight", f"w{entry}", steps)


def _parts() -> Iterator[Part]:
    for i in range(2):
        yield Part(f"x{i + 1}", "input", f"x[0, {i}]", ())
    yield from (_weight(0, i, j) for i in range(2) for j in range(3))
    yield from (_unit(0, j) for j in range(3))
    yield from (_weight(1, i, j) for i in range(3) for j in range(2))
    yield from (_unit(1, j) for j in range(2))
    squares = " + ".join(f"({{h[1][0, {j}]}} − {{t[0, {j}]}})²" for j in range(2))
    loss = Step("5", r"L = \frac{1}{2} \sum_k (y_k - t_k)^2", f"½ [{squares}]", "loss")
    for j in range(2):
        yield Part(f"t{j + 1}", "target", f"t[0, {j}]", (loss,))


PARTS = tuple(_parts())
"""From the inputs to the targets."""


# --- the panels -----------------------------------------------------------------------------------------------------


def panels(computed: Iterable[Computed]) -> list[dict[str, Any]]:
    """For each part its number, and for each of its steps the formula and a row for each different answer."""
    computed = list(computed)
    if not computed:
        return []
    return [
        {
            "part": part,
            "given": computed[0].numbers.get(part.key, {}).get("decimal", "–"),
            "steps": [
                {"formula": step.formula, "mathml": Markup(mathml(step.latex)), "rows": list(_rows(step, computed))}
                for step in part.steps
            ],
        }
        for part in PARTS
    ]


def mathml(latex: str, display: str = "block") -> str:
    """A formula as MathML. In HTML it needs no namespace."""
    return convert(latex, display=display).replace(' xmlns="http://www.w3.org/1998/Math/MathML"', "")


def _rows(step: Step, computed: list[Computed]) -> Iterator[dict[str, Any]]:
    """For each precision the different answers, NumPy's or the first one's before those that differ from it."""
    for dtype in dict.fromkeys(one.dtype for one in computed):
        groups: dict[tuple[str, ...] | None, list[Computed]] = {}
        for one in (one for one in computed if one.dtype == dtype):
            groups.setdefault(_answer(step, one.numbers), []).append(one)
        covered = [answer for answer in groups if answer is not None]
        for answer, group in groups.items():
            shown = "not covered" if answer is None else _substituted(step, answer, covered[0])
            yield {"dtype": dtype, "who": _who(group), "shown": shown}


def _answer(step: Step, numbers: Numbers) -> tuple[str, ...] | None:
    """The decimals of the operands and of the result, or None if one is missing."""
    keys = [*re.findall(r"\{(.*?)\}", step.expression), step.result]
    return tuple(numbers[key]["decimal"] for key in keys) if all(key in numbers for key in keys) else None


def _substituted(step: Step, answer: tuple[str, ...], first: tuple[str, ...]) -> Markup:
    """The expression with numbers in place of names: digits from the first that differs on are marked."""
    *operands, result = (marked(number, known) for number, known in zip(answer, first, strict=True))
    pieces = re.split(r"\{.*?\}", step.expression)
    shown = Markup(escape(pieces[0]))
    for number, operand, rest in zip(answer, operands, pieces[1:], strict=False):
        shown += (Markup("({})").format(operand) if number.startswith("-") else operand) + escape(rest)
    return shown + Markup(" = <b>{}</b>").format(result)


def marked(number: str, known: str) -> Markup:
    """A number, with its digits marked from the first on that is another one than that of ``known``."""
    same = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(number, known, strict=False))))
    if number == known:
        return Markup(escape(number))
    if same == len(number):  # the other one has more digits
        same -= 1
    return escape(number[:same]) + Markup("<mark>{}</mark>").format(number[same:])


def _who(group: list[Computed]) -> str:
    modes: dict[str, list[str]] = {}
    for one in group:
        modes.setdefault(one.adapter, []).append(one.mode)
    every = {one.adapter: len(one.modes) for one in group}
    return ", ".join(
        adapter if len(own) == every[adapter] else f"{adapter} ({' '.join(own)})" for adapter, own in modes.items()
    )


# --- the drawing ----------------------------------------------------------------------------------------------------

_COLUMNS = {"x": 38, "h": 205, "y": 372, "t": 470}
_ROWS = {2: (110, 290), 3: (50, 200, 350)}
_RADIUS = 27
_ALONG = {
    "w11": 0.4, "w12": 0.28, "w13": 0.74, "w21": 0.74, "w22": 0.28, "w23": 0.4,
    "u11": 0.6, "u12": 0.26, "u21": 0.72, "u22": 0.72, "u31": 0.26, "u32": 0.6,
}  # fmt: skip
"""Where the labels of the arrows stand, lest they meet."""


def drawing(numbers: Numbers) -> Markup:
    """The network as links to its parts' panels; ``numbers`` are written on it."""
    shapes = [_arrow(part, numbers) for part in PARTS if part.what == "weight"]
    shapes += [_compared(j) for j in (1, 2)]
    shapes += [_circle(part, numbers) for part in PARTS if part.what != "weight"]
    return Markup("\n").join(shapes)


def _place(name: str) -> tuple[int, int]:
    return _COLUMNS[name[0]], _ROWS[3 if name[0] == "h" else 2][int(name[1]) - 1]


def _line(start: str, end: str) -> tuple[float, float, float, float, float]:
    """From the rim of one circle to that of another, and the angle in degrees."""
    (x1, y1), (x2, y2) = _place(start), _place(end)
    line = complex(x2 - x1, y2 - y1)
    rim = line / abs(line) * _RADIUS
    return x1 + rim.real, y1 + rim.imag, x2 - rim.real, y2 - rim.imag, degrees(atan2(line.imag, line.real))


def _arrow(part: Part, numbers: Numbers) -> Markup:
    below, above = ("x", "h") if part.name[0] == "w" else ("h", "y")
    start, end = f"{below}{part.name[1]}", f"{above}{part.name[2]}"
    x1, y1, x2, y2, angle = _line(start, end)
    along = _ALONG[part.name]
    label = f"{part.text} {_short(part, numbers)}"
    return Markup(
        '<a href="#{}" data-pick="{}" aria-label="weight {}"><line class="touch" x1="{x1:.0f}" y1="{y1:.0f}" x2="{x2:.0f}"'
        ' y2="{y2:.0f}"/><line x1="{x1:.0f}" y1="{y1:.0f}" x2="{x2:.0f}" y2="{y2:.0f}" marker-end="url(#tip)"/>'
        '<text transform="translate({x:.0f} {y:.0f}) rotate({angle:.0f})" dy="-4">{}</text></a>'
    ).format(
        part.anchor, part.anchor, label, label,
        x1=x1, y1=y1, x2=x2, y2=y2, x=x1 + along * (x2 - x1), y=y1 + along * (y2 - y1), angle=angle,
    )  # fmt: skip


def _compared(j: int) -> Markup:
    x1, y1, x2, y2, _ = _line(f"y{j}", f"t{j}")
    return Markup('<line class="compared" x1="{:.0f}" y1="{:.0f}" x2="{:.0f}" y2="{:.0f}"/>').format(x1, y1, x2, y2)


def _circle(part: Part, numbers: Numbers) -> Markup:
    x, y = _place(part.name)
    return Markup(
        '<a href="#{}" data-pick="{}" aria-label="{} {} {}"><circle cx="{x}" cy="{y}" r="{}"/>'
        '<text x="{x}" y="{}">{}</text> <text class="value" x="{x}" y="{}">{}</text></a>'
    ).format(
        part.anchor, part.anchor, part.what, part.text, _short(part, numbers), _RADIUS, y - 4, part.text, y + 13,
        _short(part, numbers), x=x, y=y,
    )  # fmt: skip


def _short(part: Part, numbers: Numbers) -> str:
    """A number in the few digits for which there is room."""
    return f"{float(numbers[part.key]['decimal']):.4g}".replace("-", "−") if part.key in numbers else ""
