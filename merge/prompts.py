"""The conversations on which a merged model is compared: fixed, so that two measurements are of the same thing.

They hold what tool calling is made of: one call and several in one turn, nested objects, enums, arrays, results, an
error, text that is not ASCII, and no tools at all. ``answer`` is a good next turn, for comparison without generation.
"""

from dataclasses import dataclass

from toolwright.records import Message, ToolCall, ToolSpec


@dataclass(frozen=True)
class Prompt:
    """A conversation up to the assistant's turn, the tools it offers, and a good turn."""

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...]
    answer: Message


_WEATHER = ToolSpec(
    name="get_weather",
    description="Current weather of a city.",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["c", "f"]}},
        "required": ["city"],
    },
)
_NOTE = ToolSpec(
    name="write_note",
    description="Write a note to a file.",
    parameters={"type": "object", "properties": {"path": {"type": "string"}, "text": {"type": "string"}}},
)
_MEETING = ToolSpec(
    name="book_meeting",
    description="Book a meeting room.",
    parameters={
        "type": "object",
        "properties": {
            "title": {"type": "string"},
            "people": {"type": "array", "items": {"type": "string"}, "description": "e-mail addresses"},
            "when": {
                "type": "object",
                "properties": {
                    "date": {"type": "string", "format": "date"},
                    "minutes": {"type": "integer", "minimum": 15},
                    "repeat": {"type": "string", "enum": ["never", "daily", "weekly"]},
                },
                "required": ["date", "minutes"],
            },
            "online": {"type": "boolean", "default": False},
        },
        "required": ["title", "people", "when"],
    },
)
_ORDERS = ToolSpec(
    name="find_orders",
    description="Search the orders of a shop.",
    parameters={
        "type": "object",
        "properties": {
            "status": {"type": "array", "items": {"type": "string", "enum": ["open", "paid", "sent"]}},
            "largest": {"type": ["number", "null"], "description": "price limit in euros"},
        },
    },
)


def _user(text: str) -> Message:
    return Message(role="user", content=text)


def _calls(*calls: tuple[ToolSpec, dict[str, object]]) -> Message:
    numbered = enumerate(calls, start=1)
    made = (ToolCall(name=tool.name, arguments=values, id=f"call0000{index}") for index, (tool, values) in numbered)
    return Message(role="assistant", tool_calls=tuple(made))


def _result(tool: ToolSpec, content: str, index: int = 1) -> Message:
    return Message(role="tool", content=content, tool_call_id=f"call0000{index}", name=tool.name)


PROMPTS: tuple[Prompt, ...] = (
    Prompt(
        (_user("What is the weather in Oslo?"),),
        (_WEATHER, _NOTE),
        _calls((_WEATHER, {"city": "Oslo"})),
    ),
    Prompt(
        (_user("Compare the weather in Rome and in Lima, in degrees f."),),
        (_WEATHER,),
        _calls((_WEATHER, {"city": "Rome", "unit": "f"}), (_WEATHER, {"city": "Lima", "unit": "f"})),
    ),
    Prompt(
        (_user("Save the text 'buy milk' to notes/today.txt."),),
        (_NOTE, _WEATHER),
        _calls((_NOTE, {"path": "notes/today.txt", "text": "buy milk"})),
    ),
    Prompt(
        (
            _user("Is it warm in Oslo? Note it in oslo.txt."),
            _calls((_WEATHER, {"city": "Oslo"})),
            _result(_WEATHER, '{"temperature": 21, "unit": "c"}'),
        ),
        (_WEATHER, _NOTE),
        _calls((_NOTE, {"path": "oslo.txt", "text": "21 degrees, warm"})),
    ),
    Prompt(
        (
            Message(role="system", content="You keep the calendar of an office."),
            _user("Book 'Planning' for ann@x.org and bo@x.org, every week from 2027-03-01, 45 minutes, online."),
        ),
        (_MEETING, _WEATHER),
        _calls(
            (
                _MEETING,
                {
                    "title": "Planning",
                    "people": ["ann@x.org", "bo@x.org"],
                    "when": {"date": "2027-03-01", "minutes": 45, "repeat": "weekly"},
                    "online": True,
                },
            )
        ),
    ),
    Prompt(
        (_user("List the orders that are open or paid, up to 99.5 euros."),),
        (_MEETING, _ORDERS, _NOTE),
        _calls((_ORDERS, {"status": ["open", "paid"], "largest": 99.5})),
    ),
    Prompt(
        (
            _user("How is the weather in Zürich and in São Paulo?"),
            _calls((_WEATHER, {"city": "Zürich"}), (_WEATHER, {"city": "São Paulo"})),
            _result(_WEATHER, '{"temperature": -3, "unit": "c"}'),
            _result(_WEATHER, '{"temperature": 31, "unit": "c"}', 2),
        ),
        (_WEATHER,),
        Message(role="assistant", content="In Zürich it is -3 °C, in São Paulo 31 °C."),
    ),
    Prompt(
        (
            _user("What is the weather in Atlantis?"),
            _calls((_WEATHER, {"city": "Atlantis"})),
            _result(_WEATHER, '{"error": "no such city: Atlantis"}'),
        ),
        (_WEATHER, _ORDERS),
        Message(role="assistant", content="I found no city of that name. Which one do you mean?"),
    ),
    Prompt(
        (_user("Thank you, that is all."),),
        (),
        Message(role="assistant", content="You are welcome."),
    ),
)
