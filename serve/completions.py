"""The OpenAI completions API: prompts as text or token ids, which are continued as they are."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field

from serve.fields import (
    MOST_TOPS,
    SamplingFields,
    check_prompt,
    encode,
    generation_requests,
    identify,
    read_fields,
)
from serve.protocol import Job
from serve.replies import CertainText, Reply, Writer, event_rows, finish_reason, logprob_rows, usage
from toolwright.dialect import Parsed, Problem
from toolwright.engine import Engine, Event, GenerationRequest, GenerationResult
from toolwright.errors import DataError
from toolwright.words import shorten

MOST_PROMPTS = 128
MAX_TOKENS = 16
"""Length of a reply where the client says nothing, as OpenAI has it."""


class CompletionRequest(SamplingFields):
    """Body of ``/v1/completions``."""

    prompt: Any = None
    logprobs: int | None = Field(None, ge=0, le=MOST_TOPS)
    add_special_tokens: bool | None = None


def read_completion_request(body: object) -> CompletionRequest:
    """Check the form of a request.

    Raises:
        DataError: names the field, what was expected and what came.
    """
    return read_fields(CompletionRequest, body)


def build_completion_job(request: CompletionRequest, engine: Engine, stop_ids: frozenset[int], fresh_seed: int) -> Job:
    """Turn a request into generation requests, ``n`` for each prompt in turn.

    Raises:
        ContextError: a prompt that is too long.
        DataError: no prompt, or one with unknown tokens.
    """
    special = request.add_special_tokens is not False
    prompts = [_prompt_ids(engine, prompt, special) for prompt in _split(request.prompt)]
    if len(prompts) * (request.n or 1) > MOST_PROMPTS:
        raise DataError(
            f"prompt: {len(prompts)} prompts with {request.n or 1} replies each: at most {MOST_PROMPTS} in all"
        )
    seed = fresh_seed if request.seed is None else request.seed
    requests: list[GenerationRequest] = []
    for ids in prompts:
        most = min(request.max_tokens or MAX_TOKENS, engine.max_tokens_total - len(ids))
        requests += generation_requests(request, ids, seed, stop_ids, max_tokens=most, tops=request.logprobs)
    return Job(
        id=identify(prompts, seed),
        requests=tuple(requests),
        prompt_tokens=sum(map(len, prompts)),
        stream=bool(request.stream),
        usage=request.wants_usage,
        logprobs=request.logprobs,
        token_ids=bool(request.return_token_ids),
        ids_as_tokens=bool(request.return_tokens_as_token_ids),
    )


def _split(prompt: object) -> list[object]:
    """The prompts of a request: one text, one list of ids, or a list of either."""
    if isinstance(prompt, list) and prompt and isinstance(prompt[0], str | list):
        if len(prompt) > MOST_PROMPTS:
            raise DataError(f"prompt: {len(prompt)} prompts: at most {MOST_PROMPTS}")
        return prompt
    return [prompt]


def _prompt_ids(engine: Engine, prompt: object, special: bool) -> tuple[int, ...]:
    if isinstance(prompt, str):
        ids = encode(engine, prompt, "prompt", special)
    elif isinstance(prompt, list) and all(type(token) is int for token in prompt):
        ids = tuple(prompt)
    else:
        raise DataError(f"prompt: expected a text, a list of token ids, or a list of either, got {shorten(prompt)}")
    check_prompt(engine, ids, "prompt")
    return ids


@dataclass(frozen=True)
class TextAnswers:
    """Answers to a completion request."""

    job: Job
    model: str
    tokenizer: Any

    def whole(self, replies: Sequence[Reply]) -> dict[str, Any]:
        """The body of an answer that is not streamed."""
        tokens = sum(len(result.ids) for result, _ in replies)
        choices = [self._choice(index, result) for index, (result, _) in enumerate(replies)]
        return {**self.chunk(choices), "usage": usage(self.job, tokens)}

    def _choice(self, index: int, result: GenerationResult) -> dict[str, Any]:
        rows = logprob_rows(self.job, result.ids, result.logprobs, result.tops, self.tokenizer)
        return {
            "index": index,
            "text": result.text,
            "logprobs": rows and columns(rows, 0),
            "finish_reason": finish_reason(result, called=False),
            **(self.prompt_ids(index) | {"token_ids": list(result.ids)} if self.job.token_ids else {}),
        }

    def prompt_ids(self, index: int) -> dict[str, list[int]]:
        """The prompt of a choice, as it is shown beside its token ids."""
        return {"prompt_token_ids": list(self.job.requests[index].prompt_ids)}

    def read(self, result: GenerationResult) -> Parsed:
        """A reply as it is read: all of it is text."""
        return Parsed(content=result.text, reasoning=None, calls=(), problems=())

    def writer(self, index: int) -> Writer:
        """A writer for one streamed choice."""
        return TextWriter(self, index)

    def chunk(self, choices: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """One event of a stream."""
        return {
            "id": f"cmpl-{self.job.id}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": self.model,
            "choices": list(choices),
        }


@dataclass
class TextWriter:
    """Turns what is sampled for one streamed choice into chunks; text that may begin a stop string is held back."""

    answers: TextAnswers
    index: int
    problems: tuple[Problem, ...] = ()
    called: list[str] = field(default_factory=list)
    _text: CertainText = field(init=False)
    _unsent: list[Event] = field(default_factory=list)
    _offset: int = 0
    _started: bool = False

    def __post_init__(self) -> None:
        """Start the text."""
        self._text = CertainText(self.answers.job.requests[self.index], self.answers.tokenizer)

    def start(self) -> Iterator[dict[str, Any]]:
        """Nothing comes before the first token."""
        yield from ()

    def feed(self, event: Event) -> Iterator[dict[str, Any]]:
        """Take one sampled token in; with the last come what was held back and the finish reason."""
        job = self.answers.job
        if job.logprobs is not None or job.token_ids:
            self._unsent.append(event)
        text = self._text.feed(event)
        if text or event.result is not None:
            reason = None if event.result is None else finish_reason(event.result, called=False)
            yield self.answers.chunk([self._choice(job, text, reason)])

    def _choice(self, job: Job, text: str, reason: str | None) -> dict[str, Any]:
        rows = event_rows(job, self._unsent, self.answers.tokenizer)
        choice = {
            "index": self.index,
            "text": text,
            "logprobs": rows and columns(rows, self._offset),
            "finish_reason": reason,
        }
        if job.token_ids:
            choice |= {} if self._started else self.answers.prompt_ids(self.index)
            choice["token_ids"] = [event.token for event in self._unsent]
        self._offset += sum(len(row["token"]) for row in rows or ())
        self._unsent, self._started = [], True
        return choice


def columns(rows: Sequence[dict[str, Any]], offset: int) -> dict[str, Any]:
    """Log-probabilities as this API has them; ``offset`` is where the first token stands in the reply's text."""
    offsets = []
    for row in rows:
        offsets.append(offset)
        offset += len(row["token"])
    return {
        "tokens": [row["token"] for row in rows],
        "token_logprobs": [row["logprob"] for row in rows],
        "top_logprobs": [{top["token"]: top["logprob"] for top in row["top_logprobs"]} for row in rows],
        "text_offset": offsets,
    }
