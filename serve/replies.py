"""Answers of the OpenAI chat API, whole and as a stream of chunks, from what the engine generates."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from serve.protocol import Job
from toolwright.dialect import CallDelta, ContentDelta, Delta, Parsed, Problem, StreamParser, parse
from toolwright.engine import Event, GenerationRequest, GenerationResult, TextStream
from toolwright.engine.request import Top
from toolwright.engine.text import decode

LEAST_LOGPROB = -9999.0
"""What stands for minus infinity, which JSON does not know."""


Reply = tuple[GenerationResult, Parsed]
"""What was generated for one choice, and how it reads."""


class Writer(Protocol):
    """Turns what is sampled for one streamed choice into chunks.

    Attributes:
        problems: what looked like a call and could not be read, once the choice is over.
        called: names of the calls.
    """

    problems: tuple[Problem, ...]
    called: list[str]

    def start(self) -> Iterator[dict[str, Any]]:
        """Chunks before anything is sampled."""
        ...

    def feed(self, event: Event) -> Iterator[dict[str, Any]]:
        """Take one sampled token in; the last one comes with the result."""
        ...


class Answers(Protocol):
    """How the answers to one kind of request are written."""

    @property
    def job(self) -> Job:
        """The request."""
        ...

    def whole(self, replies: Sequence[Reply]) -> dict[str, Any]:
        """The body of an answer that is not streamed."""
        ...

    def read(self, result: GenerationResult) -> Parsed:
        """A reply as it is read."""
        ...

    def writer(self, index: int) -> Writer:
        """A writer for one streamed choice."""
        ...

    def chunk(self, choices: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """One event of a stream."""
        ...


@dataclass(frozen=True)
class ChatAnswers:
    """Answers to a chat request."""

    job: Job
    model: str
    dialect: str
    tokenizer: Any

    def whole(self, replies: Sequence[Reply]) -> dict[str, Any]:
        """The body of an answer that is not streamed."""
        prompt = {"prompt_token_ids": list(self.job.requests[0].prompt_ids)} if self.job.token_ids else {}
        return {
            **self._head("chat.completion"),
            "choices": [self._choice(index, *reply) for index, reply in enumerate(replies)],
            "usage": usage(self.job, sum(len(result.ids) for result, _ in replies)),
            **prompt,
        }

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self.job.id}",
            "object": kind,
            "created": int(time.time()),
            "model": self.model,
        }

    def _choice(self, index: int, result: GenerationResult, parsed: Parsed) -> dict[str, Any]:
        """One choice: what could be read as a call is a call, reasoning has its own field, everything else is text."""
        calls = [
            call.to_openai() | {"id": call_id(self.job, index, number)}
            for number, call in enumerate(parsed.calls[: self.job.most_calls])
        ]
        message: dict[str, Any] = {"role": "assistant", "content": parsed.content if calls else parsed.content or ""}
        if parsed.reasoning is not None:
            message["reasoning_content"] = parsed.reasoning
        if calls:
            message["tool_calls"] = calls
        rows = logprob_rows(self.job, result.ids, result.logprobs, result.tops, self.tokenizer)
        return {
            "index": index,
            "message": message,
            "logprobs": None if rows is None else {"content": rows, "refusal": None},
            "finish_reason": finish_reason(result, bool(calls)),
            **({"token_ids": list(result.ids)} if self.job.token_ids else {}),
        }

    def read(self, result: GenerationResult) -> Parsed:
        """A reply as it is read, from its beginning in the prompt on; no calls where no tools are on offer."""
        return parse(self.job.opening + result.text, self.dialect, self.job.tools, calls=bool(self.job.tools))

    def writer(self, index: int) -> Writer:
        """A writer for one streamed choice."""
        return ChatWriter(self, index)

    def chunk(self, choices: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """One event of a stream."""
        return {**self._head("chat.completion.chunk"), "choices": list(choices)}


@dataclass
class CertainText:
    """The text of a reply while it is sampled, as far as no stop string can begin in it."""

    request: GenerationRequest
    tokenizer: Any
    _stream: TextStream = field(init=False)
    _held: str = ""

    def __post_init__(self) -> None:
        """Start the text."""
        self._stream = TextStream(self.tokenizer)

    def feed(self, event: Event) -> str:
        """Take one sampled token in; the last may complete a stop string: the result's text says what is left of it."""
        if event.result is not None:
            return event.result.text[len(self._stream.text) - len(self._held) :]
        self._held += self._stream.feed(event.token)
        certain = len(self._held) - max((len(stop) for stop in self.request.stop), default=1) + 1
        if certain <= 0:
            return ""
        text, self._held = self._held[:certain], self._held[certain:]
        return text


