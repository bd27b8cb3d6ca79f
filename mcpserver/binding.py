"""What the process that runs a tool needs: its function, its arguments as the function wants them, its result as JSON.

Nothing but the standard library at the top: sandboxed workers import this and must start in milliseconds.
"""

import dataclasses
import datetime
import decimal
import enum
import hashlib
import importlib
import importlib.util
import json
import os
import sys
import uuid
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path, PurePath
from types import ModuleType
from typing import TYPE_CHECKING, Any

from mcpserver.tool_error import ToolError

if TYPE_CHECKING:
    from mcpserver.signature import Signature

_PREFIX = "user_tools_"


def load_module(reference: str) -> ModuleType:
    """Import a module by its dotted name, or by the absolute path of its file; a file is run once.

    What stands beside a file can be imported from it by name, as if it were started as a script.

    Raises:
        Exception: whatever the module raises.
    """
    if not os.path.isabs(reference):
        return importlib.import_module(reference)
    name = f"{_PREFIX}{hashlib.sha256(reference.encode()).hexdigest()[:12]}_{Path(reference).stem}"
    if name in sys.modules:
        return sys.modules[name]
    folder = os.path.dirname(reference)
    if folder not in sys.path:
        sys.path.append(folder)  # last, so that nothing there hides a library
    spec = importlib.util.spec_from_file_location(name, reference)
    if spec is None or spec.loader is None:
        raise ImportError(f"{reference} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def refer_to(function: Callable[..., Any]) -> tuple[str, bool]:
    """What ``load_module`` finds the module of a function by, and whether that is a file."""
    name: str = function.__module__ or ""
    file = getattr(sys.modules.get(name), "__file__", None)
    return (file, True) if name.startswith(_PREFIX) and file else (name, False)


def convert(function: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Turn checked JSON arguments into the values that the function wants: dates, enums, models, tuples, sets.

    Only for tools of which the catalogue says ``needs_conversion``; imports pydantic.

    Raises:
        ToolError: ``bad_arguments``, when the hint's own checks take here what they took in the catalogue no more.
    """
    try:
        return _signature(function).validate(json.dumps(arguments))
    except ValueError as error:
        raise ToolError("bad_arguments", str(error).replace("\n", " ")) from None


@lru_cache(maxsize=1024)
def _signature(function: Callable[..., Any]) -> "Signature":
    from mcpserver.signature import read_signature

    return read_signature(function, {}, function.__name__)


def prepare_result(value: object, wraps_result: bool) -> dict[str, Any]:
    """A tool's result as the JSON object that is served: what is no object goes under ``result``.

    Raises:
        TypeError, ValueError: not a JSON value.
    """
    if wraps_result:
        value = {"result": value}
    elif not isinstance(value, dict):
        value = to_plain(value)
    if not isinstance(value, dict):
        raise TypeError(f"the tool promises an object and gave {type(value).__name__}")
    return value


def to_plain(value: Any) -> Any:
    """The JSON value of what ``json`` does not know; to be given to it as ``default``.

    Raises:
        TypeError: there is none.
    """
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal | uuid.UUID | PurePath):
        return str(value)
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)  # the order of a set is not the same in every process
    raise TypeError(f"{type(value).__name__} has no JSON form")
