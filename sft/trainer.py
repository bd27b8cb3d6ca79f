"""The transformers Trainer over our rows: logits only where labels are, and a loss that counts every token once.

Writes checkpoints where its arguments say; nothing else.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from transformers import Trainer
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from sft.batches import LengthGrouped, Rows, collate
from sft.encode import IGNORE, Encoded

Inputs = Mapping[str, torch.Tensor]


def token_losses(model: Any, head: torch.nn.Module, inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross entropy of each trained token and its weight, both (N,), computing logits (N, V) for those tokens only.

    The selection happens in front of ``head``, inside the model's own forward pass: whatever the model does with its
    logits, and whatever wraps it (DDP, FSDP, PEFT), stays as it is.
    """
    targets_BT = inputs["labels"][:, 1:]
    trained_BT = targets_BT != IGNORE
    with _only(head, trained_BT):
        logits_NV = model(input_ids=inputs["input_ids"], use_cache=False).logits[0]
    losses_N = torch.nn.functional.cross_entropy(logits_NV.float(), targets_BT[trained_BT], reduction="none")
    return losses_N, inputs["weights"][:, 1:][trained_BT]


@contextmanager
def _only(head: torch.nn.Module, trained: torch.Tensor) -> Iterator[None]:
    def select(_: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        hidden_BTH = args[0]
        return (hidden_BTH[:, :-1][trained].unsqueeze(0), *args[1:])

    handle = head.register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()


class SftTrainer(Trainer):  # type: ignore[misc]  # transformers is untyped
    """Trainer whose loss is the weighted sum over trained tokens, divided by their number in the whole step.

    The whole step: all micro-batches of all processes, so gradients equal those of one big batch.
    """

    loss_is_scaled_for_ga = True

    def __init__(self, model: Any, arguments: Any, rows: Sequence[Encoded], pad: int, callbacks: Sequence[Any]) -> None:
        super().__init__(
            model=model,
            args=arguments,
            train_dataset=Rows(rows),
            data_collator=partial(collate, pad=pad),
            callbacks=list(callbacks),
        )
        self.model_accepts_loss_kwargs = True  # makes the Trainer count the labels of the step
        self.remove_callback(PrinterCallback)
        self.remove_callback(ProgressCallback)
        self.head = model.get_output_embeddings()
        self._tokens, self._since = 0, time.monotonic()

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthGrouped:
        arguments = self.args
        step_size = arguments.train_batch_size * arguments.gradient_accumulation_steps * arguments.world_size
        rows = self.train_dataset.rows
        return LengthGrouped([len(row.input_ids) for row in rows], step_size, arguments.seed)

    def compute_loss(
        self, model: Any, inputs: Inputs, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """The part of the step's loss that these rows have; processes average gradients, hence the factor."""
        losses_N, weights_N = token_losses(model, self.head, inputs)
        self._tokens += int(inputs["lengths"].sum()) * self.accelerator.num_processes
        processes = self.accelerator.num_processes if self.args.average_tokens_across_devices else 1
        loss: torch.Tensor = (losses_N * weights_N).sum() * processes / num_items_in_batch
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the tokens per second since the last line."""
        now = time.monotonic()
        if "loss" in logs:
            logs["tokens_per_s"] = round(self._tokens / max(now - self._since, 1e-9), 1)
            self._tokens, self._since = 0, now
        super().log(logs, start_time)

    def mean_loss(self, rows: Sequence[Encoded], pad: int) -> float:
        """Mean loss per trained token over ``rows``, all weights 1; every process takes a share."""
        mine = rows[self.accelerator.process_index :: self.accelerator.num_processes]
        size = self.args.train_batch_size
        share = -(-len(rows) // (size * self.accelerator.num_processes))  # as many batches on every process
        total = torch.zeros(2, device=self.args.device, dtype=torch.float64)
        self.model.eval()
        for number in range(share):
            part = mine[number * size : (number + 1) * size]
            batch = {name: value.to(self.args.device) for name, value in collate(part or rows[:1], pad).items()}
            with torch.no_grad(), self.compute_loss_context_manager():
                losses_N, _ = token_losses(self.model, self.head, batch)
            if part:
                total += torch.tensor([losses_N.double().sum(), len(losses_N)], device=total.device)
        loss, count = self.accelerator.reduce(total, "sum").tolist()
        return float(loss / count)
