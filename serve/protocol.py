"""Requests of the OpenAI chat API: read, checked, and turned into prompts and generation requests.

A chat marker inside a message's text (``<|im_end|>``) is read as that marker, as in training and in vLLM: who passes
on the words of strangers takes such markers out first.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, ValidationError
from transformers import PreTrainedTokenizerBase

from serve.fields import (
    MOST_TOPS,
    SamplingFields,
    check_prompt,
    encode,
    generation_requests,
    identify,
    read_fields,
    read_template_kwargs,
)
from toolwright.dialect import begin_call, opened_reasoning, render_assistant, render_calls, render_prompt
from toolwright.engine import Engine, GenerationRequest
from toolwright.errors import DataError, ModelError
from toolwright.records import Message, ToolCall, ToolSpec, explain
from toolwright.words import shorten

_TAKEN = frozenset(inspect.signature(PreTrainedTokenizerBase.apply_chat_template).parameters) | {"messages"}
"""What the server itself says to the chat template; above all, a template of the client's is a program."""


class ChatRequest(SamplingFields):
    """Body of ``/v1/chat/completions``."""

    messages: list[Any] = Field(min_length=1)
    tools: list[Any] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=MOST_TOPS)
    reasoning_effort: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None


@dataclass(frozen=True)
class Job:
    """A checked request: what to generate, and how to read what comes.

    Attributes:
        requests: one for each choice.
        prompt_tokens: length of all prompts; each counts once, however many choices it has.
        usage: whether a stream ends with the token counts.
        logprobs: likeliest tokens to show beside each sampled one; none: no log-probabilities.
        token_ids: whether token ids are shown beside the text.
        ids_as_tokens: whether log-probabilities name tokens as ``token_id:ID``.
        opening: how the reply begins in the prompt: with reasoning that the template opened, with a call it must make.
        tools: those that the model was shown; without any, no calls are looked for.
        most_calls: calls after so many are dropped.
        choice: what the client wants called.
    """

    id: str
    requests: tuple[GenerationRequest, ...]
    prompt_tokens: int
    stream: bool = False
    usage: bool = False
    logprobs: int | None = None
    token_ids: bool = False
    ids_as_tokens: bool = False
    opening: str = ""
    tools: tuple[ToolSpec, ...] = ()
    most_calls: int | None = None
    choice: "Choice" = "auto"

    def missed(self, names: Sequence[str]) -> bool:
        """Whether calls with these ``names`` are not what ``tool_choice`` asked for."""
        if self.choice in ("none", "auto"):
            return False
        return not names or (isinstance(self.choice, ToolSpec) and self.choice.name != names[0])


Choice = Literal["none", "auto", "required"] | ToolSpec


def read_chat_request(body: object) -> ChatRequest:
    """Check the form of a request.

    Raises:
        DataError: names the field, what was expected and what came.
    """
    request = read_fields(ChatRequest, body)
    if request.top_logprobs and not request.logprobs:
        raise DataError("top_logprobs: only with logprobs")
    return request


def read_messages(rows: Sequence[Any]) -> list[Message]:
    """Messages of a request; ``developer`` counts as system.

    Raises:
        DataError: names the message and its fault.
    """
    messages = []
    for index, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise DataError(f"messages[{index}]: expected an object, got {shorten(row)}")
        try:
            role = "system" if row.get("role") == "developer" else row.get("role")
            messages.append(Message.from_openai({**row, "role": role}))
        except ValidationError as error:
            raise DataError(f"messages[{index}].{explain(error)}") from None
        except ValueError as error:
            raise DataError(f"messages[{index}].{error}") from None
    return messages


def read_tools(rows: Sequence[Any] | None) -> list[ToolSpec]:
    """Tools of a request.

    Raises:
        DataError: names the tool and its fault.
    """
    tools = []
    for index, row in enumerate(rows or ()):
        if not isinstance(row, Mapping):
            raise DataError(f"tools[{index}]: expected an object, got {shorten(row)}")
        if row.get("type", "function") != "function":
            raise DataError(f"tools[{index}].type: expected function, got {shorten(row.get('type'))}")
        try:
            tools.append(ToolSpec.from_openai(row))
        except ValidationError as error:
            raise DataError(f"tools[{index}].{explain(error)}") from None
        except ValueError as error:
            raise DataError(f"tools[{index}]: {error}") from None
    return tools


