import asyncio
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from api_server import PETSTORE, json_reply, serving, write_catalogue

from mcpserver.api.cache import FILE, MAX_EXAMPLES, ReplyCache
from mcpserver.api.entities import Entities
from mcpserver.api.generate import make_document
from mcpserver.api.importing import import_source, save
from mcpserver.environment import Environment
from mcpserver.settings import ApiSettings
from mcpserver.tool_error import ToolError
from toolwright.chat import OpenAIChat, ScriptedChat
from toolwright.records import Message, ToolCall, ToolResult, ToolSpec

REX = {"id": 7, "name": "Rex"}


def says(*values: Any) -> ScriptedChat:
    texts = [value if isinstance(value, str) else json.dumps(value) for value in values]
    return ScriptedChat([Message(role="assistant", content=text) for text in texts])


def play(
    folder: Path,
    writer: Any,
    calls: Sequence[tuple[str, dict[str, Any]]],
    apis: ApiSettings | None = None,
    seed: int = 17,
) -> list[ToolResult]:
    """Make calls in one conversation, with a model that plays the API."""

    async def run() -> list[ToolResult]:
        settings = apis or ApiSettings(cache_dir=str(folder / "cache"))
        source = write_catalogue(folder, PETSTORE)
        async with Environment.create(seed, sources=(source,), world="desk", apis=settings) as environment:
            environment.apis.writer = writer
            return [await environment.call(ToolCall(name=name, arguments=arguments)) for name, arguments in calls]

    return asyncio.run(run())


GET: tuple[str, dict[str, Any]] = ("get_pets_by_pet_id", {"petId": "7"})
LIST: tuple[str, dict[str, Any]] = ("listPets", {"limit": 2, "status": ["free"]})


def test_a_model_writes_a_reply_of_the_schema_and_it_is_flagged(tmp_path: Path) -> None:
    chat = says(REX)
    (result,) = play(tmp_path, chat, [GET])
    assert (json.loads(result.content), result.synthetic, result.error) == (REX, True, None)
    asked = chat.requests[0][0][1].content or ""
    assert '"petId":"7"' in asked
    assert '"required": ["id", "name"]' in asked


@pytest.mark.parametrize(
    "texts",
    [
        (f"```json\n{json.dumps(REX)}\n```",),
        (f"Here it is:\n{json.dumps(REX)}\nDone.",),
        ("no json", REX),
        ({"id": "seven"}, {"id": 7}, REX),
        ('{"id": NaN, "name": "x"}', REX),
    ],
)
def test_a_reply_is_repaired_or_asked_for_again(tmp_path: Path, texts: Any) -> None:
    chat = says(*texts)
    (result,) = play(tmp_path, chat, [GET])
    assert json.loads(result.content) == REX
    assert len(chat.requests) == len(texts)
    if len(texts) == 3:
        assert "name" in str(chat.requests[2][0][-1].content)


def test_a_model_that_fails_is_replaced_by_a_seeded_document(tmp_path: Path) -> None:
    bad, silent = says("no", "no", "no"), says()
    first = play(tmp_path, bad, [GET])[0]
    second = play(tmp_path, silent, [GET])[0]
    assert first == second
    assert first.synthetic
    assert json.loads(first.content)["name"]
    assert len(bad.requests) == 3


def test_equal_arguments_get_the_kept_reply_also_in_another_conversation(tmp_path: Path) -> None:
    pets = [REX, {"id": 8, "name": "Luna"}]
    chat = says(pets)
    again = ("listPets", {"status": ["free"], "limit": 2})
    first, second = play(tmp_path, chat, [LIST, again])
    (third,) = play(tmp_path, says(), [again], seed=99)
    assert [json.loads(result.content) for result in (first, second, third)] == [pets] * 3
    assert third.synthetic
    assert len(chat.requests) == 1


def test_the_model_sees_what_was_said_before(tmp_path: Path) -> None:
    chat = says([REX], REX)
    play(tmp_path, chat, [LIST, GET])
    assert "Earlier in this conversation" not in (chat.requests[0][0][1].content or "")
    assert "Earlier in this conversation" in (chat.requests[1][0][1].content or "")
    assert "Rex" in (chat.requests[1][0][1].content or "")


def test_after_a_change_the_model_is_asked_again(tmp_path: Path) -> None:
    chat = says([REX], {"id": 8, "name": "Luna"}, [REX, {"id": 8, "name": "Luna"}])
    results = play(tmp_path, chat, [LIST, ("createPet", {"name": "Luna"}), LIST])
    assert len(json.loads(results[2].content)) == 2


