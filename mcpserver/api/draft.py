"""A tool on its way from a description to the catalogue: what every kind of import makes, and how it is finished."""

import json
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from mcpserver.api.names import tool_name, toolset_name
from mcpserver.api.operation import ApiOperation
from mcpserver.api.report import Notes, Report
from mcpserver.api.schema import normal_schema
from mcpserver.api.validation import check_any_schema
from toolwright.errors import DataError
from toolwright.words import shorten

MAX_SCHEMA_BYTES = 200_000


@dataclass
class Draft:
    """A tool that was read: its raw name, its texts and normal schema, the API it belongs to, what changed."""

    name: str
    description: str
    parameters: dict[str, Any]
    group: str
    operation: ApiOperation
    notes: Notes


@dataclass
class Names:
    """The names given out so far in one catalogue, and what was accepted; ``prefix`` stands before each name."""

    prefix: str = ""
    used: set[str] = field(default_factory=set)
    contents: set[str] = field(default_factory=set)

    def finish(self, draft: Draft, place: str, report: Report) -> dict[str, Any] | None:
        """The row of the catalogue for a draft, with a name of its own; None when it is refused."""
        content = json.dumps([draft.name, draft.description, draft.parameters, draft.group, draft.operation.to_row()])
        raw = f"{self.prefix}{draft.name}"
        if re.search(r"\\ud[89a-f]", content) and _has_half_pair(json.loads(content)):
            report.refuse(place, raw, "a name or value holds half of a surrogate pair, which is no text")
            return None
        if content in self.contents:
            report.refuse(place, raw, "the same definition was read before")
            return None
        name = tool_name(raw, toolset_name(draft.group) if draft.group else "", self.used, draft.notes)
        if not name:
            report.refuse(place, raw, f"the name {shorten(raw, 40)} has no letter or digit that a tool's name can have")
            return None
        try:
            check_parameters(draft.parameters)
        except DataError as error:
            report.refuse(place, raw, str(error))
            return None
        self.used.add(name)
        self.contents.add(content)
        report.accept(name, draft.notes)
        return {
            "name": name,
            "description": draft.description,
            "parameters": draft.parameters,
            "toolset": toolset_name(draft.group or "api"),
            **draft.operation.to_row(),
        }


def read_response(raw: object, notes: Notes) -> dict[str, Any] | None:
    """The schema of replies, made normal; None when there is none, or it cannot be used."""
    if not isinstance(raw, dict) or not raw:
        return None
    changes = Notes(shown=False)
    try:
        schema = normal_schema(raw, "response", changes, shown=False)
        if isinstance(raw.get("$defs"), dict):
            schema["$defs"] = {
                name: normal_schema(part, f"response.$defs.{name}", changes, shown=False)
                for name, part in raw["$defs"].items()
            }
        if len(json.dumps(schema)) > MAX_SCHEMA_BYTES:
            raise DataError("too large")
        check_any_schema(schema)
    except (DataError, TypeError, ValueError, RecursionError) as error:
        notes.add("response_dropped", "response", shorten(raw, 60), str(error))
        return None
    notes.items += changes.items
    return schema or None


def check_parameters(schema: dict[str, Any]) -> None:
    """Refuse parameters that are no JSON Schema: each property once per form, whatever its texts say.

    Raises:
        DataError: names the path and what is wrong there.
    """
    text = json.dumps(schema)
    if len(text) > MAX_SCHEMA_BYTES:
        raise DataError(f"the schema of its parameters has {len(text)} bytes, over {MAX_SCHEMA_BYTES}")
    if not schema.keys() <= _PLAIN or '"$ref"' in text:
        check_any_schema(schema)
        return
    for part in schema["properties"].values():
        _check_form(json.dumps({key: value for key, value in part.items() if key not in _TEXTS}))


_PLAIN = frozenset(("type", "properties", "required", "additionalProperties"))
_TEXTS = frozenset(("description", "default", "examples"))


@lru_cache(maxsize=4096)
def _check_form(text: str) -> None:
    check_any_schema(json.loads(text))


def _has_half_pair(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False
