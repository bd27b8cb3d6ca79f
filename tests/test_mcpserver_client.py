import asyncio
import dataclasses
import json
import os
import sys
import time
from pathlib import Path

import pytest
from ended import wait_until_dead

from mcpserver.client import open_servers
from mcpserver.mcp_config import ServerConfig, read_mcp_config
from mcpserver.world import open_world
from toolwright.errors import ConfigError, DataError, ToolServerError
from toolwright.records import ToolCall

# A server in plain JSON lines, so that a test can make it misbehave; argv: mode, and a file for a process id.
SERVER = """
import json, os, subprocess, sys, time
mode, note = sys.argv[1], sys.argv[2]
schema = {"type": "object", "properties": {"x": {"type": "integer"}}}
if mode == "bad_schema": schema["properties"]["x"]["type"] = "integre"
if mode == "schema_is_text": schema = "none"
if mode == "crash_at_start": sys.exit("no database at /srv/x")
if mode in ("orphan", "daemon"):
    open(note, "w").write(str(subprocess.Popen(["sleep", "300"], start_new_session=mode == "daemon").pid))
if mode == "stubborn":
    import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); open(note, "w").write(str(os.getpid()))
tools = [{"name": "double", "description": "Double.", "inputSchema": schema}]
if mode == "twice": tools *= 2
def answer(method, params):
    if method == "initialize":
        if mode == "silent": time.sleep(300)
        info = {"name": "t", "version": "1"}
        return {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": info}
    if method == "tools/list": return {"tools": tools}
    if method == "tools/call":
        if mode == "hang": return None
        if mode == "noise": print("this is no message", flush=True)
        if mode == "large": return {"content": [{"type": "text", "text": "x" * 3_000_000}]}
        if mode == "refuse": return {"error": {"code": -32602, "message": "no such day"}}
        if mode == "mixed": return {"isError": True, "content": [{"type": "text", "text": "a"},
            {"type": "image", "data": "iVBORw0KGgo=", "mimeType": "image/png"},
            {"type": "image", "data": "%%", "mimeType": "image/png"},
            {"type": "image", "data": "PHN2Zy8+", "mimeType": "image/svg+xml"},
            {"type": "audio", "data": "AAAA", "mimeType": "audio/wav"},
            {"type": "resource_link", "uri": "file:///a.txt", "name": "a"},
            {"type": "resource", "resource": {"uri": "file:///b.txt", "text": "b"}},
            {"type": "resource", "resource": {"uri": "file:///c.bin", "blob": "AAAA"}}]}
        if mode == "structured": return {"content": [], "structuredContent": {"n": 1}}
        return {"content": [{"type": "text", "text": str(2 * params["arguments"]["x"])}]}
    return {"error": {"code": -32601, "message": "Method not found"}}
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message: continue
    result = answer(message["method"], message.get("params"))
    if result is None: continue
    reply = {"error": result["error"]} if "error" in result else {"result": result}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **reply}), flush=True)
while mode == "stubborn": time.sleep(1)
"""


def toy(tmp_path: Path, mode: str = "good", name: str = "toy") -> ServerConfig:
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    return ServerConfig(name, sys.executable, (str(script), mode, str(tmp_path / "note")))


def use(*configs, calls=(), **options):
    """The tool names, and the results of calls, of some servers."""

    async def go():
        async with open_servers(configs, **options) as servers:
            results = [await servers.call(ToolCall(name=name, arguments={"x": x})) for name, x in calls]
            return [tool.name for tool in servers.tools], results

    return asyncio.run(go())


def test_one_server_keeps_its_names_and_several_get_a_prefix(tmp_path):
    names, (result,) = use(toy(tmp_path), calls=[("double", 4)])
    assert (names, result.content, result.error) == (["double"], "8", None)
    calls = [("a__double", 1), ("b__double", 2), ("double", 3)]
    names, results = use(toy(tmp_path, name="a"), toy(tmp_path, name="b"), calls=calls)
    assert names == ["a__double", "b__double"]
    assert [result.content for result in results[:2]] == ["2", "4"]
    assert results[2].error == "unknown_tool"


def test_a_foreign_server_is_a_world_without_a_state(tmp_path):
    config = toy(tmp_path)
    path = tmp_path / "servers.json"
    path.write_text(json.dumps({"mcpServers": {"toy": {"command": config.command, "args": list(config.args)}}}))

    async def go():
        async with open_world(path) as worlds, worlds.environment(1) as world:
            assert worlds.toolset("double") == "toy"
            return (await world.call(ToolCall(name="double", arguments={"x": 2}))).content, await world.state()

    assert asyncio.run(go()) == ("4", None)


