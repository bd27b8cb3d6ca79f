"""Calls checked and compared: one meaning of "valid" and of "the same", for checkers, rewards and metrics alike.

A call is valid when its arguments fit the tool's JSON Schema (draft 2020-12), with types taken strictly: ``1.0`` and
``true`` are no integers. One thing is stricter than the standard: a schema that lists its properties and says nothing
of others takes no others, because the function behind it does not.

Two calls are the same when their names are equal and their arguments are equal as JSON values: the order of keys does
not count, the order of lists does, 1 equals 1.0, true does not equal 1, strings are equal character for character.
Call ids never count. Nor does the schema: an argument left out is not the same as its default written out.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jsonschema import ValidationError

from toolwright.assignment import best_assignment
from toolwright.errors import DataError
from toolwright.explain import explain
from toolwright.records import ToolCall, ToolSpec
from toolwright.schemas import compile_schema
from toolwright.words import nearest, shorten, show

MAX_COMPLAINTS = 10
"""A model that reads more complaints than this repairs none of them."""

_OPENING_KEYS = (
    *("additionalProperties", "unevaluatedProperties", "patternProperties"),
    *("allOf", "anyOf", "oneOf", "if", "dependentSchemas", "$ref", "$dynamicRef"),
)


def check_schema(spec: ToolSpec) -> None:
    """Refuse a tool whose parameters are no JSON Schema of an object.

    Raises:
        DataError: names the tool, the JSON path and what is wrong there.
    """
    compile_schema(spec)


def check_arguments(spec: ToolSpec, arguments: Mapping[str, Any]) -> list[str]:
    """List what is wrong with the arguments of a call, in words for the model that made it; empty when they fit.

    Each entry names the parameter, what was expected and what was given, and the nearest name for an unknown one.

    Raises:
        DataError: the tool's own schema is wrong.
    """
    validator = compile_schema(spec)
    instance = dict(arguments)
    complaints = _unknown_parameters(spec.parameters, instance)
    try:
        errors = sorted(validator.iter_errors(instance), key=lambda error: [str(step) for step in error.absolute_path])
    except RecursionError:
        return ["the arguments are nested too deeply to be checked"]
    complaints += [complaint for error in _without_followers(errors) for complaint in explain(error)]
    complaints = list(dict.fromkeys(complaints))
    more = len(complaints) - MAX_COMPLAINTS
    return complaints if more <= 0 else [*complaints[:MAX_COMPLAINTS], f"and {more} more"]


def _without_followers(errors: Sequence[ValidationError]) -> Iterator[ValidationError]:
    """Leave out that a value of the wrong type is not in the enum either."""
    wrong_type = {tuple(error.absolute_path) for error in errors if error.validator == "type"}
    for error in errors:
        if error.validator == "type" or tuple(error.absolute_path) not in wrong_type:
            yield error


def _unknown_parameters(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> list[str]:
    if "properties" not in schema or any(key in schema for key in _OPENING_KEYS):
        return []
    known = list(schema["properties"])
    return [f"unknown parameter {show(name)}{nearest(name, known)}" for name in arguments if name not in known]


def canonical(call: ToolCall) -> str:
    """Write a call so that two calls are the same if and only if the texts are equal; pure ASCII.

    Raises:
        DataError: arguments that are not JSON.
    """
    return f"{json.dumps(call.name)} {canonical_value(call.arguments)}"


def canonical_value(value: object) -> str:
    """Write a JSON value so that two values are equal if and only if the texts are.

    Raises:
        DataError: not a JSON value.
    """
    try:
        return json.dumps(_normal(value), sort_keys=True, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"not a JSON value ({error}): {shorten(value)}") from None


def _normal(value: object) -> object:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        if strange := [key for key in value if not isinstance(key, str)]:
            raise TypeError(f"the key {strange[0]!r} is not a string")
        return {key: _normal(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_normal(inner) for inner in value]
    return value


def same_call(a: ToolCall, b: ToolCall) -> bool:
    """Whether two calls are the same: equal names and equal arguments; ids do not count."""
    return a.name == b.name and canonical(a) == canonical(b)


@dataclass(frozen=True)
class Tally:
    """How many were predicted, how many are in the gold answer, and how many of them agree."""

    hits: int
    predicted: int
    gold: int

    @property
    def precision(self) -> float:
        """Share of the predicted that agree; 1 when nothing was predicted and nothing should have been."""
        return self.hits / self.predicted if self.predicted else float(not self.gold)

    @property
    def recall(self) -> float:
        """Share of the gold ones that were found; 1 when there was nothing to find and nothing was predicted."""
        return self.hits / self.gold if self.gold else float(not self.predicted)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        total = self.predicted + self.gold
        return 2 * self.hits / total if total else 1.0


@dataclass(frozen=True)
class CallMatch:
    """The best pairing of predicted with gold calls; all positions count from zero.

    ``pairs`` holds (predicted, gold) of equal names, in gold order, ``exact`` those that are the same call; ``missing``
    and ``extra`` the gold and the predicted calls that are left over. The tallies count over *all* calls: their names,
    the names of their top-level parameters, and parameters with equal values.
    """

    pairs: tuple[tuple[int, int], ...]
    exact: tuple[tuple[int, int], ...]
    missing: tuple[int, ...]
    extra: tuple[int, ...]
    names: Tally
    parameters: Tally
    values: Tally

    @property
    def perfect(self) -> bool:
        """Whether the predicted calls are the gold calls, in any order."""
        return len(self.exact) == self.names.gold == self.names.predicted


@dataclass(frozen=True)
class _Likeness:
    exact: bool
    values: int
    parameters: int


def match_calls(predicted: Sequence[ToolCall], gold: Sequence[ToolCall]) -> CallMatch:
    """Pair predicted with gold calls as well as can be, and count what agrees.

    Only calls of equal names are paired, as many as possible. Among all such pairings it is the one with the most
    calls that are the same, then with the most equal values, then with the most common parameters, then the one that
    keeps the order best. The order of calls counts for nothing else.

    Raises:
        DataError: arguments that are not JSON.
    """
    likeness = _likenesses(predicted, gold)
    pairs = sorted(_best_pairs(likeness, len(predicted), len(gold)), key=lambda pair: pair[1])
    used_predicted, used_gold = {p for p, _ in pairs}, {g for _, g in pairs}
    n_predicted = sum(len(call.arguments) for call in predicted)
    n_gold = sum(len(call.arguments) for call in gold)
    return CallMatch(
        pairs=tuple(pairs),
        exact=tuple(pair for pair in pairs if likeness[pair].exact),
        missing=tuple(g for g in range(len(gold)) if g not in used_gold),
        extra=tuple(p for p in range(len(predicted)) if p not in used_predicted),
        names=Tally(len(pairs), len(predicted), len(gold)),
        parameters=Tally(sum(likeness[pair].parameters for pair in pairs), n_predicted, n_gold),
        values=Tally(sum(likeness[pair].values for pair in pairs), n_predicted, n_gold),
    )


def _likenesses(predicted: Sequence[ToolCall], gold: Sequence[ToolCall]) -> dict[tuple[int, int], _Likeness]:
    left = [{name: canonical_value(value) for name, value in call.arguments.items()} for call in predicted]
    right = [{name: canonical_value(value) for name, value in call.arguments.items()} for call in gold]
    likeness = {}
    for p, call in enumerate(predicted):
        for g, wanted in enumerate(gold):
            if call.name == wanted.name:
                common = left[p].keys() & right[g].keys()
                equal = sum(left[p][name] == right[g][name] for name in common)
                likeness[p, g] = _Likeness(left[p] == right[g], equal, len(common))
    return likeness


def _best_pairs(
    likeness: Mapping[tuple[int, int], _Likeness], n_predicted: int, n_gold: int
) -> Iterator[tuple[int, int]]:
    """Yield the pairs of the best assignment; the criteria become digits of one number, the first the highest."""
    if not likeness:
        return
    base = 1 + max(n_predicted, n_gold) * (1 + max(pair.parameters for pair in likeness.values()))
    reach = max(n_predicted, n_gold)
    closest = 1 + reach * reach

    def weight(p: int, g: int) -> int:
        if (p, g) not in likeness:
            return 0
        like = likeness[p, g]
        digits = ((base + like.exact) * base + like.values) * base + like.parameters
        return digits * closest + reach - abs(p - g)

    weights = [[weight(p, g) for g in range(n_gold)] for p in range(n_predicted)]
    yield from ((p, g) for p, g in best_assignment(weights) if (p, g) in likeness)
