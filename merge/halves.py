"""Runs a causal language model in two halves: the decoder once over all texts, then the head on some positions.

The logits of all positions of a large vocabulary are never held at once, and of two models only the heads need to be in
memory together. Works on whole models and on those whose weights come and go (``layers``).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from merge.layers import Streamed
from toolwright.errors import ModelError

CHUNK = 64
"""Positions whose logits are compared at once."""
_FAR = torch.finfo(torch.float32).max


class Halves:
    """A model between its two halves.

    Args:
        model: transformers' model, or PEFT's around it; its first half runs at once and is then let go.
        sequences: token ids of each text.
        streamed: what fills ``model``, if it is empty.
        keep: the first half stays in memory.

    Raises:
        ModelError: of a form that cannot be taken apart.
    """

    def __init__(
        self,
        model: Any,
        sequences: Sequence[Sequence[int]],
        streamed: Streamed | None = None,
        *,
        keep: bool = False,
    ) -> None:
        self._model = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._decoder = self._model.base_model
        if self._decoder is self._model:
            raise ModelError(f"{type(self._model).__name__}: has no decoder and head that could be compared")
        self._device = streamed.store.device if streamed else str(self._model.device)
        self.lengths = [len(sequence) for sequence in sequences]
        self._output, self._hidden = self._first(sequences)
        if streamed:
            streamed.hold(outside=self._model.base_model_prefix)
        elif not keep:
            for layers in self._decoder.modules():
                if isinstance(layers, nn.ModuleList):
                    layers.to("meta")

    @torch.no_grad()
    def _first(self, sequences: Sequence[Sequence[int]]) -> tuple[Any, Tensor]:
        """The decoder's output, and its last hidden states of all positions, one text after the other, (T, H)."""
        longest = max(map(len, sequences))
        ids = torch.zeros(len(sequences), longest, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, sequence in enumerate(sequences):
            ids[row, : len(sequence)] = torch.tensor(sequence)
            mask[row, : len(sequence)] = 1
        output = self._decoder(
            input_ids=ids.to(self._device), attention_mask=mask.to(self._device), use_cache=False, return_dict=True
        )
        return output, output.last_hidden_state[mask.bool().to(self._device)]

    @torch.no_grad()
    def logits(self, start: int, stop: int) -> Tensor:
        """Logits of positions ``start:stop``, (T, V), float32 on the CPU."""
        rest = {name: value for name, value in self._output.items() if name != "last_hidden_state"}
        given = type(self._output)(last_hidden_state=self._hidden[None, start:stop], **rest)
        ids = torch.zeros(1, stop - start, dtype=torch.long, device=self._device)
        self._decoder.forward = lambda *_, **__: given
        try:
            logits: Tensor = self._model(input_ids=ids, use_cache=False, return_dict=True).logits[0].float().cpu()
        finally:
            del self._decoder.forward
        return logits


@dataclass(frozen=True)
class TextDifference:
    """Of one text's scored positions: least lead of the reference's choice, and the lead at the first flip."""

    lead: float
    first_flip: float | None


@dataclass(frozen=True)
class Differences:
    """How far two models are apart.

    Attributes:
        largest, mean: of the differences of all logits; what is no number counts as the largest float.
        positions: positions of all texts.
        flips: of scored positions where the choices differ, how far the reference preferred its own.
        texts: each text's.
        reference_broken: the reference's own logits are no numbers.
    """

    largest: float
    mean: float
    positions: int
    flips: list[float]
    texts: list[TextDifference]
    reference_broken: bool = False


def compare_halves(reference: Halves, other: Halves, starts: Sequence[int]) -> Differences:
    """Compare logits of all positions; choices are compared from each text's position ``starts`` on.

    Raises:
        ModelError: the two have vocabularies of different sizes.
    """
    largest, total, count, broken = 0.0, 0.0, 0, False
    leads, margins = [], []
    for start in range(0, sum(reference.lengths), CHUNK):
        stop = min(start + CHUNK, sum(reference.lengths))
        one, two = reference.logits(start, stop), other.logits(start, stop)
        if one.shape != two.shape:
            raise ModelError(f"base and adapters give {one.shape[-1]} logits, the merged model {two.shape[-1]}")
        broken |= not bool(torch.isfinite(one).all())
        differences = (one - two).abs().nan_to_num_(nan=_FAR, posinf=_FAR)
        largest, total = max(largest, differences.max().item()), total + differences.double().sum().item()
        count += differences.numel()
        best = one.topk(min(2, one.shape[-1]))
        leads.append(best.values[:, 0] - best.values[:, -1])
        chosen = one.gather(1, two.argmax(-1, keepdim=True))[:, 0]
        margins.append(torch.where(two.argmax(-1) == best.indices[:, 0], -1.0, best.values[:, 0] - chosen))
    texts = list(_by_text(torch.cat(leads), torch.cat(margins), reference.lengths, starts))
    flips = [flip for _, text_flips in texts for flip in text_flips]
    ends = [TextDifference(lead, found[0] if found else None) for lead, found in texts]
    return Differences(largest, total / max(count, 1), sum(reference.lengths), flips, ends, broken)


def _by_text(
    leads: Tensor, margins: Tensor, lengths: Sequence[int], starts: Sequence[int]
) -> Iterator[tuple[float, list[float]]]:
    """Least lead, and margins of the flips, of each text's scored positions; what follows the text is not scored."""
    rows = zip(torch.split(leads, list(lengths)), torch.split(margins, list(lengths)), starts, strict=True)
    for lead, margin, start in rows:
        flips = margin[start:-1]
        yield lead[start:-1].min().item() if len(flips) else 0.0, flips[flips >= 0].tolist()
