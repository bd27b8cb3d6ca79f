"""Tables made from tables: groups, pivots, joins, parts, other formats.

A tool that makes a table writes it to ``output``, whose ending tells the format, or else returns the first rows.
"""

from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Len, Lt
from typing_extensions import TypedDict

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.formats import beside
from mcpserver.toolbox.results import clip, page
from mcpserver.tools.tabular._columns import Measures, check_columns, grouped, new_name
from mcpserver.tools.tabular._tables import (
    MAX_CELLS,
    MAX_COLUMNS,
    MAX_ROWS,
    Columns,
    Format,
    Frame,
    column_kind,
    finish,
    load,
    make_series,
    store,
    text_type,
    values_of,
)
from toolwright.words import shorten


class Pair(TypedDict):
    """A column of the first table and the one of the other table that it matches."""

    left: str
    right: str


Figure = Literal["count", "sum", "mean", "median", "min", "max", "std", "distinct", "first", "last"]
Name = Annotated[str, Len(1, 100)]


def group_table(
    context: Context,
    path: str,
    group_by: Columns,
    measures: Measures,
    output: str | None = None,
    sheet: str | None = None,
) -> dict[str, Any]:
    """Group the rows of a table file and count, sum or average each group.

    Args:
        path: file such as data/sales.csv
        group_by: columns that make the groups
        measures: figures to work out for each group
        output: file to write such as out/totals.csv; without it the first groups are returned
        sheet: sheet of an Excel file, else its first one

    Example:
        {"path": "data/sales.csv", "group_by": ["region", "product"], "measures": [{"function": "count"},
            {"function": "sum", "column": "units"}, {"function": "mean", "column": "unit_price", "name": "price"}]}
    """
    frame = load(context, path, sheet)
    keys = [frame[name] for name in check_columns(frame, group_by, "group_by")]
    return finish(context, grouped(frame, keys, measures), output)


def pivot_table(
    context: Context,
    path: str,
    rows: str,
    columns: str,
    values: str,
    function: Figure = "sum",
    output: str | None = None,
    sheet: str | None = None,
) -> dict[str, Any]:
    """Make a cross table: a row for each value of one column, a column for each value of another.

    Args:
        path: file such as data/sales.csv
        rows: column whose values become rows
        columns: column whose values become columns
        values: column that is summed up in the cells
        function: how the cells are worked out
        output: file to write such as out/pivot.xlsx; without it the first rows are returned
        sheet: sheet of an Excel file, else its first one

    Example:
        {"path": "data/sales.csv", "rows": "region", "columns": "product", "values": "units"}
        {"path": "data/survey.csv", "rows": "group", "columns": "gender", "values": "score_after", "function": "mean"}
    """
    frame = load(context, path, sheet)
    check_columns(frame, (rows, columns, values), "rows, columns, values")
    if rows == columns:
        raise ToolError("bad_arguments", "columns: should be another column than rows")
    if frame[columns].nunique(dropna=False) >= MAX_COLUMNS:
        raise ToolError("limit", f"columns: {columns!r} has {MAX_COLUMNS} or more different values")
    keys = [frame[rows].rename("row"), frame[columns].rename("column")]
    long = grouped(frame, keys, [{"function": function, "column": values, "name": "figure"}])
    heads = ["" if value is None else clip(str(value)) for value in values_of(long["column"])]
    wide = _spread(long, heads)
    return finish(context, wide.rename(columns={"row": rows}) if rows not in heads else wide, output)


def unpivot_table(
    context: Context,
    path: str,
    keep: Columns,
    columns: Columns | None = None,
    name_column: Name = "name",
    value_column: Name = "value",
    output: str | None = None,
    sheet: str | None = None,
) -> dict[str, Any]:
    """Turn columns of a table file into rows: one row for each row and column, with name and value.

    Args:
        path: file such as data/budget.xlsx
        keep: columns that stay as they are
        columns: columns that become rows, else all others
        name_column: new column for the names
        value_column: new column for the values
        output: file to write such as out/long.csv; without it the first rows are returned
        sheet: sheet of an Excel file, else its first one

    Example:
        {"path": "data/budget.xlsx", "keep": ["department"], "name_column": "quarter", "value_column": "amount"}
    """
    import pandas as pd

    frame = load(context, path, sheet)
    kept = list(dict.fromkeys(check_columns(frame, keep, "keep")))
    others = columns or [name for name in frame.columns if name not in kept]
    check_columns(frame, others, "columns")
    if len(frame) * len(others) > MAX_ROWS:
        raise ToolError("limit", f"columns: the result would have more than {MAX_ROWS} rows")
    new_name(frame[kept], name_column, "name_column")
    new_name(frame[kept].assign(**{name_column: 0}), value_column, "value_column")
    numbers = all(column_kind(frame[name]) in ("integer", "number") for name in others)
    cells = [value for name in others for value in (values_of(frame[name]) if numbers else _as_text(frame[name]))]
    long = pd.concat([frame[kept]] * max(1, len(others)), ignore_index=True) if others else frame[kept].head(0)
    names = pd.Series([name for name in others for _ in range(len(frame))], dtype=text_type())
    long = long.assign(**{name_column: names, value_column: make_series(cells)})
    order = [n + m * len(frame) for n in range(len(frame)) for m in range(len(others))]
    return finish(context, long.iloc[order], output)


