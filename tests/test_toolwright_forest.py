import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from toolwright.forest import Forest, Row, plant, scored_logits
from toolwright.segment_attention import NAME, use_segments

VOCABULARY = 60
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
    "initializer_range": 0.2,
}


def make(kind: str = "qwen3", **more: Any) -> Any:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[kind](**(SHAPE | more)))
    for name, parameter in model.named_parameters():
        if "sinks" in name:
            torch.nn.init.normal_(parameter)
    return model.eval()


def row(ids: list[int], trained: list[int], weight: float = 1.0) -> Row:
    labels, weights = np.full(len(ids), -100, np.int32), np.zeros(len(ids), np.float32)
    labels[trained], weights[trained] = np.array(ids, np.int32)[trained], weight
    return Row(np.array(ids, np.int32), labels, weights)


def some_rows(seed: int = 0) -> list[Row]:
    """Rows of two families, one within another, one alone, and one that is the beginning of another."""
    draw = np.random.default_rng(seed)

    def tokens(count: int) -> list[int]:
        return [int(token) for token in draw.integers(3, VOCABULARY, count)]

    system, other, turn = tokens(30), tokens(22), tokens(19)
    ids = [
        system + tokens(7),
        other + tokens(9),
        system + turn + tokens(11),
        tokens(25),
        system + turn,
        system + turn + tokens(5),
        other + tokens(3),
    ]
    rows = []
    for number, row_ids in enumerate(ids):
        trained = sorted(
            draw.choice(np.arange(20, len(row_ids)), size=min(4 + number, len(row_ids) - 20), replace=False)
        )
        rows.append(row(row_ids, [*map(int, trained)], 1.0 + number / 2))
    return rows


def losses_alone(model: Any, one: Row) -> torch.Tensor:
    ids = torch.from_numpy(one.input_ids.astype(np.int64))
    logits = model(input_ids=ids[None], use_cache=False).logits[0].float()
    at = torch.from_numpy(np.flatnonzero(one.labels[1:] != -100) + 1)
    return torch.nn.functional.cross_entropy(logits[at - 1], ids[at], reduction="none")


def losses_in(model: Any, forest: Forest) -> torch.Tensor:
    logits = scored_logits(model, model.get_output_embeddings(), forest).float()
    return torch.nn.functional.cross_entropy(logits, forest.targets_N, reduction="none")


def compare(model: Any, packed: Any, rows: list[Row], min_shared: int | None, tolerance: float) -> None:
    forest = plant(rows, min_shared)
    losses_N = losses_in(packed, forest)
    for one, pick in zip(rows, forest.picks, strict=True):
        alone = losses_alone(model, one)
        assert torch.allclose(losses_N[pick], alone, atol=tolerance, rtol=tolerance), (losses_N[pick] - alone).abs()


def test_the_segments_of_a_small_forest() -> None:
    rows = [row([10, 11, 20, 21], [2, 3]), row([10, 11, 30], [2], 0.5), row([9], [])]
    forest = plant(rows, min_shared=1)
    assert forest.ids_S.tolist() == [9, 10, 11, 20, 21, 30]
    assert forest.positions_S.tolist() == [0, 0, 1, 2, 3, 2]
    assert forest.layout.segments == ((0, 1, -1), (1, 3, -1), (3, 5, 1), (5, 6, 1))
    assert forest.sources_N.tolist() == [2, 3, 2]
    assert forest.targets_N.tolist() == [20, 21, 30]
    assert forest.weights_N.tolist() == [1.0, 1.0, 0.5]
    assert [pick.tolist() for pick in forest.picks] == [[0, 1], [2], []]
    assert forest.row_tokens == 8


def test_a_shared_token_that_several_rows_train_gets_the_sum_of_their_weights() -> None:
    rows = [row([5, 6, 7], [1, 2], 2.0), row([5, 6, 8], [1], 0.5), row([5, 6, 7], [2])]
    forest = plant(rows, min_shared=1)
    assert forest.ids_S.tolist() == [5, 6, 7, 8]
    assert forest.targets_N.tolist() == [6, 7, 8][:2]
    assert forest.weights_N.tolist() == [2.5, 3.0]
    assert forest.counts_N.tolist() == [2, 2]
    assert [pick.tolist() for pick in forest.picks] == [[0, 1], [0], [1]]


def test_beginnings_that_are_too_short_are_not_shared() -> None:
    rows = [row([5, 6, 7], [2]), row([5, 6, 8], [2])]
    assert len(plant(rows, min_shared=3).ids_S) == len(plant(rows).ids_S) == 6
    assert len(plant(rows, min_shared=2).ids_S) == 4


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.integers(3, 5), min_size=1, max_size=9), min_size=1, max_size=8), st.integers(1, 4))
def test_every_row_can_be_read_back_from_the_path_of_its_segments(ids: list[list[int]], least: int) -> None:
    forest = plant([row(one, list(range(1, len(one)))) for one in ids], least)
    assert len(forest.ids_S) <= forest.row_tokens == sum(map(len, ids))
    assert forest.counts_N.sum() == sum(len(one) - 1 for one in ids)
    paths = [
        [int(token) for part in path for token in forest.ids_S[slice(*forest.layout.segments[part][:2])]]
        for path in forest.layout.paths
    ]
    for one, pick in zip(ids, forest.picks, strict=True):
        assert any(path[: len(one)] == one for path in paths)
        assert forest.targets_N[pick].tolist() == one[1:]
        assert forest.ids_S[forest.sources_N[pick]].tolist() == one[:-1]
        assert forest.positions_S[forest.sources_N[pick]].tolist() == list(range(len(one) - 1))


