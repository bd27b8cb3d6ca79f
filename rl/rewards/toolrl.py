"""ToolRL's rule-based reward: format + correctness + length of one completion against its ground truth.

Pure functions on text and parsed calls; nothing is read from the environment, printed or written. With
`matching="greedy"` every float equals the published reference bit for bit, so that its quirks are kept on purpose:
one malformed line voids every call, a response-only ground truth scores no correctness, and greedy matching depends
on the order of the calls. `matching="optimal"` repairs the last one.

Source: ToolRL (qiancheng0/ToolRL at 8cee13e), `verl/utils/reward_score/rlla.py`; formulas re-implemented from a
written description of its behaviour.
"""

import difflib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple, get_args

from rl.rewards.call_matching import (
    greedy_points,
    name_overlap,
    optimal_points,
    pair_as_whole,
    pair_by_parts,
    pair_by_parts_in_order,
)
from toolwright.errors import ToolwrightError

Matching = Literal["greedy", "optimal"]

# What each switch does is written in `bounds`, `score` and `score_calls`. STRICTMATCH is accepted and has no effect,
# as in the reference, whose launch scripts export it.
SWITCHES = frozenset(
    {
        "CORRECTMAX1",
        "MAX1STEP30MAX3",
        "SCHEDULEREWARD",
        "REFINEDREWARD",
        "INTERMEDIATEREWARD",
        "COARSEREWARD",
        "WITHLENGTH",
        "SCHEDULELENGTH",
        "STRICTMATCH",
    }
)

_ASSISTANT_HEADER = "<|im_start|>assistant"
_TURN_END = "<|im_end|>"
# All that parsing and comparing model-written JSON can raise: no object, no key, unhashable name, bad JSON, too deep.
_MALFORMED = (AttributeError, KeyError, RecursionError, TypeError, ValueError)
_raw_decode = json.JSONDecoder().raw_decode


class GroundTruthError(ToolwrightError, ValueError):
    """The tool calls of a ground truth cannot be read, so no completion can be scored against it."""


class ToolRLScore(NamedTuple):
    """The reward and its three terms; `total` is their sum."""

    total: float
    format: float
    correctness: float
    length: float


class Bounds(NamedTuple):
    """The least and the greatest value of the format and the correctness term."""

    format_min: float
    format_max: float
    correctness_min: float
    correctness_max: float


class _Shape(NamedTuple):
    """A layout: `<think>`, then each part of `middle` in order with any text between, then `end`."""

    middle: tuple[str, ...]
    end: str
    once: tuple[str, ...]


class _Gold(NamedTuple):
    shape: _Shape
    block: str
    calls: list[Any] | None


DEFAULT_BOUNDS = Bounds(format_min=0.0, format_max=1.0, correctness_min=-3.0, correctness_max=3.0)
_THINK = "<think>"
_TOOL_TAGS = ("<tool_call>", "</tool_call>")
_RESPONSE_TAGS = ("<response>", "</response>")
_TO_TOOL = "</think>\n<tool_call>\n"
# By what the ground truth contains: (<tool_call>, <response>).
_SHAPES = {
    (True, False): _Shape((_TO_TOOL,), "\n</tool_call>", _TOOL_TAGS),
    (False, True): _Shape(("</think>\n<response>",), "</response>", _RESPONSE_TAGS),
    (True, True): _Shape((_TO_TOOL, "\n</tool_call>\n<response>"), "</response>", (*_TOOL_TAGS, *_RESPONSE_TAGS)),
    (False, False): _Shape((), "</think>", ()),
}


