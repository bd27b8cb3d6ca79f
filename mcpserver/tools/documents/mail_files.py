"""Mail kept as files (.eml): read, find, attachments, compose, answer. Nothing is sent."""

import hashlib
import mimetypes
from email.message import EmailMessage
from email.utils import getaddresses, parseaddr
from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.formats import encode, parsing, readable
from mcpserver.tools.documents._blocks import FilePath
from mcpserver.tools.documents._mail import attachments_of, body_of, content_of, header_text, name_of, open_mail
from toolwright.words import cut, nearest, shorten

MAX_TEXT = 8000
Address = Annotated[str, Len(3, 200)]
Body = Annotated[str, Len(0, 20_000)]


class Filter(TypedDict):
    """What mail must have; words are found anywhere, capital letters aside."""

    sender: NotRequired[Annotated[str, Len(1, 100)]]
    subject: NotRequired[Annotated[str, Len(1, 100)]]
    text: NotRequired[Annotated[str, Len(1, 100)]]
    has_attachment: NotRequired[bool]


class Message(TypedDict):
    """A mail to be written."""

    sender: Address
    to: Annotated[list[Address], Len(1, 50)]
    subject: Annotated[str, Len(0, 200)]
    text: Body
    cc: NotRequired[Annotated[list[Address], Len(0, 50)]]
    html: NotRequired[Body]
    attachments: NotRequired[Annotated[list[FilePath], Len(0, 10)]]


def eml_read(
    context: Context, path: FilePath, body: Literal["text", "html"] = "text", all_headers: bool = False
) -> dict[str, Any]:
    """Read a mail file: sender, receivers, subject, text, attachments.

    Args:
        path: .eml file
        body: give the plain text, or the HTML if there is any
        all_headers: give every header as well

    Example:
        {"path": "mail/offer.eml"}
    """
    message = open_mail(context, path)
    with parsing("path", path, "mail"):
        given: dict[str, Any] = {
            name.lower(): header_text(message, name) for name in ("From", "To", "Cc", "Subject", "Date")
        }
        text = body_of(message, body)
        files = [
            {
                "number": number,
                "name": name_of(part, number),
                "type": part.get_content_type(),
                "bytes": len(content_of(part)),
            }
            for number, part in enumerate(attachments_of(message), 1)
        ]
        headers = [f"{name}: {header_text(message, name)}" for name in list(message.keys())[:60]]
    given |= {"text": cut(text, MAX_TEXT), "characters": len(text), "attachments": files[:50]}
    return given | ({"headers": [cut(readable(line), 200) for line in headers]} if all_headers else {})


def eml_list(
    context: Context,
    folder: Annotated[str, Len(0, 200)] = "mail",
    only: Filter | None = None,
    limit: Annotated[int, Ge(1), Le(100)] = 50,
) -> dict[str, Any]:
    """List the mail files in a folder with sender, subject and date.

    Args:
        folder: folder name
        only: words that sender, subject or text must have, or whether there is an attachment
        limit: most to give

    Example:
        {"folder": "mail"}
        {"folder": "mail", "only": {"has_attachment": true}}
    """
    files, found, wanted = context.files, [], only or Filter()
    top = files.existing_folder(folder)
    paths = [path for path in files.plain_files() if path.is_relative_to(top) and path.suffix.lower() == ".eml"]
    for name in [files.name(path) for path in paths[:500]]:
        try:
            message = open_mail(context, name)
            with parsing("folder", name, "mail"):
                entry: dict[str, Any] = {"path": name, "from": header_text(message, "From")}
                entry |= {"subject": header_text(message, "Subject"), "date": header_text(message, "Date")}
                entry["attachments"] = len(attachments_of(message))
                text = body_of(message, "text") if "text" in wanted else ""
        except ToolError as error:
            entry, text = {"path": name, "problem": cut(error.message, 80)}, ""
        if _fits(entry, text, wanted):
            found.append(entry)
    return {"mails": found[:limit], "total": len(found)}


