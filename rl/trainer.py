"""TRL's GRPOTrainer with the forward pass arranged by prompt: each prompt of a micro-batch is computed once.

Answers whose whole group got the same reward carry no gradient without a KL term, so they are left out of the pass.

Source: `trl/trainer/grpo_trainer.py` of TRL 1.16; overrides `_compute_loss` and `_get_per_token_logps_and_entropies`.
"""

from typing import Any

import torch
from torch import Tensor
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from trl import GRPOTrainer

from rl.shared_prefix import score_answers
from toolwright.segment_attention import use_segments


class SharedPrefixTrainer(GRPOTrainer):  # type: ignore[misc]  # TRL is untyped
    """GRPOTrainer whose log-probabilities share prompts; TRL's own pass where the model cannot."""

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
        if self.aux_loss_enabled or use_segments(self.accelerator.unwrap_model(model)) is not None:
            whole: tuple[Tensor, Tensor | None, Tensor | None] = super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, *args, **kwargs
            )
            return whole
        live_B = self._live_B
        if live_B is None or not live_B.any():  # without one live answer there would be no graph to go back through
            live_B = torch.ones(len(input_ids), dtype=torch.bool)
        shape = len(input_ids), logits_to_keep
        mask_BC = attention_mask[:, -logits_to_keep:].bool()
        rows = torch.nonzero(live_B.cpu())[:, 0].tolist()
        pairs = [_split(input_ids[row], attention_mask[row].bool(), logits_to_keep) for row in rows]
        with self.accelerator.autocast():
            logprobs, entropies = score_answers(model, pairs, self.temperature)
        live_BC = torch.zeros(shape, dtype=torch.bool, device=input_ids.device)
        live_BC[rows] = mask_BC[rows]
        logprobs_BC = torch.zeros(shape, device=input_ids.device).masked_scatter(live_BC, torch.cat(logprobs))
        entropy_M = torch.cat(entropies)
        # Answers that were left out get the mean, so that the logged mean is that of the others.
        entropy_BC = torch.full(shape, float(entropy_M.mean()), device=input_ids.device)
        return logprobs_BC, entropy_BC.masked_scatter(live_BC, entropy_M), None


def _split(ids_T: Tensor, real_T: Tensor, completion: int) -> tuple[list[int], list[int]]:
    """Prompt and answer of a row whose last ``completion`` places are the answer's, without padding."""
    prompt, answer = ids_T[:-completion], ids_T[-completion:]
    return prompt[real_T[:-completion]].tolist(), answer[real_T[-completion:]].tolist()
