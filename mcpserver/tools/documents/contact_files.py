"""Contacts kept as files (.vcf): find, add, change, delete."""

import re
from typing import Annotated, Any, Literal, NotRequired, cast

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.formats import encode, readable
from mcpserver.tools.documents._blocks import FilePath
from toolwright.words import cut, nearest, shorten

MAX_BYTES = 1024 * 1024
Text = Annotated[str, Len(1, 200)]
Texts = Annotated[list[Text], Len(0, 10)]
Card = list[tuple[str, str]]
"""The lines of a contact: what stands before the colon (name and parameters), and the value as written."""
_FIELDS = {"name": "FN", "company": "ORG", "title": "TITLE", "emails": "EMAIL", "phones": "TEL", "note": "NOTE"}


class Contact(TypedDict):
    """A person."""

    name: Text
    company: NotRequired[Text]
    title: NotRequired[Text]
    emails: NotRequired[Texts]
    phones: NotRequired[Texts]
    note: NotRequired[Text]


class Changes(TypedDict):
    """What becomes different of a person; an empty list takes all away."""

    name: NotRequired[Text]
    company: NotRequired[Text]
    title: NotRequired[Text]
    emails: NotRequired[Texts]
    phones: NotRequired[Texts]
    note: NotRequired[Text]


def vcf_contacts(
    context: Context,
    path: FilePath,
    search: Annotated[str, Len(1, 100)] | None = None,
    limit: Annotated[int, Ge(1), Le(100)] = 30,
) -> dict[str, Any]:
    """List the people of a contact file.

    Args:
        path: .vcf file
        search: only those with these words anywhere
        limit: most to give

    Example:
        {"path": "contacts/partners.vcf"}
        {"path": "contacts/partners.vcf", "search": "leeds", "limit": 5}
    """
    found = [
        _described(card)
        for card in _read(context, path)
        if search is None or search.casefold() in " ".join(_plain(value) for _, value in card).casefold()
    ]
    return {"contacts": found[:limit], "total": len(found)}


def vcf_add_contact(context: Context, path: FilePath, contact: Contact) -> dict[str, Any]:
    """Add a person to a contact file; the file is made if there is none.

    Args:
        path: .vcf file
        contact: name, company, title, e-mail addresses, phones, note

    Example:
        {"path": "contacts/partners.vcf", "contact": {"name": "Mia Berg", "company": "Nordcast",
         "emails": ["mia.berg@nordcast.example"], "phones": ["+44 20 7946 0001"]}}
    """
    cards = _read(context, path) if context.files.new_file(path).exists() else []
    if any(_first(card, "FN").casefold() == contact["name"].casefold() for card in cards):
        raise ToolError("tool_error", f"contact.name: {shorten(contact['name'], 60)} is in {path!r} already")
    card: Card = [("BEGIN", "VCARD"), ("VERSION", "3.0"), ("N", _structured(contact["name"]))]
    card += _lines(cast(Changes, contact), "contact")
    _write(context, [*cards, [*card, ("END", "VCARD")]], path)
    return {"path": path, "contacts": len(cards) + 1}


def vcf_change_contact(
    context: Context, path: FilePath, name: Text, change: Changes | Literal["delete"]
) -> dict[str, Any]:
    """Change or delete a person of a contact file.

    Args:
        path: .vcf file
        name: of the person as it is now
        change: what becomes different, or delete

    Example:
        {"path": "contacts/partners.vcf", "name": "Helga Voss", "change": {"title": "Head of Dispatch"}}
        {"path": "contacts/partners.vcf", "name": "Helga Voss", "change": "delete"}
    """
    cards = _read(context, path)
    names = [_first(card, "FN") for card in cards]
    places = [number for number, known in enumerate(names) if known.casefold() == name.casefold()]
    if len(places) != 1:
        hint = "" if places else nearest(name, names)
        raise ToolError("tool_error", f"name: {len(places)} people of {path!r} are called {shorten(name, 60)}{hint}")
    card = cards[places[0]]
    if change == "delete":
        del cards[places[0]]
    elif not change:
        raise ToolError("bad_arguments", f"change: give one of {', '.join(_FIELDS)}, or delete")
    else:
        new = _lines(change, "change")
        gone = {_FIELDS[key] for key in change} | ({"N"} if "name" in change else set())
        kept = [line for line in card[:-1] if _key(line[0]) not in gone]
        person: Card = [("N", _structured(str(change["name"])))] if "name" in change else []
        cards[places[0]] = [*kept, *person, *new, card[-1]]
    _write(context, cards, path)
    return {"path": path, "contacts": len(cards)}


