"""Whether a model suits the engine, and how many rows give it the same bits whoever is in the batch."""

from typing import Any

import torch
from torch import Tensor, nn

from toolwright.engine.cache import KeyValues
from toolwright.errors import ModelError

FEWEST_ROWS = 4
_LARGEST_PROBE = 8192
_ELSEWHERE = "serve it with vLLM (serve.engine=vllm)"


def check_architecture(config: Any, max_tokens: int) -> None:
    """Refuse models whose attention is not plain full attention.

    Raises:
        ModelError: names what the model has instead, and says that vLLM serves it.
    """
    name = getattr(config, "model_type", "model")
    other = sorted({str(kind) for kind in getattr(config, "layer_types", None) or ()} - {"full_attention"})
    if other:
        raise ModelError(
            f"{name}: has layers of type {', '.join(other)}; this engine knows full attention: {_ELSEWHERE}"
        )
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(f"{name}: is an encoder-decoder, not a causal language model")
    window = getattr(config, "sliding_window", None)
    if window and getattr(config, "use_sliding_window", True) and window < max_tokens:
        raise ModelError(
            f"{name}: attends to the last {window} tokens only; use max_tokens_total={window}, or {_ELSEWHERE}"
        )


def check_cache(model: Any, layers: int, source: str) -> None:
    """Refuse a model that gives other logits when it is run token by token on our cache than in one pass.

    Call it with the engine's attention in place.

    Raises:
        ModelError: it keeps other state than keys and values, or masks in a way of its own.
    """
    ids = torch.arange(1, 9, device=model.device)[None] % model.config.get_text_config(decoder=True).vocab_size
    cache = KeyValues(layers)
    cache.reserve(1, ids.shape[1])
    try:
        whole = _forward(model, ids, 0, None)
        _forward(model, ids[:, :5], 0, cache)
        for position in range(5, 8):
            cache.write_step(torch.tensor([position], device=model.device), position + 1)
            last = _forward(model, ids[:, position : position + 1], position, cache, step=True)
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError, AssertionError) as error:
        raise ModelError(
            f"{source}: cannot run on this engine ({type(error).__name__}: {error}); {_ELSEWHERE}"
        ) from error
    gap = (whole[0, -1] - last[0, -1]).abs().max().item()
    spread = whole[0, -1].std().item()
    if not gap <= 0.1 * spread + 1e-3:
        raise ModelError(
            f"{source}: logits differ by {gap:.3g} (their spread is {spread:.3g}) between one pass and token by token, "
            f"so its attention is not plain full attention; {_ELSEWHERE}"
        )


def _forward(model: Any, ids: Tensor, start: int, cache: KeyValues | None, step: bool = False) -> Tensor:
    count, device = ids.shape[1], ids.device
    positions = torch.arange(start, start + count, device=device)
    seen = torch.arange(start + count, device=device) <= positions[:, None]
    mask = torch.zeros(seen.shape, device=device, dtype=model.dtype).masked_fill_(~seen, float("-inf"))
    if cache is not None and not step:
        cache.write_chunk(start)
    output = model(
        input_ids=ids,
        position_ids=positions[None],
        attention_mask=mask[None, None],
        past_key_values=cache,
        use_cache=cache is not None,
    )
    logits: Tensor = output.logits.float()
    return logits


def safe_row_step(model: nn.Module, max_batch: int) -> int:
    """Decode rows in multiples of this number, and a row's result does not depend on how many there are.

    BLAS takes other kernels for one to three rows, which round differently; from four rows on they agree, where that
    was measured (MKL, AVX-512). Here it is tried on one layer of each shape of this model; where they do not agree,
    every step has all ``max_batch`` rows.
    """
    whole = -(-max_batch // FEWEST_ROWS) * FEWEST_ROWS
    seen: set[tuple[object, ...]] = set()
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if not isinstance(module, nn.Linear) or (module.weight.shape, module.weight.dtype) in seen:
            continue
        seen.add((module.weight.shape, module.weight.dtype))
        weight = module.weight[:_LARGEST_PROBE]
        if weight.device.type != "cpu" or not weight.dtype.is_floating_point:
            continue
        rows = torch.randn((whole, weight.shape[1]), generator=generator).to(weight.dtype)
        full = nn.functional.linear(rows, weight)
        for count in range(FEWEST_ROWS, whole, FEWEST_ROWS):
            if not torch.equal(nn.functional.linear(rows[:count], weight), full[:count]):
                return whole
    return FEWEST_ROWS
