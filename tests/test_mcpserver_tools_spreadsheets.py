import io
import json
import zipfile

import openpyxl
import pytest
from tabular_world import files, random_calls, refusal, tools_of, workbooks
from tool_calls import World

from mcpserver.tools.tabular import spreadsheets
from mcpserver.tools.tabular.spreadsheets import (
    add_sheet,
    aggregate_range,
    change_sheet_lines,
    compare_sheets,
    copy_sheet,
    create_workbook,
    delete_sheet,
    evaluate_formulas,
    find_cells,
    list_sheets,
    order_sheets,
    read_range,
    rename_sheet,
    set_cells,
    stack_sheets,
    write_block,
)

BASE = files() | workbooks()
TOOLS = tools_of(spreadsheets)
BUDGET = "data/budget.xlsx"


@pytest.fixture
def world(tmp_path):
    return World(tmp_path, BASE)


def book_of(world, path=BUDGET):
    return openpyxl.load_workbook(io.BytesIO((world.workspace.files / path).read_bytes()))


def make(world, rows, path="t.xlsx", **more):
    world.call(create_workbook, output=path, sheets=[{"title": "t", "rows": rows}], **more)
    return path


@pytest.mark.parametrize("name", sorted(TOOLS))
def test_every_example_of_a_spreadsheet_tool_works(world, name):
    tool = TOOLS[name]
    assert tool.examples
    for example in tool.examples:
        result = World(world.workspace.root, BASE).call(tool, **example)
        assert len(json.dumps(result)) < 16_000


def test_sheets_are_listed_with_what_they_hold(world):
    first = world.call(list_sheets, path=BUDGET)["sheets"][0]
    assert first == {
        "title": "plan", "used": "A1:E4", "formulas": 0, "first_row": ["department", "q1", "q2", "q3", "q4"],
    }  # fmt: skip


def test_ranges_are_read_by_row(world):
    assert world.call(read_range, path=BUDGET, area="C4:B3") == {
        "sheet": "plan", "area": "B3:C4", "rows": [[11, 12], [21, 22]],
    }  # fmt: skip
    assert world.call(read_range, path=BUDGET, area="$e$4")["rows"] == [[24]]
    assert world.call(read_range, path=BUDGET, area="D4:G99")["area"] == "D4:E4"
    assert world.call(read_range, path=BUDGET)["rows"][0][0] == "department"
    make(world, [["x" * 300] * 10] * 500)
    shown = world.call(read_range, path="t.xlsx")
    assert len(json.dumps(shown)) < 16_000
    assert shown["next_row"] == 1 + len(shown["rows"])


@pytest.mark.parametrize(
    ("area", "kind"),
    [("", "bad_arguments"), ("1", "bad_arguments"),
     ("A0", "bad_arguments"), ("A1:B", "bad_arguments"), ("A:B", "bad_arguments"),
     ("AAA1", "limit"), ("A1:A1048576", "limit"), ("A99999999", "bad_arguments"), ("plan!A1", "bad_arguments")],
)  # fmt: skip
def test_what_is_no_range_is_refused(world, area, kind):
    assert refusal(world, read_range, path=BUDGET, area=area) == kind
    assert refusal(world, aggregate_range, path=BUDGET, area=area) == kind


