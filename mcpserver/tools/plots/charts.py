"""Charts of other kinds: heat maps, correlations, functions, and several charts in one figure."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired, cast

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.tools.plots._axes import draw_bars, draw_histogram, draw_lines
from mcpserver.tools.plots._expression import evaluate_at
from mcpserver.tools.plots._shared import (
    COLORS,
    Aggregate,
    Chart,
    Column,
    FilePath,
    Groups,
    Inline,
    Loaded,
    Number,
    Style,
    Table,
    Text,
    aggregate,
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

Names = Annotated[list[Text], Len(1, 60)]
Row = Annotated[list[Number], Len(1, 60)]


class Matrix(TypedDict):
    """Numbers in rows and columns."""

    rows: Names
    columns: Names
    values: Annotated[list[Row], Len(1, 60)]


class Pivot(TypedDict):
    """Values of a CSV or TSV file put together by two columns."""

    path: FilePath
    row: Column
    column: Column
    value: NotRequired[Column]
    aggregate: NotRequired[Aggregate]


class Panel(TypedDict):
    """One chart of a figure."""

    kind: Literal["line", "bar", "histogram"]
    data: Inline | Table | Groups
    title: NotRequired[Text]


def plot_heatmap(
    context: Context,
    data: Matrix | Pivot,
    save_as: FilePath,
    annotate: bool = True,
    colors: Literal["viridis", "coolwarm", "Blues", "Greys"] = "viridis",
    style: Style | None = None,
    show: bool = False,
) -> Chart:
    """Draw numbers in rows and columns as colours.

    Args:
        data: a matrix, or values of a CSV or TSV file by two of its columns
        save_as: .png or .svg file to write
        annotate: write the numbers into the cells
        colors: scale of colours
        style: title, labels, size in pixels
        show: show the picture as well

    Example:
        {"data": {"rows": ["a", "b"], "columns": ["x", "y"], "values": [[1, 2], [3, 4]]}, "save_as": "plots/heat.png"}
        {"data": {"path": "data/sales.csv", "row": "region", "column": "product", "value": "units"},
         "save_as": "plots/sales.png", "colors": "Blues"}
    """
    matrix, look = _pivot(context, cast(Pivot, data)) if "path" in data else data, style or Style()
    draw = _heat(matrix, annotate, colors, look)
    return draw_chart(context, save_as, look, show, sum(map(len, matrix["values"])), draw)


def plot_correlation(
    context: Context, data: Table, save_as: FilePath, style: Style | None = None, show: bool = False
) -> dict[str, Any]:
    """Draw how the columns of a table go together (Pearson correlation).

    Args:
        data: two or more columns of a CSV or TSV file; rows with empty cells do not count
        save_as: .png or .svg file to write
        style: title, size in pixels
        show: show the picture as well

    Example:
        {"data": {"path": "data/sensors.csv", "columns": ["temperature", "humidity", "pressure"]},
         "save_as": "plots/correlation.png"}
    """
    loaded, look = load(context, data), style or Style()
    rows = [row for row in zip(*(values for _, values in loaded.series)) if all(map(math.isfinite, row))]
    if len(loaded.series) < 2 or len(rows) < 3:
        raise ToolError("bad_arguments", f"data.columns: give two or more with 3 complete rows; there are {len(rows)}")
    columns = [list(column) for column in zip(*rows)]
    values = [[_correlation(first, second) for second in columns] for first in columns]
    matrix = Matrix(rows=data["columns"], columns=data["columns"], values=values)
    chart = draw_chart(context, save_as, look, show, len(rows), _heat(matrix, True, "coolwarm", look, (-1, 1)))
    return {**chart, "columns": data["columns"], "correlation": [[round(value, 4) for value in row] for row in values]}


def plot_function(
    context: Context,
    expressions: Annotated[list[Annotated[str, Len(1, 200)]], Len(1, 6)],
    save_as: FilePath,
    start: Number = -10,
    end: Number = 10,
    style: Style | None = None,
    show: bool = False,
) -> Chart:
    """Draw functions of x.

    Args:
        expressions: such as sin(x)/x or x**2 - 3
        save_as: .png or .svg file to write
        start: smallest x
        end: largest x
        style: title, labels, size in pixels, scales
        show: show the picture as well

    Example:
        {"expressions": ["x**2 - 3", "sin(x)"], "start": -3, "end": 3, "save_as": "plots/curves.png"}
    """
    import numpy as np

    if not start < end:
        raise ToolError("bad_arguments", f"end: {end} must be larger than start {start}")
    look, xs = style or Style(), np.linspace(start, end, 801)
    curves = [evaluate_at(text, xs, f"expressions[{number}]") for number, text in enumerate(expressions)]
    for number, curve in enumerate(curves):
        if not np.isfinite(curve).any():
            raise ToolError("bad_arguments", f"expressions[{number}]: has no value between {start} and {end}")

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        for number, curve in enumerate(curves):
            axes.plot(xs, curve, color=COLORS[number], label=clean(expressions[number], "expressions"))
        decorate(axes, cast(Style, {"legend": True, "grid": True, **look}))

    return draw_chart(context, save_as, look, show, sum(int(np.isfinite(curve).sum()) for curve in curves), draw)


def plot_panels(
    context: Context,
    panels: Annotated[list[Panel], Len(1, 9)],
    save_as: FilePath,
    columns: Annotated[int, Ge(1), Le(3)] = 2,
    style: Style | None = None,
    show: bool = False,
) -> Chart:
    """Draw several charts in one figure.

    Args:
        panels: kind and data of each chart
        save_as: .png or .svg file to write
        columns: charts side by side
        style: title and size in pixels of the figure
        show: show the picture as well

    Example:
        {"panels": [{"kind": "bar", "data": {"path": "data/sales.csv", "group": "region", "value": "units"}},
         {"kind": "line", "title": "Trend", "data": {"series": [{"name": "a", "values": [1, 3, 2]}]}}],
         "save_as": "plots/panels.png"}
    """
    look = style or Style()
    loaded = [load(context, panel["data"], f"panels[{number}].data") for number, panel in enumerate(panels)]
    across = min(columns, len(panels))

    def draw(figure: "Figure") -> None:
        figure.suptitle(clean(look.get("title", ""), "style.title"))
        for number, (panel, series) in enumerate(zip(panels, loaded)):
            axes = figure.add_subplot(-(-len(panels) // across), across, number + 1)
            drawing: dict[str, Callable[[Any, Loaded], object]] = {
                "line": draw_lines,
                "bar": draw_bars,
                "histogram": draw_histogram,
            }
            drawing[panel["kind"]](axes, series)
            decorate(axes, Style(title=panel.get("title", "")), len(series.series))

    return draw_chart(context, save_as, look, show, sum(series.points() for series in loaded), draw)


def _pivot(context: Context, data: Pivot) -> Matrix:
    kind = data.get("aggregate", "sum" if "value" in data else "count")
    if "value" not in data and kind != "count":
        raise ToolError("bad_arguments", f"data.value: name the column to take the {kind} of")
    columns = [data["row"], data["column"], *([data["value"]] if "value" in data else [])]
    table = read_rows(context, data["path"], columns)
    values = numbers(table, data["value"]) if "value" in data else [1.0] * len(table)
    cells: dict[tuple[str, str], list[float]] = {}
    for row, value in zip(table, values):
        if math.isfinite(value):
            cells.setdefault((row[data["row"]], row[data["column"]]), []).append(value)
    across, down = sorted({key[1] for key in cells}), sorted({key[0] for key in cells})
    if len(across) > 60 or len(down) > 60:
        raise ToolError("limit", f"data: {len(down)} rows and {len(across)} columns; at most 60 of each are drawn")
    filled = [[aggregate(cells.get((row, column), []), kind) for column in across] for row in down]
    return Matrix(rows=down, columns=across, values=filled)


def _heat(
    matrix: Matrix, annotate: bool, colors: str, look: Style, ends: tuple[float, float] | None = None
) -> Callable[["Figure"], None]:
    rows, columns, values = matrix["rows"], matrix["columns"], matrix["values"]
    if len(values) != len(rows) or any(len(row) != len(columns) for row in values):
        raise ToolError("bad_arguments", f"data.values: must have {len(rows)} rows of {len(columns)} numbers")

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        low, high = ends or (None, None)
        picture = axes.imshow(values, cmap=colors, vmin=low, vmax=high, aspect="auto")
        figure.colorbar(picture)
        put_labels(axes, rows, [float(place) for place in range(len(rows))], vertical=True)
        put_labels(axes, columns, [float(place) for place in range(len(columns))])
        if annotate and len(rows) * len(columns) <= 200:
            for at, row in enumerate(values):
                for place, value in enumerate(row):
                    text = "" if math.isnan(value) else f"{value:.4g}"
                    axes.text(place, at, text, ha="center", va="center", fontsize=8, backgroundcolor="#ffffff80")
        decorate(axes, look)

    return draw


def _correlation(first: list[float], second: list[float]) -> float:
    mean_a, mean_b = math.fsum(first) / len(first), math.fsum(second) / len(second)
    both = math.fsum((a - mean_a) * (b - mean_b) for a, b in zip(first, second))
    spread = math.fsum((a - mean_a) ** 2 for a in first) * math.fsum((b - mean_b) ** 2 for b in second)
    if spread <= 0:
        raise ToolError("tool_error", "data.columns: a column whose values are all the same correlates with nothing")
    return max(-1.0, min(1.0, both / math.sqrt(spread)))
