import asyncio
import json
from contextlib import asynccontextmanager

import httpx2
import pytest

from mcpserver.__main__ import main
from mcpserver.catalogue import all_tools
from mcpserver.http import build_app
from mcpserver.pool import EnvironmentPool
from mcpserver.web_guards import MAX_BODY_BYTES, TOKEN_VARIABLE, read_token
from toolwright.errors import ConfigError

DELETE = {"name": "delete_file", "arguments": {"path": "notes/credit.md"}}
MCP_HEADERS = {
    "accept": "application/json",
    "content-type": "application/json",
    "mcp-protocol-version": "2026-07-28",
    "mcp-method": "tools/call",
    "mcp-name": "mean",
}


@asynccontextmanager
async def web(token=None, listen="127.0.0.1", pool=None, headers=None):
    pool = EnvironmentPool(1) if pool is None else pool
    app = build_app(pool, host=listen, token=token)
    transport = httpx2.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client,
    ):
        yield client, pool


def test_plain_http_offers_tools_and_environments():
    async def go():
        async with web() as (client, pool):
            tools = (await client.get("/tools")).json()
            assert len(tools) == len(all_tools())
            made = [(await client.post("/environments", json={"seed": -3})).json() for _ in range(2)]
            assert made[0]["sandbox"] in ("bwrap", "landlock", "none")
            one, other = (f"/environments/{item['id']}" for item in made)
            assert (await client.post(f"{one}/call", json=DELETE)).json()["error"] is None
            again = (await client.post(f"{one}/call", json=DELETE)).json()
            assert again["error"] == "tool_error"
            states = [(await client.get(f"{path}/state")).json()["state"] for path in (one, other)]
            assert states[0] != made[0]["state"] == states[1]
            assert (await client.delete(one)).status_code == 204
            assert (await client.post(f"{one}/call", json=DELETE)).status_code == 404
            assert len(pool) == 1
        assert len(pool) == 0

    asyncio.run(go())


def test_there_is_documentation_and_a_sign_of_life():
    async def go():
        async with web() as (client, _):
            assert (await client.get("/health")).json() == {"status": "ok"}
            assert (await client.get("/docs")).status_code == 200
            paths = (await client.get("/openapi.json")).json()["paths"]
            assert {"/tools", "/environments", "/environments/{name}/call", "/environments/{name}/state"} <= set(paths)

    asyncio.run(go())


def test_wrong_requests_are_refused_and_name_the_field():
    async def go():
        async with web() as (client, _):
            assert (await client.get("/environments/../../x/state")).status_code == 404
            assert (await client.get(f"/environments/{'0' * 40}/state")).status_code == 404
            for body, field in (({"sed": 1}, "sed"), ({"seed": "1"}, "seed"), ({"seed": 10**18}, "seed")):
                wrong = await client.post("/environments", json=body)
                assert (wrong.status_code, field in wrong.text) == (422, True)
            made = (await client.post("/environments", json={})).json()
            for arguments in ("[1]", [1], None, 5):
                wrong = await client.post(
                    f"/environments/{made['id']}/call", json={"name": "mean", "arguments": arguments}
                )
                assert (wrong.status_code, "arguments" in wrong.text) == (422, True)

    asyncio.run(go())


BROKEN = {
    "malformed": b'{"name": ',
    "deep": b"[" * 100_000,
    "deep arguments": b'{"name": "mean", "arguments": {"values": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
    "not a number": b'{"name": "mean", "arguments": {"values": [NaN]}}',
    "infinite": b'{"name": "mean", "arguments": {"values": [-Infinity]}}',
    "half a pair": b'{"name": "\\ud800"}',
    "not UTF-8": b'{"name": "\xff"}',
    "long integer": b'{"name": "mean", "arguments": {"values": [' + b"1" * 5000 + b"]}}",
    "nothing": b"",
    "a list": b"[]",
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
def test_what_is_no_request_is_a_clean_refusal_on_both_faces_and_the_server_stays_up(body):
    async def go():
        async with web() as (client, _):
            made = (await client.post("/environments", json={})).json()
            headers = {"content-type": "application/json"}
            plain = await client.post(f"/environments/{made['id']}/call", content=body, headers=headers)
            assert 400 <= plain.status_code < 500
            over_mcp = await client.post("/mcp", content=body, headers=MCP_HEADERS)
            assert 400 <= over_mcp.status_code < 500
            assert (await client.post(f"/environments/{made['id']}/call", json=DELETE)).json()["error"] is None

    asyncio.run(go())


def test_a_body_over_the_limit_is_told_so():
    async def go():
        async with web() as (client, _):
            body = json.dumps({"name": "x" * MAX_BODY_BYTES}).encode()
            for path in ("/environments/x/call", "/mcp"):
                assert (await client.post(path, content=body, headers=MCP_HEADERS)).status_code == 413

    asyncio.run(go())


def test_too_many_environments_are_refused():
    async def go():
        async with web(pool=EnvironmentPool(1, max_environments=1)) as (client, _):
            assert (await client.post("/environments", json={})).status_code == 201
            refused = await client.post("/environments", json={})
            assert (refused.status_code, refused.json()["error"]) == (503, "limit")

    asyncio.run(go())


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 400),
        ({"host": "localhost.evil.example"}, 400),
        ({"host": "127.0.0.1:99"}, 200),
        ({"host": "[::1]:99"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://localhost:5000"}, 200),
    ],
)
def test_a_foreign_host_name_or_web_page_is_refused(headers, status):
    async def go():
        async with web(headers=headers) as (client, _):
            return (await client.get("/tools")).status_code

    assert asyncio.run(go()) == status


ROUTES = [
    ("GET", "/tools"),
    ("GET", "/docs"),
    ("GET", "/openapi.json"),
    ("POST", "/environments"),
    ("POST", "/environments/x/call"),
    ("GET", "/environments/x/state"),
    ("DELETE", "/environments/x"),
    ("POST", "/mcp"),
    ("GET", "/mcp"),
    ("GET", "/else"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("shown", [None, "Bearer wrong", "Bearer s3crets", "Basic s3cret", "bearer", "Bearer ü"])
def test_every_route_but_one_wants_the_token(method, path, shown):
    async def go():
        headers = {} if shown is None else {"authorization": shown.encode()}
        async with web(token="s3cret", listen="0.0.0.0") as (client, _):
            refused = await client.request(method, path, headers=headers)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"] == "Bearer"
            assert (await client.get("/health")).status_code == 200
            allowed = await client.request(method, path, headers={"authorization": "Bearer s3cret"})
            assert allowed.status_code != 401

    asyncio.run(go())


def test_other_machines_need_a_token(capsys, monkeypatch):
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    assert main(["--http", "--host", "0.0.0.0", "--port", "0"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "--host 0.0.0.0: other machines reach it, and it needs a token; set TOOLWRIGHT_TOKEN" in error
    for host in ("127.0.0.1", "::1", "localhost", "127.8.8.8"):
        assert read_token(None, host) is None
    monkeypatch.setenv(TOKEN_VARIABLE, "from-variable")
    assert read_token(None, "0.0.0.0") == "from-variable"
    assert read_token("given", "0.0.0.0") == "given"
    for wrong in ("", "two words", "ü", "x\n"):
        with pytest.raises(ConfigError, match="visible ASCII"):
            read_token(wrong, "127.0.0.1")
