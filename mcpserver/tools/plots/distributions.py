"""Charts of spread: histograms, boxes, values with errors."""

import math
import statistics
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.tools.plots._axes import draw_histogram
from mcpserver.tools.plots._shared import (
    COLORS,
    Chart,
    Column,
    FilePath,
    Inline,
    Number,
    Series,
    Style,
    Table,
    Text,
    decorate,
    draw_chart,
    load,
    numbers,
    put_labels,
    read_rows,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class GroupedValues(TypedDict):
    """A column of a CSV or TSV file, apart by another one."""

    path: FilePath
    value: Column
    group: Column


class Measured(TypedDict):
    """A value with what it may be off, the same or different to both sides."""

    label: Text
    value: Number
    error: Annotated[float, Ge(0), Le(1e12)] | Annotated[list[Annotated[float, Ge(0), Le(1e12)]], Len(2, 2)]


class Sample(TypedDict):
    """Groups of a CSV or TSV file; the error is taken from the spread of each."""

    path: FilePath
    value: Column
    group: Column
    error: Literal["std", "sem", "ci95"]


def plot_histogram(
    context: Context,
    data: Inline | Table,
    save_as: FilePath,
    bins: Annotated[int, Ge(2), Le(200)] = 20,
    density: bool = False,
    style: Style | None = None,
    show: bool = False,
) -> dict[str, Any]:
    """Draw how often values occur in ranges.

    Args:
        data: series written out, or columns of a CSV or TSV file
        save_as: .png or .svg file to write
        bins: number of ranges
        density: scale each area to 1
        style: title, labels, size in pixels, scales
        show: show the picture as well

    Example:
        {"data": {"path": "data/survey.csv", "columns": ["age"]}, "bins": 10, "save_as": "plots/age.png"}
    """
    loaded, look = load(context, data), style or Style()
    counts: list[list[float]] = []

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        counts.extend(draw_histogram(axes, loaded, bins, density))
        decorate(axes, look, len(loaded.series))

    chart = draw_chart(context, save_as, look, show, loaded.points(), draw)
    names = [name for name, _ in loaded.series]
    return {**chart, "counts": {name: [round(x, 6) for x in found] for name, found in zip(names, counts)}}


def plot_box(
    context: Context,
    data: Annotated[list[Series], Len(1, 20)] | Table | GroupedValues,
    save_as: FilePath,
    kind: Literal["box", "violin"] = "box",
    style: Style | None = None,
    show: bool = False,
) -> Chart:
    """Draw the spread of values as boxes or violins.

    Args:
        data: series, columns of a CSV or TSV file, or a column of it apart by another
        save_as: .png or .svg file to write
        kind: quartiles or density
        style: title, labels, size in pixels, scales
        show: show the picture as well

    Example:
        {"data": {"path": "data/employees.csv", "value": "salary", "group": "department"}, "save_as": "plots/pay.png"}
        {"data": [{"name": "a", "values": [1, 2, 3, 4]}, {"name": "b", "values": [2, 4, 9, 9]}], "kind": "violin",
         "save_as": "plots/violin.png"}
    """
    look, sets = style or Style(), _sets(context, data)

    def draw(figure: "Figure") -> None:
        axes, places = figure.add_subplot(), [float(place) for place in range(1, len(sets) + 1)]
        values = [found for _, found in sets]
        if kind == "violin" and all(min(found) < max(found) for found in values):
            axes.violinplot(values, places, showmedians=True)
        else:
            axes.boxplot(values, positions=places)
        put_labels(axes, [name for name, _ in sets], places)
        decorate(axes, look)

    return draw_chart(context, save_as, look, show, sum(len(values) for _, values in sets), draw)


def plot_error_bars(
    context: Context,
    data: Annotated[list[Measured], Len(1, 200)] | Sample,
    save_as: FilePath,
    shape: Literal["points", "bars", "line"] = "points",
    style: Style | None = None,
    show: bool = False,
) -> dict[str, Any]:
    """Draw values with their errors.

    Args:
        data: values with errors, or the means of groups of a CSV or TSV file
        save_as: .png or .svg file to write
        shape: what stands for a value
        style: title, labels, size in pixels, scales
        show: show the picture as well

    Example:
        {"data": [{"label": "a", "value": 5, "error": 0.5}, {"label": "b", "value": 7, "error": [1, 2]}],
         "save_as": "plots/errors.png"}
        {"data": {"path": "data/survey.csv", "value": "score_after", "group": "group", "error": "ci95"},
         "shape": "bars", "save_as": "plots/scores.png"}
    """
    look, points = style or Style(), data if isinstance(data, list) else _sampled(context, data)
    errors = [point["error"] if isinstance(point["error"], list) else [point["error"]] * 2 for point in points]
    values, places = [point["value"] for point in points], [float(place) for place in range(len(points))]

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        if shape == "bars":
            axes.bar(places, values, color=COLORS[0], alpha=0.7)
        line = "-" if shape == "line" else "none"
        sides = [[low for low, _ in errors], [high for _, high in errors]]
        axes.errorbar(places, values, yerr=sides, fmt="o", linestyle=line, color="black", capsize=4)
        put_labels(axes, [point["label"] for point in points], places)
        decorate(axes, look)

    chart = draw_chart(context, save_as, look, show, len(points), draw)
    listed = [{**point, "label": point["label"][:40], "value": round(point["value"], 6)} for point in points[:50]]
    return {**chart, "values": listed}


def _sets(context: Context, data: list[Series] | Table | GroupedValues) -> list[tuple[str, list[float]]]:
    """Name and values of each box."""
    if isinstance(data, list):
        return [(series["name"], series["values"]) for series in data]
    if "columns" in data:
        loaded = load(context, cast(Table, data))
        return [(name, [value for value in values if math.isfinite(value)]) for name, values in loaded.series]
    rows = read_rows(context, data["path"], [data["value"], data["group"]])
    found: dict[str, list[float]] = {}
    for row, value in zip(rows, numbers(rows, data["value"])):
        if math.isfinite(value):
            found.setdefault(row[data["group"]], []).append(value)
    if len(found) > 20:
        raise ToolError("limit", f"data.group: {len(found)} groups; at most 20 are drawn")
    return sorted(found.items())


def _sampled(context: Context, data: Sample) -> list[Measured]:
    """Mean and error of each group."""
    rows = read_rows(context, data["path"], [data["value"], data["group"]])
    found: dict[str, list[float]] = {}
    for row, value in zip(rows, numbers(rows, data["value"])):
        if math.isfinite(value):
            found.setdefault(row[data["group"]], []).append(value)
    if len(found) > 200:
        raise ToolError("limit", f"data.group: {len(found)} groups; at most 200 are drawn")
    points = []
    for group, values in sorted(found.items()):
        deviation = statistics.stdev(values) if len(values) > 1 else 0.0
        scale = {"std": 1.0, "sem": 1 / math.sqrt(len(values)), "ci95": 1.96 / math.sqrt(len(values))}[data["error"]]
        points.append(Measured(label=group, value=statistics.fmean(values), error=round(deviation * scale, 6)))
    return points
