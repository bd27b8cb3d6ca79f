"""Adapter directories as merge reads them: settings that it knows, and tensors by module and part.

A setting that streaming does not know is refused by name: what it would change in the arithmetic is not known here.
"""

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from merge.weights import DTYPES, Stored, read_shard
from toolwright.errors import ModelError
from toolwright.model import ADAPTER_WEIGHTS, adapter_settings
from toolwright.words import shorten

UNDERSTOOD = {
    "r", "lora_alpha", "use_rslora", "use_dora", "fan_in_fan_out", "rank_pattern", "alpha_pattern", "modules_to_save",
    "trainable_token_indices", "target_parameters", "bias", "lora_bias", "ensure_weight_tying", "init_lora_weights",
}  # fmt: skip
"""Settings that the arithmetic follows."""
WITHOUT_EFFECT = {
    "peft_type", "peft_version", "auto_mapping", "base_model_name_or_path", "revision", "task_type", "inference_mode",
    "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "lora_dropout", "megatron_core",
    "qalora_group_size", "runtime_config", "eva_config", "modules_to_tie",
}  # fmt: skip
"""Settings of training, or ones that the names of the tensors tell as well."""
_KINDS: dict[str, tuple[type, ...]] = {
    "use_rslora": (bool,), "use_dora": (bool,), "fan_in_fan_out": (bool,), "rank_pattern": (dict,),
    "alpha_pattern": (dict,), "modules_to_save": (list,), "target_parameters": (list,),
    "trainable_token_indices": (list, dict),
}  # fmt: skip
PEFT_IS_RIGHT = "PEFT merges it rightly: use --engine peft"
_PLAIN_STARTS = (True, False, "gaussian", "eva", "orthogonal")
_PREFIX = "base_model.model."
_PARTS = re.compile(
    r"(?P<module>.*)\.(?P<part>lora_A\.weight|lora_B\.weight|lora_B\.bias|lora_embedding_A|lora_embedding_B"
    r"|lora_magnitude_vector|token_adapter\.trainable_tokens_delta)(?:\.weight)?"
)
_TOKENS = "token_adapter.trainable_tokens_delta"
_CHECK_BYTES = 1 << 23


@dataclass(frozen=True)
class Source:
    """One adapter of those that are merged in a row, and the factor on what it adds."""

    directory: Path
    weight: float = 1.0


@dataclass(frozen=True)
class Adapter:
    """An adapter: its settings and its tensors.

    Attributes:
        parts: of each wrapped module (without ``.base_layer``, in the order of nesting) the tensors by part.
        values: tensors that take the place of the base's, by the base's name.
    """

    source: Source
    settings: Mapping[str, Any]
    parts: Mapping[str, Mapping[str, Stored]]
    values: Mapping[str, Stored]

    def rank_and_scale(self, module: str) -> tuple[int, float]:
        """Rank and factor of a module's update, as PEFT finds them."""
        rank = int(_of_pattern(self.settings, "rank_pattern", "r", module))
        alpha = float(_of_pattern(self.settings, "alpha_pattern", "lora_alpha", module))
        scale = alpha / math.sqrt(rank) if self.settings.get("use_rslora") else alpha / rank
        return rank, scale * self.source.weight

    def tensors(self) -> Iterator[Stored]:
        """All tensors."""
        for parts in self.parts.values():
            yield from parts.values()
        yield from self.values.values()


def _of_pattern(settings: Mapping[str, Any], patterns: str, default: str, module: str) -> Any:
    found: Mapping[str, Any] = settings.get(patterns) or {}
    return next((value for key, value in found.items() if re.match(rf"(.*\.)?({key})$", module)), settings[default])


def read_adapter(source: Source, *, alone: bool = True) -> Adapter:
    """An adapter that streaming can merge; ``alone``: no other is merged with it.

    Raises:
        ModelError: not a LoRA adapter, a setting that is not understood, a tensor that is not finite or cut short, or
            one that cannot be merged in a row with others.
    """
    directory = source.directory
    settings = lora_settings(directory)
    _check_settings(directory, settings)
    parts: dict[str, dict[str, Stored]] = {}
    values: dict[str, Stored] = {}
    for tensor in read_shard(directory / ADAPTER_WEIGHTS).tensors:
        _check_finite(directory, tensor)
        name = tensor.name.removeprefix(_PREFIX)
        matched = _PARTS.fullmatch(name)
        if matched:
            parts.setdefault(matched["module"], {})[matched["part"]] = tensor
        else:
            values[name.replace(".base_layer.", ".")] = tensor
    adapter = Adapter(source, settings, parts, values)
    _check_pairs(adapter)
    if not alone:
        _check_plain(adapter)
    if source.weight != 1:
        _check_weighted(adapter)
    return adapter


def lora_settings(directory: Path) -> Mapping[str, Any]:
    """The settings of a LoRA adapter that has weights.

    Raises:
        ModelError: of another kind, without weights, or with ranks or scales that are no numbers.
    """
    settings = adapter_settings(directory)
    kind = settings.get("peft_type")
    if kind != "LORA":
        raise ModelError(f"{directory}: peft_type is {shorten(kind)}; only LoRA adapters can be merged")
    if not (directory / ADAPTER_WEIGHTS).is_file():
        other = next((file.name for file in sorted(directory.glob("*.bin"))), None)
        hint = f"it has {other}, an old form: load it with PEFT and save it anew" if other else "train it anew"
        raise ModelError(f"{directory}: no {ADAPTER_WEIGHTS}; {hint}")
    _check_kinds(directory, settings)
    return settings


