"""Merges a LoRA adapter into its base model: PEFT's own arithmetic, one rounding, every tensor accounted for.

Reads a base model and an adapter directory; writes a standalone model directory whose tokenizer and chat template are
the adapter's, byte for byte.
"""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from toolwright.errors import ModelError
from toolwright.model import ADAPTER_WEIGHTS, adapter_settings, load_adapter, load_model

_ADAPTER_FILES = {"adapter_config.json", ADAPTER_WEIGHTS, "README.md", "training_args.bin"}


@dataclass(frozen=True)
class Applied:
    """What a merge did: tensors of the adapter, layers that took them up, weights that changed by it."""

    adapter_tensors: int
    layers: int
    weights_changed: int
    dtype: str


def merge(base: str, adapter: Path, output: Path, dtype: str = "base") -> Applied:
    """Write the merged model to the new directory ``output``.

    Raises:
        ModelError: not a LoRA adapter, made for another base, on tied embeddings, or a merge that is not finite or
            changes other weights than the adapter's.
    """
    _require_lora(adapter)
    model = load_model(base, dtype)
    peft_model = load_adapter(model, adapter, base)
    _require_untied(peft_model, adapter)
    stored = _require_loaded(peft_model, adapter)
    targets = _lora_layers(peft_model)
    before = _digests(peft_model)
    # Not safe_merge: it rounds the sum twice in bfloat16; that the result is finite is checked below.
    merged = peft_model.merge_and_unload()
    changed = _require_only(targets, before, merged, adapter)
    merged.save_pretrained(output, max_shard_size="5GB")
    copy_tokenizer(adapter, output)
    return Applied(stored, len(targets), changed, str(merged.dtype).removeprefix("torch."))


def copy_tokenizer(adapter: Path, output: Path) -> None:
    """Copy tokenizer and chat template; nothing of the base's may win over them."""
    for file in sorted(adapter.iterdir()):
        if file.is_file() and file.name not in _ADAPTER_FILES:
            shutil.copyfile(file, output / file.name)


def _require_lora(adapter: Path) -> None:
    settings = adapter_settings(adapter)
    if settings.get("peft_type") != "LORA":
        raise ModelError(f"{adapter}: a {settings.get('peft_type')} adapter; only LoRA adapters can be merged")


def _require_untied(peft_model: Any, adapter: Path) -> None:
    """With tied embeddings, PEFT merges into the one and leaves the other as it was, or changes both."""
    base = peft_model.get_base_model()
    if not base.config.get_text_config().tie_word_embeddings:
        return
    tied = {id(base.get_input_embeddings()), id(base.get_output_embeddings())}
    for name, module in base.named_modules():
        if id(module) in tied and any("lora_" in part for part, _ in module.named_modules()):
            raise ModelError(
                f"{adapter}: has LoRA on {name}, which the base model ties to another layer, so it cannot be merged; "
                "train without it (lora.target_modules=all-linear)"
            )


def _require_loaded(peft_model: Any, adapter: Path) -> int:
    """Every tensor of the file is in the model, with its value; returns their number."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import load_file

    stored, loaded = load_file(adapter / ADAPTER_WEIGHTS), get_peft_model_state_dict(peft_model)
    for name, tensor in stored.items():
        if not torch.equal(loaded[name].cpu().to(tensor.dtype), tensor):
            raise ModelError(f"{adapter}: tensor {name} did not reach the model unchanged")
    return len(stored)


def _lora_layers(peft_model: Any) -> set[str]:
    layers = {
        name for name, module in peft_model.get_base_model().named_modules() if hasattr(module, "merged_adapters")
    }
    return {name for name in layers if name}


def _plain_name(name: str) -> str:
    return name.replace(".base_layer.", ".")


def _digests(peft_model: Any) -> dict[str, bytes]:
    weights = peft_model.get_base_model().state_dict()
    return {_plain_name(name): _digest(tensor) for name, tensor in weights.items() if ".lora_" not in name}


def _digest(tensor: torch.Tensor) -> bytes:
    data = tensor.detach().contiguous().cpu().view(-1).view(torch.uint8)
    return hashlib.blake2b(data.numpy().data, digest_size=16).digest()


def _require_only(targets: set[str], before: dict[str, bytes], merged: Any, adapter: Path) -> int:
    """The merged weights are finite, and only layers of the adapter changed; returns how many weights did."""
    after = merged.state_dict()
    if after.keys() != before.keys():
        odd = sorted(after.keys() ^ before.keys())[0]
        raise ModelError(f"{adapter}: merging did not leave the base's own weights behind ({odd}); cannot be merged")
    changed = {name for name, tensor in after.items() if _digest(tensor) != before[name]}
    for name in sorted(changed):
        if not torch.isfinite(after[name]).all():
            raise ModelError(f"{adapter}: merged weight {name} is not finite; the adapter is broken, train it anew")
        if name.rpartition(".")[0] not in targets:
            raise ModelError(f"{adapter}: merging changed {name}, which has no adapter; cannot be merged")
    return len(changed)
