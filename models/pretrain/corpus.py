"""The pretraining corpus: conversations with random tools, drawn on the fly from a seed.

Each conversation is one system block with one to five tools and several rounds of request, call, result and short
answer, as OpenAI chat messages. Nothing is read and written; `python models/pretrain/corpus.py` prints a few.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from models.pretrain import words
from models.pretrain.results import answer, draw_result
from models.pretrain.tools import Param, Tool, draw_toolset
from models.pretrain.wording import ask, opening, say_argument

Message = dict[str, Any]

FRESH = 0.7
"""How often a round takes a tool that was not called before: choosing is learnt there, not by copying the last call."""


@dataclass(frozen=True)
class Difficulty:
    """How hard the conversations are."""

    max_tools: int
    max_params: int
    max_rounds: int

    @classmethod
    def at(cls, progress: float) -> "Difficulty":
        """Return the difficulty at `progress`, the share of the curriculum that is done (0 to 1)."""
        step = min(max(progress, 0.0), 1.0)
        return cls(1 + round(4 * step), 2 + round(2 * step), 4 + round(step))


@dataclass(frozen=True)
class Conversation:
    """One conversation: OpenAI messages and the tools that they may call."""

    messages: list[Message]
    tools: list[dict[str, Any]]


def draw_arguments(rng: Random, tool: Tool) -> tuple[dict[str, Any], list[tuple[Param, str]]]:
    """Draw a call's arguments, and what the user says for each."""
    arguments: dict[str, Any] = {}
    said: list[tuple[Param, str]] = []
    for param in tool.params:
        if param.required or rng.random() < 0.5:
            text, arguments[param.name] = param.draw(rng)
            if isinstance(arguments[param.name], bool):
                text = "true" if arguments[param.name] else "false"
            said.append((param, text))
    return arguments, said


def _call_message(calls: list[tuple[Tool, dict[str, Any]]]) -> Message:
    functions = [{"name": tool.name, "arguments": arguments} for tool, arguments in calls]
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"type": "function", "function": function} for function in functions],
    }


def _play(rng: Random, request: str, calls: list[tuple[Tool, dict[str, Any]]]) -> list[Message]:
    results = [draw_result(rng, tool) for tool, _ in calls]
    turn: list[Message] = [{"role": "user", "content": request}, _call_message(calls)]
    turn += [{"role": "tool", "content": result.text} for result in results]
    return [*turn, {"role": "assistant", "content": " ".join(answer(rng, result) for result in results)}]


def single_round(rng: Random, tools: list[Tool]) -> list[Message]:
    """One request, one call, its result and the answer."""
    tool = rng.choice(tools)
    arguments, said = draw_arguments(rng, tool)
    return _play(rng, ask(rng, tool, said), [(tool, arguments)])


def parallel_round(rng: Random, tools: list[Tool]) -> list[Message]:
    """One request that needs two or three calls in one turn, of one tool or of several."""
    count = rng.choice((2, 2, 2, 3))
    first = rng.choice(tools)
    picked = [first] * count if rng.random() < 0.5 else [rng.choice(tools) for _ in range(count)]
    calls, parts = [], []
    for index, tool in enumerate(picked):
        arguments, said = draw_arguments(rng, tool)
        calls.append((tool, arguments))
        same = index > 0 and tool is picked[index - 1] and said
        parts.append(
            " ".join(say_argument(rng, tool, p, v) for p, v in said) if same else ask(rng, tool, said, bare=index > 0)
        )
    joined = parts[0].rstrip(".?") + "".join(rng.choice((" and ", " and also ", ", then ")) + p for p in parts[1:])
    return _play(rng, joined + ".", calls)


def missing_round(rng: Random, tools: list[Tool]) -> list[Message] | None:
    """A request without a required value: the assistant asks, the user tells, the call follows; None if none fits."""
    fitting = [tool for tool in tools if any(p.required and p.schema["type"] != "boolean" for p in tool.params)]
    if not fitting:
        return None
    tool = rng.choice(fitting)
    arguments, said = draw_arguments(rng, tool)
    gap = rng.choice([p for p, _ in said if p.required and p.schema["type"] != "boolean"])
    value = next(text for param, text in said if param is gap)
    others = [pair for pair in said if pair[0] is not gap]
    question = rng.choice(("Which {p} do you mean?", "Please tell me the {p}.", "What is the {p}?")).format(
        p=gap.spoken
    )
    start = [{"role": "user", "content": ask(rng, tool, others)}, {"role": "assistant", "content": question}]
    if rng.random() < 0.4:
        return start
    reply = rng.choice(("{v}", "{v}.", "The {p} is {v}.", "Use {v}.", "It is {v}.", "{p}: {v}")).format(
        p=gap.spoken, v=value
    )
    return start + _play(rng, reply, [(tool, arguments)])


