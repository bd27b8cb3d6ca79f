"""What requests of both kinds have in common: their sampling fields, read and checked, and text as token ids.

What this server cannot do is refused by name; a field is never accepted and then ignored where that would change the
answer.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serve.failures import ContextError
from toolwright.engine import Engine, GenerationRequest
from toolwright.errors import DataError
from toolwright.records import explain
from toolwright.words import shorten

USE_VLLM = "this small server does not do that; vLLM does (serve.engine=vllm)"
NEUTRAL: dict[str, tuple[object, ...]] = {
    "add_generation_prompt": (True,),
    "add_special_tokens": (False,),
    "allowed_token_ids": (),
    "audio": (),
    "bad_words": ([],),
    "best_of": (1,),
    "chat_template": (),
    "continue_final_message": (False,),
    "documents": ([],),
    "echo": (False,),
    "frequency_penalty": (0,),
    "function_call": ("none",),
    "functions": (),
    "guided_choice": (),
    "guided_grammar": (),
    "guided_json": (),
    "guided_regex": (),
    "include_stop_str_in_output": (False,),
    "length_penalty": (1,),
    "logit_bias": ({},),
    "logits_processors": ([],),
    "min_p": (0,),
    "min_tokens": (0,),
    "modalities": (["text"],),
    "presence_penalty": (0,),
    "prompt_embeds": (),
    "prompt_logprobs": (),
    "repetition_penalty": (1,),
    "response_format": ({"type": "text"},),
    "structured_outputs": (),
    "suffix": ("",),
    "top_k": (0, -1),
    "truncate_prompt_tokens": (),
    "use_beam_search": (False,),
    "web_search_options": (),
}
"""Fields that would change the answer, with the values that do not."""
MOST_STOPS = 32
LONGEST_STOP = 1000
"""Characters; so much of a stream may be held back."""
MOST_TOPS = 20
MOST_ROWS = 2**19
"""Log-probabilities in one answer: more would take gigabytes to write down."""
_LIKELY_CHARACTERS = 8
"""In a token: so much of a text is looked at first."""
_CUT_TOKENS = 64
"""How many tokens the place where a text is cut may add."""
COLDEST = 1e-4
"""Temperatures below it are 0: divided by less, logits overflow."""


class StreamOptions(BaseModel):
    """What a stream holds beside the reply."""

    model_config = ConfigDict(strict=True)

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class SamplingFields(BaseModel):
    """Fields of both kinds of requests; unknown ones are let through, as clients send many."""

    model_config = ConfigDict(extra="allow", strict=True)

    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=100)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = None
    stop: Any = None
    stop_token_ids: list[int] | None = Field(None, max_length=1000)
    ignore_eos: bool | None = None
    n: int | None = Field(None, ge=1, le=128)
    return_token_ids: bool | None = None
    return_tokens_as_token_ids: bool | None = None

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with the token counts."""
        return bool(self.stream_options and self.stream_options.include_usage)


Fields = TypeVar("Fields", bound=SamplingFields)


def read_fields(kind: type[Fields], body: object) -> Fields:
    """Check the form of a request.

    Raises:
        DataError: names the field, what was expected and what came.
    """
    try:
        request = kind.model_validate(body)
    except ValidationError as error:
        raise DataError(explain(error)) from None
    refuse_unsupported(request.model_extra or {})
    if request.stream_options and not request.stream:
        raise DataError("stream_options: only with stream")
    if request.stream_options and request.stream_options.continuous_usage_stats:
        raise DataError(f"stream_options.continuous_usage_stats: {USE_VLLM}")
    return request


def refuse_unsupported(fields: Mapping[str, Any]) -> None:
    """Refuse what this server would have to ignore, where that would change the answer.

    Raises:
        DataError: names the field.
    """
    for field, value in fields.items():
        if value is not None and value not in NEUTRAL.get(field, (value,)):
            raise DataError(f"{field}: {shorten(value)}: {USE_VLLM}")


def read_stop(value: object) -> tuple[str, ...]:
    """Strings that end the reply.

    Raises:
        DataError: no text, an empty one, too many, or too long.
    """
    stops = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        raise DataError(f"stop: expected a text or a list of texts, got {shorten(value)}")
    if len(stops) > MOST_STOPS or any(len(stop) > LONGEST_STOP for stop in stops):
        raise DataError(
            f"stop: at most {MOST_STOPS} texts of {LONGEST_STOP} characters, got {len(stops)}, the longest of "
            f"{max(map(len, stops))} characters"
        )
    if "" in stops:
        raise DataError("stop: an empty string would end every reply")
    return tuple(stops)


