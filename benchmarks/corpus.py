"""Synthetic tool conversations for the benchmarks, and a tokenizer that is trained on them.

``shared``: 20 tool sets of 28 tools, about 23 messages a conversation; most of its tokens are schemas that come again.
``unique``: a tool set of its own for each conversation (3 to 5 tools), about 12 messages.
``recurring``: as ``unique``, but each set is drawn from the same 300 tools, so that tools come again and sets do not.
Words are made of syllables and come by Zipf's law, so nothing here depends on a download. As in English, only some
texts have letters beyond ASCII. Reads and writes no files.
"""

import itertools
import json
import random
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

Row = dict[str, Any]
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
WHOLE_TOKENS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>")
QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

_N_WORDS = 12_000
_ONSETS = ("b", "c", "d", "f", "g", "h", "l", "m", "n", "p", "r", "s", "t", "v", "st", "tr", "pl", "ch")
_SYLLABLES = [onset + rest for onset in _ONSETS for rest in ("a", "e", "i", "o", "u", "an", "er", "in", "or", "ou")]
_TYPES = ("string", "integer", "number", "boolean", "array")
_SYSTEM = "You are a careful assistant. "


def shared(n: int, seed: int) -> list[Row]:
    """``n`` conversations over 20 tool sets of 28 tools."""
    draw = random.Random(f"shared-{seed}")
    sets = [[_tool(draw) for _ in range(28)] for _ in range(20)]
    systems = [_SYSTEM + _sentence(draw, 60) for _ in sets]
    chosen = [draw.randrange(len(sets)) for _ in range(n)]
    return [_row(draw, sets[index], systems[index], draw.randint(18, 24), 65) for index in chosen]


def unique(n: int, seed: int) -> list[Row]:
    """``n`` conversations with a tool set of their own each."""
    draw = random.Random(f"unique-{seed}")
    return [
        _row(draw, [_tool(draw) for _ in range(draw.randint(3, 5))], _SYSTEM, draw.randint(8, 12), 115)
        for _ in range(n)
    ]


def recurring(n: int, seed: int) -> list[Row]:
    """``n`` conversations with a tool set of their own each, drawn from 300 tools."""
    draw = random.Random(f"recurring-{seed}")
    tools = [_tool(draw) for _ in range(300)]
    return [_row(draw, draw.sample(tools, draw.randint(3, 5)), _SYSTEM, draw.randint(8, 12), 115) for _ in range(n)]


CORPORA: Mapping[str, Callable[[int, int], list[Row]]] = {"shared": shared, "unique": unique, "recurring": recurring}


