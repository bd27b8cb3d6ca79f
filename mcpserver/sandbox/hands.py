"""The process that runs the tools of the catalogue inside the sandbox, one request after the other.

A request is ``{"id", "module", "is_file", "function", "arguments", "convert", "seed", "left_s"}``, or ``{"id",
"snapshot": true}``; the answer ``{"id", "value", "pictures"}`` or ``{"id", "error": [kind, message]}``. Libraries are
imported by the tools that need them, when they are called.
"""

import base64
import importlib
import importlib.util
import json
import os
import socket
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from mcpserver.context import Context
from mcpserver.databases import hash_folder
from mcpserver.sandbox import frames
from mcpserver.sandbox.repl import LIMITS
from mcpserver.tool_error import ToolError
from mcpserver.workspace import Workspace
from toolwright.words import cut


def serve(connection: socket.socket, config: dict[str, Any]) -> None:
    """Answer requests until the other side closes."""
    sys.path[:0] = [path for path in config["tool_paths"] if path not in sys.path]
    warnings.simplefilter("ignore")
    workspace = Workspace(Path(config["root"]))
    while True:
        try:
            request = frames.receive(connection)
        except EOFError:
            return
        frames.send(connection, answer(request, workspace))


def answer(request: dict[str, Any], workspace: Workspace) -> dict[str, Any]:
    """Run one request; whatever goes wrong is part of the answer."""
    try:
        result = _snapshot(workspace) if request.get("snapshot") else _run(request, workspace)
        json.dumps(result, allow_nan=False)
        return {"id": request["id"], **result}
    except ToolError as error:
        return {"id": request["id"], "error": [error.kind, error.message]}
    except MemoryError:
        return {"id": request["id"], "error": ["limit", "the call needs more memory than the environment has"]}
    except RecursionError:
        return {"id": request["id"], "error": ["limit", "the arguments or the data are nested too deeply"]}
    except OSError as error:
        kind = "limit" if error.errno in LIMITS else "tool_error"
        return {"id": request["id"], "error": [kind, f"the call failed: {cut(str(error))}"]}
    except Exception as error:  # noqa: BLE001 - the boundary: a tool that breaks is data for the model
        reason = f"{type(error).__name__}: {cut(str(error))}"
        return {"id": request["id"], "error": ["tool_error", f"the call failed: {reason}"]}


def _snapshot(workspace: Workspace) -> dict[str, Any]:
    files = {f"file:{name}": value for name, value in workspace.hashes().items()}
    tables = {f"table:{name}": value for name, value in hash_folder(workspace.databases).items()}
    return {"value": files | tables}


def _run(request: dict[str, Any], workspace: Workspace) -> dict[str, Any]:
    deadline = time.monotonic() + request["left_s"]
    context = Context(request["seed"], workspace=workspace, deadline=deadline)
    module = load(request["module"], request["is_file"])
    function: Callable[..., Any] = getattr(module, request["function"])
    arguments = request["arguments"]
    if request["convert"]:
        from mcpserver.binding import convert

        arguments = convert(function, arguments)
    with _quiet():
        value = function(context, **arguments) if request["takes_context"] else function(**arguments)
    pictures = [[picture.mime_type, base64.b64encode(picture.content).decode()] for picture in context.pictures]
    return {"value": value, "pictures": pictures}


@contextmanager
def _quiet() -> Iterator[None]:
    """What a tool prints goes nowhere: a result is what it returns."""
    out = sys.stdout
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - closed below
    try:
        yield
    finally:
        sys.stdout.close()
        sys.stdout = out


@lru_cache(maxsize=1024)
def load(module: str, is_file: bool) -> ModuleType:
    """The module of a tool: by name, or from the file of a user's own tools.

    Raises:
        ToolError: it cannot be imported here.
    """
    try:
        if not is_file:
            return importlib.import_module(module)
        spec = importlib.util.spec_from_file_location(f"user_tools_{abs(hash(module))}", module)
        if spec is None or spec.loader is None:
            raise ImportError(f"{module} is no Python file")
        loaded = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = loaded
        spec.loader.exec_module(loaded)
        return loaded
    except Exception as error:  # noqa: BLE001 - a user's module may raise anything
        raise ToolError("tool_error", f"the tool cannot be loaded: {type(error).__name__}: {cut(str(error))}") from None
