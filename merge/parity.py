"""Compares base + adapter with the merged model: logits and greedy continuations on fixed tool-calling prompts.

Both are computed in float32 (up to a billion parameters; in the model's own type beyond), so what differs is the one
rounding of the merged weights and nothing else. Reads both models from disk; ``Parity`` is written to ``parity.json``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict

from toolwright.artifacts import fingerprint
from toolwright.dialect import render_prompt
from toolwright.model import load_adapter, load_model, load_tokenizer
from toolwright.records import Message, ToolCall, ToolSpec

CONTINUATION_TOKENS = 48
_FLOAT32_UP_TO = 1_000_000_000

_WEATHER = ToolSpec(
    name="get_weather",
    description="Current weather of a city.",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["c", "f"]}},
        "required": ["city"],
    },
)
_NOTE = ToolSpec(
    name="write_note",
    description="Write a note to a file.",
    parameters={"type": "object", "properties": {"path": {"type": "string"}, "text": {"type": "string"}}},
)
_CALL = ToolCall(name="get_weather", arguments={"city": "Oslo"}, id="call_0")
PROMPTS: tuple[tuple[tuple[Message, ...], tuple[ToolSpec, ...]], ...] = (
    ((Message(role="user", content="What is the weather in Oslo?"),), (_WEATHER, _NOTE)),
    ((Message(role="user", content="Compare the weather in Rome and in Lima, in degrees f."),), (_WEATHER,)),
    ((Message(role="user", content="Save the text 'buy milk' to notes/today.txt."),), (_NOTE, _WEATHER)),
    (
        (
            Message(role="user", content="Is it warm in Oslo? Note it in oslo.txt."),
            Message(role="assistant", tool_calls=(_CALL,)),
            Message(role="tool", content='{"temperature": 21, "unit": "c"}', tool_call_id="call_0"),
        ),
        (_WEATHER, _NOTE),
    ),
    ((Message(role="user", content="Thank you, that is all."),), ()),
)


class Parity(BaseModel):
    """How far the merged model is from base + adapter.

    Logit differences are over all positions of prompts and continuations. ``flips`` are continuation tokens that the
    merged model would choose otherwise, each after the same text; the margin is how far the other preferred its own.
    """

    model_config = ConfigDict(frozen=True)

    passed: bool
    max_abs_logit_diff: float
    mean_abs_logit_diff: float
    tolerance: float
    greedy_identical: bool
    flips: int
    largest_flip_margin: float
    prompts: int
    positions: int
    computed_in: str
    files_identical: bool
    sha256: dict[str, dict[str, str]]


def compare(base: str, adapter: Path, merged: Path, tolerance: float) -> Parity:
    """Measure parity on the fixed prompts.

    It passes when no logit differs by more than ``tolerance``, the greedy continuations are the same but for ties
    closer than that, and tokenizer and chat template have the same bytes.

    Raises:
        ModelError: one of the two cannot be loaded.
    """
    tokenizer = load_tokenizer(merged)
    prompts = [
        tokenizer(render_prompt(tokenizer, messages, tools), add_special_tokens=False)["input_ids"]
        for messages, tools in PROMPTS
    ]
    reference = load_adapter(_load(base), adapter, base)
    computed_in = str(next(reference.parameters()).dtype).removeprefix("torch.")
    sequences = [_continue(reference, ids, tokenizer.eos_token_id) for ids in prompts]
    expected = [_logits(reference, ids) for ids in sequences]
    del reference
    actual = [_logits(model, ids) for model in [_load(str(merged))] for ids in sequences]
    differences = torch.cat([(one - other).abs().flatten() for one, other in zip(expected, actual)])
    margins = [m for p, one, other in zip(prompts, expected, actual) for m in _flip_margins(one, other, len(p) - 1)]
    largest, margin = differences.max().item(), max(margins, default=0.0)
    hashes = _hashes(adapter, merged)
    same_files = all(len(set(pair.values())) == 1 for pair in hashes.values())
    return Parity(
        passed=largest <= tolerance and margin <= tolerance and same_files,
        max_abs_logit_diff=round(largest, 6),
        mean_abs_logit_diff=round(differences.mean().item(), 6),
        tolerance=tolerance,
        greedy_identical=not margins,
        flips=len(margins),
        largest_flip_margin=round(margin, 6),
        prompts=len(prompts),
        positions=sum(len(one) for one in expected),
        computed_in=computed_in,
        files_identical=same_files,
        sha256=hashes,
    )


def _load(path: str) -> Any:
    model = load_model(path)
    if sum(parameter.numel() for parameter in model.parameters()) <= _FLOAT32_UP_TO:
        model = model.float()
    return model.to("cuda") if torch.cuda.is_available() else model


@torch.no_grad()
def _logits(model: Any, ids: Sequence[int]) -> torch.Tensor:
    """Logits of every position, (T, V), float32."""
    inputs = torch.tensor([ids], device=model.device)
    logits: torch.Tensor = model(input_ids=inputs, use_cache=False).logits[0].float().cpu()
    return logits


@torch.no_grad()
def _continue(model: Any, prompt: Sequence[int], eos: int) -> list[int]:
    """The prompt with the model's greedy continuation."""
    ids = torch.tensor([prompt], device=model.device)
    made = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=CONTINUATION_TOKENS,
        do_sample=False,
        eos_token_id=eos,
        pad_token_id=eos,
    )
    sequence: list[int] = made[0].tolist()
    return sequence


def _flip_margins(expected: torch.Tensor, actual: torch.Tensor, start: int) -> list[float]:
    """Of the continuation's positions where the choices differ: how much the reference preferred its own."""
    best, choice = expected[start:].argmax(-1), actual[start:].argmax(-1)
    rows = torch.nonzero(best != choice).flatten()
    return (expected[start:][rows, best[rows]] - expected[start:][rows, choice[rows]]).tolist()


def _hashes(adapter: Path, merged: Path) -> dict[str, dict[str, str]]:
    names = [
        name for name in ("chat_template.jinja", "tokenizer.json", "tokenizer_config.json") if (adapter / name).exists()
    ]
    return {
        name: {side: fingerprint(path / name) if (path / name).exists() else "absent" for side, path in sides}
        for sides in [(("adapter", adapter), ("merged", merged))]
        for name in names
    }
