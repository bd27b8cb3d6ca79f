"""The two forms of Mistral: what chat templates write, every way of getting it wrong, and round trips.

TRL carries no template of Mistral: two small ones of that form are written here.
"""

from typing import Any

import pytest
from dialect_checks import (
    CUTS,
    TOOL,
    WRITTEN,
    call,
    check_nothing_is_lost,
    check_round_trip,
    check_round_trip_or_refusal,
    check_stream_is_the_whole,
    messages,
    texts,
    written,
)
from families import make_tokenizer
from hypothesis import given, settings

from toolwright.dialect import DIALECTS, begin_call, dialect_for, parse, render_calls, render_prompt, vllm_parser
from toolwright.errors import DataError
from toolwright.records import Message, ToolCall

_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}"
    "{% if tools %}[AVAILABLE_TOOLS]{{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}[INST]{{ m.content }}[/INST]"
    "{% elif m.role == 'tool' %}[TOOL_RESULTS]{{ m.content }}[/TOOL_RESULTS]"
    "{% elif m.tool_calls %}CALLS</s>{% else %}{{ m.content }}</s>{% endif %}{% endfor %}"
)
ARRAY = _TEMPLATE.replace(
    "CALLS",
    '{{ m.content }}[TOOL_CALLS] [{% for c in m.tool_calls %}{"name": "{{ c.function.name }}", "arguments": '
    '{{ c.function.arguments | tojson }}, "id": "{{ c.id }}"}{{ \', \' if not loop.last }}{% endfor %}]',
)
NAMED = _TEMPLATE.replace(
    "CALLS",
    "{{ m.content }}{% for c in m.tool_calls %}[TOOL_CALLS]{{ c.function.name }}[ARGS]"
    "{{ c.function.arguments | tojson }}{% endfor %}",
)
FORMS = ["mistral", "mistral_named"]
TEMPLATES = dict(zip(FORMS, (ARRAY, NAMED), strict=True))
PARIS = '[TOOL_CALLS][{"name": "weather", "arguments": {"city": "Paris"}}]'
NAMED_PARIS = '[TOOL_CALLS]weather[ARGS]{"city": "Paris"}'


def turn_of(form: str, message: Message) -> str:
    asked = [Message(role="user", content="QUESTION"), message]
    text = render_prompt(make_tokenizer(TEMPLATES[form]), asked, [TOOL], add_generation_prompt=False)
    return text.partition("[/INST]")[2].removesuffix("</s>")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", WRITTEN)
def test_what_a_chat_template_writes_reads_back(form: str, name: str) -> None:
    message = WRITTEN[name]
    parsed = parse(turn_of(form, message), form)
    assert parsed.problems == ()
    assert written(parsed.calls) == written(message.tool_calls)
    assert (parsed.content or "") == (message.content or "")


@pytest.mark.parametrize("form", FORMS)
def test_a_chat_template_is_recognised_as_one_form(form: str) -> None:
    assert [name for name, entry in DIALECTS.items() if entry.recognises(TEMPLATES[form])] == [form]
    assert dialect_for("any", TEMPLATES[form]) == form
    assert vllm_parser(form) == "mistral"


