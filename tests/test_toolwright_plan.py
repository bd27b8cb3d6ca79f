"""``toolwright plan``: numbers that can be worked out by hand, every configuration, wrong input."""

import json
import shlex
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import pytest
from huggingface_hub import constants
from sft_runs import write_conversations

from toolwright.artifacts import Manifest, fingerprint, manifest_path
from toolwright.cli import main
from toolwright.config import RunConfig
from toolwright.config_file import load_config
from toolwright.devices import GIB, TABLE, Device, find_device, here, listed_as, memory_here
from toolwright.errors import ModelError
from toolwright.footprint import architecture, empty_model, parameters, with_adapter
from toolwright.plan import make_plan
from toolwright.plan_cure import Change, find_cure
from toolwright.plan_measured import rollout_tokens
from toolwright.plan_memory import Models, cache_bytes, merge_memory, rl_memory, serve_memory, sft_memory
from toolwright.plan_report import Plan
from toolwright.plan_time import TRAIN_UTILISATION, Work, decode_s, step_s, train_s
from toolwright.plan_tokens import Talk, count_conversations, mean_talk, teacher_tokens

CONFIGS = sorted((Path(__file__).resolve().parents[1] / "configs").glob("*.yaml"))
TALK = Talk(prompt=400, sampled=80, results=60, turns=2, origin="test", longest=540)
H100 = find_device("h100-80gb")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def config_of(*words: str) -> RunConfig:
    return load_config(None, list(words))


@pytest.mark.parametrize(
    ("model", "total", "per_token"),
    [
        # two tensors x layers x key heads x width of a head x two bytes
        ("Qwen/Qwen2.5-32B-Instruct", 32_763_876_352, 2 * 64 * 8 * 128 * 2),
        ("Qwen/Qwen2.5-7B-Instruct", 7_615_616_512, 2 * 28 * 4 * 128 * 2),
        ("meta-llama/Llama-3.1-8B-Instruct", 8_030_261_248, 2 * 32 * 8 * 128 * 2),
    ],
)
def test_parameters_and_cache_are_those_of_the_models_cards(model: str, total: int, per_token: int) -> None:
    shape, _ = architecture(model)
    assert parameters(empty_model(shape, "bfloat16"))[0] == total
    assert cache_bytes(shape, 1, "bfloat16") == per_token
    assert cache_bytes(shape, 1000, "float32") == 2000 * per_token


def test_a_layer_with_a_window_caches_no_more_than_it_and_latent_attention_one_vector() -> None:
    from transformers import AutoConfig

    sizes = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 32}
    windows = AutoConfig.for_model(
        "gemma3_text", **sizes, head_dim=8, sliding_window=10, layer_types=["sliding_attention", "full_attention"]
    )
    assert cache_bytes(windows, 100, "bfloat16") == (10 + 100) * 2 * 2 * 8 * 2
    latent = AutoConfig.for_model("deepseek_v3", **sizes, kv_lora_rank=16, qk_rope_head_dim=4)
    assert cache_bytes(latent, 100, "bfloat16") == 2 * 100 * (16 + 4) * 2


