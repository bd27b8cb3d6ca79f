"""Tasks played against scripted models in a small world: scores, failures, and what a killed run keeps."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from eval.heldout import HeldoutTask, load_tasks, play_tasks
from eval.rows import PartialRows
from eval.summary import TaskRow, consecutive_pairs, summarise
from toolwright.artifacts import write_rows
from toolwright.chat import Reply, ScriptedChat
from toolwright.config import EvalConfig
from toolwright.errors import DataError, EndpointError, ToolServerError
from toolwright.records import Conversation, Message, Plan, Step, ToolCall, ToolResult, ToolSpec
from toolwright.task import task_of

ADD = ToolSpec(
    name="add",
    description="Add a number to the sum.",
    parameters={"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
)
TOTAL = ToolSpec(name="total", description="The sum so far.")


class SumWorld:
    """A world with one number; ``closed`` counts the environments that were left."""

    closed = 0

    def __init__(self, seed: int) -> None:
        self.sum = seed

    async def call(self, call: ToolCall) -> ToolResult:
        await asyncio.sleep(0)
        if call.name == "add":
            self.sum += call.arguments["n"]
        return ToolResult(content=str(self.sum))

    async def state(self) -> str:
        return f"sum={self.sum}"


@asynccontextmanager
async def open_sum(seed: int) -> AsyncIterator[SumWorld]:
    yield SumWorld(seed)


def add(n: int) -> ToolCall:
    return ToolCall(name="add", arguments={"n": n})


def conversation(number: int, mode: str = "single", *steps: tuple[ToolCall, ...], state: str | None = None, **fields):
    messages = [Message(role="user", content=f"task {number}")]
    messages += [Message(role="assistant", tool_calls=step) for step in steps]
    messages.append(Message(role="assistant", content="done"))
    plan = Plan(mode=mode, steps=tuple(Step(calls=step) for step in steps), state=state)
    fields = {"tools": (ADD, TOTAL), "seed": number, "mode": mode, "plan": plan, **fields}
    return Conversation(id=f"t{number}", messages=tuple(messages), **fields)


def perfect(messages, tools) -> Message:
    """Adds the number that the last user message names, then answers."""
    if messages[-1].role == "tool":
        return Message(role="assistant", content=f"The sum is {messages[-1].content}.")
    return Message(role="assistant", tool_calls=(add(int(messages[-1].content.split()[-1])),))


def run(conversations, chat, *, settings: EvalConfig | None = None, world: Callable = open_sum) -> list[TaskRow]:
    rows: list[TaskRow] = []
    tasks = [HeldoutTask(task_of(c), seen=True) for c in conversations]
    playing = play_tasks(
        tasks, chat, world, settings or EvalConfig(), call_timeout_s=5, seed=17, keep=rows.append, n_all=len(tasks)
    )
    asyncio.run(playing)
    return sorted(rows, key=lambda row: row.id)


def test_a_model_that_does_as_planned_passes_every_task():
    conversations = [conversation(n, "single", (add(n),), state=f"sum={2 * n}") for n in range(1, 9)]
    rows = run(conversations, ScriptedChat(perfect))
    assert [row.passed for row in rows] == [True] * 8
    assert rows[0].calls[0].result == "2"
    assert rows[0].answer == "The sum is 2."
    entry = summarise("perfect", rows)
    assert (entry["n"], entry["score"], entry["failed"]) == (8, 1.0, 0)
    assert entry["components"] == {
        "name": 1.0,
        "parameters": 1.0,
        "values": 1.0,
        "state": 1.0,
        "abstention": None,
        "malformed_calls": 0.0,
        "call_like_text": 0.0,
        "turns": 2.0,
    }


def test_each_task_has_an_environment_of_its_own_seed():
    same = [conversation(n, "single", (add(n),), seed=5, state=f"sum={5 + n}") for n in range(1, 6)]
    assert all(row.passed for row in run(same, ScriptedChat(perfect)))


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Message(role="assistant", content="It is 3."), "executed no call"),
        (Message(role="assistant", tool_calls=(ToolCall(name="sub"),)), "executed no call: sub was refused"),
        (Message(role="assistant", content='<tool_call>\n{"name": "add", "arg'), "(wrote text that looks like a call)"),
    ],
)
def test_what_a_model_does_wrong_is_a_verdict_with_its_reason(reply, reason):
    def script(messages, tools) -> Message:
        return reply if messages[-1].role == "user" else Message(role="assistant", content="Sorry.")

    (row,) = run([conversation(3, "single", (add(3),))], ScriptedChat(script))
    assert not row.passed
    assert reason in row.verdict.reason
    assert row.failed is None


def test_a_call_where_the_user_left_something_out_fails_and_asking_passes():
    missing = conversation(3, "missing_parameter")
    asks = ScriptedChat(lambda *_: Message(role="assistant", content="Which number?"))
    assert run([missing], asks)[0].passed
    (row,) = run([missing], ScriptedChat(perfect))
    assert row.verdict.reason == "called add where no call was due"


class CutShortChat:
    async def complete(self, messages, tools, *, seed=None) -> Reply:
        return Reply(Message(role="assistant", content="3 is", tool_calls=(add(3),)), "length")


def test_a_reply_cut_short_ran_no_call_and_is_no_answer():
    (row,) = run([conversation(3, "single", (add(3),))], CutShortChat())
    assert (row.passed, row.stopped, row.calls[0].error) == (False, "length", "limit")
    assert row.verdict.malformed == 1


class FlakyChat:
    """Fails for the named tasks, plays the others perfectly."""

    def __init__(self, failing: set[str]) -> None:
        self.failing, self.asked = failing, 0

    async def complete(self, messages, tools, *, seed=None) -> Reply:
        self.asked += 1
        if messages[0].content in self.failing:
            raise EndpointError(f"http://x/v1: HTTP 500 at {messages[0].content}")
        return Reply(perfect(messages, tools), "stop")


def test_one_failed_task_in_a_hundred_is_counted_and_not_scored_as_the_models():
    conversations = [conversation(n, "single", (add(n),)) for n in range(1, 101)]
    rows = run(conversations, FlakyChat({"task 7"}))
    failed = [row for row in rows if row.failed]
    assert [(row.id, row.verdict, row.passed) for row in failed] == [("t7", None, False)]
    assert summarise("flaky", rows)["failed"] == 1


def test_more_than_one_percent_of_failures_stops_at_once_and_names_the_first():
    conversations = [conversation(n, "single", (add(n),)) for n in range(1, 101)]
    chat = FlakyChat({f"task {n}" for n in range(50)})
    with pytest.raises(EndpointError, match=r"2 of 100 tasks, more than 1 %.*HTTP 500 at task \d+$"):
        run(conversations, chat, settings=EvalConfig(concurrency=1))
    assert chat.asked < 10


def test_a_tool_server_that_is_gone_is_no_fault_of_the_model():
    @asynccontextmanager
    async def dead(seed: int) -> AsyncIterator[SumWorld]:
        world = SumWorld(seed)

        async def call(_call: ToolCall) -> ToolResult:
            raise ToolServerError("server 'sum' ended with code 1")

        world.call = call
        yield world

    with pytest.raises(ToolServerError, match="ended with code 1"):
        run([conversation(3, "single", (add(3),))], ScriptedChat(perfect), world=dead)


def test_tasks_come_from_the_held_out_file_and_unseen_tools_are_told_apart(tmp_path: Path):
    total = ToolCall(name="total")
    rows = [
        conversation(1, "single", (add(1),)),
        conversation(2, "single", (total,)),
        conversation(3, "no_tool"),
        conversation(4, "no_tool", tools=(ADD,)),
        conversation(5, plan=Plan(mode="missing_parameter", about="add", missing="n")),
        conversation(6, plan=Plan(mode="no_tool", about="total"), tools=(ADD,)),
    ]
    write_rows(tmp_path / "heldout.jsonl", (row.to_row() for row in rows))
    write_rows(tmp_path / "train.jsonl", [conversation(9, "single", (add(9),)).to_row()])
    tasks = load_tasks(tmp_path / "heldout.jsonl", tmp_path / "train.jsonl")
    assert [task.seen for task in tasks] == [True, False, False, True, True, False]
    assert [message.role for message in tasks[0].task.messages] == ["user"]
    assert [t.task.id for t in load_tasks(tmp_path / "heldout.jsonl", tmp_path / "train.jsonl", 2)] == ["t1", "t4"]


def test_a_cut_line_and_a_double_id_are_named(tmp_path: Path):
    train, heldout = tmp_path / "train.jsonl", tmp_path / "heldout.jsonl"
    train.write_text("")
    row = json.dumps(conversation(1, "no_tool").to_row())
    heldout.write_text(f"{row}\n{row[:40]}")
    with pytest.raises(DataError, match=r"heldout\.jsonl:2: the last line is cut short"):
        load_tasks(heldout, train)
    heldout.write_text(f"{row}\n{row}\n")
    with pytest.raises(DataError, match=r"id 't1' is double"):
        load_tasks(heldout, train)
    heldout.write_text("")
    with pytest.raises(DataError, match="no conversations"):
        load_tasks(heldout, train)


def test_a_killed_run_keeps_its_finished_rows_under_the_same_key_only(tmp_path: Path):
    path = tmp_path / "base.partial.jsonl"
    with PartialRows(path, "key") as partial:
        partial.add(TaskRow(id="a", mode="single", seen=True, answer="one\u2028two\x85three"))
        partial.add(TaskRow(id="b", mode="single", seen=True, failed="HTTP 500"))
        partial.add(TaskRow(id="c", mode="single", seen=True))
    path.write_text(path.read_text() + '{"id": "d", "mo')
    with PartialRows(path, "key") as partial:
        assert list(partial.rows) == ["a", "c"]
        partial.add(TaskRow(id="d", mode="single", seen=False))
    with PartialRows(path, "key") as partial:
        assert list(partial.rows) == ["a", "c", "d"]
    with PartialRows(path, "another key") as partial:
        assert partial.rows == {}


def test_pairs_are_consecutive_and_count_wins_and_losses():
    def rows(passed: str) -> list[TaskRow]:
        verdicts = [{"passed": mark == "x", "reason": ""} for mark in passed]
        return [TaskRow(id=str(i), mode="single", seen=True, verdict=v) for i, v in enumerate(verdicts)]

    pairs = consecutive_pairs({"base": rows("x......."), "sft": rows(".xxxxxx."), "rl": rows(".xxxxxxx")})
    assert [(p["a"], p["b"], p["wins"], p["losses"]) for p in pairs] == [("base", "sft", 6, 1), ("sft", "rl", 1, 0)]
    assert pairs[0]["p"] == pytest.approx(2 * 8 / 128)
