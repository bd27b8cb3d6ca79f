"""Columns of loaded tables: find them, check their type, compare them with values, sum them up by group."""

import math
import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Len
from typing_extensions import TypedDict

from mcpserver.tool_error import ToolError
from mcpserver.toolbox.conditions import AnyOf, Condition, groups
from mcpserver.tools.tabular._tables import MAX_NAME, Frame, column_kind, plain_text, values_of
from toolwright.words import cut, nearest, shorten

_NUMERIC = ("Int64", "Float64", "boolean")


class Measure(TypedDict):
    """A figure of a group of rows; only ``count`` needs no column."""

    function: Literal["count", "sum", "mean", "median", "min", "max", "std", "distinct", "first", "last"]
    column: NotRequired[str]
    name: NotRequired[str]


Measures = Annotated[list[Measure], Len(1, 20)]


def check_columns(frame: Frame, names: Iterable[str], parameter: str) -> list[str]:
    """Refuse names that are no columns.

    Raises:
        ToolError: ``bad_arguments`` with the nearest names.
    """
    known, found = list(frame.columns), list(names)
    for name in found:
        if name not in known:
            raise ToolError("bad_arguments", f"{parameter}: no column {shorten(name, 60)}{nearest(name, known)}")
    return found


def new_name(frame: Frame, name: str, parameter: str = "name") -> str:
    """A name for a new column.

    Raises:
        ToolError: ``bad_arguments`` for an empty or long one, ``tool_error`` for one that is taken.
    """
    text = name.encode("utf-8", "backslashreplace").decode()
    if not text.strip() or len(text) > MAX_NAME:
        raise ToolError("bad_arguments", f"{parameter}: a column name has 1 to {MAX_NAME} characters")
    if text in frame.columns:
        raise ToolError("tool_error", f"{parameter}: there is a column {text!r} already")
    return text


def numbers(frame: Frame, name: str, parameter: str = "column") -> Any:
    """A column as ``Float64``.

    Raises:
        ToolError: ``bad_arguments`` for no such column or one without numbers.
    """
    check_columns(frame, [name], parameter)
    if str(frame[name].dtype) not in _NUMERIC:
        near = [each for each in frame.columns if str(frame[each].dtype) in _NUMERIC]
        hint = f"; columns of numbers are {', '.join(near[:10])}" if near else ""
        raise ToolError("bad_arguments", f"{parameter}: {name!r} holds {column_kind(frame[name])}, not numbers{hint}")
    return frame[name].astype("Float64")


def number_columns(frame: Frame, names: list[str] | None, parameter: str = "columns") -> list[str]:
    """The named columns, which must hold numbers, else all that do.

    Raises:
        ToolError: ``bad_arguments``; ``tool_error`` when the table has none.
    """
    for name in names or ():
        numbers(frame, name, parameter)
    found = names or [name for name in frame.columns if str(frame[name].dtype) in _NUMERIC[:2]]
    if not found:
        raise ToolError("tool_error", f"{parameter}: the table has no columns of numbers")
    return list(dict.fromkeys(found))


def times(frame: Frame, name: str, parameter: str) -> Any:
    """A column as times; texts must be ISO dates or times.

    Raises:
        ToolError: ``bad_arguments``.
    """
    import pandas as pd

    check_columns(frame, [name], parameter)
    series = frame[name]
    if column_kind(series) == "time":
        return series
    try:
        if column_kind(series) != "text":
            raise ValueError("they are numbers")
        found = pd.to_datetime(series, format="ISO8601", utc=True)
    except (ValueError, OverflowError) as error:
        raise ToolError("bad_arguments", f"{parameter}: {name!r} holds no dates ({cut(str(error), 80)})") from None
    return found.dt.tz_localize(None).astype("datetime64[us]")


def grouped(frame: Frame, keys: list[Any], measures: list[Measure]) -> Frame:
    """A frame with a row for each group: its keys (series of the frame's length), then the measures.

    Raises:
        ToolError: ``bad_arguments``.
    """
    import pandas as pd

    names = [str(key.name) for key in keys]
    if len(set(names)) < len(names):
        raise ToolError("bad_arguments", f"group_by: {shorten(names, 80)} names a column twice")
    found: dict[str, Any] = {}
    for item in measures:
        name = item.get("name") or "_".join(filter(None, (item["function"], item.get("column"))))
        if name in found or name in names or not name.strip() or len(name) > MAX_NAME + 20:
            raise ToolError("bad_arguments", f"measures: {shorten(name, 60)} is no new name; give another name")
        found[plain_text(name)] = _figure(frame, keys, item)
    return pd.DataFrame(found).reset_index()


