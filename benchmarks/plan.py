"""``python -m benchmarks.plan [CASE …]``: what ``toolwright plan`` says of memory against what stages really take.

Each case makes a random Qwen3 (42 or 166 million parameters), runs the stage as a process of its own on one thread, and
compares its largest resident size with the plan of the same configuration. SFT and RL are run twice: as they are, and
with glibc told to return freed blocks (``MALLOC_MMAP_THRESHOLD_``), which shows the plan without its guess at the
allocator. Lengths come from the data that the stage reads, so what is tested is memory, not foresight.
"""

import argparse
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

MIB = 2**20
RETURN_BLOCKS = {"MALLOC_MMAP_THRESHOLD_": "1048576"}
SHAPES: dict[str, dict[str, int]] = {
    "small": {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 8, "num_attention_heads": 8},
    "mid": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 16, "num_attention_heads": 12},
}
WORDS = "the storage level of a site on one day is given in percent and rows are counted in a table with columns"
_TOOL = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "get_weather", "description": "Weather.", "parameters": _TOOL}}
_SFT = [
    "sft.epochs=1", "sft.batch_size=4", "sft.micro_batch_size=4", "sft.max_tokens=2048", "sft.max_conversations=4",
    "sft.lora.rank=16", "sft.attention=sdpa", "sft.warmup_share=0.0", "sft.keep={}",
]  # fmt: skip
_RL = [
    "rl.start=base", "rl.steps=1", "rl.prompts_per_step=4", "rl.group_size=4", "rl.micro_batch_size=16",
    "rl.modes=null", "rl.max_tokens=96", "rl.max_completion_tokens=96", "rl.max_turns=1", "rl.lora.rank=16",
]  # fmt: skip


class Case(NamedTuple):
    """A stage, its model, and the settings that matter."""

    stage: str
    model: str
    words: tuple[str, ...] = ()


