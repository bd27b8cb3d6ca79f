"""Numbers with check digits: cards, IBAN, ISBN, EAN, LEI. Reads and writes nothing.

Sources: ISO/IEC 7812 (Luhn), ISO 13616 and ISO 7064 mod 97-10 (IBAN, LEI of ISO 17442), ISO 2108 (ISBN), GS1 (EAN).
"""

import re
from typing import Literal

Kind = Literal["card", "iban", "isbn10", "isbn13", "ean13", "ean8", "lei"]

_SHAPES: dict[Kind, str] = {
    "card": "[0-9]{12,19}",
    "iban": "[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}",
    "isbn10": "[0-9]{9}[0-9X]",
    "isbn13": "97[89][0-9]{10}",
    "ean13": "[0-9]{13}",
    "ean8": "[0-9]{8}",
    "lei": "[A-Z0-9]{18}[0-9]{2}",
}


def check(code: str, kind: Kind) -> str:
    """What is wrong with a code; empty if it is valid. Spaces and hyphens do not count."""
    plain = normal(code)
    if not re.fullmatch(_SHAPES[kind], plain):
        return f"it has not the form of {kind}"
    if kind in ("iban", "lei"):
        moved = plain[4:] + plain[:4] if kind == "iban" else plain
        good = int("".join(str(int(character, 36)) for character in moved)) % 97 == 1
    elif kind == "card":
        good = _luhn(plain) == 0
    elif kind == "isbn10":
        digits = [10 if character == "X" else int(character) for character in plain]
        good = sum(weight * digit for weight, digit in zip(range(10, 0, -1), digits)) % 11 == 0
    else:
        good = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(plain[::-1])) % 10 == 0
    return "" if good else "its check digit is wrong"


def normal(code: str) -> str:
    """A code without spaces and hyphens, in capitals."""
    return re.sub(r"[\s-]", "", code).upper()


def _luhn(digits: str) -> int:
    doubled = (int(digit) * (1 + place % 2) for place, digit in enumerate(digits[::-1]))
    return sum(value - 9 if value > 9 else value for value in doubled) % 10
