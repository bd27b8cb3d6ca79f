"""Requests of the OpenAI chat API: read, checked, and turned into prompts and generation requests.

What this server cannot do is refused by name; a field is never accepted and then ignored where that would change the
answer.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from toolwright.dialect import begin_call, opened_reasoning, render_assistant, render_prompt
from toolwright.engine import Engine, GenerationRequest
from toolwright.errors import DataError
from toolwright.records import Message, ToolSpec
from toolwright.words import shorten

USE_VLLM = "this small server does not do that; vLLM does (serve.engine=vllm)"
NEUTRAL: dict[str, tuple[object, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    "logit_bias": ({},),
    "response_format": ({"type": "text"},),
    "top_logprobs": (0,),
    "top_k": (0, -1),
    "min_p": (0,),
    "best_of": (1,),
    "modalities": (["text"],),
    "functions": (),
    "function_call": ("none",),
    "guided_json": (),
    "structured_outputs": (),
}
"""Fields that would change the answer, with the values that do not."""


class ChatRequest(BaseModel):
    """Body of ``/v1/chat/completions``; unknown fields are let through, as clients send many."""

    model_config = ConfigDict(extra="allow")

    messages: list[dict[str, Any]] = Field(min_length=1)
    model: str | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=100)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = None
    stop: str | list[str] | None = None
    n: int | None = Field(None, ge=1, le=128)
    logprobs: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None


@dataclass(frozen=True)
class Job:
    """A checked request: what to generate, and how to read what comes.

    Attributes:
        requests: one for each of the ``n`` choices.
        opening: how the reply begins in the prompt: with reasoning that the template opened, with a call it must make.
        tools: those that the model was shown; without any, no calls are looked for.
        most_calls: calls after so many are dropped.
    """

    requests: tuple[GenerationRequest, ...]
    opening: str
    tools: tuple[ToolSpec, ...]
    most_calls: int | None
    stream: bool
    usage: bool
    logprobs: bool
    id: str


def read_chat_request(body: object) -> ChatRequest:
    """Check the form of a request.

    Raises:
        DataError: names the field, what was expected and what came.
    """
    try:
        request = ChatRequest.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise DataError(f"{where}: {first['msg']}, got {shorten(first['input'])}") from None
    taken = {"tokenizer", "messages", "tools", "tokenize", "add_generation_prompt", "conversation"}
    if taken & (request.chat_template_kwargs or {}).keys():
        raise DataError(f"chat_template_kwargs: {', '.join(sorted(taken))} are not for the client to set")
    for field, neutral in NEUTRAL.items():
        value = (request.model_extra or {}).get(field)
        if value is not None and value not in neutral:
            raise DataError(f"{field}: {shorten(value)}: {USE_VLLM}")
    if request.logprobs and request.stream:
        raise DataError(f"logprobs with stream: {USE_VLLM}")
    return request


def read_messages(rows: Sequence[Mapping[str, Any]]) -> list[Message]:
    """Messages of a request; ``developer`` counts as system.

    Raises:
        DataError: names the message and its fault.
    """
    messages = []
    for index, row in enumerate(rows):
        try:
            role = "system" if row.get("role") == "developer" else row.get("role")
            messages.append(Message.from_openai({**row, "role": role}))
        except ValueError as error:
            raise DataError(f"messages[{index}].{error}") from None
    return messages


def read_tools(rows: Sequence[Mapping[str, Any]] | None) -> list[ToolSpec]:
    """Tools of a request.

    Raises:
        DataError: names the tool and its fault.
    """
    tools = []
    for index, row in enumerate(rows or ()):
        if row.get("type", "function") != "function":
            raise DataError(f"tools[{index}].type: expected function, got {shorten(row.get('type'))}")
        try:
            tools.append(ToolSpec.from_openai(row))
        except ValueError as error:
            raise DataError(f"tools[{index}]: {error}") from None
    return tools


def build_job(request: ChatRequest, engine: Engine, dialect: str, stop_ids: frozenset[int], fresh_seed: int) -> Job:
    """Turn a request into prompts; ``fresh_seed`` is used when the client names no seed.

    Raises:
        DataError: wrong messages, tools or values, or a prompt that is too long.
        ModelError: the chat template refuses the messages.
    """
    messages, tools = read_messages(request.messages), read_tools(request.tools)
    choice = read_tool_choice(request.tool_choice, tools)
    shown = [] if choice == "none" else tools
    text = render_prompt(engine.tokenizer, messages, shown, **(request.chat_template_kwargs or {}))
    think = opened_reasoning(text, dialect)
    forced = open_call(dialect, choice, thinking=bool(think))
    ids = tuple(engine.tokenizer(text + forced, add_special_tokens=False)["input_ids"])
    engine.check_prompt(ids)
    seed = fresh_seed if request.seed is None else request.seed
    identity = hashlib.sha256(repr((ids, seed)).encode()).hexdigest()
    return Job(
        requests=tuple(_generation(request, ids, seed, index, stop_ids, engine) for index in range(request.n or 1)),
        opening=think + forced,
        tools=tuple(shown),
        most_calls=1 if request.parallel_tool_calls is False else None,
        stream=bool(request.stream),
        usage=bool((request.stream_options or {}).get("include_usage")),
        logprobs=bool(request.logprobs),
        id=identity[:24],
    )


def _generation(
    request: ChatRequest, ids: tuple[int, ...], seed: int, index: int, stop_ids: frozenset[int], engine: Engine
) -> GenerationRequest:
    stop = () if request.stop is None else request.stop
    return GenerationRequest(
        prompt_ids=ids,
        max_tokens=request.max_completion_tokens or request.max_tokens or engine.max_tokens_total,
        temperature=1.0 if request.temperature is None else request.temperature,
        top_p=1.0 if request.top_p is None else request.top_p,
        seed=seed if index == 0 else choice_seed(seed, index),
        stop_ids=stop_ids,
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
    )


def choice_seed(seed: int, index: int) -> int:
    """The seed of the ``index``-th of several choices."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{index}".encode()).digest()[:8], "big")


