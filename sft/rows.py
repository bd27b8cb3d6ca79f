"""What encoding is told and what it gives: the policy, the rows with their labels, and what was refused."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

IGNORE = -100


@dataclass(frozen=True)
class TrainPolicy:
    """What is trained and how much.

    ``turns``: every assistant turn, or only the last one. ``history``: what to do where the template rewrites earlier
    turns: ``split`` into the fewest rows that show each turn as it is served, train the ``stable`` turns only, or
    train the whole render ``as_rendered``. ``thinking``: ``train`` reasoning, ``mask`` its words, or ``drop`` it.
    ``call_weight`` and ``text_weight`` multiply the loss of turns with and without calls, ``reasoning_weight`` that
    of reasoning within them. ``markers``: what to do with special tokens in the words of a conversation: ``refuse``
    it, or ``escape`` them (``<|im_end|>`` becomes ``< |im_end|>``).
    """

    turns: Literal["all", "last_turn"] = "all"
    history: Literal["split", "stable", "as_rendered"] = "split"
    thinking: Literal["train", "mask", "drop"] = "train"
    call_weight: float = 1.0
    text_weight: float = 1.0
    reasoning_weight: float = 1.0
    markers: Literal["refuse", "escape"] = "refuse"


@dataclass(frozen=True)
class Span:
    """Tokens ``start:end`` are the trained turn of ``message``, terminator included."""

    message: int
    start: int
    end: int


@dataclass(frozen=True, eq=False)
class Encoded:
    """One training row of T tokens.

    Attributes:
        input_ids: int32 (T,).
        labels: int32 (T,), ``input_ids`` where trained and -100 elsewhere; not shifted.
        weights: float32 (T,), what the loss of each token is multiplied with; 0 where not trained.
        spans: the trained turns.
        source: index of the conversation in the input; a template that rewrites history may need several rows of one.
        cut_turns: assistant turns that are wanted and not in the row: beyond ``max_tokens``, or not ``stable``.
    """

    input_ids: NDArray[np.int32]
    labels: NDArray[np.int32]
    weights: NDArray[np.float32]
    spans: tuple[Span, ...]
    source: int = 0
    cut_turns: int = 0

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Encoded):
            return NotImplemented
        return (self.spans, self.source, self.cut_turns) == (other.spans, other.source, other.cut_turns) and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in ("input_ids", "labels", "weights")
        )

    @property
    def trained(self) -> int:
        """How many tokens carry a label."""
        return int(np.count_nonzero(self.labels != IGNORE))


@dataclass(frozen=True)
class Refusal:
    """A conversation that was left out: its place in the input (from 0) and why."""

    index: int
    reason: str
