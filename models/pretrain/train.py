"""Pretrain the tiny base model on random tools, or evaluate it.

Reads the tokenizer in the output directory (the shipped one where it has none) and draws its data on the fly; writes
the exported model there, and `pretrain_metrics.jsonl`; keeps a checkpoint in a work directory: `--resume` continues a
killed run.

Run: `python models/pretrain/train.py` and `python models/pretrain/train.py --evaluate models/tiny`
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch.nn.functional import cross_entropy

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from models.pretrain.batches import IGNORED, Batch, draw_batches
from models.pretrain.corpus import Difficulty
from models.pretrain.network import build_model, ensure_tokenizer, export_model, load_tokenizer
from models.pretrain.scoring import evaluate

WARMUP = 0.01
DECAY = 0.5
EMA = 0.99


@dataclass
class Progress:
    """How far a run is: what the schedules and the resumed run need."""

    step: int = 0
    tokens: int = 0
    pools: int = 0
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)

    def share(self, args: argparse.Namespace) -> float:
        """Return the share of the budget that is spent: of tokens, or of minutes where they end first."""
        return min(1.0, max(self.tokens / float(args.tokens), self.seconds / (60 * float(args.minutes))))


def rate_at(share: float) -> float:
    """Return the learning-rate factor: warm-up, plateau, then linear decay to zero."""
    return max(0.0, min(1.0, share / WARMUP + 0.02, (1 - share) / DECAY))


def build_optimizers(model: Qwen3ForCausalLM, args: argparse.Namespace) -> list[torch.optim.Optimizer]:
    """Build Muon for the hidden matrices and AdamW for embeddings and norms (or AdamW for all)."""
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2 and args.optimizer == "muon"]
    chosen = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    decayed = [p for p in rest if p.ndim == 2]
    groups = [
        {"params": decayed, "weight_decay": 0.01},
        {"params": [p for p in rest if p.ndim != 2], "weight_decay": 0.0},
    ]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(groups, lr=args.lr_embeddings, betas=(0.9, 0.98), eps=1e-8, fused=True)
    ]
    if matrices:
        optimizers.append(
            torch.optim.Muon(matrices, lr=args.lr, weight_decay=0.05, momentum=0.95, adjust_lr_fn="match_rms_adamw")
        )
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return optimizers


def exact_calls(predicted: torch.Tensor, labels_BT: torch.Tensor, call_token_id: int) -> tuple[int, int]:
    """Count the assistant turns with a call, and those whose every token is the most likely one.

    Under teacher forcing such a turn is what greedy decoding writes, so this is exact-call accuracy at no cost.
    `predicted` holds the most likely token at each labelled place, in row order.
    """
    mask_BT = labels_BT != IGNORED
    start_BT = mask_BT.clone()
    start_BT[:, 1:] &= ~mask_BT[:, :-1]
    start = start_BT[mask_BT]
    gold = labels_BT[mask_BT]
    turn = start.long().cumsum(0) - 1
    wrong = torch.zeros(int(start.sum()), dtype=torch.long).index_add_(0, turn, (predicted != gold).long())
    is_call = gold[start] == call_token_id
    return int(is_call.sum()), int((is_call & (wrong == 0)).sum())


def losses(
    model: Qwen3ForCausalLM, batch: Batch, prompt_weight: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the loss to minimise, the loss on the assistant's tokens, and the most likely token at each of those.

    With `prompt_weight` the rest of the text counts too: descriptions that repeat a name teach copying early.
    """
    labels_BT = batch.labels_BT[:, 1:]
    scored_BT = labels_BT != IGNORED if not prompt_weight else batch.ids_BT[:, 1:] != model.config.pad_token_id
    with torch.autocast("cpu", torch.bfloat16):
        hidden_BTH = model.model(input_ids=batch.ids_BT[:, :-1], use_cache=False).last_hidden_state
        logits = model.lm_head(hidden_BTH[scored_BT])
    loss_each = cross_entropy(logits.float(), batch.ids_BT[:, 1:][scored_BT], reduction="none")
    trained = labels_BT[scored_BT] != IGNORED
    weights = torch.where(trained, 1.0, prompt_weight)
    answer_loss = loss_each.detach()[trained].mean()
    return (loss_each * weights).sum() / weights.sum(), answer_loss, logits.detach()[trained].argmax(-1)


def train_step(
    model: Qwen3ForCausalLM,
    batch: Batch,
    optimizers: list[torch.optim.Optimizer],
    factor: float,
    prompt_weight: float,
    call_token_id: int,
) -> dict[str, float]:
    """Take one step at learning-rate `factor` and return sums to log."""
    loss, answer_loss, predicted = losses(model, batch, prompt_weight)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        optimizer.step()
        optimizer.zero_grad()
    calls, exact = exact_calls(predicted, batch.labels_BT[:, 1:], call_token_id)
    return {"loss": float(answer_loss), "steps": 1, "calls": calls, "exact": exact}


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint beside `path`, then move it there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path.with_suffix(".part"))
    os.replace(path.with_suffix(".part"), path)


