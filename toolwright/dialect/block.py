"""What stands inside a block: strict JSON, read as one call or several or as a named reason why not, and written."""

import json
import re
from typing import Any

from toolwright.dialect.parsed import ProblemKind
from toolwright.errors import DataError
from toolwright.records import ToolCall, shorten

MAX_DEPTH = 64
"""Deeper arguments are refused: nothing needs them, and they would exhaust the stack of every reader after us."""

_SURROGATE = re.compile("[\ud800-\udfff]")


class BlockError(Exception):
    """The body of a block is no call; becomes a Problem."""

    def __init__(self, kind: ProblemKind, detail: str) -> None:
        super().__init__(detail)
        self.kind: ProblemKind = kind
        self.detail = detail


def read_block(body: str) -> list[tuple[str, dict[str, Any]]]:
    """Read what stands between the marks: one call or a JSON array of calls, as names and arguments.

    Raises:
        BlockError: with the kind of the problem and what is wrong.
    """
    value = load_json(body)
    if value == []:
        raise BlockError("not_object", "an empty list of calls")
    return [_read_call(item) for item in (value if isinstance(value, list) else [value])]


def load_json(text: str) -> Any:
    """Read strict JSON: finite numbers, no lone surrogates, at most ``MAX_DEPTH`` levels.

    Raises:
        BlockError: kind ``not_json``.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise BlockError("not_json", f"not JSON: {error.msg.removesuffix(' at')} at character {error.pos}") from None
    except (ValueError, RecursionError) as error:
        raise BlockError("not_json", f"not JSON: {error}") from None
    _check_nesting(value)
    return value


def write_json(call: ToolCall, value: object) -> str:
    """A value among the arguments of ``call``, as strict JSON.

    Raises:
        DataError: a value that JSON cannot hold.
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"arguments of call {call.name!r} are not JSON ({error}): {shorten(call.arguments)}") from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _finite(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"the number {shorten(digits, 40)} is too large")
    return number


def _check_nesting(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner += [*item.keys(), *item.values()]
            elif isinstance(item, list):
                inner += item
            elif isinstance(item, str) and _SURROGATE.search(item):
                raise BlockError("not_json", "not JSON: a lone surrogate in a string")
        if not inner:
            return
        level = inner
    raise BlockError("not_json", f"not JSON that can be used: nested deeper than {MAX_DEPTH} levels")


def _read_call(value: Any) -> tuple[str, dict[str, Any]]:
    if not isinstance(value, dict):
        raise BlockError("not_object", f"a call is a JSON object with name and arguments, not {shorten(value, 60)}")
    name = value.get("name")
    if not isinstance(name, str) or not name:
        raise BlockError("no_name", f"the call has no name: {shorten(value.get('name'), 60)}")
    # A parameter beside "arguments" would be dropped without a word if other keys were let pass.
    strange = [key for key in value if key not in ("name", "arguments", "id", "type")]
    if strange:
        raise BlockError("bad_arguments", f'the key {strange[0]!r} is unknown; parameters go under "arguments"')
    arguments = value.get("arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = load_json(arguments)
        except BlockError as error:
            raise BlockError("bad_arguments", f"the arguments are a string that is {error.detail}") from None
    if not isinstance(arguments, dict):
        raise BlockError("bad_arguments", f"the arguments are not a JSON object: {shorten(arguments, 60)}")
    return name, arguments
