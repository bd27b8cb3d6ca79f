"""Writes questions: ``python -m data_gen.questions -n 200``.

Reads the tools; writes ``questions.jsonl`` of the run, and beside it a journal that makes a stopped run continue.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

from data_gen.assistants import open_endpoint
from data_gen.blueprints import Discard, Workshop
from data_gen.funnel import print_funnel, tally, track
from data_gen.journal import Journal
from data_gen.modes import why_not
from data_gen.openai_teacher import OpenAITeacher
from data_gen.phrasebook import PHRASEBOOK
from data_gen.roles import ScriptedTeacher, Slot, Teacher
from data_gen.similar import Seen
from data_gen.tools import open_tools, tools_hash
from mcpserver.world import Worlds
from toolwright.artifacts import fingerprint, hash_of, write_rows
from toolwright.command import Flag, parse_command, run_command
from toolwright.config import DataGenConfig, RunConfig
from toolwright.errors import ConfigError, DataError
from toolwright.records import Mode, Question
from toolwright.stage import Job, run_dir

COMMAND = "python -m data_gen.questions"
TOOL_FLAG = Flag(("--mcp-config",), "tools.mcp_config", "mcpServers JSON of the servers whose tools to use")
FLAGS = (
    Flag(("-n", "--n-questions"), "data_gen.n_questions", "questions to write"),
    Flag(("--teacher",), "data_gen.teacher.kind", "scripted or openai"),
    TOOL_FLAG,
)


async def write_questions(
    teacher: Teacher, config: DataGenConfig, seed: int, journal: Journal
) -> tuple[list[Question], dict[str, Any]]:
    """Write ``n_questions`` questions, none like another, and count what was dropped.

    The attempts of a question come in a fixed order and questions are accepted in the order of their numbers, so the
    result does not depend on ``concurrency`` or on where a run was stopped.

    Raises:
        DataError: a question could not be written in ``max_attempts``; says why.
    """
    seen, questions, dropped, drawn = Seen(), list[Question](), Counter[str](), 0
    async with _ahead(teacher, config, seed, journal) as first_attempts:
        for number in track(config.n_questions, "questions"):
            slot = Slot(number, 0, draw_mode(config, seed, number), seed)
            entry = journal.entries.get(slot.id)
            if entry is None:
                question, reasons = await _write_one(teacher, slot, first_attempts, seen, len(questions), config)
                entry = {"id": slot.id, "question": question.model_dump(), "dropped": tally(reasons)}
                journal.add(entry)
            questions.append(Question.model_validate(entry["question"]))
            seen.add(questions[-1].text)
            dropped.update(entry["dropped"])
            drawn += 1 + sum(entry["dropped"].values())
    modes = Counter(str(question.mode) for question in questions)
    return questions, {"drawn": drawn, "dropped": tally(dropped), "questions": len(questions), "mode": tally(modes)}


def draw_mode(config: DataGenConfig, seed: int, number: int) -> Mode:
    """The mode of question ``number``, by the weights of ``data_gen.modes``."""
    modes, weights = list(config.modes), list(config.modes.values())
    return Random(f"{seed}/{number}/mode").choices(modes, weights)[0]


class _Ahead:
    """First attempts, begun some questions ahead: a teacher behind an endpoint answers many at once."""

    def __init__(self, teacher: Teacher, config: DataGenConfig, seed: int, journal: Journal) -> None:
        todo = (n for n in range(config.n_questions) if f"q{n:06d}" not in journal.entries)
        self._slots = (Slot(n, 0, draw_mode(config, seed, n), seed) for n in todo)
        self._teacher, self._limit = teacher, config.concurrency
        self.tasks: dict[str, asyncio.Task[Question | str]] = {}

    async def take(self, slot: Slot) -> Question | str:
        while len(self.tasks) < self._limit and (ahead := next(self._slots, None)):
            self.tasks[ahead.id] = asyncio.create_task(_attempt(self._teacher, ahead))
        return await self.tasks.pop(slot.id)


@asynccontextmanager
async def _ahead(teacher: Teacher, config: DataGenConfig, seed: int, journal: Journal) -> AsyncIterator[_Ahead]:
    ahead = _Ahead(teacher, config, seed, journal)
    try:
        yield ahead
    finally:
        for task in ahead.tasks.values():
            task.cancel()
        await asyncio.gather(*ahead.tasks.values(), return_exceptions=True)


async def _attempt(teacher: Teacher, slot: Slot) -> Question | str:
    try:
        question = await teacher.write(slot)
    except Discard as reason:
        return str(reason)
    problem = why_not(slot.mode, question.plan.steps, question.text) if question.plan else None
    return f"not {slot.mode}: {problem}" if problem else question


async def _write_one(
    teacher: Teacher, slot: Slot, first_attempts: _Ahead, seen: Seen, done: int, config: DataGenConfig
) -> tuple[Question, "Counter[str]"]:
    reasons = Counter[str]()
    outcome = await first_attempts.take(slot)
    for attempt in range(1, teacher.max_attempts + 1):
        if isinstance(outcome, Question):
            outcome = seen.why_not(outcome.text) or outcome
        if isinstance(outcome, Question):
            return outcome, reasons
        reasons[outcome] += 1
        outcome = await _attempt(teacher, Slot(slot.number, attempt, slot.mode, slot.seed))
    why = ", ".join(f"{reason} ({count})" for reason, count in tally(reasons).items())
    raise DataError(
        f"only {done} of {config.n_questions} questions: no {slot.mode} question in {teacher.max_attempts} attempts: "
        f"{why}; write fewer, lower data_gen.modes.{slot.mode}, or give more tools"
    )


def check_config(config: DataGenConfig) -> None:
    """Refuse weights and ranges that the types cannot tell.

    Raises:
        ConfigError: names the key and the value.
    """
    if min(config.modes.values(), default=0) < 0 or sum(config.modes.values()) <= 0:
        raise ConfigError(f"data_gen.modes: expected weights of at least 0, one of them above, got {config.modes}")
    least, most = config.tools_per_question
    if least > most:
        raise ConfigError(f"data_gen.tools_per_question: expected [least, most], got {config.tools_per_question}")


async def make_questions(config: RunConfig) -> None:
    """Write the artifact, unless it is up to date."""
    check_config(config.data_gen)
    async with open_tools(config) as world:
        settings = config.data_gen.model_dump(include={"modes", "tools_per_question", "teacher"})
        inputs: dict[str, Path | str] = {"tools": tools_hash(world), "phrasebook": PHRASEBOOK}
        counted = {**settings, "n_questions": config.data_gen.n_questions}
        job = Job.of(config, "questions", output="questions.jsonl", command=COMMAND, settings=counted, inputs=inputs)
        if job.is_current():
            return
        key = hash_of([config.seed, settings, tools_hash(world), fingerprint(PHRASEBOOK)])
        with job.running() as counts, Journal(run_dir(config) / ".questions.journal.jsonl", key) as journal:
            async with open_teacher(config, world) as teacher:
                questions, funnel = await write_questions(teacher, config.data_gen, config.seed, journal)
            counts.update(funnel)
            write_rows(job.output, (question.model_dump() for question in questions))
        print_funnel(str(job.output), counts)


@asynccontextmanager
async def open_teacher(config: RunConfig, world: Worlds) -> AsyncIterator[Teacher]:
    """The teacher of ``data_gen.teacher``."""
    least, most = config.data_gen.tools_per_question
    shop = Workshop.open(world, own_tools=config.tools.mcp_config is None)
    if config.data_gen.teacher.kind == "scripted":
        yield ScriptedTeacher(shop, (least, most))
        return
    async with open_endpoint(config.data_gen.teacher) as chat:
        yield OpenAITeacher(chat, shop, (least, most))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""

    def body() -> None:
        about = "Write questions for the tools, each with a verified plan of calls (scripted teacher)."
        config = parse_command(argv, prog=COMMAND, about=about, sections=("tools", "data_gen"), flags=FLAGS)
        asyncio.run(make_questions(config))

    return run_command(body)


if __name__ == "__main__":
    sys.exit(main())
