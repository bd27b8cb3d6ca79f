"""What a model says to the fixed prompts when it always takes the likeliest token, and how that is read.

Reads and writes no files. Greedy means argmax of the logits: a model's own ``generation_config`` (a repetition penalty,
say) is left out, so that a reply follows from logits alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from merge.prompts import PROMPTS, Prompt
from toolwright.dialect import PLAIN, dialect_for, opened_reasoning, parse, render_prompt
from toolwright.errors import ModelError
from toolwright.records import Message, ToolCall

MOST_TOKENS = 96


@dataclass(frozen=True)
class Rendered:
    """A fixed prompt as a model gets it: text and ids, and the ids of prompt and good answer together."""

    prompt: Prompt
    text: str
    ids: tuple[int, ...]
    with_answer: tuple[int, ...]


def render_prompts(tokenizer: Any) -> list[Rendered]:
    """The fixed prompts that the chat template takes; some take no system message, or one call in a turn.

    Raises:
        ModelError: it takes none of them.
    """
    found: list[Rendered] = []
    for prompt in PROMPTS:
        try:
            text = render_prompt(tokenizer, prompt.messages, prompt.tools)
            whole = render_prompt(
                tokenizer, [*prompt.messages, prompt.answer], prompt.tools, add_generation_prompt=False
            )
        except ModelError as error:
            refusal = error
            continue
        found.append(Rendered(prompt, text, _ids(tokenizer, text), _ids(tokenizer, whole)))
    if not found:
        raise refusal
    return found


def _ids(tokenizer: Any, text: str) -> tuple[int, ...]:
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


def stop_ids(model: Any, tokenizer: Any) -> list[int]:
    """Tokens that end a reply: those of the model's ``generation_config``, and the tokenizer's own."""
    named = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    ids = [*(named if isinstance(named, list) else [named]), tokenizer.eos_token_id]
    return sorted({number for number in ids if number is not None})


@torch.no_grad()
def reply_greedily(model: Any, prompts: Sequence[Sequence[int]], stops: Sequence[int]) -> list[list[int]]:
    """The ids of a reply to each prompt, the token that ends it included."""
    from transformers import GenerationConfig

    longest = max(map(len, prompts))
    pad = stops[0] if stops else 0
    ids = torch.tensor([[pad] * (longest - len(prompt)) + list(prompt) for prompt in prompts], device=model.device)
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=model.device)
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    own, plain.generation_config = plain.generation_config, GenerationConfig()
    try:
        rows = plain.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=MOST_TOKENS,
            do_sample=False,
            eos_token_id=list(stops) or None,
            pad_token_id=pad,
        )[:, longest:].tolist()
    finally:
        plain.generation_config = own
    return [_up_to_stop(row, stops) for row in rows]


def _up_to_stop(row: list[int], stops: Sequence[int]) -> list[int]:
    end = next((index for index, token in enumerate(row) if token in stops), None)
    return row if end is None else row[: end + 1]


@dataclass(frozen=True)
class Said:
    """A reply as text, and as it is read: calls (name and arguments) and content."""

    text: str
    content: str
    calls: tuple[ToolCall, ...]

    def same(self, other: "Said") -> bool:
        """Whether it comes to the same: calls and content, whatever the blanks."""
        ours, theirs = ([(call.name, call.arguments) for call in said.calls] for said in (self, other))
        return ours == theirs and self.content.strip() == other.content.strip()


def read_reply(rendered: Rendered, reply: Sequence[int], stops: Sequence[int], tokenizer: Any, dialect: str) -> Said:
    """Read what a model replied, without the token that ends it."""
    body = reply[:-1] if reply and reply[-1] in stops else reply
    text = str(tokenizer.decode(list(body), skip_special_tokens=False, clean_up_tokenization_spaces=False))
    tools = rendered.prompt.tools
    parsed = parse(opened_reasoning(rendered.text, dialect) + text, dialect, tools, calls=bool(tools))
    return Said(text, parsed.content or "", parsed.calls)


def find_dialect(model_type: str, tokenizer: Any) -> str:
    """How the model writes calls; the dialect without calls where that is not known."""
    template = tokenizer.chat_template
    try:
        return dialect_for(model_type, template if isinstance(template, str) else str(template))
    except ModelError:
        return PLAIN


def terminator(tokenizer: Any) -> str | None:
    """The token with which the chat template ends an assistant's turn, if that is one token."""
    said = "Quibbit."
    messages = (Message(role="user", content="Plinth?"), Message(role="assistant", content=said))
    try:
        text = render_prompt(tokenizer, messages, (), add_generation_prompt=False)
    except ModelError:
        return None
    tail = text.rpartition(said)[2].lstrip()
    ids = tokenizer(tail, add_special_tokens=False)["input_ids"]
    token = tokenizer.convert_ids_to_tokens(ids[0]) if ids else None
    return token if token in tokenizer.all_special_tokens or token in tokenizer.get_added_vocab() else None


def stops_of(merged: Path) -> set[int]:
    """The ids that end a reply by ``generation_config.json``, or by ``config.json`` where there is none."""
    from transformers import AutoConfig, GenerationConfig

    try:
        named = GenerationConfig.from_pretrained(str(merged)).eos_token_id
    except OSError:
        config = AutoConfig.from_pretrained(str(merged))
        named = getattr(config.get_text_config(), "eos_token_id", None)
    return set(named if isinstance(named, list) else [named] if named is not None else [])
