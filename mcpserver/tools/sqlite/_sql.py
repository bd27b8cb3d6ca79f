"""What the SQL tools share: connections with functions that repeat, values of cells, rows as pages.

A query's ``random()`` and ``date('now')`` depend on nothing but the environment, so a conversation can be played again.
"""

import math
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from typing import Annotated, Any

from annotated_types import Ge, Le, Len

from mcpserver.context import Context
from mcpserver.databases import Access, column_types, quote, table_names
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.conditions import Condition, Where, to_sql
from mcpserver.toolbox.results import MAX_RESULT_BYTES, clip, json_bytes, page
from toolwright.words import cut, nearest, shorten

MAX_COUNTED = 100_000
_MAX_PATTERN = 500
_DATES = ("date", "time", "datetime", "julianday", "unixepoch", "strftime")

Value = str | int | float | bool | None
Values = dict[str, Value]
Parameters = Annotated[list[Value], Len(0, 100)] | Annotated[dict[str, Value], Len(0, 100)]
Limit = Annotated[int, Ge(1), Le(100)]
Offset = Annotated[int, Ge(0), Le(MAX_COUNTED)]
Sql = Annotated[str, Len(1, 20_000)]
Names = Annotated[list[str], Len(1, 50)]


@contextmanager
def connect(context: Context, database: str, access: Access) -> Iterator[sqlite3.Connection]:
    """Open a database with the functions of the SQL tools.

    Raises:
        ToolError: as ``open_database``; or what one of the functions raised, which SQLite does not pass on.
    """
    failures: list[BaseException] = []
    with closing(sqlite3.connect(":memory:")) as clock:
        try:
            with context.open_database(database, access) as connection:
                _add_functions(connection, context, clock, failures)
                yield connection
        except ToolError:
            if failures:
                raise failures[0] from None
            raise


def _add_functions(
    connection: sqlite3.Connection, context: Context, clock: sqlite3.Connection, failures: list[BaseException]
) -> None:
    rng, now = context.random("sql"), context.now
    steady: dict[tuple[str, int], Callable[..., Any]] = {
        ("regexp", 2): _regexp,
        ("current_date", 0): lambda: now.strftime("%Y-%m-%d"),
        ("current_time", 0): lambda: now.strftime("%H:%M:%S"),
        ("current_timestamp", 0): lambda: now.strftime("%Y-%m-%d %H:%M:%S"),
    }
    for name in _DATES:
        steady[name, -1] = _date_function(name, now.strftime("%Y-%m-%d %H:%M:%S"), clock)
    changing: dict[tuple[str, int], Callable[..., Any]] = {
        ("random", 0): lambda: rng.randrange(-(2**63), 2**63),
        ("randomblob", 1): lambda size: rng.randbytes(max(1, min(int(size or 1), 10_000))),
    }
    for functions, is_steady in ((steady, True), (changing, False)):
        for (name, count), function in functions.items():
            connection.create_function(name, count, _watched(function, failures), deterministic=is_steady)


def _watched(function: Callable[..., Any], failures: list[BaseException]) -> Callable[..., Any]:
    """SQLite swallows what a function raises; keep it, also the alarm of a worker whose time is up."""

    def call(*values: Any) -> Any:
        try:
            return function(*values)
        except (ValueError, TypeError) as error:
            failures.append(
                ToolError("tool_error", f"a function of the query cannot use {shorten(values, 60)}: {error}")
            )
            raise
        except BaseException as error:
            failures.append(error)
            raise

    return call


def _regexp(pattern: object, value: object) -> int | None:
    """``value REGEXP pattern``: whether Python's ``re`` finds the pattern somewhere in the text."""
    if pattern is None or value is None:
        return None
    if len(str(pattern)) > _MAX_PATTERN:
        raise ToolError("limit", f"REGEXP: a pattern has at most {_MAX_PATTERN} characters")
    try:
        return int(re.search(str(pattern), str(value)) is not None)
    except (re.error, RecursionError, OverflowError) as error:
        raise ToolError("bad_arguments", f"REGEXP: {shorten(pattern, 60)} is no pattern: {error}") from None


def _date_function(name: str, now: str, clock: sqlite3.Connection) -> Callable[..., Any]:
    """SQLite's own date function, with the environment's clock for ``now``; there is one time zone."""

    def call(*values: Any) -> Any:
        known = [now if isinstance(value, str) and value.strip().lower() == "now" else value for value in values]
        known = [value for value in known if value not in ("localtime", "utc")]
        if len(known) == (name == "strftime"):
            known.append(now)
        try:
            return clock.execute(f"SELECT {name}({', '.join('?' * len(known))})", known).fetchone()[0]
        except (sqlite3.Error, ValueError) as error:
            raise ToolError("tool_error", f"{name}(): {error}") from None

    return call


def cell(value: object) -> Any:
    """A value as JSON: a number that is not finite is null, bytes are ``<n bytes>``, long texts are cut."""
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return cut(value, 1000) if isinstance(value, str) else value


