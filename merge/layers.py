"""Runs a model that is larger than memory: the weights of a layer are read when it is about to run, and dropped after.

The model is transformers' own, on the meta device, and runs its own forward pass; hooks on its layers fill and empty
them, so nothing here knows an architecture. Files are read by the very function with which transformers loads a model,
so names that it changes and experts that it stacks come out as there. Computes in float32.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from merge.base import read_config
from merge.weights import Stored, read_weights
from toolwright.errors import ModelError

_INSTEAD = "compare the whole models instead: merge.parity=logits"
_PRECISION = {"BF16": torch.bfloat16, "F16": torch.float16}


class LayersError(ModelError):
    """A model that cannot be read layer by layer; it may well be compared whole."""

    def __init__(self, message: str) -> None:
        super().__init__(f"{message}; {_INSTEAD}")


class _Lazy:
    """A stored tensor that is read when transformers asks for its values."""

    def __init__(self, stored: Stored) -> None:
        self.stored = stored

    def __getitem__(self, _: Any) -> Tensor:
        return self.stored.read()


def empty_model(directory: Path) -> Any:
    """The causal language model of a directory without weights; its other tensors are real.

    In a weight's place is one number that looks like it (all strides 0): PEFT would put the adapters of a model on the
    meta device there as well. It is no number, so that nothing goes unnoticed that uses it. Weights that are tied have
    a place each.

    Raises:
        ModelError: no configuration there, of a kind that transformers does not have, or of quantised weights.
    """
    model = _meta_model(directory)
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                module._parameters[name] = nn.Parameter(torch.tensor(torch.nan).expand(weight.shape), False)
    return model.eval()


def _meta_model(directory: Path) -> Any:
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM

    config = read_config(directory)
    if getattr(config, "quantization_config", None) is not None:
        raise LayersError(f"{directory}: its weights are quantised, which cannot be read layer by layer")
    try:
        with init_empty_weights(include_buffers=False):
            return AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(f"{directory}: the model cannot be built: {' '.join(str(error).split())[:200]}") from None


def units_of(model: nn.Module) -> list[str]:
    """Names of the modules that are filled at once: each layer, and what stands beside the layers.

    A module around layers is one too, for the weights that are its own (its name may be "").
    """
    return list(_units("", model))


def _units(name: str, module: nn.Module) -> Iterator[str]:
    holds_layers = any(isinstance(part, nn.ModuleList) for part in module.modules())
    yield name
    if isinstance(module, nn.ModuleList):
        yield from (f"{name}.{index}" for index in range(len(module)))
    elif holds_layers:
        for child, part in module.named_children():
            yield from _units(f"{name}.{child}".lstrip("."), part)


class Store:
    """The weights of a model directory under the names that the running model has for them.

    Args:
        directory: holds the model's configuration and safetensors files.
        device: where the weights are put.
        units: modules whose weights are loaded together; none: ``units_of`` the model.
    """

    def __init__(self, directory: Path, device: str = "cpu", units: Sequence[str] | None = None) -> None:
        self.directory = directory
        self.device = device
        self.stored = read_weights(directory).tensors
        self._twin = _meta_model(directory)  # transformers loads into it; its weights are taken out at once
        self.units = list(units_of(self._twin) if units is None else units)
        self.names: dict[str, list[str]] = {unit: [] for unit in self.units}
        for name, _ in self._twin.named_parameters(remove_duplicate=False):
            self.names[self.unit_of(name)].append(name)
        self._transforms: list[Any] = []
        self._keys: dict[str, list[str]] = {unit: [] for unit in self.units}  # names in the files
        self._renamed: dict[str, str] = {}  # names in the files that only change to these
        self._assign()

    @property
    def parameters(self) -> int:
        """Weights of the model; tied ones count once."""
        return sum(weight.numel() for weight in self._twin.parameters())

    def unit_of(self, name: str) -> str:
        """The unit that a weight is in."""
        while name and name not in self.names:
            name = name.rpartition(".")[0]
        return name

    def _assign(self) -> None:
        """Find out how transformers renames and converts for this architecture, and which tensors a unit needs."""
        try:
            from transformers.conversion_mapping import get_model_conversion_mapping
            from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key
        except ImportError as error:
            raise LayersError(f"this version of transformers loads models in another way ({error})") from None
        self._transforms = list(get_model_conversion_mapping(self._twin) or ())
        renamings = [each for each in self._transforms if isinstance(each, WeightRenaming)]
        converters = [each for each in self._transforms if isinstance(each, WeightConverter)]
        prefix, known = self._twin.base_model_prefix, self._twin.state_dict()
        for key in self.stored:
            name, pattern = rename_source_key(key, renamings, converters, prefix, known)
            if name not in known and key in known:
                name, pattern = key, None
            if name in known:
                self._keys[self.unit_of(name)].append(key)
                if pattern is None:
                    self._renamed[key] = name

    def precision(self, unit: str) -> torch.dtype:
        """The coarsest type in which a weight of a unit is stored."""
        kinds = {self.stored[key].dtype for name in self._providers(unit) for key in self._keys[name]}
        return next((dtype for kind, dtype in _PRECISION.items() if kind in kinds), torch.float32)

    def _providers(self, unit: str) -> set[str]:
        """The unit, and those of weights that it shares and the files hold elsewhere."""
        partners = {partner for name in self.names[unit] for partner in self._partners(name)}
        return {unit, *(self.unit_of(partner) for partner in partners)}

    def _partners(self, name: str) -> list[str]:
        """Names of the weights that are the same as ``name``."""
        ties: Mapping[str, str] = getattr(self._twin, "all_tied_weights_keys", None) or {}
        root = ties.get(name, name)
        return [other for other in (root, *(key for key, value in ties.items() if value == root)) if other != name]

    def load(self, unit: str) -> dict[str, Tensor]:
        """The weights of a unit by name, in float32.

        Raises:
            ModelError: one is missing, or has another shape than the configuration says.
        """
        found = self._read(unit)
        for name in self.names[unit]:
            if name not in found:
                others = (self._read(self.unit_of(other)).get(other) for other in self._partners(name))
                tensor = next((other for other in others if other is not None), None)
                if tensor is None:
                    raise ModelError(f"{self.directory}: the weight {name} is missing")
                found[name] = tensor
        return found

    def _read(self, unit: str) -> dict[str, Tensor]:
        """What the files hold of a unit."""
        found: dict[str, Tensor] = {}
        for key in self._keys[unit]:
            if (name := self._renamed.get(key)) is not None:
                found[name] = self.stored[key].read().to(self.device, torch.float32)
        converted = [key for key in self._keys[unit] if key not in self._renamed]
        if converted:
            found |= self._convert(unit, converted)
        for name, tensor in found.items():
            if tensor.shape != (expected := self._twin.get_parameter_or_buffer(name).shape):
                raise ModelError(
                    f"{self.directory}: the weight {name} is {list(tensor.shape)}, by config.json it should be "
                    f"{list(expected)}; get the model anew"
                )
        return found

    def _convert(self, unit: str, keys: Sequence[str]) -> dict[str, Tensor]:
        """Tensors that transformers makes of several, by way of the twin."""
        from transformers.core_model_loading import convert_and_load_state_dict_in_model
        from transformers.modeling_utils import LoadStateDictConfig

        state = {key: _Lazy(self.stored[key]) for key in keys}
        config = LoadStateDictConfig(
            dtype=torch.float32, device_map={"": self.device}, weight_mapping=list(self._transforms)
        )
        info, _ = convert_and_load_state_dict_in_model(self._twin, state, config)
        wrong = sorted(map(str, (*info.mismatched_keys, *info.conversion_errors)))
        if wrong:
            raise ModelError(f"{self.directory}: {wrong[0]}: of another shape than config.json says; get it anew")
        return dict(self._take(unit))

    def _take(self, unit: str) -> Iterator[tuple[str, Tensor]]:
        """Take out of the twin what was put in."""
        for name in self.names[unit]:
            path, _, attribute = name.rpartition(".")
            weights = self._twin.get_submodule(path)._parameters
            tensor = weights[attribute]
            if not tensor.is_meta:
                yield name, tensor.detach()
                weights[attribute] = nn.Parameter(tensor.to("meta"), requires_grad=False)


class Streamed:
    """Fills the units of an empty ``model`` from a ``store`` when they run; the model may have adapters on it.

    ``homes`` are the model's weights by their names in the store, taken before adapters were put on (``own_weights``).
    ``filled`` is told the name of each unit that was filled.
    """

    def __init__(
        self,
        model: Any,
        store: Store,
        homes: Mapping[str, Tensor],
        filled: Callable[[str], None] = lambda unit: None,
    ) -> None:
        self.model = model
        self.store = store
        self._filled = filled
        self._held: set[str] = set()
        self._slots: dict[str, list[_Slot]] = {unit: [] for unit in store.units}
        names = {id(tensor): name for name, tensor in homes.items()}
        for module in model.modules():
            for place in (module._parameters, module._buffers):
                for attribute, tensor in place.items():
                    if id(tensor) in names:
                        name = names[id(tensor)]
                        self._slots[store.unit_of(name)].append(_Slot(name, place, attribute, tensor))
                    elif tensor is not None:  # an adapter's, and what the model computes for itself
                        dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
                        tensor.data = tensor.data.to(store.device, dtype)
        for unit, slots in self._slots.items():
            if slots:
                self._watch(unit)

    def _watch(self, unit: str) -> None:
        module = self.model.get_submodule(unit)
        module.register_forward_pre_hook(lambda *_: self.fill(unit))
        module.register_forward_hook(lambda *_: self.drop(unit))

    def fill(self, unit: str, tensors: Mapping[str, Tensor] | None = None) -> None:
        """Put a unit's weights, or these, in their places."""
        if unit in self._held or not self._slots[unit]:
            return
        tensors = self.store.load(unit) if tensors is None else tensors
        for slot in self._slots[unit]:
            if slot.name in tensors:
                slot.put(tensors[slot.name])
        self._filled(unit)

    def drop(self, unit: str) -> None:
        """Take them out again."""
        if unit not in self._held:
            for slot in self._slots[unit]:
                slot.clear()

    def hold(self, outside: str) -> None:
        """Fill all units but those of the module ``outside`` for good."""
        for unit in self.store.units:
            if unit != outside and not unit.startswith(f"{outside}."):
                self.fill(unit)
                self._held.add(unit)


@dataclass(frozen=True)
class _Slot:
    """Where a weight goes: an attribute of a module, and what stands there while it is empty."""

    name: str
    place: dict[str, Any]
    attribute: str
    empty: Tensor

    def put(self, tensor: Tensor) -> None:
        weight = isinstance(self.empty, nn.Parameter)
        self.place[self.attribute] = nn.Parameter(tensor, requires_grad=False) if weight else tensor

    def clear(self) -> None:
        self.place[self.attribute] = self.empty


def own_weights(model: Any) -> dict[str, Tensor]:
    """The weights and stored buffers of an empty model, by name."""
    kept = model.state_dict().keys()
    return {name: tensor for name, tensor in (*model.named_parameters(), *model.named_buffers()) if name in kept}
