"""Arbitrary bodies against the real small engine: never a 500, and the server answers afterwards."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serve.app import open_gate
from serve.gate import Gate
from toolwright.config import ServeConfig
from toolwright.engine import Engine

TOOL = {
    "type": "function",
    "function": {"name": "add", "description": "adds", "parameters": {"type": "object", "properties": {}}},
}
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
CHAT: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "user", "content": "1 + 2?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "3"},
    ],
    "tools": [TOOL],
    "max_tokens": 3,
}
TEXT: dict[str, Any] = {"model": "m", "prompt": "1 + 2", "max_tokens": 3}
FIELDS = {
    "/v1/chat/completions": (
        CHAT,
        "model messages tools tool_choice parallel_tool_calls stream stream_options max_tokens max_completion_tokens "
        "temperature top_p seed stop stop_token_ids ignore_eos n logprobs top_logprobs response_format logit_bias "
        "chat_template_kwargs reasoning_effort return_token_ids return_tokens_as_token_ids user metadata",
    ),
    "/v1/completions": (
        TEXT,
        "model prompt stream stream_options max_tokens temperature top_p seed stop stop_token_ids ignore_eos n "
        "logprobs echo suffix best_of add_special_tokens return_token_ids",
    ),
    "/tokenize": (CHAT, "messages tools prompt add_generation_prompt add_special_tokens return_token_strs"),
    "/detokenize": ({"tokens": [1, 2]}, "tokens"),
}
WORDS = st.sampled_from(
    [
        "",
        "\x00",
        "auto",
        "required",
        "none",
        "user",
        "tool",
        "<|im_end|>",
        "</think>",
        "<tool_call>",
        "\ud800",
        "😀",
        "{",
    ]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 40)
    | st.sampled_from([10**30, -(10**30), 2**31, 2**63, 1e-320, 1e300, 0.5, -0.0])
    | WORDS
    | st.text(max_size=8)
)
KEYS = st.sampled_from(["role", "content", "type", "function", "name", "arguments", "parameters", "text", "id"]) | WORDS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


PLAUSIBLE: dict[str, st.SearchStrategy[Any]] = {
    "stream": st.booleans(),
    "temperature": st.sampled_from([0, 0.7, 1, 1e-320, 100]),
    "top_p": st.sampled_from([1, 0.5, 1e-300]),
    "seed": st.integers(),
    "n": st.integers(1, 3),
    "stop": WORDS | st.lists(WORDS | st.text(max_size=3), max_size=3),
    "stop_token_ids": st.lists(st.integers(), max_size=2),
    "ignore_eos": st.booleans(),
    "max_tokens": st.integers(1, 12) | st.just(10**40),
    "return_token_ids": st.booleans(),
    "return_tokens_as_token_ids": st.booleans(),
    "tool_choice": st.sampled_from(["none", "auto", "required", {"type": "function", "function": {"name": "add"}}]),
    "parallel_tool_calls": st.booleans(),
    "logprobs": st.booleans() | st.integers(0, 3),
    "top_logprobs": st.integers(0, 3),
    "reasoning_effort": WORDS,
    "chat_template_kwargs": st.dictionaries(st.sampled_from(["enable_thinking", "x", "messages"]), SCALARS, max_size=2),
    "prompt": WORDS | st.lists(st.integers(-1, 3000), max_size=4) | st.lists(WORDS, max_size=2),
    "tokens": st.lists(st.integers(-1, 4000), max_size=6),
}


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, bytes]:
    """A path, and a good body with plausible fields, in which up to two fields, or places inside, are anything."""
    path = draw(st.sampled_from(list(FIELDS)))
    base, names = FIELDS[path]
    body = json.loads(json.dumps(base))
    for name in draw(st.lists(st.sampled_from(sorted(PLAUSIBLE.keys() & names.split())), max_size=5)):
        body[name] = deepcopy(draw(PLAUSIBLE[name]))  # what is sampled is the same object each time, and may be spoilt
    for _ in range(draw(st.integers(0, 2))):
        if draw(st.booleans()):
            body[draw(st.sampled_from(names.split()))] = draw(VALUES)
        else:
            _spoil(draw, body)
    return path, json.dumps(body).encode()


def _spoil(draw: st.DrawFn, value: Any) -> None:
    """Put anything, or another value of the same type, somewhere inside."""
    places = [place for place in (value if isinstance(value, dict) else range(len(value))) if place != "model"]
    if not places:
        return
    place = draw(st.sampled_from(places))
    if isinstance(value[place], dict | list) and draw(st.integers(0, 9)):
        _spoil(draw, value[place])
    elif isinstance(value[place], str) and draw(st.booleans()):
        value[place] = draw(WORDS | st.text(max_size=8))
    else:
        value[place] = draw(VALUES)


Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(scope="module")
def served(small_model_dir: Path) -> Iterator[tuple[httpx.AsyncClient, Run, Any]]:
    engine = Engine.load(small_model_dir, max_batch=8, max_tokens_total=160)
    gate = Gate()
    app = open_gate(gate, engine, "m", ServeConfig(max_body_mib=1))
    with asyncio.Runner() as runner:
        context = app.router.lifespan_context(app)
        runner.run(context.__aenter__())
        client = httpx.AsyncClient(transport=httpx.ASGITransport(gate), base_url="http://m", timeout=60)
        yield client, runner.run, gate
        runner.run(client.aclose())
        runner.run(context.__aexit__(None, None, None))


def check(served: tuple[httpx.AsyncClient, Run, Any], path: str, body: bytes) -> None:
    client, run, gate = served
    response = run(client.post(path, content=body))
    assert response.status_code in (200, 400, 404), (response.status_code, response.text[:500])
    if response.status_code != 200:
        error = response.json()["error"]
        assert error["message"]
        assert error["type"] == "invalid_request_error"
        assert "\n" not in error["message"]
    elif response.headers["content-type"].startswith("text/event-stream"):
        *events, last = [event.removeprefix("data: ") for event in response.text.strip().split("\n\n")]
        assert last == "[DONE]"
        assert not any("error" in json.loads(event) for event in events)
    assert gate.metrics.under_way == gate.open == 0


@settings(max_examples=400, suppress_health_check=list(HealthCheck))
@given(request=requests())
def test_any_value_in_any_field_is_answered_or_refused(
    served: tuple[httpx.AsyncClient, Run, Any], request: tuple[str, bytes]
) -> None:
    check(served, *request)


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(path=st.sampled_from(list(FIELDS)), body=st.binary(max_size=40) | VALUES.map(lambda v: json.dumps(v).encode()))
def test_any_body_is_refused_or_answered(served: tuple[httpx.AsyncClient, Run, Any], path: str, body: bytes) -> None:
    check(served, path, body)


def test_the_server_answers_as_before(served: tuple[httpx.AsyncClient, Run, Any]) -> None:
    client, run, gate = served
    for path, (body, _) in FIELDS.items():
        assert run(client.post(path, json=body)).status_code == 200
    assert gate.metrics.text(8).count("\n# TYPE") > 5
