"""Whether what is served is what was trained: the server's tokens of conversations, and what it says to fixed prompts.

Reads ``train.jsonl`` and ``parity.json`` of the run, where they are.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serve.ask import FAILURES, Answer, ask_whole, tokens_of, why
from serve.target import Target
from toolwright.dialect import opened_reasoning, parse, render_prompt
from toolwright.errors import ToolwrightError
from toolwright.records import Conversation, Message, ToolSpec
from toolwright.words import shorten

CONVERSATIONS = 8
SEARCHED_ROWS = 400
SHOWN_TOKENS = 12
WEATHER_TOOL = ToolSpec(
    name="get_weather",
    description="Get the current weather of a city",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string", "description": "name of the city"}},
        "required": ["city"],
    },
)


@dataclass(frozen=True)
class Turn:
    """What comes before an assistant's turn, the tools, and keywords of the chat template."""

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...]
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)

    def request(self) -> dict[str, Any]:
        """As fields of a request."""
        fields: dict[str, Any] = {"messages": [message.to_openai() for message in self.messages]}
        if self.tools:
            fields["tools"] = [tool.to_openai() for tool in self.tools]
        if self.template_kwargs:
            fields["chat_template_kwargs"] = dict(self.template_kwargs)
        return fields


@dataclass(frozen=True)
class Template:
    """How many conversations the server turned into the tokens of training; ``why`` where it was not tried."""

    conversations: int = 0
    identical: int = 0
    first_difference: str | None = None
    why: str = ""

    @property
    def passed(self) -> bool:
        """Whether there was no difference."""
        return self.first_difference is None


@dataclass(frozen=True)
class Served:
    """How many fixed prompts were answered as by base and adapter; ``why`` where it was not tried."""

    prompts: int = 0
    identical: int = 0
    differences: tuple[dict[str, Any], ...] = ()
    why: str = ""

    @property
    def passed(self) -> bool:
        """Whether every difference is forgiven: where the model itself wavered, another type may tip it."""
        return all(difference["forgiven"] for difference in self.differences)


def read_conversations(run: Path) -> Iterator[Conversation]:
    """The first conversations that the run trained on, as far as they can be read."""
    try:
        with (run / "train.jsonl").open(encoding="utf-8") as lines:
            for _, line in zip(range(SEARCHED_ROWS), lines, strict=False):
                yield Conversation.from_row(json.loads(line))
    except (OSError, ValueError):
        return  # whether the file is right is the stages' business


def choose_turns(run: Path) -> list[Turn]:
    """Turns of several kinds that the run trained on: the last of a conversation, with all before it; else our own."""
    kinds: dict[tuple[str, ...], list[Turn]] = {}
    for conversation in read_conversations(run):
        roles = [message.role for message in conversation.messages]
        if "assistant" in roles:
            last = len(roles) - 1 - roles[::-1].index("assistant")
            turn = Turn(conversation.messages[:last], conversation.tools, conversation.chat_template_kwargs)
            kinds.setdefault(tuple(roles[:last]), []).append(turn)
    if not kinds:
        return _own_turns()
    turns: list[Turn] = []
    for depth in range(CONVERSATIONS):  # one of each kind, then a second of each, …
        turns += [found[depth] for found in kinds.values() if depth < len(found)]
    return turns[:CONVERSATIONS]


def _own_turns() -> list[Turn]:
    asked = Message(role="user", content="What is the weather in Málaga – and in 東京?")
    call = {"name": "get_weather", "arguments": {"city": "Málaga"}, "id": "call00001"}
    called = Message.model_validate({"role": "assistant", "tool_calls": [call]})
    result = Message(role="tool", content='{"sky": "clear", "celsius": 21.5}', tool_call_id="call00001")
    return [
        Turn((asked,), ()),
        Turn((asked,), (WEATHER_TOOL,)),
        Turn((asked, called, result), (WEATHER_TOOL,)),
    ]


