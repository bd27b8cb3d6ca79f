"""Streamed replies: as whole ones, shown on the way; what breaks off is named. Against an endpoint on loopback."""

import asyncio
import json
import random
from typing import Any

import pytest
from test_toolwright_chat import PARIS, TOOL, Answer, ask, completion, http, ok

from toolwright.chat import read_reply
from toolwright.dialect import ContentDelta
from toolwright.errors import EndpointError

CALLS = [
    {"id": "a", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Zürich"}'}},
    {"id": "b", "type": "function", "function": {"name": "weather", "arguments": "{}"}},
]


def events(*chunks: Any, status: int = 200, done: bool = True) -> Answer:
    lines = [f"data: {chunk if isinstance(chunk, str) else json.dumps(chunk)}\n\n" for chunk in chunks]
    return http(status, ": ping\n\n" + "".join(lines) + "data: [DONE]\n\n" * done, "Content-Type: text/event-stream")


def delta(content: dict[str, Any], finish_reason: str | None = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": content, "finish_reason": finish_reason}], **more}


def pieces(message: dict[str, Any], seed: int) -> list[dict[str, Any]]:
    """The chunks of a message, cut at random places."""
    rng, chunks = random.Random(seed), [delta({"role": "assistant", "content": ""})]
    for key in ("reasoning_content", "content"):
        text = message.get(key) or ""
        while text:
            size = rng.randint(1, 9)
            chunks.append(delta({key: text[:size]}))
            text = text[size:]
    for index, call in enumerate(message.get("tool_calls") or ()):
        arguments = call["function"]["arguments"]
        head = {"index": index, "id": call["id"], "type": "function", "function": {"name": call["function"]["name"]}}
        tail = [{"index": index, "function": {"arguments": part}} for part in (arguments[:3], arguments[3:])]
        chunks += [delta({"tool_calls": [part]}) for part in (head, *tail)]
    return [*chunks, delta({}, "tool_calls"), {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ({"content": "It is sunny in Zürich."}, ("It is sunny in Zürich.", "")),
        ({"content": "I look.", "tool_calls": CALLS}, ("I look.", "")),
        ({"content": None, "tool_calls": CALLS, "reasoning_content": "Two cities."}, ("", "Two cities.")),
        ({"content": f"Wait.\n{PARIS}"}, ("Wait.\n", "")),
        ({"content": "<think>Hm.</think>\n\nYes."}, ("Yes.", "Hm.")),
        ({"content": "So:\n<tool_call>\n{broken\n</tool_call>"}, ("So:", "")),
        ({"content": "So: <tool_call>\n{broken"}, ("So:", "")),
        ({"content": ""}, ("", "")),
    ],
)
def test_a_streamed_reply_is_the_same_as_a_whole_one_and_its_text_is_shown(message, shown, seed) -> None:
    seen: list[ContentDelta] = []
    reply, (request,) = ask(events(*pieces(message, seed)), on_text=seen.append)
    usage = {"usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    whole = json.loads(completion(message, finish_reason="tool_calls")) | usage
    assert reply == read_reply(json.dumps(whole), "http://x", tools=[TOOL])
    assert request["stream"] is True
    texts = tuple("".join(piece.text for piece in seen if piece.reasoning is wanted) for wanted in (False, True))
    assert (texts[0].strip(), texts[1].strip()) == (shown[0].strip(), shown[1].strip())


def test_an_endpoint_that_does_not_stream_is_read_whole() -> None:
    reply, _ = ask(ok({"content": "Sunny."}), on_text=lambda _: None)
    assert reply.message.content == "Sunny."


async def hang_in_the_middle(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 99999\r\n\r\n")
    writer.write(f"data: {json.dumps(delta({'content': 'It'}))}\n\n".encode())
    await writer.drain()
    await asyncio.sleep(5)


async def break_in_the_middle(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 99999\r\n\r\n")
    writer.write(f"data: {json.dumps(delta({'content': 'It'}))}\n\n".encode())


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (http(401, '{"error": "no"}'), "HTTP 401 for model 'tiny'.*set api_key to a valid key"),
        (events({"error": {"message": "out of memory"}}), "failed in the middle of its answer: 'out of memory'"),
        (events(delta({"content": "It"}), done=False), "the answer broke off .no reason for its end came."),
        (events("{"), "the stream cannot be read .JSONDecodeError"),
        (events("[]"), "the stream cannot be read .AttributeError"),
        (events({"choices": [{"delta": "x"}]}), "the stream cannot be read .AttributeError"),
        (events(delta({"content": 7}, "stop")), "the stream cannot be read .TypeError"),
        (break_in_the_middle, "the answer broke off"),
        (hang_in_the_middle, "no answer within 1 s|the answer broke off .*Timeout"),
    ],
)
def test_a_stream_that_goes_wrong_is_one_line(answer: Answer, message: str) -> None:
    with pytest.raises(EndpointError, match=message) as caught:
        ask(answer, on_text=lambda _: None, timeout_s=1.0)
    assert "\n" not in str(caught.value)
