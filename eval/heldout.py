"""Held-out tasks played live: each in a fresh environment of its own seed, through the one model-tool loop.

Reads ``heldout.jsonl`` (tasks) and ``train.jsonl`` (which tools training has called).
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from eval.metrics import Attempt, CallRecord, Verdict, judge, looks_like_a_call
from eval.summary import TaskRow
from toolwright.artifacts import read_records
from toolwright.chat import Chat
from toolwright.config import EvalConfig
from toolwright.episode import Episode, play
from toolwright.errors import DataError, EndpointError
from toolwright.records import Conversation, ToolCall, ToolResult
from toolwright.task import Task, task_of

MAX_FAILED_SHARE = 0.01
"""More endpoint failures than this are no measurement."""


class World(Protocol):
    """A fresh environment: runs calls and gives the hash of its state."""

    async def call(self, call: ToolCall) -> ToolResult:
        """Run a call."""
        ...

    async def state(self) -> str | None:
        """Hash of what the environment holds; none where the tool server cannot say."""
        ...


OpenWorld = Callable[[int], AbstractAsyncContextManager[World]]


@dataclass(frozen=True)
class HeldoutTask:
    """A task, and whether training has called its tools."""

    task: Task
    seen: bool


def load_tasks(heldout: Path, train: Path, n_tasks: int | None = None) -> list[HeldoutTask]:
    """Read the held-out tasks, at most ``n_tasks`` of them spread evenly over the file.

    A task counts as unseen when it has a planned call to a tool that ``train`` never calls; a task without planned
    calls, when the tool that it is about is such a tool, or, where the plan names none, when one is on offer.

    Raises:
        DataError: a file or line that cannot be read, no task at all, or an id given twice.
    """
    called = _called_tools(train)
    tasks = [task_of(conversation) for conversation in read_records(heldout, Conversation.from_row)]
    if not tasks:
        raise DataError(f"{heldout}: no conversations; make more questions: python -m data_gen.questions -n 200")
    ids = set[str]()
    for number, task in enumerate(tasks, start=1):
        if not task.id or task.id in ids:
            raise DataError(f"{heldout}: conversation {number}: id {task.id!r} is {'double' if task.id else 'empty'}")
        ids.add(task.id)
    if n_tasks is not None and n_tasks < len(tasks):
        tasks = [tasks[i * len(tasks) // n_tasks] for i in range(n_tasks)]
    return [HeldoutTask(task, _tools_of(task) <= called) for task in tasks]


def _called_tools(train: Path) -> set[str]:
    conversations: list[Conversation] = read_records(train, Conversation.from_row)
    return {call.name for conversation in conversations for m in conversation.messages for call in m.tool_calls}


def _tools_of(task: Task) -> set[str]:
    if task.plan.calls:
        return {call.name for call in task.plan.calls}
    return {task.plan.about} if task.plan.about else {tool.name for tool in task.tools}


async def play_tasks(
    tasks: Sequence[HeldoutTask],
    chat: Chat,
    open_environment: OpenWorld,
    settings: EvalConfig,
    *,
    call_timeout_s: float,
    seed: int,
    keep: Callable[[TaskRow], None],
    n_all: int | None = None,
) -> None:
    """Play tasks, ``settings.concurrency`` at once, and hand each row to ``keep`` as it is done.

    Args:
        tasks: what is still to be played.
        chat: the model.
        open_environment: seed -> a fresh environment.
        settings: section ``eval``.
        call_timeout_s: deadline of one tool call (s).
        seed: seed of the sampling.
        keep: takes each finished row.
        n_all: tasks of the whole evaluation, which the share of failures refers to.

    Raises:
        EndpointError: the endpoint failed for more than 1 % of all tasks; names the first failure.
        ToolServerError: the tool server is gone.
    """
    waiting = iter(tasks)
    failures: list[str] = []

    async def work() -> None:
        for heldout in waiting:
            row = await _play(heldout, chat, open_environment, settings, call_timeout_s, seed)
            keep(row)
            if row.failed is not None:
                failures.append(row.failed)
                _check_failures(failures, n_all or len(tasks))

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(settings.concurrency, len(tasks))):
                group.create_task(work())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


def _check_failures(failures: Sequence[str], n_all: int) -> None:
    if len(failures) > MAX_FAILED_SHARE * n_all:
        raise EndpointError(
            f"the model's endpoint failed for {len(failures)} of {n_all} tasks, more than 1 %: no score; "
            f"mend this and run again (finished tasks are kept): {failures[0]}"
        )


async def _play(
    heldout: HeldoutTask,
    chat: Chat,
    open_environment: OpenWorld,
    settings: EvalConfig,
    call_timeout_s: float,
    seed: int,
) -> TaskRow:
    task, started = heldout.task, time.monotonic()
    async with open_environment(task.seed) as world:
        episode = await play(
            chat,
            world,
            task.messages,
            task.tools,
            max_turns=settings.max_turns,
            call_timeout_s=call_timeout_s,
            seed=seed,
            raise_on_endpoint=False,
        )
        attempt = attempt_of(episode, await world.state())
    failed = episode.stopped == "endpoint"
    return TaskRow(
        id=task.id,
        mode=task.plan.mode,
        seen=heldout.seen,
        verdict=None if failed else _judge(task, attempt),
        calls=attempt.calls,
        answer=_last_words(episode),
        stopped=episode.stopped,
        sandbox=episode.sandbox,
        failed=episode.error or "no answer" if failed else None,
        seconds=round(time.monotonic() - started, 3),
    )


def _last_words(episode: Episode) -> str | None:
    """The answer, or the text of a last reply that was none, for people to look at."""
    return episode.turns[-1].reply.message.content if episode.turns else None


def _judge(task: Task, attempt: Attempt) -> Verdict:
    try:
        return judge(task.plan, attempt)
    except DataError as error:  # arguments nested too deeply to be compared: the model's fault, so data
        return Verdict(passed=False, reason=str(error), calls=len(attempt.calls), turns=attempt.turns)


def attempt_of(episode: Episode, state: str | None) -> Attempt:
    """What an episode amounts to: every call with its outcome, the answer, and the state at the end."""
    calls: list[CallRecord] = []
    malformed = 0
    for turn in episode.turns:
        asked = turn.reply.message.tool_calls
        # A reply cut short has calls without results: they did not run.
        cut_short = ToolResult(content="the reply was cut short; the call did not run", error="limit")
        results = turn.results or (cut_short,) * len(asked)
        for call, result in zip(asked, results, strict=False):
            record = CallRecord(name=call.name, arguments=call.arguments, result=result.content, error=result.error)
            calls.append(record)
        malformed += len(results) > len(asked)
    return Attempt(
        calls=tuple(calls),
        answer=episode.answer,
        state=state,
        turns=len(episode.turns),
        stopped=episode.stopped,
        malformed=malformed,
        call_like_text=any(
            turn.reply.problems or looks_like_a_call(turn.reply.message.content) for turn in episode.turns
        ),
    )
