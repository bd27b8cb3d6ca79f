"""What a merged model is held against: base and adapters as PEFT runs them, and the tokenizer of training.

Reads a base model and adapter directories.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from merge.adapter import Source
from merge.layers import LayersError
from merge.output import local_base
from merge.weights import read_shard
from toolwright.artifacts import fingerprint
from toolwright.errors import ModelError
from toolwright.model import ADAPTER_WEIGHTS, load_adapter, load_model, model_source

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "chat_template.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
)
"""What decides how text becomes tokens, and messages text."""


def load_reference(base: str, sources: Sequence[Source], dtype: str = "base") -> Any:
    """The base in ``dtype`` with all adapters on it and active; a weight is a factor on PEFT's scaling.

    Raises:
        ModelError: one of them cannot be loaded, was made for another base, or has tensors without a place.
    """
    model = load_model(base, dtype)
    rows = _vocabulary(model, sources)
    if rows is not None:
        model.resize_token_embeddings(rows, mean_resizing=False)  # the adapter brings all rows along
    return apply_sources(model, base, sources)


def apply_sources(model: Any, base: str, sources: Sequence[Source], *, empty: bool = False) -> Any:
    """``model`` with all adapters on it, as ``load_reference``; ``empty``: it has no weights (``layers.empty_model``).

    Raises:
        ModelError: as ``load_reference``.
    """
    if empty and _vocabulary(model, sources) is not None:
        raise LayersError(f"{sources[0].directory}: was trained with another size of vocabulary than the base's")
    names = ["default", *(f"adapter_{index}" for index in range(1, len(sources)))]
    for name, source in zip(names, sources, strict=True):
        model = load_adapter(model, source.directory, base, name=name, low_cpu_mem_usage=empty)
        if empty:
            _load_again(model, name, source)
        if source.weight != 1:
            _scale(model, name, source)
    if len(names) > 1:
        model.base_model.set_adapter(names)
    return model.eval().requires_grad_(False)


def _vocabulary(model: Any, sources: Sequence[Source]) -> int | None:
    """Rows of the embedding that an adapter brings along, if they are not as many as the base has."""
    embedding = model.get_input_embeddings()
    name = next(name for name, module in model.named_modules() if module is embedding)
    for path in (source.directory / ADAPTER_WEIGHTS for source in sources):
        for tensor in read_shard(path).tensors if path.is_file() else ():
            whole = tensor.name.removeprefix("base_model.model.").replace(".base_layer", "") == f"{name}.weight"
            if whole and tensor.shape[0] != embedding.weight.shape[0]:
                return tensor.shape[0]
    return None


def _load_again(model: Any, name: str, source: Source) -> None:
    """Without room for the base, PEFT rounds what is on an embedding to the type of the copy that the adapter holds."""
    from peft import set_peft_model_state_dict
    from peft.utils import load_peft_weights

    set_peft_model_state_dict(model, load_peft_weights(str(source.directory), device="cpu"), adapter_name=name)


def _scale(model: Any, name: str, source: Source) -> None:
    scaled = [
        module
        for module in model.modules()
        if isinstance(own := getattr(module, "scaling", None), dict) and name in own
    ]
    if not scaled:
        raise ModelError(f"{source.directory}: no LoRA layer that a weight ({source.weight}) could act on")
    for module in scaled:
        module.scaling[name] *= source.weight


def tokenizer_home(base: str, sources: Sequence[Source]) -> Path:
    """Where the tokenizer is that the last adapter was trained with: with the adapter, or else with the base.

    Raises:
        ModelError: the base is neither a directory nor to be had from the hub.
    """
    for source in reversed(sources):
        if (source.directory / "tokenizer_config.json").is_file():
            return source.directory
    return local_base(model_source(base))


def tokenizer_hashes(home: Path, merged: Path) -> dict[str, dict[str, str]]:
    """SHA-256 of the files of tokenizer and chat template that either directory has, by name and side."""
    sides = {"trained": home, "merged": merged}
    present = [name for name in TOKENIZER_FILES if any((path / name).is_file() for path in sides.values())]
    return {
        name: {side: fingerprint(path / name) if (path / name).is_file() else "absent" for side, path in sides.items()}
        for name in present
    }
