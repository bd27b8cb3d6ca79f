"""What training leaves behind: an adapter that fits the base as it is, or a whole model; each in one piece.

Reads what the trainer saved; writes ``sft/adapter/`` or ``sft/model/``.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from sft.assemble import mutates_base
from toolwright.artifacts import replacing, write_text
from toolwright.model import ADAPTER_WEIGHTS, DTYPES

Weights = Mapping[str, torch.Tensor]
_FORMAT = {"format": "pt"}
_INDEX = "model.safetensors.index.json"


def initial_weights(model: Any) -> Weights:
    """What an adapter took out of the base at the start, float32; nothing where it left the base alone."""
    from peft import get_peft_model_state_dict

    if not hasattr(model, "peft_config") or not mutates_base(model.peft_config["default"]):
        return {}
    return {name: tensor.detach().float().cpu().clone() for name, tensor in get_peft_model_state_dict(model).items()}


def save_adapter(saved: Path, adapter: Path, tokenizer: Any, initial: Weights) -> None:
    """Adapter weights in float32, its configuration, tokenizer and chat template.

    With ``initial`` weights A0, B0 the base lost B0 A0; the adapter of twice the rank [A; A0], [B, -B0] does to the
    base as it is what the trained one does to the reduced base.
    """
    weights = {name: tensor.float() for name, tensor in load_file(saved / ADAPTER_WEIGHTS).items()}
    settings = json.loads((saved / "adapter_config.json").read_text(encoding="utf-8"))
    if initial:
        weights = {name: _with_initial(name, tensor, initial) for name, tensor in weights.items()}
        settings["r"] *= 2
        settings["lora_alpha"] *= math.sqrt(2) if settings.get("use_rslora") else 2
    settings["init_lora_weights"] = True  # how it began would change the base once more when it is loaded
    with replacing(adapter) as directory:
        directory.mkdir()
        contiguous = {name: tensor.contiguous() for name, tensor in weights.items()}
        save_file(contiguous, directory / ADAPTER_WEIGHTS, metadata=_FORMAT)
        write_text(directory / "adapter_config.json", json.dumps(settings, indent=2, sort_keys=True) + "\n")
        tokenizer.save_pretrained(directory)


def _with_initial(name: str, tensor: torch.Tensor, initial: Weights) -> torch.Tensor:
    if "lora_A" in name:
        return torch.cat([tensor, initial[name]], dim=0)
    if "lora_B" in name:
        return torch.cat([tensor, -initial[name]], dim=1)
    return tensor


def save_model(saved: Path, target: Path, tokenizer: Any, dtype: str) -> None:
    """The whole model with weights in ``dtype``, its tokenizer and chat template; one shard in memory at a time."""
    with replacing(target) as directory:
        directory.mkdir()
        size = 0
        for shard in sorted(saved.glob("*.safetensors")):
            weights = {name: _cast(tensor, dtype) for name, tensor in load_file(shard).items()}
            size += sum(tensor.numel() * tensor.element_size() for tensor in weights.values())
            save_file(weights, directory / shard.name, metadata=_FORMAT)
        for name, change in (
            ("config.json", {"dtype": dtype}),
            ("generation_config.json", {}),
            (_INDEX, {"metadata": {"total_size": size}}),
        ):
            if (saved / name).exists():
                content = json.loads((saved / name).read_text(encoding="utf-8")) | change
                write_text(directory / name, json.dumps(content, indent=2) + "\n")
        tokenizer.save_pretrained(directory)


def _cast(tensor: torch.Tensor, dtype: str) -> torch.Tensor:
    return tensor.to(DTYPES[dtype]).contiguous() if tensor.is_floating_point() else tensor
