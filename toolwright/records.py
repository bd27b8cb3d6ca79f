"""The records that travel between stages: messages, calls, tools, questions and conversations.

Frozen pydantic models. On disk and on the wire they have the OpenAI chat format, which Hugging Face and TRL
read as well; call arguments and tool lists are JSON *strings* there, so that Arrow never unifies their columns.
In memory arguments are a mapping.
"""

import json
import marshal
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import from_json

from toolwright.errors import DataError
from toolwright.words import shorten

Role = Literal["system", "user", "assistant", "tool"]
Mode = Literal["single", "parallel", "multiple", "dependent", "no_tool", "missing_parameter"]
MODES: tuple[Mode, ...] = ("single", "parallel", "multiple", "dependent", "no_tool", "missing_parameter")
ErrorType = Literal["unknown_tool", "bad_arguments", "tool_error", "timeout", "denied", "limit", "malformed_call"]


class Record(BaseModel):
    """Base of all records: immutable, unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ToolCall(Record):
    """One call: the tool's name and its arguments as a JSON object."""

    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    id: str = ""

    def to_openai(self) -> dict[str, Any]:
        """The call in OpenAI form, arguments as a JSON string."""
        function = {"name": self.name, "arguments": json.dumps(self.arguments, ensure_ascii=False)}
        return {"id": self.id, "type": "function", "function": function}

    @classmethod
    def from_openai(cls, call: Mapping[str, Any]) -> "ToolCall":
        """Read a call in OpenAI form; arguments may be a JSON string or an object.

        Raises:
            DataError: no function name, or arguments that are not a JSON object.
        """
        function = call.get("function")
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise DataError(f"tool call without function.name: {shorten(call)}")
        arguments = function.get("arguments")
        if isinstance(arguments, str):
            try:
                arguments = parse_json(arguments) if arguments.strip() else {}
            except ValueError as error:
                raise DataError(
                    f"arguments of call {function['name']!r} are not JSON ({error}): {shorten(arguments)}"
                ) from None
        if arguments is None:
            arguments = {}
        if not isinstance(arguments, Mapping):
            raise DataError(f"arguments of call {function['name']!r} are not a JSON object: {shorten(arguments)}")
        return cls(name=function["name"], arguments=dict(arguments), id=call.get("id") or "")


class ToolSpec(Record):
    """A tool as a model sees it: name, description and JSON Schema of its parameters."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=lambda: {"type": "object", "properties": {}})

    def to_openai(self) -> dict[str, Any]:
        """The tool in OpenAI form: these three keys only, so that training and serving render the same text."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": function}

    @classmethod
    def from_openai(cls, tool: Mapping[str, Any]) -> "ToolSpec":
        """Read a tool in OpenAI form, with or without the outer ``function``; other keys are dropped.

        Raises:
            DataError: no name, or parameters that are not an object.
        """
        function = tool.get("function", tool)
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise DataError(f"tool without a name: {shorten(tool)}")
        parameters = function.get("parameters") or {"type": "object", "properties": {}}
        if not isinstance(parameters, Mapping):
            raise DataError(
                f"parameters of tool {function['name']!r} are not a JSON Schema object: {shorten(parameters)}"
            )
        return cls(name=function["name"], description=function.get("description") or "", parameters=dict(parameters))


class ToolResult(Record):
    """What a call gave: text for the model, and a typed error when it failed.

    ``pictures`` are images for models that see: data URLs, beside the text. ``synthetic`` says that no tool gave this,
    but a stand-in: a model or a generator that played an API.
    """

    content: str
    error: ErrorType | None = None
    pictures: tuple[str, ...] = ()
    synthetic: bool = False

    @property
    def ok(self) -> bool:
        return self.error is None


