"""Chat clients: an OpenAI-compatible endpoint, and a script that plays a model in tests and without a key.

Both give a ``Reply``. A failed request is an ``EndpointError``; a call that cannot be read is no failure but a named
``Problem`` of the reply, with the text kept in the content.
"""

import asyncio
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self
from urllib.parse import urlsplit

from toolwright.chat_stream import ShowText, StreamedCompletion, read_stream
from toolwright.dialect import DIALECTS, Parsed, Problem, parse
from toolwright.errors import DataError, EndpointError
from toolwright.records import Message, ToolCall, ToolSpec
from toolwright.words import shorten

if TYPE_CHECKING:
    import openai


@dataclass(frozen=True)
class Reply:
    """A model's message, why it ended (``stop``, ``tool_calls``, ``length``), and what of it could not be read."""

    message: Message
    finish_reason: str
    problems: tuple[Problem, ...] = ()
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Chat(Protocol):
    """Anything that answers a conversation with a message."""

    async def complete(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], *, seed: int | None = None
    ) -> Reply:
        """Answer a conversation.

        Raises:
            EndpointError: no usable answer came.
        """
        ...


class OpenAIChat:
    """A model behind an OpenAI-compatible endpoint; use it as an async context manager, which closes the client.

    ``retries`` counts the attempts after the first one, with growing pauses, for 408, 409, 429, 5xx, timeouts and
    refused connections. ``timeout_s`` is for one attempt. ``any_api`` sends what every API takes (``for_any_api``);
    a server of our own renders the messages as they are, which is also how RL renders them. With ``on_text`` the answer
    is streamed, and each piece of its text shown as it is written.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key: str = "EMPTY",
        temperature: float = 0.0,
        max_tokens: int = 512,
        timeout_s: float = 120,
        retries: int = 4,
        dialect: str = "hermes",
        any_api: bool = True,
        on_text: ShowText | None = None,
    ) -> None:
        _check_address(base_url, api_key)
        import openai  # takes a second, which commands that ask no model should not pay

        self.url = f"{base_url.rstrip('/')}/chat/completions"
        self.model, self.dialect, self._any_api = model, dialect, any_api
        self._sampling = {"temperature": temperature, "max_tokens": max_tokens}
        self._timeout_s, self._retries, self._on_text = timeout_s, retries, on_text
        self._client = openai.AsyncOpenAI(base_url=base_url, api_key=api_key, timeout=timeout_s, max_retries=retries)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def complete(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec],
        *,
        seed: int | None = None,
        response_format: Mapping[str, Any] | None = None,
    ) -> Reply:
        """Ask the endpoint; ``response_format`` is the API's own, for content of a JSON Schema.

        Raises:
            EndpointError: names URL, status, the start of the body and what to do next.
        """
        rows = for_any_api(messages) if self._any_api else [message.to_openai() for message in messages]
        body: dict[str, Any] = {"model": self.model, "messages": rows} | self._sampling
        if tools:
            body["tools"] = [tool.to_openai() for tool in tools]
        if seed is not None:
            body["seed"] = seed
        if response_format is not None:
            body["response_format"] = response_format
        return read_reply(await self._post(body, tools), self.url, self.dialect, tools)

    async def _post(self, body: Mapping[str, Any], tools: Sequence[ToolSpec]) -> str:
        import openai

        # The client's own timeout is for each read: a server that sends a byte now and then would never meet it.
        deadline_s = self._timeout_s * (self._retries + 1) + 60 * self._retries
        try:
            async with asyncio.timeout(deadline_s):
                return await self._receive(body, tools)
        except EndpointError:
            raise
        except (TimeoutError, openai.APITimeoutError):
            raise EndpointError(
                f"{self.url}: no answer within {self._timeout_s:g} s ({self._retries + 1} attempts); "
                "raise timeout_s, lower max_tokens, or look at the server's log"
            ) from None
        except openai.APIStatusError as error:
            raise EndpointError(self._explain_status(error)) from None
        except openai.APIConnectionError as error:
            reason = error.__cause__ or error
            raise EndpointError(
                f"{self.url}: cannot connect ({type(reason).__name__}: {reason}); start the server, as with "
                "`python -m serve --model merged`, or correct base_url"
            ) from None
        except Exception as error:  # the boundary: transports raise what they like
            raise EndpointError(f"{self.url}: {type(error).__name__}: {error}; check base_url and api_key") from error

    async def _receive(self, body: Mapping[str, Any], tools: Sequence[ToolSpec]) -> str:
        completions = self._client.chat.completions
        if self._on_text is None:
            return str((await completions.with_raw_response.create(**body)).text)
        async with completions.with_streaming_response.create(**body, stream=True) as raw:
            if "text/event-stream" not in raw.headers.get("content-type", ""):
                return str(await raw.text())  # an endpoint that does not stream
            return await read_stream(raw.iter_bytes(), StreamedCompletion(self._on_text, self.dialect, tools), self.url)

    def _explain_status(self, error: "openai.APIStatusError") -> str:
        status = error.status_code
        step = _NEXT_STEP.get(status) or ("look at the server's log" if status >= 500 else "correct the request")
        text = " ".join(error.response.text.split())[:120]
        return f"{self.url}: HTTP {status} for model {self.model!r}: {text!r}; {step}"


def for_any_api(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The messages in OpenAI form, without tool messages that answer no call: hosted APIs refuse those.

    Such a message says that a call could not be read. Its text joins the result before it, since some APIs take no
    user after a tool; where the turn has no result it becomes a user's message.
    """
    rows: list[dict[str, Any]] = []
    asked: set[str] = set()
    for message in messages:
        if message.role == "assistant":
            asked = {call.id for call in message.tool_calls}
        if message.role != "tool" or message.tool_call_id in asked:
            rows.append(message.to_openai())
        elif rows and rows[-1]["role"] == "tool":
            rows[-1]["content"] = f"{rows[-1]['content']}\n{message.content or ''}"
        else:
            rows.append({"role": "user", "content": message.content or ""})
    return rows


