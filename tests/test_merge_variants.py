"""Every kind of LoRA that streaming merges, held against PEFT: bit for bit where PEFT rounds once."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from merging import by_peft, convert, differing, make_adapter, merged, tensors_of

from merge.adapter import Adapter, Source
from toolwright.errors import ModelError
from toolwright.model import load_adapter, load_model

UNTIED = {"tie_word_embeddings": False}
BIASED = {"attention_bias": True}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory, make_model: Callable[..., Path]) -> Callable[..., Path]:
    """``bases(dtype, **changes)``: a small model of that type in several files, made once."""
    made: dict[str, Path] = {}

    def base(dtype: str = "bfloat16", **changes: Any) -> Path:
        key = json.dumps([dtype, changes], sort_keys=True)
        if key not in made:
            directory = tmp_path_factory.mktemp("base")
            made[key] = convert(make_model(directory / "float32", **changes), directory / "model", dtype)
        return made[key]

    return base


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_plain_lora_gives_the_bits_of_peft(tmp_path: Path, bases: Callable[..., Path], dtype: str) -> None:
    base = bases(dtype)
    adapter = make_adapter(base, tmp_path / "adapter")
    applied = merged(base, tmp_path / "merged", adapter, threads=2)
    assert differing(tmp_path / "merged", by_peft(base, adapter, tmp_path / "peft")) == {}
    assert len(differing(tmp_path / "merged", base)) == applied.weights_changed == 14
    assert applied.adapter_tensors == 28


@pytest.mark.parametrize(
    ("model", "lora"),
    [
        ({}, {"r": 24, "lora_alpha": 18, "use_rslora": True}),
        ({}, {"rank_pattern": {"q_proj": 2, "layers.1.mlp.up_proj": 24}, "alpha_pattern": {"v_proj": 32}}),
        ({}, {"lora_alpha": 3}),
        ({}, {"use_dora": True}),
        ({}, {"use_dora": True, "use_rslora": True, "r": 8, "lora_alpha": 5}),
        ({}, {"target_modules": ["down_proj"], "layers_to_transform": [1]}),
        (BIASED, {"bias": "all"}),
        (BIASED, {"target_modules": ["q_proj", "k_proj"], "bias": "lora_only", "lora_bias": True}),
        (UNTIED, {"target_modules": ["q_proj", "lm_head"]}),
        (UNTIED, {"target_modules": ["q_proj", "embed_tokens"], "use_dora": True}),
        (UNTIED, {"modules_to_save": ["lm_head", "norm", "input_layernorm"]}),
        (UNTIED, {"trainable_token_indices": {"embed_tokens": [3, 77], "lm_head": [5]}}),
        ({}, {"trainable_token_indices": [3, 77]}),
        ({}, {"init_lora_weights": "gaussian", "lora_dropout": 0.1}),
    ],
    ids=lambda value: ",".join(value) or "plain",
)
def test_variants_give_the_bits_of_peft(
    tmp_path: Path, bases: Callable[..., Path], model: dict[str, Any], lora: dict[str, Any]
) -> None:
    base = bases(**model)
    adapter = make_adapter(base, tmp_path / "adapter", **lora)
    merged(base, tmp_path / "merged", adapter, threads=2)
    assert differing(tmp_path / "merged", base)
    assert differing(tmp_path / "merged", by_peft(base, adapter, tmp_path / "peft")) == {}


def test_an_embedding_is_rounded_once_where_peft_rounds_twice(tmp_path: Path, bases: Callable[..., Path]) -> None:
    base = bases(**UNTIED)
    adapter = make_adapter(base, tmp_path / "adapter", target_modules=["embed_tokens"])
    merged(base, tmp_path / "merged", adapter)
    weights = load_adapter(load_model(base), adapter, base).get_input_embeddings()
    delta = weights.get_delta_weight("default")
    exact = weights.base_layer.weight.float() + delta
    name = "model.embed_tokens.weight"
    ours, theirs = tensors_of(tmp_path / "merged")[name], tensors_of(by_peft(base, adapter, tmp_path / "peft"))[name]
    assert torch.equal(ours, exact.bfloat16())
    assert (ours.float() - exact).abs().sum() < (theirs.float() - exact).abs().sum()


@pytest.mark.parametrize("layer", ["embed_tokens", "lm_head"])
def test_lora_on_tied_embeddings_is_refused(tmp_path: Path, bases: Callable[..., Path], layer: str) -> None:
    adapter = make_adapter(bases(), tmp_path / "adapter", target_modules=["q_proj", layer])
    with pytest.raises(ModelError, match="which the base ties to its other embedding"):
        merged(bases(), tmp_path / "merged", adapter)
    assert not list(tmp_path.glob("*merged*"))


@pytest.mark.parametrize("saved", [["lm_head"], ["embed_tokens"], ["embed_tokens", "lm_head"]])
def test_saved_modules_on_tied_embeddings_untie_them(
    tmp_path: Path, bases: Callable[..., Path], saved: list[str]
) -> None:
    adapter = make_adapter(bases(), tmp_path / "adapter", modules_to_save=saved)
    applied = merged(bases(), tmp_path / "merged", adapter)
    assert applied.config == {"tie_word_embeddings": False}
    assert_same_logits(bases(), adapter, tmp_path / "merged")
    assert differing(tmp_path / "merged", by_peft(bases(), adapter, tmp_path / "peft")) == {}


def test_embeddings_that_are_trained_as_one_stay_one(tmp_path: Path, bases: Callable[..., Path]) -> None:
    adapter = make_adapter(bases(), tmp_path / "adapter", modules_to_save=["embed_tokens"], ensure_weight_tying=True)
    applied = merged(bases(), tmp_path / "merged", adapter)
    assert applied.config == {}
    assert "lm_head.weight" not in tensors_of(tmp_path / "merged")
    assert_same_logits(bases(), adapter, tmp_path / "merged")


def assert_same_logits(base: Path, adapter: Path, result: Path) -> None:
    """In float32 of both, so that nothing but the one rounding is between them."""
    ids = torch.arange(20).unsqueeze(0)
    with torch.no_grad():
        expected = load_adapter(load_model(base).float(), adapter, base)(input_ids=ids).logits
        actual = load_model(result).float()(input_ids=ids).logits
    assert (expected - actual).abs().max() < 0.02 * expected.abs().max()


@pytest.mark.parametrize("tied", [True, False])
def test_a_resized_vocabulary_is_taken_over(tmp_path: Path, make_model: Callable[..., Path], tied: bool) -> None:
    base = make_model(tmp_path / "base", tie_word_embeddings=tied)
    model = load_model(base)
    before = model.config.vocab_size
    model.resize_token_embeddings(before + 8)
    adapter = make_adapter(base, tmp_path / "adapter", model=model)
    merged(base, tmp_path / "merged", adapter)
    result = load_model(tmp_path / "merged")
    assert result.config.vocab_size == before + 8
    assert result.config.tie_word_embeddings is tied
    assert torch.equal(result.get_input_embeddings().weight, model.get_input_embeddings().weight)
    assert result.get_output_embeddings().weight.shape[0] == before + 8


def test_adapters_in_a_row_are_summed_with_their_weights_and_rounded_once(
    tmp_path: Path, bases: Callable[..., Path]
) -> None:
    first = make_adapter(bases(), tmp_path / "first")
    second = make_adapter(bases(), tmp_path / "second", seed=2, target_modules=["q_proj"], r=2)
    merged(bases(), tmp_path / "merged", first, Source(second, 0.3))
    name = "model.layers.0.self_attn.q_proj"
    exact = tensors_of(bases())[f"{name}.weight"].float()
    for adapter, factor in ((first, 8 / 4), (second, 8 / 2 * 0.3)):
        from safetensors.torch import load_file

        lora = load_file(adapter / "adapter_model.safetensors")
        stem = f"base_model.model.{name}.lora_"
        exact = exact + lora[f"{stem}B.weight"] @ lora[f"{stem}A.weight"] * factor
    assert torch.equal(tensors_of(tmp_path / "merged")[f"{name}.weight"], exact.bfloat16())


def test_dora_is_not_merged_in_a_row(tmp_path: Path, bases: Callable[..., Path]) -> None:
    first = make_adapter(bases(), tmp_path / "first")
    second = make_adapter(bases(), tmp_path / "second", use_dora=True)
    with pytest.raises(ModelError, match=r"lora_magnitude_vector, which cannot be merged in a row"):
        merged(bases(), tmp_path / "merged", first, second)


@pytest.mark.parametrize("experts", ["apart", "joined"])
def test_experts_are_merged_in_either_layout(tmp_path: Path, experts: str) -> None:
    from safetensors.torch import save_file
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    torch.manual_seed(0)
    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "moe_intermediate_size": 24}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "num_hidden_layers": 2}
    model = Qwen3MoeForCausalLM(Qwen3MoeConfig(**sizes, **heads, num_experts=4, num_experts_per_tok=2))
    base = tmp_path / "base"
    model.save_pretrained(base)
    adapter = make_adapter(
        base,
        tmp_path / "adapter",
        target_modules=["q_proj"],
        target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"],
    )
    expected = tensors_of(by_peft(base, adapter, tmp_path / "peft"))
    if experts == "joined":  # as gpt-oss and others keep them
        joined = {name: weight.contiguous() for name, weight in model.state_dict().items()}
        save_file(joined, base / "model.safetensors", {"format": "pt"})
    merged(base, tmp_path / "merged", adapter)
    actual = tensors_of(tmp_path / "merged")
    for layer in range(2):
        for expert in range(4):
            stem = f"model.layers.{layer}.mlp.experts"
            gate, up, down = (expected[f"{stem}.{expert}.{part}_proj.weight"] for part in ("gate", "up", "down"))
            if experts == "joined":
                assert torch.allclose(actual[f"{stem}.gate_up_proj"][expert], torch.cat([gate, up]), atol=1e-6)
                assert torch.allclose(actual[f"{stem}.down_proj"][expert], down, atol=1e-6)
            else:
                assert torch.allclose(actual[f"{stem}.{expert}.gate_proj.weight"], gate, atol=1e-6)
                assert torch.allclose(actual[f"{stem}.{expert}.up_proj.weight"], up, atol=1e-6)
                assert torch.allclose(actual[f"{stem}.{expert}.down_proj.weight"], down, atol=1e-6)
    assert differing(tmp_path / "merged", base)


def test_experts_that_are_stored_transposed_give_the_bits_of_peft(tmp_path: Path) -> None:
    from transformers import GptOssConfig, GptOssForCausalLM

    torch.manual_seed(0)
    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_local_experts": 4}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "num_hidden_layers": 1}
    layers = {"num_experts_per_tok": 2, "layer_types": ["full_attention"]}
    base = tmp_path / "base"
    GptOssForCausalLM(GptOssConfig(**sizes, **heads, **layers)).float().save_pretrained(base)
    parameters = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
    adapter = make_adapter(base, tmp_path / "adapter", target_modules=["q_proj"], target_parameters=parameters)
    merged(base, tmp_path / "merged", adapter)
    assert len(differing(tmp_path / "merged", base)) == 3
    assert differing(tmp_path / "merged", by_peft(base, adapter, tmp_path / "peft")) == {}


def test_a_transposed_weight_is_merged(tmp_path: Path) -> None:
    """GPT-2 keeps its matrices as (in, out)."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    base = tmp_path / "base"
    GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=2)).save_pretrained(base)
    for name, lora in (("plain", {}), ("dora", {"use_dora": True})):
        adapter = make_adapter(
            base, tmp_path / name, target_modules=["c_attn", "c_proj", "c_fc"], fan_in_fan_out=True, **lora
        )
        merged(base, tmp_path / f"merged-{name}", adapter)
        assert differing(tmp_path / f"merged-{name}", base)
        theirs = by_peft(base, adapter, tmp_path / f"peft-{name}")
        ours = tensors_of(tmp_path / f"merged-{name}")
        for weight, value in tensors_of(theirs).items():
            assert torch.allclose(ours[weight], value, atol=1e-6), weight


