"""Whether messages follow each other as a dialogue with tools must, and its tools are tools; field and remedy named.

Reads and writes no files. What a chat template can express is another question: see ``sft.encode``.
"""

import difflib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from toolwright.errors import DataError
from toolwright.records import Conversation, Message, ToolCall, ToolSpec
from toolwright.words import shorten

_MOST_TOOL_LISTS = 1024
_OFFERED: dict[int, tuple[Sequence[ToolSpec], frozenset[str]]] = {}  # by id; the list is kept, so the id stays its own


def check_conversation(conversation: Conversation) -> None:
    """Refuse a conversation that cannot be one.

    Raises:
        DataError: roles out of order, calls and results that do not belong together, a call to a tool that is not
            offered, a tool that is none, text that is not Unicode, a weight that is none; names ``messages[i].field``
            (or ``tools[i].field``) and what to do.
    """
    offered = _check_tools(conversation.tools)
    waiting: list[ToolCall] = []
    before = None
    for index, message in enumerate(conversation.messages):
        role = message.role
        try:
            if role == "tool":
                _take_result(message, waiting, before)
            else:
                _check_order(message, waiting, before)
                if message.tool_calls:
                    _check_calls(message, offered)
                    waiting = list(message.tool_calls)
            _check_words(message)
        except DataError as error:
            raise DataError(f"messages[{index}].{error}") from None
        before = role
    if not any(message.role == "assistant" for message in conversation.messages):
        raise DataError(
            f"messages: no assistant among {len(conversation.messages)} messages, so there is nothing to train; drop it"
        )


def _check_order(message: Message, waiting: Sequence[ToolCall], before: str | None) -> None:
    role = message.role
    if waiting:
        names = ", ".join(repr(call.id or call.name) for call in waiting)
        raise DataError(
            f"role: {role} while no result is there for the call {names}; add a tool message for it, or drop the call"
        )
    if role == "system" and before is not None:
        raise DataError("role: system after other messages; only the first message may be one")
    if role == "assistant" and before == "assistant":
        raise DataError("role: assistant after assistant; join the two, or put between them what the second answers")
    if role == "assistant" and before is None:
        raise DataError("role: nothing comes before this assistant message; begin with system or user")
    if message.tool_call_id is not None:
        raise DataError(f"tool_call_id: only tool messages have one, and this is of {role}; drop it")


