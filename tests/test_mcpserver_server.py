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
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.exceptions import MCPError

from mcpserver import server as server_module
from mcpserver.__main__ import main
from mcpserver.catalogue import all_tools
from mcpserver.pool import PROCESS_HANDLE, EnvironmentPool
from mcpserver.protocol import (
    CLOSE_METHOD,
    ENV_HEADER,
    ENV_META,
    ERROR_META,
    OPEN_METHOD,
    SANDBOX_META,
    STATE_METHOD,
    TOOLSET_META,
)
from mcpserver.sandbox.level import choose_level
from mcpserver.server import build_server
from mcpserver.session import _ANSWER, Ask
from mcpserver.settings import Settings
from mcpserver.tool_error import ToolError
from toolwright.records import ToolCall

ROOT = Path(__file__).resolve().parents[1]
READ = ToolCall(name="read_file", arguments={"path": "notes/credit.md"})


@asynccontextmanager
async def connect(seed=1, mode="auto", **options):
    """A client of a server in this process."""
    async with Client(build_server(lambda: EnvironmentPool(seed, **options)), mode=mode) as client:
        yield client


async def ask(client, method, handle=None, **params):
    meta = {ENV_META: handle} if handle else {}
    request = Ask(method=method, params={"_meta": meta, **params})
    return await client.session.send_request(request, _ANSWER)


async def ask_state(client, handle=None):
    return (await ask(client, STATE_METHOD, handle))["state"]


async def opened(client, seed=1):
    return (await ask(client, OPEN_METHOD, seed=seed))["handle"]


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


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_handles_keep_environments_apart_and_none_means_that_of_the_process(mode):
    async def go():
        async with connect(mode=mode) as client:
            arguments = {"path": "notes/credit.md"}
            handles = [await opened(client), await opened(client), None]
            for handle in handles:
                meta = {ENV_META: handle} if handle else None
                result = await client.call_tool("delete_file", arguments, meta=meta)
                assert not result.is_error
                again = await client.call_tool("delete_file", arguments, meta=meta)
                assert again.is_error
                assert again.meta[ERROR_META] == "tool_error"
            fresh = await ask_state(client, await opened(client))
            return await ask_state(client, handles[0]), await ask_state(client), fresh

    changed, of_process, fresh = asyncio.run(go())
    assert changed == of_process != fresh


def test_64_environments_at_once_each_read_back_their_own_id(tmp_path):
    async def one(client, number):
        handle = await opened(client, number)
        meta = {ENV_META: handle}
        written = await client.call_tool("write_file", {"path": "id.txt", "text": handle}, meta=meta)
        assert not written.is_error, written.content[0].text
        read = await client.call_tool("read_file", {"path": "id.txt"}, meta=meta)
        assert (await ask(client, CLOSE_METHOD, handle))["closed"]
        return handle, json.loads(read.content[0].text)["text"]

    async def go():
        async with http_server() as url, Client(url) as client:
            return await asyncio.gather(*(one(client, number) for number in range(64)))

    pairs = asyncio.run(go())
    assert all(handle == read for handle, read in pairs)
    assert len({handle for handle, _ in pairs}) == 64


def test_over_http_a_request_that_names_no_environment_is_refused():
    async def go():
        async with http_server() as url, Client(url) as client:
            result = await client.call_tool("mean", {"values": [1, 2]})
            assert result.is_error
            assert result.meta[ERROR_META] == "denied"
            assert "no environment selected: open one with toolwright/open" in result.content[0].text
            with pytest.raises(MCPError, match="no environment selected"):
                await ask_state(client)

    asyncio.run(go())


def test_a_header_names_the_environment_too_and_meta_wins():
    async def price(client, meta=None):
        result = await client.call_tool("get_spot_price", {"hub": "TTF", "date": "2025-03-14"}, meta=meta)
        return result.content[0].text

    async def go():
        async with http_server() as url, Client(url) as client:
            handles = [await opened(client, seed) for seed in (1, 2)]
            plain = [await price(client, {ENV_META: handle}) for handle in handles]
            async with (
                create_mcp_http_client(headers={ENV_HEADER: handles[0]}) as http,
                Client(streamable_http_client(url, http_client=http)) as other,
            ):
                return plain, await price(other), await price(other, {ENV_META: handles[1]})

    plain, by_header, by_meta = asyncio.run(go())
    assert plain[0] == by_header != plain[1] == by_meta


