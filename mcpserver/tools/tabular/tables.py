"""Tables in files: look at them, pick rows and columns, sort, work out new columns.

A tool that makes a table writes it to ``output``, whose ending tells the format, or else returns the first rows.
"""

from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Gt, Le, Len, Lt
from typing_extensions import TypedDict

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.conditions import Where
from mcpserver.toolbox.results import clip, page
from mcpserver.tools.tabular._columns import check_columns, mask, new_name, number_columns, numbers
from mcpserver.tools.tabular._expressions import evaluate
from mcpserver.tools.tabular._tables import (
    Columns,
    Frame,
    Limit,
    Offset,
    column_kind,
    finish,
    load,
    number,
    show_rows,
    table_format,
    values_of,
)
from mcpserver.tools.tabular._workbooks import load_workbook


class SortKey(TypedDict):
    """A column to sort by."""

    column: str
    descending: NotRequired[bool]


class Renamed(TypedDict):
    """A column under a new name."""

    column: str
    name: Annotated[str, Len(1, 100)]


def read_table(
    context: Context,
    path: str,
    sheet: str | None = None,
    columns: Columns | None = None,
    limit: Limit = 50,
    offset: Offset = 0,
) -> dict[str, Any]:
    """Read rows of a table file (CSV, TSV, JSON, JSONL, Excel or Parquet).

    Args:
        path: file such as data/sales.csv
        sheet: sheet of an Excel file, else its first one
        columns: columns to return, else all
        limit: rows to return
        offset: rows to skip

    Example:
        {"path": "data/sales.csv", "limit": 5}
        {"path": "data/budget.xlsx", "sheet": "actual"}
        {"path": "data/trips.parquet", "columns": ["trip_id", "fare"], "offset": 100, "limit": 10}
    """
    frame = load(context, path, sheet)
    picked = check_columns(frame, columns or frame.columns, "columns")
    return show_rows(frame[list(dict.fromkeys(picked))], limit, offset)


def describe_table_file(context: Context, path: str, sheet: str | None = None) -> dict[str, Any]:
    """Get the columns of a table file with type, missing and distinct values and an example.

    Args:
        path: file such as data/sales.csv
        sheet: sheet of an Excel file, else its first one

    Example:
        {"path": "data/sensors.csv"}
        {"path": "data/sales.xlsx", "sheet": "2025"}
    """
    frame = load(context, path, sheet)
    columns = [_describe(frame[name]) for name in frame.columns]
    more = {}
    if table_format(path) == "xlsx":
        more = {"sheets": load_workbook(context, path, values=True).sheetnames[:50]}
    return {"rows": len(frame), **page("columns", columns), **more}


def summarize_table(
    context: Context, path: str, columns: Columns | None = None, sheet: str | None = None
) -> dict[str, Any]:
    """Get count, mean, standard deviation and quartiles of the columns of numbers of a table file.

    Args:
        path: file such as data/sales.csv
        columns: columns of numbers, else all of them
        sheet: sheet of an Excel file, else its first one

    Example:
        {"path": "data/sales.csv", "columns": ["units", "unit_price"]}
    """
    frame = load(context, path, sheet)
    return page("columns", [_summary(numbers(frame, name)) for name in number_columns(frame, columns)])


def filter_table(
    context: Context,
    path: str,
    where: Where,
    columns: Columns | None = None,
    output: str | None = None,
    sheet: str | None = None,
) -> dict[str, Any]:
    """Keep the rows of a table file that fulfil conditions.

    Args:
        path: file such as data/sales.csv
        where: conditions that must all hold; an entry with "any" holds when one of its conditions does
        columns: columns to keep, else all
        output: file to write such as out/large.csv; without it the first rows are returned
        sheet: sheet of an Excel file, else its first one

    Example:
        {"path": "data/sales.csv", "where": [{"column": "region", "operator": "in", "value": ["North", "South"]},
            {"any": [{"column": "units", "operator": ">=", "value": 10},
                {"column": "product", "operator": "=", "value": "Pump"}]}], "columns": ["order_id", "product", "units"]}
        {"path": "data/sensors.csv", "where": [{"column": "temperature", "operator": "is_missing"}],
            "output": "out/gaps.csv"}
    """
    frame = load(context, path, sheet)
    picked = check_columns(frame, columns or frame.columns, "columns")
    return finish(context, frame[mask(frame, where)][list(dict.fromkeys(picked))], output)


