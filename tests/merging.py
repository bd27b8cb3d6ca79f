"""Adapters, models and runs for the tests of merge."""

from pathlib import Path
from typing import Any

import torch

from merge.adapter import Source
from merge.engine import Applied, merge
from merge.output import Partial
from merge.weights import read_weights
from toolwright.model import load_model, load_tokenizer

LORA = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}


def make_adapter(base: Path, adapter: Path, *, seed: int = 1, model: Any = None, **lora: Any) -> Path:
    """An adapter with random values on ``base``, as training leaves it, with a tokenizer and without a manifest."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    peft_model = get_peft_model(load_model(base) if model is None else model, LoraConfig(**(LORA | lora)))
    for parameter in peft_model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data + torch.randn_like(parameter) * 0.05
    peft_model.save_pretrained(str(adapter))
    if (base / "tokenizer.json").exists():
        load_tokenizer(base).save_pretrained(str(adapter))
    return adapter


def convert(base: Path, directory: Path, dtype: str, shard: str = "20KB") -> Path:
    """A copy of a model in another type and in several files."""
    load_model(base, dtype).save_pretrained(directory, max_shard_size=shard)
    load_tokenizer(base).save_pretrained(directory)
    return directory


def merged(base: Path, output: Path, *adapters: Path | Source, key: str = "test", **options: Any) -> Applied:
    """Merge into ``output``, without a run around it."""
    sources = [one if isinstance(one, Source) else Source(one) for one in adapters]
    partial = Partial(output, key)
    applied = merge(base, sources, partial, **options)
    partial.publish()
    return applied


def by_peft(base: Path, adapter: Path, output: Path) -> Path:
    """What PEFT makes of it: rounded once."""
    from peft import PeftModel

    PeftModel.from_pretrained(load_model(base), str(adapter)).merge_and_unload().save_pretrained(output)
    return output


def tensors_of(directory: Path) -> dict[str, torch.Tensor]:
    """All tensors of a model directory."""
    return {name: stored.read() for name, stored in read_weights(directory).tensors.items()}


def differing(one: Path, other: Path) -> dict[str, int]:
    """How many elements differ, by weight; a weight that only one has counts as -1."""
    left, right = tensors_of(one), tensors_of(other)
    odd = dict.fromkeys(left.keys() ^ right.keys(), -1)
    counts = {name: int((left[name] != right[name]).sum()) for name in left.keys() & right.keys()}
    return odd | {name: count for name, count in counts.items() if count}
