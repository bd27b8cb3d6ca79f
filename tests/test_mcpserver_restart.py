"""Servers that die: the call that met it is told, the next one starts the server again, but not for ever."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from mcpserver.client import open_servers
from mcpserver.mcp_config import ServerConfig
from mcpserver.tool_server import MAX_RESTARTS
from mcpserver.world import own_server
from toolwright.errors import ToolServerError
from toolwright.records import ToolCall

# Counts its calls; dies of x = 0, and offers another tool in its second life if the mode says so.
SERVER = """
import json, os, sys
mode, note = sys.argv[1], sys.argv[2]
life = len(open(note).readlines()) + 1 if os.path.exists(note) else 1
open(note, "a").write(f"{os.getpid()}\\n")
if mode == "broken" and life > 1: sys.exit("no licence")
name = "other" if mode == "changed" and life > 1 else "count"
calls = 0
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message: continue
    method, result = message["method"], None
    if method == "initialize":
        info = {"name": "t", "version": "1"}
        result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": info}
    if method == "tools/list": result = {"tools": [{"name": name, "inputSchema": {"type": "object"}}]}
    if method == "tools/call":
        if message["params"]["arguments"]["x"] == 0:
            print("out of memory", file=sys.stderr, flush=True); os._exit(3)
        calls += 1
        result = {"content": [{"type": "text", "text": f"life {life} call {calls}"}]}
    reply = {"result": result} if result else {"error": {"code": -32601, "message": "Method not found"}}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **reply}), flush=True)
"""


def mortal(tmp_path, mode="good"):
    (tmp_path / "server.py").write_text(SERVER)
    return ServerConfig("toy", sys.executable, (str(tmp_path / "server.py"), mode, str(tmp_path / "note")))


def count(x=1):
    return ToolCall(name="count", arguments={"x": x})


def test_a_server_that_dies_in_a_call_is_started_again_at_the_next(tmp_path):
    async def go():
        async with open_servers([mortal(tmp_path)]) as servers, servers.environment(1) as world:
            return [await world.call(count(x)) for x in (1, 0, 1, 1)]

    first, met, second, third = asyncio.run(go())
    assert first.content == "life 1 call 1"
    assert met.error == "tool_error"
    assert "'toy' [" in met.content
    assert "died (out of memory)" in met.content
    assert "is lost, and the next call meets it as new" in met.content
    assert [second.content, third.content] == ["life 2 call 1", "life 2 call 2"]


def test_a_conversation_that_used_a_server_before_its_end_is_told_once(tmp_path):
    async def go():
        async with (
            open_servers([mortal(tmp_path)]) as servers,
            servers.environment(1) as old,
            servers.environment(2) as new,
        ):
            await old.call(count())
            os.kill(int((tmp_path / "note").read_text()), signal.SIGKILL)
            await asyncio.sleep(0.3)  # it dies between the calls
            return await new.call(count()), await old.call(count()), await old.call(count())

    new, told, again = asyncio.run(go())
    assert new.content == "life 2 call 1"
    assert told.error == "tool_error"
    assert "started again; whatever it held for this conversation is lost" in told.content
    assert again.content == "life 2 call 2"


def test_a_server_that_dies_again_and_again_is_left_alone(tmp_path):
    async def go():
        async with open_servers([mortal(tmp_path)]) as servers:
            for _ in range(MAX_RESTARTS + 1):
                assert (await servers.call(count(0))).error == "tool_error"
            with pytest.raises(ToolServerError, match=r"died \(out of memory\).*started again 3 times within 60 s"):
                await servers.call(count())

    asyncio.run(go())


@pytest.mark.parametrize(
    ("mode", "message"),
    [("changed", "started again with other tools: 1 added: other; 1 removed: count"), ("broken", "no licence")],
)
def test_a_server_that_comes_back_otherwise_or_not_at_all_is_named(tmp_path, mode, message):
    async def go():
        async with open_servers([mortal(tmp_path, mode)]) as servers:
            assert (await servers.call(count(0))).error == "tool_error"
            with pytest.raises(ToolServerError, match=message):
                await servers.call(count())

    asyncio.run(go())


def test_our_own_server_is_started_again_too_with_a_fresh_environment(tmp_path):
    async def go():
        async with open_servers([own_server()]) as servers, servers.environment(1) as world:
            fresh = await world.state()
            delete = ToolCall(name="delete_file", arguments={"path": "notes/credit.md"})
            assert (await world.call(delete)).ok
            (server,) = (child for child in psutil.Process().children() if "mcpserver" in child.cmdline())
            server.kill()
            await asyncio.sleep(0.3)
            assert (await world.call(delete)).error == "tool_error"
            assert await world.state() == fresh

    asyncio.run(go())


def test_an_http_server_that_comes_back_is_used_again():
    root = Path(__file__).resolve().parents[1]
    mean = ToolCall(name="mean", arguments={"values": [1, 2]})

    async def serve(port):
        command = [sys.executable, "-m", "mcpserver", "--http", "--port", port]
        process = await asyncio.create_subprocess_exec(*command, cwd=root, stderr=asyncio.subprocess.PIPE)
        return process, (await process.stderr.readline()).decode().split(": ", 1)[1].strip()

    async def go():
        process, url = await serve("0")
        config = ServerConfig("web", url=url)
        async with open_servers([config], call_timeout_s=10) as servers, servers.environment(1) as world:
            assert (await world.call(mean)).content == '{"result": 1.5}'
            process.kill()
            await process.wait()
            met = await world.call(mean)
            assert met.error == "tool_error"
            assert "'web' [http" in met.content
            assert "check that http" in met.content
            with pytest.raises(ToolServerError, match=r"'web' \[http.*\] did not start \(no connection\)"):
                await world.call(mean)
            process, _ = await serve(url.rsplit(":", 1)[1].removesuffix("/mcp"))
            assert (await world.call(mean)).content == '{"result": 1.5}'
        process.kill()
        await process.wait()

    asyncio.run(go())
