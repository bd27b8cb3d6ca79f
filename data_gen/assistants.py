"""Who answers in the conversations: a script that follows the plan on live results, or a model behind an endpoint."""

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from data_gen import results
from data_gen.answers import fill_answer
from data_gen.spoken import mentions
from toolwright.chat import Chat, OpenAIChat, Reply, ScriptedChat
from toolwright.config import TeacherConfig
from toolwright.errors import DataError, EndpointError
from toolwright.records import Message, Plan, Question, ToolCall, ToolSpec

GUIDE = (
    "Use the tools for everything that they can do; make calls that do not need each other's results together. Take "
    "values from the request and from results only. If a value that a tool requires is not given, ask for it in one "
    "short question. If no tool fits, say so in one short sentence. Else answer in one short sentence with the values "
    "of the results, without any markup."
)


def scripted_assistant(question: Question) -> Chat:
    """An assistant that makes the calls of the plan and tells their live results.

    What a later call takes from an earlier result is read from the live one.

    Raises:
        DataError: the question has no plan.
    """
    if question.plan is None or question.answer is None:
        raise DataError(
            f"question {question.id!r} has no plan: the scripted teacher cannot answer it; "
            "set data_gen.teacher.kind=openai, or write the questions anew"
        )
    plan, template = question.plan, question.answer

    def reply(messages: Sequence[Message], _tools: Sequence[ToolSpec]) -> Message:
        made = [call for message in messages for call in message.tool_calls]
        contents = [message.content or "" for message in messages if message.role == "tool"]
        turn = sum(message.role == "assistant" for message in messages)
        if turn < len(plan.steps):
            calls = tuple(_live(plan, turn, call, question.text, contents) for call in plan.steps[turn].calls)
            numbered = (call.model_copy(update={"id": f"call_{len(made) + n}"}) for n, call in enumerate(calls))
            return Message(role="assistant", tool_calls=tuple(numbered))
        return Message(role="assistant", content=fill_answer(template, made, contents) or "")

    return ScriptedChat(reply)


def _live(plan: Plan, turn: int, call: ToolCall, text: str, contents: Sequence[str]) -> ToolCall:
    planned = [results.parse(content) for step in plan.steps[:turn] for content in step.results]
    live = [results.parse(content) for content in contents]
    return ToolCall(
        name=call.name, arguments={k: _live_value(v, planned, live, text) for k, v in call.arguments.items()}
    )


def _live_value(value: Any, planned: Sequence[Any], live: Sequence[Any], text: str) -> Any:
    source = None if mentions(text, value) else results.find_source(planned, value)
    if source is None:
        return value
    number, path = source
    try:
        return results.look_up(live[number], path)
    except LookupError:
        return value


@asynccontextmanager
async def open_assistants(teacher: TeacherConfig) -> AsyncIterator[Callable[[Question], Chat]]:
    """Gives the assistant for each question: its own script, or the teacher's model for all."""
    if teacher.kind == "scripted":
        yield scripted_assistant
        return
    async with open_endpoint(teacher) as chat:
        guided = Guided(chat)
        yield lambda _question: guided


@dataclass(frozen=True)
class Guided:
    """A model that is told how to behave; conversations do not show it, so the tuned model will need no telling."""

    chat: Chat

    async def complete(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], *, seed: int | None = None
    ) -> Reply:
        """Ask the model."""
        return await self.chat.complete([Message(role="system", content=GUIDE), *messages], tools, seed=seed)


@asynccontextmanager
async def open_endpoint(teacher: TeacherConfig) -> AsyncIterator[Chat]:
    """The teacher's endpoint.

    Raises:
        EndpointError: the endpoint fails; says where its key comes from.
    """
    key = os.environ.get(teacher.api_key_env)
    chat = OpenAIChat(
        teacher.base_url,
        teacher.model,
        api_key=key or "EMPTY",
        temperature=teacher.temperature,
        max_tokens=teacher.max_tokens,
        timeout_s=teacher.timeout_s,
        retries=teacher.retries,
    )
    try:
        async with chat:
            yield chat
    except EndpointError as error:
        source = f"from ${teacher.api_key_env}" if key else f"none, ${teacher.api_key_env} is not set"
        raise EndpointError(f"teacher {error} (its key: {source}; the same command continues)") from None
