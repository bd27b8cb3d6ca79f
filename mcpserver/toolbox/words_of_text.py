"""Words, sentences and syllables of a text, and numbers in words. Reads and writes nothing; all of it linear."""

import re
import unicodedata

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*|\d+(?:[.,]\d+)*")
_END = re.compile(r"(?<![.!?…])[.!?…]++[\"'”’)\]]*+(?=\s|$)|\n[ \t]*+\n")
_ABBREVIATIONS = {
    *(
        "mr",
        "mrs",
        "ms",
        "dr",
        "prof",
        "st",
        "vs",
        "etc",
        "e.g",
        "i.e",
        "no",
        "fig",
        "inc",
        "ltd",
        "co",
        "approx",
        "jr",
    ),
    *("sr", "dept", "est", "jan", "feb", "mar", "apr", "aug", "sept", "oct", "nov", "dec", "art", "vol", "ca", "cf"),
}
_COMMON = """
a about after all also an and any are as at be because been before being but by can could did do does for from
had has have he her here him his how i if in into is it its just me more most my no not now of on once one only or
other our out over own said same she should so some such than that the their them then there these they this those
through to too two under until up very was we were what when where which while who will with would you your"""
COMMON_WORDS = frozenset(_COMMON.split())
_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SCALES = ("", " thousand", " million", " billion", " trillion", " quadrillion")
_ORDINALS = {
    **{"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth"},
    **{"twelve": "twelfth"},
}
_ROMAN = (
    *((1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"), (40, "XL"), (10, "X")),
    *((9, "IX"), (5, "V"), (4, "IV"), (1, "I")),
)


def words_of(text: str) -> list[str]:
    """The words and numbers of a text, in lower case."""
    return [word.casefold() for word in _WORD.findall(text)]


def sentences_of(text: str) -> list[str]:
    """The sentences of a text: they end at a full stop of no abbreviation or initial, or at an empty line."""
    found, start = [], 0
    for match in _END.finditer(text):
        before, after = text[max(start, match.start() - 12) : match.start()], text[match.end() : match.end() + 2]
        if match[0] == "." and _is_abbreviation(before, after):
            continue
        found.append(text[start : match.end()])
        start = match.end()
    found.append(text[start:])
    return [" ".join(sentence.split()) for sentence in found if sentence.strip()]


def _is_abbreviation(before: str, after: str) -> bool:
    last = before.split()[-1].lstrip("(\"'“‘").lower() if before.split() else ""
    return last in _ABBREVIATIONS or (len(last) == 1 and last.isalpha() and last != "i") or after.strip()[:1].islower()


def syllables_of(word: str) -> int:
    """About how many syllables an English word has: groups of vowels, without a silent e."""
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", word.lower()) if letter.isalpha())
    count = len(re.findall(r"[aeiouy]+", plain))
    if plain.endswith("e") and not plain.endswith(("le", "ee")) and count > 1:
        count -= 1
    return max(1, count)


def cardinal(number: int) -> str:
    """A whole number below 10**18 in English words."""
    if number < 0:
        return "minus " + cardinal(-number)
    groups, words = 0, list[str]()
    if number == 0:
        return "zero"
    while number:
        number, group = divmod(number, 1000)
        if group:
            words.append(_below_thousand(group) + _SCALES[groups])
        groups += 1
    return " ".join(reversed(words))


def _below_thousand(number: int) -> str:
    hundreds, rest = divmod(number, 100)
    words = [f"{_ONES[hundreds]} hundred"] if hundreds else []
    if 0 < rest < 20:
        words.append(_ONES[rest])
    elif rest:
        words.append(_TENS[rest // 10] + (f"-{_ONES[rest % 10]}" if rest % 10 else ""))
    return " ".join(words)


def ordinal(number: int) -> str:
    """The place in a row in English words, such as twenty-first."""
    words = cardinal(number)
    cut = max(words.rfind(" "), words.rfind("-")) + 1
    head, last = words[:cut], words[cut:]
    if last in _ORDINALS:
        return head + _ORDINALS[last]
    return head + (last[:-1] + "ieth" if last.endswith("y") else last + ("h" if last.endswith("t") else "th"))


def year_in_words(year: int) -> str:
    """A year from 1 to 9999 as it is read aloud, such as nineteen oh five."""
    century, rest = divmod(year, 100)
    if year < 1000 or century % 10 == 0:
        return cardinal(year)
    if rest == 0:
        return f"{cardinal(century)} hundred"
    return f"{cardinal(century)} {'oh ' if rest < 10 else ''}{cardinal(rest)}"


def to_roman(number: int) -> str:
    """A number from 1 to 3999 in Roman numerals."""
    text = ""
    for value, letters in _ROMAN:
        count, number = divmod(number, value)
        text += letters * count
    return text


def from_roman(text: str) -> int | None:
    """The value of Roman numerals; nothing if they are not written the usual way."""
    rest, number = text, 0
    for value, letters in _ROMAN:
        while rest.startswith(letters):
            number, rest = number + value, rest[len(letters) :]
    return number if not rest and 0 < number < 4000 and to_roman(number) == text else None
