import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mcpserver.cassette import ReplayWorlds, canonical_arguments, open_cassette
from mcpserver.cassette_file import CassetteWriter, header, read_cassette
from mcpserver.sandbox.level import choose_level
from mcpserver.settings import Settings
from mcpserver.world import InProcessWorlds, open_configured, open_world
from toolwright.config import ToolsConfig
from toolwright.errors import ConfigError, DataError
from toolwright.records import ToolCall, ToolSpec

ROOT = Path(__file__).resolve().parents[1]
DESK = Settings(toolsets=("files", "python", "plots", "energy"))
CALLS = [
    ("read_file", {"path": "notes/credit.md"}),
    ("append_line", {"path": "notes/credit.md", "text": "ä\u2028"}),
    ("read_file", {"path": "notes/credit.md"}),
    ("read_file", {"path": "nowhere"}),
    ("no_such_tool", {}),
    ("get_trading_day", {"date": "2025-03-14", "offset": 1}),
    ("get_trading_day", {"date": "2025-03-14", "offset": 1.0}),
    ("get_trading_day", {"offset": 1, "date": "2025-03-14"}),
    ("run_python", {"code": "import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()"}),
    ("write_file", {"path": "a.txt", "text": "\ud800"}),
]


async def play(worlds, calls=CALLS, seed=5):
    async with worlds.environment(seed) as world:
        states = [await world.state()]
        results = [await world.call(ToolCall(name=name, arguments=arguments)) for name, arguments in calls]
        return results, [*states, await world.state()], world.sandbox


async def record(path, calls=CALLS, seed=5, settings=DESK):
    async with open_cassette(path, "record", lambda: open_world(settings=settings)) as worlds:
        return [tool.name for tool in worlds.tools], await play(worlds, calls, seed)


def never():
    raise AssertionError("a cassette that is played opens no tools")


def test_a_conversation_played_live_is_replayed_equal_without_the_tools(tmp_path):
    path = tmp_path / "deep/er/x.jsonl"

    async def go():
        live = await record(path)
        async with open_cassette(path, "replay", never) as worlds:
            assert worlds.toolset("run_python") == "python"
            return live, ([tool.name for tool in worlds.tools], await play(worlds))

    live, replayed = asyncio.run(go())
    assert live == replayed
    results = live[1][0]
    code = set() if choose_level() else {"denied"}  # where no sandbox works, code is refused, and so are its pictures
    assert {result.error for result in results} == {None, "tool_error", "unknown_tool", "bad_arguments"} | code
    assert any(result.pictures for result in results) is not bool(code)


FOREIGN = """
import json, sys, time
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message: continue
    method, result = message["method"], None
    if method == "initialize":
        info = {"name": "clock", "version": "7"}
        result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": info}
    if method == "tools/list": result = {"tools": [{"name": "now", "inputSchema": {"type": "object"}}]}
    if method == "tools/call":
        result = {"content": [{"type": "text", "text": str(time.time_ns())},
            {"type": "image", "data": "iVBORw0KGgo=", "mimeType": "image/png"}]}
    reply = {"result": result} if result else {"error": {"code": -32601, "message": "Method not found"}}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **reply}), flush=True)
"""


def test_a_foreign_server_is_replayed_when_it_is_gone_conversation_by_conversation(tmp_path, monkeypatch):
    (tmp_path / "server.py").write_text(FOREIGN)
    config = tmp_path / "servers.json"
    one = {"command": "${PYTHON_X}", "args": [str(tmp_path / "server.py")], "env": {"KEY": "hunter2"}}
    config.write_text(json.dumps({"mcpServers": {"one": one}}))
    monkeypatch.setenv("PYTHON_X", sys.executable)
    tools = ToolsConfig(mcp_config=str(config), cassette=str(tmp_path / "x.jsonl"))

    async def go():
        async with open_configured(tools) as worlds:
            return worlds.describe(), [await play(worlds, [("now", {})] * 2) for _ in range(2)]

    live = asyncio.run(go())
    assert live[0] == [{"name": "one", "server": "clock", "version": "7"}]
    assert len({result.content for results, _, _ in live[1] for result in results}) == 4
    (tmp_path / "server.py").unlink()
    monkeypatch.delenv("PYTHON_X")
    assert asyncio.run(go()) == live
    assert "hunter2" not in (tmp_path / "x.jsonl").read_text()
    config.write_text(json.dumps({"mcpServers": {"two": one}}))
    with pytest.raises(ConfigError, match="recorded with the servers one, and wanted are two"):
        asyncio.run(go())


def test_a_call_that_is_not_on_the_cassette_says_which_and_how_to_record_it(tmp_path):
    path = tmp_path / "x.jsonl"
    asyncio.run(record(path))

    def missing(name, arguments, seed=5):
        results, _, _ = asyncio.run(play(ReplayWorlds(path), [(name, arguments)], seed))
        assert results[0].error == "tool_error"
        assert "record it with tools.cassette_mode=record" in results[0].content
        return results[0].content

    assert 'call 1 of read_file {"path":"other"} with seed 5 is not on it' in missing("read_file", {"path": "other"})
    assert "with seed 6 is not on it" in missing("read_file", {"path": "notes/credit.md"}, seed=6)
    assert 'did you mean "read_file"' in missing("read_fil", {})


