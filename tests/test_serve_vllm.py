"""The command line that vLLM is started with."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from families import template_text

from serve.target import Target
from serve.vllm import build_argv
from toolwright.config import RunConfig, ServeConfig
from toolwright.dialect import DIALECTS
from toolwright.errors import ConfigError, ModelError

FAMILIES = {
    "cohere2": "cohere_command3",
    "deepseekv3": "deepseek_v3",
    "gemma4": "gemma4",
    "glm4moe": "glm45",
    "gptoss": "openai",
    "lfm2": "lfm2",
    "llama3_1": "llama3_json",
    "nemotron_3_nano": "qwen3_coder",
    "qwen3": "hermes",
    "qwen3_5_think": "qwen3_coder",
}
HERMES = """{% if tools %}<tool_call>{"name": "", "arguments": {}}</tool_call>{% endif %}"""


def make_dir(path: Path, config: dict[str, Any], template: str | None = None) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    if template is not None:
        (path / "chat_template.jinja").write_text(template)
    return path


def argv(target: Target, *further: str, **serve: Any) -> list[str]:
    return build_argv(RunConfig(serve=ServeConfig(**serve)), target, 8001, further)


def test_a_merged_model_is_served_with_its_name_and_parser(tmp_path: Path) -> None:
    model = make_dir(tmp_path / "m", {"model_type": "qwen3"}, HERMES)
    target = Target("merged", str(model), vllm="/venv/bin/vllm", api_key="secret")
    line = argv(target, "--dtype", "half", max_model_len=4096, vllm_args=["--enforce-eager"])
    assert line == (
        f"/venv/bin/vllm serve {model} --host 127.0.0.1 --port 8001 --served-model-name merged "
        "--tool-call-parser hermes --enable-auto-tool-choice --max-model-len 4096 --enforce-eager --dtype half"
    ).split(" ")
    assert "secret" not in " ".join(line)


def test_an_adapter_has_the_name_that_clients_ask_for_and_its_own_template(tmp_path: Path) -> None:
    model = make_dir(tmp_path / "m", {"model_type": "qwen3"}, HERMES)
    adapter = make_dir(tmp_path / "a", {}, HERMES)
    (adapter / "adapter_config.json").write_text('{"r": 48}')
    line = " ".join(argv(Target("m+sft", str(model), adapter, vllm="vllm")))
    assert f"--enable-lora --max-lora-rank 64 --lora-modules m+sft={adapter}" in line
    assert "--served-model-name m+sft/base" in line
    assert f"--chat-template {adapter}/chat_template.jinja" in line


@pytest.mark.parametrize(
    ("config", "template", "parser"),
    [
        ({"model_type": "qwen2"}, None, "hermes"),
        ({"model_type": "llama"}, HERMES, "hermes"),
        *(({"model_type": "any"}, template_text(name), parser) for name, parser in FAMILIES.items()),
    ],
)
def test_the_parser_follows_the_template_or_the_family(
    tmp_path: Path, config: dict[str, Any], template: str | None, parser: str
) -> None:
    line = argv(Target("m", str(make_dir(tmp_path / "m", config, template)), vllm="vllm"))
    assert line[line.index("--tool-call-parser") + 1] == parser


def test_a_template_inside_the_tokenizer_configuration_is_read(tmp_path: Path) -> None:
    model = make_dir(tmp_path / "m", {"model_type": "other"})
    (model / "tokenizer_config.json").write_text(json.dumps({"chat_template": HERMES}))
    assert "hermes" in argv(Target("m", str(model), vllm="vllm"))


def test_a_hub_id_goes_by_its_family() -> None:
    assert "hermes" in argv(Target("Qwen/Qwen3-4B", "Qwen/Qwen3-4B", vllm="vllm"))


def test_a_model_whose_calls_we_cannot_read_needs_a_parser_from_the_user(tmp_path: Path) -> None:
    target = Target("m", str(make_dir(tmp_path / "m", {"model_type": "other"}, "{{ tools }}")), vllm="vllm")
    with pytest.raises(
        ModelError, match=r"cannot tell how this model writes tool calls.*or name a parser of vLLM's: --"
    ):
        argv(target)
    line = argv(target, "--tool-call-parser", "other_json")
    assert line.count("--tool-call-parser") == 1


def test_a_dialect_without_a_parser_in_vllm_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DIALECTS, "hermes", replace(DIALECTS["hermes"], vllm_parser=""))
    target = Target("m", str(make_dir(tmp_path / "m", {"model_type": "qwen3"}, HERMES)), vllm="vllm")
    with pytest.raises(
        ModelError, match=r"use serve\.engine=transformers, or name one of your own: -- --tool-call-parser"
    ):
        argv(target)
    assert "mine" in argv(target, "--tool-call-parser=mine")[-1]


@pytest.mark.parametrize("flag", ["--port=1", "--host", "--served-model-name", "--api-key"])
def test_flags_that_this_command_sets_are_refused(flag: str) -> None:
    with pytest.raises(ConfigError, match=f"{flag}: set it with a flag before --"):
        argv(Target("m", "Qwen/Qwen3-4B", vllm="vllm"), flag)
