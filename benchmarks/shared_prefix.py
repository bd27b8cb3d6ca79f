"""``python -m benchmarks.shared_prefix``: rows that begin alike, as one forest against rows apart, in one run.

Eight rows with a common prefix (system and tools), of whose own tokens half are trained; 2 and 2.75 times fewer tokens
when the prefix is computed once. A small Qwen3 (6 layers, 32k tokens) with LoRA on one CPU thread, forward and
backward. ``apart`` is the faster way to have the rows apart here: padded (they are equally long, so nothing is wasted)
or packed as documents; the ratio to each is printed, and the difference of the gradients.
"""

import argparse
from functools import partial

import numpy as np
import torch

from benchmarks.small import (
    VOCABULARY,
    difference,
    interleave,
    make_model,
    make_row,
    make_trainer,
    ratio,
    take_gradients,
)
from sft.batches import collate, collate_packs
from sft.encode import Encoded

SHAPES = {2.0: (800, 600), 2.75: (1600, 600)}
"""Redundancy for eight rows: tokens of the prefix, and tokens of each row after it."""


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for redundancy, (prefix, own) in SHAPES.items():
        compare(redundancy, make_rows(8, prefix, own), options.rounds)


def make_rows(count: int, prefix: int, own: int) -> list[Encoded]:
    """Rows with a common prefix; the second half of what follows is trained."""
    draw = np.random.default_rng(0)
    common = draw.integers(0, VOCABULARY, prefix)
    trained = np.arange(prefix + own) >= prefix + own // 2
    return [make_row(np.concatenate([common, draw.integers(0, VOCABULARY, own)]), trained) for _ in range(count)]


def compare(redundancy: float, rows: list[Encoded], rounds: int) -> None:
    """Print one line."""
    count = sum(row.trained for row in rows)
    models = {name: make_model() for name in ("padded", "documents", "shared_prefix")}
    batches = {
        "padded": collate(rows, 0),
        "documents": collate_packs([rows], "documents"),
        "shared_prefix": collate_packs([rows], "shared_prefix"),
    }
    trainers = {
        "padded": make_trainer(models["padded"], rows, "none"),
        "documents": make_trainer(models["documents"], rows, "documents"),
        "shared_prefix": make_trainer(models["shared_prefix"], rows, "shared_prefix"),
    }

    def step(name: str) -> list[torch.Tensor]:
        trainers[name].training_step(models[name], batches[name], count)
        return take_gradients(models[name])

    apart = difference(step("shared_prefix"), step("padded"))
    taken = interleave({name: partial(step, name) for name in models}, rounds)
    whole, shared = (batches[name]["input_ids"].numel() for name in ("documents", "shared_prefix"))
    print(
        f"{redundancy} x redundancy ({whole} tokens as {shared}): {ratio(taken, 'shared_prefix', 'padded')} of padded "
        f"rows, {ratio(taken, 'shared_prefix', 'documents')} of documents; gradients differ by {apart:.1e}",
        flush=True,
    )


if __name__ == "__main__":
    main()
