import json
import random
import signal
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest
from tabular_world import databases, files, random_calls, refusal, tools_of
from tool_calls import World

from mcpserver.context import Context
from mcpserver.databases import hash_folder
from mcpserver.tool_error import ToolError
from mcpserver.tools.sqlite import sql, sql_schema, sql_transfer
from mcpserver.tools.sqlite.sql import (
    aggregate_rows,
    explain_query,
    find_related_rows,
    find_rows,
    list_databases,
    profile_table,
    query_database,
    run_statement,
    run_transaction,
    search_database,
    upsert_rows,
)
from mcpserver.tools.sqlite.sql_schema import (
    add_column,
    check_foreign_keys,
    check_integrity,
    copy_database,
    create_database,
    create_index,
    create_table,
    create_view,
    describe_database,
    drop_column,
    drop_from_database,
    dump_database,
    rename_in_table,
)
from mcpserver.tools.sqlite.sql_transfer import compare_database_tables, copy_rows, export_query, import_csv

BASE = databases() | files()
TOOLS = tools_of(sql, sql_schema, sql_transfer)
ATTACKS = Path(__file__).parents[2] / "shared/data/sandbox_attacks.jsonl"


@pytest.fixture
def world(tmp_path):
    return World(tmp_path, BASE)


def ask(world, query, **more):
    return world.call(query_database, database="shop", query=query, **more)


def value(world, query, **more):
    (row,) = ask(world, query, **more)["rows"]
    return next(iter(row.values()))


@pytest.mark.parametrize("name", sorted(TOOLS))
def test_every_example_of_a_sql_tool_works(world, name):
    tool = TOOLS[name]
    assert tool.examples
    for example in tool.examples:
        result = World(world.workspace.root, BASE).call(tool, **example)
        assert len(json.dumps(result)) < 16_000


def test_a_query_gives_rows_as_objects_by_page(world):
    first = ask(world, "SELECT id, name FROM products ORDER BY id", limit=2)
    assert first["rows"] == [{"id": 1, "name": "Pump 1"}, {"id": 2, "name": "Pump 2"}]
    assert (first["total"], first["next_offset"]) == (30, 2)
    last = ask(world, "SELECT id FROM products ORDER BY id", limit=5, offset=28)
    assert [row["id"] for row in last["rows"]] == [29, 30]
    assert "next_offset" not in last
    assert ask(world, "SELECT id FROM products", offset=100)["rows"] == []


@pytest.mark.parametrize(
    ("query", "parameters", "expected"),
    [
        ("SELECT ? + ?", [2, 3], 5),
        ("SELECT :a || :b", {"a": "x", ":b": "y"}, "xy"),
        ("SELECT ?", [True], 1),
        ("SELECT ?", [None], None),
        ("SELECT 9e999", None, None),
        ("SELECT -9e999", None, None),
        ("SELECT 9e999 - 9e999", None, None),
        ("SELECT zeroblob(7)", None, "<7 bytes>"),
        ("SELECT cast(x'ff41' AS TEXT)", None, "\\xffA"),
        ("SELECT 'Pump 12' REGEXP '^P\\w+ \\d+$'", None, 1),
        ("SELECT NULL REGEXP 'a'", None, None),
        ("SELECT count(*) FROM products WHERE name REGEXP '[13]$'", None, 6),
        ("SELECT date('now')", None, "2025-03-17"),
        ("SELECT datetime('now', '-1 day', 'localtime')", None, "2025-03-16 09:00:00"),
        ("SELECT strftime('%Y-%W')", None, "2025-11"),
        ("SELECT current_timestamp", None, "2025-03-17 09:00:00"),
        ("SELECT julianday('2025-03-17') - julianday('2025-03-01')", None, 16.0),
        ("SELECT date('nonsense')", None, None),
        ("SELECT json_extract('{\"a\": [1, 2]}', '$.a[1]')", None, 2),
        ("SELECT sum(value) FROM json_each('[1, 2, 3]')", None, 6),
        ("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 10) SELECT sum(x) FROM n", None, 55),
        ("SELECT rank() OVER (ORDER BY price DESC) FROM products WHERE id = 30", None, 1),
        ("PRAGMA user_version", None, 0),
    ],
)
def test_what_one_value_is(world, query, parameters, expected):
    more = {} if parameters is None else {"parameters": parameters}
    assert value(world, query, **more) == expected


