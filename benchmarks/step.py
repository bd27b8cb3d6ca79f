"""``python -m benchmarks.step``: our training step against a bare PyTorch loop and TRL's, on the same rows and model.

A small Qwen3 (6 layers, 32k tokens) with LoRA on one CPU thread; eight rows, a fifth of their tokens trained; forward
and backward, no optimizer. The bare loop pads the rows and runs the head on trained positions only. Steps are
interleaved in each round; medians of their ratios. On a GPU TRL runs the head on trained positions too: do not carry
this over.
"""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

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


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = make_rows()
    padded, packed = collate(rows, 0), collate_packs([rows], "documents")
    count = sum(row.trained for row in rows)
    plain_model, packed_model, bare_model, trl_model = (make_model() for _ in range(4))
    ours, forest = make_trainer(plain_model, rows, "none"), make_trainer(packed_model, rows, "documents")
    trl = make_trl(trl_model)
    mask = (torch.arange(padded["input_ids"].shape[1])[None] < padded["lengths"][:, None]).long()
    inputs = {"input_ids": padded["input_ids"], "attention_mask": mask, "labels": padded["labels"]}
    models = {"bare": bare_model, "ours": plain_model, "packed": packed_model, "trl": trl_model}
    steps: dict[str, Callable[[], Any]] = {
        "bare": lambda: bare_step(bare_model, padded),
        "ours": lambda: ours.training_step(plain_model, padded, count),
        "packed": lambda: forest.training_step(packed_model, packed, count),
        "trl": lambda: trl.training_step(trl_model, dict(inputs), count),
    }
    found = {}
    for name, step in steps.items():
        step()
        found[name] = take_gradients(models[name])
    apart = {name: difference(found[name], found["bare"]) for name in found}
    taken = interleave(steps, options.rounds)
    tokens = sum(len(row.input_ids) for row in rows)
    print(f"{tokens} tokens, {count} trained, {padded['input_ids'].numel()} with padding; {options.rounds} rounds")
    for name, words in (("ours", "our step, padded"), ("packed", "our step, packed"), ("trl", "TRL's step, padded")):
        print(f"{words:20} {ratio(taken, name, 'bare')} of the bare loop; gradients differ by {apart[name]:.1e}")
    print(f"{'TRL over ours':20} {ratio(taken, 'trl', 'ours')}, packed {ratio(taken, 'trl', 'packed')}")


def make_rows(count: int = 8) -> list[Encoded]:
    """Rows of 200 to 600 tokens whose last fifth is trained."""
    draw = np.random.default_rng(0)
    rows = []
    for length in draw.integers(200, 600, count):
        ids = draw.integers(0, VOCABULARY, length)
        rows.append(make_row(ids, np.arange(length) >= 0.8 * length))
    return rows


def bare_step(model: Any, batch: dict[str, torch.Tensor]) -> Any:
    """Forward and backward as one writes them by hand; gives the loss."""
    base = model.get_base_model()
    targets = batch["labels"][:, 1:]
    trained = targets != -100
    hidden = base.model(input_ids=batch["input_ids"], use_cache=False).last_hidden_state[:, :-1][trained]
    loss: Any = torch.nn.functional.cross_entropy(base.lm_head(hidden).float(), targets[trained])
    loss.backward()
    return loss


def make_trl(model: Any) -> Any:
    """TRL's trainer around ``model``, in float32 and without gradient checkpointing, as ours is here."""
    import tempfile

    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    arguments = SFTConfig(
        output_dir=tempfile.mkdtemp(),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        max_length=None,
        report_to="none",
        disable_tqdm=True,
    )
    data = Dataset.from_dict({"input_ids": [[1, 2, 3]], "labels": [[1, 2, 3]]})
    trainer = SFTTrainer(model, arguments, train_dataset=data, processing_class=make_tokenizer())
    trainer.create_optimizer()
    return trainer


def make_tokenizer(words: Sequence[str] = ("<pad>", "<eos>")) -> Any:
    """TRL wants one, and never uses it here."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    engine = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token=words[0]))
    return PreTrainedTokenizerFast(tokenizer_object=engine, pad_token=words[0], eos_token=words[1])


if __name__ == "__main__":
    main()