def _check_calls(message: Message, offered: frozenset[str]) -> None:
    if message.role != "assistant":
        raise DataError(f"tool_calls: only assistant messages have them, and this is of {message.role}; drop them")
    seen = set()
    for number, call in enumerate(message.tool_calls):
        if call.id and call.id in seen:
            raise DataError(f"tool_calls[{number}].id: {call.id!r} is the id of two calls; give each its own")
        seen.add(call.id)
        if offered and call.name not in offered:
            near = difflib.get_close_matches(call.name, offered, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"offered: {shorten(sorted(offered))}"
            raise DataError(
                f"tool_calls[{number}].function.name: {call.name!r} is none of the tools; {hint} "
                "Correct the name, or add it to tools"
            )
        if _has_surrogate(call.name) or "\\ud" in repr(call.arguments):
            _require_unicode(f"tool_calls[{number}].function.name", call.name)
            text = json.dumps(call.arguments, ensure_ascii=False)
            _require_unicode(f"tool_calls[{number}].function.arguments", text)


def _take_result(message: Message, waiting: list[ToolCall], before: str | None) -> None:
    """Take the call that a tool message answers, by its id or else by order, out of those that wait for a result."""
    if message.tool_calls:
        raise DataError("tool_calls: only assistant messages have them, and this is of tool; drop them")
    if not waiting:
        what = "every call before it has its result" if before == "tool" else f"it follows {before or 'nothing'}"
        raise DataError(f"role: a tool message without a call ({what}); drop it, or add the call that it answers")
    wanted = message.tool_call_id
    if not wanted or not any(call.id for call in waiting):
        del waiting[0]
        return
    for place, call in enumerate(waiting):
        if call.id == wanted:
            del waiting[place]
            return
    known = ", ".join(repr(call.id) for call in waiting)
    raise DataError(f"tool_call_id: {wanted!r} is the id of no call that waits for a result ({known}); correct it")


def _check_words(message: Message) -> None:
    for field in ("content", "reasoning_content"):
        text = getattr(message, field)
        if text and _has_surrogate(text):
            _require_unicode(field, text)
    weight = message.loss_weight
    if weight is not None and not 0 <= weight < math.inf:
        raise DataError(f"loss_weight: expected a number that is 0 or more, got {weight!r}")


def _has_surrogate(text: str) -> bool:
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _require_unicode(field: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        around = text[max(0, error.start - 10) : error.start + 10]
        raise DataError(
            f"{field}: half of a surrogate pair, {text[error.start]!r}, at character {error.start} ({around!r}); the "
            "text was cut or decoded wrongly: take the character out"
        ) from None


def _check_tools(tools: Sequence[ToolSpec]) -> frozenset[str]:
    """The names of tools; the same list (the same object) is checked once."""
    known = _OFFERED.get(id(tools))
    if known is not None:
        return known[1]
    for index, tool in enumerate(tools):
        try:
            _check_tool(tool)
        except DataError as error:
            raise DataError(f"tools[{index}].{error} (tool {tool.name!r})") from None
        except RecursionError:
            raise DataError(f"tools[{index}].parameters: nested too deeply (tool {tool.name!r})") from None
    if len(_OFFERED) >= _MOST_TOOL_LISTS:
        _OFFERED.clear()
    names = frozenset(tool.name for tool in tools)
    _OFFERED[id(tools)] = tools, names
    return names


def _check_tool(tool: ToolSpec) -> None:
    if not tool.name.strip():
        raise DataError("name: empty; a call could not name it")
    if "\\ud" in repr((tool.name, tool.description, tool.parameters)):
        for field in ("name", "description"):
            _require_unicode(field, getattr(tool, field))
        _require_unicode("parameters", json.dumps(tool.parameters, ensure_ascii=False))
    if not _plainly_schema(tool.parameters):
        _check_schema(json.dumps(tool.parameters))


_TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})


def _plainly_schema(schema: object) -> bool:
    """Whether a schema uses common keywords only, each rightly, so that the meta-schema, 1,000 x slower, need not."""
    if not isinstance(schema, Mapping):
        return isinstance(schema, bool)
    for keyword, value in schema.items():
        right = _PLAIN.get(keyword)
        if right is None or not right(value):
            return False
    return True


def _plain_schemas(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_plainly_schema, value))


def _plain_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(n, str) for n in value) and len(set(value)) == len(value)


_PLAIN: Mapping[str, Callable[[Any], bool]] = {
    "type": lambda value: isinstance(value, str) and value in _TYPES,
    **dict.fromkeys(("title", "description", "format"), lambda value: isinstance(value, str)),
    "properties": lambda value: isinstance(value, Mapping) and all(map(_plainly_schema, value.values())),
    **dict.fromkeys(("items", "additionalProperties"), _plainly_schema),
    **dict.fromkeys(("anyOf", "oneOf", "allOf"), _plain_schemas),
    "required": _plain_names,
    **dict.fromkeys(("enum", "examples"), lambda value: isinstance(value, list)),
    **dict.fromkeys(("const", "default"), lambda value: True),
}


def _check_schema(text: str) -> None:
    wrong = _wrong_in_schema(text)
    if wrong is not None:
        raise DataError(wrong)


@lru_cache(maxsize=4096)
def _wrong_in_schema(text: str) -> str | None:
    """What the meta-schema of draft 2020-12 says against a schema."""
    from jsonschema import Draft202012Validator, SchemaError

    try:
        Draft202012Validator.check_schema(json.loads(text))
    except SchemaError as error:
        path = "parameters" + error.json_path.removeprefix("$")
        return f"{path}: not JSON Schema (draft 2020-12): {error.message[:200]}; correct the tool"
    return None
