import asyncio
import gzip
import json
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from api_server import PET, PETSTORE, json_reply, serving, write_catalogue

from mcpserver.api.addresses import is_public
from mcpserver.environment import Environment
from mcpserver.settings import ApiSettings
from mcpserver.tool_error import ToolError
from toolwright.records import ToolCall, ToolResult

Call = Callable[..., Awaitable[ToolResult]]


def play(catalogue: str, apis: ApiSettings, body: Callable[[Call], Awaitable[Any]], seed: int = 17) -> Any:
    """Run a conversation with the tools of a catalogue."""

    async def run() -> Any:
        async with Environment.create(seed, sources=(catalogue,), world="desk", apis=apis) as environment:

            async def call(tool: str, /, **arguments: Any) -> ToolResult:
                return await environment.call(ToolCall(name=tool, arguments=arguments))

            return await body(call)

    return asyncio.run(run())


def live(url: str, folder: Path, **options: Any) -> ApiSettings:
    options = {"allow_private": True, "timeout_s": 2.0, "retries": 1} | options
    return ApiSettings(base_url=url, cache_dir=str(folder / "cache"), **options)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcpserver.api.endpoint.FIRST_PAUSE_S", 0.01)


def test_a_real_call_sends_each_argument_where_it_belongs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_KEY", "s3cret")
    catalogue = write_catalogue(tmp_path, PETSTORE)

    async def body(call: Call) -> list[ToolResult]:
        return [
            await call("listPets", limit=5, status=["free", "sold"], **{"X-Trace": "t 1"}),
            await call("createPet", name="Rex & Söhne", tag=None),
            await call("get_pets_by_pet_id", petId="a/b ?#ü"),
        ]

    with serving(lambda *_: json_reply([{"id": 1, "name": "Rex"}])) as server:
        headers = (("X-Key", "${SHOP_KEY}"),)
        results = play(catalogue, live(f"{server.url}/v1/", tmp_path, headers=headers), body)
    assert [(result.error, result.synthetic) for result in results] == [(None, False)] * 3
    assert json.loads(results[0].content) == [{"id": 1, "name": "Rex"}]
    (method, path, sent, _), second, third = server.requests
    assert (method, path) == ("GET", "/v1/pets?limit=5&status=free&status=sold")
    assert (sent["x-key"], sent["x-trace"]) == ("s3cret", "t 1")
    assert second[:2] == ("POST", "/v1/pets")
    assert second[2]["content-type"] == "application/json"
    assert json.loads(second[3]) == {"name": "Rex & Söhne", "tag": None}
    assert third[1] == "/v1/pets/a%2Fb%20%3F%23%C3%BC"


@pytest.mark.parametrize("value", ["..", ".", ""])
def test_a_path_parameter_cannot_leave_its_place(tmp_path: Path, value: str) -> None:
    with serving(lambda *_: json_reply({})) as server:
        result = play(
            write_catalogue(tmp_path, PETSTORE),
            live(server.url, tmp_path),
            lambda call: call("get_pets_by_pet_id", petId=value),
        )
    assert result.error == "bad_arguments"
    assert not server.requests


def test_a_header_takes_no_second_line(tmp_path: Path) -> None:
    with serving(lambda *_: json_reply({})) as server:
        result = play(
            write_catalogue(tmp_path, PETSTORE),
            live(server.url, tmp_path),
            lambda call: call("listPets", **{"X-Trace": "a\r\nX-Evil: 1"}),
        )
    assert result.error == "bad_arguments"
    assert not server.requests


def test_a_definition_without_path_is_posted_under_its_name(tmp_path: Path) -> None:
    row = {"name": "find hotels", "description": "Find hotels.", "parameters": {"city": {"type": "string"}}}
    with serving(lambda *_: json_reply({"hotels": []})) as server:
        result = play(
            write_catalogue(tmp_path, [row], base_url=server.url),
            live("", tmp_path),
            lambda call: call("find_hotels", city="Porto"),
        )
    assert (result.content, result.synthetic) == ('{"hotels": []}', False)
    assert (server.requests[0][:2], json.loads(server.requests[0][3])) == (
        ("POST", "/find%20hotels"),
        {"city": "Porto"},
    )


def test_a_4xx_is_a_real_answer_and_an_error(tmp_path: Path) -> None:
    with serving(lambda *_: json_reply({"detail": "no such pet"}, 404)) as server:
        result = play(
            write_catalogue(tmp_path, PETSTORE),
            live(server.url, tmp_path),
            lambda call: call("get_pets_by_pet_id", petId="9"),
        )
    assert (result.error, result.synthetic) == ("tool_error", False)
    assert result.content == 'tool_error: HTTP 404 from GET /pets/9: {"detail": "no such pet"}'
    assert len(server.requests) == 1


