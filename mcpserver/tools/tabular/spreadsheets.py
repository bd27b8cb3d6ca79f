"""Excel workbooks: sheets, ranges of cells and formulas. Charts of a workbook that is written are lost."""

from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.results import clip, page
from mcpserver.tools.tabular._formulas import (
    LAST_COLUMN,
    LAST_ROW,
    Box,
    Evaluator,
    FormulaError,
    aggregate,
    cell_name,
    check_formula,
    parse_cell,
    range_name,
    used_range,
)
from mcpserver.tools.tabular._tables import finish, make_series, number, plain_text
from mcpserver.tools.tabular._workbooks import (
    MAX_SHEETS,
    check_title,
    load_workbook,
    pick_sheet,
    put,
    save_workbook,
    sheet_rows,
)
from toolwright.words import shorten

MAX_SHOWN = 2000

Value = str | int | float | bool | None
Rows = Annotated[list[Annotated[list[Value], Len(0, 200)]], Len(0, 1000)]
Title = Annotated[str, Len(1, 31)]


class CellValue(TypedDict):
    """A cell and its new value; null empties it."""

    cell: str
    value: Value


class CellFormula(TypedDict):
    """A cell and its new formula."""

    cell: str
    formula: Annotated[str, Len(2, 500)]


class NewSheet(TypedDict):
    """A sheet of a new workbook."""

    title: Title
    rows: NotRequired[Rows]


def list_sheets(context: Context, path: str) -> dict[str, Any]:
    """List the sheets of an Excel workbook with their used range and first row.

    Args:
        path: workbook such as data/budget.xlsx

    Example:
        {"path": "data/budget.xlsx"}
    """
    book = load_workbook(context, path)
    sheets = []
    for sheet in book.worksheets:
        formulas = sum(cell.data_type == "f" for cell in sheet._cells.values())
        head = [_shown(sheet._cells.get((1, column))) for column in range(1, min(sheet.max_column, 20) + 1)]
        used = range_name((1, 1, max(1, sheet.max_row), max(1, sheet.max_column)))
        sheets.append({"title": sheet.title, "used": used, "formulas": formulas, "first_row": head})
    return page("sheets", sheets)


def read_range(
    context: Context,
    path: str,
    area: str | None = None,
    sheet: str | None = None,
    show: Literal["values", "formulas"] = "values",
) -> dict[str, Any]:
    """Read a range of cells of an Excel workbook by row.

    Args:
        path: workbook such as data/budget.xlsx
        area: cells such as A1:C5, else all that are used
        sheet: name of the sheet, else the first one
        show: values, with formulas worked out (a text with # where that fails), or the formulas as they are written

    Example:
        {"path": "data/budget.xlsx", "sheet": "plan", "area": "A1:C3"}
    """
    book = load_workbook(context, path)
    chosen, box = used_range(book, sheet, area)
    box = _cut(box)
    work = Evaluator(book)
    rows = []
    for row in range(box[0], box[2] + 1):
        cells = [(row, column) for column in range(box[1], box[3] + 1)]
        if show == "formulas":
            rows.append([_shown(chosen._cells.get(place)) for place in cells])
        else:
            rows.append([_json(work.cell(chosen.title, *place)) for place in cells])
    shown = page("rows", rows)
    rest = {"next_row": box[0] + shown["next_offset"]} if "next_offset" in shown else {}
    return {"sheet": chosen.title, "area": range_name(box), "rows": shown["rows"], **rest}


def set_cells(
    context: Context,
    path: str,
    cells: Annotated[list[CellValue | CellFormula], Len(1, 200)],
    sheet: str | None = None,
    output: str | None = None,
) -> dict[str, Any]:
    """Set cells of an Excel workbook to values or formulas.

    Args:
        path: workbook such as data/budget.xlsx
        cells: cells with a value (a text stays a text) or a formula such as =SUM(B2:B5)
        sheet: name of the sheet, else the first one
        output: workbook to write, else the file itself

    Example:
        {"path": "data/budget.xlsx", "sheet": "plan", "cells": [{"cell": "A8", "value": "Total"},
            {"cell": "B8", "formula": "=SUM(B2:B6)"}]}
    """
    book = load_workbook(context, path)
    chosen = pick_sheet(book, sheet)
    formulas: list[tuple[int, int]] = []
    for n, item in enumerate(cells):
        row, column = parse_cell(item["cell"], f"cells[{n}].cell")
        if "formula" in item:
            formula = check_formula(item["formula"], f"cells[{n}].formula")  # type: ignore[typeddict-item]
            put(chosen, row, column, formula, is_formula=True)
            formulas.append((row, column))
        else:
            put(chosen, row, column, item["value"])
    work = Evaluator(book)
    results = {cell_name(*place): _json(work.cell(chosen.title, *place)) for place in formulas}
    return _write(context, book, path, output, changed=len(cells), **({"results": results} if results else {}))


