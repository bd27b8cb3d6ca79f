import asyncio
import os
import time
from pathlib import Path

import pytest

from mcpserver.databases import open_database
from mcpserver.environment import Environment
from mcpserver.tool_error import ToolError
from toolwright.errors import ConfigError
from toolwright.records import ToolCall


def play(name, arguments, prepare=None):
    """One call after ``prepare`` changed the folder that tools see."""

    async def go():
        async with Environment.create(1) as env:
            if prepare:
                prepare(env.workspace.files)
            return await env.call(ToolCall(name=name, arguments=arguments))

    return asyncio.run(go())


PATHS = [
    ("/etc/passwd", "denied"),
    ("../databases/trades.db", "denied"),
    ("notes/../../databases/trades.db", "denied"),
    ("notes/..", "denied"),
    ("~/.ssh/id_rsa", "denied"),
    ("file:///etc/passwd", "tool_error"),
    ("$HOME/x", "tool_error"),
    ("..\\x", "bad_arguments"),
    ("a.txt\0.png", "bad_arguments"),
    ("invoice\u202efdp.txt", "bad_arguments"),
    ("x" * 201, "bad_arguments"),
    ("x" * 150, "bad_arguments"),
    ("a/" * 9 + "x", "bad_arguments"),
]


@pytest.mark.parametrize(("path", "error"), PATHS)
def test_no_path_leads_out(path, error):
    assert play("read_file", {"path": path}).error == error
    if error != "tool_error":
        assert play("write_file", {"path": path, "text": "x"}).error == error
        assert play("move_file", {"source": "notes/credit.md", "target": path}).error == error
        assert play("list_files", {"folder": path}).error == error


def test_links_out_are_neither_read_nor_written(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("canary")

    def links(files: Path):
        (files / "file").symlink_to(secret)
        (files / "hop").symlink_to("file")
        (files / "folder").symlink_to(tmp_path)
        (files / "dangling").symlink_to(tmp_path / "new.txt")
        (files / "loop").symlink_to("loop2")
        (files / "loop2").symlink_to("loop")
        (files / "magic").symlink_to("/proc/self/root/etc/passwd")

    for path in ("file", "hop", "folder/secret.txt", "dangling", "magic"):
        for name, more in (("read_file", {}), ("write_file", {"text": "x"}), ("append_line", {"text": "x"})):
            assert play(name, {"path": path, **more}, links).error == "denied", (name, path)
    assert play("read_file", {"path": "loop"}, links).error in ("denied", "tool_error")
    assert play("list_files", {"folder": "folder"}, links).error == "denied"
    assert "canary" not in play("find_text", {"pattern": "canary", "folder": "."}, links).content.replace(
        "'canary'", ""
    )
    assert [path.name for path in tmp_path.iterdir()] == ["secret.txt"]
    assert secret.read_text() == "canary"


def test_a_pipe_or_a_strange_name_does_not_hold_up_a_tool():
    def strange(files: Path):
        os.mkfifo(files / "pipe")
        (files / os.fsdecode(b"\xff.txt")).write_text("x")
        (files / "binary").write_bytes(b"\xff\xfe")

    started = time.monotonic()
    assert play("read_file", {"path": "pipe"}, strange).error == "tool_error"
    assert play("find_text", {"pattern": "x", "folder": "."}, strange).ok
    assert "\\udcff.txt" in play("list_files", {"folder": "."}, strange).content
    play("read_file", {"path": "ff.txt"}, strange).content.encode()
    assert "not a text file" in play("read_file", {"path": "binary"}, strange).content
    assert time.monotonic() - started < 5


def test_what_is_written_is_limited():
    async def go():
        async with Environment.create(1) as env:
            write = [ToolCall(name="write_file", arguments={"path": f"b/{n}", "text": "x" * 60_000}) for n in range(80)]
            errors = [(await env.call(call)).error for call in write]
            append = ToolCall(name="append_line", arguments={"path": "b/0", "text": "x" * 60_000})
            return errors, (await env.call(append)).error

    errors, appended = asyncio.run(go())
    assert errors[0] is None
    assert errors[-1] == "limit"
    assert appended == "limit"


STATEMENTS = [
    ("ATTACH DATABASE '{out}/x.db' AS x", "denied"),
    ("VACUUM INTO '{out}/x.db'", "denied"),
    ("PRAGMA writable_schema=ON", "denied"),
    ("PRAGMA journal_mode=DELETE", "denied"),
    ("PRAGMA temp_store_directory='{out}'", "denied"),
    ("CREATE TABLE t(a)", "denied"),
    ("CREATE TEMP TABLE t(a)", "denied"),
    ("DROP TABLE trades", "denied"),
    ("ALTER TABLE trades RENAME TO t", "denied"),
    ("DELETE FROM sqlite_master", "denied"),
    ("SELECT load_extension('x')", "denied"),
    ("SELECT hex(zeroblob(1000000000))", "denied"),
    ("SELECT writefile('{out}/w', 'x')", "tool_error"),
    ("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n", "denied"),
    ("SELECT count(*) FROM trades a, trades b, trades c, trades d, trades e, trades f", "timeout"),
    ("SELEC", "tool_error"),
]


@pytest.mark.parametrize(("statement", "error"), STATEMENTS)
def test_the_database_lets_through_nothing_but_rows(tmp_path, statement, error):
    async def go():
        async with Environment.create(1) as env:
            deadline = time.monotonic() + 0.3
            with (
                pytest.raises(ToolError) as caught,
                open_database(env.workspace.databases, "trades", lambda: deadline) as connection,
            ):
                connection.execute(statement.format(out=tmp_path)).fetchall()
            return caught.value

    failure = asyncio.run(go())
    assert failure.kind == error, failure.message
    assert not list(tmp_path.iterdir())


def test_a_change_past_the_deadline_is_rolled_back():
    async def go():
        async with Environment.create(1) as env:
            before = env.state()
            moments = iter([0.0])
            with (
                pytest.raises(ToolError, match="nothing was changed"),
                open_database(env.workspace.databases, "trades", lambda: next(moments, 0.0)) as connection,
            ):
                connection.execute("DELETE FROM invoices")
            return before == env.state()

    assert asyncio.run(go())


def test_rows_can_be_large_in_number_but_not_without_end():
    async def go():
        async with Environment.create(1) as env:
            row = {"database": "trades", "table": "invoices", "values": {"partner": "x" * 15_000}}
            results = [await env.call(ToolCall(name="insert_row", arguments=row)) for _ in range(160)]
            return [result.error for result in results]

    errors = asyncio.run(go())
    assert errors[0] is None
    assert errors[-1] == "limit"


def test_a_base_with_a_broken_database_is_refused(tmp_path):
    (tmp_path / "databases").mkdir()
    (tmp_path / "databases/trades.db").write_bytes(b"not a database, but long enough to look at" * 50)
    with pytest.raises(ConfigError, match="a database cannot be read"):
        Environment.open(1, base=tmp_path)


def test_numbers_and_text_are_kept_apart_in_rows():
    row = {"database": "trades", "table": "trades", "values": {"volume_mwh": "1e3", "hub": 5}}
    assert play("insert_row", row).error == "bad_arguments"
    row["values"]["volume_mwh"] = "1000"
    assert play("insert_row", row).ok
    update = {"database": "trades", "table": "trades", "column": "price", "where_column": "id", "where_value": "1"}
    assert play("update_rows", {**update, "value": "cheap"}).error == "bad_arguments"
    assert play("update_rows", {**update, "value": "31.5"}).content == '{"updated": 1}'