class Message(Record):
    """One chat message. ``tool_calls`` only on assistant messages, ``tool_call_id`` only on tool messages.

    ``loss_weight`` multiplies the loss of this turn in training; 0 leaves it out.
    """

    role: Role
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None
    loss_weight: float | None = Field(None, ge=0, allow_inf_nan=False)

    def to_openai(self) -> dict[str, Any]:
        """The message in OpenAI form, without the fields that are unset, and without what is only for training."""
        message: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.reasoning_content is not None:
            message["reasoning_content"] = self.reasoning_content
        if self.tool_calls:
            message["tool_calls"] = [call.to_openai() for call in self.tool_calls]
        if self.tool_call_id is not None:
            message["tool_call_id"] = self.tool_call_id
        if self.name is not None:
            message["name"] = self.name
        return message

    def to_row(self) -> dict[str, Any]:
        """The message as a conversation's row holds it: in OpenAI form, with its ``loss_weight``."""
        weight = {} if self.loss_weight is None else {"loss_weight": self.loss_weight}
        return self.to_openai() | weight

    @classmethod
    def from_openai(cls, message: Mapping[str, Any]) -> "Message":
        """Read a message in OpenAI form; content parts of type text are joined.

        Raises:
            DataError: unknown role, content of another type than text, or a broken call.
        """
        role = message.get("role")
        if role not in ("system", "user", "assistant", "tool"):
            raise DataError(f"role: expected system, user, assistant or tool, got {shorten(role)}")
        return cls(
            role=role,
            content=_text(message.get("content")),
            reasoning_content=message.get("reasoning_content"),
            tool_calls=_calls(calls) if (calls := message.get("tool_calls")) else (),
            tool_call_id=message.get("tool_call_id"),
            name=message.get("name"),
            loss_weight=_loss_weight(message.get("loss_weight")),
        )


def _calls(calls: object) -> tuple[ToolCall, ...]:
    if not isinstance(calls, Sequence) or not all(isinstance(call, Mapping) for call in calls):
        raise DataError(f"tool_calls: expected a list of calls, got {shorten(calls)}")
    return tuple(map(ToolCall.from_openai, calls))