def test_chance_in_a_query_is_the_same_every_time(world, tmp_path):
    again = World(tmp_path / "again", BASE)
    other = World(tmp_path / "other", BASE, seed=18)
    query = "SELECT random() UNION ALL SELECT random() UNION ALL SELECT hex(randomblob(8))"
    assert ask(world, query) == ask(again, query) != ask(other, query)


def test_names_that_appear_twice_are_told_apart(world):
    row = ask(world, "SELECT a.id, b.id FROM customers a, customers b WHERE a.id = 1 AND b.id = 2")["rows"][0]
    assert row == {"id": 1, "id_2": 2}


def test_long_rows_are_cut_and_pages_stay_short(world):
    wide = ", ".join(f"printf('%.*c', 3000, 'x') AS c{n}" for n in range(60))
    result = ask(world, f"SELECT {wide} FROM products")
    assert len(json.dumps(result)) < 16_000
    assert result["rows"][0]["c0"].endswith("…")
    assert result["total"] == 30


def test_rows_without_end_are_counted_up_to_a_bound(world):
    result = ask(world, "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n", limit=3)
    assert [row["x"] for row in result["rows"]] == [1, 2, 3]
    assert result["counted_up_to"] == result["total"] == 100_000


REFUSED = [
    (query_database, "DELETE FROM customers", "denied"),
    (query_database, "WITH x AS (SELECT 1) DELETE FROM customers", "denied"),
    (query_database, "CREATE TABLE t(a)", "denied"),
    (query_database, "SELECT 1; DROP TABLE customers", "denied"),
    (query_database, "PRAGMA journal_mode=OFF", "denied"),
    (query_database, "PRAGMA user_version=3", "denied"),
    (query_database, "PRAGMA database_list", "denied"),
    (query_database, "SELECT file FROM pragma_database_list", "denied"),
    (query_database, "PRAGMA mmap_size=1000000000", "denied"),
    (query_database, "BEGIN", "denied"),
    (query_database, "COMMIT", "denied"),
    (query_database, "SAVEPOINT x", "denied"),
    (query_database, "SELECT sqlite_version()", "denied"),
    (query_database, "SELECT fts3_tokenizer('simple')", "denied"),
    (query_database, "SELECT edit('x')", "tool_error"),
    (query_database, "SELECT * FROM custommers", "tool_error"),
    (query_database, "SELEC 1", "tool_error"),
    (query_database, "-- nothing", "bad_arguments"),
    (query_database, "SELECT '\0'", "tool_error"),
    (query_database, "SELECT '\ud800'", "bad_arguments"),
    (query_database, "SELECT 'a' REGEXP '('", "bad_arguments"),
    (query_database, f"SELECT 'a' REGEXP '{'a' * 600}'", "limit"),
    (query_database, "SELECT ?", "tool_error"),
    (query_database, "SELECT " + "(" * 900 + "1" + ")" * 900, "tool_error"),
    (query_database, "SELECT " + "+".join("1" * 300), "limit"),
    (query_database, "SELECT randomblob('x')", "tool_error"),
    (query_database, "SELECT replace(printf('%.*c', 9000, 'x'), 'x', 'yyyyyyyy')", "limit"),
    (run_statement, "SELECT 1", "bad_arguments"),
    (run_statement, "PRAGMA user_version", "bad_arguments"),
    (run_statement, "PRAGMA user_version=4", "denied"),
    (run_statement, "DROP TABLE customers", "denied"),
    (run_statement, "COMMIT", "denied"),
    (run_statement, "ATTACH '/tmp/x.db' AS x", "denied"),
    (run_statement, "DETACH main", "denied"),
    (run_statement, "ANALYZE", "denied"),
    (run_statement, "REINDEX", "denied"),
    (run_statement, "UPDATE sqlite_master SET sql = 'x'", "denied"),
    (run_statement, "INSERT INTO sqlite_master VALUES (1, 2, 3, 4, 5)", "denied"),
    (run_statement, "CREATE TRIGGER t AFTER INSERT ON orders BEGIN SELECT 1; END", "denied"),
    (run_statement, "INSERT INTO customers(name) VALUES (NULL)", "tool_error"),
    (run_statement, "INSERT INTO orders(customer_id) VALUES (999)", "tool_error"),
    (run_statement, "INSERT INTO customers(name) VALUES (printf('%.*c', 20000, 'x') || 'y')", "tool_error"),
]


