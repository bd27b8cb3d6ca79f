"""The two forms of DeepSeek: what chat templates write, every way of getting it wrong, and round trips."""

from typing import Any

import pytest
from dialect_checks import (
    CUTS,
    WRITTEN,
    call,
    check_begin_of_a_call,
    check_nothing_is_lost,
    check_recognised,
    check_round_trip,
    check_round_trip_or_refusal,
    check_stream_is_the_whole,
    check_turn,
    messages,
    texts,
    turn_of,
)
from hypothesis import given, settings

from toolwright.dialect import dialect_for, opened_reasoning, parse, render_calls, vllm_parser
from toolwright.records import Message, ToolCall

OPEN, CLOSE = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
CALL, SEPARATOR, CALL_END = "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"
FORMS = ["deepseek", "deepseek_v31"]


def fenced(arguments: str, name: str = "f") -> str:
    return f"{CALL}function{SEPARATOR}{name}\n```json\n{arguments}\n```{CALL_END}"


def plain(arguments: str, name: str = "f") -> str:
    return f"{CALL}{name}{SEPARATOR}{arguments}{CALL_END}"


def group(*calls: str) -> str:
    return OPEN + "\n".join(calls) + CLOSE


PARIS = group(fenced('{"city": "Paris"}', "weather"))


@pytest.mark.parametrize("name", WRITTEN)
def test_what_the_chat_template_writes_reads_back(name: str) -> None:
    check_turn("deepseekv3", name, "deepseek", ("reasoning",))  # the template knows no reasoning


def test_the_chat_templates_are_recognised() -> None:
    for template in ("deepseekv3", "deepseekv3_training", "deepseek_r1_distill", "deepseek_r1_distill_training"):
        check_recognised(template, "deepseek")
    check_begin_of_a_call("deepseekv3", "deepseek")
    newer = f"{OPEN}{CALL}{{{{ c.function.name }}}}{SEPARATOR}{{{{ c.function.arguments }}}}{CALL_END}{CLOSE}"
    assert dialect_for("any", newer) == "deepseek_v31"
    assert (vllm_parser("deepseek"), vllm_parser("deepseek_v31")) == ("deepseek_v3", "deepseek_v31")


@pytest.mark.parametrize(("name", "form"), [("deepseek-ai/DeepSeek-V3.1", "deepseek_v31"), ("deepseek_v3", "deepseek")])
def test_the_family_tells_where_there_is_no_template(name: str, form: str) -> None:
    assert dialect_for(name, None) == form


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("text", "content", "reasoning", "arguments"),
    [
        (PARIS, None, None, [{"city": "Paris"}]),
        (group(plain('{"city": "Paris"}')), None, None, [{"city": "Paris"}]),
        (group(fenced("{}"), fenced('{"a": 1}')), None, None, [{}, {"a": 1}]),
        (group(plain("{}"), plain('{"a": 1}')), None, None, [{}, {"a": 1}]),
        (f"I look.{PARIS}", "I look.", None, [{"city": "Paris"}]),
        (f"<think>Hm.</think>I look.{PARIS}", "I look.", "Hm.", [{"city": "Paris"}]),
        (group(fenced('{\n "a": 1\n}')), None, None, [{"a": 1}]),
        (group(fenced(f'{{"a": "{CALL_END}{CLOSE}"}}')), None, None, [{"a": CALL_END + CLOSE}]),
        (group(plain(f'{{"a": "{CALL_END}{CLOSE}"}}')), None, None, [{"a": CALL_END + CLOSE}]),
        (group(fenced('{"a": "```"}')), None, None, [{"a": "```"}]),
        ("```json\n{}\n```", "```json\n{}\n```", None, []),
    ],
)
def test_text_is_split_into_content_reasoning_and_calls(
    form: str, text: str, content: str | None, reasoning: str | None, arguments: list[dict[str, Any]]
) -> None:
    parsed = parse(text, form)
    assert (parsed.content, parsed.reasoning, parsed.problems) == (content, reasoning, ())
    assert [call.arguments for call in parsed.calls] == arguments


@pytest.mark.parametrize(
    ("text", "kind", "word"),
    [
        (group(), "not_object", "empty"),
        (group("words"), "not_object", "expected"),
        (group(fenced("{}", "")), "no_name", "no name"),
        (group(plain("{}", "")), "no_name", "no name"),
        (group(fenced('{"a": 1')), "not_json", "not JSON"),
        (group(fenced("{} and more")), "not_json", "Extra data"),
        (group(fenced("[1]")), "bad_arguments", "[1]"),
        (group(fenced('{"a": NaN}')), "not_json", "NaN"),
        (group(fenced('{"a": "line\nbreak"}')), "not_json", "control character"),
        (group(fenced("{}"), "and more"), "not_object", "expected"),
        (group(fenced("{}").removesuffix(CALL_END)), "not_json", "Extra data"),
        (group(plain("{}").removesuffix(CALL_END)), "unclosed", CALL_END),
        (group(f"{CALL}tool{SEPARATOR}f\n```json\n{{}}\n```{CALL_END}"), "not_json", "not JSON"),
        (PARIS.removesuffix(CLOSE), "unclosed", CLOSE),
        (CLOSE, "stray_close", CLOSE),
    ],
)
def test_a_malformed_call_is_named_and_never_dropped(text: str, kind: str, word: str) -> None:
    parsed = parse(f"Look.{text}", "deepseek")
    assert [(problem.kind, problem.text) for problem in parsed.problems] == [(kind, text)]
    assert word in parsed.problems[0].detail
    assert (parsed.content, parsed.calls) == (f"Look.{text}", ())


def test_a_prompt_may_have_begun_the_reasoning() -> None:
    begun = opened_reasoning("<｜User｜>Hi<｜Assistant｜><think>\n", "deepseek")
    assert parse(f"{begun}Hm.\n</think>\n\nYes.", "deepseek").reasoning == "Hm."
    assert opened_reasoning("<think>\n\n</think>\n\n", "deepseek") == ""


def test_calls_are_written_as_the_models_write_them() -> None:
    calls = (call(city="é"), ToolCall(name="g"))
    text = turn_of("deepseekv3", Message(role="assistant", tool_calls=calls))
    assert render_calls(calls, "deepseek") == text
    assert render_calls(calls, "deepseek_v31") == (
        OPEN + plain('{"city": "é"}', "get_weather") + plain("{}", "g") + CLOSE
    )


PIECES = (OPEN, CLOSE, CALL, SEPARATOR, CALL_END, PARIS, fenced("{}"), plain("{}"), "\n```json\n", "function", "{}")


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=200, deadline=None)
@given(text=texts(*PIECES), cuts=CUTS)
def test_any_text_is_read_whole_or_in_pieces_and_nothing_is_lost(form: str, text: str, cuts: list[int]) -> None:
    check_nothing_is_lost(text, form)
    check_stream_is_the_whole(text, cuts, form)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=150, deadline=None)
@given(message=messages(*PIECES))
def test_any_message_comes_back_or_is_refused(form: str, message: Message) -> None:
    check_round_trip_or_refusal(message, form)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", WRITTEN)
def test_ordinary_messages_come_back(form: str, name: str) -> None:
    check_round_trip(WRITTEN[name], form)
