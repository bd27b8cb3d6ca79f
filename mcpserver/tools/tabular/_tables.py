"""Tables of any format as pandas data frames, and back: the one loader and the one writer of the table tools.

A loaded column has one of five types: whole numbers (``Int64``), numbers (``Float64``), ``boolean``, times
(``datetime64``) or text (``string``). Empty cells are missing; in text formats ``007`` stays a text and dates too.
"""

import csv
import datetime
import decimal
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Len

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.formats import parsing
from mcpserver.toolbox.results import MAX_RESULT_BYTES, json_bytes, page
from mcpserver.tools.tabular._workbooks import (
    MAX_SHEET_CELLS,
    load_workbook,
    pick_sheet,
    put,
    save_workbook,
    sheet_rows,
)
from toolwright.words import cut, shorten

MAX_ROWS = 100_000
MAX_COLUMNS = 200
MAX_CELLS = 2_000_000
MAX_NAME = 100
FORMATS = ("csv", "tsv", "json", "jsonl", "xlsx", "parquet")
_INTEGER = re.compile(r"-?(0|[1-9]\d{0,17})")
_NUMBER = re.compile(r"[-+]?(0|[1-9]\d*)?(\.\d*)?([eE][-+]?\d{1,3})?")

Frame = Any  # a pandas.DataFrame; pandas takes half a second to import, so only functions do
Format = Literal["csv", "tsv", "json", "jsonl", "xlsx", "parquet"]
Columns = Annotated[list[str], Len(1, 100)]
Limit = Annotated[int, Ge(1), Le(200)]
Offset = Annotated[int, Ge(0), Le(MAX_ROWS)]
Value = str | int | float | bool | None


def table_format(path: str, parameter: str = "path") -> str:
    """The format that a file name's ending tells.

    Raises:
        ToolError: ``bad_arguments``.
    """
    ending = PurePosixPath(path).suffix.lower().removeprefix(".")
    found = "jsonl" if ending == "ndjson" else ending
    if found not in FORMATS:
        raise ToolError(
            "bad_arguments", f"{parameter}: {shorten(path, 60)} should end in one of .{', .'.join(FORMATS)}"
        )
    return found


def load(context: Context, path: str, sheet: str | None = None, parameter: str = "path") -> Frame:
    """Read a table.

    Raises:
        ToolError: no such file, no table, or ``limit``.
    """
    kind = table_format(path, parameter)
    if sheet is not None and kind != "xlsx":
        raise ToolError("bad_arguments", f"sheet: {path!r} is no Excel file and has no sheets; leave it out")
    if kind == "xlsx":
        rows = sheet_rows(
            pick_sheet(load_workbook(context, path, parameter, values=True), sheet), MAX_ROWS, MAX_COLUMNS, path
        )
        width = max(map(len, rows), default=0)
        header = rows[0] + [None] * (width - len(rows[0])) if rows else []
        return _from_rows(header, [row + [None] * (width - len(row)) for row in rows[1:]], path, parameter)
    if kind in ("csv", "tsv"):
        return _from_delimited(context.files.read_text(path, parameter), path, parameter)
    if kind == "parquet":
        return _from_parquet(context.files.read_bytes(path, parameter), path, parameter)
    return _from_json(context.files.read_text(path, parameter), kind == "jsonl", path, parameter)


def _from_delimited(text: str, path: str, parameter: str) -> Frame:
    text = text.removeprefix("\ufeff")
    first = text[:100_000].partition("\n")[0]
    delimiter = "\t" if path.lower().endswith(".tsv") else max(",;\t|", key=first.count)
    rows = []
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            if row:
                rows.append(row)
            if len(rows) > MAX_ROWS + 1:
                raise ToolError("limit", f"{parameter}: {path!r} has more than {MAX_ROWS} rows")
    except csv.Error as error:
        raise ToolError("tool_error", f"{parameter}: {path!r} is no table: {error}") from None
    header = rows[0] if rows else []
    for n, row in enumerate(rows[1:], 2):
        if len(row) != len(header):
            raise ToolError(
                "tool_error", f"{parameter}: row {n} of {path!r} has {len(row)} cells, the header {len(header)}"
            )
    return _from_rows(header, rows[1:], path, parameter, typed=_from_text)


def _from_json(text: str, by_line: bool, path: str, parameter: str) -> Frame:
    lines = [line for line in text.split("\n") if line.strip()] if by_line else [text]
    if len(lines) > MAX_ROWS:
        raise ToolError("limit", f"{parameter}: {path!r} has more than {MAX_ROWS} rows")
    with parsing(parameter, path, "JSON table"):
        items = [json.loads(line) for line in lines]
    items = items if by_line else items[0]
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ToolError("tool_error", f"{parameter}: {path!r} should hold a list of objects, one for each row")
    names = list(dict.fromkeys(name for item in items for name in item))
    if len(names) * len(items) > MAX_CELLS:
        raise ToolError("limit", f"{parameter}: {path!r} has more than {MAX_CELLS} cells")
    return _from_rows(names, [[item.get(name) for name in names] for item in items], path, parameter)


