"""GGUF through llama.cpp's own converter: where it is, how it is called, and what it wrote, read back.

Reads a model directory; writes one file.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (the format).
"""

import json
import math
import os
import shlex
import shutil
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from merge.children import child_python, run_child
from merge.weights import read_weights
from toolwright.config import ExportConfig
from toolwright.config_file import find_file
from toolwright.errors import ArtifactError, ConfigError, ModelError

SCRIPT = "convert_hf_to_gguf.py"
PROGRAMS = (SCRIPT, "convert-hf-to-gguf")
TYPES = {0: ("F32", 4, 1), 1: ("F16", 2, 1), 30: ("BF16", 2, 1), 8: ("Q8_0", 34, 32)}
"""Name, bytes and numbers of a block of each tensor type that we ask for."""
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_SPARE = 64 * 2**20
HINTS = {
    "pre-tokenizer was not recognized": "llama.cpp knows the tokenizers of published models only, and this model has "
    "one of its own; serve it as it is: python -m serve",
    "Tokenizer class TokenizersBackend": "the tokenizer was saved by transformers 5, which that environment lacks: "
    "pip install 'transformers>=5' there, or use this one (leave export.python out)",
    "No module named 'sentencepiece'": "pip install sentencepiece for the Python that runs it (export.python)",
    "No module named": "install that module for the Python that runs it (export.python)",
    "is not supported": "this llama.cpp does not know the architecture; update it: git pull",
}


@dataclass(frozen=True)
class GgufFile:
    """What a GGUF file says about itself: settings by name (arrays left out), and shape and type of each tensor."""

    settings: dict[str, Any]
    tensors: dict[str, tuple[tuple[int, ...], int]]

    @property
    def numbers(self) -> int:
        """Numbers in all tensors."""
        return sum(math.prod(shape) for shape, _ in self.tensors.values())


def find_converter(settings: ExportConfig) -> list[str]:
    """The command of the converter: ``export.converter``, else in $LLAMA_CPP, else on PATH.

    Raises:
        ConfigError: the place that is named holds none.
        ArtifactError: there is none.
    """
    for name, place in (("export.converter", settings.converter), ("LLAMA_CPP", os.environ.get("LLAMA_CPP"))):
        if place:
            path = find_file(Path(place).expanduser())
            path = path / SCRIPT if path.is_dir() else path
            if not path.is_file():
                raise ConfigError(f"{name}: {place} holds no {SCRIPT}; name that file, or a checkout of llama.cpp")
            return _command(path, settings)
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if found is None:
        raise ArtifactError(
            f"no {SCRIPT} in export.converter, $LLAMA_CPP or on PATH; it is part of llama.cpp: get it with the lines "
            "printed above, then run again with export.converter=llama.cpp"
        )
    return _command(Path(found), settings)


def _command(path: Path, settings: ExportConfig) -> list[str]:
    script = path.suffix == ".py"
    return [child_python(settings.python), str(path)] if script else [str(path.absolute())]


def instructions(model: Path, output: Path, settings: ExportConfig) -> str:
    """The lines that get the converter, and the one that runs it by hand."""
    python = shlex.quote(settings.python or sys.executable)
    convert = shlex.join([str(model), "--outfile", str(output), "--outtype", settings.gguf_type])
    return (
        "git clone --depth 1 https://github.com/ggml-org/llama.cpp\n"
        "# or, without git: pip download --no-deps --no-binary :all: llama-cpp-python, and vendor/llama.cpp in it\n"
        f"{python} -m pip install sentencepiece  # with torch and transformers, all that it needs\n"
        f"{python} llama.cpp/{SCRIPT} {convert}"
    )


def write_gguf(model: Path, output: Path, settings: ExportConfig) -> dict[str, Any]:
    """Convert a model, and read back what was written; returns what it holds.

    Raises:
        ArtifactError: no converter, or not enough room.
        ModelError: it failed, or the file does not hold what the model does.
    """
    converter = find_converter(settings)
    numbers = sum(math.prod(tensor.shape) for tensor in read_weights(model).tensors.values())
    block, per = {name.lower(): (size, count) for name, size, count in TYPES.values()}[settings.gguf_type]
    needed, free = numbers * block // per + _SPARE, shutil.disk_usage(output.parent).free
    if free < needed:
        raise ArtifactError(
            f"{output.name}: needs {needed / 2**30:.2f} GiB, the disk has {free / 2**30:.2f} GiB free; free space, or "
            "name a file on another disk: --out FILE"
        )
    run_child([*converter, str(model), "--outfile", str(output), "--outtype", settings.gguf_type], HINTS)
    if not output.is_file():
        raise ModelError(f"{' '.join(converter)}: ended well and wrote no file; look at its output above")
    return check_gguf(output, model, numbers)


