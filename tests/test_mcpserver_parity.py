"""One transcript through every face gives the same texts, error types, pictures and states."""

import asyncio
import sys
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

import httpx2
import pytest
from mcp import Client

from mcpserver.catalogue import select_tools, toolsets
from mcpserver.client import open_servers
from mcpserver.mcp_config import ServerConfig
from mcpserver.mcp_results import from_mcp, read_row
from mcpserver.pool import EnvironmentPool
from mcpserver.protocol import ENV_META, OPEN_METHOD, STATE_METHOD
from mcpserver.sandbox.level import choose_level
from mcpserver.server import build_server
from mcpserver.session import _ANSWER, Ask
from mcpserver.settings import Settings, flags_of
from mcpserver.world import open_world
from toolwright.records import ToolCall

ROOT = Path(__file__).resolve().parents[1]
SEED = -8
COMPANY = Settings(world="company", call_timeout_s=20.0)
HURRIED = Settings(world="desk", toolsets=("python", "files"), call_timeout_s=1.0)


def _examples():
    for name in toolsets()[::2]:
        tool = next(iter(select_tools([name]).values()))
        yield tool.spec.name, tool.examples[0]


MANY_CALLS = [
    *_examples(),
    ("run_python", {"code": "x = {'a': [1, 2]}\nimport math"}),
    ("run_python", {"code": "x['a'].append(math.floor(2.5)); print(x); open('made.txt', 'w').write('ä\\u2028')"}),
    ("list_variables", {}),
    ("run_python", {"code": "1 / 0"}),
    ("run_python", {"code": "import matplotlib.pyplot as plt; plt.plot([1, 3, 2]); plt.show()"}),
    ("run_shell", {"command": "wc -c made.txt"}),
    ("reset_python", {}),
    ("run_python", {"code": "x"}),
    ("read_file", {"path": "made.txt"}),
    ("get_spot_prize", {}),
    ("", {}),
    ("ü" * 200, {}),
    ("get_spot_price", {"hub": "TTF"}),
    ("get_trading_day", {"date": "2025-03-14", "offset": 1.0}),
    ("get_trading_day", {"date": "2025-03-14", "offset": 1, "more": None}),
    ("mean", {"values": [1, "2"]}),
    ("mean", {"values": [10**400]}),
    ("calculate", {"expression": "1/0"}),
    ("read_file", {"path": "../../etc/passwd"}),
    ("write_file", {"path": "notes/ä.md", "text": "größer\u2028als\n"}),
    ("write_file", {"path": "big.txt", "text": "x" * 300_000}),
    ("read_file", {"path": "notes/ä.md"}),
    ("delete_rows", {"database": "trades", "table": "partners", "column": "name", "value": "Nordgas"}),
    ("book_capacity", {"pipeline": "Langeled", "date": "2025-03-03", "energy_mwh": 10.0}),
    ("book_capacity", {"pipeline": "Langeled", "date": "2025-03-03", "energy_mwh": 1e6}),
    ("image_resize", {"path": "images/photo.jpg", "width": 10}),
]
CHART = {"data": {"labels": ["a", "b"], "series": [{"name": "x", "values": [3, 5]}]}, "save_as": "line.png"}
MANY_CALLS += [("plot_line", CHART | {"show": True})]
HURRIED_CALLS = [
    ("run_python", {"code": "kept = 1"}),
    ("run_python", {"code": "import time; time.sleep(30)"}),
    ("run_python", {"code": "kept"}),
    ("run_python", {"code": "open('x.txt', 'w').write('x')"}),
]
UNSAYABLE_CALLS = [("write_file", {"path": "a.txt", "text": "\ud800"}), ("list_files", {"folder": float("nan")})]
"""What no program can write as JSON; our client refuses it as the environment does."""
TRANSCRIPTS = {"many": (COMPANY, MANY_CALLS), "hurried": (HURRIED, HURRIED_CALLS)}


class InMemory:
    """A standard client of the SDK."""

    def __init__(self, client, handle):
        self.client, self.meta = client, {ENV_META: handle}

    async def call(self, call):
        return from_mcp(await self.client.call_tool(call.name, call.arguments, meta=self.meta), ours=True)

    async def state(self):
        return (await ask(self.client, STATE_METHOD, _meta=self.meta))["state"]


