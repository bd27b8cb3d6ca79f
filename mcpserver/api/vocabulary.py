"""Plausible values by the name of a property: cities for ``city``, prices for ``price``. Pure functions."""

import datetime
import random
from collections.abc import Callable

from mcpserver.api.names import snake
from mcpserver.context import FIRST_MOMENT

_CITIES = ("Rotterdam", "Hamburg", "Antwerp", "Lyon", "Porto", "Gdansk", "Vienna", "Bergen", "Turin", "Leeds")
_COUNTRIES = ("Netherlands", "Germany", "Belgium", "France", "Portugal", "Poland", "Austria", "Norway", "Italy")
_CODES = ("NL", "DE", "BE", "FR", "PT", "PL", "AT", "NO", "IT", "GB")
_GIVEN = ("Nora", "Elif", "Jonas", "Mateo", "Ingrid", "Tomasz", "Clara", "Samuel", "Leila", "Viktor")
_FAMILY = ("Lindqvist", "Okafor", "Brandt", "Moreau", "Castro", "Nowak", "Haugen", "Rossi", "Whitfield", "Kaya")
_FIRMS = ("Northgate", "Blue Harbor", "Alder & Finch", "Meridian", "Stonebridge", "Lumen", "Halcyon", "Corvus")
_THINGS = ("Compass", "Lantern", "Harvest", "Beacon", "Quartz", "Willow", "Summit", "Ember", "Drift", "Cobalt")
_KINDS = ("standard", "premium", "basic", "seasonal", "regional", "classic")
_STATES = ("active", "pending", "completed", "open", "closed")
_CURRENCIES = ("EUR", "USD", "GBP", "CHF", "NOK")
_LANGUAGES = ("en", "de", "fr", "nl", "pt")
_SENTENCES = (
    "Results are updated every hour.",
    "A short overview of the main points.",
    "Available in most regions.",
    "Reviewed by the editors last month.",
    "Includes all items of the current season.",
)
_COLORS = ("blue", "green", "amber", "grey", "red")

Make = Callable[[random.Random], str]


def _pick(options: tuple[str, ...]) -> Make:
    return lambda rng: rng.choice(options)


def person(rng: random.Random) -> str:
    """A person's name."""
    return f"{rng.choice(_GIVEN)} {rng.choice(_FAMILY)}"


def _email(rng: random.Random) -> str:
    return f"{person(rng).lower().replace(' ', '.')}@example.com"


def _url(rng: random.Random) -> str:
    return f"https://www.example.com/{rng.choice(_THINGS).lower()}/{rng.randint(100, 9999)}"


def moment(rng: random.Random) -> datetime.datetime:
    """A moment in the two years before the clock of the environments."""
    return FIRST_MOMENT - datetime.timedelta(minutes=rng.randint(0, 730 * 24 * 60))


def _title(rng: random.Random) -> str:
    return f"{rng.choice(_THINGS)} {rng.choice(_THINGS)}"


def _phone(rng: random.Random) -> str:
    return f"+31 20 {rng.randint(100, 999)} {rng.randint(1000, 9999)}"


def uuid_text(rng: random.Random) -> str:
    """A version 4 UUID."""
    text = f"{rng.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


FORMATS: dict[str, Make] = {
    "date": lambda rng: moment(rng).date().isoformat(),
    "date-time": lambda rng: f"{moment(rng).isoformat()}Z",
    "time": lambda rng: f"{moment(rng).time().isoformat()}Z",
    "duration": lambda rng: f"PT{rng.randint(1, 90)}M",
    "email": _email,
    "idn-email": _email,
    "uri": _url,
    "url": _url,
    "iri": _url,
    "uri-reference": lambda rng: f"/{rng.choice(_THINGS).lower()}/{rng.randint(1, 999)}",
    "hostname": lambda rng: f"{rng.choice(_THINGS).lower()}.example.com",
    "ipv4": lambda rng: f"192.0.2.{rng.randint(1, 254)}",
    "ipv6": lambda rng: f"2001:db8::{rng.randint(1, 0xFFFF):x}",
    "uuid": uuid_text,
    "byte": lambda rng: "".join(rng.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=12)),
    "phone": _phone,
}

