"""Tables, indexes, views and whole databases of the environment: look at them, make, change, check and remove them."""

import io
import sqlite3
from contextlib import closing
from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Len
from typing_extensions import TypedDict

from mcpserver.context import Context
from mcpserver.databases import MAX_DATABASE_PAGES, column_types, database_names, quote, table_names
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.results import page
from mcpserver.tools.sqlite._sql import (
    Limit,
    Names,
    Sql,
    Value,
    check_columns,
    check_name,
    columns_of,
    connect,
    count_all,
    own_table,
)
from mcpserver.workspace import MAX_FILE_BYTES
from toolwright.words import cut, nearest, shorten

MAX_DATABASES = 40


class Reference(TypedDict):
    """The column of another table that a foreign key points to."""

    table: str
    column: str
    on_delete: NotRequired[Literal["restrict", "cascade", "set_null"]]


class Column(TypedDict):
    """A column of a new table."""

    name: str
    type: Literal["INTEGER", "REAL", "TEXT", "BLOB", "NUMERIC"]
    primary_key: NotRequired[bool]
    not_null: NotRequired[bool]
    unique: NotRequired[bool]
    default: NotRequired[Value]
    references: NotRequired[Reference]


def describe_database(context: Context, database: str) -> dict[str, Any]:
    """Get the whole schema of a database: tables with columns, keys, indexes and numbers of rows, and views.

    Args:
        database: database name

    Example:
        {"database": "shop"}
    """
    with connect(context, database, "read") as connection:
        tables = [_table(connection, name) for name in table_names(connection)]
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'view' ORDER BY name").fetchall()
    return {**page("tables", tables), "views": [{"name": name, "sql": cut(sql, 500)} for name, sql in rows[:20]]}


def create_table(
    context: Context,
    database: str,
    table: str,
    columns: Annotated[list[Column], Len(1, 100)],
) -> dict[str, Any]:
    """Create a table from column definitions.

    Args:
        database: database name
        table: name of the new table
        columns: columns in order; several primary_key columns make one key together

    Example:
        {"database": "shop", "table": "reviews", "columns": [{"name": "id", "type": "INTEGER", "primary_key": true},
            {"name": "product_id", "type": "INTEGER", "references": {"table": "products", "column": "id"}},
            {"name": "stars", "type": "INTEGER", "not_null": true, "default": 5}, {"name": "text", "type": "TEXT"}]}
    """
    check_name(table, "table")
    keys = [column["name"] for column in columns if column.get("primary_key")]
    with connect(context, database, "define") as connection:
        parts = [_define(connection, table, column, len(keys) == 1, columns) for column in columns]
        if len(keys) > 1:
            parts.append(f"PRIMARY KEY ({', '.join(map(quote, keys))})")
        connection.execute(f"CREATE TABLE {quote(table)} ({', '.join(parts)})")
        return {"created": table, "columns": column_types(connection, table)}


def drop_from_database(
    context: Context, database: str, kind: Literal["table", "index", "view"], name: str
) -> dict[str, Any]:
    """Remove a table with all its rows, an index, or a view.

    Args:
        database: database name
        kind: what is removed
        name: its name, as describe_database shows it

    Example:
        {"database": "shop", "kind": "table", "name": "order_items"}
    """
    with connect(context, database, "define") as connection:
        query = "SELECT name FROM sqlite_master WHERE type = ? AND sql IS NOT NULL ORDER BY name"
        names = [row[0] for row in connection.execute(query, (kind,)) if not row[0].startswith("sqlite_")]
        if name not in names:
            raise ToolError("tool_error", f"name: no {kind} {shorten(name, 60)}{nearest(name, names)}")
        rows = count_all(connection, name) if kind == "table" else None
        connection.execute(f"DROP {kind.upper()} {quote(name)}")
    return {"dropped": name, "kind": kind, **({} if rows is None else {"rows": rows})}


def add_column(context: Context, database: str, table: str, column: Column) -> dict[str, Any]:
    """Add a column to a table; the rows that are there get its default.

    Args:
        database: database name
        table: table name
        column: new column, no primary key and not unique

    Example:
        {"database": "shop", "table": "customers", "column": {"name": "newsletter", "type": "INTEGER", "default": 0}}
    """
    with connect(context, database, "define") as connection:
        own_table(connection, table)
        connection.execute(f"ALTER TABLE {quote(table)} ADD COLUMN {_define(connection, table, column, True, [])}")
        return {"columns": column_types(connection, table)}


