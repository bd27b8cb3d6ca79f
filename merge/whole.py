"""Merges with PEFT, the whole model in memory: for adapters whose arithmetic streaming does not know.

What PEFT merges wrongly is refused, and what it did is checked: every tensor of the adapter reached the model, only
weights with an adapter changed, and all are finite.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from merge.adapter import Source, lora_settings
from merge.engine import Applied
from merge.output import Partial, copy_beside, require_space
from merge.reference import load_reference
from toolwright.errors import ModelError
from toolwright.model import ADAPTER_WEIGHTS

SHARD_SIZE = "5GB"


def merge_whole(
    base: Path, sources: Sequence[Source], partial: Partial, *, dtype: str = "base", max_shard_size: int | None = None
) -> Applied:
    """Write the merged model to ``partial.path``.

    Raises:
        ModelError: not a LoRA adapter, made for another base, on tied embeddings, or a merge that is not finite or
            changes other weights than the adapter's.
        ArtifactError: the disk is too small.
    """
    for source in sources:
        lora_settings(source.directory)
    peft_model = load_reference(str(base), sources, dtype)
    where = sources[-1].directory
    if len(sources) > 1 and peft_model.dtype != torch.float32:
        raise ModelError(
            f"{where}: one of {len(sources)}, and PEFT rounds after each; merge them with --engine stream, or with "
            "--dtype float32"
        )
    _require_untied(peft_model, where)
    applied = [_require_loaded(peft_model, source.directory, name) for name, source in _named(peft_model, sources)]
    targets = _lora_layers(peft_model)
    before = _digests(peft_model)
    # Not safe_merge: it rounds the sum twice in bfloat16; that the result is finite is checked below.
    merged = peft_model.merge_and_unload(adapter_names=[name for name, _ in _named(peft_model, sources)])
    changed = _require_only(targets, before, merged, where)
    partial.drop()
    partial.open()
    require_space(partial, sum(tensor.nbytes for tensor in merged.state_dict().values()))
    merged.save_pretrained(partial.path, max_shard_size=max_shard_size or SHARD_SIZE)
    copy_beside(base, [source.directory for source in sources], partial.path)
    return Applied(
        engine="peft",
        adapters=tuple(
            {"directory": str(source.directory), "weight": source.weight, "tensors": tensors}
            for source, tensors in zip(sources, applied)
        ),
        adapter_tensors=sum(len(tensors) for tensors in applied),
        weights_changed=changed,
        dtypes=(str(merged.dtype).removeprefix("torch."),),
        config={},
    )


def _named(peft_model: Any, sources: Sequence[Source]) -> list[tuple[str, Source]]:
    return list(zip(peft_model.peft_config, sources, strict=True))


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


def _require_loaded(peft_model: Any, adapter: Path, name: str) -> dict[str, tuple[str, ...]]:
    """Every tensor of the file is in the model, with its value; gives their names with the layers they are in."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import load_file

    stored = load_file(adapter / ADAPTER_WEIGHTS)
    loaded = get_peft_model_state_dict(peft_model, adapter_name=name)
    for tensor_name, tensor in stored.items():
        if not torch.isfinite(tensor).all():
            raise ModelError(f"{adapter}: tensor {tensor_name} is not finite; the training broke")
        if not torch.equal(loaded[tensor_name].cpu().to(tensor.dtype), tensor):
            raise ModelError(f"{adapter}: tensor {tensor_name} did not reach the model unchanged")
    return {
        tensor_name: (tensor_name.removeprefix("base_model.model.").partition(".lora_")[0],) for tensor_name in stored
    }


def _lora_layers(peft_model: Any) -> set[str]:
    modules = peft_model.get_base_model().named_modules()
    return {_plain_name(name) for name, module in modules if name and hasattr(module, "merged_adapters")}


def _plain_name(name: str) -> str:
    return name.replace(".base_layer", "")


def _digests(peft_model: Any) -> dict[str, bytes]:
    weights = peft_model.get_base_model().state_dict()
    return {_plain_name(name): _digest(tensor) for name, tensor in weights.items() if ".lora_" not in name}


def _digest(tensor: torch.Tensor) -> bytes:
    data = tensor.detach().contiguous().cpu().view(-1).view(torch.uint8)
    return hashlib.blake2b(data.numpy().data, digest_size=16).digest()


def _require_only(targets: set[str], before: Mapping[str, bytes], merged: Any, adapter: Path) -> int:
    """The merged weights are finite, and only layers of the adapter changed; returns how many weights did."""
    after = merged.state_dict()
    if after.keys() != before.keys():
        odd = sorted(after.keys() ^ before.keys())[0]
        raise ModelError(f"{adapter}: merging did not leave the base's own weights behind ({odd}); use --engine stream")
    changed = {name for name, tensor in after.items() if _digest(tensor) != before[name]}
    for name in sorted(changed):
        if not torch.isfinite(after[name]).all():
            raise ModelError(f"{adapter}: merged weight {name} is not finite; the adapter is broken, train it anew")
        if name.rpartition(".")[0] not in targets:
            raise ModelError(f"{adapter}: merging changed {name}, which has no adapter; cannot be merged")
    return len(changed)
