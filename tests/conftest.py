"""What tests share: a small model with random weights, the tokenizer and chat template of ``models/tiny``."""

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says more about the other programs of the machine than about ours.
settings.register_profile("any_machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any_machine")

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_configure() -> None:
    """Tests may run in the background or under ``nohup``; the programs that they start are to see signals all the same.

    What a process ignores its children ignore; what it handles they begin anew with.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


@pytest.fixture(scope="session")
def small_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen3 of two layers with random weights (float32), as a model directory."""
    return make_small_model(tmp_path_factory.mktemp("small") / "model")


def make_small_model(directory: Path, **changes: Any) -> Path:
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    directory.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(REPOSITORY / "models/tiny" / name, directory / name)
    vocabulary = json.loads((directory / "tokenizer.json").read_text())
    ids = {token["content"]: token["id"] for token in vocabulary["added_tokens"]}
    torch.manual_seed(0)
    settings = {
        "vocab_size": max(ids.values()) + 1,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
    }
    Qwen3ForCausalLM(Qwen3Config(**(settings | changes))).save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Path]:
    """``make_model(directory, **changes of Qwen3Config)``: another small model."""
    return make_small_model


@pytest.fixture(scope="session")
def tokenizer(small_model_dir: Path) -> Any:
    from toolwright.model import load_tokenizer

    return load_tokenizer(small_model_dir)
