"""Rows in and out of databases: CSV and JSON files, other tables, other databases.

In results numbers that are not finite are null, bytes are ``<n bytes>``, and long texts are cut.
"""

import csv
import io
import json
import math
import sqlite3
from typing import Any, Literal

from mcpserver.context import Context
from mcpserver.databases import MAX_CELL_BYTES, column_types, quote, table_names
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.conditions import Where
from mcpserver.toolbox.results import page
from mcpserver.tools.sqlite._sql import (
    MAX_COUNTED,
    Limit,
    Names,
    Parameters,
    Sql,
    bind,
    cell,
    check_columns,
    check_name,
    columns_of,
    connect,
    count_all,
    own_table,
    primary_key,
    where_clause,
)


def compare_database_tables(
    context: Context,
    database: str,
    table: str,
    other_table: str,
    other_database: str | None = None,
    key: Names | None = None,
    limit: Limit = 20,
) -> dict[str, Any]:
    """Compare two tables by key: rows that only one has, and values that differ.

    Args:
        database: database of the first table
        table: first table
        other_table: second table
        other_database: database of the second table, else the same
        key: columns that tell a row, else the primary key of the first table
        limit: entries to return of each kind

    Example:
        {"database": "shop", "table": "customers", "other_table": "customers"}
    """
    with connect(context, database, "read") as connection:
        own_table(connection, table)
        keys = key or primary_key(connection, table)
        first = _by_key(connection, table, keys, "key")
    with connect(context, other_database or database, "read") as connection:
        own_table(connection, other_table, "other_table")
        second = _by_key(connection, other_table, keys, "key")
    changed = [
        {"key": _key(known), "column": column, "first": cell(row[column]), "second": cell(second[known][column])}
        for known, row in first.items()
        if known in second
        for column in row
        if column in second[known] and row[column] != second[known][column]
    ]
    return {
        "only_in_first": page("keys", [_key(known) for known in first if known not in second], 0, limit),
        "only_in_second": page("keys", [_key(known) for known in second if known not in first], 0, limit),
        "changed": page("values", changed, 0, limit),
        "same": first == second,
    }


def import_csv(
    context: Context,
    database: str,
    table: str,
    path: str,
    mode: Literal["create", "append", "replace"] = "create",
) -> dict[str, Any]:
    """Load a CSV or TSV file with a header row into a table; empty cells become NULL.

    Args:
        database: database name
        table: table name
        path: file such as data/products.csv
        mode: create a new table, append to one, or replace the rows of one

    Example:
        {"database": "shop", "table": "staff", "path": "data/employees.csv"}
    """
    header, rows = _read_csv(context, path)
    with connect(context, database, "define") as connection:
        is_there = table in table_names(connection)
        if mode == "create":
            if is_there:
                raise ToolError("tool_error", f"table: {table!r} is there already; use mode append or replace")
            kinds = [_kind([row[n] for row in rows]) for n in range(len(header))]
            columns = ", ".join(f"{quote(name)} {kind}" for name, kind in zip(header, kinds))
            connection.execute(f"CREATE TABLE {quote(check_name(table, 'table'))} ({columns})")
        types = own_table(connection, table)
        check_columns(types, header, "path")
        if mode == "replace":
            connection.execute(f"DELETE FROM {quote(table)}")
        names, marks = ", ".join(map(quote, header)), ", ".join("?" * len(header))
        connection.executemany(f"INSERT INTO {quote(table)} ({names}) VALUES ({marks})", rows)
        return {"imported": len(rows), "rows": count_all(connection, table), "columns": types}


def export_query(
    context: Context,
    database: str,
    query: Sql,
    output: str,
    format: Literal["csv", "tsv", "json", "jsonl"] = "csv",  # noqa: A002 - the word that people use
    parameters: Parameters | None = None,
) -> dict[str, Any]:
    """Write all rows of a SQL query to a file.

    Args:
        database: database name
        query: one SELECT query
        output: file to write such as data/result.csv
        format: csv and tsv have a header row, json is a list of objects, jsonl one object a line
        parameters: values for ? (list) or :name (object)

    Example:
        {"database": "shop", "query": "SELECT name, price FROM products ORDER BY name", "output": "data/prices.csv"}
        {"database": "library", "query": "SELECT * FROM books", "output": "data/books.jsonl", "format": "jsonl"}
    """
    context.files.new_file(output, "output")
    with connect(context, database, "read") as connection:
        cursor = connection.execute(query, bind(parameters))
        names = [item[0] for item in cursor.description or ()]
        rows = cursor.fetchmany(MAX_COUNTED + 1)
    if len(rows) > MAX_COUNTED:
        raise ToolError("limit", f"query: more than {MAX_COUNTED} rows; add conditions or a LIMIT")
    context.files.write(output, _to_text(names, rows, format).encode("utf-8", "backslashreplace"), "output")
    return {"written": output, "rows": len(rows), "columns": names[:100]}


