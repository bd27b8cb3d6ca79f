"""The JSON form of Llama 3: what chat templates write, what is a call and what an answer in JSON, and round trips."""

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

from toolwright.dialect import (
    ContentDelta,
    StreamParser,
    dialect_for,
    parse,
    render_assistant,
    render_calls,
    vllm_parser,
)
from toolwright.errors import DataError, ModelError
from toolwright.records import Message, ToolCall

TEMPLATES = ["llama3_1", "llama3_2"]
PARIS = '{"name": "weather", "parameters": {"city": "Paris"}}'
TAG = "<|python_tag|>"


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("name", sorted(WRITTEN.keys() - {"parallel calls"}))
def test_what_a_chat_template_writes_reads_back(template: str, name: str) -> None:
    # The templates know no reasoning, and leave out text beside a call.
    lost = ("reasoning", "content") if name == "call with text" else ("reasoning",)
    check_turn(template, name, "llama3", lost)


@pytest.mark.parametrize("template", TEMPLATES)
def test_the_chat_templates_are_recognised_and_take_one_call(template: str) -> None:
    check_recognised(template, "llama3")
    check_begin_of_a_call(template, "llama3")
    assert vllm_parser("llama3") == "llama3_json"
    with pytest.raises(ModelError, match="single tool-calls"):
        turn_of(template, WRITTEN["parallel calls"])


@pytest.mark.parametrize("name", ["meta-llama/Llama-3.1-8B-Instruct", "Llama-3.3-70B-Instruct", "llama3_2"])
def test_the_family_tells_where_there_is_no_template(name: str) -> None:
    assert dialect_for(name, None) == "llama3"


@pytest.mark.parametrize(
    ("text", "content", "arguments"),
    [
        (PARIS, None, [{"city": "Paris"}]),
        (f"  {PARIS}\n", None, [{"city": "Paris"}]),
        (TAG + PARIS, None, [{"city": "Paris"}]),
        (f"I look.{TAG}{PARIS}", "I look.", [{"city": "Paris"}]),
        (f"{PARIS}; {PARIS}", None, [{"city": "Paris"}] * 2),
        (f"{PARIS};{PARIS} ;\n{PARIS}", None, [{"city": "Paris"}] * 3),
        ('{"type": "function", "name": "f", "parameters": {}}', None, [{}]),
        ('{"name": "f", "arguments": {"a": 1}}', None, [{"a": 1}]),
        ('{"parameters": {"a": "{\\"}"}, "name": "f"}', None, [{"a": '{"}'}]),
        ('{"name": "f", "parameters": "{\\"a\\": 1}"}', None, [{"a": 1}]),
        ('{"name": "f", "parameters": {"a": "<|python_tag|>; {"}}', None, [{"a": "<|python_tag|>; {"}]),
        ('{"answer": 3}', '{"answer": 3}', []),
        ('{"name": "Ada", "age": 36}', '{"name": "Ada", "age": 36}', []),
        ("{braces} in words", "{braces} in words", []),
        ("{", "{", []),
        (f"The call is {PARIS}", f"The call is {PARIS}", []),
        ("  \n", "  \n", []),
    ],
)
def test_a_turn_is_a_call_or_content(text: str, content: str | None, arguments: list[dict[str, Any]]) -> None:
    parsed = parse(text, "llama3")
    assert (parsed.content, parsed.problems) == (content, ())
    assert [call.arguments for call in parsed.calls] == arguments


@pytest.mark.parametrize(
    ("text", "kind", "word"),
    [
        ('{"name": "f", "parameters": {"a": 1}', "not_json", "delimiter"),
        ('{"type": "function", "name": "f", "par', "not_json", "not JSON"),
        (f"{PARIS} and more", "not_json", "Extra data"),
        (f"{PARIS};", "not_json", "not JSON"),
        (f"{PARIS}; 3", "not_object", "3"),
        ('{"name": "f", "parameters": [1]}', "bad_arguments", "[1]"),
        ('{"name": "f", "parameters": {}, "b": 2}', "bad_arguments", "'b'"),
        ('{"name": "f", "parameters": {}, "arguments": {}}', "bad_arguments", "'arguments'"),
        ('{"name": "", "parameters": {}}', "no_name", "no name"),
        (f'{TAG}print("hello")', "not_object", "no call"),
        (f'{TAG}{{"name": "f", "parameters": {{"a": NaN}}}}', "not_json", "NaN"),
        (TAG, "not_object", "no call"),
        (f"{TAG}x{TAG}{PARIS}", "not_object", "no call"),
    ],
)
def test_a_malformed_call_is_named_and_never_dropped(text: str, kind: str, word: str) -> None:
    parsed = parse(text, "llama3")
    assert [problem.kind for problem in parsed.problems] == [kind]
    assert word in parsed.problems[0].detail
    assert parsed.problems[0].text in (parsed.content or "")
    assert len(parsed.calls) == (1 if text.endswith(TAG + PARIS) else 0)


def test_calls_are_written_as_the_chat_templates_write_them() -> None:
    assert render_calls([call(city="é", days=7)], "llama3") == turn_of(
        "llama3_2", Message(role="assistant", tool_calls=(call(city="é", days=7),))
    )
    beside = Message(role="assistant", content="I look.", tool_calls=(ToolCall(name="f"),))
    assert render_assistant(beside, "llama3") == f'I look.{TAG}{{"name": "f", "parameters": {{}}}}'
    with pytest.raises(DataError, match="read back as another"):
        render_assistant(Message(role="assistant", content=PARIS), "llama3")


def test_a_stream_gives_words_at_once_and_holds_what_may_be_a_call() -> None:
    parser = StreamParser("llama3")
    assert parser.feed("Hello {") == [ContentDelta("Hello {")]
    parser = StreamParser("llama3")
    assert parser.feed(PARIS) == []
    assert len(parser.close()) == 1


PIECES = (TAG, PARIS, '{"name": "f", "parameters": {', '{"name": ', "}}", ";", "<think>", "</think>", '"parameters"')


@settings(max_examples=300, deadline=None)
@given(texts(*PIECES), CUTS)
def test_any_text_is_read_whole_or_in_pieces_and_nothing_is_lost(text: str, cuts: list[int]) -> None:
    check_nothing_is_lost(text, "llama3")
    check_stream_is_the_whole(text, cuts, "llama3")


@settings(max_examples=200, deadline=None)
@given(messages(*PIECES))
def test_any_message_comes_back_or_is_refused(message: Message) -> None:
    check_round_trip_or_refusal(message, "llama3")


@pytest.mark.parametrize("name", WRITTEN)
def test_ordinary_messages_come_back(name: str) -> None:
    check_round_trip(WRITTEN[name], "llama3")
