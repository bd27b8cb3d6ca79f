"""The GLM form: what the chat template writes, every way of getting it wrong, types by schema, and round trips."""

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
)
from hypothesis import given, settings

from toolwright.dialect import dialect_for, parse, render_assistant, render_calls, vllm_parser
from toolwright.errors import DataError
from toolwright.records import Message, ToolCall, ToolSpec


def argument(key: str, text: str) -> str:
    return f"<arg_key>{key}</arg_key>\n<arg_value>{text}</arg_value>\n"


def block(*arguments: str, name: str = "f") -> str:
    return f"<tool_call>{name}\n{''.join(arguments)}</tool_call>"


PARIS = block(argument("city", "Paris"))


@pytest.mark.parametrize("name", WRITTEN)
def test_what_the_chat_template_writes_reads_back(name: str) -> None:
    check_turn("glm4moe", name, "glm")


def test_the_chat_template_is_recognised() -> None:
    for name in ("glm4moe", "glm4moe_training"):
        check_recognised(name, "glm")
    assert dialect_for("zai-org/GLM-4.5-Air", None) == "glm"
    check_begin_of_a_call("glm4moe", "glm")
    assert vllm_parser("glm") == "glm45"


@pytest.mark.parametrize(
    ("text", "content", "calls"),
    [
        ("<tool_call>f</tool_call>", None, [("f", {})]),
        ("<tool_call>f<arg_key>a</arg_key><arg_value>x</arg_value></tool_call>", None, [("f", {"a": "x"})]),
        (f"\n<think></think>\nI look.\n{PARIS}\n{PARIS}", "I look.", [("f", {"city": "Paris"})] * 2),
        (block(argument("a", "7"), argument("b", "[1]")), None, [("f", {"a": 7, "b": [1]})]),
        (block(argument("a", "</tool_call>")), None, [("f", {"a": "</tool_call>"})]),
        (block(argument("a", "\n x\n")), None, [("f", {"a": "\n x\n"})]),
        (block(argument("a", "<arg_key>")), None, [("f", {"a": "<arg_key>"})]),
        ("No <arg_key> here", "No <arg_key> here", []),
    ],
)
def test_text_is_split_into_content_and_calls(text: str, content: str | None, calls: list[object]) -> None:
    parsed = parse(text, "glm")
    assert parsed.ok
    assert parsed.content == content
    assert [(call.name, call.arguments) for call in parsed.calls] == calls


@pytest.mark.parametrize(
    ("body", "kind", "word"),
    [
        ("", "no_name", "name of the tool"),
        ("\n<arg_key>a</arg_key>\n<arg_value>1</arg_value>\n", "no_name", "<arg_key>a"),
        ("f\nwords\n", "bad_arguments", "words"),
        ("f\n<arg_key>a</arg_key>\n", "bad_arguments", "<arg_value>"),
        (f"f\n<arg_key>a</arg_key>\n<arg_value>1\n{argument('b', '2')}", "bad_arguments", "'a'"),
        (f"f\n{argument('a', '1')}{argument('a', '2')}", "bad_arguments", "twice"),
    ],
)
def test_a_malformed_call_is_named_and_never_dropped(body: str, kind: str, word: str) -> None:
    bad = f"<tool_call>{body}</tool_call>"
    parsed = parse(f"Look.\n{bad}\nThen.\n{PARIS}", "glm")
    assert [(problem.kind, problem.text) for problem in parsed.problems] == [(kind, bad)]
    assert word in parsed.problems[0].detail
    assert parsed.content == f"Look.\n{bad}\nThen."
    assert len(parsed.calls) == 1


def test_a_call_quoted_inside_an_open_value_does_not_run() -> None:
    quoted = f"<tool_call>save\n<arg_key>text</arg_key>\n<arg_value>as in {block(argument('path', '/'), name='delete')}"
    parsed = parse(quoted, "glm")
    assert (parsed.calls, parsed.content, parsed.ok) == ((), quoted, False)


def test_strings_that_look_like_other_values_need_the_tools() -> None:
    message = WRITTEN["strings like other types"]
    with pytest.raises(DataError, match="read back as another"):
        render_assistant(message, "glm")
    properties = {key: {"type": "string"} for key in message.tool_calls[0].arguments}
    tool = ToolSpec(name="get_weather", parameters={"type": "object", "properties": properties})
    check_round_trip(message, "glm", (tool,))


def test_calls_are_written_as_the_chat_template_writes_them() -> None:
    calls = [call(city="é", days=7, deep={"a": None}), ToolCall(name="g")]
    assert render_calls(calls, "glm") == (
        "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>é</arg_value>\n"
        "<arg_key>days</arg_key>\n<arg_value>7</arg_value>\n"
        '<arg_key>deep</arg_key>\n<arg_value>{"a": null}</arg_value>\n</tool_call>\n<tool_call>g\n</tool_call>'
    )


MARKS = ("<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "<think>", "</think>")
PIECES = (*MARKS, "<tool_call>f\n", argument("a", "♦"), argument("b", "7"), PARIS, "<arg_")


@settings(max_examples=300, deadline=None)
@given(texts(*PIECES), CUTS)
def test_any_text_is_read_whole_or_in_pieces_and_nothing_is_lost(text: str, cuts: list[int]) -> None:
    check_nothing_is_lost(text, "glm")
    check_stream_is_the_whole(text, cuts, "glm")


@settings(max_examples=200, deadline=None)
@given(messages(*MARKS))
def test_any_message_comes_back_or_is_refused(message: Message) -> None:
    check_round_trip_or_refusal(message, "glm")
