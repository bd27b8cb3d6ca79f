"""``python -m merge.card [config.yaml]``: writes the model card of a merged model anew, from the files of its run.

Reads the model's directory, the manifests of its adapters, and of the run ``parity.json``, ``verify.json``,
``eval/report.json`` and ``train.jsonl``; writes ``README.md`` into the model's directory, ready for the Hub. A section
whose file is not there, or is about another model, is left out: the card says what files say, and nothing else.
"""

import json
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from merge.adapter import Source
from merge.facts import Made, Tool, describe_weights, evaluation_of, made_from, tools_of
from toolwright.artifacts import fingerprint, read_manifest, require, write_text
from toolwright.command import Flag, parse_command, run_command
from toolwright.config import RunConfig
from toolwright.dialect import dialect_for, vllm_parser
from toolwright.errors import ModelError
from toolwright.stage import package_versions, run_dir

COMMAND = "python -m merge.card"
CARD = "README.md"
SHOWN_TOOLS = 200
_BELONGS = re.compile(
    r"README\.md|LICENSE.*|NOTICE.*|.*\.safetensors|.*\.json|.*\.jinja|.*\.model|.*\.tiktoken|(vocab|merges)\.txt|.*\.py"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``python -m merge.card``."""
    return run_command(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    from merge.job import read_order

    config = parse_command(
        argv,
        prog=COMMAND,
        about=__doc__ or "",
        sections=("merge",),
        flags=(Flag(("--out",), "merge.out", "directory of the merged model"),),
    )
    order = read_order(config)
    require(order.output, made_by="python -m merge")
    write_card(
        order.output,
        base=str(order.base),
        sources=order.sources,
        parity=_read(order.parity) or {},
        config=config if order.of_run else None,
        receipt=_read(order.parity.with_name(order.parity.name.replace("parity", "verify"))),
    )
    print(f"card: {order.output / CARD}; to publish: {upload_command(order.output)}", flush=True)
    return 0


def upload_command(output: Path) -> str:
    """The line that publishes a model directory, without the files in it that are not part of a model."""
    name = output.resolve().parent.name if output.name == "merged" else output.resolve().name
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "model"  # the Hub takes no other letters
    exclude = "".join(f" --exclude {shlex.quote(name)}" for name in foreign_files(output))
    return f"hf upload YOUR_NAME/{name} {shlex.quote(str(output))}{exclude}"


def foreign_files(directory: Path) -> list[str]:
    """Files of a model directory that are neither weights nor configuration, tokenizer, template, code or card."""
    files = (file.relative_to(directory) for file in sorted(directory.rglob("*")) if file.is_file())
    return [str(file) for file in files if not _BELONGS.fullmatch(file.name) or file.name == "trainer_state.json"]


def write_card(
    output: Path,
    *,
    base: str,
    sources: Sequence[Source],
    parity: Mapping[str, Any],
    config: RunConfig | None,
    receipt: Mapping[str, Any] | None = None,
) -> None:
    """Write ``README.md`` into the directory of a merged model.

    Args:
        output: the model's directory, weights and tokenizer already in it.
        base: the model that was merged into: a directory or a hub id.
        sources: the adapters, in the order in which they were applied.
        parity: content of ``parity.json``; empty: not measured.
        config: the run's configuration, for its settings and what its directory says; none: no run.
        receipt: content of ``verify.json``, which counts if it is about exactly these weights.
    """
    made = made_from(base, sources, run_dir(config) if config else None)
    sections = [
        _what(output, made),
        _tools(tools_of(config, made) if config else []),
        _how(output, made, config),
        _parity(parity),
        _evaluation(evaluation_of(run_dir(config), output, made) if config else None),
        _verification(receipt if receipt and receipt["sha256"].get("merged") == fingerprint(output) else None),
        _use(output),
    ]
    head = yaml.safe_dump(front_matter(output, made), sort_keys=False, allow_unicode=True)
    write_text(output / CARD, f"---\n{head}---\n\n" + "\n\n".join(section for section in sections if section) + "\n")


def front_matter(output: Path, made: Made) -> dict[str, Any]:
    """The card's metadata as the Hub reads it; a base that is only a directory here has no name there."""
    head: dict[str, Any] = {}
    if made.hub_id:
        head |= {"base_model": made.hub_id, "base_model_relation": "finetune"}
    if made.license:
        head["license"] = made.license
    methods = sorted({stage.stage for stage in made.stages} & {"sft", "rl"}, reverse=True)
    tags = ["function-calling", "tool-use", "lora", *methods, "toolwright"]
    head["model_name"] = made.run or _name(output)  # what GGUF converters name the file's model by
    return head | {"library_name": "transformers", "pipeline_tag": "text-generation", "tags": tags}


def _name(output: Path) -> str:
    """The directory's name, which it may not have yet."""
    return re.sub(r"^\.(.+)\.partial$", r"\1", output.resolve().name)


def _what(output: Path, made: Made) -> str:
    adapters = [f"{_code(source.name)} ({source.stage})" if source.stage else _code(source.name) for source in made.of]
    facts = {"Base model": _code(made.shown), **describe_weights(output)}
    return (
        f"# {made.run or _name(output)}\n\n"
        f"{_code(made.shown)} with {_count(len(adapters), 'LoRA adapter')} merged into its weights: "
        f"{', then '.join(adapters)}. It answers in text, or in calls of the tools that a request offers.\n\n"
        f"{_table(('', ''), list(facts.items()))}"
    )


def _tools(tools: Sequence[Tool]) -> str:
    if not tools:
        return ""
    shown = [(_code(tool.name), tool.description, str(tool.conversations)) for tool in tools[:SHOWN_TOOLS]]
    more = f"\n\n… and {len(tools) - SHOWN_TOOLS} more." if len(tools) > SHOWN_TOOLS else ""
    return (
        "## Tools in its training\n\n"
        f"{_count(len(tools), 'tool')} on offer in the conversations that it was trained on:\n\n"
        f"{_table(('tool', 'description', 'conversations'), shown)}{more}"
    )


def _how(output: Path, made: Made, config: RunConfig | None) -> str:
    rows = [("base", _code(made.shown), _code(made.base_sha256))]
    rows += [
        (f"adapter {number}", f"{_code(one.name)}, weight {one.weight:g}", _code(one.sha256))
        for number, one in enumerate(made.of, 1)
    ]
    files = ("chat_template.jinja", "tokenizer.json")
    rows += [
        (name, "of the merged model", _code(fingerprint(output / name))) for name in files if (output / name).is_file()
    ]
    parts = ["## How it was made", _table(("", "what", "SHA-256"), rows)]
    trained = [
        (stage.stage, _code(stage.command), str(stage.seed), f"{stage.wall_s:g} s", stage.created[:19])
        for stage in made.stages
    ]
    if trained:
        parts.append(_table(("stage", "command", "seed", "wall time", "finished"), trained))
    manifest = read_manifest(output)  # none while the merge itself writes the card
    versions = manifest.packages if manifest else package_versions()
    parts.append("Merged with " + ", ".join(f"{name} {version}" for name, version in versions.items()) + ".")
    settings: dict[str, Any] = {stage.stage: stage.settings.get(stage.stage, stage.settings) for stage in made.stages}
    if config:
        settings["merge"] = {**config.merge.model_dump(), **(manifest.settings if manifest else {})}
    if settings:
        text = json.dumps(_public(settings), indent=2, ensure_ascii=False)
        parts.append(f"<details><summary>Settings</summary>\n\n```json\n{text}\n```\n\n</details>")
    return "\n\n".join(parts)


def _public(settings: Any) -> Any:
    """Settings without those of the tools, which may hold keys of services, and without directories of a machine."""
    if isinstance(settings, dict):
        return {name: _public(value) for name, value in settings.items() if name != "tools"}
    if isinstance(settings, list):
        return [_public(value) for value in settings]
    return Path(settings).name if isinstance(settings, str) and settings.startswith(("/", "~")) else settings


def _parity(parity: Mapping[str, Any]) -> str:
    if not parity:
        return ""
    found = [
        ("passed", _yes(parity.get("passed"))),
        ("largest difference of logits", f"{parity.get('max_abs_logit_diff')} (accepted: {parity.get('tolerance')})"),
        ("mean difference of logits", parity.get("mean_abs_logit_diff")),
        ("greedy continuations identical", _yes(parity.get("greedy_identical"))),
        ("prompts, positions", f"{parity.get('prompts')}, {parity.get('positions')}"),
        ("method, computed in", f"{parity.get('method', 'logits')}, {parity.get('computed_in')}"),
        ("tokenizer and chat template byte-identical to the trained ones", _yes(parity.get("files_identical"))),
    ]
    weights = parity.get("weights")
    if weights:
        what = f"{weights['weights']:,} weights with {weights['elements']:,} elements, further away: {weights['wrong']}"
        found.append(("each element as PEFT makes it, but for rounding", what))
    tensors = [len(one["tensors"]) for one in (parity.get("applied") or {}).get("adapters", ())]
    if tensors:
        found.append(("tensors of the adapters, each applied once", " + ".join(map(str, tensors))))
    if parity.get("why"):
        found.append(("why it failed", parity["why"]))
    warnings = "".join(f"\n- {' '.join(warning.split())}" for warning in parity.get("warnings") or ())
    return (
        "## Parity\n\nBase and adapters, as PEFT runs them, against the merged weights, on fixed prompts with tools:"
        f"\n\n{_table(('', ''), [(name, str(value)) for name, value in found])}" + (warnings and f"\n{warnings}")
    )


def _evaluation(report: Mapping[str, Any] | None) -> str:
    if not report:
        return ""
    rows = [
        (
            f"**{row['name']}** (this model)" if row["name"] == report["this"] else row["name"],
            f"{row['passed']} of {row['n']}",
            f"{row['score']:.1%}",
            " to ".join(f"{bound:.1%}" for bound in row["interval"]),
        )
        for row in report["models"]
    ]
    modes = next(row for row in report["models"] if row["name"] == report["this"])["by_mode"]
    kinds = [(name, f"{row['passed']} of {row['n']}", f"{row['score']:.1%}") for name, row in modes.items()]
    return (
        f"## Evaluation\n\n{report['tasks']} held-out tasks, played with the tools ({report['created'][:10]}, seed "
        f"{report['seed']}); the interval is Wilson's, 95 %.\n\n"
        f"{_table(('model', 'passed', 'score', 'interval'), rows)}\n\n"
        f"{_table(('kind of task', 'passed', 'score'), kinds)}"
    )


def _verification(receipt: Mapping[str, Any] | None) -> str:
    if not receipt:
        return ""
    rows = [(row["name"], _yes(row["passed"]), row["found"]) for row in receipt["checks"]]
    return (
        f"## Verification\n\n`toolwright verify` on {receipt['created'][:10]}: "
        f"{'passed' if receipt['passed'] else 'FAILED'}.\n\n{_table(('', 'passed', 'found'), rows)}"
    )


def _use(output: Path) -> str:
    lines = ["python -m serve --model DIR"]
    try:
        settings = _read(output / "config.json") or {}
        template = output / "chat_template.jinja"
        text = template.read_text(encoding="utf-8") if template.is_file() else None
        parser = vllm_parser(dialect_for(str(settings.get("model_type") or output.name), text))
        lines.append(f"vllm serve DIR --enable-auto-tool-choice --tool-call-parser {parser}")
    except ModelError:
        pass  # vLLM has no parser for it: our own server is the one that reads its calls
    block = "\n".join(lines)
    return (
        "## Use\n\nServed behind an OpenAI-compatible endpoint, with tool calls parsed (DIR: this directory):\n\n"
        f"```\n{block}\n```"
    )


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    """Text that stays within its cell, and is no HTML."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _code(text: str) -> str:
    return f"`{text.replace('`', '')}`"


def _count(number: int, noun: str) -> str:
    return f"{'one' if number == 1 else number} {noun}{'' if number == 1 else 's'}"


def _yes(value: object) -> str:
    return "yes" if value else "no"


if __name__ == "__main__":
    sys.exit(main())
