"""Patterns in text: search, replace and split by regular expressions, find and hide addresses, dates and numbers."""

import re
from collections import Counter
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.entities import Kind, find_entities
from mcpserver.toolbox.regular import compile_pattern
from mcpserver.toolbox.results import MAX_RESULT_BYTES, clip, page, whole

Text = Annotated[str, Len(0, 50_000)]
Pattern = Annotated[str, Len(1, 500)]
Flag = Literal["ignore_case", "multiline", "dot_all", "verbose", "ascii"]
Flags = Annotated[list[Flag], Len(0, 5)]

_FLAGS = {
    "ignore_case": re.IGNORECASE,
    "multiline": re.MULTILINE,
    "dot_all": re.DOTALL,
    "verbose": re.VERBOSE,
    "ascii": re.ASCII,
}


class Rule(TypedDict):
    """A label for the lines that a regular expression is found in."""

    label: Annotated[str, Len(1, 50)]
    pattern: Pattern


def _compile(pattern: str, flags: list[Flag] | None, parameter: str = "pattern") -> re.Pattern[str]:
    chosen = re.RegexFlag(0)
    for flag in flags or ():
        chosen |= _FLAGS[flag]
    return compile_pattern(pattern, int(chosen), parameter)


def regex_search(
    text: Text, pattern: Pattern, flags: Flags | None = None, limit: Annotated[int, Ge(1), Le(200)] = 50
) -> dict[str, Any]:
    """Find all matches of a regular expression in a text, with their groups.

    Args:
        text: text to search
        pattern: regular expression (Python)
        flags: how to match
        limit: how many matches to show

    Example:
        {"text": "order 5314 and order 5040", "pattern": "order (?P<number>\\\\d+)"}
        {"text": "TTF up, ttf down", "pattern": "ttf", "flags": ["ignore_case"]}
    """
    matches, total = [], 0
    for match in _compile(pattern, flags).finditer(text):
        total += 1
        if total <= limit:
            matches.append(_shown(match))
    return {**page("matches", matches, limit=limit), "total": total}


def _shown(match: re.Match[str]) -> dict[str, Any]:
    shown: dict[str, Any] = {"text": clip(match[0]), "start": match.start(), "end": match.end()}
    if match.groupdict():
        shown["groups"] = {name: value and clip(value) for name, value in list(match.groupdict().items())[:20]}
    elif match.groups():
        shown["groups"] = [value and clip(value) for value in match.groups()[:20]]
    return shown


def regex_replace(
    text: Text,
    pattern: Pattern,
    replacement: Annotated[str, Len(0, 1000)],
    flags: Flags | None = None,
    count: Annotated[int, Ge(0), Le(100_000)] = 0,
) -> dict[str, Any]:
    """Replace the matches of a regular expression in a text.

    Args:
        text: text to change
        pattern: regular expression (Python)
        replacement: new text; \\\\1 or \\\\g<name> puts a group
        flags: how to match
        count: replace the first ones only; 0 for all

    Example:
        {"text": "31/12/2024", "pattern": "(\\\\d+)/(\\\\d+)/(\\\\d+)", "replacement": "\\\\3-\\\\2-\\\\1"}
    """
    expression, pieces, position, replaced, size = _compile(pattern, flags), [], 0, 0, 0
    for match in expression.finditer(text):
        if count and replaced >= count:
            break
        pieces += [text[position : match.start()], _expand(match, replacement)]
        size += len(pieces[-1])
        if size > MAX_RESULT_BYTES:
            raise ToolError("limit", f"replacement: the new text is longer than {MAX_RESULT_BYTES} characters")
        position, replaced = match.end(), replaced + 1
    return {"text": whole("".join([*pieces, text[position:]])), "replaced": replaced}


def _expand(match: re.Match[str], replacement: str) -> str:
    try:
        return match.expand(replacement)
    except (re.error, IndexError, ValueError) as error:
        raise ToolError("bad_arguments", f"replacement: {error}") from None


def regex_split(text: Text, pattern: Pattern, flags: Flags | None = None, drop_empty: bool = True) -> dict[str, Any]:
    """Split a text wherever a regular expression matches.

    Args:
        text: text to split
        pattern: regular expression (Python)
        flags: how to match
        drop_empty: whether empty parts are left out

    Example:
        {"text": "TTF; NBP ,THE", "pattern": "\\\\s*[;,]\\\\s*"}
    """
    parts, position = [], 0
    for match in _compile(pattern, flags).finditer(text):
        if match.end() > match.start():
            parts.append(text[position : match.start()])
            position = match.end()
    parts.append(text[position:])
    return page("parts", [part for part in parts if part or not drop_empty], limit=500)


