"""Model text read and written: every form of a call, every way of getting it wrong, and round trips."""

import itertools
import json
import time
from typing import Any

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolwright.dialect import (
    CallDelta,
    ContentDelta,
    Delta,
    Parsed,
    StreamParser,
    check_template,
    dialect_for,
    parse,
    render_assistant,
    render_calls,
    render_prompt,
    vllm_parser,
)
from toolwright.errors import DataError, ModelError
from toolwright.records import Message, ToolCall, ToolSpec

PARIS = '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>'
ROME = '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>'


def block(body: str) -> str:
    return f"<tool_call>\n{body}\n</tool_call>"


def names_and_arguments(parsed: Parsed) -> list[tuple[str, dict[str, Any]]]:
    return [(call.name, call.arguments) for call in parsed.calls]


@pytest.mark.parametrize(
    ("text", "content", "reasoning", "cities"),
    [
        ("", None, None, []),
        ("Hello.", "Hello.", None, []),
        ("  \n", "  \n", None, []),
        (PARIS, None, None, ["Paris"]),
        (f"{PARIS}\n{ROME}", None, None, ["Paris", "Rome"]),
        (PARIS + ROME, None, None, ["Paris", "Rome"]),
        (f"I look.\n{PARIS}", "I look.", None, ["Paris"]),
        (f"I look. {PARIS}", "I look. ", None, ["Paris"]),
        (f"{PARIS}\nDone.", "Done.", None, ["Paris"]),
        (f"First.\n{PARIS}\nSecond.\n{ROME}\nThird.", "First.\nSecond.\nThird.", None, ["Paris", "Rome"]),
        (f"\n\n{PARIS}\n\n", None, None, ["Paris"]),
        (f"Two breaks.\n\n{PARIS}", "Two breaks.\n", None, ["Paris"]),
        ("<think>\nHm.\n</think>\n\nYes.", "Yes.", "Hm.", []),
        ("\n<think>Hm.</think>Yes.", "Yes.", "Hm.", []),
        ("<think>\n\n</think>\n\nYes.", "Yes.", None, []),
        (f"<think>\nShall I?\n</think>\n\n{PARIS}", None, "Shall I?", ["Paris"]),
        (f"<think>\n{ROME}\n</think>\n\n{PARIS}", None, ROME, ["Paris"]),
        ("Not at the start: <think>a</think>", "Not at the start: <think>a</think>", None, []),
        ("a < b, <tool, <b>bold</b>", "a < b, <tool, <b>bold</b>", None, []),
    ],
)
def test_text_is_split_into_content_reasoning_and_calls(
    text: str, content: str | None, reasoning: str | None, cities: list[str]
) -> None:
    parsed = parse(text)
    assert (parsed.content, parsed.reasoning, parsed.problems) == (content, reasoning, ())
    assert [call.arguments["city"] for call in parsed.calls] == cities
    assert [call.id for call in parsed.calls] == [f"call_{i}" for i in range(len(cities))]


@pytest.mark.parametrize(
    ("body", "calls"),
    [
        ('{"name": "f"}', [("f", {})]),
        ('{"arguments": {"a": 1}, "name": "f"}', [("f", {"a": 1})]),
        ('{"name": "f", "arguments": "{\\"a\\": 1}"}', [("f", {"a": 1})]),
        ('{"id": "x", "type": "function", "name": "f", "arguments": {}}', [("f", {})]),
        ('{"name": "f", "arguments": {"a": 1, "a": 2}}', [("f", {"a": 2})]),
        ('[{"name": "f"}, {"name": "g", "arguments": {"a": []}}]', [("f", {}), ("g", {"a": []})]),
        ('{"name": "f", "arguments": {"q": "</tool_call>"}}', [("f", {"q": "</tool_call>"})]),
        ('{"name": "f", "arguments": {"q": "<tool_call>"}}', [("f", {"q": "<tool_call>"})]),
        ('{"name": "f", "arguments": {"q": "\\"</tool_call>\\\\"}}', [("f", {"q": '"</tool_call>\\'})]),
        ('{"name": "f", "arguments": {"q": "<think></think>"}}', [("f", {"q": "<think></think>"})]),
        ('{"name": "f",\n  "arguments": {\n "q": "é😀\\u00e9"}}', [("f", {"q": "é😀é"})]),
    ],
)
def test_a_block_is_read(body: str, calls: list[tuple[str, dict[str, Any]]]) -> None:
    parsed = parse(block(body))
    assert parsed.ok
    assert parsed.content is None
    assert names_and_arguments(parsed) == calls