MODELS = {
    "qwen2": {},
    "qwen3": {},
    "llama": {},
    "mistral": {"sliding_window": 13},
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
    "phi3": {},
    "gemma2": {"sliding_window": 13, "query_pre_attn_scalar": 8, "attn_logit_softcapping": 3.0},
    "gemma3_text": {"sliding_window": 13, "query_pre_attn_scalar": 8},
    "gpt_oss": {"sliding_window": 13, "num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen2_moe": {"use_sliding_window": True, "sliding_window": 13, "max_window_layers": 1, "num_experts": 4},
    "phimoe": {"sliding_window": 13, "num_local_experts": 4, "num_experts_per_tok": 2},
    "glm4": {},
    "cohere2": {"sliding_window": 13},
}


@pytest.mark.parametrize("min_shared", [None, 16])
@pytest.mark.parametrize("kind", MODELS)
def test_losses_are_those_of_the_rows_alone_in_every_family(kind: str, min_shared: int | None) -> None:
    model = make(kind, **MODELS[kind])
    packed = copy.deepcopy(model)
    assert use_segments(packed) is None
    with torch.no_grad():
        compare(model, packed, some_rows(), min_shared, 2e-5)


def weighted_gradients(model: Any, losses: torch.Tensor) -> torch.Tensor:
    model.zero_grad()
    losses.backward()
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.requires_grad])


def relative_difference(model: Any, packed: Any, min_shared: int | None) -> float:
    rows = some_rows()
    forest = plant(rows, min_shared)
    ours = weighted_gradients(packed, (losses_in(packed, forest) * forest.weights_N).sum())
    weights = [torch.from_numpy(one.weights[1:][one.labels[1:] != -100]) for one in rows]
    alone = torch.stack([(losses_alone(model, one) * weight).sum() for one, weight in zip(rows, weights)]).sum()
    theirs = weighted_gradients(model, alone)
    return float((ours - theirs).norm() / theirs.norm())


@pytest.mark.parametrize("checkpointing", [None, False, True])
@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("min_shared", [None, 16])
def test_gradients_are_those_of_the_rows_alone(min_shared: int | None, lora: bool, checkpointing: bool | None) -> None:
    """With and without LoRA; gradient checkpointing off, of torch's newer kind, and reentrant."""
    model = make()
    if lora:
        model = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    model.train()
    packed = copy.deepcopy(model)
    use_segments(packed)
    if checkpointing is not None:
        packed.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": checkpointing})
        packed.enable_input_require_grads()
    assert relative_difference(model, packed, min_shared) <= 1e-6


def test_bfloat16_is_as_near_as_its_rounding() -> None:
    model = make(initializer_range=0.05).to(torch.bfloat16)
    packed = copy.deepcopy(model)
    use_segments(packed)
    with torch.no_grad():
        compare(model, packed, some_rows(), 16, 5e-2)


def test_a_model_that_runs_our_attention_still_reads_masks_without_a_forest() -> None:
    model = make()
    packed = copy.deepcopy(model)
    use_segments(packed)
    assert packed.config._attn_implementation == NAME
    ids = torch.randint(3, VOCABULARY, (2, 9))
    mask = torch.ones_like(ids)
    mask[1, :4] = 0
    options = {"attention_mask": mask, "max_new_tokens": 3, "do_sample": False}
    with torch.no_grad():
        ours = packed(input_ids=ids, attention_mask=mask).logits[mask.bool()]
        assert torch.allclose(ours, model(input_ids=ids, attention_mask=mask).logits[mask.bool()], atol=1e-5)
        assert packed.generate(ids, **options).tolist() == model.generate(ids, **options).tolist()


def test_the_configuration_that_is_saved_names_no_attention_of_ours(tmp_path: Any) -> None:
    model = make()
    use_segments(model)
    model.save_pretrained(tmp_path)
    assert NAME not in (tmp_path / "config.json").read_text()


MIXING = {
    "qwen3_5_text": "linear_attention",
    "nemotron_h": "linear_attention",
    "mamba2": "linear_attention",
    "lfm2": "conv",
    "falcon_h1": "hybrid",
    "llama4_text": "chunked_attention",
}


@pytest.mark.parametrize("kind", MIXING)
def test_layers_that_would_mix_rows_are_refused(kind: str) -> None:
    more: dict[str, Any] = {"lfm2": {"layer_types": ["conv", "full_attention"]}}.get(kind, {})
    if kind == "mamba2":
        more = {"num_heads": 8, "expand": 2, "n_groups": 1, "state_size": 8}
    why = use_segments(make(kind, **more))
    assert why == f"{kind} has {MIXING[kind]} layers, in which rows would see each other"


def test_another_attention_that_was_chosen_is_left_alone() -> None:
    model = make()
    model.config._attn_implementation_internal = "flex_attention"
    assert use_segments(model) == "attention flex_attention cannot share tokens, only sdpa and eager can"
    assert model.config._attn_implementation == "flex_attention"


def test_attention_that_was_chosen_finds_the_borders_of_rows_by_their_positions() -> None:
    """flash_attention_2 takes the same way, and needs a GPU."""
    model = make(hidden_size=64, head_dim=16)
    chosen = copy.deepcopy(model)
    chosen.set_attn_implementation("flex_attention")
    with torch.no_grad():
        compare(model, chosen, some_rows(), None, 1e-4)
