"""The ToolRL reward of a whole episode on live tools, from what really ran."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from rl.rewards.toolrl import ToolRLScore, bounds, score_calls
from toolwright.episode import Episode
from toolwright.records import Plan, ToolCall

FAILED = "!failed"


def score_episode(
    episode: Episode,
    plan: Plan,
    *,
    step: int = 0,
    switches: frozenset[str] = frozenset(),
    matching: Literal["greedy", "optimal"] = "optimal",
) -> ToolRLScore:
    """ToolRL's format and correctness for an episode.

    Format is full when every turn could be read, the episode ended with a text answer, and calls were made exactly
    when the plan has calls. Correctness compares the calls that *ran* with the plan's calls; a call that was refused
    or failed counts as a call to nothing, so it dilutes the names and earns no parameter. Without calls in the plan
    correctness is 0, as in the reference, and format alone tells abstaining from calling.

    Source: `verl/utils/reward_score/rlla.py` of qiancheng0/ToolRL for the formulas; the application to executed
    multi-turn episodes is ours.
    """
    ranges = bounds(step, switches)
    format_score = ranges.format_max if _is_well_formed(episode, bool(plan.calls)) else ranges.format_min
    correctness = 0.0
    if plan.calls:
        gold = [_as_toolrl(call) for call in plan.calls]
        correctness = score_calls(_attempted(episode), gold, bounds=ranges, switches=switches, matching=matching)
    return ToolRLScore(format_score + correctness, format_score, correctness, 0.0)


def _is_well_formed(episode: Episode, wants_calls: bool) -> bool:
    readable = not any(turn.reply.problems for turn in episode.turns)
    return readable and episode.stopped == "answer" and bool(episode.answer) and bool(episode.calls) == wants_calls


def _attempted(episode: Episode) -> Sequence[Mapping[str, Any]]:
    """All calls of the episode in order; those that did not run have no name that gold could match."""
    return [
        _as_toolrl(call) if index < len(turn.results) and turn.results[index].ok else {"name": FAILED, "parameters": {}}
        for turn in episode.turns
        for index, call in enumerate(turn.reply.message.tool_calls)
    ]


def _as_toolrl(call: ToolCall) -> dict[str, Any]:
    return {"name": call.name, "parameters": call.arguments}
