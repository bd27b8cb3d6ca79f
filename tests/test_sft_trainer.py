import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import EarlyStoppingCallback, Qwen3Config, Qwen3ForCausalLM, TrainingArguments

from sft.batches import Packs, collate_packs
from sft.encode import Encoded
from sft.isolation import require_isolation
from sft.loss import cross_entropy
from sft.trainer import SftTrainer, token_losses
from toolwright.errors import ConfigError, DataError
from toolwright.segment_attention import use_segments

VOCABULARY = 60
PACKINGS = ("none", "documents", "shared_prefix")


def make_model(lora: bool = True) -> Any:
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=512,
        initializer_range=0.1,
    )
    model = Qwen3ForCausalLM(config)
    return (
        get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)) if lora else model
    )


def make_rows(count: int = 12, seed: int = 0) -> list[Encoded]:
    """Rows of three families with unequal numbers of trained tokens and unequal weights."""
    draw = np.random.default_rng(seed)
    systems = [draw.integers(3, VOCABULARY, length) for length in (40, 25, 33)]
    rows = []
    for number in range(count):
        system = systems[number % 3]
        ids = np.concatenate([system, draw.integers(3, VOCABULARY, int(draw.integers(8, 50)))]).astype(np.int32)
        labels, weights = np.full(len(ids), -100, np.int32), np.zeros(len(ids), np.float32)
        start = len(system) - 5 * (number % 2)  # some rows train tokens that others of their family only read
        end = int(draw.integers(len(system) + 2, len(ids) + 1))
        labels[start:end], weights[start:end] = ids[start:end], (0.5, 1.0, 2.0)[number % 3]
        rows.append(Encoded(ids, labels, weights, (), number))
    return rows


def make_trainer(tmp_path: Path, packing: Any = "none", model: Any = None, **more: Any) -> SftTrainer:
    own = {name: more.pop(name) for name in ("train", "dev", "callbacks", "pack_tokens") if name in more}
    settings = {
        "per_device_train_batch_size": 1,
        "num_train_epochs": 1,
        "learning_rate": 1e-3,
        "max_grad_norm": 0.0,
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "dataloader_pin_memory": False,
        "save_strategy": "no",
        "seed": 7,
    }
    arguments = TrainingArguments(output_dir=str(tmp_path / "out"), **(settings | more))
    return SftTrainer(
        make_model() if model is None else model,
        arguments,
        own.get("train", make_rows()),
        own.get("dev"),
        0,
        own.get("callbacks", []),
        packing,
        own.get("pack_tokens", 200),
    )


def losses_alone(model: Any, row: Encoded) -> torch.Tensor:
    ids = torch.from_numpy(row.input_ids.astype(np.int64))
    at = torch.from_numpy(np.flatnonzero(row.labels[1:] != -100) + 1)
    logits = model(input_ids=ids[None], use_cache=False).logits[0]
    return torch.nn.functional.cross_entropy(logits[at - 1], ids[at], reduction="none")


def gradients_of_one_big_batch(rows: list[Encoded]) -> dict[str, torch.Tensor]:
    model = make_model().train()
    weights = [torch.from_numpy(row.weights[1:][row.labels[1:] != -100]) for row in rows]
    total = torch.cat([losses_alone(model, row) * weight for row, weight in zip(rows, weights, strict=True)]).sum()
    (total / sum(row.trained for row in rows)).backward()
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


def gradients_of_the_first_step(trainer: SftTrainer) -> dict[str, torch.Tensor]:
    seen: dict[str, torch.Tensor] = {}

    def look(*_: Any) -> None:
        seen.update({name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.requires_grad})

    trainer.create_optimizer()
    trainer.optimizer.register_step_pre_hook(look)
    trainer.train()
    return seen


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("micro", [1, 3])
@pytest.mark.parametrize("packing", PACKINGS)
def test_a_step_in_parts_has_the_gradients_of_one_big_batch(
    tmp_path: Path, packing: str, micro: int, checkpointing: bool
) -> None:
    """Unequal numbers of trained tokens in the micro-batches, and unequal weights."""
    model = make_model()
    if checkpointing:
        model.enable_input_require_grads()
    trainer = make_trainer(
        tmp_path,
        packing,
        model,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=12,
        gradient_checkpointing=checkpointing,
    )
    assert (len(trainer.train_dataset) < 12) == (packing != "none")
    found = gradients_of_the_first_step(trainer)
    expected = gradients_of_one_big_batch(make_rows())
    assert found.keys() == expected.keys()
    flat, wanted = (torch.cat([side[name].flatten() for name in expected]) for side in (found, expected))
    assert float((flat - wanted).norm() / wanted.norm()) <= 1e-6


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("count", [0, 1, 45])
def test_cross_entropy_is_that_of_torch(count: int, dtype: torch.dtype, tolerance: float) -> None:
    """With a vocabulary of which only some rows fit in a chunk."""
    torch.manual_seed(0)
    logits = (5 * torch.randn(count, 100_003)).to(dtype).requires_grad_()
    targets, upstream = torch.randint(0, 100_003, (count,)), torch.rand(count)
    ours = cross_entropy(logits, targets)
    (our_gradient,) = torch.autograd.grad((ours * upstream).sum(), logits)
    theirs = torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none")
    (their_gradient,) = torch.autograd.grad((theirs * upstream).sum(), logits)
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert torch.allclose(our_gradient.float(), their_gradient.float(), atol=tolerance)


