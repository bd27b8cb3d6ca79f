import asyncio
import time

import pytest
from tool_calls import World

from mcpserver.base import open_base
from mcpserver.baseworld import default_base
from mcpserver.databases import open_database
from mcpserver.environment import Environment
from mcpserver.settings import Settings
from mcpserver.tool_error import ToolError
from toolwright.errors import ConfigError
from toolwright.records import ToolCall


def play(*calls, prepare=""):
    """Calls after code ``prepare`` changed the files, which it does as the environment's own user."""

    async def go():
        async with Environment.create(1, world="desk") as env:
            if prepare:
                done = await env.call(ToolCall(name="run_python", arguments={"code": prepare}))
                if done.error == "denied":
                    pytest.skip("no sandbox works on this machine: `python -m mcpserver doctor` says why")
                assert done.ok, done.content
            return [await env.call(ToolCall(name=name, arguments=arguments)) for name, arguments in calls]

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
    calls = [("read_file", {"path": path})]
    if error != "tool_error":
        calls += [("write_file", {"path": path, "text": "x"}), ("list_files", {"folder": path})]
        calls += [("move_file", {"source": "notes/credit.md", "target": path})]
    assert [result.error for result in play(*calls)] == [error] * len(calls)


LINKS = """
import os
os.symlink({secret!r}, "file")
os.symlink("file", "hop")
os.symlink({folder!r}, "folder")
os.symlink({folder!r} + "/new.txt", "dangling")
os.symlink("loop2", "loop")
os.symlink("loop", "loop2")
os.symlink("/proc/self/root/etc/passwd", "magic")
"""


def test_links_out_are_neither_read_nor_written(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("canary")
    links = ("file", "hop", "folder/secret.txt", "dangling", "magic", "loop")
    writing = [("write_file", {"text": "x"}), ("append_line", {"text": "x"})]
    calls = [(name, {"path": path, **more}) for path in links for name, more in [("read_file", {}), *writing]]
    calls += [("list_files", {"folder": "folder"}), ("find_text", {"pattern": "canary", "folder": "."})]
    *results, listed, found = play(*calls, prepare=LINKS.format(secret=str(secret), folder=str(tmp_path)))
    assert {result.error for result in results} == {"denied"}
    assert listed.error == "denied"
    assert "secret.txt" not in found.content
    assert [path.name for path in tmp_path.iterdir()] == ["secret.txt"]
    assert secret.read_text() == "canary"


STRANGE = r"""
import os
os.mkfifo("pipe")
open(b"\xff.txt", "w").write("x")
open("a\nb", "w").write("x")
open("binary", "wb").write(b"\xff\xfe")
"""


def test_a_pipe_or_a_strange_name_does_not_hold_up_a_tool():
    calls = [("read_file", {"path": "pipe"}), ("find_text", {"pattern": "x", "folder": "."})]
    calls += [("list_files", {"folder": "."}), ("read_file", {"path": "ff.txt"}), ("read_file", {"path": "binary"})]
    pipe, found, listed, missing, binary = play(*calls, prepare=STRANGE)
    assert pipe.error == "tool_error"
    assert "not a plain file" in pipe.content
    assert found.ok
    assert "xff.txt" in listed.content
    missing.content.encode()
    assert "no UTF-8 text" in binary.content


def test_what_is_written_is_limited():
    calls = [("write_file", {"path": f"b/{n}", "text": "x" * 60_000}) for n in range(600)]
    *written, appended = play(*calls, ("append_line", {"path": "b/0", "text": "x" * 60_000}))
    assert written[0].ok
    assert written[-1].error == "limit"
    assert appended.error == "limit"


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
    ("SELECT count(*) FROM trades a, trades b, trades c, trades d, trades e, trades f", "timeout"),
    ("SELEC", "tool_error"),
]


@pytest.mark.parametrize(("statement", "error"), STATEMENTS)
def test_the_database_lets_through_nothing_but_rows(tmp_path, statement, error):
    world, outside = World(tmp_path / "world", dict(default_base())), tmp_path / "outside"
    outside.mkdir()
    deadline = time.monotonic() + 0.3
    with (
        pytest.raises(ToolError) as caught,
        open_database(world.workspace.databases, "trades", lambda: deadline) as connection,
    ):
        connection.execute(statement.format(out=outside)).fetchall()
    assert caught.value.kind == error, caught.value.message
    assert not list(outside.iterdir())


def test_a_change_past_the_deadline_is_rolled_back(tmp_path):
    folder = World(tmp_path, dict(default_base())).workspace.databases
    moments = iter([0.0])
    with (
        pytest.raises(ToolError, match="nothing was changed"),
        open_database(folder, "trades", lambda: next(moments, 0.0)) as connection,
    ):
        connection.execute("DELETE FROM invoices")
    with open_database(folder, "trades", lambda: float("inf")) as connection:
        assert connection.execute("SELECT count(*) FROM invoices").fetchone()[0] > 0


def test_rows_can_be_large_in_number_but_not_without_end():
    row = {"database": "trades", "table": "invoices", "values": {"partner": "x" * 15_000}}
    first, *_, last = play(*[("insert_row", row)] * 160)
    assert first.ok
    assert last.error == "limit"


def test_a_base_with_a_broken_database_is_refused(tmp_path):
    (tmp_path / "databases").mkdir()
    (tmp_path / "databases/trades.db").write_bytes(b"not a database, but long enough to look at" * 50)
    with pytest.raises(ConfigError, match="a database cannot be read"):
        Environment.open(1, Settings(world=str(tmp_path)))


def test_numbers_and_text_are_kept_apart_in_rows():
    row = {"database": "trades", "table": "trades", "values": {"volume_mwh": "1e3", "hub": 5}}
    fitting = {**row, "values": {"volume_mwh": "1000", "hub": 5}}
    update = {"database": "trades", "table": "trades", "column": "price", "where_column": "id", "where_value": "1"}
    calls = [("insert_row", row), ("insert_row", fitting)]
    calls += [("update_rows", {**update, "value": value}) for value in ("cheap", "31.5")]
    wrong, good, text, number = play(*calls)
    assert (wrong.error, text.error) == ("bad_arguments", "bad_arguments")
    assert good.ok
    assert number.content == '{"updated": 1}'


def test_the_base_on_disk_is_left_as_it_was():
    base = open_base("desk")
    before = {path: path.read_bytes() for path in base.folder.rglob("*") if path.is_file()}
    play(("delete_file", {"path": "notes/credit.md"}), ("run_shell", {"command": "rm -rf * ../databases/*"}))
    assert {path: path.read_bytes() for path in base.folder.rglob("*") if path.is_file()} == before
