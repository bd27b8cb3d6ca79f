"""The transformers Trainer over our rows: logits only where labels are, and a loss that counts every token once.

Writes checkpoints where its arguments say; nothing else.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from transformers import Trainer
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from sft.batches import LengthGrouped, Packing, Packs, Rows, collate, collate_packs, lengths_of, min_shared
from sft.encode import IGNORE, Encoded
from sft.isolation import require_isolation
from sft.loss import cross_entropy
from toolwright.errors import ConfigError
from toolwright.forest import only, scored_logits
from toolwright.segment_attention import REPLACED, use_segments

Inputs = Mapping[str, Any]


def token_losses(model: Any, head: torch.nn.Module, inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross entropy of each trained token and its weight, both (N,), computing logits (N, V) for those tokens only.

    ``inputs`` are those of ``collate`` or of ``collate_packs``.
    """
    if "forest" in inputs:
        forest = inputs["forest"]
        logits_NV, targets_N, weights_N = scored_logits(model, head, forest), forest.targets_N, forest.weights_N
    else:
        targets_BT = inputs["labels"][:, 1:]
        trained_BT = targets_BT != IGNORE
        with only(head, lambda hidden_BTH: hidden_BTH[:, :-1][trained_BT].unsqueeze(0)):
            logits_NV = model(input_ids=inputs["input_ids"], use_cache=False).logits[0]
        targets_N, weights_N = targets_BT[trained_BT], inputs["weights"][:, 1:][trained_BT]
    return cross_entropy(logits_NV, targets_N), weights_N


