"""``python -m merge.export [config.yaml] --to gguf|fp8|awq|gptq``: the merged model in the forms of other engines.

GGUF is written by llama.cpp's own converter, the others by llm-compressor; where they are missing, this says how to get
them. Reads ``merged/`` of the run (or ``--model``) and, for awq and gptq, ``train.jsonl``; writes ``merged-TYPE.gguf``
or ``merged-FORM/`` beside it (or ``--out``), with a manifest.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from toolwright.artifacts import read_manifest, replacing, require
from toolwright.command import Flag, parse_command, run_command
from toolwright.config import RunConfig
from toolwright.config_file import find_file
from toolwright.errors import ArtifactError, ConfigError, ModelError
from toolwright.stage import Job, run_dir

COMMAND = "python -m merge.export"
FLAGS = (
    Flag(("--to",), "export.to", "gguf, fp8, awq or gptq"),
    Flag(("--model",), "export.model", "model to export: `merged` of the run, or a directory"),
    Flag(("--out",), "export.out", "file or directory to write"),
    Flag(("--type",), "export.gguf_type", "type of GGUF weights: f32, f16, bf16 or q8_0"),
    Flag(("--converter",), "export.converter", "convert_hf_to_gguf.py, or a llama.cpp checkout"),
    Flag(("--python",), "export.python", "Python of an environment with llm-compressor, or with what GGUF needs"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``python -m merge.export``."""
    return run_command(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    config = parse_command(argv, prog=COMMAND, about=__doc__ or "", sections=("export",), flags=FLAGS)
    export(config)
    return 0


def export(config: RunConfig) -> Path:
    """Write the model in another form, unless that is done; returns where it is.

    Raises:
        ArtifactError: no model, no converter, or a file in the way that this command did not make.
        ModelError: the conversion failed, or its result does not hold what the model does.
    """
    model = find_model(config)
    output = find_output(config, model)
    job = _job(config, model, output)
    if job.is_current():
        return output
    if output.exists() and not _is_ours(output):
        raise ArtifactError(
            f"{output} is there already, and {COMMAND} did not make it; remove it, or name another place: --out PATH"
        )
    from merge.output import require_writable

    require_writable(output)
    if config.export.to == "gguf":
        found = _export_gguf(config, model, job)
    else:
        from merge.quantize import write_quantized

        with job.running() as counts, replacing(output) as directory:
            found = write_quantized(config, model, directory)
            counts |= found
    print(f"export: {_summary(found)} -> {output}", flush=True)
    return output


def find_model(config: RunConfig) -> Path:
    """The directory of the model to export.

    Raises:
        ArtifactError: ``merged`` of the run is not there or not finished.
        ModelError: a directory without a model.
    """
    wanted = config.export.model
    if wanted == "merged" and not Path("merged").is_dir():
        merged = Path(config.merge.out) if config.merge.out else run_dir(config) / "merged"
        require(merged, made_by="python -m merge")
        return merged
    path = find_file(Path(wanted).expanduser())
    if not (path / "config.json").is_file():
        raise ModelError(f"{wanted}: not a model directory (no config.json); name one, or `merged`")
    return path


def find_output(config: RunConfig, model: Path) -> Path:
    """Where the result goes; absolute.

    Raises:
        ConfigError: within the model's own directory, which would make another model of it.
    """
    settings, home = config.export, model.absolute()
    end = f"-{settings.gguf_type}.gguf" if settings.to == "gguf" else f"-{settings.to}"
    output = Path(settings.out).expanduser().absolute() if settings.out else home.with_name(home.name + end)
    if output.resolve().is_relative_to(home.resolve()):
        raise ConfigError(f"export.out: {output} is in the model's own directory; name a place outside of it")
    return output


def _job(config: RunConfig, model: Path, output: Path) -> Job:
    settings = config.export.model_dump(include={"to"})
    inputs: dict[str, Path | str] = {"model": model}
    if config.export.to == "gguf":
        settings["gguf_type"] = config.export.gguf_type
    elif config.export.to != "fp8":
        settings |= config.export.model_dump(include={"samples", "max_tokens"})
        if (run_dir(config) / "train.jsonl").is_file():
            inputs["train"] = run_dir(config) / "train.jsonl"
    return Job.of(config, "export", output=str(output), command=COMMAND, settings=settings, inputs=inputs)


def _is_ours(output: Path) -> bool:
    manifest = read_manifest(output)
    return manifest is not None and manifest.stage == "export"


def _export_gguf(config: RunConfig, model: Path, job: Job) -> dict[str, Any]:
    from merge.gguf_file import find_converter, instructions, write_gguf

    try:
        find_converter(config.export)
    except ArtifactError:
        print(instructions(model, job.output, config.export), flush=True)
        raise
    with job.running() as counts, replacing(job.output) as file:
        found = write_gguf(model, file, config.export)
        counts |= found
    return found


def _summary(found: dict[str, Any]) -> str:
    if "tensors" in found:
        return f"{found['tensors']} tensors, {found['numbers']:,} numbers, chat template {found['chat_template']}"
    return (
        f"{found['bytes']:,} bytes of weights instead of {found['bytes_of_model']:,}, greedy answers the same on "
        f"{found['same_answers']} of {found['prompts']} questions"
    )


if __name__ == "__main__":
    sys.exit(main())