def write_block(
    context: Context,
    path: str,
    start: str,
    rows: Annotated[Rows, Len(1, 1000)],
    sheet: str | None = None,
    output: str | None = None,
) -> dict[str, Any]:
    """Write rows of values into an Excel workbook, from a cell to the right and down.

    Args:
        path: workbook such as data/budget.xlsx
        start: upper left cell
        rows: rows of values; null empties a cell
        sheet: name of the sheet, else the first one
        output: workbook to write, else the file itself

    Example:
        {"path": "data/budget.xlsx", "sheet": "plan", "start": "G1", "rows": [["year", 2025], ["approved", true]]}
    """
    book = load_workbook(context, path)
    chosen = pick_sheet(book, sheet)
    top, left = parse_cell(start, "start")
    width = max(map(len, rows))
    if top + len(rows) > LAST_ROW or left + width > LAST_COLUMN:
        raise ToolError("limit", f"start: the rows would go past row {LAST_ROW} or column ZZ")
    _put_rows(chosen, rows, top, left)
    return _write(
        context, book, path, output, area=range_name((top, left, top + len(rows) - 1, left + max(width, 1) - 1))
    )


def add_sheet(
    context: Context,
    path: str,
    title: Title,
    rows: Rows | None = None,
    position: Annotated[int, Ge(1), Le(MAX_SHEETS)] | None = None,
    output: str | None = None,
) -> dict[str, Any]:
    """Add a sheet to an Excel workbook.

    Args:
        path: workbook such as data/budget.xlsx
        title: name of the new sheet
        rows: rows of values to begin with
        position: place among the sheets, 1 is the first; else the last
        output: workbook to write, else the file itself

    Example:
        {"path": "data/budget.xlsx", "title": "notes", "rows": [["date", "note"], ["2025-03-17", "checked"]]}
    """
    book = load_workbook(context, path)
    sheet = book.create_sheet(check_title(book, title, "title"), None if position is None else position - 1)
    _put_rows(sheet, rows or [], 1, 1)
    return _write(context, book, path, output, sheets=book.sheetnames)


def rename_sheet(context: Context, path: str, sheet: str, title: Title, output: str | None = None) -> dict[str, Any]:
    """Rename a sheet of an Excel workbook that no formula refers to.

    Args:
        path: workbook such as data/budget.xlsx
        sheet: name of the sheet
        title: new name
        output: workbook to write, else the file itself

    Example:
        {"path": "data/budget.xlsx", "sheet": "plan", "title": "plan 2024"}
    """
    book = load_workbook(context, path)
    chosen = pick_sheet(book, sheet)
    _refuse_references(book, chosen, "renamed")
    chosen.title = check_title(book, title, "title")
    return _write(context, book, path, output, sheets=book.sheetnames)


def delete_sheet(context: Context, path: str, sheet: str, output: str | None = None) -> dict[str, Any]:
    """Remove a sheet of an Excel workbook that no formula refers to.

    Args:
        path: workbook such as data/budget.xlsx
        sheet: name of the sheet
        output: workbook to write, else the file itself

    Example:
        {"path": "data/budget.xlsx", "sheet": "actual"}
    """
    book = load_workbook(context, path)
    chosen = pick_sheet(book, sheet)
    if len(book.worksheets) < 2:
        raise ToolError("tool_error", "sheet: a workbook keeps at least one sheet")
    _refuse_references(book, chosen, "removed")
    book.remove(chosen)
    return _write(context, book, path, output, sheets=book.sheetnames)


def copy_sheet(
    context: Context,
    path: str,
    sheet: str,
    title: Title,
    to_path: str | None = None,
) -> dict[str, Any]:
    """Copy a sheet of an Excel workbook (values and formulas) under a new name, also to another workbook.

    Args:
        path: workbook such as data/budget.xlsx
        sheet: name of the sheet
        title: name of the copy
        to_path: workbook that gets the copy, else the same one

    Example:
        {"path": "data/budget.xlsx", "sheet": "plan", "title": "plan copy"}
        {"path": "data/budget.xlsx", "sheet": "plan", "title": "budget plan", "to_path": "data/sales.xlsx"}
    """
    source = pick_sheet(load_workbook(context, path), sheet)
    target_path = to_path or path
    book = load_workbook(context, target_path, "to_path" if to_path else "path")
    copy = book.create_sheet(check_title(book, title, "title"))
    for (row, column), cell in source._cells.items():
        new = copy.cell(row, column)
        new.value = cell.value
        new.data_type, new.number_format = cell.data_type, cell.number_format
    return _write(context, book, target_path, None, sheets=book.sheetnames)


