"""The proof before training that packed rows do not see each other in this model.

Reads and writes no files.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from toolwright.errors import ConfigError
from toolwright.forest import Forest, Row, plant, scored_logits

_TOKENS = 256
_FIRST = 16
"""Tokens at the start of a row, where a neighbour that is seen shows most."""
_LIMITS = {True: (1e-3, 1e-4), False: (5e-2, 1e-2)}
"""Largest mean differences of log-probabilities between packed and alone, and between two neighbours: by rounding
alone, in float32 and in less. In one and the same pack another neighbour changes no shape and thus hardly a rounding.
"""


@torch.no_grad()
def require_isolation(
    model: Any, head: nn.Module, rows: Sequence[Any], min_shared: int | None, packing: str, device: torch.device
) -> None:
    """Compare log-probabilities of two rows alone, packed, and packed beside another neighbour.

    Uses the beginnings of the first two rows, every token of which is scored; leaves the model in evaluation mode.

    Raises:
        ConfigError: they differ by more than rounding, or the model cannot run packed rows.
    """
    model.eval()
    one, other = (_row(np.asarray(row.input_ids)[:_TOKENS]) for row in rows[:2])
    half = len(one.input_ids) // 2
    branch = _row(np.concatenate([one.input_ids[:half], other.input_ids[:half]]))
    beside = _row(one.input_ids[::-1].copy())
    bare = getattr(model, "module", model)
    name = type(bare.get_base_model() if hasattr(bare, "get_base_model") else bare).__name__
    try:
        packed = _scores(model, head, plant([one, other, branch], min_shared).to(device))
        plain = [_alone(model, row, device) for row in (one, other, branch)]
        first, second = (_scores(model, head, plant([row, other]).to(device))[1] for row in (one, beside))
    except (TypeError, ValueError, IndexError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise ConfigError(
            f"sft.packing={packing}: {name} cannot run packed rows ({str(error).splitlines()[0]}); set sft.packing=none"
        ) from error
    differences = _difference(torch.cat(packed), torch.cat(plain)), _difference(first[:_FIRST], second[:_FIRST])
    exact = all(parameter.dtype == torch.float32 for parameter in bare.parameters())
    limits = _LIMITS[exact and not torch.is_autocast_enabled(device.type)]
    if not all(found <= limit for found, limit in zip(differences, limits)):
        raise ConfigError(
            f"sft.packing={packing}: packed conversations see each other in {name} (their log-probabilities change by "
            f"{max(differences):.2g} on average); set sft.packing=none"
        )


def _row(ids: Any) -> Row:
    return Row(ids, ids, np.ones(len(ids), np.float32))


def _scores(model: Any, head: nn.Module, forest: Forest) -> list[Tensor]:
    logprobs_NV = torch.log_softmax(scored_logits(model, head, forest).float(), dim=-1)
    chosen_N = logprobs_NV.gather(1, forest.targets_N[:, None])[:, 0]
    return [chosen_N[pick] for pick in forest.picks]


def _alone(model: Any, row: Row, device: torch.device) -> Tensor:
    """The model's own way of computing a row: no table, no positions."""
    ids_T = torch.from_numpy(row.input_ids.astype(np.int64)).to(device)
    logits_TV = model(input_ids=ids_T[None], use_cache=False).logits[0, :-1].float()
    return torch.log_softmax(logits_TV, dim=-1).gather(1, ids_T[1:, None])[:, 0]


def _difference(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().mean())