class SftTrainer(Trainer):  # type: ignore[misc]  # transformers is untyped
    """Trainer whose loss is the weighted sum over trained tokens, divided by their number in the whole step.

    The whole step: all micro-batches of all processes, so gradients equal those of one big batch.

    Args:
        model: transformers model, or PEFT around one.
        arguments: TrainingArguments; a row of a batch is a conversation, or a pack of them.
        train: rows to train on; read one at a time where they are in a store.
        dev: rows of ``evaluate``.
        pad: token that fills rows up where nothing is packed.
        callbacks: beside those of transformers that do not print.
        packing: ``documents`` puts several rows into one pass, ``shared_prefix`` also shares their beginnings.
        pack_tokens: length of a pack; none: that of the longest row.

    Raises:
        ConfigError: the model's attention cannot keep packed rows apart (or, once training starts, does not).
        DataError: a row is longer than ``pack_tokens``.
    """

    loss_is_scaled_for_ga = True

    def __init__(
        self,
        model: Any,
        arguments: Any,
        train: Sequence[Encoded],
        dev: Sequence[Encoded] | None,
        pad: int,
        callbacks: Sequence[Any],
        packing: Packing = "none",
        pack_tokens: int | None = None,
    ) -> None:
        if arguments.n_gpu > 1:
            raise ConfigError(
                f"one process sees {arguments.n_gpu} GPUs; start with `accelerate launch sft/train.py`, or choose one "
                "by CUDA_VISIBLE_DEVICES"
            )
        _require_packing(model, packing)
        self.packing, self.pack_tokens, self.pad = packing, pack_tokens, pad
        self._tokens, self._since, self._isolated = 0, time.monotonic(), packing == "none"
        multiple = arguments.train_batch_size * arguments.world_size
        super().__init__(
            model=model,
            args=arguments,
            train_dataset=Rows(train) if packing == "none" else Packs(train, packing, pack_tokens, multiple),
            eval_dataset=self._dev_dataset(dev) if dev else None,
            data_collator=partial(collate, pad=pad) if packing == "none" else partial(collate_packs, packing=packing),
            callbacks=list(callbacks),
        )
        self.model_accepts_loss_kwargs = True  # makes the Trainer count the labels of the step
        self.remove_callback(PrinterCallback)
        self.remove_callback(ProgressCallback)
        self.head = model.get_output_embeddings()

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthGrouped:
        arguments, data = self.args, self.train_dataset
        if isinstance(data, Packs):  # packs are filled alike: nothing to group
            return LengthGrouped(data.lengths, 1, arguments.seed)
        step_size = arguments.train_batch_size * arguments.gradient_accumulation_steps * arguments.world_size
        return LengthGrouped(lengths_of(data.rows), step_size, arguments.seed)

    def training_step(self, model: Any, inputs: Inputs, num_items_in_batch: Any = None) -> torch.Tensor:
        """As transformers has it; the first one proves that packed rows do not see each other in this model."""
        if not self._isolated:
            rows = self.train_dataset.rows
            shortest = lengths_of(rows).argsort(kind="stable")[:2].tolist()
            with self.compute_loss_context_manager():
                pair = [rows[shortest[0]], rows[shortest[-1]]]
                require_isolation(model, self.head, pair, min_shared(self.packing), self.packing, self.args.device)
            self._isolated = True
        loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
        return loss

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

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """``eval_loss``: mean loss per trained token over the dev rows; logged, and told to callbacks."""
        started = time.monotonic()
        metrics = {f"{metric_key_prefix}_loss": self._mean_loss(eval_dataset or self.eval_dataset)}
        self._since += time.monotonic() - started
        self.log(metrics)
        control: Any = self.control  # type: ignore[has-type]  # transformers is untyped
        self.control = self.callback_handler.on_evaluate(self.args, self.state, control, metrics)
        return metrics

    def mean_loss(self, rows: Sequence[Encoded]) -> float:
        """Mean loss per trained token over ``rows``, all weights 1; every process takes a share."""
        return self._mean_loss(self._dev_dataset(rows))

    def _dev_dataset(self, rows: Sequence[Encoded]) -> Rows | Packs:
        if self.packing == "none":
            return Rows(rows)
        longest = int(lengths_of(rows).max(initial=1))  # a dev row may be longer than what is trained on
        return Packs(rows, self.packing, max(self.pack_tokens or 0, longest))

    def _mean_loss(self, data: Rows | Packs) -> float:
        total = torch.zeros(2, device=self.args.device, dtype=torch.float64)
        self.model.eval()
        for batch, counts in self._share_of_batches(data):
            with torch.no_grad(), self.compute_loss_context_manager():
                losses_N, _ = token_losses(self.model, self.head, batch)
            if counts:
                counts_N = batch["forest"].counts_N if "forest" in batch else torch.ones_like(losses_N)
                total += torch.stack([(losses_N.double() * counts_N).sum(), counts_N.sum().double()])
        loss, count = self.accelerator.reduce(total, "sum").tolist()
        return float(loss / count)

    def _share_of_batches(self, data: Rows | Packs) -> Iterator[tuple[Inputs, bool]]:
        """Every n-th batch on each of n processes, and whether it counts; each gets as many, for they work together."""
        lengths = data.lengths if isinstance(data, Packs) else lengths_of(data.rows)
        order = sorted(range(len(data)), key=lambda number: -lengths[number])
        size, processes = self.args.train_batch_size, self.accelerator.num_processes
        batches = [order[at : at + size] for at in range(0, len(order), size)]
        for start in range(0, len(batches), processes):
            number = start + self.accelerator.process_index
            counts = number < len(batches)
            batch = self.data_collator([data[index] for index in batches[number if counts else 0]])
            yield {name: value.to(self.args.device) for name, value in batch.items()}, counts


def _require_packing(model: Any, packing: Packing) -> None:
    if packing == "none":
        return
    chosen = model.config.get_text_config()._attn_implementation
    if packing == "documents" and chosen not in REPLACED:  # flash_attention_2 and its like: rows are found by positions
        return
    why = use_segments(model)
    if why is not None:
        raise ConfigError(f"sft.packing={packing}: {why}; set sft.packing=none")
