"""The page's pictures, drawn by matplotlib as SVG that takes its colours from the page: light, dark, and on paper."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from warnings import catch_warnings, filterwarnings

from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from reference.formulas import LEDGER
from reference.rounding import FORMATS

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "grid.linewidth": 0.4, "grid.alpha": 0.35, "lines.linewidth": 1.3, "lines.markersize": 4, "legend.frameon": False,
    "axes.titlesize": 9, "axes.titleweight": "bold", "axes.titlelocation": "left",
}  # fmt: skip
_MARKERS = "osD^vP*X<>"
_COLOURS = 6
_WIDTH = 4.6  # inches: on a phone, the letters are as large as the page's small print
_LEAST, _MOST = 1e-20, 1e6


class Curves(NamedTuple):
    """What results.json has to draw of one adapter in its first mode, or in another one: "shown" of one precision."""

    adapter: str
    mode: str
    first: bool
    dtype: str
    shown: Mapping[str, Any]


class Picture(NamedTuple):
    """An SVG, what it shows in a word, and what to see in it."""

    name: str
    caption: str
    svg: Markup


def bounds(worst: Mapping[str, Mapping[str, float]]) -> Picture:
    """The worst fraction of the bound: ``worst[adapter][formula]``, over modes and precisions."""
    numbers = [formula.number for formula in LEDGER]
    with rc_context(_STYLE):
        figure, (axes,) = _panels(1, 5.2, legend_lines=2)
        for place, (adapter, fractions) in enumerate(worst.items()):
            rows = [
                i + 0.12 * (place - (len(worst) - 1) / 2) for i, number in enumerate(numbers) if number in fractions
            ]
            found = [min(fractions[number], 2) for number in numbers if number in fractions]
            axes.plot(found, rows, _MARKERS[place % 10], color=_colour(place), label=_name(adapter), clip_on=False)
        axes.axvline(1, color=_INK, linewidth=1)
        axes.set_yticks(range(len(numbers)), numbers)
        axes.set_ylim(len(numbers) - 0.4, -0.6)
        axes.set_xlim(0, max(1.05, *(min(f, 2) + 0.05 for own in worst.values() for f in own.values()), 0))
        axes.set_xlabel("largest error as a fraction of its bound (at the line: all of it)")
        axes.set_ylabel("formula")
        _legend(figure, axes)
    caption = (
        "Error against bound, step by step: the worst entry of each formula, over all modes and precisions. Left of the"
        " line is what rounding allows; right of it would be a mismatch (drawn at 2 where it is more)."
    )
    return Picture("bounds", caption, _svg("bounds", figure, caption))


def saturation(curves: Sequence[Curves]) -> list[Picture]:
    """For each adapter the relative error of σ′ against a, precision by precision."""
    pictures = []
    for place, adapter in enumerate(dict.fromkeys(curve.adapter for curve in curves)):
        own = [curve for curve in curves if curve.adapter == adapter and curve.shown["saturation"]]
        dtypes = [dtype for dtype in FORMATS if any(curve.dtype == dtype for curve in own)]
        if not dtypes:
            continue
        with rc_context(_STYLE):
            figure, panels = _panels(len(dtypes), 1.2, legend_lines=3)
            for axes, dtype in zip(panels, dtypes, strict=True):
                _saturation(axes, dtype, [curve for curve in own if curve.dtype == dtype])
            _legend(figure, axes, columns=1)
        caption = (
            f"{adapter}: relative error of σ′(a). Left, σ itself underflows; right, 1 − y cancels until y(1 − y) is 0"
            " and the derivative is lost (shaded): the formula itself does that. The thin line is half a unit in the last place."
        )
        pictures.append(Picture(adapter, caption, _svg(f"saturation{place}", figure, caption)))
    return pictures


def _saturation(axes: Axes, dtype: str, curves: Iterable[Curves]) -> None:
    unit = 2.0 ** -FORMATS[dtype][0]

    def drawn(errors: Sequence[float | None]) -> list[float]:
        return [_MOST if error is None else min(max(error, unit / 16), _MOST) for error in errors]

    for curve in curves:
        found = curve.shown["saturation"]
        a, derivative = found["a"], found["derivative"]
        if derivative and curve.first:
            axes.plot(a, drawn(derivative), color=_colour(0), label=f"σ′ of mode {_name(curve.mode)}: {found['form']}")
            lost = [at for at, error in zip(a, derivative, strict=True) if at > 0 and (error is None or error >= 1)]
            if lost:
                axes.axvspan(lost[0], a[-1], color=_colour(0), alpha=0.12, linewidth=0)
                axes.text(lost[0], 10, f" lost from a = {lost[0]:.0f}", va="bottom", ha="right", fontsize=8)
        elif derivative:
            axes.plot(
                a, drawn(derivative), ":", color=_colour(2), label=f"σ′ of mode {_name(curve.mode)}: {found['form']}"
            )
        if found["reflected"] and curve.first:
            axes.plot(a, drawn(found["reflected"]), "--", color=_colour(1), label="σ(a)σ(−a), of its own σ")
    axes.axhline(unit, color=_INK, linewidth=0.6)
    axes.set_yscale("log")
    axes.set_ylim(unit / 16, 200)
    _plain_logarithms(axes)
    axes.set_title(dtype)
    axes.set_xlabel("a")


def growth(curves: Sequence[Curves]) -> list[Picture]:
    """End to end, error and bound against depth and width."""
    pictures = []
    for dtype in FORMATS:
        own = [curve for curve in curves if curve.dtype == dtype and curve.shown["growth"]]
        if not own:
            continue
        with rc_context(_STYLE):
            figure, panels = _panels(2, 1.8, legend_lines=2)
            for axes, by, fixed, at in zip(panels, ("depth", "width"), ("width", "depth"), (8, 2), strict=True):
                for place, curve in enumerate(own):
                    rows = sorted((r for r in curve.shown["growth"] if r[fixed] == at), key=lambda row: row[by])
                    sizes = [row[by] for row in rows]
                    for what, style in (("bound", "--"), ("error", "-")):
                        points = [_MOST if row[what] is None else max(row[what], 0.01) for row in rows]
                        axes.plot(
                            sizes, points, style, marker=_MARKERS[place % 10], color=_colour(place),
                            label=_name(curve.adapter) if what == "error" else None,
                            alpha=0.6 if what == "bound" else 1,
                        )  # fmt: skip
                axes.set_xscale("log", base=2)
                axes.set_yscale("log")
                _plain_logarithms(axes)
                axes.set_xticks(sizes, map(str, sizes), minor=False)
                axes.set_xlabel(f"{by}, at {fixed} {at}")
                axes.set_title(f"{dtype}: ULP of the largest gradient")
            _legend(figure, axes)
        caption = (
            f"{dtype}, end to end: the largest error of a gradient (solid) and the largest bound (dashed), in ULP of the"
            " network's largest gradient; the worst of eight networks, each framework's first mode."
        )
        pictures.append(Picture(dtype, caption, _svg(f"growth-{dtype}", figure, caption)))
    return pictures


def learning(curves: Sequence[Curves]) -> list[Picture]:
    """The loss of the document's network, and how far the weights are from the reference's, step by step."""
    own = [curve for curve in curves if curve.shown["learning"]]
    dtypes = [dtype for dtype in FORMATS if any(curve.dtype == dtype for curve in own)]
    if not dtypes:
        return []
    adapters = list(dict.fromkeys(curve.adapter for curve in own))
    with rc_context(_STYLE):
        figure, (top, *rest) = _panels(1 + len(dtypes), 1.2, legend_lines=2)
        for curve in own:
            place, dashes = adapters.index(curve.adapter), ("-", "--", ":", "-.")[dtypes.index(curve.dtype)]
            losses = curve.shown["learning"]["loss"]
            if losses:
                top.plot([_drawn(loss) for loss in losses], dashes, color=_colour(place))
        top.set_title("loss, all frameworks and precisions")
        for axes, dtype in zip(rest, dtypes, strict=True):
            for curve in (curve for curve in own if curve.dtype == dtype):
                place = adapters.index(curve.adapter)
                steps = [_drawn(distance) for distance in curve.shown["learning"]["distance"]]
                axes.plot(range(1, len(steps) + 1), steps, color=_colour(place), label=_name(curve.adapter), alpha=0.85,
                          marker=_MARKERS[place % 10], markevery=(3 * place, 20))  # fmt: skip
            axes.set_yscale("symlog", linthresh=1)
            axes.set_ylim(bottom=0)
            _plain_logarithms(axes)
            axes.set_title(f"{dtype}: ULP from the reference's weights")
        rest[-1].set_xlabel("step")
        handles = {label: line for axes in rest for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
        figure.legend(handles.values(), handles.keys(), loc="upper left", ncols=3)
    caption = (
        "The document's network learning with η: the losses lie on one line, and the weights, equal at first, part by the"
        " rounding of each step; a weight near zero makes a peak, for its ULP are small. The reference learns in the same precision; in bfloat16, which NumPy lacks, in float32."
    )
    return [Picture("learning", caption, _svg("learning", figure, caption))]


# --- drawing for a page ---------------------------------------------------------------------------------------------

_INK = "#010203"
"""Stands for the page's own ink; a colour of a series is #0102 and its place."""


