"""Virtual replies: a language model plays the API, held to the schema of its replies; see ``generate`` for without.

The model sees the tool, the arguments, up to three real replies and what was said before in the conversation.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from mcpserver.api.cache import Example
from mcpserver.api.validation import faults
from toolwright.chat import Reply
from toolwright.errors import DataError, EndpointError
from toolwright.records import Message, ToolSpec
from toolwright.words import cut, shorten

ATTEMPTS = 3
MAX_EXAMPLES = 3
MAX_EARLIER = 6
_MAX_SHOWN = 4000
_MAX_EARLIER_SHOWN = 1500
_ORDERS = (
    "You play the server of an API in a simulation. Answer the call as that server would, with the body of the reply: "
    "one JSON value and nothing else. Make up concrete, plausible data: real-looking names, numbers and dates, no "
    "placeholders, no remarks that it is simulated. Use the form of the real replies if some are shown. Agree with the "
    "earlier replies of this conversation: the same id is the same thing, and what was created, changed or deleted "
    "stays so. Repeat the arguments where the reply has such fields. Today is 2025-03-17."
)


class Writer(Protocol):
    """A chat model that can be held to a format."""

    async def complete(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec],
        *,
        seed: int | None = None,
        response_format: Mapping[str, Any] | None = None,
    ) -> Reply:
        """Answer a conversation; see ``toolwright.chat``."""
        ...


class Earlier(NamedTuple):
    """A call of this conversation and the reply that it got."""

    tool: str
    arguments: str
    reply: str


def show_earlier(earlier: Sequence[Earlier]) -> list[dict[str, str]]:
    """The last calls as the model sees them."""
    return [
        {"call": f"{one.tool} {cut(one.arguments, 400)}", "reply": cut(one.reply, _MAX_EARLIER_SHOWN)}
        for one in earlier[-MAX_EARLIER:]
    ]


async def write_reply(
    writer: Writer,
    spec: ToolSpec,
    arguments: str,
    schema: dict[str, Any] | None,
    examples: Sequence[Example],
    earlier: Sequence[Earlier],
) -> str | None:
    """A reply as JSON text that the schema takes; None when the model gives none in three attempts.

    Raises:
        EndpointError: the model's endpoint does not answer.
    """
    messages = [
        Message(role="system", content=_ORDERS),
        Message(role="user", content=_ask(spec, arguments, schema, examples, earlier)),
    ]
    for _ in range(ATTEMPTS):
        text = await _complete(writer, messages, schema)
        value, problem = _read(text, schema)
        if not problem:
            return json.dumps(value, ensure_ascii=False)
        messages += [
            Message(role="assistant", content=cut(text, _MAX_SHOWN) or "(nothing)"),
            Message(role="user", content=f"That cannot be used: {problem}. Write the whole body again, corrected."),
        ]
    return None


def _ask(
    spec: ToolSpec,
    arguments: str,
    schema: dict[str, Any] | None,
    examples: Sequence[Example],
    earlier: Sequence[Earlier],
) -> str:
    parts = [
        f"API: {spec.name}\n{cut(spec.description, 2000)}",
        f"Parameters: {cut(json.dumps(spec.parameters), 6000)}",
    ]
    if schema is not None:
        parts.append(f"JSON Schema of the reply: {cut(json.dumps(schema), 12_000)}")
    parts += [
        f"A real reply to {cut(example.arguments, 400)}:\n{cut(example.reply, _MAX_SHOWN)}"
        for example in examples[:MAX_EXAMPLES]
    ]
    if earlier:
        parts.append(f"Earlier in this conversation: {json.dumps(show_earlier(earlier), ensure_ascii=False)}")
    parts.append(f"The call to answer: {spec.name} {arguments}")
    return "\n\n".join(parts)


async def _complete(writer: Writer, messages: Sequence[Message], schema: dict[str, Any] | None) -> str:
    form: dict[str, Any] | None = {"type": "json_object"}
    if schema is not None:
        named = {"name": "reply", "schema": schema, "strict": False}
        form = {"type": "json_schema", "json_schema": named} if schema.get("type") == "object" else None
    try:
        reply = await writer.complete(messages, (), response_format=form)
    except EndpointError as error:
        if form is None or "HTTP 400" not in str(error):
            raise
        reply = await writer.complete(messages, ())  # not every endpoint knows this field, or each schema
    return reply.message.content or ""


def _read(text: str, schema: dict[str, Any] | None) -> tuple[Any, str]:
    """The JSON value of a model's text, and what is wrong with it."""
    value, problem = _parse(text)
    if problem or schema is None:
        return value, problem
    try:
        found = faults(schema, value)
    except DataError as error:
        return None, str(error)
    return value, "; ".join(found)


def _parse(text: str) -> tuple[Any, str]:
    stripped = re.sub(r"\A```\w*\n|\n?```\Z", "", text.strip())
    start = re.search(r"[\[{]", stripped)
    end = max(stripped.rfind("}"), stripped.rfind("]"))
    tries = [stripped, *([stripped[start.start() : end + 1]] if start and end > start.start() else [])]
    for candidate in tries:
        try:
            return json.loads(candidate, parse_constant=_refuse), ""
        except (ValueError, RecursionError):
            continue
    return None, f"it is not JSON: {shorten(text, 80)}"


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")