@pytest.mark.parametrize(
    ("body", "kind", "word"),
    [
        ("", "not_json", "not JSON"),
        ("get_weather(city='Paris')", "not_json", "not JSON"),
        ('{"name": "f", "arguments": {"a": 1}', "not_json", "delimiter"),
        ('{"name": "f", "arguments": {"a": 1}}}', "not_json", "Extra data"),
        ("{'name': 'f'}", "not_json", "double quotes"),
        ('{"name": "f", "arguments": {"a": "line\nbreak"}}', "not_json", "control character"),
        ('{"name": "f", "arguments": {"a": NaN}}', "not_json", "NaN"),
        ('{"name": "f", "arguments": {"a": -Infinity}}', "not_json", "Infinity"),
        ('{"name": "f", "arguments": {"a": 1e999}}', "not_json", "too large"),
        ('{"name": "f", "arguments": {"a": ' + "9" * 5000 + "}}", "not_json", "limit"),
        ('{"name": "f", "arguments": {"a": "\\ud800"}}', "not_json", "surrogate"),
        ('{"name": "f", "arguments": {"\\ud800": 1}}', "not_json", "surrogate"),
        ('{"name": "f", "arguments": {"a": ' + "[" * 70 + "]" * 70 + "}}", "not_json", "levels"),
        ('{"name": "f", "arguments": {"a": ' + "[" * 9000 + "]" * 9000 + "}}", "not_json", "not JSON"),
        ("3", "not_object", "3"),
        ("null", "not_object", "None"),
        ("[]", "not_object", "empty"),
        ('[{"name": "f"}, 4]', "not_object", "4"),
        ("{}", "no_name", "no name"),
        ('{"name": ""}', "no_name", "no name"),
        ('{"name": 3, "arguments": {}}', "no_name", "3"),
        ('{"name": "f", "parameters": {"a": 1}}', "bad_arguments", "parameters"),
        ('{"name": "f", "arguments": {"a": 1}, "b": 2}', "bad_arguments", "'b'"),
        ('{"name": "f", "a": 1}', "bad_arguments", "'a'"),
        ('{"name": "f", "arguments": null}', "bad_arguments", "None"),
        ('{"name": "f", "arguments": [1]}', "bad_arguments", "[1]"),
        ('{"name": "f", "arguments": "a=1"}', "bad_arguments", "not JSON"),
        ('{"name": "f", "arguments": "[1]"}', "bad_arguments", "[1]"),
    ],
)
def test_a_malformed_call_is_named_and_never_dropped(body: str, kind: str, word: str) -> None:
    text = f"Look.\n{block(body)}\nThen.\n{PARIS}"
    parsed = parse(text)
    assert [problem.kind for problem in parsed.problems] == [kind]
    assert parsed.problems[0].text == block(body)
    assert word in parsed.problems[0].detail
    assert parsed.content == f"Look.\n{block(body)}\nThen."
    assert names_and_arguments(parsed) == [("weather", {"city": "Paris"})]


@pytest.mark.parametrize(
    ("text", "kinds", "n_calls"),
    [
        ("<tool_call>", ["unclosed"], 0),
        ("<tool_call>\n{", ["unclosed"], 0),
        ('<tool_call>\n{"name": "f", "arguments": {}}', ["unclosed"], 0),
        ('<tool_call>\n{"name": "f", "arguments": {"a": "cut </tool', ["unclosed"], 0),
        ('<tool_call>\n{"name": "f}</tool_call>', ["not_json"], 0),
        ('<tool_call>\n{"name": "f"}\n' + PARIS, ["unclosed"], 1),
        ("<tool_call><tool_call>" + PARIS, ["unclosed", "unclosed"], 1),
        ("</tool_call>", ["stray_close"], 0),
        (PARIS + "\n</tool_call>\n" + ROME, ["stray_close"], 2),
        ("Use the <tool_call> tag.", ["unclosed"], 0),
        ("<tool_call>{<b>}</tool_call>" + PARIS, ["not_json"], 1),
        ("<think>\nI never end " + PARIS, ["unclosed"], 0),
    ],
)
def test_blocks_without_both_ends_are_named(text: str, kinds: list[str], n_calls: int) -> None:
    parsed = parse(text)
    assert [problem.kind for problem in parsed.problems] == kinds
    assert len(parsed.calls) == n_calls
    kept = (parsed.content or "") + "<think>\n" + (parsed.reasoning or "")
    assert all(problem.text in kept for problem in parsed.problems)


