"""Which weights of a base model a merge changes, and how: every tensor of every adapter has exactly one place, or none.

Reads headers only; nothing is written before a plan is whole.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from merge.adapter import PEFT_IS_RIGHT, Adapter
from merge.base import Base
from merge.deltas import AddVector, LowRank, Replace, ReplaceRows, Step
from merge.experts import find_expert_weights
from merge.weights import DTYPES, Stored, same_bytes
from toolwright.errors import ModelError


@dataclass(frozen=True)
class Edit:
    """A step on some rows of a weight (as a matrix), or on all of them."""

    step: Step
    rows: tuple[int, int] | None = None


@dataclass
class Plan:
    """What is to be written.

    Attributes:
        edits: the steps on each weight, by its name, in order.
        shapes: weights that are new or get another shape.
        added: new weights, with the weight of the base that they begin as.
        config: keys of ``config.json`` that change.
        applied: of each adapter, each tensor and the weights that it went into.
        still_tied: embeddings that are one weight were changed alike.
    """

    edits: dict[str, list[Edit]] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    added: dict[str, Stored] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    applied: list[dict[str, tuple[str, ...]]] = field(default_factory=list)
    still_tied: bool = False


def make_plan(base: Base, adapters: Sequence[Adapter]) -> Plan:
    """Find the place of every tensor of every adapter.

    Raises:
        ModelError: a tensor without a place or of another shape, LoRA on tied embeddings, or nothing to merge.
    """
    plan = Plan()
    for adapter in adapters:
        applied = _place_tied(plan, base, adapter)
        for name, value in adapter.values.items():
            if value.name not in applied:
                applied[value.name] = _place_value(plan, base, adapter, name, value)
        for module, parts in adapter.parts.items():
            for part, into in _place_parts(plan, base, adapter, module, parts).items():
                applied[parts[part].name] = into
        missing = [tensor.name for tensor in adapter.tensors() if not applied.get(tensor.name)]
        if missing or not applied:
            what = f"{len(missing)} tensors have no place, first {missing[0]}" if missing else "it holds no tensors"
            raise ModelError(f"{adapter.source.directory}: does not fit {base.directory}: {what}")
        plan.applied.append(applied)
    _untie(plan, base)
    return plan


def _add(plan: Plan, name: str, step: Step, rows: tuple[int, int] | None = None) -> tuple[str, ...]:
    plan.edits.setdefault(name, []).append(Edit(step, rows))
    return (name,)


def _place_tied(plan: Plan, base: Base, adapter: Adapter) -> dict[str, tuple[str, ...]]:
    """An adapter that holds both embeddings with the same values: they are still one weight, which is written once."""
    head = adapter.values.get(base.head)
    if head is None or not base.tied or base.head in base.tensors:
        return {}
    value = adapter.values.get(base.embedding)
    if value is None or not same_bytes(value, head):
        return {}
    plan.still_tied = True
    return {head.name: (base.embedding,)}


def _place_value(plan: Plan, base: Base, adapter: Adapter, name: str, value: Stored) -> tuple[str, ...]:
    """A tensor that takes the place of the base's: modules_to_save, biases, embeddings of a resized vocabulary."""
    stored = base.tensors.get(name)
    if stored is None and not (base.tied and name == base.head):
        raise _no_place(base, adapter, value)
    expected = stored.shape if stored is not None else base.tensors[base.embedding].shape
    if value.shape != expected:
        if not (base.is_embedding(name) and len(value.shape) == 2 and value.shape[1:] == expected[1:]):
            raise _wrong_shape(base, adapter, value, name, expected)
        vocabulary = plan.config.setdefault("vocab_size", value.shape[0])
        if vocabulary != value.shape[0]:
            raise _wrong_shape(base, adapter, value, name, (vocabulary, *expected[1:]))
        plan.shapes[name] = value.shape
    if stored is None:
        plan.shapes[name], plan.added[name] = value.shape, base.tensors[base.embedding]
    return _add(plan, name, Replace(value))