Choice = Literal["none", "auto", "required"] | ToolSpec


def read_tool_choice(value: str | Mapping[str, Any] | None, tools: Sequence[ToolSpec]) -> Choice:
    """What ``tool_choice`` asks for: a mode, or one of the tools.

    Raises:
        DataError: another word, a tool that is not offered, or a call required without tools.
    """
    if value in (None, "auto", "none"):
        return "none" if value == "none" else "auto"
    if not tools:
        raise DataError(f"tool_choice: {shorten(value)} without tools; offer some, or leave it out")
    if value == "required":
        return "required"
    if isinstance(value, Mapping):
        function = value.get("function")
        name = function.get("name") if isinstance(function, Mapping) else None
        for tool in tools:
            if tool.name == name:
                return tool
        raise DataError(f"tool_choice: {shorten(value)} is none of the tools: {', '.join(tool.name for tool in tools)}")
    raise DataError(f"tool_choice: expected none, auto, required or a function, got {shorten(value)}")


def open_call(dialect: str, choice: Choice, thinking: bool = False) -> str:
    """The beginning of a call that the reply is made to start with; empty where the model may choose.

    It ends where a token ends in what the model would have written by itself. That a call follows is likely, not sure.
    Reasoning that the prompt has opened is ended first, since a call inside it is none.
    """
    if choice in ("none", "auto"):
        return ""
    end = render_assistant(_THOUGHT, dialect).partition(str(_THOUGHT.reasoning_content))[2] if thinking else ""
    return end + begin_call(dialect, choice.name if isinstance(choice, ToolSpec) else None)


_THOUGHT = Message(role="assistant", reasoning_content="quibbit")
