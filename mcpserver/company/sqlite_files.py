"""Writing SQLite databases from column lines and rows: the same rows give the same bytes."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from mcpserver.company.made import Made


class Table(NamedTuple):
    """A table: its columns and constraints in SQL, its rows, and the columns that get an index."""

    columns: Sequence[str]
    rows: Iterable[Sequence[Any]]
    indexed: Sequence[str] = ()


KEY = "id INTEGER PRIMARY KEY"


def refers(column: str, table: str) -> str:
    """A column that holds the ``id`` of another table."""
    return f"{column} INTEGER NOT NULL REFERENCES {table}(id)"


def one_of(column: str, *values: str) -> str:
    """A text column with few values."""
    return f"{column} TEXT NOT NULL CHECK ({column} IN ({', '.join(repr(value) for value in values)}))"


def made_database(tables: Mapping[str, Table], summary: str) -> Made:
    """A database file; rows whose references lead nowhere raise ``sqlite3.IntegrityError``."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        for name, table in tables.items():
            connection.execute(f"CREATE TABLE {name} ({', '.join(table.columns)})")
            rows = [tuple(row) for row in table.rows]
            marks = ", ".join("?" * len(rows[0]))
            connection.executemany(f"INSERT INTO {name} VALUES ({marks})", rows)
            for column in table.indexed:
                connection.execute(f"CREATE INDEX {name}_{column} ON {name}({column})")
        connection.commit()
        return Made(connection.serialize(), summary)
    finally:
        connection.close()