MISSING = [
    (
        ServerConfig("gone", "no-such-command-x", ("--a b",)),
        r"'gone' \[no-such-command-x '--a b'\] did not start.*by hand",
    ),
    (
        ServerConfig("web", url="http://127.0.0.1:9/mcp"),
        r"'web' \[http://127.0.0.1:9/mcp\] did not start \(no connection\)",
    ),
    (ServerConfig("cwd", sys.executable, cwd="/no/such/place"), r"'cwd' .* did not start .*/no/such/place"),
    (ServerConfig("quick", sys.executable, ("-c", "")), r"'quick' .* did not start"),
]


@pytest.mark.parametrize(("config", "message"), MISSING, ids=[config.name for config, _ in MISSING])
def test_a_server_that_is_not_there_is_named_in_one_line(config, message):
    with pytest.raises(ToolServerError, match=message) as caught:
        use(config)
    assert "\n" not in str(caught.value)


def test_a_server_that_crashes_at_its_start_is_quoted(tmp_path):
    with pytest.raises(ToolServerError, match=r"'toy' .*did not start \(no database at /srv/x\)"):
        use(toy(tmp_path, "crash_at_start"))


def test_a_silent_server_does_not_hold_us_up(tmp_path):
    started = time.monotonic()
    with pytest.raises(ToolServerError, match=r"gave no list of tools within 0\.5 s"):
        use(toy(tmp_path, "silent"), start_timeout_s=0.5)
    assert time.monotonic() - started < 60


def test_a_call_that_hangs_ends_at_its_deadline(tmp_path):
    started = time.monotonic()
    _, (result,) = use(toy(tmp_path, "hang"), calls=[("double", 1)], call_timeout_s=0.3)
    assert result.error == "timeout"
    assert time.monotonic() - started < 60


MIXED = """a
[picture: image/png]
[picture: image/png, left out: not base64]
[picture: image/svg+xml, left out: no model takes this form]
[audio left out: audio/wav]
[resource: file:///a.txt]
[resource: file:///b.txt]
b
[resource left out: file:///c.bin]"""


@pytest.mark.parametrize(
    ("mode", "error", "words"),
    [
        ("refuse", "tool_error", "the server refused: no such day"),
        ("mixed", "tool_error", MIXED),
        ("structured", None, '{"n": 1}'),
        ("noise", None, "2"),
        ("large", None, "[cut: the result has 3000000 bytes"),
    ],
)
def test_what_a_server_answers_becomes_a_result(tmp_path, mode, error, words):
    _, (result,) = use(toy(tmp_path, mode), calls=[("double", 1)])
    assert result.error == error
    assert words in result.content
    assert len(result.content.encode()) <= 64 * 1024
    assert result.pictures == (("data:image/png;base64,iVBORw0KGgo=",) if mode == "mixed" else ())


@pytest.mark.parametrize("arguments", [{"x": float("nan")}, {"x": "\ud800"}, {"x": {1, 2}}])
def test_arguments_that_no_server_can_be_sent_are_refused_here(tmp_path, arguments):
    async def go():
        async with open_servers([toy(tmp_path)]) as servers:
            return await servers.call(ToolCall(name="double", arguments=arguments))

    assert asyncio.run(go()).error == "bad_arguments"


def test_the_deadline_of_a_server_goes_before_that_of_the_caller(tmp_path):
    started = time.monotonic()
    config = dataclasses.replace(toy(tmp_path, "hang"), timeout_s=0.3)
    _, (result,) = use(config, calls=[("double", 1)], call_timeout_s=50)
    assert result.error == "timeout"
    assert "0.3 s" in result.content
    assert time.monotonic() - started < 40


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("bad_schema", r"MCP server 'toy': tool 'double': parameters\.properties\.x\.type.*integre"),
        ("schema_is_text", r"MCP server 'toy': list of tools: tools\.0\.inputSchema: .*dict"),
        ("twice", r"MCP server 'toy': two tools are called 'double'"),
    ],
)
def test_a_tool_without_a_json_schema_is_refused_with_server_tool_and_path(tmp_path, mode, message):
    with pytest.raises(DataError, match=message):
        use(toy(tmp_path, mode))


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for processes in /proc")
@pytest.mark.parametrize("mode", ["orphan", "daemon", "stubborn"])
def test_closing_leaves_no_process_behind(tmp_path, mode):
    use(toy(tmp_path, mode), calls=[("double", 1)])
    assert wait_until_dead(int((tmp_path / "note").read_text()))  # the kernel takes a moment to end what was killed