def encode(engine: Engine, text: str, field: str, special: bool = False, contexts: int = 1) -> tuple[int, ...]:
    """Token ids of a text; ``special``: with those that the tokenizer adds to a text of its own.

    Only as much of a text is looked at as shows that it is too long: a tokenizer takes a minute for some megabytes.

    Raises:
        ContextError: more tokens than ``contexts`` times what the model takes.
        DataError: half of a surrogate pair, which is no character.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"text with half of a surrogate pair ({error.reason}): {shorten(error.object[error.start :])}"
        ) from None
    most = engine.max_tokens_total * contexts - 1
    length = most * _LIKELY_CHARACTERS
    while length < len(text):
        seen = len(_ids(engine, text[:length], special))
        if seen > most + _CUT_TOKENS:
            raise _too_long(engine, field, f"more than {seen - _CUT_TOKENS}", most)
        length *= 4
    return tuple(_ids(engine, text, special))


def _ids(engine: Engine, text: str, special: bool) -> list[int]:
    # Not verbose: what is too long is told to the client, and not to whoever reads the log.
    ids: list[int] = engine.tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"]
    return ids


def check_prompt(engine: Engine, ids: tuple[int, ...], field: str) -> None:
    """Refuse a prompt that the model cannot take.

    Raises:
        ContextError: it leaves no room for a reply.
        DataError: it is empty, or has tokens that the model does not know.
    """
    most = engine.max_tokens_total - 1
    if len(ids) > most:
        raise _too_long(engine, field, str(len(ids)), most)
    check_tokens(engine, ids, field)
    if not ids:
        raise DataError(f"{field}: the prompt is empty")


def _too_long(engine: Engine, field: str, count: str, most: int) -> ContextError:
    return ContextError(
        f"{field}: this model's maximum context length is {engine.max_tokens_total} tokens, and this has {count} "
        f"tokens: longer than the {most} that can be taken here; shorten it"
    )


def check_tokens(engine: Engine, ids: tuple[int, ...], field: str) -> None:
    """Refuse token ids that the model does not know.

    Raises:
        DataError: names the first.
    """
    size = vocabulary_size(engine)
    if ids and (min(ids) < 0 or max(ids) >= size):
        wrong = next(token for token in ids if not 0 <= token < size)
        raise DataError(f"{field}: token {shorten(wrong)} is not in the vocabulary of {size}")


def vocabulary_size(engine: Engine) -> int:
    """How many tokens the model knows."""
    config = engine.model.config
    text = config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config
    return int(getattr(text, "vocab_size", None) or len(engine.tokenizer))


def generation_requests(
    fields: SamplingFields,
    ids: tuple[int, ...],
    seed: int,
    stop_ids: frozenset[int],
    *,
    max_tokens: int,
    tops: int | None,
) -> tuple[GenerationRequest, ...]:
    """The ``n`` requests for one prompt; ``stop_ids`` end a reply beside those that the client names."""
    _check_rows(fields.n or 1, max_tokens, tops)
    heat = 1.0 if fields.temperature is None else fields.temperature
    ends = frozenset() if fields.ignore_eos else stop_ids
    stops = read_stop(fields.stop)
    return tuple(
        GenerationRequest(
            prompt_ids=ids,
            max_tokens=max_tokens,
            temperature=heat if heat >= COLDEST else 0.0,
            top_p=1.0 if fields.top_p is None else fields.top_p,
            seed=seed if index == 0 else choice_seed(seed, index),
            stop_ids=ends | frozenset(fields.stop_token_ids or ()),
            stop=stops,
            top_logprobs=tops or 0,
        )
        for index in range(fields.n or 1)
    )


def _check_rows(count: int, max_tokens: int, tops: int | None) -> None:
    rows = 0 if tops is None else count * max_tokens * (1 + tops)
    if rows > MOST_ROWS:
        raise DataError(
            f"logprobs: {count} replies of up to {max_tokens} tokens with {tops} likeliest tokens each may be {rows} "
            f"log-probabilities: at most {MOST_ROWS}; lower n, max_tokens or the number of likeliest tokens"
        )


def choice_seed(seed: int, index: int) -> int:
    """The seed of the ``index``-th of several choices."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{index}".encode()).digest()[:8], "big")


def identify(*parts: object) -> str:
    """An id that the same request with the same seed gets again."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def read_template_kwargs(value: Mapping[str, Any] | None, taken: frozenset[str]) -> dict[str, Any]:
    """Keywords for the chat template, without those that would change how it is applied.

    Raises:
        DataError: names those that are not for the client to set.
    """
    wrong = sorted(taken & (value or {}).keys())
    if wrong:
        raise DataError(f"chat_template_kwargs: {', '.join(wrong)} are not for the client to set")
    return dict(value or {})
