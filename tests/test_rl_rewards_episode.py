from typing import Any

import pytest

from rl.rewards.episode import score_episode
from toolwright.chat import Reply
from toolwright.dialect import Problem
from toolwright.episode import Episode, Turn
from toolwright.records import Message, Plan, Step, ToolCall, ToolResult

OK = ToolResult(content="1")
BROKEN = ToolResult(content="no", error="tool_error")


def call(name: str, **arguments: Any) -> ToolCall:
    return ToolCall(name=name, arguments=arguments)


def turn(*calls: ToolCall, results: tuple[ToolResult, ...] | None = None, problems: tuple[Problem, ...] = ()) -> Turn:
    message = Message(role="assistant", content=None if calls else "done", tool_calls=calls)
    reply = Reply(message=message, finish_reason="stop", problems=problems)
    return Turn(reply, results if results is not None else (OK,) * len(calls))


def episode(*turns: Turn, stopped: Any = "answer") -> Episode:
    messages = (Message(role="user", content="?"), *(turn.reply.message for turn in turns))
    return Episode(messages=messages, turns=turns, stopped=stopped)


def plan(*calls: ToolCall) -> Plan:
    return Plan(mode="single" if calls else "no_tool", steps=tuple(Step(calls=(one,)) for one in calls))


GOLD = call("price", hub="TTF", day=3)


@pytest.mark.parametrize(
    ("played", "wanted", "format_score", "correctness"),
    [
        pytest.param(episode(turn(GOLD), turn()), plan(GOLD), 1.0, 3.0, id="all right"),
        pytest.param(episode(turn(GOLD), turn(call("b")), turn()), plan(GOLD, call("b")), 1.0, 3.0, id="two turns"),
        # 6 * (1 name + 1 keys + 1 of 2 values) / (1 + 1 + 2) - 3
        pytest.param(
            episode(turn(call("price", hub="NBP", day=3)), turn()), plan(GOLD), 1.0, 1.5, id="one value wrong"
        ),
        pytest.param(episode(turn(GOLD, results=(BROKEN,)), turn()), plan(GOLD), 1.0, -3.0, id="the call did not run"),
        pytest.param(episode(turn(GOLD, results=()), stopped="length"), plan(GOLD), 0.0, -3.0, id="cut before it ran"),
        # 6 * (1/2 names + 1 keys + 2 values) / 4 - 3
        pytest.param(
            episode(turn(GOLD, call("junk"), results=(OK, BROKEN)), turn()), plan(GOLD), 1.0, 2.25, id="a failed extra"
        ),
        pytest.param(episode(turn()), plan(GOLD), 0.0, -3.0, id="no call where one is wanted"),
        pytest.param(episode(turn()), plan(), 1.0, 0.0, id="abstained rightly"),
        pytest.param(episode(turn(GOLD), turn()), plan(), 0.0, 0.0, id="called where none is wanted"),
        pytest.param(episode(turn(GOLD), stopped="max_turns"), plan(GOLD), 0.0, 3.0, id="never answered"),
    ],
)
def test_an_episode_is_paid_for_what_ran(
    played: Episode, wanted: Plan, format_score: float, correctness: float
) -> None:
    score = score_episode(played, wanted)
    assert (score.format, score.correctness) == (format_score, pytest.approx(correctness))
    assert score.total == score.format + score.correctness


def test_a_malformed_call_costs_the_format() -> None:
    problem = Problem(kind="not_json", text="<tool_call>{", detail="cut")
    played = episode(turn(problems=(problem,), results=(BROKEN,)), turn(GOLD), turn())
    assert score_episode(played, plan(GOLD)).format == 0.0


def test_switches_reach_the_formulas() -> None:
    played = episode(turn(call("price", hub="NBP", day=3)), turn())
    assert score_episode(played, plan(GOLD), switches=frozenset({"COARSEREWARD"})).correctness == -3.0
    assert score_episode(played, plan(GOLD), switches=frozenset({"CORRECTMAX1"})).correctness == pytest.approx(0.5)
