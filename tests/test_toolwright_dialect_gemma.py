"""The Gemma 4 form: what chat templates write, its literals, every way of getting them wrong, and round trips."""

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
    texts,
)
from families import template_names
from hypothesis import given, settings

from toolwright.dialect import dialect_for, parse, render_assistant, render_calls, vllm_parser
from toolwright.errors import DataError
from toolwright.records import Message, ToolCall

TEMPLATES = [name for name in template_names() if name.startswith(("gemma4", "diffusion_gemma"))]
Q = '<|"|>'


def block(body: str) -> str:
    return f"<|tool_call>{body}<tool_call|>"


PARIS = block(f"call:f{{city:{Q}Paris{Q}}}")


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("name", WRITTEN)
def test_what_a_chat_template_writes_reads_back(template: str, name: str) -> None:
    drops = template == "gemma4_v2" or (
        template not in ("gemma4_v5", "diffusion_gemma") and not WRITTEN[name].tool_calls
    )
    check_turn(template, name, "gemma", lost=("reasoning",) if drops else ())


@pytest.mark.parametrize("template", [*TEMPLATES, "diffusion_gemma_training"])
def test_the_chat_templates_are_recognised(template: str) -> None:
    check_recognised(template, "gemma")
    assert dialect_for("google/gemma-4-31B-it", None) == "gemma"
    check_begin_of_a_call(TEMPLATES[0], "gemma")
    assert vllm_parser("gemma") == "gemma4"


@pytest.mark.parametrize(
    ("body", "arguments"),
    [
        ("call:f{}", {}),
        ("call:f{ }", {}),
        ("call:f{a:1,b:-2.5,c:1e+22}", {"a": 1, "b": -2.5, "c": 1e22}),
        ("call:f{a:true,b:false,c:null,d:None}", {"a": True, "b": False, "c": None, "d": None}),
        (f"call:f{{a:{Q}{Q}}}", {"a": ""}),
        (f"call:f{{a:{Q}x,b:{{1}}\n\"'{Q}}}", {"a": "x,b:{1}\n\"'"}),
        (f"call:f{{a:{Q}<tool_call|>{Q}}}", {"a": "<tool_call|>"}),
        (f"call:f{{a:[1,[],{{}},{Q}x{Q}],b:{{c:{{d:1}}}}}}", {"a": [1, [], {}, "x"], "b": {"c": {"d": 1}}}),
        (f"call:f{{{Q}a b{Q}:1,c d:2}}", {"a b": 1, "c d": 2}),
        (f" call:f {{ a : {Q}x{Q} , b : 1 }} ", None),
    ],
)
def test_a_block_is_read(body: str, arguments: dict[str, Any] | None) -> None:
    parsed = parse(block(body), "gemma")
    if arguments is None:  # blank text before a colon belongs to the key
        arguments = {"a ": "x", "b ": 1}
    assert parsed.problems == ()
    assert [(call.name, call.arguments) for call in parsed.calls] == [("f", arguments)]


@pytest.mark.parametrize(
    ("body", "kind", "word"),
    [
        ("", "not_object", "call:name"),
        ('{"name": "f"}', "not_object", "call:name"),
        ("call:{}", "not_json", "name of the tool"),
        ("call:f", "not_json", "name of the tool"),
        ("call:f{a:1", "not_json", "the end"),
        ("call:f{a:1,}", "not_json", "a key"),
        ("call:f{a:1 b:2}", "not_json", "','"),
        ("call:f{a}", "not_json", "':'"),
        ("call:f{a:x}", "not_json", "a value"),
        ('call:f{a:"x"}', "not_json", "a value"),
        ("call:f{a:01}", "not_json", "not JSON"),
        ("call:f{a:1e999}", "not_json", "too large"),
        ("call:f{a:1} more", "not_json", "the end"),
        ("call:f{a:1,a:2}", "bad_arguments", "twice"),
        ("call:f{a:" + "[" * 9000 + "]" * 9000 + "}", "not_json", "levels"),
        (f"call:f{{a:{Q}\ud800{Q}}}", "not_json", "surrogate"),
    ],
)
def test_a_malformed_call_is_named_and_never_dropped(body: str, kind: str, word: str) -> None:
    parsed = parse(f"Look.{block(body)}Then.{PARIS}", "gemma")
    assert [(problem.kind, problem.text) for problem in parsed.problems] == [(kind, block(body))]
    assert word in parsed.problems[0].detail
    assert parsed.content == f"Look.{block(body)}Then."
    assert len(parsed.calls) == 1


@pytest.mark.parametrize(
    ("text", "content", "reasoning", "n_calls"),
    [
        (f"<|channel>thought\nHm.\n<channel|>{PARIS}", None, "Hm.", 1),
        ("<|channel>thought\n<channel|>Sunny.", "Sunny.", None, 0),
        (f"{PARIS}{PARIS}I look.", "I look.", None, 2),
        ("Sunny.", "Sunny.", None, 0),
    ],
)
def test_text_is_split_into_content_reasoning_and_calls(
    text: str, content: str | None, reasoning: str | None, n_calls: int
) -> None:
    parsed = parse(text, "gemma")
    assert (parsed.content, parsed.reasoning, len(parsed.calls)) == (content, reasoning, n_calls)
    assert parsed.ok


def test_a_call_quoted_inside_an_open_string_does_not_run() -> None:
    quoted = f"<|tool_call>call:save{{text:{Q}as in <|tool_call>call:delete{{path:1}}<tool_call|>"
    parsed = parse(quoted, "gemma")
    assert (parsed.calls, parsed.content, parsed.ok) == ((), quoted, False)


def test_calls_are_written_as_the_chat_templates_write_them() -> None:
    calls = [ToolCall(name="f", arguments={"a": "é", "b": {"c": [None, True, 7]}}), ToolCall(name="g")]
    assert render_calls(calls, "gemma") == (
        f"<|tool_call>call:f{{a:{Q}é{Q},b:{{c:[null,true,7]}}}}<tool_call|><|tool_call>call:g{{}}<tool_call|>"
    )


@pytest.mark.parametrize(
    "arguments", [{"a": Q}, {"a:b": 1}, {"a": {"": 1}}, {" a": 1}, {"a": float("nan")}, {"a": object()}]
)
def test_what_the_form_cannot_say_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(DataError):
        render_assistant(Message(role="assistant", tool_calls=(ToolCall(name="f", arguments=arguments),)), "gemma")


MARKS = ("<|tool_call>", "<tool_call|>", Q, "<|channel>thought\n", "<channel|>", "<|channel>", "call:f{")
PIECES = (*MARKS, PARIS, f"a:{Q}♦{Q}", "a:1,", "}", block(f"call:f{{a:{Q}♦{Q}}}"), "<|tool", "thought\n")


@settings(max_examples=300, deadline=None)
@given(texts(*PIECES), CUTS)
def test_any_text_is_read_whole_or_in_pieces_and_nothing_is_lost(text: str, cuts: list[int]) -> None:
    check_nothing_is_lost(text, "gemma")
    check_stream_is_the_whole(text, cuts, "gemma")


@settings(max_examples=200, deadline=None)
@given(messages(*MARKS))
def test_any_message_comes_back_or_is_refused(message: Message) -> None:
    check_round_trip_or_refusal(message, "gemma")


@pytest.mark.parametrize("name", WRITTEN)
def test_ordinary_messages_come_back(name: str) -> None:
    check_round_trip(WRITTEN[name], "gemma")
