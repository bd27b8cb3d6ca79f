"""Writing SQLite databases from a schema and rows: the same rows give the same bytes."""

import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

from mcpserver.company.made import Made

Row = tuple[Any, ...]


def made_database(schema: str, tables: Mapping[str, Iterable[Row]], summary: str) -> Made:
    """A database file; rows whose references lead nowhere raise ``sqlite3.IntegrityError``.

    Args:
        schema: statements that create the tables and their indexes.
        tables: the rows of each table without their key, which is counted from 1; referred tables come first.
        summary: one line.
    """
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript(f"PRAGMA foreign_keys = ON; {schema}")
        for table, rows in tables.items():
            numbered = [(key, *row) for key, row in enumerate(rows, 1)]
            marks = ", ".join("?" * len(numbered[0]))
            connection.executemany(f"INSERT INTO {table} VALUES ({marks})", numbered)
        connection.commit()
        return Made(connection.serialize(), summary)
    finally:
        connection.close()
