"""SQLite for tools: connections under an authorizer, with limits on size and time, and hashes of the content.

What a connection may do depends on its access: ``rows`` (read and change rows of existing tables, by statements that
the tools write themselves), and for SQL that callers write ``read``, ``write`` and ``define``. None attaches files,
begins or ends the transaction, changes settings or loads code. Reads and writes the ``databases/*.db`` of a workspace.
"""

import hashlib
import json
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal

from mcpserver.tool_error import ToolError
from toolwright.words import nearest, shorten

MAX_DATABASE_PAGES = 512  # of 4 KiB
MAX_CELL_BYTES = 16 * 1024
MAX_ROWS = 20
_STEPS_BETWEEN_CHECKS = 10_000
_READ = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE}
_WRITE = _READ | {sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE}
_DEFINE = _WRITE | {
    sqlite3.SQLITE_CREATE_TABLE,
    sqlite3.SQLITE_CREATE_INDEX,
    sqlite3.SQLITE_CREATE_VIEW,
    sqlite3.SQLITE_DROP_TABLE,
    sqlite3.SQLITE_DROP_INDEX,
    sqlite3.SQLITE_DROP_VIEW,
    sqlite3.SQLITE_DROP_TRIGGER,
    sqlite3.SQLITE_ALTER_TABLE,
    sqlite3.SQLITE_REINDEX,
}
_ACTIONS = {"rows": _WRITE, "read": _READ, "write": _WRITE, "define": _DEFINE}
_HINTS = {
    "rows": "",
    "read": "; only SELECT and PRAGMAs that show the schema are allowed here",
    "write": "; only SELECT, INSERT, UPDATE and DELETE are allowed here",
    "define": "",
}
_PRAGMA_NAMES = """
table_info table_xinfo table_list index_list index_info index_xinfo foreign_key_list foreign_key_check integrity_check
quick_check
"""
_SETTINGS = {"foreign_keys", "user_version", "encoding", "page_count", "page_size"}  # to look at, not to change
_FUNCTION_NAMES = """
-> ->> abs acos acosh asin asinh atan atan2 atanh avg ceil ceiling changes char coalesce concat concat_ws cos cosh count
cume_dist current_date current_time current_timestamp date datetime degrees dense_rank exp first_value floor format glob
group_concat hex ifnull iif instr json json_array json_array_length json_each json_extract json_group_array
json_group_object json_insert json_object json_patch json_quote json_remove json_replace json_set json_tree json_type
json_valid julianday lag last_insert_rowid last_value lead length like likelihood likely ln log log10 log2 lower ltrim
max median min mod nth_value ntile nullif octet_length percent_rank percentile pi pow power printf quote radians random
randomblob rank regexp replace round row_number rtrim sign sin sinh soundex sqrt strftime string_agg substr substring
sum tan tanh time total total_changes trim trunc typeof unhex unicode unixepoch unlikely upper zeroblob
"""
_PRAGMAS = set(_PRAGMA_NAMES.split())
_FUNCTIONS = set(_FUNCTION_NAMES.split())
_ALTER_FUNCTIONS = {"sqlite_drop_column"} | {
    f"sqlite_rename_{what}" for what in ("table", "column", "test", "quotefix")
}
_LENGTHS = {
    sqlite3.SQLITE_LIMIT_LENGTH: MAX_CELL_BYTES,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 20_000,
    sqlite3.SQLITE_LIMIT_COLUMN: 200,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 200,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 50,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 500,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
}

Access = Literal["rows", "read", "write", "define"]
Cell = str | int | float | None
_Authorizer = Callable[[int, str | None, str | None, str | None, str | None], int]


def _authorizer(access: Access) -> _Authorizer:
    """What SQLite asks about each part of a statement while it compiles it."""
    functions = {"rows": {"count"}, "define": _FUNCTIONS | _ALTER_FUNCTIONS}.get(access, _FUNCTIONS)

    def authorize(action: int, first: str | None, second: str | None, _base: str | None, _inside: str | None) -> int:
        if action == sqlite3.SQLITE_FUNCTION:
            allowed = (second or "").lower() in functions
        elif action == sqlite3.SQLITE_PRAGMA:
            name = (first or "").lower()
            allowed = name == "table_info" or (
                access != "rows" and (name in _PRAGMAS or (name in _SETTINGS and not second))
            )
        elif access != "define" and (first or "").startswith("sqlite_") and action in _WRITE - _READ:
            # compiling json_each() asks for this; the schema itself cannot be written without a PRAGMA that is refused
            allowed = access != "rows" and action == sqlite3.SQLITE_UPDATE
        else:
            allowed = action in _ACTIONS[access]
        return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY

    return authorize


