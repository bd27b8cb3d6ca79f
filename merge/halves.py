"""Runs a causal language model in two halves: the decoder once over all texts, then the head on some positions.

The logits of all positions of a large vocabulary are never held at once, and of two models only the heads need to be in
memory together. Works on whole models and on those whose weights come and go (``layers``).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from merge.layers import Streamed
from toolwright.errors import ModelError


class Halves:
    """A model between its two halves.

    Args:
        model: transformers' model, or PEFT's around it; its first half runs at once and is then let go.
        sequences: token ids of each text.
        streamed: what fills ``model``, if it is empty.

    Raises:
        ModelError: of a form that cannot be taken apart.
    """

    def __init__(self, model: Any, sequences: Sequence[Sequence[int]], streamed: Streamed | None = None) -> None:
        self._model = model.get_base_model() if hasattr(model, "peft_config") else model
        self._decoder = self._model.base_model
        if self._decoder is self._model:
            raise ModelError(f"{type(self._model).__name__}: has no decoder and head that could be compared")
        self._device = streamed.store.device if streamed else str(self._model.device)
        self._output, self._hidden = self._first(sequences)
        if streamed:
            streamed.hold(outside=self._model.base_model_prefix)
        else:
            for layers in self._decoder.modules():
                if isinstance(layers, nn.ModuleList):
                    layers.to("meta")

    def __len__(self) -> int:
        return len(self._hidden)

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