def score(
    completion: str,
    ground_truth: str,
    *,
    step: int = 0,
    switches: frozenset[str] = frozenset(),
    matching: Matching = "greedy",
) -> ToolRLScore:
    """Scores one completion, with default switches from -3 to 4 (from 0 to 1 where the ground truth calls no tool).

    Args:
        completion: The model's text, with or without chat markers: what follows the last `<|im_start|>assistant`,
            up to the next `<|im_end|>`, stripped, is scored.
        ground_truth: `<think>…</think>`, then a `<tool_call>` block (one JSON object per line),
            a `<response>`, or both.
        step: Optimiser steps done so far; only the MAX1STEP30MAX3 and SCHEDULE* switches look at it.
        switches: Names from `SWITCHES` that are on.
        matching: How gold and predicted calls are paired: "greedy" as in the reference, "optimal" never scores less.

    Raises:
        GroundTruthError: A tool block of the ground truth is not one JSON value per line.
        ValueError: A switch or a matching is unknown.
    """
    limits = bounds(step, switches)
    gold = _read_ground_truth(ground_truth)
    text = _assistant_text(completion)
    format_score = limits.format_max if _has_shape(text, gold.shape) else limits.format_min
    correctness = 0.0 if gold.calls is None else _score_block(text, gold, limits, switches, matching)
    length = _score_length(text, step, switches) if "WITHLENGTH" in switches else 0.0
    return ToolRLScore(format_score + correctness + length, format_score, correctness, length)


def bounds(step: int, switches: frozenset[str] = frozenset()) -> Bounds:
    """Returns the ranges of the format and the correctness term at a step; switches compose in the order below.

    The reference's schedule has no end: with CORRECTMAX1 and SCHEDULEREWARD the correctness range shrinks after step
    150, is empty at 300 and is turned round after it, so that wrong calls are paid.

    Raises:
        ValueError: A switch is unknown.
    """
    if not switches:
        return DEFAULT_BOUNDS
    for name in switches - SWITCHES:
        nearest = difflib.get_close_matches(name.upper(), sorted(SWITCHES), n=1, cutoff=0.0)[0]
        raise ValueError(f"unknown ToolRL switch {name!r}; did you mean {nearest}?")
    format_min, format_max, low, high = DEFAULT_BOUNDS
    if "CORRECTMAX1" in switches:
        low, high = -1.0, 1.0
    if "MAX1STEP30MAX3" in switches:
        if step < 30:
            low, high = low / 3, high / 3
        else:
            format_min, format_max = format_min / 2, format_max / 2
    if "SCHEDULEREWARD" in switches:
        # The reference clamps only one side of each: the format minimum never rises above -1.
        format_max = max(1.0, 2 - (2 - format_max) * step / 150)
        format_min = min(-1.0, -2 + (2 + format_min) * step / 150)
        high = min(3.0, 2 + (high - 2) * step / 150)
        low = max(-3.0, -2 + (low + 2) * step / 150)
    return Bounds(format_min, format_max, low, high)


def score_calls(
    predicted: Sequence[Mapping[str, Any]],
    gold: Sequence[Mapping[str, Any]],
    *,
    bounds: Bounds = DEFAULT_BOUNDS,
    switches: frozenset[str] = frozenset(),
    matching: Matching = "greedy",
) -> float:
    """Scores predicted calls against gold ones, both as `{"name": …, "parameters": {…}}`.

    Equal lists (Python equality, order counts) give the maximum. Otherwise the score is the share of
    `1 + sum(1 + number of parameters)` points reached by the names (multiset Jaccard) and, for every matched pair of
    the same name, by the keys (Jaccard) and by each equal value. A malformed predicted call gives the minimum.

    Args:
        predicted: The calls of the model, in its order.
        gold: The calls of the ground truth.
        bounds: What `bounds(step, switches)` returned; only its correctness range is used.
        switches: COARSEREWARD: all or nothing. INTERMEDIATEREWARD: a pair counts 1 if the calls are equal, else 0.
            REFINEDREWARD: the Jaccard terms become list equality, in which order counts.
        matching: How calls of the same name are paired.

    Raises:
        ValueError: The matching is unknown.
    """
    if matching not in get_args(Matching):
        raise ValueError(f"unknown matching {matching!r}; use one of: {', '.join(get_args(Matching))}")
    try:
        if list(gold) == list(predicted):
            return bounds.correctness_max
        if "COARSEREWARD" in switches:
            return bounds.correctness_min
        reached, possible = _points(predicted, gold, switches, matching)
    except _MALFORMED:
        return bounds.correctness_min
    return (bounds.correctness_max - bounds.correctness_min) * reached / possible + bounds.correctness_min


