"""What is asked of the server that was started: chat completions, whole and streamed, and tokens of a conversation."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from serve.target import Target
from toolwright.words import shorten

TIMEOUT_S = 600.0
FAILURES = (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError)
"""What a request raises when the server fails, or answers something else."""


@dataclass(frozen=True)
class Answer:
    """A reply: calls as (name, arguments as text), content, reasoning; ``cut`` when it ran out of tokens."""

    calls: tuple[tuple[str, str], ...] = ()
    content: str = ""
    reasoning: str = ""
    cut: bool = False


def ask_whole(url: str, target: Target, request: Mapping[str, Any], timeout_s: float = TIMEOUT_S) -> Answer:
    """One chat completion; raises ``FAILURES``."""
    choice = post(url, "/v1/chat/completions", target, request, timeout_s)["choices"][0]
    message = choice["message"]
    calls = tuple((c["function"]["name"], c["function"]["arguments"]) for c in message.get("tool_calls") or ())
    # vLLM has named the field of reasoning both ways.
    reasoning = message.get("reasoning_content") or message.get("reasoning") or ""
    return Answer(calls, message.get("content") or "", reasoning, choice.get("finish_reason") == "length")


def ask_streamed(url: str, target: Target, request: Mapping[str, Any], timeout_s: float = TIMEOUT_S) -> Answer:
    """One chat completion, streamed and put together; raises ``FAILURES``."""
    with _open(url, "/v1/chat/completions", target, {**request, "stream": True}, timeout_s) as response:
        return _join(_events(response))


def tokens_of(url: str, target: Target, request: Mapping[str, Any], timeout_s: float = TIMEOUT_S) -> list[int]:
    """The ids that the server makes of a conversation; raises ``FAILURES``."""
    ids = post(url, "/tokenize", target, request, timeout_s)["tokens"]
    return [int(token) for token in ids]


def post(url: str, path: str, target: Target, body: Mapping[str, Any], timeout_s: float = TIMEOUT_S) -> Any:
    """What the server answers as JSON; raises ``FAILURES``."""
    with _open(url, path, target, body, timeout_s) as response:
        return json.loads(response.read())


def server_version(url: str, target: Target) -> str:
    """The version that the server gives; "" if it gives none."""
    try:
        with _open(url, "/version", target, None, 10.0) as response:
            return str(json.loads(response.read())["version"])
    except FAILURES:
        return ""


def why(error: Exception) -> str:
    """One line on a failed request."""
    if isinstance(error, urllib.error.HTTPError):
        return " ".join(f"HTTP {error.code}: {error.read()[:300].decode(errors='replace')}".split())
    return " ".join(f"{type(error).__name__}: {error}".split())


def _open(url: str, path: str, target: Target, body: Mapping[str, Any] | None, timeout_s: float) -> Any:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {target.api_key or 'none'}"}
    request = urllib.request.Request(f"{url}{path}", json.dumps(body).encode() if body is not None else None, headers)
    # No proxy: the server is on this machine, whatever the environment says about the rest of the world.
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=timeout_s)


def _events(response: Any) -> Iterator[dict[str, Any]]:
    for line in response:
        text = line.decode().strip()
        if text.startswith("data:") and text != "data: [DONE]":
            yield json.loads(text.removeprefix("data:"))


def _join(events: Iterator[dict[str, Any]]) -> Answer:
    calls: dict[int, list[str]] = {}
    content, reasoning, cut = "", "", False
    for event in events:
        if "error" in event:
            raise ValueError(f"the stream broke off: {shorten(event['error'])}")
        for choice in event["choices"]:
            delta = choice["delta"]
            content += delta.get("content") or ""
            reasoning += delta.get("reasoning_content") or delta.get("reasoning") or ""
            cut = cut or choice.get("finish_reason") == "length"
            for call in delta.get("tool_calls") or ():
                function, parts = call["function"], calls.setdefault(call["index"], ["", ""])
                parts[0] += function.get("name") or ""
                parts[1] += function.get("arguments") or ""
    return Answer(tuple((name, arguments) for name, arguments in calls.values()), content, reasoning, cut)