@pytest.mark.parametrize(("tool", "text", "kind"), REFUSED)
def test_what_sql_is_refused_and_leaves_no_trace(world, tool, text, kind):
    before = hash_folder(world.workspace.databases)
    name = "query" if tool is query_database else "statement"
    assert refusal(world, tool, database="shop", **{name: text}) == kind
    assert hash_folder(world.workspace.databases) == before


def test_a_refusal_says_what_was_probably_meant(world):
    with pytest.raises(ToolError, match='did you mean "customers"'):
        ask(world, "SELECT * FROM custommers")
    with pytest.raises(ToolError, match='did you mean "price"'):
        ask(world, "SELECT prise FROM products")
    with pytest.raises(ToolError, match='did you mean "shop"'):
        world.call(query_database, database="shopp", query="SELECT 1")
    with pytest.raises(ToolError, match="only SELECT"):
        ask(world, "DELETE FROM customers")


def attacks():
    if not ATTACKS.exists():
        return []
    cases = map(json.loads, ATTACKS.read_text().splitlines())
    return [case for case in cases if case["tool_kind"] == "sql"]


@pytest.mark.skipif(not ATTACKS.exists(), reason="the corpus of attacks is not beside this checkout")
def test_there_are_sql_attacks_in_the_corpus():
    assert len(attacks()) >= 10


@pytest.mark.parametrize("access", ["read", "write"])
@pytest.mark.parametrize("case", attacks(), ids=lambda case: case["id"])
def test_each_sql_attack_ends_as_it_must(world, tmp_path_factory, case, access):
    outside = tmp_path_factory.mktemp("outside")
    with closing(sqlite3.connect(world.workspace.databases / "shop.db")) as connection:
        connection.execute("CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT)")
        connection.execute("INSERT INTO users VALUES (1, 'Ada')")
        connection.commit()
    text = case["payload"]["args"]["query"].replace("${OUTSIDE}", str(outside))
    verdict = case["must"].partition(":")[0]
    ended = run_under_an_alarm(world, text, access)
    allowed = {"deny": {"denied"}, "error": {"tool_error"}, "limit": {"limit"}, "timeout": {"timeout"}, "ok": {"ok"}}
    wanted = set().union(*(allowed[part] for part in verdict.split("-or-")))
    if access == "write" and case["id"] == "sql_readonly_write":
        wanted = {"ok"}
    elif access == "write" and "ok" in wanted:
        wanted |= {"bad_arguments"}  # a query changes no rows
    assert ended in wanted
    assert list(outside.iterdir()) == []


def run_under_an_alarm(world, text, access):
    """As in a worker: a deadline, and a signal that raises a moment later."""

    def alarm(_number, _frame):
        raise ToolError("timeout", "time is up")

    context = Context(17, workspace=world.workspace, deadline=time.monotonic() + 0.5)
    before = signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, 0.6)
    try:
        result = (query_database if access == "read" else run_statement)(context, "shop", text)
        json.dumps(result, allow_nan=False)
        return "ok"
    except ToolError as error:
        return error.kind
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT count(*) FROM order_items a, order_items b, order_items c, order_items d, order_items e",
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n",
        "SELECT '" + "a" * 40 + "!' REGEXP '(a+)+$'",
        "SELECT count(*) FROM order_items a, order_items b WHERE a.price || '" + "a" * 40 + "!' REGEXP '(a+)+$'",
    ],
)
def test_a_query_that_takes_too_long_ends_on_time(world, query):
    started = time.monotonic()
    assert run_under_an_alarm(world, query, "read") == "timeout"
    assert time.monotonic() - started < 2


def test_a_change_that_takes_too_long_changes_nothing(world):
    before = hash_folder(world.workspace.databases)
    text = "INSERT INTO customers(name) WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n"
    assert run_under_an_alarm(world, text, "write") in ("timeout", "limit")
    assert hash_folder(world.workspace.databases) == before


