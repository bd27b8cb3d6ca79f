"""How much an environment may take, all its processes together unless said otherwise."""

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """Limits of one environment.

    Attributes:
        call_timeout_s: of one call, by the clock.
        memory_bytes: resident memory of all processes together.
        address_space_bytes: of one process.
        disk_bytes: files, databases and temporary files each.
        file_bytes: of one file.
        processes: and threads.
        open_files: of one process.
        cpu_s: of one process, over its whole life.
    """

    call_timeout_s: float = 10.0
    memory_bytes: int = 1024 * MIB
    address_space_bytes: int = 4096 * MIB
    disk_bytes: int = 64 * MIB
    file_bytes: int = 32 * MIB
    processes: int = 64
    open_files: int = 256
    cpu_s: int = 3600
