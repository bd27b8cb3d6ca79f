"""Charts drawn into given axes: the parts that single charts and panels have in common."""

import math
from collections.abc import Sequence
from typing import Any

from mcpserver.tools.plots._shared import COLORS, Loaded, put_labels


def draw_lines(axes: Any, loaded: Loaded, marker: str = "none") -> None:
    """A line for each series; gaps where values are missing."""
    places, sign = loaded.places(), {"none": "", "circle": "o", "square": "s"}[marker]
    for number, (name, values) in enumerate(loaded.series):
        axes.plot(places, values, marker=sign, color=COLORS[number % 10], label=name)
    put_labels(axes, loaded.labels, places)


def draw_bars(axes: Any, loaded: Loaded, layout: str = "grouped") -> None:
    """Bars of each label: side by side, stacked, or horizontal."""
    places = [float(place) for place in range(len(loaded.labels))]
    width = 0.8 if layout == "stacked" else 0.8 / len(loaded.series)
    above, below = [0.0] * len(places), [0.0] * len(places)
    for number, (name, values) in enumerate(loaded.series):
        heights = [0.0 if math.isnan(value) else value for value in values]
        look = {"color": COLORS[number % 10], "label": name}
        shifted = [place - 0.4 + width * (number + 0.5) for place in places]
        if layout == "stacked":
            bottoms = [high if height >= 0 else low for high, low, height in zip(above, below, heights)]
            axes.bar(places, heights, width, bottom=bottoms, **look)
            above = [high + max(height, 0) for high, height in zip(above, heights)]
            below = [low + min(height, 0) for low, height in zip(below, heights)]
        elif layout == "horizontal":
            axes.barh(shifted, heights, width, **look)
        else:
            axes.bar(shifted, heights, width, **look)
    put_labels(axes, list(map(_text, loaded.labels)), places, vertical=layout == "horizontal")
    if layout == "horizontal":
        axes.invert_yaxis()


def draw_points(axes: Any, clouds: Sequence[tuple[str, Sequence[float], Sequence[float]]]) -> None:
    """Points of each colour, given with name, x and y."""
    for number, (name, xs, ys) in enumerate(clouds):
        axes.scatter(xs, ys, s=18, color=COLORS[number % 10], label=name)


def draw_histogram(axes: Any, loaded: Loaded, bins: int = 20, density: bool = False) -> list[list[float]]:
    """Counts of each series in the same ranges, which are given back."""
    found = [[value for value in values if math.isfinite(value)] for _, values in loaded.series]
    everything = [value for values in found for value in values]
    low, high = min(everything), max(everything)
    ranges = (
        (low, high)
        if high - low > 1e-9 * max(1.0, abs(low))
        else (low - 0.5 * max(1.0, abs(low)), low + max(1.0, abs(low)))
    )
    counts = []
    for number, (name, _) in enumerate(loaded.series):
        heights, *_ = axes.hist(
            found[number], bins=bins, range=ranges, density=density, alpha=0.7, label=name, color=COLORS[number % 10]
        )
        counts.append([float(height) for height in heights])
    return counts


def _text(label: str | float) -> str:
    return f"{label:g}" if isinstance(label, float) else str(label)