def _from_parquet(content: bytes, path: str, parameter: str) -> Frame:
    with parsing(parameter, path, "Parquet table"):
        import pyarrow.parquet

        file = pyarrow.parquet.ParquetFile(io.BytesIO(content))
        groups = [file.metadata.row_group(n) for n in range(file.metadata.num_row_groups)]
        size = sum(group.total_byte_size for group in groups)
        if file.metadata.num_rows > MAX_ROWS or len(file.schema_arrow.names) > MAX_COLUMNS or size > 64 * 1024 * 1024:
            raise ToolError("limit", f"{parameter}: {path!r} has more than {MAX_ROWS} rows or {MAX_COLUMNS} columns")
        table = file.read(use_threads=False)
        columns = [column.to_pylist() for column in table.columns]
        return _from_rows(table.column_names, list(zip(*columns)) if columns else [], path, parameter)


def _from_rows(
    header: Sequence[Any],
    rows: Sequence[Sequence[Any]],
    path: str,
    parameter: str,
    typed: Callable[[list[Any]], list[Any]] | None = None,
) -> Frame:
    if not header:
        raise ToolError("tool_error", f"{parameter}: {path!r} is empty; a table begins with a row of column names")
    if len(header) > MAX_COLUMNS or len(rows) > MAX_ROWS or len(header) * len(rows) > MAX_CELLS:
        raise ToolError(
            "limit",
            f"{parameter}: {path!r} has {len(rows)} rows and {len(header)} columns; at most {MAX_ROWS}, {MAX_COLUMNS} "
            f"and {MAX_CELLS} cells are read",
        )
    names = _names(header)
    columns = zip(*rows) if rows else ([] for _ in names)
    values = [list(column) for column in columns]
    return make_frame(dict(zip(names, map(typed, values) if typed else values)))


def _names(header: Iterable[Any]) -> list[str]:
    """Column names: missing ones are numbered, and what appears twice is made distinct."""
    names: dict[str, None] = {}
    for n, value in enumerate(header, 1):
        text = cut(plain_text(value).strip(), MAX_NAME) if value is not None else ""
        base = name = text or f"column_{n}"
        number = 2
        while name in names:
            name, number = f"{base}_{number}", number + 1
        names[name] = None
    return list(names)


def _from_text(cells: list[str]) -> list[Any]:
    """The cells of a column of a text file: all numbers, all true or false, or all texts."""
    known = [cell for cell in cells if cell]
    if known and all(map(_INTEGER.fullmatch, known)):
        return [int(cell) if cell else None for cell in cells]
    if known and all(_NUMBER.fullmatch(cell) and cell[-1] not in "+-." for cell in known):
        return [float(cell) if cell else None for cell in cells]
    if known and {cell.lower() for cell in known} <= {"true", "false"}:
        return [cell.lower() == "true" if cell else None for cell in cells]
    return [cell or None for cell in cells]


def make_frame(columns: dict[str, list[Any]]) -> Frame:
    """A data frame of Python values, each column of one of the five types."""
    import pandas as pd

    return pd.DataFrame({name: make_series(values) for name, values in columns.items()})


def make_series(values: list[Any]) -> Any:
    """A pandas series of one of the five types."""
    import pandas as pd

    values = [_plain(value) for value in values]
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return pd.Series(values, dtype="boolean")
    if kinds == {int} and all(value is None or abs(value) < 2**63 for value in values):
        return pd.Series(values, dtype="Int64")
    if kinds and kinds <= {int, float}:
        return pd.Series([None if value is None else _finite(value) for value in values], dtype="Float64")
    if kinds == {datetime.datetime}:
        return pd.Series(values, dtype="datetime64[us]")
    return pd.Series([None if value is None else plain_text(value) for value in values], dtype=text_type())


def text_type() -> Any:
    """The dtype of text columns, whose patterns are Python's."""
    import pandas as pd

    return pd.StringDtype("python")


def _finite(value: float) -> float | None:
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _plain(value: Any) -> Any:
    """A value of a cell as None, bool, int, float, datetime or str."""
    if value is None or value != value:
        return None
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, datetime.datetime):
        value = value.astimezone(datetime.UTC) if value.tzinfo else value
        return (
            value.replace(tzinfo=None)
            if type(value) is datetime.datetime
            else value.to_pydatetime().replace(tzinfo=None)
        )
    if isinstance(value, datetime.date):
        return datetime.datetime(value.year, value.month, value.day)
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    return value if isinstance(value, bool | int | float | str) else plain_text(value)


def plain_text(value: Any) -> str:
    if isinstance(value, list | dict):
        value = json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, datetime.datetime):
        value = _moment(value, False)
    return str(value).encode("utf-8", "backslashreplace").decode()


def _moment(value: datetime.datetime, only_day: bool) -> str:
    return value.date().isoformat() if only_day else value.isoformat()


def column_kind(series: Any) -> str:
    """How results name the type of a column: integer, number, boolean, time or text."""
    name = str(series.dtype)
    if name.startswith("datetime"):
        return "time"
    return {"Int64": "integer", "Float64": "number", "boolean": "boolean"}.get(name, "text")


