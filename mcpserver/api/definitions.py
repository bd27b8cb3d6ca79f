"""Definitions ``{name, description, parameters}`` as ToolBench, RapidAPI and others write them, to drafts of tools.

Reads ``.json``, ``.jsonl`` and both compressed by gzip. Each row is given out with its place, also one that cannot be
read: then with the reason instead.
"""

import gzip
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from mcpserver.api.draft import Draft, read_response
from mcpserver.api.operation import ApiOperation, ApiSource, Place
from mcpserver.api.report import Notes
from mcpserver.api.schema import parameters_schema
from mcpserver.api.words import tool_text
from toolwright.errors import DataError
from toolwright.records import parse_json
from toolwright.words import shorten

SUFFIXES = (".json", ".jsonl", ".json.gz", ".jsonl.gz")
_LISTS = ("tools", "functions", "apis", "api_list", "definitions")
_NAMES = ("name", "api_name", "function_name", "tool_name")
_PARAMETERS = ("parameters", "input_schema", "inputSchema", "arguments", "args", "params")
_RESPONSES = ("response_schema", "output_schema", "outputSchema", "response", "returns")


class Row(NamedTuple):
    """One definition as it was written: where, the value or why there is none, and the API around it."""

    place: str
    value: Any
    problem: str = ""
    group: str = ""


def read_rows(path: Path) -> Iterator[Row]:
    """Every definition of a file, readable or not."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        yield Row(str(path), None, f"the file cannot be read ({reason})")
        return
    content = content.removeprefix(b"\xef\xbb\xbf")
    if ".jsonl" in path.suffixes[-2:]:
        for number, line in enumerate(content.split(b"\n"), 1):
            if line.strip():
                value, problem = _parse(line)
                yield from [Row(f"{path}:{number}", value, problem)] if problem else _spread(value, f"{path}:{number}")
        return
    value, problem = _parse(content)
    yield from [Row(str(path), value, problem)] if problem else _spread(value, str(path))


def _parse(content: bytes) -> tuple[Any, str]:
    try:
        return parse_json(content), ""
    except (ValueError, RecursionError) as error:
        return None, f"not JSON ({shorten(str(error), 100)})"


def _spread(value: Any, place: str) -> Iterator[Row]:
    """The definitions in a value: a list, an API with a list, an object by name, or one definition."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _spread(item, f"{place}[{index}]")
        return
    if isinstance(value, dict):
        key = next((key for key in _LISTS if isinstance(value.get(key), list)), None)
        if key is not None:
            group = next((value[k] for k in ("tool_name", "title", "name") if isinstance(value.get(k), str)), "")
            for index, item in enumerate(value[key]):
                yield Row(f"{place}.{key}[{index}]", item, group=group)
            return
        single = not value or any(key in value for key in (*_NAMES, *_PARAMETERS, "function", "description"))
        if not single and all(isinstance(item, dict) for item in value.values()):
            for name, item in value.items():
                yield Row(f"{place}.{name}", {"name": name, **item})
            return
    yield Row(place, value)


def read_definition(row: Row, source: ApiSource) -> Draft:
    """A definition as a draft.

    Raises:
        DataError: it is no tool, and why.
    """
    notes, raw = Notes(), row.value
    if not isinstance(raw, dict):
        raise DataError(f"expected an object with name, description and parameters, got {shorten(raw, 60)}")
    if isinstance(raw.get("function"), dict):
        raw = raw["function"]
        notes.add("definition_wrapped", "", "function", "taken out")
    name = next((raw[key] for key in _NAMES if isinstance(raw.get(key), str) and raw[key].strip()), "")
    if not name:
        raise DataError(f"no name: {shorten(next((raw[key] for key in _NAMES if key in raw), None), 60)}")
    schema = parameters_schema(_parameters(raw, notes), notes)
    text, api = tool_text(raw.get("description"), name, notes)
    response = read_response(next((raw[key] for key in _RESPONSES if raw.get(key)), None), notes)
    operation = ApiOperation(source=source, name=name, response=response, **_request(raw, schema))
    return Draft(name.strip(), text, schema, api or row.group, operation, notes)


def _parameters(raw: dict[str, Any], notes: Notes) -> dict[str, Any]:
    if isinstance(raw.get("required_parameters"), list) or isinstance(raw.get("optional_parameters"), list):
        return _two_lists(raw, notes)
    key = next((key for key in _PARAMETERS if key in raw), None)
    given = raw[key] if key else None
    if key not in (None, "parameters"):
        notes.add("parameters_key", "parameters", key, "parameters")
    if isinstance(given, str) and given.strip():
        given, problem = _parse(given.encode(errors="replace"))
        if problem:
            raise DataError(f"parameters: {problem}")
        notes.add("parameters_flat", "parameters", "JSON text", "object")
    if given in (None, "", [], {}):
        notes.add("parameters_missing", "parameters", given, {"type": "object", "properties": {}})
        return {"type": "object", "properties": {}}
    if isinstance(given, list):
        return {"type": "object", "properties": given, "required": raw.get("required")}
    if not isinstance(given, dict):
        raise DataError(f"parameters: expected a schema of an object, got {shorten(given, 60)}")
    if _is_flat(given):
        notes.add("parameters_flat", "parameters", list(given)[:3], "properties")
        given = {"type": "object", "properties": given}
    if "required" in raw and "required" not in given and isinstance(raw["required"], list):
        given = {**given, "required": raw["required"]}
    return given


def _is_flat(given: dict[str, Any]) -> bool:
    """Whether an object is the properties alone: each value a schema."""
    if "properties" in given or "$ref" in given or isinstance(given.get("type"), str):
        return False
    return all(isinstance(part, dict) and ("type" in part or "description" in part) for part in given.values())


def _two_lists(raw: dict[str, Any], notes: Notes) -> dict[str, Any]:
    required = raw.get("required_parameters") or []
    rows = [*required, *(raw.get("optional_parameters") or [])]
    names = [row["name"] for row in required if isinstance(row, dict) and isinstance(row.get("name"), str)]
    return {"type": "object", "properties": rows, "required": names} if rows else {"type": "object", "properties": {}}


def _request(raw: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Method, path and places, where the definition tells of its URL."""
    url, method = raw.get("url"), raw.get("method")
    method = method.upper() if isinstance(method, str) and method.isalpha() else "GET"
    if not isinstance(url, str) or not re.match(r"https?://[^/\s]+", url):
        return {}
    parts = urlsplit(url)
    names = list(schema["properties"])
    in_path = [name for name in names if f"{{{name}}}" in parts.path]
    rest = "body" if method in ("POST", "PUT", "PATCH") else "query"
    places = {name: Place("path" if name in in_path else rest, name) for name in names}  # type: ignore[arg-type]
    return {"method": method, "path": parts.path or "/", "server": f"{parts.scheme}://{parts.netloc}", "places": places}
