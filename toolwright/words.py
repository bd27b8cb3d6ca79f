"""Words for error messages: values cut short, and the names that were probably meant. Nothing but the standard library.

Kept apart, since sandboxed workers import it and must start in milliseconds.
"""

import json
from collections.abc import Sequence


def shorten(value: object, limit: int = 120) -> str:
    """``repr(value)``, cut to ``limit`` characters, for error messages."""
    return cut(repr(value), limit)


def show(value: object) -> str:
    """A value as JSON, cut to 80 characters."""
    return cut(json.dumps(value, ensure_ascii=False, default=repr), 80)


def cut(text: str, limit: int = 200) -> str:
    """A text cut to ``limit`` characters, with an ellipsis as the last."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def nearest(name: object, options: Sequence[object]) -> str:
    """A hint to append to a complaint about a wrong name: the nearest options, or all when they are few."""
    near = close_matches(name, options)
    if near:
        return f"; did you mean {near}?"
    return f"; there is {', '.join(map(show, options))}" if 0 < len(options) <= 10 else ""


def close_matches(name: object, options: Sequence[object]) -> str:
    """Up to three options that look like the name, as a phrase; empty when none does."""
    if not isinstance(name, str):
        return ""
    import difflib  # wrong names are rare, and a worker starts sooner without

    by_lower = {option.lower(): option for option in reversed(options) if isinstance(option, str)}
    close = difflib.get_close_matches(name.lower()[:200], list(by_lower), n=3)
    return " or ".join(show(by_lower[key]) for key in close)
