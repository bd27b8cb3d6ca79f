"""Models that run a layer at a time: the logits of whole ones, for any architecture and adapter, in less memory."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from merging import make_adapter, merged

from merge.adapter import Source
from merge.elements import compare_elements
from merge.halves import Halves, compare_halves
from merge.layers import LayersError, Store, Streamed, empty_model, own_weights
from merge.reference import apply_sources, load_reference
from toolwright.errors import ModelError
from toolwright.model import load_model, quiet_libraries

TEXTS = [list(range(5, 40)), [7, 8, 9, 10], list(range(60, 90))]
SIZES: dict[str, Any] = {
    "vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 128, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2,
}  # fmt: skip
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "decoder_sparse_step": 1}


@pytest.fixture(scope="module", autouse=True)
def quiet() -> None:
    quiet_libraries()


def make_kind(directory: Path, kind: str, **changes: Any) -> Path:
    """A model of an architecture, stored in bfloat16, with weights that make a difference."""
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[kind](**(SIZES | changes)))
    for parameter in model.parameters():
        parameter.data = parameter.data + torch.randn_like(parameter) * 0.05
    model.bfloat16().save_pretrained(directory)
    return directory


def whole(base: Path, *sources: Source) -> torch.Tensor:
    """Logits of all positions, text by text, as transformers and PEFT give them."""
    model = load_reference(str(base), sources, "float32") if sources else load_model(base, "float32")
    with torch.no_grad():
        return torch.cat([model(input_ids=torch.tensor([text])).logits[0] for text in TEXTS])


def streamed(base: Path, *sources: Source) -> torch.Tensor:
    model = empty_model(base)
    homes = own_weights(model)
    if sources:
        model = apply_sources(model, str(base), sources, empty=True).get_base_model()
    halves = Halves(model, TEXTS, Streamed(model, Store(base), homes))
    layers = next(part for part in model.modules() if isinstance(part, torch.nn.ModuleList))
    own = {id(tensor) for tensor in homes.values()}
    plain = [weight for name, weight in layers.named_parameters() if "lora_" not in name and weight.dim() > 1]
    assert all(id(weight) in own and not any(weight.stride()) for weight in plain)  # empty again
    return halves.logits(0, sum(map(len, TEXTS)))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("llama", {}),
        ("gemma2", {}),
        ("cohere", {}),
        ("phi3", {}),
        ("gpt_neox", {}),
        ("qwen3_moe", EXPERTS),
        ("mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    ],
)
def test_any_architecture_runs_a_layer_at_a_time(
    tmp_path: Path, kind: str, changes: dict[str, Any], tied: bool
) -> None:
    base = make_kind(tmp_path / "base", kind, tie_word_embeddings=tied, **changes)
    assert (streamed(base) - whole(base)).abs().max() < 1e-5


ADAPTERS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("qwen3", {}, {}),
    ("qwen3", {}, {"use_dora": True}),
    ("qwen3", {}, {"use_rslora": True, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 32}}),
    ("qwen2", {}, {"bias": "all"}),
    ("qwen3", {"tie_word_embeddings": False}, {"target_modules": ["q_proj", "embed_tokens", "lm_head"]}),
    ("qwen3", {"tie_word_embeddings": False}, {"modules_to_save": ["lm_head", "input_layernorm"]}),
    ("qwen3", {"tie_word_embeddings": True}, {"modules_to_save": ["embed_tokens"]}),
    ("qwen3", {"tie_word_embeddings": True}, {"trainable_token_indices": [3, 7]}),
    ("qwen3", {"tie_word_embeddings": True}, {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}),
    ("qwen3_moe", EXPERTS, {"target_modules": ["q_proj"], "target_parameters": ["mlp.experts.down_proj"]}),
]


@pytest.mark.parametrize(("kind", "changes", "lora"), ADAPTERS)
def test_any_adapter_runs_on_it_and_every_weight_is_what_peft_makes(
    tmp_path: Path, kind: str, changes: dict[str, Any], lora: dict[str, Any]
) -> None:
    base = make_kind(tmp_path / "base", kind, **changes)
    source = Source(make_adapter(base, tmp_path / "adapter", **lora))
    assert (streamed(base, source) - whole(base, source)).abs().max() < 1e-5
    applied = merged(base, tmp_path / "merged", source)
    found = weigh(base, tmp_path / "merged", source)
    assert (found.wrong, found.first) == (0, "")
    assert 0 < found.largest <= 1
    experts = kind == "qwen3_moe"  # which files hold one by one
    assert found.changed >= 3 if experts else abs(found.changed - applied.weights_changed) <= 1  # tied ones


def weigh(base: Path, result: Path, *sources: Source) -> Any:
    return compare_elements(base, result, lambda model: apply_sources(model, str(base), sources, empty=True))


def test_several_adapters_run_together_with_their_weights(tmp_path: Path) -> None:
    base = make_kind(tmp_path / "base", "qwen3")
    first = Source(make_adapter(base, tmp_path / "first"))
    second = Source(make_adapter(base, tmp_path / "second", seed=2, target_modules=["q_proj"]), 0.3)
    both = whole(base, first, second)
    assert (streamed(base, first, second) - both).abs().max() < 1e-5
    assert (both - whole(base, first)).abs().max() > 1e-3
    assert (both - whole(base, first, Source(second.directory, 1.0))).abs().max() > 1e-3
    merged(base, tmp_path / "merged", first, second)
    assert weigh(base, tmp_path / "merged", first, second).wrong == 0
    assert weigh(base, tmp_path / "merged", first, Source(second.directory, 0.4)).wrong > 0


def test_weights_that_float16_hardly_holds_are_as_right_as_they_can_be(tmp_path: Path) -> None:
    base = make_kind(tmp_path / "base", "qwen3")
    model = load_model(base, "float32")
    model.model.layers[0].mlp.up_proj.weight.data *= 1e-6
    model.save_pretrained(base)
    source = Source(make_adapter(base, tmp_path / "adapter", target_modules=["q_proj"]))
    merged(base, tmp_path / "merged", source, dtype="float16")
    found = weigh(base, tmp_path / "merged", source)
    assert (found.wrong, found.changed) == (0, 3)
    assert 0 < found.largest <= 1


class Given:
    """Logits that are written down, in place of a model's."""

    def __init__(self, rows: list[list[float]], lengths: list[int]) -> None:
        self.rows = torch.tensor(rows)
        self.lengths = lengths

    def logits(self, start: int, stop: int) -> torch.Tensor:
        return self.rows[start:stop]


