"""The plot beside the tables: who verifies how fast, one gradient by the fastest framework's, and growth."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench import gradient, growth
from bench.workloads import multiplications

_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "bench", "font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "grid.linewidth": 0.4, "grid.alpha": 0.35, "lines.markersize": 3, "legend.frameon": False, "legend.fontsize": 7,
}  # fmt: skip


def draw(found: Mapping[str, Mapping[str, Any]]) -> str | None:
    """An SVG of the parts that were measured; None if none of them can be drawn."""
    panels = {"verify": _verify, "gradient": _gradient, "growth": _growth}
    chosen = [name for name in panels if name in found]
    if not chosen:
        return None
    with rc_context(_STYLE):
        figure = Figure((4 * len(chosen), 3.2), layout="constrained")
        for axes, name in zip(figure.subplots(1, len(chosen), squeeze=False)[0], chosen, strict=True):
            axes.loglog()
            panels[name](axes, found[name])
            axes.legend()
        svg = io.StringIO()
        figure.savefig(svg, format="svg", metadata={"Date": None})
    return svg.getvalue()


def _verify(axes: Axes, found: Mapping[str, Any]) -> None:
    curves: dict[str, list[tuple[int, float]]] = {}
    for row in found["times"]:
        if row["seconds"]:
            curves.setdefault(f"{row['framework']} {row['check']}", []).append((row["parameters"], row["seconds"]))
    for name, points in curves.items():
        axes.plot(*zip(*points, strict=True), "o-", label=name)
    axes.set(title="verifying one network", xlabel="parameters", ylabel="seconds")


def _gradient(axes: Axes, found: Mapping[str, Any]) -> None:
    for dtype in gradient.DTYPES:
        points = []
        for case in found["times"]:
            ours, others = gradient.fastest(case)
            if case["dtype"] == dtype and ours and others:
                points.append((multiplications(case["widths"], case["batch"]), ours / min(others.values())))
        if points:
            axes.plot(*zip(*sorted(points), strict=True), "o", label=dtype)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set(title="one gradient, by the fastest framework's", xlabel="multiplications", ylabel="ratio")


def _growth(axes: Axes, found: Mapping[str, Any]) -> None:
    size = [row["multiplications"] for row in found["times"]]
    for name, of, unit in (
        ("full check, s", "check", 1),
        ("one gradient, s", "gradient", 1),
        ("memory, GiB", "peak", 2**30),
    ):
        power = growth.exponent(found["times"], of)
        axes.plot(size, [row[of] / unit for row in found["times"]], "o-", label=f"{name}: power {power:.2f}")
    axes.set(title="growth", xlabel="multiplications", ylabel="seconds, GiB")