def _read(context: Context, path: str) -> list[Card]:
    text = context.files.read_text(path, limit=MAX_BYTES).removeprefix("\ufeff").replace("\r\n", "\n")
    cards: list[Card] = []
    inside: Card | None = None
    for number, line in enumerate(re.sub(r"\n[ \t]", "", text).split("\n"), 1):
        head, colon, value = _parted(line)
        if not line.strip():
            continue
        if not colon or (inside is None and line.strip().upper() != "BEGIN:VCARD"):
            raise ToolError(
                "tool_error", f"path: {path!r} is no contact file (.vcf); line {number} is {shorten(line, 40)}"
            )
        if inside is None:
            inside = []
        inside.append((head.strip(), readable(value)))
        if line.strip().upper() == "END:VCARD":
            cards.append(inside)
            inside = None
    if inside is not None or not cards:
        raise ToolError("tool_error", f"path: {path!r} is no contact file (.vcf), or is cut off")
    return cards


def _parted(line: str) -> tuple[str, str, str]:
    """Name with parameters, colon and value; a colon between quotes does not count."""
    quoted = False
    for place, letter in enumerate(line):
        quoted ^= letter == '"'
        if letter == ":" and not quoted:
            return line[:place], ":", line[place + 1 :]
    return line, "", ""


def _key(head: str) -> str:
    return head.partition(";")[0].rpartition(".")[2].upper()


def _plain(value: str) -> str:
    """A value without escapes; its parts after each other."""
    text = re.sub(r"\\(.)", lambda match: "\n" if match[1] in "nN" else match[1], re.sub(r"(?<!\\);", ", ", value))
    return re.sub(r"(, )+", ", ", text).strip(", ")


def _escaped(text: str) -> str:
    return re.sub(r"([\\;,])", r"\\\1", text).replace("\n", "\\n")


def _structured(name: str) -> str:
    """Family name first, then the given names."""
    given, _, family = " ".join(readable(name).split()).rpartition(" ")
    return f"{_escaped(family)};{_escaped(given)};;;"


def _first(card: Card, key: str) -> str:
    return next((_plain(value) for head, value in card if _key(head) == key), "")


def _described(card: Card) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    for name, key in (*_FIELDS.items(), ("address", "ADR")):
        values = [cut(text, 150) for head, value in card if _key(head) == key and (text := _plain(value))]
        if values:
            entry[name] = values[:10] if name in ("emails", "phones") else values[0]
    return entry


def _lines(fields: Changes, where: str) -> Card:
    lines: Card = []
    for name, key in _FIELDS.items():
        given: Any = fields.get(name, [])
        for text in [given] if isinstance(given, str) else given:
            encode(text, f"{where}.{name}")
            if name == "emails" and not re.fullmatch(r"[^\s@<>,;]+@[^\s@<>,;]+", text):
                raise ToolError("bad_arguments", f"{where}.emails: {shorten(text, 60)} is no address")
            lines.append((f"{key};TYPE=WORK" if key in ("EMAIL", "TEL") else key, _escaped(readable(text))))
    return lines


def _write(context: Context, cards: list[Card], path: str) -> None:
    if not path.lower().endswith(".vcf"):
        raise ToolError("bad_arguments", f"path: {shorten(path, 60)} must end in .vcf")
    text = "".join(f"{head}:{value}\n" for card in cards for head, value in card)
    context.files.write(path, text.encode("utf-8", "replace"))
