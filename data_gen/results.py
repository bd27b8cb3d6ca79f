"""Looks into tool results: their values with the path to each, so that a value can be found again in a live result."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from toolwright.calls import canonical_value

LINE = re.compile(r"^([A-Z]\w*): (\S.*)$", re.MULTILINE)
Path = tuple[str | int, ...]
Scalar = str | int | float


def parse(content: str) -> Any:
    """A result as JSON; as plain text where it is none."""
    try:
        return json.loads(content)
    except ValueError:
        return content


def find_values(value: Any, path: Path = ()) -> Iterator[tuple[Path, Scalar]]:
    """Every string and number inside a result with its path; a text also yields its ``Name: value`` lines."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from find_values(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from find_values(inner, (*path, index))
    elif isinstance(value, str):
        yield path, value
        if "\n" in value:
            yield from (((*path, name), line) for name, line in LINE.findall(value))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, value


def look_up(value: Any, path: Sequence[str | int]) -> Any:
    """The value at ``path``.

    Raises:
        LookupError: there is nothing at that path.
    """
    for step in path:
        if isinstance(value, list) and not isinstance(step, int):
            raise LookupError(f"no {step!r} in a list")
        if isinstance(value, str):
            value = dict(LINE.findall(value))[str(step)]
        elif isinstance(value, dict | list):
            value = value[step]  # type: ignore[index]
        else:
            raise LookupError(f"nothing at {step!r}")
    return value


def find_key(value: Any, key: str) -> Scalar | None:
    """The value under ``key`` anywhere in a result; none unless there is exactly one."""
    found = {canonical_value(item): item for path, item in find_values(value) if path and path[-1] == key}
    return next(iter(found.values())) if len(found) == 1 else None


def find_source(results: Sequence[Any], wanted: Any) -> tuple[int, Path] | None:
    """The number of the latest result that holds ``wanted``, and where in it."""
    if isinstance(wanted, bool) or not isinstance(wanted, str | int | float):
        return None
    text = canonical_value(wanted)
    for number in reversed(range(len(results))):
        for path, item in find_values(results[number]):
            if canonical_value(item) == text:
                return number, path
    return None
