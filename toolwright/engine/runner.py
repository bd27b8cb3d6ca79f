"""The model's side of the engine: prompts and single steps through the model, with the cache that they fill.

What it computes for a request depends on that request alone: prompts go one by one and in fixed chunks, steps have a
number of rows that gives every row the same bits.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from toolwright.engine.attention import attention_of
from toolwright.engine.cache import KeyValues, Prefixes, pad_length, spans
from toolwright.engine.fitness import check_cache, safe_row_step

PREFIX_BYTES = 256 * 2**20


class Runner:
    """Runs a model for up to ``max_batch`` slots; every method but ``ready`` needs ``ready`` around it.

    Args:
        model: a causal language model of transformers, or a PEFT model around one.
        max_batch: number of slots.
    """

    at_once = 1
    """Most prompts that ``admit`` takes."""

    def __init__(self, model: Any, max_batch: int) -> None:
        # A PEFT model is a wrapper around layers that it has put into the base model: call that, the wrapper is slow.
        self.model = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.config = self.model.config.get_text_config(decoder=True)
        self.max_batch = max_batch
        self._configs = list({id(m.config): m.config for m in self.model.modules() if hasattr(m, "config")}.values())
        self._slots = KeyValues(self.config.num_hidden_layers)
        self._scratch = KeyValues(self.config.num_hidden_layers)
        self._prefixes = Prefixes(PREFIX_BYTES)
        self._row_step: int | None = None
        self._weights: object = None

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Evaluation mode without gradients and with our attention; afterwards the model is as it was."""
        training = [module for module in self.model.modules() if module.training]
        for module in training:
            module.training = False
        try:
            with torch.no_grad(), attention_of(self._configs):
                if self._row_step is None:
                    self._row_step = safe_row_step(self.model, self.max_batch)
                yield
        finally:
            for module in training:
                module.training = True

    def check(self, source: str) -> None:
        """Prove that the model works on this cache.

        Raises:
            ModelError: it does not.
        """
        check_cache(self.model, self.config.num_hidden_layers, source)

    def forget_if_trained(self) -> None:
        """Forget known prompts if the weights are not the same: an update in place counts a tensor's version up."""
        weights = [(p.data_ptr(), p._version) for p in self.model.parameters()]
        if weights != self._weights:
            self.forget_prompts()
            self._weights = weights

    def forget_prompts(self) -> None:
        """Compute every prompt anew."""
        self._prefixes.clear()

    def admit(self, prompts: Sequence[tuple[Sequence[int], int]], first: int) -> tuple[int, Tensor]:
        """Fill the slot ``first`` with the first of these prompts and room for more: tokens computed, logits (1, V)."""
        computed, logits_V = self.prefill(prompts[0][0], first, prompts[0][1])
        return computed, logits_V[None]

    def prefill(self, prompt: Sequence[int], slot: int, room: int) -> tuple[int, Tensor]:
        """Fill a slot with a prompt's keys and values, with ``room`` for more.

        Returns the number of tokens that had to be computed, and the logits that follow the prompt, (V,).
        """
        # In powers of two: one row at a time, a burst of requests would copy everything for each of them.
        self._slots.reserve(self._round_rows(min(self.max_batch, 1 << slot.bit_length())), len(prompt) + room)
        self._scratch.reserve(1, len(prompt))
        parent, filled, computed = 0, 0, 0
        logits: Tensor | None = None
        for start, end in spans(len(prompt)):
            tokens, last = tuple(prompt[start:end]), end == len(prompt)
            piece = self._prefixes.find(parent, tokens)
            if piece is None or (last and piece.logits is None):
                if filled < start:  # the pieces found so far are in the slot, but not where prompts are computed
                    self._scratch.paste(0, filled, *self._slots.cut(slot, filled, start))
                after = self._forward_chunk(tokens, start)
                filled, computed = end, computed + len(tokens)
                keys_values = self._scratch.cut(0, start, end)
                piece = self._prefixes.add(parent, tokens, *keys_values, after if last else None)
            self._slots.paste(slot, start, piece.keys, piece.values)
            parent, logits = piece.id, piece.logits
        assert logits is not None, "the last piece has logits"
        return computed, logits

    def _forward_chunk(self, tokens: Sequence[int], start: int) -> Tensor:
        self._scratch.write_chunk(start)
        positions = torch.arange(start, start + len(tokens), device=self.model.device)
        seen = torch.arange(start + len(tokens), device=self.model.device) <= positions[:, None]
        output = self.model(
            input_ids=torch.tensor([tokens], device=self.model.device),
            position_ids=positions[None],
            attention_mask=seen[None, None],
            past_key_values=self._scratch,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: Tensor = output.logits[0, -1].float()
        return logits

    def decode(self, tokens: Sequence[int], positions: Sequence[int]) -> Tensor:
        """One more token for each of the first slots, written at its position: logits that follow it, (R, V)."""
        device, live = self.model.device, len(tokens)
        spare = [0] * (self._round_rows(live) - live)
        positions_R = torch.tensor([*positions, *spare], device=device)
        length = pad_length(max(positions) + 1)
        self._slots.write_step(positions_R, length)
        hidden_RK = torch.arange(length, device=device) > positions_R[:, None]
        mask_RK = torch.zeros(hidden_RK.shape, device=device, dtype=self.model.dtype)
        mask_RK.masked_fill_(hidden_RK, float("-inf"))
        output = self.model(
            input_ids=torch.tensor([*tokens, *spare], device=device)[:, None],
            position_ids=positions_R[:, None],
            attention_mask=mask_RK[:, None, None],
            past_key_values=self._slots,
            use_cache=True,
        )
        logits: Tensor = output.logits[:live, -1]
        return logits

    def move(self, source: int, target: int, length: int) -> None:
        """Move the first ``length`` positions of a slot to another."""
        self._slots.move(source, target, length)

    def wipe(self, slot: int) -> None:
        """Clear a slot whose numbers are not finite: through the mask they would reach the next request there."""
        self._slots.wipe(slot)

    def _round_rows(self, rows: int) -> int:
        step = self._row_step or self.max_batch
        return -(-rows // step) * step
