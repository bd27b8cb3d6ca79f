"""Text in, findings out: count, rank, measure, split, sort, summarise; numbers in words and Roman numerals."""

import re
from collections import Counter
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Len

from mcpserver.tool_error import ToolError
from mcpserver.toolbox.natural import natural_key
from mcpserver.toolbox.results import page, whole
from mcpserver.toolbox.transliteration import without_accents
from mcpserver.toolbox.words_of_text import (
    COMMON_WORDS,
    cardinal,
    from_roman,
    ordinal,
    sentences_of,
    syllables_of,
    to_roman,
    words_of,
    year_in_words,
)

RUNS_IN = "server"

Text = Annotated[str, Len(1, 10_000)]
Formula = Literal["flesch", "flesch_kincaid", "gunning_fog", "smog", "coleman_liau", "automated"]


def count_text(text: Text) -> dict[str, Any]:
    """Count the characters, words, sentences, lines and paragraphs of a text.

    Args:
        text: any text

    Example:
        {"text": "Prices rose. Why?\\n\\nNobody knows."}
    """
    words = words_of(text)
    return {
        "characters": len(text),
        "letters": sum(character.isalpha() for character in text),
        "words": len(words),
        "different_words": len(set(words)),
        "sentences": len(sentences_of(text)),
        "lines": text.count("\n") + (not text.endswith("\n")),
        "paragraphs": len([part for part in re.split(r"\n[ \t]*\n", text) if part.strip()]),
        "reading_minutes": round(len(words) / 230, 1),
    }


def rank_phrases(
    text: Text,
    words: Annotated[int, Ge(1), Le(4)] = 1,
    skip_common: bool = True,
    limit: Annotated[int, Ge(1), Le(100)] = 10,
) -> dict[str, Any]:
    """List the most frequent words or phrases of a text.

    Args:
        text: any text
        words: words per phrase; 1 for single words
        skip_common: leave out phrases of only common English words such as the
        limit: how many to list

    Example:
        {"text": "the gas price and the power price", "limit": 3}
        {"text": "to be or not to be", "words": 2, "skip_common": false}
    """
    found = words_of(text)
    phrases = [tuple(found[start : start + words]) for start in range(len(found) - words + 1)]
    counts = Counter(phrase for phrase in phrases if not (skip_common and COMMON_WORDS.issuperset(phrase)))
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rows = [{"phrase": " ".join(phrase)[:200], "count": count} for phrase, count in ranked[:limit]]
    return {"total_words": len(found), "different_phrases": len(counts), "phrases": rows}


def measure_readability(text: Text, formula: Formula = "flesch") -> dict[str, Any]:
    """Measure how hard an English text is to read.

    Args:
        text: English text
        formula: flesch gives 0 (hard) to 100 (easy); the others give years of school

    Example:
        {"text": "The cat sat on the mat. It was warm.", "formula": "flesch_kincaid"}
    """
    words, sentences = words_of(text), max(1, len(sentences_of(text)))
    if not words:
        raise ToolError("bad_arguments", "text: there are no words in it")
    syllables = [syllables_of(word) for word in words]
    hard, letters = sum(count >= 3 for count in syllables), sum(map(len, words))
    length, weight = len(words) / sentences, sum(syllables) / len(words)
    # Sources: Flesch 1948; Kincaid 1975; Gunning 1952; McLaughlin 1969; Coleman and Liau 1975; Smith and Senter 1967
    scores = {
        "flesch": 206.835 - 1.015 * length - 84.6 * weight,
        "flesch_kincaid": 0.39 * length + 11.8 * weight - 15.59,
        "gunning_fog": 0.4 * (length + 100 * hard / len(words)),
        "smog": 1.043 * (hard * 30 / sentences) ** 0.5 + 3.1291,
        "coleman_liau": 5.88 * letters / len(words) - 29.6 * sentences / len(words) - 15.8,
        "automated": 4.71 * letters / len(words) + 0.5 * length - 21.43,
    }
    details = {"words_per_sentence": round(length, 2), "syllables_per_word": round(weight, 2), "hard_words": hard}
    return {"formula": formula, "score": round(scores[formula], 2), **details}


def split_sentences(text: Text) -> dict[str, Any]:
    """Split a text into its sentences.

    Args:
        text: any text

    Example:
        {"text": "Dr. Smith called. Prices rose by 2.5 percent! Why?"}
    """
    return page("sentences", sentences_of(text), limit=500)


