"""SQL and rows in any database of the environment: ask, search, sum up and change.

In every result numbers that are not finite are null, bytes are ``<n bytes>``, and long texts are cut.
"""

import sqlite3
from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Len, MinLen
from typing_extensions import TypedDict

from mcpserver.context import Context
from mcpserver.databases import column_types, database_names, quote, table_names
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.conditions import Where
from mcpserver.toolbox.results import page
from mcpserver.tools.sqlite._sql import (
    MAX_COUNTED,
    Limit,
    Names,
    Offset,
    Parameters,
    Sql,
    Values,
    bind,
    cell,
    check_columns,
    check_name,
    columns_of,
    connect,
    count_all,
    fetch,
    own_table,
    page_rows,
    primary_key,
    view_names,
    where_clause,
)
from toolwright.words import shorten


class Statement(TypedDict):
    """One statement of a transaction."""

    statement: Sql
    parameters: NotRequired[Parameters]
    expect_rows: NotRequired[Annotated[int, Ge(0)]]


class SortKey(TypedDict):
    """A column to sort by."""

    column: str
    descending: NotRequired[bool]


class Measure(TypedDict):
    """A figure for each group; only ``count`` needs no column."""

    function: Literal["count", "sum", "avg", "min", "max", "count_distinct"]
    column: NotRequired[str]
    name: NotRequired[str]


def list_databases(context: Context) -> dict[str, Any]:
    """List the databases with their tables and numbers of rows.

    Example:
        {}
    """
    found = []
    for name in database_names(context.files.databases):
        with connect(context, name, "read") as connection:
            counts = {table: count_all(connection, table) for table in table_names(connection)}
            found.append({"database": name, "tables": counts, "views": view_names(connection)})
    return page("databases", found)


def query_database(
    context: Context,
    database: str,
    query: Sql,
    parameters: Parameters | None = None,
    limit: Limit = 50,
    offset: Offset = 0,
) -> dict[str, Any]:
    """Run a read-only SQL query (SELECT, WITH, or a PRAGMA that shows the schema).

    Args:
        database: database name
        query: one SQLite query; REGEXP finds Python patterns
        parameters: values for ? (list) or :name (object)
        limit: rows to return
        offset: rows to skip

    Example:
        {"database": "shop", "query": "SELECT city, count(*) AS customers FROM customers GROUP BY city ORDER BY 2 DESC"}
        {"database": "hr", "query": "SELECT name FROM employees WHERE city REGEXP ?", "parameters": ["^[A-M]"]}
        {"database": "library", "query": "PRAGMA table_info(books)"}
    """
    with connect(context, database, "read") as connection:
        return fetch(connection.execute(query, bind(parameters)), limit, offset)


def explain_query(context: Context, database: str, query: Sql, parameters: Parameters | None = None) -> dict[str, Any]:
    """Show how SQLite would run a query: which tables it scans and which indexes it uses.

    Args:
        database: database name
        query: one SELECT query
        parameters: values for ? (list) or :name (object)

    Example:
        {"database": "shop", "query": "SELECT * FROM orders WHERE customer_id = 3"}
    """
    with connect(context, database, "read") as connection:
        rows = connection.execute(f"EXPLAIN QUERY PLAN {query}", bind(parameters)).fetchall()
    depths = {0: 0}
    for number, parent, _, _ in rows:
        depths[number] = depths.get(parent, 0) + 1
    steps = ["  " * (depths[number] - 1) + text for number, _, _, text in rows]
    return {**page("steps", steps), "uses_index": any(" INDEX " in step or "PRIMARY KEY" in step for step in steps)}


def run_statement(
    context: Context, database: str, statement: Sql, parameters: Parameters | None = None
) -> dict[str, Any]:
    """Run one SQL statement that changes rows (INSERT, UPDATE or DELETE, also with RETURNING).

    Args:
        database: database name
        statement: one SQLite statement
        parameters: values for ? (list) or :name (object)

    Example:
        {"database": "shop", "statement": "UPDATE products SET stock = stock + ? WHERE id = ?", "parameters": [5, 1]}
        {"database": "library", "statement": "DELETE FROM loans WHERE id = :id", "parameters": {"id": 4}}
    """
    with connect(context, database, "write") as connection:
        return _change(connection, statement, parameters, "statement")