def train_tokenizer(rows: Sequence[Mapping[str, Any]], vocabulary: int = 32_000) -> Any:
    """A byte-level BPE tokenizer with the special tokens and the splitting of Qwen, trained on ``rows``.

    The vocabulary is smaller where the corpus does not give as many merges.
    """
    from transformers import PreTrainedTokenizerFast

    engine = Tokenizer(models.BPE())
    engine.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(QWEN_SPLIT), behavior="isolated")
    engine.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    engine.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(SPECIAL_TOKENS) - len(WHOLE_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    engine.train_from_iterator((json.dumps(row, ensure_ascii=False) for row in rows), trainer)
    engine.add_special_tokens(list(SPECIAL_TOKENS))
    engine.add_tokens(list(WHOLE_TOKENS))
    return PreTrainedTokenizerFast(
        tokenizer_object=engine,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        clean_up_tokenization_spaces=False,
    )


@lru_cache
def _words() -> tuple[list[str], list[float]]:
    """All words, and their summed frequencies: the word of rank r comes about 1 / (r + 20) as often."""
    draw = random.Random("words")
    words = {"".join(draw.choices(_SYLLABLES, k=draw.choice((1, 2, 2, 3, 3, 4)))): None for _ in range(3 * _N_WORDS)}
    kept = list(words)[:_N_WORDS]
    return kept, list(itertools.accumulate(1 / (rank + 20) for rank in range(len(kept))))


def _pick(draw: random.Random, count: int) -> list[str]:
    words, frequencies = _words()
    return draw.choices(words, cum_weights=frequencies, k=count)


def _name(draw: random.Random, parts: int) -> str:
    return "_".join(_pick(draw, parts))


def _sentence(draw: random.Random, words: int) -> str:
    """About ``words`` words with sentences, numbers and now and then a line break."""
    text = _pick(draw, max(1, round(draw.uniform(0.5, 1.5) * words)))
    for at in range(draw.randint(4, 12), len(text), 11):
        text[at] = draw.choice((f"{text[at]}.", f"{text[at]},", f"{text[at]}?\n", str(draw.randint(0, 9999)), '"so"'))
    if draw.random() < words / 1000:  # a text of fifty words in twenty
        text[draw.randrange(len(text))] = draw.choice(("café", "“so”", "Zürich", "20 °C", "東京"))
    return " ".join(text).capitalize() + "."


def _tool(draw: random.Random) -> Row:
    properties: dict[str, Any] = {}
    for _ in range(draw.randint(1, 4)):
        kind = draw.choice(_TYPES)
        schema: dict[str, Any] = {"type": kind, "description": _sentence(draw, 5)}
        if kind == "array":
            schema["items"] = {"type": "string"}
        elif kind == "string" and draw.random() < 0.2:
            schema["enum"] = _pick(draw, 3)
        properties[_name(draw, draw.randint(1, 2))] = schema
    parameters = {"type": "object", "properties": properties, "required": list(properties)[:2]}
    function = {"name": _name(draw, 3), "description": _sentence(draw, 12), "parameters": parameters}
    return {"type": "function", "function": function}


def _value(draw: random.Random, schema: Mapping[str, Any]) -> Any:
    if "enum" in schema:
        return draw.choice(schema["enum"])
    kind = schema["type"]
    if kind == "string":
        return " ".join(_pick(draw, draw.randint(1, 6)))
    if kind == "array":
        return _pick(draw, draw.randint(1, 4))
    return {"integer": draw.randint(-5, 5000), "number": round(draw.uniform(-90, 90), 3), "boolean": True}[kind]


def _call(draw: random.Random, tools: Sequence[Row], number: int) -> Row:
    function = draw.choice(tools)["function"]
    arguments = {name: _value(draw, schema) for name, schema in function["parameters"]["properties"].items()}
    text = json.dumps(arguments, ensure_ascii=False)
    return {"id": f"call_{number}", "type": "function", "function": {"name": function["name"], "arguments": text}}


def _result(draw: random.Random, words: int) -> str:
    if draw.random() < 0.3:
        return _sentence(draw, words)
    found = {_name(draw, 2): draw.choice((draw.randint(0, 99999), _sentence(draw, 8))) for _ in range(words // 10)}
    return json.dumps({"ok": True, "result": found}, ensure_ascii=False)


def _row(draw: random.Random, tools: Sequence[Row], system: str, n_messages: int, words: int) -> Row:
    """Rounds of a question, calls with their results and an answer, until there are ``n_messages`` or a few more."""
    messages: list[Row] = [{"role": "system", "content": system}]
    number = itertools.count()
    while len(messages) < n_messages:
        messages.append({"role": "user", "content": _sentence(draw, words)})
        for _ in range(draw.choice((0, 1, 1, 1, 2))):
            calls = [_call(draw, tools, next(number)) for _ in range(draw.choice((1, 1, 1, 2)))]
            content = _sentence(draw, 10) if draw.random() < 0.3 else None
            messages.append({"role": "assistant", "content": content, "tool_calls": calls})
            messages += [
                {"role": "tool", "content": _result(draw, words), "tool_call_id": call["id"]} for call in calls
            ]
        messages.append({"role": "assistant", "content": _sentence(draw, words)})
    return {"messages": messages, "tools": list(tools)}
