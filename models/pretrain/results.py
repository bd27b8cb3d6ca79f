"""Random tool results and the short answers that copy from them."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from models.pretrain import words
from models.pretrain.tools import Tool
from models.pretrain.values import any_word, code, integer, iso_date, number, path, phrase

Scalar: tuple[Callable[[Random], Any], ...] = (
    number, number, integer, any_word, code, iso_date, path, lambda r: r.choice(words.CITIES),
)  # fmt: skip


@dataclass(frozen=True)
class Result:
    """A tool's result as text, and the sentences that would answer with it."""

    text: str
    answers: tuple[str, ...]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _plain(rng: Random, noun: str) -> Result:
    value = rng.choice(Scalar)(rng)
    return Result(str(value), (f"The result is {value}.", f"The {noun} is {value}.", f"It is {value}."))


def _with_unit(rng: Random, noun: str) -> Result:
    value, unit, key = number(rng), rng.choice(words.UNITS), rng.choice(("value", "result", noun.split()[-1], "total"))
    text = _json({key: value, "unit": unit})
    return Result(text, (f"The result is {value} {unit}.", f"The {noun} is {value} {unit}.", f"It is {value} {unit}."))


def _record(rng: Random, noun: str) -> Result:
    keys = rng.sample(words.NOUNS + words.DEMO_WORDS, rng.randint(1, 4))
    record = {key: rng.choice(Scalar)(rng) for key in dict.fromkeys(keys)}
    parts = [f"{key} is {value}" for key, value in record.items()]
    said = "The " + ", the ".join(parts) + "."
    return Result(_json(record), (said, said))


def _done(rng: Random, noun: str) -> Result:
    mark = code(rng)
    record = {"status": rng.choice(("ok", "done")), rng.choice(("id", "reference")): mark}
    return Result(_json(record), (f"Done, the reference is {mark}.", f"The {noun} is done: {mark}."))


def _sentence(rng: Random, noun: str) -> Result:
    text = phrase(rng)
    return Result(text, (f"It says: {text}.", f"The {noun}: {text}."))


def _items(rng: Random, noun: str) -> Result:
    draw = rng.choice(Scalar)
    items = [draw(rng) for _ in range(rng.randint(1, 4))]
    said = ", ".join(str(item) for item in items)
    return Result(_json(items), (f"The results are {said}.", f"Found {len(items)}: {said}."))


def _error(rng: Random, noun: str) -> Result:
    reason = rng.choice(("unknown {w}", "no {w} found", "the {w} is missing", "{w} not allowed")).format(
        w=any_word(rng)
    )
    return Result(_json({"error": reason}), (f"That did not work: {reason}.", f"There was an error: {reason}."))


FORMS = (_plain, _plain, _with_unit, _with_unit, _record, _record, _done, _sentence, _items, _error)


def draw_result(rng: Random, tool: Tool) -> Result:
    """Draw a result for one call of `tool`."""
    return rng.choice(FORMS)(rng, tool.noun)


def answer(rng: Random, result: Result) -> str:
    """Return a short answer with the result."""
    return rng.choice(result.answers[:1] * 2 + result.answers)
