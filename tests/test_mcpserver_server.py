import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError

from mcpserver import server as server_module
from mcpserver.__main__ import main
from mcpserver.catalogue import all_tools
from mcpserver.pool import EnvironmentPool, parse_handle
from mcpserver.protocol import ENV_META, ERROR_META, STATE_METHOD, TOOLSET_META
from mcpserver.server import build_server
from mcpserver.session import _ANSWER, _Ask
from mcpserver.world import open_world
from toolwright.errors import DataError
from toolwright.records import ToolCall

ROOT = Path(__file__).resolve().parents[1]
PLAYED = [
    *((tool.spec.name, example) for tool in all_tools().values() for example in tool.examples),
    ("book_capacity", {"pipeline": "Langeled", "date": "2025-03-03", "energy_mwh": 1e6}),
    ("get_spot_prize", {}),
    ("get_spot_price", {"hub": "TTF"}),
    ("get_trading_day", {"date": "2025-03-14", "offset": 1.0}),
    ("mean", {"values": [1, "2"]}),
    ("read_file", {"path": "../../etc/passwd"}),
    ("write_file", {"path": "notes/ä.md", "text": "größer\u2028als\n"}),
    ("read_file", {"path": "notes/ä.md"}),
    ("calculate", {"expression": "1/0"}),
]


@asynccontextmanager
async def connect(seed=1, mode="auto", **options):
    """A client of a server in this process."""
    async with Client(build_server(lambda: EnvironmentPool(seed, **options)), mode=mode) as client:
        yield client


async def ask_state(client, handle=None):
    meta = {ENV_META: handle} if handle else {}
    request = _Ask(method=STATE_METHOD, params={"_meta": meta})
    return (await client.session.send_request(request, _ANSWER))["state"]


async def transcript(world):
    results = [await world.call(ToolCall(name=name, arguments=arguments)) for name, arguments in PLAYED]
    return results, await world.state()


@asynccontextmanager
async def http_server(*arguments):
    """Our server as a child process over HTTP; gives its URL."""
    command = [sys.executable, "-m", "mcpserver", "--http", "--port", "0", *arguments]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stderr=asyncio.subprocess.PIPE)
    try:
        line = (await asyncio.wait_for(process.stderr.readline(), 60)).decode()
        assert line.startswith("toolwright MCP server: http://127.0.0.1:"), line
        yield line.split(": ", 1)[1].strip()
    finally:
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 20) in (0, -signal.SIGTERM)


def test_in_process_stdio_and_http_give_the_same_results_and_states(tmp_path):
    async def go():
        seen = []
        async with http_server() as url:
            config = tmp_path / "servers.json"
            config.write_text(json.dumps({"mcpServers": {"ours": {"url": url}}}))
            for options in ({}, {"transport": "stdio"}, {"mcp_config": config}):
                async with open_world(**options) as worlds, worlds.environment(-8) as world:
                    toolsets = [worlds.toolset(tool.name) for tool in worlds.tools]
                    seen.append((worlds.tools, toolsets, await world.state(), await transcript(world)))
        return seen

    direct, stdio, http = asyncio.run(go())
    assert direct == stdio
    assert direct == http
    assert {result.error for result in direct[3][0]} >= {None, "unknown_tool", "bad_arguments", "denied", "tool_error"}


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_handles_keep_environments_apart_and_none_means_that_of_the_process(mode):
    async def go():
        async with connect(mode=mode) as client:
            arguments = {"path": "notes/credit.md"}
            for handle in ("seed:1/id:a", "seed:1/id:b", None):
                meta = {ENV_META: handle} if handle else None
                result = await client.call_tool("delete_file", arguments, meta=meta)
                assert not result.is_error
                again = await client.call_tool("delete_file", arguments, meta=meta)
                assert again.is_error
                assert again.meta[ERROR_META] == "tool_error"
            return await ask_state(client, "seed:1/id:a"), await ask_state(client), await ask_state(client, "seed:1")

    changed, of_process, fresh = asyncio.run(go())
    assert changed == of_process != fresh


def test_32_handles_at_once_do_not_see_each_other():
    async def one(client, seed):
        meta = {ENV_META: f"seed:1/id:{seed}"}
        line = {"path": "notes/credit.md", "text": f"mine {seed}"}
        assert not (await client.call_tool("append_line", line, meta=meta)).is_error
        read = await client.call_tool("read_file", {"path": "notes/credit.md"}, meta=meta)
        return read.content[0].text.count("mine"), f"mine {seed}\\n" in read.content[0].text

    async def go():
        async with connect() as client:
            return await asyncio.gather(*(one(client, seed) for seed in range(32)))

    assert asyncio.run(go()) == [(1, True)] * 32


