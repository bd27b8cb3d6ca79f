"""Figures about the columns of table files: distributions, gaps, outliers, series over time, rules that hold.

A tool that makes a table writes it to ``output``, whose ending tells the format, or else returns the first rows.
"""

import bisect
import math
import re
from itertools import pairwise
from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Gt, Le, Len
from typing_extensions import TypedDict

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.results import clip, page
from mcpserver.tools.tabular._columns import (
    Measures,
    as_cell,
    check_columns,
    grouped,
    new_name,
    number_columns,
    numbers,
    times,
)
from mcpserver.tools.tabular._tables import (
    Columns,
    Frame,
    Limit,
    column_kind,
    finish,
    load,
    make_series,
    number,
    show_rows,
    values_of,
)
from toolwright.words import shorten


class PresentRule(TypedDict):
    """No value of the column is missing."""

    column: str
    rule: Literal["present", "unique"]


class RangeRule(TypedDict):
    """Numbers, or ISO dates, stay within bounds."""

    column: str
    rule: Literal["range"]
    min: NotRequired[float | str]
    max: NotRequired[float | str]


class OneOfRule(TypedDict):
    """Each value is one of a list."""

    column: str
    rule: Literal["one_of"]
    values: Annotated[list[str | int | float | bool], Len(1, 200)]


class PatternRule(TypedDict):
    """Each whole value fits a pattern of Python's ``re``."""

    column: str
    rule: Literal["pattern"]
    pattern: Annotated[str, Len(1, 300)]


Rule = PresentRule | RangeRule | OneOfRule | PatternRule
Name = Annotated[str, Len(1, 100)]


def count_values(
    context: Context, path: str, columns: Columns, limit: Limit = 20, sheet: str | None = None
) -> dict[str, Any]:
    """Count how often each value of a column of a table file appears, or each combination of several columns.

    Args:
        path: file such as data/sales.csv
        columns: columns whose values are counted
        limit: values to return, the most frequent ones first
        sheet: sheet of an Excel file, else its first one

    Example:
        {"path": "data/sales.csv", "columns": ["product"]}
        {"path": "data/survey.csv", "columns": ["group", "satisfied"]}
    """
    frame = load(context, path, sheet)
    names = list(dict.fromkeys(check_columns(frame, columns, "columns")))
    counts = frame.groupby([frame[name] for name in names], dropna=False).size().reset_index(name="_count")
    counts = counts.sort_values("_count", ascending=False, kind="stable")
    found = show_rows(counts.rename(columns={"_count": _count_name(names)}), limit)
    return {"values": found.pop("rows"), **found, "rows": len(frame)}


def column_quantiles(
    context: Context,
    path: str,
    column: str,
    quantiles: Annotated[list[Annotated[float, Ge(0), Le(1)]], Len(1, 50)],
    sheet: str | None = None,
) -> dict[str, Any]:
    """Get quantiles of a column of numbers of a table file.

    Args:
        path: file such as data/sales.csv
        column: column of numbers
        quantiles: shares between 0 and 1
        sheet: sheet of an Excel file, else its first one

    Example:
        {"path": "data/employees.csv", "column": "salary", "quantiles": [0.1, 0.5, 0.9]}
    """
    known = _known(load(context, path, sheet), column)
    values = known.quantile(quantiles).tolist()
    return {"quantiles": [{"share": q, "value": number(v)} for q, v in zip(quantiles, values)], "count": len(known)}


def histogram_column(
    context: Context,
    path: str,
    column: str,
    bins: Annotated[int, Ge(1), Le(100)] | Annotated[list[float], Len(2, 101)] = 10,
    sheet: str | None = None,
) -> dict[str, Any]:
    """Count the values of a column of a table file by interval.

    Args:
        path: file such as data/sales.csv
        column: column of numbers
        bins: number of intervals of the same width, or their rising edges
        sheet: sheet of an Excel file, else its first one

    Example:
        {"path": "data/employees.csv", "column": "salary", "bins": 6}
        {"path": "data/survey.csv", "column": "age", "bins": [18, 30, 45, 60, 100]}
    """
    import numpy as np

    known = _known(load(context, path, sheet), column)
    if isinstance(bins, list):
        _check_edges(bins, "bins")
    try:
        counts, edges = np.histogram(known.to_numpy(), bins)
    except (ValueError, OverflowError, MemoryError) as error:
        raise ToolError("tool_error", f"column: {column!r} cannot be cut into intervals ({error})") from None
    found = [
        {"from": number(low), "to": number(high), "count": int(count)}
        for low, high, count in zip(edges[:-1].tolist(), edges[1:].tolist(), counts)
    ]
    return {**page("bins", found), "outside": len(known) - int(counts.sum())}


