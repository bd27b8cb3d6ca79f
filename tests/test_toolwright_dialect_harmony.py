"""The channels of gpt-oss and of Muse Glimmer: what their templates write, broken messages, and round trips."""

import time

import pytest
from dialect_checks import (
    CUTS,
    TOOL,
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
from hypothesis import given, settings

from toolwright.dialect import ContentDelta, StreamParser, dialect_for, parse, render_assistant, vllm_parser
from toolwright.records import Message, ToolCall

FORMS = ("harmony", "atem")
START = "<|start|>assistant"
JSON_CALL = '<|channel|>commentary json<|message|>{"a": "♦"}<|call|>'
INVOKE = '<atem:invoke name="f">\n<atem:parameter name="a">♦</atem:parameter>\n</atem:invoke>'
BLOCK = f"<atem:function_calls>\n{INVOKE}\n</atem:function_calls>"
CALLS = {"harmony": f" to=functions.f{JSON_CALL}", "atem": f" to=f<|message|>{BLOCK}<|eot|>"}
FINALS = {"harmony": "<|channel|>final<|message|>", "atem": " to=user<|message|>"}
THOUGHTS = {"harmony": "<|channel|>analysis<|message|>", "atem": " to=self<|message|>"}
ENDS = {"harmony": "<|end|>", "atem": "<|eom|>"}


@pytest.mark.parametrize("name", [name for name in WRITTEN if name not in ("call with text", "parallel calls")])
def test_what_gpt_oss_s_template_writes_reads_back(name: str) -> None:
    check_turn("gptoss", name, "harmony")


def test_gpt_oss_s_template_thinks_the_text_beside_a_call_and_keeps_one_call() -> None:
    message, parsed = read_turn("gptoss", "call with text", "harmony")
    assert (parsed.content, parsed.reasoning) == (None, message.content)
    _, parsed = read_turn("gptoss", "parallel calls", "harmony")
    assert len(parsed.calls) == 1


@pytest.mark.parametrize("name", WRITTEN)
def test_what_muse_glimmer_s_template_writes_reads_back(name: str) -> None:
    check_turn("muse_glimmer", name, "atem", lost=("content",) if name == "call with text" else ())


@pytest.mark.parametrize(
    ("template", "form", "family", "parser"),
    [
        ("gptoss", "harmony", "openai/gpt-oss-20b", "openai"),
        ("gptoss_training", "harmony", "gpt_oss", "openai"),
        ("muse_glimmer", "atem", "muse_glimmer", "muse_glimmer"),
        ("muse_glimmer_training", "atem", "meta/Muse-Glimmer-30B", "muse_glimmer"),
    ],
)
def test_the_chat_templates_are_recognised(template: str, form: str, family: str, parser: str) -> None:
    check_recognised(template, form)
    assert dialect_for(family, None) == form
    check_begin_of_a_call(template.removesuffix("_training"), form)
    assert vllm_parser(form) == parser


@pytest.mark.parametrize(
    ("text", "content", "reasoning", "n_calls"),
    [
        ("", None, None, 0),
        ("Hello.", "Hello.", None, 0),
        (" \n", " \n", None, 0),
        ("to=me it is", "to=me it is", None, 0),
        ("<|channel|>final<|message|>Hi.<|return|>", "Hi.", None, 0),
        ("<|channel|>final<|message|>Hi.", "Hi.", None, 0),
        ("<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Hi.", "Hi.", "Hm.", 0),
        ("<|channel|>analysis<|message|>Hm.<|end|>\n<|channel|>final<|message|>Hi.", "Hi.", "Hm.", 0),
        ("<|channel|>analysis<|message|>A<|end|><|channel|>analysis<|message|>B<|end|>", None, "A\nB", 0),
        ("<|channel|>commentary<|message|>I look.<|end|><|start|>assistant" + CALLS["harmony"], "I look.", None, 1),
        (" to=functions.f<|channel|>commentary json<|message|>{}", None, None, 1),
        ("<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>", None, None, 1),
        ("<|channel|>commentary to=functions.f<|message|>{}<|call|>", None, None, 1),
        ("<|channel|>analysis to=functions.f<|message|>{}<|call|>", None, None, 1),
        ("<|start|>assistant<|channel|>final<|message|>A<|end|>B", "A\nB", None, 0),
        ("A<|start|>assistant<|channel|>final<|message|>B", "A\nB", None, 0),
    ],
)
def test_a_harmony_text_is_split(text: str, content: str | None, reasoning: str | None, n_calls: int) -> None:
    parsed = parse(text, "harmony")
    assert (parsed.content, parsed.reasoning, len(parsed.calls), parsed.problems) == (content, reasoning, n_calls, ())


@pytest.mark.parametrize(
    ("message", "kind", "word"),
    [
        (' to=functions.f<|channel|>commentary json<|message|>{"a": 1<|call|>', "not_json", "delimiter"),
        (" to=functions.f<|channel|>commentary json<|message|>[1]<|call|>", "bad_arguments", "[1]"),
        (" to=functions.f<|channel|>commentary json<|message|><|call|>", "not_json", "not JSON"),
        (" to=functions.<|channel|>commentary json<|message|>{}<|call|>", "no_name", "header"),
        (" to=python<|channel|>analysis code<|message|>print(1)<|call|>", "no_name", "header"),
        ("<|channel|>commentary json<|message|>{}<|call|>", "no_name", "header"),
        ("<|channel|>aside<|message|>Psst.<|end|>", "no_name", "aside"),
        ("<|start|>user<|message|>And?<|end|>", "no_name", "header"),
    ],
)
def test_a_broken_harmony_message_is_named_and_never_dropped(message: str, kind: str, word: str) -> None:
    parsed = parse(f"<|channel|>analysis<|message|>Hm.<|end|>{message}{START}{CALLS['harmony']}", "harmony")
    assert [(problem.kind, problem.text) for problem in parsed.problems] == [(kind, message)]
    assert word in parsed.problems[0].detail
    assert (parsed.content, parsed.reasoning, len(parsed.calls)) == (message, "Hm.", 1)


@pytest.mark.parametrize(
    ("body", "kind", "word"),
    [
        ("", "not_object", "block"),
        ('{"a": 1}', "not_object", "block"),
        (f"{BLOCK} and words", "not_object", "block"),
        ("<atem:function_calls></atem:function_calls>", "not_object", "invoke"),
        (f"<atem:function_calls>{INVOKE} words</atem:function_calls>", "not_object", "words"),
        (BLOCK.replace('"f"', '""'), "no_name", "named"),
        (BLOCK.replace("</atem:invoke>", "words</atem:invoke>"), "bad_arguments", "words"),
        (BLOCK.replace("</atem:parameter>", "</atem:parameter>" * 2), "bad_arguments", "</atem:parameter>"),
        (BLOCK.replace("♦", '1\n<atem:parameter name="b">2'), "bad_arguments", "'a'"),
        (BLOCK.replace("</atem:invoke>", INVOKE.split("\n")[1] + "</atem:invoke>"), "bad_arguments", "twice"),
    ],
)
def test_a_broken_atem_call_is_named_and_never_dropped(body: str, kind: str, word: str) -> None:
    message = f" to=f<|message|>{body}<|eom|>"
    parsed = parse(f"{message}{START}{CALLS['atem']}", "atem")
    assert [(problem.kind, problem.text) for problem in parsed.problems] == [(kind, message)]
    assert word in parsed.problems[0].detail
    assert (parsed.content, len(parsed.calls)) == (message, 1)


@pytest.mark.parametrize("form", FORMS)
def test_a_call_quoted_in_another_message_does_not_run(form: str) -> None:
    quoted = f"It says {START}{CALLS[form].split(ENDS[form])[0].replace('<|call|>', '').replace('<|eot|>', '')} there."
    for head in (FINALS[form], THOUGHTS[form]):
        parsed = parse(f"{head}{quoted}{ENDS[form]}", form)
        assert parsed.calls == ()
        assert quoted in (parsed.content, parsed.reasoning)
        assert [problem.kind for problem in parsed.problems] == ["unclosed"]


@pytest.mark.parametrize("form", FORMS)
def test_marks_inside_a_value_are_text(form: str) -> None:
    value = f"{ENDS[form]}{START}{FINALS[form]}"
    parsed = parse(CALLS[form].replace("♦", value), form)
    assert parsed.ok
    assert [call.arguments for call in parsed.calls] == [{"a": value}]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("head", ["thought", "call", "mark"])
def test_a_text_that_ends_too_early_is_named(form: str, head: str) -> None:
    text = {"thought": THOUGHTS[form] + "Hm", "call": CALLS[form].split("♦")[0], "mark": START}[head]
    parsed = parse(text, form)
    assert [problem.kind for problem in parsed.problems] == ["unclosed"]
    assert parsed.content == (None if head == "thought" else START if head == "mark" else text)


@pytest.mark.parametrize("form", FORMS)
def test_end_marks_outside_of_messages_are_named(form: str) -> None:
    parsed = parse(f"Hi{ENDS[form]} there", form)
    assert parsed.content == f"Hi{ENDS[form]} there"
    assert [problem.kind for problem in parsed.problems] == ["stray_close"]


def test_untyped_values_of_atem_take_the_type_of_the_schema() -> None:
    text = (
        CALLS["atem"].replace('name="f"', 'name="get_weather"').replace('name="a"', 'name="digits"').replace("♦", "7")
    )
    assert parse(text, "atem").calls[0].arguments == {"digits": 7}
    assert parse(text, "atem", tools=(TOOL,)).calls[0].arguments == {"digits": "7"}


@pytest.mark.parametrize("form", FORMS)
def test_a_stream_gives_text_at_once(form: str) -> None:
    parser = StreamParser(form)
    assert parser.feed(THOUGHTS[form]) == []
    assert parser.feed("Hm.<") == [ContentDelta("Hm.", reasoning=True)]
    assert parser.feed("b") == [ContentDelta("<b", reasoning=True)]
    assert parser.feed(ENDS[form] + START + FINALS[form]) == []
    assert parser.feed("Hi.") == [ContentDelta("Hi.")]
    assert parser.close() == []


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("head", ["", "call", "final"])
def test_a_long_stream_takes_time_in_proportion_to_its_length(form: str, head: str) -> None:
    text = {"": "", "call": CALLS[form].split("♦")[0], "final": FINALS[form]}[head] + "word <b> to=\n" * 15_000
    started = time.process_time()
    parser = StreamParser(form)
    for start in range(0, len(text), 5):
        parser.feed(text[start : start + 5])
    parser.close()
    assert time.process_time() - started < 5


MARKS = (
    "<|start|>",
    "<|message|>",
    "<|end|>",
    "<|eom|>",
    "<|call|>",
    "<|channel|>",
    " to=functions.f",
    " to=self",
    "to=user",
)
PIECES = (*MARKS, START, *CALLS.values(), *FINALS.values(), *THOUGHTS.values(), "analysis", "commentary", "final", "<|")


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=250, deadline=None)
@given(texts(*PIECES, BLOCK, INVOKE, '{"a": "♦"}'), CUTS)
def test_any_text_is_read_whole_or_in_pieces_and_nothing_is_lost(form: str, text: str, cuts: list[int]) -> None:
    check_nothing_is_lost(text, form)
    check_stream_is_the_whole(text, cuts, form)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=150, deadline=None)
@given(messages(*MARKS, BLOCK))
def test_any_message_comes_back_or_is_refused(form: str, message: Message) -> None:
    check_round_trip_or_refusal(message, form)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", WRITTEN)
def test_ordinary_messages_come_back(form: str, name: str) -> None:
    check_round_trip(WRITTEN[name], form, (TOOL,))


def test_a_message_is_written_as_it_stands_after_the_generation_prompt() -> None:
    message = Message(role="assistant", content="I look.", reasoning_content="Hm.", tool_calls=(ToolCall(name="f"),))
    assert render_assistant(message, "harmony") == (
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary<|message|>I look.<|end|>"
        "<|start|>assistant to=functions.f<|channel|>commentary json<|message|>{}"
    )
    assert render_assistant(message, "atem") == (
        " to=self<|message|>Hm.<|eom|><|start|>assistant to=user<|message|>I look.<|eom|>"
        "<|start|>assistant to=f<|message|>"
        '<atem:function_calls>\n<atem:invoke name="f">\n</atem:invoke>\n</atem:function_calls>'
    )