def test_a_statement_says_how_many_rows_it_changed(world):
    update = "UPDATE products SET stock = 0 WHERE category = ?"
    assert world.call(run_statement, database="shop", statement=update, parameters=["Pump"]) == {"changed": 10}
    assert value(world, "SELECT sum(stock) FROM products WHERE category = 'Pump'") == 0
    text = "INSERT INTO customers(name, city) VALUES ('Ada', 'Paris') RETURNING id, name"
    done = world.call(run_statement, database="shop", statement=text)
    assert done == {"changed": 1, "rows": [{"id": 31, "name": "Ada"}], "total": 1}
    assert value(world, "SELECT city FROM customers WHERE id = 31") == "Paris"


def test_a_transaction_takes_effect_whole_or_not_at_all(world):
    before = hash_folder(world.workspace.databases)
    take = {"statement": "UPDATE products SET stock = stock - 1 WHERE id = ?", "parameters": [2]}
    for bad in (
        {"statement": "INSERT INTO customers(name) VALUES (NULL)"},
        {"statement": "DROP TABLE orders"},
        {"statement": "COMMIT"},
        {**take, "parameters": [999], "expect_rows": 1},
        {"statement": "SELECT 1"},
    ):
        with pytest.raises(ToolError, match=r"statements\[1\]|not authorized"):
            world.call(run_transaction, database="shop", statements=[take, bad])
        assert hash_folder(world.workspace.databases) == before
    put = {**take, "statement": "UPDATE products SET stock = stock + 1 WHERE id = ?", "expect_rows": 1}
    assert world.call(run_transaction, database="shop", statements=[take, put]) == {"changed": [1, 1], "total": 2}
    assert hash_folder(world.workspace.databases) == before


WHERE = [
    ([], 30),
    ([{"column": "price", "operator": ">", "value": 300}], 2),
    ([{"column": "price", "operator": "<=", "value": 21}], 2),
    ([{"column": "category", "operator": "!=", "value": "Pump"}], 20),
    ([{"column": "category", "operator": "in", "value": ["Pump", "Valve"]}], 20),
    ([{"column": "category", "operator": "not_in", "value": ["Pump", "Valve"]}], 10),
    ([{"column": "id", "operator": "between", "value": [3, 5]}], 3),
    ([{"column": "name", "operator": "contains", "value": "PUMP 2"}], 11),
    ([{"column": "name", "operator": "starts_with", "value": "pump 3"}], 2),
    ([{"column": "name", "operator": "ends_with", "value": "P 30"}], 1),
    ([{"column": "name", "operator": "matches", "value": "^Pump [12]$"}], 2),
    ([{"column": "stock", "operator": "is_missing"}], 0),
    ([{"column": "stock", "operator": "is_present"}], 30),
    ([{"any": [{"column": "id", "operator": "=", "value": 1}, {"column": "id", "operator": "=", "value": 2}]}], 2),
    (
        [
            {"column": "id", "operator": ">", "value": 1},
            {"any": [{"column": "id", "operator": "=", "value": 1}, {"column": "id", "operator": "=", "value": 2}]},
        ],
        1,
    ),
]


@pytest.mark.parametrize(("where", "total"), WHERE)
def test_conditions_without_sql(world, where, total):
    assert world.call(find_rows, database="shop", table="products", where=where)["total"] == total


@pytest.mark.parametrize(
    "where",
    [
        [{"column": "prise", "operator": "=", "value": 1}],
        [{"column": "price", "operator": "="}],
        [{"column": "price", "operator": "between", "value": [1]}],
        [{"column": "price", "operator": "in", "value": 3}],
        [{"column": "price", "operator": "contains", "value": 3}],
        [{"column": "price", "operator": "is_missing", "value": 3}],
        [{"column": "name", "operator": "matches", "value": "("}],
    ],
)
def test_conditions_that_make_no_sense_are_refused(world, where):
    assert refusal(world, find_rows, database="shop", table="products", where=where) == "bad_arguments"


def test_rows_are_found_sorted_and_with_the_wanted_columns(world):
    sort = [{"column": "category"}, {"column": "price", "descending": True}]
    found = world.call(find_rows, database="shop", table="products", columns=["id", "category"], sort=sort, limit=2)
    assert found["rows"] == [{"id": 29, "category": "Meter"}, {"id": 26, "category": "Meter"}]


