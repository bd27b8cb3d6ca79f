"""What every dialect owes, as checks that take its name; and the messages that chat templates are made to write."""

import itertools
import json
import re
from typing import Any

from families import family_tokenizer, template_text
from hypothesis import strategies as st

from toolwright.dialect import (
    DIALECTS,
    CallDelta,
    ContentDelta,
    Delta,
    Parsed,
    StreamParser,
    begin_call,
    dialect_for,
    parse,
    render_assistant,
    render_prompt,
)
from toolwright.errors import DataError
from toolwright.records import Message, ToolCall, ToolSpec

SENTINEL = "♦"  # stands for text in generated input: wherever it goes, it must come out

# --- any text ------------------------------------------------------------------------------------------------------


def texts(*fragments: str) -> st.SearchStrategy[str]:
    """Texts made of a dialect's fragments, of text, and of pieces that break both."""
    common = (
        "\n",
        "\n\n",
        " ",
        "<",
        "</",
        "|",
        "|>",
        '"',
        "'",
        "\\",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "=",
        SENTINEL,
        "é😀",
    )
    return st.lists(st.sampled_from([*common, *fragments]) | st.text(max_size=3), max_size=14).map("".join)


def check_nothing_is_lost(text: str, dialect: str) -> None:
    parsed = parse(text, dialect)
    calls = [call.name + json.dumps(call.arguments, ensure_ascii=False) for call in parsed.calls]
    kept = "".join([parsed.content or "", parsed.reasoning or "", *calls])
    assert kept.count(SENTINEL) == text.count(SENTINEL)
    assert all(problem.text in text for problem in parsed.problems)
    assert [call.id for call in parsed.calls] == [f"call_{index}" for index in range(len(parsed.calls))]


def _joined(deltas: list[Delta]) -> tuple[str | None, str | None, list[tuple[int, str, str, str]]]:
    content = "".join(d.text for d in deltas if isinstance(d, ContentDelta) and not d.reasoning)
    reasoning = "".join(d.text for d in deltas if isinstance(d, ContentDelta) and d.reasoning)
    calls = [(d.index, d.id, d.name, d.arguments) for d in deltas if isinstance(d, CallDelta)]
    return content or None, reasoning or None, calls


def check_stream_is_the_whole(text: str, cuts: list[int], dialect: str, tools: tuple[ToolSpec, ...] = ()) -> None:
    """However ``text`` is cut, its deltas, joined, are what ``parse`` gives."""
    parsed = parse(text, dialect, tools=tools)
    calls = [
        (index, call.id, call.name, json.dumps(call.arguments, ensure_ascii=False))
        for index, call in enumerate(parsed.calls)
    ]
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    for pieces in ([text[a:b] for a, b in itertools.pairwise(edges)], list(text), [text, ""]):
        parser = StreamParser(dialect, tools=tools)
        deltas = [delta for piece in pieces for delta in parser.feed(piece)]
        assert _joined([*deltas, *parser.close()]) == (parsed.content, parsed.reasoning, calls)
        assert parser.problems == parsed.problems


CUTS = st.lists(st.integers(0, 200), max_size=12)

# --- round trips ---------------------------------------------------------------------------------------------------

PLAIN = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
NAMES = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_.-]{0,8}", fullmatch=True)


def messages(*fragments: str) -> st.SearchStrategy[Message]:
    """Messages whose text, names and arguments hold a dialect's own marks as well as ordinary words."""
    nasty = st.lists(st.sampled_from([*fragments, "\n", " ", '"', "'", "\\"]) | PLAIN, max_size=4).map("".join)
    values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | nasty,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | nasty, inner, max_size=3),
        max_leaves=8,
    )
    arguments = st.dictionaries(NAMES | nasty, values, max_size=3)
    calls = st.lists(st.builds(ToolCall, name=NAMES | nasty.filter(bool), arguments=arguments), max_size=3).map(tuple)
    text = nasty | st.none()
    return st.builds(
        lambda c, r, t: Message(role="assistant", content=c, reasoning_content=r, tool_calls=t), text, text, calls
    )


def check_round_trip(message: Message, dialect: str, tools: tuple[ToolSpec, ...] = ()) -> None:
    """What ``render_assistant`` writes reads back as the same message."""
    parsed = parse(render_assistant(message, dialect, tools=tools), dialect, tools=tools)
    blank = message.tool_calls and not (message.content or "").strip()
    assert parsed.content == (None if blank else message.content or None)
    assert parsed.reasoning == (message.reasoning_content or None)
    assert written(parsed.calls) == written(message.tool_calls)


def check_round_trip_or_refusal(message: Message, dialect: str) -> None:
    try:
        check_round_trip(message, dialect)
    except DataError as error:
        assert "\n" not in str(error)  # noqa: PT017


def written(calls: tuple[ToolCall, ...]) -> list[str]:
    """Calls as text, because ``True == 1 == 1.0``."""
    return [f"{call.name} {json.dumps(call.arguments, sort_keys=True)}" for call in calls]


