"""The words: phrasings for our own tools from ``phrasebook.yaml``, and for any other tool from its schema."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from data_gen.templates import as_clause, slots
from toolwright.records import ToolSpec

PHRASEBOOK = Path(__file__).with_name("phrasebook.yaml")
MAX_DESCRIPTION_WORDS = 8
GENERIC_FORMS = (" with {p} {v}", ", {p} {v}", " using {p} {v}", ", {p}: {v}", " for {p} {v}")


@dataclass(frozen=True)
class Phrases:
    """How a tool is asked for and its result told; ``written`` when they come from the phrasebook."""

    ask: tuple[str, ...]
    noun: tuple[str, ...] = ()
    answer: tuple[str, ...] = ()
    covers: frozenset[str] = frozenset()
    written: bool = True


@dataclass(frozen=True)
class Chain:
    """A later call's parameter that takes a value of an earlier result, and how that value is called."""

    first: str
    key: str
    then: str
    parameter: str
    say: str
    fitting: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Phrasebook:
    """All words of the scripted teacher."""

    tools: Mapping[str, Phrases]
    chains: tuple[Chain, ...]
    nested: frozenset[str]
    out_of_scope: tuple[str, ...]
    fillers: Mapping[str, tuple[str, ...]]
    small_talk: tuple[tuple[str, str], ...]
    refusals: tuple[str, ...]
    missing: tuple[str, ...]

    def of(self, spec: ToolSpec) -> Phrases:
        """The phrases of a tool: written ones when name and parameters are those of our own tool."""
        written = self.tools.get(spec.name)
        known = set(spec.parameters.get("properties", {}))
        if written and all(slots(template) <= known for template in written.ask):
            return written
        return generic_phrases(spec)


@lru_cache(maxsize=1)
def load_phrasebook() -> Phrasebook:
    """Read the phrasebook that is part of this package."""
    data = yaml.safe_load(PHRASEBOOK.read_text(encoding="utf-8"))
    return Phrasebook(
        tools={name: _phrases(entry) for name, entry in data["tools"].items()},
        chains=tuple(Chain(*entry) for entry in data["chains"]),
        nested=frozenset(data["nested"]),
        out_of_scope=tuple(data["out_of_scope"]["templates"]),
        fillers={name: tuple(words) for name, words in data["out_of_scope"]["fillers"].items()},
        small_talk=tuple((said, reply) for said, reply in data["small_talk"]),
        refusals=tuple(data["refusals"]),
        missing=tuple(data["missing"]),
    )


def _phrases(entry: Mapping[str, Any]) -> Phrases:
    return Phrases(
        tuple(entry["ask"]), tuple(entry.get("noun", ())), tuple(entry["answer"]), frozenset(entry.get("covers", ()))
    )


def spoken(name: str) -> str:
    """A name in code as words: ``server__getUser_id`` becomes ``get user id``."""
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name.rpartition("__")[2])
    return " ".join(re.split(r"[\s_.\-/]+", name)).strip().lower()


def generic_phrases(spec: ToolSpec) -> Phrases:
    """Phrases made of a tool's name, description and parameter names."""
    doing = spoken(spec.name)
    first = re.split(r"[.\n(;:]", spec.description.strip(), maxsplit=1)[0].strip()
    usable = 0 < len(first.split()) <= MAX_DESCRIPTION_WORDS and not re.search(r"[\[\]{}|~]", first)
    described = as_clause(first) if usable else f"use {doing}"
    starts = (described, f"please {described}", f"I need you to {described}", f"use {doing}", described)
    names = tuple(spec.parameters.get("properties", {}))
    asks = [_ask(start, form, names) for start, form in zip(starts, GENERIC_FORMS)]
    return Phrases(tuple(dict.fromkeys(asks)), (f"the result of {doing}",) if not names else (), written=False)


def _ask(start: str, form: str, names: Sequence[str]) -> str:
    forms = [form, *(", {p} {v}" if form[0] == " " else form for _ in names[1:])]
    said = (f.replace("{p}", spoken(name)).replace("{v}", f"{{{name}}}") for f, name in zip(forms, names))
    bar = "|" if form[0] == " " else ""
    return f"{start[:1].upper()}{start[1:]}{bar}{''.join(f'[{clause}]' for clause in said)}."
