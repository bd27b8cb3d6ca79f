"""A teacher behind any OpenAI-compatible endpoint: a model writes the questions, and later plays the assistant.

The model gets the tools on offer, a mode and a persona, all drawn from the seed, and hands in its question by a tool
call, or as a JSON object in its text where the endpoint has no tool calls.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from data_gen.blueprints import Discard, Workshop
from data_gen.checks import MARKUP
from data_gen.grounding import Facts
from data_gen.roles import Slot
from toolwright.chat import Chat, Reply
from toolwright.records import Message, Mode, Question, ToolSpec

MAX_WORDS = 60
KEYS = ("question", "request", "text", "query")
HAND_IN = ToolSpec(
    name="hand_in_question",
    description="Hand in the question that you have written",
    parameters={
        "type": "object",
        "properties": {"question": {"type": "string", "description": "the user's request"}},
        "required": ["question"],
        "additionalProperties": False,
    },
)
PERSONAS = (
    "a hurried trader", "a careful accountant", "a new colleague", "a data analyst", "a retired teacher", "a student",
    "an engineer on site", "a journalist", "a shop owner", "a polite customer", "a project manager", "a researcher",
)  # fmt: skip
STYLES = ("in one short sentence", "as a question", "as an order", "with a word on why", "casually", "formally")
MODES: dict[Mode, str] = {
    "single": "It must need exactly one call of the tool {first}.",
    "parallel": "It must need two or three calls of the same tool {first}, with different values.",
    "multiple": "It must need one call of each of the tools {several}, and neither call may need the other's result.",
    "dependent": "It must need two calls, one after the other: the second needs a value from the result of the first. "
    "Begin with the tool {first}, and do not tell the value that the first call finds.",
    "no_tool": "None of the tools can fulfil it, though it may sound near to what they do.",
    "missing_parameter": "It is about the tool {first}, but one value that this tool requires is left out, and nothing "
    "in the request lets anyone guess it.",
}
TASK = (
    "Write one request that {persona} would send to an assistant, {style}. The assistant has these tools:\n{tools}\n"
    "{mode} Tell every other value that the calls need; make the values up, true to life. {facts}Do not name the "
    "tools. "
    'Hand in the request with the tool hand_in_question, or answer with a JSON object: {{"question": "…"}}.'
)


@dataclass(frozen=True)
class OpenAITeacher:
    """Questions from a model; they have no plan, so their calls are found when they are played."""

    chat: Chat
    shop: Workshop
    tools_per_question: tuple[int, int]
    max_attempts: int = 20

    async def write(self, slot: Slot) -> Question:
        """A question for ``slot``.

        Raises:
            Discard: the model's reply is no question.
            EndpointError: the endpoint fails.
        """
        rng = slot.random()
        needed, offered = self._draw_tools(slot.mode, rng)
        prompt = write_prompt(slot.mode, needed, offered, self.shop.facts, rng)
        reply = await self.chat.complete([Message(role="user", content=prompt)], [HAND_IN], seed=rng.randrange(2**31))
        names = tuple(spec.name for spec in offered)
        return Question(id=slot.id, text=read_question(reply), tools=names, seed=slot.environment_seed, mode=slot.mode)

    def _draw_tools(self, mode: Mode, rng: Random) -> tuple[list[ToolSpec], list[ToolSpec]]:
        """The tools that the request should be about, and all on offer, in random order."""
        least, most = self.tools_per_question
        count = max(rng.randint(least, most), 2 if mode in ("multiple", "dependent") else 1)
        offered = rng.sample(self.shop.tools, min(count, len(self.shop.tools)))
        if mode in ("multiple", "dependent") and len(offered) < 2:
            raise Discard("there is only one tool")
        return offered[:2], rng.sample(offered, len(offered))


def write_prompt(
    mode: Mode, needed: Sequence[ToolSpec], offered: Sequence[ToolSpec], facts: Facts | None, rng: Random
) -> str:
    """What the model is asked for."""
    wanted = MODES[mode].format(first=needed[0].name, several=" and ".join(spec.name for spec in needed))
    return TASK.format(
        persona=rng.choice(PERSONAS),
        style=rng.choice(STYLES),
        tools="\n".join(json.dumps(spec.to_openai()["function"], ensure_ascii=False) for spec in offered),
        mode=wanted,
        facts=_describe(facts, rng) if facts else "",
    )


def _describe(facts: Facts, rng: Random) -> str:
    paths = ", ".join(rng.sample(list(facts.files), min(5, len(facts.files))))
    table = rng.choice(facts.tables)
    row = dict(zip(table.columns, rng.choice(table.rows)))
    return f"Files that exist: {paths}. Table {table.name} of database {table.database} has rows such as {row}. "


def read_question(reply: Reply) -> str:
    """The question in a reply: the argument of its call, or of the first JSON object in its text.

    Raises:
        Discard: there is none, it is too long, or it holds marks of a chat format.
    """
    found = [dict(call.arguments) for call in reply.message.tool_calls] + _objects(reply.message.content or "")
    texts = (row.get(key) for row in found for key in KEYS)
    text = next((" ".join(text.split()) for text in texts if isinstance(text, str) and text.strip()), None)
    if text is None:
        raise Discard("the teacher's reply holds no question")
    if len(text.split()) > MAX_WORDS:
        raise Discard("the request is too long")
    if MARKUP.search(text):
        raise Discard("markup in the request")
    return text


def _objects(text: str) -> list[dict[str, object]]:
    """The JSON objects in a text, whatever stands around them."""
    decoder, found, start = json.JSONDecoder(), list[dict[str, object]](), text.find("{")
    while start >= 0:
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            end = start + 1
        else:
            found += [value] if isinstance(value, dict) else []
        start = text.find("{", end)
    return found
