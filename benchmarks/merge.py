"""Measures the streaming merge against PEFT and against ``cp -r``, each in a process of its own, interleaved.

python -m benchmarks.merge [--gigabytes 3.4] [--rounds 3] [--dir DIR]      prints a table; removes what it made

The model has the shapes of Qwen3 with random weights, the adapter rank 16 on all linear layers. Files are in the page
cache for all alike; memory is the largest resident size of the process. Neither cp nor PEFT waits for the disk, our
command does: "flushed" compares that as well.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

LAYER = {"hidden_size": 2048, "intermediate_size": 6144, "num_attention_heads": 16, "num_key_value_heads": 8}
VOCABULARY = 151_936
LAYER_PARAMETERS = 50_335_744
RANK = 16


def main() -> int:
    """Make the model, run all sides in turn, print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=3.4, help="size of the model in bfloat16")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dir", default=None, help="directory for models (three times their size)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--no-peft", action="store_true", help="only ours and cp, for models that PEFT has no room for")
    parser.add_argument("--child", nargs="*", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        return run_child(*arguments.child)
    with tempfile.TemporaryDirectory(dir=arguments.dir) as holder:
        measure(Path(holder), arguments.gigabytes, arguments.rounds, arguments.threads, not arguments.no_peft)
    return 0


def measure(directory: Path, gigabytes: float, rounds: int, threads: int, with_peft: bool) -> None:
    """Interleave the sides and print what each took."""
    base, adapter = directory / "base", directory / "adapter"
    layers = max(1, round((gigabytes * 1e9 / 2 - VOCABULARY * LAYER["hidden_size"]) / LAYER_PARAMETERS))
    subprocess.run([*_child(), "make", str(base), str(adapter), str(layers)], check=True)
    size = sum(file.stat().st_size for file in base.glob("*.safetensors"))
    print(f"model: {size / 1e9:.2f} GB in {len(list(base.glob('*.safetensors')))} files, {layers} layers", flush=True)
    sides: dict[str, list[str]] = {"cp -r": ["cp", "-r", str(base), str(directory / "cp")]}
    sides["cp -r, flushed"] = ["sh", "-c", f"cp -r {base} {directory}/cp && sync -f {directory}/cp"]
    for name, flush in (("stream", "no"), ("stream, flushed", "yes")):
        words = [str(base), str(adapter), str(directory / "stream"), str(threads), flush]
        sides[name] = [*_child(), "stream", *words]
    if with_peft:
        sides["peft"] = [*_child(), "peft", str(base), str(adapter), str(directory / "peft")]
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for round_ in range(rounds):
        for name, command in sides.items():
            shutil.rmtree(directory / name.split()[0].strip(","), ignore_errors=True)
            results[name].append(timed(command))
            print(
                f"  round {round_ + 1}: {name:15} {results[name][-1][0]:7.1f} s {results[name][-1][1]:7.0f} MiB",
                flush=True,
            )
    report({name: (statistics.median(t for t, _ in r), max(m for _, m in r)) for name, r in results.items()})
    if with_peft:
        subprocess.run([*_child(), "compare", str(directory / "stream"), str(directory / "peft")], check=True)


def _child() -> list[str]:
    return [sys.executable, "-m", "benchmarks.merge", "--child"]


def timed(command: list[str]) -> tuple[float, float]:
    """Seconds and largest resident size (MiB) of a command."""
    started = time.monotonic()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command} ended with {status}")
    return time.monotonic() - started, usage.ru_maxrss / 1024


def report(medians: dict[str, tuple[float, float]]) -> None:
    """The table."""
    copy, stream = medians["cp -r"], medians["stream"]
    for name, (seconds, memory) in medians.items():
        print(f"{name:15} {seconds:7.1f} s   {seconds / copy[0]:5.2f} x cp   {memory:7.0f} MiB")
    if "peft" in medians:
        peft = medians["peft"]
        print(f"stream is {peft[0] / stream[0]:.1f} x faster than PEFT in {peft[1] / stream[1]:.1f} x less memory")


def run_child(what: str, *words: str) -> int:
    """One side, in this process."""
    sides: dict[str, Callable[..., None]] = {"make": make, "stream": stream, "peft": peft, "compare": compare}
    sides[what](*words)
    return 0