def _check_kinds(directory: Path, settings: Mapping[str, Any]) -> None:
    """Refuse values that the arithmetic cannot be done with."""
    for name, kinds in _KINDS.items():
        if not isinstance(value := settings.get(name), (*kinds, type(None))):
            raise _wrong_setting(directory, name, value, " or ".join(kind.__name__ for kind in kinds))
    tokens = settings.get("trainable_token_indices") or []
    for index in tokens if isinstance(tokens, list) else itertools.chain(*tokens.values()):
        if not isinstance(index, int):
            raise _wrong_setting(directory, "trainable_token_indices", tokens, "whole numbers")
    _check_scales(directory, settings)


def _check_scales(directory: Path, settings: Mapping[str, Any]) -> None:
    for pattern in (*(settings.get("rank_pattern") or ()), *(settings.get("alpha_pattern") or ())):
        try:
            re.compile(pattern)
        except re.error as error:
            raise _wrong_setting(directory, "a pattern", pattern, f"a regular expression ({error})") from None
    for rank in (settings.get("r"), *(settings.get("rank_pattern") or {}).values()):
        if not isinstance(rank, int) or rank < 1:
            raise _wrong_setting(directory, "a rank (r, rank_pattern)", rank, "a whole number above 0")
    for alpha in (settings.get("lora_alpha"), *(settings.get("alpha_pattern") or {}).values()):
        if not isinstance(alpha, int | float) or not math.isfinite(alpha):
            raise _wrong_setting(directory, "an alpha (lora_alpha, alpha_pattern)", alpha, "a number")


def _wrong_setting(directory: Path, name: str, value: object, expected: str) -> ModelError:
    where = directory / "adapter_config.json"
    return ModelError(f"{where}: {name} is {shorten(value)}, expected {expected}; take the file of the training anew")


def changes_base(settings: Mapping[str, Any]) -> bool:
    """Whether PEFT changes the base's own weights when it puts this adapter on (PiSSA, OLoRA and their like)."""
    return settings.get("init_lora_weights", True) not in _PLAIN_STARTS


def _check_settings(directory: Path, settings: Mapping[str, Any]) -> None:
    start = settings.get("init_lora_weights", True)
    if changes_base(settings):
        raise ModelError(
            f"{directory}: init_lora_weights {shorten(start)} changes the base as well; "
            + (PEFT_IS_RIGHT if str(start).startswith(("pissa", "olora")) else "save it as a plain LoRA adapter first")
        )
    for name, value in settings.items():
        if name not in UNDERSTOOD | WITHOUT_EFFECT and value not in (None, False, [], {}, ""):
            raise ModelError(
                f"{directory}: adapter_config.json has {name}: {shorten(value)}, which streaming does not know; "
                "try --engine peft, whose result is checked all the same"
            )


def _check_finite(directory: Path, tensor: Stored) -> None:
    if tensor.dtype not in DTYPES:
        raise ModelError(f"{directory}: tensor {tensor.name} is of type {tensor.dtype}; expected {', '.join(DTYPES)}")
    with tensor.file.open("rb") as stream:
        stream.seek(tensor.start)
        left = tensor.size
        while left:
            piece = bytearray(stream.read(min(left, _CHECK_BYTES)))
            left -= len(piece)
            if not torch.isfinite(torch.frombuffer(piece, dtype=DTYPES[tensor.dtype])).all():
                raise ModelError(
                    f"{directory}: tensor {tensor.name} holds values that are not finite (NaN or infinity); "
                    "the training broke: take an earlier checkpoint"
                )


def _check_pairs(adapter: Adapter) -> None:
    for module, parts in adapter.parts.items():
        for one, other in (("lora_A.weight", "lora_B.weight"), ("lora_embedding_A", "lora_embedding_B")):
            if (one in parts) != (other in parts):
                there, gone = (one, other) if one in parts else (other, one)
                raise ModelError(
                    f"{adapter.source.directory}: {module} has {there} and no {gone}; the file is incomplete: take "
                    "another checkpoint"
                )


def _check_weighted(adapter: Adapter) -> None:
    """A weight is a factor on what is added; a tensor that takes the place of the base's has no such factor."""
    tokens = (f"{module}.{part}" for module, parts in adapter.parts.items() for part in parts if part == _TOKENS)
    odd = next(iter(adapter.values), None) or next(tokens, None)
    if odd:
        raise ModelError(
            f"{adapter.source.directory}: has {odd}, which takes the place of the base's, so the weight "
            f"{adapter.source.weight:g} has no meaning for it; merge it without a weight"
        )


def _check_plain(adapter: Adapter) -> None:
    """Several adapters are summed; what is not a sum (DoRA's lengths, replaced tensors) has no meaning in a row."""
    odd = next(iter(adapter.values), None) or next(
        (f"{module}.{part}" for module, parts in adapter.parts.items() for part in parts if not _is_factor(part)), None
    )
    if odd:
        raise ModelError(
            f"{adapter.source.directory}: has {odd}, which cannot be merged in a row with other adapters; merge one, "
            "and train or merge the next on the result"
        )


def _is_factor(part: str) -> bool:
    return part in ("lora_A.weight", "lora_B.weight", "lora_embedding_A", "lora_embedding_B")
