"""The form of Cohere's Command models: responses and actions, every way of getting them wrong, and round trips."""

from typing import Any

import pytest
from dialect_checks import (
    CUTS,
    WRITTEN,
    call,
    check_nothing_is_lost,
    check_recognised,
    check_round_trip,
    check_round_trip_or_refusal,
    check_stream_is_the_whole,
    check_turn,
    messages,
    texts,
)
from families import template_text
from hypothesis import given, settings

from toolwright.dialect import dialect_for, parse, render_calls, vllm_parser
from toolwright.errors import ModelError
from toolwright.records import Message, ToolCall

OPEN, CLOSE = "<|START_ACTION|>", "<|END_ACTION|>"
PARIS = OPEN + '[\n    {"tool_call_id": "0", "tool_name": "weather", "parameters": {"city": "Paris"}}\n]' + CLOSE


@pytest.mark.parametrize("name", ["text", "text with reasoning"])
def test_what_the_chat_template_writes_reads_back(name: str) -> None:
    check_turn("cohere2", name, "cohere", ("reasoning",))  # TRL's template knows neither calls nor reasoning


def test_the_chat_template_is_recognised() -> None:
    for template in ("cohere2", "cohere2_training"):
        check_recognised(template, "cohere")
    assert vllm_parser("cohere") == "cohere_command3"
    with pytest.raises(ModelError, match="supported: "):
        dialect_for("cohere", template_text("cohere"))  # Command R has no marks around its turns, TRL's has no calls


@pytest.mark.parametrize(
    ("text", "content", "reasoning", "arguments"),
    [
        (PARIS, None, None, [{"city": "Paris"}]),
        (f"<|START_THINKING|>Hm.<|END_THINKING|>{PARIS}", None, "Hm.", [{"city": "Paris"}]),
        ("<|START_RESPONSE|>Sunny.<|END_RESPONSE|>", "Sunny.", None, []),
        ("Sunny.<|END_RESPONSE|>", "Sunny.", None, []),
        ("Sunny.", "Sunny.", None, []),
        (f"<|START_RESPONSE|>I look.<|END_RESPONSE|>{PARIS}", "I look.", None, [{"city": "Paris"}]),
        (OPEN + '[{"tool_name": "f"}, {"tool_name": "g", "parameters": {"a": 1}}]' + CLOSE, None, None, [{}, {"a": 1}]),
        (OPEN + f'[{{"tool_name": "f", "parameters": {{"a": "{CLOSE}"}}}}]' + CLOSE, None, None, [{"a": CLOSE}]),
    ],
)
def test_text_is_split_into_content_reasoning_and_calls(
    text: str, content: str | None, reasoning: str | None, arguments: list[dict[str, Any]]
) -> None:
    parsed = parse(text, "cohere")
    assert (parsed.content, parsed.reasoning, parsed.problems) == (content, reasoning, ())
    assert [call.arguments for call in parsed.calls] == arguments


@pytest.mark.parametrize(
    ("body", "kind", "word"),
    [
        ("", "not_json", "not JSON"),
        ("[]", "not_object", "empty"),
        ('[{"name": "f", "parameters": {}}]', "no_name", "no name"),
        ('[{"tool_name": "f", "arguments": {}}]', "bad_arguments", "'arguments'"),
        ('[{"tool_name": "f", "parameters": 3}]', "bad_arguments", "3"),
    ],
)
def test_a_malformed_call_is_named_and_never_dropped(body: str, kind: str, word: str) -> None:
    bad = OPEN + body + CLOSE
    parsed = parse(f"Look.{bad}{PARIS}", "cohere")
    assert [(problem.kind, problem.text) for problem in parsed.problems] == [(kind, bad)]
    assert word in parsed.problems[0].detail
    assert parsed.content == f"Look.{bad}"
    assert len(parsed.calls) == 1


def test_calls_are_written_as_the_models_write_them() -> None:
    assert render_calls([call(city="é"), ToolCall(name="g")], "cohere") == (
        '<|START_ACTION|>[\n    {"tool_call_id": "0", "tool_name": "get_weather", "parameters": {"city": "é"}},\n'
        '    {"tool_call_id": "1", "tool_name": "g", "parameters": {}}\n]<|END_ACTION|>'
    )


PIECES = (
    *(OPEN, CLOSE, PARIS, '[{"tool_name": "f"}]', "<|START_THINKING|>", "<|END_THINKING|>"),
    *("<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_"),
)


@settings(max_examples=300, deadline=None)
@given(texts(*PIECES), CUTS)
def test_any_text_is_read_whole_or_in_pieces_and_nothing_is_lost(text: str, cuts: list[int]) -> None:
    check_nothing_is_lost(text, "cohere")
    check_stream_is_the_whole(text, cuts, "cohere")


@settings(max_examples=200, deadline=None)
@given(messages(*PIECES))
def test_any_message_comes_back_or_is_refused(message: Message) -> None:
    check_round_trip_or_refusal(message, "cohere")


@pytest.mark.parametrize("name", WRITTEN)
def test_ordinary_messages_come_back(name: str) -> None:
    check_round_trip(WRITTEN[name], "cohere")
