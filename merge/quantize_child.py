"""Quantises a model with llm-compressor; run as a script by the Python of an environment that has it, not imported.

``python quantize_child.py JOB.json``; needs llmcompressor and transformers there and nothing of this project. Reads
the model and JSONL files of token ids; writes the quantised model, loads it again, and writes what both models answer
to the prompts, greedily, to ``report``.
"""

import json
import sys
from pathlib import Path

sys.path = [path for path in sys.path if Path(path or ".").resolve() != Path(__file__).resolve().parent]

GROUP = 128
"""Weights that share one scale in AWQ and GPTQ; a layer of another width gets the largest power of two that divides."""


def main(path: str) -> None:
    """Quantise, load again, compare."""
    import torch
    from llmcompressor import oneshot  # type: ignore[import-not-found]
    from transformers import AutoModelForCausalLM

    if not torch.accelerator.is_available():
        # AWQ pins memory for a GPU even where there is none.
        torch.Tensor.pin_memory = lambda tensor, *_: tensor  # type: ignore[method-assign]
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    prompts = read_ids(job["prompts"])
    before = answer(job["model"], prompts, job["new_tokens"])
    options = {}
    if job["to"] != "fp8":
        from datasets import Dataset

        rows = [{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in read_ids(job["calibration"])]
        options = {
            "dataset": Dataset.from_list(rows),
            "num_calibration_samples": len(rows),
            "max_seq_length": max(len(row["input_ids"]) for row in rows),
        }
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype="auto")
    oneshot(model=model, recipe=recipe_for(job["to"], model), **options)
    model.save_pretrained(job["out"], save_compressed=True)
    del model
    report = {"before": before, "after": answer(job["out"], prompts, job["new_tokens"]), "packages": versions()}
    Path(job["report"]).write_text(json.dumps(report), encoding="utf-8")


def read_ids(path: str) -> "list[list[int]]":
    """Token ids, one list on each line."""
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def recipe_for(to: str, model: object) -> list:  # type: ignore[type-arg]
    """The recipe that llm-compressor's own examples have for this form; heads stay as they are."""
    from llmcompressor.modifiers.quantization import (  # type: ignore[import-not-found]
        GPTQModifier,
        QuantizationModifier,
    )

    ignore = ["lm_head", "re:.*mlp.gate$"]
    if to == "fp8":
        return [QuantizationModifier(targets="Linear", scheme="FP8_DYNAMIC", ignore=ignore)]
    modifier = GPTQModifier if to == "gptq" else QuantizationModifier
    quantise = modifier(config_groups={"group_0": group_for(to, model)}, ignore=ignore)
    if to == "gptq":
        return [quantise]
    try:
        from llmcompressor.modifiers.transform.awq import AWQModifier  # type: ignore[import-not-found]
    except ImportError:  # before 0.10 it quantised as well
        from llmcompressor.modifiers.awq import AWQModifier  # type: ignore[import-not-found]

        return [AWQModifier(config_groups={"group_0": group_for(to, model)}, ignore=ignore)]
    return [AWQModifier(duo_scaling=True), quantise]


def group_for(to: str, model: object) -> dict:  # type: ignore[type-arg]
    """Four bits a weight, one scale for as many weights in a row as every layer's width allows, at most ``GROUP``."""
    import torch

    size = GROUP
    for name, layer in model.named_modules():  # type: ignore[attr-defined]
        if isinstance(layer, torch.nn.Linear) and not name.endswith("lm_head"):
            while layer.in_features % size:
                size //= 2
    weights = {"num_bits": 4, "type": "int", "symmetric": to == "gptq", "strategy": "group", "group_size": size}
    return {"targets": ["Linear"], "weights": weights}


def answer(directory: str, prompts: "list[list[int]]", new_tokens: int) -> "list[list[int]]":
    """Token ids of a model's greedy answers."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(directory, dtype="auto", device_map="auto")
    answers = []
    for ids in prompts:
        inputs = torch.tensor([ids], device=model.device)
        made = model.generate(
            input_ids=inputs, attention_mask=torch.ones_like(inputs), max_new_tokens=new_tokens, do_sample=False
        )
        answers.append(made[0][len(ids) :].tolist())
    return answers


def versions() -> "dict[str, str]":
    """Versions of what took part."""
    from importlib.metadata import version

    return {name: version(name) for name in ("llmcompressor", "compressed-tensors", "transformers", "torch")}


if __name__ == "__main__":
    main(sys.argv[1])