async def ask(client, method, **params):
    return await client.session.send_request(Ask(method=method, params=params), _ANSWER)


class PlainHttp:
    def __init__(self, client, made):
        self.client, self.path, self.sandbox = client, f"/environments/{made['id']}", made["sandbox"]

    async def call(self, call):
        body = {"name": call.name, "arguments": call.arguments}
        return read_row((await self.client.post(f"{self.path}/call", json=body)).json())

    async def state(self):
        return (await self.client.get(f"{self.path}/state")).json()["state"]


@asynccontextmanager
async def in_process(settings):
    async with open_world(settings=settings) as worlds, worlds.environment(SEED) as world:
        yield world


@asynccontextmanager
async def in_memory(settings, mode="auto"):
    async with Client(build_server(lambda: EnvironmentPool(1, settings), settings), mode=mode) as client:
        opened = await ask(client, OPEN_METHOD, seed=SEED)
        world = InMemory(client, opened["handle"])
        world.sandbox = opened["sandbox"]
        yield world


@asynccontextmanager
async def in_memory_legacy(settings):
    async with in_memory(settings, "legacy") as world:
        yield world


@asynccontextmanager
async def stdio(settings):
    async with open_world(transport="stdio", settings=settings) as worlds, worlds.environment(SEED) as world:
        yield world


@asynccontextmanager
async def served(settings):
    command = [sys.executable, "-m", "mcpserver", "--http", "--port", "0", "--token", "t", *flags_of(settings)]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stderr=asyncio.subprocess.PIPE)
    try:
        line = (await asyncio.wait_for(process.stderr.readline(), 60)).decode()
        yield line.split(": ", 1)[1].strip()
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def http(settings):
    async with served(settings) as url:
        config = ServerConfig("ours", url=url, headers={"authorization": "Bearer t"})
        async with open_servers([config]) as servers, servers.environment(SEED) as world:
            yield world


@asynccontextmanager
async def fastapi(settings):
    async with (
        served(settings) as url,
        httpx2.AsyncClient(
            base_url=url.removesuffix("/mcp"), headers={"authorization": "Bearer t"}, timeout=60
        ) as client,
    ):
        made = (await client.post("/environments", json={"seed": SEED})).json()
        yield PlainHttp(client, made)


async def play(face, settings, calls):
    async with face(settings) as world:
        before = await world.state()
        results = [await world.call(ToolCall(name=name, arguments=arguments)) for name, arguments in calls]
        return {"sandbox": world.sandbox, "before": before, "results": results, "after": await world.state()}


@cache
def direct(name):
    return asyncio.run(play(in_process, *TRANSCRIPTS[name]))


@pytest.mark.parametrize("name", TRANSCRIPTS)
@pytest.mark.parametrize("face", [in_memory, in_memory_legacy, stdio, http, fastapi], ids=lambda face: face.__name__)
def test_every_face_gives_what_the_environment_gives(face, name):
    settings, calls = TRANSCRIPTS[name]
    wanted = direct(name)
    seen = asyncio.run(play(face, settings, calls))
    for call, result, expected in zip(calls, seen["results"], wanted["results"]):
        assert result == expected, call
    assert seen == wanted


@pytest.mark.parametrize("face", [stdio, http], ids=lambda face: face.__name__)
def test_our_client_refuses_what_is_no_json_as_the_environment_does(face):
    seen, wanted = (asyncio.run(play(one, HURRIED, UNSAYABLE_CALLS)) for one in (face, in_process))
    assert seen == wanted
    assert {result.error for result in seen["results"]} == {"bad_arguments"}


@pytest.mark.skipif(choose_level() is None, reason="no sandbox works on this machine, so code is refused")
def test_the_transcripts_have_successes_each_kind_of_error_pictures_and_changes():
    many, hurried = direct("many"), direct("hurried")
    kinds = {result.error for result in many["results"] + hurried["results"]}
    assert kinds == {None, "unknown_tool", "bad_arguments", "tool_error", "denied", "limit", "timeout"}
    assert sum(result.ok for result in many["results"]) > 40
    assert sum(len(result.pictures) for result in many["results"]) >= 2
    assert many["before"] != many["after"]
    assert hurried["before"] != hurried["after"]
    assert len(MANY_CALLS) > 40