def join_tables(
    context: Context,
    path: str,
    other: str,
    on: Annotated[list[str | Pair], Len(1, 10)],
    how: Literal["inner", "left", "right", "outer", "only_left"] = "inner",
    output: str | None = None,
    sheet: str | None = None,
    other_sheet: str | None = None,
) -> dict[str, Any]:
    """Join two table files by the columns that match.

    Args:
        path: first file such as data/sales.csv
        other: second file such as data/products.csv
        on: columns that must be equal; objects when they have two names
        how: rows that stay; only_left keeps the rows of the first table that match none
        output: file to write such as out/joined.csv; without it the first rows are returned
        sheet: sheet of the first file when it is Excel
        other_sheet: sheet of the second file when it is Excel

    Example:
        {"path": "data/sales.csv", "other": "data/products.csv", "on": [{"left": "product", "right": "category"}],
            "how": "left", "output": "out/sales_products.csv"}
        {"path": "data/budget.xlsx", "sheet": "plan", "other": "data/budget.xlsx", "other_sheet": "actual",
            "on": ["department"]}
    """
    first, second = load(context, path, sheet), load(context, other, other_sheet, "other")
    left = check_columns(first, [item if isinstance(item, str) else item["left"] for item in on], "on")
    right = check_columns(second, [item if isinstance(item, str) else item["right"] for item in on], "on")
    if len(set(left)) < len(left) or len(set(right)) < len(right):
        raise ToolError("bad_arguments", "on: a column is named twice")
    for one, two in zip(left, right):
        first[one], second[two] = _comparable(first[one], second[two])
    _check_size(first, second, left, right)
    matched = [two for one, two in zip(left, right) if one == two]
    renamed = {name: name for name in second.columns}
    for name in second.columns:
        if name in first.columns and name not in matched:
            renamed[name] = _free(name, [*first.columns, *renamed, *renamed.values()])
    second, right = second.rename(columns=renamed), [renamed[name] for name in right]
    merge = {"how": "left" if how == "only_left" else how, "indicator": "_merge_" if how == "only_left" else False}
    joined = first.merge(second, left_on=left, right_on=right, **merge)
    if how == "only_left":
        joined = joined[joined["_merge_"] == "left_only"][list(first.columns)]
    return finish(context, joined, output)


def concatenate_tables(
    context: Context,
    paths: Annotated[list[str], Len(2, 20)],
    source_column: Name | None = None,
    output: str | None = None,
) -> dict[str, Any]:
    """Put the rows of several table files one below the other; columns are matched by name.

    Args:
        paths: files in order
        source_column: new column that names the file of each row
        output: file to write such as out/all.csv; without it the first rows are returned

    Example:
        {"paths": ["prices/ttf.csv", "prices/nbp.csv"], "source_column": "file"}
        {"paths": ["data/products.csv", "data/products.csv"], "output": "out/all.csv"}
    """
    import pandas as pd

    frames = [load(context, path, parameter=f"paths[{n}]") for n, path in enumerate(paths)]
    if sum(map(len, frames)) > MAX_ROWS:
        raise ToolError("limit", f"paths: more than {MAX_ROWS} rows together")
    names = list(dict.fromkeys(name for frame in frames for name in frame.columns))
    columns: dict[str, Any] = {}
    for name in names:
        parts = [frame[name] if name in frame.columns else None for frame in frames]
        columns[name] = make_series(_stack(parts, [len(frame) for frame in frames]))
    whole = pd.DataFrame(columns)
    if source_column is not None:
        sources = [path for path, frame in zip(paths, frames) for _ in range(len(frame))]
        whole.insert(0, new_name(whole, source_column, "source_column"), pd.Series(sources, dtype=text_type()))
    return finish(context, whole, output)


