"""The simulated mailbox: first content drawn from a seed, kinds of parameters, finding and keeping messages."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Annotated, Any

from annotated_types import Len
from pydantic import StringConstraints
from typing_extensions import TypedDict

from mcpserver.tools.services._kinds import NOW, Day, Id, Line, Text
from mcpserver.tools.services._people import COLLEAGUES, ME, PARTNERS, PEOPLE, find_person
from mcpserver.tools.services._records import Record, find, holds, keep_room, later, new_id, only, refuse_if

FOLDERS = ("inbox", "sent", "drafts", "archive", "spam", "trash")
MAX_MESSAGES = 300
N_INBOX, N_ARCHIVE, N_SENT = 18, 8, 6
FIRST_NUMBER = 1001
_SUBJECTS = (
    ("Storage nomination for April", "please confirm the injection of {n} MWh per day by noon.", "nomination.csv"),
    ("Invoice {n}", "attached is invoice {n}, payable within 14 days.", "invoice.txt"),
    ("Minutes of the weekly meeting", "these are the minutes; you own {m} open points.", "minutes.txt"),
    ("Outage at the compressor station", "the outage was extended by {m} hours.", ""),
    ("Contract draft, version {m}", "here is version {m} of the draft; clause {m} is still open.", "draft.txt"),
    ("Lunch on Thursday?", "would half past twelve suit you?", ""),
    ("Offer for {m} pumps", "we offer {m} pumps at {n} EUR each, valid for 30 days.", "offer.txt"),
    ("Delivery delayed", "the delivery of order {n} comes {m} days late.", ""),
    ("Access to the reporting system", "your access ends in {m} days; please renew it.", ""),
    ("Budget question", "can you explain the {n} EUR in line {m}?", "budget.csv"),
    ("Training places left", "there are {m} places left in the safety training.", ""),
    ("Price report, week {m}", "the mean of the week was {m}.{n} EUR/MWh.", "prices.csv"),
)
_LABELS = ("finance", "contracts", "operations", "travel", "follow-up")

Address = Annotated[str, Len(1, 120)]
Addresses = Annotated[list[Address], Len(1, 10)]
Label = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,29}$")]
Ids = Annotated[list[Id], Len(1, 20)]


class Attachment(TypedDict):
    """A text file of a message."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,60}$")]
    text: Text


class MailFilter(TypedDict, total=False):
    """Conditions that must all hold."""

    text: Line
    sender: Line
    folder: Line
    label: Label
    since: Day
    until: Day
    unread: bool
    has_attachment: bool


def make_mailbox(rng: Random) -> dict[str, Any]:
    """Messages M-1001 …: first the inbox, then archive, sent mail, a draft (M-1033), spam and trash."""
    messages: dict[str, Any] = {}
    folders = ["inbox"] * N_INBOX + ["archive"] * N_ARCHIVE + ["sent"] * N_SENT
    age_min = 20
    for folder in folders:
        age_min = 20 if messages and folder != folders[len(messages) - 1] else age_min + rng.randint(40, 900)
        _put(messages, _message(rng, folder, age_min))
    draft = record(["daniel.kovacs@tidewellgas.example"], [], "Contract question", "Daniel, which clause do you mean?")
    draft |= {"attachments": [{"name": "clause.txt", "text": f"4.{rng.randint(1, 9)} The seller delivers at the hub."}]}
    _put(messages, draft | {"folder": "drafts", "time": later(NOW, -90)})
    spam = record([ME.email], [], f"You won {rng.randint(10, 99)} gift cards", "Answer today to claim your prize.")
    for folder, age_min in (("spam", 500), ("trash", 2900)):
        _put(messages, spam | {"folder": folder, "from": "prizes@lucky-draw.example", "time": later(NOW, -age_min)})
    return {"messages": messages, "folders": list(FOLDERS), "next": {"M": FIRST_NUMBER + len(messages)}}


