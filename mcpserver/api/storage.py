"""Catalogue files ``NAME.api.jsonl``: a first line that tells the source and its hash, then a tool on each line.

Written in one piece. Reading makes tools without compiling anything: validators are made at the first call.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from pydantic import JsonValue, TypeAdapter

from mcpserver.api.operation import ApiOperation, ApiSource
from mcpserver.api.patterns import MAX_MATCHED
from mcpserver.catalogue import API_SUFFIX, Tool
from mcpserver.signature import Signature
from mcpserver.tool_error import ToolError
from toolwright.artifacts import parse_line, replacing
from toolwright.errors import ConfigError, DataError
from toolwright.records import ToolSpec
from toolwright.words import shorten

FORMAT = "toolwright-api/1"
ANY_OBJECT: dict[str, Any] = {"type": "object"}
_ARGUMENTS = TypeAdapter(dict[str, JsonValue]).validator


def write_catalogue(path: Path, source: ApiSource, rows: Sequence[dict[str, Any]]) -> None:
    """Write a catalogue file."""
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    body = "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")
    head = {
        "format": FORMAT,
        "tools": len(rows),
        "sha256": hashlib.sha256(body).hexdigest(),
        "source": {key: value for key, value in vars(source).items() if value not in ("", (), {})},
    }
    with replacing(path) as temporary:
        temporary.write_bytes(json.dumps(head, ensure_ascii=False).encode() + b"\n" + body)


def read_catalogue(path: Path) -> Iterator[Tool]:
    """The tools of a catalogue file.

    Raises:
        ConfigError: no such file.
        DataError: the file is no catalogue, or not what was written.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"tools: {path}: {error.strerror}; python -m mcpserver.api import SOURCE makes such files"
        ) from None
    head, _, body = content.partition(b"\n")
    source = _read_head(path, head, body)
    category = path.name.removesuffix(API_SUFFIX)
    for number, line in enumerate(body.split(b"\n")[:-1], 2):
        try:
            row = parse_line(line + b"\n")
            yield _tool(row, source, category, f"{path}:{number}")
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path}:{number}: no tool of an API ({shorten(str(error), 80)}); import it again"
            ) from None


def _read_head(path: Path, head: bytes, body: bytes) -> ApiSource:
    try:
        row = parse_line(head + b"\n")
        good = row["format"] == FORMAT and row["sha256"] == hashlib.sha256(body).hexdigest()
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in row["source"].items()
        }
        source = ApiSource(**fields)
    except (DataError, KeyError, TypeError, AttributeError):
        good = False
    if not good:
        raise DataError(f"{path}: not a catalogue of API tools as it was written; import it again")
    return source


class Arguments:
    """The first check of arguments: any JSON object; the schema of the tool comes after, compiled at the first call.

    Texts that a pattern of the schema will see are bounded: matching takes the square of their length.
    """

    def __init__(self, has_pattern: bool) -> None:
        self._has_pattern = has_pattern

    def validate_json(self, text: str | bytes, **options: Any) -> dict[str, Any]:
        """The arguments in a JSON text, as pydantic's validators give them."""
        values: dict[str, Any] = _ARGUMENTS.validate_json(text, strict=True)
        if self._has_pattern and len(text) > MAX_MATCHED and _longest(values) > MAX_MATCHED:
            raise ToolError("limit", f"a text has more than {MAX_MATCHED} characters; write a shorter one")
        return values


def _longest(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return max((*map(_longest, inner), 0))


_PLAIN, _PATTERNED = Arguments(False), Arguments(True)


def _tool(row: dict[str, Any], source: ApiSource, category: str, place: str) -> Tool:
    spec = ToolSpec(name=row["name"], description=row["description"], parameters=row["parameters"])
    operation = ApiOperation.from_row(row, source)
    patterned = '"pattern"' in json.dumps(row["parameters"]) if len(row["parameters"]) > 3 else _has_pattern(row)
    return Tool(
        spec=spec,
        function=partial(_not_here, spec.name),
        category=category,
        toolset=row["toolset"],
        examples=(),
        signature=Signature(spec.parameters, _PATTERNED if patterned else _PLAIN, False, True, None),
        output_schema=operation.response or ANY_OBJECT,
        wraps_result=False,
        runs_in="api",
        module="",
        is_file=False,
        place=place,
        api=operation,
    )


def _has_pattern(row: dict[str, Any]) -> bool:
    """Whether a pattern stands anywhere in the parameters; plain properties are told without writing them out."""
    parts = row["parameters"].get("properties", {}).values()
    return any("pattern" in part or (part.keys() & _NESTED and '"pattern"' in json.dumps(part)) for part in parts)


_NESTED = frozenset(("properties", "items", "anyOf", "oneOf", "allOf", "not", "prefixItems", "additionalProperties"))


def _not_here(name: str, **_arguments: Any) -> NoReturn:
    """What stands where other tools have their function: an API is asked by the environment."""
    raise ToolError("tool_error", f"{name} is a tool of an API; call it through an environment")