def split_table(
    context: Context,
    path: str,
    train_output: str,
    test_output: str,
    test_share: Annotated[float, Gt(0), Lt(1)] = 0.2,
    seed: int = 1,
    stratify_by: str | None = None,
    sheet: str | None = None,
) -> dict[str, Any]:
    """Split the rows of a table file by chance into two files, the same way for the same seed.

    Args:
        path: file such as data/survey.csv
        train_output: file to write with the larger part
        test_output: file to write with the smaller part
        test_share: share of rows in the second file, between 0 and 1
        seed: number that decides the draw
        stratify_by: column whose values keep their shares in both files
        sheet: sheet of an Excel file, else its first one

    Example:
        {"path": "data/survey.csv", "train_output": "out/train.csv", "test_output": "out/test.csv",
            "test_share": 0.25, "stratify_by": "group"}
    """
    frame = load(context, path, sheet)
    if context.files.resolve(train_output) == context.files.resolve(test_output):
        raise ToolError("bad_arguments", "test_output: should be another file than train_output")
    groups: list[list[int]] = [list(range(len(frame)))]
    if stratify_by is not None:
        check_columns(frame, [stratify_by], "stratify_by")
        groups = [list(rows) for rows in frame.groupby(stratify_by, dropna=False).indices.values()]
    rng = context.random("split_table", seed)
    test = sorted(int(row) for rows in groups for row in rng.sample(rows, round(test_share * len(rows))))
    kept = [row for row in range(len(frame)) if row not in set(test)]
    store(context, frame.iloc[kept], train_output, parameter="train_output")
    store(context, frame.iloc[test], test_output, parameter="test_output")
    return {"train": {"written": train_output, "rows": len(kept)}, "test": {"written": test_output, "rows": len(test)}}


def split_table_by_column(
    context: Context,
    path: str,
    column: str,
    folder: str,
    format: Format = "csv",  # noqa: A002 - the word that people use
    sheet: str | None = None,
) -> dict[str, Any]:
    """Write the rows of a table file to one file for each value of a column.

    Args:
        path: file such as data/sales.csv
        column: column with at most 50 different values
        folder: folder to write to
        format: format of the files
        sheet: sheet of an Excel file, else its first one

    Example:
        {"path": "data/sales.csv", "column": "region", "folder": "out/regions"}
    """
    frame = load(context, path, sheet)
    check_columns(frame, [column], "column")
    texts = make_series(["missing" if text is None else text for text in _as_text(frame[column])])
    values = list(dict.fromkeys(texts.tolist()))
    if len(values) > 50:
        raise ToolError("limit", f"column: {column!r} has {len(values)} different values; at most 50 files are written")
    names = {
        value: "".join(c if c.isalnum() or c in "-_." else "_" for c in value)[:60].lstrip(".") for value in values
    }
    if len({name.lower() for name in names.values()}) < len(values) or not all(names.values()):
        raise ToolError("tool_error", f"column: the values of {column!r} make no different file names")
    written = []
    for value, name in names.items():
        output = f"{folder.rstrip('/') or '.'}/{name}.{format}"
        part = frame[texts == value]
        store(context, part, output, parameter="folder")
        written.append({"value": value, "written": output, "rows": len(part)})
    return page("files", written)


def convert_table(
    context: Context,
    path: str,
    format: Format,  # noqa: A002 - the word that people use
    output: str | None = None,
    sheet: str | None = None,
) -> dict[str, Any]:
    """Convert a table file to another format.

    Args:
        path: file such as data/sales.csv
        format: format to write
        output: file to write, else the same name with the new ending
        sheet: sheet of an Excel file, else its first one

    Example:
        {"path": "data/sales.csv", "format": "parquet"}
        {"path": "data/budget.xlsx", "format": "jsonl", "sheet": "actual", "output": "out/actual.jsonl"}
    """
    frame = load(context, path, sheet)
    target = output or beside(path, "", f".{format}")
    if not target.lower().endswith(f".{format}"):
        raise ToolError("bad_arguments", f"output: {shorten(target, 60)} should end in .{format}")
    return finish(context, frame, target)