def test_a_header_names_the_environment_too(tmp_path):
    async def go():
        async with http_server() as url:
            servers = {
                name: {"url": url, "headers": {"x-env-id": f"seed:{seed}/id:x"}} for name, seed in (("a", 1), ("b", 2))
            }
            config = tmp_path / "servers.json"
            config.write_text(json.dumps({"mcpServers": servers}))
            async with open_world(config) as worlds, worlds.environment(9) as world:
                # the handle of the conversation travels in _meta, which wins: both give the price of seed 9
                price = {"hub": "TTF", "date": "2025-03-14"}
                with_meta = [await world.call(ToolCall(name=f"{n}__get_spot_price", arguments=price)) for n in "ab"]
                session = worlds._servers.sessions
                plain = [await one.call(ToolCall(name="get_spot_price", arguments=price)) for one in session]
                return with_meta, plain

    with_meta, plain = asyncio.run(go())
    assert with_meta[0] == with_meta[1]
    assert len({with_meta[0].content, plain[0].content, plain[1].content}) == 3


def test_the_list_of_tools_comes_in_pages_and_a_wrong_cursor_is_refused(monkeypatch):
    monkeypatch.setattr(server_module, "PAGE_SIZE", 10)

    async def go():
        async with connect() as client:
            pages, cursor = [], None
            while cursor is not None or not pages:
                page = await client.list_tools(cursor=cursor)
                pages.append(page.tools)
                cursor = page.next_cursor
            for wrong in ("-1", "x", "34", "9" * 99):
                with pytest.raises(MCPError, match="cursor"):
                    await client.list_tools(cursor=wrong)
            return pages

    pages = asyncio.run(go())
    assert [len(page) for page in pages] == [10, 10, 10, 4]
    listed = [tool for page in pages for tool in page]
    assert {tool.name: tool.meta[TOOLSET_META] for tool in listed} == {
        name: tool.toolset for name, tool in all_tools().items()
    }


@pytest.mark.parametrize("handle", ["", "seed:", "seed:x", "seed:1/id:", "seed:1/id:a b", "id:1", "seed:1/", 17])
def test_a_wrong_handle_is_refused(handle):
    async def go():
        async with connect() as client:
            with pytest.raises(MCPError, match="seed:17"):
                await client.call_tool("list_files", {"folder": "notes"}, meta={ENV_META: handle})

    asyncio.run(go())


def test_handles_name_a_seed():
    assert parse_handle("seed:-5/id:a.b_C-9") == -5
    with pytest.raises(DataError, match="expected seed:17"):
        parse_handle("seed:5\n")


def test_idle_environments_are_closed_and_their_handles_refused():
    async def go():
        async with EnvironmentPool(1, idle_timeout_s=1.0).running() as pool:
            read = ToolCall(name="read_file", arguments={"path": "notes/credit.md"})
            await pool.call("seed:1/id:a", read)
            await pool.call("", read)
            root = pool._entries["seed:1/id:a"].environment.workspace.root
            assert root.is_dir()
            deadline = time.monotonic() + 60
            while root.exists() and time.monotonic() < deadline:
                await asyncio.sleep(0.05)
            assert len(pool) == 1
            assert not root.exists()
            with pytest.raises(DataError, match=r"closed after 1 s without a call; use another id"):
                await pool.call("seed:1/id:a", read)
            kept = pool._entries[""].environment.workspace.root
        assert not kept.exists()

    asyncio.run(go())


def test_closing_a_handle_starts_it_afresh():
    async def go():
        pool = EnvironmentPool(1)
        await pool.call("seed:1/id:a", ToolCall(name="delete_file", arguments={"path": "notes/credit.md"}))
        changed = pool.state("seed:1/id:a")
        assert pool.close("seed:1/id:a")
        assert not pool.close("seed:1/id:a")
        assert pool.state("seed:1/id:a") != changed

    asyncio.run(go())


def test_a_port_in_use_is_one_line_and_exit_code_2(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--http", "--port", str(port)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"--port {port}: Address already in use" in error


def test_the_list_command_shows_tools_and_json(capsys):
    assert main(["--list", "--toolset", "maths"]) == 0
    assert "percent_change(old, new): Compute" in capsys.readouterr().out
    assert main(["--list", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == len(all_tools())
    assert main(["--list", "--toolset", "math"]) == 2
    assert capsys.readouterr().err.startswith("error: no toolset, category or tool 'math'; did you mean \"maths\"")


def test_a_terminated_stdio_server_leaves_no_files(tmp_path):
    variables = os.environ | {"TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "mcpserver"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, env=variables
    )
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"name": "list_files", "arguments": {"folder": "notes"}, "_meta": meta}
    request = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    process.stdin.write(json.dumps(request).encode() + b"\n")
    process.stdin.flush()
    assert b"auction.md" in process.stdout.readline()
    assert list(tmp_path.iterdir())
    process.terminate()
    assert process.wait(20) == 128 + signal.SIGTERM
    assert not list(tmp_path.iterdir())
