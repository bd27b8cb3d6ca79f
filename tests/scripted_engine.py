"""A served model whose words a test writes, and what comes back from it."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import openai
import uvicorn

from serve.app import open_gate
from serve.connections import Connection
from serve.gate import Gate
from serve.server import address, listen
from toolwright.config import ServeConfig
from toolwright.engine import Event, GenerationRequest, GenerationResult
from toolwright.engine.core import cut_at
from toolwright.engine.text import decode
from toolwright.errors import DataError

ASK: list[Any] = [{"role": "user", "content": "1 + 2?"}]


class ScriptedEngine:
    """An engine whose replies are a function of the prompt's text; one token a step, at most ``max_batch`` at once."""

    max_tokens_total = 600
    max_batch = 4

    def __init__(self, tokenizer: Any, reply: Callable[[str], str]) -> None:
        self.tokenizer, self.reply = tokenizer, reply
        self.model = SimpleNamespace(config=SimpleNamespace(model_type="qwen3"), generation_config=None)
        self.prompts: list[str] = []
        self.pause_s = 0.0
        self._tickets = itertools.count(1)
        self._live: dict[int, tuple[GenerationRequest, list[int], list[int]]] = {}
        self.cancelled: set[int] = set()

    @property
    def busy(self) -> bool:
        return bool(self._live)

    def check_prompt(self, prompt_ids: Sequence[int]) -> None:
        if len(prompt_ids) >= self.max_tokens_total:
            raise DataError(f"prompt of {len(prompt_ids)} tokens: longer than the 599 that leave room for a reply")

    def submit(self, request: GenerationRequest) -> int:
        ticket = next(self._tickets)
        self.prompts.append(decode(self.tokenizer, request.prompt_ids))
        text = self.reply(self.prompts[-1])
        ids = [*self.tokenizer(text, add_special_tokens=False)["input_ids"], self.tokenizer.eos_token_id]
        self._live[ticket] = (request, ids, [])
        return ticket

    def cancel(self, ticket: int) -> None:
        self.cancelled.add(ticket)

    def clear(self) -> None:
        self._live.clear()

    def step(self) -> list[Event]:
        time.sleep(self.pause_s)
        for ticket in self.cancelled:
            self._live.pop(ticket, None)
        events = []
        for ticket in list(self._live)[: self.max_batch]:
            request, ids, done = self._live[ticket]
            done.append(ids[len(done)])
            event = Event(ticket, done[-1], -0.5, self._result(request, done))
            if event.last:
                del self._live[ticket]
            events.append(event)
        return events

    def _result(self, request: GenerationRequest, done: list[int]) -> GenerationResult | None:
        stopped = done[-1] in request.stop_ids
        text = decode(self.tokenizer, done[:-1] if stopped else done)
        cut = cut_at(text, request.stop)
        if cut is None and not stopped and len(done) < request.max_tokens:
            return None
        reason = "stop" if stopped or cut is not None else "length"
        return GenerationResult(tuple(done), (-0.5,) * len(done), reason, text if cut is None else cut)


@contextmanager
def running(
    engine: Any, api_key: str | None = None, section: ServeConfig | None = None, **options: Any
) -> Iterator[str]:
    """Serve an engine from a thread; yields the URL."""
    with listen("127.0.0.1", 0) as listener:
        gate = Gate(api_key=api_key)
        open_gate(gate, engine, "m", section or ServeConfig(), **options)
        server = uvicorn.Server(uvicorn.Config(gate, http=Connection, lifespan="on", log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield address(listener)
        finally:
            server.should_exit = True
            thread.join()


def joined(client: openai.OpenAI, **fields: Any) -> dict[int, dict[str, Any]]:
    """The choices of a stream, put together again."""
    choices: dict[int, dict[str, Any]] = {}
    for chunk in client.chat.completions.create(model="m", messages=ASK, stream=True, **fields):
        for piece in chunk.choices:
            choice = choices.setdefault(piece.index, {"content": "", "calls": {}, "reasoning": "", "finish": None})
            choice["content"] += piece.delta.content or ""
            choice["reasoning"] += getattr(piece.delta, "reasoning_content", None) or ""
            for call in piece.delta.tool_calls or ():
                one = choice["calls"].setdefault(call.index, {"id": call.id, "name": "", "arguments": ""})
                one["name"] += call.function.name or ""
                one["arguments"] += call.function.arguments or ""
            choice["finish"] = piece.finish_reason or choice["finish"]
    return choices