def test_groups_are_counted_and_summed(world):
    measures = [
        {"function": "count"},
        {"function": "count_distinct", "column": "category"},
        {"function": "sum", "column": "stock"},
        {"function": "max", "column": "price", "name": "top"},
    ]
    result = world.call(aggregate_rows, database="shop", table="products", measures=measures)
    assert result["groups"] == [{"count": 30, "count_distinct_category": 3, "sum_stock": 1395, "top": 315.0}]
    grouped = world.call(
        aggregate_rows, database="shop", table="orders", measures=[{"function": "count"}], group_by=["status"]
    )
    assert grouped["groups"] == [{"status": "open", "count": 20}, {"status": "paid", "count": 20}]
    assert refusal(world, aggregate_rows, database="shop", table="orders", measures=[{"function": "sum"}]) == (
        "bad_arguments"
    )


def test_an_upsert_adds_or_changes_by_key(world):
    rows = [{"id": 1, "price": 1.5}, {"id": 77, "name": "Gauge", "price": 2}]
    done = world.call(upsert_rows, database="shop", table="products", rows=rows)
    assert done == {"added": 1, "changed": 1, "rows": 31}
    assert ask(world, "SELECT name, price, stock FROM products WHERE id IN (1, 77)")["rows"] == [
        {"name": "Pump 1", "price": 1.5, "stock": 3},
        {"name": "Gauge", "price": 2.0, "stock": None},
    ]
    by_mail = {"email": "c1@example.com", "city": "Rome"}
    assert world.call(upsert_rows, database="shop", table="customers", rows=[by_mail], key=["email"])["changed"] == 1
    before = hash_folder(world.workspace.databases)
    bad = [{"id": 5, "price": 9}, {"price": 1}]
    assert refusal(world, upsert_rows, database="shop", table="products", rows=bad) == "bad_arguments"
    assert hash_folder(world.workspace.databases) == before


def test_a_text_is_found_in_all_tables_and_related_rows_by_foreign_key(world):
    found = world.call(search_database, database="shop", text="C7@EXAMPLE")
    assert found["matches"] == [{"table": "customers", "column": "email", "key": {"id": 7}, "value": "c7@example.com"}]
    related = world.call(find_related_rows, database="shop", table="orders", key=1)
    assert related["row"]["customer_id"] == 2
    assert related["refers_to"][0]["rows"][0]["name"] == "Customer 2"
    assert {row["order_id"] for row in related["referred_by"][0]["rows"]} == {1}
    assert refusal(world, find_related_rows, database="shop", table="orders", key=999) == "tool_error"


def test_a_profile_tells_missing_distinct_and_extreme_values(world):
    world.call(run_statement, database="shop", statement="UPDATE products SET price = NULL WHERE id > 28")
    world.call(run_statement, database="shop", statement="UPDATE products SET price = 9e999 WHERE id = 28")
    column = {item["column"]: item for item in world.call(profile_table, database="shop", table="products")["columns"]}
    assert column["price"] == {
        "column": "price", "type": "real", "missing": 2, "distinct": 28, "lowest": 10.5, "highest": None, "mean": None,
    }  # fmt: skip
    assert (column["category"]["distinct"], column["category"]["mean"]) == (3, None)


def test_the_plan_of_a_query_shows_whether_an_index_is_used(world):
    query = "SELECT * FROM orders WHERE customer_id = 3"
    assert world.call(explain_query, database="shop", query=query) == {
        "steps": ["SCAN orders"], "total": 1, "uses_index": False,
    }  # fmt: skip
    made = world.call(create_index, database="shop", table="orders", columns=["customer_id"])
    assert made["created"] == "orders_customer_id_idx"
    plan = world.call(explain_query, database="shop", query=query)
    assert plan["uses_index"]
    world.call(drop_from_database, database="shop", kind="index", name="orders_customer_id_idx")
    assert not world.call(explain_query, database="shop", query=query)["uses_index"]
    assert refusal(world, explain_query, database="shop", query="DELETE FROM orders") == "denied"