def parse_lines(
    text: Text, pattern: Pattern, flags: Flags | None = None, offset: Annotated[int, Ge(0)] = 0
) -> dict[str, Any]:
    """Read rows from the lines of a text by a regular expression with named groups.

    Args:
        text: lines
        pattern: regular expression (Python) that a line must match from its beginning; its named groups are the columns
        flags: how to match
        offset: how many rows to leave out first

    Example:
        {"text": "2025-03-14 ERROR disk\\n2025-03-14 INFO ok", "pattern": "(?P<day>\\\\S+) (?P<level>[A-Z]+)"}
    """
    expression = _compile(pattern, flags)
    if not expression.groupindex:
        raise ToolError("bad_arguments", "pattern: it has no named group such as (?P<level>[A-Z]+)")
    lines = [line for line in text.split("\n") if line.strip()]
    matches = [expression.match(line) for line in lines]
    rows = [{name: value and clip(value) for name, value in match.groupdict().items()} for match in matches if match]
    other = [clip(line) for line, match in zip(lines, matches) if not match]
    return {**page("rows", rows, offset, 500), "not_matched": len(other), "first_not_matched": other[:3]}


def classify_lines(
    text: Text, rules: Annotated[list[Rule], Len(1, 20)], show: Annotated[int, Ge(0), Le(20)] = 3
) -> dict[str, Any]:
    """Sort the lines of a text into classes by regular expressions; the first rule that fits decides.

    Args:
        text: lines
        rules: label and pattern of each class, in order
        show: how many lines of each class to show

    Example:
        {"text": "ERROR disk full\\nINFO started\\nok", "rules": [
            {"label": "bad", "pattern": "ERROR|WARN"}, {"label": "good", "pattern": "INFO"}]}
    """
    expressions = [
        (rule["label"], _compile(rule["pattern"], None, f"rules[{i}].pattern")) for i, rule in enumerate(rules)
    ]
    counts, shown = Counter[str](), dict[str, list[str]]()
    for line in text.split("\n"):
        label = next((label for label, expression in expressions if expression.search(line)), "other")
        if line.strip():
            counts[label] += 1
            if len(shown.setdefault(label, [])) < show:
                shown[label].append(clip(line)[:120])
    return {"counts": dict(counts.most_common()), "lines": shown}


def extract_from_text(
    text: Text, kinds: Annotated[list[Kind], Len(1, 11)], unique: bool = True, offset: Annotated[int, Ge(0)] = 0
) -> dict[str, Any]:
    """Find e-mail addresses, links, dates, amounts, phone numbers and the like in a text.

    Args:
        text: text to search
        kinds: what to find; phone numbers with country code only
        unique: whether each value is listed once per kind
        offset: how many to leave out first

    Example:
        {"text": "Write to a@b.example by 14 March 2025, fee 12.50 EUR.", "kinds": ["email", "date", "money"]}
    """
    rows, seen = [], set[str]()
    for kind in dict.fromkeys(kinds):
        for entity in find_entities(text, kind):
            key = f"{kind} {entity.value}"
            if not (unique and key in seen):
                rows.append(
                    {"kind": kind, "text": clip(entity.text), "value": _short(entity.value), "start": entity.start}
                )
            seen.add(key)
    return page("found", rows, offset, 500)


def _short(value: Any) -> Any:
    return clip(value) if isinstance(value, str) else value


def redact_text(
    context: Context,
    text: Text,
    kinds: Annotated[list[Kind], Len(1, 11)],
    words: Annotated[list[Annotated[str, Len(1, 100)]], Len(0, 50)] | None = None,
    style: Literal["label", "numbered", "stars"] = "label",
) -> dict[str, Any]:
    """Hide personal data in a text.

    Args:
        text: text to change
        kinds: what to hide
        words: names and other words to hide too, whatever their case
        style: [EMAIL], [EMAIL 1] with the same number for the same value, or stars

    Example:
        {"text": "Nora Berg (nora@a.example, +44 20 7946 0311)", "kinds": ["email", "phone"], "words": ["Berg"]}
    """
    spans = [
        (e.start, e.end, e.kind.upper(), str(e.value))
        for kind in dict.fromkeys(kinds)
        for e in find_entities(text, kind)
    ]
    for word in words or ():
        for match in re.finditer(re.escape(word), text, re.IGNORECASE):
            spans.append((*match.span(), "NAME", word.lower()))
    pieces, position, numbers, hidden = [], 0, dict[tuple[str, str], int](), Counter[str]()
    for start, end, label, value in sorted(spans, key=lambda span: (span[0], -span[1])):
        if start < position:
            continue
        number = numbers.setdefault((label, value), sum(known == label for known, _ in numbers) + 1)
        masks = {"label": f"[{label}]", "numbered": f"[{label} {number}]", "stars": "*" * (end - start)}
        pieces += [text[position:start], masks[style]]
        position = end
        hidden[label.lower()] += 1
        context.check_deadline()
    return {"text": whole("".join([*pieces, text[position:]])), "hidden": dict(hidden)}
