"""Shell patterns for paths: ``*`` and ``?`` within a name, ``[abc]``, and ``**`` for any number of folders.

Nothing but the standard library, since it is used by sandboxed workers.
"""

from fnmatch import fnmatchcase

from mcpserver.tool_error import ToolError
from toolwright.words import shorten


def check_pattern(pattern: str, parameter: str = "pattern") -> str:
    """A pattern for paths below the top.

    Raises:
        ToolError: ``denied`` for one that leads out.
    """
    if pattern.startswith(("/", "~")) or "\\" in pattern or ".." in pattern.split("/"):
        raise ToolError("denied", f"{parameter}: {shorten(pattern, 60)} leads out of the files; use one like **/*.csv")
    return pattern


def matches_glob(path: str, pattern: str) -> bool:
    """Whether a path with slashes fits a whole pattern; the work grows with the product of their lengths."""
    steps = [step for step in pattern.split("/") if step not in ("", ".")]
    places = _skip(0, steps)
    for part in path.split("/"):
        after = set()
        for place in places:
            if place == len(steps):
                continue
            if steps[place] == "**":
                after |= _skip(place, steps)
            elif fnmatchcase(part, steps[place]):
                after |= _skip(place + 1, steps)
        places = after
    return len(steps) in places


def _skip(place: int, steps: list[str]) -> set[int]:
    """A place in the pattern, and those behind each ``**`` there, which may stand for no folder at all."""
    reached = {place}
    while place < len(steps) and steps[place] == "**":
        place += 1
        reached.add(place)
    return reached