def test_the_list_of_tools_comes_in_pages_and_a_wrong_cursor_is_refused(monkeypatch):
    monkeypatch.setattr(server_module, "PAGE_SIZE", 100)

    async def go():
        async with connect() as client:
            pages, cursor = [], None
            while cursor is not None or not pages:
                page = await client.list_tools(cursor=cursor)
                assert page.meta[SANDBOX_META] in ("bwrap", "landlock", "none")
                pages.append(page.tools)
                cursor = page.next_cursor
            for wrong in ("-1", "x", str(len(all_tools())), "9" * 99):
                with pytest.raises(MCPError, match="cursor"):
                    await client.list_tools(cursor=wrong)
            return pages

    pages = asyncio.run(go())
    assert {len(page) for page in pages[:-1]} == {100}
    listed = [tool for page in pages for tool in page]
    assert {tool.name: tool.meta[TOOLSET_META] for tool in listed} == {
        name: tool.toolset for name, tool in all_tools().items()
    }


@pytest.mark.parametrize("handle", ["", "seed:1", "0" * 40, "a b", 17])
def test_a_handle_that_was_not_given_is_denied(handle):
    async def go():
        async with connect() as client:
            await opened(client)
            result = await client.call_tool("list_files", {"folder": "notes"}, meta={ENV_META: handle})
            assert result.meta[ERROR_META] == "denied"
            assert "no environment" in result.content[0].text

    asyncio.run(go())


@pytest.mark.parametrize("seed", ["1", 1.5, True, 10**18])
def test_a_seed_that_is_none_is_refused(seed):
    async def go():
        async with connect() as client:
            with pytest.raises(MCPError):
                await opened(client, seed)

    asyncio.run(go())


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_standard_client_lists_and_calls_every_tool_by_its_example(mode):
    settings = Settings(world="company")
    pool = EnvironmentPool(7, settings)

    async def go():
        async with Client(build_server(lambda: pool, settings), mode=mode) as client:
            listed = {tool.name for tool in (await client.list_tools()).tools}
            assert listed == set(all_tools())
            structured = 0
            for name, tool in all_tools().items():
                if tool.category == "code" and choose_level() is None:
                    continue  # refused where no sandbox works
                result = await client.call_tool(name, tool.examples[0])
                assert not result.is_error, (name, result.content[0].text)
                if result.structured_content is not None:  # the client has checked it against the output schema
                    assert result.structured_content == json.loads(result.content[0].text)
                    structured += 1
                await pool._entries[PROCESS_HANDLE].environment.reset()
            assert structured > 20

    asyncio.run(go())


def test_idle_environments_are_closed_and_their_handles_refused():
    async def go():
        async with EnvironmentPool(1, idle_timeout_s=1.0).running() as pool:
            handle = pool.open()
            assert (await pool.call(handle, READ)).ok
            assert (await pool.call(PROCESS_HANDLE, READ)).ok
            process = pool._entries[handle].environment._worker._process
            deadline = time.monotonic() + 60
            while handle in pool and time.monotonic() < deadline:
                await asyncio.sleep(0.05)
            assert len(pool) == 1
            refused = await pool.call(handle, READ)
            assert refused.error == "denied"
            assert "closed after 1 s without a call; open one" in refused.content
            kept = pool._entries[PROCESS_HANDLE].environment._worker._process
        deadline = time.monotonic() + 60
        while (process.poll() is None or kept.poll() is None) and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        assert process.poll() is not None, "as a spare sandbox it may outlive its environment, but not the pool"
        assert kept.poll() is not None

    asyncio.run(go())


def test_closing_a_handle_ends_its_environment_and_the_number_of_them_is_limited():
    async def go():
        pool = EnvironmentPool(1, max_environments=2)
        first, _ = pool.open(), pool.open()
        with pytest.raises(ToolError, match="2 environments are open already; close some"):
            pool.open()
        assert await pool.close(first)
        assert not await pool.close(first)
        assert (await pool.call(first, READ)).error == "denied"
        other = pool.open()
        assert other != first
        assert len(bytes.fromhex(other)) >= 16
        pool.close_all()

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
    process.terminate()
    assert process.wait(20) == 128 + signal.SIGTERM
    assert not list(tmp_path.iterdir())