def compare_table_files(
    context: Context,
    path: str,
    other: str,
    key: Columns,
    limit: Annotated[int, Ge(1), Le(50)] = 20,
    sheet: str | None = None,
    other_sheet: str | None = None,
) -> dict[str, Any]:
    """Compare two versions of a table by key: rows added, rows removed, values changed.

    Args:
        path: old file such as data/products.csv
        other: new file
        key: columns that tell a row in both files
        limit: entries to return of each kind
        sheet: sheet of the old file when it is Excel
        other_sheet: sheet of the new file when it is Excel

    Example:
        {"path": "data/budget.xlsx", "sheet": "plan", "other": "data/budget.xlsx", "other_sheet": "actual",
            "key": ["department"]}
    """
    frames = load(context, path, sheet), load(context, other, other_sheet, "other")
    old, new = (_by_key(frame, check_columns(frame, key, "key")) for frame in frames)
    columns = [list(frame.columns) for frame in frames]
    both = [name for name in columns[0] if name in columns[1] and name not in key]
    changed = [
        {"key": _key(known), "column": name, "old": old[known][name], "new": new[known][name]}
        for known in old
        if known in new
        for name in both
        if old[known][name] != new[known][name]
    ]
    return {
        "added": page("keys", [_key(known) for known in new if known not in old], 0, limit),
        "removed": page("keys", [_key(known) for known in old if known not in new], 0, limit),
        "changed": page("values", [_short(item) for item in changed], 0, limit),
        "columns_added": [name for name in columns[1] if name not in columns[0]][:50],
        "columns_removed": [name for name in columns[0] if name not in columns[1]][:50],
    }


def _spread(long: Frame, heads: list[str]) -> Frame:
    """Cells by row and column, from a frame with ``row``, ``column`` and ``figure``."""
    import pandas as pd

    rows = values_of(long["row"])
    cells = dict(zip(zip(rows, heads), values_of(long["figure"])))
    order = list(dict.fromkeys(rows))
    if len(order) * len(set(heads)) > MAX_CELLS:
        raise ToolError("limit", f"rows: the table would have more than {MAX_CELLS} cells")
    columns = {"row": make_series(order)}
    for head in sorted(set(heads)):
        columns[head if head not in columns else _free(head, list(columns))] = make_series(
            [cells.get((row, head)) for row in order]
        )
    return pd.DataFrame(columns)


def _as_text(series: Frame) -> list[str | None]:
    return [None if value is None else str(value) for value in values_of(series)]


def _stack(parts: list[Any], sizes: list[int]) -> list[Any]:
    """The values of one column of several tables; texts where the tables differ in kind."""
    kinds = {column_kind(part) for part in parts if part is not None and part.notna().any()}
    is_same = len(kinds) <= 1 or kinds <= {"integer", "number"}
    get = (lambda part: part.astype(object).where(part.notna(), None).tolist()) if is_same else _as_text
    return [value for part, size in zip(parts, sizes) for value in ([None] * size if part is None else get(part))]


def _comparable(first: Any, second: Any) -> tuple[Any, Any]:
    """Two key columns as one type: numbers with numbers, else as texts."""
    kinds = {column_kind(first), column_kind(second)}
    if kinds == {"integer", "number"}:
        return first.astype("Float64"), second.astype("Float64")
    if len(kinds) == 1:
        return first, second
    return tuple(make_series(_as_text(series)).astype(text_type()) for series in (first, second))


def _check_size(first: Frame, second: Frame, left: list[str], right: list[str]) -> None:
    """Refuse a join whose result would be too large, before it is made."""
    counts = first.groupby(left, dropna=False).size()
    others = second.groupby(right, dropna=False).size()
    others.index.names = counts.index.names
    size = int((counts * others.reindex(counts.index).fillna(0)).sum()) + len(first) + len(second)
    if size > 2 * MAX_ROWS:
        raise ToolError("limit", f"on: the result would have more than {MAX_ROWS} rows; join by more columns")


def _free(name: str, taken: list[str]) -> str:
    number = 2
    while f"{name}_{number}" in taken:
        number += 1
    return f"{name}_{number}"


def _by_key(frame: Frame, key: list[str]) -> dict[tuple[Any, ...], dict[str, Any]]:
    columns = {name: values_of(frame[name]) for name in frame.columns}
    rows = [dict(zip(columns, row)) for row in zip(*columns.values())]
    found = {tuple(row[name] for name in key): row for row in rows}
    if len(found) < len(rows):
        raise ToolError("bad_arguments", "key: several rows have the same key; name more columns")
    return found


def _key(known: tuple[Any, ...]) -> Any:
    return known[0] if len(known) == 1 else list(known)


def _short(item: dict[str, Any]) -> dict[str, Any]:
    return {name: clip(value) if isinstance(value, str) else value for name, value in item.items()}
