"""Scores over many tasks: by mode, by seen and unseen tools, the parts of the judgement, pairs of models."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from pydantic import Field

from eval.metrics import CallRecord, Verdict, mcnemar_exact, wilson_interval
from toolwright.records import MODES, Mode, Record


class TaskRow(Record):
    """One line of ``eval/<model>.jsonl``: a task, what the model did, and the verdict.

    ``verdict`` is none when the endpoint failed; then ``failed`` says how, and the task counts as not passed.
    ``answer`` is the text of the last reply, an answer only where ``stopped`` says so.
    """

    id: str
    mode: Mode
    seen: bool
    verdict: Verdict | None = None
    calls: tuple[CallRecord, ...] = ()
    answer: str | None = None
    stopped: str = ""
    failed: str | None = None
    sandbox: str | None = Field(None, description="level at which its calls ran, where that is known")
    seconds: float = Field(0.0, description="wall time of the task (s)")

    @property
    def passed(self) -> bool:
        return self.verdict is not None and self.verdict.passed


def score(rows: Sequence[TaskRow]) -> dict[str, Any]:
    """``n``, ``passed``, ``score`` (share) and its 95 % ``interval``, rounded to four digits."""
    passed = sum(row.passed for row in rows)
    low, high = wilson_interval(passed, len(rows))
    share = passed / len(rows) if rows else 0.0
    return {"n": len(rows), "passed": passed, "score": round(share, 4), "interval": [round(low, 4), round(high, 4)]}


def summarise(name: str, rows: Sequence[TaskRow]) -> dict[str, Any]:
    """A model's entry of the report: its score, tables by mode and by seen tools, and the parts."""
    present = [mode for mode in MODES if any(row.mode == mode for row in rows)]
    return {
        "name": name,
        **score(rows),
        "failed": sum(row.failed is not None for row in rows),
        "by_mode": {mode: score([row for row in rows if row.mode == mode]) for mode in present},
        "by_tools": {
            label: score([row for row in rows if row.seen is seen])
            for label, seen in (("seen", True), ("unseen", False))
            if any(row.seen is seen for row in rows)
        },
        "components": components([row.verdict for row in rows if row.verdict]),
    }


def components(verdicts: Sequence[Verdict]) -> dict[str, float | None]:
    """The parts of the judgement as means; none where no task has that part.

    ``name``, ``parameters`` and ``values`` are over tasks with planned calls, ``abstention`` over those without,
    ``malformed_calls`` is refused calls per call made, ``call_like_text`` is tasks whose answer holds an unparsed call.
    """
    made = sum(verdict.calls for verdict in verdicts)
    return {
        "name": _mean(verdict.name for verdict in verdicts),
        "parameters": _mean(verdict.parameters for verdict in verdicts),
        "values": _mean(verdict.values for verdict in verdicts),
        "state": _mean(verdict.state for verdict in verdicts),
        "abstention": _mean(verdict.abstained for verdict in verdicts),
        "malformed_calls": round(sum(verdict.malformed for verdict in verdicts) / made, 4) if made else None,
        "call_like_text": _mean(verdict.call_like_text for verdict in verdicts),
        "turns": _mean(verdict.turns for verdict in verdicts),
    }


def _mean(values: Iterable[float | None]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return round(sum(known) / len(known), 4) if known else None


def pair(a: str, rows_a: Sequence[TaskRow], b: str, rows_b: Sequence[TaskRow]) -> dict[str, Any]:
    """Compare two models on the same tasks: ``wins`` are tasks that only ``b`` passed, ``losses`` only ``a``."""
    before = {row.id: row.passed for row in rows_a}
    after = {row.id: row.passed for row in rows_b}
    shared = before.keys() & after.keys()
    wins = sum(after[task] and not before[task] for task in shared)
    losses = sum(before[task] and not after[task] for task in shared)
    return {"a": a, "b": b, "p": mcnemar_exact(wins, losses), "wins": wins, "losses": losses, "n": len(shared)}


def consecutive_pairs(rows_by_model: Mapping[str, Sequence[TaskRow]]) -> list[dict[str, Any]]:
    """Each model compared with the one before it."""
    names = list(rows_by_model)
    return [pair(a, rows_by_model[a], b, rows_by_model[b]) for a, b in pairwise(names)]
