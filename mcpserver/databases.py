"""SQLite for tools: connections under an authorizer, with limits on size and time, and hashes of the content.

A connection may read and change rows of existing tables and nothing else: no ATTACH, no PRAGMA but ``table_info``,
no new tables, no functions that load code. Reads and writes the ``databases/*.db`` of a workspace.
"""

import hashlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path

from mcpserver.baseworld import DATABASES, Base
from mcpserver.tool_error import ToolError
from toolwright.explain import nearest
from toolwright.records import shorten

MAX_DATABASE_PAGES = 512  # of 4 KiB
MAX_CELL_BYTES = 16 * 1024
MAX_ROWS = 20
_STEPS_BETWEEN_CHECKS = 10_000
_ALLOWED = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_INSERT,
    sqlite3.SQLITE_UPDATE,
    sqlite3.SQLITE_DELETE,
    sqlite3.SQLITE_TRANSACTION,
}
_FUNCTIONS = {"count"}

Cell = str | int | float | None


def _authorize(action: int, first: str | None, second: str | None, _database: str | None, _trigger: str | None) -> int:
    if action == sqlite3.SQLITE_FUNCTION:
        allowed = second in _FUNCTIONS
    elif action == sqlite3.SQLITE_PRAGMA:
        allowed = first == "table_info"
    elif action in (sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE):
        allowed = not (first or "").startswith("sqlite_")
    else:
        allowed = action in _ALLOWED
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


@contextmanager
def open_database(folder: Path, name: str, deadline: Callable[[], float]) -> Iterator[sqlite3.Connection]:
    """Open ``folder/name.db`` for one call; commits at a clean end, else rolls back.

    Args:
        folder: the databases of a workspace.
        name: without ``.db``.
        deadline: gives the ``time.monotonic()`` after which a running statement is stopped, and nothing is committed.

    Raises:
        ToolError: no such database, a denied statement, a full database, or time is up.
    """
    names = sorted(path.stem for path in folder.glob("*.db") if path.is_file() and not path.is_symlink())
    if name not in names:
        raise ToolError("tool_error", f"database: no database {shorten(name, 60)}{nearest(name, names)}")
    connection = sqlite3.connect(folder / f"{name}.db", isolation_level=None)
    with closing(connection):
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.execute(f"PRAGMA max_page_count={MAX_DATABASE_PAGES}")
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_CELL_BYTES)
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        connection.set_authorizer(_authorize)
        connection.set_progress_handler(lambda: time.monotonic() > deadline(), _STEPS_BETWEEN_CHECKS)
        try:
            connection.execute("BEGIN")
            yield connection
            if time.monotonic() > deadline():
                raise ToolError("timeout", "the database took too long; nothing was changed")
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise _explain(error) from None


def _explain(error: sqlite3.Error) -> ToolError:
    text = str(error)
    if "interrupted" in text:
        return ToolError("timeout", "the database took too long; nothing was changed")
    if "not authorized" in text or "prohibited" in text:
        return ToolError("denied", f"the database refused: {text}")
    if "full" in text or "too big" in text:
        return ToolError("limit", f"the database refused: {text}")
    return ToolError("tool_error", f"the database refused: {text}")


def quote(identifier: str) -> str:
    """An SQL identifier in double quotes."""
    return '"' + identifier.replace('"', '""') + '"'


def table_names(connection: sqlite3.Connection) -> list[str]:
    """The names of the tables, sorted."""
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    return [row[0] for row in rows if not row[0].startswith("sqlite_")]


def column_types(connection: sqlite3.Connection, table: str) -> dict[str, str]:
    """The declared types of a table's columns, in order.

    Raises:
        ToolError: no such table.
    """
    names = table_names(connection)
    if table not in names:
        raise ToolError("tool_error", f"table: no table {shorten(table, 60)}{nearest(table, names)}")
    return {row[1]: row[2].upper() for row in connection.execute(f"PRAGMA table_info({quote(table)})")}


@lru_cache(maxsize=64)
def _hash_bytes(content: bytes) -> Mapping[str, str]:
    connection = sqlite3.connect(":memory:")
    with closing(connection):
        connection.deserialize(content)
        return _hash_tables(connection)


def _hash_tables(connection: sqlite3.Connection) -> dict[str, str]:
    """One hash for each table over its columns and rows; the order of rows does not matter."""
    hashes = {}
    for table in table_names(connection):
        columns = [list(row[1:4]) for row in connection.execute(f"PRAGMA table_info({quote(table)})")]
        rows = sorted(json.dumps(row, default=repr) for row in connection.execute(f"SELECT * FROM {quote(table)}"))
        hashes[table] = hashlib.sha256(json.dumps([columns, rows]).encode()).hexdigest()
    return hashes


def hash_base(base: Base) -> dict[str, str]:
    """The hashes of the tables in a base world, by ``database/table``."""
    prefix = f"{DATABASES}/"
    found = {name: content for name, content in base.items() if name.startswith(prefix) and name.endswith(".db")}
    return {
        f"{name.removeprefix(prefix).removesuffix('.db')}/{table}": value
        for name, content in sorted(found.items())
        for table, value in _hash_bytes(content).items()
    }


def hash_folder(folder: Path) -> dict[str, str]:
    """The hashes of the tables in a folder of databases, by ``database/table``."""
    hashes: dict[str, str] = {}
    for path in sorted(folder.glob("*.db")):
        with closing(sqlite3.connect(path)) as connection:
            hashes |= {f"{path.stem}/{table}": value for table, value in _hash_tables(connection).items()}
    return hashes