def correlate_columns(
    context: Context,
    path: str,
    columns: Annotated[list[str], Len(2, 20)] | None = None,
    method: Literal["pearson", "spearman", "kendall"] = "pearson",
    sheet: str | None = None,
) -> dict[str, Any]:
    """Get the correlation matrix of columns of numbers of a table file.

    Args:
        path: file such as data/sensors.csv
        columns: columns of numbers, else the first 20 of them
        method: kind of correlation
        sheet: sheet of an Excel file, else its first one

    Example:
        {"path": "data/sensors.csv"}
        {"path": "data/survey.csv", "columns": ["age", "score_before", "score_after"], "method": "spearman"}
    """
    frame = load(context, path, sheet)
    names = number_columns(frame, columns)[:20]
    if method == "kendall" and len(frame) > 5000:
        raise ToolError("limit", "method: kendall takes at most 5000 rows; use spearman")
    known = frame[names].astype("Float64").astype(float)
    ranked = known.rank() if method == "spearman" and not known.isna().any(axis=None) else known
    matrix = _kendall(known) if method == "kendall" else _pairs(ranked, method)
    return {"method": method, "columns": names, "matrix": matrix}


def find_outliers(
    context: Context,
    path: str,
    column: str,
    method: Literal["iqr", "zscore", "mad"] = "iqr",
    threshold: Annotated[float, Gt(0), Le(100)] | None = None,
    output: str | None = None,
    sheet: str | None = None,
) -> dict[str, Any]:
    """Find the rows of a table file whose value in a column lies far from the others.

    Args:
        path: file such as data/sales.csv
        column: column of numbers
        method: iqr: beyond the quartiles by a multiple of their distance (1.5); zscore: standard deviations from the
            mean (3); mad: robust z-score around the median (3.5)
        threshold: multiple that counts as far, else the number in brackets
        output: file to write such as out/outliers.csv; without it the first rows are returned
        sheet: sheet of an Excel file, else its first one

    Example:
        {"path": "data/sales.csv", "column": "units"}
        {"path": "data/sensors.csv", "column": "temperature", "method": "zscore", "threshold": 2}
    """
    frame = load(context, path, sheet)
    low, high = _bounds(_known(frame, column), method, threshold)
    series = numbers(frame, column)
    far = ((series < low) | (series > high)).fillna(False).astype(bool)
    return finish(context, frame[far], output, low=number(low), high=number(high))


def resample_table(
    context: Context,
    path: str,
    time_column: str,
    frequency: Literal["minute", "hour", "day", "week", "month", "quarter", "year"],
    measures: Measures,
    group_by: str | None = None,
    output: str | None = None,
    sheet: str | None = None,
) -> dict[str, Any]:
    """Sum up a time series of a table file by hour, day, week, month, quarter or year; empty periods are left out.

    Args:
        path: file such as data/sensors.csv
        time_column: column of ISO dates or times
        frequency: length of the periods; each is named by its first moment, weeks begin on Monday
        measures: figures to work out for each period
        group_by: column that makes a series of its own for each value
        output: file to write such as out/daily.csv; without it the first rows are returned
        sheet: sheet of an Excel file, else its first one

    Example:
        {"path": "data/sales.csv", "time_column": "date", "frequency": "month",
            "measures": [{"function": "sum", "column": "units"}, {"function": "count"}]}
        {"path": "data/sensors.csv", "time_column": "time", "frequency": "day", "group_by": "station",
            "measures": [{"function": "mean", "column": "temperature"}]}
    """
    frame = load(context, path, sheet)
    moments = times(frame, time_column, "time_column")
    frame, moments = frame[moments.notna()], moments[moments.notna()]
    codes = {"minute": "min", "hour": "h", "day": "D", "week": "W", "month": "M", "quarter": "Q", "year": "Y"}
    try:
        starts = moments.dt.to_period(codes[frequency]).dt.start_time.astype("datetime64[us]")
    except (ValueError, OverflowError) as error:
        raise ToolError("tool_error", f"time_column: the times of {time_column!r} are out of range ({error})") from None
    keys = [starts.rename(time_column)]
    if group_by is not None:
        keys.append(frame[check_columns(frame, [group_by], "group_by")[0]])
    return finish(context, grouped(frame, keys, measures), output)


