"""The request body and the reply of an OpenAPI operation: which media type, and its properties as parameters."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mcpserver.api.names import parameter_name
from mcpserver.api.operation import BodyForm, Place
from mcpserver.api.references import follow, write_out
from mcpserver.api.report import Notes
from mcpserver.api.sampling import infer_schema
from toolwright.errors import DataError
from toolwright.words import shorten

_FORMS: tuple[tuple[str, BodyForm], ...] = (
    ("json", "json"),
    ("application/x-www-form-urlencoded", "form"),
    ("multipart/form-data", "multipart"),
    ("text/", "text"),
    ("*/*", "json"),
)
_NO_OBJECT = ("oneOf", "anyOf", "allOf", "$ref", "not", "patternProperties")


@dataclass
class Body:
    """What a request body adds to the parameters; ``whole`` names the parameter that is all of it."""

    form: BodyForm = "json"
    whole: str = ""
    properties: dict[str, Any] = field(default_factory=dict)
    definitions: dict[str, Any] = field(default_factory=dict)
    required: list[str] = field(default_factory=list)
    places: dict[str, Place] = field(default_factory=dict)


def read_body(
    document: dict[str, Any],
    operation: dict[str, Any],
    taken: Mapping[str, Any],
    places: Mapping[str, Place],
    notes: Notes,
) -> Body:
    """The parameters in the body of an operation, beside those in other places.

    Raises:
        DataError: a body of a media type that models do not write.
    """
    raw = follow(document, operation.get("requestBody"), "requestBody")
    if not isinstance(raw, dict) or not isinstance(raw.get("content"), dict) or not raw["content"]:
        return Body()
    chosen = _choose(raw["content"])
    if chosen is None:
        if raw.get("required") is not True:
            return Body()
        raise DataError(f"the body is {shorten(next(iter(raw['content'])), 60)}, which a model does not write")
    form, media = chosen
    schema = write_out(document, media.get("schema", {}), "requestBody", notes) if isinstance(media, dict) else {}
    schema = schema if isinstance(schema, dict) else {}
    needed = raw.get("required") is True
    if not _spreads(schema, needed):
        return _whole(schema, raw, form, taken, notes)
    body = Body(form, definitions=schema.get("$defs", {}))
    listed = schema.get("required")
    must = listed if isinstance(listed, list) else []
    for own, part in schema["properties"].items():
        name = own
        if own in taken:
            name = f"body_{own}"
            notes.add("parameter_clash", own, own, name)
        name = parameter_name(name, {**taken, **body.properties}, notes)
        body.properties[name] = part
        body.places[name] = Place("body", own)
        if own in must and not (isinstance(part, dict) and part.get("readOnly") is True):
            body.required.append(name)
    return body


def _choose(content: Mapping[str, Any]) -> tuple[BodyForm, Any] | None:
    for word, form in _FORMS:
        for kind, media in content.items():
            if word in str(kind).lower():
                return form, media
    return None


def _spreads(schema: dict[str, Any], needed: bool) -> bool:
    """Whether the properties of the body can stand beside the other parameters, and mean the same there."""
    properties = schema.get("properties")
    if not isinstance(properties, dict) or not properties or any(key in schema for key in _NO_OBJECT):
        return False
    if schema.get("additionalProperties") not in (None, False) or schema.get("nullable"):
        return False
    return schema.get("type", "object") == "object" and (needed or not schema.get("required"))


def _whole(schema: dict[str, Any], raw: dict[str, Any], form: BodyForm, taken: Mapping[str, Any], notes: Notes) -> Body:
    name = parameter_name("body" if "body" not in taken else "request_body", taken, notes)
    text = raw.get("description") or schema.get("description") or "The body of the request."
    if form == "text":
        schema = {"type": "string"}
    part = {key: value for key, value in schema.items() if key != "$defs"} | {"description": text}
    return Body(
        form,
        whole=name,
        properties={name: part},
        definitions=schema.get("$defs", {}),
        required=[name] if raw.get("required") is True else [],
        places={name: Place("body", name)},
    )


def read_reply(document: dict[str, Any], operation: dict[str, Any], notes: Notes) -> Any:
    """The schema of a good reply, else one made from an example; None when the document tells nothing usable."""
    replies = operation.get("responses")
    if not isinstance(replies, dict):
        return None
    codes = sorted(
        (str(code) for code in replies), key=lambda code: (not code.startswith("2"), code == "default", code)
    )
    by_code = {str(code): reply for code, reply in replies.items()}
    for code in [code for code in codes if code.startswith("2") or code == "default"]:
        try:
            reply = follow(document, by_code[code], f"responses.{code}")
            content = reply.get("content") if isinstance(reply, dict) else None
            media = next((one for kind, one in content.items() if "json" in str(kind) or kind == "*/*"), None) if (
                isinstance(content, dict)) else None  # fmt: skip
            if isinstance(media, dict):
                return _schema_of(document, media)
        except DataError as error:
            notes.add("response_dropped", f"responses.{code}", "", str(error))
            return None
    return None


def _schema_of(document: dict[str, Any], media: dict[str, Any]) -> Any:
    if media.get("schema"):
        return write_out(document, media["schema"], "response", Notes(shown=False), inline=False)
    examples = media.get("examples")
    values = (
        [row.get("value") for row in examples.values() if isinstance(row, dict)] if isinstance(examples, dict) else []
    )
    values = [value for value in (media.get("example"), *values) if value is not None]
    return infer_schema(values) if values else None
