"""Changes to table files: rows added, changed and removed, gaps filled, texts cleaned, types converted.

Each tool writes the file itself, or ``output`` when that is given. Other sheets of a workbook stay.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from annotated_types import Len, MinLen
from typing_extensions import TypedDict

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.conditions import Where
from mcpserver.tools.tabular._columns import as_cell, check_columns, mask, number_columns, numbers, times
from mcpserver.tools.tabular._tables import (
    Columns,
    Frame,
    Value,
    column_kind,
    load,
    make_series,
    store,
    table_format,
    text_type,
    values_of,
)
from mcpserver.tools.tabular._workbooks import load_workbook, pick_sheet
from toolwright.words import shorten


class ByMethod(TypedDict):
    """A gap takes a figure of the column, or the value before or after it."""

    method: Literal["mean", "median", "most_frequent", "previous", "next", "interpolate"]


class ByValue(TypedDict):
    """A gap takes a value."""

    value: str | int | float | bool


class Replacement(TypedDict):
    """A value and what takes its place; null is a missing value."""

    old: Value
    new: Value


Row = Annotated[dict[str, Value], MinLen(1)]


def append_table_rows(
    context: Context,
    path: str,
    rows: Annotated[list[Row], Len(1, 500)],
    output: str | None = None,
    sheet: str | None = None,
) -> dict[str, Any]:
    """Add rows at the end of a table file.

    Args:
        path: file such as data/customers.csv
        rows: objects of column and value; columns that are left out stay empty
        output: file to write, else the file itself
        sheet: sheet of an Excel file, else its first one

    Example:
        {"path": "data/products.csv", "rows": [{"product_id": 901, "name": "Gauge", "price": 12.5, "stock": 4}]}
    """
    import pandas as pd

    frame = load(context, path, sheet)
    columns: dict[str, list[Any]] = {name: [] for name in frame.columns}
    for n, row in enumerate(rows):
        check_columns(frame, row, f"rows[{n}]")
        for name in frame.columns:
            columns[name].append(_new_cell(frame[name], row.get(name), f"rows[{n}].{name}"))
    grown = {name: _series_like(frame[name], values) for name, values in columns.items()}
    whole = {name: pd.concat(_same_type(frame[name], grown[name]), ignore_index=True) for name in columns}
    return _write(context, pd.DataFrame(whole), path, output, sheet, added=len(rows))


def update_table_rows(
    context: Context,
    path: str,
    where: Where,
    values: Row,
    output: str | None = None,
    sheet: str | None = None,
) -> dict[str, Any]:
    """Change columns of the rows of a table file that fulfil conditions.

    Args:
        path: file such as data/customers.csv
        where: conditions that must all hold; an entry with "any" holds when one of its conditions does
        values: objects of column and new value; null empties a cell
        output: file to write, else the file itself
        sheet: sheet of an Excel file, else its first one

    Example:
        {"path": "data/products.csv", "where": [{"column": "category", "operator": "=", "value": "Pump"},
            {"column": "stock", "operator": "<", "value": 20}], "values": {"stock": 20}}
    """
    frame = load(context, path, sheet)
    check_columns(frame, values, "values")
    chosen = mask(frame, where)
    for name, value in values.items():
        new = _new_cell(frame[name], value, f"values.{name}")
        frame[name] = _series_like(
            frame[name], [new if hit else old for hit, old in zip(chosen, _objects(frame[name]))], grow=True
        )
    return _write(context, frame, path, output, sheet, changed=int(chosen.sum()))


def delete_table_rows(
    context: Context, path: str, where: Annotated[Where, MinLen(1)], output: str | None = None, sheet: str | None = None
) -> dict[str, Any]:
    """Remove the rows of a table file that fulfil conditions.

    Args:
        path: file such as data/customers.csv
        where: conditions that must all hold; an entry with "any" holds when one of its conditions does
        output: file to write, else the file itself
        sheet: sheet of an Excel file, else its first one

    Example:
        {"path": "data/tickets.jsonl", "where": [{"column": "priority", "operator": "=", "value": "low"}]}
    """
    frame = load(context, path, sheet)
    chosen = mask(frame, where)
    return _write(context, frame[~chosen], path, output, sheet, removed=int(chosen.sum()))


def fill_missing(
    context: Context,
    path: str,
    fill: ByMethod | ByValue,
    columns: Columns | None = None,
    output: str | None = None,
    sheet: str | None = None,
) -> dict[str, Any]:
    """Fill the missing values of a table file by a method or with a value.

    Args:
        path: file such as data/sensors.csv
        fill: object with a method (interpolate: on a straight line between neighbours) or a value
        columns: columns to fill, else all that the method can (those of numbers for mean, median and interpolate)
        output: file to write, else the file itself
        sheet: sheet of an Excel file, else its first one

    Example:
        {"path": "data/sensors.csv", "fill": {"method": "interpolate"}, "columns": ["temperature", "pressure"]}
        {"path": "data/sensors.csv", "fill": {"value": 0}, "columns": ["humidity"], "output": "out/filled.csv"}
    """
    frame = load(context, path, sheet)
    before = int(frame.isna().sum().sum())
    if fill.get("method") in ("mean", "median", "interpolate"):
        names = number_columns(frame, columns)
    else:
        names = check_columns(frame, columns or frame.columns, "columns")
    for name in names:
        if frame[name].isna().any():
            frame[name] = _filled(frame, name, fill)
    left = int(frame.isna().sum().sum())
    return _write(context, frame, path, output, sheet, filled=before - left, still_missing=left)


def replace_values(
    context: Context,
    path: str,
    column: str,
    replacements: Annotated[list[Replacement], Len(1, 100)],
    output: str | None = None,
    sheet: str | None = None,
) -> dict[str, Any]:
    """Replace whole values of a column of a table file by others.

    Args:
        path: file such as data/sales.csv
        column: column to change
        replacements: old and new values; null is a missing value
        output: file to write, else the file itself
        sheet: sheet of an Excel file, else its first one

    Example:
        {"path": "data/sales.csv", "column": "region", "replacements": [{"old": "North", "new": "N"},
            {"old": "South", "new": "S"}]}
    """
    frame = load(context, path, sheet)
    check_columns(frame, [column], "column")
    series, changed = frame[column], 0
    known: dict[Any, Any] = {}
    for n, item in enumerate(replacements):
        old = None if item["old"] is None else as_cell(series, item["old"], f"replacements[{n}].old")
        known[old] = _new_cell(series, item["new"], f"replacements[{n}].new")
    values = _objects(series)
    changed = sum(value in known for value in values)
    frame[column] = _series_like(series, [known.get(value, value) for value in values], grow=True)
    return _write(context, frame, path, output, sheet, changed=changed)


def cast_columns(
    context: Context,
    path: str,
    types: Annotated[dict[str, Literal["integer", "number", "text", "boolean", "date"]], MinLen(1)],
    invalid: Literal["refuse", "empty"] = "refuse",
    output: str | None = None,
    sheet: str | None = None,
) -> dict[str, Any]:
    """Convert columns of a table file to another type.

    Args:
        path: file such as data/survey.csv
        types: object of column and new type; dates are written as YYYY-MM-DD, boolean takes yes/no, true/false, 1/0
        invalid: refuse when a value does not fit the type, or leave its cell empty
        output: file to write, else the file itself
        sheet: sheet of an Excel file, else its first one

    Example:
        {"path": "data/survey.csv", "types": {"satisfied": "boolean", "respondent": "text"}}
    """
    frame = load(context, path, sheet)
    check_columns(frame, types, "types")
    emptied = 0
    for name, kind in types.items():
        old = _objects(frame[name])
        new = [None if value is None else _cast(value, kind) for value in old]
        bad = [value for value, now in zip(old, new) if now is None and value is not None]
        if bad and invalid == "refuse":
            raise ToolError(
                "tool_error", f"types.{name}: {len(bad)} values are no {kind}, such as {shorten(str(bad[0]), 60)}"
            )
        emptied += len(bad)
        frame[name] = make_series(new)
    return _write(context, frame, path, output, sheet, emptied=emptied)


def clean_text_columns(
    context: Context,
    path: str,
    operations: Annotated[
        list[Literal["strip", "collapse_spaces", "lower", "upper", "title", "remove_digits", "remove_punctuation"]],
        Len(1, 7),
    ],
    columns: Columns | None = None,
    output: str | None = None,
    sheet: str | None = None,
) -> dict[str, Any]:
    """Clean the texts of columns of a table file: spaces, case, digits, punctuation.

    Args:
        path: file such as data/customers.csv
        operations: what is done, in order
        columns: columns of texts, else all of them
        output: file to write, else the file itself
        sheet: sheet of an Excel file, else its first one

    Example:
        {"path": "data/customers.csv", "operations": ["strip", "upper"], "columns": ["country"]}
    """
    frame = load(context, path, sheet)
    names = check_columns(frame, columns or frame.columns, "columns")
    changed = 0
    for name in names:
        if column_kind(frame[name]) != "text":
            if columns:
                raise ToolError(
                    "bad_arguments", f"columns: {name!r} holds {column_kind(frame[name])} values, not texts"
                )
            continue
        old = _objects(frame[name])
        new = [None if value is None else _clean(value, operations) or None for value in old]
        changed += sum(before != after for before, after in zip(old, new))
        frame[name] = make_series(new).astype(text_type())
    return _write(context, frame, path, output, sheet, changed=changed)


def _write(
    context: Context, frame: Frame, path: str, output: str | None, sheet: str | None, **more: int
) -> dict[str, Any]:
    """Write the changed table to the file itself (into its sheet) or to another one."""
    frame = frame.reset_index(drop=True)
    target = output or path
    own_sheet = None
    if output is None and table_format(path) == "xlsx":
        own_sheet = pick_sheet(load_workbook(context, path), sheet).title
    store(context, frame, target, own_sheet)
    return {"written": target, "total": len(frame), **more}


def _objects(series: Any) -> list[Any]:
    """The values of a series as Python values, None where one is missing."""
    known = series.astype(object)
    values: list[Any] = known.where(series.notna(), None).tolist()
    return values


def _new_cell(series: Any, value: Value, place: str) -> Any:
    """A value for a column; a whole-number column may get fractions, an empty column anything."""
    if value is None:
        return None
    if not series.notna().any():
        return value
    if column_kind(series) == "integer" and isinstance(value, float) and not value.is_integer():
        as_cell(series, value, place)
        return value
    return as_cell(series, value, place)


def _series_like(series: Any, values: list[Any], grow: bool = False) -> Any:
    """Values as a series of the type of another one; or of a wider type where they need it."""
    made = make_series(values)
    is_wider = (column_kind(series), column_kind(made)) == ("integer", "number")
    if series.notna().any() and not is_wider:
        return made.astype(series.dtype)
    return made


def _same_type(first: Any, second: Any) -> list[Any]:
    if not first.notna().any():
        return [
            first.astype(second.dtype) if not len(first) else make_series([None] * len(first)).astype(second.dtype),
            second,
        ]
    return [first.astype(second.dtype), second]


def _filled(frame: Frame, name: str, fill: Any) -> Any:
    series = frame[name]
    if "value" in fill:
        value = _new_cell(series, fill["value"], "fill.value")
        return _series_like(series, [value if old is None else old for old in _objects(series)], grow=True)
    match fill["method"]:
        case "previous":
            return series.ffill()
        case "next":
            return series.bfill()
        case "most_frequent":
            modes = series.mode()
            return series.fillna(modes.iloc[0]) if len(modes) else series
        case "interpolate":
            known = numbers(frame, name).astype(float).interpolate(limit_area="inside")
            return make_series([None if value != value else float(f"{value:.12g}") for value in known.tolist()])
    known = numbers(frame, name).dropna().astype(float)
    if not len(known):
        return series
    figure = float(f"{known.mean() if fill['method'] == 'mean' else known.median():.12g}")
    return make_series([figure if old is None else old for old in _objects(series)])


def _cast(value: Any, kind: str) -> Any:
    """A value as another type, None when it does not fit."""
    text = str(value).strip()
    if kind == "text":
        return values_of(make_series([value]))[0] if not isinstance(value, str) else value
    if kind == "boolean":
        true, false = ("true", "yes", "1", "1.0"), ("false", "no", "0", "0.0")
        return True if text.lower() in true else False if text.lower() in false else None
    if kind == "date":
        return _day(text)
    try:
        number = float(text)
        if kind == "number":
            return number if abs(number) < 1e300 else None
        return int(number) if number.is_integer() and abs(number) < 2**53 else None
    except (ValueError, OverflowError):
        return None


def _day(text: str) -> Any:
    import pandas as pd

    frame = pd.DataFrame({"day": make_series([text])})
    try:
        return times(frame, "day", "types").iloc[0].to_pydatetime().date()
    except ToolError:
        return None


def _clean(text: str, operations: Sequence[str]) -> str:
    for operation in operations:
        match operation:
            case "strip":
                text = text.strip()
            case "collapse_spaces":
                text = " ".join(text.split())
            case "remove_digits":
                text = "".join(character for character in text if not character.isdigit())
            case "remove_punctuation":
                text = "".join(character for character in text if character.isalnum() or character.isspace())
            case _:
                text = getattr(text, operation)()
    return text
