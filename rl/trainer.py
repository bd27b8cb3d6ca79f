"""TRL's GRPOTrainer with the forward pass arranged by prompt: each prompt of a micro-batch is computed once.

Answers whose whole group got the same reward carry no gradient without a KL term, so they are left out of the pass.

Source: `trl/trainer/grpo_trainer.py` of TRL 1.16; overrides `_compute_loss` and `_get_per_token_logps_and_entropies`.
"""

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from trl import GRPOTrainer

from rl.shared_prefix import score_group

SUPPORTED_ATTENTION = ("sdpa", "eager")


class SharedPrefixTrainer(GRPOTrainer):  # type: ignore[misc]  # TRL is untyped
    """GRPOTrainer whose log-probabilities share prompts; falls back to TRL's pass where attention takes no mask."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.remove_callback(PrinterCallback)
        self.remove_callback(ProgressCallback)
        self._live_B: Tensor | None = None

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        advantages = inputs["advantages"]
        self._live_B = advantages.reshape(len(advantages), -1).ne(0).any(dim=1) if self.beta == 0 else None
        try:
            loss: Tensor = super()._compute_loss(model, inputs)
        finally:
            self._live_B = None
        return loss

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Log-probabilities and entropies of the completion tokens, both (B, C); zeros in the padding."""
        implementation = getattr(self.accelerator.unwrap_model(model).config, "_attn_implementation", None)
        if implementation not in SUPPORTED_ATTENTION or self.aux_loss_enabled:
            whole: tuple[Tensor, Tensor | None, Tensor | None] = super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, *args, **kwargs
            )
            return whole
        live_B = self._live_B
        if live_B is None or not live_B.any():  # without one live answer there would be no graph to go back through
            live_B = torch.ones(len(input_ids), dtype=torch.bool)
        shape = len(input_ids), logits_to_keep
        mask_BC = attention_mask[:, -logits_to_keep:].bool()
        rows, logprobs, entropies = self._score_groups(model, input_ids, attention_mask, logits_to_keep, live_B)
        live_BC = torch.zeros(shape, dtype=torch.bool, device=input_ids.device)
        for row in rows:
            live_BC[row] = mask_BC[row]
        order = torch.tensor(rows, device=input_ids.device).argsort().tolist()
        logprobs_BC = torch.zeros(shape, device=input_ids.device)
        logprobs_BC = logprobs_BC.masked_scatter(live_BC, torch.cat([logprobs[index] for index in order]))
        entropy_M = torch.cat([entropies[index] for index in order])
        # Answers that were left out get the mean, so that the logged mean is that of the others.
        entropy_BC = torch.full(shape, float(entropy_M.mean()), device=input_ids.device)
        return logprobs_BC, entropy_BC.masked_scatter(live_BC, entropy_M), None

    def _score_groups(
        self, model: Any, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int, live_B: Tensor
    ) -> tuple[list[int], list[Tensor], list[Tensor]]:
        """Rows in the order of their groups, with log-probabilities and entropies of each row's tokens."""
        groups: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
        answers: dict[int, list[int]] = {}
        for row in torch.nonzero(live_B.cpu())[:, 0].tolist():
            real = attention_mask[row].bool()
            prompt = input_ids[row, :-logits_to_keep][real[:-logits_to_keep]].tolist()
            answers[row] = input_ids[row, -logits_to_keep:][real[-logits_to_keep:]].tolist()
            groups[tuple(prompt)].append(row)
        rows: list[int] = []
        logprobs: list[Tensor] = []
        entropies: list[Tensor] = []
        for prompt_ids, members in groups.items():
            with self.accelerator.autocast():
                scored = score_group(model, prompt_ids, [answers[row] for row in members], self.temperature)
            rows += members
            logprobs += scored[0]
            entropies += scored[1]
        return rows, logprobs, entropies