def test_a_call_quoted_inside_broken_arguments_does_not_run() -> None:
    quoted = '{"name": "read", "arguments": {"text": "line one\n<tool_call>{\\"name\\": \\"delete\\"}</tool_call>"}}'
    parsed = parse(block(quoted))
    assert parsed.calls == ()
    assert not parsed.ok


FRAGMENTS = st.sampled_from(
    [
        *("<tool_call>", "</tool_call>", "<think>", "</think>", "\n", "\n\n", " ", "<", "</", '"', "\\", "{", "}"),
        *("<tool_", "call>", "text", "é😀", '{"name": "f"}', '{"name": "f", "arguments": {"a": "', '"}}', "\t", "\r\n"),
        *(PARIS, ROME, '[{"name": "f"}, {"name": "g"}]', '"</tool_call>"'),
    ]
)
TEXTS = st.lists(FRAGMENTS | st.text(max_size=3), max_size=14).map("".join)


def joined(deltas: list[Delta]) -> tuple[str | None, str | None, list[tuple[int, str, str, str]]]:
    content = "".join(d.text for d in deltas if isinstance(d, ContentDelta) and not d.reasoning)
    reasoning = "".join(d.text for d in deltas if isinstance(d, ContentDelta) and d.reasoning)
    calls = [(d.index, d.id, d.name, d.arguments) for d in deltas if isinstance(d, CallDelta)]
    return content or None, reasoning or None, calls


def stream(pieces: list[str]) -> tuple[object, tuple[object, ...]]:
    parser = StreamParser()
    deltas = [delta for piece in pieces for delta in parser.feed(piece)]
    return joined([*deltas, *parser.close()]), parser.problems


@settings(max_examples=400, deadline=None)
@given(TEXTS, st.lists(st.integers(0, 200), max_size=12))
def test_a_stream_gives_the_same_as_the_whole_text_however_it_is_cut(text: str, cuts: list[int]) -> None:
    parsed = parse(text)
    calls = [
        (index, call.id, call.name, json.dumps(call.arguments, ensure_ascii=False))
        for index, call in enumerate(parsed.calls)
    ]
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    for pieces in ([text[a:b] for a, b in itertools.pairwise(edges)], list(text), [text, ""]):
        assert stream(pieces) == ((parsed.content, parsed.reasoning, calls), parsed.problems)


@settings(max_examples=400, deadline=None)
@given(TEXTS)
def test_no_text_is_lost(text: str) -> None:
    parsed = parse(text)
    if not parsed.calls and not text.lstrip().startswith("<think>"):
        assert (parsed.content or "") == text
    for problem in parsed.problems:
        assert problem.text in text
        assert problem.text.startswith("<think>") or problem.text in (parsed.content or "")
    marks = text.count("<tool_call>") + text.count("</tool_call>")
    assert parsed.calls or parsed.problems or parsed.reasoning or not marks


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_what_was_kept_as_content_reads_the_same_again(text: str) -> None:
    parsed = parse(text)
    if not parsed.calls and parsed.content == text:
        assert parse(parsed.content).problems == parsed.problems


PLAIN = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
NASTY = st.lists(FRAGMENTS | PLAIN, max_size=5).map("".join)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | NASTY,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NASTY, inner, max_size=3),
    max_leaves=8,
)
CALLS = st.builds(ToolCall, name=NASTY.filter(bool), arguments=st.dictionaries(NASTY, JSON_VALUES, max_size=3))
CALL_LISTS = st.lists(CALLS, max_size=3).map(tuple)


def numbered(calls: tuple[ToolCall, ...]) -> tuple[ToolCall, ...]:
    return tuple(call.model_copy(update={"id": f"call_{index}"}) for index, call in enumerate(calls))


def check_round_trip(message: Message) -> None:
    parsed = parse(render_assistant(message))
    blank = message.tool_calls and not (message.content or "").strip()
    assert parsed.content == (None if blank else message.content or None)
    assert parsed.reasoning == (message.reasoning_content or None)
    assert parsed.calls == numbered(message.tool_calls)


@pytest.mark.parametrize("content", ["", " ", "\n\n", None])
def test_blank_content_beside_calls_is_the_same_as_none(content: str | None) -> None:
    check_round_trip(Message(role="assistant", content=content, tool_calls=(ToolCall(name="f"),)))


@settings(max_examples=150, deadline=None)
@given(PLAIN | st.none(), PLAIN | st.none(), CALL_LISTS)
def test_a_message_without_marks_in_its_text_always_comes_back(
    content: str | None, reasoning: str | None, calls: tuple[ToolCall, ...]
) -> None:
    check_round_trip(Message(role="assistant", content=content, reasoning_content=reasoning, tool_calls=calls))


