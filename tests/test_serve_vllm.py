"""The command line that vLLM is started with."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from families import family_tokenizer, template_text

from serve.families import FAMILIES as FAMILY_TABLE
from serve.families import NEMOTRON, family_flags, thinks
from serve.target import Target, find_target
from serve.vllm import build_argv
from toolwright.config import RunConfig, ServeConfig
from toolwright.dialect import DIALECTS, dialect_for
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
        "--tool-call-parser hermes --enable-auto-tool-choice --shutdown-timeout 30 --max-model-len 4096 "
        "--enforce-eager --dtype half"
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


TOOL_PARSERS = """
apertus cohere_command3 cohere_command4 deepseek_v3 deepseek_v31 deepseek_v32 deepseek_v4 deepseek_v41 dots ernie45
functiongemma gemma4 gigachat3 glm45 glm47 granite granite-20b-fc granite4 hermes hf hunyuan_a13b hy_v3 hy_v4 inkling
internlm jamba k2_horizon kimi_k2 kimi_k3 lfm2 ling3 llama3_json llama4_json llama4_pythonic longcat mimo minicpm5
minimax_m2 minimax_m3 mistral muse_glimmer olmo3 openai phi4_mini_json plamo3 poolside_v1 pythonic qwen3_coder
qwen3_json qwen3_xml seed_oss step3 step3p5 xlam
"""
REASONING_PARSERS = """
cohere_command3 cohere_command4 deepseek_r1 deepseek_v3 deepseek_v4 deepseek_v41 ernie45 gemma4 glm45 glm47 granite
granite_thinking_parser hf holo2 hunyuan_a13b hy_v3 hy_v4 inkling k2_horizon kimi_k2 kimi_k3 ling3 mimo minicpmv
minimax_m2 minimax_m2_append_think minimax_m3 mistral muse_glimmer nemotron_v3 olmo3 openai_gptoss plamo3 poolside_v1
qwen3 seed_oss step3 step3p5
"""


def test_every_parser_that_we_name_is_one_of_vllm_0_32() -> None:
    """The names are those that vllm 0.32.0 registers, read on 21 November 2026."""
    assert FAMILY_TABLE.keys() == DIALECTS.keys()
    assert {dialect.vllm_parser for dialect in DIALECTS.values()} <= set(TOOL_PARSERS.split())
    named = {family.reasoning for family in FAMILY_TABLE.values()} - {""}
    assert named | {NEMOTRON} <= set(REASONING_PARSERS.split())


@pytest.mark.parametrize(
    ("family", "kwargs", "replies", "parser"),
    [
        ("qwen3", {}, (), "qwen3"),
        ("qwen3", {"enable_thinking": False}, (), None),
        ("qwen3", {}, ("<tool_call>", "Sure."), None),
        ("qwen3", {}, ("<think>\n\n</think>\n\n<tool_call>",), "qwen3"),
        ("qwen3_instruct_2507", {}, (), None),
        ("qwen2_5", {}, (), None),
        ("qwen3_5_think", {}, ("Sure.",), "qwen3"),
        ("qwen3_5_nothink", {}, (), None),
        ("nemotron_3_nano", {}, (), "nemotron_v3"),
        ("deepseek_r1_distill", {}, (), "deepseek_r1"),
        ("glm4moe", {}, (), "glm45"),
        ("gptoss", {}, (), "openai_gptoss"),
        ("cohere2", {}, (), "cohere_command3"),
        ("gemma4", {}, (), "gemma4"),
        ("muse_glimmer", {}, (), "muse_glimmer"),
        ("llama3_1", {}, (), None),
        ("lfm2", {}, (), None),
    ],
)
def test_reasoning_is_parsed_only_where_the_model_reasons(
    family: str, kwargs: dict[str, Any], replies: tuple[str, ...], parser: str | None
) -> None:
    """vLLM's parser would take a whole reply for reasoning if it has no mark that ends it."""
    tokenizer = family_tokenizer(family)
    dialect = dialect_for(family, tokenizer.chat_template)
    flags = family_flags(
        family,
        tokenizer.chat_template,
        thinks=thinks(tokenizer, dialect, kwargs, replies),
        template_kwargs=kwargs,
        given=(),
    )
    assert (flags[flags.index("--reasoning-parser") + 1] if "--reasoning-parser" in flags else None) == parser
    if kwargs:
        assert flags[-2:] == ["--default-chat-template-kwargs", json.dumps(kwargs)]


def test_what_the_user_gives_is_not_given_twice() -> None:
    given = ("--reasoning-parser=mine", "--tool-call-parser", "x", "--default-chat-template-kwargs", "{}")
    flags = family_flags("qwen3", HERMES, thinks=True, template_kwargs={"a": 1}, given=given)
    assert flags == []


def test_mistral_is_rendered_with_the_template_that_it_learnt(tmp_path: Path) -> None:
    template = "{{ bos_token }}[AVAILABLE_TOOLS]{{ tools }}[TOOL_CALLS]{{ messages }}[/TOOL_CALLS]"
    model = make_dir(tmp_path / "m", {"model_type": "mistral"}, template)
    line = argv(Target("m", str(model), vllm="vllm"))
    assert line[line.index("--tokenizer-mode") + 1] == "hf"
    assert line[line.index("--reasoning-parser") + 1] == "mistral"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"r": 8, "use_dora": True}, "an adapter with DoRA; vLLM serves plain LoRA only: merge it first"),
        ({"r": 8, "modules_to_save": ["lm_head"]}, "an adapter with whole modules"),
    ],
)
def test_an_adapter_that_vllm_does_not_serve_is_refused(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    model = make_dir(tmp_path / "m", {"model_type": "qwen3"}, HERMES)
    adapter = make_dir(tmp_path / "a", {}, HERMES)
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelError, match=message):
        argv(Target("m", str(model), adapter, vllm="vllm"))


def test_an_adapter_brings_its_tokenizer_and_its_largest_rank(tmp_path: Path) -> None:
    model = make_dir(tmp_path / "m", {"model_type": "qwen3"}, HERMES)
    adapter = make_dir(tmp_path / "a", {}, HERMES)
    (adapter / "adapter_config.json").write_text(json.dumps({"r": 8, "rank_pattern": {"q_proj": 100}}))
    (adapter / "tokenizer.json").write_text("{}")
    line = " ".join(argv(Target("m", str(model), adapter, vllm="vllm")))
    assert f"--max-lora-rank 128 --lora-modules m={adapter} --tokenizer {adapter}" in line


@pytest.mark.parametrize(
    ("package", "engine", "expected"),
    [
        (None, "auto", "vllm"),
        ("vllm-0.32.0+cpu.dist-info", "auto", "vllm"),
        ("vllm-0.32.0.dist-info", "auto", "transformers"),
        ("vllm-0.32.0.dist-info", "vllm", "vllm"),
    ],
)
def test_a_vllm_for_gpus_is_not_chosen_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str | None, engine: Any, expected: str
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/vllm").write_text("#!/bin/sh\n")
    (tmp_path / "bin/vllm").chmod(0o755)
    if package:
        (tmp_path / "lib/python3.11/site-packages" / package).mkdir(parents=True)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("VLLM_BIN", raising=False)
    assert find_target(RunConfig(serve=ServeConfig(model="base", engine=engine))).engine == expected