@pytest.mark.parametrize(
    ("lora", "reason"),
    [
        ({"init_lora_weights": "pissa"}, "use --engine peft"),
        ({"init_lora_weights": "olora"}, "use --engine peft"),
    ],
)
def test_what_changes_the_base_as_well_is_left_to_peft(
    tmp_path: Path, bases: Callable[..., Path], lora: dict[str, Any], reason: str
) -> None:
    adapter = make_adapter(bases("float32"), tmp_path / "adapter", **lora)
    with pytest.raises(ModelError, match=reason):
        merged(bases("float32"), tmp_path / "merged", adapter)


@pytest.mark.parametrize(
    "setting",
    [{"use_qalora": True}, {"alora_invocation_tokens": [1, 2]}, {"layer_replication": [[0, 2]]}, {"brand_new": 3}],
)
def test_a_setting_that_is_not_known_is_refused_by_name(
    tmp_path: Path, bases: Callable[..., Path], setting: dict[str, Any]
) -> None:
    adapter = make_adapter(bases(), tmp_path / "adapter")
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | setting))
    with pytest.raises(ModelError, match=f"{next(iter(setting))}: .* which streaming does not know"):
        merged(bases(), tmp_path / "merged", adapter)


def test_the_scale_of_a_large_rank_is_that_of_peft() -> None:
    settings = {"r": 2921, "lora_alpha": 1, "use_rslora": True}
    assert Adapter(Source(Path()), settings, {}, {}).rank_and_scale("x") == (2921, 1 / math.sqrt(2921))
