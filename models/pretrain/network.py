"""The tiny Qwen3 network: its configuration, its export, and nothing else.

Writes an HF directory beside the wanted one and then moves its files there, so nobody reads a half-written model.
"""

import os
import shutil
import tempfile
from pathlib import Path

import torch
from transformers import AutoTokenizer, GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

TINY = Path(__file__).resolve().parents[1] / "tiny"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def ensure_tokenizer(directory: Path) -> None:
    """Copy the shipped tokenizer and chat template to `directory` where it has none."""
    directory.mkdir(parents=True, exist_ok=True)
    if not (directory / "tokenizer.json").exists():
        for name in TOKENIZER_FILES:
            shutil.copy(TINY / name, directory / name)


def load_tokenizer(directory: Path) -> PreTrainedTokenizerFast:
    """Load the tokenizer of a model directory."""
    tokenizer = AutoTokenizer.from_pretrained(directory)
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    return tokenizer


def build_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> Qwen3ForCausalLM:
    """Build the network with random weights (float32)."""
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=64,
        max_position_embeddings=4096,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return Qwen3ForCausalLM(config)


def export_model(weights: dict[str, torch.Tensor], model: Qwen3ForCausalLM, directory: Path) -> None:
    """Write `weights` in bfloat16 with the configs of `model` to `directory`, each file moved into place whole."""
    copy = Qwen3ForCausalLM(model.config)
    copy.load_state_dict(weights, strict=False)
    copy.tie_weights()
    copy = copy.to(torch.bfloat16)
    copy.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=model.config.eos_token_id, pad_token_id=model.config.pad_token_id
    )
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".export-") as beside:
        copy.save_pretrained(beside)
        for file in Path(beside).iterdir():
            file.chmod(0o644)
            os.replace(file, directory / file.name)
