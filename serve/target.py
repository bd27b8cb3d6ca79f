"""What is to be served: which weights a name means, under which name, by which engine, behind which key."""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from serve.measure import may_run_on_cpu, other_device, read_gpus
from serve.notices import warn
from toolwright.artifacts import require
from toolwright.config import RunConfig
from toolwright.config_file import find_file
from toolwright.errors import ConfigError, ModelError
from toolwright.stage import run_dir


@dataclass(frozen=True)
class Target:
    """A model to serve.

    Attributes:
        name: what clients ask for.
        source: a model directory, or a hub id.
        adapter: directory of an adapter on top.
        engine: what serves it.
        vllm: vLLM's command, where ``engine`` is "vllm".
        api_key: key that clients must send; none: anyone may ask.
        run: directory of the run that made the model, where it is one of a run.
    """

    name: str
    source: str
    adapter: Path | None = None
    engine: Literal["vllm", "transformers"] = "transformers"
    vllm: str = ""
    api_key: str | None = None
    run: Path | None = field(default=None, compare=False)

    @property
    def tokenizer(self) -> str:
        """Where the tokenizer is that the model was trained with: an adapter has its own."""
        own = self.adapter is not None and (self.adapter / "tokenizer.json").is_file()
        return str(self.adapter) if own else self.source

    @property
    def parity(self) -> Path | None:
        """The file that says what base and adapter answer, beside a merged model."""
        source = Path(self.source).resolve()
        places = [source.with_name(f"{source.name}.parity.json"), *([self.run / "parity.json"] if self.run else [])]
        return next((path for path in places if self.adapter is None and path.is_file()), None)


def find_target(config: RunConfig) -> Target:
    """What ``serve.model`` and ``serve.adapter`` mean.

    Raises:
        ArtifactError: a model or an adapter of the run that is not there; names the command that makes it.
        ModelError: a directory that does not exist or holds no model, or an adapter for another base.
        ConfigError: vLLM is asked for and not found, or the key's variable is not set.
    """
    name, source, run = _find_model(config)
    adapter = _find_adapter(config)
    if adapter is not None:
        name = f"{name}+{config.serve.adapter}" if config.serve.adapter in ("sft", "rl") else f"{name}+{adapter.name}"
    vllm = _find_vllm(config)
    if vllm and adapter is not None:  # our own engine looks for itself when it loads; vLLM would not notice
        from toolwright.model import require_same_base

        require_same_base(adapter, source)
    return Target(name, source, adapter, "vllm" if vllm else "transformers", vllm or "", _api_key(config), run)


def _find_model(config: RunConfig) -> tuple[str, str, Path | None]:
    """Name, source, and the run that it is the merged model of."""
    wanted = config.serve.model
    # No adapter belongs on a merged model, and `merged` is what is there when only --adapter was given.
    if wanted == "base" or (wanted == "merged" and config.serve.adapter is not None):
        return "base", _directory_or_hub_id(config.model), None
    if wanted == "merged" and not Path("merged").is_dir():
        return "merged", _merged_of(run_dir(config)), run_dir(config)
    run = find_file(Path(wanted))
    if not (run / "config.json").is_file() and (run / "merged").is_dir():
        return run.resolve().name, _merged_of(run), run
    source = _directory_or_hub_id(wanted)
    if not Path(source).is_dir():
        return source, source, None
    path = Path(source).resolve()
    # Whatever it is called: beside the file that proves it stand the conversations of its run.
    return path.name, source, path.parent if (path.parent / "parity.json").is_file() else None


def _merged_of(run: Path) -> str:
    require(run / "merged", made_by="python -m merge")
    return str(run / "merged")


def _directory_or_hub_id(model: str) -> str:
    path = find_file(Path(model))
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelError(
                f"{path}: not a model directory (no config.json); check the path, or use --adapter for one"
            )
        return str(path)
    if path.exists() or model.startswith((".", "/", "~")) or model.count("/") > 1:
        raise ModelError(
            f"{model}: not a model directory; name one, `merged`, `base`, or a hub id such as Qwen/Qwen3-4B"
        )
    return model


def _find_adapter(config: RunConfig) -> Path | None:
    wanted = config.serve.adapter
    if wanted is None:
        return None
    if wanted in ("sft", "rl"):
        path = run_dir(config) / wanted / "adapter"
        require(path, made_by="accelerate launch sft/train.py" if wanted == "sft" else "python -m rl.train")
        return path
    path = find_file(Path(wanted))
    if not (path / "adapter_config.json").is_file():
        raise ModelError(f"{wanted}: not an adapter directory (no adapter_config.json); use sft, rl, or a directory")
    return path


def _find_vllm(config: RunConfig) -> str | None:
    if config.serve.engine == "transformers":
        return None
    named = os.environ.get("VLLM_BIN")
    command = shutil.which(named or "vllm")
    if command is None and (named or config.serve.engine == "vllm"):
        what = f"VLLM_BIN={named} is not a command" if named else "the `vllm` command is not on PATH"
        raise ConfigError(
            f"serve.engine: {what}; install vLLM in an environment of its own and set VLLM_BIN to its bin/vllm, "
            "or use serve.engine=transformers"
        )
    chosen = named or config.serve.engine == "vllm"
    if command and not chosen and not may_run_on_cpu(command) and not read_gpus() and not other_device():
        warn(f"{command} is built for GPUs, and here is none: transformers serves instead")
        return None
    return command


def _api_key(config: RunConfig) -> str | None:
    variable = config.serve.api_key_env
    if variable is None:
        return None
    key = os.environ.get(variable)
    if not key:
        raise ConfigError(f"serve.api_key_env: the environment variable {variable} is not set; put the key into it")
    return key