def record(to: list[str], cc: list[str], subject: str, body: str) -> dict[str, Any]:
    """A message from the owner of the mailbox, not yet in a folder."""
    return {
        **{"from": ME.email, "to": to, "cc": cc, "subject": subject, "body": body, "time": NOW, "read": True},
        **{"labels": [], "attachments": []},
    }


def _put(messages: dict[str, Any], message: dict[str, Any]) -> None:
    number = f"M-{FIRST_NUMBER + len(messages)}"
    messages[number] = {"id": number, "thread": number, **message}


def _message(rng: Random, folder: str, age_min: int) -> dict[str, Any]:
    other = rng.choice(COLLEAGUES[1:] + PARTNERS)
    subject, text, attached = rng.choice(_SUBJECTS)
    numbers = {"n": rng.randint(100, 990), "m": rng.randint(2, 9)}
    sender, receiver = (ME, other) if folder == "sent" else (other, ME)
    greeting = receiver.name.split()[0]
    message = record(
        [receiver.email],
        [rng.choice(COLLEAGUES[1:]).email] if rng.random() < 0.3 else [],
        subject.format(**numbers),
        f"Dear {greeting},\n{text.format(**numbers)}\nBest regards,\n{sender.name}",
    )
    message |= {"from": sender.email, "folder": folder, "time": later(NOW, -age_min)}
    message["read"] = folder != "inbox" or rng.random() < 0.4
    message["labels"] = [rng.choice(_LABELS)] if rng.random() < 0.4 else []
    if attached:
        message["attachments"] = [{"name": attached, "text": f"{subject.format(**numbers)}\nvalue;{numbers['n']}\n"}]
    return message


def find_message(box: Mapping[str, Any], number: str) -> Record:
    """The message with an id."""
    found: Record = find(box["messages"], number, "message", "search_mail")
    return found


def find_draft(box: Mapping[str, Any], number: str) -> Record:
    """The draft with an id."""
    found = find_message(box, number)
    refuse_if(found["folder"] != "drafts", f"draft: {number} is no draft but in {found['folder']}")
    return found


def addresses(parameter: str, who: Sequence[str]) -> list[str]:
    """Addresses for names; an address of a stranger is taken as it is."""
    known = {person.email for person in PEOPLE}
    found = set()
    for name in who:
        local, at, domain = name.strip().lower().partition("@")
        is_address = bool(local and at and "." in domain.strip(".") and " " not in name.strip() and "@" not in domain)
        is_stranger = is_address and not any(email.endswith("@" + domain) for email in known)
        found.add(name.strip().lower() if is_stranger else find_person(name, parameter).email)
    return sorted(found)


def prefixed(prefix: str, subject: str) -> str:
    """The subject of an answer."""
    return subject if subject.startswith(prefix) else (prefix + subject)[:120]


def put(box: Record, message: Record, folder: str, number: str | None = None) -> dict[str, Any]:
    """Keep a message in a folder, under an id of its own or in place of another; gives its summary."""
    if number is None:
        keep_room(box["messages"], MAX_MESSAGES, "messages")
        number = new_id(box, "M")
    box["messages"][number] = {"id": number, "thread": number, **message, "folder": folder}
    return summary(box["messages"][number])


def summary(message: Record) -> Record:
    """A message without its text."""
    shown = only(message, "id", "folder", "from", "to", "subject", "time", "read", "labels")
    return shown | {"attachments": len(message["attachments"])}


def fits(message: Record, where: MailFilter) -> bool:
    """Whether all conditions hold."""
    day = message["time"][:10]
    return (
        holds(where.get("text"), message["subject"], message["body"])
        and holds(where.get("sender"), message["from"].replace(".", " "), message["from"])
        and where.get("folder", message["folder"]).lower() == message["folder"]
        and ("label" not in where or where["label"] in message["labels"])
        and where.get("since", day) <= day <= where.get("until", day)
        and where.get("unread", not message["read"]) is not message["read"]
        and where.get("has_attachment", bool(message["attachments"])) is bool(message["attachments"])
    )
