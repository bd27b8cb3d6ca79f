"""What the chart tools share: data given inline or as a table file, style, and pictures that are the same each time."""

import csv
import io
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired, cast

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.formats import encode
from toolwright.words import nearest, shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_ROWS = 20_000
MAX_MAGNITUDE = 1e12
COLORS = ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"]

Number = Annotated[float, Ge(-1e12), Le(1e12)]
FilePath = Annotated[str, Len(1, 200)]
Column = Annotated[str, Len(1, 100)]
Text = Annotated[str, Len(0, 120)]
Aggregate = Literal["sum", "mean", "count", "min", "max"]
Values = list[float]
"""Numbers; NaN where there is none."""
Labels = Sequence[str | float]


class Series(TypedDict):
    """Numbers with a name."""

    name: Text
    values: Annotated[list[Number], Len(1, 2000)]


class Inline(TypedDict):
    """Series written out; labels are what stands on the x axis."""

    series: Annotated[list[Series], Len(1, 12)]
    labels: NotRequired[Annotated[list[Text | Number], Len(1, 2000)]]


class Table(TypedDict):
    """Columns of a CSV or TSV file; each is a series, x names the column of the x axis."""

    path: FilePath
    columns: Annotated[list[Column], Len(1, 12)]
    x: NotRequired[Column]


class Groups(TypedDict):
    """Values of a CSV or TSV file put together by a column; split makes one series for each of its values."""

    path: FilePath
    group: Column
    value: NotRequired[Column]
    aggregate: NotRequired[Aggregate]
    split: NotRequired[Column]


class Style(TypedDict):
    """How the chart looks; sizes in pixels."""

    title: NotRequired[Text]
    x_label: NotRequired[Text]
    y_label: NotRequired[Text]
    width: NotRequired[Annotated[int, Ge(200), Le(1600)]]
    height: NotRequired[Annotated[int, Ge(150), Le(1200)]]
    grid: NotRequired[bool]
    legend: NotRequired[bool]
    log_scale: NotRequired[Literal["x", "y", "both"]]


class Chart(TypedDict):
    """A chart that was written."""

    path: str
    format: str
    points: int
    bytes: int


class Loaded:
    """Series with one value for each label.

    Attributes:
        labels: of the x axis; numbers when all of them are.
        series: name and values; NaN where there is none.
    """

    def __init__(self, labels: Labels | None, series: Sequence[tuple[str, Values]]) -> None:
        longest = max(len(values) for _, values in series)
        self.labels = list(labels) if labels is not None else list(range(1, longest + 1))
        self.series = [(clean(name), values) for name, values in series]

    def places(self) -> list[float]:
        """Where the values stand on the x axis: at the labels when they are numbers, otherwise 0, 1, 2 …"""
        if all(isinstance(label, int | float) for label in self.labels):
            return [float(label) for label in self.labels]
        return [float(place) for place in range(len(self.labels))]

    def points(self) -> int:
        """How many numbers there are."""
        return sum(1 for _, values in self.series for value in values if math.isfinite(value))


def load(context: Context, data: Inline | Table | Groups, parameter: str = "data") -> Loaded:
    """The series of a chart, given inline, as columns of a file or as groups of its rows.

    Raises:
        ToolError: no such file or column, no numbers, or series and labels of different length.
    """
    if "series" in data:
        return _inline(cast(Inline, data), parameter)
    if "columns" in data:
        return _columns(context, cast(Table, data), parameter)
    return _grouped(context, data, parameter)


def _inline(data: Inline, parameter: str) -> Loaded:
    labels, longest = data.get("labels"), max(len(series["values"]) for series in data["series"])
    for number, series in enumerate(data["series"]):
        if len(series["values"]) != (longest if labels is None else len(labels)):
            wanted = f"{longest} values like the longest" if labels is None else f"{len(labels)} values like labels"
            raise ToolError(
                "bad_arguments", f"{parameter}.series[{number}]: {len(series['values'])} values, not {wanted}"
            )
    return Loaded(labels, [(series["name"], series["values"]) for series in data["series"]])