def check_gguf(path: Path, model: Path, numbers: int) -> dict[str, Any]:
    """Whether a file holds the model's chat template to the byte, and all of its numbers.

    Numbers that are fewer are told and not refused: a converter leaves out a head that is tied, and layers that
    llama.cpp does not compute.

    Raises:
        ModelError: it does not, or is cut short.
    """
    file = read_gguf(path)
    wanted = _template(model)
    found = file.settings.get("tokenizer.chat_template")
    # Jinja takes one line end off the end of a template, and so do converters.
    if wanted is not None and (found is None or found.rstrip("\n") != wanted.rstrip("\n")):
        what = "no chat template" if found is None else "another chat template than the model"
        raise ModelError(f"{path.name}: has {what}; update the converter")
    if not file.tensors:
        raise ModelError(f"{path.name}: holds no tensors; update the converter")
    if file.numbers < numbers:
        print(f"warning: {path.name} holds {file.numbers:,} numbers, the model {numbers:,}", file=sys.stderr)
    return {
        "architecture": file.settings.get("general.architecture"),
        "tensors": len(file.tensors),
        "numbers": file.numbers,
        "numbers_of_model": numbers,
        "chat_template": "identical" if wanted is not None else "none",
    }


def _template(model: Path) -> str | None:
    file = model / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    settings = model / "tokenizer_config.json"
    found = json.loads(settings.read_text(encoding="utf-8")).get("chat_template") if settings.is_file() else None
    return found if isinstance(found, str) else None


def read_gguf(path: Path) -> GgufFile:
    """The header of a GGUF file, checked against the file's length.

    Raises:
        ModelError: not a GGUF file, or cut short.
    """
    with path.open("rb") as stream:
        try:
            if stream.read(4) != b"GGUF":
                raise ModelError(f"{path}: not a GGUF file; convert the model anew")
            _, n_tensors, n_settings = struct.unpack("<IQQ", stream.read(20))
            settings = dict(_setting(stream) for _ in range(n_settings))
            rows = [_tensor(stream) for _ in range(n_tensors)]
            header = stream.tell()
        except (struct.error, KeyError, MemoryError, OverflowError) as error:
            raise ModelError(f"{path}: cut short, or not a GGUF file ({error}); convert the model anew") from None
    step = settings.get("general.alignment", 32)
    start = -(-header // step) * step
    end = max((start + offset + _bytes_of(shape, kind) for _, shape, kind, offset in rows), default=start)
    if path.stat().st_size < end:
        raise ModelError(f"{path}: cut short: {path.stat().st_size} bytes, expected {end}; convert the model anew")
    kept = {name: value for name, value in settings.items() if value is not None}
    return GgufFile(kept, {name: (shape, kind) for name, shape, kind, _ in rows})


def _bytes_of(shape: tuple[int, ...], kind: int) -> int:
    _, size, count = TYPES.get(kind, ("", 0, 1))
    return math.prod(shape) * size // count


def _setting(stream: BinaryIO) -> tuple[str, Any]:
    name, (kind,) = _string(stream), struct.unpack("<I", stream.read(4))
    return name, _value(stream, kind)


def _value(stream: BinaryIO, kind: int) -> Any:
    """A setting's value; arrays, which are vocabularies, are passed over and give None."""
    if kind == _STRING:
        return _string(stream)
    if kind != _ARRAY:
        form = f"<{_SCALARS[kind]}"
        return struct.unpack(form, stream.read(struct.calcsize(form)))[0]
    inner, count = struct.unpack("<IQ", stream.read(12))
    if inner in (_STRING, _ARRAY):
        for _ in range(count):
            _value(stream, inner)
    else:
        stream.seek(count * struct.calcsize(_SCALARS[inner]), os.SEEK_CUR)
    return None


def _string(stream: BinaryIO) -> str:
    (length,) = struct.unpack("<Q", stream.read(8))
    data = stream.read(length)
    if len(data) != length:
        raise struct.error(f"a string of {length} bytes")
    return data.decode(errors="replace")


def _tensor(stream: BinaryIO) -> tuple[str, tuple[int, ...], int, int]:
    name, (rank,) = _string(stream), struct.unpack("<I", stream.read(4))
    shape = struct.unpack(f"<{rank}Q", stream.read(8 * rank))
    kind, offset = struct.unpack("<IQ", stream.read(12))
    return name, shape, kind, offset