CASES: dict[str, Case] = {
    "sft-float32": Case("sft", "small", ("sft.dtype=float32",)),
    "sft-bfloat16": Case("sft", "small", ("sft.dtype=bfloat16",)),
    "sft-eager": Case("sft", "small", ("sft.dtype=float32", "sft.attention=eager", "sft.max_conversations=2")),
    "sft-recomputed": Case("sft", "small", ("sft.dtype=float32", "sft.gradient_checkpointing=true")),
    "sft-packed": Case(
        "sft", "small", ("sft.dtype=float32", "sft.packing=documents", "sft.pack_tokens=6144", "sft.micro_batch_size=1")
    ),
    "sft-full": Case(
        "sft",
        "small",
        ("sft.dtype=float32", "sft.method=full", "sft.max_conversations=2", "sft.epochs=2", "rl.start=base"),
    ),
    "sft-mid": Case("sft", "mid", ("sft.dtype=bfloat16", "sft.max_conversations=2")),
    "sft-mid-recomputed": Case("sft", "mid", ("sft.dtype=bfloat16", "sft.gradient_checkpointing=true")),
    "rl-float32": Case("rl", "small", ("rl.dtype=float32",)),
    "rl-bfloat16": Case("rl", "small", ("rl.dtype=bfloat16",)),
    "rl-mid": Case("rl", "mid", ("rl.dtype=bfloat16", "rl.prompts_per_step=2", "rl.micro_batch_size=8")),
    "merge-small": Case("merge", "small"),
    "merge-mid": Case("merge", "mid"),
    "merge-layers": Case("merge", "mid", ("merge.parity=layers",)),
    "serve-small": Case("serve", "small", ("serve.dtype=float32",)),
    "serve-mid": Case("serve", "mid", ("serve.dtype=bfloat16",)),
}


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of: {', '.join(CASES)} (default: all)")
    options = parser.parse_args(argv)
    chosen = {name: CASES[name] for name in options.cases or CASES}
    ratios: dict[bool, list[float]] = {True: [], False: []}
    print(f"{'case':20}{'allocator':12}{'predicted':>10}{'measured':>10}{'ratio':>7}   (MiB)", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        for name, case in chosen.items():
            for returning in (False, True) if case.stage in ("sft", "rl") else (False,):
                predicted, measured = run_case(case, place, returning)
                ratios[returning].append(predicted / measured)
                how = "returning" if returning else "as it is"
                numbers = f"{predicted / MIB:10.0f}{measured / MIB:10.0f}{predicted / measured:7.2f}"
                print(f"{name:20}{how:12}{numbers}", flush=True)
    for returning, found in ratios.items():
        if found:
            near = sum(abs(ratio - 1) <= 0.15 for ratio in found)
            worst = max(found, key=lambda ratio: abs(ratio - 1))
            how = "returning freed blocks" if returning else "as it is"
            print(f"{how}: {near} of {len(found)} within 15%, median {statistics.median(found):.2f}, worst {worst:.2f}")


def run_case(case: Case, place: Path, returning: bool = False) -> tuple[float, float]:
    """Predicted and measured bytes of a case."""
    from toolwright.config import RunConfig
    from toolwright.config_file import load_config

    model = make_model(case.model, place)
    shutil.rmtree(place / "runs", ignore_errors=True)
    run = place / "runs" / "t"
    rows = write_rows(place / "rows.jsonl", short=case.stage == "rl")
    words = [
        f"model={model}",
        f"runs_dir={place / 'runs'}",
        "name=t",
        "threads=1",
        f"sft.data={rows}",
        "plan.device=here",
    ]
    words += [*_SFT, *_RL, *case.words]
    config: RunConfig = load_config(None, words)
    command = _command(case, config, run, rows, words, place)
    predicted = predict(case, config, returning)
    return predicted, measure(command, RETURN_BLOCKS if returning else {})


def _command(case: Case, config: Any, run: Path, rows: Path, words: list[str], place: Path) -> list[str]:
    """The stage's command, with what it reads put there."""
    if case.stage == "sft":
        return [sys.executable, "-m", "sft.train", *words]
    if case.stage == "rl":
        _adopt(rows, run / "train.jsonl")
        return [sys.executable, "-m", "rl.train", *words]
    if case.stage == "merge":
        adapter = make_adapter(config, place / f"adapter-{case.model}")
        more = ["--base", config.model, "--adapter", str(adapter), "--out", str(place / "out"), "--replace"]
        shutil.rmtree(place / "out", ignore_errors=True)
        return [sys.executable, "-m", "merge", *words, *more]
    return [sys.executable, "-m", "serve", *words, "--model", config.model, "--port", "0", "serve.engine=transformers"]


def predict(case: Case, config: Any, returning: bool) -> float:
    """What the plan says, without the allocator's part where blocks are returned."""
    from toolwright.devices import Device
    from toolwright.plan_memory import merge_memory, rl_memory, serve_memory, sft_memory
    from toolwright.plan_site import Site

    device = Device("here", "CPU", 20.0, 0.1, 0.1, 10.0, cpu=True)
    site = Site.of(config, device)
    if case.stage == "sft":
        memory = sft_memory(config, site.sft, site.talk, device, site.dtype)
    elif case.stage == "rl":
        memory = rl_memory(config, site.rl, site.talk, device)
    elif case.stage == "merge":
        memory = merge_memory(config, site.sft, device)
    else:  # the cache grows with what is asked: the load below has LOAD conversations of its length
        small = config.serve.model_copy(update={"max_batch": LOAD, "max_model_len": LOAD_TOKENS})
        memory = serve_memory(config.model_copy(update={"serve": small}), site.sft, device).memory
    print({name: round(size / MIB) for name, size in memory.parts.items()}, file=sys.stderr)
    return memory.total - (memory.parts.get("allocator", 0.0) if returning else 0.0)


LOAD, LOAD_WORDS, LOAD_TOKENS = 8, 1000, 2048


def measure(command: Sequence[str], environment: dict[str, str]) -> float:
    """Largest resident size of a command (bytes); a server is asked by several clients at once, then stopped."""
    full = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    serving = "serve" in command
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE if serving else subprocess.DEVNULL, stderr=errors, env=full, text=True
        )
        if serving:
            threading.Thread(target=_load_server, args=(process,), daemon=True).start()
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, _peak_size(process.pid))
            time.sleep(0.02)
        if process.returncode:
            errors.seek(0)
            raise SystemExit(f"{' '.join(command[1:4])} failed: {errors.read()[-2000:]}")
    return peak