def _place_parts(
    plan: Plan, base: Base, adapter: Adapter, module: str, parts: Mapping[str, Stored]
) -> dict[str, tuple[str, ...]]:
    """The tensors of one wrapped module; gives the weights that each went into."""
    placed: dict[str, tuple[str, ...]] = {}
    plain = module.replace(".base_layer", "")
    if "token_adapter.trainable_tokens_delta" in parts:
        tokens = parts["token_adapter.trainable_tokens_delta"]
        placed["token_adapter.trainable_tokens_delta"] = _place_tokens(plan, base, adapter, plain, tokens)
    if "lora_A.weight" in parts and "lora_B.weight" in parts:
        if f"{plain}.weight" in base.tensors or (base.tied and f"{plain}.weight" == base.head):
            placed |= _place_linear(plan, base, adapter, plain, parts)
        else:
            placed |= _place_experts(plan, base, adapter, plain, parts)
    if "lora_embedding_A" in parts and "lora_embedding_B" in parts:
        placed |= _place_embedding(plan, base, adapter, plain, parts)
    return placed


def _target(base: Base, adapter: Adapter, name: str, tensor: Stored) -> Stored:
    """The weight that LoRA is added to."""
    if base.tied and base.is_embedding(name):
        raise ModelError(
            f"{adapter.source.directory}: has LoRA on {name.removesuffix('.weight')}, which the base ties to its other "
            "embedding: what was trained was one of them, a merge would change both; train without it "
            "(lora.target_modules=all-linear), or untie the base first"
        )
    stored = base.tensors.get(name)
    if stored is None:
        raise _no_place(base, adapter, tensor)
    if stored.dtype not in DTYPES or len(stored.shape) != 2:
        raise ModelError(
            f"{adapter.source.directory}: {name} is {stored.dtype} {list(stored.shape)}; streaming merges into float "
            f"matrices; {PEFT_IS_RIGHT}"
        )
    return stored


def _place_linear(
    plan: Plan, base: Base, adapter: Adapter, module: str, parts: Mapping[str, Stored]
) -> dict[str, tuple[str, ...]]:
    name, down, up = f"{module}.weight", parts["lora_A.weight"], parts["lora_B.weight"]
    stored = _target(base, adapter, name, down)
    flipped = bool(adapter.settings.get("fan_in_fan_out"))
    rank, scale = adapter.rank_and_scale(module)
    fan_out, fan_in = stored.shape[::-1] if flipped else stored.shape
    _require_shape(base, adapter, down, name, (rank, fan_in))
    _require_shape(base, adapter, up, name, (fan_out, rank))
    magnitude = parts.get("lora_magnitude_vector")
    if magnitude is not None:
        _require_shape(base, adapter, magnitude, name, (fan_out,))
    into = _add(plan, name, LowRank(down, up, scale, flipped, magnitude=magnitude, columns=flipped and bool(magnitude)))
    placed = dict.fromkeys(("lora_A.weight", "lora_B.weight", "lora_magnitude_vector") & parts.keys(), into)
    if "lora_B.bias" in parts:
        bias = f"{module}.bias"
        if bias not in base.tensors:
            raise _no_place(base, adapter, parts["lora_B.bias"])
        _require_shape(base, adapter, parts["lora_B.bias"], bias, base.tensors[bias].shape)
        placed["lora_B.bias"] = _add(plan, bias, AddVector(parts["lora_B.bias"], scale))
    return placed


def _place_embedding(
    plan: Plan, base: Base, adapter: Adapter, module: str, parts: Mapping[str, Stored]
) -> dict[str, tuple[str, ...]]:
    name, down, up = f"{module}.weight", parts["lora_embedding_A"], parts["lora_embedding_B"]
    rows, width = plan.shapes.get(name, _target(base, adapter, name, down).shape)
    rank, scale = adapter.rank_and_scale(module)
    _require_shape(base, adapter, down, name, (rank, rows))
    _require_shape(base, adapter, up, name, (width, rank))
    magnitude = parts.get("lora_magnitude_vector")
    if magnitude is not None:
        _require_shape(base, adapter, magnitude, name, (width,))
    into = _add(plan, name, LowRank(down, up, scale, True, magnitude=magnitude, columns=magnitude is not None))
    return dict.fromkeys(("lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector") & parts.keys(), into)


