"""Names of tools and parameters that every model and dialect can write, each once. Reads the built-in tools' names."""

import hashlib
import re
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from mcpserver.api.report import Notes

MAX_NAME = 64
_TOOL = re.compile(r"[A-Za-z]\w{0,63}", re.ASCII)
_PARAMETER = re.compile(r"[A-Za-z_$][\w.$-]{0,63}", re.ASCII)


class Taken(NamedTuple):
    """What the built-in catalogue has already: names of tools, and of toolsets and categories."""

    tools: frozenset[str]
    groups: frozenset[str]


@lru_cache(maxsize=1)
def built_in_names() -> Taken:
    """The names in the built-in catalogue, read from its source: an import need not wait for its modules."""
    folder = Path(__file__).resolve().parents[1] / "tools"
    tools: set[str] = set()
    groups: set[str] = set()
    for path in folder.rglob("*.py"):
        if not path.name.startswith("_"):
            tools.update(re.findall(r"^def ([A-Za-z]\w*)\(", path.read_text(encoding="utf-8"), re.MULTILINE))
            groups.update((path.stem, path.parent.name))
    return Taken(frozenset(tools), frozenset(groups))


def identifier(text: str) -> str:
    """A text as a name of a-z, A-Z, 0-9 and '_' that begins with a letter; empty when nothing is left."""
    text = re.sub(r"[^A-Za-z0-9_]+", "_", text).strip("_")
    text = re.sub(r"__+", "_", text)
    return f"n_{text}" if text[:1].isdigit() else text


def snake(text: str) -> str:
    """As ``identifier``, in lower case with '_' between words: ``listPets`` gives ``list_pets``."""
    text = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", text)
    return identifier(re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", text)).lower()


def words_of(name: str) -> str:
    """A name as words: ``pageSize`` gives ``page size``."""
    return snake(name).replace("_", " ")


def tool_name(raw: str, group: str, used: Collection[str], notes: Notes) -> str:
    """A valid name for a tool that is in ``used`` not yet; empty when the raw name has no letter or digit."""
    name = raw
    if not _TOOL.fullmatch(name):
        name = identifier(raw)
        if not name:
            return ""
        if name != raw:
            notes.add("name_characters", "name", raw, name)
        if len(name) > MAX_NAME:
            name = _shorten(name, raw)
            notes.add("name_too_long", "name", raw, name)
    taken = built_in_names().tools
    if name not in taken and name not in used:
        return name
    free = _free(name, group, used, taken)
    notes.add("name_taken" if name in taken else "name_duplicate", "name", name, free)
    return free


def _free(name: str, group: str, used: Collection[str], taken: Collection[str]) -> str:
    longer = _fit(f"{group}_{name}") if group and not name.startswith(f"{group}_") else name
    number, free = 2, longer
    while free in used or free in taken:
        tail = f"_{number}"
        free = longer[: MAX_NAME - len(tail)] + tail
        number += 1
    return free


def _fit(name: str) -> str:
    return name if len(name) <= MAX_NAME else _shorten(name, name)


def _shorten(name: str, raw: str) -> str:
    return f"{name[: MAX_NAME - 9].rstrip('_')}_{hashlib.sha256(raw.encode(errors='replace')).hexdigest()[:8]}"


def parameter_name(raw: str, used: Collection[str], notes: Notes) -> str:
    """A name for a parameter that models can write and that is not in ``used`` yet."""
    if _PARAMETER.fullmatch(raw) and raw not in used:
        return raw
    name = _fit(re.sub(r"[^\w.$-]+", "_", raw, flags=re.ASCII).strip("_") or "value")
    name = name if _PARAMETER.fullmatch(name) else _fit(f"p_{name}")
    number, free = 2, name
    while free in used:
        free = f"{name[:60]}_{number}"
        number += 1
    notes.add("parameter_name", raw, raw, free)
    return free


def toolset_name(raw: str) -> str:
    """A name for the tools of one API, other than those of built-in toolsets and categories."""
    name = _fit(snake(raw)) or "api"
    return f"{name}_api" if name in built_in_names().groups else name
