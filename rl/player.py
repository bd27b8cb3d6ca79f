"""Plays a batch of rollouts at once on one engine and one tool world, and scores them.

Tool calls of all rollouts run concurrently with decoding. The engine's replies do not depend on who shares a batch,
and each rollout has its own seed, so the result does not depend on timing.
"""

import asyncio
import hashlib
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from mcpserver.world import Worlds, open_configured
from rl.rewards.episode import score_episode
from rl.rewards.toolrl import ToolRLScore
from rl.rollout import Limits, Rollout, roll_out
from toolwright.config import RunConfig
from toolwright.engine import AsyncEngine, Engine
from toolwright.task import Task


class Player:
    """Rollouts for the trainer: holds the tool world open between steps, and writes ``rollouts.jsonl``.

    Args:
        config: the run's configuration.
        tasks: id -> task.
        tokenizer: of the model, with its chat template.
        dialect: how the model writes calls.
        log: file that every rollout is appended to.
    """

    def __init__(self, config: RunConfig, tasks: dict[str, Task], tokenizer: Any, dialect: str, log: Path) -> None:
        self.config = config
        self.tasks = tasks
        self.tokenizer = tokenizer
        self.dialect = dialect
        self.log = log
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._worlds: Worlds | None = None
        self._totals: list[float] = []

    def play(self, task_ids: Sequence[str], engine: Engine, step: int) -> list[tuple[Rollout, ToolRLScore]]:
        """Play each task once; equal ids in a row are one group. Rollouts come back in the order asked for."""
        rollouts = self._runner.run(self._play(task_ids, engine, step))
        scored = [(rollout, self._score(rollout, step)) for rollout in rollouts]
        self._totals.append(sum(score.total for _, score in scored) / len(scored))
        self._write(scored, step)
        return scored

    def reward_ends(self, window: int = 5) -> tuple[float, float]:
        """Mean reward of the first and of the last ``window`` steps that were played here."""
        if not self._totals:
            return float("nan"), float("nan")
        first, last = self._totals[:window], self._totals[-window:]
        return round(sum(first) / len(first), 3), round(sum(last) / len(last), 3)

    def close(self) -> None:
        """Close the tool world and everything that it started."""
        self._runner.run(self._stack.aclose())
        self._runner.close()

    async def _play(self, task_ids: Sequence[str], engine: Engine, step: int) -> list[Rollout]:
        tools = self.config.tools
        if self._worlds is None:
            self._worlds = await self._stack.enter_async_context(open_configured(tools))
        section = self.config.rl
        limits = Limits(
            max_tokens=section.max_tokens,
            max_completion_tokens=section.max_completion_tokens,
            max_turns=section.max_turns,
            temperature=section.temperature,
            call_timeout_s=tools.call_timeout_s,
        )
        async with AsyncEngine(engine) as batch:
            return await asyncio.gather(
                *(
                    roll_out(
                        self.tasks[task_id],
                        self._worlds.environment,
                        batch.sample,
                        self.tokenizer,
                        self.dialect,
                        limits,
                        seed_of(self.config.seed, step, index),
                    )
                    for index, task_id in enumerate(task_ids)
                )
            )

    def _score(self, rollout: Rollout, step: int) -> ToolRLScore:
        section = self.config.rl
        return score_episode(
            rollout.episode,
            rollout.task.plan,
            step=step,
            switches=frozenset(section.switches),
            matching=section.matching,
        )

    def _write(self, scored: Sequence[tuple[Rollout, ToolRLScore]], step: int) -> None:
        with self.log.open("a", encoding="utf-8") as stream:
            for rollout, score in scored:
                row = {
                    "step": step,
                    "task": rollout.task.id,
                    "mode": rollout.task.plan.mode,
                    "reward": score._asdict(),
                    "stopped": rollout.episode.stopped,
                    "sandbox": rollout.episode.sandbox,
                    "synthetic": rollout.episode.synthetic,
                    "tokens": len(rollout.completion_ids),
                    "messages": [m.to_openai() for m in rollout.episode.messages[len(rollout.task.messages) :]],
                }
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")


def seed_of(seed: int, step: int, index: int) -> int:
    """A 48-bit seed for rollout ``index`` of ``step``: the same on every machine, different for every rollout."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{step}/{index}".encode()).digest()[:6], "big")
