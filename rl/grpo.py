"""TRL's GRPOTrainer around our rollouts: it groups, normalises and steps; tokens, tools and rewards are ours.

Source: `trl/trainer/grpo_trainer.py` of TRL 1.16, `rollout_func` contract (`prompt_ids`, `completion_ids`, `logprobs`,
`env_mask`; further keys reach the reward functions).
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import get_peft_model
from trl import GRPOConfig

from rl.player import Player
from rl.rollout import Rollout
from rl.trainer import SharedPrefixTrainer
from toolwright.config import RunConfig
from toolwright.dialect import dialect_for
from toolwright.engine import Engine
from toolwright.errors import ConfigError
from toolwright.model import load_adapter, load_model
from toolwright.progress import ShowProgress
from toolwright.task import Task
from toolwright.training import MetricsWriter, build_arguments, lora_config

METRICS = {
    "reward": "reward",
    "rewards/reward_format/mean": "reward_format",
    "rewards/reward_correctness/mean": "reward_correctness",
    "reward_std": "reward_std",
    "frac_reward_zero_std": "flat_groups",
    "completions/mean_length": "completion_tokens",
    "completions/clipped_ratio": "clipped",
    "loss": "loss",
    "grad_norm": "grad_norm",
    "learning_rate": "lr",
    "kl": "kl",
    "entropy": "entropy",
}
SHOWN = {"reward": ".2f", "rewards/reward_correctness/mean": ".2f", "frac_reward_zero_std": ".0%"}


def build_trainer(
    config: RunConfig, directory: Path, planned: Sequence[Task], tokenizer: Any, start: Path | None
) -> tuple[SharedPrefixTrainer, Player]:
    """The trainer over ``planned`` tasks (steps x prompts per step, in order), and the player behind it."""
    model = trainable_model(config, start)
    dialect = dialect_for(config.model, tokenizer.chat_template)
    player = Player(config, {task.id: task for task in planned}, tokenizer, dialect, directory / "rollouts.jsonl")
    batch = config.rl.prompts_per_step * config.rl.group_size
    engine = Engine(model, tokenizer, max_batch=min(batch, 64))

    def mask_of(rollout: Rollout) -> list[int]:
        return rollout.sampled if config.rl.train_answers else rollout.rewarded

    def rollout_func(task_ids: list[str], trainer: Any) -> dict[str, Any]:
        scored = player.play(task_ids, engine, trainer.state.global_step)
        return {
            "prompt_ids": [rollout.prompt_ids for rollout, _ in scored],
            "completion_ids": [rollout.completion_ids for rollout, _ in scored],
            "logprobs": [rollout.logprobs for rollout, _ in scored],
            "env_mask": [mask_of(rollout) for rollout, _ in scored],
            "score": [score for _, score in scored],
        }

    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # rollout_func is experimental; the version is pinned
    trainer = SharedPrefixTrainer(
        model=model,
        reward_funcs=[reward_format, reward_correctness],
        args=grpo_arguments(config, directory),
        # The prompt that TRL sees is only the task's id: messages, tools and environment belong to the player.
        train_dataset=Dataset.from_dict({"prompt": [task.id for task in planned]}),
        processing_class=tokenizer,
        rollout_func=rollout_func,
        callbacks=[MetricsWriter(directory / "metrics.jsonl", METRICS), ShowProgress("rl", SHOWN)],
    )
    return trainer, player


def reward_format(completions: Sequence[str], score: Sequence[Any], **_: Any) -> list[float]:
    """ToolRL's format part of each rollout."""
    return [one.format for one in score]


def reward_correctness(completions: Sequence[str], score: Sequence[Any], **_: Any) -> list[float]:
    """ToolRL's correctness part of each rollout."""
    return [one.correctness for one in score]


def trainable_model(config: RunConfig, start: Path | None) -> Any:
    """The base model with the starting adapter, or with a new one, trainable; adapter weights in float32."""
    base = load_model(config.model, config.rl.dtype)
    if start is not None:
        return load_adapter(base, start, config.model, trainable=True)
    return get_peft_model(base, lora_config(config.rl.lora, "rl.lora"))


def grpo_arguments(config: RunConfig, directory: Path) -> GRPOConfig:
    """GRPOConfig from the ``rl`` section; ``rl.trainer`` wins.

    Raises:
        ConfigError: sizes that do not divide, or a field that GRPOConfig does not know.
    """
    section = config.rl
    batch = section.prompts_per_step * section.group_size
    micro = min(section.micro_batch_size, batch)
    if batch % micro:
        raise ConfigError(
            f"rl.micro_batch_size: {micro} does not divide the {batch} rollouts of a step "
            f"(prompts_per_step {section.prompts_per_step} x group_size {section.group_size})"
        )
    ours = {
        "output_dir": str(directory / "checkpoints"),
        "max_steps": section.steps,
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": batch // micro,
        "num_generations": section.group_size,
        "max_completion_length": section.max_completion_tokens,
        "temperature": section.temperature,
        "learning_rate": section.lr,
        "beta": section.beta,
        "shuffle_dataset": False,
        "remove_unused_columns": False,
        "logging_steps": 1,
        "save_steps": section.save_steps,
        "save_total_limit": 1,
        "save_only_model": False,
        "report_to": "none",
        "seed": config.seed,
        "bf16": False,
        "gradient_checkpointing": False,
        "disable_dropout": True,
        "dataloader_pin_memory": torch.cuda.is_available(),
    }
    return build_arguments(GRPOConfig, ours, section.trainer, "rl.trainer")