def _columns(context: Context, data: Table, parameter: str) -> Loaded:
    rows = read_rows(context, data["path"], [*data["columns"], *([data["x"]] if "x" in data else [])], parameter)
    labels = as_labels([row[data["x"]] for row in rows]) if "x" in data else None
    return Loaded(labels, [(name, numbers(rows, name, parameter)) for name in data["columns"]])


def _grouped(context: Context, data: Groups, parameter: str) -> Loaded:
    kind = data.get("aggregate", "sum" if "value" in data else "count")
    if "value" not in data and kind != "count":
        raise ToolError("bad_arguments", f"{parameter}.value: name the column to take the {kind} of")
    wanted = [data[key] for key in ("group", "value", "split") if key in data]
    rows = read_rows(context, data["path"], wanted, parameter)
    values = numbers(rows, data["value"], parameter) if "value" in data else [1.0] * len(rows)
    cells: dict[tuple[str, str], Values] = {}
    for row, value in zip(rows, values):
        if math.isfinite(value):
            cells.setdefault((row[data["group"]], row[data["split"]] if "split" in data else ""), []).append(value)
    groups, splits = sorted({key[0] for key in cells}), sorted({key[1] for key in cells})
    if not cells or len(groups) > 200 or len(splits) > 12:
        raise ToolError(
            "limit", f"{parameter}: {len(groups)} groups and {len(splits)} series; from 1 up to 200 and 12 are drawn"
        )
    name = data.get("value", "rows")
    return Loaded(
        as_labels(groups),
        [(split or name, [aggregate(cells.get((group, split), []), kind) for group in groups]) for split in splits],
    )


def aggregate(values: Values, kind: Aggregate) -> float:
    """One number for several; NaN for none."""
    if kind == "count":
        return float(len(values))
    if not values:
        return math.nan
    if kind in ("sum", "mean"):
        return math.fsum(values) / (len(values) if kind == "mean" else 1)
    return min(values) if kind == "min" else max(values)


def read_rows(context: Context, path: str, columns: Sequence[str], parameter: str = "data") -> list[dict[str, str]]:
    """The rows of a CSV or TSV file by column.

    Raises:
        ToolError: no such file or column, no rows, or too many.
    """
    text = context.files.read_text(path, f"{parameter}.path").removeprefix("\ufeff")
    suffix = PurePosixPath(path).suffix.lower()
    if suffix not in (".csv", ".tsv"):
        raise ToolError("bad_arguments", f"{parameter}.path: {path!r} must end in .csv or .tsv")
    try:
        table = list(csv.reader(io.StringIO(text), delimiter="\t" if suffix == ".tsv" else ","))
    except csv.Error as error:
        raise ToolError("tool_error", f"{parameter}.path: {path!r} is no table ({error})") from None
    header, rows = table[0] if table else [], [row for row in table[1:] if any(row)]
    for column in columns:
        if column not in header:
            raise ToolError("bad_arguments", f"{parameter}: no column {column!r} in {path!r}{nearest(column, header)}")
    if not 0 < len(rows) <= MAX_ROWS:
        raise ToolError("limit", f"{parameter}.path: {path!r} has {len(rows)} rows; from 1 to {MAX_ROWS} are drawn")
    places = {column: header.index(column) for column in columns}
    return [{c: row[place].strip() if place < len(row) else "" for c, place in places.items()} for row in rows]


def numbers(rows: Sequence[dict[str, str]], column: str, parameter: str = "data") -> Values:
    """The numbers of a column; empty cells are NaN.

    Raises:
        ToolError: a cell that is no number, or all are empty.
    """
    found = []
    for line, row in enumerate(rows, 2):
        value = to_number(row[column]) if row[column] else math.nan
        if value is None:
            raise ToolError(
                "tool_error", f"{parameter}: column {column!r} has {shorten(row[column], 30)} in row {line}, no number"
            )
        found.append(value)
    if not any(math.isfinite(value) for value in found):
        raise ToolError("tool_error", f"{parameter}: column {column!r} has no numbers")
    return found


