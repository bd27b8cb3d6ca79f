"""The model that is merged into: its configuration, and which of its weights are embeddings."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from merge.weights import Stored, Weights
from toolwright.errors import ModelError
from toolwright.words import shorten

HEADS = {"gpt_neox": "embed_out.weight"}
"""Weight of the layer that gives logits, where it is not ``lm_head.weight``, by model type."""


@dataclass(frozen=True)
class Base:
    """The model that is merged into."""

    directory: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, Stored]

    @property
    def tied(self) -> bool:
        """Whether input and output embeddings are the same weight.

        Where the configuration does not say, by whether the files hold both.
        """
        said = self.text_config.get("tie_word_embeddings", self.config.get("tie_word_embeddings"))
        return self.head not in self.tensors if said is None else bool(said)

    @property
    def text_config(self) -> Mapping[str, Any]:
        """The part of the configuration that is about text."""
        nested = self.config.get("text_config")
        return nested if isinstance(nested, Mapping) else self.config

    @property
    def head(self) -> str:
        """Name of the output embedding's weight."""
        return HEADS.get(str(self.config.get("model_type")), "lm_head.weight")

    def is_embedding(self, name: str) -> bool:
        """Whether a weight is the input or the output embedding."""
        stored = self.tensors.get(name)
        rows = self.text_config.get("vocab_size")
        return name == self.head or (stored is not None and len(stored.shape) == 2 and stored.shape[0] == rows)

    @property
    def embedding(self) -> str:
        """Name of the input embedding's weight.

        Raises:
            ModelError: none of the weights looks like one.
        """
        for name in self.tensors:
            if name != self.head and self.is_embedding(name):
                return name
        raise ModelError(f"{self.directory}: no embedding of vocab_size rows among its weights; use --engine peft")


def read_base(directory: Path, weights: Weights) -> Base:
    """The base, if adapters can be merged into it.

    Raises:
        ModelError: no readable ``config.json``, or the weights are quantised.
    """
    path = directory / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read ({error}); name a model directory") from None
    if not isinstance(config, dict):
        raise ModelError(f"{path}: expected an object, got {shorten(config)}; get the model anew")
    if (directory / "adapter_config.json").is_file():
        raise ModelError(
            f"{directory}: holds an adapter beside the model (adapter_config.json), which transformers would load with "
            "it; move the adapter to a directory of its own"
        )
    quantised = config.get("quantization_config")
    if quantised:
        how = quantised.get("quant_method", "quantised") if isinstance(quantised, Mapping) else "quantised"
        raise ModelError(
            f"{directory}: its weights are quantised ({how}), so a merge would round twice; name the 16-bit model that "
            "it was made from: --base DIR"
        )
    return Base(directory, config, weights.tensors)


def read_config(directory: Path) -> Any:
    """The configuration of a model that transformers has; code that a model brings along is not run.

    Raises:
        ModelError: none there, or of another kind.
    """
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(str(directory), trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError, StrictDataclassError) as error:
        reason = " ".join(str(error).split())
        if "custom code" in reason:
            reason = "it names code of its own (auto_map), which is not run"
        raise ModelError(f"{directory}: transformers cannot read its config.json: {reason[:200]}") from None
