"""A JSON Schema that example values have in common: the form of replies of which no schema is known."""

from collections.abc import Sequence
from typing import Any

from mcpserver.api.type_names import type_of_value

MAX_DEPTH = 12
MAX_PROPERTIES = 100


def infer_schema(values: Sequence[Any], depth: int = 0) -> dict[str, Any]:
    """The schema of some values: types, properties that all of them have, and the items of lists together."""
    kinds = list(dict.fromkeys(type_of_value(value) for value in values))
    if "number" in kinds and "integer" in kinds:
        kinds.remove("integer")
    if not kinds or depth > MAX_DEPTH:
        return {}
    schema: dict[str, Any] = {"type": kinds[0] if len(kinds) == 1 else kinds}
    objects = [value for value in values if isinstance(value, dict)]
    if objects:
        names = list(dict.fromkeys(name for value in objects for name in value))[:MAX_PROPERTIES]
        schema["properties"] = {
            name: infer_schema([value[name] for value in objects if name in value], depth + 1) for name in names
        }
        schema["required"] = [name for name in names if all(name in value for value in objects)]
    lists = [value for value in values if isinstance(value, list)]
    if lists:
        schema["items"] = infer_schema([item for value in lists for item in value[:50]], depth + 1)
    return schema