def test_tables_are_made_from_definitions_and_keep_their_rules(world):
    columns = [
        {"name": "id", "type": "INTEGER", "primary_key": True},
        {
            "name": "order_id",
            "type": "INTEGER",
            "references": {"table": "orders", "column": "id", "on_delete": "cascade"},
        },
        {"name": "note", "type": "TEXT", "not_null": True, "default": "it's new"},
        {"name": "code", "type": "TEXT", "unique": True},
    ]
    world.call(create_table, database="shop", table="notes", columns=columns)
    insert = "INSERT INTO notes(order_id, code) VALUES (?, ?)"
    world.call(run_statement, database="shop", statement=insert, parameters=[1, "a"])
    assert value(world, "SELECT note FROM notes") == "it's new"
    for parameters in ([999, "b"], [1, "a"]):
        assert refusal(world, run_statement, database="shop", statement=insert, parameters=parameters) == "tool_error"
    described = world.call(describe_database, database="shop")
    table = next(table for table in described["tables"] if table["table"] == "notes")
    assert table["rows"] == 1
    assert table["foreign_keys"] == [{"column": "order_id", "table": "orders", "to": "id"}]
    assert table["columns"][2] == {"name": "note", "type": "text", "not_null": True, "default": "'it''s new'"}


@pytest.mark.parametrize(
    ("columns", "kind"),
    [
        ([{"name": "a b", "type": "TEXT"}], "bad_arguments"),
        ([{"name": "a); DROP TABLE orders; --", "type": "TEXT"}], "bad_arguments"),
        ([{"name": "a", "type": "TEXT"}, {"name": "A", "type": "TEXT"}], "tool_error"),
        ([{"name": "a", "type": "TEXT", "references": {"table": "nope", "column": "id"}}], "tool_error"),
        ([{"name": "a", "type": "TEXT", "references": {"table": "orders", "column": "nope"}}], "bad_arguments"),
        ([{"name": "a", "type": "TEXT", "default": "x" * 20_000}], "limit"),
    ],
)
def test_bad_definitions_are_refused(world, columns, kind):
    assert refusal(world, create_table, database="shop", table="t", columns=columns) == kind
    assert refusal(world, create_table, database="shop", table="orders", columns=[{"name": "a", "type": "TEXT"}]) == (
        "tool_error"
    )


def test_columns_are_added_renamed_and_removed(world):
    world.call(add_column, database="shop", table="customers", column={"name": "vip", "type": "INTEGER", "default": 0})
    assert value(world, "SELECT sum(vip) FROM customers") == 0
    world.call(rename_in_table, database="shop", table="customers", column="vip", new_name="star")
    columns = world.call(drop_column, database="shop", table="customers", column="city")["columns"]
    assert list(columns) == ["id", "name", "email", "star"]
    world.call(rename_in_table, database="shop", table="customers", new_name="clients")
    assert value(world, "SELECT count(*) FROM orders JOIN clients ON clients.id = customer_id") == 40
    assert refusal(world, drop_column, database="shop", table="clients", column="id") == "tool_error"


def test_a_view_reads_like_a_table_until_it_is_dropped(world):
    query = "SELECT category, count(*) AS n, date('now') AS day FROM products GROUP BY category"
    made = world.call(create_view, database="shop", view="by_category", query=query)
    assert made == {"created": "by_category", "columns": {"category": "TEXT", "n": "", "day": ""}, "rows": 3}
    assert world.call(find_rows, database="shop", table="by_category")["rows"][0]["day"] == "2025-03-17"
    before = hash_folder(world.workspace.databases)
    assert refusal(world, create_view, database="shop", view="bad", query="SELECT * FROM nope") == "tool_error"
    assert refusal(world, create_view, database="shop", view="bad", query="DELETE FROM orders") == "tool_error"
    assert refusal(world, create_view, database="shop", view="bad", query="SELECT load_extension('x')") == "denied"
    assert hash_folder(world.workspace.databases) == before
    world.call(drop_from_database, database="shop", kind="view", name="by_category")
    assert refusal(world, find_rows, database="shop", table="by_category") == "tool_error"