def drop_column(context: Context, database: str, table: str, column: str) -> dict[str, Any]:
    """Remove a column of a table that no key, index or view uses.

    Args:
        database: database name
        table: table name
        column: column to remove

    Example:
        {"database": "shop", "table": "products", "column": "stock"}
    """
    with connect(context, database, "define") as connection:
        check_columns(own_table(connection, table), [column], "column")
        connection.execute(f"ALTER TABLE {quote(table)} DROP COLUMN {quote(column)}")
        return {"columns": column_types(connection, table)}


def rename_in_table(
    context: Context, database: str, table: str, new_name: str, column: str | None = None
) -> dict[str, Any]:
    """Rename a column of a table, or the table itself.

    Args:
        database: database name
        table: table name
        new_name: new name of the column or the table
        column: column to rename; without it the table is renamed

    Example:
        {"database": "shop", "table": "customers", "column": "city", "new_name": "town"}
        {"database": "shop", "table": "order_items", "new_name": "order_lines"}
    """
    check_name(new_name, "new_name")
    with connect(context, database, "define") as connection:
        types = own_table(connection, table)
        if column is None:
            connection.execute(f"ALTER TABLE {quote(table)} RENAME TO {quote(new_name)}")
            return {"table": new_name, "columns": column_types(connection, new_name)}
        check_columns(types, [column], "column")
        connection.execute(f"ALTER TABLE {quote(table)} RENAME COLUMN {quote(column)} TO {quote(new_name)}")
        return {"table": table, "columns": column_types(connection, table)}


def create_index(
    context: Context,
    database: str,
    table: str,
    columns: Names,
    unique: bool = False,
    name: str | None = None,
) -> dict[str, Any]:
    """Create an index on columns of a table, which makes queries by these columns fast.

    Args:
        database: database name
        table: table name
        columns: columns in order
        unique: refuse two rows with the same values
        name: name of the index

    Example:
        {"database": "shop", "table": "products", "columns": ["category", "price"]}
    """
    with connect(context, database, "define") as connection:
        check_columns(own_table(connection, table), columns, "columns")
        index = name or f"{table}_{'_'.join(columns)}_idx"[:60].replace(" ", "_")
        check_name(index, "name")
        what = "UNIQUE INDEX" if unique else "INDEX"
        connection.execute(f"CREATE {what} {quote(index)} ON {quote(table)} ({', '.join(map(quote, columns))})")
    return {"created": index, "table": table, "columns": columns, "unique": unique}


def create_view(context: Context, database: str, view: str, query: Sql) -> dict[str, Any]:
    """Create a view: a query with a name that can be read like a table.

    Args:
        database: database name
        view: name of the new view
        query: one SELECT query

    Example:
        {"database": "shop", "view": "cheap_products", "query": "SELECT name, price FROM products WHERE price < 50"}
    """
    check_name(view, "view")
    with connect(context, database, "define") as connection:
        connection.execute(f"CREATE VIEW {quote(view)} AS {query}")
        return {"created": view, "columns": columns_of(connection, view), "rows": count_all(connection, view)}


def check_foreign_keys(context: Context, database: str, limit: Limit = 50) -> dict[str, Any]:
    """Find the rows of a database that refer to a row that is not there.

    Args:
        database: database name
        limit: rows to return

    Example:
        {"database": "shop"}
    """
    with connect(context, database, "read") as connection:
        rows = connection.execute("PRAGMA foreign_key_check").fetchall()
        found = []
        for table, number, parent, key in rows:
            columns = [
                row[3] for row in connection.execute(f"PRAGMA foreign_key_list({quote(table)})") if row[0] == key
            ]
            found.append({"table": table, "rowid": number, "columns": columns, "refers_to": parent})
    return {"ok": not found, **page("violations", found, 0, limit)}


def check_integrity(context: Context, database: str) -> dict[str, Any]:
    """Check that a database file is sound: pages, indexes, NOT NULL and UNIQUE columns.

    Args:
        database: database name

    Example:
        {"database": "shop"}
    """
    with connect(context, database, "read") as connection:
        problems = [row[0] for row in connection.execute("PRAGMA integrity_check(50)") if row[0] != "ok"]
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
    return {"ok": not problems, **page("problems", problems), "pages": pages, "most_pages": MAX_DATABASE_PAGES}


def create_database(context: Context, database: str) -> dict[str, Any]:
    """Create a new, empty database.

    Args:
        database: name of the new database

    Example:
        {"database": "experiments"}
    """
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("PRAGMA user_version=1")  # SQLite writes no file for a database that holds nothing
        _add_database(context, database, connection, "database")
    return {"created": database, "databases": database_names(context.files.databases)}