# --- what chat templates write -------------------------------------------------------------------------------------

_PROPERTIES: dict[str, Any] = {
    **{key: {"type": "string", "description": "Text."} for key in ("city", "quote", "empty", "digits", "word", "code")},
    "days": {"type": "integer", "description": "Number."},
    "share": {"type": "number", "description": "Number."},
    "sure": {"type": "boolean", "description": "Yes or no."},
    "gone": {"type": "null", "description": "Nothing."},
    "list": {"type": "array", "items": {"type": "string"}, "description": "Several."},
    "deep": {"type": "object", "description": "Nested.", "properties": {}},
}
TOOL = ToolSpec(name="get_weather", description="Weather.", parameters={"type": "object", "properties": _PROPERTIES})


def call(**arguments: Any) -> ToolCall:
    return ToolCall(name="get_weather", arguments=arguments, id="call00000")


def assistant(*calls: ToolCall, content: str | None = None, reasoning: str | None = None) -> Message:
    return Message(role="assistant", content=content, reasoning_content=reasoning, tool_calls=calls)


WRITTEN: dict[str, Message] = {
    "one call": assistant(call(city="Oslo")),
    "no arguments": assistant(call()),
    "nested": assistant(
        call(deep={"a": [1, {"b": "é"}], "c": {}}, list=["x", "it's", 'a "quote"', "a\nb", None, True])
    ),
    "typed": assistant(call(days=7, share=1e22, sure=True, gone=None)),
    "more typed": assistant(call(days=-3, share=0.5, sure=False)),
    "strings like other types": assistant(call(digits="7", word="true", code='{"a": 1}')),
    "unicode": assistant(call(city="Tromsø 😀 中", word="\u2028")),
    "empty string": assistant(call(empty="")),
    "text": assistant(content="Sunny, é😀."),
    "call with text": assistant(call(city="Oslo"), content="I will look."),
    "call with reasoning": assistant(call(city="Oslo"), reasoning="Which city?\nOslo."),
    "text with reasoning": assistant(content="Sunny.", reasoning="Easy."),
    "parallel calls": assistant(call(city="Oslo"), call(), call(city="Bergen", days=2)),
    "quotes": assistant(call(quote='it\'s "so" \\n\nand a line\n')),
}
_HEADS = re.compile(
    r"<\|im_start\|>assistant\n|<\|turn>model\n|<\|assistant\|>|<\|start\|>assistant|<｜Assistant｜>"
    r"|<\|start_header_id\|>assistant<\|end_header_id\|>\n\n|<\|CHATBOT_TOKEN\|>"
)
_TAILS = re.compile(
    r"(?:<\|im_end\|>\n?|<turn\|>\n|<\|tool_response>|<\|call\|>|<\|return\|>|<\|eot\|>|<\|eot_id\|>"
    r"|<｜end▁of▁sentence｜>|<\|END_OF_TURN_TOKEN\|>|<\|observation\|>)$"
)


def turn_of(template: str, message: Message) -> str:
    """What a chat template of TRL writes as ``message``, without the turn's own header and terminator."""
    tokenizer = family_tokenizer(template)
    text = render_prompt(
        tokenizer, [Message(role="user", content="QUESTION"), message], [TOOL], add_generation_prompt=False
    )
    text = text[text.index("QUESTION") :]
    head = _HEADS.search(text)
    assert head
    return _TAILS.sub("", text[head.end() :])


def check_recognised(template: str, dialect: str) -> None:
    """A template of TRL is recognised as one dialect and no other."""
    text = template_text(template)
    assert [name for name, entry in DIALECTS.items() if entry.recognises(text)] == [dialect]
    assert dialect_for("any", text) == dialect


def check_begin_of_a_call(template: str, dialect: str) -> None:
    """What a server puts before a text that must be a call is how the template's own call begins."""
    turn = turn_of(template, WRITTEN["one call"])
    begin, named = begin_call(dialect), begin_call(dialect, "get_weather")
    assert begin + "get_weather" == named
    assert named in turn


def read_turn(template: str, name: str, dialect: str) -> tuple[Message, Parsed]:
    """A message of ``WRITTEN``, and what its turn reads back as."""
    message = WRITTEN[name]
    return message, parse(turn_of(template, message), dialect, tools=(TOOL,))


def check_turn(template: str, name: str, dialect: str, lost: tuple[str, ...] = ()) -> None:
    """A template's turn reads back as its message, but for the fields in ``lost``, which this template drops."""
    message, parsed = read_turn(template, name, dialect)
    assert parsed.problems == ()
    assert "calls" in lost or written(parsed.calls) == written(message.tool_calls)
    if "content" not in lost:
        assert (parsed.content or "").strip() == (message.content or "")
    if "reasoning" not in lost:
        assert (parsed.reasoning or "").strip() == (message.reasoning_content or "")
