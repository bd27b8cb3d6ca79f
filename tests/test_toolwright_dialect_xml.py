"""The qwen3-coder form: what chat templates write, every way of getting it wrong, types by schema, and round trips."""

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
    read_turn,
    texts,
)
from families import template_names
from hypothesis import given, settings
from hypothesis import strategies as st

from toolwright.dialect import dialect_for, parse, render_assistant, render_calls, vllm_parser
from toolwright.errors import DataError
from toolwright.records import Message, ToolCall, ToolSpec

TEMPLATES = [name for name in template_names() if name.startswith(("nemotron_3", "qwen3_5", "qwen3_6", "qwen3_8"))]


def parameter(key: str, text: str) -> str:
    return f"<parameter={key}>\n{text}\n</parameter>\n"


def block(*parameters: str, name: str = "f") -> str:
    return f"<tool_call>\n<function={name}>\n{''.join(parameters)}</function>\n</tool_call>"


PARIS = block(parameter("city", "Paris"))


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("name", WRITTEN)
def test_what_a_chat_template_writes_reads_back(template: str, name: str) -> None:
    check_turn(template, name, "xml")


@pytest.mark.parametrize("template", TEMPLATES)
def test_the_chat_templates_are_recognised(template: str) -> None:
    for suffix in ("", "_training"):
        check_recognised(template + suffix, "xml")
    check_begin_of_a_call(TEMPLATES[0], "xml")
    assert vllm_parser("xml") == "qwen3_coder"


@pytest.mark.parametrize("name", ["Qwen/Qwen3-Coder-30B", "nvidia/Nemotron-3-Nano", "qwen3_5", "Qwen/Qwen3.6-27B"])
def test_the_family_tells_where_there_is_no_template(name: str) -> None:
    assert dialect_for(name, None) == "xml"


@pytest.mark.parametrize(
    ("text", "content", "reasoning", "n_calls"),
    [
        (PARIS, None, None, 1),
        (f"{PARIS}\n{PARIS}", None, None, 2),
        (f"I look.\n\n{PARIS}", "I look.\n", None, 1),
        (f"<think>\nHm.\n</think>\n\n{PARIS}", None, "Hm.", 1),
        (f"<think></think>{PARIS}\n", None, None, 1),
        ("<tool_call><function=f></function></tool_call>", None, None, 1),
        ("<tool_call><function=f><parameter=a>1</parameter></function></tool_call>", None, None, 1),
        ("Use <function=f> and </parameter>.", "Use <function=f> and </parameter>.", None, 0),
    ],
)
def test_text_is_split_into_content_reasoning_and_calls(
    text: str, content: str | None, reasoning: str | None, n_calls: int
) -> None:
    parsed = parse(text, "xml")
    assert (parsed.content, parsed.reasoning, len(parsed.calls)) == (content, reasoning, n_calls)
    assert parsed.ok


@pytest.mark.parametrize(
    "value",
    [
        "</tool_call>",
        "</function>\n</tool_call>",
        "<tool_call>",
        "<function=g>",
        "a <b> & c",
        "\n\nx\n",
        " x ",
        "</param>",
    ],
)
def test_marks_inside_a_value_are_text(value: str) -> None:
    parsed = parse(block(parameter("a", value)), "xml")
    assert parsed.ok
    assert parsed.calls[0].arguments == {"a": value}


@pytest.mark.parametrize(
    ("body", "kind", "word"),
    [
        ("", "not_object", "<function=name>"),
        ('{"name": "f", "arguments": {}}', "not_object", "<function=name>"),
        ("<function=>\n</function>", "no_name", "no name"),
        ("<function=f>\n", "bad_arguments", "</function>"),
        ("<function=f>\ntext\n</function>", "bad_arguments", "text"),
        ("<function=f>\n</function> and more", "bad_arguments", "more"),
        (f"<function=f>\n{parameter('a', '1')}{parameter('a', '2')}</function>", "bad_arguments", "twice"),
        (f"<function=f>\n<parameter=a>\n1\n{parameter('b', '2')}</function>", "bad_arguments", "<parameter=a>"),
        (f"<function=f>\n{parameter('a', chr(0xD800))}</function>", "not_json", "surrogate"),
    ],
)
def test_a_malformed_call_is_named_and_never_dropped(body: str, kind: str, word: str) -> None:
    bad = f"<tool_call>\n{body}\n</tool_call>"
    parsed = parse(f"Look.\n{bad}\nThen.\n{PARIS}", "xml")
    assert [(problem.kind, problem.text) for problem in parsed.problems] == [(kind, bad)]
    assert word in parsed.problems[0].detail
    assert parsed.content == f"Look.\n{bad}\nThen."
    assert [call.arguments for call in parsed.calls] == [{"city": "Paris"}]


def test_a_call_quoted_inside_an_open_value_does_not_run() -> None:
    quoted = f"<tool_call>\n<function=save>\n<parameter=text>\nas in {block(parameter('path', '/'), name='delete')}"
    parsed = parse(quoted, "xml")
    assert parsed.calls == ()
    assert parsed.content == quoted
    assert not parsed.ok