@pytest.mark.parametrize(
    ("name", "form"),
    [("mistralai/Mistral-7B-Instruct-v0.3", "mistral"), ("mistralai/Magistral-Small-2509", "mistral_named")],
)
def test_the_family_tells_where_there_is_no_template(name: str, form: str) -> None:
    assert dialect_for(name, None) == form


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("text", "content", "reasoning", "arguments"),
    [
        (PARIS, None, None, [{"city": "Paris"}]),
        (NAMED_PARIS, None, None, [{"city": "Paris"}]),
        (f"I look.{PARIS}", "I look.", None, [{"city": "Paris"}]),
        (f"[THINK]Hm.[/THINK]I look.{NAMED_PARIS}", "I look.", "Hm.", [{"city": "Paris"}]),
        (NAMED_PARIS + NAMED_PARIS, None, None, [{"city": "Paris"}] * 2),
        (f"{NAMED_PARIS} \n{PARIS}\n", None, None, [{"city": "Paris"}] * 2),
        ('[TOOL_CALLS] [\n{"name": "f", "arguments": {}, "id": "abcdefghi"}, {"name": "g"}]', None, None, [{}, {}]),
        ('[TOOL_CALLS]{"name": "f", "arguments": {"a": 1}}', None, None, [{"a": 1}]),
        ('[TOOL_CALLS]f[CALL_ID]abcdefghi[ARGS]{"a": 1}', None, None, [{"a": 1}]),
        ('[TOOL_CALLS]f{"a": 1}', None, None, [{"a": 1}]),
        ('[TOOL_CALLS]f[ARGS]{"a": "[TOOL_CALLS]g[ARGS]{}"}', None, None, [{"a": "[TOOL_CALLS]g[ARGS]{}"}]),
        ("A [TOOL_CALL] in words, [ARGS] too", "A [TOOL_CALL] in words, [ARGS] too", None, []),
    ],
)
def test_text_is_split_into_content_reasoning_and_calls(
    form: str, text: str, content: str | None, reasoning: str | None, arguments: list[dict[str, Any]]
) -> None:
    parsed = parse(text, form)
    assert (parsed.content, parsed.reasoning, parsed.problems) == (content, reasoning, ())
    assert [call.arguments for call in parsed.calls] == arguments


@pytest.mark.parametrize(
    ("body", "kind", "word"),
    [
        ("", "no_name", "no name"),
        ("[", "not_json", "not JSON"),
        ("[]", "not_object", "empty"),
        ('[{"name": "f", "arguments": {}}', "not_json", "delimiter"),
        ('[{"name": "f", "arguments": {}}] and more', "not_json", "Extra data"),
        ('[{"name": "f", "parameters": {}}]', "bad_arguments", "parameters"),
        ("[3]", "no_name", "no name"),
        ('[ARGS]{"a": 1}', "no_name", "no name"),
        ("f", "not_json", "not JSON"),
        ("f[ARGS]", "not_json", "not JSON"),
        ("f[ARGS][1]", "bad_arguments", "[1]"),
        ('f[ARGS]{"a": "cut', "not_json", "string"),
        ('f[ARGS]{"a": "line\nbreak"}', "not_json", "control character"),
        ('f[ARGS]{"a": 1} and more', "not_json", "Extra data"),
        ("two words[ARGS]{}", "not_json", "not JSON"),
    ],
)
def test_a_malformed_call_is_named_and_never_dropped(body: str, kind: str, word: str) -> None:
    bad = f"[TOOL_CALLS]{body}"
    parsed = parse(f"Look.{bad}", "mistral")
    assert [(problem.kind, problem.text) for problem in parsed.problems] == [(kind, bad)]
    assert word in parsed.problems[0].detail
    assert (parsed.content, parsed.calls) == (f"Look.{bad}", ())


def test_a_good_call_after_a_bad_one_is_read() -> None:
    parsed = parse(f"[TOOL_CALLS]f[ARGS]oops{NAMED_PARIS}", "mistral_named")
    assert [problem.text for problem in parsed.problems] == ["[TOOL_CALLS]f[ARGS]oops"]
    assert [call.name for call in parsed.calls] == ["weather"]


def test_calls_are_written_as_the_models_write_them() -> None:
    calls = [call(city="é"), ToolCall(name="g")]
    assert render_calls(calls, "mistral") == (
        '[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "é"}}, {"name": "g", "arguments": {}}]'
    )
    assert render_calls(calls, "mistral_named") == '[TOOL_CALLS]get_weather[ARGS]{"city": "é"}[TOOL_CALLS]g[ARGS]{}'
    assert begin_call("mistral", "f") == '[TOOL_CALLS][{"name": "f'
    assert begin_call("mistral_named", "f") == "[TOOL_CALLS]f"
    with pytest.raises(DataError, match="not JSON"):
        render_calls([call(share=float("nan"))], "mistral_named")


PIECES = ("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", PARIS, NAMED_PARIS, "f[ARGS]{", '{"name": "f"}', "[THINK]", "[/THINK]")


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
