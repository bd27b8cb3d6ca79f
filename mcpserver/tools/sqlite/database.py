"""The SQLite databases of an environment: look at tables, read, add, change and remove rows."""

import math
import sqlite3
from typing import Annotated, Any, Literal

from annotated_types import MinLen

from mcpserver.context import Context
from mcpserver.databases import MAX_ROWS, Cell, column_types, quote, table_names
from mcpserver.tool_error import ToolError
from toolwright.words import nearest, shorten

Database = Literal["trades", "storage"]


def list_tables(context: Context, database: Database) -> dict[str, Any]:
    """List the tables of a database.

    Args:
        database: database name

    Example:
        {"database": "trades"}
    """
    with context.open_database(database) as connection:
        return {"tables": table_names(connection)}


def describe_table(context: Context, database: Database, table: str) -> dict[str, Any]:
    """Get the columns of a table.

    Args:
        database: database name
        table: table name

    Example:
        {"database": "trades", "table": "partners"}
    """
    with context.open_database(database) as connection:
        return {"columns": {name: kind.lower() for name, kind in column_types(connection, table).items()}}


def query_rows(context: Context, database: Database, table: str, column: str, value: str) -> dict[str, Any]:
    """Get the rows where a column has a value.

    Args:
        database: database name
        table: table name
        column: column to compare
        value: value to match

    Example:
        {"database": "trades", "table": "trades", "column": "hub", "value": "TTF"}
    """
    with context.open_database(database) as connection:
        where = _where(column_types(connection, table), column)
        rows = connection.execute(f"SELECT * FROM {quote(table)} WHERE {where} LIMIT {MAX_ROWS}", (value,))
        names = [item[0] for item in rows.description]
        found = [dict(zip(names, map(_cell, row))) for row in rows]
        total = _count(connection, table, where, value)
    return {"rows": found, "total": total}


def count_rows(context: Context, database: Database, table: str) -> dict[str, Any]:
    """Count the rows of a table.

    Args:
        database: database name
        table: table name

    Example:
        {"database": "storage", "table": "levels"}
    """
    with context.open_database(database) as connection:
        column_types(connection, table)
        return {"rows": _count(connection, table)}


def insert_row(
    context: Context,
    database: Database,
    table: str,
    values: Annotated[dict[str, Any], MinLen(1)],
) -> dict[str, Any]:
    """Add a row to a table.

    Args:
        database: database name
        table: table name
        values: column names and values

    Example:
        {"database": "storage", "table": "maintenance", "values": {"site": "Rehden", "task": "meter check"}}
    """
    with context.open_database(database) as connection:
        types = column_types(connection, table)
        for column in values:
            _check_column(types, column, f"values.{column}")
        row = [_convert(types[column], value, f"values.{column}") for column, value in values.items()]
        columns, marks = ", ".join(map(quote, values)), ", ".join("?" * len(row))
        connection.execute(f"INSERT INTO {quote(table)} ({columns}) VALUES ({marks})", row)
        return {"inserted": 1, "rows": _count(connection, table)}


def update_rows(
    context: Context,
    database: Database,
    table: str,
    column: str,
    value: str,
    where_column: str,
    where_value: str,
) -> dict[str, Any]:
    """Change a column of the rows that match.

    Args:
        database: database name
        table: table name
        column: column to change
        value: new value
        where_column: column to compare
        where_value: value to match

    Example:
        {"database": "trades", "table": "invoices", "column": "status", "value": "paid",
            "where_column": "id", "where_value": "3"}
    """
    with context.open_database(database) as connection:
        types = column_types(connection, table)
        _check_column(types, column, "column")
        where = _where(types, where_column, "where_column")
        new = _convert(types[column], value, "value")
        done = connection.execute(f"UPDATE {quote(table)} SET {quote(column)} = ? WHERE {where}", (new, where_value))
        return {"updated": done.rowcount}


def delete_rows(context: Context, database: Database, table: str, column: str, value: str) -> dict[str, Any]:
    """Delete the rows where a column has a value.

    Args:
        database: database name
        table: table name
        column: column to compare
        value: value to match

    Example:
        {"database": "trades", "table": "invoices", "column": "status", "value": "paid"}
    """
    with context.open_database(database) as connection:
        where = _where(column_types(connection, table), column)
        return {"deleted": connection.execute(f"DELETE FROM {quote(table)} WHERE {where}", (value,)).rowcount}


def _check_column(types: dict[str, str], column: str, parameter: str) -> None:
    if column not in types:
        raise ToolError("bad_arguments", f"{parameter}: no column {shorten(column, 60)}{nearest(column, list(types))}")


def _where(types: dict[str, str], column: str, parameter: str = "column") -> str:
    """A condition with one mark; SQLite compares text with a number column as a number."""
    _check_column(types, column, parameter)
    return f"{quote(column)} = ?"


def _count(connection: sqlite3.Connection, table: str, where: str | None = None, value: str = "") -> int:
    condition = f" WHERE {where}" if where else ""
    row = connection.execute(f"SELECT count(*) FROM {quote(table)}{condition}", (value,) if where else ())
    count: int = row.fetchone()[0]
    return count


def _convert(kind: str, value: object, parameter: str) -> Cell:
    """A value as the column stores it; number columns take numbers only, also when written as text."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ToolError("bad_arguments", f"{parameter}: expected text or a number, got {shorten(value, 60)}")
    if kind == "TEXT":
        return str(value)
    wanted = "a whole number" if kind == "INTEGER" else "a number"
    try:
        number = int(value) if kind == "INTEGER" and isinstance(value, str) else float(value)
    except (ValueError, OverflowError):
        raise ToolError("bad_arguments", f"{parameter}: expected {wanted}, got {shorten(value, 60)}") from None
    if not math.isfinite(number) or abs(number) >= 2**53 or (kind == "INTEGER" and number != int(number)):
        raise ToolError("bad_arguments", f"{parameter}: expected {wanted}, got {shorten(value, 60)}")
    return int(number) if kind == "INTEGER" else number


def _cell(value: object) -> object:
    return f"<{len(value)} bytes>" if isinstance(value, bytes) else value
