"""The same as ``repl``, on an IPython kernel: a bridge between the server's messages and Jupyter's, inside the sandbox.

The kernel is a child process, spoken to by ipc sockets, since a sandbox has no network of its own to speak of.
"""

import json
import os
import queue
import re
import signal
import sys
import tempfile
from typing import Any

from mcpserver.sandbox import frames
from mcpserver.sandbox.hands import LIMITS
from mcpserver.sandbox.repl import DENIALS, MAX_PICTURE_BYTES, MAX_PICTURES, shorten_output

START_TIMEOUT_S = 30.0
MAX_KEPT = 4 * 1024 * 1024
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_SHELL = "import subprocess as _s; _c = _s.run(['/bin/sh', '-c', {}], stdin=_s.DEVNULL, capture_output=True)\n"
_SHELL += "print(_c.stdout.decode(errors='replace'), _c.stderr.decode(errors='replace'), sep='', end='')\n"
_SHELL += "assert not _c.returncode, f'exit code {{_c.returncode}}'"


def serve(connection: int, config: dict[str, Any]) -> None:
    """Answer requests until the other side closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the kernel gets it too, and stops its cell
    client, manager = _start(config)
    while True:
        try:
            request = json.loads(frames.read(connection))
        except EOFError:
            manager.shutdown_kernel(now=True)
            return
        code = _SHELL.format(json.dumps(request["code"])) if request["shell"] else request["code"]
        reply = run_cell(client, manager, code)
        frames.write(connection, frames.pack({"id": request["id"], "kernel": [manager.provisioner.pid], **reply}))


def _start(config: dict[str, Any]) -> tuple[Any, Any]:
    from jupyter_client.manager import KernelManager

    folder = tempfile.mkdtemp(dir=config["temporary"])
    os.environ.update(JUPYTER_RUNTIME_DIR=folder, JUPYTER_DATA_DIR=folder, PYTHONPATH=os.pathsep.join(sys.path))
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    manager = KernelManager(
        transport="ipc", ip=os.path.join(folder, "k"), connection_file=os.path.join(folder, "k.json")
    )
    manager._kernel_spec = _kernel_spec()
    manager.start_kernel(cwd=os.path.join(config["root"], "files"))
    client = manager.blocking_client()
    client.start_channels()
    client.wait_for_ready(timeout=START_TIMEOUT_S)
    return client, manager


def _kernel_spec() -> Any:
    from jupyter_client.kernelspec import KernelSpec

    words = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--HistoryManager.enabled=False"]
    return KernelSpec(argv=words, language="python", display_name="python", interrupt_mode="signal")


def run_cell(client: Any, manager: Any, code: str) -> dict[str, Any]:
    """Run a cell and collect what the kernel sends until it is idle."""
    number = client.execute(code, allow_stdin=False)
    output, pictures, error = [], [], None
    kept = 0
    while True:
        try:
            message = client.get_iopub_msg(timeout=0.2)
        except queue.Empty:
            if not manager.is_alive():
                os._exit(71)  # the keeper tells that Python ended
            continue
        if message["parent_header"].get("msg_id") != number:
            continue
        kind, content = message["msg_type"], message["content"]
        if kind == "status" and content["execution_state"] == "idle":
            break
        if kind == "stream" and kept < MAX_KEPT:
            output.append(content["text"])
            kept += len(content["text"])
            if kept >= MAX_KEPT:
                manager.signal_kernel(signal.SIGINT)
                error = ["limit", "the code printed too much and was stopped"]
        elif kind in ("execute_result", "display_data"):
            pictures += _picture(content["data"])
            output.append(content["data"].get("text/plain", "") + "\n")
        elif kind == "error" and error is None:
            error = [_kind(content), shorten_output(_COLOUR.sub("", "\n".join(content["traceback"])))]
    return {"output": shorten_output("".join(output)), "error": error, "pictures": pictures[:MAX_PICTURES]}


def _picture(data: dict[str, Any]) -> list[list[str]]:
    picture = data.get("image/png")
    return [["image/png", picture.replace("\n", "")]] if picture and len(picture) < MAX_PICTURE_BYTES * 4 / 3 else []


def _kind(content: dict[str, Any]) -> str:
    """The type of a failure, from the name of the exception and the number that it shows."""
    if content["ename"] == "MemoryError":
        return "limit"
    match = re.search(r"\[Errno (\d+)\]", content["evalue"])
    number = int(match[1]) if match else 0
    return "limit" if number in LIMITS else "denied" if number in DENIALS else "tool_error"
