"""What is there to serve on and what is to be served: free memory of GPUs and of this machine, bytes of a model.

Reads ``nvidia-smi``, ``/proc/meminfo``, and the configuration and the heads of the weight files of a model directory.
No GPU library is loaded: a context of ours would take memory that vLLM needs.
"""

import json
import os
import shutil
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from serve.placement import Gpu, Layer, Shape
from toolwright.errors import ModelError

GIB = 2**30
MIB = 2**20
_QUERY = ["--query-gpu=index,uuid,name,memory.total,memory.free", "--format=csv,noheader,nounits"]
_OTHER_DEVICES = ("/dev/kfd", "/dev/accel", "/dev/accel0", "/dev/vfio/0", "/dev/davinci0")  # AMD, Gaudi, TPU, Ascend


def read_gpus(visible: str | None = None) -> list[Gpu]:
    """The NVIDIA GPUs that this process may use; none where there is no driver.

    ``visible`` is ``CUDA_VISIBLE_DEVICES``: numbers or UUIDs.
    """
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    try:
        done = subprocess.run([command, *_QUERY], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return parse_gpus(done.stdout, os.environ.get("CUDA_VISIBLE_DEVICES") if visible is None else visible)


def parse_gpus(text: str, visible: str | None) -> list[Gpu]:
    """GPUs from the table that ``nvidia-smi`` prints; those whose memory it does not know are left out."""
    found: dict[str, tuple[str, Gpu]] = {}
    for line in text.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) == 5 and fields[3].isdigit() and fields[4].isdigit():
            found[fields[0]] = (fields[1], Gpu(fields[2], int(fields[3]) * MIB, int(fields[4]) * MIB))
    if visible is None:
        return [gpu for _, gpu in found.values()]
    chosen: list[Gpu] = []
    for wanted in (word.strip() for word in visible.split(",")):
        match = [gpu for index, (uuid, gpu) in found.items() if wanted and (wanted == index or uuid.startswith(wanted))]
        if not match:
            break  # as CUDA does: what comes after a device that does not exist is not seen
        chosen.append(match[0])
    return chosen


def other_device() -> bool:
    """Whether there is an accelerator of another maker, about which vLLM knows more than we do."""
    return any(Path(path).exists() for path in _OTHER_DEVICES)


def may_run_on_cpu(command: str) -> bool:
    """Whether a ``vllm`` command is, or may be, a build for CPUs, by the package beside it."""
    libraries = Path(command).resolve().parent.parent
    versions = [path.name for path in libraries.glob("lib*/python*/site-packages/vllm-*.dist-info")]
    return not versions or any("cpu" in version for version in versions)


def free_memory() -> int:
    """Bytes that processes can have without swapping: of the machine, or of the container if that is less."""
    values = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        values[name] = int(rest.split()[0]) * 1024
    free = values.get("MemAvailable", 0)
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        free = min(free, limit - int(Path("/sys/fs/cgroup/memory.current").read_text()))
    except (OSError, ValueError):
        pass  # no limit, or another kind of system
    return max(0, free)


def read_shape(directory: Path, *, float32_as: str = "bfloat16") -> Shape | None:
    """What placement needs to know about a model; none where its files do not say.

    Weights stored as float32 are served as ``float32_as``.

    Raises:
        ModelError: a file of weights is cut short, or is missing.
    """
    try:
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    text = config.get("text_config") or config.get("llm_config") or config
    try:
        layers = _layers(text)
        heads = int(text["num_attention_heads"])
        longest = int(text.get("max_position_embeddings") or text.get("n_positions") or 0) or None
        weights = weight_bytes(directory, 4 if float32_as == "float32" else 2)
        return Shape(weights, heads, int(text.get("num_key_value_heads") or heads), layers, longest)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, ModelError):
            raise
        return None


def _layers(text: Mapping[str, Any]) -> tuple[Layer, ...]:
    """Bytes of keys and values that each layer keeps of a token, on one GPU of one, and for how many tokens."""
    count, heads = int(text["num_hidden_layers"]), int(text["num_attention_heads"])
    if text.get("kv_lora_rank"):  # latent attention keeps one compressed vector, on every GPU the whole
        width, shared = int(text["kv_lora_rank"]) + int(text.get("qk_rope_head_dim") or 0), True
    else:
        head = int(text.get("head_dim") or int(text["hidden_size"]) // heads)
        width, shared = 2 * int(text.get("num_key_value_heads") or heads) * head, False
    kinds = text.get("layer_types") or ["full_attention"] * count
    window = int(text.get("sliding_window") or 0) or None
    layers = []
    for kind in kinds:
        if "linear" in kind or "mamba" in kind or kind in ("conv", "recurrent"):
            continue  # a state of fixed size, small beside a cache
        layers.append(Layer(2 * width, window if "sliding" in kind or "chunked" in kind else None, shared))
    return tuple(layers)


def weight_bytes(directory: Path, float32_bytes: int = 2) -> int:
    """Bytes of a model's safetensors as they are served: float32 takes ``float32_bytes`` for a number.

    Raises:
        ModelError: none there, or one that is cut short or missing.
    """
    index = directory / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    else:
        names = sorted(path.name for path in directory.glob("*.safetensors"))
    if not names:
        raise ModelError(f"{directory}: no weights (*.safetensors); save the model anew")
    return sum(_file_bytes(directory / name, float32_bytes) for name in names)


def _file_bytes(path: Path, float32_bytes: int) -> int:
    if not path.is_file():
        raise ModelError(f"{path}: the file of weights is missing; copy or merge the model anew")
    total = 0
    with path.open("rb") as stream:
        try:
            size = struct.unpack("<Q", stream.read(8))[0]
            head: dict[str, Any] = json.loads(stream.read(size) if size < 2**30 else b"")
            end = max((entry["data_offsets"][1] for name, entry in head.items() if name != "__metadata__"), default=0)
        except (struct.error, ValueError, AttributeError, KeyError):
            raise ModelError(f"{path}: not a safetensors file; copy or merge the model anew") from None
    if path.stat().st_size < 8 + size + end:
        raise ModelError(f"{path}: cut short ({path.stat().st_size} of {8 + size + end} bytes); copy it anew")
    for name, entry in head.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            total += (end - begin) * float32_bytes // 4 if entry["dtype"] == "F32" else end - begin
    return total
