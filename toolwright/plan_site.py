"""A configuration on a device: what every stage is planned from, and the form of a stage's plan."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from toolwright.config import LoraSection, RunConfig
from toolwright.devices import HERE, Device
from toolwright.errors import ConfigError
from toolwright.footprint import architecture, empty_model, with_adapter
from toolwright.model import choose_dtype
from toolwright.plan_measured import Measured, measured_stages
from toolwright.plan_memory import Memory, Models
from toolwright.plan_time import Work
from toolwright.plan_tokens import Counts, Talk, count_conversations, mean_talk

USABLE = 0.985
"""Of a device's memory: its driver keeps the rest."""


class StagePlan(BaseModel):
    """What one stage takes. Bytes, seconds; ``cost`` in the currency of the prices; none: not known."""

    model_config = ConfigDict(frozen=True)

    stage: str
    origin: Literal["estimated", "measured"] = "estimated"
    devices: int = 1
    memory: dict[str, float] = {}
    memory_bytes: float | None = None
    fits: bool | None = None
    cure: list[str] = []
    tokens: dict[str, float] = {}
    time_s: float | None = None
    cost: float | None = None
    disk_bytes: float = 0.0
    notes: list[str] = []


@dataclass(frozen=True)
class Shape:
    """A model's configuration, the same as another of the same text."""

    text: str
    config: Any = field(compare=False)


@lru_cache(maxsize=8)
def _models(shape: Shape, dtype: str, attention: str | None, name: str, lora: str | None) -> Models:
    """The empty models of a shape, with the adapter of a section (JSON), or without."""
    base = empty_model(copy.deepcopy(shape.config), dtype, attention)
    if lora is None:
        return Models(base, base)
    section = LoraSection.model_validate_json(lora)
    return Models(base, with_adapter(empty_model(copy.deepcopy(shape.config), dtype, attention), section, name))


@dataclass(frozen=True)
class Site:
    """A configuration on a device: what all stages are planned from."""

    config: RunConfig
    device: Device
    devices: int
    shape: Shape
    origin: str

    @classmethod
    def of(cls, config: RunConfig, device: Device) -> "Site":
        """Reads the model's shape.

        Raises:
            ConfigError: several devices where there is one CPU.
            ModelError: no such model.
        """
        devices = config.plan.devices or device.count
        if device.cpu and devices > 1:
            raise ConfigError(
                f"plan.devices: {devices}, and here is one CPU; leave it out, or name a device: --device list"
            )
        found, origin = architecture(config.model)
        return cls(config, device, devices, Shape(found.to_json_string(), found), origin)

    @cached_property
    def talk(self) -> Talk:
        """The mean conversation."""
        return mean_talk(self.config)

    @cached_property
    def counts(self) -> Counts:
        """Conversations of the run."""
        return count_conversations(self.config)

    @cached_property
    def measured(self) -> Mapping[str, Measured]:
        """What earlier stages measured; only of use where the plan is for this machine."""
        return measured_stages(self.config) if self.device.name == HERE else {}

    @property
    def sft(self) -> Models:
        """What SFT trains."""
        section = self.config.sft
        attention = section.attention if section.packing == "none" else None
        lora = None if section.method == "full" else section.lora.model_dump_json()
        return _models(self.shape, self.dtype, attention, "sft.lora", lora)

    @property
    def rl(self) -> Models:
        """What RL trains."""
        section = self.config.rl
        lora, name = (self.config.sft.lora, "sft.lora") if section.start == "sft" else (section.lora, "rl.lora")
        return _models(self.shape, section.dtype, None, name, lora.model_dump_json())

    @property
    def dtype(self) -> str:
        """What SFT computes in; ``auto`` is bfloat16 on every GPU of the table."""
        chosen = self.config.sft.dtype
        return "bfloat16" if chosen == "auto" and not self.device.cpu else choose_dtype(chosen)

    @property
    def work(self) -> Work:
        """Operations of a token."""
        return Work.of(self.sft)

    def with_config(self, config: RunConfig) -> "Site":
        """The same with other settings."""
        return Site(config, self.device, config.plan.devices or self.device.count, self.shape, self.origin)

    def with_device(self, device: Device) -> "Site":
        """The same elsewhere."""
        return Site(self.config, device, self.devices, self.shape, self.origin)

    def fits(self, memory: Memory) -> bool:
        """Whether a device holds this, and those who use it take no more than they may."""
        return memory.total <= min(self.device.memory * USABLE, memory.most)

    def price(self, time_s: float | None, devices: int) -> float | None:
        """Of the devices for that time."""
        price = self.config.plan.price_per_hour
        return None if price is None or time_s is None else time_s / 3600 * price * devices

    def finish(self, stage: str, memory: Memory | None, time_s: float | None, devices: int, **more: Any) -> StagePlan:
        """With what was measured before, the verdict and the price."""
        found = self.measured.get(stage)
        parts = memory.parts if memory else {}
        size = memory.total if memory else None
        notes = [*(memory.notes if memory else []), *more.pop("notes", [])]
        if found is not None:
            notes.insert(0, found.note(size))
            time_s = found.wall_s
            size = found.peak_bytes if self.device.cpu else size
        cost = more.pop("cost", self.price(time_s, devices))
        return StagePlan(
            stage=stage,
            origin="measured" if found else "estimated",
            devices=devices,
            memory=parts,
            memory_bytes=size,
            fits=None if memory is None else self.fits(memory),
            time_s=time_s,
            cost=cost,
            notes=notes,
            **more,
        )
