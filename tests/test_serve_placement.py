"""Where a model goes on made-up GPUs, what is read of real files and tables, and what is said when nothing fits."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from serve.capacity import Devices, device_environment, device_flags
from serve.measure import GIB, parse_gpus, read_shape, weight_bytes
from serve.placement import Gpu, Layer, Shape, Wishes, cpu_cache_gib, free_share, place, splits, tokens_in, work_bytes
from serve.target import Target
from toolwright.config import ServeConfig
from toolwright.errors import ModelError


def shape(billions: float, heads: int, kv_heads: int, layers: int, longest: int = 32768, head: int = 128) -> Shape:
    """A model in bfloat16."""
    layer = Layer(2 * 2 * kv_heads * head)
    return Shape(int(billions * 2e9), heads, kv_heads, (layer,) * layers, longest)


QWEN_7B = shape(7.6, 28, 4, 28)
QWEN_32B = shape(32.8, 40, 8, 64)
LLAMA_70B = shape(70.6, 64, 8, 80, 131072)
TINY = shape(0.004, 4, 4, 4, 4096, 64)


def gpus(count: int, gib: float, free: float | None = None) -> list[Gpu]:
    return [Gpu(f"GPU {gib:g}", int(gib * GIB), int((gib - 0.6 if free is None else free) * GIB))] * count


@pytest.mark.parametrize(
    ("model", "count", "gib", "expected"),
    [
        (QWEN_7B, 1, 80, (1, 1, None)),
        (QWEN_7B, 8, 80, (1, 8, None)),
        (QWEN_7B, 1, 24, (1, 1, None)),
        (QWEN_7B, 2, 24, (1, 2, None)),
        (QWEN_7B, 7, 16, (2, 3, None)),
        (QWEN_32B, 1, 80, (1, 1, "auto")),
        (QWEN_32B, 2, 79, (1, 2, "auto")),
        (QWEN_32B, 3, 74, (2, 1, None)),
        (QWEN_32B, 4, 48, (2, 2, None)),
        (QWEN_32B, 8, 24, (4, 2, None)),
        (LLAMA_70B, 2, 80, (2, 1, "auto")),
        (LLAMA_70B, 3, 80, (2, 1, "auto")),
        (LLAMA_70B, 8, 80, (4, 2, None)),
        (LLAMA_70B, 8, 141, (2, 4, None)),
        (LLAMA_70B, 1, 180, (1, 1, "auto")),
        (TINY, 1, 24, (1, 1, None)),
        (TINY, 3, 24, (1, 3, None)),
    ],
)
def test_a_model_gets_as_few_gpus_as_hold_it_and_copies_the_rest(
    model: Shape, count: int, gib: float, expected: tuple[int, int, int | str | None]
) -> None:
    placed = place("m", model, gpus(count, gib), Wishes())
    assert placed.memory_share == 0.92
    assert (placed.tensor_parallel, placed.data_parallel, placed.max_model_len) == expected
    assert placed.cache_tokens >= 30_000


@pytest.mark.parametrize("count", range(1, 9))
@pytest.mark.parametrize("gib", [16, 24, 40, 80, 141])
@pytest.mark.parametrize("model", [TINY, QWEN_7B, QWEN_32B, LLAMA_70B])
def test_what_is_placed_fits_and_what_is_refused_does_not(model: Shape, gib: float, count: int) -> None:
    devices = gpus(count, gib)
    most = max(size for size in splits(model, count))
    room = most * (0.92 * gib * GIB - work_bytes(devices))
    try:
        placed = place("m", model, devices, Wishes())
    except ModelError:
        assert model.weights + model.cache_bytes(2048) > room
        return
    assert placed.tensor_parallel * placed.data_parallel <= count
    assert model.heads % placed.tensor_parallel == 0
    room = placed.tensor_parallel * (placed.memory_share * gib * GIB - work_bytes(devices))
    assert model.weights + model.cache_bytes(2048) <= room
    if placed.max_model_len is None:
        assert model.weights + model.cache_bytes(model.longest or 0) <= room


def test_what_the_user_sets_wins() -> None:
    wishes = Wishes(memory_share=0.5, tensor_parallel=2, data_parallel=1, max_model_len=4096)
    placed = place("m", QWEN_7B, gpus(8, 80), wishes)
    assert (placed.tensor_parallel, placed.data_parallel, placed.max_model_len, placed.memory_share) == (
        2,
        1,
        4096,
        0.5,
    )
    with pytest.raises(
        ModelError, match=r"5 copies on 2 GPUs each need 10, and there are 8; lower serve\.data_parallel"
    ):
        place("m", QWEN_7B, gpus(8, 80), Wishes(tensor_parallel=2, data_parallel=5))
    with pytest.raises(ModelError, match=r"serve\.tensor_parallel is 16 and there are 8 GPUs; lower it"):
        place("m", QWEN_7B, gpus(8, 80), Wishes(tensor_parallel=16))


def test_others_on_the_gpus_are_left_their_memory() -> None:
    used = [*gpus(1, 80), *gpus(1, 80, free=30)]
    assert free_share(used) == 0.36
    assert place("m", QWEN_7B, used, Wishes()).memory_share == 0.36
    with pytest.raises(ModelError, match="free memory: others hold some of it"):
        place("m", QWEN_32B, gpus(1, 80, free=30), Wishes())


@pytest.mark.parametrize(
    ("model", "devices", "wishes", "ways"),
    [
        (QWEN_32B, gpus(1, 24), Wishes(), ["4 such GPUs", "21.0 GB of weights by .*--to awq"]),
        (QWEN_32B, gpus(1, 48), Wishes(), ["2 such GPUs", "34.8 GB of weights by .*--to fp8", "18.3 billion"]),
        (LLAMA_70B, gpus(1, 24), Wishes(), ["a model of at most 8.8 billion parameters"]),
        (QWEN_7B, gpus(1, 24), Wishes(max_model_len=131072), [r"serve\.max_model_len=\d+", "2 such GPUs"]),
    ],
)
def test_a_gpu_that_is_too_small_is_refused_with_what_would_fit(
    model: Shape, devices: list[Gpu], wishes: Wishes, ways: list[str]
) -> None:
    with pytest.raises(ModelError) as caught:
        place("qwen", model, devices, wishes)
    message = str(caught.value)
    assert message.startswith(f"qwen: the GPU is too small: {model.weights / 1e9:.1f} GB of weights")
    assert "\n" not in message
    for way in ways:
        assert re.search(way, message), message


def test_the_length_that_is_advised_fits() -> None:
    with pytest.raises(ModelError) as caught:
        place("m", QWEN_7B, gpus(1, 24), Wishes(max_model_len=131072))
    advised = re.search(r"serve\.max_model_len=(\d+)", str(caught.value))
    assert advised
    assert place("m", QWEN_7B, gpus(1, 24), Wishes(max_model_len=int(advised[1]))).max_model_len == int(advised[1])


@pytest.mark.parametrize(
    ("heads", "kv_heads", "expected"),
    [(28, 4, [1, 2, 4]), (40, 8, [1, 2, 4, 8]), (64, 8, [1, 2, 4, 8]), (4, 1, [1, 2, 4]), (14, 2, [1, 2, 14])],
)
def test_heads_are_split_evenly(heads: int, kv_heads: int, expected: list[int]) -> None:
    assert splits(shape(1, heads, kv_heads, 2), 16)[: len(expected)] == expected


def test_windows_and_latent_caches_are_counted_as_they_grow() -> None:
    full, sliding = Layer(1000), Layer(1000, window=100)
    model = Shape(0, 8, 8, (full, sliding), 10_000)
    assert model.cache_bytes(50) == 100_000
    assert model.cache_bytes(1000) == 1_100_000
    assert tokens_in(model, 1_100_000) == 1000
    assert tokens_in(model, 1_100_000, 2) == 2100
    assert tokens_in(Shape(0, 8, 8, (Layer(1000, shared=True),)), 10_000, 8) == 10
    assert tokens_in(Shape(0, 8, 2, (Layer(1000),)), 10_000, 8) == 20
    assert tokens_in(Shape(0, 8, 8, (sliding,)), 200_000) > 1_000_000
    assert tokens_in(model, -5) == 0


TABLE = """0, GPU-aa, NVIDIA H100 80GB HBM3, 81559, 81000
1, GPU-bb, NVIDIA H100 80GB HBM3, 81559, 100
2, GPU-cc, NVIDIA GH200, [N/A], [N/A]
"""


@pytest.mark.parametrize(
    ("visible", "free"),
    [
        (None, [81000, 100]),
        ("1", [100]),
        ("1,0", [100, 81000]),
        ("GPU-bb", [100]),
        ("", []),
        ("-1", []),
        ("0,7,1", [81000]),
    ],
)
def test_the_gpus_are_those_that_may_be_used(visible: str | None, free: list[int]) -> None:
    assert [gpu.free // 2**20 for gpu in parse_gpus(TABLE, visible)] == free


def write_model(path: Path, config: dict[str, Any], dtype: Any = None) -> Path:
    import torch
    from safetensors.torch import save_file

    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    save_file({"a": torch.zeros(100, dtype=dtype or torch.bfloat16)}, path / "model.safetensors")
    return path


QWEN = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 64}


@pytest.mark.parametrize(
    ("config", "layers"),
    [
        (QWEN, (Layer(128), Layer(128))),
        (QWEN | {"head_dim": 32}, (Layer(256), Layer(256))),
        ({"text_config": QWEN}, (Layer(128), Layer(128))),
        (
            QWEN | {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]},
            (Layer(128, 8), Layer(128)),
        ),
        (QWEN | {"layer_types": ["linear_attention", "full_attention"]}, (Layer(128),)),
        (QWEN | {"kv_lora_rank": 512, "qk_rope_head_dim": 64}, (Layer(1152, None, True), Layer(1152, None, True))),
    ],
)
def test_a_cache_is_read_from_the_configuration(
    tmp_path: Path, config: dict[str, Any], layers: tuple[Layer, ...]
) -> None:
    read = read_shape(write_model(tmp_path / "m", config))
    assert read is not None
    assert read.layers == layers
    assert read.weights == 200


def test_float32_is_counted_as_it_is_served(tmp_path: Path) -> None:
    import torch

    model = write_model(tmp_path / "m", QWEN, torch.float32)
    assert weight_bytes(model) == 200
    assert weight_bytes(model, 4) == 400
    assert read_shape(write_model(tmp_path / "other", {"model_type": "mamba"})) is None


def test_files_of_weights_that_are_not_whole_are_refused(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", QWEN)
    file = model / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ModelError, match=r"cut short \(\d+ of \d+ bytes\); copy it anew"):
        read_shape(model)
    file.write_bytes(b"nothing")
    with pytest.raises(ModelError, match="not a safetensors file"):
        read_shape(model)
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "gone.safetensors"}}))
    with pytest.raises(ModelError, match=r"gone\.safetensors: the file of weights is missing"):
        read_shape(model)
    file.unlink()
    (model / "model.safetensors.index.json").unlink()
    with pytest.raises(ModelError, match=r"no weights \(\*\.safetensors\)"):
        read_shape(model)


def test_flags_follow_the_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE", raising=False)
    target = Target("m", str(write_model(tmp_path / "m", QWEN | {"max_position_embeddings": 4096})))
    two = Devices(gpus=tuple(gpus(2, 80)))
    assert device_flags(ServeConfig(), target, two, []) == [
        *("--gpu-memory-utilization", "0.92", "--data-parallel-size", "2")
    ]
    given = ["--gpu-memory-utilization=0.3", "--max-model-len", "9"]
    assert device_flags(ServeConfig(), target, two, given) == ["--data-parallel-size", "2"]
    assert device_flags(ServeConfig(), target, two, ["-tp=2"]) == []
    assert device_flags(ServeConfig(max_model_len=99), target, two, ["--nnodes", "2"]) == ["--max-model-len", "99"]
    cpu = Devices(free=9 * GIB)
    assert device_flags(ServeConfig(), target, cpu, []) == ["--enforce-eager"]
    assert device_environment(ServeConfig(), target, cpu) == {"VLLM_CPU_KVCACHE_SPACE": "1"}
    assert device_environment(ServeConfig(), Target("Q/Q", "Q/Q"), cpu) == {"VLLM_CPU_KVCACHE_SPACE": "2"}
    assert device_environment(ServeConfig(), target, two) == {}
    other = Devices(others=True)
    assert device_flags(ServeConfig(), target, other, []) == []
    assert device_flags(ServeConfig(), Target("Q/Q", "Q/Q"), two, []) == []
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "7")
    assert device_environment(ServeConfig(), target, cpu) == {}


def test_a_cpu_gets_a_cache_that_leaves_room(tmp_path: Path) -> None:
    assert cpu_cache_gib(TINY, 20 * GIB) == 1
    assert cpu_cache_gib(QWEN_7B, 100 * GIB) == 3
    assert cpu_cache_gib(LLAMA_70B, 900 * GIB) == 52
    assert cpu_cache_gib(LLAMA_70B, 280 * GIB) == 9
    assert cpu_cache_gib(QWEN_7B, 2 * GIB) == 1
    target = Target("m", str(write_model(tmp_path / "m", QWEN | {"max_position_embeddings": 100_000_000})))
    flags = device_flags(ServeConfig(), target, Devices(free=8 * GIB), [])
    assert flags == ["--max-model-len", "auto", "--enforce-eager"]
