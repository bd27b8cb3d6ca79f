"""From the generic tool names of cases to the tools of the catalogue, and from their arguments to its parameters."""

import re
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

from attacks.cases import Case
from attacks.names import DATABASE, TABLE, Target
from mcpserver.catalogue import Tool

_SAME: Sequence[frozenset[str]] = tuple(
    frozenset(group.split())
    for group in (
        "path file filename filepath file_path name source src from input document image archive first old",
        "dst dest destination target to out output folder directory save_as new_path new_name dest_dir second new",
        "path folder dir directory root where",
        "content text data body value line string message subject title",
        "pattern regex query search needle glob text expression",
        "expression expr formula code equation template",
        "sql query statement command",
        "xs values numbers data items list array",
        "database db path file name",
        "code source script cell",
        "command cmd code script",
        "template format text",
        "values variables context params",
        "url path",
        "format type to target_format",
        "width w",
        "height h",
        "sources files paths members",
        "path paths file files",
        "text document json",
        "city location place where",
    )
)
_PLAIN = re.compile(r"[a-z][a-z0-9_]*")


def find_target(name: str, case: Case, tools: Mapping[str, Tool]) -> Target | None:
    """The tool that a generic name means; None where the name itself is the attack, or nothing is near."""
    if case.kind == "unknown_tool" or "unknown tool" in case.must or not _PLAIN.fullmatch(name):
        return None
    target = TABLE.get(name)
    if target is not None and target.name in tools:
        return target
    if name in tools:
        return Target(name)
    return _nearest(name, tools)


def _nearest(name: str, tools: Mapping[str, Tool]) -> Target | None:
    """The tool whose name and description share the most with a name: its words first, then its letters."""
    words = {word for word in name.split("_") if len(word) > 2}
    best, best_score = "", 0.0
    for option, tool in tools.items():
        described = set(re.findall(r"[a-z]+", tool.spec.description.lower()))
        score = (
            2.0 * len(words & set(option.split("_")))
            + len(words & described)
            + SequenceMatcher(None, name, option).ratio()
        )
        if score > best_score:
            best, best_score = option, score
    return Target(best) if best_score >= 1.5 else None


def fit_arguments(arguments: Mapping[str, Any], target: Target, tool: Tool, *, complete: bool) -> dict[str, Any]:
    """Arguments under the names of the tool's parameters; what has no counterpart keeps its name.

    Args:
        arguments: as the case has them.
        target: the tool, as the table has it.
        tool: the same, of the catalogue.
        complete: whether parameters that are missing come from the table and the tool's example.
    """
    schema = tool.spec.parameters
    known, required = schema.get("properties", {}), schema.get("required", [])
    fitted: dict[str, Any] = {}
    later = []
    for key, value in arguments.items():
        name = target.renamed.get(key, key)
        if name in known:
            fitted[name] = value
        else:
            later.append(key)
    for key in later:
        own = _own_name(key, [name for name in required if name not in fitted]) or _own_name(
            key, [name for name in known if name not in fitted and name not in required]
        )
        fitted[own or key] = arguments[key]
    for name in list(fitted):  # a path where the tool takes several
        if known.get(name, {}).get("type") == "array" and isinstance(fitted[name], str) and "path" in name + str(known):
            fitted[name] = [fitted[name]]
    if complete:
        fitted = _complete(fitted, target, tool, required)
    if "database" in fitted and isinstance(fitted["database"], str):
        fitted["database"] = (
            fitted["database"].removesuffix(".db") if "/" not in fitted["database"] else fitted["database"]
        )
    return fitted


def _complete(fitted: dict[str, Any], target: Target, tool: Tool, required: Sequence[str]) -> dict[str, Any]:
    example: Mapping[str, Any] = tool.examples[0] if tool.examples else {}
    for name, value in target.given.items():
        fitted.setdefault(name, value)
    for name in required:
        if name == "database":
            fitted.setdefault(name, DATABASE)
        elif name in example:
            fitted.setdefault(name, example[name])
    return fitted


def _own_name(key: str, options: Sequence[str]) -> str | None:
    for group in _SAME:
        if key in group:
            for option in options:
                if option in group:
                    return option
    return None