@pytest.mark.parametrize("packing", PACKINGS[1:])
def test_each_conversation_has_the_losses_that_it_has_alone(packing: Any) -> None:
    model = make_model().eval()
    packed = copy.deepcopy(model)
    assert use_segments(packed) is None
    rows = make_rows(30)
    data = Packs(rows, packing, 300)
    seen = []
    for number, pack in enumerate(data.packs):
        batch = collate_packs([data[number]], packing)
        losses_N, _ = token_losses(packed, packed.get_output_embeddings(), batch)
        assert batch["lengths"].item() == sum(len(rows[row].input_ids) for row in pack)
        assert len(batch["shift_labels"]) == sum(rows[row].trained for row in pack)
        assert batch["input_ids"].shape[1] <= 300
        for row, pick in zip(pack, batch["forest"].picks, strict=True):
            assert torch.allclose(losses_N[pick], losses_alone(model, rows[row]), atol=1e-5)
        seen += pack
    assert sorted(seen) == list(range(30))


@pytest.mark.parametrize("packing", PACKINGS)
def test_the_dev_loss_is_the_mean_over_trained_tokens(tmp_path: Path, packing: str) -> None:
    dev = make_rows(7, seed=1)
    trainer = make_trainer(tmp_path, packing, dev=dev, per_device_train_batch_size=2, pack_tokens=120)
    with torch.no_grad():
        expected = torch.cat([losses_alone(make_model().eval(), row) for row in dev]).mean()
    assert trainer.evaluate()["eval_loss"] == pytest.approx(float(expected), abs=1e-6)
    assert trainer.mean_loss(dev) == trainer.state.log_history[-1]["eval_loss"]


def test_evaluations_stop_training_early_and_bring_the_best_model_back(tmp_path: Path) -> None:
    rows = make_rows()
    trainer = make_trainer(
        tmp_path,
        "documents",
        train=rows,
        dev=make_rows(6, seed=9),
        callbacks=[EarlyStoppingCallback(2)],
        learning_rate=3e-2,
        num_train_epochs=40,
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
    )
    steps = 40 * len(trainer.train_dataset)
    trainer.train()
    losses = [row["eval_loss"] for row in trainer.state.log_history if "eval_loss" in row]
    assert len(losses) < steps
    assert trainer.state.best_metric == min(losses)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(min(losses), abs=1e-6)