def batches_from(progress: Progress, args: argparse.Namespace, tokenizer: PreTrainedTokenizerFast) -> Iterator[Batch]:
    """Yield batches for ever; each pool has a seed of its own, so a resumed run draws new ones."""
    while True:
        rng = Random(f"{args.seed}-{progress.pools}")
        difficulty = Difficulty.at(progress.tokens / args.curriculum_tokens)
        progress.pools += 1
        yield from draw_batches(rng, difficulty, tokenizer, args.batch_tokens)


def keep_metrics(path: Path, last_step: int) -> None:
    """Drop the lines after `last_step`: the resumed run writes them anew."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if json.loads(line)["step"] <= last_step), encoding="utf-8")


def log_metrics(path: Path, progress: Progress, factor: float) -> None:
    """Append a line of means since the last one, and print it."""
    sums = progress.sums
    line = {
        "step": progress.step,
        "tokens": progress.tokens,
        "minutes": round(progress.seconds / 60, 2),
        "loss": round(sums["loss"] / sums["steps"], 4),
        "exact_calls": round(sums["exact"] / max(sums["calls"], 1), 4),
        "lr_factor": round(factor, 4),
        "tokens_per_s": round(progress.tokens / progress.seconds),
    }
    progress.sums = {}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line), flush=True)


def pretrain(args: argparse.Namespace) -> None:
    """Train until the budget is spent, exporting and checkpointing every few minutes."""
    output, checkpoint, metrics = args.output, args.work / "checkpoint.pt", args.output / "pretrain_metrics.jsonl"
    ensure_tokenizer(output)
    tokenizer = load_tokenizer(output)
    model = build_model(tokenizer, args.seed)
    optimizers, progress = build_optimizers(model, args), Progress()
    ema = {name: value.detach().clone() for name, value in model.named_parameters()}
    if args.resume:
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        ema, progress = state["ema"], Progress(**state["progress"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        keep_metrics(metrics, progress.step)
    else:
        metrics.unlink(missing_ok=True)
        export_model(ema, model, output)
    call_token_id = tokenizer.convert_tokens_to_ids("<tool_call>")
    next_save, began = progress.seconds + 60 * args.export_minutes, time.monotonic() - progress.seconds
    for batch in batches_from(progress, args, tokenizer):
        factor = rate_at(progress.share(args))
        prompt_weight = args.prompt_weight if progress.tokens < args.curriculum_tokens else 0.0
        sums = train_step(model, batch, optimizers, factor, prompt_weight, call_token_id)
        for key, value in sums.items():
            progress.sums[key] = progress.sums.get(key, 0.0) + value
        torch._foreach_lerp_(list(ema.values()), [p.detach() for p in model.parameters()], 1 - EMA)
        progress.step += 1
        progress.tokens += batch.n_tokens
        progress.seconds = time.monotonic() - began
        done = progress.share(args) >= 1.0
        if progress.step % 50 == 0 or done:
            log_metrics(metrics, progress, factor)
        if done or progress.seconds >= next_save:
            next_save = progress.seconds + 60 * args.export_minutes
            states = [optimizer.state_dict() for optimizer in optimizers]
            state = {"model": model.state_dict(), "ema": ema, "progress": vars(progress), "optimizers": states}
            save_checkpoint(checkpoint, state)
            export_model(ema, model, output)
        if done:
            return


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, then pretrain or evaluate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--evaluate", type=Path, metavar="DIR", help="score this model on fresh random tools; train nothing"
    )
    parser.add_argument("--tasks", type=int, default=200, help="tasks for each number of tools (default 200)")
    parser.add_argument("--show", type=int, default=0, help="wrong answers to print for each number of tools")
    parser.add_argument("--output", type=Path, default=Path("runs/pretrain/model"), help="model directory to write")
    parser.add_argument("--work", type=Path, default=Path("runs/pretrain"), help="directory of the checkpoint")
    parser.add_argument("--tokens", type=float, default=21.5e6, help="budget in tokens (default 21.5 million)")
    parser.add_argument("--minutes", type=float, default=1e9, help="budget in minutes, where it ends first")
    parser.add_argument("--curriculum-tokens", type=float, default=3e6, help="tokens until full difficulty")
    parser.add_argument("--prompt-weight", type=float, default=0.2, help="loss weight of other text in the curriculum")
    parser.add_argument("--batch-tokens", type=int, default=4096, help="tokens a step, padding included")
    parser.add_argument("--optimizer", choices=("muon", "adamw"), default="muon", help="for the hidden matrices")
    parser.add_argument("--lr", type=float, default=4e-3, help="Muon's learning rate (scaled to AdamW's size)")
    parser.add_argument("--lr-embeddings", type=float, default=2e-3, help="AdamW's learning rate")
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--export-minutes", type=float, default=5.0, help="minutes between exports")
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoint")
    args = parser.parse_args(argv)
    if args.evaluate:
        evaluate(args.evaluate, args.tasks, args.show)
    else:
        pretrain(args)


if __name__ == "__main__":
    main()
