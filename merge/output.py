"""The directory of a merged model: what is in it beside weights, and how it comes to be without ever being half there.

It is written beside its place under a hidden name, which holds the key of the job, so that a stopped merge goes on with
the next file of weights; the last step is to rename it.
"""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from merge.stream import OutFile
from merge.weights import INDEX, Weights
from toolwright.errors import ArtifactError, ModelError

_KEY = ".key"
_TOKENIZER = ("tokenizer", "special_tokens_map", "added_tokens", "vocab.", "merges.", "spiece.", "sentencepiece.")
_TEMPLATE = ("chat_template", "additional_chat_templates")
_NOT_THE_MODELS = ("README.md", ".gitattributes", ".cache", ".git", "original", "onnx")
_CHECKPOINT = "checkpoint-"
_WEIGHTS = (".safetensors", ".bin", ".index.json", ".jsonl", ".pth", ".pt", ".gguf", ".h5", ".msgpack", ".onnx")
_SPARE = 64 * 2**20


class Partial:
    """The directory while it is being written.

    Args:
        output: the directory that it becomes, or a link to it.
        key: of the job; what another job left there is dropped.
        flush: have each file on disk before it gets its name, so that it is whole even after a power cut.
    """

    def __init__(self, output: Path, key: str, *, flush: bool = True) -> None:
        self.output = output.resolve() if output.is_symlink() else output
        self.path = self.output.with_name(f".{self.output.name}.partial")
        self.key, self.flush = key, flush

    def open(self) -> None:
        """Go on with what is there if it is of the same job, else begin anew; files that were not finished go."""
        if self._found_key() != self.key:
            _remove(self.path)
        self.path.mkdir(parents=True, exist_ok=True)
        for part in self.path.glob("*.part"):
            part.unlink()
        (self.path / _KEY).write_text(self.key)

    def _found_key(self) -> str | None:
        try:
            return (self.path / _KEY).read_text()
        except OSError:
            return None

    def has(self, file: OutFile) -> bool:
        """Whether a file of weights is finished: it got its name when it was."""
        path = self.path / file.name
        return path.is_file() and path.stat().st_size == file.size

    def begin(self, file: OutFile) -> Path:
        """A new path to write a file of weights to."""
        return self.path / f"{file.name}.part"

    def finish(self, file: OutFile) -> None:
        """Give a written file its name."""
        part = self.path / f"{file.name}.part"
        if self.flush:
            with part.open("rb") as stream:
                os.fsync(stream.fileno())
        part.rename(self.path / file.name)

    def publish(self) -> None:
        """Take the place of ``output``; what was there goes."""
        (self.path / _KEY).unlink()
        old = self.output.with_name(f".{self.output.name}.replaced")
        _remove(old)
        if self.output.exists():
            self.output.rename(old)
        self.path.rename(self.output)
        with contextlib.suppress(OSError):  # the model is there; what cannot go now goes the next time
            _remove(old)

    def drop(self) -> None:
        """Remove what was written."""
        _remove(self.path)


def _remove(path: Path) -> None:
    """Remove a file, a link or a directory, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def require_writable(output: Path) -> None:
    """Refuse a place in which nothing can be made: below a file, on a disk that is read-only, of too long a name.

    Raises:
        ArtifactError: says why.
    """
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{output.name}.", suffix=".manifest.json", dir=output.parent):
            pass
    except OSError as error:
        raise ArtifactError(f"{output}: cannot be made ({error.strerror}); name another place: --out PATH") from None


def require_space(partial: Partial, size: int) -> None:
    """Refuse to begin what the disk cannot hold; ``size`` is in bytes, of what is still to be written.

    Raises:
        ArtifactError: how much is missing, and where.
    """
    needed = size + _SPARE
    free = shutil.disk_usage(partial.path).free
    if free < needed:
        raise ArtifactError(
            f"{partial.output}: needs {needed / 2**30:.2f} GiB, the disk has {free / 2**30:.2f} GiB free; free space, "
            "or name a directory on another disk: --out DIR"
        )


def write_index(directory: Path, weights: Weights, files: Sequence[OutFile], base: Path) -> None:
    """The index that says which file holds which weight; the base's own where it is still true."""
    if len(files) == 1 and not (base / INDEX).is_file():
        return
    homes = {tensor.name: file.name for file in files for tensor in file.tensors}
    theirs = {tensor.name: shard.path.name for shard in weights.shards for tensor in shard.tensors}
    size = sum(tensor.size for file in files for tensor in file.tensors)
    same_size = size == sum(tensor.size for tensor in weights.tensors.values())
    if homes == theirs and same_size:
        shutil.copyfile(base / INDEX, directory / INDEX)
    elif len(files) > 1:
        kept = {name: value for name, value in weights.index_metadata.items() if name != "total_parameters"}
        content = {"metadata": {**kept, "total_size": size}, "weight_map": homes}
        (directory / INDEX).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def copy_beside(base: Path, adapters: Sequence[Path], directory: Path) -> None:
    """What stands beside weights and configuration: notes and code of the base, tokenizer and template of training.

    An adapter's tokenizer takes the place of the base's as a whole: a file of the base's that it does not have, such as
    a chat template of its own, must not win over it.
    """
    trained = next((path for path in reversed(adapters) if (path / "tokenizer_config.json").is_file()), None)
    replaced = ("config.json",) if trained is None else ("config.json", *_TOKENIZER, *_TEMPLATE)
    for file in sorted(base.iterdir()):
        if not file.name.startswith(replaced):
            _copy(file, directory / file.name)
    for file in sorted(trained.iterdir()) if trained is not None else ():
        if file.name.startswith((*_TOKENIZER, *_TEMPLATE, "generation_config")):
            _copy(file, directory / file.name)


def _copy(source: Path, target: Path) -> None:
    """Copy a file or a directory but for what is no part of a model or its weights.

    Content and not permissions, as a base may be read-only. A link to a file is followed; one to a directory, which may
    be around it, is not.
    """
    name = source.name
    if name in _NOT_THE_MODELS or name.startswith(_CHECKPOINT) or name.endswith(_WEIGHTS):
        return
    if source.is_file():
        shutil.copyfile(source, target)
    elif source.is_dir() and not source.is_symlink():
        target.mkdir(exist_ok=True)
        for file in source.iterdir():
            _copy(file, target / file.name)


def write_config(base: Path, directory: Path, changes: Mapping[str, Any], dtype: str) -> None:
    """The base's configuration byte for byte, unless something in it is no longer true."""
    source, target = base / "config.json", directory / "config.json"
    if not changes and dtype == "base":
        shutil.copyfile(source, target)
        return
    config = json.loads(source.read_text(encoding="utf-8"))
    nested = config.get("text_config")
    text = nested if isinstance(nested, dict) else config
    for key, value in changes.items():
        for part in (text, config):
            if key in part or part is text:
                part[key] = value
    if dtype != "base":
        for part in (config, text):
            for key in ("dtype", "torch_dtype"):
                if key in part or (key == "dtype" and part is config and "torch_dtype" not in part):
                    part[key] = dtype
    target.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def local_base(model: Path | str) -> Path:
    """The directory of a base; one on the hub is fetched.

    Raises:
        ModelError: the hub does not have it, or cannot be reached.
    """
    if isinstance(model, Path):
        return model
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, ignore_patterns=["*.bin", "*.pth", "original/*", "*.gguf"]))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{model}: not a directory, and not to be had from the hub ({reason}); name a directory: --base DIR"
        ) from None