def eml_save_attachment(
    context: Context,
    path: FilePath,
    attachment: Annotated[int, Ge(1), Le(1000)] | Annotated[str, Len(1, 200)],
    save_as: FilePath,
) -> dict[str, Any]:
    """Write an attachment of a mail as a file.

    Args:
        path: .eml file
        attachment: its number from 1, or its name
        save_as: file to write

    Example:
        {"path": "mail/offer.eml", "attachment": 1, "save_as": "mail/attachment.csv"}
    """
    message = open_mail(context, path)
    with parsing("path", path, "mail"):
        parts = {name_of(part, number): part for number, part in enumerate(attachments_of(message), 1)}
    names = list(parts)
    name = (names[attachment - 1] if attachment <= len(names) else "") if isinstance(attachment, int) else attachment
    if name not in parts:
        hint = nearest(name, names) if names else "; the mail has none"
        raise ToolError("tool_error", f"attachment: there is no {shorten(attachment, 60)}{hint}")
    with parsing("path", path, "mail"):
        content = content_of(parts[name])
    context.files.write(save_as, content, "save_as")
    return {"path": save_as, "name": name, "type": parts[name].get_content_type(), "bytes": len(content)}


def eml_compose(context: Context, save_as: FilePath, message: Message) -> dict[str, Any]:
    """Write a mail, with attachments if wanted, as a file; it is not sent.

    Args:
        save_as: .eml file to write
        message: sender, receivers, subject, text, HTML, attached files

    Example:
        {"save_as": "mail/draft.eml", "message": {"sender": "Ana <ana@alderwick.example>", "to": ["bo@vista.example"],
         "subject": "Prices", "text": "Dear Bo,\\nhere they are.", "attachments": ["data/products.csv"]}}
    """
    mail = EmailMessage()
    with parsing("message", save_as, "mail that can be written"):
        mail["From"] = _address(message["sender"], "message.sender")
        mail["To"] = ", ".join(_address(to, "message.to") for to in message["to"])
        if message.get("cc"):
            mail["Cc"] = ", ".join(_address(to, "message.cc") for to in message["cc"])
        mail["Subject"] = _line(message["subject"], "message.subject")
        mail.set_content(_pure(message["text"], "message.text"))
        if "html" in message:
            mail.add_alternative(_pure(message["html"], "message.html"), subtype="html")
        for number, path in enumerate(message.get("attachments", [])):
            content = context.files.read_bytes(path, f"message.attachments[{number}]")
            kind, _, sub = (mimetypes.guess_type(path, strict=True)[0] or "application/octet-stream").partition("/")
            mail.add_attachment(content, maintype=kind, subtype=sub, filename=path.rpartition("/")[2])
    return _save(context, mail, save_as)


