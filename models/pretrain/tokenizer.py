"""Train the tiny model's tokenizer and write it, with the chat template, into a model directory.

Reads the corpus generator and `models/tiny/chat_template.jinja`; writes `tokenizer.json`, `tokenizer_config.json` and
the template. Run: `python models/pretrain/tokenizer.py [directory]`. Weights belong to the tokenizer that they were
trained with: a new tokenizer needs a new run, so the directory may not hold weights yet.

Byte-level BPE. What is copied must be the same tokens wherever it stands, so a space is a token of its own before
content words (`Berlin` after a space and `Berlin` after a quote are one token), and digits stand alone. Frequent small
words take their space along, and the constant pieces of a JSON schema are single units, so that a tool is short.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from models.pretrain.corpus import Difficulty, draw_conversation
from models.pretrain.network import TINY
from models.pretrain.render import render

VOCABULARY = 3072
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MARKERS = (
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
    "<tools>",
    "</tools>",
    "<think>",
    "</think>",
)
SMALL_WORDS = (
    "a an and any are as at be by can do for from has have how i in is it me my need no not of off on or our please "
    "show tell that the their then there this to up use want was we what when where which with you your"
)
SCHEMA_PIECES = (
    r'\{"name": "',
    r'", "description": "',
    r'", "parameters": \{"type": "object", "properties": \{"?',
    r'": \{"type": "(?:string|number|integer|boolean|array|object)", "description": "',
    r'", "enum": \["',
    r'", "format": "date',
    r'", "items": \{"type": "(?:string|number)"',
    r'"?\]?\}{2,3}, "required": \["',
    r'"?\]?\}*, "additionalProperties": false\}\}',
    r'", "arguments": \{"?',
)
PATTERN = "|".join(
    (
        *SCHEMA_PIECES,
        rf" (?:{'|'.join(SMALL_WORDS.split())})(?![\p{{L}}\p{{M}}])",
        r"[\p{L}\p{M}]+",
        r"\p{N}",
        r'["\[\]{}:,](?: ?["\[\]{}:,])* ?',
        r"\n+",
        r"[^\S\n]+",
        r"[^\s\p{L}\p{M}\p{N}]",
    )
)


def _texts(count: int, seed: int) -> Iterator[str]:
    rng = Random(seed)
    for _ in range(count):
        yield "".join(text for text, _ in render(draw_conversation(rng, Difficulty.at(1.0))))


def train_tokenizer(conversations: int = 6000, seed: int = 1) -> Tokenizer:
    """Train the byte-level BPE on `conversations` random conversations."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    size = VOCABULARY - len(SPECIAL) - len(MARKERS)
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(_texts(conversations, seed), trainer)
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL])
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in MARKERS])
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, directory: Path, template: str) -> None:
    """Write the tokenizer and the chat template as transformers reads them."""
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_max_length=4096,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = template
    fast.save_pretrained(directory)


def main(argv: list[str]) -> None:
    """Train and write the tokenizer of the model directory that is named first."""
    directory = Path(argv[0] if argv else "runs/pretrain/model")
    if (directory / "model.safetensors").exists():
        raise SystemExit(
            f"{directory} holds weights for its present tokenizer; name another directory or delete them first"
        )
    template = (TINY / "chat_template.jinja").read_text(encoding="utf-8")
    directory.mkdir(parents=True, exist_ok=True)
    save_tokenizer(train_tokenizer(), directory, template)
    print(f"{directory}: {VOCABULARY} tokens")


if __name__ == "__main__":
    main(sys.argv[1:])
