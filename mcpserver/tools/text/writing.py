"""Text in, text out: wrap, change case, fill templates, clean, write in ASCII."""

import re
import textwrap
import unicodedata
from collections.abc import Callable
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Len

from mcpserver.tool_error import ToolError
from mcpserver.toolbox.results import whole
from mcpserver.toolbox.templates import fill
from mcpserver.toolbox.transliteration import to_ascii, without_accents

RUNS_IN = "server"

Text = Annotated[str, Len(1, 10_000)]
Style = Literal["upper", "lower", "title", "sentence", "camel", "pascal", "snake", "kebab", "constant", "swap"]
Step = Literal[
    "trim_lines",
    "collapse_spaces",
    "drop_empty_lines",
    "join_paragraphs",
    "plain_quotes",
    "plain_dashes",
    "drop_control_characters",
    "drop_accents",
    "drop_digits",
    "drop_punctuation",
]


def wrap_text(
    text: Text,
    width: Annotated[int, Ge(10), Le(200)] = 80,
    align: Literal["left", "right", "center", "justify"] = "left",
    indent: Annotated[int, Ge(0), Le(9)] = 0,
    prefix: Annotated[str, Len(0, 10)] = "",
) -> dict[str, Any]:
    """Break a text into lines of a width, paragraph by paragraph.

    Args:
        text: paragraphs with empty lines between
        width: characters per line
        align: where the lines stand
        indent: spaces before the first line of each paragraph
        prefix: put before every line, such as > or #

    Example:
        {"text": "Storage fell to 61 percent of the working volume in March.", "width": 24, "align": "right"}
        {"text": "Please answer by Friday.", "width": 20, "prefix": "> "}
    """
    room = width - len(prefix)
    if room < indent + 1:
        raise ToolError("bad_arguments", f"prefix: with it, no room is left in {width} characters")
    lines: list[str] = []
    for paragraph in re.split(r"\n[ \t]*\n", text):
        wrapped = textwrap.wrap(" ".join(paragraph.split()), room, initial_indent=" " * indent) or [""]
        lines += [*([""] if lines else []), *(_align(line, room, align, line is wrapped[-1]) for line in wrapped)]
    return {"text": whole("\n".join((prefix + line).rstrip() for line in lines)), "lines": len(lines)}


def _align(line: str, width: int, align: str, is_last: bool) -> str:
    if align == "right":
        return line.rjust(width)
    if align == "center":
        return line.center(width)
    words = line.split()
    if align == "left" or is_last or len(words) < 2:
        return line
    gaps, spaces = len(words) - 1, width - sum(map(len, words))
    sizes = [spaces // gaps + (index < spaces % gaps) for index in range(gaps)]
    return "".join(word + " " * size for word, size in zip(words, [*sizes, 0]))


def change_case(text: Text, style: Style) -> dict[str, Any]:
    """Change the case of a text, or make an identifier of it.

    Args:
        text: any text
        style: for instance title, sentence, camel (gasPrice), snake (gas_price), kebab (gas-price)

    Example:
        {"text": "day ahead price", "style": "camel"}
        {"text": "GAS STORAGE. LEVEL", "style": "sentence"}
    """
    plain = {"upper": str.upper, "lower": str.lower, "swap": str.swapcase}
    if style in plain:
        return {"text": whole(plain[style](text))}
    if style == "title":
        return {"text": whole(re.sub(r"\S+", lambda match: match[0][0].upper() + match[0][1:].lower(), text))}
    if style == "sentence":
        return {"text": whole(re.sub(r"(^|[.!?]\s+)(\w)", lambda m: m[1] + m[2].upper(), text.lower()))}
    parts = re.findall(r"[^\W_]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text))
    lower = [part.lower() for part in parts]
    capitals = [part[:1].upper() + part[1:] for part in lower]
    joined = {
        "camel": "".join([*lower[:1], *capitals[1:]]),
        "pascal": "".join(capitals),
        "snake": "_".join(lower),
        "kebab": "-".join(lower),
        "constant": "_".join(lower).upper(),
    }
    return {"text": whole(joined[style])}


def slugify(
    text: Annotated[str, Len(1, 1000)],
    max_length: Annotated[int, Ge(1), Le(200)] = 60,
    separator: Literal["-", "_", "."] = "-",
) -> dict[str, Any]:
    """Make a short name for addresses and files from a title.

    Args:
        text: title
        max_length: characters at most; whole words are kept
        separator: stands between the words

    Example:
        {"text": "Gas storage: Überblick März 2025"}
    """
    words = re.findall(r"[a-z0-9]+", to_ascii(text, "").lower())
    if not words:
        raise ToolError("bad_arguments", "text: no letter or digit in it can be written in ASCII")
    slug = words[0][:max_length]
    for word in words[1:]:
        if len(slug) + 1 + len(word) > max_length:
            break
        slug += separator + word
    return {"slug": slug}


def format_template(
    template: Text,
    values: Annotated[dict[str, str | int | float | bool], Len(0, 100)],
) -> dict[str, Any]:
    """Fill a text template with values.

    Args:
        template: text with places such as {name} or {price:.2f}; braces of the text itself are doubled
        values: value by name

    Example:
        {"template": "{name}: order {number}, {price:.2f} EUR", "values": {"name": "Nora", "number": 7, "price": 3.5}}
    """
    return {"text": whole(fill(template, values))}


def transliterate_text(text: Text, unknown: Annotated[str, Len(0, 3)] = "?") -> dict[str, Any]:
    """Write a text in plain ASCII letters.

    Args:
        text: Latin, Greek or Cyrillic text
        unknown: stands for characters that have no such form

    Example:
        {"text": "Łódź, Αθήνα, Київ, Straße"}
    """
    return {"text": whole(to_ascii(text, unknown))}


def clean_text(text: Text, steps: Annotated[list[Step], Len(1, 10)]) -> dict[str, Any]:
    """Clean a text in steps.

    Args:
        text: any text
        steps: done one after the other

    Example:
        {"text": "  “Gas”  –  12\\n\\n\\nTTF  ", "steps": ["plain_quotes", "plain_dashes", "collapse_spaces"]}
    """
    for step in steps:
        text = _clean(text, step)
    return {"text": whole(text), "characters": len(text)}


def _clean(text: str, step: Step) -> str:
    if step == "join_paragraphs":
        return "\n\n".join(" ".join(part.split()) for part in re.split(r"\n[ \t]*\n", text) if part.strip())
    if step in _BY_LINE:
        return "\n".join(line for line in map(_BY_LINE[step], text.split("\n")) if line is not None)
    if step in _TABLES:
        return text.translate(_TABLES[step])
    if step == "drop_accents":
        return unicodedata.normalize("NFC", without_accents(text))
    groups = {"drop_digits": ("Nd",), "drop_control_characters": ("Cc", "Cf")}.get(step, ("P",))
    return "".join(c for c in text if c in "\n\t" or not unicodedata.category(c).startswith(groups))


_BY_LINE: dict[str, Callable[[str], str | None]] = {
    "trim_lines": str.strip,
    "collapse_spaces": lambda line: " ".join(line.split()),
    "drop_empty_lines": lambda line: line if line.strip() else None,
}
_TABLES: dict[str, dict[int, str]] = {
    "plain_quotes": {**dict.fromkeys(map(ord, "“”„‟«»"), '"'), **dict.fromkeys(map(ord, "‘’‚‛"), "'")},
    "plain_dashes": {**dict.fromkeys(map(ord, "‐‑‒–—―−"), "-"), ord("…"): "..."},
}