def make(base: str, adapter: str, layers: str) -> None:
    """A model of random weights and an adapter for it, written tensor by tensor."""
    import torch
    from safetensors.torch import save_file

    from merge.weights import build_header, byte_size

    torch.manual_seed(0)
    shapes = _shapes(int(layers))
    Path(base).mkdir()
    Path(adapter).mkdir()
    groups: list[dict[str, tuple[str, tuple[int, ...]]]] = [{}]
    for name, shape in shapes.items():
        if sum(byte_size(*row) for row in groups[-1].values()) > 1_000_000_000:
            groups.append({})
        groups[-1][name] = ("BF16", shape)
    homes: dict[str, str] = {}
    for number, group in enumerate(groups, start=1):
        file = Path(base) / f"model-{number:05d}-of-{len(groups):05d}.safetensors"
        homes |= dict.fromkeys(group, file.name)
        with file.open("wb") as stream:
            stream.write(build_header(group, {"format": "pt"}))
            for _, shape in group.values():
                values = (torch.randn(shape) * 0.02).bfloat16()
                stream.write(values.view(torch.uint8).numpy().data)
    total = {"total_size": sum(byte_size("BF16", shape) for shape in shapes.values())}
    (Path(base) / "model.safetensors.index.json").write_text(json.dumps({"metadata": total, "weight_map": homes}))
    config = {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], **LAYER, "head_dim": 128}
    config |= {"num_hidden_layers": int(layers), "vocab_size": VOCABULARY, "tie_word_embeddings": True}
    (Path(base) / "config.json").write_text(json.dumps({**config, "dtype": "bfloat16"}))
    factors = {}
    for name, shape in shapes.items():
        if name.endswith("proj.weight"):
            stem = f"base_model.model.{name.removesuffix('.weight')}"
            factors[f"{stem}.lora_A.weight"] = torch.randn(RANK, shape[1]) * 0.02
            factors[f"{stem}.lora_B.weight"] = torch.randn(shape[0], RANK) * 0.02
    save_file(factors, Path(adapter) / "adapter_model.safetensors", {"format": "pt"})
    modules = [f"{one}_proj" for one in ("q", "k", "v", "o", "gate", "up", "down")]
    settings = {"peft_type": "LORA", "r": RANK, "lora_alpha": 2 * RANK, "target_modules": modules}
    (Path(adapter) / "adapter_config.json").write_text(json.dumps({**settings, "task_type": "CAUSAL_LM"}))


def _shapes(layers: int) -> dict[str, tuple[int, ...]]:
    hidden, wide = LAYER["hidden_size"], LAYER["intermediate_size"]
    queries, keys = LAYER["num_attention_heads"] * 128, LAYER["num_key_value_heads"] * 128
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCABULARY, hidden)}
    for index in range(layers):
        stem = f"model.layers.{index}"
        shapes |= {
            f"{stem}.self_attn.q_proj.weight": (queries, hidden),
            f"{stem}.self_attn.k_proj.weight": (keys, hidden),
            f"{stem}.self_attn.v_proj.weight": (keys, hidden),
            f"{stem}.self_attn.o_proj.weight": (hidden, queries),
            f"{stem}.self_attn.q_norm.weight": (128,),
            f"{stem}.self_attn.k_norm.weight": (128,),
            f"{stem}.mlp.gate_proj.weight": (wide, hidden),
            f"{stem}.mlp.up_proj.weight": (wide, hidden),
            f"{stem}.mlp.down_proj.weight": (hidden, wide),
            f"{stem}.input_layernorm.weight": (hidden,),
            f"{stem}.post_attention_layernorm.weight": (hidden,),
        }
    return shapes | {"model.norm.weight": (hidden,)}


def stream(base: str, adapter: str, output: str, threads: str, flush: str) -> None:
    """Our merge."""
    from merge.adapter import Source
    from merge.engine import merge
    from merge.output import Partial

    partial = Partial(Path(output), "benchmark", flush=flush == "yes")
    merge(Path(base), [Source(Path(adapter))], partial, threads=int(threads))
    partial.publish()


def peft(base: str, adapter: str, output: str) -> None:
    """What the others do: load all, ``merge_and_unload``, ``save_pretrained``."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(output, max_shard_size="1GB")


def compare(one: str, other: str) -> None:
    """Count the elements that differ."""
    import torch

    from merge.weights import read_weights

    ours, theirs = read_weights(Path(one)).tensors, read_weights(Path(other)).tensors
    differing = sum(int((tensor.read() != theirs[name].read()).sum()) for name, tensor in ours.items())
    total = sum(torch.Size(tensor.shape).numel() for tensor in ours.values())
    missing = len(ours.keys() ^ theirs.keys())
    print(f"elements that differ from PEFT's: {differing} of {total:,}; weights that only one has: {missing}")


if __name__ == "__main__":
    sys.exit(main())