_NEEDLESS = [
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r"<metadata>.*?</metadata>", r"font-family: [^;\"]*;? ?", r' transform="rotate\(-0 [^"]*"', r' id="\w+_\d+"',
        r"(?<=\n)\s+", r" (?=\n)",
    )
]  # fmt: skip
"""What a page does without: it has fonts of its own, and links to no group."""


def _panels(number: int, height: float, legend_lines: int) -> tuple[Figure, list[Axes]]:
    """Axes one below the other, their heights in inches, with margins that need no measuring: that takes its time."""
    top, above, below = 0.1 + 0.18 * legend_lines, 0.28, 0.42
    whole = top + number * (above + height + below)
    figure = Figure((_WIDTH, whole))
    width = _WIDTH - 0.65 - 0.15
    starts = (whole - top - (i + 1) * (above + height + below) + below for i in range(number))
    return figure, [figure.add_axes((0.65 / _WIDTH, y / whole, width / _WIDTH, height / whole)) for y in starts]


def _plain_logarithms(axes: Axes) -> None:
    """Powers of ten as they are written in results.json."""
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(
        lambda value, _: f"{value:.0e}" if 0 < value < 0.01 or value > 9999 else f"{value:g}"
    )
    axes.xaxis.set_minor_locator(NullLocator())