@settings(max_examples=150, deadline=None)
@given(NASTY | st.none(), NASTY | st.none(), CALL_LISTS)
def test_any_message_comes_back_or_is_refused(
    content: str | None, reasoning: str | None, calls: tuple[ToolCall, ...]
) -> None:
    message = Message(role="assistant", content=content, reasoning_content=reasoning, tool_calls=calls)
    try:
        check_round_trip(message)
    except DataError as error:
        assert "read back as another message" in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    "message",
    [
        Message(role="assistant", content=PARIS),
        Message(role="assistant", content="<think>a</think>b"),
        Message(role="assistant", content="b", reasoning_content="a</think>"),
        Message(role="assistant", content="<tool_call>{", tool_calls=(ToolCall(name="f"),)),
        Message(role="assistant", tool_calls=(ToolCall(name="f", arguments={"a": float("nan")}),)),
        Message(role="assistant", tool_calls=(ToolCall(name="f", arguments={"a": object()}),)),
    ],
)
def test_a_message_that_would_read_back_differently_is_refused(message: Message) -> None:
    with pytest.raises(DataError):
        render_assistant(message)


def test_malformed_content_is_written_as_it_came() -> None:
    text = block('{"name": "f"')
    assert render_assistant(Message(role="assistant", content=parse(text).content)) == text


def test_calls_are_written_as_the_chat_templates_write_them() -> None:
    calls = [ToolCall(name="f", arguments={"b": "é", "a": [1, None]}), ToolCall(name="g")]
    assert render_calls(calls) == (
        '<tool_call>\n{"name": "f", "arguments": {"b": "é", "a": [1, null]}}\n</tool_call>\n'
        '<tool_call>\n{"name": "g", "arguments": {}}\n</tool_call>'
    )


def test_a_stream_holds_back_no_more_than_it_must() -> None:
    parser = StreamParser()
    assert parser.feed("Hello <b") == [ContentDelta("Hello <b")]
    assert parser.feed("> a\n<tool") == [ContentDelta("> a")]
    assert parser.feed("x") == [ContentDelta("\n<toolx")]
    assert parser.feed("\n" + PARIS[:-1]) == []
    assert parser.feed(">") == [CallDelta(0, "call_0", "weather", '{"city": "Paris"}')]
    assert parser.feed("\nBye") == [ContentDelta("\n" + "Bye")]
    assert parser.close() == []


def test_a_long_stream_takes_time_in_proportion_to_its_length() -> None:
    text = "<tool_call>\n" + "word <b> \n" * 20_000
    started = time.process_time()
    parser = StreamParser()
    for start in range(0, len(text), 5):
        parser.feed(text[start : start + 5])
    parser.close()
    assert time.process_time() - started < 5
    assert parser.problems[0].text == text


class JinjaTokenizer:
    """Renders templates as transformers does, without it."""

    name_or_path = "models/fake"

    def __init__(self, chat_template: str | None) -> None:
        self.chat_template = chat_template

    def apply_chat_template(self, conversation: Any, *_args: Any, **kwargs: Any) -> str:
        assert kwargs.pop("tokenize") is False
        environment = jinja2.Environment()
        environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
        environment.globals["raise_exception"] = _refuse
        return environment.from_string(self.chat_template or "").render(messages=conversation, **kwargs)


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)