def test_the_same_call_after_other_calls_is_not_confused(tmp_path):
    path = tmp_path / "x.jsonl"
    read, change = ("read_file", {"path": "notes/credit.md"}), CALLS[1]
    asyncio.run(record(path, [read]))
    asyncio.run(record(path, [change, read]))
    plain, changed, strange = (
        asyncio.run(play(ReplayWorlds(path), calls))[0][-1]
        for calls in ([read], [change, read], [("get_storage_level", {}), read])
    )
    assert plain.ok
    assert changed.ok
    assert plain != changed
    assert "was recorded only after other calls" in strange.content


def test_a_cassette_of_other_tools_is_refused_with_the_difference(tmp_path):
    path = tmp_path / "x.jsonl"
    asyncio.run(record(path, [], settings=Settings(toolsets=("mean", "calculate"))))
    with pytest.raises(ConfigError, match=r"x\.jsonl.*other tools \(1 added: percent_change; 1 removed: calculate\)"):
        asyncio.run(record(path, [], settings=Settings(toolsets=("mean", "percent_change"))))
    for mode in ("replay", "auto"):
        tools = ToolsConfig(toolsets=["mean"], cassette=str(path), cassette_mode=mode)
        with pytest.raises(ConfigError, match="1 removed: calculate"):
            asyncio.run(_open(tools))


async def _open(tools):
    async with open_configured(tools) as worlds:
        return worlds


def test_the_configuration_names_cassette_and_mode(tmp_path):
    path = str(tmp_path / "x.jsonl")
    with pytest.raises(ConfigError, match="no cassette is there; record one with"):
        asyncio.run(_open(ToolsConfig(cassette=path, cassette_mode="replay")))
    tools = ToolsConfig(toolsets=["mean"], cassette=path)
    assert not isinstance(asyncio.run(_open(tools)), ReplayWorlds)
    assert isinstance(asyncio.run(_open(tools)), ReplayWorlds)
    assert isinstance(asyncio.run(_open(ToolsConfig(toolsets=["mean"]))), InProcessWorlds)


def test_equal_arguments_are_equal_texts_and_an_integer_is_no_float():
    assert canonical_arguments({"b": [1], "a": {}}) == canonical_arguments({"a": {}, "b": [1]})
    assert canonical_arguments({"a": 1}) != canonical_arguments({"a": 1.0}) != canonical_arguments({"a": True})
    canonical_arguments({"a": {1, 2}, "b": float("nan"), "c": "\ud800"}).encode()


FIRST = header([ToolSpec(name="a")], ["t"], [])


def test_what_a_crash_left_of_a_last_line_is_dropped_before_the_next(tmp_path):
    path = tmp_path / "x.jsonl"
    writer = CassetteWriter(path, FIRST)
    writer.write({"opened": "c", "seed": 1, "sandbox": None})
    writer.close()
    whole = path.read_bytes()
    for torn in (b'{"called": "a', b"\xff" * 100_000):
        path.write_bytes(whole + torn)
        assert len(read_cassette(path)) == 2
        writer = CassetteWriter(path, FIRST)
        writer.close()
        assert path.read_bytes() == whole
    path.write_bytes(whole[:10])
    assert read_cassette(path) == []
    CassetteWriter(path, FIRST).close()
    assert read_cassette(path) == [FIRST]


@pytest.mark.parametrize("line", ["x", "[]", "{}", '{"called": "a"}', '{"opened": "c"}'])
def test_what_is_no_cassette_is_refused_with_its_line(tmp_path, line):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(FIRST) + "\n" + line + "\n")
    with pytest.raises(DataError, match=r"x\.jsonl:2: not a line of a cassette"):
        ReplayWorlds(path)
    path.write_text('{"id": 1}\n')
    with pytest.raises(DataError, match=r"x\.jsonl:1: not a line"):
        ReplayWorlds(path)


WRITE_AND_DIE = """
import os, sys
from pathlib import Path
from mcpserver.cassette_file import CassetteWriter
writer = CassetteWriter(Path(sys.argv[1]), {"cassette": 1, "servers": [], "tools": []})
for number in range(200):
    writer.write({"opened": f"{os.getpid()} {number}", "seed": 1, "sandbox": "x" * 5000})
print("written", flush=True)
os.kill(os.getpid(), 9)
"""


def test_processes_that_write_at_once_and_are_killed_lose_nothing_that_was_written(tmp_path):
    path = tmp_path / "x.jsonl"
    command = [sys.executable, "-c", WRITE_AND_DIE, str(path)]
    variables = os.environ | {"PYTHONPATH": str(ROOT)}
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE, env=variables) for _ in range(3)]
    assert [writer.communicate()[0] for writer in writers] == [b"written\n"] * 3
    assert len(ReplayWorlds(path)._opened[1]) == 600
