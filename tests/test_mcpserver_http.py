import asyncio
from contextlib import asynccontextmanager

import httpx2

from mcpserver.http import build_app
from mcpserver.pool import EnvironmentPool


@asynccontextmanager
async def web(**headers):
    pool = EnvironmentPool(1)
    app = build_app(pool)
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
            assert len(tools) == 34
            made = [(await client.post("/environments", json={"seed": -3})).json() for _ in range(2)]
            one, other = (f"/environments/{item['id']}" for item in made)
            call = {"name": "delete_file", "arguments": {"path": "notes/credit.md"}}
            assert (await client.post(f"{one}/call", json=call)).json()["error"] is None
            again = (await client.post(f"{one}/call", json=call)).json()
            assert again["error"] == "tool_error"
            states = [(await client.get(f"{path}/state")).json()["state"] for path in (one, other)]
            assert states[0] != made[0]["state"] == states[1]
            assert (await client.delete(one)).status_code == 204
            assert (await client.post(f"{one}/call", json=call)).status_code == 404
            assert len(pool) == 1
        assert len(pool) == 0

    asyncio.run(go())


def test_wrong_requests_are_refused_and_name_the_field():
    async def go():
        async with web() as (client, _):
            assert (await client.get("/environments/../../x/state")).status_code == 404
            wrong = await client.post("/environments", json={"sed": 1})
            assert (wrong.status_code, "sed" in wrong.text) == (422, True)
            made = (await client.post("/environments", json={})).json()
            wrong = await client.post(f"/environments/{made['id']}/call", json={"name": "mean", "arguments": "[1]"})
            assert (wrong.status_code, "arguments" in wrong.text) == (422, True)

    asyncio.run(go())


def test_a_foreign_host_name_is_refused():
    async def go():
        async with web(host="evil.example") as (client, _):
            return (await client.get("/tools")).status_code

    assert asyncio.run(go()) == 400
