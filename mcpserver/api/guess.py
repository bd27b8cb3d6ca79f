"""The form of a reply of which nothing is known but the tool's own words: its name, description and parameters."""

import re
from collections.abc import Collection
from typing import Any

from mcpserver.api.names import snake
from mcpserver.api.vocabulary import is_known, is_number
from toolwright.records import ToolSpec

MAX_WORDS = 6
_MANY = re.compile(r"(?i)\b(?:list|lists|search|all|find|multiple|available|collection|several|top|latest|recent)\b")
_SCALARS = ("string", "integer", "number", "boolean")


def guess_schema(spec: ToolSpec, given: Collection[str] = ()) -> dict[str, Any]:
    """A schema for a plausible reply: the ``given`` arguments again, and what the description mentions."""
    text = f"{snake(spec.name).replace('_', ' ')} {spec.description.split(chr(10))[0]}"
    words = list(dict.fromkeys(re.findall(r"[a-z]{2,}", text.lower())))
    topics = {word: word for word in words if is_known(word)}
    topics |= {word[:-1]: word for word in words if word.endswith("s") and is_known(word[:-1])}
    properties: dict[str, Any] = {"id": {"type": "string"}, "name": {"type": "string"}}
    for topic in list(topics)[:MAX_WORDS]:
        properties.setdefault(topic, {"type": "number" if is_number(topic) else "string"})
    thing = {"type": "object", "properties": properties, "required": list(properties)}
    if _MANY.search(text):
        body: dict[str, Any] = {
            "results": {"type": "array", "items": thing, "minItems": 1},
            "total": {"type": "integer", "minimum": 1, "maximum": 500},
        }
    else:
        body = {"data": thing}
    echoed = {
        name: {key: part[key] for key in ("type", "enum") if key in part}
        for name, part in spec.parameters.get("properties", {}).items()
        if isinstance(part, dict) and part.get("type") in _SCALARS and name in given and not _is_secret(name)
    }
    outer = {
        "status": {"const": "success"},
        **{name: part for name, part in echoed.items() if name not in body},
        **body,
    }
    return {"type": "object", "properties": outer, "required": list(outer)}


def _is_secret(name: str) -> bool:
    return re.search(r"(?i)key|token|secret|password|auth", name) is not None