def spec(**parameters: Any) -> ToolSpec:
    return ToolSpec(
        name="f", parameters={"type": "object", "properties": parameters, "$defs": {"s": {"type": "string"}}}
    )


@pytest.mark.parametrize(
    ("text", "schema", "value"),
    [
        ("7", None, 7),
        ("7", {}, 7),
        ("7", {"type": "string"}, "7"),
        ("7", {"type": "integer"}, 7),
        ("7", {"type": "boolean"}, 7),
        ("0123", {"type": "integer"}, "0123"),
        ("1e999", {"type": "number"}, "1e999"),
        ("true", {"type": "string"}, "true"),
        ("True", {"type": "boolean"}, True),
        ("True", None, True),
        ("None", {"type": ["integer", "null"]}, None),
        ("null", {"type": ["string", "null"]}, None),
        ("None", {"type": "string"}, "None"),
        ("7", {"type": ["string", "null"]}, "7"),
        ("7", {"anyOf": [{"type": "string"}, {"type": "null"}]}, "7"),
        ("7", {"anyOf": [{"type": "string"}, {"type": "integer"}]}, 7),
        ("7", {"oneOf": [{"type": "string"}, {}]}, 7),
        ("7", {"enum": ["7", "8"]}, "7"),
        ("7", {"enum": [7, 8]}, 7),
        ("7", {"const": "7"}, "7"),
        ("7", {"$ref": "#/$defs/s"}, "7"),
        ("7", {"$ref": "#/$defs/none"}, 7),
        ("7", {"$ref": "#"}, 7),
        ("7.0", {"type": "number"}, 7.0),
        ('{"a": 1}', {"type": "string"}, '{"a": 1}'),
        ('{"a": 1}', {"type": "object"}, {"a": 1}),
        ('"quoted"', {"type": "string"}, '"quoted"'),
        ('"quoted"', None, '"quoted"'),
        (" 7", None, " 7"),
        ("NaN", None, "NaN"),
        ("[" * 70 + "]" * 70, None, "[" * 70 + "]" * 70),
        ("", None, ""),
    ],
)
def test_the_schema_of_the_tool_decides_what_untyped_text_is(text: str, schema: Any, value: Any) -> None:
    tools = () if schema is None else (spec(a=schema),)
    got = parse(block(parameter("a", text)), "xml", tools=tools).calls[0].arguments["a"]
    assert (got, type(got)) == (value, type(value))


def test_a_template_that_writes_numbers_and_strings_alike_needs_the_tools() -> None:
    message, parsed = read_turn(TEMPLATES[0], "strings like other types", "xml")
    assert parsed.calls[0].arguments == message.tool_calls[0].arguments
    with pytest.raises(DataError, match="read back as another"):
        render_assistant(message, "xml")
    check_round_trip(message, "xml", (spec_of(message),))


def spec_of(message: Message) -> ToolSpec:
    properties = {key: {"type": "string"} for key in message.tool_calls[0].arguments}
    return ToolSpec(name=message.tool_calls[0].name, parameters={"type": "object", "properties": properties})


def test_calls_are_written_as_the_chat_templates_write_them() -> None:
    calls = [call(city="é", days=7, deep={"a": None}), ToolCall(name="g")]
    assert render_calls(calls, "xml") == (
        "<tool_call>\n<function=get_weather>\n<parameter=city>\né\n</parameter>\n<parameter=days>\n7\n</parameter>\n"
        '<parameter=deep>\n{"a": null}\n</parameter>\n</function>\n</tool_call>\n'
        "<tool_call>\n<function=g>\n</function>\n</tool_call>"
    )


MARKS = (
    "<tool_call>",
    "</tool_call>",
    "<function=f>",
    "</function>",
    "<parameter=a>",
    "</parameter>",
    "<think>",
    "</think>",
)
PIECES = (*MARKS, "<parameter=", PARIS, block(parameter("a", "♦"), parameter("b", "7")), "True", "[1]")


@settings(max_examples=300, deadline=None)
@given(texts(*PIECES), CUTS)
def test_any_text_is_read_whole_or_in_pieces_and_nothing_is_lost(text: str, cuts: list[int]) -> None:
    check_nothing_is_lost(text, "xml")
    check_stream_is_the_whole(text, cuts, "xml")
    check_stream_is_the_whole(text, cuts, "xml", (spec(a={"type": "string"}),))


@settings(max_examples=200, deadline=None)
@given(messages(*MARKS))
def test_any_message_comes_back_or_is_refused(message: Message) -> None:
    check_round_trip_or_refusal(message, "xml")


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from("abc"), st.integers() | st.booleans() | st.text("xyz <>&\n", max_size=9)))
def test_a_message_without_marks_comes_back(arguments: dict[str, Any]) -> None:
    check_round_trip(
        Message(role="assistant", content="Look.", tool_calls=(ToolCall(name="f", arguments=arguments),)), "xml"
    )
