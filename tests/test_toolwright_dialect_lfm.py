"""The LFM2 form: what chat templates write, its literals, every way of getting them wrong, and round trips."""

from typing import Any

import pytest
from dialect_checks import (
    CUTS,
    WRITTEN,
    check_begin_of_a_call,
    check_nothing_is_lost,
    check_recognised,
    check_round_trip,
    check_round_trip_or_refusal,
    check_stream_is_the_whole,
    check_turn,
    messages,
    read_turn,
    texts,
)
from families import template_names
from hypothesis import given, settings

from toolwright.dialect import dialect_for, parse, render_assistant, render_calls, vllm_parser
from toolwright.errors import DataError
from toolwright.records import Message, ToolCall

TEMPLATES = [name for name in template_names() if name.startswith("lfm2") and name != "lfm2"]  # lfm2 drops calls
UNESCAPED = ("lfm2_2_5", "lfm2_2_5_v2")


def block(body: str) -> str:
    return f"<|tool_call_start|>{body}<|tool_call_end|>"


PARIS = block("[f(city='Paris')]")


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("name", WRITTEN)
def test_what_a_chat_template_writes_reads_back(template: str, name: str) -> None:
    if template in UNESCAPED and name == "quotes":
        pytest.skip("this template does not escape quotes; see the next test")
    check_turn(template, name, "lfm", lost=("reasoning",) if template == "lfm2_v2" else ())


@pytest.mark.parametrize("template", UNESCAPED)
def test_a_string_whose_quotes_the_template_did_not_escape_is_named(template: str) -> None:
    _, parsed = read_turn(template, "quotes", "lfm")
    assert (parsed.calls, parsed.ok) == ((), False)


@pytest.mark.parametrize("template", [*TEMPLATES, "lfm2", "lfm2_training", "lfm2_v2_training"])
def test_the_chat_templates_are_recognised(template: str) -> None:
    check_recognised(template, "lfm")
    assert dialect_for("LiquidAI/LFM2-1.2B", None) == "lfm"
    check_begin_of_a_call(TEMPLATES[0], "lfm")
    assert vllm_parser("lfm") == "lfm2"


@pytest.mark.parametrize(
    ("body", "calls"),
    [
        ("[f()]", [("f", {})]),
        ("[f(), g.h(a=1)]", [("f", {}), ("g.h", {"a": 1})]),
        (" [ f ( a = 1 , b = 'x' ) ] ", [("f", {"a": 1, "b": "x"})]),
        ("[get-weather(from='Oslo', to-city=\"Bergen\")]", [("get-weather", {"from": "Oslo", "to-city": "Bergen"})]),
        ("[f(a=True, b=None, c=-1.5, d=1e+22)]", [("f", {"a": True, "b": None, "c": -1.5, "d": 1e22})]),
        ("[f(a=[true, null, \"it's\"], b={'k': [None]})]", [("f", {"a": [True, None, "it's"], "b": {"k": [None]}})]),
        (r"[f(a='it\'s \\ \n \t \x41 \u00e9 \U0001f600 \101 \d')]", [("f", {"a": "it's \\ \n \t A é 😀 A \\d"})]),
        (r'[f(a="\ud83d\ude00")]', [("f", {"a": "😀"})]),
        ("[f(a='two\nlines')]", [("f", {"a": "two\nlines"})]),
        ("[f(a='<|tool_call_end|>')]", [("f", {"a": "<|tool_call_end|>"})]),
        ("[f(a='x), g(b=1')]", [("f", {"a": "x), g(b=1"})]),
        ('[{"name": "f", "arguments": {"a": 1}}, {"name": "g"}]', [("f", {"a": 1}), ("g", {})]),
        ('{"name": "f", "arguments": {"a": 1}}', [("f", {"a": 1})]),
    ],
)
def test_a_block_is_read(body: str, calls: list[tuple[str, dict[str, Any]]]) -> None:
    parsed = parse(block(body), "lfm")
    assert parsed.problems == ()
    assert [(call.name, call.arguments) for call in parsed.calls] == calls


