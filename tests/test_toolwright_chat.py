"""The chat clients: replies read, failures named, against an endpoint on loopback that misbehaves on purpose."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from toolwright.chat import OpenAIChat, Reply, ScriptedChat, read_reply
from toolwright.episode import play
from toolwright.errors import EndpointError
from toolwright.records import Conversation, Message, ToolCall, ToolResult, ToolSpec

ASK = [Message(role="user", content="Weather in Paris?")]
TOOL = ToolSpec(name="weather", description="The weather.")
PARIS = '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>'
Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def http(status: int, body: str, *headers: str) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        data = body.encode()
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(data)}", "Connection: close", *headers]
        writer.write("\r\n".join([*lines, "", ""]).encode() + data)

    return answer


async def hang(_writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(5)


async def drip(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(50):
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.1)


async def break_off(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")


def completion(message: dict[str, Any], **more: Any) -> str:
    return json.dumps({"choices": [{"message": message, "finish_reason": "stop"} | more]})


def ok(message: dict[str, Any]) -> Answer:
    return http(200, completion(message), "Content-Type: application/json")


@asynccontextmanager
async def endpoint(*answers: Answer) -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
    """An endpoint that gives these answers in turn, the last one for ever; yields its URL and the requests it got."""
    requests: list[dict[str, Any]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next(int(line.split(":")[1]) for line in head.splitlines() if line.lower().startswith("content-l"))
            body = json.loads(await reader.readexactly(length))
            requests.append({"path": head.split()[1], "head": head, **body})
            await answers[min(len(requests), len(answers)) - 1](writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", requests
    finally:
        server.close()


def ask(*answers: Answer, seed: int | None = None, **options: Any) -> tuple[Reply, list[dict[str, Any]]]:
    async def run() -> tuple[Reply, list[dict[str, Any]]]:
        async with (
            endpoint(*answers) as (url, requests),
            OpenAIChat(url, "tiny", **({"timeout_s": 5.0, "retries": 0} | options)) as chat,
        ):
            return await chat.complete(ASK, [TOOL], seed=seed), requests

    return asyncio.run(run())


def test_the_request_has_openai_form_and_the_reply_is_a_message() -> None:
    calls = [{"id": "abc", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}]
    body = json.loads(completion({"content": None, "tool_calls": calls}, finish_reason="tool_calls"))
    body["usage"] = {"prompt_tokens": 12, "completion_tokens": 7}
    reply, (request,) = ask(http(200, json.dumps(body)), seed=17, api_key="k", temperature=0.5, max_tokens=64)
    assert request.pop("head").lower().count("bearer k") == 1
    assert request == {
        "path": "/v1/chat/completions",
        "model": "tiny",
        "messages": [{"role": "user", "content": "Weather in Paris?"}],
        "tools": [TOOL.to_openai()],
        "temperature": 0.5,
        "max_tokens": 64,
        "seed": 17,
    }
    call = ToolCall(name="weather", arguments={"city": "Paris"}, id="abc")
    assert reply == Reply(Message(role="assistant", tool_calls=(call,)), "tool_calls", (), 12, 7)


@pytest.mark.parametrize("any_api", [True, False])
@pytest.mark.parametrize("good_calls", [0, 2])
def test_a_hosted_api_gets_no_result_without_a_call_and_the_model_still_hears_what_was_wrong(
    any_api: bool, good_calls: int
) -> None:
    """Plays an episode whose first reply has a call with broken arguments; looks at the second request."""
    good = [{"id": f"g{n}", "function": {"name": "weather", "arguments": "{}"}} for n in range(good_calls)]
    broken = {"id": "b", "function": {"name": "weather", "arguments": "{"}}

    class Sky:
        async def call(self, call: ToolCall) -> ToolResult:
            return ToolResult(content=f"sunny {call.id}")

    async def run() -> list[dict[str, Any]]:
        first = ok({"content": None, "tool_calls": [*good, broken]})
        async with (
            endpoint(first, ok({"content": "Sunny."})) as (url, requests),
            OpenAIChat(url, "tiny", any_api=any_api) as chat,
        ):
            await play(chat, Sky(), ASK, [TOOL])
        messages: list[dict[str, Any]] = requests[1]["messages"]
        return messages

    _, assistant, *told = asyncio.run(run())
    assert '{"name": "weather", "arguments": {}' in assistant["content"]
    assert "malformed_call: " in told[-1]["content"]
    ids = [message["tool_call_id"] for message in told if message["role"] == "tool"]
    assert [message["content"].splitlines()[0] for message in told[:good_calls]] == ["sunny g0", "sunny g1"][
        :good_calls
    ]
    if any_api:
        assert ids == [call["id"] for call in assistant.get("tool_calls", [])]
        assert [message["role"] for message in told] == (["tool", "tool"] if good_calls else ["user"])
    else:
        assert len(ids) == good_calls + 1


@pytest.mark.parametrize("any_api", [True, False])
def test_what_is_only_for_training_is_kept_in_rows_and_not_sent(any_api: bool) -> None:
    messages = [ASK[0], Message(role="assistant", content="Sunny.", loss_weight=0.5), ASK[0]]
    row = Conversation(id="c", messages=tuple(messages)).to_row()
    assert row["messages"][1] == {"role": "assistant", "content": "Sunny.", "loss_weight": 0.5}
    assert Conversation.from_row(row).messages == tuple(messages)

    async def run() -> list[dict[str, Any]]:
        async with (
            endpoint(ok({"content": "Hi"})) as (url, requests),
            OpenAIChat(url, "tiny", any_api=any_api) as chat,
        ):
            await chat.complete(messages, [])
        sent: list[dict[str, Any]] = requests[0]["messages"]
        return sent

    assert asyncio.run(run())[1] == {"role": "assistant", "content": "Sunny."}


def test_without_tools_and_seed_the_request_names_none() -> None:
    async def run() -> dict[str, Any]:
        async with endpoint(ok({"content": "Hi"})) as (url, requests), OpenAIChat(url, "tiny") as chat:
            await chat.complete(ASK, [])
            return requests[0]

    assert not {"tools", "seed"} & asyncio.run(run()).keys()


@pytest.mark.parametrize(
    ("status", "step"),
    [
        (400, "context length"),
        (401, "set api_key"),
        (403, "may not use this model"),
        (404, "GET /v1/models"),
        (422, "correct the request"),
        (429, "concurrency"),
        (500, "server's log"),
        (503, "loading"),
    ],
)
def test_a_refusal_names_url_status_body_and_next_step(status: int, step: str) -> None:
    with pytest.raises(EndpointError, match=step) as caught:
        ask(http(status, "some\nreason " + "x" * 500))
    text = str(caught.value)
    assert text.startswith("http://127.0.0.1:")
    assert f"/v1/chat/completions: HTTP {status} for model 'tiny': 'some reason xxx" in text
    assert "x" * 108 in text
    assert "x" * 109 not in text
    assert "\n" not in text


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_that_will_not_change_is_not_tried_again(status: int) -> None:
    async def run() -> int:
        async with endpoint(http(status, "no")) as (url, requests), OpenAIChat(url, "tiny", retries=4) as chat:
            with pytest.raises(EndpointError):
                await chat.complete(ASK, [])
            return len(requests)

    assert asyncio.run(run()) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_refusal_that_may_pass_is_tried_again(status: int) -> None:
    reply, requests = ask(http(status, "later", "retry-after-ms: 20"), ok({"content": "Hi"}), retries=2)
    assert reply.message.content == "Hi"
    assert len(requests) == 2


@pytest.mark.parametrize("answer", [hang, drip])
def test_an_endpoint_that_does_not_finish_is_given_up(answer: Answer) -> None:
    with pytest.raises(EndpointError, match=r"no answer within 0\.3 s \(1 attempts\); raise timeout_s"):
        ask(answer, timeout_s=0.3)


def test_an_answer_that_breaks_off_is_an_endpoint_error() -> None:
    with pytest.raises(EndpointError, match="cannot connect"):
        ask(break_off)


def test_a_closed_port_names_the_command_that_opens_it() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"

    async def run() -> None:
        async with OpenAIChat(url, "tiny", retries=0) as chat:
            await chat.complete(ASK, [])

    with pytest.raises(EndpointError, match=r"cannot connect .*`python -m serve --model merged") as caught:
        asyncio.run(run())
    assert str(caught.value).startswith(url)


@pytest.mark.parametrize("url", ["localhost:8000/v1", "", "http://", "ftp://localhost/v1", "http://localhost:99999/v1"])
def test_an_address_that_is_no_url_is_refused_at_once(url: str) -> None:
    with pytest.raises(EndpointError, match="base_url"):
        OpenAIChat(url, "tiny")


@pytest.mark.parametrize("key", ["", "two\nlines", "ключ"])
def test_a_key_that_no_header_can_hold_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(EndpointError, match="api_key") as caught:
        OpenAIChat("http://localhost:1/v1", "tiny", api_key=key)
    assert not key or key not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("<html>Log in</html>", "not JSON: '<html>Log in"),
        ("", "not JSON"),
        ('{"choices": [', "not JSON"),
        ("[]", "no choices"),
        ("null", "no choices"),
        ('{"error": "out of memory"}', 'no choices: \'{"error": "out of memory'),
        ('{"choices": []}', "no choices"),
        ('{"choices": [3]}', "no choices"),
        ('{"choices": [{"text": "x"}]}', "no message"),
        (completion({"content": 3}), "cannot be read"),
        (completion({"content": [{"type": "image_url"}]}), "cannot be read"),
        (completion({"content": "x", "reasoning_content": {"a": 1}}), "cannot be read"),
        (completion({"content": "x", "tool_calls": 5}), "cannot be read"),
    ],
)
@pytest.mark.parametrize("content_type", ["text/html", "application/json"])
def test_a_200_with_nonsense_is_an_endpoint_error(body: str, what: str, content_type: str) -> None:
    with pytest.raises(EndpointError, match="check that base_url is an OpenAI-compatible endpoint") as caught:
        ask(http(200, body, f"Content-Type: {content_type}"))
    assert "HTTP 200, but the " in str(caught.value)
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_body_nested_without_end_is_an_endpoint_error() -> None:
    with pytest.raises(EndpointError, match="the body is not JSON"):
        read_reply("[" * 5000, "http://x/v1")


def read(message: dict[str, Any], **more: Any) -> Reply:
    return read_reply(completion(message, **more), "http://x/v1")


def tool_call(name: object, arguments: object, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}, **more}


@pytest.mark.parametrize("arguments", ['{"city": ', "city=Paris", "[1]", 3, '"text"'])
def test_arguments_that_are_no_json_object_stay_in_the_content_and_are_named(arguments: object) -> None:
    reply = read({"content": "Look.", "tool_calls": [tool_call("weather", arguments), tool_call("time", "{}", id="b")]})
    assert [problem.kind for problem in reply.problems] == ["bad_arguments"]
    assert reply.message.content == f"Look.\n{reply.problems[0].text}"
    assert str(arguments) in reply.problems[0].text
    assert '"weather"' in reply.problems[0].text
    assert reply.message.tool_calls == (ToolCall(name="time", id="b"),)


@pytest.mark.parametrize("row", [{}, {"function": {}}, tool_call(None, "{}"), tool_call("", "{}"), "text", None])
def test_a_call_without_a_name_stays_in_the_content_and_is_named(row: object) -> None:
    reply = read({"content": None, "tool_calls": [row]})
    assert [problem.kind for problem in reply.problems] == ["no_name"]
    assert reply.message.content == json.dumps(row)
    assert reply.message.tool_calls == ()


def test_call_like_text_that_the_endpoint_let_pass_is_a_problem() -> None:
    text = '<tool_call>\n{"name": "weather", "arguments": {"city"\n</tool_call>'
    reply = read({"content": text})
    assert [problem.kind for problem in reply.problems] == ["not_json"]
    assert reply.message.content == text


def test_a_good_call_left_in_the_text_runs_and_is_reported() -> None:
    reply = read({"content": f"<think>Hm.</think>Look.\n{PARIS}"})
    (problem,) = reply.problems
    assert problem.kind == "unparsed"
    assert "--tool-call-parser hermes" in problem.detail
    assert PARIS in problem.text
    assert reply.message == Message(
        role="assistant",
        content="Look.",
        reasoning_content="Hm.",
        tool_calls=(ToolCall(name="weather", arguments={"city": "Paris"}, id="call_0"),),
    )


def test_a_call_in_the_text_beside_parsed_calls_is_reported_and_does_not_run() -> None:
    reply = read({"content": PARIS, "tool_calls": [tool_call("time", "{}", id="a")]})
    assert [problem.kind for problem in reply.problems] == ["unparsed"]
    assert reply.message.content == PARIS
    assert [call.name for call in reply.message.tool_calls] == ["time"]


def test_reasoning_is_taken_from_its_field_or_from_the_text() -> None:
    assert read({"content": "Yes.", "reasoning_content": "Hm."}).message.reasoning_content == "Hm."
    assert read({"content": "Yes.", "reasoning": "Hm."}).message.reasoning_content == "Hm."
    reply = read({"content": "<think>\nHm.\n</think>\n\nYes."})
    assert (reply.message.content, reply.message.reasoning_content) == ("Yes.", "Hm.")


BEGUN = {
    "Hm.\n</think>\n\nYes.": ("Hm.", "Yes."),
    "Hm.</think>": ("Hm.", None),
    "</think>\n\nYes.": (None, "Yes."),
    "The mark </think> ends reasoning.": (None, "The mark </think> ends reasoning."),
    "It is <think>\nHm.\n</think>\n": (None, "It is <think>\nHm.\n</think>\n"),
}


@pytest.mark.parametrize("text", BEGUN)
@pytest.mark.parametrize("calls", [[], [tool_call("time", "{}", id="a")]])
def test_reasoning_that_a_prompt_out_of_sight_began_is_taken_out(text: str, calls: list[Any]) -> None:
    reply = read({"content": text, "tool_calls": calls})
    assert (reply.message.reasoning_content, reply.message.content) == BEGUN[text]
    assert len(reply.message.tool_calls) == len(calls)


def test_untyped_arguments_left_in_the_text_are_read_by_the_tools_that_were_offered() -> None:
    text = "<tool_call>\n<function=weather>\n<parameter=city>\n4711\n</parameter>\n</function>\n</tool_call>"
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    tool = TOOL.model_copy(update={"parameters": schema})

    async def run() -> Reply:
        async with (
            endpoint(ok({"content": text})) as (url, _),
            OpenAIChat(url, "tiny", dialect="xml") as chat,
        ):
            return await chat.complete(ASK, [tool])

    reply = asyncio.run(run())
    assert [call.arguments for call in reply.message.tool_calls] == [{"city": "4711"}]
    assert "--tool-call-parser qwen3_coder" in reply.problems[0].detail


@pytest.mark.parametrize("ids", [("", ""), ("a", "a"), (None, "b")])
def test_calls_without_ids_of_their_own_are_numbered(ids: tuple[str | None, str | None]) -> None:
    reply = read({"content": None, "tool_calls": [tool_call("weather", {}, id=id_) for id_ in ids]})
    assert [call.id for call in reply.message.tool_calls] == ["call_0", "call_1"]


def test_a_finish_reason_and_usage_that_are_missing_have_defaults() -> None:
    reply = read({"content": "Hi"}, finish_reason=None)
    assert (reply.finish_reason, reply.prompt_tokens, reply.completion_tokens) == ("stop", 0, 0)
    assert read({"content": "Hi"}, finish_reason="length").finish_reason == "length"


def test_a_script_gives_its_messages_in_order_and_then_fails() -> None:
    hello, calls = Message(role="assistant", content="Hi"), Message(role="assistant", tool_calls=(ToolCall(name="f"),))
    chat = ScriptedChat([hello, calls])
    assert asyncio.run(chat.complete(ASK, [TOOL])) == Reply(hello, "stop")
    assert asyncio.run(chat.complete(ASK, [])) == Reply(calls, "tool_calls")
    with pytest.raises(EndpointError, match="request 3, but the script has 2 replies"):
        asyncio.run(chat.complete(ASK, []))
    assert chat.requests[0] == (tuple(ASK), (TOOL,))


def test_a_script_may_be_a_function_of_the_conversation() -> None:
    chat = ScriptedChat(lambda messages, tools: Message(role="assistant", content=f"{len(messages)} {tools[0].name}"))
    assert asyncio.run(chat.complete(ASK, [TOOL])).message.content == "1 weather"


def test_a_script_can_play_a_malformed_call() -> None:
    chat = ScriptedChat([Message(role="assistant", content="<tool_call>{</tool_call>")])
    assert [problem.kind for problem in asyncio.run(chat.complete(ASK, [])).problems] == ["not_json"]