def _place_experts(
    plan: Plan, base: Base, adapter: Adapter, module: str, parts: Mapping[str, Stored]
) -> dict[str, tuple[str, ...]]:
    """LoRA on a parameter (``target_parameters``), such as the weights of all experts of a layer."""
    down, up = parts["lora_A.weight"], parts["lora_B.weight"]
    found = find_expert_weights(base.tensors, module, down.shape, up.shape)
    if found is None:
        raise _no_place(base, adapter, down)
    rank, scale = adapter.rank_and_scale(f"{module}.{found.parameter}")
    if down.shape[0] != rank * found.experts:
        raise _wrong_shape(base, adapter, down, f"{module}.{found.parameter}", (rank * found.experts, down.shape[1]))
    into: tuple[str, ...] = ()
    for piece in found.pieces:
        step = LowRank(down, up, scale, found.transposed, (piece.expert, found.experts), piece.rows)
        into += _add(plan, piece.name, step, piece.place)
    return {"lora_A.weight": tuple(dict.fromkeys(into)), "lora_B.weight": tuple(dict.fromkeys(into))}


def _place_tokens(plan: Plan, base: Base, adapter: Adapter, module: str, values: Stored) -> tuple[str, ...]:
    """Trained rows of an embedding; where both embeddings are one weight, they are trained as one."""
    name = f"{module}.weight"
    stored = base.tensors.get(name)
    if stored is None:
        raise _no_place(base, adapter, values)
    said = adapter.settings.get("trainable_token_indices") or []
    if isinstance(said, Mapping):
        said = next((rows for key, rows in said.items() if module == key or module.endswith(f".{key}")), [])
    indices = tuple(said)
    _require_shape(base, adapter, values, name, (len(indices), stored.shape[1]))
    outside = next((index for index in indices if not 0 <= index < stored.shape[0]), None)
    if outside is not None:
        raise ModelError(f"{adapter.source.directory}: trains token {outside}, the base has {stored.shape[0]}")
    names = {name, base.head} if base.tied and base.is_embedding(name) and base.head in base.tensors else {name}
    for each in sorted(names):
        _add(plan, each, ReplaceRows(indices, values))
    return tuple(sorted(names))


def _untie(plan: Plan, base: Base) -> None:
    """Embeddings that were one weight and no longer are: write both, and say so in the configuration."""
    replaced = {name for name, edits in plan.edits.items() if any(isinstance(edit.step, Replace) for edit in edits)}
    if not base.tied or plan.still_tied or not any(base.is_embedding(name) for name in replaced):
        return
    if base.head not in base.tensors and base.head not in plan.added:
        if "vocab_size" in plan.config:  # one of two was saved, because they are one
            return
        plan.added[base.head] = base.tensors[base.embedding]
        plan.shapes[base.head] = base.tensors[base.embedding].shape
    plan.config["tie_word_embeddings"] = False


def _require_shape(base: Base, adapter: Adapter, tensor: Stored, name: str, expected: tuple[int, ...]) -> None:
    if tensor.shape != expected:
        raise _wrong_shape(base, adapter, tensor, name, expected)


def _wrong_shape(base: Base, adapter: Adapter, tensor: Stored, name: str, expected: Sequence[int]) -> ModelError:
    return ModelError(
        f"{adapter.source.directory}: tensor {tensor.name} is {list(tensor.shape)}, expected {list(expected)} for "
        f"{name} of {base.directory}; name the base that the adapter was trained on: --base DIR"
    )


def _no_place(base: Base, adapter: Adapter, tensor: Stored) -> ModelError:
    return ModelError(
        f"{adapter.source.directory}: tensor {tensor.name} has no place in {base.directory}; name the base that the "
        "adapter was trained on (--base DIR), or, if it is this one and its files name their weights otherwise than "
        "the running model does, use --engine peft"
    )
