"""The small server against the real ``openai`` client; a scripted engine writes the replies."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2 as httpx
import openai
import pytest
from scripted_engine import ASK, ScriptedEngine, joined, running

from toolwright.dialect import render_prompt
from toolwright.engine import Event
from toolwright.records import Message, ToolSpec

CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>'
OTHER_CALL = '<tool_call>\n{"name": "sub", "arguments": {"a": 1}}\n</tool_call>'
BROKEN_CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1,}\n</tool_call>'
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {"name": name, "description": name, "parameters": {"type": "object", "properties": {}}},
    }
    for name in ("add", "sub")
]


@pytest.fixture(scope="module")
def engine(tokenizer: Any) -> ScriptedEngine:
    return ScriptedEngine(tokenizer, lambda prompt: "")


@pytest.fixture(scope="module")
def url(engine: ScriptedEngine) -> Iterator[str]:
    with running(engine) as url:
        yield url


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def says(engine: ScriptedEngine) -> Callable[[str], None]:
    """``says(text)``: from now on the model writes this."""

    def says(text: str) -> None:
        engine.reply = lambda prompt: text

    return says


def whole(client: openai.OpenAI, **fields: Any) -> Any:
    return client.chat.completions.create(model="m", messages=ASK, **fields)


REPLIES = {
    "a call": (CALL, None, ["add"], "tool_calls"),
    "text": ("It is 3. Ünïcödé 😀 works.", "It is 3. Ünïcödé 😀 works.", [], "stop"),
    "text and two calls": (f"Adding.\n{CALL}\n{OTHER_CALL}", "Adding.\n", ["add", "sub"], "tool_calls"),
    "a malformed call": (BROKEN_CALL, BROKEN_CALL, [], "stop"),
    "a call that is cut off": (CALL[:40], CALL[:40], [], "stop"),
    "nothing": ("", None, [], "stop"),
}


@pytest.mark.parametrize("name", REPLIES)
def test_a_reply_is_read_the_same_whole_and_streamed(
    client: openai.OpenAI, says: Callable[[str], None], name: str
) -> None:
    text, content, calls, finish = REPLIES[name]
    says(text)
    choice = whole(client, tools=TOOLS).choices[0]
    assert (choice.message.content or "").strip() == (content or "").strip()
    assert [call.function.name for call in choice.message.tool_calls or ()] == calls
    assert choice.finish_reason == finish
    streamed = joined(client, tools=TOOLS)[0]
    assert streamed["content"] == (choice.message.content or "")
    assert streamed["finish"] == finish
    assert [(c["name"], json.loads(c["arguments"])) for c in streamed["calls"].values()] == [
        (c.function.name, json.loads(c.function.arguments)) for c in choice.message.tool_calls or ()
    ]


def test_malformed_calls_are_counted(client: openai.OpenAI, says: Callable[[str], None], url: str) -> None:
    def count() -> int:
        return int(httpx.get(f"{url}/health").json()["malformed_calls"])

    says(BROKEN_CALL)
    before = count()
    whole(client, tools=TOOLS)
    joined(client, tools=TOOLS)
    assert count() == before + 2


def test_reasoning_is_kept_apart_from_the_content(client: openai.OpenAI, says: Callable[[str], None]) -> None:
    says(f"<think>\nhm\n</think>\n\n{CALL}")
    message = whole(client, tools=TOOLS).choices[0].message
    assert message.model_extra["reasoning_content"].strip() == "hm"
    assert joined(client, tools=TOOLS)[0]["reasoning"].strip() == "hm"


def test_the_same_request_gets_the_same_call_ids_and_calls_have_different_ones(
    client: openai.OpenAI, says: Callable[[str], None]
) -> None:
    says(f"{CALL}\n{OTHER_CALL}")
    first, again = (whole(client, tools=TOOLS, seed=1).choices[0].message.tool_calls for _ in range(2))
    assert [call.id for call in first] == [call.id for call in again]
    assert len({call.id for call in first}) == 2


@pytest.mark.parametrize("fields", [{}, {"tools": TOOLS, "tool_choice": "none"}])
def test_calls_stay_text_where_no_tools_are_on_offer(
    client: openai.OpenAI, engine: ScriptedEngine, says: Callable[[str], None], fields: dict[str, Any]
) -> None:
    says(CALL)
    choice = whole(client, **fields).choices[0]
    assert (choice.message.content, choice.message.tool_calls, choice.finish_reason) == (CALL, None, "stop")
    assert joined(client, **fields)[0]["content"] == CALL
    assert "<tools>" not in engine.prompts[-1]


@pytest.mark.parametrize(
    ("tool_choice", "opening", "rest"),
    [
        ("required", '<tool_call>\n{"name": "', CALL.partition('"name": "')[2]),
        ({"type": "function", "function": {"name": "add"}}, '<tool_call>\n{"name": "add', CALL.partition("add")[2]),
    ],
)
def test_a_required_call_is_begun_for_the_model(
    client: openai.OpenAI,
    engine: ScriptedEngine,
    says: Callable[[str], None],
    tool_choice: Any,
    opening: str,
    rest: str,
) -> None:
    says(rest)
    message = whole(client, tools=TOOLS, tool_choice=tool_choice).choices[0].message
    assert [call.function.name for call in message.tool_calls] == ["add"]
    assert engine.prompts[-1].endswith(f"<|im_start|>assistant\n{opening}")
    assert joined(client, tools=TOOLS, tool_choice=tool_choice)[0]["calls"][0]["name"] == "add"


def test_one_call_at_most_when_parallel_calls_are_not_wanted(
    client: openai.OpenAI, says: Callable[[str], None]
) -> None:
    says(f"{CALL}\n{OTHER_CALL}")
    fields = {"tools": TOOLS, "parallel_tool_calls": False}
    assert len(whole(client, **fields).choices[0].message.tool_calls) == 1
    assert list(joined(client, **fields)[0]["calls"]) == [0]


def test_stop_strings_limits_choices_and_usage(client: openai.OpenAI, says: Callable[[str], None]) -> None:
    says("one two three four")
    reply = whole(client, stop=["three"])
    assert (reply.choices[0].message.content, reply.choices[0].finish_reason) == ("one two ", "stop")
    assert joined(client, stop="three")[0]["content"] == "one two "
    reply = whole(client, max_completion_tokens=2, n=3)
    assert [choice.finish_reason for choice in reply.choices] == ["length"] * 3
    assert reply.usage.completion_tokens == 6
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + 6
    assert sorted(joined(client, n=3)) == [0, 1, 2]


def test_usage_comes_last_in_a_stream_that_asks_for_it(client: openai.OpenAI, says: Callable[[str], None]) -> None:
    says("one two")
    options: Any = {"include_usage": True}
    chunks = list(client.chat.completions.create(model="m", messages=ASK, stream=True, stream_options=options))
    assert [chunk.usage is None for chunk in chunks] == [True] * (len(chunks) - 1) + [False]
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == whole(client).usage.completion_tokens


def test_a_stream_is_server_sent_events_that_end_with_done(url: str, says: Callable[[str], None]) -> None:
    says("hello there")
    body = {"messages": ASK, "stream": True}
    response = httpx.post(f"{url}/v1/chat/completions", json=body)
    assert response.headers["content-type"].startswith("text/event-stream")
    events = response.text.strip().split("\n\n")
    assert events[-1] == "data: [DONE]"
    assert all(json.loads(event.removeprefix("data: "))["object"] == "chat.completion.chunk" for event in events[:-1])


def test_logprobs_of_the_tokens(client: openai.OpenAI, says: Callable[[str], None]) -> None:
    says("one two")
    choice = whole(client, logprobs=True).choices[0]
    text = "".join(row.token for row in choice.logprobs.content)
    assert text == "one two<|im_end|>"
    assert choice.logprobs.content[0].logprob == -0.5


def test_tool_history_and_text_parts_reach_the_template(
    client: openai.OpenAI, engine: ScriptedEngine, says: Callable[[str], None]
) -> None:
    says("3")
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    messages: list[Any] = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "1 + "}, {"type": "text", "text": "2?"}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "three"},
    ]
    client.chat.completions.create(model="m", messages=messages, tools=TOOLS)
    prompt = engine.prompts[-1]
    assert all(text in prompt for text in ("system\nBe brief.", "1 + 2?", '{"name": "add", "arguments": {"a": 1}}'))
    assert "<tool_response>\nthree" in prompt


BAD_REQUESTS = {
    "messages: List should have at least 1 item": {"messages": []},
    "messages: Field required": {"messages": None, "drop": "messages"},
    "messages[0].role: expected system, user": {"messages": [{"role": "robot", "content": "x"}]},
    "messages[0].content: expected text": {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
    "temperature: Input should be greater": {"temperature": -1},
    "top_p: Input should be greater than 0": {"top_p": 0},
    "max_tokens: Input should be": {"max_tokens": 0},
    "stop: an empty string": {"stop": ""},
    "n: Input should be less": {"n": 1000},
    "tools[0]: tool without a name": {"tools": [{"type": "function", "function": {}}]},
    "tools[0].type: expected function": {"tools": [{"type": "code"}]},
    "tool_choice: 'required' without tools": {"tool_choice": "required"},
    "is none of the tools: add, sub": {"tools": TOOLS, "tool_choice": {"function": {"name": "mul"}}},
    "tool_choice: expected none, auto": {"tools": TOOLS, "tool_choice": "perhaps"},
    "response_format: {'type': 'json_object'}": {"response_format": {"type": "json_object"}},
    "top_logprobs: only with logprobs": {"top_logprobs": 5},
    "top_logprobs: Input should be less": {"logprobs": True, "top_logprobs": 21},
    "frequency_penalty: 0.5": {"frequency_penalty": 0.5},
    "chat_template_kwargs: ": {"chat_template_kwargs": {"messages": []}},
    "longer than the 599": {"messages": [{"role": "user", "content": "many words " * 600}]},
}


@pytest.mark.parametrize("message", BAD_REQUESTS)
def test_a_bad_request_is_answered_with_400_and_its_fault(url: str, message: str) -> None:
    body: dict[str, Any] = {"model": "m", "messages": ASK} | BAD_REQUESTS[message]
    body.pop(body.pop("drop", ""), None)
    response = httpx.post(f"{url}/v1/chat/completions", json=body)
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert message in error["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_answered_with_400(url: str, body: bytes) -> None:
    assert httpx.post(f"{url}/v1/chat/completions", content=body).status_code == 400


def test_neutral_values_of_fields_that_are_not_supported_are_accepted(
    client: openai.OpenAI, says: Callable[[str], None]
) -> None:
    says("ok")
    fields: dict[str, Any] = {"frequency_penalty": 0, "response_format": {"type": "text"}, "user": "someone"}
    assert whole(client, **fields, extra_body={"top_k": -1}).choices[0].message.content == "ok"


def test_another_model_and_another_path_are_not_found(url: str) -> None:
    response = httpx.post(f"{url}/v1/chat/completions", json={"model": "gpt", "messages": ASK})
    assert response.status_code == 404
    assert "ask for 'm'" in response.json()["error"]["message"]
    assert httpx.get(f"{url}/v1/nothing").json()["error"]["code"] == 404


def test_the_model_is_listed(client: openai.OpenAI) -> None:
    assert [(model.id, model.max_model_len) for model in client.models.list().data] == [("m", 600)]


def test_tokenize_gives_the_ids_that_a_chat_is_prompted_with(
    client: openai.OpenAI, engine: ScriptedEngine, url: str, tokenizer: Any
) -> None:
    answer = httpx.post(f"{url}/tokenize", json={"messages": ASK, "tools": TOOLS}).json()
    text = render_prompt(tokenizer, [Message(role="user", content="1 + 2?")], [ToolSpec.from_openai(t) for t in TOOLS])
    assert answer["tokens"] == tokenizer(text, add_special_tokens=False)["input_ids"]
    assert answer["count"] == len(answer["tokens"]) == whole(client, tools=TOOLS).usage.prompt_tokens
    assert httpx.post(f"{url}/tokenize", json={"prompt": "hello"}).json()["count"] > 0
    assert httpx.post(f"{url}/tokenize", json={}).status_code == 400


def read_a_little(client: httpx.Client, url: str, body: Any) -> None:
    with client.stream("POST", url, json=body) as response:
        for _ in response.iter_lines():
            raise httpx.ReadTimeout("seen enough")


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_frees_its_slot(
    engine: ScriptedEngine, says: Callable[[str], None], url: str, stream: bool
) -> None:
    says("word " * 3000)  # a minute's reply
    engine.pause_s = 0.02
    try:
        body = {"messages": ASK, "stream": stream}
        with httpx.Client(timeout=httpx.Timeout(30, read=0.3)) as client, pytest.raises(httpx.ReadTimeout):
            read_a_little(client, f"{url}/v1/chat/completions", body)
        deadline = time.monotonic() + 30
        while engine.busy and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not engine.busy
    finally:
        engine.pause_s = 0.0


def test_an_engine_that_fails_is_a_500_and_the_server_lives_on(
    engine: ScriptedEngine, says: Callable[[str], None], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> list[Event]:
        raise RuntimeError("no memory")

    says("fine")
    with monkeypatch.context() as patch:
        patch.setattr(engine, "step", broken)
        response = httpx.post(f"{url}/v1/chat/completions", json={"messages": ASK})
        assert response.status_code == 500
        assert response.json()["error"]["message"] == "RuntimeError: no memory"
        streamed = httpx.post(f"{url}/v1/chat/completions", json={"messages": ASK, "stream": True}).text
        assert "no memory" in streamed
    assert httpx.post(f"{url}/v1/chat/completions", json={"messages": ASK}).status_code == 200


def test_a_key_is_asked_for_where_one_is_set(tokenizer: Any) -> None:
    with running(ScriptedEngine(tokenizer, lambda prompt: "hi"), api_key="sésame") as url:
        assert httpx.get(f"{url}/v1/models").status_code == 401
        for words, status in (
            ("Bearer wrong", 401),
            ("sésame", 401),
            ("Basic sésame", 401),
            ("Bearer sésame", 200),
            ("bearer  sésame", 200),
        ):
            headers = {"Authorization": words.encode()}
            assert httpx.get(f"{url}/v1/models", headers=headers).status_code == status, words
        assert httpx.get(f"{url}/health").status_code == 200
