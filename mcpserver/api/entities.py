"""What a conversation's virtual replies have said of things with an id, so that later replies say the same.

A thing is a kind (``pet``) and an id. Its id, and what nobody has said of it yet, follow from the seed alone: the same
thing looks the same through every tool, in whatever order the tools are called.
"""

import random
from collections.abc import Mapping
from typing import Any

from mcpserver.api.names import snake
from mcpserver.api.type_names import fits_type
from mcpserver.api.vocabulary import uuid_text
from mcpserver.context import draw

POOL = 12
MAX_THINGS = 2000
_IDS = ("id", "uuid", "_id", "guid", "slug", "sku", "code", "symbol", "key")

Thing = tuple[str, str]


def singular(word: str) -> str:
    """The kind that a name tells of: ``Pets`` and ``pet`` give ``pet``."""
    word = snake(word)
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    if word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3 else word


def id_kind(name: str) -> str | None:
    """The kind that an id of this name belongs to: ``customerId`` gives ``customer``; empty for ``id`` alone."""
    plain = snake(name)
    if plain in ("id", "uuid", "guid"):
        return ""
    for end in ("_id", "_uuid", "_guid", "_ids"):
        if plain.endswith(end):
            return singular(plain.removesuffix(end))
    return None


def id_property(properties: Mapping[str, Any], kind: str) -> str | None:
    """The property that is the id of a thing of a kind, if it has one."""
    plain = {snake(name) or name: name for name in properties}
    for word in (_IDS[0], f"{kind}_id", f"{kind}_uuid", *_IDS[1:]):
        if word in plain or word in properties:
            return plain.get(word, word)
    return None


class Entities:
    """The things of one conversation."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.known: dict[Thing, dict[str, Any]] = {}
        self._order: dict[str, list[Any]] = {}

    def random(self, *words: object) -> random.Random:
        """A generator that belongs to the seed and these words."""
        return draw(self.seed, "\0".join(("api", *map(str, words))))

    def id_of(self, kind: str, index: int, schema: Mapping[str, Any]) -> Any:
        """The id of a thing by its number: first those that were made up in calls, then those of the seed."""
        fitting = [one for one in self._order.get(kind, ()) if fits_type(one, schema.get("type"))]
        if index < len(fitting):
            return fitting[index]
        return self._pool(kind, index - len(fitting), schema)

    def _pool(self, kind: str, index: int, schema: Mapping[str, Any]) -> Any:
        rng = self.random("id", kind)
        kinds = schema.get("type")
        kinds = kinds if isinstance(kinds, list) else [kinds]
        if "integer" in kinds or ("number" in kinds and "string" not in kinds):
            return rng.randint(1000, 8000) + 7 * index
        if schema.get("format") == "uuid":
            return uuid_text(self.random("id", kind, index))
        return f"{(kind or 'item')[:4]}_{rng.randint(0x1000, 0xEFFF) + 11 * index:x}"

    def attributes(self, kind: str, identity: Any) -> dict[str, Any]:
        """What was said of a thing."""
        return self.known.get((kind, str(identity)), {})

    def learn(self, kind: str, identity: Any, attributes: Mapping[str, Any], *, made_up: bool = False) -> None:
        """Remember what a reply said of a thing; ``made_up`` says that its id came from a caller, not from the pool."""
        thing = kind, str(identity)
        if thing not in self.known and len(self.known) >= MAX_THINGS:
            return
        if thing not in self.known and made_up:
            self._order.setdefault(kind, []).insert(0, identity)
        plain = {name: value for name, value in attributes.items() if not isinstance(value, dict | list)}
        self.known.setdefault(thing, {}).update(plain)

    def learn_from(self, kind: str, value: Any, depth: int = 0) -> None:
        """Remember the things in a reply that came from elsewhere: the real endpoint, or a model."""
        if depth > 6:
            return
        if isinstance(value, list):
            for item in value[:50]:
                self.learn_from(kind, item, depth + 1)
        elif isinstance(value, dict):
            name = id_property(value, kind)
            if name is not None and isinstance(value[name], str | int) and not isinstance(value[name], bool):
                self.learn(kind, value[name], value, made_up=True)
            for key, inner in value.items():
                if isinstance(inner, dict | list):
                    self.learn_from(kind if key in WRAPPERS else singular(key), inner, depth + 1)


WRAPPERS = ("data", "result", "results", "items", "response", "payload", "body", "content", "records", "list", "rows")