_BY_WORD: dict[str, Make] = {
    **dict.fromkeys(("city", "town", "location", "place", "destination", "origin"), _pick(_CITIES)),
    **dict.fromkeys(("country", "nation"), _pick(_COUNTRIES)),
    **dict.fromkeys(("author", "user", "username", "owner", "person", "artist", "player", "fullname"), person),
    **dict.fromkeys(("company", "team", "brand", "publisher", "vendor", "provider", "source", "club"), _pick(_FIRMS)),
    **dict.fromkeys(("email", "mail"), _email),
    **dict.fromkeys(("url", "link", "image", "photo", "thumbnail", "website", "href", "icon", "logo", "picture"), _url),
    **dict.fromkeys(("name", "title", "label", "headline", "album", "product", "movie", "track"), _title),
    **dict.fromkeys(("description", "summary", "text", "message", "content", "body", "comment", "note", "bio"),
                    _pick(_SENTENCES)),
    **dict.fromkeys(("status", "state"), _pick(_STATES)),
    **dict.fromkeys(("type", "category", "kind", "genre", "group", "tag"), _pick(_KINDS)),
    **dict.fromkeys(("date", "day", "published", "birthday"), FORMATS["date"]),
    **dict.fromkeys(("time", "timestamp", "created", "updated", "at", "datetime", "expires"), FORMATS["date-time"]),
    **dict.fromkeys(("phone", "telephone", "fax"), _phone),
    "firstname": _pick(_GIVEN),
    "lastname": _pick(_FAMILY),
    "currency": _pick(_CURRENCIES),
    "language": _pick(_LANGUAGES),
    "lang": _pick(_LANGUAGES),
    "color": _pick(_COLORS),
    "ip": FORMATS["ipv4"],
    "uuid": uuid_text,
    "address": lambda rng: f"{rng.choice(_THINGS)} Street {rng.randint(1, 99)}, {rng.choice(_CITIES)}",
    "timezone": _pick(("Europe/Amsterdam", "Europe/Berlin", "Europe/Lisbon")),
    "zip": lambda rng: str(rng.randint(10000, 99999)),
}  # fmt: skip

_RANGES: dict[str, tuple[float, float, int]] = {
    **dict.fromkeys(("price", "amount", "cost", "total", "balance", "value", "fee", "volume"), (5, 500, 2)),
    **dict.fromkeys(("latitude", "lat"), (40, 60, 4)),
    **dict.fromkeys(("longitude", "lon", "lng"), (-5, 25, 4)),
    **dict.fromkeys(("temperature", "temp"), (-5, 30, 1)),
    **dict.fromkeys(("humidity", "percentage", "percent", "probability", "score"), (0, 100, 1)),
    **dict.fromkeys(("rating", "stars"), (1, 5, 1)),
    **dict.fromkeys(("rate", "ratio", "share"), (0, 1, 4)),
    **dict.fromkeys(("page", "rank", "position", "level"), (1, 10, 0)),
    **dict.fromkeys(("count", "quantity", "number", "size", "length", "limit", "stock"), (1, 100, 0)),
    "year": (2015, 2025, 0),
    "age": (18, 80, 0),
    "timestamp": (1_700_000_000, 1_742_000_000, 0),
}


def last_words(name: str) -> tuple[str, str]:
    """The last word of a property's name, and the last two as one: ``firstName`` gives ``name`` and ``firstname``."""
    words = snake(name).split("_")
    return words[-1], "".join(words[-2:])


def text_for(name: str, rng: random.Random) -> str | None:
    """A plausible text for a property, or None when its name says nothing."""
    last, both = last_words(name)
    if both in ("countrycode", "languagecode"):
        return rng.choice(_CODES if both == "countrycode" else _LANGUAGES)
    make = _BY_WORD.get(both) or _BY_WORD.get(last) or (_BY_WORD.get(last[:-1]) if last.endswith("s") else None)
    return None if make is None else make(rng)


def range_for(name: str) -> tuple[float, float, int] | None:
    """Lower and upper end, and decimals, for a number of that name."""
    last, _ = last_words(name)
    return _RANGES.get(last)


def is_known(word: str) -> bool:
    """Whether values for a property of that name can be made."""
    return word in _BY_WORD or word in _RANGES


def is_number(word: str) -> bool:
    """Whether a property of that name is a number."""
    return word in _RANGES


def any_text(rng: random.Random) -> str:
    """A text for a property whose name says nothing."""
    return f"{rng.choice(_THINGS).lower()}-{rng.randint(10, 99)}"
