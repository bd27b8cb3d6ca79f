"""What the benchmarks of training share: a small Qwen3 with LoRA, synthetic rows, our trainer, interleaved timing."""

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sft.batches import Packing
from sft.encode import Encoded
from sft.trainer import SftTrainer

VOCABULARY = 32_000


def make_model(rank: int = 16) -> Any:
    """Six layers, 256 wide, 32k tokens, LoRA on every linear layer; attention by sdpa."""
    from peft import LoraConfig, get_peft_model
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=6,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=32,
        max_position_embeddings=16_384,
    )
    return get_peft_model(Qwen3ForCausalLM(config), LoraConfig(r=rank, target_modules="all-linear")).train()


def make_row(ids: NDArray[np.int64], trained: NDArray[np.bool_]) -> Encoded:
    """A row that trains the tokens where ``trained``."""
    labels = np.where(trained, ids, -100).astype(np.int32)
    return Encoded(ids.astype(np.int32), labels, trained.astype(np.float32), ())


def make_trainer(model: Any, rows: Sequence[Encoded], packing: Packing, **settings: Any) -> SftTrainer:
    """Our trainer with its optimizer, ready for ``training_step``."""
    from transformers import TrainingArguments

    arguments = TrainingArguments(
        output_dir=tempfile.mkdtemp(), use_cpu=True, report_to="none", disable_tqdm=True, **settings
    )
    trainer = SftTrainer(model, arguments, rows, None, 0, [], packing, sum(len(row.input_ids) for row in rows))
    trainer.create_optimizer()
    return trainer


def take_gradients(model: Any) -> list[torch.Tensor]:
    """The gradients that a step left, after which they are cleared."""
    found = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    model.zero_grad(set_to_none=True)
    return found


def difference(ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor]) -> float:
    """Relative difference of two lists of gradients."""
    one, other = (torch.cat([gradient.flatten() for gradient in side]) for side in (ours, theirs))
    return float((one - other).norm() / other.norm())


def interleave(steps: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each step in each round, after one round that is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for round_ in range(rounds + 1):
        for name, step in steps.items():
            started = time.process_time()
            step()
            if round_:
                taken[name].append(time.process_time() - started)
    return taken


def ratio(taken: Mapping[str, Sequence[float]], name: str, base: str) -> str:
    """Median over rounds of one step's time over another's in the same round, with the range."""
    ratios = sorted(a / b for a, b in zip(taken[name], taken[base], strict=True))
    return f"{statistics.median(ratios):.2f} x ({ratios[0]:.2f} to {ratios[-1]:.2f})"