def _assistant_text(completion: str) -> str:
    if "<|im_" not in completion:
        return completion.strip()
    return completion.rpartition(_ASSISTANT_HEADER)[2].partition(_TURN_END)[0].strip()


@lru_cache(maxsize=4096)
def _read_ground_truth(ground_truth: str) -> _Gold:
    """Parses a ground truth once for the whole group of completions that share it; its calls are never mutated."""
    shape = _SHAPES["<tool_call>" in ground_truth, "<response>" in ground_truth]
    if "<tool_call>" not in ground_truth:
        return _Gold(shape, "", None)
    block = _first_block(ground_truth)
    calls = []
    for number, line in enumerate(block.split("\n"), 1):
        try:
            calls.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise GroundTruthError(
                f"ground truth, line {number} of the first <tool_call> block: {line[:80]!r} is not JSON ({error}); "
                "write one call per line, and no <tool_call> inside the think text"
            ) from error
    return _Gold(shape, block, calls)


def _first_block(text: str) -> str:
    return text.split("<tool_call>", 2)[1].partition("</tool_call>")[0].strip()


def _has_shape(text: str, shape: _Shape) -> bool:
    """Tells whether the text is laid out so, as the anchored lazy regex would; linear in the text's length."""
    if not (text.startswith(_THINK) and text.endswith(shape.end)):
        return False
    position = len(_THINK)
    for part in shape.middle:
        found = text.find(part, position)
        if found < 0:
            return False
        position = found + len(part)
    return position <= len(text) - len(shape.end) and all(text.count(tag) == 1 for tag in shape.once)


def _score_block(text: str, gold: _Gold, limits: Bounds, switches: frozenset[str], matching: Matching) -> float:
    # The closing tag may stand anywhere, even before the block: the reference asks no more.
    if gold.calls is None or "<tool_call>" not in text or "</tool_call>" not in text:
        return limits.correctness_min
    block = _first_block(text)
    try:
        predicted = gold.calls if block == gold.block else [_read_json(line) for line in block.split("\n")]
    except (ValueError, RecursionError):
        return limits.correctness_min
    return score_calls(predicted, gold.calls, bounds=limits, switches=switches, matching=matching)


def _read_json(line: str) -> Any:
    try:
        value, end = _raw_decode(line)
    except ValueError:
        return json.loads(line)
    return value if end == len(line) else json.loads(line)


def _score_length(text: str, step: int, switches: frozenset[str]) -> float:
    if "<think>" not in text or "</think>" not in text:
        return 0.0
    full_words = (640 - 384) * step / 105 + 384 if "SCHEDULELENGTH" in switches else 512
    words = len(text.rpartition("<think>")[2].partition("</think>")[0].split())
    return min(1.0, round(words / full_words, 2))


def _points(
    predicted: Sequence[Mapping[str, Any]],
    gold: Sequence[Mapping[str, Any]],
    switches: frozenset[str],
    matching: Matching,
) -> tuple[float, float]:
    """Returns the points reached and the points possible."""
    gold_names = [call["name"] for call in gold]
    predicted_names = [call["name"] for call in predicted]
    if "REFINEDREWARD" in switches:
        rule, names = pair_by_parts_in_order, float(gold_names == predicted_names)
    else:
        rule, names = pair_by_parts, name_overlap(gold_names, predicted_names)
    parameters = [call["parameters"] for call in gold]
    if "INTERMEDIATEREWARD" in switches:
        rule, possible = pair_as_whole, 1 + len(gold)
    else:
        possible = 1 + len(gold) + sum(map(len, parameters))
    reached = greedy_points(names, predicted, gold, rule)
    if matching == "optimal" and any(gold_names.count(name) > 1 for name in gold_names):
        # Greedy is optimal where no gold name repeats. Sums are rounded: where both are optimal, greedy's float stands.
        reached = max(reached, optimal_points(names, predicted, gold, rule))
    return reached, possible