def test_up_to_three_real_replies_are_shown_and_ten_are_kept(tmp_path: Path) -> None:
    def handle(_method: str, path: str, *_: Any) -> Any:
        return json_reply({"id": int(path.rpartition("/")[2]), "name": f"Real {path}"})

    calls = [("get_pets_by_pet_id", {"petId": str(number)}) for number in range(14)]
    with serving(handle) as server:
        settings = ApiSettings(base_url=server.url, allow_private=True, cache_dir=str(tmp_path / "cache"), retries=0)
        assert not any(result.synthetic for result in play(tmp_path, None, calls, settings))
    chat = says(REX)
    gone = ApiSettings(base_url="http://127.0.0.1:9", allow_private=True, cache_dir=str(tmp_path / "cache"), retries=0)
    fresh, known = play(tmp_path, chat, [("get_pets_by_pet_id", {"petId": "99"}), calls[3]], gone)
    assert (chat.requests[0][0][1].content or "").count("A real reply to") == 3
    assert (json.loads(fresh.content), fresh.synthetic) == (REX, True)
    assert (json.loads(known.content)["name"], known.synthetic) == ("Real /pets/3", True)
    assert len(chat.requests) == 1
    import sqlite3

    with sqlite3.connect(tmp_path / "cache" / FILE) as connection:
        assert connection.execute("SELECT count(*) FROM real").fetchone() == (MAX_EXAMPLES,)


def test_a_reply_of_unknown_form_follows_the_real_ones(tmp_path: Path) -> None:
    row = {"name": "rate", "description": "Rate.", "parameters": {"of": {"type": "string"}}}
    (tmp_path / "rows.json").write_text(json.dumps([row]))
    source = str(save(import_source(tmp_path / "rows.json"), tmp_path, "rows"))

    async def run(apis: ApiSettings, of: str) -> ToolResult:
        async with Environment.create(17, sources=(source,), world="desk", apis=apis) as environment:
            return await environment.call(ToolCall(name="rate", arguments={"of": of}))

    with serving(lambda *_: json_reply({"bid": 1.25, "at": "2025-03-01", "of": "x"})) as server:
        apis = ApiSettings(base_url=server.url, allow_private=True, cache_dir=str(tmp_path / "cache"))
        assert not asyncio.run(run(apis, "EUR")).synthetic
    made = asyncio.run(run(ApiSettings(cache_dir=str(tmp_path / "cache")), "USD"))
    assert made.synthetic
    value = json.loads(made.content)
    assert set(value) == {"bid", "at", "of"}
    assert value["of"] == "USD"
    assert isinstance(value["bid"], float | int)


def completion(content: str) -> Any:
    message = {"role": "assistant", "content": content}
    return json_reply({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})


def test_an_endpoint_is_asked_for_the_schema_and_without_it_when_it_refuses(tmp_path: Path) -> None:
    def handle(_method: str, _path: str, _headers: Any, body: bytes) -> Any:
        refused = b"response_format" in body
        return json_reply({"error": "no response_format"}, 400) if refused else completion(json.dumps(REX))

    with serving(handle) as server:
        settings = ApiSettings(cache_dir=str(tmp_path / "cache"), llm_url=f"{server.url}/v1", llm_model="player")
        (result,) = play(tmp_path, None, [GET], settings)
    assert (json.loads(result.content), result.synthetic) == (REX, True)
    bodies = [json.loads(body) for _, _, _, body in server.requests]
    assert bodies[0]["response_format"]["type"] == "json_schema"
    assert bodies[0]["response_format"]["json_schema"]["schema"]["required"] == ["id", "name"]
    assert "response_format" not in bodies[1]


def test_a_chat_client_sends_the_format(tmp_path: Path) -> None:
    async def run(url: str) -> str | None:
        async with OpenAIChat(url, "m", retries=0) as chat:
            messages = [Message(role="user", content="hi")]
            return (await chat.complete(messages, (), response_format={"type": "json_object"})).message.content

    with serving(lambda *_: completion("{}")) as server:
        assert asyncio.run(run(f"{server.url}/v1")) == "{}"
    assert json.loads(server.requests[0][3])["response_format"] == {"type": "json_object"}


def write_many(folder: str, name: str, start: Any) -> None:
    cache = ReplyCache(Path(folder))
    start.wait()
    for number in range(40):
        cache.add_virtual(f"key{number}", "tool", "{}", f"{name}-{number}")
        cache.add_real("tool", f'{{"n":{number}}}', f"{name}-{number}")
    cache.close()


