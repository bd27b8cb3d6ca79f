"""Points for predicted tool calls against gold ones: name overlap, pair scores, greedy and optimal matching.

Calls are `{"name": …, "parameters": {…}}`. A malformed call raises what Python raises when it is read as one
(KeyError, TypeError, AttributeError); the caller decides what that is worth.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Call = Mapping[str, Any]
# A pair is worth `shared / union + equal`; kept in integers so that optimal matching is exact.
PairScore = tuple[int, int, int]
PairRule = Callable[[Call, Call], PairScore]
_NOTHING: PairScore = (0, 1, 0)


def pair_by_parts(gold: Call, predicted: Call) -> PairScore:
    """Returns shared and united keys (1 of 1 where both have none) and the number of equal values."""
    gold_items, given = gold["parameters"].items(), predicted["parameters"]
    shared = equal = 0
    union = len(given.keys()) + len(gold_items)
    if not union:
        return 1, 1, 0
    for key, value in gold_items:
        if key in given:
            shared += 1
            if given[key] == value:
                equal += 1
    return shared, union - shared, equal


def pair_by_parts_in_order(gold: Call, predicted: Call) -> PairScore:
    """As `pair_by_parts`, but the keys count 1 if they are the same in the same order, else 0."""
    _, _, equal = pair_by_parts(gold, predicted)
    return int(list(gold["parameters"]) == list(predicted["parameters"])), 1, equal


def pair_as_whole(gold: Call, predicted: Call) -> PairScore:
    """Returns 1 for equal calls, else 0."""
    return int(gold == predicted), 1, 0


def name_overlap(gold: Sequence[Any], predicted: Sequence[Any]) -> float:
    """Multiset Jaccard similarity, 0 to 1; 1 for equal lists, two empty ones included.

    Raises:
        TypeError: The lists differ and a name is unhashable.
    """
    if gold == predicted:
        return 1.0
    counts: dict[Any, int] = {}
    for name in gold:
        counts[name] = counts.get(name, 0) + 1
    shared = 0
    for name in predicted:
        left = counts.get(name, 0)
        if left:
            counts[name] = left - 1
            shared += 1
    return shared / (len(gold) + len(predicted) - shared)


def greedy_points(start: float, predicted: Sequence[Call], gold: Sequence[Call], rule: PairRule) -> float:
    """Adds to `start` the pairs found by giving each gold call, in order, the best free call of its name.

    The earliest wins a tie. Points are added one gold call after the other, since float sums depend on the order.
    """
    free = list(predicted)
    for gold_call in gold:
        name = gold_call["name"]
        best, best_index = 0.0, -1
        for index, call in enumerate(free):
            if call["name"] != name:
                continue
            shared, union, equal = rule(gold_call, call)
            points = shared / union + equal
            if points > best:
                best, best_index = points, index
        if best_index >= 0:
            start += best
            del free[best_index]
    return start


def optimal_points(start: float, predicted: Sequence[Call], gold: Sequence[Call], rule: PairRule) -> float:
    """Adds to `start` the pairs of a maximum-weight matching of calls of the same name, found in exact integers."""
    pairs = [[_pair(gold_call, call, rule) for call in predicted] for gold_call in gold]
    scale = math.lcm(*(union for row in pairs for _, union, _ in row))
    weights = [[scale // union * shared + scale * equal for shared, union, equal in row] for row in pairs]
    for row, column in enumerate(max_weight_assignment(weights)):
        if column < len(predicted):
            shared, union, equal = pairs[row][column]
            start += shared / union + equal
    return start


def _pair(gold: Call, predicted: Call, rule: PairRule) -> PairScore:
    # A gold call without a parameter object cannot be matched; raising here would put optimal below greedy.
    if gold["name"] != predicted["name"] or not isinstance(gold["parameters"], Mapping):
        return _NOTHING
    return rule(gold, predicted)


def max_weight_assignment(weights: Sequence[Sequence[int]]) -> list[int]:
    """Returns each row's column in an assignment of the greatest total weight (Hungarian method, O(n²m)).

    Where there are more rows than columns, the columns from the width on mean "none". Weights are not negative.
    """
    rows = len(weights)
    columns = max(rows, len(weights[0]) if weights else 0)
    costs = [[-weight for weight in row] + [0] * (columns - len(row)) for row in weights]
    # Row and column 0 are the virtual start of each augmenting path.
    row_potential, column_potential = [0] * (rows + 1), [0] * (columns + 1)
    row_of = [0] * (columns + 1)
    for row in range(1, rows + 1):
        row_of[0] = row
        _augment(costs, row_potential, column_potential, row_of)
    column_of = [0] * rows
    for column in range(1, columns + 1):
        if row_of[column]:
            column_of[row_of[column] - 1] = column - 1
    return column_of


def _augment(costs: list[list[int]], row_potential: list[int], column_potential: list[int], row_of: list[int]) -> None:
    """Places the row in `row_of[0]` along the shortest augmenting path and updates the potentials."""
    open_columns = list(range(1, len(row_of)))
    closed = [0]
    slack: dict[int, int] = {}
    came_from: dict[int, int] = {}
    column = 0
    while row_of[column]:
        row = row_of[column]
        for other in open_columns:
            reduced = costs[row - 1][other - 1] - row_potential[row] - column_potential[other]
            if other not in slack or reduced < slack[other]:
                slack[other], came_from[other] = reduced, column
        nearest = min(open_columns, key=slack.__getitem__)
        delta = slack[nearest]
        for other in closed:
            row_potential[row_of[other]] += delta
            column_potential[other] -= delta
        for other in open_columns:
            slack[other] -= delta
        open_columns.remove(nearest)
        closed.append(nearest)
        column = nearest
    while column:
        previous = came_from[column]
        row_of[column] = row_of[previous]
        column = previous
