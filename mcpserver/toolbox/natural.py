"""The order in which people sort: numbers by value within texts. Reads and writes nothing."""

import re

_NUMBERS = re.compile(r"([0-9]+)")


def natural_key(text: str) -> tuple[list[tuple[int, str]], str]:
    """A sort key by which ``item 2`` comes before ``item 10``, and upper and lower case stand together."""
    parts = _NUMBERS.split(text.casefold())
    # as (digits, text), since Python refuses to read numbers of thousands of digits
    numbers = (part.lstrip("0") if index % 2 else part for index, part in enumerate(parts))
    return [(len(part) if index % 2 else 0, part) for index, part in enumerate(numbers)], text
