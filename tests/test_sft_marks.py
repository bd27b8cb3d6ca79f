from typing import Any

import pytest
from families import family_tokenizer, template_names
from jinja2.exceptions import SecurityError

from sft.marks import MarkedTemplate, words_that_templates_test
from toolwright.dialect import render_prompt
from toolwright.dialect.template import for_template, style_of
from toolwright.errors import ModelError
from toolwright.records import Message, ToolCall, ToolSpec

TOOL = ToolSpec(name="get_weather", description="Weather.", parameters={"type": "object", "properties": {}})
SYSTEM = Message(role="system", content="Be brief.")
USER = Message(role="user", content="Which weather?")
SUNNY = Message(role="assistant", content="Sunny.")
THOUGHT = Message(role="assistant", content="Sunny.", reasoning_content="Easy.")
CALL = Message(role="assistant", tool_calls=(ToolCall(name="get_weather", arguments={"a": "é"}, id="call00001"),))
RESULT = Message(role="tool", content='{"t": 18}', tool_call_id="call00001", name="get_weather")
CHATS = {
    "talk": (SYSTEM, USER, SUNNY, USER, SUNNY),
    "tools": (USER, CALL, RESULT, SUNNY, USER, CALL, RESULT, SUNNY),
    "thought": (USER, THOUGHT, USER, THOUGHT),
}


@pytest.mark.parametrize("name", [*template_names(), *template_names(training=True)])
def test_marks_change_nothing_in_the_text_of_any_template(name: str) -> None:
    tokenizer = family_tokenizer(name)
    template = MarkedTemplate(tokenizer.chat_template, tokenizer.special_tokens_map)
    rendered = 0
    for messages in CHATS.values():
        for tools in ([], [TOOL]):
            try:
                own = render_prompt(tokenizer, messages, tools, add_generation_prompt=False)
                prompt = render_prompt(tokenizer, messages[:1], tools, add_generation_prompt=True)
            except ModelError:
                continue
            rendered += 1
            rows, tool_rows = rows_of(tokenizer, messages, tools)
            assert template.render(rows, tool_rows, prompt=False) == own
            assert template.render(rows[:1], tool_rows, prompt=True) == prompt
            text, starts = template.starts(rows, tool_rows)
            assert text == own
            assert [starts[index] for index in sorted(starts)] == sorted(starts.values()), "messages come in order"
    assert rendered


def rows_of(tokenizer: Any, messages: Any, tools: Any) -> tuple[list[Any], list[Any]]:
    return [for_template(message, style_of(tokenizer)) for message in messages], [tool.to_openai() for tool in tools]


def test_a_message_begins_where_its_marks_stood() -> None:
    tokenizer = family_tokenizer("qwen2_5")
    text, starts = MarkedTemplate(tokenizer.chat_template, {}).starts(*rows_of(tokenizer, CHATS["tools"], [TOOL]))
    assert text[starts[1] :].startswith("<|im_start|>assistant\n<tool_call>")
    assert text[starts[3] :].startswith("<|im_start|>assistant\nSunny.<|im_end|>")


def test_a_message_cannot_forge_a_mark() -> None:
    template = MarkedTemplate("{% for m in messages %}[{{ m.content }}]{% endfor %}", {})
    rows = [{"role": "user", "content": "\x00deadbeef:7\x01"}, {"role": "user", "content": "b"}]
    assert template.starts(rows, []) == ("[\x00deadbeef:7\x01][b]", {0: 0, 1: 14})


def test_loops_that_search_and_loops_within_a_message_do_not_count() -> None:
    source = (
        "{% for m in messages[::-1] %}{% if m.x %}{% endif %}{% endfor %}"
        "{% set rest = messages[1:] %}{% for m in rest %}<{{ m.content }}{% for n in rest %}{% endfor %}>{% endfor %}"
    )
    rows = [{"content": "a"}, {"content": "b"}, {"content": "c"}]
    text, starts = MarkedTemplate(source, {}).starts(rows, [])
    assert (text, starts[1], starts[2]) == ("<b><c>", 0, 3)


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages[0].__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ ''.__class__ }}",
        "{{ '{0.__class__}'.format(messages) }}",
        "{% set ns = namespace() %}{% set ns._x = 1 %}",
        "{% for m in messages %}{{ loop.__init__.__globals__ }}{% endfor %}",
        "{{ messages[0].content.strip.__self__.__class__.__name__ }}",
    ],
)
def test_templates_stay_in_the_sandbox(source: str) -> None:
    template = MarkedTemplate(source, {})
    try:
        text = template.render([{"role": "user", "content": "a"}], [], prompt=False)
    except SecurityError:
        return
    assert "class" not in text
    assert "globals" not in text


def test_words_that_a_template_looks_for_are_found() -> None:
    source = "{% if '</think>' in m.content %}{{ m.content.split('<a>')[0] }}{% endif %}{{ m['role'] == 'user' }}"
    assert words_that_templates_test(source) == ("</think>", "<a>")