def sort_table(
    context: Context,
    path: str,
    keys: Annotated[list[SortKey], Len(1, 10)],
    output: str | None = None,
    sheet: str | None = None,
) -> dict[str, Any]:
    """Sort the rows of a table file by one or several columns; missing values come last.

    Args:
        path: file such as data/sales.csv
        keys: columns to sort by, the first one first
        output: file to write such as out/sorted.csv; without it the first rows are returned
        sheet: sheet of an Excel file, else its first one

    Example:
        {"path": "data/employees.csv", "keys": [{"column": "department"}, {"column": "salary", "descending": true}]}
    """
    frame = load(context, path, sheet)
    names = check_columns(frame, [key["column"] for key in keys], "keys")
    if len(set(names)) < len(names):
        raise ToolError("bad_arguments", "keys: a column is named twice")
    ascending = [not key.get("descending", False) for key in keys]
    return finish(context, frame.sort_values(names, ascending=ascending, kind="stable"), output)


def select_columns(
    context: Context,
    path: str,
    columns: Annotated[list[str | Renamed], Len(1, 100)],
    output: str | None = None,
    sheet: str | None = None,
) -> dict[str, Any]:
    """Keep columns of a table file in a new order, some under a new name.

    Args:
        path: file such as data/sales.csv
        columns: names of columns, or objects with column and its new name
        output: file to write such as out/short.csv; without it the first rows are returned
        sheet: sheet of an Excel file, else its first one

    Example:
        {"path": "data/sales.csv", "columns": ["order_id", {"column": "unit_price", "name": "price_eur"}]}
    """
    frame = load(context, path, sheet)
    old = check_columns(frame, [item if isinstance(item, str) else item["column"] for item in columns], "columns")
    new = [item if isinstance(item, str) else new_name(frame[[]], item["name"], "columns") for item in columns]
    if len(set(new)) < len(new):
        raise ToolError("bad_arguments", "columns: two columns would have the same name")
    return finish(context, frame[old].set_axis(new, axis="columns"), output)


def drop_columns(
    context: Context, path: str, columns: Columns, output: str | None = None, sheet: str | None = None
) -> dict[str, Any]:
    """Remove columns of a table file.

    Args:
        path: file such as data/sales.csv
        columns: columns to remove
        output: file to write such as out/short.csv; without it the first rows are returned
        sheet: sheet of an Excel file, else its first one

    Example:
        {"path": "data/employees.csv", "columns": ["email", "salary"], "output": "out/public.csv"}
    """
    frame = load(context, path, sheet)
    kept = frame.drop(columns=check_columns(frame, columns, "columns"))
    if not len(kept.columns):
        raise ToolError("bad_arguments", "columns: a table keeps at least one column")
    return finish(context, kept, output)


def compute_column(
    context: Context,
    path: str,
    name: Annotated[str, Len(1, 100)],
    expression: Annotated[str, Len(1, 300)],
    output: str | None = None,
    decimals: Annotated[int, Ge(0), Le(10)] | None = None,
    sheet: str | None = None,
) -> dict[str, Any]:
    """Add a column that an arithmetic expression works out from other columns of each row.

    Args:
        path: file such as data/sales.csv
        name: name of the new column
        expression: + - * / // % ** brackets, column names (others as col("unit price")), abs round sqrt log exp floor
            ceil min max, where(units > 5, 1, 0)
        output: file to write such as out/more.csv; without it the first rows are returned
        decimals: decimals to round to
        sheet: sheet of an Excel file, else its first one

    Example:
        {"path": "data/sales.csv", "name": "revenue", "expression": "units * unit_price * (1 - discount)",
            "decimals": 2}
        {"path": "data/employees.csv", "name": "raised", "expression": "where(salary < 50000, salary * 1.1, salary)"}
    """
    frame = load(context, path, sheet)
    column = evaluate(expression, frame)
    if decimals is not None and str(column.dtype) == "Float64":
        column = column.round(decimals)
    return finish(context, frame.assign(**{new_name(frame, name): column}), output)