def _loss_weight(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise DataError(f"loss_weight: expected a number that is 0 or more, got {shorten(value)}")
    return float(value)


def _text(content: object) -> str | None:
    if content is None or isinstance(content, str):
        return content
    if isinstance(content, Sequence) and all(isinstance(p, Mapping) and p.get("type") == "text" for p in content):
        return "".join(str(part.get("text", "")) for part in content)
    raise DataError(f"content: expected text, got {shorten(content)}; images and audio are not supported")


def parse_json(text: str | bytes) -> Any:
    """What ``json.loads`` gives, in half the time.

    Raises:
        ValueError: not JSON.
    """
    try:
        return from_json(text)
    except ValueError:  # what the faster parser does not take, such as half a surrogate pair, the standard one may
        return json.loads(text)


def explain(error: ValidationError) -> str:
    """The first field that pydantic refuses, with its value, in one line."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    return f"{field}: {first['msg']}, got {shorten(first['input'])}"


class Step(Record):
    """Calls that one assistant turn makes together, with the result that each gave when the plan was executed."""

    calls: tuple[ToolCall, ...]
    results: tuple[str, ...] = ()


class Plan(Record):
    """A blueprint: the calls that answer a question, executed before any words were written.

    ``steps`` is empty for the modes without calls; ``missing`` names the parameter that the question leaves out;
    ``about`` names, where there are no calls, the tool that lacks a value or that is not on offer;
    ``state`` is the hash of the environment after the last step.
    """

    mode: Mode
    steps: tuple[Step, ...] = ()
    missing: str | None = None
    about: str | None = None
    state: str | None = None

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        return tuple(call for step in self.steps for call in step.calls)


class Question(Record):
    """A user's request with the tools on offer; ``plan`` is known when the scripted teacher made it."""

    id: str
    text: str
    tools: tuple[str, ...]
    seed: int
    mode: Mode | None = None
    plan: Plan | None = None
    answer: str | None = None

    @field_validator("text")
    @classmethod
    def _not_empty(cls, text: str) -> str:
        if not text.strip():
            raise ValueError("the question has no text")
        return text


class Conversation(Record):
    """A finished dialogue with the tools that were on offer and the plan that it fulfilled.

    ``sandbox`` is the level at which its calls ran, where that is known; ``synthetic`` the places in ``messages`` of
    tool results that no tool gave.
    """

    id: str
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    seed: int = 0
    mode: Mode | None = None
    plan: Plan | None = None
    group: str | None = None
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)
    sandbox: str | None = None
    synthetic: tuple[int, ...] = ()

    def to_row(self) -> dict[str, Any]:
        """A JSONL row as HF and TRL read it; tools and plan are JSON strings."""
        more: dict[str, Any] = {"sandbox": self.sandbox} if self.sandbox else {}
        if self.synthetic:
            more["synthetic"] = list(self.synthetic)
        if self.chat_template_kwargs:
            more["chat_template_kwargs"] = self.chat_template_kwargs
        return {
            "id": self.id,
            "mode": self.mode,
            "seed": self.seed,
            "group": self.group,
            "messages": [message.to_row() for message in self.messages],
            "tools": json.dumps([tool.to_openai() for tool in self.tools], ensure_ascii=False),
            "plan": self.plan.model_dump_json() if self.plan else None,
            **more,
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Conversation":
        """Read a row; ``tools`` may be a JSON string or a list, and only ``messages`` is required.

        Raises:
            DataError: a field is missing or of the wrong form.
        """
        messages, plan = row.get("messages"), row.get("plan")
        if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
            raise DataError(f"messages: expected a list with at least one message, got {shorten(messages)}")
        read = tuple(_message(index, message) for index, message in enumerate(messages))
        try:
            conversation = cls(
                id=str(row.get("id") or ""),
                messages=read,
                seed=row.get("seed") or 0,
                mode=row.get("mode"),
                plan=Plan.model_validate_json(plan) if plan else None,
                group=row.get("group"),
                chat_template_kwargs=row.get("chat_template_kwargs") or {},
                sandbox=row.get("sandbox"),
                synthetic=tuple(row.get("synthetic") or ()),
            )
        except ValidationError as error:
            raise DataError(explain(error)) from None
        # Beside the constructor, which would copy the tuple: rows with equal tools share one object.
        return conversation.model_copy(update={"tools": _tools(row.get("tools"))})


_KNOWN_TOOLS: dict[object, tuple[ToolSpec, ...]] = {}
_MOST_KNOWN_TOOLS = 1024


def _tools(tools: Any) -> tuple[ToolSpec, ...]:
    """Read a list of tools or the JSON text of one; equal ones are the same object, as long as they are remembered."""
    if not tools:
        return ()
    try:
        # Format 2 writes every value out, so equal content gives equal bytes; 1, 1.0 and true stay apart.
        key = tools if isinstance(tools, str) else marshal.dumps(tools, 2)
    except ValueError:
        return _read_tools(tools)
    known = _KNOWN_TOOLS.get(key)
    if known is None:
        if len(_KNOWN_TOOLS) >= _MOST_KNOWN_TOOLS:
            _KNOWN_TOOLS.clear()
        known = _KNOWN_TOOLS[key] = _read_tools(tools)
    return known


def _read_tools(tools: object) -> tuple[ToolSpec, ...]:
    if isinstance(tools, str):
        try:
            tools = parse_json(tools)
        except ValueError as error:
            raise DataError(f"tools: not JSON ({error}): {shorten(tools)}") from None
    if not isinstance(tools, Sequence) or isinstance(tools, str):
        raise DataError(f"tools: expected a list, got {shorten(tools)}")
    return tuple(_tool(index, tool) for index, tool in enumerate(tools))


def _tool(index: int, tool: object) -> ToolSpec:
    if not isinstance(tool, Mapping):
        raise DataError(f"tools[{index}]: expected an object, got {shorten(tool)}")
    try:
        return ToolSpec.from_openai(tool)
    except ValidationError as error:
        raise DataError(f"tools[{index}].{explain(error)}") from None


def _message(index: int, message: object) -> Message:
    if not isinstance(message, Mapping):
        raise DataError(f"messages[{index}]: expected an object, got {shorten(message)}")
    try:
        return Message.from_openai(message)
    except DataError as error:
        raise DataError(f"messages[{index}].{error}") from None
    except ValidationError as error:
        raise DataError(f"messages[{index}].{explain(error)}") from None
