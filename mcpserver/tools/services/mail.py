"""A simulated mailbox: folders, search, sending and answering, labels and drafts. Nothing leaves the environment."""

from typing import Annotated, Any, Literal

from annotated_types import Len

from mcpserver.context import Context
from mcpserver.tools.services._kinds import Id, Limit, Line, Offset, Text
from mcpserver.tools.services._mail import (
    FOLDERS,
    Address,
    Addresses,
    Attachment,
    Ids,
    Label,
    MailFilter,
    addresses,
    find_draft,
    find_message,
    fits,
    make_mailbox,
    prefixed,
    put,
    record,
    summary,
)
from mcpserver.tools.services._people import ME
from mcpserver.tools.services._records import Record, check, keep_room, newest_first, one_of, only, page, refuse_if

RUNS_IN = "server"
MAX_FOLDERS, MAX_LABELS, MAX_BODY = 20, 10, 2500
_SERVICE = "mail"


def list_mail_folders(context: Context) -> dict[str, Any]:
    """List the mail folders with their numbers of messages.

    Example:
        {}
    """
    box = context.read(_SERVICE, make_mailbox)
    rows = []
    for folder in box["folders"]:
        inside = [message for message in box["messages"].values() if message["folder"] == folder]
        unread = sum(not message["read"] for message in inside)
        rows.append({"folder": folder, "messages": len(inside), "unread": unread})
    return {"folders": rows}


def create_mail_folder(context: Context, name: Label) -> dict[str, Any]:
    """Create a mail folder.

    Args:
        name: lower-case name of the folder

    Example:
        {"name": "pipeline-outages"}
    """
    box = context.change(_SERVICE, make_mailbox)
    refuse_if(name in box["folders"], f"name: there is a folder {name!r} already")
    keep_room(box["folders"], MAX_FOLDERS, "folders")
    box["folders"] = [*FOLDERS, *sorted([*box["folders"][len(FOLDERS) :], name])]
    return {"folders": box["folders"]}


def search_mail(context: Context, where: MailFilter, limit: Limit = 10, offset: Offset = 0) -> dict[str, Any]:
    """Search mail by text, sender, folder, label or day.

    Args:
        where: conditions that must all hold
        limit: most messages to list
        offset: messages to leave out first

    Example:
        {"where": {"folder": "inbox", "unread": true}}
        {"where": {"text": "invoice", "since": "2025-03-01"}, "limit": 5}
    """
    box = context.read(_SERVICE, make_mailbox)
    if "folder" in where:
        one_of(where["folder"], box["folders"], "folder")
    hits = [summary(message) for message in newest_first(box["messages"].values()) if fits(message, where)]
    return page(hits, limit, offset, "messages")


def read_mail(context: Context, message: Id) -> dict[str, Any]:
    """Read one message in full; attachments by name only.

    Args:
        message: id of the message

    Example:
        {"message": "M-1001"}
    """
    found = find_message(context.read(_SERVICE, make_mailbox), message)
    return {**found, "attachments": [attachment["name"] for attachment in found["attachments"]]}


def read_mail_attachment(context: Context, message: Id, name: Line) -> dict[str, Any]:
    """Read the text of a mail attachment.

    Args:
        message: id of the message
        name: name of the attachment

    Example:
        {"message": "M-1033", "name": "clause.txt"}
    """
    found = find_message(context.read(_SERVICE, make_mailbox), message)
    texts = {attachment["name"]: attachment["text"] for attachment in found["attachments"]}
    refuse_if(not texts, f"message: {message} has no attachments")
    return {"name": name, "text": texts[one_of(name, texts, "name")]}


def send_mail(
    context: Context,
    to: Addresses,
    subject: Line,
    body: Text,
    cc: Annotated[list[Address], Len(0, 10)] | None = None,
    attachments: Annotated[list[Attachment], Len(0, 3)] | None = None,
) -> dict[str, Any]:
    """Send a message.

    Args:
        to: names or e-mail addresses
        subject: subject line
        body: text of the message
        cc: who gets a copy
        attachments: text files to attach

    Example:
        {"to": ["Tomasz Wilk"], "subject": "Nomination", "body": "Please confirm 500 MWh for tomorrow."}
        {"to": ["luisa.corvo@corvometering.example"], "subject": "Meters", "body": "See the list.",
         "attachments": [{"name": "list.csv", "text": "meter;count"}]}
    """
    message = record(addresses("to", to), addresses("cc", cc or ()), subject, body)
    message["attachments"] = sorted((dict(part) for part in attachments or ()), key=lambda part: str(part["name"]))
    return _send(context, message)