@pytest.mark.parametrize(
    ("body", "kind", "word"),
    [
        ("", "not_json", "'['"),
        ("f()", "not_json", "'['"),
        ("[]", "not_json", "name of a tool"),
        ("[f]", "not_json", "'('"),
        ("[f(]", "not_json", "parameter"),
        ("[f(1)]", "not_json", "'='"),
        ("[f(a=1, 2)]", "not_json", "'='"),
        ("[f(a=x)]", "not_json", "a value"),
        ("[f(a=g())]", "not_json", "a value"),
        ("[f(a=(1, 2))]", "not_json", "a value"),
        ("[f(a={1: 2})]", "not_json", "a string"),
        ("[f(a=b'x')]", "not_json", "a value"),
        ("[f(a=1)] + [g()]", "not_json", "the end"),
        ("[f(a=007)]", "not_json", "not JSON"),
        ("[f(a=inf)]", "not_json", "a value"),
        (r"[f(a='\x4')]", "not_json", "escape"),
        (r"[f(a='\N{DASH}')]", "not_json", "escape"),
        (r"[f(a='\Uffffffff')]", "not_json", "no character"),
        (r"[f(a='\ud800')]", "not_json", "surrogate"),
        ("[f(a=1, a=2)]", "bad_arguments", "twice"),
        ("[f(a=" + "[" * 9000 + "]" * 9000 + ")]", "not_json", "levels"),
        ("[__import__('os').system('true')]", "not_json", "parameter"),
    ],
)
def test_a_malformed_call_is_named_and_never_dropped(body: str, kind: str, word: str) -> None:
    parsed = parse(f"Look.{block(body)}Then.{PARIS}", "lfm")
    assert [(problem.kind, problem.text) for problem in parsed.problems] == [(kind, block(body))]
    assert word in parsed.problems[0].detail
    assert parsed.content == f"Look.{block(body)}Then."
    assert len(parsed.calls) == 1


def test_a_call_quoted_inside_an_open_string_does_not_run() -> None:
    quoted = f"<|tool_call_start|>[save(text='as in {block('[delete()]')}"
    parsed = parse(quoted, "lfm")
    assert (parsed.calls, parsed.content, parsed.ok) == ((), quoted, False)


def test_calls_are_written_as_the_chat_templates_write_them() -> None:
    calls = [ToolCall(name="f", arguments={"a": "it's\n", "b": None, "c": {"d": [None, True]}}), ToolCall(name="g")]
    assert render_calls(calls, "lfm") == (
        r"""<|tool_call_start|>[f(a='it\'s\n', b=None, c={"d": [null, true]}), g()]<|tool_call_end|>"""
    )


@pytest.mark.parametrize("arguments", [{"a b": 1}, {"": 1}, {"a": float("inf")}, {"a": object()}, {"a=": 1}])
def test_what_the_form_cannot_say_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(DataError):
        render_assistant(Message(role="assistant", tool_calls=(ToolCall(name="f", arguments=arguments),)), "lfm")


MARKS = ("<|tool_call_start|>", "<|tool_call_end|>", "<think>", "</think>", "[f(a='", "')]", "\\'")
PIECES = (*MARKS, PARIS, "[f(", "a='♦'", ")]", block("[f(a='♦'), g()]"), "<|tool_call", block('[{"name": "♦"}]'))


@settings(max_examples=300, deadline=None)
@given(texts(*PIECES), CUTS)
def test_any_text_is_read_whole_or_in_pieces_and_nothing_is_lost(text: str, cuts: list[int]) -> None:
    check_nothing_is_lost(text, "lfm")
    check_stream_is_the_whole(text, cuts, "lfm")


@settings(max_examples=200, deadline=None)
@given(messages(*MARKS))
def test_any_message_comes_back_or_is_refused(message: Message) -> None:
    check_round_trip_or_refusal(message, "lfm")


@pytest.mark.parametrize("name", WRITTEN)
def test_ordinary_messages_come_back(name: str) -> None:
    check_round_trip(WRITTEN[name], "lfm")