def chained_round(rng: Random, tools: list[Tool]) -> list[Message] | None:
    """A request whose second call takes a value from the first call's result; None if no tool fits."""
    fitting = [t for t in tools if any(p.schema["type"] in ("number", "string") and not p.choices for p in t.params)]
    if not fitting:
        return None
    first, second = rng.choice(tools), rng.choice(fitting)
    arguments, said = draw_arguments(rng, first)
    later, later_said = draw_arguments(rng, second)
    slots = [p for p, _ in later_said if p.schema["type"] in ("number", "string") and not p.choices]
    if not slots:
        return None
    slot = rng.choice(slots)
    _, later[slot.name] = slot.draw(rng)
    key = slot.name if rng.random() < 0.5 else rng.choice(("value", "result", first.noun.split()[-1]))
    content: dict[str, Any] = {key: later[slot.name]}
    if rng.random() < 0.3:
        content["unit"] = rng.choice(words.UNITS)
    that = rng.choice(("that", "the result", f"the {slot.spoken} from it"))
    rest = [(p, v) for p, v in later_said if p is not slot]
    head = ask(rng, first, said).rstrip(".?")
    tail = (
        opening(rng, second, bare=True)
        + f" with {that}"
        + "".join(" " + say_argument(rng, second, p, v) for p, v in rest)
    )
    result = draw_result(rng, second)
    return [
        {"role": "user", "content": f"{head}{rng.choice((', then ', ' and then ', '. Then '))}{tail}."},
        _call_message([(first, arguments)]),
        {"role": "tool", "content": json.dumps(content, ensure_ascii=False)},
        _call_message([(second, later)]),
        {"role": "tool", "content": result.text},
        {"role": "assistant", "content": answer(rng, result)},
    ]


def _talk_round(rng: Random, tools: list[Tool]) -> list[Message]:
    if rng.random() < 0.8:
        user, reply = rng.choice(words.SMALL_TALK)
    else:
        other = draw_toolset(rng, 1, 2)[0]
        if any(other.noun.split()[-1] in tool.name for tool in tools):
            user, reply = rng.choice(words.SMALL_TALK)
        else:
            user, reply = ask(rng, other, draw_arguments(rng, other)[1]), "I have no tool for that."
    return [{"role": "user", "content": user}, {"role": "assistant", "content": reply}]


def draw_round(rng: Random, tools: list[Tool]) -> list[Message]:
    """Draw one round: about 75 % single calls, 15 % several calls, 10 % replies without a call."""
    pick = rng.random()
    turn: list[Message] | None = None
    if pick < 0.09:
        turn = parallel_round(rng, tools)
    elif pick < 0.15:
        turn = chained_round(rng, tools)
    elif pick < 0.21:
        turn = missing_round(rng, tools)
    elif pick < 0.26:
        turn = _talk_round(rng, tools)
    return turn or single_round(rng, tools)


def draw_conversation(rng: Random, difficulty: Difficulty) -> Conversation:
    """Draw one conversation of the given difficulty."""
    tools = draw_toolset(rng, rng.randint(1, difficulty.max_tools), difficulty.max_params)
    messages: list[Message] = []
    if rng.random() < 0.4:
        messages.append({"role": "system", "content": rng.choice(words.SYSTEM_TEXTS)})
    for _ in range(rng.randint(2, difficulty.max_rounds)):
        called = {call["function"]["name"] for message in messages for call in message.get("tool_calls", [])}
        fresh = [tool for tool in tools if tool.name not in called]
        messages += draw_round(rng, fresh if fresh and rng.random() < FRESH else tools)
    return Conversation(messages, [tool.spec for tool in tools])


def main() -> None:
    """Print three conversations of full difficulty."""
    rng = Random(0)
    for _ in range(3):
        conversation = draw_conversation(rng, Difficulty.at(1.0))
        for line in [*conversation.tools, *conversation.messages]:
            print(json.dumps(line, ensure_ascii=False))


if __name__ == "__main__":
    main()
