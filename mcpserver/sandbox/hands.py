"""Runs the tools of the catalogue inside the sandbox, one request after the other.

A request is ``{"id", "module", "is_file", "function", "arguments", "convert", "context_name", "seed", "attachments",
"left_s"}``, or ``{"id", "snapshot": true}``; the answer ``{"id", "value", "pictures"}`` or ``{"id", "error": [kind,
message]}``. Libraries are imported by the tools that need them, when they are called.
"""

import binascii
import importlib
import json
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

from mcpserver.context import Context
from mcpserver.sandbox import frames
from mcpserver.tool_error import ToolError
from mcpserver.workspace import Workspace
from toolwright.words import cut

LIMITS = frozenset((11, 12, 23, 24, 27, 28, 122))  # EAGAIN ENOMEM ENFILE EMFILE EFBIG ENOSPC EDQUOT


def prepare(config: dict[str, Any]) -> None:
    """Make this process one that runs tools."""
    sys.path[:0] = [path for path in config["tool_paths"] if path not in sys.path]
    sys.modules.setdefault("annotated_types", _NoBounds("annotated_types"))


class _NoBounds(ModuleType):
    """``annotated_types`` inside: the bounds in a tool's hints were checked before, and the real one imports a lot."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_bounds, **_more: None


def _have_bounds() -> None:
    """Let the next import find the real ``annotated_types``, which pydantic needs."""
    if isinstance(sys.modules.get("annotated_types"), _NoBounds):
        del sys.modules["annotated_types"]


def answer(message: bytes, workspace: Workspace) -> bytes:
    """Run one request; the answer, with its length, says whatever went wrong."""
    request = json.loads(message)
    return frames.pack({"id": request["id"], **_answer(request, workspace)})


def _answer(request: dict[str, Any], workspace: Workspace) -> dict[str, Any]:
    try:
        result = _snapshot(workspace) if request.get("snapshot") else _run(request, workspace)
        try:
            json.dumps(result, allow_nan=False)
        except TypeError:
            result = _plain(result)
        return result
    except ToolError as error:
        return {"error": [error.kind, error.message]}
    except MemoryError:
        return {"error": ["limit", "the call needs more memory than the environment has"]}
    except RecursionError:
        return {"error": ["limit", "the arguments or the data are nested too deeply"]}
    except OSError as error:
        kind = "limit" if error.errno in LIMITS else "tool_error"
        return {"error": [kind, f"the call failed: {cut(str(error))}"]}
    except Exception as error:  # noqa: BLE001 - the boundary: a tool that breaks is data for the model
        reason = f"{type(error).__name__}: {cut(str(error))}"
        return {"error": ["tool_error", f"the call failed: {reason}"]}


def _plain(result: dict[str, Any]) -> dict[str, Any]:
    """A result with values that are no JSON, such as dates and models."""
    from mcpserver.binding import to_plain

    plain: dict[str, Any] = json.loads(json.dumps(result, default=to_plain, allow_nan=False))
    return plain


def _snapshot(workspace: Workspace) -> dict[str, Any]:
    from mcpserver.databases import hash_folder

    files = {f"file:{name}": value for name, value in workspace.hashes().items()}
    tables = {f"table:{name}": value for name, value in hash_folder(workspace.databases).items()}
    return {"value": files | tables}


def _run(request: dict[str, Any], workspace: Workspace) -> dict[str, Any]:
    deadline = time.monotonic() + request["left_s"]
    context = Context(request["seed"], workspace=workspace, deadline=deadline, attachments=request["attachments"])
    if request["convert"] or request["is_file"]:
        _have_bounds()
    function, arguments = _load(request), request["arguments"]
    if request["convert"]:
        from mcpserver.binding import convert

        arguments = convert(function, arguments)
    if request["context_name"] is not None:
        arguments = {**arguments, request["context_name"]: context}
    value = function(**arguments)
    pictures = [
        [picture.mime_type, binascii.b2a_base64(picture.content, newline=False).decode()]
        for picture in context.pictures
    ]
    return {"value": value, "pictures": pictures}


def _load(request: dict[str, Any]) -> Callable[..., Any]:
    """The function of a tool, from the module by name, or from the file of a user's own tools."""
    try:
        if request["is_file"]:
            from mcpserver.binding import load_module

            module = load_module(request["module"])
        else:
            module = importlib.import_module(request["module"])
        function: Callable[..., Any] = getattr(module, request["function"])
        return function
    except Exception as error:  # noqa: BLE001 - a user's module may raise anything
        raise ToolError("tool_error", f"the tool cannot be loaded: {type(error).__name__}: {cut(str(error))}") from None
