"""Excel workbooks in and out: read within limits, written with the same bytes each time."""

import io
import re
import zipfile
from typing import Any

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.formats import check_zip, parsing, same_zip
from toolwright.words import nearest, shorten

MAX_SHEETS = 50
MAX_SHEET_CELLS = 500_000
_MOMENT = b">2025-03-17T09:00:00Z</dcterms:"


def load_workbook(context: Context, path: str, parameter: str = "path", *, values: bool = False) -> Any:
    """An ``openpyxl`` workbook; with ``values`` read only, the numbers that formulas gave when it was saved.

    Raises:
        ToolError: no such file, no workbook, or ``limit``.
    """
    import openpyxl

    if not path.lower().endswith(".xlsx"):
        raise ToolError("bad_arguments", f"{parameter}: {shorten(path, 60)} is no Excel file (.xlsx)")
    content = context.files.read_bytes(path, parameter)
    check_zip(content, parameter, path, "Excel workbook")
    with parsing(parameter, path, "Excel workbook"):
        book = openpyxl.load_workbook(io.BytesIO(content), read_only=values, data_only=values)
        if not book.worksheets:
            raise ToolError("tool_error", f"{parameter}: {path!r} has no sheet of cells")
        return book


def pick_sheet(book: Any, sheet: str | None, parameter: str = "sheet") -> Any:
    """The sheet of a name, else the first one.

    Raises:
        ToolError: ``tool_error``, no such sheet.
    """
    names = [each.title for each in book.worksheets]
    if sheet is None:
        return book.worksheets[0]
    if sheet not in names:
        raise ToolError("tool_error", f"{parameter}: no sheet {shorten(sheet, 60)}{nearest(sheet, names)}")
    return book[sheet]


def check_title(book: Any, title: str, parameter: str) -> str:
    """A title for a new sheet.

    Raises:
        ToolError: ``bad_arguments`` when Excel would not take it, ``tool_error`` when it is taken.
    """
    if not title.strip() or len(title) > 31 or re.search(r"[\[\]:*?/\\\x00-\x1f]", title) or title.strip("'") != title:
        raise ToolError(
            "bad_arguments",
            f"{parameter}: {shorten(title, 60)} is no title of a sheet (at most 31 characters, no []:*?/)",
        )
    if title.lower() in (name.lower() for name in book.sheetnames):
        raise ToolError("tool_error", f"{parameter}: there is a sheet {title!r} already")
    if len(book.sheetnames) >= MAX_SHEETS:
        raise ToolError("limit", f"{parameter}: at most {MAX_SHEETS} sheets")
    return title


def sheet_rows(sheet: Any, max_rows: int, max_columns: int, path: str) -> list[list[Any]]:
    """The values of a sheet by row, without empty rows at the end.

    Raises:
        ToolError: ``limit``.
    """
    if hasattr(sheet, "reset_dimensions"):
        sheet.reset_dimensions()  # what the file says of its size need not be true
    rows: list[list[Any]] = []
    with parsing("path", path, "Excel workbook"):
        for row in sheet.iter_rows(values_only=True):
            if len(rows) > max_rows or len(row) > max_columns:
                raise ToolError("limit", f"path: {path!r} has more than {max_rows} rows or {max_columns} columns")
            rows.append(list(row))
    while rows and all(value is None for value in rows[-1]):
        rows.pop()
    return rows


def cell_value(value: Any) -> Any:
    """A value as a cell takes it: characters that XML has not are left out, and a text never becomes a formula.

    Raises:
        ToolError: ``limit``, a text that is too long.
    """
    if isinstance(value, str):
        if len(value) > 32_000:
            raise ToolError("limit", "a cell holds at most 32000 characters")
        return re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]", "", value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 10**15:
        return str(value)
    return value


def put(sheet: Any, row: int, column: int, value: Any, *, is_formula: bool = False) -> None:
    """Set a cell; a text that begins with ``=`` stays a text unless it is meant as a formula.

    Raises:
        ToolError: ``limit``; ``tool_error`` for a cell that is hidden by a merged one.
    """
    from openpyxl.cell import MergedCell

    cell = sheet.cell(row, column)
    if isinstance(cell, MergedCell):
        raise ToolError("tool_error", f"cell: {cell.coordinate} is merged with others; set the upper left one of them")
    cell.value = cell_value(value)
    if isinstance(value, str) and not is_formula:
        cell.data_type = "s"


def save_workbook(book: Any) -> bytes:
    """The bytes of a workbook, the same for the same content.

    Raises:
        ToolError: ``tool_error`` when the library cannot write it.
    """
    buffer = io.BytesIO()
    with parsing("path", "the workbook", "workbook that can be written"):
        book.save(buffer)
    moved = io.BytesIO()
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(moved, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "docProps/core.xml":  # openpyxl writes the time of saving
                content = re.sub(rb">[^<]*</dcterms:", _MOMENT, content)
            new.writestr(name, content)
    return same_zip(moved.getvalue())