@pytest.mark.parametrize(("status", "n_requests"), [(500, 2), (503, 2), (429, 2)])
def test_an_endpoint_in_trouble_is_asked_again_and_then_played(tmp_path: Path, status: int, n_requests: int) -> None:
    with serving(lambda *_: json_reply({}, status)) as server:
        result = play(
            write_catalogue(tmp_path, PETSTORE),
            live(server.url, tmp_path),
            lambda call: call("get_pets_by_pet_id", petId="9"),
        )
    assert (result.error, result.synthetic) == (None, True)
    assert set(json.loads(result.content)) >= {"id", "name"}
    assert len(server.requests) == n_requests


def test_a_request_that_may_have_been_done_is_not_sent_twice(tmp_path: Path) -> None:
    with serving(lambda *_: json_reply({}, 500)) as server:
        result = play(
            write_catalogue(tmp_path, PETSTORE), live(server.url, tmp_path), lambda call: call("createPet", name="Rex")
        )
    assert result.synthetic
    assert json.loads(result.content)["name"] == "Rex"
    assert len(server.requests) == 1


def test_trouble_that_passes_is_not_seen(tmp_path: Path) -> None:
    replies = iter([json_reply({}, 503), json_reply({"id": 1, "name": "Rex"})])
    with serving(lambda *_: next(replies)) as server:
        result = play(
            write_catalogue(tmp_path, PETSTORE),
            live(server.url, tmp_path),
            lambda call: call("get_pets_by_pet_id", petId="1"),
        )
    assert (result.content, result.synthetic) == ('{"id": 1, "name": "Rex"}', False)


def test_nobody_listening_and_a_reply_that_never_ends_are_no_failures(tmp_path: Path) -> None:
    catalogue = write_catalogue(tmp_path, PETSTORE)
    gone = play(catalogue, live("http://127.0.0.1:9", tmp_path), lambda call: call("get_pets_by_pet_id", petId="1"))
    assert gone.synthetic
    stop = threading.Event()

    def wait(*_: Any) -> Any:
        stop.wait(5)
        return json_reply({})

    with serving(wait) as server:
        started = time.monotonic()
        settings = live(server.url, tmp_path, timeout_s=0.3, retries=0)
        slow = play(catalogue, settings, lambda call: call("get_pets_by_pet_id", petId="1"))
        assert time.monotonic() - started < 3
        stop.set()
    assert slow.synthetic


def test_a_reply_above_the_limit_is_cut_and_says_so(tmp_path: Path) -> None:
    with serving(lambda *_: (200, {"Content-Type": "text/plain"}, b"x" * 500_000)) as server:
        result = play(write_catalogue(tmp_path, PETSTORE), live(server.url, tmp_path), lambda call: call("listPets"))
    assert len(result.content.encode()) <= 64 * 1024
    assert "[cut: the reply has more than 65536 bytes" in result.content


def test_bytes_that_are_no_text_are_named_and_a_zipped_reply_is_read(tmp_path: Path) -> None:
    replies = iter(
        [
            (200, {"Content-Type": "image/png"}, b"\x89PNG\0\0"),
            (200, {"Content-Type": "application/json", "Content-Encoding": "gzip"}, gzip.compress(b"[]")),
        ]
    )

    async def body(call: Call) -> list[str]:
        return [(await call("listPets", limit=1)).content, (await call("listPets", limit=2)).content]

    with serving(lambda *_: next(replies)) as server:
        assert play(write_catalogue(tmp_path, PETSTORE), live(server.url, tmp_path), body) == [
            "[image/png: not shown]",
            "[]",
        ]


