"""The process that runs Python code which a model wrote, cell by cell, with variables that live from call to call.

A request is ``{"id", "code", "shell"}``; the answer ``{"id", "output", "error": null or [kind, text],
"pictures"}``. Standard output and error, those of children too, go to a file of limited size in memory.
"""

import binascii
import fcntl
import io
import json
import os
import signal
import sys
from contextlib import suppress
from typing import Any

from mcpserver.sandbox import frames
from mcpserver.sandbox.hands import LIMITS

MAX_HEAD_BYTES, MAX_TAIL_BYTES = 32 * 1024, 8 * 1024
MAX_REPR = 10_000
MAX_PICTURES, MAX_PICTURE_BYTES = 4, 1024 * 1024
DENIALS = frozenset((1, 13, 18, 30, 97, 101, 111, 113))  # EPERM EACCES EXDEV EROFS EAFNOSUPPORT ENETUNREACH …


def serve(connection: int, config: dict[str, Any], output: int) -> None:
    """Answer requests until the other side closes; what is printed goes to the file ``output``."""
    _capture(output)
    interpreter = Interpreter()
    os.chdir(os.path.join(config["root"], "files"))
    while True:
        try:
            request = json.loads(frames.read(connection))
        except EOFError:
            return
        except KeyboardInterrupt:  # meant for a cell that has just ended
            continue
        try:
            run = run_command if request["shell"] else interpreter.run
            error = run(request["code"])
        except KeyboardInterrupt:
            error = ["timeout", "KeyboardInterrupt"]
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            reply = {"id": request["id"], "output": _take(output), "error": error, "pictures": _figures()}
            frames.write(connection, frames.pack(reply))
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)


class Interpreter:
    """A namespace, and cells run in it; the value of a last expression is shown as Python's prompt does."""

    def __init__(self) -> None:
        self.namespace: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}
        self.count = 0

    def run(self, code: str) -> list[str] | None:
        """Run a cell; gives ``[kind, text]`` of what it raised."""
        import ast

        self.count += bool(code)
        name = f"<cell {self.count}>"
        try:
            tree = ast.parse(code, name)
            last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, name, "exec"), self.namespace)
            if isinstance(last, ast.Expr):
                self._show(eval(compile(ast.Expression(last.value), name, "eval"), self.namespace))
        except KeyboardInterrupt:
            raise
        except SystemExit as error:
            return ["tool_error", f"SystemExit: {error.code}"]
        except BaseException as error:  # noqa: BLE001 - whatever code raises is data for the model
            return [_kind(error), _explain(error, code, name)]
        finally:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError, AttributeError):
                    stream.flush()
        return None

    def _show(self, value: object) -> None:
        if value is not None:
            self.namespace["_"] = value
            text = repr(value)
            if len(text) > MAX_REPR:
                text = f"{text[:MAX_REPR]}… [cut: the value has {len(text)} characters]"
            print(text)


def run_command(command: str) -> list[str] | None:
    """Run a command of the shell, without input; gives ``[kind, text]`` when it failed."""
    import subprocess

    code = subprocess.run(["/bin/sh", "-c", command], stdin=subprocess.DEVNULL, check=False).returncode
    return ["tool_error", f"exit code {code}"] if code else None


def _kind(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "limit"
    reason = getattr(error, "reason", None)  # URLError wraps the real one
    number = getattr(reason if isinstance(reason, OSError) else error, "errno", None)
    if number in LIMITS:
        return "limit"
    return "denied" if number in DENIALS else "tool_error"


def _explain(error: BaseException, code: str, name: str) -> str:
    """The traceback of the cell's own frames, as Python prints it, and at most 4,000 characters of it."""
    try:
        import linecache
        import traceback
    except OSError as problem:  # no descriptor is left to open them with
        return f"{type(error).__name__}: {error} ({problem.strerror})"
    linecache.cache[name] = (len(code), None, code.splitlines(True), name)
    try:
        frame = error.__traceback__
        while frame is not None and frame.tb_frame.f_code.co_filename != name:
            frame = frame.tb_next
        text = "".join(traceback.format_exception(type(error), error, frame, limit=8)).strip()
    except Exception:  # noqa: BLE001 - an exception may have any __str__
        text = f"{type(error).__name__} (it cannot be shown)"
    return text if len(text) <= 4000 else f"{text[:1500]}\n…\n{text[-2500:]}"


def _capture(output: int) -> None:
    """Send descriptors 1 and 2 to a file in memory, which the limit on file sizes bounds."""
    os.ftruncate(output, 0)
    fcntl.fcntl(output, fcntl.F_SETFL, os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout = io.TextIOWrapper(
        io.FileIO(1, "w", closefd=False), encoding="utf-8", errors="backslashreplace", write_through=True
    )
    sys.stderr = io.TextIOWrapper(
        io.FileIO(2, "w", closefd=False), encoding="utf-8", errors="backslashreplace", write_through=True
    )
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def _take(output: int) -> str:
    """What was written since, and an empty file again; a long middle is left out."""
    size = os.fstat(output).st_size
    head = os.pread(output, MAX_HEAD_BYTES, 0)
    if size > MAX_HEAD_BYTES + MAX_TAIL_BYTES:
        tail = os.pread(output, MAX_TAIL_BYTES, size - MAX_TAIL_BYTES)
        left_out = size - len(head) - len(tail)
        head = head + f"\n… [cut: {left_out} bytes of the output are left out; print less] …\n".encode() + tail
    else:
        head += os.pread(output, MAX_TAIL_BYTES, len(head))
    os.ftruncate(output, 0)
    return head.decode("utf-8", "replace")


def shorten_output(text: str) -> str:
    """A text whose middle is left out where it is long."""
    left_out = len(text) - MAX_HEAD_BYTES - MAX_TAIL_BYTES
    if left_out <= 0:
        return text
    note = f"\n… [cut: {left_out} characters of the output are left out; print less] …\n"
    return text[:MAX_HEAD_BYTES] + note + text[-MAX_TAIL_BYTES:]


def _figures() -> list[list[str]]:
    """The open figures of matplotlib as PNG, where a cell used it; they are closed."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None:
        return []
    pictures = []
    try:
        for number in pyplot.get_fignums()[:MAX_PICTURES]:
            buffer = io.BytesIO()
            pyplot.figure(number).savefig(buffer, format="png", metadata={"Software": None})
            if len(buffer.getvalue()) <= MAX_PICTURE_BYTES:
                pictures.append(["image/png", binascii.b2a_base64(buffer.getvalue(), newline=False).decode()])
        pyplot.close("all")
    except Exception as error:  # noqa: BLE001 - figures are whatever a model's code left there
        os.write(2, f"[a figure could not be drawn: {type(error).__name__}]\n".encode())
    return pictures
