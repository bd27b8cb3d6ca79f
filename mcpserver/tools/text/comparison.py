"""Texts compared: how alike they are, where they differ, which of many is meant."""

import difflib
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Len

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.distances import MAX_LENGTH, Method, edits_between, similarity
from mcpserver.toolbox.results import clip, page, part

Text = Annotated[str, Len(0, 20_000)]
Short = Annotated[str, Len(0, MAX_LENGTH)]
Item = Annotated[str, Len(1, 100)]


def compare_texts(
    first: Short, second: Short, method: Method = "levenshtein", ignore_case: bool = False
) -> dict[str, Any]:
    """Measure how alike two texts are, from 0 to 1.

    Args:
        first: a text
        second: the other text
        method: levenshtein and damerau count edits, jaro_winkler suits names, ratio finds equal runs,
            words and trigrams count what both share
        ignore_case: whether upper and lower case are the same

    Example:
        {"first": "Lindqvist", "second": "Lindquist", "method": "jaro_winkler"}
        {"first": "storage level", "second": "level of storage", "method": "words"}
    """
    one, two = (first.casefold(), second.casefold()) if ignore_case else (first, second)
    edits = {"edits": edits_between(one, two, method == "damerau")} if method in ("levenshtein", "damerau") else {}
    return {"similarity": round(similarity(one, two, method), 4), "equal": one == two, **edits}


def diff_texts(
    first: Text, second: Text, unit: Literal["lines", "words"] = "lines", around: Annotated[int, Ge(0), Le(10)] = 2
) -> dict[str, Any]:
    """Show where two texts differ.

    Args:
        first: the old text
        second: the new text
        unit: lines gives a unified diff; words marks [-left out-] and {+put in+}
        around: equal lines or words shown around each difference

    Example:
        {"first": "Price: 30\\nHub: TTF", "second": "Price: 31\\nHub: TTF", "unit": "lines"}
        {"first": "gas prices fell today", "second": "gas prices rose today", "unit": "words"}
    """
    if unit == "lines":
        found = list(
            difflib.unified_diff(first.split("\n"), second.split("\n"), "first", "second", n=around, lineterm="")
        )
        signs = [line[:1] for line in found[2:]]
        counts = {"added": signs.count("+"), "removed": signs.count("-")}
        return {"same": not found, **counts, **part("\n".join(map(clip, found)))}
    one, two = first.split(), second.split()
    if max(len(one), len(two)) > 3000:
        raise ToolError("limit", "first, second: at most 3000 words are compared; compare lines instead")
    pieces: list[str] = []
    counts = {"added": 0, "removed": 0}
    for kind, a, b, c, d in difflib.SequenceMatcher(None, one, two, autojunk=False).get_opcodes():
        if kind == "equal":
            words = one[a:b]
            pieces += words if len(words) <= 2 * around + 1 else [*words[:around], "…", *words[len(words) - around :]]
            continue
        pieces += [f"[-{' '.join(one[a:b])}-]"] * (b > a) + [f"{{+{' '.join(two[c:d])}+}}"] * (d > c)
        counts = {"added": counts["added"] + d - c, "removed": counts["removed"] + b - a}
    return {"same": one == two, **counts, **part(" ".join(pieces))}


def rank_matches(
    query: Item,
    candidates: Annotated[list[Item], Len(1, 500)],
    method: Method = "trigrams",
    limit: Annotated[int, Ge(1), Le(50)] = 5,
    least: Annotated[float, Ge(0.0), Le(1.0)] = 0.0,
) -> dict[str, Any]:
    """Find the texts of a list that look most like what is asked for, misspelt or not.

    Args:
        query: what is asked for
        candidates: texts to choose from
        method: how to compare; see compare_texts
        limit: how many to show
        least: similarity that a match must have, from 0 to 1

    Example:
        {"query": "Roterdam", "candidates": ["Amsterdam", "Rotterdam", "Antwerp"], "limit": 2}
    """
    wanted = query.casefold()
    scored = [(similarity(wanted, candidate.casefold(), method), index) for index, candidate in enumerate(candidates)]
    ranked = sorted((-score, index) for score, index in scored if score >= least)
    rows = [{"text": candidates[index], "similarity": round(-score, 4), "index": index} for score, index in ranked]
    return page("matches", rows[:limit], limit=limit)


def group_similar(
    context: Context,
    items: Annotated[list[Item], Len(2, 150)],
    least: Annotated[float, Ge(0.5), Le(1.0)] = 0.8,
    method: Method = "damerau",
) -> dict[str, Any]:
    """Group texts that are probably spellings of the same.

    Args:
        items: texts
        least: similarity from which two are taken for the same, from 0.5 to 1
        method: how to compare; see compare_texts

    Example:
        {"items": ["Tern Parcel", "Tern Parcels", "Quayside Freight", "tern parcel"], "least": 0.8}
    """
    names = list(dict.fromkeys(items))
    group = list(range(len(names)))
    for index, name in enumerate(names):
        context.check_deadline()
        for other in range(index):
            if group[index] != group[other] and similarity(name.casefold(), names[other].casefold(), method) >= least:
                old, new = max(group[index], group[other]), min(group[index], group[other])
                group = [new if number == old else number for number in group]
    groups = [[name for name, number in zip(names, group) if number == wanted] for wanted in sorted(set(group))]
    return {"groups": len(groups), **page("alike", [found for found in groups if len(found) > 1])}
