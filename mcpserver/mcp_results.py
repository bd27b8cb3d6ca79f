"""A tool's result as MCP carries it, and back: text, pictures as image content, the type of an error in ``_meta``.

``to_mcp`` gives the form of the wire: building the SDK's models would cost more than the call of a small tool.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, get_args

import mcp_types as types
from pydantic_core import from_json

from mcpserver.context import MAX_PICTURE_BYTES, MAX_PICTURES
from mcpserver.protocol import ERROR_META, SYNTHETIC_META
from mcpserver.rendering import cap
from toolwright.records import ErrorType, ToolResult
from toolwright.words import cut

_SEEN = ("image/png", "image/jpeg", "image/gif", "image/webp")
"""What models that see can take."""


def to_mcp(result: ToolResult, *, structured: bool = False) -> dict[str, Any]:
    """A result as ``tools/call`` answers it, in JSON.

    Args:
        result: of a call.
        structured: whether to repeat it as structured content, as a tool with an output schema must.
    """
    content = [{"type": "text", "text": result.content}, *map(_image, result.pictures)]
    answer: dict[str, Any] = {"resultType": "complete", "content": content, "isError": result.error is not None}
    if result.error is not None:
        answer["_meta"] = {ERROR_META: result.error}
    elif structured:
        with suppress(ValueError):  # a text that was cut
            answer["structuredContent"] = from_json(result.content)
    if result.synthetic:
        answer["_meta"] = answer.get("_meta", {}) | {SYNTHETIC_META: True}
    return answer


def _image(data_url: str) -> dict[str, str]:
    head, _, data = data_url.partition(",")
    return {"type": "image", "mimeType": head.removeprefix("data:").removesuffix(";base64"), "data": data}


def from_mcp(answer: types.CallToolResult, *, ours: bool) -> ToolResult:
    """Read what a server answered.

    Args:
        answer: of ``tools/call``.
        ours: whether one of our servers gave it: its text is whole, so pictures need no note.
    """
    meta = answer.meta or {}
    texts: list[str] = []
    pictures: list[str] = []
    for part in answer.content:
        texts += _read_part(part, pictures, ours)
    if not answer.content and answer.structured_content is not None:
        texts = [json.dumps(answer.structured_content, ensure_ascii=False)]
    kind = meta.get(ERROR_META)
    error: ErrorType | None = None
    if answer.is_error:
        error = kind if kind in get_args(ErrorType) else "tool_error"
    synthetic = meta.get(SYNTHETIC_META) is True
    return ToolResult(content=cap("\n".join(texts)), error=error, pictures=tuple(pictures), synthetic=synthetic)


def _read_part(part: types.ContentBlock, pictures: list[str], ours: bool) -> list[str]:
    """The text that stands for a part; a picture is also added to the pictures."""
    if isinstance(part, types.TextContent):
        return [part.text]
    if isinstance(part, types.ImageContent):
        url = f"data:{part.mime_type};base64,{part.data}"
        if ours:
            pictures.append(url)
            return []
        reason = _against(part) or ("too many" if len(pictures) >= MAX_PICTURES else "")
        if not reason:
            pictures.append(url)
        return [f"[picture: {cut(part.mime_type, 60)}{', left out: ' + reason if reason else ''}]"]
    if isinstance(part, types.AudioContent):
        return [f"[audio left out: {cut(part.mime_type, 60)}]"]
    if isinstance(part, types.ResourceLink):
        return [f"[resource: {cut(part.uri)}]"]
    resource = part.resource
    if isinstance(resource, types.TextResourceContents):
        return [f"[resource: {cut(resource.uri)}]", resource.text]
    return [f"[resource left out: {cut(resource.uri)}]"]


def _against(image: types.ImageContent) -> str:
    """Why a foreign picture cannot be shown; empty when it can."""
    if image.mime_type not in _SEEN:
        return "no model takes this form"
    if len(image.data) > MAX_PICTURE_BYTES * 4 // 3 + 4:
        return f"more than {MAX_PICTURE_BYTES} bytes"
    try:
        return "" if base64.b64decode(image.data, validate=True) else "empty"
    except (binascii.Error, ValueError):
        return "not base64"


def result_row(result: ToolResult) -> dict[str, Any]:
    """A result as JSON, for programs: HTTP answers and cassettes; what is unset is left out, but for the error."""
    row: dict[str, Any] = {"content": result.content, "error": result.error}
    if result.pictures:
        row["pictures"] = list(result.pictures)
    return row | ({"synthetic": True} if result.synthetic else {})


def read_row(row: Mapping[str, Any]) -> ToolResult:
    """Read what ``result_row`` wrote.

    Raises:
        ValueError: not of that form.
    """
    return ToolResult(**{**row, "pictures": tuple(row.get("pictures", ()))})
