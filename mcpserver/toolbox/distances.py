"""How alike two texts are, from 0 (nothing in common) to 1 (equal). Reads and writes nothing.

Sources: Levenshtein 1966; Damerau 1964 (neighbours swapped, each place once); Jaro 1989 and Winkler 1990.
"""

import difflib
from typing import Literal

from mcpserver.toolbox.words_of_text import words_of

Method = Literal["levenshtein", "damerau", "jaro_winkler", "ratio", "words", "trigrams"]
MAX_LENGTH = 2000


def edits_between(first: str, second: str, swaps: bool = False) -> int:
    """How many characters must be put in, left out or changed; with ``swaps``, or changed places with the next."""
    before: list[int] = []
    last = list(range(len(second) + 1))
    for row, a in enumerate(first, 1):
        current = [row]
        for column, b in enumerate(second, 1):
            best = min(last[column] + 1, current[column - 1] + 1, last[column - 1] + (a != b))
            if swaps and row > 1 and column > 1 and a == second[column - 2] and b == first[row - 2]:
                best = min(best, before[column - 2] + 1)
            current.append(best)
        before, last = last, current
    return last[-1]


def similarity(first: str, second: str, method: Method) -> float:
    """How alike two texts of at most ``MAX_LENGTH`` characters are."""
    if first == second:
        return 1.0
    if method in ("levenshtein", "damerau"):
        return 1 - edits_between(first, second, method == "damerau") / max(len(first), len(second))
    if method == "jaro_winkler":
        return _jaro_winkler(first, second)
    if method == "ratio":
        return difflib.SequenceMatcher(None, first, second, autojunk=False).ratio()
    one, two = (set(words_of(text)) if method == "words" else _trigrams(text) for text in (first, second))
    return len(one & two) / len(one | two) if one or two else 0.0


def _trigrams(text: str) -> set[str]:
    padded = f"  {text.casefold()} "
    return {padded[start : start + 3] for start in range(len(padded) - 2)}


def _jaro_winkler(first: str, second: str) -> float:
    window = max(0, max(len(first), len(second)) // 2 - 1)
    taken = [False] * len(second)
    matched = []
    for index, letter in enumerate(first):
        for place in range(max(0, index - window), min(len(second), index + window + 1)):
            if not taken[place] and second[place] == letter:
                taken[place] = True
                matched.append(letter)
                break
    if not matched:
        return 0.0
    others = [letter for letter, used in zip(second, taken) if used]
    moved = sum(a != b for a, b in zip(matched, others)) / 2
    count = len(matched)
    jaro = (count / len(first) + count / len(second) + (count - moved) / count) / 3
    common = next((i for i, (a, b) in enumerate(zip(first, second)) if a != b), min(len(first), len(second)))
    return jaro + min(common, 4) * 0.1 * (1 - jaro)