def _peak_size(pid: int) -> float:
    """Largest resident size of a process so far; unlike ``ru_maxrss`` without that of the process that started it."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    line = next((line for line in status.splitlines() if line.startswith("VmHWM")), "")
    return float(line.split()[1]) * 1024 if line else 0.0


def _load_server(process: "subprocess.Popen[str]") -> None:
    """Ask for LOAD long prompts at once, then end the server."""
    import urllib.request
    from concurrent.futures import ThreadPoolExecutor

    assert process.stdout is not None, "a server has a pipe"
    line = next(line for line in process.stdout if line.startswith("serving "))
    name, _, rest = line.removeprefix("serving ").partition(" on ")
    url = rest.split()[0].removesuffix("/v1")

    def ask(number: int) -> None:
        text = _talk(random.Random(number), LOAD_WORDS)
        body = {"model": name, "messages": [{"role": "user", "content": text}], "max_tokens": 8}
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(body).encode(), headers)
        urllib.request.urlopen(request, timeout=300).read()

    try:
        with ThreadPoolExecutor(LOAD) as pool:
            list(pool.map(ask, range(LOAD)))
    finally:
        process.terminate()


def make_model(name: str, place: Path) -> Path:
    """A directory with a random model of a shape and the tokenizer of models/tiny."""
    import torch
    from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

    directory = place / name
    if directory.exists():
        return directory
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained("models/tiny")
    shape = SHAPES[name]
    config = Qwen3Config(
        **shape,
        num_key_value_heads=shape["num_attention_heads"] // 2,
        head_dim=64,
        vocab_size=32_000,
        max_position_embeddings=16_384,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
    )
    Qwen3ForCausalLM(config).to(torch.bfloat16).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def make_adapter(config: Any, directory: Path) -> Path:
    """An adapter of rank 16 with random weights for the model of a configuration."""
    import torch
    from peft import get_peft_model

    from toolwright.model import load_model, load_tokenizer
    from toolwright.training import lora_config

    model = get_peft_model(load_model(config.model), lora_config(config.rl.lora, "rl.lora"))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.01)
    model.save_pretrained(directory)
    load_tokenizer(config.model).save_pretrained(directory)
    return directory


def write_rows(path: Path, short: bool, count: int = 16) -> Path:
    """Conversations of the same length: some 1,500 tokens, or 500 before the first reply where they are ``short``."""
    draw = random.Random(0)
    asked, told = (350, 10) if short else (300, 300)
    call = {"name": "get_weather", "arguments": json.dumps({"city": "Oslo"})}
    lines = []
    for number in range(count):
        messages = [
            {"role": "user", "content": _talk(draw, asked)},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": call}]},
            {"role": "tool", "content": _talk(draw, told), "tool_call_id": "c"},
            {"role": "assistant", "content": _talk(draw, told)},
        ]
        row = {"id": f"c{number}", "mode": "single", "messages": messages, "tools": [TOOL]}
        lines.append(json.dumps(row) + "\n")
    path.write_text("".join(lines), encoding="utf-8")
    return path


def _talk(draw: random.Random, count: int) -> str:
    return " ".join(draw.choices(WORDS.split(), k=count))


def _adopt(rows: Path, target: Path) -> None:
    """The rows as the training data of a run, with a manifest as the split writes it."""
    from toolwright.artifacts import Manifest, fingerprint, manifest_path

    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(rows, target)
    manifest = Manifest(
        stage="split", command="", sha256=fingerprint(target), settings={}, inputs={}, packages={}, seed=0, counts={},
        wall_s=0.0, peak_rss_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, created=time.strftime("%F"),
    )  # fmt: skip
    manifest_path(target).write_text(manifest.model_dump_json())


if __name__ == "__main__":
    main()