def test_checks_find_broken_references_and_broken_files(world):
    path = world.workspace.databases / "shop.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO orders(id, customer_id) VALUES (99, 999)")
        connection.commit()
    found = world.call(check_foreign_keys, database="shop")
    assert found["violations"] == [
        {"table": "orders", "rowid": 99, "columns": ["customer_id"], "refers_to": "customers"}
    ]
    assert world.call(check_integrity, database="shop")["ok"]
    content = bytearray(path.read_bytes())
    content[4096 * 2 : 4096 * 2 + 200] = b"\xff" * 200
    path.write_bytes(content)
    for tool in (check_integrity, check_foreign_keys, list_databases, describe_database):
        more = {} if tool is list_databases else {"database": "shop"}
        with suppress(ToolError):  # what is still whole may be read
            world.call(tool, **more)
    path.write_bytes(b"this is no database" * 100)
    assert refusal(world, check_integrity, database="shop") == "tool_error"
    path.write_bytes(BASE["databases/shop.db"][:5000])
    assert refusal(world, query_database, database="shop", query="SELECT * FROM customers") == "tool_error"


def test_damaged_databases_end_in_typed_errors_and_still_have_a_hash(world):
    rng = random.Random(4)
    path = world.workspace.databases / "shop.db"
    for _ in range(150):
        content = bytearray(BASE["databases/shop.db"])
        for _ in range(rng.choice([1, 30, 300])):
            content[rng.randrange(rng.choice([100, 4096, len(content)]))] = rng.randrange(256)
        path.write_bytes(bytes(content))
        tool = TOOLS[rng.choice(sorted(TOOLS))]
        with suppress(ToolError):
            world.call(tool, **tool.examples[0])
        path.write_bytes(bytes(content))
        assert "shop/" in hash_folder(world.workspace.databases)
    path.write_bytes(b"no database" * 100)
    with pytest.raises(sqlite3.Error, match="shop"):
        hash_folder(world.workspace.databases, must_read=True)


def test_databases_are_made_and_copied_within_bounds(world):
    before = hash_folder(world.workspace.databases)
    made = world.call(create_database, database="fresh")
    assert made["databases"] == ["fresh", "hr", "library", "shop", "storage"]
    assert hash_folder(world.workspace.databases) == before | {"fresh/": "database"}
    world.call(create_table, database="fresh", table="t", columns=[{"name": "a", "type": "TEXT"}])
    assert refusal(world, create_database, database="fresh") == "tool_error"
    world.call(copy_database, database="shop", new_name="shop_copy")
    hashes = hash_folder(world.workspace.databases)
    assert hashes["shop/customers"] == hashes["shop_copy/customers"]
    world.call(run_statement, database="shop_copy", statement="DELETE FROM order_items")
    assert hash_folder(world.workspace.databases)["shop/order_items"] == hashes["shop/order_items"]
    for name in ("../x", "a/b", "x.db", "", "SHOP copy", "é", "/etc/x"):
        assert refusal(world, create_database, database=name) == "bad_arguments"
    assert refusal(world, copy_database, database="../shop", new_name="y") == "tool_error"
    for n in range(34):
        world.call(create_database, database=f"n{n}")
    assert refusal(world, create_database, database="one_more") == "limit"


def test_a_dump_makes_the_same_database_again(world):
    world.call(dump_database, database="shop", output="out/shop.sql")
    script = (world.workspace.files / "out/shop.sql").read_text()
    with closing(sqlite3.connect(world.workspace.databases / "again.db")) as connection:
        connection.executescript(script)
    hashes = hash_folder(world.workspace.databases)
    assert hashes["again/order_items"] == hashes["shop/order_items"]
    assert hashes["again/order_items_order"] == hashes["shop/order_items_order"]


def test_two_tables_are_compared_by_key(world):
    world.call(copy_database, database="shop", new_name="old")
    for statement in (
        "DELETE FROM customers WHERE id = 30",
        "UPDATE customers SET city = 'Rome' WHERE id = 2",
        "INSERT INTO customers(id, name) VALUES (50, 'New')",
    ):
        world.call(run_transaction, database="old", statements=[
            {"statement": "DELETE FROM order_items"}, {"statement": "DELETE FROM orders"}, {"statement": statement},
        ])  # fmt: skip
    arguments = {"database": "shop", "table": "customers", "other_table": "customers", "other_database": "old"}
    result = world.call(compare_database_tables, **arguments)
    assert result["only_in_first"] == {"keys": [30], "total": 1}
    assert result["only_in_second"] == {"keys": [50], "total": 1}
    assert result["changed"]["values"] == [{"key": 2, "column": "city", "first": "Madrid", "second": "Rome"}]
    assert not result["same"]
    assert refusal(world, compare_database_tables, **arguments, key=["city"]) == "bad_arguments"