def test_values_keep_their_kind_and_texts_never_become_formulas(world):
    cells = [
        {"cell": "A1", "value": "=1+1"}, {"cell": "a2", "value": 1.5}, {"cell": "A3", "value": True},
        {"cell": "A4", "value": None}, {"cell": "A5", "formula": "=A2*2"}, {"cell": "A6", "value": "a\x01b"},
        {"cell": "A7", "value": 10**18},
    ]  # fmt: skip
    make(world, [])
    done = world.call(set_cells, path="t.xlsx", cells=cells)
    assert done == {"written": "t.xlsx", "changed": 7, "results": {"A5": 3.0}}
    read = world.call(read_range, path="t.xlsx", area="A1:A7")["rows"]
    assert read == [["=1+1"], [1.5], [True], [None], [3.0], ["ab"], [str(10**18)]]
    assert world.call(read_range, path="t.xlsx", area="A5", show="formulas")["rows"] == [["=A2*2"]]
    assert book_of(world, "t.xlsx")["t"]["A1"].data_type == "s"
    assert world.call(evaluate_formulas, path="t.xlsx")["total"] == 1


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        ({"cell": "A1:B2", "value": 1}, "bad_arguments"),
        ({"cell": "x", "value": 1}, "bad_arguments"),
        ({"cell": "A1", "value": "x" * 40_000}, "limit"),
        ({"cell": "A1", "formula": "1+1"}, "bad_arguments"),
        ({"cell": "A1", "formula": "=cmd|' /C calc'!A0"}, "denied"),
        ({"cell": "A1", "formula": '=WEBSERVICE("http://x")'}, "denied"),
        ({"cell": "A1", "formula": "=[other.xlsx]Sheet1!A1"}, "denied"),
    ],
)
def test_cells_that_cannot_be_set_leave_the_file_as_it_is(world, cell, kind):
    before = (world.workspace.files / BUDGET).read_bytes()
    assert refusal(world, set_cells, path=BUDGET, cells=[{"cell": "A1", "value": 1}, cell]) == kind
    assert (world.workspace.files / BUDGET).read_bytes() == before


FORMULAS = [
    ("=1+2*3^2", 19.0),
    ("=-2^2", 4.0),
    ("=(1+2)*3-4/2", 7.0),
    ("=2^3^2", 64.0),
    ("=50%*4", 2.0),
    ("=SUM(A1:A3)", 6.0),
    ("=SUM(A1:A3,10,A1)", 17.0),
    ("=SUM(A1:B3)", 6.0),
    ("=AVERAGE(A1:A3)*2", 4.0),
    ("=MIN(A1:A9)+MAX(A1:A9)", 4.0),
    ("=COUNT(A1:B9)", 3.0),
    ("=COUNTA(A1:B3)", 6.0),
    ("=PRODUCT(A1:A3)", 6.0),
    ("=MEDIAN(A1:A3)", 2.0),
    ("=ROUND(2.345,2)", 2.35),
    ("=ROUND(-2.5,0)", -3.0),
    ("=ABS(A1-A3)", 2.0),
    ("=SQRT(16)", 4.0),
    ('=IF(A1<A2,"yes","no")', "yes"),
    ("=IF(A1>A2,1)", False),
    ('=B1&"-"&A2', "x-2"),
    ('=B1="X"', True),
    ("=A1<>1", False),
    ("='other sheet'!A1+t!A2", 42.0),
    ("=Z99+1", 1.0),
    ("=1/0", "#DIV/0!"),
    ("=AVERAGE(Z1:Z9)", "#DIV/0!"),
    ("=SQRT(-1)", "#NUM!"),
    ("=9^999", "#NUM!"),
    ("=10^308*10", "#NUM!"),
    ("=B1+1", "#VALUE!"),
    ("=A1:A3+1", "#VALUE!"),
    ("=VLOOKUP(1,A1:B3,2)", "#NAME?"),
    ("=nope!A1", "#REF!"),
    ("=A1+", "#the formula ends"),
    ("=(1", "#"),
    ("=SUM(A1:A9999999)", "#"),
    ("=C1", "#circular reference"),
]


@pytest.mark.parametrize(("formula", "expected"), FORMULAS)
def test_formulas_are_worked_out_as_excel_does(world, formula, expected):
    other = {"title": "other sheet", "rows": [[40]]}
    rows = [[1, "x"], [2, "y"], [3, "z"]]
    world.call(create_workbook, output="t.xlsx", sheets=[{"title": "t", "rows": rows}, other])
    done = world.call(set_cells, path="t.xlsx", cells=[{"cell": "C1", "formula": formula}])
    value = done["results"]["C1"]
    if isinstance(expected, str) and expected.startswith("#"):
        assert value.startswith(expected)
        assert world.call(evaluate_formulas, path="t.xlsx")["failed"] == 1
    else:
        assert value == expected
        assert world.call(read_range, path="t.xlsx", area="C1")["rows"] == [[expected]]


