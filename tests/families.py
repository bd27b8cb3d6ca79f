"""One tokenizer for each chat template that TRL's wheel carries, with the special tokens of its family.

The words come from one small byte-level BPE that is trained here; templates are read from the installed package.
"""

import re
from functools import cache
from importlib.resources import files
from typing import Any

# Whatever the templates of a family write as one token; text such as <tools> is ordinary.
_SPECIAL = re.compile(
    r"<\|[a-zA-Z0-9_\"]+\|?>|<[a-z_]+\|>|<｜[^｜<>]+｜>|</?s>|<bos>|<eos>|<(?:start|end)_of_(?:turn|utterance|image)>"
    r"|\[gMASK\]|<sop>|\[/?(?:INST|AVAILABLE_TOOLS|TOOL_RESULTS|TOOL_CALLS|ARGS)\]|<(?:BOS|EOS)_TOKEN>"
)
_ADDED = re.compile(r"</?(?:tool_call|tool_response|think)>")
_BOS_EOS = {
    "cohere": ("<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>"),
    "deepseek": ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
    "gemma": ("<bos>", "<eos>"),
    "diffusion_gemma": ("<bos>", "<eos>"),
    "llama3": ("<|begin_of_text|>", "<|eot_id|>"),
    "phi3": ("<s>", "<|endoftext|>"),
    "gptoss": ("<|startoftext|>", "<|return|>"),
    "lfm2": ("<|startoftext|>", "<|im_end|>"),
    "muse": ("<|begin_of_text|>", "<|eot|>"),
    "glm": (None, "<|endoftext|>"),
}
_TEXT = (
    "The weather in Oslo is sunny and 18 degrees. Which city do you mean? I looked it up and found 3 results.\n"
    '{"name": "get_weather", "arguments": {"city": "Bergen", "days": 7, "unit": "C"}}\n'
    "system user assistant tool model functions analysis commentary final\n"
) * 40
_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def template_names(training: bool = False) -> list[str]:
    """Names of the chat templates in TRL's wheel; with ``training``, of TRL's patched ones."""
    names = [path.name.removesuffix(".jinja") for path in _folder().iterdir() if path.name.endswith(".jinja")]
    return sorted(name for name in names if name.endswith("_training") == training)


def template_text(name: str) -> str:
    return (_folder() / f"{name}.jinja").read_text(encoding="utf-8")


@cache
def family_tokenizer(name: str) -> Any:
    """A tokenizer with the chat template ``name``."""
    return make_tokenizer(template_text(name), name)


def make_tokenizer(template: str, family: str = "") -> Any:
    """A tokenizer with ``template`` as its chat template and the special tokens that stand in it."""
    from tokenizers import AddedToken, Tokenizer
    from transformers import PreTrainedTokenizerFast

    bos, eos = next((pair for key, pair in _BOS_EOS.items() if family.startswith(key)), (None, None))
    special = sorted({*_SPECIAL.findall(template), "<|endoftext|>", *filter(None, (bos, eos))})
    engine = Tokenizer.from_str(_words())
    engine.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    engine.add_tokens([AddedToken(token, normalized=False) for token in sorted(set(_ADDED.findall(template)))])
    end = eos or next((token for token in ("<|im_end|>", "</s>") if token in special), "<|endoftext|>")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=engine, bos_token=bos, eos_token=end, pad_token="<|endoftext|>", name_or_path=family or "made"
    )
    tokenizer.chat_template = template
    return tokenizer


@cache
def _words() -> str:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([_TEXT], trainer)
    return tokenizer.to_str()


def _folder() -> Any:
    return files("trl") / "chat_templates"
