"""Charts over time: series with a rolling mean, and schedules."""

import datetime
import math
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.tools.plots._shared import (
    COLORS,
    Column,
    FilePath,
    Number,
    Style,
    Text,
    decorate,
    draw_chart,
    numbers,
    put_labels,
    read_rows,
)
from toolwright.words import shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Day = Annotated[str, Len(10, 25)]


class TimePoint(TypedDict):
    """A value at a day or moment, such as 2025-03-14 or 2025-03-14T08:00."""

    time: Day
    value: Number


class TimeColumns(TypedDict):
    """Two columns of a CSV or TSV file."""

    path: FilePath
    time: Column
    value: Column


class Task(TypedDict):
    """A bar of a schedule: from a day to the end of another, or for some days."""

    name: Text
    start: Day
    end: NotRequired[Day]
    days: NotRequired[Annotated[int, Ge(1), Le(3000)]]
    group: NotRequired[Text]
    done: NotRequired[Annotated[float, Ge(0), Le(1)]]


def plot_time_series(
    context: Context,
    data: Annotated[list[TimePoint], Len(2, 2000)] | TimeColumns,
    save_as: FilePath,
    window: Annotated[int, Ge(1), Le(500)] = 1,
    every: Literal["value", "day", "week", "month"] = "value",
    style: Style | None = None,
    show: bool = False,
) -> dict[str, Any]:
    """Draw values over time, with a rolling mean if wanted.

    Args:
        data: points, or two columns of a CSV or TSV file
        save_as: .png or .svg file to write
        window: values in the rolling mean, 1 for none
        every: draw each value, or the mean of each day, week or month
        style: title, labels, size in pixels, scales
        show: show the picture as well

    Example:
        {"data": {"path": "data/sensors.csv", "time": "time", "value": "temperature"}, "window": 24,
         "save_as": "plots/temperature.png"}
        {"data": [{"time": "2025-03-01", "value": 3}, {"time": "2025-03-02", "value": 5}], "save_as": "plots/two.png"}
    """
    look, points = style or Style(), _per_period(_time_points(context, data), every)
    times, values = [time for time, _ in points], [value for _, value in points]
    means = [math.fsum(values[at + 1 - window : at + 1]) / window for at in range(window - 1, len(values))]

    def draw(figure: "Figure") -> None:
        axes: Any = figure.add_subplot()
        axes.plot(times, values, color=COLORS[0], label="value", alpha=1 if window == 1 else 0.4)
        if window > 1 and means:
            axes.plot(times[window - 1 :], means, color=COLORS[1], label=f"mean of {window}")
        axes.tick_params(axis="x", rotation=30)
        decorate(axes, look, window)

    chart = draw_chart(context, save_as, look, show, len(values), draw)
    return {**chart, "first": times[0].isoformat(), "last": times[-1].isoformat(), "means": len(means)}


def plot_gantt(
    context: Context,
    tasks: Annotated[list[Task], Len(1, 60)],
    save_as: FilePath,
    today: Day | None = None,
    style: Style | None = None,
    show: bool = False,
) -> dict[str, Any]:
    """Draw a schedule of tasks as bars.

    Args:
        tasks: with start day and either end day or number of days
        save_as: .png or .svg file to write
        today: day to mark with a line
        style: title, size in pixels
        show: show the picture as well

    Example:
        {"tasks": [{"name": "Design", "start": "2025-03-03", "end": "2025-03-14", "done": 0.5},
         {"name": "Build", "start": "2025-03-17", "days": 10, "group": "works"}], "save_as": "plots/plan.png",
         "today": "2025-03-17"}
    """
    spans, look = [_span(task, f"tasks[{number}]") for number, task in enumerate(tasks)], style or Style()
    mark = _moment(today, "today") if today is not None else None
    groups = sorted({task.get("group", "") for task in tasks})

    def draw(figure: "Figure") -> None:
        axes: Any = figure.add_subplot()
        places = [float(place) for place in range(len(tasks))]
        for place, task, (first, last) in zip(places, tasks, spans):
            color, done = COLORS[groups.index(task.get("group", "")) % 10], task.get("done", 0.0)
            axes.barh(place, last - first, left=first, color=color, alpha=0.6, height=0.6)
            if done > 0:
                axes.barh(place, (last - first) * done, left=first, color=color, height=0.3)
        if mark is not None:
            axes.axvline(mark, color="black", linestyle="--")
        axes.xaxis_date()
        put_labels(axes, [task["name"] for task in tasks], places, vertical=True)
        axes.invert_yaxis()
        axes.tick_params(axis="x", rotation=30)
        decorate(axes, look)

    chart = draw_chart(context, save_as, look, show, len(tasks), draw)
    first, last = min(start for start, _ in spans), max(end for _, end in spans) - datetime.timedelta(days=1)
    return {**chart, "first_day": first.date().isoformat(), "last_day": last.date().isoformat()}


def _time_points(context: Context, data: list[TimePoint] | TimeColumns) -> list[tuple[datetime.datetime, float]]:
    """Moments and values in the order of time."""
    if isinstance(data, list):
        return sorted((_moment(point["time"], f"data[{n}].time"), point["value"]) for n, point in enumerate(data))
    rows = read_rows(context, data["path"], [data["time"], data["value"]])
    values = numbers(rows, data["value"])
    found = [
        (_moment(row[data["time"]], f"data.time, row {line}"), value)
        for line, (row, value) in enumerate(zip(rows, values), 2)
        if math.isfinite(value)
    ]
    return sorted(found)


def _per_period(points: list[tuple[datetime.datetime, float]], every: str) -> list[tuple[datetime.datetime, float]]:
    """The mean of each day, week (from Monday) or month."""
    if every == "value":
        return points
    periods: dict[datetime.datetime, list[float]] = {}
    for moment, value in points:
        day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
        back = {"day": 0, "week": day.weekday(), "month": day.day - 1}[every]
        periods.setdefault(day - datetime.timedelta(days=back), []).append(value)
    return [(day, math.fsum(values) / len(values)) for day, values in periods.items()]


def _span(task: Task, where: str) -> tuple[datetime.datetime, datetime.datetime]:
    """First moment of a task and the one after its last."""
    if ("end" in task) == ("days" in task):
        raise ToolError("bad_arguments", f"{where}: give either end or days")
    start = _moment(task["start"], f"{where}.start")
    if "days" in task:
        return start, start + datetime.timedelta(days=task["days"])
    end = _moment(task["end"], f"{where}.end")
    if end < start:
        raise ToolError("bad_arguments", f"{where}.end: {task['end']} is before the start {task['start']}")
    return start, end + datetime.timedelta(days=1)


def _moment(text: str, parameter: str) -> datetime.datetime:
    try:
        moment = datetime.datetime.fromisoformat(text.strip()).replace(tzinfo=None)
    except ValueError:
        raise ToolError("bad_arguments", f"{parameter}: {shorten(text, 30)} is no day such as 2025-03-14") from None
    if not 1900 <= moment.year <= 2200:
        raise ToolError("bad_arguments", f"{parameter}: the year {moment.year} must lie between 1900 and 2200")
    return moment
