"""What stands inside a block: strict JSON, read as one call or several or as a named reason why not, and written."""

import json
import re
from dataclasses import dataclass
from typing import Any

from toolwright.dialect.parsed import ProblemKind
from toolwright.errors import DataError
from toolwright.records import ToolCall
from toolwright.words import shorten

MAX_DEPTH = 64
"""Deeper arguments are refused: nothing needs them, and they would exhaust the stack of every reader after us."""

_SURROGATE = re.compile("[\ud800-\udfff]")


class BlockError(Exception):
    """The body of a block is no call; becomes a Problem."""

    def __init__(self, kind: ProblemKind, detail: str) -> None:
        super().__init__(detail)
        self.kind: ProblemKind = kind
        self.detail = detail


@dataclass(frozen=True)
class Keys:
    """The keys of a call as a JSON object: its name, its arguments (any one of several keys), and what else may stand.

    ``others`` are read over.
    """

    name: str = "name"
    arguments: tuple[str, ...] = ("arguments",)
    others: tuple[str, ...] = ("id", "type")


OPENAI_KEYS = Keys()


def read_block(body: str, keys: Keys = OPENAI_KEYS) -> list[tuple[str, dict[str, Any]]]:
    """Read one call or a JSON array of calls, as names and arguments.

    Raises:
        BlockError: with the kind of the problem and what is wrong.
    """
    value = load_json(body)
    if value == []:
        raise BlockError("not_object", "an empty list of calls")
    return [read_call(item, keys) for item in (value if isinstance(value, list) else [value])]


def read_call(value: Any, keys: Keys = OPENAI_KEYS) -> tuple[str, dict[str, Any]]:
    """Read one call from a JSON value.

    Raises:
        BlockError: with the kind of the problem and what is wrong.
    """
    under = next((key for key in keys.arguments if isinstance(value, dict) and key in value), keys.arguments[0])
    if not isinstance(value, dict):
        raise BlockError(
            "not_object", f"a call is a JSON object with {keys.name} and {under}, not {shorten(value, 60)}"
        )
    name = value.get(keys.name)
    if not isinstance(name, str) or not name:
        raise BlockError("no_name", f"the call has no name: {shorten(name, 60)}")
    # A parameter beside the arguments would be dropped without a word if other keys were let pass.
    strange = [key for key in value if key not in (keys.name, under, *keys.others)]
    if strange:
        raise BlockError("bad_arguments", f'the key {strange[0]!r} is unknown; parameters go under "{under}"')
    return name, read_object(value.get(under, {}))


def read_object(arguments: Any) -> dict[str, Any]:
    """Read arguments from a JSON value: an object, or a string that holds one.

    Raises:
        BlockError: kind ``bad_arguments``.
    """
    if isinstance(arguments, str):
        try:
            arguments = load_json(arguments)
        except BlockError as error:
            raise BlockError("bad_arguments", f"the arguments are a string that is {error.detail}") from None
    if not isinstance(arguments, dict):
        raise BlockError("bad_arguments", f"the arguments are not a JSON object: {shorten(arguments, 60)}")
    return arguments


def json_end(text: str, start: int) -> int:
    """Where the JSON value ends that begins at ``start``; the end of the text where there is none."""
    try:
        return _DECODER.raw_decode(text, start)[1]
    except (ValueError, RecursionError):
        return len(text)


_DECODER = json.JSONDecoder()


def load_json(text: str) -> Any:
    """Read strict JSON: finite numbers, no lone surrogates, at most ``MAX_DEPTH`` levels.

    Raises:
        BlockError: kind ``not_json``.
    """
    try:
        value = _STRICT.decode(text)
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


_STRICT = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


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
