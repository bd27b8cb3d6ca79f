"""Devices to plan for: a table from data sheets, and what this machine measures of itself.

``here`` asks the GPU's driver, or times a matrix product and a copy on the CPU for a second; reads the limit of the
container it is in.
"""

import difflib
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from toolwright.errors import ConfigError

GIB = 2**30
HERE = "here"
_PROBE_S = 0.4
_PROBE_SIZE = 1024
_COPY_BYTES = 64 * 2**20
_CONTAINER_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(frozen=True)
class Device:
    """One device.

    Attributes:
        name: as ``--device`` takes it.
        title: what its maker or its driver calls it.
        memory_gib: memory that the driver reports (GiB).
        tflops: dense bfloat16 matrix products (float16 where there is no bfloat16) that add up in float32.
        tflops_float32: the same in float32.
        bandwidth_gbs: memory bandwidth (GB/s).
        cpu: whether it is a CPU, where our own engine serves.
        count: how many of them there are here.
        origin: ``data sheet`` or ``measured``.
    """

    name: str
    title: str
    memory_gib: float
    tflops: float
    tflops_float32: float
    bandwidth_gbs: float
    cpu: bool = False
    count: int = 1
    origin: str = "data sheet"

    @property
    def memory(self) -> float:
        """Bytes."""
        return self.memory_gib * GIB

    def flops(self, dtype: str) -> float:
        """Operations per second at best in ``dtype``."""
        return (self.tflops_float32 if dtype == "float32" else self.tflops) * 1e12


TABLE: tuple[Device, ...] = (
    Device("t4-16gb", "NVIDIA T4", 15.0, 65, 8.1, 320),
    Device("l4-24gb", "NVIDIA L4", 22.5, 121, 30.3, 300),
    Device("a10-24gb", "NVIDIA A10", 22.5, 125, 31.2, 600),
    Device("rtx3090-24gb", "GeForce RTX 3090", 24.0, 71, 35.6, 936),
    Device("rtx4090-24gb", "GeForce RTX 4090", 24.0, 165, 82.6, 1008),
    Device("rtx5090-32gb", "GeForce RTX 5090", 31.8, 209, 104.8, 1792),
    Device("a100-40gb", "NVIDIA A100 40GB", 40.0, 312, 19.5, 1555),
    Device("l40s-48gb", "NVIDIA L40S", 45.0, 362, 91.6, 864),
    Device("h100-80gb", "NVIDIA H100 80GB SXM", 79.6, 989, 67, 3350),
    Device("a100-80gb", "NVIDIA A100 80GB", 80.0, 312, 19.5, 2039),
    Device("h200-141gb", "NVIDIA H200 141GB SXM", 140.4, 989, 67, 4800),
    Device("b200-180gb", "NVIDIA B200 180GB", 179.1, 2250, 75, 8000),
)
"""By memory. Source: the makers' data sheets (dense rates, half of those that they print with sparsity); memory as
``nvidia-smi`` reports it, which is less than the name says where ECC takes a part."""


def find_device(name: str, threads: int | None = None) -> Device:
    """The device of that name; ``here`` is this machine's, measured (a CPU with so many threads).

    Raises:
        ConfigError: no such device; names the nearest.
    """
    wanted = name.strip().lower()
    if wanted == HERE:
        return here(threads)
    found = next((device for device in TABLE if device.name == wanted), None)
    if found is not None:
        return found
    names = [device.name for device in TABLE]
    close = difflib.get_close_matches(wanted, names, n=1, cutoff=0.45)
    hint = f"did you mean {close[0]}? " if close else ""
    raise ConfigError(f"plan.device: no device {name!r}; {hint}known: {', '.join([HERE, *names])}")


def here(threads: int | None = None) -> Device:
    """This machine's device: its GPUs if there are any, else its CPU with ``threads`` (none: those that torch has)."""
    import torch

    if torch.cuda.is_available():
        return _gpu_here()
    before = torch.get_num_threads()
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    try:
        fast, plain, bandwidth = _rate(torch.bfloat16), _rate(torch.float32), _copy_rate()
    finally:
        torch.set_num_threads(before)
    memory_gib = memory_here() / GIB
    title = f"this machine's CPU ({threads or len(os.sched_getaffinity(0))} threads)"
    return Device(HERE, title, memory_gib, fast, plain, bandwidth, cpu=True, origin="measured")


def memory_here() -> float:
    """Bytes that this process may have at most: the machine's, or those of its container."""
    import psutil

    limits = [float(psutil.virtual_memory().total)]
    for name in _CONTAINER_LIMITS:
        try:
            limits.append(float(Path(name).read_text(encoding="ascii")))
        except (OSError, ValueError):  # no container, or one without a limit ("max")
            continue
    return min(limits)


def _gpu_here() -> Device:
    import torch

    title, count = torch.cuda.get_device_name(), torch.cuda.device_count()
    memory_gib = torch.cuda.mem_get_info()[1] / GIB
    listed = listed_as(title, memory_gib)
    if listed is not None:
        return replace(listed, name=HERE, title=title, memory_gib=memory_gib, count=count)
    rates = _rate(torch.bfloat16, "cuda"), _rate(torch.float32, "cuda"), _copy_rate("cuda")
    return Device(HERE, title, memory_gib, *rates, count=count, origin="measured")


def listed_as(title: str, memory_gib: float) -> Device | None:
    """The device of the table that a driver's name means; none for others, such as the slower PCIe form of an H100."""
    words = re.findall(r"[a-z0-9]+", re.sub(r"\brtx\s+", "rtx", title.lower()))
    if "nvl" in words or {"h100", "pcie"} <= set(words):
        return None
    alike = [device for device in TABLE if device.name.split("-")[0] in words]
    return next((device for device in alike if abs(device.memory_gib - memory_gib) < 0.15 * memory_gib), None)


def _rate(dtype: object, device: str = "cpu") -> float:
    """TFLOPS of square matrix products."""
    import torch

    size = _PROBE_SIZE * (8 if device == "cuda" else 1)
    left = torch.ones((size, size), dtype=dtype, device=device)  # type: ignore[call-overload]
    return 2 * size**3 / _best_s(lambda: left @ left, device) / 1e12


def _copy_rate(device: str = "cpu") -> float:
    """GB/s read and written by a copy."""
    import torch

    source = torch.ones(_COPY_BYTES // 4, device=device)
    target = torch.empty_like(source)
    return 2 * _COPY_BYTES / _best_s(lambda: target.copy_(source), device) / 1e9


def _best_s(work: Callable[[], object], device: str) -> float:
    """Seconds of the quickest of as many runs as fit the time of a probe: others on this machine only slow it down."""
    import torch

    best, deadline = float("inf"), time.monotonic() + _PROBE_S
    work()
    while time.monotonic() < deadline:
        started = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return best
