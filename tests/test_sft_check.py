import random
import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from sft.check import _plainly_schema, check_conversation
from toolwright.errors import DataError
from toolwright.records import Conversation, Message

Row = dict[str, Any]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
USER: Row = {"role": "user", "content": "Weather in Oslo?"}
SYSTEM: Row = {"role": "system", "content": "Be brief."}
ANSWER: Row = {"role": "assistant", "content": "Sunny."}


def calls(*ids: str, name: str = "get_weather", **more: Any) -> Row:
    function = {"name": name, "arguments": '{"city": "Oslo"}'}
    made = [{"id": one, "type": "function", "function": function} for one in ids]
    return {"role": "assistant", "content": None, "tool_calls": made, **more}


def result(call_id: str | None = None, content: str = "18") -> Row:
    return {"role": "tool", "content": content, **({"tool_call_id": call_id} if call_id else {})}


def made(*messages: Row, tools: Any = (WEATHER,)) -> Conversation:
    return Conversation.from_row({"messages": list(messages), "tools": list(tools)})


def tool_with(**changes: Any) -> list[Row]:
    return [{"type": "function", "function": {**WEATHER["function"], **changes}}]  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "messages",
    [
        (USER, ANSWER),
        (SYSTEM, USER, ANSWER, USER, ANSWER),
        (SYSTEM, ANSWER, USER, ANSWER),
        (USER, USER, ANSWER),
        (USER, calls("a"), result("a"), ANSWER),
        (USER, calls("a", "b"), result("b"), result("a"), ANSWER),
        (USER, calls("", ""), result(), result(), ANSWER),
        (USER, calls("", ""), result("x"), result("y"), ANSWER),
        (USER, calls("a"), result(), ANSWER),
        (USER, calls("a"), result("a"), calls("a"), result("a"), ANSWER),
        (USER, calls("a")),
        (USER, calls("a", "b"), result("a")),
        (USER, {**ANSWER, "loss_weight": 0.5}),
        (USER, {**ANSWER, "content": "Ærlig talt 😀 \\ud83d"}),
    ],
)
def test_a_dialogue_in_order_passes(messages: tuple[Row, ...]) -> None:
    check_conversation(made(*messages))


@pytest.mark.parametrize(
    ("messages", "complaint"),
    [
        ((SYSTEM,), "messages: no assistant among 1 messages"),
        ((USER,), "messages: no assistant among 1 messages"),
        ((USER, SYSTEM, ANSWER), "messages[1].role: system after other messages"),
        ((SYSTEM, SYSTEM, USER, ANSWER), "messages[1].role: system after other messages"),
        ((ANSWER, USER, ANSWER), "messages[0].role: nothing comes before this assistant message"),
        ((USER, ANSWER, ANSWER), "messages[2].role: assistant after assistant; join"),
        ((result("a"), USER, ANSWER), "messages[0].role: a tool message without a call (it follows nothing)"),
        ((USER, result("a"), ANSWER), "messages[1].role: a tool message without a call (it follows user)"),
        ((USER, ANSWER, result("a"), ANSWER), "messages[2].role: a tool message without a call (it follows assistant)"),
        ((USER, calls("a"), result("a"), result("b"), ANSWER), "messages[3].role: a tool message without a call ("),
        ((USER, calls("a"), result("b"), ANSWER), "messages[2].tool_call_id: 'b' is the id of no call"),
        ((USER, calls("a", "b"), result("a"), result("a")), "messages[3].tool_call_id: 'a' is the id of no call that"),
        ((USER, calls("a"), ANSWER), "messages[2].role: assistant while no result is there for the call 'a'"),
        ((USER, calls("a", "b"), result("a"), USER, ANSWER), "messages[3].role: user while no result is there for the"),
        ((USER, calls(""), USER, ANSWER), "messages[2].role: user while no result is there for the call 'get_weather'"),
        ((USER, calls("a", "a"), result("a")), "messages[1].tool_calls[1].id: 'a' is the id of two calls"),
        ((USER, calls("a", name="get_wether"), result("a"), ANSWER),
         "messages[1].tool_calls[0].function.name: 'get_wether' is none of the tools; did you mean 'get_weather'?"),
        ((USER, calls("a", name="xyz"), result("a")), "'xyz' is none of the tools; offered: ['get_weather'] Correct"),
        (({**USER, "tool_calls": calls("a")["tool_calls"]}, ANSWER), "messages[0].tool_calls: only assistant messages"),
        (({**USER, "tool_call_id": "a"}, ANSWER), "messages[0].tool_call_id: only tool messages have one"),
        ((USER, {**ANSWER, "content": "a\ud83d"}),
         r"messages[1].content: half of a surrogate pair, '\ud83d', at character 1"),
        ((USER, {**ANSWER, "reasoning_content": "\udc00"}), "messages[1].reasoning_content: half of a surrogate pair"),
        ((USER, calls("a"), result("a", "x\udc00")), "messages[2].content: half of a surrogate pair"),
    ],
)  # fmt: skip
def test_what_is_out_of_order_is_named_by_message_and_field(messages: tuple[Row, ...], complaint: str) -> None:
    with pytest.raises(DataError, match=re.escape(complaint)):
        check_conversation(made(*messages))