def test_an_address_that_speaks_no_mcp_is_named():
    async def page(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno")
        await writer.drain()
        writer.close()

    async def go():
        async with await asyncio.start_server(page, "127.0.0.1", 0) as web:
            url = f"http://127.0.0.1:{web.sockets[0].getsockname()[1]}/mcp"
            with pytest.raises(ToolServerError, match=r"'page' \[http.*\] did not start") as caught:
                async with open_servers([ServerConfig("page", url=url)]):
                    pass
            return str(caught.value)

    assert "\n" not in asyncio.run(go())


def write(tmp_path, content):
    path = tmp_path / "servers.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_variables_are_expanded_from_the_environment(tmp_path):
    server = {"command": "${PY}", "args": ["${A:-x}", "${EMPTY:-y}", "$A"], "env": {"T": "a${B}c"}, "cwd": "${PY}"}
    remote = {"type": "http", "url": "http://${HOST:-localhost}:1/mcp", "headers": {"x": "${B}"}, "timeout": 5}
    off = {"command": "${NOT_SET_X}", "disabled": True}
    path = write(tmp_path, {"mcpServers": {"s": server, "r": remote, "o": off}, "theme": "dark"})
    variables = {"PY": "python", "B": "b", "EMPTY": ""}
    assert read_mcp_config(path, variables) == [
        ServerConfig("s", "python", ("x", "y", "$A"), {"T": "abc"}, "python"),
        ServerConfig("r", url="http://localhost:1/mcp", headers={"x": "b"}, timeout_s=5),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"servers\.json:1: cannot read"),
        ([], "expected an object with mcpServers"),
        ({"mcpservers": {}}, 'did you mean "mcpservers"'),
        ({"mcpServers": {}}, "names no server"),
        ({"mcpServers": {"a b": {}}}, "a server's name"),
        ({"mcpServers": {"a__b": {}}}, "no '__'"),
        ({"mcpServers": {"s": "x"}}, r"mcpServers\.s: expected an object"),
        ({"mcpServers": {"s": {}}}, "either command or url"),
        ({"mcpServers": {"s": {"comand": "x"}}}, 'either command or url.*"comand"'),
        ({"mcpServers": {"s": {"command": "x", "url": "http://x"}}}, "either command or url"),
        ({"mcpServers": {"s": {"command": "x", "arg": []}}}, r's\.arg: unknown key.*did you mean "args"'),
        ({"mcpServers": {"s": {"url": "http://x/", "env": {}}}}, r"s\.env: unknown key for a server with url"),
        ({"mcpServers": {"s": {"command": "x", "args": "y"}}}, r"s\.args: expected a list of strings, got 'y'"),
        ({"mcpServers": {"s": {"command": "x", "env": {"A": 1}}}}, r"s\.env: expected an object of strings"),
        ({"mcpServers": {"s": {"command": " "}}}, r"s\.command: expected a string that is not empty"),
        ({"mcpServers": {"s": {"url": "ftp://x"}}}, r"s\.url: expected http"),
        ({"mcpServers": {"s": {"url": "http://x/", "type": "sse"}}}, r"s\.type: 'sse' is no longer a transport"),
        ({"mcpServers": {"s": {"url": "http://x/", "timeout": 30000}}}, r"s\.timeout: expected seconds.*got 30000"),
        ({"mcpServers": {"s": {"url": "http://x/", "timeout": True}}}, r"s\.timeout: expected seconds.*got True"),
        ({"mcpServers": {"s": {"command": "x", "disabled": 1}}}, r"s\.disabled: expected true or false, got 1"),
        ({"mcpServers": {"s": {"command": "x", "disabled": True}}}, "all servers are disabled"),
        ({"mcpServers": {"s": {"command": "x", "type": "http"}}}, r"s\.type: 'http' does not go with command"),
        ({"mcpServers": {"s": {"command": "${NOT_SET_X}"}}}, r"s\.command: the variable NOT_SET_X is not set"),
        ({"mcpServers": {"s": {"command": "x", "env": {"K": "${NOT_SET_X}"}}}}, r"s\.env\.K: the variable NOT_SET_X"),
    ],
)
def test_a_wrong_configuration_is_refused_with_file_server_and_key(tmp_path, content, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read_mcp_config(write(tmp_path, content))
    assert "servers.json" in str(caught.value)


def test_a_missing_configuration_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.json: cannot read .*No such file"):
        read_mcp_config(tmp_path / "none.json")


def test_secrets_of_a_server_are_not_shown():
    config = ServerConfig("s", "x", (), {"KEY": "hunter2"}, headers={"Authorization": "hunter2"})
    assert "hunter2" not in config.address