TOOLS_PART = '{% for tool in tools or [] %}{{ tool | tojson }}\nanswer as <tool_call>{"name", "arguments"}{% endfor %}'
CALLS_PART = "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}"
GOOD = (
    TOOLS_PART + "{% for m in messages %}[{{ m.role }}]{{ m.content }}" + CALLS_PART + "{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
TOOL = ToolSpec(name="weather", description="The weather.")


def test_the_prompt_is_what_the_chat_template_makes_of_the_records() -> None:
    call = ToolCall(name="weather", arguments={"city": 'é"'}, id="call_0")
    messages = [
        Message(role="user", content="Hi"),
        Message(role="assistant", tool_calls=(call,)),
        Message(role="tool", content="wet", tool_call_id="call_0"),
    ]
    template = GOOD + "{{ mood }}"
    assert render_prompt(JinjaTokenizer(template), messages, [TOOL], mood="!") == (
        '{"type": "function", "function": {"name": "weather", "description": "The weather.", '
        '"parameters": {"type": "object", "properties": {}}}}\nanswer as <tool_call>{"name", "arguments"}'
        '[user]Hi[assistant]<tool_call>{"name": "weather", "arguments": {"city": "é\\""}}</tool_call>'
        "[tool]wet[assistant]!"
    )
    assert render_prompt(JinjaTokenizer(GOOD), messages[:1], [], add_generation_prompt=False) == "[user]Hi"


@pytest.mark.parametrize(
    "template", ["{{ raise_exception('roles must alternate') }}", "{{ messages[0].roles.first }}", "{% roles"]
)
def test_a_template_that_refuses_is_a_model_error_with_the_reason(template: str) -> None:
    with pytest.raises(ModelError, match=r"^models/fake: .*roles") as caught:
        render_prompt(JinjaTokenizer(template), [Message(role="user", content="Hi")], [])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("template", "lost"),
    [
        (None, "no chat template"),
        ("", "no chat template"),
        (GOOD.replace(TOOLS_PART, ""), "drops the tools"),
        (GOOD.replace("tool | tojson", "tool.function.name"), "drops the tools"),
        (GOOD.replace(CALLS_PART, ""), "drops the assistant's tool_calls"),
        (GOOD.replace("in m.tool_calls or []", "in (m.tool_calls or [])[:1]"), "drimble"),
        (GOOD.replace("{{ m.content }}", "{{ m.content if m.role != 'tool' }}"), "drops the tool results"),
        ("{{ raise_exception('no tools here') }}", "no tools here"),
    ],
)
def test_a_template_that_loses_something_is_refused(template: str | None, lost: str) -> None:
    with pytest.raises(ModelError, match=lost) as caught:
        check_template(JinjaTokenizer(template), "models/base")
    assert str(caught.value).startswith("models/base: ")
    assert "; use an instruct model" in str(caught.value)


def test_a_template_that_keeps_everything_passes() -> None:
    check_template(JinjaTokenizer(GOOD), "models/base")


def test_a_template_that_says_it_takes_one_call_a_turn_passes_and_loses_nothing_else() -> None:
    one = (
        "{% for m in messages if m.tool_calls and m.tool_calls | length > 1 %}{{ raise_exception('one') }}{% endfor %}"
    )
    check_template(JinjaTokenizer(one + GOOD), "models/base")
    with pytest.raises(ModelError, match=r"drops the assistant's tool_calls \(lost: vexmoor\)"):
        check_template(JinjaTokenizer(one + GOOD.replace(CALLS_PART, "")), "models/base")


@pytest.mark.parametrize(
    ("name", "template"),
    [
        ("anything", GOOD),
        ("qwen2", r"... <tool_call>\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call>"),
        ("nous", """{{ '<tool_call>\n{"name": "' + n + '", "arguments": ' + a }}"""),
        ("Qwen/Qwen2.5-7B-Instruct", None),
        ("qwen3", None),
    ],
)
def test_hermes_is_recognised(name: str, template: str | None) -> None:
    assert dialect_for(name, template) == "hermes"


@pytest.mark.parametrize(
    ("name", "template"),
    [
        ("qwen3", "{{ messages }}"),
        ("qwen3_coder", '<tool_call>\n<function=f>\n</function>\n</tool_call> "arguments"'),
        ("llama", None),
        ("Qwen/Qwen2.5-Coder-7B", None),
    ],
)
def test_an_unknown_dialect_is_refused_with_the_supported_ones(name: str, template: str | None) -> None:
    with pytest.raises(ModelError, match=r"supported: .*hermes"):
        dialect_for(name, template)


def test_a_dialect_that_does_not_exist_is_a_model_error() -> None:
    for use in (lambda: parse("", "klingon"), lambda: StreamParser("klingon"), lambda: vllm_parser("klingon")):
        with pytest.raises(ModelError, match=r"'klingon' is unknown; supported: .*hermes"):
            use()
    assert vllm_parser("hermes") == "hermes"


def test_a_real_tokenizer_renders_and_passes_the_check() -> None:
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    model = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=model)
    with pytest.raises(ModelError, match="no chat template"):
        check_template(tokenizer, "tiny")
    tokenizer.chat_template = GOOD
    check_template(tokenizer, "tiny")
    assert render_prompt(tokenizer, [Message(role="user", content="Hi")], []) == "[user]Hi[assistant]"
    tokenizer.chat_template = "{{ raise_exception('never') }}"
    with pytest.raises(ModelError, match="never"):
        render_prompt(tokenizer, [Message(role="user", content="Hi")], [])