def test_half_a_surrogate_pair_in_arguments_is_named() -> None:
    call = calls("a")
    call["tool_calls"][0]["function"] = {"name": "get_weather", "arguments": {"city": ["\ud83d"]}}
    with pytest.raises(DataError, match=r"messages\[1\]\.tool_calls\[0\]\.function\.arguments: half of a surrogate"):
        check_conversation(made(USER, call))


def test_a_conversation_without_messages_is_refused() -> None:
    with pytest.raises(DataError, match="no assistant among 0 messages"):
        check_conversation(Conversation(id="c", messages=()))


def test_without_tools_on_offer_any_call_passes() -> None:
    check_conversation(made(USER, calls("a"), result("a"), ANSWER, tools=[]))


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), -1.0, -1, True, "1"])
def test_a_loss_weight_that_is_none_is_refused_when_it_is_read(weight: Any) -> None:
    with pytest.raises(DataError, match=r"messages\[1\]\.loss_weight: expected a number that is 0 or more, got"):
        check_conversation(made(USER, {**ANSWER, "loss_weight": weight}))


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), -1.0])
def test_a_loss_weight_that_no_reader_saw_is_refused_as_well(weight: float) -> None:
    odd = Message(role="assistant", content="x").model_copy(update={"loss_weight": weight})
    with pytest.raises(DataError, match=r"messages\[1\]\.loss_weight: expected a number"):
        check_conversation(Conversation(id="", messages=(Message(role="user", content="u"), odd)))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"parameters": {"type": "objekt"}}, "tools[0].parameters.type: not JSON Schema (draft 2020-12): 'objekt' is"),
        ({"parameters": {"properties": {"a": {"type": ["string", "strin"]}}}}, "tools[0].parameters.properties.a.type"),
        ({"parameters": {"properties": {"a": "string"}}}, "tools[0].parameters.properties.a: not JSON Schema"),
        ({"parameters": {"properties": ["a"]}}, "tools[0].parameters.properties: not JSON Schema"),
        ({"parameters": {"required": "city"}}, "tools[0].parameters.required: not JSON Schema"),
        ({"parameters": {"required": ["a", "a"]}}, "tools[0].parameters.required: not JSON Schema"),
        ({"parameters": {"properties": {"a": {"required": True}}}}, "tools[0].parameters.properties.a.required"),
        ({"parameters": {"items": {"minItems": -1}}}, "tools[0].parameters.items.minItems: not JSON Schema"),
        ({"description": "a\ud800"}, "tools[0].description: half of a surrogate pair"),
        ({"parameters": {"description": "a\ud800"}}, "tools[0].parameters: half of a surrogate pair"),
        ({"name": " "}, "tools[0].name: empty"),
    ],
)  # fmt: skip
def test_a_tool_that_is_none_is_named_by_its_field(changes: Row, complaint: str) -> None:
    with pytest.raises(DataError, match=re.escape(complaint)):
        check_conversation(made(USER, ANSWER, tools=tool_with(**changes)))


KEYS = [
    "type",
    "title",
    "properties",
    "required",
    "items",
    "enum",
    "anyOf",
    "additionalProperties",
    "default",
    "minimum",
]


def schemas() -> st.SearchStrategy[Any]:
    """Schemas, right and wrong: common keywords with values of all kinds."""
    leaves = st.sampled_from(["string", "object", "strin", 1, True, None, [], ["a"], ["a", "a"], ["string", "null"]])
    return st.recursive(
        leaves,
        lambda inner: st.dictionaries(st.sampled_from(KEYS), inner, max_size=4) | st.lists(inner, max_size=2),
        max_leaves=12,
    )


@given(schema=schemas())
def test_the_quick_look_accepts_no_schema_that_the_meta_schema_refuses(schema: Any) -> None:
    if _plainly_schema(schema):
        Draft202012Validator.check_schema(schema)


def test_messages_of_ten_megabytes_take_no_time() -> None:
    text = "".join(random.Random(0).choices("abc é漢😀", k=10_000_000))
    conversation = made(USER, calls("a"), result("a", text), {**ANSWER, "content": text})
    started = time.process_time()
    check_conversation(conversation)
    assert time.process_time() - started < 1
