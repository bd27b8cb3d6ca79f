"""The HTTP request that the arguments of a call become: path, query, headers, cookies, body, as OpenAPI writes them."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from mcpserver.api.operation import ApiOperation, Place
from mcpserver.tool_error import ToolError
from toolwright.words import show

_DELIMITERS = {"spaceDelimited": " ", "pipeDelimited": "|"}
_MEDIA = {"json": "application/json", "form": "application/x-www-form-urlencoded", "text": "text/plain; charset=utf-8"}


@dataclass
class Request:
    """A request without its server."""

    method: str
    path: str
    query: list[tuple[str, str]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def target(self) -> str:
        """Path and query, encoded."""
        return f"{self.path}?{urlencode(self.query, quote_via=quote)}" if self.query else self.path


def build_request(operation: ApiOperation, arguments: Mapping[str, Any]) -> Request:
    """The request of a call.

    Raises:
        ToolError: ``bad_arguments``, a value that cannot stand where it must.
    """
    path = operation.path or f"/{quote(operation.name, safe='')}"
    request = Request(operation.method, path, headers={"Accept": "application/json, */*;q=0.5"})
    body: dict[str, Any] = {}
    cookies: list[str] = []
    for name, value in arguments.items():
        place = operation.places.get(name, Place("body", name))
        if place.where == "path":
            request.path = request.path.replace(f"{{{place.name}}}", _segment(name, value, place))
        elif place.where == "query":
            request.query += _pairs(place, value)
        elif place.where == "header":
            request.headers[place.name] = _header(name, _joined(value, place, ","))
        elif place.where == "cookie":
            cookies += [f"{key}={quote(text, safe='')}" for key, text in _pairs(place, value)]
        else:
            body[place.name] = value
    if cookies:
        request.headers["Cookie"] = "; ".join(cookies)
    if body or (operation.method in ("POST", "PUT", "PATCH") and not operation.path):
        _write_body(request, operation, body)
    return request


def _write_body(request: Request, operation: ApiOperation, body: dict[str, Any]) -> None:
    value: Any = body[operation.whole_body] if operation.whole_body else body
    if operation.body_form == "multipart":
        _write_multipart(request, value if isinstance(value, dict) else {"body": value})
        return
    if operation.body_form == "form" and isinstance(value, dict):
        pairs = [pair for name, one in value.items() for pair in _pairs(Place("query", name), one)]
        request.body = urlencode(pairs).encode()
    elif operation.body_form == "text" and isinstance(value, str):
        request.body = value.encode(errors="replace")
    else:
        request.body = json.dumps(_plain(value), ensure_ascii=False).encode(errors="replace")
    request.headers["Content-Type"] = _MEDIA[operation.body_form]


def _write_multipart(request: Request, values: Mapping[str, Any]) -> None:
    """The fields as parts, with a boundary that their content decides."""
    pairs = [(name, text) for name, value in values.items() for _, text in _pairs(Place("query", name), value)]
    boundary = hashlib.sha256(repr(pairs).encode()).hexdigest()[:32]
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{quote(name, safe=" []")}"\r\n\r\n{text}\r\n'
        for name, text in pairs
    ]
    request.body = ("".join(parts) + f"--{boundary}--\r\n").encode(errors="replace")
    request.headers["Content-Type"] = f"multipart/form-data; boundary={boundary}"


def _plain(value: Any) -> Any:
    """Whole floats as integers, as APIs expect them."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(_plain(value), ensure_ascii=False)


def _joined(value: Any, place: Place, comma: str) -> str:
    if place.style == "json":
        return json.dumps(_plain(value), ensure_ascii=False)
    if isinstance(value, list):
        return comma.join(map(_text, value))
    if isinstance(value, dict):
        between = "=" if place.explode else comma
        return comma.join(f"{key}{between}{_text(inner)}" for key, inner in value.items())
    return _text(value)


def _segment(name: str, value: Any, place: Place) -> str:
    """A value in the path: every character that has a meaning there is encoded."""
    text = _joined(value, place, ",")
    if text in ("", ".", ".."):
        raise ToolError("bad_arguments", f"parameter {show(name)}: {show(text)} cannot stand in a path")
    encoded = quote(text.encode(errors="replace"), safe=",")
    return {"label": f".{encoded}", "matrix": f";{quote(place.name)}={encoded}"}.get(place.style, encoded)


def _header(name: str, text: str) -> str:
    if not text.isascii() or not text.isprintable():
        raise ToolError("bad_arguments", f"parameter {show(name)}: a header has plain ASCII text, got {show(text)}")
    return text


def _pairs(place: Place, value: Any) -> Iterator[tuple[str, str]]:
    """A value in the query, as names and texts."""
    if value is None:
        return
    if place.style == "json" or not isinstance(value, list | dict):
        yield place.name, _joined(value, place, ",")
    elif isinstance(value, dict) and place.style == "deepObject":
        for key, inner in value.items():
            yield f"{place.name}[{key}]", _text(inner)
    elif isinstance(value, dict) and place.explode:
        for key, inner in value.items():
            yield key, _text(inner)
    elif isinstance(value, list) and place.explode and place.style not in _DELIMITERS:
        for inner in value:
            yield place.name, _text(inner)
    else:
        yield place.name, _joined(value, place, _DELIMITERS.get(place.style, ","))
