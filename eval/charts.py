"""Small charts for the report: inline SVG and HTML bars, drawn with the page's CSS classes; and the reward picture.

Every text is escaped here. Colours are CSS variables of the page, so that they follow light and dark.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from toolwright.artifacts import replacing

WIDTH, HEIGHT = 420, 210
LEFT, RIGHT, TOP, BOTTOM = 40, 10, 12, 34
SMOOTHING = 9
"""Points of the running mean that is drawn over a noisy curve."""

Point = tuple[float, float]


class Series(NamedTuple):
    """A named curve; ``style`` is a CSS class of the page (``main``, ``second``, ``third``)."""

    name: str
    points: Sequence[Point]
    style: str


def percent(share: float) -> str:
    """A share as a percentage with one digit."""
    return f"{share * 100:.1f}%"


def p_value(p: float) -> str:
    """A p value as people write it."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def interval_bar(score: float, low: float, high: float, colour: int) -> str:
    """A score on a scale from 0 to 100 % as a bar, its interval as a whisker."""
    return (
        f'<div class="track" role="img" aria-label="{percent(score)}, interval {percent(low)} to {percent(high)}">'
        f'<i class="bar c{colour}" style="width:{score * 100:.2f}%"></i>'
        f'<i class="whisker" style="left:{low * 100:.2f}%;width:{max(high - low, 0.002) * 100:.2f}%"></i></div>'
    )


def plain_bar(share: float, colour: int) -> str:
    """A bar from 0 to ``share`` of the full width."""
    return f'<div class="track thin"><i class="bar c{colour}" style="width:{share * 100:.2f}%"></i></div>'


def smooth(points: Sequence[Point], window: int = SMOOTHING) -> list[Point]:
    """Centred running mean, narrower at both ends so that no point is lost."""
    half = window // 2
    smoothed = []
    for i, (x, _) in enumerate(points):
        reach = min(half, i, len(points) - 1 - i)
        part = [y for _, y in points[i - reach : i + reach + 1]]
        smoothed.append((x, sum(part) / len(part)))
    return smoothed


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers within ``[low, high]``, at most about ``most`` of them."""
    if high <= low:
        return [low]
    raw = (high - low) / most
    scale = 10.0 ** math.floor(math.log10(raw))
    step = next(scale * factor for factor in (1, 2, 5, 10) if scale * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 10) for n in range(first, math.floor(high / step + 1e-9) + 1)]


def line_chart(series: Sequence[Series], x_label: str, *, smoothed: bool = False) -> str:
    """Curves over a common x as SVG, with a legend when there are several; empty when there is nothing to draw."""
    drawn = [one._replace(points=_finite(one.points)) for one in series]
    drawn = [one for one in drawn if one.points]
    if not drawn:
        return ""
    xs = [x for one in drawn for x, _ in one.points]
    ys = [y for one in drawn for _, y in one.points]
    x_range, y_range = _padded(min(xs), max(xs), 0), _padded(min(ys), max(ys), 0.06)
    parts = [_axes(x_range, y_range, x_label)]
    for one in drawn:
        if smoothed and len(one.points) > SMOOTHING:
            parts.append(_path(one.points, x_range, y_range, f"curve raw {one.style}"))
            parts.append(_path(smooth(one.points), x_range, y_range, f"curve {one.style}"))
        else:
            parts.append(_path(one.points, x_range, y_range, f"curve {one.style}"))
    legend = "".join(f'<span><i class="key {one.style}"></i>{escape(one.name)}</span>' for one in drawn)
    label = escape(", ".join(one.name for one in drawn))
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
    return (f'<div class="legend">{legend}</div>' if len(drawn) > 1 else "") + svg


def _finite(points: Sequence[Point]) -> list[Point]:
    return [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]


def _padded(low: float, high: float, share: float) -> tuple[float, float]:
    if high <= low:
        return low - 0.5, low + 0.5
    return low - (high - low) * share, high + (high - low) * share


def _axes(x_range: tuple[float, float], y_range: tuple[float, float], x_label: str) -> str:
    parts = []
    for y in ticks(*y_range):
        at = _place_y(y, y_range)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{LEFT - 7}" y="{at + 4:.1f}" text-anchor="end">{y:g}</text>')
    for x in ticks(*x_range):
        at = _place_x(x, x_range)
        parts.append(f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{x:g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle:.0f}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x_label)}</text>')
    return "".join(parts)


def _path(points: Sequence[Point], x_range: tuple[float, float], y_range: tuple[float, float], style: str) -> str:
    if len(points) == 1:
        x, y = _place_x(points[0][0], x_range), _place_y(points[0][1], y_range)
        return f'<circle class="{style}" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>'
    line = "L".join(f"{_place_x(x, x_range):.1f},{_place_y(y, y_range):.1f}" for x, y in points)
    return f'<path class="{style}" d="M{line}"/>'


def _place_x(x: float, x_range: tuple[float, float]) -> float:
    return LEFT + (x - x_range[0]) / (x_range[1] - x_range[0]) * (WIDTH - LEFT - RIGHT)


def _place_y(y: float, y_range: tuple[float, float]) -> float:
    return HEIGHT - BOTTOM - (y - y_range[0]) / (y_range[1] - y_range[0]) * (HEIGHT - TOP - BOTTOM)


def draw_reward_curve(path: Path, curves: Mapping[str, Sequence[Point]]) -> None:
    """Write the reward curve as a PNG: each curve faint, its running mean over it.

    Args:
        path: the picture.
        curves: name -> points (step, value); the first is drawn strongest.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.8), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for (name, points), colour in zip(curves.items(), ("#1d5fa6", "#7a8594", "#2a9d8f"), strict=False):
        known = _finite(points)
        axes.plot(*zip(*known, strict=True), color=colour, alpha=0.25, linewidth=1)
        axes.plot(*zip(*smooth(known), strict=True), color=colour, linewidth=1.8, label=name)
    axes.set_xlabel("step")
    axes.set_ylabel("mean reward of the rollouts")
    axes.grid(axis="y", color="#e3e6ea", linewidth=0.8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2)
    with replacing(path) as temporary:
        figure.savefig(temporary, metadata={"Software": None})