@pytest.mark.parametrize("packing", PACKINGS[1:])
def test_a_resumed_run_ends_at_the_same_weights(tmp_path: Path, packing: str) -> None:
    def run(name: str, resume: str | None, **more: Any) -> dict[str, torch.Tensor]:
        torch.manual_seed(3)
        options = {"num_train_epochs": 3, "save_strategy": "steps", "save_steps": 2, "pack_tokens": 150} | more
        trainer = make_trainer(tmp_path / name, packing, gradient_accumulation_steps=2, **options)
        trainer.train(resume_from_checkpoint=resume)
        assert trainer.state.global_step > 4
        return {name: p.detach() for name, p in trainer.model.named_parameters() if p.requires_grad}

    whole = run("whole", None)
    resumed = run("resumed", str(tmp_path / "whole/out/checkpoint-4"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_the_order_of_packs_is_fixed_by_seed_and_epoch(tmp_path: Path) -> None:
    rows = make_rows(40)
    sampler = make_trainer(tmp_path, "documents", train=rows)._get_train_sampler()
    first = list(sampler)
    torch.manual_seed(99)
    again = make_trainer(tmp_path, "documents", train=rows)._get_train_sampler()
    assert list(again) == first
    assert list(make_trainer(tmp_path, "documents", train=rows, seed=8)._get_train_sampler()) != first
    again.set_epoch(1)
    assert list(again) != first
    assert sorted(again) == sorted(first) == list(range(len(sampler)))


def test_a_row_that_is_longer_than_a_pack_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"sft.pack_tokens = 30"):
        make_trainer(tmp_path, "documents", pack_tokens=30)


class Deaf(Qwen3ForCausalLM):
    """A model that keeps the table of segments from its layers."""

    def forward(self, *args: Any, forest: Any = None, **kwargs: Any) -> Any:
        return super().forward(*args, **kwargs)


class Leaky(Qwen3ForCausalLM):
    """A model whose attention runs over everything in the row."""

    def forward(self, input_ids: Any, use_cache: bool, **_: Any) -> Any:
        return super().forward(input_ids, use_cache=use_cache)


def shift_in(module: Any, args: Any, hidden: torch.Tensor) -> torch.Tensor:
    """What a convolution over tokens does: each sees the one before, whosever it is."""
    before = torch.cat([torch.zeros_like(hidden[:, :1]), hidden[:, :-1]], dim=1)
    return hidden + 0.1 * before


@pytest.mark.parametrize("packing", PACKINGS[1:])
@pytest.mark.parametrize("fault", ["deaf", "leaky", "convolution", None])
def test_a_model_in_which_packed_rows_see_each_other_is_refused(
    tmp_path: Path, packing: str, fault: str | None
) -> None:
    model = make_model(lora=False)
    model.__class__ = {"deaf": Deaf, "leaky": Leaky}.get(fault or "", Qwen3ForCausalLM)
    if fault == "convolution":
        model.model.layers[0].register_forward_hook(shift_in)
    trainer = make_trainer(tmp_path, packing, model)
    if fault is None:
        trainer.train()
        return
    with pytest.raises(ConfigError, match=rf"^sft.packing={packing}: .*; set sft.packing=none$"):
        trainer.train()
    assert trainer.state.global_step == 0


def test_isolation_is_proven_in_bfloat16_too() -> None:
    model = make_model(lora=False).to(torch.bfloat16)
    assert use_segments(model) is None
    rows = make_rows(2)
    require_isolation(model, model.lm_head, rows, 16, "shared_prefix", torch.device("cpu"))
    model.model.layers[0].register_forward_hook(lambda _, args, hidden: hidden + hidden.roll(1, dims=1))
    with pytest.raises(ConfigError, match="see each other"):
        require_isolation(model, model.lm_head, rows, 16, "shared_prefix", torch.device("cpu"))


def test_attention_that_cannot_share_is_refused_for_shared_prefixes(tmp_path: Path) -> None:
    model = make_model()
    model.get_base_model().config._attn_implementation_internal = "flex_attention"
    with pytest.raises(ConfigError, match=r"sft.packing=shared_prefix: attention flex_attention cannot share tokens"):
        make_trainer(tmp_path, "shared_prefix", model)


PROGRAM = """
import json
import os
import sys
from pathlib import Path
sys.path[:0] = [{tests!r}, {root!r}]
import torch
from test_sft_trainer import gradients_of_one_big_batch, gradients_of_the_first_step, make_rows, make_trainer
dev = make_rows(5, seed=1)
trainer = make_trainer(Path({out!r}), {packing!r}, dev=dev, gradient_accumulation_steps=12, pack_tokens=150,
    learning_rate=0.0)
assert len(trainer.train_dataset) % 2 == 0
found, expected = gradients_of_the_first_step(trainer), gradients_of_one_big_batch(make_rows())
flat, wanted = (torch.cat([side[name].flatten() for name in expected]) for side in (found, expected))
measured = [float((flat - wanted).norm() / wanted.norm()), trainer.mean_loss(dev), trainer.accelerator.num_processes]
Path({out!r}, f"rank{{trainer.args.process_index}}.json").write_text(json.dumps(measured))
torch.distributed.barrier()
os._exit(0)  # gloo's threads sometimes abort a process that ends in the usual way
"""


@pytest.mark.slow
@pytest.mark.parametrize("packing", PACKINGS)
def test_two_processes_have_the_gradients_of_one(tmp_path: Path, packing: str) -> None:
    here = Path(__file__).resolve()
    script = tmp_path / "program.py"
    script.write_text(
        PROGRAM.format(tests=str(here.parent), root=str(here.parents[1]), out=str(tmp_path), packing=packing)
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, cwd=tmp_path, env=environment)
    with torch.no_grad():
        expected = torch.cat([losses_alone(make_model().eval(), row) for row in make_rows(5, seed=1)]).mean()
    found = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    assert found[0][1:] == found[1][1:]
    for difference, dev_loss, processes in found:
        assert difference <= 1e-6
        assert dev_loss == pytest.approx(float(expected), abs=1e-6)
        assert processes == 2