def test_redirects_are_followed_on_the_same_host_only(tmp_path: Path) -> None:
    catalogue = write_catalogue(tmp_path, PETSTORE)

    def handle(method: str, path: str, _headers: Any, _body: bytes) -> Any:
        if path.startswith("/new"):
            return json_reply({"method": method, "path": path})
        return 302, {"Location": "/new/pets"}, b""

    with serving(handle) as server:
        same = play(catalogue, live(server.url, tmp_path), lambda call: call("listPets"))
    assert json.loads(same.content) == {"method": "GET", "path": "/new/pets"}
    with serving(lambda *_: json_reply({"secret": 1})) as other:
        for location in (f"{other.url}/x", f"http://localhost:{other.url.rpartition(':')[2]}/", "file:///etc/passwd"):
            with serving(lambda *_, to=location: (302, {"Location": to}, b"")) as server:
                result = play(catalogue, live(server.url, tmp_path), lambda call: call("listPets"))
            assert result.error == "denied"
        assert not other.requests
    with serving(lambda *_: (302, {"Location": "/again"}, b"")) as server:
        assert play(catalogue, live(server.url, tmp_path, retries=0), lambda call: call("listPets")).synthetic


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "2130706433", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "10.0.0.1"],
)
def test_private_addresses_are_denied_unless_allowed(tmp_path: Path, host: str) -> None:
    with serving(lambda *_: json_reply({})) as server:
        url = f"http://{host}:{server.url.rpartition(':')[2]}"
        settings = live(url, tmp_path, allow_private=False, retries=0)
        result = play(write_catalogue(tmp_path, PETSTORE), settings, lambda call: call("listPets"))
    assert result.error == "denied"
    assert not server.requests


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True), ("2606:2800:220:1::1", True), ("127.8.8.8", False), ("192.168.1.1", False),
        ("172.16.0.1", False), ("100.64.0.1", False), ("224.0.0.1", False), ("fe80::1%eth0", False), ("fd00::1", False),
        ("::ffff:10.0.0.1", False), ("64:ff9b::7f00:1", False), ("2002:7f00:1::", False), ("::127.0.0.1", False),
        ("255.255.255.255", False), ("0.0.0.0", False),
    ],
)  # fmt: skip
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_a_variable_that_is_not_set_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    settings = live("https://api.example.com", tmp_path, headers=(("X-Key", "${NO_SUCH_KEY}"),))
    result = play(write_catalogue(tmp_path, PETSTORE), settings, lambda call: call("listPets"))
    assert result.error == "tool_error"
    assert "NO_SUCH_KEY is not set" in result.content


def test_wrong_arguments_never_reach_the_endpoint(tmp_path: Path) -> None:
    async def body(call: Call) -> list[ToolResult]:
        return [
            await call("createPet"),
            await call("createPet", name=7),
            await call("createPet", nam="x"),
            await call("crePet"),
        ]

    with serving(lambda *_: json_reply({})) as server:
        results = play(write_catalogue(tmp_path, PETSTORE), live(server.url, tmp_path), body)
    assert [result.error for result in results] == ["bad_arguments"] * 3 + ["unknown_tool"]
    assert 'did you mean "name"' in results[2].content
    assert not server.requests


def test_the_servers_of_a_document_are_called_only_when_asked_for(tmp_path: Path) -> None:
    with serving(lambda *_: json_reply([])) as server:
        catalogue = write_catalogue(tmp_path, PETSTORE | {"servers": [{"url": f"{server.url}/v9"}]})
        assert play(catalogue, live("", tmp_path), lambda call: call("listPets")).synthetic
        assert not server.requests
        assert not play(catalogue, live("document", tmp_path), lambda call: call("listPets")).synthetic
        assert server.requests[0][1] == "/v9/pets"


def test_without_endpoint_and_model_the_reply_is_a_seeded_document_of_the_schema(tmp_path: Path) -> None:
    catalogue = write_catalogue(tmp_path, PETSTORE)

    async def body(call: Call) -> list[str]:
        pets = json.loads((await call("listPets", limit=3)).content)
        one = json.loads((await call("get_pets_by_pet_id", petId=str(pets[0]["id"]))).content)
        made = await call("createPet", name="Rex")
        return [json.dumps(pets), json.dumps(one), made.content]

    first, again = (play(catalogue, live("", tmp_path), body) for _ in range(2))
    assert first == again
    assert play(catalogue, live("", tmp_path), body, seed=18) != first
    assert json.loads(first[2])["name"] == "Rex"
    assert all(set(pet) <= set(PET["properties"]) for pet in json.loads(first[0]))
    assert not (tmp_path / "cache").exists()


def test_a_reset_forgets_the_conversation(tmp_path: Path) -> None:
    async def run() -> tuple[str, str, str]:
        source = write_catalogue(tmp_path, PETSTORE)
        async with Environment.create(17, sources=(source,), world="desk") as environment:
            listing = ToolCall(name="listPets", arguments={})
            first = (await environment.call(listing)).content
            await environment.call(ToolCall(name="createPet", arguments={"name": "Rex", "tag": "dog"}))
            second = (await environment.call(listing)).content
            await environment.reset()
            return first, second, (await environment.call(listing)).content

    first, _, third = asyncio.run(run())
    assert first == third


def test_a_tool_of_an_api_runs_nowhere_else(tmp_path: Path) -> None:
    from mcpserver.catalogue import load_tools

    tool = load_tools([write_catalogue(tmp_path, PETSTORE)])["listPets"]
    with pytest.raises(ToolError, match="through an environment"):
        tool.run(None, {})
