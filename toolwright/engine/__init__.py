"""Batched generation on transformers, shared by the CPU server and the rollouts of RL. Imports torch."""

from toolwright.engine.core import Engine
from toolwright.engine.request import Event, FinishReason, GenerationError, GenerationRequest, GenerationResult
from toolwright.engine.stream import AsyncEngine
from toolwright.engine.text import TextStream

__all__ = [
    "AsyncEngine",
    "Engine",
    "Event",
    "FinishReason",
    "GenerationError",
    "GenerationRequest",
    "GenerationResult",
    "TextStream",
]
