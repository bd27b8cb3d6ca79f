"""The arguments of a call against a tool's signature: a right call takes microseconds, a wrong one gets an explanation.

A call is right when the tool's JSON Schema takes it (as ``toolwright.calls`` does) and so do the hints' own checks.
Numbers that no 64-bit float holds are refused everywhere: NaN, infinities, and integers as large.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from pydantic import ValidationError

from mcpserver.signature import Signature
from mcpserver.tool_error import ToolError
from toolwright.calls import check_arguments
from toolwright.records import ToolSpec
from toolwright.words import cut, show

MAX_FAULTS = 10
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
_SUSPECT = re.compile(r"NaN|Infinity|[eE]\+?\d{3}|\d{300}")
"""Where a JSON text may hold a number that is not finite; pydantic takes those for ``Any`` and inside models."""


def to_text(arguments: object) -> str:
    """The JSON text of arguments.

    Raises:
        ToolError: ``bad_arguments``.
    """
    try:
        return _encode(arguments)
    except (TypeError, ValueError, RecursionError) as error:
        raise ToolError("bad_arguments", f"the arguments are not JSON: {_reason(error)}") from None


def bind_text(spec: ToolSpec, signature: Signature, text: str | bytes) -> dict[str, Any]:
    """Turn the JSON text of a call's arguments into the values that the function wants.

    Raises:
        ToolError: ``bad_arguments``, naming each parameter that is wrong, in words for a model.
    """
    try:
        if _SUSPECT.search(text if isinstance(text, str) else text.decode()):
            _read(text)
        values = signature.validate(text)
    except ValidationError as error:
        _explain(spec, text, error)
    except UnicodeError:
        raise ToolError("bad_arguments", "the arguments are not UTF-8 text") from None
    except ToolError:
        raise
    except Exception as error:  # a check that the tool brings along may raise anything
        raise ToolError(
            "bad_arguments", f"a check of the tool broke: {type(error).__name__}: {_reason(error)}"
        ) from error
    if not signature.exact and (problems := check_arguments(spec, _read(text))):
        raise _bad(problems)
    return values


def _explain(spec: ToolSpec, text: str | bytes, error: ValidationError) -> NoReturn:
    arguments = _read(text)
    problems = check_arguments(spec, arguments) or list(dict.fromkeys(_faults(error, arguments)))
    raise _bad(problems) from None


def _bad(problems: Sequence[str]) -> ToolError:
    return ToolError("bad_arguments", _clean("; ".join(problems)))


def _clean(text: str) -> str:
    """The text with what is not UTF-8, such as half of a surrogate pair, escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def _read(text: str | bytes) -> dict[str, Any]:
    try:
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite, parse_int=_finite_integer)
    except RecursionError:
        raise ToolError("bad_arguments", "the arguments are nested too deeply") from None
    except ValueError as error:
        raise ToolError("bad_arguments", f"the arguments are not JSON: {_reason(error)}") from None
    if not isinstance(value, dict):
        raise _bad([f"the arguments must be one JSON object, got {show(value)}"])
    return value


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


def _finite(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"the number {cut(digits, 40)} is too large")
    return value


def _finite_integer(digits: str) -> int:
    if len(digits) > 308:
        _finite(digits)
    return int(digits)


def _reason(error: BaseException) -> str:
    return cut(_clean(str(error)).replace("\n", " "))


def _faults(error: ValidationError, arguments: Mapping[str, Any]) -> list[str]:
    """What pydantic says, for what the JSON Schema does not know of: dates, and the hints' own checks."""
    faults = []
    for fault in error.errors(include_url=False)[:MAX_FAULTS]:
        path, value = _locate(fault["loc"], arguments)
        reason = fault["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
        where = f"parameter {show(path)}" if path else "the arguments"
        faults.append(f"{where}: {cut(reason)}, got {show(value)}")
    return faults


def _locate(steps: Sequence[int | str], arguments: Any) -> tuple[str, Any]:
    """The path and the value of a fault; pydantic puts the names of union members between the steps."""
    path, value = "", arguments
    for step in steps:
        if isinstance(value, dict) and step in value:
            path, value = f"{path}.{step}" if path else str(step), value[step]
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            path, value = f"{path}[{step}]", value[step]
    return path, value