@contextmanager
def open_database(
    folder: Path, name: str, deadline: Callable[[], float], access: Access = "rows"
) -> Iterator[sqlite3.Connection]:
    """Open ``folder/name.db`` for one call; commits at a clean end, else rolls back.

    Args:
        folder: the databases of a workspace.
        name: without ``.db``.
        deadline: gives the ``time.monotonic()`` after which a running statement is stopped, and nothing is committed.
        access: what statements may do.

    Raises:
        ToolError: no such database, a denied statement, a full database, or time is up.
    """
    names = database_names(folder)
    if name not in names:
        raise ToolError("tool_error", f"database: no database {shorten(name, 60)}{nearest(name, names)}")
    connection = sqlite3.connect(folder / f"{name}.db", isolation_level=None)
    with closing(connection):
        try:
            _prepare(connection, access)
            connection.set_progress_handler(lambda: time.monotonic() > deadline(), _STEPS_BETWEEN_CHECKS)
            connection.execute("BEGIN")
            connection.set_authorizer(_authorizer(access))
            yield connection
            if time.monotonic() > deadline():
                raise ToolError("timeout", "the database took too long; nothing was changed")
            connection.set_authorizer(None)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if time.monotonic() > deadline():
                raise ToolError("timeout", "the database took too long; nothing was changed") from None
            raise _explain(error, connection, access) from None
        except (OverflowError, UnicodeEncodeError) as error:
            raise ToolError("bad_arguments", f"the database cannot hold such a value: {error}") from None
        except UnicodeDecodeError as error:  # a name in a damaged schema
            raise ToolError("tool_error", f"the database is damaged: {error}") from None
        except MemoryError:
            raise ToolError("limit", "the database needs more memory than there is; nothing was changed") from None


def database_names(folder: Path) -> list[str]:
    """The names of the databases of a workspace, sorted."""
    return sorted(path.stem for path in folder.glob("*.db") if path.is_file() and not path.is_symlink())


def _prepare(connection: sqlite3.Connection, access: Access) -> None:
    connection.text_factory = _text
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("PRAGMA temp_store=MEMORY")
    connection.execute(f"PRAGMA max_page_count={MAX_DATABASE_PAGES}")
    # views and defaults may call functions (all of them are harmless here) only where callers write SQL
    connection.execute(f"PRAGMA trusted_schema={'OFF' if access == 'rows' else 'ON'}")
    connection.execute(f"PRAGMA foreign_keys={'OFF' if access == 'rows' else 'ON'}")
    if access == "read":
        connection.execute("PRAGMA query_only=ON")
    if sys.version_info >= (3, 12):
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True)
    for limit, length in _LENGTHS.items():
        connection.setlimit(limit, length)


def _text(content: bytes) -> str:
    return content.decode("utf-8", "backslashreplace")


def _explain(error: sqlite3.Error, connection: sqlite3.Connection, access: Access) -> ToolError:
    text = str(error)
    if "interrupted" in text:
        return ToolError("timeout", "the database took too long; nothing was changed")
    if any(
        word in text
        for word in ("not authorized", "prohibited", "unsafe use", "readonly", "VACUUM", "may not be modified")
    ):
        return ToolError("denied", f"the database refused: {text}{_HINTS[access]}")
    if "one statement at a time" in text:
        return ToolError("denied", "the database runs one statement in a call; leave out what follows the first ;")
    if "full" in text or "too big" in text or "too large" in text or "too many" in text:
        return ToolError("limit", f"the database refused: {text}")
    return ToolError("tool_error", f"the database refused: {text}{_near(text, connection)}")


def _near(text: str, connection: sqlite3.Connection) -> str:
    """The tables or columns that were probably meant."""
    what, _, name = text.partition(": ")
    if what not in ("no such table", "no such column"):
        return ""
    try:
        connection.set_authorizer(None)
        options = table_names(connection)
        if what == "no such column":
            options = sorted({column for table in options for column in column_types(connection, table)})
    except (sqlite3.Error, ToolError):
        return ""
    return nearest(name.rpartition(".")[2], options)


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


def hash_tables(connection: sqlite3.Connection) -> dict[str, str]:
    """One hash for each table over its columns and rows (in any order), and one for each index and view."""
    connection.text_factory = _text
    hashes = {}
    for table in table_names(connection):
        columns = [list(row[1:4]) for row in connection.execute(f"PRAGMA table_info({quote(table)})")]
        rows = sorted(json.dumps(row, default=repr) for row in connection.execute(f"SELECT * FROM {quote(table)}"))
        hashes[table] = hashlib.sha256(json.dumps([columns, rows]).encode()).hexdigest()
    for name, sql in connection.execute("SELECT name, sql FROM sqlite_master WHERE type IN ('index', 'view')"):
        if sql:  # not the index that a primary key makes
            hashes[name] = hashlib.sha256(sql.encode()).hexdigest()
    return hashes


def hash_folder(folder: Path, *, must_read: bool = False) -> dict[str, str]:
    """The hashes of what is in a folder of databases: ``database/``, and ``database/table`` (or index, or view).

    A database that cannot be read is hashed as a file.

    Raises:
        sqlite3.Error: a database cannot be read, and ``must_read``.
    """
    hashes: dict[str, str] = {}
    for name in database_names(folder):
        path = folder / f"{name}.db"
        try:
            with closing(sqlite3.connect(path)) as connection:
                tables = hash_tables(connection)
        except (sqlite3.Error, UnicodeDecodeError) as error:
            if must_read:
                raise sqlite3.DatabaseError(f"{path.name}: {error}") from None
            hashes[f"{name}/"] = f"broken:{hashlib.sha256(path.read_bytes()).hexdigest()}"
            continue
        hashes[f"{name}/"] = "database"  # so that an empty one is seen
        hashes |= {f"{name}/{table}": value for table, value in tables.items()}
    return hashes
