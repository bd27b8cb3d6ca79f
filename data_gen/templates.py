"""The little language of the phrasebook.

``{slot}`` is a value. ``[ on {date}]`` is a clause that is left out when its value is not given, and
``[ {path}~ the file]`` says something vague instead. ``|`` parts what is said once from what is said for each of
several calls: ``Get the spot price|[ at {hub}]`` becomes ``Get the spot price at TTF and at NBP``.
"""

import re
from collections.abc import Mapping, Sequence

CLAUSE = re.compile(r"\[([^\[\]~]*)(?:~([^\[\]]*))?\]")
SLOT = re.compile(r"\{([\w.]+)\}")
END = re.compile(r"[.?!]*$")


def slots(template: str) -> frozenset[str]:
    """The names of all slots."""
    return frozenset(SLOT.findall(template))


def fill(template: str, said: Mapping[str, str], *, partly: bool = False) -> str | None:
    """The text with all values of ``said``; none where a value is lacking outside a clause or finds no slot.

    With ``partly`` a value may also stay unsaid, as in answers, which pick what they tell.
    """
    kept = CLAUSE.sub(lambda match: _clause(match, said), template)
    needed = slots(kept)
    if not needed <= said.keys() or not (partly or needed >= said.keys()):
        return None
    return SLOT.sub(lambda match: said[match[1]], kept)


def _clause(match: re.Match[str], said: Mapping[str, str]) -> str:
    inner = match[1]
    return inner if slots(inner) <= said.keys() else (match[2] or "")


def fill_each(template: str, said: Sequence[Mapping[str, str]], joins: tuple[str, str] = (", ", " and ")) -> str | None:
    """One sentence for several calls of a tool: the part behind ``|`` is said for each of them."""
    head, bar, tail = template.partition("|")
    if not bar or slots(head):
        return None
    ending = END.search(tail)[0]  # type: ignore[index]
    parts = [fill(tail.removesuffix(ending), values) for values in said]
    spoken = [part.strip() for part in parts if part]
    if len(spoken) != len(said):
        return None
    return f"{head.strip()} {joins[0].join(spoken[:-1])}{joins[1]}{spoken[-1]}{ending}"


def plain(template: str) -> str:
    """The template for one call: without the bar."""
    return template.replace("|", "")


def is_request(template: str) -> bool:
    """Whether it is an order rather than a question, so that it can follow ``and`` or ``then``."""
    return not template.rstrip().endswith("?")


def as_clause(sentence: str) -> str:
    """A sentence to be put behind a comma: small first letter (unless a name begins it), no full stop."""
    bare = END.sub("", sentence.strip())
    first = bare.split(" ", 1)[0]
    return bare if first.isupper() else bare[:1].lower() + bare[1:]


def as_sentence(text: str) -> str:
    """A text with a capital first letter and a full stop at its end."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?", "!")) else ".")