def _check_address(base_url: str, api_key: str) -> None:
    try:
        parts = urlsplit(base_url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise EndpointError(f"base_url {base_url!r} is not a URL; write it in full, as http://localhost:8000/v1")
    if not (api_key.isascii() and api_key.isprintable() and api_key.strip()):
        raise EndpointError(f"{base_url}: api_key is empty or has characters that no key has; set it anew")


_NEXT_STEP = {
    400: "the server refuses the request: check max_tokens against its context length, and that it was started with "
    "a tool-call parser",
    401: "set api_key to a valid key",
    403: "the key may not use this model: ask for access or set another api_key",
    404: "correct base_url (it ends in /v1) or model; GET /v1/models lists what there is",
    429: "too many requests: lower the concurrency, or wait",
    503: "the server is loading or overloaded: wait, or lower the concurrency",
}


def read_reply(body: str, url: str, dialect: str = "hermes", tools: Sequence[ToolSpec] = ()) -> Reply:
    """Read the body of a chat completion; ``tools`` are those that were offered.

    A call that cannot be read, and call-like text in the content, become problems; their text stays in the content.
    A good call that the endpoint left in the text counts as a call and is named as well (kind ``unparsed``). Reasoning
    that it left there is taken out, also where the prompt had begun it and only its end is in the text.

    Raises:
        EndpointError: the body is no chat completion.
    """
    try:
        completion = json.loads(body)
        if "\\ud" in body.lower():
            # Some servers cut a character in two: half of one can be neither sent on nor written to a file.
            text = json.dumps(completion, ensure_ascii=False)
            completion = json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    except (ValueError, RecursionError):
        raise _nonsense(url, "the body is not JSON", body) from None
    choices = completion.get("choices") if isinstance(completion, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise _nonsense(url, "the body has no choices", body)
    row = choices[0].get("message")
    if not isinstance(row, dict):
        raise _nonsense(url, "the choice has no message", body)
    try:
        message, problems = _read_message(row, dialect, tools)
    except (DataError, ValueError, TypeError) as error:
        raise _nonsense(url, f"the message cannot be read ({' '.join(str(error).split())[:200]})", body) from None
    usage = completion.get("usage")
    return Reply(
        message=message,
        finish_reason=str(choices[0].get("finish_reason") or "stop"),
        problems=problems,
        prompt_tokens=_count(usage, "prompt_tokens"),
        completion_tokens=_count(usage, "completion_tokens"),
    )


def _nonsense(url: str, what: str, body: str) -> EndpointError:
    start = " ".join(body.split())[:120]
    return EndpointError(
        f"{url}: HTTP 200, but {what}: {start!r}; check that base_url is an OpenAI-compatible endpoint (it ends in /v1)"
    )


def _count(usage: object, key: str) -> int:
    value = usage.get(key) if isinstance(usage, dict) else None
    return value if isinstance(value, int) else 0


_THINK = "<think>"
_BEGUN_BEFORE = re.compile(r"((?!<think>).)*?</think>[ \t]*(\n|\Z)", re.DOTALL)


def _read_message(
    row: Mapping[str, Any], dialect: str, tools: Sequence[ToolSpec]
) -> tuple[Message, tuple[Problem, ...]]:
    content = Message.from_openai({"role": "assistant", "content": row.get("content")}).content
    reasoning = row.get("reasoning_content") or row.get("reasoning")
    begun = not reasoning and DIALECTS[dialect].think == _THINK and _BEGUN_BEFORE.match(content or "")
    parsed = parse((_THINK if begun else "") + (content or ""), dialect, tools)
    calls, broken = _read_calls(row.get("tool_calls") or (), dialect)
    problems = [*parsed.problems, *broken]
    if parsed.calls:
        problems.append(_left_in_text(content or "", parsed, dialect))
    thought = begun or (parsed.reasoning and not reasoning)
    if (parsed.calls and not calls) or (thought and not parsed.calls):
        calls, content = calls or list(parsed.calls), parsed.content
        reasoning = "\n".join(filter(None, [reasoning, parsed.reasoning])) or None
    content = "\n".join(filter(None, [content, *(problem.text for problem in broken)])) or None
    message = Message(role="assistant", content=content, reasoning_content=reasoning, tool_calls=_with_ids(calls))
    return message, tuple(problems)


def _left_in_text(content: str, parsed: Parsed, dialect: str) -> Problem:
    names = ", ".join(call.name for call in parsed.calls)
    flags = f"--enable-auto-tool-choice --tool-call-parser {DIALECTS[dialect].vllm_parser or 'NAME'}"
    detail = f"the endpoint left calls in the text ({names}); start it with its tool-call parser (vLLM: {flags})"
    return Problem("unparsed", content, detail)


def _read_calls(rows: Iterable[Any], dialect: str) -> tuple[list[ToolCall], list[Problem]]:
    calls, problems = [], []
    for row in rows:
        function = row.get("function") if isinstance(row, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str) or not function["name"]:
            problems.append(Problem("no_name", json.dumps(row), f"the call has no name: {shorten(row, 60)}"))
            continue
        try:
            calls.append(ToolCall.from_openai(row))
        except DataError as error:
            raw = f'{{"name": {json.dumps(function["name"])}, "arguments": {function.get("arguments")}}}'
            problems.append(Problem("bad_arguments", DIALECTS[dialect].form.wrap(raw), str(error)))
    return calls, problems


def _with_ids(calls: Sequence[ToolCall]) -> tuple[ToolCall, ...]:
    """Number the calls where the endpoint gave no ids or gave one twice: results are paired by id."""
    if len({call.id for call in calls if call.id}) == len(calls):
        return tuple(calls)
    return tuple(call.model_copy(update={"id": f"call_{index}"}) for index, call in enumerate(calls))


Script = Callable[[Sequence[Message], Sequence[ToolSpec]], Message]


class ScriptedChat:
    """Plays a model: from a list of messages, one for each request, or from a function of the conversation.

    Content is read for malformed calls as an endpoint's is; ``requests`` keeps what was asked.
    """

    def __init__(self, replies: Sequence[Message] | Script) -> None:
        self._script: Script | None = replies if callable(replies) else None
        self._replies = [] if callable(replies) else list(replies)
        self.requests: list[tuple[tuple[Message, ...], tuple[ToolSpec, ...]]] = []

    async def complete(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec],
        *,
        seed: int | None = None,
        response_format: Mapping[str, Any] | None = None,
    ) -> Reply:
        """Give the next reply; ``response_format`` binds nobody who plays from a script.

        Raises:
            EndpointError: the list of replies is used up.
        """
        self.requests.append((tuple(messages), tuple(tools)))
        turn = len(self.requests)
        if self._script is None and turn > len(self._replies):
            raise EndpointError(f"scripted chat: request {turn}, but the script has {len(self._replies)} replies")
        message = self._script(messages, tools) if self._script else self._replies[turn - 1]
        problems = parse(message.content or "", tools=tools).problems
        return Reply(message, "tool_calls" if message.tool_calls else "stop", problems)