def sort_items(
    items: Annotated[list[Annotated[str, Len(0, 500)]], Len(1, 500)],
    order: Literal["natural", "alphabetical", "code_point", "length", "last_word"] = "natural",
    descending: bool = False,
    unique: bool = False,
) -> dict[str, Any]:
    """Sort texts.

    Args:
        items: texts to sort
        order: natural puts item 2 before item 10; alphabetical ignores case and accents
        descending: last first
        unique: keep equal ones once

    Example:
        {"items": ["unit 10", "unit 2", "Unit 1"], "order": "natural"}
        {"items": ["Nora Lindqvist", "Tom Ames"], "order": "last_word", "descending": true}
    """
    keys: dict[str, Any] = {
        "natural": natural_key,
        "alphabetical": lambda item: (without_accents(item).casefold(), item),
        "code_point": lambda item: item,
        "length": lambda item: (len(item), item),
        "last_word": lambda item: (item.casefold().split()[-1:], item),
    }
    chosen = dict.fromkeys(items) if unique else items
    return page("items", sorted(chosen, key=keys[order], reverse=descending), limit=500)


def convert_roman(value: Annotated[int, Ge(1), Le(3999)] | Annotated[str, Len(1, 20)]) -> dict[str, Any]:
    """Convert a number to Roman numerals, or Roman numerals to a number.

    Args:
        value: a number from 1 to 3999, or Roman numerals such as XIV

    Example:
        {"value": 2025}
        {"value": "XIV"}
    """
    if isinstance(value, int):
        return {"roman": to_roman(value), "number": value}
    number = from_roman(value.strip().upper())
    if number is None:
        raise ToolError("bad_arguments", f"value: {value!r} are no Roman numerals such as XIV, from I to MMMCMXCIX")
    return {"roman": value.strip().upper(), "number": number}


def spell_number(
    number: Annotated[int, Ge(-(10**15)), Le(10**15)] | Annotated[float, Ge(-1e12), Le(1e12)],
    style: Literal["cardinal", "ordinal", "year", "amount"] = "cardinal",
) -> dict[str, Any]:
    """Write a number in English words.

    Args:
        number: the number; ordinal and year take whole ones
        style: forty-two, forty-second, nineteen eighty-four, or an amount with hundredths such as ten and 50/100

    Example:
        {"number": 1250, "style": "cardinal"}
        {"number": 99.5, "style": "amount"}
    """
    value = round(number, 2)
    whole_part, cents = divmod(round(abs(value) * 100), 100)
    sign = "minus " if value < 0 else ""
    if style == "amount":
        return {"words": f"{sign}{cardinal(whole_part)} and {cents:02}/100"}
    if style == "cardinal":
        digits = f"{cents:02}".rstrip("0")
        point = " point " + " ".join(cardinal(int(digit)) for digit in digits) if digits else ""
        return {"words": f"{sign}{cardinal(whole_part)}{point}"}
    if cents or (style == "year" and not 1 <= value <= 9999):
        raise ToolError("bad_arguments", f"number: {style} takes a whole number{' from 1 to 9999' * (style == 'year')}")
    return {"words": sign + ordinal(whole_part) if style == "ordinal" else year_in_words(whole_part)}


def summarize_text(text: Text, sentences: Annotated[int, Ge(1), Le(20)] = 3) -> dict[str, Any]:
    """Summarise a text by its most telling sentences, in their order.

    Args:
        text: any text
        sentences: how many sentences to keep

    Example:
        {"text": "Gas prices rose. The weather was fine. Gas storage fell as gas prices rose.", "sentences": 1}
    """
    found = sentences_of(text)
    counts = Counter(word for word in words_of(text) if word not in COMMON_WORDS)
    scores = [_score(words_of(sentence), counts) for sentence in found]
    best = sorted(range(len(found)), key=lambda index: (-scores[index], index))[:sentences]
    return {
        "summary": whole(" ".join(found[index] for index in sorted(best))),
        "sentences": len(best),
        "of": len(found),
    }


def _score(words: list[str], counts: Counter[str]) -> float:
    """How much of the text's own words a sentence holds, by its length, softly, or the long ones would always win."""
    return sum(counts[word] for word in set(words)) / (len(words) + 3)
