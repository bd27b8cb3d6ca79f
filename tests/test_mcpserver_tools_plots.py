import io
import math
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tool_calls import World
from tool_fuzz import functions, refusals

from mcpserver.catalogue import make_tool
from mcpserver.tool_error import ToolError
from mcpserver.tools.plots import charts, distributions, plots, timelines

MODULES = (plots, distributions, charts, timelines)


def tables() -> dict[str, bytes]:
    sales = ["order_id,date,region,product,units"]
    sales += [f"{n},2024-{n % 12 + 1:02}-10,{'NSEW'[n % 4]},{('Pump', 'Valve')[n % 2]},{n % 7}" for n in range(40)]
    sensors = ["time,station,temperature,humidity,pressure"]
    sensors += [
        f"2025-03-{1 + n // 24:02}T{n % 24:02}:00,A,{n % 9},{'' if n == 5 else 80 - n % 9},{n * 7 % 13}"
        for n in range(60)
    ]
    survey = ["respondent,age,gender,group,score_before,score_after"]
    survey += [f"{n},{20 + n},f,{('control', 'treatment')[n % 2]},{50 + n},{52 + 2 * n}" for n in range(12)]
    files = {
        "data/sales.csv": sales,
        "data/sensors.csv": sensors,
        "data/survey.csv": survey,
        "data/employees.csv": ["id,department,salary", "1,HR,100", "2,HR,120", "3,IT,90", "4,IT,"],
        "data/customers.csv": ["customer_id,segment", "1,large", "2,small", "3,small"],
        "data/bad.csv": ["a,b", "1,x", "2,1e400"],
        "data/empty.csv": [],
    }
    return {f"files/{name}": "\n".join(lines).encode() for name, lines in files.items()}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, tables())


@pytest.mark.parametrize("function", functions(*MODULES), ids=lambda f: f.__name__)
def test_examples_work_and_draw_the_same_bytes_twice(function: Any, tmp_path: Path) -> None:
    for number, example in enumerate(make_tool(function, "test").examples):
        outcomes = []
        for turn in "ab":
            world = World(tmp_path / f"{number}{turn}", tables())
            outcomes.append((world.call(function, **example), world.workspace.hashes()))
        assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("function", functions(*MODULES), ids=lambda f: f.__name__)
def test_random_arguments_end_in_a_chart_or_a_typed_refusal(function: Any, world: World) -> None:
    refusals(world, function, 5, [name.removeprefix("files/") for name in tables()])


def inline(*values: float) -> dict[str, Any]:
    return {"series": [{"name": "a", "values": list(values)}]}


