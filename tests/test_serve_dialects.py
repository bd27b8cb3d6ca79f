"""Replies of models of every family over HTTP, whole and streamed: calls, untyped arguments, opened reasoning."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai
import pytest
from dialect_checks import TOOL, assistant, call
from families import family_tokenizer, template_names, template_text
from scripted_engine import ScriptedEngine, joined, running

from toolwright.dialect import DIALECTS, check_template, dialect_for, render_assistant
from toolwright.records import Message

TEMPLATES = [n for n in template_names() if any(entry.recognises(template_text(n)) for entry in DIALECTS.values())]
UNTYPED = ("qwen3_5_think", "nemotron_3_nano", "glm4moe", "muse_glimmer")
OPENED = ("qwen3_5_think", "qwen3_6", "nemotron_3_nano", "deepseekv3")
OFFER: dict[str, Any] = {"tools": [TOOL.to_openai()]}


@contextmanager
def model(template: str) -> Iterator[tuple[ScriptedEngine, openai.OpenAI]]:
    engine = ScriptedEngine(family_tokenizer(template), lambda prompt: "")
    engine.max_tokens_total = 4000
    with running(engine) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield engine, client


def answers(template: str, reply: str, **fields: Any) -> tuple[dict[str, Any], str]:
    """What comes back, the same whole and streamed, when the model writes ``reply``; and the prompt.

    Where the prompt has opened the reasoning, the model goes on from there.
    """

    def go_on(prompt: str) -> str:
        if not prompt.endswith("<think>\n"):
            return reply
        return reply.removeprefix("<think>\n") if reply.startswith("<think>") else f"</think>\n\n{reply}"

    with model(template) as (engine, client):
        engine.reply = go_on
        choice = client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "QUESTION"}], **fields
        ).choices[0]
        streamed = joined(client, **fields)[0]
    got = {
        "content": choice.message.content or "",
        "reasoning": getattr(choice.message, "reasoning_content", None) or "",
        "calls": [(c.function.name, json.loads(c.function.arguments)) for c in choice.message.tool_calls or ()],
        "finish": choice.finish_reason,
    }
    calls = [(c["name"], json.loads(c["arguments"])) for c in streamed["calls"].values()]
    assert {**streamed, "calls": calls} == got
    return got, engine.prompts[0]


def written(template: str, message: Message) -> str:
    return render_assistant(message, dialect_for("any", template_text(template)), (TOOL,))


SERVED = (
    "gemma4",
    "glm4moe",
    "lfm2_v2",
    "llama3_1",
    "llama3_2",
    "nemotron_3_nano",
    "qwen2_5",
    "qwen3",
    "qwen3_5_think",
)


@pytest.mark.parametrize("template", SERVED)
def test_a_chat_template_that_shows_tools_is_let_in(template: str) -> None:
    check_template(family_tokenizer(template), template)


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_call_in_the_words_of_a_chat_template_comes_back_parsed(template: str) -> None:
    got, _ = answers(template, written(template, assistant(call(city="Oslo", days=7))), **OFFER)
    assert (got["calls"], got["finish"]) == ([("get_weather", {"city": "Oslo", "days": 7})], "tool_calls")
    assert got["content"].strip() == got["reasoning"].strip() == ""


@pytest.mark.parametrize("template", UNTYPED)
def test_a_string_that_looks_like_a_number_stays_one_by_the_schema_of_its_tool(template: str) -> None:
    message = assistant(call(digits="7", word="true", days=7))
    got, _ = answers(template, written(template, message), **OFFER)
    assert got["calls"] == [("get_weather", {"digits": "7", "word": "true", "days": 7})]


@pytest.mark.parametrize("offer", [OFFER, {}])
@pytest.mark.parametrize("template", [*OPENED, "qwen3_5_nothink", "qwen3"])
def test_reasoning_that_the_prompt_has_opened_is_no_content(template: str, offer: dict[str, Any]) -> None:
    got, prompt = answers(template, "<think>\nEasy.\n</think>\n\nSunny.", **offer)
    assert prompt.endswith("<think>\n") == (template in OPENED)
    assert (got["content"].strip(), got["reasoning"].strip(), got["calls"]) == ("Sunny.", "Easy.", [])


@pytest.mark.parametrize("template", OPENED)
def test_a_call_after_opened_reasoning_is_a_call_and_one_inside_it_is_none(template: str) -> None:
    text = written(template, assistant(call(city="Oslo")))
    got, _ = answers(template, f"<think>\nPerhaps {text}?\n</think>\n\n{text}", **OFFER)
    assert got["calls"] == [("get_weather", {"city": "Oslo"})]
    assert got["reasoning"] == f"Perhaps {text}?"


@pytest.mark.parametrize("template", OPENED)
def test_opened_reasoning_that_never_ends_stays_reasoning(template: str) -> None:
    got, _ = answers(template, "<think>\nHm, hm", **OFFER)
    assert (got["content"], got["reasoning"]) == ("", "Hm, hm")


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_call_that_the_client_requires_is_begun_where_the_model_would_begin_it(template: str) -> None:
    begin, name, rest = written(template, assistant(call(city="Oslo"))).partition("get_weather")
    choice = {"type": "function", "function": {"name": "get_weather"}}
    got, prompt = answers(template, rest, **OFFER, tool_choice=choice)
    assert got["calls"] == [("get_weather", {"city": "Oslo"})]
    assert got["content"].strip() == ""
    assert prompt.endswith(begin[-10:] + name)
    assert prompt.rfind("<think>") <= prompt.rfind("</think>")


@pytest.mark.parametrize("template", [name for name in TEMPLATES if name not in ("gptoss", "muse_glimmer")])
def test_calls_are_text_where_no_tools_are_on_offer(template: str) -> None:
    text = written(template, assistant(call(city="Oslo")))
    got, _ = answers(template, text)
    assert (got["content"], got["reasoning"], got["calls"]) == (text, "", [])
