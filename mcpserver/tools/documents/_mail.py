"""Mail files taken apart: headers, text, attachments."""

import codecs
from email.message import EmailMessage
from typing import Any

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.formats import parsing, readable
from toolwright.words import cut


def open_mail(context: Context, path: str) -> EmailMessage:
    """A mail file, parsed.

    Raises:
        ToolError: no such file, or no mail.
    """
    from email import message_from_bytes, policy

    content = context.files.read_bytes(path)
    with parsing("path", path, "mail"):
        message = message_from_bytes(content, policy=policy.default)
        if not any(message.get(name) for name in ("From", "To", "Subject", "Date")):
            raise ToolError("tool_error", f"path: {path!r} is no mail; it has no From, To, Subject or Date")
    return message


def header_text(message: EmailMessage, name: str) -> str:
    """A header in one line; empty when there is none."""
    return cut(" ".join(readable(str(message.get(name) or "")).split()), 300)


def attachments_of(message: EmailMessage) -> list[Any]:
    """The parts of a mail that are files."""
    return [part for part in message.walk() if part.get_filename() or part.get_content_disposition() == "attachment"][
        :200
    ]


def name_of(part: Any, number: int) -> str:
    """The name of an attached file."""
    return cut(readable(str(part.get_filename() or f"attachment-{number}")), 100)


def content_of(part: Any) -> bytes:
    """The bytes of an attached file."""
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else str(part).encode("utf-8", "replace")


def body_of(message: EmailMessage, kind: str) -> str:
    """The text of a mail; HTML becomes text when there is nothing else."""
    wanted: tuple[Any, ...] = ("plain", "html") if kind == "text" else ("html", "plain")
    part: Any = message.get_body(preferencelist=wanted)
    if part is None or part.is_multipart():
        return ""
    text = content_of(part).decode(_charset(part), "replace").replace("\r\n", "\n")
    if kind == "text" and part.get_content_type() == "text/html":
        from lxml.html import document_fromstring

        from mcpserver.tools.documents._html import plain

        text = plain(document_fromstring(text.encode())) if text.strip() else ""
    return readable(text)


def _charset(part: Any) -> str:
    name = str(part.get_content_charset() or "utf-8")
    try:
        return codecs.lookup(name).name
    except (LookupError, ValueError):
        return "utf-8"