def _figure(frame: Frame, keys: list[Any], item: Measure) -> Any:
    function, column = item["function"], item.get("column")
    if column is None:
        if function != "count":
            raise ToolError("bad_arguments", f"measures: {function} needs a column")
        return frame.groupby(keys, dropna=False).size().astype("Int64")
    check_columns(frame, [column], "measures")
    series = frame[column]
    if function in ("sum", "mean", "median", "std"):
        series = numbers(frame, column, "measures")
        if function == "sum" and str(frame[column].dtype) == "Int64" and float(series.abs().sum()) < 2**53:
            series = frame[column]  # whole numbers stay whole
    found = series.groupby(keys, dropna=False).agg({"distinct": "nunique"}.get(function, function))
    return found.astype("Int64") if function in ("count", "distinct") else found


def mask(frame: Frame, where: list[Condition | AnyOf]) -> Any:
    """Which rows fulfil all conditions, as a series of bools.

    Raises:
        ToolError: ``bad_arguments``.
    """
    import pandas as pd

    kept = pd.Series(True, index=frame.index)
    for place, alternatives in groups(where):
        check_columns(frame, (condition["column"] for condition in alternatives), place)
        found = pd.Series(False, index=frame.index)
        for condition in alternatives:
            found |= _holds(frame[condition["column"]], condition, place).fillna(False).astype(bool)
        kept &= found
    return kept


def _holds(series: Any, condition: Condition, place: str) -> Any:
    operator, value = condition["operator"], condition.get("value")
    if operator in ("is_missing", "is_present"):
        return series.isna() == (operator == "is_missing")
    if operator in ("contains", "starts_with", "ends_with", "matches"):
        return _text_holds(series, operator, str(value), place)
    values = [as_cell(series, item, place) for item in (value if isinstance(value, list) else [value])]
    match operator:
        case "in":
            return series.isin(values)
        case "not_in":
            return ~series.isin(values) & series.notna()
        case "between":
            return (series >= values[0]) & (series <= values[1])
    compare = {"=": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}[operator]
    return getattr(series, compare)(values[0])


def _text_holds(series: Any, operator: str, value: str, place: str) -> Any:
    import pandas as pd

    try:
        pattern = re.compile(value if operator == "matches" else re.escape(value), 0 if operator == "matches" else re.I)
    except (re.error, RecursionError, OverflowError) as error:
        raise ToolError("bad_arguments", f"{place}: {shorten(value, 60)} is no pattern: {error}") from None
    texts = [None if text is None else str(text) for text in values_of(series)]
    if operator == "starts_with":
        found = [text is not None and pattern.match(text) is not None for text in texts]
    elif operator == "ends_with":
        found = [text is not None and text.lower().endswith(value.lower()) for text in texts]
    else:
        found = [text is not None and pattern.search(text) is not None for text in texts]
    return pd.Series(found, index=series.index, dtype=bool)


def as_cell(series: Any, value: Any, place: str) -> Any:
    """A given value as the column holds it, to compare or to put there.

    Raises:
        ToolError: ``bad_arguments``, a value of another kind.
    """
    import pandas as pd

    if value is None:
        return pd.NA
    kind = column_kind(series)
    try:
        if kind == "text":
            return plain_text(str(value).lower() if isinstance(value, bool) else value)
        if kind == "boolean":
            return {"true": True, "false": False, "1": True, "0": False}[str(value).lower()]
        if kind == "time":
            return pd.to_datetime(str(value), format="ISO8601", utc=True).tz_localize(None).as_unit("us")
        known = float(value)
        if isinstance(value, bool) or not math.isfinite(known) or abs(known) >= 1e18:
            raise ValueError
        return int(known) if known.is_integer() and kind == "integer" else known
    except (ValueError, KeyError, OverflowError):
        raise ToolError(
            "bad_arguments", f"{place}: {series.name!r} holds {kind} values, got {shorten(value, 60)}"
        ) from None