def copy_database(context: Context, database: str, new_name: str) -> dict[str, Any]:
    """Copy a database under a new name, for example before a risky change.

    Args:
        database: database name
        new_name: name of the copy

    Example:
        {"database": "shop", "new_name": "shop_backup"}
    """
    with connect(context, database, "read") as connection:
        tables = {table: count_all(connection, table) for table in table_names(connection)}
    with closing(sqlite3.connect(context.files.databases / f"{database}.db")) as connection:
        _add_database(context, new_name, connection, "new_name")
    return {"created": new_name, "tables": tables}


def dump_database(context: Context, database: str, output: str) -> dict[str, Any]:
    """Write a database as a SQL script that makes it anew: CREATE statements and all rows.

    Args:
        database: database name
        output: file to write such as data/shop.sql

    Example:
        {"database": "shop", "output": "data/shop.sql"}
    """
    context.files.new_file(output, "output")
    text = io.StringIO()
    with connect(context, database, "read") as connection:
        for line in connection.iterdump():
            text.write(f"{line}\n")
            if text.tell() > MAX_FILE_BYTES:
                raise ToolError("limit", f"database: the script has more than {MAX_FILE_BYTES} bytes")
    content = text.getvalue().encode("utf-8", "backslashreplace")
    context.files.write(output, content, "output")
    return {"written": output, "bytes": len(content), "lines": content.count(b"\n")}


def _table(connection: sqlite3.Connection, table: str) -> dict[str, Any]:
    name = quote(table)
    columns = []
    for _, column, kind, not_null, default, key in connection.execute(f"PRAGMA table_info({name})"):
        marks = {"primary_key": bool(key), "not_null": bool(not_null), "default": default}
        columns.append(
            {"name": column, "type": kind.lower(), **{mark: value for mark, value in marks.items() if value}}
        )
    foreign = [
        {"column": row[3], "table": row[2], "to": row[4]}
        for row in connection.execute(f"PRAGMA foreign_key_list({name})")
    ]
    indexes = []
    for row in connection.execute(f"PRAGMA index_list({name})").fetchall():
        if row[3] == "c":
            of = [item[2] for item in connection.execute(f"PRAGMA index_info({quote(row[1])})")]
            indexes.append({"name": row[1], "columns": of, "unique": bool(row[2])})
    result = {"table": table, "rows": count_all(connection, table), "columns": columns}
    return result | {key: value for key, value in (("foreign_keys", foreign), ("indexes", indexes)) if value}


def _define(connection: sqlite3.Connection, table: str, column: Column, own_key: bool, siblings: list[Column]) -> str:
    """A column definition in SQL; a key of several columns is declared for the table, not here."""
    text = f"{quote(check_name(column['name'], 'columns'))} {column['type']}"
    if column.get("primary_key") and own_key:
        text += " PRIMARY KEY"
    text += " NOT NULL" * bool(column.get("not_null")) + " UNIQUE" * bool(column.get("unique"))
    if column.get("default") is not None:
        text += f" DEFAULT {_literal(connection, column['default'])}"
    if "references" in column:
        text += _refer(connection, table, column["references"], siblings)
    return text


def _refer(connection: sqlite3.Connection, table: str, to: Reference, siblings: list[Column]) -> str:
    names = [item["name"] for item in siblings] if to["table"] == table else list(own_table(connection, to["table"]))
    check_columns(names, [to["column"]], "references")
    action = {"restrict": "", "cascade": " ON DELETE CASCADE", "set_null": " ON DELETE SET NULL"}
    return f" REFERENCES {quote(to['table'])}({quote(to['column'])}){action[to.get('on_delete', 'restrict')]}"


def _literal(connection: sqlite3.Connection, value: Value) -> str:
    text: str = connection.execute("SELECT quote(?)", (value,)).fetchone()[0]
    return text


def _add_database(context: Context, name: str, source: sqlite3.Connection, parameter: str) -> None:
    """Write a new database file: whole, or not at all."""
    check_name(name, parameter)
    folder = context.files.databases
    taken = [path.name.lower() for path in folder.iterdir()]
    if f"{name}.db".lower() in taken:
        raise ToolError("tool_error", f"{parameter}: there is a database {name!r} already")
    if len(taken) >= MAX_DATABASES:
        raise ToolError("limit", f"{parameter}: at most {MAX_DATABASES} databases")
    half = folder / f".{name}.new"
    try:
        with closing(sqlite3.connect(half)) as target:
            source.backup(target)
        half.replace(folder / f"{name}.db")
    except (sqlite3.Error, OSError) as error:
        half.unlink(missing_ok=True)
        raise ToolError("tool_error", f"{parameter}: the database cannot be written ({error})") from None
