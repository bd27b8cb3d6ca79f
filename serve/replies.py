"""Answers of the OpenAI chat API, whole and as a stream of chunks, from what the engine generates."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from serve.protocol import Job
from toolwright.dialect import CallDelta, ContentDelta, Delta, Parsed, Problem, StreamParser, parse
from toolwright.engine import GenerationRequest, GenerationResult, TextStream
from toolwright.engine.text import decode


def completion(
    job: Job, results: Sequence[GenerationResult], model: str, dialect: str, tokenizer: Any
) -> dict[str, Any]:
    """The body of an answer that is not streamed."""
    choices = [choice(job, index, result, dialect, tokenizer) for index, result in enumerate(results)]
    return {
        "id": f"chatcmpl-{job.id}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": choices,
        "usage": usage(job, sum(len(result.ids) for result in results)),
    }


def choice(job: Job, index: int, result: GenerationResult, dialect: str, tokenizer: Any) -> dict[str, Any]:
    """One choice: what could be read as a call is a call, reasoning has its own field, everything else stays text."""
    parsed = read(job, result, dialect)
    calls = [
        call.to_openai() | {"id": call_id(job, index, number)}
        for number, call in enumerate(parsed.calls[: job.most_calls])
    ]
    message: dict[str, Any] = {"role": "assistant", "content": parsed.content if calls else parsed.content or ""}
    if parsed.reasoning is not None:
        message["reasoning_content"] = parsed.reasoning
    if calls:
        message["tool_calls"] = calls
    return {
        "index": index,
        "message": message,
        "logprobs": logprobs(result, tokenizer) if job.logprobs else None,
        "finish_reason": finish_reason(result, bool(calls)),
    }


def read(job: Job, result: GenerationResult, dialect: str) -> Parsed:
    """A reply as it is read, from its beginning in the prompt on; no calls where no tools are on offer."""
    return parse(job.opening + result.text, dialect, job.tools, calls=bool(job.tools))


def problems_of(job: Job, result: GenerationResult, dialect: str) -> tuple[Problem, ...]:
    """What looked like a call in a reply and could not be read."""
    return read(job, result, dialect).problems


def finish_reason(result: GenerationResult, called: bool) -> str:
    """``length`` where a limit cut the reply, else ``tool_calls`` or ``stop``."""
    return "length" if result.finish_reason == "length" else "tool_calls" if called else "stop"


def call_id(job: Job, index: int, number: int) -> str:
    """An id that the same request with the same seed gets again."""
    return f"call_{job.id}{index:02x}{number:02x}"


def usage(job: Job, completion_tokens: int) -> dict[str, int]:
    """Token counts; the prompt counts once, however many choices it has."""
    prompt = len(job.requests[0].prompt_ids)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt + completion_tokens,
    }


def logprobs(result: GenerationResult, tokenizer: Any) -> dict[str, Any]:
    """Log-probabilities of the sampled tokens, in OpenAI form."""
    rows = []
    for token, logprob in zip(result.ids, result.logprobs):
        text = decode(tokenizer, [token])
        rows.append({"token": text, "logprob": logprob, "bytes": list(text.encode()), "top_logprobs": []})
    return {"content": rows, "refusal": None}


@dataclass
class ChunkWriter:
    """Turns the tokens of one streamed choice into chunks.

    Text is held back as long as it may be the beginning of a call's mark or of a stop string.
    """

    job: Job
    index: int
    model: str
    dialect: str
    tokenizer: Any
    problems: tuple[Problem, ...] = ()
    _text: TextStream = field(init=False)
    _parser: StreamParser = field(init=False)
    _held: str = ""
    _calls: int = 0

    def __post_init__(self) -> None:
        """Start the text, and the parser with how the reply begins in the prompt."""
        self._text = TextStream(self.tokenizer)
        self._parser = StreamParser(self.dialect, self.job.tools, calls=bool(self.job.tools))
        self._parser.feed(self.job.opening)

    @property
    def request(self) -> GenerationRequest:
        """What is generated."""
        return self.job.requests[self.index]

    def start(self) -> dict[str, Any]:
        """The chunk that names the role."""
        return self._chunk({"role": "assistant", "content": ""})

    def feed(self, token: int) -> Iterator[dict[str, Any]]:
        """Take one sampled token in that does not end the reply."""
        self._held += self._text.feed(token)
        longest = max((len(stop) for stop in self.request.stop), default=1) - 1
        certain = len(self._held) - longest
        if certain > 0:
            text, self._held = self._held[:certain], self._held[certain:]
            yield from self._write(self._parser.feed(text))

    def finish(self, result: GenerationResult) -> Iterator[dict[str, Any]]:
        """End the choice: what was held back, as far as it is in the result's text, and the finish reason."""
        sent = len(self._text.text) - len(self._held)
        yield from self._write(self._parser.feed(result.text[sent:]))
        yield from self._write(self._parser.close())
        self.problems = self._parser.problems
        yield self._chunk({}, finish_reason(result, self._calls > 0))

    def _write(self, deltas: Sequence[Delta]) -> Iterator[dict[str, Any]]:
        for delta in deltas:
            if isinstance(delta, ContentDelta):
                yield self._chunk({"reasoning_content" if delta.reasoning else "content": delta.text})
            elif self.job.most_calls is None or delta.index < self.job.most_calls:
                self._calls += 1
                yield self._chunk({"tool_calls": [self._call(delta)]})

    def _call(self, delta: CallDelta) -> dict[str, Any]:
        function = {"name": delta.name, "arguments": delta.arguments}
        call = call_id(self.job, self.index, delta.index)
        return {"index": delta.index, "id": call, "type": "function", "function": function}

    def _chunk(self, delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": self.index, "delta": delta, "logprobs": None, "finish_reason": reason}
        return chunk(self.job, self.model, [choice])


def chunk(job: Job, model: str, choices: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One event of a stream."""
    return {
        "id": f"chatcmpl-{job.id}",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": model,
        "choices": list(choices),
    }
