"""What an API tool calls: the request that its arguments become, and the schema of the reply. Plain data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["definitions", "openapi", "mcp"]
Where = Literal["path", "query", "header", "cookie", "body"]
BodyForm = Literal["json", "form", "multipart", "text"]


@dataclass(frozen=True)
class Place:
    """Where a parameter goes in the request.

    Attributes:
        where: the part of the request.
        name: what it is called there.
        style: how lists and objects are written, as OpenAPI names it; empty is the usual way of the part.
        explode: whether each item of a list is a parameter of its own.
    """

    where: Where
    name: str
    style: str = ""
    explode: bool = True


@dataclass(frozen=True)
class ApiSource:
    """What the tools of one catalogue file have in common.

    Attributes:
        kind: what it was imported from.
        origin: the file that was imported.
        sha256: of the file's content.
        servers: the addresses that an OpenAPI document names; used only where the settings say so.
        base_url: the endpoint to call, given at the import; empty for none.
        headers: sent with each request to ``base_url``; ``${VAR}`` stands for variables of the environment.
        security: the schemes of the document, in words.
        mcp: the entry of the MCP server in its ``mcpServers`` file, as written there.
    """

    kind: Kind
    origin: str
    sha256: str
    servers: tuple[str, ...] = ()
    base_url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    security: tuple[str, ...] = ()
    mcp: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ApiOperation:
    """One operation of an API.

    Attributes:
        source: what it was imported from.
        name: its own name there.
        method: of the request; an operation without method and path is asked by ``POST base_url/name``.
        path: with ``{name}`` for the path parameters.
        places: where each parameter goes; those that are not named go into the body.
        whole_body: the parameter that is the whole body, if one is.
        body_form: how the body is written.
        response: the JSON Schema of a good reply; None when nothing is known.
        server: an address of the operation's own, before those of the source.
        security: names of the schemes that it wants.
        deprecated: whether the document says so.
    """

    source: ApiSource
    name: str
    method: str = "POST"
    path: str = ""
    places: Mapping[str, Place] = field(default_factory=dict)
    whole_body: str = ""
    body_form: BodyForm = "json"
    response: dict[str, Any] | None = None
    server: str = ""
    security: tuple[str, ...] = ()
    deprecated: bool = False

    def to_row(self) -> dict[str, Any]:
        """What a catalogue file holds of it: fields that are not at their default."""
        places = {
            name: [place.where, place.name, *([place.style, place.explode] if place.style or not place.explode else [])]
            for name, place in self.places.items()
        }
        row: dict[str, Any] = {
            "method": self.method if self.path else "",
            "path": self.path,
            "places": places,
            "whole_body": self.whole_body,
            "body_form": self.body_form if self.body_form != "json" else "",
            "response": self.response,
            "server": self.server,
            "security": list(self.security),
            "deprecated": self.deprecated,
        }
        return {"of": self.name, **{key: value for key, value in row.items() if value not in ("", {}, [], None, False)}}

    @classmethod
    def from_row(cls, row: Mapping[str, Any], source: ApiSource) -> "ApiOperation":
        """Read what ``to_row`` wrote."""
        return cls(
            source=source,
            name=row["of"],
            method=row.get("method", "POST"),
            path=row.get("path", ""),
            places={name: Place(*place) for name, place in row["places"].items()} if "places" in row else {},
            whole_body=row.get("whole_body", ""),
            body_form=row.get("body_form", "json"),
            response=row.get("response"),
            server=row.get("server", ""),
            security=tuple(row.get("security", ())),
            deprecated=row.get("deprecated", False),
        )
