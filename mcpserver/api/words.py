"""Descriptions of tools and parameters made fit for a model, and the enums that stand in them as prose."""

import re
from typing import Any

from mcpserver.api.names import words_of
from mcpserver.api.report import Notes

MAX_TOOL_TEXT = 1024
MAX_PARAMETER_TEXT = 1024

_STRAY = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff\ud800-\udfff]")
_BLANKS = re.compile(r"[ \t\u00a0]+(?=\n|\Z)|\A\s+|\s+\Z")
_BLANK_LINES = re.compile(r"\n{3,}")
_BOILERPLATE = re.compile(
    r"This is a sub-?function(?: API)? for tool (?P<tool>[^\n]*?)\.?\n"
    r"(?:Tool description: ?(?P<about>.*?)\n)?(?:API description: ?(?P<does>.*))?\Z",
    re.DOTALL,
)
_NONE = re.compile(
    r"\s*(?:\(?\s*(?:The )?[Dd]efaults?(?: value)?(?: to| is|:|=) ?[`'\"]?(?:None|null)[`'\"]?\s*\)?\.?)(?=\s|\Z)"
)


def tidy_text(raw: object, where: str, limit: int, notes: Notes) -> str:
    """A description as plain text within a limit; empty for none."""
    if raw is None:
        return ""
    text = raw if isinstance(raw, str) else str(raw)
    tidy = _BLANK_LINES.sub("\n\n", _BLANKS.sub("", _STRAY.sub("", text.replace("\r\n", "\n"))))
    if tidy != text and tidy:
        notes.add("description_characters", where, text, tidy)
    if len(tidy) > limit:
        short = tidy[: limit - 1].rstrip() + "…"
        notes.add("description_cut", where, f"{len(tidy)} characters", f"{len(short)} characters")
        return short
    return tidy


def tool_text(raw: object, name: str, notes: Notes) -> tuple[str, str]:
    """The description of a tool, and the name of the API that it tells of (empty when it does not)."""
    text = "" if raw is None else raw if isinstance(raw, str) else str(raw)
    api = ""
    if match := _BOILERPLATE.match(text):
        api = match["tool"].strip()
        does, about = (match["does"] or "").strip(), (match["about"] or "").strip()
        does = "" if does in ("None", "null") else does
        about = "" if about in ("None", "null") else about
        about = f"Part of {api}: {about}" if does and about else about
        shorter = "\n".join(filter(None, (does, about)))
        notes.add("description_boilerplate", "description", text, shorter)
        text = shorter
    text = tidy_text(text, "description", MAX_TOOL_TEXT, notes)
    if not text:
        text = _from_name(name)
        notes.add("description_missing", "description", raw, text)
    return text, api


def parameter_text(raw: object, name: str, where: str, notes: Notes) -> str:
    """The description of a parameter; never empty."""
    text = tidy_text(raw, where, MAX_PARAMETER_TEXT, notes)
    without = _NONE.sub("", text).strip()
    if without != text:
        notes.add("none_in_text", where, text, without)
        text = without
    if not text:
        text = _from_name(name)
        notes.add("description_missing", where, raw, text)
    return text


def _from_name(name: str) -> str:
    words = words_of(name) or name
    return f"{words[:1].upper()}{words[1:]}."


_LEAD = re.compile(
    r"(?:(?:allowed|possible|valid|available|accepted|supported|permitted)\s+(?:values?|options?)\s*(?:are|is|:)?"
    r"|must be (?:either|one of)|(?:can|should|may) be either|\bone of(?: the following)?|\beither)\s*:?\s*",
    re.IGNORECASE,
)
_QUOTED = (
    r"(?:\*{0,2}(?:'[^'\n]{1,40}'|\"[^\"\n]{1,40}\"|`[^`\n]{1,40}`|“[^”\n]{1,40}”)\*{0,2}|\*{1,2}[^*\n]{1,40}\*{1,2})"
)
_ASIDE = r"(?:\s*\([^)\n]{1,60}\))?"
_BETWEEN = r"\s*(?:,\s*(?:and|or)\s+|,\s*|\s+(?:and|or)\s+|\s*[|/;]\s*)"
_LIST = re.compile(rf"{_QUOTED}{_ASIDE}(?:{_BETWEEN}{_QUOTED}{_ASIDE})+(?=\s*(?:\.|\n|\Z|\())")
_BARE = re.compile(r"[A-Za-z][\w-]{0,29}(?:, [A-Za-z][\w-]{0,29})+(?=\s*(?:\.(?:\s|\Z)|\n|\Z))", re.ASCII)
_OPEN_LIST = re.compile(
    r"(?i)comma|multiple|several|separated|combin|e\.g|such as|etc\b|for example|case.insens|list of|empty|blank"
)
_TOLD_DEFAULT = re.compile(r"(?i)default\w*(?: value)?(?: is| to|:)? ?[`'\"*]+([^`'\"*\n]+)")


def enum_in_text(text: str) -> list[str] | None:
    """The values that a description says are all there are; None unless that is certain.

    Sure signs only: words such as "allowed values are", then two or more quoted values (or bare words after a colon)
    with nothing but commas, "and" and "or" between them up to the end of the sentence. Texts that speak of several
    values at once, or of examples, are left alone.
    """
    if len(text) > 2000 or _OPEN_LIST.search(text):
        return None
    for lead in _LEAD.finditer(text):
        listed = _LIST.match(text, lead.end())
        if listed:
            values = [re.sub(r"^[*'\"`“]+|[*'\"`”]+$", "", part) for part in re.findall(_QUOTED, listed[0])]
        elif lead[0].rstrip().endswith(":") and (bare := _BARE.match(text, lead.end())):
            values = bare[0].split(", ")
        else:
            continue
        values = list(dict.fromkeys(value.strip() for value in values))
        told = _TOLD_DEFAULT.findall(text)
        return values if 2 <= len(values) <= 60 and all(values) and set(told) <= set(values) else None
    return None


def say(schema: dict[str, Any], sentence: str) -> None:
    """Add a sentence to the description of a schema."""
    text = schema.get("description", "")
    schema["description"] = f"{text.rstrip()} {sentence}" if text else sentence
