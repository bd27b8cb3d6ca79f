"""Numbers and texts that a JSON Schema takes, plausible by the name of what they are for."""

import math
import random
from fractions import Fraction
from typing import Any

from mcpserver.api.patterns import matching_text
from mcpserver.api.vocabulary import FORMATS, any_text, range_for, text_for

USUAL = (1, 1000, 2)


class NoValueError(Exception):
    """No value of a schema was found."""


def make_number(schema: dict[str, Any], name: str, whole: bool, rng: random.Random) -> float | int:
    """A number within the bounds of a schema, in the usual range of its name where that allows.

    Raises:
        NoValueError: the bounds allow none.
    """
    low, high = _bounds(schema, whole)
    start, end, decimals = range_for(name) or USUAL
    overlaps = max(start, low) <= min(end, high)
    if overlaps:
        start, end = max(start, low), min(end, high)
    else:
        start = low if math.isfinite(low) else high - 1000
        end = high if math.isfinite(high) else start + 1000
    if "multipleOf" in schema:
        return _multiple(schema["multipleOf"], (start, end), (low, high), whole, rng)
    if whole:
        first, last = math.ceil(start), math.floor(end)
        if first > last:
            first, last = math.ceil(max(low, first - 1000)), math.floor(min(high, first + 1000))
        if first > last:
            raise NoValueError
        return rng.randint(first, last)
    value = round(rng.uniform(start, end), decimals)
    value = value if start <= value <= end else min(max(rng.uniform(start, end), low), high)
    return int(value) if float(value).is_integer() and abs(value) < 2**53 else value


def _bounds(schema: dict[str, Any], whole: bool) -> tuple[float, float]:
    low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    if "exclusiveMinimum" in schema:
        bound = schema["exclusiveMinimum"]
        low = max(low, math.floor(bound) + 1 if whole else math.nextafter(bound, math.inf))
    if "exclusiveMaximum" in schema:
        bound = schema["exclusiveMaximum"]
        high = min(high, math.ceil(bound) - 1 if whole else math.nextafter(bound, -math.inf))
    if low > high:
        raise NoValueError
    return low, high


def _multiple(
    step: float, usual: tuple[float, float], allowed: tuple[float, float], whole: bool, rng: random.Random
) -> float | int:
    """A multiple of a step, near the usual range where that has one."""
    exact = Fraction(str(step))
    low, high = allowed
    reach = abs(step) * 1000
    wide = (low if math.isfinite(low) else usual[0] - reach, high if math.isfinite(high) else usual[1] + reach)
    for left, right in (usual, wide):
        first, last = math.ceil(Fraction(left) / exact), math.floor(Fraction(right) / exact)
        for _ in range(40 if first <= last else 0):
            value = exact * rng.randint(first, last)
            if value.denominator == 1:
                return int(value)
            if not whole and float(value) / step == int(float(value) / step):
                return float(value)
    raise NoValueError


def make_text(schema: dict[str, Any], name: str, rng: random.Random) -> str:
    """A text of the length, format or pattern of a schema.

    Raises:
        NoValueError: none was found.
    """
    least, most = int(schema.get("minLength", 0)), schema.get("maxLength")
    if most is not None and most < least:
        raise NoValueError
    if "pattern" in schema:
        text = matching_text(schema["pattern"], rng, least, most)
        if text is None:
            raise NoValueError
        return text
    make = FORMATS.get(str(schema.get("format")))
    text = make(rng) if make else text_for(name, rng) or any_text(rng)
    if most is not None and len(text) > most:
        text = (text if make or most < 5 else any_text(rng))[: int(most)]
    return text + "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=max(0, least - len(text))))
