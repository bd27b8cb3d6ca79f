"""FP8, AWQ and GPTQ through llm-compressor, which runs in an environment of its own (``export.python``).

Reads a model directory and, for AWQ and GPTQ, ``train.jsonl`` of the run, rendered as training saw it; writes a model
directory with the same tokenizer and chat template, to the byte, and a card.
"""

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from merge.children import child_python, has_module, run_child
from merge.prompts import PROMPTS
from merge.reference import TOKENIZER_FILES
from merge.weights import read_weights
from toolwright.artifacts import fingerprint, read_rows, require, write_text
from toolwright.config import RunConfig
from toolwright.dialect import dialect_for, parse, render_prompt
from toolwright.errors import ArtifactError, ModelError
from toolwright.model import load_tokenizer
from toolwright.records import Conversation, Message, ToolSpec
from toolwright.stage import run_dir

CHILD = Path(__file__).with_name("quantize_child.py")
NEW_TOKENS = 48
ASKED = 16
Question = tuple[Sequence[Message], Sequence[ToolSpec]]
BITS = {"fp8": "8-bit floats (weights; activations at run time)", "awq": "4-bit weights", "gptq": "4-bit weights"}
HINTS = {
    "does not recognize this architecture": "its transformers is too old for this model: update that environment",
    "out of memory": "take fewer export.samples or a smaller export.max_tokens",
    "No module named": "install that module there",
}


def write_quantized(config: RunConfig, model: Path, output: Path) -> dict[str, Any]:
    """Quantise a model to the new directory ``output``; returns what was found about it.

    Raises:
        ArtifactError: no llm-compressor, or no conversations to calibrate on.
        ModelError: it failed, or what it wrote is not a quantised model.
    """
    python = child_python(config.export.python)
    if not has_module(python, "llmcompressor"):
        raise ArtifactError(
            f"{python} has no llm-compressor, which needs an environment of its own: python3 -m venv llmc && "
            "llmc/bin/pip install llmcompressor, then run again with export.python=llmc/bin/python"
        )
    tokenizer = load_tokenizer(model)
    with tempfile.TemporaryDirectory(prefix="toolwright-") as name:
        folder = Path(name)
        asked = questions(config)
        prompts = [_ids(tokenizer, render_prompt(tokenizer, *question)) for question in asked]
        rows = [] if config.export.to == "fp8" else calibration(config, tokenizer)
        job = {
            "to": config.export.to,
            "model": str(model.absolute()),
            "out": str(output),
            "prompts": _write(folder / "prompts.jsonl", prompts),
            "calibration": _write(folder / "calibration.jsonl", rows),
            "new_tokens": NEW_TOKENS,
            "report": str(folder / "report.json"),
        }
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        run_child([python, str(CHILD), str(folder / "job.json")], HINTS)
        report = _read_report(folder / "report.json", python)
    _complete(model, output)
    found = {
        "prompts": len(asked),
        "same_answers": same_answers(model, tokenizer, asked, report["before"], report["after"]),
        "calibrated_on": len(rows),
        "bytes": read_weights(output).size,
        "bytes_of_model": read_weights(model).size,
        "packages": report["packages"],
    }
    _write_card(config, model, output, found)
    return found


def questions(config: RunConfig) -> list[Question]:
    """What model and quantised model are both asked: the fixed prompts of parity, and some of the run's ``dev.jsonl``.

    A conversation is asked up to its first answer.
    """
    asked: list[Question] = [(prompt.messages, prompt.tools) for prompt in PROMPTS]
    path = run_dir(config) / "dev.jsonl"
    if path.is_file():
        for one in _conversations(path, ASKED):
            first = next(index for index, message in enumerate(one.messages) if message.role == "assistant")
            asked.append((one.messages[:first], one.tools))
    return asked


def _conversations(path: Path, number: int) -> list[Conversation]:
    """That many rows, spread over a file."""
    rows = [row for _, row in read_rows(path)]
    return [Conversation.from_row(row) for row in rows[:: max(1, len(rows) // number)][:number]]


def calibration(config: RunConfig, tokenizer: Any) -> list[list[int]]:
    """Token ids of ``export.samples`` training conversations, spread over the file, each as training rendered it.

    Raises:
        ArtifactError: the run has none.
    """
    path = run_dir(config) / "train.jsonl"
    require(path, made_by="python -m data_gen.split")
    conversations = _conversations(path, config.export.samples)
    texts = [render_prompt(tokenizer, one.messages, one.tools, add_generation_prompt=False) for one in conversations]
    return [_ids(tokenizer, text)[: config.export.max_tokens] for text in texts]


def _ids(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _write(path: Path, rows: Sequence[Sequence[int]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def _read_report(path: Path, python: str) -> dict[str, Any]:
    if not path.is_file():
        raise ModelError(f"{python} {CHILD.name}: ended well and left no report; look at its output above")
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return report


def _complete(model: Path, output: Path) -> None:
    """Tokenizer and chat template of the model, to the byte, and nothing that is not part of a model.

    Raises:
        ModelError: what was written is not a quantised model.
    """
    settings = json.loads((output / "config.json").read_text(encoding="utf-8"))
    if not settings.get("quantization_config"):
        raise ModelError(f"{output.name}: config.json has no quantization_config, so nothing was quantised")
    (output / "recipe.yaml").unlink(missing_ok=True)  # its settings are in config.json; it holds Python objects
    for name in (*TOKENIZER_FILES, "generation_config.json"):
        if (model / name).is_file():
            shutil.copyfile(model / name, output / name)


def same_answers(
    model: Path,
    tokenizer: Any,
    asked: Sequence[Question],
    before: Sequence[Sequence[int]],
    after: Sequence[Sequence[int]],
) -> int:
    """How many questions both models answer the same: with the same calls, or the same words where there are none."""
    settings = json.loads((model / "config.json").read_text(encoding="utf-8"))
    dialect = dialect_for(str(settings.get("model_type")), tokenizer.chat_template)
    same = 0
    for (_, tools), one, other in zip(asked, before, after, strict=True):
        read = [parse(tokenizer.decode(ids), dialect, tools) for ids in (one, other)]
        calls = [[(call.name, call.arguments) for call in answer.calls] for answer in read]
        same += calls[0] == calls[1] and (bool(calls[0]) or read[0].content == read[1].content)
    return same


def _write_card(config: RunConfig, model: Path, output: Path, found: dict[str, Any]) -> None:
    to = config.export.to
    head = {"library_name": "transformers", "pipeline_tag": "text-generation"}
    tags = {"tags": ["function-calling", "tool-use", to, "compressed-tensors", "toolwright"]}
    packages = ", ".join(f"{name} {version}" for name, version in found["packages"].items())
    calibrated = (
        f", calibrated on {found['calibrated_on']} of its training conversations" if found["calibrated_on"] else ""
    )
    text = (
        f"# {config.name}-{to}\n\n"
        f"The model `{model.name}` of the run `{config.name}` (SHA-256 `{fingerprint(model)}`) in {BITS[to]}, made by "
        f"llm-compressor ({to}{calibrated}; {packages}).\n\n"
        f"- {found['bytes']:,} bytes of weights instead of {found['bytes_of_model']:,}\n"
        f"- greedy answers to {found['same_answers']} of {found['prompts']} questions with tools are the same as "
        "the model's\n"
        "- tokenizer and chat template are the model's, to the byte\n\n"
        "## Use\n\n```\npython -m serve --model DIR --engine vllm\n```"
    )
    head_text = yaml.safe_dump({**head, **tags}, sort_keys=False)
    write_text(output / "README.md", f"---\n{head_text}---\n\n{text}\n")
