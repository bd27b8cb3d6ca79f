"""Argument values drawn from a JSON Schema alone, so that the tools of any MCP server get sensible calls.

An example or a default of the schema is the best hint; then enum, type, bounds, format and the parameter's name.
"""

import datetime
import re
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

WORDS = ("harbour", "cedar", "lantern", "meadow", "copper", "summit", "orchard", "violet", "anchor", "falcon")
PEOPLE = ("Anna", "Bruno", "Clara", "David", "Emma", "Felix", "Greta", "Hugo")
CITIES = ("Oslo", "Vienna", "Madrid", "Lisbon", "Dublin", "Prague", "Athens", "Warsaw")
BY_NAME: tuple[tuple[str, Sequence[str]], ...] = (
    (r"city|place|location|town|destination|origin", CITIES),
    (r"person|owner|author|user|customer|first_?name", PEOPLE),
    (r"country", ("Norway", "Austria", "Spain", "Ireland", "Portugal", "Greece")),
    (r"currenc", ("EUR", "USD", "GBP", "CHF", "NOK")),
    (r"lang", ("English", "German", "French", "Spanish")),
    (r"mail", tuple(f"{name.lower()}@example.com" for name in PEOPLE)),
    (r"url|link|website", tuple(f"https://example.com/{word}" for word in WORDS)),
    (r"path|file", tuple(f"{word}.txt" for word in WORDS)),
)
BY_FORMAT: Mapping[str, Sequence[str]] = {
    "email": tuple(f"{name.lower()}@example.com" for name in PEOPLE),
    "uri": tuple(f"https://example.com/{word}" for word in WORDS),
    "uuid": tuple(f"00000000-0000-4000-8000-{n:012d}" for n in range(1, 200)),
    "time": tuple(f"{hour:02d}:30:00" for hour in range(24)),
}
FIRST_DAY = datetime.date(2025, 1, 2)
MAX_TEXT = 24


def draw_value(schema: Mapping[str, Any], name: str, rng: Random) -> Any:
    """A value that fits ``schema`` as far as its usual keywords go; the caller checks it."""
    if "const" in schema:
        return schema["const"]
    hints = [*schema.get("examples", ()), *([schema["example"]] if "example" in schema else [])]
    if hints and rng.random() < 0.5:
        return rng.choice(hints)
    if schema.get("enum"):
        return rng.choice(schema["enum"])
    for keyword in ("anyOf", "oneOf"):
        if options := [option for option in schema.get(keyword, ()) if option.get("type") != "null"]:
            return draw_value(rng.choice(options), name, rng)
    kind = schema.get("type", "string")
    if isinstance(kind, list):
        kind = next((option for option in kind if option != "null"), "string")
    draw = {"integer": _integer, "number": _number, "boolean": _boolean, "array": _array, "object": _object}.get(kind)
    return draw(schema, name, rng) if draw else _string(schema, name, rng)


def _bounds(schema: Mapping[str, Any], name: str) -> tuple[float, float]:
    step = 1 if schema.get("type") == "integer" else 0.1
    low = schema.get("minimum", schema.get("exclusiveMinimum", -step) + step if "exclusiveMinimum" in schema else None)
    high = schema.get("maximum", schema["exclusiveMaximum"] - step if "exclusiveMaximum" in schema else None)
    if low is None:
        low = min(1, high) if high is not None else 1
    if high is None:
        high = low + (20 if re.search(r"day|count|limit|digit|number|size|page", name) else 500)
    return low, high


def _integer(schema: Mapping[str, Any], name: str, rng: Random) -> int:
    low, high = _bounds(schema, name)
    step = int(schema.get("multipleOf", 1)) or 1
    first, last = -(-int(low) // step), int(high) // step
    return rng.randint(first, max(first, last)) * step


def _number(schema: Mapping[str, Any], name: str, rng: Random) -> float:
    low, high = _bounds(schema, name)
    return min(max(decimal(rng, low, high, rng.choice((0, 1, 1, 2))), low), high)


def decimal(rng: Random, low: float, high: float, places: int) -> int | float:
    """A number with so many decimal places; a whole one has no point, since people write none."""
    number = round(rng.uniform(low, high), places)
    return int(number) if number.is_integer() else number


def _boolean(schema: Mapping[str, Any], name: str, rng: Random) -> bool:
    return rng.random() < 0.5


def _array(schema: Mapping[str, Any], name: str, rng: Random) -> list[Any]:
    least = schema.get("minItems", 1)
    count = rng.randint(max(least, 2), max(least, min(schema.get("maxItems", 4), 4), 2))
    count = min(count, schema.get("maxItems", count))
    items = [draw_value(schema.get("items") or {}, name.rstrip("s"), rng) for _ in range(count * 3)]
    if schema.get("uniqueItems"):
        items = [item for n, item in enumerate(items) if item not in items[:n]]
    return items[:count]


def _object(schema: Mapping[str, Any], name: str, rng: Random) -> dict[str, Any]:
    properties = schema.get("properties", {})
    needed = set(schema.get("required", ()))
    return {k: draw_value(v, k, rng) for k, v in properties.items() if k in needed or rng.random() < 0.5}


def _string(schema: Mapping[str, Any], name: str, rng: Random) -> str:
    described = f"{name} {schema.get('description', '')}".lower()
    kind = schema.get("format", "")
    if kind in BY_FORMAT:
        return rng.choice(BY_FORMAT[kind])
    if kind == "date" or (not kind and re.search(r"\bdate\b|\bday\b|yyyy-mm-dd", described.replace("_", " "))):
        return draw_date(rng)
    if kind == "date-time":
        return f"{draw_date(rng)}T{rng.randrange(24):02d}:00:00Z"
    if "pattern" in schema and (text := _matching(schema["pattern"], rng)):
        return text
    known = next((options for pattern, options in BY_NAME if re.search(pattern, name.lower())), None)
    text = rng.choice(known) if known else " ".join(rng.sample(WORDS, rng.choice((1, 1, 2))))
    least = schema.get("minLength", 0)
    return text.ljust(least, "x")[: schema.get("maxLength", max(MAX_TEXT, least))]


def draw_date(rng: Random, days: int = 360) -> str:
    """A working day of 2025."""
    while True:
        day = FIRST_DAY + datetime.timedelta(days=rng.randrange(days))
        if day.weekday() < 5:
            return day.isoformat()


def _matching(pattern: str, rng: Random) -> str | None:
    """A text for a plain pattern of characters, classes and counts; none where it does not match in the end."""
    text = ""
    for item, count in re.findall(r"(\\d|\\w|\[[^\]]+\]|\\.|[\w \-_/:])(\{\d+(?:,\d*)?\}|[+*?])?", pattern.strip("^$")):
        times = int(re.sub(r"\D.*", "", count[1:])) if count.startswith("{") else {"+": 3, "*": 2}.get(count, 1)
        text += "".join(_one_of(item, rng) for _ in range(times))
    return text if re.search(pattern, text) else None


def _one_of(item: str, rng: Random) -> str:
    if item == r"\d":
        return rng.choice("0123456789")
    if item == r"\w":
        return rng.choice("abcdefgh")
    if item.startswith("["):
        spans = re.findall(r"(\w)-(\w)", item)
        if spans:
            first, last = rng.choice(spans)
            return chr(rng.randint(ord(first), ord(last)))
        return rng.choice(item.strip("[]^") or "x")
    return item[-1]