@dataclass
class ChatWriter:
    """Turns what is sampled for one streamed choice into chunks.

    Text is held back as long as it may be the beginning of a call's mark or of a stop string. Log-probabilities and
    token ids come with the next chunk that there is.
    """

    answers: ChatAnswers
    index: int
    problems: tuple[Problem, ...] = ()
    called: list[str] = field(default_factory=list)
    _text: CertainText = field(init=False)
    _parser: StreamParser = field(init=False)
    _unsent: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Start the text, and the parser with how the reply begins in the prompt."""
        self._job = self.answers.job
        self._text = CertainText(self._job.requests[self.index], self.answers.tokenizer)
        self._parser = StreamParser(self.answers.dialect, self._job.tools, calls=bool(self._job.tools))
        self._parser.feed(self._job.opening)

    def start(self) -> Iterator[dict[str, Any]]:
        """The chunk that names the role."""
        first = self._chunk({"role": "assistant", "content": ""})
        if self._job.token_ids:
            first["prompt_token_ids"] = list(self._job.requests[self.index].prompt_ids)
        yield first

    def feed(self, event: Event) -> Iterator[dict[str, Any]]:
        """Take one sampled token in; with the last come what was held back and the finish reason."""
        if self._job.logprobs is not None or self._job.token_ids:
            self._unsent.append(event)
        text = self._text.feed(event)
        if text:
            yield from self._write(self._parser.feed(text))
        if event.result is not None:
            yield from self._write(self._parser.close())
            self.problems = self._parser.problems
            yield self._chunk({}, finish_reason(event.result, bool(self.called)))

    def _write(self, deltas: Sequence[Delta]) -> Iterator[dict[str, Any]]:
        for delta in deltas:
            if isinstance(delta, ContentDelta):
                yield self._chunk({"reasoning_content" if delta.reasoning else "content": delta.text})
            elif self._job.most_calls is None or delta.index < self._job.most_calls:
                self.called.append(delta.name)
                yield self._chunk({"tool_calls": [self._call(delta)]})

    def _call(self, delta: CallDelta) -> dict[str, Any]:
        function = {"name": delta.name, "arguments": delta.arguments}
        return {
            "index": delta.index,
            "id": call_id(self._job, self.index, delta.index),
            "type": "function",
            "function": function,
        }

    def _chunk(self, delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": self.index, "delta": delta, "logprobs": None, "finish_reason": reason}
        if self._unsent:
            rows = event_rows(self._job, self._unsent, self.answers.tokenizer)
            choice["logprobs"] = None if rows is None else {"content": rows, "refusal": None}
            if self._job.token_ids:
                choice["token_ids"] = [event.token for event in self._unsent]
            self._unsent = []
        return self.answers.chunk([choice])


def finish_reason(result: GenerationResult, called: bool) -> str:
    """``length`` where a limit cut the reply, else ``tool_calls`` or ``stop``."""
    return "length" if result.finish_reason == "length" else "tool_calls" if called else "stop"


def call_id(job: Job, index: int, number: int) -> str:
    """An id that the same request with the same seed gets again."""
    return f"call_{job.id}{index:02x}{number:02x}"


def usage(job: Job, completion_tokens: int) -> dict[str, int]:
    """Token counts."""
    return {
        "prompt_tokens": job.prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": job.prompt_tokens + completion_tokens,
    }


def event_rows(job: Job, events: Sequence[Event], tokenizer: Any) -> list[dict[str, Any]] | None:
    """As ``logprob_rows``, for tokens of a stream."""
    return logprob_rows(job, [e.token for e in events], [e.logprob for e in events], [e.top for e in events], tokenizer)


def logprob_rows(
    job: Job, ids: Sequence[int], logprobs: Sequence[float], tops: Sequence[Top], tokenizer: Any
) -> list[dict[str, Any]] | None:
    """Log-probabilities of sampled tokens and of the likeliest in their places; none where they are not wanted."""
    if job.logprobs is None:
        return None
    rows = []
    for place, (token, logprob) in enumerate(zip(ids, logprobs)):
        top = tops[place] if job.logprobs and place < len(tops) else ()
        best = [_row(job, other, value, tokenizer) for other, value in top]
        rows.append({**_row(job, token, logprob, tokenizer), "top_logprobs": best})
    return rows


def _row(job: Job, token: int, logprob: float, tokenizer: Any) -> dict[str, Any]:
    text = decode(tokenizer, [token])
    shown = f"token_id:{token}" if job.ids_as_tokens else text
    return {"token": shown, "logprob": max(logprob, LEAST_LOGPROB), "bytes": list(text.encode())}
