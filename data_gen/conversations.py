"""Plays the questions on live tools: ``python -m data_gen.conversations``.

Reads ``questions.jsonl``; writes ``conversations.jsonl`` and ``rejected.jsonl`` of the run, both sorted by id, and
beside them a journal that makes a stopped run continue.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from data_gen.assistants import open_assistants
from data_gen.checks import Played, reject
from data_gen.funnel import print_funnel, progress_bar, tally
from data_gen.journal import Journal
from data_gen.questions import COMMAND as QUESTIONS_COMMAND
from data_gen.questions import TOOL_FLAG
from data_gen.tools import open_tools, tools_hash
from mcpserver.world import Worlds
from toolwright.artifacts import hash_of, read_records, require, write_rows
from toolwright.chat import Chat
from toolwright.command import parse_command, run_command
from toolwright.config import RunConfig
from toolwright.episode import play
from toolwright.errors import ArtifactError, DataError
from toolwright.records import Conversation, Message, Question, ToolSpec
from toolwright.stage import Job, run_dir

COMMAND = "python -m data_gen.conversations"
Entry = dict[str, Any]


async def play_question(
    question: Question, chat: Chat, world: Worlds, specs: Mapping[str, ToolSpec], config: RunConfig
) -> Entry:
    """Play and check one question.

    Returns:
        a journal entry: ``conversation``, a row; or ``rejected``, a row with ``reason`` and ``detail``.

    Raises:
        EndpointError: the assistant's endpoint fails.
        ToolServerError: the tools are gone.
    """
    tools = tuple(specs[name] for name in question.tools)
    async with world.environment(question.seed) as environment:
        episode = await play(
            chat,
            environment,
            [Message(role="user", content=question.text)],
            tools,
            max_turns=config.data_gen.max_turns,
            call_timeout_s=config.tools.call_timeout_s,
            seed=question.seed,
        )
        played = Played(question, episode, await environment.state(), tools)
    conversation = Conversation(
        id=question.id,
        messages=episode.messages,
        tools=tools,
        seed=question.seed,
        mode=question.mode,
        plan=question.plan or played.found_plan(),
        sandbox=episode.sandbox,
        synthetic=episode.synthetic,
    )
    rejection = reject(played)
    row = conversation.to_row()
    if rejection is None:
        return {"id": question.id, "conversation": row}
    return {"id": question.id, "rejected": {"reason": rejection.reason, "detail": rejection.detail, **row}}


async def for_each(items: Iterable[Question], work: Callable[[Question], Awaitable[None]], limit: int) -> None:
    """Do ``work`` for all items, at most ``limit`` at once; the first failure stops the rest and is raised."""
    waiting = iter(items)

    async def worker() -> None:
        for item in waiting:
            await work(item)

    workers = [asyncio.create_task(worker()) for _ in range(limit)]
    try:
        await asyncio.gather(*workers)
    finally:
        for task in workers:
            task.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


async def play_all(questions: Sequence[Question], world: Worlds, config: RunConfig, journal: Journal) -> None:
    """Play the questions that the journal does not hold yet."""
    specs = {spec.name: spec for spec in world.tools}
    todo = [question for question in questions if question.id not in journal.entries]
    async with open_assistants(config.data_gen.teacher) as assistant_for:
        with progress_bar() as bar:
            task = bar.add_task("conversations", total=len(questions), completed=len(questions) - len(todo))

            async def work(question: Question) -> None:
                journal.add(await play_question(question, assistant_for(question), world, specs, config))
                bar.advance(task)

            await for_each(todo, work, config.data_gen.concurrency)


def read_questions(path: Path, world: Worlds) -> list[Question]:
    """The questions, which must be about these tools.

    Raises:
        ArtifactError: absent, unfinished, changed, or made for other tools.
        DataError: a line is wrong, or an id comes twice; names file and line.
    """
    manifest = require(path, made_by=QUESTIONS_COMMAND)
    questions: list[Question] = read_records(path, Question)
    if manifest.inputs.get("tools") != hash_of(tools_hash(world)):
        raise ArtifactError(f"{path} was written for other tools; write it anew with: {QUESTIONS_COMMAND}")
    twice = [name for name, count in Counter(question.id for question in questions).items() if count > 1]
    if twice:
        raise DataError(f"{path}: id {twice[0]!r} comes twice; write it anew with: {QUESTIONS_COMMAND}")
    return questions


async def make_conversations(config: RunConfig) -> None:
    """Write the artifacts, unless they are up to date."""
    source = run_dir(config) / "questions.jsonl"
    async with open_tools(config) as world:
        questions = read_questions(source, world)
        settings = config.data_gen.model_dump(include={"max_turns", "teacher"}) | {
            "call_timeout_s": config.tools.call_timeout_s
        }
        inputs: dict[str, Path | str] = {"tools": tools_hash(world), "questions": source}
        job = Job.of(
            config, "conversations", output="conversations.jsonl", command=COMMAND, settings=settings, inputs=inputs
        )
        if job.is_current():
            return
        with job.running() as counts, Journal(run_dir(config) / ".conversations.journal.jsonl", job.key) as journal:
            await play_all(questions, world, config, journal)
            entries = [journal.entries[question.id] for question in sorted(questions, key=lambda q: q.id)]
            counts.update(_write(entries, run_dir(config)))
        print_funnel(str(job.output), counts)


def _write(entries: Sequence[Entry], directory: Path) -> dict[str, Any]:
    kept = [entry["conversation"] for entry in entries if "conversation" in entry]
    rejected = [entry["rejected"] for entry in entries if "rejected" in entry]
    if not kept:
        raise DataError(
            f"none of {len(entries)} conversations is good: {tally(Counter(r['reason'] for r in rejected))}"
        )
    write_rows(directory / "rejected.jsonl", rejected)
    write_rows(directory / "conversations.jsonl", kept)
    return {
        "questions": len(entries),
        "kept": len(kept),
        "rejected": tally(Counter(row["reason"] for row in rejected)),
        "mode": tally(Counter(row["mode"] for row in kept)),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""

    def body() -> None:
        about = "Play the questions on live tools and keep the conversations that pass every check."
        config = parse_command(argv, prog=COMMAND, about=about, sections=("tools", "data_gen"), flags=(TOOL_FLAG,))
        asyncio.run(make_conversations(config))

    return run_command(body)


if __name__ == "__main__":
    sys.exit(main())