def reply_to_mail(context: Context, message: Id, body: Text, reply_all: bool = False) -> dict[str, Any]:
    """Reply to a message.

    Args:
        message: id of the message
        body: text of the reply
        reply_all: also to all other receivers

    Example:
        {"message": "M-1001", "body": "Thank you, confirmed."}
    """
    found = find_message(context.read(_SERVICE, make_mailbox), message)
    refuse_if(found["folder"] in ("drafts", "spam"), f"message: one cannot reply to {message} in {found['folder']}")
    to = found["to"] if found["from"] == ME.email else [found["from"]]
    others = {*found["to"], *found["cc"]} - {ME.email, *to} if reply_all else ()
    answer = record(to, sorted(others), prefixed("Re: ", found["subject"]), body)
    return _send(context, answer | {"thread": found["thread"], "reply_to": message})


def forward_mail(context: Context, message: Id, to: Addresses, note: Text | None = None) -> dict[str, Any]:
    """Forward a message with its attachments.

    Args:
        message: id of the message
        to: names or e-mail addresses
        note: text above the forwarded message

    Example:
        {"message": "M-1002", "to": ["Sofia Marchetti"], "note": "For your information."}
    """
    found = find_message(context.read(_SERVICE, make_mailbox), message)
    refuse_if(found["folder"] == "drafts", f"message: {message} is a draft; send it with send_mail_draft")
    body = "\n".join([*([note, ""] if note else ()), f"Forwarded from {found['from']}:", found["body"]])
    sent = record(addresses("to", to), [], prefixed("Fwd: ", found["subject"]), body[:MAX_BODY])
    return _send(context, sent | {"attachments": [dict(part) for part in found["attachments"]], "forward_of": message})


def move_mail(context: Context, messages: Ids, folder: Line) -> dict[str, Any]:
    """Move messages to a folder; to trash means delete.

    Args:
        messages: ids of the messages
        folder: name of the folder

    Example:
        {"messages": ["M-1001", "M-1002"], "folder": "archive"}
        {"messages": ["M-1003"], "folder": "trash"}
    """
    box = context.change(_SERVICE, make_mailbox)
    target = one_of(folder, box["folders"], "folder")
    check(target not in ("drafts", "sent"), f"folder: nothing can be moved to {target}")
    for message in messages:
        found = find_message(box, message)
        refuse_if(found["folder"] == "drafts" and target != "trash", f"messages: {message} is a draft")
        found["folder"] = target
    return {"moved": sorted(set(messages)), "folder": target}


def empty_mail_trash(context: Context) -> dict[str, Any]:
    """Remove everything in the trash for good.

    Example:
        {}
    """
    box = context.change(_SERVICE, make_mailbox)
    gone = [number for number, message in box["messages"].items() if message["folder"] == "trash"]
    for number in gone:
        del box["messages"][number]
    return {"removed": len(gone)}


def mark_mail(
    context: Context,
    messages: Ids,
    read: Literal["read", "unread", "unchanged"] = "unchanged",
    add_labels: Annotated[list[Label], Len(0, 5)] | None = None,
    remove_labels: Annotated[list[Label], Len(0, 5)] | None = None,
) -> dict[str, Any]:
    """Mark messages as read or unread, or change labels.

    Args:
        messages: ids of the messages
        read: new state
        add_labels: labels to put on
        remove_labels: labels to take off

    Example:
        {"messages": ["M-1001"], "add_labels": ["urgent"]}
    """
    box = context.change(_SERVICE, make_mailbox)
    check(read != "unchanged" or bool(add_labels or remove_labels), "read: say what to change: read or labels")
    for number in messages:
        found = find_message(box, number)
        found["read"] = found["read"] if read == "unchanged" else read == "read"
        found["labels"] = sorted({*found["labels"], *(add_labels or ())} - set(remove_labels or ()))
        refuse_if(len(found["labels"]) > MAX_LABELS, f"add_labels: a message has at most {MAX_LABELS} labels")
    return {"messages": [only(box["messages"][number], "id", "read", "labels") for number in messages]}


def save_mail_draft(
    context: Context, to: Addresses, subject: Line, body: Text, draft: Id | None = None
) -> dict[str, Any]:
    """Save a draft, or replace an old one.

    Args:
        to: names or e-mail addresses
        subject: subject line
        body: text of the message
        draft: id of the draft to replace

    Example:
        {"to": ["Hannah Price"], "subject": "Holiday", "body": "I would like to take Friday off."}
        {"to": ["Daniel Kovacs"], "subject": "Contract", "body": "I mean clause 4.", "draft": "M-1033"}
    """
    box = context.change(_SERVICE, make_mailbox)
    if draft is not None:
        find_draft(box, draft)
    return put(box, record(addresses("to", to), [], subject, body), "drafts", draft)


def send_mail_draft(context: Context, draft: Id) -> dict[str, Any]:
    """Send a saved draft.

    Args:
        draft: id of the draft

    Example:
        {"draft": "M-1033"}
    """
    box = context.change(_SERVICE, make_mailbox)
    found = find_draft(box, draft)
    found |= {"folder": "sent", "time": f"{context.now:%Y-%m-%d %H:%M}"}
    return summary(found)


def _send(context: Context, message: Record) -> dict[str, Any]:
    return put(context.change(_SERVICE, make_mailbox), message, "sent")
