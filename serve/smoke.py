"""The proof at start: a request with one tool comes back as a parsed call, whole and streamed alike.

Reads ``train.jsonl`` of the run, if it is there, for a question of the kind that the model was trained on.
"""

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from serve.target import Target
from toolwright.config import RunConfig
from toolwright.records import Conversation
from toolwright.stage import run_dir
from toolwright.words import shorten

TIMEOUT_S = 600.0
MAX_TOKENS = 1024
"""Enough for a model that reasons before it calls."""
WEATHER = {
    "messages": [{"role": "user", "content": "What is the weather in Paris right now? Use the tool."}],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "get_weather",
                "description": "Get the current weather of a city",
                "parameters": {
                    "type": "object",
                    "properties": {"city": {"type": "string", "description": "name of the city"}},
                    "required": ["city"],
                },
            },
        }
    ],
}


@dataclass(frozen=True)
class Outcome:
    """What came back: the calls as (name, arguments as text), or the text instead; ``error`` where nothing did.

    ``cut``: the text is that of a reply, or of its reasoning, which had not come to an end.
    """

    whole: tuple[tuple[str, str], ...] = ()
    streamed: tuple[tuple[str, str], ...] = ()
    text: str = ""
    streamed_text: str = ""
    error: str = ""
    cut: bool = False

    @property
    def passed(self) -> bool:
        """Whether a call came back, both ways the same."""
        return not self.error and bool(self.whole) and _same(self.whole, self.streamed)


def _same(whole: tuple[tuple[str, str], ...], streamed: tuple[tuple[str, str], ...]) -> bool:
    try:
        return [(n, json.loads(a)) for n, a in whole] == [(n, json.loads(a)) for n, a in streamed]
    except ValueError:
        return False


def smoke_request(config: RunConfig, target: Target) -> dict[str, Any]:
    """The request to try: the first question of the run with one call, else one about the weather."""
    request = _from_run(config) or WEATHER
    return {"model": target.name, "temperature": 0, "max_tokens": MAX_TOKENS, **request}


def _from_run(config: RunConfig) -> dict[str, Any] | None:
    path = run_dir(config) / "train.jsonl"
    if not path.is_file():
        return None
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            try:
                conversation = Conversation.from_row(json.loads(line))
            except ValueError:
                return None  # whether the file is right is the stages' business
            calls = conversation.plan.calls if conversation.plan else ()
            if conversation.mode == "single" and len(calls) == 1:
                first = [message.role for message in conversation.messages].index("assistant")
                tools = [tool for tool in conversation.tools if tool.name == calls[0].name]
                return {
                    "messages": [message.to_openai() for message in conversation.messages[:first]],
                    "tools": [tool.to_openai() for tool in tools],
                }
    return None


def smoke_test(url: str, target: Target, request: Mapping[str, Any], timeout_s: float = TIMEOUT_S) -> Outcome:
    """Send the request, first whole and then streamed."""
    try:
        with _post(url, target, request, timeout_s) as response:
            choice = json.loads(response.read())["choices"][0]
        message = choice["message"]
        whole = tuple((c["function"]["name"], c["function"]["arguments"]) for c in message.get("tool_calls") or ())
        with _post(url, target, {**request, "stream": True}, timeout_s) as response:
            streamed, streamed_text = _join(_events(response))
    except urllib.error.HTTPError as error:
        return Outcome(error=f"HTTP {error.code}: {error.read()[:300].decode(errors='replace')}")
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        return Outcome(error=f"{type(error).__name__}: {error}")
    # vLLM has named the field of reasoning both ways.
    text = message.get("content") or message.get("reasoning_content") or message.get("reasoning") or ""
    return Outcome(whole, streamed, text, streamed_text, cut=choice.get("finish_reason") == "length")


def _post(url: str, target: Target, body: Mapping[str, Any], timeout_s: float) -> Any:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {target.api_key or 'none'}"}
    data = json.dumps(body).encode()
    request = urllib.request.Request(f"{url}/v1/chat/completions", data, headers)
    # No proxy: the server is on this machine, whatever the environment says about the rest of the world.
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=timeout_s)


def _events(response: Any) -> Iterator[dict[str, Any]]:
    for line in response:
        text = line.decode().strip()
        if text.startswith("data:") and text != "data: [DONE]":
            yield json.loads(text.removeprefix("data:"))


def _join(events: Iterator[dict[str, Any]]) -> tuple[tuple[tuple[str, str], ...], str]:
    calls: dict[int, list[str]] = {}
    text = ""
    for event in events:
        if "error" in event:
            raise ValueError(f"the stream broke off: {shorten(event['error'])}")
        for choice in event["choices"]:
            text += choice["delta"].get("content") or ""
            for call in choice["delta"].get("tool_calls") or ():
                function, parts = call["function"], calls.setdefault(call["index"], ["", ""])
                parts[0] += function.get("name") or ""
                parts[1] += function.get("arguments") or ""
    return tuple((name, arguments) for name, arguments in calls.values()), text


def report(outcome: Outcome) -> bool:
    """Print one line about the outcome; whether it is good."""
    if outcome.passed:
        shown = ", ".join(f"{name}({arguments})" for name, arguments in outcome.whole)
        print(f"smoke: ok, parsed whole and streamed: {shorten(shown, 200)[1:-1]}", flush=True)
        return True
    print(f"smoke: warning: {explain(outcome)}", file=sys.stderr, flush=True)
    return False


def explain(outcome: Outcome) -> str:
    """Why an outcome is not good."""
    if outcome.error:
        return f"the request failed: {' '.join(outcome.error.split())}"
    if outcome.whole:
        got = shorten(outcome.streamed or outcome.streamed_text, 200)
        return f"a call came back parsed, but streamed it was {got} instead of {shorten(outcome.whole, 200)}"
    end = " and had not ended when its tokens were used up" if outcome.cut else ""
    return (
        f"no call came back parsed; the model wrote {shorten(outcome.text, 300)}{end}. A base model may do that; "
        "a trained one should not"
    )