def order_sheets(
    context: Context, path: str, order: Annotated[list[str], Len(1, MAX_SHEETS)], output: str | None = None
) -> dict[str, Any]:
    """Put the sheets of an Excel workbook into a new order.

    Args:
        path: workbook such as data/sales.xlsx
        order: names of the sheets that come first; the others follow as they are
        output: workbook to write, else the file itself

    Example:
        {"path": "data/sales.xlsx", "order": ["summary"]}
    """
    book = load_workbook(context, path)
    first = [pick_sheet(book, title, "order") for title in dict.fromkeys(order)]
    for place, sheet in enumerate(first):
        book.move_sheet(sheet, place - book.worksheets.index(sheet))
    book.active = 0
    return _write(context, book, path, output, sheets=book.sheetnames)


def create_workbook(context: Context, output: str, sheets: Annotated[list[NewSheet], Len(1, 20)]) -> dict[str, Any]:
    """Create an Excel workbook from sheets with rows of values.

    Args:
        output: workbook to write such as out/plan.xlsx
        sheets: sheets in order, each with a title and rows

    Example:
        {"output": "out/plan.xlsx", "sheets": [{"title": "tasks", "rows": [["task", "days"], ["design", 3]]},
            {"title": "notes"}]}
    """
    import openpyxl

    if not output.lower().endswith(".xlsx"):
        raise ToolError("bad_arguments", f"output: {shorten(output, 60)} should end in .xlsx")
    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    for n, item in enumerate(sheets):
        _put_rows(book.create_sheet(check_title(book, item["title"], f"sheets[{n}].title")), item.get("rows", []), 1, 1)
    return _write(context, book, output, output, sheets=book.sheetnames)