def sample_table(
    context: Context,
    path: str,
    size: Annotated[int, Ge(1), Le(100_000)] | Annotated[float, Gt(0), Lt(1)],
    seed: int = 1,
    output: str | None = None,
    sheet: str | None = None,
) -> dict[str, Any]:
    """Draw rows of a table file by chance, the same ones for the same seed, in their order.

    Args:
        path: file such as data/sales.csv
        size: number of rows, or a share between 0 and 1
        seed: number that decides the draw
        output: file to write such as out/sample.csv; without it the first rows are returned
        sheet: sheet of an Excel file, else its first one

    Example:
        {"path": "data/sales.csv", "size": 10}
        {"path": "data/customers.csv", "size": 0.2, "seed": 7, "output": "out/sample.csv"}
    """
    frame = load(context, path, sheet)
    wanted = round(size * len(frame)) if isinstance(size, float) else size
    if wanted > len(frame):
        raise ToolError("bad_arguments", f"size: the table has {len(frame)} rows, got {wanted}")
    drawn = context.random("sample_table", seed).sample(range(len(frame)), wanted)
    return finish(context, frame.iloc[sorted(drawn)], output)


def drop_duplicate_rows(
    context: Context,
    path: str,
    columns: Columns | None = None,
    keep: Literal["first", "last", "none"] = "first",
    output: str | None = None,
    sheet: str | None = None,
) -> dict[str, Any]:
    """Remove rows of a table file that repeat another one.

    Args:
        path: file such as data/sales.csv
        columns: columns that must be the same, else all
        keep: which of the repeated rows stays
        output: file to write such as out/unique.csv; without it the first rows are returned
        sheet: sheet of an Excel file, else its first one

    Example:
        {"path": "data/sales.csv", "columns": ["region", "product"], "keep": "last"}
    """
    frame = load(context, path, sheet)
    names = check_columns(frame, columns or frame.columns, "columns")
    repeated = frame.duplicated(subset=names, keep=False if keep == "none" else keep)
    return finish(context, frame[~repeated], output, removed=int(repeated.sum()))


def top_rows(
    context: Context,
    path: str,
    column: str,
    n: Annotated[int, Ge(1), Le(1000)] = 5,
    lowest: bool = False,
    group_by: str | None = None,
    output: str | None = None,
    sheet: str | None = None,
) -> dict[str, Any]:
    """Get the rows of a table file with the highest (or lowest) values of a column, overall or in each group.

    Args:
        path: file such as data/sales.csv
        column: column of numbers
        n: rows to keep, of each group when there are groups
        lowest: keep the lowest values instead
        group_by: column that makes the groups
        output: file to write such as out/top.csv; without it the first rows are returned
        sheet: sheet of an Excel file, else its first one

    Example:
        {"path": "data/employees.csv", "column": "salary", "n": 2, "group_by": "department"}
    """
    frame = load(context, path, sheet)
    numbers(frame, column)
    ordered = frame[frame[column].notna()].sort_values(column, ascending=lowest, kind="stable")
    if group_by is None:
        return finish(context, ordered.head(n), output)
    check_columns(frame, [group_by], "group_by")
    picked = ordered.groupby(ordered[group_by], dropna=False).head(n)
    return finish(context, picked.sort_values(group_by, kind="stable"), output)


def _describe(series: Frame) -> dict[str, Any]:
    known = series.dropna()
    example = values_of(known.head(1))
    return {
        "name": series.name,
        "type": column_kind(series),
        "missing": int(series.isna().sum()),
        "distinct": int(known.nunique()),
        "example": clip(example[0]) if example and isinstance(example[0], str) else next(iter(example), None),
    }


def _summary(series: Frame) -> dict[str, Any]:
    known = series.dropna().astype(float)
    quartiles = known.quantile([0, 0.25, 0.5, 0.75, 1]).tolist() if len(known) else [None] * 5
    figures = dict(zip(("min", "q25", "median", "q75", "max"), map(number, quartiles)))
    mean, std = (number(float(figure)) for figure in (known.mean(), known.std()))
    return {"column": series.name, "count": len(known), "mean": mean, "std": std, **figures}
