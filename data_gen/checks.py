"""Checks of a played conversation, one function for each reason to reject it."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from data_gen.modes import why_not
from toolwright.calls import check_arguments, same_call
from toolwright.episode import Episode
from toolwright.records import Plan, Question, Step, ToolSpec
from toolwright.words import shorten

MARKUP = re.compile(r"</?tool_\w+|<\|\w+\|>|</?think>|</?function|✿|```|\{\d+\.\w+")


@dataclass(frozen=True)
class Played:
    """A question, how it was played, the state of the environment at the end, and the tools on offer."""

    question: Question
    episode: Episode
    state: str | None
    tools: tuple[ToolSpec, ...]

    @property
    def steps(self) -> tuple[Step, ...]:
        """The calls of each turn with their results."""
        return tuple(
            Step(calls=turn.reply.message.tool_calls, results=tuple(result.content for result in turn.results))
            for turn in self.episode.turns
            if turn.reply.message.tool_calls
        )

    def found_plan(self) -> Plan:
        """The plan that the conversation shows, for questions that came without one."""
        calls = tuple(
            step.model_copy(update={"calls": tuple(call.model_copy(update={"id": ""}) for call in step.calls)})
            for step in self.steps
        )
        return Plan(mode=self.question.mode or "single", steps=calls, state=self.state)


@dataclass(frozen=True)
class Rejection:
    """Why a conversation is not used: a reason to count, and what exactly was seen."""

    reason: str
    detail: str


def reject(played: Played) -> Rejection | None:
    """The first reason against a conversation; none when it is good."""
    for reason, check in CHECKS.items():
        if (detail := check(played)) is not None:
            return Rejection(reason, detail)
    return None


def no_malformed_call(played: Played) -> str | None:
    """Every call could be read."""
    problems = [problem for turn in played.episode.turns for problem in turn.reply.problems]
    return problems[0].detail if problems else None


def valid_arguments(played: Played) -> str | None:
    """Every call is of a tool on offer, with arguments that fit its schema."""
    specs = {spec.name: spec for spec in played.tools}
    for call in played.episode.calls:
        if call.name not in specs:
            return f"no tool {call.name!r} on offer"
        if complaints := check_arguments(specs[call.name], call.arguments):
            return f"{call.name}: {complaints[0]}"
    return None


def executed(played: Played) -> str | None:
    """Every call ran without an error."""
    for turn in played.episode.turns:
        for call, result in zip(turn.reply.message.tool_calls, turn.results):
            if not result.ok:
                return f"{call.name}: {result.error}: {shorten(result.content)}"
    return None


def equals_plan(played: Played) -> str | None:
    """The calls are those of the plan, turn by turn."""
    plan = played.question.plan
    if plan is None:
        return None
    if len(played.steps) != len(plan.steps):
        return f"{len(played.steps)} turns with calls, planned are {len(plan.steps)}"
    for number, (step, wanted) in enumerate(zip(played.steps, plan.steps), start=1):
        if len(step.calls) != len(wanted.calls) or not all(map(same_call, step.calls, wanted.calls)):
            return f"turn {number}: {shorten([call.name for call in step.calls])} differ from the plan"
    return None


def equals_state(played: Played) -> str | None:
    """The environment ended as it did when the plan was executed."""
    plan = played.question.plan
    if plan is None or plan.state is None or played.state == plan.state:
        return None
    return f"state {played.state}, planned is {plan.state}"


def is_of_mode(played: Played) -> str | None:
    """The calls are of the mode that was asked for."""
    mode = played.question.mode
    return why_not(mode, played.steps, played.question.text) if mode else None


def has_answer(played: Played) -> str | None:
    """The conversation ends with an answer in words."""
    if (played.episode.answer or "").strip():
        return None
    return f"stopped: {played.episode.stopped}"


def no_markup(played: Played) -> str | None:
    """No text holds marks of a chat format or an unfilled slot."""
    texts: Sequence[str | None] = [
        message.content for message in played.episode.messages if message.role == "assistant"
    ]
    found = next((match for text in [played.question.text, *texts] if (match := MARKUP.search(text or ""))), None)
    return f"{found[0]!r} in the text" if found else None


CHECKS: dict[str, Callable[[Played], str | None]] = {
    "malformed call": no_malformed_call,
    "invalid arguments": valid_arguments,
    "failed call": executed,
    "differs from the plan": equals_plan,
    "other state than planned": equals_state,
    "wrong mode": is_of_mode,
    "no answer": has_answer,
    "markup in the text": no_markup,
}