def run_transaction(
    context: Context, database: str, statements: Annotated[list[Statement], Len(1, 50)]
) -> dict[str, Any]:
    """Run several SQL statements together: all of them take effect, or none when one fails.

    Args:
        database: database name
        statements: statements in order; expect_rows refuses when another number of rows changes

    Example:
        {"database": "shop", "statements": [
            {"statement": "UPDATE products SET stock = stock - 1 WHERE id = ?", "parameters": [2], "expect_rows": 1},
            {"statement": "UPDATE products SET stock = stock + 1 WHERE id = ?", "parameters": [3], "expect_rows": 1}]}
    """
    results = []
    with connect(context, database, "write") as connection:
        for n, item in enumerate(statements):
            place = f"statements[{n}]"
            try:
                done = _change(connection, item["statement"], item.get("parameters"), place)
            except sqlite3.Error as error:
                error.args = (f"{error.args[0] if error.args else error} (in {place}; nothing was changed)",)
                raise
            wanted = item.get("expect_rows", done["changed"])
            if done["changed"] != wanted:
                raise ToolError(
                    "tool_error", f"{place}: changed {done['changed']} rows, expected {wanted}; nothing was changed"
                )
            results.append(done["changed"])
    return {"changed": results, "total": sum(results)}


def find_rows(
    context: Context,
    database: str,
    table: str,
    where: Where | None = None,
    columns: Names | None = None,
    sort: Annotated[list[SortKey], Len(1, 10)] | None = None,
    limit: Limit = 20,
    offset: Offset = 0,
) -> dict[str, Any]:
    """Find the rows of a table or view by several conditions, sorted, without SQL.

    Args:
        database: database name
        table: table or view
        where: conditions that must all hold; an entry with "any" holds when one of its conditions does
        columns: columns to return, else all
        sort: columns to sort by, the first one first
        limit: rows to return
        offset: rows to skip

    Example:
        {"database": "shop", "table": "products", "where": [{"column": "stock", "operator": "<", "value": 50},
            {"any": [{"column": "name", "operator": "contains", "value": "e"},
                {"column": "price", "operator": "between", "value": [10, 90]}]}],
            "sort": [{"column": "price", "descending": true}], "limit": 5}
    """
    with connect(context, database, "read") as connection:
        types = columns_of(connection, table)
        check_columns(types, columns or (), "columns")
        condition, values = where_clause(types, where)
        query = f"SELECT {', '.join(map(quote, columns or types))} FROM {quote(table)} WHERE {condition}"
        return fetch(connection.execute(query + _order(types, sort or []), values), limit, offset)


def aggregate_rows(
    context: Context,
    database: str,
    table: str,
    measures: Annotated[list[Measure], Len(1, 10)],
    group_by: Names | None = None,
    where: Where | None = None,
    limit: Limit = 50,
) -> dict[str, Any]:
    """Count, sum or average the rows of a table or view by group, without SQL.

    Args:
        database: database name
        table: table or view
        measures: figures to work out for each group
        group_by: columns that make the groups; else one group of all rows
        where: conditions that must all hold; an entry with "any" holds when one of its conditions does
        limit: groups to return, in the order of group_by

    Example:
        {"database": "shop", "table": "products", "group_by": ["category"],
            "measures": [{"function": "count"}, {"function": "avg", "column": "price", "name": "mean_price"}]}
    """
    with connect(context, database, "read") as connection:
        types = columns_of(connection, table)
        check_columns(types, group_by or (), "group_by")
        keys = [quote(name) for name in group_by or ()]
        condition, values = where_clause(types, where)
        query = f"SELECT {', '.join(keys + [_measure(types, item) for item in measures])} FROM {quote(table)}"
        query += f" WHERE {condition}" + (f" GROUP BY {', '.join(keys)} ORDER BY {', '.join(keys)}" if keys else "")
        result = fetch(connection.execute(query, values), limit)
    return {"groups": result.pop("rows"), **{name: result[name] for name in result if name != "columns"}}


