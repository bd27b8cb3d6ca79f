"""A streamed chat completion put together again: its text is shown on the way, its body is as if it had come whole."""

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

from toolwright.dialect import ContentDelta, Delta, Problem, StreamParser
from toolwright.errors import EndpointError
from toolwright.records import ToolSpec
from toolwright.words import shorten

ShowText = Callable[[ContentDelta], None]
"""Takes each piece of a reply's text as it is written."""


class StreamedCompletion:
    """Collects the chunks of one completion.

    Args:
        show: what is certain to be content or reasoning; calls that the endpoint leaves in the text are held back;
            those that cannot be read, too, where that is known in time.
        dialect: how such calls are written.
        tools: those that were offered.
    """

    def __init__(self, show: ShowText, dialect: str, tools: Sequence[ToolSpec]) -> None:
        self._show = show
        self._parser = StreamParser(dialect, tools)
        self._content, self._reasoning, self._finish_reason = "", "", ""
        self._calls: dict[int, dict[str, Any]] = {}
        self._usage: Any = None

    def feed(self, chunk: Mapping[str, Any]) -> None:
        """Take a chunk in; only the first choice counts.

        Raises:
            AttributeError, KeyError, TypeError, ValueError: it is no chunk.
        """
        self._usage = chunk.get("usage") or self._usage
        for choice in chunk.get("choices") or ():
            if choice.get("index", 0) == 0:
                self._feed_delta(choice.get("delta") or {})
                self._finish_reason = choice.get("finish_reason") or self._finish_reason

    def _feed_delta(self, delta: Mapping[str, Any]) -> None:
        if reasoning := delta.get("reasoning_content") or delta.get("reasoning"):
            self._reasoning += reasoning
            self._show(ContentDelta(reasoning, reasoning=True))
        if content := delta.get("content"):
            self._content += content
            self._show_content(self._parser.feed(content))
        for part in delta.get("tool_calls") or ():
            self._feed_call(part)

    def _feed_call(self, part: Mapping[str, Any]) -> None:
        call = self._calls.setdefault(part.get("index", 0), {"id": "", "name": "", "arguments": ""})
        function = part.get("function") or {}
        call["id"] = part.get("id") or call["id"]
        call["name"] += function.get("name") or ""
        call["arguments"] += function.get("arguments") or ""

    def _show_content(self, deltas: Sequence[Delta]) -> None:
        written = [delta for delta in deltas if isinstance(delta, ContentDelta)]
        for reasoning, group in groupby(written, key=lambda delta: delta.reasoning):
            text = without_problems("".join(delta.text for delta in group), self._parser.problems)
            if text:
                self._show(ContentDelta(text, reasoning))

    @property
    def is_complete(self) -> bool:
        """Whether the endpoint said why it ended."""
        return bool(self._finish_reason)

    def body(self) -> str:
        """The body of the completion, as the endpoint would have sent it whole."""
        self._show_content(self._parser.close())
        message: dict[str, Any] = {"role": "assistant", "content": self._content or None}
        if self._reasoning:
            message["reasoning_content"] = self._reasoning
        if self._calls:
            message["tool_calls"] = [
                {"id": call["id"], "type": "function", "function": {n: call[n] for n in ("name", "arguments")}}
                for _, call in sorted(self._calls.items())
            ]
        choice = {"index": 0, "message": message, "finish_reason": self._finish_reason}
        return json.dumps({"choices": [choice], "usage": self._usage})


def without_problems(content: str, problems: Sequence[Problem]) -> str:
    """The words of a reply without what looks like calls and cannot be read."""
    for problem in problems:
        content = content.replace(problem.text, "")
    return content


async def read_stream(pieces: AsyncIterator[bytes], completion: StreamedCompletion, url: str) -> str:
    """Feed server-sent events, in pieces as they come, into a completion; gives its body.

    Raises:
        EndpointError: the endpoint reports an error, sends nonsense, or breaks off.
    """
    try:
        async for line in _lines(pieces):
            data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
            if data and data != "[DONE]":
                _feed(completion, json.loads(data), url)
    except EndpointError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise EndpointError(
            f"{url}: the stream cannot be read ({type(error).__name__}: {shorten(str(error))}); check that base_url is "
            "an OpenAI-compatible endpoint (it ends in /v1)"
        ) from None
    except Exception as error:  # noqa: BLE001  the boundary: transports raise what they like
        raise EndpointError(_broken_off(url, f"{type(error).__name__}: {error}")) from None
    if not completion.is_complete:
        raise EndpointError(_broken_off(url, "no reason for its end came"))
    return completion.body()


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """Lines by line feeds alone: ``str.splitlines`` also splits at U+2028 and its like, which JSON texts hold."""
    rest = b""
    async for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace")
    yield rest.decode(errors="replace")


def _feed(completion: StreamedCompletion, event: Any, url: str) -> None:
    error = event.get("error")
    if error:
        text = error.get("message") if isinstance(error, dict) else error
        raise EndpointError(f"{url}: the server failed in the middle of its answer: {shorten(text)}; look at its log")
    completion.feed(event)


def _broken_off(url: str, why: str) -> str:
    return f"{url}: the answer broke off ({why}); look at the server's log"