def roll_column(
    context: Context,
    path: str,
    column: str,
    window: Annotated[int, Ge(2), Le(1000)],
    function: Literal["mean", "sum", "min", "max", "median", "std"] = "mean",
    order_by: str | None = None,
    group_by: str | None = None,
    name: Name | None = None,
    output: str | None = None,
    sheet: str | None = None,
) -> dict[str, Any]:
    """Add a moving average (or sum, lowest, highest value) over the last rows of a table file.

    Args:
        path: file such as data/sensors.csv
        column: column of numbers
        window: rows to look back, with the row itself; fewer at the beginning
        function: figure of the window
        order_by: column to sort by first
        group_by: column whose values are series of their own
        name: name of the new column
        output: file to write such as out/smooth.csv; without it the first rows are returned
        sheet: sheet of an Excel file, else its first one

    Example:
        {"path": "data/sensors.csv", "column": "temperature", "window": 3, "order_by": "time", "group_by": "station"}
    """
    frame = _ordered(load(context, path, sheet), order_by)
    series = numbers(frame, column).astype(float)

    def roll(part: Any) -> Any:
        return getattr(part.rolling(window, min_periods=1), function)()

    found = _by_group(frame, series, group_by, roll)
    title = new_name(frame, name or f"{column}_{function}_{window}")
    return finish(context, frame.assign(**{title: _numbers(found)}), output)


def derive_column(
    context: Context,
    path: str,
    column: str,
    function: Literal["difference", "percent_change", "previous", "cumulative_sum", "rank", "share", "zscore"],
    order_by: str | None = None,
    group_by: str | None = None,
    name: Name | None = None,
    output: str | None = None,
    sheet: str | None = None,
) -> dict[str, Any]:
    """Add a column that relates each value to the others: change, running total, rank, share of the sum.

    Args:
        path: file such as data/sales.csv
        column: column of numbers
        function: rank 1 is the highest value; share and percent_change are fractions of 1
        order_by: column to sort by first
        group_by: column whose values are groups of their own
        name: name of the new column
        output: file to write such as out/ranked.csv; without it the first rows are returned
        sheet: sheet of an Excel file, else its first one

    Example:
        {"path": "data/employees.csv", "column": "salary", "function": "rank", "group_by": "department"}
        {"path": "data/meters.parquet", "column": "kwh", "function": "cumulative_sum", "order_by": "day",
            "group_by": "meter"}
    """
    frame = _ordered(load(context, path, sheet), order_by)
    series = numbers(frame, column).astype(float)
    derive = {
        "difference": lambda part: part.diff(),
        "percent_change": lambda part: part.diff() / part.shift().abs(),
        "previous": lambda part: part.shift(),
        "cumulative_sum": lambda part: part.cumsum(),
        "rank": lambda part: part.rank(ascending=False, method="min"),
        "share": lambda part: part / part.sum(),
        "zscore": lambda part: (part - part.mean()) / part.std(),
    }[function]
    found = _by_group(frame, series, group_by, derive)
    title = new_name(frame, name or f"{column}_{function}")
    return finish(context, frame.assign(**{title: _numbers(found)}), output)