def to_number(text: str) -> float | None:
    """A number of reasonable size, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) <= MAX_MAGNITUDE else None


def as_labels(texts: Sequence[str]) -> Labels:
    """Numbers when all texts are, otherwise the texts."""
    values = [to_number(text) for text in texts]
    return texts if any(value is None for value in values) else [value for value in values if value is not None]


def clean(text: str, parameter: str = "data") -> str:
    """A text for a chart: one line, no mathematics between dollar signs.

    Raises:
        ToolError: ``bad_arguments`` when half a character is in it.
    """
    encode(text, parameter)
    return "".join(letter if letter.isprintable() else " " for letter in text).replace("$", r"\$")


def put_labels(axes: Any, labels: Labels, places: Sequence[float], *, vertical: bool = False) -> None:
    """Write text labels at their places, about twelve of them; numbers are left to matplotlib."""
    if all(isinstance(label, int | float) for label in labels) and not vertical:
        return
    step = 1 if vertical else max(1, math.ceil(len(labels) / 12))
    texts = [clean(f"{label:g}" if isinstance(label, float) else str(label))[:30] for label in labels]
    if vertical:
        axes.set_yticks(places, texts)
    else:
        slanted = sum(map(len, texts[::step])) > 60
        rotation = {"rotation": 45, "ha": "right"} if slanted else {}
        axes.set_xticks(places[::step], texts[::step], **rotation)


def decorate(axes: Any, style: Style, series: int = 1) -> None:
    """Title, labels, grid, scales and legend."""
    axes.set_title(clean(style.get("title", ""), "style.title"))
    if "x_label" in style:
        axes.set_xlabel(clean(style["x_label"], "style.x_label"))
    if "y_label" in style:
        axes.set_ylabel(clean(style["y_label"], "style.y_label"))
    axes.grid(style.get("grid", False))
    scale = style.get("log_scale", "")
    if scale in ("x", "both"):
        axes.set_xscale("log")
    if scale in ("y", "both"):
        axes.set_yscale("log")
    if style.get("legend", series > 1) and axes.get_legend_handles_labels()[0]:
        axes.legend()


def draw_chart(
    context: Context, save_as: str, style: Style, show: bool, points: int, draw: Callable[["Figure"], None]
) -> Chart:
    """Draw a figure, write it as PNG or SVG, and show it when asked.

    Raises:
        ToolError: another ending, or what cannot be drawn.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kind = PurePosixPath(save_as).suffix.lower().removeprefix(".")
    if kind not in ("png", "svg"):
        raise ToolError("bad_arguments", f"save_as: {shorten(save_as, 60)} must end in .png or .svg")
    settings = {"svg.hashsalt": "toolwright", "font.family": "DejaVu Sans", "axes.formatter.use_mathtext": False}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        size = style.get("width", 800) / 100, style.get("height", 500) / 100
        figure = Figure(figsize=size, dpi=100, layout="constrained")
        FigureCanvasAgg(figure)
        try:
            draw(figure)
            content = _render(figure, kind)
            shown = content if kind == "png" else _render(figure, "png") if show else b""
        except (ArithmeticError, ValueError, RuntimeError, MemoryError) as error:
            raise ToolError("tool_error", f"this cannot be drawn ({shorten(str(error), 90)})") from None
    context.files.write(save_as, content, "save_as")
    if show:
        context.show(shown)
    return Chart(path=save_as, format=kind, points=points, bytes=len(content))


def _render(figure: "Figure", kind: str) -> bytes:
    buffer = io.BytesIO()
    metadata = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
    figure.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()