def eml_answer(
    context: Context,
    path: FilePath,
    sender: Address,
    text: Body,
    kind: Literal["reply", "reply_all", "forward"] = "reply",
    to: Annotated[list[Address], Len(1, 50)] | None = None,
    save_as: FilePath | None = None,
) -> dict[str, Any]:
    """Write an answer to a mail, or forward it, quoting its text; it is not sent.

    Args:
        path: .eml file that is answered
        sender: who answers
        text: what stands above the quoted text
        kind: to the sender, to all, or on to others
        to: receivers; needed to forward
        save_as: .eml file to write, default the name with -reply or -forward

    Example:
        {"path": "mail/complaint.eml", "sender": "help@alderwick.example", "text": "We are sorry and look into it."}
        {"path": "mail/offer.eml", "sender": "ana@alderwick.example", "text": "See below.", "kind": "forward",
         "to": ["bo@alderwick.example"]}
    """
    old, mail = open_mail(context, path), EmailMessage()
    if (kind == "forward") != (to is not None):
        raise ToolError("bad_arguments", "to: is needed to forward, and only then")
    with parsing("path", path, "mail"):
        mail["From"] = _address(sender, "sender")
        people = [old.get("Reply-To") or old.get("From") or ""]
        others = [old.get("To") or "", old.get("Cc") or ""] if kind == "reply_all" else []
        known = [address for _, address in getaddresses([str(part) for part in people + others]) if "@" in address]
        wanted = [address for address in dict.fromkeys(known) if address != parseaddr(sender)[1]]
        mail["To"] = ", ".join(_address(person, "to") for person in (to or wanted))
        mark = "Fwd" if kind == "forward" else "Re"
        subject = _line(readable(header_text(old, "Subject")), "subject")
        mail["Subject"] = subject if subject.lower().startswith(f"{mark.lower()}:") else f"{mark}: {subject}"
        if kind != "forward" and old.get("Message-ID"):
            mail["In-Reply-To"] = _line(str(old["Message-ID"]), "Message-ID")
        head = f"On {header_text(old, 'Date')}, {header_text(old, 'From')} wrote:"
        quoted = "\n".join(f"> {line}" for line in cut(body_of(old, "text"), 20_000).splitlines())
        mail.set_content(f"{_pure(text, 'text')}\n\n{readable(head)}\n{readable(quoted)}\n")
    ending = "-forward" if kind == "forward" else "-reply"
    return _save(context, mail, save_as or f"{path.removesuffix('.eml')}{ending}.eml")


def _fits(entry: dict[str, Any], text: str, wanted: Filter) -> bool:
    def has(words: str | None, where: str) -> bool:
        return words is None or words.casefold() in where.casefold()

    attached = wanted.get("has_attachment")
    return (
        has(wanted.get("sender"), entry.get("from", ""))
        and has(wanted.get("subject"), entry.get("subject", ""))
        and has(wanted.get("text"), text)
        and (attached is None or attached == (entry.get("attachments", 0) > 0))
    )


def _pure(text: str, parameter: str) -> str:
    encode(text, parameter)
    return readable(text)


def _line(text: str, parameter: str) -> str:
    return " ".join(_pure(text, parameter).split())


def _address(text: str, parameter: str) -> str:
    line = _line(text, parameter)
    name, address = parseaddr(line)
    local, _, domain = address.rpartition("@")
    whole = (not name and line.strip("<>") == address) or line.endswith(f"<{address}>")
    if not local or not domain or not whole or not line.isprintable() or any(sign in address for sign in " <>,;"):
        raise ToolError(
            "bad_arguments", f"{parameter}: {shorten(text, 60)} is no address such as Ana <ana@vista.example>"
        )
    if not name:
        return address
    quoted = name.replace("\\", "").replace('"', "")
    return f'"{quoted}" <{address}>'


def _save(context: Context, mail: EmailMessage, save_as: str) -> dict[str, Any]:
    """Write a mail whose date is the environment's time and whose marks depend on its content only."""
    from email.utils import format_datetime

    if not save_as.lower().endswith(".eml"):
        raise ToolError("bad_arguments", f"save_as: {shorten(save_as, 60)} must end in .eml")
    with parsing("save_as", save_as, "mail that can be written"):
        mail["Date"] = format_datetime(context.now)
        parts = [part for part in mail.walk() if part.is_multipart()]
        seed = "".join(f"{name}{value}" for name, value in mail.items())
        seed += "".join(str(part.get_payload()) for part in mail.walk() if not part.is_multipart())
        mark = hashlib.sha256(seed.encode("utf-8", "replace")).hexdigest()[:24]
        mail["Message-ID"] = f"<{mark}@toolwright.example>"
        for number, part in enumerate(parts):
            part.set_boundary(f"=_{mark}_{number}")
        content = mail.as_bytes()
    context.files.write(save_as, content, "save_as")
    shown = {"from": header_text(mail, "From"), "to": header_text(mail, "To"), "subject": header_text(mail, "Subject")}
    return {"path": save_as, **shown, "bytes": len(content)}