def bin_column(
    context: Context,
    path: str,
    column: str,
    edges: Annotated[list[float], Len(1, 50)],
    labels: Annotated[list[str], Len(2, 51)] | None = None,
    name: Name | None = None,
    output: str | None = None,
    sheet: str | None = None,
) -> dict[str, Any]:
    """Add a column that says into which band each number falls.

    Args:
        path: file such as data/survey.csv
        column: column of numbers
        edges: rising limits between the bands; a number equal to a limit belongs to the upper band
        labels: names of the bands from low to high, one more than there are edges
        name: name of the new column
        output: file to write such as out/bands.csv; without it the first rows are returned
        sheet: sheet of an Excel file, else its first one

    Example:
        {"path": "data/survey.csv", "column": "age", "edges": [30, 50], "labels": ["young", "middle", "old"]}
    """
    frame = load(context, path, sheet)
    series = numbers(frame, column)
    _check_edges(edges, "edges")
    texts = [f"{number(edge):g}" for edge in edges]
    names = labels or [f"< {texts[0]}", *map("{} to {}".format, texts, texts[1:]), f">= {texts[-1]}"]
    if len(names) != len(edges) + 1:
        raise ToolError(
            "bad_arguments", f"labels: {len(edges)} edges make {len(edges) + 1} bands, got {len(names)} labels"
        )
    bands = [None if value is None else names[bisect.bisect_right(edges, value)] for value in values_of(series)]
    counts = {band: bands.count(band) for band in dict.fromkeys(names)}
    made = frame.assign(**{new_name(frame, name or f"{column}_band"): make_series(list(bands))})
    return finish(context, made, output, counts=counts)


def missing_report(context: Context, path: str, sheet: str | None = None) -> dict[str, Any]:
    """Count the missing values of a table file by column, and how many rows are complete.

    Args:
        path: file such as data/sensors.csv
        sheet: sheet of an Excel file, else its first one

    Example:
        {"path": "data/sensors.csv"}
    """
    frame = load(context, path, sheet)
    missing = frame.isna()
    columns = [
        {"column": name, "missing": int(count), "share": number(count / len(frame)) if len(frame) else 0.0}
        for name, count in missing.sum().items()
    ]
    complete = int((~missing.any(axis="columns")).sum())
    return {
        "rows": len(frame),
        "complete_rows": complete,
        "missing": int(missing.sum().sum()),
        **page("columns", columns),
    }


def validate_table(
    context: Context,
    path: str,
    rules: Annotated[list[Rule], Len(1, 30)],
    sheet: str | None = None,
) -> dict[str, Any]:
    """Check the values of a table file against rules, and name the rows that break them.

    Args:
        path: file such as data/customers.csv
        rules: rules for columns: present, unique, range (min, max), one_of (values), pattern; missing values break
            only present
        sheet: sheet of an Excel file, else its first one

    Example:
        {"path": "data/employees.csv", "rules": [{"column": "id", "rule": "unique"},
            {"column": "salary", "rule": "range", "min": 20000, "max": 200000},
            {"column": "department", "rule": "one_of", "values": ["Sales", "Engineering", "Finance", "HR"]},
            {"column": "email", "rule": "pattern", "pattern": "[^@]+@[^@]+"}]}
    """
    frame = load(context, path, sheet)
    found = []
    for n, rule in enumerate(rules):
        check_columns(frame, [rule["column"]], f"rules[{n}]")
        broken = _broken(frame[rule["column"]], rule, f"rules[{n}]")
        rows = [row for row, is_broken in enumerate(broken) if is_broken]
        values = values_of(frame[rule["column"]].iloc[rows[:5]])
        examples = [
            {"row": row + 1, "value": clip(value) if isinstance(value, str) else value}
            for row, value in zip(rows, values)
        ]
        found.append({"column": rule["column"], "rule": rule["rule"], "broken": len(rows), "examples": examples})
    return {"valid": all(not item["broken"] for item in found), "rows": len(frame), **page("rules", found)}


def _count_name(names: list[str]) -> str:
    return "count" if "count" not in names else "_count"


def _known(frame: Frame, column: str) -> Any:
    """The numbers of a column that are there, as floats."""
    known = numbers(frame, column).dropna().astype(float)
    if not len(known):
        raise ToolError("tool_error", f"column: {column!r} has no values")
    return known


def _check_edges(edges: list[float], parameter: str) -> None:
    if any(high <= low for low, high in pairwise(edges)) or not all(abs(edge) < 1e300 for edge in edges):
        raise ToolError("bad_arguments", f"{parameter}: the edges should rise, got {shorten(edges, 60)}")


