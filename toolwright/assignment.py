"""The assignment problem, in plain Python: the tables here are a few calls wide."""

from collections.abc import Sequence


def best_assignment(weights: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """Pair rows with columns, each at most once and as many as possible, so that the summed weight is largest.

    ``weights[row][column]`` are whole numbers, so the result is exact. Takes time n²m for n the shorter side.

    Source: the Hungarian method with shortest augmenting paths (Jonker and Volgenant 1987).
    """
    n_rows, n_columns = len(weights), len(weights[0]) if weights else 0
    if n_rows > n_columns:
        turned = [[weights[row][column] for row in range(n_rows)] for column in range(n_columns)]
        return sorted((row, column) for column, row in best_assignment(turned))
    # Row and column 0 are the virtual ends of the paths; the price of a row plus that of a column never exceeds a cost.
    row_price, column_price = [0] * (n_rows + 1), [0] * (n_columns + 1)
    row_of = [0] * (n_columns + 1)
    for row in range(1, n_rows + 1):
        row_of[0] = row
        _augment(weights, row_price, column_price, row_of)
    return sorted((row - 1, column - 1) for column, row in enumerate(row_of) if column and row)


def _augment(
    weights: Sequence[Sequence[int]], row_price: list[int], column_price: list[int], row_of: list[int]
) -> None:
    """Find the cheapest path from the row at column 0 to a free column, and shift the pairs along it."""
    n_columns = len(column_price) - 1
    slack: list[int | None] = [None] * (n_columns + 1)
    came_from = [0] * (n_columns + 1)
    done = [False] * (n_columns + 1)
    column = 0
    while row_of[column]:
        done[column] = True
        row, best, step = row_of[column], column, None
        for other in range(1, n_columns + 1):
            if done[other]:
                continue
            cost = -weights[row - 1][other - 1] - row_price[row] - column_price[other]
            known = slack[other]
            if known is None or cost < known:
                slack[other], came_from[other], known = cost, column, cost
            if step is None or known < step:
                step, best = known, other
        for other in range(n_columns + 1):
            if done[other]:
                row_price[row_of[other]] += step or 0
                column_price[other] -= step or 0
            elif (known := slack[other]) is not None:
                slack[other] = known - (step or 0)
        column = best
    while column:
        row_of[column] = row_of[came_from[column]]
        column = came_from[column]
