"""The SQLite databases of an environment: look at tables, read, add, change and remove rows."""

import math
import sqlite3
from typing import Annotated, Any, Literal

from pydantic import Field

from mcpserver.databases import MAX_ROWS, Cell, column_types, quote, table_names
from mcpserver.environment import Environment
from mcpserver.tool_error import ToolError
from toolwright.explain import nearest
from toolwright.records import shorten

Database = Annotated[Literal["trades", "storage"], Field(description="database name")]
Table = Annotated[str, Field(description="table name")]
Column = Annotated[str, Field(description="column to compare")]
Value = Annotated[str, Field(description="value to match")]


def list_tables(env: Environment, database: Database) -> dict[str, Any]:
    """List the tables of a database.

    Example:
        {"database": "trades"}
    """
    with env.open_database(database) as connection:
        return {"tables": table_names(connection)}


def describe_table(env: Environment, database: Database, table: Table) -> dict[str, Any]:
    """Get the columns of a table.

    Example:
        {"database": "trades", "table": "partners"}
    """
    with env.open_database(database) as connection:
        return {"columns": {name: kind.lower() for name, kind in column_types(connection, table).items()}}


def query_rows(env: Environment, database: Database, table: Table, column: Column, value: Value) -> dict[str, Any]:
    """Get the rows where a column has a value.

    Example:
        {"database": "trades", "table": "trades", "column": "hub", "value": "TTF"}
    """
    with env.open_database(database) as connection:
        where = _where(column_types(connection, table), column)
        rows = connection.execute(f"SELECT * FROM {quote(table)} WHERE {where} LIMIT {MAX_ROWS}", (value,))
        names = [item[0] for item in rows.description]
        found = [dict(zip(names, map(_cell, row))) for row in rows]
        total = _count(connection, table, where, value)
    return {"rows": found, "total": total}


def count_rows(env: Environment, database: Database, table: Table) -> dict[str, Any]:
    """Count the rows of a table.

    Example:
        {"database": "storage", "table": "levels"}
    """
    with env.open_database(database) as connection:
        column_types(connection, table)
        return {"rows": _count(connection, table)}


def insert_row(
    env: Environment,
    database: Database,
    table: Table,
    values: Annotated[dict[str, Any], Field(description="column names and values", min_length=1)],
) -> dict[str, Any]:
    """Add a row to a table.

    Example:
        {"database": "storage", "table": "maintenance", "values": {"site": "Rehden", "task": "meter check"}}
    """
    with env.open_database(database) as connection:
        types = column_types(connection, table)
        for column in values:
            _check_column(types, column, f"values.{column}")
        row = [_convert(types[column], value, f"values.{column}") for column, value in values.items()]
        columns, marks = ", ".join(map(quote, values)), ", ".join("?" * len(row))
        connection.execute(f"INSERT INTO {quote(table)} ({columns}) VALUES ({marks})", row)
        return {"inserted": 1, "rows": _count(connection, table)}


def update_rows(
    env: Environment,
    database: Database,
    table: Table,
    column: Annotated[str, Field(description="column to change")],
    value: Annotated[str, Field(description="new value")],
    where_column: Column,
    where_value: Value,
) -> dict[str, Any]:
    """Change a column of the rows that match.

    Example:
        {"database": "trades", "table": "invoices", "column": "status", "value": "paid",
            "where_column": "id", "where_value": "3"}
    """
    with env.open_database(database) as connection:
        types = column_types(connection, table)
        _check_column(types, column, "column")
        where = _where(types, where_column, "where_column")
        new = _convert(types[column], value, "value")
        done = connection.execute(f"UPDATE {quote(table)} SET {quote(column)} = ? WHERE {where}", (new, where_value))
        return {"updated": done.rowcount}


def delete_rows(env: Environment, database: Database, table: Table, column: Column, value: Value) -> dict[str, Any]:
    """Delete the rows where a column has a value.

    Example:
        {"database": "trades", "table": "invoices", "column": "status", "value": "paid"}
    """
    with env.open_database(database) as connection:
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