def _pairs(known: Any, method: str) -> list[list[float | None]]:
    """The matrix of correlations; ranks are taken over the rows where both values are there."""
    rows: list[list[float | None]] = []
    for one in known.columns:
        row: list[float | None] = []
        for two in known.columns:
            both = known[[one, two]].dropna() if one != two else known[[one]].dropna()
            both = both.rank() if method == "spearman" else both
            row.append(_correlation(both[one], both[two]))
        rows.append(row)
    return rows


def _correlation(first: Any, second: Any) -> float | None:
    if len(first) < 2 or first.nunique() < 2 or second.nunique() < 2:
        return None
    one, two = first - first.mean(), second - second.mean()
    size = math.sqrt(float((one**2).sum())) * math.sqrt(float((two**2).sum()))
    return number(round(float((one * two).sum()) / size, 12)) if size and math.isfinite(size) else None


def _kendall(known: Any) -> list[list[float | None]]:
    """Kendall's tau-b, which takes ties into account."""
    from scipy.stats import kendalltau

    rows: list[list[float | None]] = []
    for one in known.columns:
        row: list[float | None] = []
        for two in known.columns:
            both = known[[one, two]].dropna() if one != two else known[[one]].dropna()
            is_constant = len(both) < 2 or both[one].nunique() < 2 or both[two].nunique() < 2
            tau = None if is_constant else float(kendalltau(both[one], both[two]).statistic)
            row.append(None if tau is None else number(round(tau, 12)))
        rows.append(row)
    return rows


def _bounds(known: Any, method: str, threshold: float | None) -> tuple[float, float]:
    if method == "iqr":
        low, high = known.quantile(0.25), known.quantile(0.75)
        reach = (threshold or 1.5) * (high - low)
        return float(low - reach), float(high + reach)
    if method == "zscore":
        reach = (threshold or 3) * (known.std() if len(known) > 1 else 0)
        return float(known.mean() - reach), float(known.mean() + reach)
    middle = known.median()
    reach = (threshold or 3.5) * (known - middle).abs().median() / 0.6745
    return float(middle - reach), float(middle + reach)


def _ordered(frame: Frame, order_by: str | None) -> Frame:
    if order_by is None:
        return frame
    check_columns(frame, [order_by], "order_by")
    return frame.sort_values(order_by, kind="stable").reset_index(drop=True)


def _by_group(frame: Frame, series: Any, group_by: str | None, function: Any) -> Any:
    """A function on each group of a series, in the order of the rows."""
    import pandas as pd

    if group_by is None:
        return function(series)
    check_columns(frame, [group_by], "group_by")
    parts = [function(series.iloc[rows]) for rows in frame.groupby(group_by, dropna=False).indices.values()]
    return pd.concat(parts).sort_index() if parts else series


def _numbers(found: Any) -> Any:
    return make_series([number(value) for value in found.astype(float).tolist()])


def _broken(series: Any, rule: Any, place: str) -> list[bool]:
    """Which values break a rule."""
    if rule["rule"] == "present":
        return [bool(gone) for gone in series.isna()]
    if rule["rule"] == "unique":
        return [bool(again) for again in series.duplicated(keep=False) & series.notna()]
    if rule["rule"] == "range":
        return _out_of_range(series, rule, place)
    if rule["rule"] == "one_of":
        allowed = [as_cell(series, value, f"{place}.values") for value in rule["values"]]
        return [bool(other) for other in ~series.isin(allowed) & series.notna()]
    try:
        pattern = re.compile(rule["pattern"])
    except (re.error, RecursionError, OverflowError) as error:
        raise ToolError("bad_arguments", f"{place}: {shorten(rule['pattern'], 60)} is no pattern: {error}") from None
    return [value is not None and not pattern.fullmatch(str(value)) for value in values_of(series)]


def _out_of_range(series: Any, rule: Any, place: str) -> list[bool]:
    if "min" not in rule and "max" not in rule:
        raise ToolError("bad_arguments", f"{place}: a range has min, max or both")
    if column_kind(series) == "boolean":
        raise ToolError("bad_arguments", f"{place}: {series.name!r} holds boolean values, which have no range")
    broken = series.isna() & False
    if "min" in rule:
        broken |= (series < as_cell(series, rule["min"], place)).fillna(False).astype(bool)
    if "max" in rule:
        broken |= (series > as_cell(series, rule["max"], place)).fillna(False).astype(bool)
    return [bool(value) for value in broken]
