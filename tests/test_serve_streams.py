"""Streams, byte by byte: signs that some clients take for the end of a line, and pieces that cut characters in two."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2 as httpx
import openai
from scripted_engine import ASK, ScriptedEngine, running

from toolwright.chat import OpenAIChat
from toolwright.chat_stream import StreamedCompletion, read_stream
from toolwright.records import Message

LINES = "one\u2028two\u2029three\x85four\r\nfive 😀"


def test_a_text_with_any_end_of_line_reaches_every_client(tokenizer: Any) -> None:
    shown: list[str] = []

    async def ask(url: str) -> str | None:
        chat = OpenAIChat(f"{url}/v1", "m", api_key="x", on_text=lambda delta: shown.append(delta.text))
        async with chat:
            return (await chat.complete([Message(role="user", content="hi")], [])).message.content

    with running(ScriptedEngine(tokenizer, lambda prompt: LINES)) as url:
        body = {"messages": ASK, "stream": True}
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=body) as response:
            lines = [line.removeprefix("data: ") for line in response.iter_lines() if line]
        assert lines.pop() == "[DONE]"
        assert "".join(json.loads(line)["choices"][0]["delta"].get("content") or "" for line in lines) == LINES
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0)
        chunks = client.chat.completions.create(model="m", messages=ASK, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == LINES
        assert asyncio.run(ask(url)) == "".join(shown) == LINES


def test_a_stream_is_read_however_it_is_cut() -> None:
    deltas: list[dict[str, Any]] = [{"content": LINES[:12]}, {"content": LINES[12:]}, {}]
    ends = [None, None, "stop"]
    events = [{"choices": [{"delta": delta, "finish_reason": end}]} for delta, end in zip(deltas, ends)]
    text = "".join(f": a comment\r\ndata:{json.dumps(event, ensure_ascii=False)}\r\n\r\n" for event in events)

    async def pieces(size: int) -> AsyncIterator[bytes]:
        raw = text.encode()
        for start in range(0, len(raw), size):
            yield raw[start : start + size]

    for size in (1, 7, 10_000):
        completion = StreamedCompletion(lambda _: None, "hermes", [])
        body = json.loads(asyncio.run(read_stream(pieces(size), completion, "url")))
        assert body["choices"][0]["message"]["content"] == LINES