def test_an_adapters_parameters_are_rank_times_both_sides_of_each_matrix() -> None:
    config = config_of("model=models/tiny", "sft.lora.rank=8")
    shape, _ = architecture("models/tiny")
    base = empty_model(shape, "float32")
    adapted = with_adapter(empty_model(shape, "float32"), config.sft.lora, "sft.lora")
    import torch

    head = base.get_output_embeddings()
    linear = [m for m in base.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    assert parameters(adapted)[1] == sum(8 * (m.in_features + m.out_features) for m in linear)


def models(model: str = "meta-llama/Llama-3.1-8B-Instruct", dtype: str = "bfloat16") -> Models:
    shape, _ = architecture(model)
    return Models(empty_model(shape, dtype), with_adapter(empty_model(shape, dtype), RunConfig().sft.lora, "sft.lora"))


@lru_cache
def shared_models(name: str) -> Models:
    return models(name)


@pytest.fixture(scope="module")
def llama() -> Models:
    return shared_models("meta-llama/Llama-3.1-8B-Instruct")


def test_the_parts_of_lora_are_those_worked_out_by_hand(llama: Models) -> None:
    config = config_of("sft.micro_batch_size=1", "sft.gradient_checkpointing=true")
    parts = sft_memory(config, llama, TALK, H100, "bfloat16").parts
    trained = llama.trainable
    assert parts["weights"] == 2 * llama.total
    assert (parts["adapter"], parts["gradients"], parts["optimizer"]) == (4 * trained, 4 * trained, 8 * trained)
    assert parts["logits"] == 10 * 80 * 128_256
    assert parts["activations"] > 540 * 4096 * 2 * 32


def test_recomputing_and_four_bits_and_more_devices_each_take_less(llama: Models) -> None:
    def total(*words: str, devices: int = 1, sharded: bool = False) -> float:
        config = config_of("sft.micro_batch_size=4", *words)
        return sft_memory(config, llama, TALK, H100, "bfloat16", devices, sharded).total

    plain = total()
    assert total("sft.gradient_checkpointing=true") < plain
    assert total("sft.quantize_4bit=true") < plain - llama.total
    assert total(devices=4, sharded=True) < plain


def test_rl_holds_the_cache_of_its_rollouts_and_shares_prompts(llama: Models) -> None:
    words = ["rl.prompts_per_step=4", "rl.group_size=4", "rl.max_completion_tokens=112", "rl.dtype=bfloat16"]
    memory = rl_memory(config_of(*words, "rl.micro_batch_size=4"), llama, TALK, H100)
    known = min(256 * 2**20, (4 * 400 + 16 * 112) * 131_072)
    assert memory.parts["KV cache"] == 16 * 512 * 131_072 + known
    assert memory.parts["logits"] == 14 * 4 * 112 * 128_256
    one = rl_memory(config_of(*words, "rl.micro_batch_size=1"), llama, TALK, H100)
    assert memory.parts["activations"] < 4 * one.parts["activations"]  # the prompt is there once for four answers


def test_vllm_takes_its_share_and_what_weights_leave_is_cache(llama: Models) -> None:
    served = serve_memory(config_of("serve.max_model_len=8192"), llama, H100)
    room = 0.92 * H100.memory - 3 * GIB - 2 * llama.total
    assert served.conversations == pytest.approx(room / (8192 * 131_072), rel=1e-5)
    assert served.memory.total == pytest.approx(0.92 * H100.memory)
    assert (served.split, served.copies) == (1, 1)


def test_a_model_too_large_for_one_gpu_is_split_over_as_few_as_hold_it() -> None:
    large = models("Qwen/Qwen2.5-32B-Instruct")
    card = find_device("l40s-48gb")
    assert serve_memory(RunConfig(), large, card, 1).memory.total > card.memory
    assert serve_memory(RunConfig(), large, card, 8).split == 2


def test_a_merge_proves_whole_models_where_they_fit_and_layers_elsewhere(llama: Models) -> None:
    roomy, narrow = (Device("x", "x", gib, 1, 1, 1, cpu=True) for gib in (64, 16))
    assert merge_memory(RunConfig(), llama, roomy).parts["weights"] == 4 * llama.total
    for config, device in ((RunConfig(), narrow), (config_of("merge.parity=layers"), roomy)):
        memory = merge_memory(config, llama, device)
        assert memory.total - memory.parts["mapped files"] < 4 * GIB


def test_a_proof_on_logits_that_has_no_room_in_float32_holds_the_model_as_it_is_stored(llama: Models) -> None:
    narrow = Device("x", "x", 24, 1, 1, 1, cpu=True)
    memory = merge_memory(config_of("merge.parity=logits"), llama, narrow)
    assert memory.parts["weights"] == 2 * llama.total
    assert memory.notes == ["the proof holds a whole model as stored"]


def test_training_time_is_operations_over_the_rate(llama: Models) -> None:
    work = Work.of(llama)
    assert work.body == llama.total - 2 * 128_256 * 4096
    rate = 989e12 * TRAIN_UTILISATION[False]
    attention = 2 * 1000 * 32 * 32 * 128
    lora = train_s(work, H100, 1e6, 0, 1000, "bfloat16", full=False, recompute=False)
    assert lora == pytest.approx(1e6 * (4 * work.body + 3 * attention) / rate)
    more = train_s(work, H100, 1e6, 0, 1000, "bfloat16", full=True, recompute=True)
    assert more == pytest.approx(1e6 * (8 * work.body + 4 * attention) / rate)
    scored = train_s(work, H100, 1e6, 1e5, 1000, "bfloat16", full=False, recompute=False) - lora
    assert scored == pytest.approx(1e5 * 4 * work.head / rate)


def test_decoding_is_bound_by_what_is_read(llama: Models) -> None:
    work = Work.of(llama)
    one = step_s(work, H100, 1, 1000, "bfloat16", ours=False)
    assert one == pytest.approx((2 * (work.body + work.head) + 1000 * 131_072) / (3350e9 * 0.65))
    assert step_s(work, H100, 1, 1000, "bfloat16", ours=True) > one
    assert decode_s(work, H100, 1000, 10, 1000, "bfloat16", ours=False) < 1000 * one / 9


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_plans(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(path), f"runs_dir={tmp_path}", "--device", "h100-80gb", "plan.mean_tokens=900"]
    code = main(["plan", *words, "plan.price_per_hour=2.5", "--json"])
    plan = Plan.model_validate_json(capsys.readouterr().out)
    assert code == (0 if plan.fits else 1)
    assert [stage.stage for stage in plan.stages] == ["data", "sft", "rl", "merge", "serve", "eval"]
    assert plan.conversation["tokens"] == 900
    for stage in plan.stages:
        assert (stage.fits is False) == bool(stage.cure)
        assert sum(stage.memory.values()) == (stage.memory_bytes or 0)
        if stage.stage in ("sft", "rl", "merge", "eval"):
            assert stage.time_s is not None
            assert stage.cost == pytest.approx(stage.time_s / 3600 * 2.5 * stage.devices)
    teacher = plan.stages[0]
    assert teacher.cost == (0.0 if load_config(path).data_gen.teacher.kind == "scripted" else None)
    assert (plan.cost is None) == (teacher.cost is None)


def test_a_cure_is_one_that_works(tmp_path: Path) -> None:
    words = [f"runs_dir={tmp_path}", "plan.device=h100-80gb", "plan.mean_tokens=900", "sft.micro_batch_size=8"]
    words += ["sft.gradient_checkpointing=false", "sft.packing=none", "plan.price_per_hour=1"]
    path = next(path for path in CONFIGS if path.stem == "llama8b_lora")
    sft = make_plan(load_config(path, words)).stages[1]
    assert sft.fits is False
    changed = sft.cure[0].split()
    assert changed[0].startswith("sft.")
    assert make_plan(load_config(path, [*words, *changed])).stages[1].fits


def test_a_cure_is_what_a_shell_takes_and_the_stages_accept(tmp_path: Path) -> None:
    words = [
        f"runs_dir={tmp_path}",
        "plan.device=h100-80gb",
        "rl.prompts_per_step=6",
        "rl.micro_batch_size=12",
        "rl.trainer={}",
    ]
    path = next(path for path in CONFIGS if path.stem == "qwen32b_lora")
    rl = make_plan(load_config(path, words)).stages[2]
    assert rl.fits is False
    changed = rl.cure[0].split()
    assert shlex.split(rl.cure[0]) == changed
    assert "rl.trainer.gradient_checkpointing=true" in changed
    assert make_plan(load_config(path, [*words, *changed])).stages[2].fits


def test_a_cure_leaves_out_what_does_not_matter() -> None:
    changes = (
        Change("sft.gradient_checkpointing", lambda config: True),
        Change("sft.micro_batch_size", lambda config: 1),
        Change("sft.lora", lambda config: None),
    )
    config = config_of("sft.micro_batch_size=8")
    assert find_cure(config, changes, lambda c: c.sft.micro_batch_size == 1) == ["sft.micro_batch_size=1"]
    both = find_cure(config, changes, lambda c: c.sft.micro_batch_size == 1 and c.sft.gradient_checkpointing)
    assert both == ["sft.gradient_checkpointing=true", "sft.micro_batch_size=1"]
    assert find_cure(config, changes, lambda c: False) == []


def test_lengths_are_measured_on_the_runs_conversations(tmp_path: Path) -> None:
    data = write_conversations(tmp_path / "rows.jsonl")
    config = config_of("model=models/tiny", f"sft.data={data}", f"runs_dir={tmp_path}")
    from sft_runs import rows_of

    from toolwright.dialect import render_prompt
    from toolwright.model import load_tokenizer
    from toolwright.records import Conversation

    tokenizer = load_tokenizer("models/tiny")
    rows = [Conversation.from_row(row) for row in rows_of(24)]
    texts = [render_prompt(tokenizer, row.messages, row.tools, add_generation_prompt=False) for row in rows]
    lengths = [len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    talk = mean_talk(config)
    assert talk.total == pytest.approx(sum(lengths) / 24)
    assert talk.longest == max(lengths)
    assert talk.turns == 2


def test_a_teacher_is_asked_once_for_a_question_and_once_a_turn() -> None:
    assert teacher_tokens(RunConfig(), TALK) == (0, 0)
    config = config_of("data_gen.teacher.kind=openai", "data_gen.n_questions=100")
    read, written = teacher_tokens(config, TALK)
    assert read == pytest.approx(112 * (400 + 250) + 100 * (2 * 400 + 70 + 2 * 150))
    assert written == pytest.approx(112 * 45 + 100 * 80)


def manifest(path: Path, stage: str, **more: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}\n")
    values = {
        "stage": stage, "command": "", "sha256": fingerprint(path), "settings": {}, "inputs": {}, "packages": {},
        "seed": 0, "counts": {}, "wall_s": 7.0, "peak_rss_mib": 1000.0, "created": "", **more,
    }  # fmt: skip
    manifest_path(path).write_text(Manifest.model_validate(values).model_dump_json())


def test_what_was_measured_with_these_settings_stands_in_place_of_an_estimate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["model=models/tiny", f"runs_dir={tmp_path}", "name=t", "plan.mean_tokens=300", "plan.price_per_hour=3600"]
    config = config_of(*words)
    for side, rows in (("train", 50), ("dev", 5), ("heldout", 20)):
        manifest(tmp_path / "t" / f"{side}.jsonl", "split", counts={"rows": rows})
    write_conversations(tmp_path / "t" / "train.jsonl")
    manifest(tmp_path / "t" / "merged", "merge", settings=config.merge.model_dump(exclude={"adapter"}))
    counts = count_conversations(config)
    assert (counts.train, counts.heldout, counts.origin) == (50, 20, "measured")
    monkeypatch.setattr("toolwright.devices.here", lambda threads=None: Device("here", "x", 8, 1, 1, 10, cpu=True))
    merge = {stage.stage: stage for stage in make_plan(config).stages}["merge"]
    assert (merge.origin, merge.time_s, merge.cost) == ("measured", 7.0, 7.0)
    assert merge.memory_bytes == 1000 * 2**20
    other = make_plan(config_of(*words, "merge.dtype=bfloat16")).stages[3]
    assert other.origin == "estimated"
    elsewhere = make_plan(config_of(*words, "plan.device=t4-16gb")).stages[3]
    assert elsewhere.origin == "estimated"


@pytest.mark.parametrize(
    ("title", "gib", "name"),
    [
        ("Tesla T4", 14.6, "t4-16gb"),
        ("NVIDIA A10", 22.0, "a10-24gb"),
        ("NVIDIA A10G", 22.0, None),
        ("NVIDIA GeForce RTX 4090", 23.5, "rtx4090-24gb"),
        ("NVIDIA A100-SXM4-40GB", 39.4, "a100-40gb"),
        ("NVIDIA A100 80GB PCIe", 79.2, "a100-80gb"),
        ("NVIDIA L40S", 44.4, "l40s-48gb"),
        ("NVIDIA L40", 44.4, None),
        ("NVIDIA H100 80GB HBM3", 79.1, "h100-80gb"),
        ("NVIDIA H100 PCIe", 79.1, None),
        ("NVIDIA H100 NVL", 93.1, None),
        ("NVIDIA H200", 139.7, "h200-141gb"),
        ("NVIDIA GH200 480GB", 94.5, None),
    ],
)
def test_a_gpu_is_known_by_its_drivers_name(title: str, gib: float, name: str | None) -> None:
    listed = listed_as(title, gib)
    assert (listed and listed.name) == name


def test_the_table_is_sorted_and_its_names_say_their_memory() -> None:
    assert [device.memory_gib for device in TABLE] == sorted(device.memory_gib for device in TABLE)
    for device in TABLE:
        named = float(device.name.rsplit("-", 1)[1].removesuffix("gb"))
        assert 0.9 * named <= device.memory_gib <= named
        assert device.tflops > device.tflops_float32


def test_a_container_has_no_more_memory_than_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr("toolwright.devices._CONTAINER_LIMITS", (str(tmp_path / "none"), str(limit)))
    limit.write_text("max\n")
    whole = memory_here()
    assert whole > 2**28
    limit.write_text(f"{2**27}\n")
    assert memory_here() == 2**27


def test_a_model_that_our_engine_refuses_is_said_before_it_is_trained(tmp_path: Path) -> None:
    shape = {"model_type": "gemma3_text", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
             "num_key_value_heads": 1, "head_dim": 32, "intermediate_size": 64, "vocab_size": 128}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(shape))
    plan = make_plan(config_of(f"model={tmp_path}", f"runs_dir={tmp_path}", "plan.device=t4-16gb"))
    assert any(note.startswith("cannot be played: has layers of type sliding") for note in plan.stages[2].notes)


def test_here_is_measured() -> None:
    device = here(1)
    assert device.memory_gib > 0.5
    assert device.tflops_float32 > 0.001
    assert device.bandwidth_gbs > 0.1


def test_the_list_of_devices_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--device", "list"]) == 0
    printed = capsys.readouterr().out
    assert all(device.name in printed for device in TABLE)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--device", "h100-80"], "did you mean h100-80gb?"),
        (["--device", "l40s-48g"], "did you mean l40s-48gb?"),
        (["--device", "rtx-4090"], "did you mean rtx4090-24gb?"),
        (["--device", "warp-drive"], "'warp-drive'; known: here, t4-16gb"),
        (["--device", "nonsense"], "'nonsense'; known: here, t4-16gb"),
        (["--device", "here", "--devices", "2"], "here is one CPU"),
        (["sft.data=no/such.jsonl"], "sft.data: no/such.jsonl: no such file"),
        (["sft.data=[{path: no/such.jsonl}]"], "sft.data: no/such.jsonl: no such file"),
        (["name=new", "tools.toolsets=[no_such_tools]"], "no_such_tools"),
        (["name=new", "tools.sources=[no/such/tools]"], "no/such/tools"),
        (["--devices", "2", "serve.tensor_parallel=2", "serve.data_parallel=2"], "takes 4 devices"),
        (["--model", "./no/where"], "not a model directory"),
        (["--model", "nobody/has-this-model"], "neither a directory"),
        (["--model", "nobody/has-this-model"], "Qwen/Qwen2.5-7B-Instruct"),
        (["--model", "tests"], "no config.json"),
        (["--model", "nobody/has-this-model", "sft.method=full", "sft.quantize_4bit=true"], "sft.quantize_4bit"),
        (["sft.method=full"], "rl.start"),
        (["rl.micro_batch_size=5"], "does not divide the 64 rollouts"),
        (["data_gen.heldout_share=0.6", "data_gen.dev_share=0.4"], "leave nothing to train on"),
        (["--devices", "3"], "choose a multiple of"),
        (["--devices", "2", "serve.tensor_parallel=4"], "plan.devices is 2"),
        (["--devices", "0"], "plan.devices"),
        (["plan.price_per_hour=-1"], "plan.price_per_hour"),
    ],
)
def test_wrong_input_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    more = [] if "--device" in words else ["--device", "t4-16gb"]
    assert main(["plan", *words, *more]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not a valid JSON file"),
        ('{"hidden_size": 4}', "model_type"),
        ('{"model_type": "llama", "hidden_size": "big"}', "Field 'hidden_size' expected int"),
        ('{"model_type": "llama", "hidden_size": -4}', "not a multiple of the number of attention heads"),
        ('{"model_type": "llama", "num_attention_heads": 0}', "config.json"),
        ('{"model_type": "mamba2"}', "no num_attention_heads"),
        ('{"model_type": "rwkv"}', "no num_attention_heads"),
        ('{"model_type": "qwen2_5_vl"}', "no causal language model of this type"),
        ('{"model_type": "t5"}', "no causal language model of this type"),
        ('{"model_type": "own", "auto_map": {"AutoConfig": "own.Config"}}', "custom code"),
    ],
)
def test_a_configuration_of_no_use_is_one_line(
    content: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text(content)
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked whether to run a model's own code"))
    assert main(["plan", "--device", "t4-16gb", "--model", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1


def test_a_model_of_the_hub_is_taken_as_its_class_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolwright.footprint._fetch", lambda model: {"model_type": "gemma3_text"})
    shape, origin = architecture("google/gemma-3-1b-it")
    assert (shape.tie_word_embeddings, origin) == (True, "hub")  # its config.json does not say so
    monkeypatch.setattr("toolwright.footprint._fetch", lambda model: {"model_type": "of another world"})
    with pytest.raises(ModelError, match="cannot be used"):
        architecture("nobody/has-this-model")


def test_experts_that_rest_are_not_computed() -> None:
    from transformers import AutoConfig

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    experts = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 4, "mlp_only_layers": [0]}
    shape = AutoConfig.for_model("qwen3_moe", **sizes, **experts, vocab_size=32, head_dim=8, intermediate_size=24)
    model = empty_model(shape, "float32")
    of_one = 3 * 16 * 4  # in one of two layers
    work = Work.of(Models(model, model))
    assert work.body == parameters(model)[0] - 2 * 32 * 16 - 6 * of_one


def test_a_model_that_is_no_plain_transformer_plans(tmp_path: Path) -> None:
    shape = {
        "model_type": "llama4_text", "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 64, "intermediate_size_mlp": 64,
        "num_local_experts": 4, "vocab_size": 128, "attention_chunk_size": 256,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(shape))
    plan = make_plan(config_of(f"model={tmp_path}", f"runs_dir={tmp_path}", "plan.device=h100-80gb"))
    assert any("cannot run empty" in note for note in plan.stages[1].notes)
    text, _ = architecture(str(tmp_path))
    kinds = text.layer_types
    long = kinds.count("full_attention") * 1000 + kinds.count("chunked_attention") * 256
    assert cache_bytes(text, 1000, "bfloat16") == long * 2 * 2 * 16 * 2


@pytest.mark.parametrize("name", ["Qwen/Qwen2.5-32B-Instruct", "meta-llama/Llama-3.1-8B-Instruct"])
@pytest.mark.parametrize("device", TABLE, ids=lambda device: device.name)
def test_serving_is_placed_as_the_server_places_it(name: str, device: Device) -> None:
    from serve.placement import Gpu, Layer, Shape, Wishes, place

    large = shared_models(name)
    heads, layers = large.text.num_attention_heads, large.text.num_hidden_layers
    layer = Layer(int(cache_bytes(large.text, 1, "bfloat16")) // layers)
    keys, limit = large.text.num_key_value_heads, large.text.max_position_embeddings
    shape = Shape(2 * large.total, heads, keys, (layer,) * layers, limit)
    for count, words in ((1, ()), (2, ("serve.max_model_len=16384",)), (8, ()), (8, ("serve.tensor_parallel=4",))):
        config = config_of(*words)
        wishes = Wishes(None, config.serve.tensor_parallel, None, config.serve.max_model_len)
        served = serve_memory(config, large, device, count)
        fits = served.memory.total <= served.memory.most
        try:
            placed = place(name, shape, [Gpu(device.name, int(device.memory), int(device.memory))] * count, wishes)
        except ModelError:
            assert not fits
            continue
        assert fits
        assert (served.split, served.copies) == (placed.tensor_parallel, placed.data_parallel)
        assert served.conversations * served.longest == pytest.approx(placed.cache_tokens, rel=1e-3, abs=2)


def test_more_copies_than_conversations_are_no_faster() -> None:
    words = ["model=models/tiny", "plan.mean_tokens=300", "plan.device=b200-180gb", "sft.batch_size=1024"]
    few, many = (make_plan(config_of(*words, f"plan.devices={count}")) for count in (16, 1024))
    speeds = [next(note for note in plan.stages[4].notes if "tokens/s" in note) for plan in (few, many)]
    assert speeds[0] == speeds[1]
    most = config_of().eval.concurrency
    times = [make_plan(config_of(*words, f"plan.devices={n}")).stages[5].time_s for n in (most, 1024)]
    assert times[0] == times[1]


def test_a_share_that_is_too_small_is_what_is_to_be_changed() -> None:
    words = ["model=models/tiny", "plan.mean_tokens=300", "plan.device=t4-16gb", "serve.memory_share=0.05"]
    assert make_plan(config_of(*words)).stages[4].cure[0] == "serve.memory_share=0.92"


def test_metrics_that_are_no_numbers_are_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "t/rl/metrics.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text('{"completion_tokens": "x"}\n{"completion_tokens": 40}\n{"completion_tokens": 60}\n{"step": 1}\n')
    assert rollout_tokens(config_of(f"runs_dir={tmp_path}", "name=t")) == 50


def test_our_own_server_keeps_what_it_keeps(llama: Models) -> None:
    from serve.server import LONGEST
    from toolwright.engine import runner, shared

    cpu = Device("x", "x", 200, 1, 1, 1, cpu=True)
    for words, kept in (("bfloat16", shared.PREFIX_BYTES), ("float32", runner.PREFIX_BYTES)):
        served = serve_memory(config_of(f"serve.dtype={words}", "serve.max_batch=4"), llama, cpu)
        assert served.longest == LONGEST
        assert served.memory.parts["KV cache"] == 4 * cache_bytes(llama.text, LONGEST, words) + kept


def test_a_server_that_would_get_more_than_its_share_does_not_fit(llama: Models) -> None:
    card = Device("x", "x", 24.0, 1, 1, 1)
    tokens = (0.92 * card.memory - 1.5 * GIB - 2 * llama.total) / 131_072
    for length, fits in ((int(tokens) - 100, True), (int(tokens) + 100, False)):
        memory = serve_memory(config_of(f"serve.max_model_len={length}"), llama, card).memory
        assert (memory.total <= memory.most) is fits


def test_a_broken_conversation_is_named(tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text('{"id": 3}\n')
    with pytest.raises(Exception, match=r"rows\.jsonl:1"):
        mean_talk(config_of(f"sft.data={data}"))


def test_the_help_lists_all_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"\n  {command} " in printed for command in ("plan", "run", "verify", "doctor"))


def test_a_command_loads_only_what_it_needs() -> None:
    code = "import sys, toolwright.cli as cli; cli.main(['--help']); print('torch' in sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "False"


@pytest.mark.slow
def test_the_memory_of_a_training_run_is_within_15_percent(tmp_path: Path) -> None:
    from benchmarks.plan import Case, run_case

    settings = ("sft.dtype=float32", "sft.max_conversations=2", "sft.batch_size=2")
    predicted, measured = run_case(Case("sft", "small", settings), tmp_path, returning=True)
    assert predicted == pytest.approx(measured, rel=0.15)