def copy_rows(
    context: Context,
    database: str,
    table: str,
    to_database: str,
    to_table: str,
    where: Where | None = None,
) -> dict[str, Any]:
    """Copy rows into a table of another database, which must have the same columns.

    Args:
        database: database to read
        table: table or view to read
        to_database: database to change
        to_table: table to add to
        where: conditions that must all hold; an entry with "any" holds when one of its conditions does

    Example:
        {"database": "storage", "table": "maintenance", "to_database": "storage", "to_table": "maintenance",
            "where": [{"column": "id", "operator": ">", "value": 1000000}]}
    """
    with connect(context, database, "read") as connection:
        types = columns_of(connection, table)
        condition, values = where_clause(types, where)
        query = f"SELECT {', '.join(map(quote, types))} FROM {quote(table)} WHERE {condition} LIMIT {MAX_COUNTED}"
        rows = connection.execute(query, values).fetchall()
    with connect(context, to_database, "write") as connection:
        check_columns(own_table(connection, to_table, "to_table"), types, "to_table")
        names, marks = ", ".join(map(quote, types)), ", ".join("?" * len(types))
        connection.executemany(f"INSERT INTO {quote(to_table)} ({names}) VALUES ({marks})", rows)
        return {"copied": len(rows), "rows": count_all(connection, to_table)}


def _by_key(connection: sqlite3.Connection, table: str, keys: list[str], parameter: str) -> dict[Any, dict[str, Any]]:
    check_columns(column_types(connection, table), keys, parameter)
    cursor = connection.execute(f"SELECT * FROM {quote(table)} ORDER BY {', '.join(map(quote, keys))}")
    names = [item[0] for item in cursor.description]
    rows = [dict(zip(names, row)) for row in cursor]
    found = {tuple(row[name] for name in keys): row for row in rows}
    if len(found) < len(rows):
        raise ToolError("bad_arguments", f"{parameter}: several rows of {table!r} have the same key; name more columns")
    return found


def _key(known: tuple[Any, ...]) -> Any:
    return cell(known[0]) if len(known) == 1 else [cell(value) for value in known]


def _read_csv(context: Context, path: str) -> tuple[list[str], list[list[Any]]]:
    """Header and rows of a delimited file; numbers as numbers."""
    text = context.files.read_text(path).removeprefix("\ufeff")
    delimiter = "\t" if path.lower().endswith(".tsv") else max(",;\t|", key=text.partition("\n")[0].count)
    try:
        lines = [line for line in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if line]
    except csv.Error as error:
        raise ToolError("tool_error", f"path: {path!r} is no table: {error}") from None
    if not lines:
        raise ToolError("tool_error", f"path: {path!r} is empty")
    header = [name.strip() for name in lines[0]]
    if len(set(map(str.lower, header))) < len(header) or not all(header) or len(header) > 100:
        raise ToolError("tool_error", f"path: {path!r} needs a header row of at most 100 different names")
    for n, line in enumerate(lines[1:], 2):
        if len(line) != len(header):
            raise ToolError("tool_error", f"path: row {n} of {path!r} has {len(line)} cells, the header {len(header)}")
        if any(len(text) > MAX_CELL_BYTES for text in line):
            raise ToolError("limit", f"path: a cell in row {n} of {path!r} has more than {MAX_CELL_BYTES} characters")
    return header, [[_number(text) for text in line] for line in lines[1:]]


def _number(text: str) -> str | int | float | None:
    """A cell of a CSV file: what is written as SQLite writes numbers is one, so ``007`` stays a text."""
    if not text:
        return None
    for kind in (int, float):
        try:
            number = kind(text)
        except (ValueError, OverflowError):
            continue
        plain = text.lstrip("-")
        if math.isfinite(number) and len(text) < 19 and plain.isascii() and plain[0].isdigit() and "_" not in text:
            return text if plain[0] == "0" and plain[1:2].isdigit() else number
    return text


def _kind(values: list[Any]) -> str:
    known = {type(value) for value in values if value is not None}
    if known and known <= {int}:
        return "INTEGER"
    return "REAL" if known and known <= {int, float} else "TEXT"


def _to_text(names: list[str], rows: list[tuple[Any, ...]], kind: str) -> str:
    plain = [[_whole_cell(value) for value in row] for row in rows]
    if kind in ("json", "jsonl"):
        lines = [json.dumps(dict(zip(names, row)), ensure_ascii=False) for row in plain]
        return "".join(f"{line}\n" for line in lines) if kind == "jsonl" else f"[{', '.join(lines)}]\n"
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter="\t" if kind == "tsv" else ",", lineterminator="\n")
    writer.writerows([names, *plain])
    return out.getvalue()


def _whole_cell(value: object) -> Any:
    return value if isinstance(value, str) else cell(value)