def compare_templates(
    url: str, target: Target, tokenizer: Any, turns: Sequence[Turn], template_kwargs: Mapping[str, Any]
) -> Template:
    """Compare the server's tokens of conversations with those that training made of them.

    ``template_kwargs`` are those of training; the server must use them unasked.
    """
    identical, tried, first = 0, 0, None
    for turn in turns:
        try:
            text = render_prompt(tokenizer, turn.messages, turn.tools, **{**template_kwargs, **turn.template_kwargs})
        except ToolwrightError:
            continue  # a template that refuses this, such as roles that do not alternate, refuses it everywhere
        tried += 1
        expected = list(tokenizer(text, add_special_tokens=False)["input_ids"])
        try:
            got = tokens_of(url, target, {"model": target.name, **turn.request()})
        except FAILURES as error:
            first = first or f"/tokenize failed: {why(error)}"
            continue
        identical += got == expected
        if got != expected and first is None:
            first = _difference(tokenizer, expected, got, [message.role for message in turn.messages])
    return Template(tried, identical, first)


def _difference(tokenizer: Any, expected: list[int], got: list[int], roles: list[str]) -> str:
    pairs = zip(expected, got, strict=False)
    at = next((i for i, (one, other) in enumerate(pairs) if one != other), min(len(expected), len(got)))
    trained, served = (tokenizer.decode(ids[at : at + SHOWN_TOKENS]) for ids in (expected, got))
    return (
        f"{' '.join(roles)}: {len(expected)} tokens in training, {len(got)} served; from token {at} on, training has "
        f"{shorten(trained)} and the server {shorten(served)}"
    )


def compare_answers(
    url: str, target: Target, tokenizer: Any, dialect: str, parity: Path, template_kwargs: Mapping[str, Any]
) -> Served:
    """Ask the prompts of ``parity.json`` greedily; calls and content must be those of base and adapter."""
    try:
        content = json.loads(parity.read_text(encoding="utf-8"))
        rows, tolerance = list(content.get("continuations") or ()), float(content.get("tolerance") or 0.0)
    except (OSError, ValueError, TypeError, AttributeError):
        return Served(why=f"{parity} is not there; `python -m merge` writes it")
    if not rows:
        return Served(why=f"{parity} holds no continuations; `python -m merge` of this version writes them")
    differences = []
    for number, row in enumerate(rows):
        try:
            expected, got = _expected(row, tokenizer, dialect, template_kwargs), _ask(url, target, row)
        except FAILURES as error:
            differences.append({"prompt": number, "error": why(error), "forgiven": False})
            continue
        if not _same(expected, got):
            margin = float(row.get("margin") or 0.0)
            shown = {"expected": _shown(expected), "got": _shown(got), "margin": margin}
            differences.append({"prompt": number, **shown, "forgiven": margin <= tolerance})
    return Served(len(rows), len(rows) - len(differences), tuple(differences))


def _ask(url: str, target: Target, row: Mapping[str, Any]) -> Answer:
    tools = {"tools": row["tools"]} if row.get("tools") else {}
    tokens = {"max_tokens": max(1, len(row["ids"])), "temperature": 0, "seed": 0}
    return ask_whole(url, target, {"model": target.name, "messages": row["messages"], **tools, **tokens})


def _expected(row: Mapping[str, Any], tokenizer: Any, dialect: str, template_kwargs: Mapping[str, Any]) -> Answer:
    """What a reference's text says, read as the server should read it."""
    tools = [ToolSpec.from_openai(tool) for tool in row.get("tools") or ()]
    messages = [Message.from_openai(message) for message in row["messages"]]
    prompt = render_prompt(tokenizer, messages, tools, **template_kwargs)
    parsed = parse(opened_reasoning(prompt, dialect) + row["text"], dialect, tools, calls=bool(tools))
    calls = tuple((call.name, json.dumps(call.arguments)) for call in parsed.calls)
    return Answer(calls, parsed.content or "", parsed.reasoning or "")


def _same(expected: Answer, got: Answer) -> bool:
    """Calls and content alike; blanks around the content are the parsers' business."""
    return same_calls(expected.calls, got.calls) and expected.content.strip() == got.content.strip()


def same_calls(one: Sequence[tuple[str, str]], other: Sequence[tuple[str, str]]) -> bool:
    """Whether calls are the same, however their arguments are written."""
    try:
        return [(name, json.loads(text)) for name, text in one] == [(name, json.loads(text)) for name, text in other]
    except ValueError:
        return False


def _shown(answer: Answer) -> str:
    return shorten(", ".join(f"{name}({arguments})" for name, arguments in answer.calls) or answer.content, 300)