def test_a_csv_file_comes_in_with_types_and_goes_out_again(world):
    world.write("in.csv", "id;code;amount;note\n1;007;1.5;\n2;10;3;ü\n")
    done = world.call(import_csv, database="shop", table="codes", path="in.csv")
    assert done == {
        "imported": 2, "rows": 2, "columns": {"id": "INTEGER", "code": "TEXT", "amount": "REAL", "note": "TEXT"},
    }  # fmt: skip
    assert ask(world, "SELECT * FROM codes")["rows"][0] == {"id": 1, "code": "007", "amount": 1.5, "note": None}
    assert refusal(world, import_csv, database="shop", table="codes", path="in.csv") == "tool_error"
    assert world.call(import_csv, database="shop", table="codes", path="in.csv", mode="append")["rows"] == 4
    assert world.call(import_csv, database="shop", table="codes", path="in.csv", mode="replace")["rows"] == 2
    query = "SELECT * FROM codes"
    expected = {
        "csv": "id,code,amount,note\n1,007,1.5,\n2,10,3.0,ü\n",
        "tsv": "id\tcode\tamount\tnote\n1\t007\t1.5\t\n2\t10\t3.0\tü\n",
        "jsonl": '{"id": 1, "code": "007", "amount": 1.5, "note": null}\n'
        '{"id": 2, "code": "10", "amount": 3.0, "note": "ü"}\n',
    }
    for kind, text in expected.items():
        world.call(export_query, database="shop", query=query, output=f"out/x.{kind}", format=kind)
        assert (world.workspace.files / f"out/x.{kind}").read_text() == text
    world.call(export_query, database="shop", query="SELECT 9e999 AS big", output="out/x.json", format="json")
    assert json.loads((world.workspace.files / "out/x.json").read_text()) == [{"big": None}]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "tool_error"),
        (b"\n\n", "tool_error"),
        (b"a,b\n1\n", "tool_error"),
        (b"a,b\n1,2,3\n", "tool_error"),
        (b"a,a\n1,2\n", "tool_error"),
        (b"a,,c\n1,2,3\n", "tool_error"),
        (b"\xff\xfea\x00,\x00b\x00\n\x00", "tool_error"),
        ("größe\n1\n".encode("latin-1"), "tool_error"),
        ((",".join(f"c{n}" for n in range(100_000)) + "\n").encode(), "tool_error"),
        (b"a\n" + b"x" * 20_000 + b"\n", "limit"),
        (b'a,b\n"' + b"x" * 200_000, "tool_error"),
    ],
)
def test_broken_csv_files_do_not_come_in(world, content, kind):
    world.write("bad.csv", content)
    before = hash_folder(world.workspace.databases)
    assert refusal(world, import_csv, database="shop", table="bad", path="bad.csv") == kind
    assert hash_folder(world.workspace.databases) == before


def test_more_rows_than_a_database_holds_are_refused_whole(world):
    world.write("big.csv", "a\n" + ("x" * 200 + "\n") * 15_000)
    before = hash_folder(world.workspace.databases)
    assert refusal(world, import_csv, database="shop", table="big", path="big.csv") == "limit"
    assert hash_folder(world.workspace.databases) == before


def test_rows_are_copied_between_databases(world):
    world.call(create_database, database="archive")
    columns = [{"name": name, "type": "TEXT"} for name in ("name", "city", "email")]
    world.call(create_table, database="archive", table="people", columns=[{"name": "id", "type": "INTEGER"}, *columns])
    where = [{"column": "city", "operator": "=", "value": "Oslo"}]
    done = world.call(
        copy_rows, database="shop", table="customers", to_database="archive", to_table="people", where=where
    )
    assert done == {"copied": 8, "rows": 8}
    wrong = {"database": "shop", "table": "orders", "to_database": "archive", "to_table": "people"}
    assert refusal(world, copy_rows, **wrong) == "bad_arguments"


def test_random_calls_end_in_a_result_or_a_typed_error(world):
    assert random_calls(world, TOOLS, seed=5) > 100