def distinct_names(names: Iterable[str]) -> list[str]:
    """Column names of a result, made distinct: the second ``id`` becomes ``id_2``."""
    taken: list[str] = []
    for name in names:
        number, new = 1, clip(name)
        while new in taken:
            number += 1
            new = f"{clip(name)}_{number}"
        taken.append(new)
    return taken


def fetch(cursor: sqlite3.Cursor, limit: int, offset: int = 0) -> dict[str, Any]:
    """A page of the rows of a query, and how many there are, counted up to ``MAX_COUNTED``."""
    if cursor.description is None:
        raise ToolError("bad_arguments", "query: gives no columns; write one SELECT")
    names = distinct_names(item[0] for item in cursor.description)
    skipped = sum(1 for _ in islice(cursor, offset))
    rows = [[cell(value) for value in row] for row in islice(cursor, limit)]
    total = skipped + len(rows) + sum(1 for _ in islice(cursor, MAX_COUNTED - skipped - len(rows)))
    result = page_rows(names, rows, total, offset)
    return {"columns": names, **result, **({"counted_up_to": MAX_COUNTED} if total >= MAX_COUNTED else {})}


def page_rows(names: Sequence[str], rows: Sequence[Sequence[Any]], total: int, offset: int = 0) -> dict[str, Any]:
    """The rows of a page as objects, as many as fit; texts are cut short where a row alone does not fit."""
    found = [dict(zip(names, row)) for row in rows]
    if any(json_bytes(row) > MAX_RESULT_BYTES // 2 for row in found):
        found = [{name: cut(v, 40) if isinstance(v, str) else v for name, v in row.items()} for row in found]
    if found and json_bytes(found[0]) > MAX_RESULT_BYTES - 10:
        raise ToolError("limit", f"a row of {len(found[0])} columns is too long to be shown; select fewer columns")
    taken = page("rows", found, 0, len(found) or 1)["rows"]
    after = offset + len(taken)
    return {"rows": taken, "total": total, **({"next_offset": after} if after < total else {})}


def bind(parameters: list[Value] | dict[str, Value] | None) -> list[Value] | dict[str, Value]:
    """Parameters of a statement as SQLite takes them; names may be written with their mark (``:day``)."""
    if isinstance(parameters, dict):
        return {name.lstrip(":@$"): value for name, value in parameters.items()}
    return parameters or []


def view_names(connection: sqlite3.Connection) -> list[str]:
    """The names of the views, sorted."""
    return [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'view' ORDER BY name")]


def columns_of(connection: sqlite3.Connection, table: str, parameter: str = "table") -> dict[str, str]:
    """The declared types of the columns of a table or view, by name.

    Raises:
        ToolError: ``tool_error``, no such table or view.
    """
    names = table_names(connection) + view_names(connection)
    if table not in names:
        raise ToolError("tool_error", f"{parameter}: no table {shorten(table, 60)}{nearest(table, names)}")
    return {row[1]: row[2].upper() for row in connection.execute(f"PRAGMA table_info({quote(table)})")}


def own_table(connection: sqlite3.Connection, table: str, parameter: str = "table") -> dict[str, str]:
    """The declared types of a table's columns; a view will not do.

    Raises:
        ToolError: ``tool_error``, no such table.
    """
    if table not in table_names(connection):
        raise ToolError(
            "tool_error", f"{parameter}: no table {shorten(table, 60)}{nearest(table, table_names(connection))}"
        )
    return column_types(connection, table)


def check_columns(types: Iterable[str], names: Iterable[str], parameter: str) -> None:
    """Refuse names that are no columns.

    Raises:
        ToolError: ``bad_arguments`` with the nearest names.
    """
    known = list(types)
    for name in names:
        if name not in known:
            raise ToolError("bad_arguments", f"{parameter}: no column {shorten(name, 60)}{nearest(name, known)}")


def where_clause(types: Iterable[str], where: Where | None) -> tuple[str, list[Any]]:
    """Structured conditions as SQL and its values.

    Raises:
        ToolError: ``bad_arguments``.
    """
    items: list[Any] = list(where or [])
    conditions: list[Condition] = [each for item in items for each in item.get("any", [item])]
    check_columns(types, (condition["column"] for condition in conditions), "where")
    return to_sql(items, quote)


def check_name(name: str, parameter: str) -> str:
    """A name for a new table, column, index or view: letters, digits and ``_``, at most 60.

    Raises:
        ToolError: ``bad_arguments``.
    """
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,59}", name) or name.lower().startswith("sqlite_"):
        raise ToolError("bad_arguments", f"{parameter}: {shorten(name, 60)} is no name such as orders_2024")
    return name


def primary_key(connection: sqlite3.Connection, table: str, *, needed: bool = True) -> list[str]:
    """The columns of a table's primary key."""
    rows = connection.execute(f"PRAGMA table_info({quote(table)})").fetchall()
    keys = [row[1] for row in sorted(rows, key=lambda row: int(row[5])) if row[5]]
    if needed and not keys:
        raise ToolError("bad_arguments", f"key: {table!r} has no primary key; name the columns that tell a row")
    return keys


def count_all(connection: sqlite3.Connection, table: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {quote(table)}").fetchone()[0])
