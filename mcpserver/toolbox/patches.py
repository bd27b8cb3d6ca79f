"""Lines of text, and unified diffs applied to them. Reads and writes nothing.

Source: the format as in GNU diffutils' manual, "Detailed Description of Unified Format".
"""

import re
from dataclasses import dataclass, field

from mcpserver.tool_error import ToolError
from toolwright.words import shorten

_HUNK = re.compile(r"@@ -(\d{1,7})(?:,(\d{1,7}))? \+(\d{1,7})(?:,(\d{1,7}))? @@")


@dataclass
class _Hunk:
    """Lines to find from a line on (counted from 1), and lines to put there."""

    start: int
    sizes: tuple[int, int]
    old: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)


def split_lines(text: str) -> list[str]:
    """The lines of a text without their line feeds; one at the end of the text begins no line."""
    lines = text.split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def apply_patch_to(lines: list[str], patch: str) -> tuple[list[str], int]:
    """Apply a unified diff of one file; gives the lines and how many hunks there were.

    Raises:
        ToolError: ``bad_arguments`` for what is no unified diff, ``tool_error`` where it does not fit.
    """
    hunks = _read_hunks(patch)
    result, done = [], 0
    for number, hunk in enumerate(hunks, 1):
        start = hunk.start - 1 if hunk.old else hunk.start  # a hunk of only new lines names the line before
        if start < done or lines[start : start + len(hunk.old)] != hunk.old:
            raise ToolError(
                "tool_error", f"patch: hunk {number} does not fit at line {hunk.start}; nothing was changed"
            )
        if start > len(lines):
            raise ToolError("tool_error", f"patch: hunk {number} begins at line {hunk.start} of {len(lines)}")
        result += lines[done:start] + hunk.new
        done = start + len(hunk.old)
    return result + lines[done:], len(hunks)


def _read_hunks(patch: str) -> list[_Hunk]:
    hunks: list[_Hunk] = []
    for line in split_lines(patch):
        if match := _HUNK.match(line):
            start, old, _, new = match.groups()
            sizes = (1 if old is None else int(old), 1 if new is None else int(new))
            hunks.append(_Hunk(int(start), sizes))
        elif hunks and not _is_full(hunks[-1]):
            _add(hunks[-1], line)
        elif not line.startswith(("--- ", "+++ ", "diff ", "index ", "\\ ")) and line.strip():
            raise ToolError("bad_arguments", f"patch: {shorten(line, 60)} is no line of a unified diff of one file")
    if not hunks or not all(map(_is_full, hunks)):
        raise ToolError("bad_arguments", "patch: no whole hunk beginning with a line such as @@ -1,2 +1,3 @@")
    return hunks


def _is_full(hunk: _Hunk) -> bool:
    return (len(hunk.old), len(hunk.new)) == hunk.sizes


def _add(hunk: _Hunk, line: str) -> None:
    sign, text = line[:1] or " ", line[1:]
    if sign not in "+- \\":
        raise ToolError("bad_arguments", f"patch: {shorten(line, 60)} begins with neither '+', '-' nor a space")
    if sign in "- ":
        hunk.old.append(text)
    if sign in "+ ":
        hunk.new.append(text)
