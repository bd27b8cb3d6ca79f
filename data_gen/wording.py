"""Puts a blueprint into words: one short request that tells every value the calls need, and no hidden one."""

import re
from collections.abc import Mapping
from random import Random
from typing import Any

from data_gen.blueprints import Blueprint, Discard, Workshop
from data_gen.phrasebook import Phrases
from data_gen.spoken import mentions, quoted, say
from data_gen.templates import as_clause, as_sentence, fill, fill_each, is_request, plain, slots
from toolwright.records import ToolCall

MAX_WORDS = 35
OPENERS = ("", "", "", "", "", "Please ", "Can you ", "Could you ")
NESTED_SHARE = 0.5

Said = dict[str, str]


def write_request(shop: Workshop, blueprint: Blueprint, rng: Random) -> str:
    """The request.

    Raises:
        Discard: no phrasing says all that is needed, or it is too long.
    """
    plan = blueprint.plan
    if plan.mode == "no_tool" and blueprint.values is None:
        raise ValueError("a request without a tool has words of its own")
    if blueprint.values is not None:
        text = _one(shop, blueprint.values, rng, without=plan.missing)
    elif plan.mode == "dependent":
        text = _chained(shop, blueprint, rng)
    elif len(plan.calls) == 1:
        text = _one(shop, plan.calls[0], rng)
    else:
        text = _several(shop, plan.calls, rng)
    text = tidy(text)
    if len(text.split()) > MAX_WORDS:
        raise Discard("the request is too long")
    _check_values(blueprint, text)
    return text


def tidy(text: str) -> str:
    """Close the gaps that left-out clauses leave."""
    return re.sub(r"\s+([.,?!:])(?=\s|$)", r"\1", re.sub(r"\s{2,}", " ", text)).strip()


def _check_values(blueprint: Blueprint, text: str) -> None:
    plan = blueprint.plan
    calls = [blueprint.values] if blueprint.values else list(plan.calls)
    hidden = plan.missing or (blueprint.chain.parameter if blueprint.chain else None)
    for position, call in enumerate(calls):
        for name, value in call.arguments.items():
            is_hidden = name == hidden and position == len(calls) - 1
            if is_hidden and mentions(text, value):
                raise Discard("the request tells what it must not")
            if not is_hidden and not mentions(text, value):
                raise Discard("the request does not tell every value")


def _say_all(call: ToolCall, phrases: Phrases, rng: Random, without: str | None = None) -> Said:
    said = {name: say(value, rng) for name, value in call.arguments.items() if name != without}
    if phrases.written:
        return said
    return {name: quoted(text) if isinstance(call.arguments[name], str) else text for name, text in said.items()}


def _phrasings(shop: Workshop, call: ToolCall, rng: Random) -> tuple[Phrases, list[str]]:
    phrases = shop.book.of(shop.specs[call.name])
    return phrases, rng.sample(phrases.ask, len(phrases.ask))


def _one(shop: Workshop, call: ToolCall, rng: Random, without: str | None = None) -> str:
    phrases, asks = _phrasings(shop, call, rng)
    said = _say_all(call, phrases, rng, without)
    for template in asks:
        if (text := fill(plain(template), said)) is not None:
            return _open(text, template, rng)
    raise Discard("no phrasing for these arguments")


def _open(text: str, template: str, rng: Random) -> str:
    opener = rng.choice(OPENERS) if is_request(template) and re.match(r"(?!Please|I )\w+", template) else ""
    text = opener + (as_clause(text) if opener else text.rstrip("."))
    ending = "?" if opener.startswith(("Can", "Could")) else "" if template.endswith("?") else "."
    return as_sentence(text + ending)


def _request(shop: Workshop, call: ToolCall, rng: Random, replaced: Mapping[str, str] | None = None) -> str:
    """An order that can stand beside others; ``replaced`` says a value as "that day" or as a longer thing."""
    phrases, asks = _phrasings(shop, call, rng)
    said = {**_say_all(call, phrases, rng), **(replaced or {})}
    for template in asks:
        if (
            is_request(template)
            and not template.startswith(("I ", "Please"))
            and _takes(template, replaced or {})
            and (text := fill(plain(template), said)) is not None
        ):
            return text
    raise Discard("no phrasing for these arguments")


def _several(shop: Workshop, calls: tuple[ToolCall, ...], rng: Random) -> str:
    if len({call.name for call in calls}) == 1 and (text := _for_each(shop, calls, rng)):
        return text
    parts = [_request(shop, call, rng) for call in calls]
    if rng.random() < 0.3:
        return " ".join([as_sentence(parts[0]), *(f"Also {as_clause(part)}." for part in parts[1:])])
    clauses = [as_clause(part) for part in parts[1:]]
    return as_sentence(
        as_sentence(parts[0]).rstrip(".") + "".join(f", {c}" for c in clauses[:-1]) + f" and {clauses[-1]}"
    )


def _for_each(shop: Workshop, calls: tuple[ToolCall, ...], rng: Random) -> str | None:
    phrases, asks = _phrasings(shop, calls[0], rng)
    said = [_say_all(call, phrases, rng) for call in calls]
    filled = (fill_each(template, said) for template in asks)
    return next((text for text in filled if text), None)


def _chained(shop: Workshop, blueprint: Blueprint, rng: Random) -> str:
    chain, (first, second) = blueprint.chain, blueprint.plan.calls
    if chain is None:
        raise Discard("no chain")
    may_nest = f"{chain.then}.{chain.parameter}" in shop.book.nested and rng.random() < NESTED_SHARE
    if may_nest and (text := _nested(shop, first, second, chain.parameter, rng)) is not None:
        return text
    start = as_sentence(_request(shop, first, rng)).rstrip(".")
    rest = as_clause(_request(shop, second, rng, {chain.parameter: chain.say}))
    return f"{start}{rng.choice((', then ', ' and then ', '. Then '))}{rest}."


def _nested(shop: Workshop, first: ToolCall, second: ToolCall, parameter: str, rng: Random) -> str | None:
    nouns = shop.book.of(shop.specs[first.name]).noun
    said_first: dict[str, Any] = {name: say(value, rng) for name, value in first.arguments.items()}
    options = [noun for noun in nouns if slots(noun) == said_first.keys()]
    if not options:
        return None
    noun = fill(rng.choice(options), said_first)
    phrases, asks = _phrasings(shop, second, rng)
    said = {**_say_all(second, phrases, rng), parameter: str(noun)}
    filled = (fill(plain(template), said) for template in asks if _takes(template, {parameter: ""}))
    return next((text for text in filled if text is not None), None)


def _takes(template: str, replaced: Mapping[str, str]) -> bool:
    """Whether a thing can stand where the template has a name: not behind "the number" or "the file"."""
    bare = tidy(re.sub(r"[\[\]|]", "", template))
    return not any(re.search(rf"\b(files?|numbers?|value|hub|source|folder) \{{{name}\}}", bare) for name in replaced)
