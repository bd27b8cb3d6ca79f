"""Final answers: one short sentence for each call, copied from its live result.

An answer is kept as a template, ``The spot price at {0.hub} is {0.result.price}.``: the number is the call's, then
comes the name of an argument, or ``result`` and the path into the result.
"""

import json
from collections.abc import Sequence
from random import Random
from typing import Any

from data_gen import results
from data_gen.blueprints import Blueprint, Discard, Workshop
from data_gen.phrasebook import spoken
from data_gen.templates import SLOT, slots
from toolwright.records import ToolCall

MAX_CHARACTERS = 60
MAX_ITEMS = 8
MAX_FACTS = 3


def write_answer(shop: Workshop, blueprint: Blueprint, rng: Random) -> str:
    """The answer's template; for the modes without calls its words.

    Raises:
        Discard: nothing in the results can be told.
    """
    plan = blueprint.plan
    if plan.missing is not None:
        return rng.choice(shop.book.missing).replace("{parameter}", spoken(plan.missing))
    if not plan.steps:
        return rng.choice(shop.book.refusals)
    outcomes = [result for step in plan.steps for result in step.results]
    told = [len(plan.calls) - 1] if plan.mode == "dependent" else range(len(plan.calls))
    if plan.mode == "parallel":
        state = rng.getstate()
        return " ".join(_about_call(shop, n, plan.calls[n], outcomes[n], _again(state)) for n in told)
    return " ".join(_about_call(shop, n, plan.calls[n], outcomes[n], rng) for n in told)


def _again(state: Any) -> Random:
    """The same draws for each call, so that all calls of a tool are told in the same words."""
    rng = Random()
    rng.setstate(state)
    return rng


def _about_call(shop: Workshop, number: int, call: ToolCall, result: str, rng: Random) -> str:
    phrases = shop.book.of(shop.specs[call.name])
    options = phrases.answer or _generic(results.parse(result))
    for template in rng.sample(options, len(options)):
        indexed = SLOT.sub(lambda match: f"{{{number}.{match[1]}}}", template)
        if fill_answer(indexed, [call] * (number + 1), [result] * (number + 1)) is not None:
            return indexed
    raise Discard("no answer for this result")


def _generic(value: Any) -> tuple[str, ...]:
    if not isinstance(value, dict | list):
        return (
            ("The result is {result}.", "It is {result}.", "I got {result}.")
            if value != ""
            else ("Done.", "It is done.")
        )
    facts = [path for path, item in results.find_values(value) if path and _is_path(path) and item != ""][:MAX_FACTS]
    if not facts:
        return ("Done.", "It is done.", "That is done.")
    parts = [f"the {spoken(_name(path))} is {{result.{'.'.join(map(str, path))}}}" for path in facts]
    said = ", ".join(parts)
    return (f"{said[0].upper()}{said[1:]}.", f"Here it is: {said}.", f"I found that {said}.")


def _is_path(path: results.Path) -> bool:
    return all(str(step).replace("_", "a").isalnum() and str(step).isascii() for step in path)


def _name(path: results.Path) -> str:
    return next((step for step in reversed(path) if isinstance(step, str)), "result")


def fill_answer(template: str, calls: Sequence[ToolCall], contents: Sequence[str]) -> str | None:
    """The answer with the values of executed calls; none where a value is not there."""
    try:
        values = {slot: show(_value(slot, calls, contents)) for slot in slots(template)}
    except (LookupError, ValueError):
        return None
    return SLOT.sub(lambda match: values[match[1]], template) if all(values.values()) else None


def _value(slot: str, calls: Sequence[ToolCall], contents: Sequence[str]) -> Any:
    number, name, *path = slot.split(".")
    if name != "result":
        return calls[int(number)].arguments[name]
    steps = [int(step) if step.isdigit() else step for step in path]
    return results.look_up(results.parse(contents[int(number)]), steps)


def show(value: Any) -> str:
    """A value in an answer: numbers as they are, long texts cut, lists joined, objects by their names."""
    if isinstance(value, dict):
        value = list(value)
    if isinstance(value, list):
        return ", ".join(show(item) for item in value[:MAX_ITEMS])
    if not isinstance(value, str):
        return json.dumps(value)
    text = " ".join(value.split())
    return text if len(text) <= MAX_CHARACTERS else text[:MAX_CHARACTERS].rsplit(" ", 1)[0] + " ..."
