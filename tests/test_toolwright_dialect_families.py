"""Which dialect a chat template has, over all templates of TRL; and the plain dialect of those without calls."""

from contextlib import suppress

import pytest
from dialect_checks import CUTS, WRITTEN, check_nothing_is_lost, check_stream_is_the_whole, texts, turn_of, written
from families import family_tokenizer, template_names, template_text
from hypothesis import given, settings

from toolwright.dialect import (
    DIALECTS,
    begin_call,
    dialect_for,
    opened_reasoning,
    parse,
    render_assistant,
    render_calls,
    render_prompt,
    vllm_parser,
)
from toolwright.errors import DataError, ModelError
from toolwright.records import Message, ToolCall

PARIS = '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>'
ALL_TEMPLATES = template_names() + template_names(training=True)


WRITING = [name for name in ALL_TEMPLATES if "tool_calls" in template_text(name) and "r1_distill" not in name]
"""R1's distilled templates write calls only where the content is null, and then no end of the group."""


@pytest.mark.parametrize("template", WRITING)
def test_every_template_that_writes_calls_has_exactly_one_dialect_which_reads_them(template: str) -> None:
    text = template_text(template)
    known = [name for name, entry in DIALECTS.items() if entry.recognises(text)]
    assert known == [dialect_for("any", text)]
    turn = turn_of(template, WRITTEN["one call"])
    parsed = parse(turn, known[0])
    assert (written(parsed.calls), parsed.content) == (written(WRITTEN["one call"].tool_calls), None)
    assert parsed.ok


@pytest.mark.parametrize("template", sorted({*ALL_TEMPLATES} - {*WRITING}))
def test_other_templates_have_at_most_one_dialect_and_no_calls(template: str) -> None:
    text = template_text(template)
    assert sum(entry.recognises(text) for entry in DIALECTS.values()) <= 1
    messages = [Message(role="user", content="Hi"), WRITTEN["one call"]]
    with suppress(ModelError):  # some refuse a turn without text
        assert "Oslo" not in render_prompt(family_tokenizer(template), messages, [], add_generation_prompt=False)


def test_the_templates_of_trl_cover_most_dialects() -> None:
    assert {dialect_for("any", template_text(name)) for name in WRITING} == {
        *("hermes", "xml", "glm", "gemma", "lfm", "harmony", "atem", "llama3", "deepseek")
    }


@pytest.mark.parametrize(
    ("text", "content", "reasoning"),
    [
        (PARIS, PARIS, None),
        ("Hello.", "Hello.", None),
        ("<think>\nHm.\n</think>\n\nYes.", "Yes.", "Hm."),
        ('{"name": "f", "parameters": {}}', '{"name": "f", "parameters": {}}', None),
    ],
)
def test_plain_text_has_no_calls_and_no_problems(text: str, content: str, reasoning: str | None) -> None:
    parsed = parse(text, "plain")
    assert (parsed.content, parsed.reasoning, parsed.calls, parsed.problems) == (content, reasoning, (), ())
    assert render_assistant(Message(role="assistant", content=content, reasoning_content=reasoning), "plain") == text


def test_plain_is_never_chosen_and_cannot_write_calls() -> None:
    assert "plain" not in DIALECTS
    with pytest.raises(ModelError, match="cannot tell"):
        dialect_for("phi3", template_text("phi3"))
    with pytest.raises(DataError, match="no form for calls"):
        render_calls([ToolCall(name="f")], "plain")
    for use in (vllm_parser, begin_call):
        with pytest.raises(ModelError, match="'plain' is unknown"):
            use("plain")


@settings(max_examples=200, deadline=None)
@given(texts(PARIS, "<think>", "</think>", "<tool_call>"), CUTS)
def test_any_plain_text_is_kept(text: str, cuts: list[int]) -> None:
    check_nothing_is_lost(text, "plain")
    check_stream_is_the_whole(text, cuts, "plain")
    assert parse(text, "plain").calls == ()


@pytest.mark.parametrize(
    ("prompt", "mark"),
    [("<|im_start|>assistant\n<think>\n", "<think>"), ("<think>\n\n</think>\n\n", ""), ("", "")],
)
def test_a_prompt_may_have_begun_the_reasoning(prompt: str, mark: str) -> None:
    assert opened_reasoning(prompt, "hermes") == opened_reasoning(prompt, "plain") == mark
    assert opened_reasoning(prompt, "harmony") == ""


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_call_begins_alike_with_and_without_its_name(dialect: str) -> None:
    assert begin_call(dialect, "get") == begin_call(dialect) + "get"
    begun = render_calls([ToolCall(name="get", arguments={"a": 1})], dialect)
    assert begun.startswith(begin_call(dialect, "get"))