def upsert_rows(
    context: Context,
    database: str,
    table: str,
    rows: Annotated[list[Annotated[Values, MinLen(1)]], Len(1, 200)],
    key: Names | None = None,
) -> dict[str, Any]:
    """Add rows to a table, or change the rows that have the same key.

    Args:
        database: database name
        table: table name
        rows: objects of column and value, each with all the key columns
        key: columns that tell a row, else the primary key

    Example:
        {"database": "shop", "table": "products", "rows": [{"id": 1, "price": 19.5},
            {"id": 9001, "name": "Gauge", "category": "Sensor", "price": 45, "stock": 3}]}
    """
    counts = {"added": 0, "changed": 0}
    with connect(context, database, "write") as connection:
        types = own_table(connection, table)
        keys = key or primary_key(connection, table)
        check_columns(types, keys, "key")
        for n, row in enumerate(rows):
            check_columns(types, row, f"rows[{n}]")
            if missing := [name for name in keys if row.get(name) is None]:
                raise ToolError("bad_arguments", f"rows[{n}]: needs a value for the key column {missing[0]!r}")
            counts[_upsert(connection, table, row, keys)] += 1
        return {**counts, "rows": count_all(connection, table)}


def search_database(
    context: Context, database: str, text: Annotated[str, Len(1, 200)], limit: Limit = 20
) -> dict[str, Any]:
    """Find a text, in any case, in all columns of all tables of a database.

    Args:
        database: database name
        text: text to find
        limit: matches to return

    Example:
        {"database": "shop", "text": "an"}
    """
    found = []
    with connect(context, database, "read") as connection:
        for table in table_names(connection):
            keys = primary_key(connection, table, needed=False)
            for column in column_types(connection, table):
                picked = ", ".join(map(quote, [column, *keys]))
                query = f"SELECT {picked} FROM {quote(table)} WHERE instr(lower({quote(column)}), lower(?)) > 0"
                for value, *key in connection.execute(query + f" LIMIT {MAX_COUNTED}", (text,)):
                    place = {"table": table, "column": column, "key": dict(zip(keys, map(cell, key)))}
                    found.append(
                        {**place, "value": shorten(cell(value), 200) if len(str(value)) > 200 else cell(value)}
                    )
    return page("matches", found, 0, limit)


def find_related_rows(context: Context, database: str, table: str, key: str | int, limit: Limit = 10) -> dict[str, Any]:
    """Get a row by its primary key with the rows that it refers to and that refer to it.

    Args:
        database: database name
        table: table name
        key: value of the primary key
        limit: rows to return of each other table

    Example:
        {"database": "shop", "table": "orders", "key": 1}
    """
    with connect(context, database, "read") as connection:
        own_table(connection, table)
        column = primary_key(connection, table)[0]
        row = fetch(connection.execute(f"SELECT * FROM {quote(table)} WHERE {quote(column)} = ?", (key,)), 1)["rows"]
        if not row:
            raise ToolError("tool_error", f"key: no row of {table!r} has {column} = {shorten(key, 60)}")
        raw = dict(zip(column_types(connection, table), _first(connection, table, column, key)))
        links = [(other, *link) for other in table_names(connection) for link in _foreign_keys(connection, other)]
        refers = [(target, there, raw[here]) for other, here, target, there in links if other == table]
        referred = [(other, here, raw.get(there)) for other, here, target, there in links if target == table]
        return {
            "row": row[0],
            "refers_to": [_related(connection, *link, limit) for link in refers],
            "referred_by": [_related(connection, *link, limit) for link in referred],
        }


def profile_table(context: Context, database: str, table: str) -> dict[str, Any]:
    """Get statistics of each column of a table: missing and distinct values, lowest, highest, mean.

    Args:
        database: database name
        table: table or view

    Example:
        {"database": "shop", "table": "products"}
    """
    found = []
    with connect(context, database, "read") as connection:
        for column, kind in columns_of(connection, table).items():
            name = quote(column)
            query = f"""SELECT count(*) - count({name}), count(DISTINCT {name}), min({name}), max({name}),
                avg(CASE WHEN typeof({name}) IN ('integer', 'real') THEN {name} END) FROM {quote(table)}"""
            figures = dict(
                zip(("missing", "distinct", "lowest", "highest", "mean"), connection.execute(query).fetchone())
            )
            known = {
                key: shorten(value, 100) if len(str(value)) > 100 else cell(value) for key, value in figures.items()
            }
            found.append({"column": column, "type": kind.lower(), **known})
        rows = count_all(connection, table)
    return {"rows": rows, **page("columns", found)}