def test_formulas_that_refer_to_each_other_end(world):
    chain = [{"cell": f"A{n}", "formula": f"=A{n - 1}+1"} for n in range(2, 200)]
    make(world, [[1]])
    done = world.call(set_cells, path="t.xlsx", cells=chain)["results"]
    assert (done["A2"], done["A40"]) == (2.0, 40.0)
    doubling = [{"cell": f"B{n}", "formula": f"=B{n - 1}+B{n - 1}"} for n in range(2, 45)]
    done = world.call(set_cells, path="t.xlsx", cells=[{"cell": "B1", "value": 1}, *doubling])["results"]
    assert done["B44"] == 2.0**43
    ring = [{"cell": "C1", "formula": "=C2"}, {"cell": "C2", "formula": "=C1"}]
    assert set(world.call(set_cells, path="t.xlsx", cells=ring)["results"].values()) == {"#circular reference"}
    heavy = [{"cell": f"D{n}", "formula": "=SUM(A1:ZZ99999)+SUM(A1:ZZ99999)"} for n in range(1, 5)]
    world.call(set_cells, path="t.xlsx", cells=heavy)


@pytest.mark.parametrize(
    ("function", "value"),
    [
        ("sum", 150.0),
        ("average", 12.5),
        ("min", 1.0),
        ("max", 24.0),
        ("median", 12.5),
        ("count", 12.0),
        ("product", None),
    ],
)
def test_a_range_is_summed_up(world, function, value):
    arguments = {"path": BUDGET, "area": "A1:E4"}
    result = world.call(TOOLS["aggregate_range"], **arguments, function=function)
    assert result["numbers"] == 12
    assert value is None or result["value"] == value
    assert refusal(world, TOOLS["aggregate_range"], path=BUDGET, area="A1:A4", function="average") == "tool_error"


def test_sheets_are_added_renamed_copied_moved_and_removed(world):
    rows = [["a", 1], ["b", None]]
    assert world.call(add_sheet, path=BUDGET, title="first", rows=rows, position=1)["sheets"][0] == "first"
    assert world.call(rename_sheet, path=BUDGET, sheet="first", title="top")["sheets"][0] == "top"
    world.call(copy_sheet, path=BUDGET, sheet="top", title="copy", to_path="data/sales.xlsx")
    assert world.call(read_range, path="data/sales.xlsx", sheet="copy")["rows"] == rows
    assert world.call(order_sheets, path=BUDGET, order=["actual", "plan"])["sheets"] == ["actual", "plan", "top"]
    assert world.call(delete_sheet, path=BUDGET, sheet="plan")["sheets"] == ["actual", "top"]
    world.call(set_cells, path=BUDGET, sheet="top", cells=[{"cell": "C1", "formula": "=actual!B2"}])
    assert refusal(world, delete_sheet, path=BUDGET, sheet="actual") == "tool_error"
    assert refusal(world, rename_sheet, path=BUDGET, sheet="actual", title="x") == "tool_error"
    world.call(delete_sheet, path=BUDGET, sheet="top")
    assert refusal(world, delete_sheet, path=BUDGET, sheet="actual") == "tool_error"
    for title in ("a/b", "a:b", "[x]", " ", "'x'", "ACTUAL"):
        assert refusal(world, add_sheet, path=BUDGET, title=title) in ("bad_arguments", "tool_error")


def test_blocks_are_written_and_lines_moved(world):
    make(world, [["h"], [1], [2]])
    assert world.call(write_block, path="t.xlsx", start="B2", rows=[[5, 6], [7]])["area"] == "B2:C3"
    assert world.call(read_range, path="t.xlsx")["rows"] == [["h", None, None], [1, 5, 6], [2, 7, None]]
    world.call(change_sheet_lines, path="t.xlsx", action="insert_rows", first=2, count=1)
    world.call(change_sheet_lines, path="t.xlsx", action="delete_columns", first=2)
    assert world.call(read_range, path="t.xlsx")["rows"] == [["h", None], [None, None], [1, 6], [2, None]]
    assert refusal(world, change_sheet_lines, path="t.xlsx", action="insert_rows", first=100_000) == "limit"
    assert refusal(world, write_block, path="t.xlsx", start="ZZ1", rows=[[1, 2]]) == "limit"
    world.call(set_cells, path="t.xlsx", cells=[{"cell": "A9", "formula": "=A1"}])
    assert refusal(world, change_sheet_lines, path="t.xlsx", action="delete_rows", first=2) == "tool_error"


