"""The typed failure of a tool, which becomes a result for the model, and near matches for its message."""

import difflib
from collections.abc import Iterable

from toolwright.records import ErrorType


class ToolError(Exception):
    """A call that failed in a way that the model should read; the dispatcher turns it into a ``ToolResult``."""

    def __init__(self, kind: ErrorType, message: str) -> None:
        super().__init__(message)
        self.kind: ErrorType = kind
        self.message = message


def near(value: str, options: Iterable[str]) -> str:
    """The end of an error message that names the option nearest to ``value``, or a few options when none is near.

    Source: difflib, compared in lower case, since wrong capitals are the commonest slip.
    """
    by_lower = {option.lower(): option for option in options}
    close = difflib.get_close_matches(value.lower(), by_lower, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {by_lower[close[0]]!r}?"
    shown = ", ".join(sorted(by_lower.values())[:12])
    return f"; there are: {shown}{', …' if len(by_lower) > 12 else ''}" if shown else "; there are none"
