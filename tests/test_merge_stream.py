"""The files of a merged model: what they look like, what is refused, and what is left when a merge is stopped."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from merging import convert, differing, make_adapter, merged, tensors_of
from safetensors.torch import load_file, save_file

from merge import output, stream
from merge.output import Partial
from merge.weights import INDEX, build_header, read_shard, read_weights
from toolwright.errors import ArtifactError, ModelError
from toolwright.model import load_model

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, small_model_dir: Path) -> Path:
    return convert(small_model_dir, tmp_path_factory.mktemp("base") / "model", "bfloat16")


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    return make_adapter(base, tmp_path_factory.mktemp("adapter") / "adapter")


@pytest.fixture
def broken(tmp_path: Path, base: Path) -> Path:
    """A copy of the base to break."""
    return Path(shutil.copytree(base, tmp_path / "broken"))


def test_files_keep_their_headers_index_and_names(tmp_path: Path, base: Path, adapter: Path) -> None:
    merged(base, tmp_path / "merged", adapter, threads=2)
    shards = read_weights(base).shards
    assert len(shards) > 3
    for shard in shards:
        assert read_shard(tmp_path / "merged" / shard.path.name).header == shard.header
    for name in (INDEX, "config.json", "generation_config.json"):
        assert (tmp_path / "merged" / name).read_bytes() == (base / name).read_bytes()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (tmp_path / "merged" / name).read_bytes() == (adapter / name).read_bytes()
    beside = {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    assert {file.name for file in (tmp_path / "merged").iterdir()} == beside | {INDEX} | {s.path.name for s in shards}


def test_small_blocks_and_many_threads_give_the_same_bytes(
    tmp_path: Path, base: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    merged(base, tmp_path / "one", adapter)
    monkeypatch.setattr(stream, "BLOCK", 32 * 8)
    monkeypatch.setattr(stream, "STRETCH", 32 * 16)
    monkeypatch.setattr(stream, "COPY", 1000)
    merged(base, tmp_path / "other", adapter, threads=8)
    assert differing(tmp_path / "one", tmp_path / "other") == {}
    for shard in read_weights(tmp_path / "one").shards:
        assert (tmp_path / "other" / shard.path.name).read_bytes() == shard.path.read_bytes()


def test_files_can_be_cut_otherwise(tmp_path: Path, base: Path, adapter: Path) -> None:
    merged(base, tmp_path / "same", adapter)
    merged(base, tmp_path / "one", adapter, max_shard_size=10**9)
    assert [shard.path.name for shard in read_weights(tmp_path / "one").shards] == ["model.safetensors"]
    assert not (tmp_path / "one" / INDEX).exists()
    merged(base, tmp_path / "many", adapter, max_shard_size=8_000)
    shards = read_weights(tmp_path / "many").shards
    assert len(shards) > len(read_weights(base).shards)
    for name in ("one", "many"):
        assert differing(tmp_path / "same", tmp_path / name) == {}
        load_model(tmp_path / name)
    index = json.loads((tmp_path / "many" / INDEX).read_text())
    assert index["metadata"]["total_size"] == sum(tensor.size for shard in shards for tensor in shard.tensors)


def test_another_type_is_the_sum_without_a_rounding(tmp_path: Path, base: Path, adapter: Path) -> None:
    merged(base, tmp_path / "merged", adapter, dtype="float32")
    lora = load_file(adapter / WEIGHTS)
    name = "model.layers.1.mlp.down_proj"
    stem = f"base_model.model.{name}.lora_"
    exact = tensors_of(base)[f"{name}.weight"].float() + lora[f"{stem}B.weight"] @ lora[f"{stem}A.weight"] * 2
    assert torch.equal(tensors_of(tmp_path / "merged")[f"{name}.weight"], exact)
    assert load_model(tmp_path / "merged").dtype == torch.float32
    assert json.loads((tmp_path / "merged/config.json").read_text())["dtype"] == "float32"


def test_a_template_of_the_base_does_not_win_over_that_of_training(tmp_path: Path, broken: Path, adapter: Path) -> None:
    trained = Path(shutil.copytree(adapter, tmp_path / "trained"))
    settings = json.loads((trained / "tokenizer_config.json").read_text())
    settings["chat_template"] = (trained / "chat_template.jinja").read_text()
    (trained / "tokenizer_config.json").write_text(json.dumps(settings))
    (trained / "chat_template.jinja").unlink()
    (broken / "chat_template.jinja").write_text("{# another #}")
    merged(broken, tmp_path / "merged", trained)
    assert not (tmp_path / "merged/chat_template.jinja").exists()


# What is refused before a byte is written


def test_a_file_that_is_cut_short_is_named(tmp_path: Path, broken: Path, adapter: Path) -> None:
    file = sorted(broken.glob("*.safetensors"))[1]
    with file.open("r+b") as stream_:
        stream_.truncate(file.stat().st_size - 10)
    with pytest.raises(ModelError, match=rf"{file.name}: cut short: \d+ bytes, expected \d+"):
        merged(broken, tmp_path / "merged", adapter)
    assert not list(tmp_path.glob("*merged*"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "cut short"),
        (b"\x05", "cut short"),
        (b"\xff" * 64, "not a safetensors file"),
        ((4).to_bytes(8, "little") + b"nope", "header cannot be read"),
        ((2).to_bytes(8, "little") + b"[]", "header cannot be read"),
        (build_header({"a": ("F32", (2,))}, {}) + b"\0" * 9, "longer than its tensors"),
        (build_header({"a": ("F32", (2,))}, {}).replace(b"[2]", b"[3]") + b"\0" * 8, "8 bytes for"),
        (build_header({"a": ("F32", (2,))}, {}).replace(b"[0,8]", b"[4,8]") + b"\0" * 8, "4 bytes for"),
        (build_header({"a": ("F32", (2,))}, {}).replace(b'"F32"', b'"WAT"') + b"\0" * 8, "unknown type WAT"),
    ],
)
def test_what_is_no_file_of_weights_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=rf"model\.safetensors: .*{reason}"):
        read_shard(path)


def test_a_missing_file_is_named(tmp_path: Path, broken: Path, adapter: Path) -> None:
    file = sorted(broken.glob("*.safetensors"))[1]
    file.unlink()
    with pytest.raises(ModelError, match=rf"1 of \d+ files of weights are missing, first {file.name}"):
        merged(broken, tmp_path / "merged", adapter)


def test_an_index_that_is_not_true_is_refused(tmp_path: Path, broken: Path, adapter: Path) -> None:
    index = json.loads((broken / INDEX).read_text())
    names = sorted(index["weight_map"])
    index["weight_map"][names[0]], index["weight_map"][names[-1]] = sorted(set(index["weight_map"].values()))[:2]
    (broken / INDEX).write_text(json.dumps(index))
    with pytest.raises(ModelError, match="but it is not"):
        merged(broken, tmp_path / "merged", adapter)
    index["weight_map"][names[0]] = "../elsewhere.safetensors"
    (broken / INDEX).write_text(json.dumps(index))
    with pytest.raises(ModelError, match="not the name of a file beside it"):
        merged(broken, tmp_path / "merged", adapter)
    (broken / INDEX).write_text("{")
    with pytest.raises(ModelError, match="not an index"):
        merged(broken, tmp_path / "merged", adapter)


def test_weights_in_an_old_format_are_named(tmp_path: Path, adapter: Path, small_model_dir: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    shutil.copy(small_model_dir / "config.json", old)
    (old / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(ModelError, match=r"pytorch_model\.bin: save it with save_pretrained"):
        merged(old, tmp_path / "merged", adapter)


def test_a_quantised_base_is_refused_and_its_original_asked_for(tmp_path: Path, broken: Path, adapter: Path) -> None:
    config = json.loads((broken / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (broken / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"quantised \(bitsandbytes\).*--base DIR"):
        merged(broken, tmp_path / "merged", adapter)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_adapter_that_is_not_finite_is_refused(tmp_path: Path, base: Path, adapter: Path, value: float) -> None:
    bad = Path(shutil.copytree(adapter, tmp_path / "bad"))
    weights = load_file(bad / WEIGHTS)
    name = sorted(weights)[-1]
    weights[name][1, 1] = value
    save_file(weights, bad / WEIGHTS)
    with pytest.raises(ModelError, match=rf"{name} holds values that are not finite"):
        merged(base, tmp_path / "merged", bad)
    assert not list(tmp_path.glob("*merged*"))


def test_a_sum_that_is_too_large_for_its_type_is_refused(tmp_path: Path, small_model_dir: Path) -> None:
    base = convert(small_model_dir, tmp_path / "base", "float16")
    adapter = make_adapter(base, tmp_path / "adapter", lora_alpha=10**8)
    with pytest.raises(ModelError, match="not finite in F16"):
        merged(base, tmp_path / "merged", adapter)
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda w: w | {"base_model.model.model.layers.9.mlp.up_proj.lora_A.weight": torch.zeros(4, 32)},
            "up_proj has lora_A.weight and no",
        ),
        (
            lambda w: dict(list(w.items())[1:]),
            r"layers.0.* has lora_B.weight and no lora_A.weight; the file is incomplete",
        ),
        (lambda w: {n: t[:, :-1].clone() if "lora_A" in n else t for n, t in w.items()}, r"is \[4, \d+\], expected"),
        (lambda w: {n: t[:2].clone() if "lora_A" in n else t for n, t in w.items()}, r"is \[2, \d+\], expected \[4"),
        (lambda w: w | {"base_model.model.model.norm.strange": torch.zeros(3)}, "norm.strange has no place"),
        (lambda w: {n: t.to(torch.int32) for n, t in w.items()}, "of type I32"),
        (lambda w: {}, "holds no tensors"),
    ],
)
def test_every_tensor_of_an_adapter_must_fit(
    tmp_path: Path,
    base: Path,
    adapter: Path,
    change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]],
    reason: str,
) -> None:
    bad = Path(shutil.copytree(adapter, tmp_path / "bad"))
    save_file(change(load_file(bad / WEIGHTS)), bad / WEIGHTS)
    with pytest.raises(ModelError, match=reason):
        merged(base, tmp_path / "merged", bad)
    assert not list(tmp_path.glob("*merged*"))


def test_a_disk_that_is_too_small_is_noticed_first(
    tmp_path: Path, base: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "_SPARE", 1 << 60)
    with pytest.raises(ArtifactError, match=r"needs \d+\.\d+ GiB, the disk has .* --out DIR"):
        merged(base, tmp_path / "merged", adapter)
    assert not (tmp_path / "merged").exists()
    assert not list((tmp_path / ".merged.partial").glob("*.safetensors"))


@pytest.mark.parametrize("odd", [{"metadata": ["odd"]}, {"weight_map": ["odd"]}, {"weight_map": {}}])
def test_what_is_no_index_is_named(tmp_path: Path, broken: Path, adapter: Path, odd: dict[str, object]) -> None:
    (broken / INDEX).write_text(json.dumps(json.loads((broken / INDEX).read_text()) | odd))
    with pytest.raises(ModelError, match=rf"{INDEX}: .*get the model anew"):
        merged(broken, tmp_path / "merged", adapter)


def test_a_disk_that_takes_a_part_at_a_time_gets_all(
    tmp_path: Path, base: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    merged(base, tmp_path / "whole", adapter)
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: write(file, data[:1000], at))
    merged(base, tmp_path / "merged", adapter, dtype="base")
    for file in (tmp_path / "whole").iterdir():
        assert (tmp_path / "merged" / file.name).read_bytes() == file.read_bytes()


def test_a_disk_that_takes_no_more_is_named(tmp_path: Path, base: Path, adapter: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(ArtifactError, match=r"safetensors.part: cannot be written \(File too large\)"):
            merged(base, tmp_path / "merged", adapter)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (tmp_path / "merged").exists()


def test_what_stands_beside_the_weights_is_copied_and_what_others_left_is_not(
    tmp_path: Path, broken: Path, adapter: Path
) -> None:
    kept = ("LICENSE", "modeling_x.py", "figures/a b.png")
    left = (
        "README.md",
        "pytorch_model.bin",
        "checkpoint-5/model.safetensors",
        "original/a.pth",
        ".cache/x",
        "x.gguf",
        "fp16/a.bin",
    )
    for name in (*kept, *left):
        (broken / name).parent.mkdir(exist_ok=True)
        (broken / name).write_text(name)
    (broken / "dangling").symlink_to("/nowhere")
    (broken / "latest").symlink_to(broken)
    (broken / "figures").chmod(0o555)
    merged(broken, tmp_path / "merged", adapter)
    files = {str(file.relative_to(tmp_path / "merged")) for file in (tmp_path / "merged").rglob("*") if file.is_file()}
    assert set(kept) <= files
    assert not {*left, "dangling", "latest/LICENSE"} & files
    assert (tmp_path / "merged/figures").stat().st_mode & 0o200  # what is read-only could never be replaced


# What is left when a merge is stopped

SLOW = """
import sys, time
from pathlib import Path
from merge import engine
from merging import merged
write = engine.write_file
def slowly(*arguments):
    write(*arguments)
    print("file", flush=True)
    time.sleep(0.3)
