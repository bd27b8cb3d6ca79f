"""Started as a program: one process of a group runs a function, and says as JSON what is left of the group after it."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent
ONE = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}


def gloo_threads() -> list[str]:
    """Names of this process's threads that belong to a group of gloo; none known where there is no ``/proc``."""
    tasks = Path("/proc/self/task")
    names = [(task / "comm").read_text().strip() for task in tasks.iterdir()] if tasks.exists() else []
    return [name for name in names if "gloo" in name]


def left_of_group(function: str, *argv: str) -> dict[str, Any]:
    """What ``module:function`` leaves when it is called with ``argv`` in the only process of a group on a CPU."""
    command = [sys.executable, str(TESTS / "process_group.py"), function, *argv]
    environment = {**os.environ, **ONE, "MASTER_PORT": "0", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _program(function: str, *argv: str) -> None:
    sys.path[:1] = [str(TESTS.parent), str(TESTS)]
    module, _, name = function.partition(":")
    code = getattr(importlib.import_module(module), name)(list(argv))
    import torch
    from accelerate import PartialState

    left = [*gloo_threads(), *(["group"] if torch.distributed.is_initialized() else [])]
    print(json.dumps({"code": code, "backend": PartialState._shared_state.get("backend"), "left": left}), flush=True)


if __name__ == "__main__":
    _program(*sys.argv[1:])