def render(
    engine: Engine,
    messages: Sequence[Any],
    tools: Sequence[ToolSpec],
    template_kwargs: Mapping[str, Any] | None,
    **further: Any,
) -> str:
    """The prompt of a conversation.

    Raises:
        DataError: a message or a keyword is wrong, or the chat template refuses the messages.
    """
    keywords = read_template_kwargs(template_kwargs, _TAKEN)
    read = read_messages(messages)
    try:
        return render_prompt(engine.tokenizer, read, tools, **{**keywords, **further})
    except ModelError as error:
        # Without its beginning, which names the directory of the model.
        raise DataError(f"messages: {str(error).partition(': ')[2]}") from None


def build_job(request: ChatRequest, engine: Engine, dialect: str, stop_ids: frozenset[int], fresh_seed: int) -> Job:
    """Turn a request into prompts; ``fresh_seed`` is used when the client names no seed.

    Raises:
        ContextError: a prompt that is too long.
        DataError: wrong messages, tools or values, or the chat template refuses the messages.
    """
    tools = read_tools(request.tools)
    choice = read_tool_choice(request.tool_choice, tools)
    shown = [] if choice == "none" else tools
    effort = {"reasoning_effort": request.reasoning_effort} if request.reasoning_effort else {}
    text = render(engine, request.messages, shown, request.chat_template_kwargs, **effort)
    think = opened_reasoning(text, dialect)
    forced = open_call(dialect, choice, tools, thinking=bool(think))
    ids = encode(engine, text + forced, "messages")
    check_prompt(engine, ids, "messages")
    seed = fresh_seed if request.seed is None else request.seed
    room = engine.max_tokens_total - len(ids)
    most = min(request.max_completion_tokens or request.max_tokens or room, room)
    tops = (request.top_logprobs or 0) if request.logprobs else None
    single = isinstance(choice, ToolSpec) or request.parallel_tool_calls is False
    return Job(
        id=identify(ids, seed),
        requests=generation_requests(request, ids, seed, stop_ids, max_tokens=most, tops=tops),
        prompt_tokens=len(ids),
        stream=bool(request.stream),
        usage=request.wants_usage,
        logprobs=tops,
        token_ids=bool(request.return_token_ids),
        ids_as_tokens=bool(request.return_tokens_as_token_ids),
        opening=think + forced,
        tools=tuple(shown),
        most_calls=1 if single else None,
        choice=choice,
    )


def read_tool_choice(value: object, tools: Sequence[ToolSpec]) -> Choice:
    """What ``tool_choice`` asks for: a mode, or one of the tools.

    Raises:
        DataError: another word, a tool that is not offered, or a call required without tools.
    """
    if value is None or value == "auto":
        return "auto"
    if value == "none":
        return "none"
    if value != "required" and not isinstance(value, Mapping):
        raise DataError(f"tool_choice: expected none, auto, required or a function, got {shorten(value)}")
    if not tools:
        raise DataError(f"tool_choice: {shorten(value)} without tools; offer some, or leave it out")
    if value == "required":
        return "required"
    function = value.get("function") if isinstance(value, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    for tool in tools:
        if tool.name == name:
            return tool
    names = ", ".join(tool.name for tool in tools[:20])
    raise DataError(f"tool_choice: {shorten(value)} is none of the tools: {names}")


def open_call(dialect: str, choice: Choice, tools: Sequence[ToolSpec] = (), thinking: bool = False) -> str:
    """The beginning of a call that the reply is made to start with; empty where the model may choose.

    It ends where a token ends in what the model would have written by itself, unless the name could go on to that of
    another tool: then the sign after it is written too. That a call follows is likely, not sure: what does not read as
    one comes back as text, and is counted.
    Reasoning that the prompt has opened is ended first, since a call inside it is none.
    """
    if choice in ("none", "auto"):
        return ""
    end = render_assistant(_THOUGHT, dialect).partition(str(_THOUGHT.reasoning_content))[2] if thinking else ""
    if not isinstance(choice, ToolSpec):
        return end + begin_call(dialect)
    begun = begin_call(dialect, choice.name)
    if any(tool.name != choice.name and tool.name.startswith(choice.name) for tool in tools):
        begun = render_calls([ToolCall(name=choice.name)], dialect)[: len(begun) + 1]
    return end + begun


_THOUGHT = Message(role="assistant", reasoning_content="quibbit")