engine.write_file = slowly
merged(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
"""


@pytest.fixture
def stopped(tmp_path: Path, base: Path, adapter: Path) -> Iterator[Path]:
    """A merge that was killed after its second file."""
    target = tmp_path / "merged"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(Path.cwd())])}
    command = [sys.executable, "-c", SLOW, str(base), str(target), str(adapter)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    for _ in range(2):
        assert process.stdout.readline() == b"file\n"
    time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    yield target
    process.stdout.close()


def test_a_killed_merge_leaves_no_model_and_goes_on_with_the_next_file(
    tmp_path: Path, base: Path, adapter: Path, stopped: Path
) -> None:
    assert not stopped.exists()
    partial = tmp_path / ".merged.partial"
    done = {file.name: file.stat().st_mtime_ns for file in partial.glob("*.safetensors")}
    assert 1 <= len(done) < len(read_weights(base).shards)
    merged(base, stopped, adapter)
    assert {name: (stopped / name).stat().st_mtime_ns for name in done} == done
    merged(base, tmp_path / "whole", adapter)
    for file in (tmp_path / "whole").iterdir():
        assert (stopped / file.name).read_bytes() == file.read_bytes()
    assert not partial.exists()


def test_what_another_job_left_is_not_used(tmp_path: Path, base: Path, adapter: Path, stopped: Path) -> None:
    other = make_adapter(base, tmp_path / "other", seed=5)
    merged(base, stopped, other, key="another")
    merged(base, tmp_path / "whole", other)
    assert differing(stopped, tmp_path / "whole") == {}


def test_a_failed_merge_leaves_the_old_model_as_it_was(tmp_path: Path, base: Path, adapter: Path) -> None:
    target = tmp_path / "merged"
    merged(base, target, adapter)
    before = {file.name: file.read_bytes() for file in target.iterdir()}
    other = make_adapter(base, tmp_path / "bad", lora_alpha=10**41)
    with pytest.raises(ModelError, match="not finite"):
        merged(base, target, other, key="other")
    assert {file.name: file.read_bytes() for file in target.iterdir()} == before


def test_files_that_were_not_finished_give_their_room_back(tmp_path: Path, base: Path, stopped: Path) -> None:
    partial = Partial(stopped, "test")
    (partial.path / "model-00009.safetensors.part").write_bytes(b"x")
    partial.open()
    assert not list(partial.path.glob("*.part"))
    assert list(partial.path.glob("*.safetensors"))


def test_publishing_replaces_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "old").write_text("x")
    partial = Partial(target, "k")
    partial.open()
    (partial.path / "new").write_text("y")
    partial.publish()
    assert [file.name for file in target.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
