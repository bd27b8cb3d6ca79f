from collections import Counter
from pathlib import Path

import pytest

from rl.tasks import load_tasks, schedule
from toolwright.artifacts import write_rows
from toolwright.errors import DataError
from toolwright.records import Conversation, Message, Mode, Plan
from toolwright.task import Task, task_of


def conversation(number: int, mode: Mode = "no_tool") -> Conversation:
    messages = (Message(role="user", content=f"question {number}"), Message(role="assistant", content="answer"))
    return Conversation(id=f"c{number}", messages=messages, mode=mode, plan=Plan(mode=mode))


def tasks(*modes: Mode) -> list[Task]:
    return [task_of(conversation(number, mode)) for number, mode in enumerate(modes)]


def test_a_task_is_what_comes_before_the_first_assistant_turn(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", [conversation(1).to_row()])
    (task,) = load_tasks(tmp_path / "train.jsonl")
    assert [message.content for message in task.messages] == ["question 1"]


def test_an_empty_file_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").touch()
    with pytest.raises(DataError, match=r"train\.jsonl: no conversation in it; .*data_gen\.split"):
        load_tasks(tmp_path / "train.jsonl")


def test_every_task_is_used_before_one_comes_back() -> None:
    planned = schedule(tasks(*["no_tool"] * 5), 12, seed=1)
    counts = Counter(task.id for task in planned)
    assert Counter(task.id for task in planned[:5]) == dict.fromkeys(counts, 1)
    assert sorted(counts.values()) == [2, 2, 2, 3, 3]


def test_the_order_depends_on_the_seed_alone() -> None:
    pool = tasks(*["no_tool"] * 9)
    assert schedule(pool, 20, seed=1) == schedule(pool, 20, seed=1)
    assert schedule(pool, 20, seed=1) != schedule(pool, 20, seed=2)


def test_modes_come_in_the_wanted_shares() -> None:
    pool = tasks(*["single"] * 50, *["missing_parameter"] * 3, "no_tool")
    planned = schedule(pool, 400, seed=3, modes={"single": 1.0, "missing_parameter": 3.0, "no_tool": 0.0})
    counts = Counter(task.plan.mode for task in planned)
    assert counts["no_tool"] == 0
    assert 250 < counts["missing_parameter"] < 350


def test_a_mode_without_tasks_is_an_error() -> None:
    with pytest.raises(DataError, match=r"rl\.modes asks for parallel"):
        schedule(tasks("single"), 4, seed=1, modes={"parallel": 1.0})