def test_a_chart_has_the_size_asked_for_and_is_shown_when_asked(world: World) -> None:
    style = {"width": 300, "height": 200, "title": "Costs in $ and $$ <b>"}
    made = world.call(plots.plot_line, data=inline(1, 2), save_as="a.svg", style=style, show=True)
    assert made["points"] == 2
    assert Image.open(io.BytesIO(world.pictures[0].content)).size == (300, 200)
    svg = world.workspace.read_text("a.svg")
    assert "<svg" in svg
    assert "dc:date" not in svg
    world.call(plots.plot_line, data=inline(1, 2), save_as="a.png", style=style)
    assert world.pictures == []
    assert Image.open(io.BytesIO(world.workspace.read_bytes("a.png"))).info.keys() <= {"dpi"}


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (plots.plot_line, {"data": inline(1), "save_as": "a.pdf"}, "must end in .png or .svg"),
        (plots.plot_line, {"data": {"path": "data/sales.csv", "columns": ["unit"]}}, 'did you mean "units"'),
        (plots.plot_line, {"data": {"path": "data/sales.csv", "columns": ["region"]}}, "'N' in row 2, no number"),
        (plots.plot_line, {"data": {"path": "data/bad.csv", "columns": ["b"]}}, "no number"),
        (plots.plot_line, {"data": {"path": "data/empty.csv", "columns": ["b"]}}, "no column"),
        (plots.plot_line, {"data": inline(1, 2) | {"labels": ["x"]}}, "2 values, not 1 values like labels"),
        (plots.plot_area, {"data": inline(-1, 2)}, "0 and more"),
        (plots.plot_pie, {"data": {"a": 0, "b": 0}}, "not all of them 0"),
        (plots.plot_bar, {"data": {"path": "data/sales.csv", "group": "region", "aggregate": "mean"}}, "data.value"),
        (plots.plot_scatter, {"data": [{"x": [1, 2], "y": [1]}]}, "2 x but 1 y"),
        (plots.plot_scatter, {"data": [{"x": [1, 1], "y": [1, 2]}], "trend": True}, "different x"),
        (charts.plot_heatmap, {"data": {"rows": ["a"], "columns": ["b"], "values": [[1, 2]]}}, "1 rows of 1"),
        (charts.plot_function, {"expressions": ["sinn(x)"]}, 'did you mean "sin"'),
        (charts.plot_function, {"expressions": ["__import__('os')"]}, "no function"),
        (charts.plot_function, {"expressions": ["x.real"]}, "not understood"),
        (charts.plot_function, {"expressions": ["log(-1)"]}, "has no value"),
        (charts.plot_function, {"expressions": ["x +"]}, "is no expression"),
        (charts.plot_function, {"expressions": ["x"], "start": 3, "end": 3}, "must be larger"),
        (timelines.plot_gantt, {"tasks": [{"name": "a", "start": "2025-03-01"}]}, "either end or days"),
        (timelines.plot_gantt, {"tasks": [{"name": "a", "start": "2025-03-0x", "days": 1}]}, "is no day"),
        (timelines.plot_gantt, {"tasks": [{"name": "a", "start": "2025-03-09", "end": "2025-03-01"}]}, "before"),
    ],
)
def test_what_cannot_be_drawn_is_named(function: Any, arguments: dict[str, Any], message: str, world: World) -> None:
    with pytest.raises(ToolError, match=message):
        world.call(function, **{"save_as": "a.png", **arguments})


def test_groups_of_rows_are_put_together(world: World) -> None:
    data = {"path": "data/sales.csv", "group": "region", "value": "units", "split": "product"}
    assert world.call(plots.plot_bar, data=data, save_as="a.png", sort="descending")["points"] == 4
    shares = world.call(plots.plot_pie, data={"path": "data/customers.csv", "group": "segment"}, save_as="p.png")[
        "shares"
    ]
    assert shares == {"large": pytest.approx(1 / 3, abs=1e-6), "small": pytest.approx(2 / 3, abs=1e-6)}


def test_the_figures_behind_a_chart_are_right(world: World) -> None:
    found = world.call(plots.plot_scatter, data=[{"x": [0, 1, 2], "y": [1, 3, 5]}], save_as="a.png", trend=True)
    assert found["trend"] == {"intercept": 1, "slope": 2}
    data = {"path": "data/survey.csv", "columns": ["score_before", "score_after"]}
    assert world.call(charts.plot_correlation, data=data, save_as="c.png")["correlation"] == [[1, 1], [1, 1]]
    counts = world.call(distributions.plot_histogram, data=inline(1, 1, 2, 3), bins=2, save_as="h.png")["counts"]
    assert counts == {"a": [2, 2]}
    sample = {"path": "data/survey.csv", "value": "score_before", "group": "group", "error": "sem"}
    first = world.call(distributions.plot_error_bars, data=sample, save_as="e.png")["values"][0]
    assert (first["label"], first["value"]) == ("control", 55)
    assert first["error"] == pytest.approx(math.sqrt(14) / math.sqrt(6), abs=1e-6)


def test_a_time_series_is_put_together_by_day(world: World) -> None:
    data = {"path": "data/sensors.csv", "time": "time", "value": "temperature"}
    made = world.call(timelines.plot_time_series, data=data, every="day", window=2, save_as="t.png")
    assert (made["points"], made["means"], made["first"]) == (3, 2, "2025-03-01T00:00:00")
    plan = world.call(timelines.plot_gantt, tasks=[{"name": "a", "start": "2025-03-03", "days": 5}], save_as="g.png")
    assert (plan["first_day"], plan["last_day"]) == ("2025-03-03", "2025-03-07")
