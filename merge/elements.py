"""Holds every weight of a merged model against what PEFT makes of the base's, one at a time, in float32.

Logits on a few prompts cannot show that one weight among billions is wrong; this does. Both models are read from their
files by transformers' own loading, and PEFT's own ``merge`` makes what is expected: none of our arithmetic is used.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from merge.layers import Store, Streamed, empty_model, own_weights

ROUNDINGS = 1.0
"""Distance that is forgiven, in last places of base and result together; PEFT rounds some variants twice."""
NOISE = 2.0**-16
"""And this share of the largest change of the weight: sums in float32 in another order."""
_FAR = 1e9


@dataclass(frozen=True)
class Elements:
    """How many elements were compared, and what was found.

    Attributes:
        weights: weights compared.
        changed: weights that the adapters change.
        elements: elements of all weights.
        wrong: elements further away than rounding explains.
        largest: how many times that distance the furthest element is away.
        first: the weight in which the first wrong element is; "" for none.
    """

    weights: int
    changed: int
    elements: int
    wrong: int
    largest: float
    first: str


def compare_elements(
    base: Path, merged: Path, adapt: Callable[[Any], Any], show: Callable[[int, int], None] = lambda done, of: None
) -> Elements:
    """Merge in float32, weight by weight, and compare with the files of ``merged``.

    Args:
        base: directory of the base model.
        merged: directory of the merged model.
        adapt: puts the adapters on an empty model.
        show: told how many of how many weights are done.

    Raises:
        ModelError: a weight is missing in one of the two, or has another shape than its configuration says.
    """
    model = empty_model(base)
    homes = own_weights(model)
    model = adapt(model).get_base_model()
    units = list(_units("", model, {id(tensor) for tensor in homes.values()}))
    ours, theirs = Store(base, units=units), Store(merged, units=units)
    streamed = Streamed(model, ours, homes)
    total = Elements(0, 0, 0, 0, 0.0, "")
    for index, unit in enumerate(units, start=1):
        total = _add_unit(total, streamed, theirs, unit)
        show(index, len(units))
    return total


def _units(path: str, module: nn.Module, homes: Collection[int]) -> Iterator[str]:
    """Modules with weights of their own; one with an adapter is a unit with all that is in it."""
    own = (*module._parameters.values(), *module._buffers.values())
    if _is_adapted(module) or any(id(tensor) in homes for tensor in own):
        yield path
    if not _is_adapted(module):
        for name, child in module.named_children():
            yield from _units(f"{path}.{name}".lstrip("."), child, homes)


def _is_adapted(module: nn.Module) -> bool:
    return hasattr(module, "unload_and_optionally_merge_module") or isinstance(module, BaseTunerLayer)


def _add_unit(total: Elements, streamed: Streamed, merged: Store, unit: str) -> Elements:
    before, actual = streamed.store.load(unit), merged.load(unit)
    kind = torch.finfo(merged.precision(unit))
    for name, expected in (before | _merge_unit(streamed, unit, before)).items():
        ratio = _distance(before.get(name), expected, actual.get(name), kind)
        bad = int((~(ratio <= 1)).sum())  # what is no number is wrong, too
        furthest = ratio.nan_to_num(nan=_FAR).max().item() if ratio.numel() else 0.0
        total = Elements(
            weights=total.weights + 1,
            changed=total.changed + (not _equal(before.get(name), expected)),
            elements=total.elements + expected.numel(),
            wrong=total.wrong + bad,
            largest=max(total.largest, round(min(furthest, _FAR), 3)),
            first=total.first or (name if bad else ""),
        )
    return total


def _equal(one: Tensor | None, other: Tensor) -> bool:
    return one is not None and one.shape == other.shape and torch.equal(one, other)


def _distance(before: Tensor | None, expected: Tensor, actual: Tensor | None, kind: torch.finfo) -> Tensor:
    """How far each element is away, in units of what is forgiven."""
    if actual is None or actual.shape != expected.shape:
        return torch.full_like(expected, torch.inf)
    if before is None or before.shape != expected.shape:
        before = expected
    change = (expected - before).abs().max() if expected.numel() else torch.zeros(())
    forgiven = (before.abs() + expected.abs()).mul_(kind.eps * ROUNDINGS).add_(change * NOISE)
    return (actual - expected).abs_().div_(forgiven.add_(kind.smallest_normal * kind.eps))  # float16 has few small ones


@torch.no_grad()
def _merge_unit(streamed: Streamed, unit: str, before: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the weights of a unit become when PEFT merges, by name; those without an adapter are left out."""
    module = streamed.model.get_submodule(unit)
    if not _is_adapted(module):
        return {}
    streamed.fill(unit, {name: tensor.clone() for name, tensor in before.items()})
    if hasattr(module, "unload_and_optionally_merge_module"):
        plain = module.unload_and_optionally_merge_module(merge=True, safe_merge=False, adapter_names=None)
    else:
        module.merge()
        plain = module.get_base_layer()
    merged = {f"{unit}.{name}": tensor.detach() for name, tensor in plain.named_parameters()}
    for part in module.modules():
        if isinstance(part, BaseTunerLayer) and hasattr(part, "merged_adapters"):
            part.merged_adapters.clear()
    streamed.drop(unit)
    return merged
