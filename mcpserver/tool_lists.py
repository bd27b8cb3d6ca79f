"""Lists of tools of several servers: names that a model can call, and how two lists differ."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from toolwright.records import ToolSpec
from toolwright.words import cut

MAX_NAME = 64
_HASH_DIGITS = 8


def shown_names(tools: Mapping[str, Iterable[str]]) -> dict[tuple[str, str], str]:
    """The name that models see for each tool: at most 64 letters, digits, ``_`` and ``-``, and all different.

    With one server the names stay, with several they are ``server__tool``; other characters become ``_``. What would be
    too long, or the name of another tool, ends with a hash instead.

    Args:
        tools: names of tools by server.

    Returns:
        The shown names, by server and tool.
    """
    shown = {}
    rivals: dict[str, list[tuple[bool, str, str]]] = defaultdict(list)
    for server, names in tools.items():
        for name in names:
            whole = f"{server}__{name}" if len(tools) > 1 else name
            clean = re.sub(r"[^A-Za-z0-9_-]", "_", whole) or "_"
            if len(clean) > MAX_NAME:
                shown[server, name] = _hashed(clean, server, name)
            else:
                rivals[clean].append((clean != whole, server, name))
    for clean, group in rivals.items():
        for place, (_, server, name) in enumerate(sorted(group)):
            shown[server, name] = _hashed(clean, server, name) if place else clean
    return shown


def _hashed(clean: str, server: str, name: str) -> str:
    digest = hashlib.sha256(f"{server}\n{name}".encode("utf-8", "backslashreplace")).hexdigest()[:_HASH_DIGITS]
    return f"{clean[: MAX_NAME - 1 - _HASH_DIGITS]}_{digest}"


def difference(old: Sequence[ToolSpec], new: Sequence[ToolSpec]) -> str:
    """How a list of tools differs from an older one, in one line; empty when they offer the same."""
    before, after = ({tool.name: tool for tool in tools} for tools in (old, new))
    parts = (
        ("added", [name for name in after if name not in before]),
        ("removed", [name for name in before if name not in after]),
        ("changed", [name for name in after if name in before and after[name] != before[name]]),
    )
    return "; ".join(f"{len(names)} {what}: {cut(', '.join(sorted(names)))}" for what, names in parts if names)