def _change(
    connection: sqlite3.Connection, statement: str, parameters: Parameters | None, place: str
) -> dict[str, Any]:
    cursor = connection.execute(statement, bind(parameters))
    if cursor.description is None:
        if cursor.rowcount < 0:
            raise ToolError("bad_arguments", f"{place}: changes no rows; write INSERT, UPDATE or DELETE")
        return {"changed": cursor.rowcount}
    names = [item[0] for item in cursor.description]
    rows = [[cell(value) for value in row] for row in cursor.fetchmany(MAX_COUNTED)]
    if cursor.rowcount < 0:
        raise ToolError("bad_arguments", f"{place}: changes no rows; use query_database to read")
    return {"changed": cursor.rowcount, **page_rows(names, rows, len(rows))}


def _order(types: dict[str, str], sort: list[SortKey]) -> str:
    check_columns(types, (item["column"] for item in sort), "sort")
    keys = [quote(item["column"]) + (" DESC" if item.get("descending") else "") for item in sort]
    return f" ORDER BY {', '.join(keys)}" if keys else ""


def _measure(types: dict[str, str], item: Measure) -> str:
    function, column = item["function"], item.get("column")
    if column is None and function != "count":
        raise ToolError("bad_arguments", f"measures: {function} needs a column")
    check_columns(types, [column] if column is not None else [], "measures")
    name = check_name(item.get("name") or f"{function}_{column}".replace(" ", "_"), "measures")
    if column is None:
        return f"count(*) AS {quote(item.get('name') or 'count')}"
    call = f"count(DISTINCT {quote(column)})" if function == "count_distinct" else f"{function}({quote(column)})"
    return f"{call} AS {quote(name)}"


def _upsert(connection: sqlite3.Connection, table: str, row: Values, keys: list[str]) -> Literal["added", "changed"]:
    same = " AND ".join(f"{quote(name)} = ?" for name in keys)
    known = [row[name] for name in keys]
    if connection.execute(f"SELECT 1 FROM {quote(table)} WHERE {same}", known).fetchone():
        others = [name for name in row if name not in keys]
        if others:
            new = ", ".join(f"{quote(name)} = ?" for name in others)
            values = [row[name] for name in others] + known
            connection.execute(f"UPDATE {quote(table)} SET {new} WHERE {same}", values)
        return "changed"
    names, marks = ", ".join(map(quote, row)), ", ".join("?" * len(row))
    connection.execute(f"INSERT INTO {quote(table)} ({names}) VALUES ({marks})", list(row.values()))
    return "added"


def _first(connection: sqlite3.Connection, table: str, column: str, key: object) -> tuple[Any, ...]:
    row: tuple[Any, ...] = connection.execute(
        f"SELECT * FROM {quote(table)} WHERE {quote(column)} = ?", (key,)
    ).fetchone()
    return row


def _foreign_keys(connection: sqlite3.Connection, table: str) -> list[tuple[str, str, str]]:
    """Column, other table and its column, of each foreign key."""
    found = []
    for row in connection.execute(f"PRAGMA foreign_key_list({quote(table)})").fetchall():
        if row[2] in table_names(connection):
            keys = [row[4]] if row[4] else primary_key(connection, row[2], needed=False)
            found += [(row[3], row[2], keys[0])] if keys else []
    return found


def _related(connection: sqlite3.Connection, table: str, column: str, value: object, limit: int) -> dict[str, Any]:
    query = f"SELECT * FROM {quote(table)} WHERE {quote(column)} = ?"
    found = fetch(connection.execute(query, (value,)), limit)
    return {"table": table, "column": column, "rows": found["rows"], "total": found["total"]}