def test_cells_are_found_by_value(world):
    make(world, [["Total", 10, True], ["subtotal", 20, 1]])
    find = {"path": "t.xlsx"}
    names = lambda **more: [item["cell"] for item in world.call(find_cells, **find, **more)["cells"]]  # noqa: E731
    assert names(value="TOTAL") == ["A1"]
    assert names(value="total", match="contains") == ["A1", "A2"]
    assert names(value=10, match="greater") == ["B2"]
    assert names(value=1) == ["C2"]
    assert names(value=True) == ["C1"]
    assert refusal(world, find_cells, path="t.xlsx", value="x", match="less") == "bad_arguments"


def test_sheets_are_compared_and_stacked(world):
    world.call(
        set_cells, path=BUDGET, sheet="actual", cells=[{"cell": "B2", "value": 99}, {"cell": "F1", "value": "q5"}]
    )
    result = world.call(compare_sheets, path=BUDGET, sheet="plan", other_sheet="actual")
    assert result == {
        "same": False, "total": 2,
        "cells": [{"cell": "F1", "first": None, "second": "q5"}, {"cell": "B2", "first": 1, "second": 99}],
    }  # fmt: skip
    assert refusal(world, stack_sheets, path=BUDGET) == "tool_error"
    stacked = world.call(stack_sheets, path="data/sales.xlsx", sheets=["2024", "2025"], output="out/all.csv")
    assert (stacked["total"], stacked["columns"]) == (15, ["sheet", "month", "region", "amount"])


def test_the_same_calls_make_the_same_bytes(world, tmp_path):
    again = World(tmp_path / "again", BASE)
    for one in (world, again):
        one.call(add_sheet, path=BUDGET, title="notes", rows=[["x", 1.5]])
        one.call(set_cells, path=BUDGET, cells=[{"cell": "B5", "formula": "=SUM(B2:B4)"}])
        make(one, [["a"]])
    for path in (BUDGET, "t.xlsx"):
        content = (world.workspace.files / path).read_bytes()
        assert content == (again.workspace.files / path).read_bytes()
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            assert {entry.date_time for entry in archive.infolist()} == {(2025, 3, 17, 9, 0, 0)}
            assert b"2025-03-17T09:00:00Z" in archive.read("docProps/core.xml")


def bomb():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", b" " * 40 * 1024 * 1024)
    return out.getvalue()


def entities():
    """A workbook with a text of XML entities that grow to ten thousand million characters."""
    out = io.BytesIO()
    lol = '<!DOCTYPE s [<!ENTITY a "aaaaaaaaaa">' + "".join(
        f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9)
    )
    with zipfile.ZipFile(io.BytesIO(BASE["files/data/budget.xlsx"])) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "xl/worksheets/sheet1.xml":
                content = f"{lol}]>".encode() + content.replace(b"department", b"&j;")
            new.writestr(name, content)
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "tool_error"),
        (b"not a zip", "tool_error"),
        (BASE["files/data/budget.xlsx"][:2000], "tool_error"),
        (bomb(), "limit"),
        (entities(), "tool_error"),
    ],
)
def test_broken_workbooks_and_bombs_are_refused(world, content, kind):
    world.write("bad.xlsx", content)
    for tool, arguments in ((list_sheets, {}), (read_range, {}), (add_sheet, {"title": "x"}), (stack_sheets, {})):
        assert refusal(world, tool, path="bad.xlsx", **arguments) == kind
    assert refusal(world, list_sheets, path="data/sales.csv") == "bad_arguments"
    assert refusal(world, read_range, path=BUDGET, sheet="plam") == "tool_error"


def test_merged_cells_are_not_written_to(world):
    book = book_of(world)
    book["plan"].merge_cells("A1:B2")
    out = io.BytesIO()
    book.save(out)
    world.write("merged.xlsx", out.getvalue())
    assert refusal(world, set_cells, path="merged.xlsx", cells=[{"cell": "B2", "value": 1}]) == "tool_error"
    assert world.call(set_cells, path="merged.xlsx", cells=[{"cell": "A1", "value": 1}])["changed"] == 1
    world.call(copy_sheet, path="merged.xlsx", sheet="plan", title="copy")


def test_random_calls_end_in_a_result_or_a_typed_error(world):
    assert random_calls(world, TOOLS, seed=2, rounds=20) > 50