def aggregate_range(
    context: Context,
    path: str,
    area: str,
    function: Literal["sum", "average", "min", "max", "median", "count", "product"] = "sum",
    sheet: str | None = None,
) -> dict[str, Any]:
    """Work out the sum, average, lowest or highest number of a range of an Excel workbook.

    Args:
        path: workbook such as data/budget.xlsx
        area: cells such as B2:E6; texts and empty cells are left out
        function: what is worked out
        sheet: name of the sheet, else the first one

    Example:
        {"path": "data/budget.xlsx", "sheet": "actual", "area": "B2:E4", "function": "average"}
    """
    book = load_workbook(context, path)
    chosen, box = used_range(book, sheet, area)
    work = Evaluator(book)
    values = [work.cell(chosen.title, *place) for place in _places(box)]
    if failed := [value for value in values if isinstance(value, str) and value.startswith("#")]:
        raise ToolError("tool_error", f"area: a cell has no value: {clip(failed[0])}")
    known = [float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    try:
        result = aggregate(function.upper(), known)
    except (FormulaError, OverflowError) as error:
        raise ToolError("tool_error", f"area: {function} has no value here ({error})") from None
    return {"function": function, "area": range_name(box), "value": number(result), "numbers": len(known)}


def find_cells(
    context: Context,
    path: str,
    value: str | int | float | bool,
    match: Literal["equal", "contains", "greater", "less"] = "equal",
    sheet: str | None = None,
    limit: Annotated[int, Ge(1), Le(200)] = 50,
) -> dict[str, Any]:
    """Find the cells of an Excel workbook with a value.

    Args:
        path: workbook such as data/suppliers.xlsx
        value: text (in any case), number or true/false
        match: how the cell compares with the value; contains is for texts, greater and less for numbers
        sheet: name of the sheet, else all sheets
        limit: cells to return

    Example:
        {"path": "data/suppliers.xlsx", "value": "NORWAY"}
        {"path": "data/budget.xlsx", "value": 20, "match": "greater", "sheet": "plan"}
    """
    book = load_workbook(context, path)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if match in ("greater", "less") and not is_number:
        raise ToolError("bad_arguments", f"value: {match} needs a number, got {shorten(value, 60)}")
    work = Evaluator(book)
    found = []
    for chosen in [pick_sheet(book, sheet)] if sheet is not None else book.worksheets:
        for place in sorted(chosen._cells):
            known = work.cell(chosen.title, *place)
            if known is not None and _fits(known, value, match):
                found.append({"sheet": chosen.title, "cell": cell_name(*place), "value": _json(known)})
    return page("cells", found, 0, limit)


def evaluate_formulas(
    context: Context, path: str, sheet: str | None = None, limit: Annotated[int, Ge(1), Le(200)] = 100
) -> dict[str, Any]:
    """List the formulas of an Excel workbook and work them out (arithmetic, comparisons, SUM, AVERAGE, IF, ROUND …).

    Args:
        path: workbook such as data/budget.xlsx
        sheet: name of the sheet, else all sheets
        limit: formulas to return

    Example:
        {"path": "data/budget.xlsx"}
    """
    book = load_workbook(context, path)
    work = Evaluator(book)
    found = [
        {
            "sheet": chosen.title,
            "cell": cell_name(*place),
            "formula": _shown(cell),
            "value": _json(work.cell(chosen.title, *place)),
        }
        for chosen in ([pick_sheet(book, sheet)] if sheet is not None else book.worksheets)
        for place, cell in sorted(chosen._cells.items())
        if cell.data_type == "f"
    ]
    failed = sum(isinstance(item["value"], str) and item["value"].startswith("#") for item in found)
    return {**page("formulas", found, 0, limit), "failed": failed}


def change_sheet_lines(
    context: Context,
    path: str,
    action: Literal["insert_rows", "delete_rows", "insert_columns", "delete_columns"],
    first: Annotated[int, Ge(1), Le(LAST_ROW)],
    count: Annotated[int, Ge(1), Le(1000)] = 1,
    sheet: str | None = None,
    output: str | None = None,
) -> dict[str, Any]:
    """Insert or delete whole rows or columns of a sheet of an Excel workbook that has no formulas.

    Args:
        path: workbook such as data/budget.xlsx
        action: what is done
        first: number of the first row or column
        count: number of rows or columns
        sheet: name of the sheet, else the first one
        output: workbook to write, else the file itself

    Example:
        {"path": "data/suppliers.xlsx", "action": "delete_rows", "first": 2, "count": 3}
    """
    book = load_workbook(context, path)
    chosen = pick_sheet(book, sheet)
    if any(cell.data_type == "f" for page_ in book.worksheets for cell in page_._cells.values()):
        raise ToolError("tool_error", "sheet: the workbook has formulas, whose ranges would not move along")
    last = LAST_ROW if action.endswith("rows") else LAST_COLUMN
    used = chosen.max_row if action.endswith("rows") else chosen.max_column
    if action.startswith("insert") and max(used, first) + count > last:
        raise ToolError("limit", f"count: a sheet has at most {LAST_ROW} rows and {LAST_COLUMN} columns here")
    actions = {
        "insert_rows": chosen.insert_rows,
        "delete_rows": chosen.delete_rows,
        "insert_columns": chosen.insert_cols,
        "delete_columns": chosen.delete_cols,
    }
    actions[action](first, count)
    used_now = range_name((1, 1, max(1, chosen.max_row), max(1, chosen.max_column)))
    return _write(context, book, path, output, used=used_now)


def compare_sheets(
    context: Context,
    path: str,
    sheet: str,
    other_sheet: str,
    other_path: str | None = None,
    limit: Annotated[int, Ge(1), Le(200)] = 50,
) -> dict[str, Any]:
    """Compare two sheets of Excel workbooks cell by cell, formulas by their values.

    Args:
        path: workbook such as data/budget.xlsx
        sheet: name of the sheet
        other_sheet: sheet to compare with
        other_path: workbook of the other sheet, else the same one
        limit: cells to return

    Example:
        {"path": "data/budget.xlsx", "sheet": "plan", "other_sheet": "actual"}
    """
    books = [load_workbook(context, path), load_workbook(context, other_path or path, "other_path")]
    sheets = [pick_sheet(books[0], sheet), pick_sheet(books[1], other_sheet, "other_sheet")]
    work = [Evaluator(book) for book in books]
    found = []
    for place in sorted({*sheets[0]._cells, *sheets[1]._cells}):
        one, two = (_json(each.cell(chosen.title, *place)) for each, chosen in zip(work, sheets))
        if one != two or isinstance(one, bool) != isinstance(two, bool):
            found.append({"cell": cell_name(*place), "first": one, "second": two})
    return {"same": not found, **page("cells", found, 0, limit)}


def stack_sheets(
    context: Context,
    path: str,
    sheets: Annotated[list[str], Len(1, MAX_SHEETS)] | None = None,
    sheet_column: Annotated[str, Len(1, 60)] = "sheet",
    output: str | None = None,
) -> dict[str, Any]:
    """Put the rows of several sheets with the same header row one below the other, as one table.

    Args:
        path: workbook such as data/budget.xlsx
        sheets: names of the sheets in order, else all
        sheet_column: new column that names the sheet of each row
        output: table file to write such as out/all.csv; without it the first rows are returned

    Example:
        {"path": "data/budget.xlsx", "sheets": ["plan", "actual"]}
    """
    import pandas as pd

    book = load_workbook(context, path, values=True)
    columns: dict[str, list[Any]] = {sheet_column: []}
    for title in sheets or book.sheetnames:
        rows = sheet_rows(pick_sheet(book, title, "sheets"), 20_000, 200, path)
        header = [
            f"column_{n}" if name is None else plain_text(name) for n, name in enumerate(rows[0] if rows else (), 1)
        ]
        if len(columns) > 1 and header != list(columns)[1:]:
            raise ToolError("tool_error", f"sheets: {title!r} has another header row than the first sheet")
        if not header or sheet_column in header or len(set(header)) < len(header):
            raise ToolError(
                "tool_error", f"sheets: {title!r} needs a header row of different names, {sheet_column!r} not one"
            )
        columns |= {name: columns.get(name, []) for name in header}
        columns[sheet_column] += [title] * (len(rows) - 1)
        for n, name in enumerate(header):
            columns[name] += [row[n] if n < len(row) else None for row in rows[1:]]
        if len(columns[sheet_column]) > 100_000:
            raise ToolError("limit", "sheets: more than 100000 rows together")
    return finish(context, pd.DataFrame({name: make_series(values) for name, values in columns.items()}), output)


def _places(box: Box) -> list[tuple[int, int]]:
    top, left, bottom, right = box
    if (bottom - top + 1) * (right - left + 1) > 100_000:
        raise ToolError("limit", "area: at most 100000 cells")
    return [(row, column) for row in range(top, bottom + 1) for column in range(left, right + 1)]


def _cut(box: Box) -> Box:
    """A range cut to as many cells as can be shown."""
    top, left, bottom, right = box
    right = min(right, left + 199)
    return top, left, min(bottom, top + max(1, MAX_SHOWN // (right - left + 1)) - 1), right


def _shown(cell: Any, *, whole: bool = False) -> Any:
    """What is written in a cell; of an array formula its text."""
    value = None if cell is None else getattr(cell.value, "text", cell.value)
    return value if whole else _json(value)


def _json(value: Any) -> Any:
    """A value of a cell as JSON."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return number(value)
    if hasattr(value, "isoformat"):
        text: str = value.isoformat()
        return text.removesuffix("T00:00:00")
    return clip(plain_text(value))


def _put_rows(sheet: Any, rows: list[list[Value]], top: int, left: int) -> None:
    for n, row in enumerate(rows):
        for m, value in enumerate(row):
            put(sheet, top + n, left + m, value)


def _fits(known: Any, value: Any, match: str) -> bool:
    is_number = isinstance(known, int | float) and not isinstance(known, bool)
    if match in ("greater", "less"):
        return is_number and (known > value if match == "greater" else known < value)
    text = str(_json(known)).lower()
    if match == "contains":
        return str(value).lower() in text
    if isinstance(value, str):
        return text == value.lower()
    return bool(isinstance(known, bool) == isinstance(value, bool) and known == value)


def _refuse_references(book: Any, sheet: Any, done: str) -> None:
    for other in book.worksheets:
        for cell in other._cells.values():
            if (
                cell.data_type == "f"
                and other is not sheet
                and sheet.title.lower() in str(_shown(cell, whole=True)).lower()
            ):
                raise ToolError(
                    "tool_error",
                    f"sheet: {other.title}!{cell.coordinate} refers to {sheet.title!r}; it cannot be {done}",
                )


def _write(context: Context, book: Any, path: str, output: str | None, **more: Any) -> dict[str, Any]:
    target = output or path
    if not target.lower().endswith(".xlsx"):
        raise ToolError("bad_arguments", f"output: {shorten(target, 60)} should end in .xlsx")
    context.files.new_file(target, "output")
    context.check_deadline()
    context.files.write(target, save_workbook(book), "output")
    return {"written": target, **more}
