"""A task: a question on live tools with the plan that answers it. RL practises on tasks, the evaluation scores them."""

from toolwright.errors import DataError
from toolwright.records import Conversation, Message, Plan, Record, Step, ToolSpec


class Task(Record):
    """What a model is asked, with which tools, in which environment (``seed``), and what it should do (``plan``)."""

    id: str
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...]
    seed: int
    plan: Plan
    group: str | None = None


def task_of(conversation: Conversation) -> Task:
    """The task behind a conversation: its messages before the first assistant turn.

    A conversation without a plan (written by a language model) gets one from its own calls, whose results are true
    because they were executed.

    Raises:
        DataError: the conversation does not begin with a user's message.
    """
    opening = []
    for message in conversation.messages:
        if message.role in ("assistant", "tool"):
            break
        opening.append(message)
    if not any(message.role == "user" for message in opening):
        raise DataError(f"conversation {conversation.id!r}: no user message before the first assistant message")
    return Task(
        id=conversation.id,
        messages=tuple(opening),
        tools=conversation.tools,
        seed=conversation.seed,
        plan=conversation.plan or _plan_of(conversation),
        group=conversation.group,
    )


def _plan_of(conversation: Conversation) -> Plan:
    steps = tuple(Step(calls=m.tool_calls) for m in conversation.messages if m.role == "assistant" and m.tool_calls)
    mode = conversation.mode or ("dependent" if len(steps) > 1 else "single" if steps else "no_tool")
    return Plan(mode=mode, steps=steps)