def test_two_processes_write_at_once_and_all_see_the_same(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start = context.Event()
    children = [context.Process(target=write_many, args=(str(tmp_path), name, start)) for name in ("a", "b")]
    for child in children:
        child.start()
    start.set()
    for child in children:
        child.join(30)
        assert child.exitcode == 0
    cache = ReplyCache(tmp_path)
    for number in range(40):
        kept = cache.virtual(f"key{number}")
        assert kept in (f"a-{number}", f"b-{number}")
        assert cache.add_virtual(f"key{number}", "tool", "{}", "late") == kept
    assert len(cache.examples("tool", "", 100)) == MAX_EXAMPLES
    cache.close()


def test_a_kill_in_the_middle_leaves_no_half_entry(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom mcpserver.api.cache import ReplyCache\n"
        "cache = ReplyCache(Path(sys.argv[1]))\nnumber = 0\n"
        "while True:\n    cache.add_virtual(f'key{number}', 't', '{}', 'x' * 5000 + str(number))\n    number += 1\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parents[1])
    try:
        deadline = time.monotonic() + 20
        reader = ReplyCache(tmp_path)
        while reader.virtual("key20") is None and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    number = 0
    while (reply := reader.virtual(f"key{number}")) is not None:
        assert reply == "x" * 5000 + str(number)
        number += 1
    assert number > 20
    assert reader.add_virtual("new", "t", "{}", "y") == "y"
    reader.close()


def test_a_cache_that_cannot_be_used_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("this is no database, and long enough to be looked at" * 50)
    with pytest.raises(ToolError, match="kept replies"):
        ReplyCache(tmp_path).add_virtual("k", "t", "{}", "r")


def test_the_tools_of_an_mcp_server_are_listed_and_called_as_they_are(tmp_path: Path) -> None:
    entry = {
        "command": sys.executable,
        "args": ["-m", "mcpserver", "--world", "desk", "--toolset", "energy"],
        "env": {"PYTHONPATH": str(Path(__file__).parents[1])},
    }
    config = tmp_path / "mcp.json"
    config.write_text(json.dumps({"mcpServers": {"desk": entry}}))
    imported = import_source(config, prefix="other_")
    assert imported.report.accepted == imported.report.read > 0
    source = str(save(imported, tmp_path, "desk"))
    call = ToolCall(name="other_convert_energy", arguments={"value": 250.0, "from_unit": "MWh", "to_unit": "GJ"})

    async def run() -> tuple[ToolResult, ToolResult, list[ToolSpec], list[ToolSpec]]:
        async with Environment.create(17, sources=(source,), world="desk") as environment:
            through = await environment.call(call)
            own = await environment.call(call.model_copy(update={"name": "convert_energy"}))
            both = {spec.name: spec for spec in environment.tools}
            return through, own, [both["other_convert_energy"]], [both["convert_energy"]]

    through, own, theirs, ours = asyncio.run(run())
    assert (through.content, through.error, through.synthetic) == (own.content, None, False)
    assert theirs[0].parameters == ours[0].parameters
    (tmp_path / "mcp.json").unlink()
    gone = json.loads(json.dumps(entry)) | {"command": "/nonexistent/server"}
    config.write_text(json.dumps({"mcpServers": {"desk": gone}}))
    imported.source = imported.source.__class__(**{**vars(imported.source), "mcp": {"desk": gone}})
    source = str(save(imported, tmp_path, "gone"))
    played = asyncio.run(run())[0]
    assert (played.error, played.synthetic) == (None, True)


SHARED = Path(__file__).parents[1] / "../shared/data/api_defines.jsonl.gz"


def test_every_shared_tool_answers_a_call_with_arguments_made_for_it(tmp_path: Path) -> None:
    if not SHARED.exists():
        pytest.skip("the shared definitions (../shared/data/api_defines.jsonl.gz) are not on this machine")
    source = str(save(import_source(SHARED), tmp_path, "shared"))

    async def run() -> None:
        apis = ApiSettings(cache_dir=str(tmp_path / "cache"))
        async with Environment.create(17, sources=(source,), world="desk", apis=apis) as environment:
            specs = [spec for spec in environment.tools if environment._tools[spec.name].runs_in == "api"]
            assert len(specs) == 3472
            for spec in specs[::6]:
                arguments = make_document(spec.parameters, Entities(3), label=spec.name)
                result = await environment.call(ToolCall(name=spec.name, arguments=arguments))
                assert (result.error, result.synthetic) == (None, True), (spec.name, result)
                assert isinstance(json.loads(result.content), dict)

    asyncio.run(run())