def _colour(place: int) -> str:
    return f"#0102{0xA0 + place % _COLOURS:02x}"


def _name(text: str) -> str:
    """A name as it is: a dollar begins no formula, and a line whose label begins with _ has a legend too."""
    return (" " if text.startswith("_") else "") + text.replace("$", r"\$")


def _legend(figure: Figure, axes: Axes, columns: int = 3) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="upper left", ncols=columns)


def _drawn(value: float | None) -> float:
    return _MOST if value is None else value


def _svg(name: str, figure: Figure, label: str) -> Markup:
    """The figure's SVG without a header, its ids its own on the page, its colours the page's."""
    file = io.StringIO()
    with rc_context(_STYLE | {"svg.hashsalt": name}), catch_warnings():
        filterwarnings("ignore", "Glyph")  # of a name: the page's font may have it
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = file.getvalue()
    svg = re.sub(r"^.*?<svg .*?viewBox", "<svg viewBox", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r" xmlns.*?>", ' role="img" aria-label="@label">', svg, count=1)
    for needless in _NEEDLESS:
        svg = needless.sub("", svg)
    svg = re.sub(r' (d|x|y)="[^"]*"', lambda place: re.sub(r"(\.\d)\d+", r"\1", place[0]), svg)
    svg = re.sub(r'(id="|href="#|url\(#)', rf"\1{name}-", svg).replace("xlink:href", "href")
    svg = re.sub(r"#0102a(\d)", r"var(--series\1)", svg)
    svg = svg.replace(_INK, "currentColor").replace("#000000", "currentColor")
    return Markup(svg.replace("@label", str(escape(label)), 1))