def values_of(series: Any) -> list[Any]:
    """The values of a series as JSON has them; missing and not finite ones are None, times ISO texts."""
    missing = series.isna().tolist()
    values = series.astype(object).tolist()
    known = [None if gone else value for value, gone in zip(values, missing)]
    if column_kind(series) == "time":
        days = all(value is None or value.time() == datetime.time() for value in known)
        return [None if value is None else _moment(value.to_pydatetime(), days) for value in known]
    return [number(value) if isinstance(value, float) else value for value in known]


def number(value: float | None) -> float | int | None:
    """A figure without the noise of binary fractions; None when it is not finite."""
    if value is None or value != value or math.isinf(value):
        return None
    return value if isinstance(value, int) else float(f"{value:.15g}")


def rows_of(frame: Frame) -> list[dict[str, Any]]:
    """The rows of a frame as JSON objects."""
    columns = [values_of(frame[name]) for name in frame.columns]
    return [dict(zip(frame.columns, row)) for row in zip(*columns)]


def show_rows(frame: Frame, limit: int = 20, offset: int = 0) -> dict[str, Any]:
    """A page of rows, as many as fit; texts are cut where a row is long."""
    rows = rows_of(frame.iloc[offset : offset + limit])
    if any(json_bytes(row) > MAX_RESULT_BYTES // 3 for row in rows):
        rows = [{name: cut(v, 40) if isinstance(v, str) else v for name, v in row.items()} for row in rows]
    if rows and json_bytes(rows[0]) > MAX_RESULT_BYTES - 10:
        raise ToolError("limit", f"a row of {len(rows[0])} columns is too long to be shown; name columns, or an output")
    taken: list[Any] = page("rows", rows, 0, len(rows) or 1)["rows"]
    after = offset + len(taken)
    return {"rows": taken, "total": len(frame), **({"next_offset": after} if after < len(frame) else {})}


def finish(context: Context, frame: Frame, output: str | None, **more: Any) -> dict[str, Any]:
    """The result of a tool that makes a table: written to a file, or else its first rows.

    Raises:
        ToolError: as ``store``.
    """
    frame = frame.reset_index(drop=True)
    if output is None:
        return {**show_rows(frame), **more}
    store(context, frame, output)
    return {"written": output, "total": len(frame), "columns": list(frame.columns)[:50], **more}


def store(context: Context, frame: Frame, output: str, sheet: str | None = None, parameter: str = "output") -> None:
    """Write a table in the format that the ending tells; with a sheet, the workbook's other sheets stay.

    Raises:
        ToolError: ``limit``, a wrong path, or a format that no table has.
    """
    kind = table_format(output, parameter)
    if len(frame.columns) > MAX_COLUMNS or len(frame) > MAX_ROWS or frame.size > MAX_CELLS:
        raise ToolError("limit", f"{parameter}: a table has at most {MAX_ROWS} rows, {MAX_COLUMNS} columns")
    names, columns = list(frame.columns), [values_of(frame[name]) for name in frame.columns]
    rows = list(zip(*columns)) if len(frame) else []
    context.files.new_file(output, parameter)
    context.check_deadline()
    if kind in ("csv", "tsv"):
        content = to_delimited(names, rows, "\t" if kind == "tsv" else ",").encode()
    elif kind == "parquet":
        content = _to_parquet(frame)
    elif kind == "xlsx":
        content = _to_workbook(context, names, rows, output, sheet)
    else:
        lines = [json.dumps(dict(zip(names, row)), ensure_ascii=False) for row in rows]
        content = ("".join(f"{line}\n" for line in lines) if kind == "jsonl" else _listed(lines)).encode()
    context.files.write(output, content, parameter)


def _listed(lines: list[str]) -> str:
    return "[\n" + ",\n".join(lines) + "\n]\n" if lines else "[]\n"


def to_delimited(names: Sequence[Any], rows: Sequence[Sequence[Any]], delimiter: str = ",") -> str:
    """A table as CSV."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([str(v).lower() if isinstance(v, bool) else v for v in row] for row in rows)
    return out.getvalue()


def _to_parquet(frame: Frame) -> bytes:
    import pyarrow
    import pyarrow.parquet

    out = io.BytesIO()
    table = pyarrow.Table.from_pandas(frame, preserve_index=False, nthreads=1)
    pyarrow.parquet.write_table(table.replace_schema_metadata(None), out)
    return out.getvalue()


def _to_workbook(context: Context, names: list[str], rows: list[Any], output: str, sheet: str | None) -> bytes:
    import openpyxl

    if len(names) * (len(rows) + 1) > MAX_SHEET_CELLS:
        raise ToolError(
            "limit", f"output: a sheet is written with at most {MAX_SHEET_CELLS} cells; use .csv or .parquet"
        )
    if sheet is None:
        book = openpyxl.Workbook()
        target = book.worksheets[0]
        target.title = "data"
    else:
        book = load_workbook(context, output, "output")
        target = pick_sheet(book, sheet)
        target.delete_rows(1, target.max_row)
    for n, row in enumerate([names, *rows], 1):
        for m, value in enumerate(row, 1):
            put(target, n, m, value)
    return save_workbook(book)
