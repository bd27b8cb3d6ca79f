"""An OpenAPI 3.0 or 3.1 document, JSON or YAML, to one draft of a tool for each operation."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from mcpserver.api.body import Body, read_body, read_reply
from mcpserver.api.draft import Draft, read_response
from mcpserver.api.names import identifier, parameter_name, snake
from mcpserver.api.operation import ApiOperation, ApiSource, Place
from mcpserver.api.references import follow, write_out
from mcpserver.api.report import Notes
from mcpserver.api.schema import parameters_schema
from mcpserver.api.words import tool_text
from toolwright.errors import ConfigError, DataError
from toolwright.words import shorten

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_NEVER = ("accept", "content-type", "authorization")
MAX_PARTS = 2_000_000
_PLACES = ("path", "query", "header", "cookie")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML 1.2's idea of plain words: ``no`` and dates are text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":timestamp", ":bool"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


class Found(NamedTuple):
    """One operation as it was written."""

    place: str
    path: str
    method: str
    item: dict[str, Any]
    operation: Any


def read_document(path: Path) -> dict[str, Any]:
    """Read a document.

    Raises:
        ConfigError: no file, neither JSON nor YAML, or no OpenAPI 3.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        document = json.loads(text) if text.lstrip()[:1] == "{" else yaml.load(text, Loader=_Loader)
        size = _size(document, {})
    except (OSError, UnicodeDecodeError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
        raise ConfigError(f"{path}: cannot be read as JSON or YAML ({reason[:200]})") from None
    if size > MAX_PARTS:
        raise ConfigError(f"{path}: written out, its aliases make {size:g} parts, over {MAX_PARTS}")
    if not is_openapi(document):
        version = document.get("swagger") if isinstance(document, dict) else None
        cure = "; convert it to OpenAPI 3 first" if version else "; it needs 'openapi: 3.x' and 'paths'"
        raise ConfigError(f"{path}: no OpenAPI 3 document (found {shorten(version or type(document).__name__)}){cure}")
    return dict(document)


def _size(node: Any, known: dict[int, float]) -> float:
    """How many parts a document has once its YAML aliases are written out; infinite for one inside itself."""
    if not isinstance(node, dict | list):
        return 1
    if id(node) not in known:
        known[id(node)] = float("inf")
        inner = node.values() if isinstance(node, dict) else node
        known[id(node)] = 1 + sum(_size(part, known) for part in inner)
    return known[id(node)]


def is_openapi(document: object) -> bool:
    """Whether a value is an OpenAPI 3 document."""
    return isinstance(document, dict) and str(document.get("openapi", "")).startswith("3")


def read_source(document: dict[str, Any], origin: str, sha256: str) -> ApiSource:
    """What all operations of a document share."""
    schemes = _mapping(_mapping(document.get("components")).get("securitySchemes"))
    security = tuple(f"{name}: {_scheme(follow(document, scheme, name))}" for name, scheme in schemes.items())
    return ApiSource("openapi", origin, sha256, servers=tuple(_servers(document)), security=security)


def _scheme(scheme: object) -> str:
    scheme = _mapping(scheme)
    kind = scheme.get("type")
    if kind == "apiKey":
        return f"key in {scheme.get('in')} {scheme.get('name')}"
    return f"http {scheme.get('scheme')}" if kind == "http" else str(kind)


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _servers(node: Mapping[str, Any]) -> Iterator[str]:
    rows = node.get("servers")
    for row in rows if isinstance(rows, list) else ():
        url = _mapping(row).get("url")
        if isinstance(url, str):
            for name, variable in _mapping(_mapping(row).get("variables")).items():
                url = url.replace(f"{{{name}}}", str(_mapping(variable).get("default", "")))
            if re.match(r"https?://[^/\s]", url):
                yield url


def find_operations(document: dict[str, Any]) -> Iterator[Found]:
    """Every operation of a document, also those that cannot be read."""
    for path, item in _mapping(document.get("paths")).items():
        place = f"paths.{path}"
        try:
            item = follow(document, item, place)
        except DataError as error:
            yield Found(place, str(path), "", {}, error)
            continue
        for method in METHODS:
            if isinstance(item, dict) and method in item:
                yield Found(f"{place}.{method}", str(path), method, item, item[method])


def read_operation(document: dict[str, Any], found: Found, source: ApiSource) -> Draft:
    """An operation as a draft.

    Raises:
        DataError: it is no tool, and why.
    """
    if isinstance(found.operation, DataError):
        raise found.operation
    if not isinstance(found.operation, dict):
        raise DataError(f"expected an operation, got {shorten(found.operation, 60)}")
    notes, operation = Notes(), found.operation
    name = _name(found, notes)
    schema, places, body = _parameters(document, found, notes)
    reply = read_reply(document, operation, notes)
    deprecated = operation.get("deprecated") is True
    return Draft(
        name=name,
        description=_text(operation, name, deprecated, notes),
        parameters=schema,
        group=_group(document, operation),
        operation=ApiOperation(
            source=source,
            name=name,
            method=found.method.upper(),
            path=found.path,
            places=places,
            whole_body=body.whole,
            body_form=body.form,
            response=read_response(reply, notes),
            server=next(iter([*_servers(operation), *_servers(found.item)]), ""),
            security=_wanted(document, operation),
            deprecated=deprecated,
        ),
        notes=notes,
    )


def _name(found: Found, notes: Notes) -> str:
    given = found.operation.get("operationId")
    if isinstance(given, str) and identifier(given):
        return given.strip()
    name = snake(f"{found.method}_{found.path.replace('{', '_by_').replace('}', '_')}")
    notes.add("name_missing", "name", given, name)
    return name


def _text(operation: dict[str, Any], name: str, deprecated: bool, notes: Notes) -> str:
    summary, more = (str(operation.get(key) or "").strip() for key in ("summary", "description"))
    text = summary if more.startswith(summary.rstrip(".")) and not more else "\n".join(filter(None, (summary, more)))
    text = more if summary and more.startswith(summary.rstrip(".")) else text
    text, _ = tool_text(text, name, notes)
    if deprecated:
        notes.add("deprecated", "description", True, "Deprecated.")
        text = f"Deprecated. {text}"
    return text


def _group(document: dict[str, Any], operation: dict[str, Any]) -> str:
    tags = operation.get("tags")
    title = str(_mapping(document.get("info")).get("title") or "api")
    return str(tags[0]) if isinstance(tags, list) and tags and identifier(str(tags[0])) else title


def _wanted(document: dict[str, Any], operation: dict[str, Any]) -> tuple[str, ...]:
    rows = operation.get("security", document.get("security"))
    return (
        tuple(dict.fromkeys(name for row in rows if isinstance(row, dict) for name in row))
        if isinstance(rows, list)
        else ()
    )


def _parameters(document: dict[str, Any], found: Found, notes: Notes) -> tuple[dict[str, Any], dict[str, Place], Body]:
    properties: dict[str, Any] = {}
    required: list[str] = []
    places: dict[str, Place] = {}
    definitions: dict[str, Any] = {}
    for row in _rows(document, found, notes):
        where, raw = row["in"], row["name"]
        name = raw
        if raw in properties:
            name = f"{where}_{raw}"
            notes.add("parameter_clash", raw, raw, name)
        name = parameter_name(name, properties, notes)
        properties[name] = _hoist(_schema(document, row, notes), definitions)
        places[name] = _place(row)
        if row.get("required") is True or where == "path":
            required.append(name)
    body = read_body(document, found.operation, properties, places, notes)
    properties |= {name: _hoist(part, definitions) for name, part in body.properties.items()}
    definitions |= body.definitions
    places |= body.places
    raw = {"type": "object", "properties": properties, "required": [*required, *body.required]}
    missing = [name for name in re.findall(r"\{([^{}]+)\}", found.path) if name not in _in_path(places)]
    if missing:
        raise DataError(f"the path names {missing[0]!r}, which is no parameter in the path")
    return parameters_schema({**raw, **({"$defs": definitions} if definitions else {})}, notes), places, body


def _in_path(places: Mapping[str, Place]) -> list[str]:
    return [place.name for place in places.values() if place.where == "path"]


def _hoist(schema: Any, definitions: dict[str, Any]) -> Any:
    """The schema without its definitions, which join those of the tool."""
    if not isinstance(schema, dict) or "$defs" not in schema:
        return schema
    for name, part in schema["$defs"].items():
        if definitions.setdefault(name, part) != part:
            raise DataError(f"two schemas are called {name!r} and are not the same")
    return {key: value for key, value in schema.items() if key != "$defs"}


def _rows(document: dict[str, Any], found: Found, notes: Notes) -> list[dict[str, Any]]:
    """The parameters of path and operation; those of the operation go before."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    keys = _key_parameters(document)
    for node in (found.item, found.operation):
        listed = node.get("parameters") or []
        if not isinstance(listed, list):
            raise DataError(f"parameters: expected a list, got {shorten(listed, 60)}")
        for raw in listed:
            row = follow(document, raw, f"{found.place}.parameters")
            if not isinstance(row, dict) or not isinstance(row.get("name"), str) or row.get("in") not in _PLACES:
                raise DataError(f"a parameter without name, or that is in no place: {shorten(row, 80)}")
            where, name = row["in"], row["name"]
            if (where == "header" and name.lower() in _NEVER) or (where, name) in keys:
                notes.add("auth_parameter", name, f"in {where}", "left out")
            else:
                rows[where, name] = row
    return list(rows.values())


def _key_parameters(document: dict[str, Any]) -> set[tuple[str, str]]:
    schemes = _mapping(_mapping(document.get("components")).get("securitySchemes"))
    found = (follow(document, scheme, "securitySchemes") for scheme in schemes.values())
    return {(str(one.get("in")), str(one.get("name"))) for one in map(_mapping, found) if one.get("type") == "apiKey"}


def _schema(document: dict[str, Any], row: dict[str, Any], notes: Notes) -> Any:
    content = _mapping(row.get("content"))
    schema = row.get("schema")
    if schema is None and content:
        schema = _mapping(next(iter(content.values()))).get("schema")
    written = write_out(document, {} if schema is None else schema, str(row["name"]), notes)
    if not isinstance(written, dict):
        return written
    beside = {key: row[key] for key in ("description", "example", "deprecated") if row.get(key) is not None}
    return {**written, **beside}


def _place(row: dict[str, Any]) -> Place:
    if row.get("content"):
        return Place(row["in"], row["name"], "json")
    style = row.get("style")
    style = style if isinstance(style, str) and style not in ("form", "simple") else ""
    usual = row["in"] in ("query", "cookie") and not style
    explode = row.get("explode")
    return Place(
        row["in"], row["name"], style, explode if isinstance(explode, bool) else usual or style == "deepObject"
    )
