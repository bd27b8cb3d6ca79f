"""What clients of vLLM and OpenAI use beside chat: completions, log-probabilities, tokens, models, metrics."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import openai
import pytest
from scripted_engine import ASK, ScriptedEngine, joined, running

from toolwright.engine import Engine, GenerationRequest

TOOLS: list[Any] = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in ("get", "get_time")
]


@pytest.fixture(scope="module")
def engine(small_model_dir: Path) -> Engine:
    return Engine.load(small_model_dir, max_batch=8, max_tokens_total=512)


@pytest.fixture(scope="module")
def url(engine: Engine) -> Iterator[str]:
    with running(engine) as url:
        yield url


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def prompt(tokenizer: Any) -> list[int]:
    return list(tokenizer("The capital of", add_special_tokens=False)["input_ids"])


FIELDS: dict[str, Any] = {"model": "m", "temperature": 0, "max_tokens": 8}


@pytest.mark.parametrize("stream", [False, True])
def test_log_probabilities_are_the_engines_whole_and_streamed(
    client: openai.OpenAI, url: str, tokenizer: Any, stream: bool
) -> None:
    fields: dict[str, Any] = {**FIELDS, "temperature": 0.8, "seed": 5, "logprobs": True, "top_logprobs": 3}
    body = {"messages": ASK, "return_token_ids": True, **fields}
    answer = httpx.post(f"{url}/v1/chat/completions", json=body).json()
    rows = answer["choices"][0]["logprobs"]["content"]
    assert len(rows) == len(answer["choices"][0]["token_ids"]) == 8
    for row in rows:
        tops = [top["logprob"] for top in row["top_logprobs"]]
        assert len(tops) == 3
        assert tops == sorted(tops, reverse=True)
        assert row["logprob"] <= tops[0]
    if stream:
        chunks = list(client.chat.completions.create(messages=ASK, stream=True, **fields))
        streamed = [row.model_dump() for c in chunks for row in (c.choices[0].logprobs or _NONE).content or ()]
        assert streamed == rows
    assert answer["prompt_token_ids"] == httpx.post(f"{url}/tokenize", json={"messages": ASK}).json()["tokens"]


class _NONE:
    content = None


def test_log_probabilities_of_a_greedy_reply_are_those_of_the_model(
    url: str, engine: Engine, prompt: list[int]
) -> None:
    import torch

    body = {**FIELDS, "prompt": prompt, "logprobs": 2, "return_tokens_as_token_ids": True}
    choice = httpx.post(f"{url}/v1/completions", json=body).json()["choices"][0]
    ids = [int(token.removeprefix("token_id:")) for token in choice["logprobs"]["tokens"]]
    with torch.no_grad():
        logits = engine.model(torch.tensor([[*prompt, *ids]])).logits[0, len(prompt) - 1 : -1]
    expected = torch.log_softmax(logits, -1)
    assert choice["logprobs"]["token_logprobs"] == pytest.approx(expected.max(-1).values.tolist(), abs=1e-4)
    for top, row in zip(choice["logprobs"]["top_logprobs"], expected):
        assert list(top) == [f"token_id:{token}" for token in row.topk(2).indices.tolist()]


def test_a_prompt_is_continued_as_text_or_as_token_ids(
    client: openai.OpenAI, engine: Engine, tokenizer: Any, prompt: list[int]
) -> None:
    expected = engine.generate([GenerationRequest(tuple(prompt), 8)])[0].text
    texts = [client.completions.create(prompt=form, **FIELDS).choices[0].text for form in ("The capital of", prompt)]
    both = client.completions.create(prompt=[prompt, [7, 8]], n=2, **FIELDS)
    assert texts == [expected, expected]
    assert [choice.index for choice in both.choices] == [0, 1, 2, 3]
    assert [choice.text for choice in both.choices[:2]] == [expected] * 2
    assert both.choices[2].text == both.choices[3].text
    assert both.usage
    assert both.usage.prompt_tokens == len(prompt) + 2
    chunks = list(client.completions.create(prompt=[prompt, [7, 8]], stream=True, **FIELDS))
    for index, whole in enumerate((both.choices[0], both.choices[2])):
        mine = [chunk.choices[0] for chunk in chunks if chunk.choices[0].index == index]
        assert "".join(choice.text for choice in mine) == whole.text
        assert [choice.finish_reason for choice in mine][-1] == "length"


def test_a_completion_stops_and_has_a_short_default_length(client: openai.OpenAI, prompt: list[int]) -> None:
    fields: dict[str, Any] = {"model": "m", "prompt": prompt, "seed": 1}
    whole = client.completions.create(**fields, extra_body={"ignore_eos": True})
    assert whole.usage
    assert whole.usage.completion_tokens == 16
    stop = whole.choices[0].text[5:8]
    for stream in (False, True):
        cut: Any = client.completions.create(**fields, stop=[stop], stream=stream)
        text = "".join(chunk.choices[0].text for chunk in cut) if stream else cut.choices[0].text
        assert text == whole.choices[0].text.partition(stop)[0]


def test_stop_token_ids_end_a_reply(url: str, prompt: list[int]) -> None:
    body = {**FIELDS, "prompt": prompt, "return_token_ids": True}
    ids = httpx.post(f"{url}/v1/completions", json=body).json()["choices"][0]["token_ids"]
    stopped = httpx.post(f"{url}/v1/completions", json=body | {"stop_token_ids": [ids[0]]}).json()["choices"][0]
    assert (stopped["token_ids"], stopped["text"], stopped["finish_reason"]) == (ids[:1], "", "stop")


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        ("prompt: expected a text", {"prompt": {}}),
        ("prompt: expected a text", {"prompt": [1, "a"]}),
        ("prompt: the prompt is empty", {"prompt": []}),
        ("is not in the vocabulary", {"prompt": [10**9]}),
        ("is not in the vocabulary", {"prompt": [-1]}),
        ("prompt: 200 prompts", {"prompt": ["a"] * 200}),
        ("longer than the 511", {"prompt": [5] * 512}),
        ("logprobs: 100 replies of up to 400 tokens", {"prompt": "a", "logprobs": 20, "n": 100, "max_tokens": 400}),
        ("echo: True", {"prompt": "a", "echo": True}),
        ("logprobs: Input should be less", {"prompt": "a", "logprobs": 21}),
        ("stream_options: only with stream", {"prompt": "a", "stream_options": {"include_usage": True}}),
    ],
)
def test_a_bad_completion_request_names_its_fault(url: str, message: str, fields: dict[str, Any]) -> None:
    response = httpx.post(f"{url}/v1/completions", json=fields)
    assert response.status_code == 400
    assert message in response.json()["error"]["message"]


def test_one_model_is_found_by_its_name(client: openai.OpenAI) -> None:
    assert client.models.retrieve("m").id == "m"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("org/other")
    assert caught.value.code == "model_not_found"


def test_tokens_become_text_again(url: str, prompt: list[int]) -> None:
    answer = httpx.post(f"{url}/tokenize", json={"prompt": "The capital of", "return_token_strs": True}).json()
    assert answer["tokens"] == prompt
    assert "".join(answer["token_strs"]) == "The capital of"
    assert httpx.post(f"{url}/detokenize", json={"tokens": prompt}).json() == {"prompt": "The capital of"}
    assert httpx.post(f"{url}/detokenize", json={"tokens": [2**70]}).status_code == 400


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        ("/tokenize", {"prompt": "a", "model": "other"}, 404),
        ("/detokenize", {"tokens": [1], "model": "other"}, 404),
        ("/tokenize", {"messages": ASK, "chat_template": "{{ messages }}"}, 400),
        ("/tokenize", {"messages": ASK, "continue_final_message": True}, 400),
        ("/tokenize", {"messages": ASK, "continue_final_message": False, "model": "m"}, 200),
        ("/v1/chat/completions", {"messages": ASK, "add_special_tokens": True}, 400),
        ("/v1/chat/completions", {"messages": ASK, "add_special_tokens": False, "max_tokens": 1}, 200),
    ],
)
def test_what_would_make_other_tokens_is_never_ignored(
    url: str, path: str, fields: dict[str, Any], status: int
) -> None:
    response = httpx.post(f"{url}{path}", json=fields)
    assert response.status_code == status, response.text


def test_keywords_of_training_are_the_default_of_the_chat_template(small_model_dir: Path) -> None:
    engine = Engine.load(small_model_dir, max_tokens_total=2048)
    engine.tokenizer.chat_template += "{{ ' quiet' if mood == 'quiet' else ' loud' }}"
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}]}

    def last(url: str, **fields: Any) -> str:
        ids = httpx.post(f"{url}/tokenize", json=body | fields).json()["tokens"]
        return str(engine.tokenizer.decode(ids)).split()[-1]

    with running(engine, template_kwargs={"mood": "quiet"}) as url:
        assert last(url) == "quiet"
        assert last(url, chat_template_kwargs={"other": 1}) == "quiet"
        assert last(url, chat_template_kwargs={"mood": "loud"}) == "loud"
        count = len(httpx.post(f"{url}/tokenize", json=body).json()["tokens"])
        answer = httpx.post(f"{url}/v1/chat/completions", json={**body, **FIELDS}).json()
        assert answer["usage"]["prompt_tokens"] == count


def test_metrics_are_in_the_form_of_prometheus(url: str) -> None:
    before = read_metrics(url)
    httpx.post(f"{url}/v1/completions", json={**FIELDS, "prompt": [5, 6], "stream": True, "ignore_eos": True})
    httpx.post(f"{url}/v1/completions", json={"prompt": {}})
    httpx.get(f"{url}/some/strange/path")
    after = read_metrics(url)

    def more(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert more("toolwright_requests_total") == 1
    assert more("toolwright_prompt_tokens_total") == 2
    assert more("toolwright_generation_tokens_total") == 8
    assert more('toolwright_responses_total{path="/v1/completions",code="200"}') == 1
    assert more('toolwright_responses_total{path="/v1/completions",code="400"}') == 1
    assert more('toolwright_responses_total{path="other",code="404"}') == 1
    assert more("toolwright_time_to_first_token_seconds_count") == 1
    assert more('toolwright_request_seconds_bucket{le="+Inf"}') == 1
    assert after["toolwright_choices_running"] == after["toolwright_choices_waiting"] == 0
    assert after["toolwright_resident_memory_bytes"] > 2**20


def read_metrics(url: str) -> dict[str, float]:
    response = httpx.get(f"{url}/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    values = {}
    for line in response.text.splitlines():
        found = re.fullmatch(r"# (?:HELP|TYPE) \w+ .+|(\w+(?:\{[^}]*\})?) (\S+)", line)
        assert found, line
        if found[1]:
            values[found[1]] = float(found[2])
    return values


@pytest.fixture(scope="module")
def scripted(tokenizer: Any) -> Iterator[tuple[ScriptedEngine, str, openai.OpenAI]]:
    engine = ScriptedEngine(tokenizer, lambda prompt: "")
    with running(engine) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield engine, url, client


def test_a_named_tool_whose_name_begins_another_is_written_to_its_end(
    scripted: tuple[ScriptedEngine, str, openai.OpenAI],
) -> None:
    engine, _, client = scripted
    engine.reply = lambda prompt: ', "arguments": {}}\n</tool_call>\n<tool_call>\n{"name": "get_time"}\n</tool_call>'
    choice: Any = {"type": "function", "function": {"name": "get"}}
    fields: dict[str, Any] = {"tools": TOOLS, "tool_choice": choice}
    calls = client.chat.completions.create(model="m", messages=ASK, **fields).choices[0].message.tool_calls
    assert [call.function.name for call in calls or ()] == ["get"]
    assert engine.prompts[-1].endswith('{"name": "get"')
    assert [call["name"] for call in joined(client, **fields)[0]["calls"].values()] == ["get"]


@pytest.mark.parametrize("reply", ["get_time", "no, I will not"])
def test_a_required_call_that_does_not_come_is_text_and_counted(
    scripted: tuple[ScriptedEngine, str, openai.OpenAI], reply: str
) -> None:
    engine, url, _client = scripted
    engine.reply = lambda prompt: reply

    def missed() -> int:
        return int(httpx.get(f"{url}/health").json()["missed_calls"])

    before = missed()
    for stream in (False, True):
        body = {"messages": ASK, "tools": TOOLS, "tool_choice": "required", "stream": stream}
        response = httpx.post(f"{url}/v1/chat/completions", json=body)
        assert response.status_code == 200
        assert json.dumps(reply)[1:-1] in response.text
    assert missed() == before + 2
