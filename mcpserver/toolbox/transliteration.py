"""Latin, Greek and Cyrillic letters in ASCII. Reads and writes nothing.

Sources: ISO 843 (Greek) and BGN/PCGN (Russian, Ukrainian), without their diacritics.
"""

import unicodedata

_LATIN = {
    **{"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "ł": "l", "ı": "i", "ħ": "h"},
    **{"ä": "ae", "ö": "oe", "ü": "ue", "ŋ": "ng", "ĸ": "k", "ŧ": "t", "ſ": "s", "ə": "a"},
}
_CYRILLIC_LETTERS = "абвгґдеёєжзиіїйклмнопрстуфхцчшщъыьэюя"
_CYRILLIC_NAMES = "a b v g g d e yo ye zh z i i yi y k l m n o p r s t u f kh ts ch sh shch  y  e yu ya"
_GREEK_LETTERS = "αβγδεζηθικλμνξοπρσςτυφχψω"
_GREEK_NAMES = "a v g d e z i th i k l m n x o p r s s t y f ch ps o"
_CYRILLIC = dict(zip(_CYRILLIC_LETTERS, _CYRILLIC_NAMES.split(" ")))
_GREEK = dict(zip(_GREEK_LETTERS, _GREEK_NAMES.split(" ")))
_MARKS = dict(
    zip(
        "“”„«»‘’‚–—−…€£×·\u00a0",
        ['"', '"', '"', '"', '"', "'", "'", "'", "-", "-", "-", "...", "EUR", "GBP", "x", ".", " "],
    )
)
_TABLE = _LATIN | _CYRILLIC | _GREEK | _MARKS


def to_ascii(text: str, unknown: str) -> str:
    """A text in ASCII; ``unknown`` stands for each character that has no such form."""
    composed = unicodedata.normalize("NFC", text)
    return "".join(character if character.isascii() else _one(character, unknown) for character in composed)


def _one(character: str, unknown: str) -> str:
    bare = without_accents(character)
    for form in (character, bare):
        found = [_letter(part) for part in form]
        if None not in found:
            return "".join(part for part in found if part is not None)
    return unknown


def _letter(character: str) -> str | None:
    if character.isascii():
        return character
    plain = _TABLE.get(character.lower())
    if plain is None:
        return None
    return plain[:1].upper() + plain[1:] if character.isupper() else plain


def without_accents(text: str) -> str:
    """A text without the marks on its letters; other letters stay."""
    return "".join(part for part in unicodedata.normalize("NFKD", text) if not unicodedata.combining(part))
