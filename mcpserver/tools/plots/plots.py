"""Charts of series and groups: lines, areas, bars, points and shares."""

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired, cast

from annotated_types import Len
from typing_extensions import TypedDict

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.tools.plots._axes import draw_bars, draw_lines, draw_points
from mcpserver.tools.plots._shared import (
    COLORS,
    Chart,
    Column,
    FilePath,
    Groups,
    Inline,
    Number,
    Style,
    Table,
    Text,
    clean,
    decorate,
    draw_chart,
    load,
    numbers,
    put_labels,
    read_rows,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Points(TypedDict):
    """Points of one colour."""

    x: Annotated[list[Number], Len(1, 2000)]
    y: Annotated[list[Number], Len(1, 2000)]
    name: NotRequired[Text]


class PointTable(TypedDict):
    """Two columns of a CSV or TSV file; group gives each of its values a colour."""

    path: FilePath
    x: Column
    y: Column
    group: NotRequired[Column]


def plot_line(
    context: Context,
    data: Inline | Table,
    save_as: FilePath,
    style: Style | None = None,
    marker: Literal["none", "circle", "square"] = "none",
    show: bool = False,
) -> Chart:
    """Draw a line chart of one or more series.

    Args:
        data: series written out, or columns of a CSV or TSV file
        save_as: .png or .svg file to write
        style: title, labels, size in pixels, scales
        marker: sign at each value
        show: show the picture as well

    Example:
        {"data": {"labels": ["Jan", "Feb", "Mar"], "series": [{"name": "2024", "values": [3, 5, 4]}]},
         "save_as": "plots/line.png", "style": {"title": "Orders"}}
        {"data": {"path": "data/sensors.csv", "x": "time", "columns": ["temperature"]}, "save_as": "plots/t.svg"}
    """
    loaded, look = load(context, data), style or Style()

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        draw_lines(axes, loaded, marker)
        decorate(axes, look, len(loaded.series))

    return draw_chart(context, save_as, look, show, loaded.points(), draw)


def plot_area(
    context: Context, data: Inline | Table, save_as: FilePath, style: Style | None = None, show: bool = False
) -> Chart:
    """Draw series as areas on top of each other.

    Args:
        data: series written out, or columns of a CSV or TSV file; no negative numbers
        save_as: .png or .svg file to write
        style: title, labels, size in pixels, scales
        show: show the picture as well

    Example:
        {"data": {"labels": [1, 2, 3], "series": [{"name": "gas", "values": [3, 5, 4]},
         {"name": "power", "values": [1, 2, 2]}]}, "save_as": "plots/area.png"}
    """
    loaded, look = load(context, data), style or Style()
    layers = [[0.0 if math.isnan(value) else value for value in values] for _, values in loaded.series]
    if any(value < 0 for values in layers for value in values):
        raise ToolError("bad_arguments", "data: areas on top of each other need numbers of 0 and more")

    def draw(figure: "Figure") -> None:
        axes, places = figure.add_subplot(), loaded.places()
        axes.stackplot(places, layers, labels=[name for name, _ in loaded.series], colors=COLORS)
        put_labels(axes, loaded.labels, places)
        decorate(axes, look, len(loaded.series))

    return draw_chart(context, save_as, look, show, loaded.points(), draw)


def plot_bar(
    context: Context,
    data: Inline | Groups,
    save_as: FilePath,
    layout: Literal["grouped", "stacked", "horizontal"] = "grouped",
    sort: Literal["none", "ascending", "descending"] = "none",
    style: Style | None = None,
    show: bool = False,
) -> Chart:
    """Draw a bar chart.

    Args:
        data: series written out, or groups of the rows of a CSV or TSV file
        save_as: .png or .svg file to write
        layout: series side by side, stacked, or as horizontal bars
        sort: order of the groups by their sum
        style: title, labels, size in pixels, scales
        show: show the picture as well

    Example:
        {"data": {"labels": ["A", "B"], "series": [{"name": "x", "values": [1, 2]}, {"name": "y", "values": [3, 1]}]},
         "layout": "stacked", "save_as": "plots/bar.png"}
        {"data": {"path": "data/sales.csv", "group": "region", "value": "units", "split": "product"},
         "save_as": "plots/units.png"}
    """
    loaded, look = load(context, data), style or Style()
    if sort != "none":
        sums = [math.fsum(v[at] for _, v in loaded.series if math.isfinite(v[at])) for at in range(len(loaded.labels))]
        order = sorted(range(len(sums)), key=sums.__getitem__, reverse=sort == "descending")
        loaded.labels = [loaded.labels[at] for at in order]
        loaded.series = [(name, [values[at] for at in order]) for name, values in loaded.series]

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        draw_bars(axes, loaded, layout)
        decorate(axes, look, len(loaded.series))

    return draw_chart(context, save_as, look, show, loaded.points(), draw)


def plot_scatter(
    context: Context,
    data: Annotated[list[Points], Len(1, 12)] | PointTable,
    save_as: FilePath,
    trend: bool = False,
    style: Style | None = None,
    show: bool = False,
) -> dict[str, Any]:
    """Draw points, with a straight trend line if wanted.

    Args:
        data: lists of x and y, or two columns of a CSV or TSV file
        save_as: .png or .svg file to write
        trend: fit a line to all points
        style: title, labels, size in pixels, scales
        show: show the picture as well

    Example:
        {"data": [{"x": [1, 2, 3], "y": [2, 4, 5]}], "save_as": "plots/points.png", "trend": true}
        {"data": {"path": "data/survey.csv", "x": "age", "y": "score_before", "group": "group"},
         "save_as": "plots/survey.png"}
    """
    clouds, look = _clouds(context, data), style or Style()
    xs, ys = [x for cloud in clouds for x in cloud[1]], [y for cloud in clouds for y in cloud[2]]
    line = _fit(xs, ys) if trend else None

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        draw_points(axes, clouds)
        if line is not None:
            ends = [min(xs), max(xs)]
            axes.plot(ends, [line[0] + line[1] * x for x in ends], color="black", linewidth=1)
        decorate(axes, look, len(clouds))

    chart = draw_chart(context, save_as, look, show, len(xs), draw)
    return {**chart, "trend": {"intercept": round(line[0], 6), "slope": round(line[1], 6)}} if line else {**chart}


def plot_pie(
    context: Context,
    data: dict[str, Number] | Groups,
    save_as: FilePath,
    donut: bool = False,
    style: Style | None = None,
    show: bool = False,
) -> dict[str, Any]:
    """Draw shares of a whole.

    Args:
        data: numbers by name, or groups of the rows of a CSV or TSV file
        save_as: .png or .svg file to write
        donut: leave the middle free
        style: title, size in pixels
        show: show the picture as well

    Example:
        {"data": {"gas": 40, "wind": 35, "coal": 25}, "save_as": "plots/mix.png", "donut": true}
        {"data": {"path": "data/customers.csv", "group": "segment"}, "save_as": "plots/segments.png"}
    """
    look = style or Style()
    if "group" in data and "path" in data and isinstance(data["path"], str):
        loaded = load(context, cast(Groups, data))
        shares = dict(zip(map(str, loaded.labels), loaded.series[0][1]))
    else:
        shares = {str(name): float(value) for name, value in cast(dict[str, float], data).items()}
    total = math.fsum(shares.values())
    if not 0 < len(shares) <= 30 or min(shares.values()) < 0 or total <= 0:
        raise ToolError("bad_arguments", "data: give 1 to 30 numbers of 0 and more, not all of them 0")

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        ring = {"width": 0.4} if donut else {}
        names = [clean(name)[:30] for name in shares]
        axes.pie(list(shares.values()), labels=names, autopct="%.1f%%", wedgeprops=ring, colors=COLORS)
        axes.set_title(clean(look.get("title", ""), "style.title"))

    chart = draw_chart(context, save_as, look, show, len(shares), draw)
    return {**chart, "shares": {name[:60]: round(value / total, 6) for name, value in shares.items()}}


def _clouds(context: Context, data: list[Points] | PointTable) -> list[tuple[str, list[float], list[float]]]:
    """Name, x and y of the points of each colour."""
    if isinstance(data, list):
        for number, points in enumerate(data):
            if len(points["x"]) != len(points["y"]):
                raise ToolError("bad_arguments", f"data[{number}]: {len(points['x'])} x but {len(points['y'])} y")
        return [(clean(points.get("name", "")), points["x"], points["y"]) for points in data]
    columns = [data["x"], data["y"], *([data["group"]] if "group" in data else [])]
    rows = read_rows(context, data["path"], columns)
    clouds: dict[str, tuple[list[float], list[float]]] = {}
    for row, x, y in zip(rows, numbers(rows, data["x"]), numbers(rows, data["y"])):
        if math.isfinite(x) and math.isfinite(y):
            cloud = clouds.setdefault(row[data["group"]] if "group" in data else "", ([], []))
            cloud[0].append(x)
            cloud[1].append(y)
    if not 0 < len(clouds) <= 12:
        raise ToolError("limit", f"data.group: {len(clouds)} groups; from 1 to 12 are drawn")
    return [(clean(name), *cloud) for name, cloud in sorted(clouds.items())]


def _fit(xs: list[float], ys: list[float]) -> tuple[float, float]:
    """Intercept and slope of the line with the least squares."""
    mean_x, mean_y = math.fsum(xs) / len(xs), math.fsum(ys) / len(ys)
    spread = math.fsum((x - mean_x) ** 2 for x in xs)
    if spread == 0:
        raise ToolError("bad_arguments", "trend: a line needs points with different x")
    slope = math.fsum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys)) / spread
    return mean_y - slope * mean_x, slope