def test_differences_flips_and_leads_by_hand() -> None:
    # Two texts of three and two tokens; the reply of the first begins after its first token, so two rows are scored.
    one = Given([[1.0, 0.0], [2.0, 1.5], [0.0, 3.0], [0.0, 1.0], [5.0, 0.0]], [3, 2])
    two = Given([[1.0, 0.0], [1.4, 1.6], [0.0, 3.0], [0.0, 1.0], [0.0, 5.0]], [3, 2])
    found = compare_halves(one, two, [0, 0])  # type: ignore[arg-type]
    assert found.largest == 5.0
    assert found.mean == pytest.approx((0.6 + 0.1 + 5.0 + 5.0) / 10)
    assert found.flips == [0.5]  # what follows the last token is of no text
    assert [text.lead for text in found.texts] == [0.5, 1.0]
    assert [text.first_flip for text in found.texts] == [0.5, None]


def test_logits_that_are_no_numbers_are_as_far_as_can_be() -> None:
    one, two = Given([[1.0, 0.0], [1.0, 0.0]], [2]), Given([[1.0, 0.0], [float("nan"), 0.0]], [2])
    assert compare_halves(one, two, [0]).largest > 1e30  # type: ignore[arg-type]


def test_what_cannot_be_read_layer_by_layer_says_so(tmp_path: Path) -> None:
    base = make_kind(tmp_path / "base", "qwen3")
    config = json.loads((base / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (base / "config.json").write_text(json.dumps(config))
    with pytest.raises(LayersError, match=r"quantised.*merge\.parity=logits"):
        empty_model(base)


def test_a_missing_weight_is_named(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    base = make_kind(tmp_path / "base", "qwen3")
    tensors = load_file(base / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    save_file({key: tensor for key, tensor in tensors.items() if key != name}, base / "model.safetensors")
    with pytest.raises(ModelError, match=f"the weight {name} is missing"):
        streamed(base)


PEAK = """
import re, sys
from pathlib import Path
from merge.adapter import Source
from merge.greedy import Rendered
from merge.measure import measure_layers, weigh
from merge.prompts import PROMPTS
from toolwright.model import quiet_libraries
quiet_libraries()
def peak():  # ru_maxrss would be that of the process that started this one
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
for directory in map(Path, sys.argv[1:]):  # first a small one, so that all is imported
    before = peak()
    sources, ids = [Source(directory / "adapter")], tuple(range(3, 19))
    models = str(directory / "base"), sources, directory / "merged"
    found = measure_layers(*models, [Rendered(PROMPTS[0], "", ids, ids)], lambda *_: None)
    weights, _ = weigh(*models, lambda *_: None)
    assert found.positions == 16 and 0 < found.largest < 0.1 and weights.wrong == 0, (found, weights)
print(peak() - before)
"""


def test_memory_is_that_of_a_few_layers(tmp_path: Path) -> None:
    for name, layers, width in (("small", 2, 32), ("large", 24, 512)):
        sizes = {"hidden_size": width, "intermediate_size": 3 * width, "num_hidden_layers": layers}
        base = make_kind(tmp_path / name / "base", "qwen3", **sizes)
        adapter = make_adapter(base, tmp_path / name / "adapter", target_modules=["q_proj", "down_proj"])
        merged(base, tmp_path / name / "merged", adapter)
    size = 2 * (base / "model.safetensors").stat().st_size  # in float32, in which it is compared
    argv = [sys.executable, "-W", "ignore", "-c", PEAK, str(tmp_path / "small"), str(tmp_path / "large")]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False)
    assert done.returncode == 0, done.stderr
    assert size > 200e6
    assert int(done.stdout) < size / 2  # a third here, where a layer is a twenty-fourth; two models take twice the size
