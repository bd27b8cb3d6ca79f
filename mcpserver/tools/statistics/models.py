"""Models fitted to numbers: correlation, regressions, clusters. Reads and writes nothing."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Len

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.figures import Name, Number, by_library, check

Level = Annotated[float, Ge(0.5), Le(0.999)]
Sample = Annotated[list[Number], Len(3, 10_000)]
Columns = Annotated[dict[Name, Annotated[list[Number], Len(3, 5000)]], Len(1, 12)]
Some = Annotated[list[Number], Len(1, 50)]
Row = Annotated[dict[Name, Number], Len(1, 12)]


@by_library
def correlate_values(
    x: Sample, y: Sample, method: Literal["pearson", "spearman", "kendall"] = "pearson", level: Level = 0.95
) -> dict[str, Any]:
    """Measure how two lists of numbers go together, with p-value.

    Args:
        x: numbers
        y: as many other numbers, pair by pair
        method: pearson (straight line), spearman or kendall (ranks)
        level: confidence of the interval, given for pearson

    Example:
        {"x": [1, 2, 3, 4, 5], "y": [2.1, 3.9, 6.2, 7.8, 10.1]}
        {"x": [10, 20, 30, 40], "y": [1, 4, 3, 9], "method": "kendall"}
    """
    from scipy import stats

    _paired(x, y)
    functions = {"pearson": stats.pearsonr, "spearman": stats.spearmanr, "kendall": stats.kendalltau}
    found = functions[method](x, y)
    result = {"coefficient": found.statistic, "p_value": found.pvalue, "n": len(x)}
    if method == "pearson" and len(x) > 3 and abs(found.statistic) < 1:
        result["interval"] = list(found.confidence_interval(level))
    return result


@by_library
def linear_regression(x: Sample, y: Sample, predict_at: Some | None = None, level: Level = 0.95) -> dict[str, Any]:
    """Fit a straight line and predict with it.

    Args:
        x: numbers that explain
        y: numbers to be explained
        predict_at: x whose y is predicted, with interval of a single new value
        level: confidence of the intervals

    Example:
        {"x": [1, 2, 3, 4, 5], "y": [2.2, 4.1, 6.2, 7.9, 10.1], "predict_at": [6]}
    """
    from scipy import stats

    _paired(x, y)
    found = stats.linregress(x, y)
    n, mean = len(x), math.fsum(x) / len(x)
    left = [b - found.intercept - found.slope * a for a, b in zip(x, y)]
    error = math.sqrt(math.fsum(r * r for r in left) / (n - 2))
    factor, spread = float(stats.t.ppf(0.5 + level / 2, n - 2)), math.fsum((a - mean) ** 2 for a in x)
    margin = factor * found.stderr
    result: dict[str, Any] = {"slope": found.slope, "intercept": found.intercept, "r_squared": found.rvalue**2}
    result |= {"p_value": found.pvalue, "residual_error": error, "n": n}
    result["slope_interval"] = [found.slope - margin, found.slope + margin]
    if predict_at:
        result["predictions"] = []
        for at in predict_at:
            value = found.intercept + found.slope * at
            half = factor * error * math.sqrt(1 + 1 / n + (at - mean) ** 2 / spread)
            result["predictions"].append({"x": at, "y": value, "low": value - half, "high": value + half})
    return result


@by_library
def multiple_regression(
    outcome: Annotated[list[Number], Len(3, 5000)],
    predictors: Columns,
    predict: Annotated[list[Row], Len(1, 50)] | None = None,
) -> dict[str, Any]:
    """Fit a linear model of several predictors (least squares), with standard errors and p-values.

    Args:
        outcome: numbers to be explained
        predictors: numbers that explain, by name
        predict: values of all predictors whose outcome is predicted

    Example:
        {"outcome": [10, 14, 13, 19, 21, 22], "predictors": {"sun": [1, 2, 3, 4, 5, 6], "wind": [3, 5, 2, 6, 7, 4]},
         "predict": [{"sun": 7, "wind": 5}]}
    """
    import numpy as np
    from scipy import stats

    names, design = ["intercept", *predictors], _design(outcome, predictors)
    y = np.asarray(outcome, dtype=float)
    n, width = design.shape
    check(n > width, f"outcome: {n} values are too few for {width} coefficients")
    scales = np.abs(design).max(axis=0)
    scaled = design / np.where(scales > 0, scales, 1)
    if np.linalg.matrix_rank(scaled) < width:
        raise ToolError("tool_error", "predictors: one of them is constant or follows from the others; leave it out")
    inverse = np.linalg.inv(scaled.T @ scaled) / np.outer(scales, scales)
    coefficients = np.linalg.lstsq(scaled, y, rcond=None)[0] / scales
    residuals = y - design @ coefficients
    squares, whole = float(residuals @ residuals), float(((y - y.mean()) ** 2).sum())
    check(whole > 0, "outcome: the values are all alike")
    squares = squares if squares > 1e-20 * whole else 0.0  # an exact fit, but for the noise of binary fractions
    variance = squares / (n - width)
    errors = np.sqrt(np.maximum(variance * np.diag(inverse), 0))
    rows = {}
    for name, value, error in zip(names, coefficients, errors):
        row = {"coefficient": value, "standard_error": error}
        rows[name] = row | (
            {"t": value / error, "p_value": 2 * stats.t.sf(abs(value / error), n - width)} if error > 0 else {}
        )
    r2 = 1 - squares / whole
    result: dict[str, Any] = {"coefficients": rows, "r_squared": r2, "n": n}
    result |= {"adjusted_r_squared": 1 - (1 - r2) * (n - 1) / (n - width), "residual_error": math.sqrt(variance)}
    if squares > 0 and width > 1:
        f = (whole - squares) / (width - 1) / variance
        result |= {"f": f, "f_p_value": stats.f.sf(f, width - 1, n - width)}
    return result | ({"predictions": [_row(names, row) @ coefficients for row in predict]} if predict else {})


@by_library
def logistic_regression(
    outcome: Annotated[list[bool], Len(4, 5000)],
    predictors: Columns,
    predict: Annotated[list[Row], Len(1, 50)] | None = None,
) -> dict[str, Any]:
    """Fit the chance of a yes/no outcome by logistic regression.

    Args:
        outcome: true or false of each subject
        predictors: numbers that explain, by name
        predict: values of all predictors whose chance is predicted

    Example:
        {"outcome": [false, false, true, false, true, true, false, true],
         "predictors": {"hours": [1, 2, 3, 4, 5, 6, 2.5, 4.5]}, "predict": [{"hours": 3.5}]}
    """
    import numpy as np
    from scipy import stats

    check(len(set(outcome)) == 2, "outcome: both true and false are needed")
    names, design = ["intercept", *predictors], _design(outcome, predictors)
    y = np.asarray(outcome, dtype=float)
    centers, scales = design[:, 1:].mean(axis=0), design[:, 1:].std(axis=0)
    check(bool((scales > 0).all()), "predictors: one of them does not vary; leave it out")
    scaled = np.column_stack([design[:, 0], (design[:, 1:] - centers) / scales])
    if np.linalg.matrix_rank(scaled) < scaled.shape[1]:
        raise ToolError("tool_error", "predictors: one of them follows from the others; leave it out")
    fitted, covariance, steps = _newton(scaled, y)
    back = np.eye(len(names))
    back[0, 1:] = -centers / scales
    back[range(1, len(names)), range(1, len(names))] = 1 / scales
    coefficients, errors = back @ fitted, np.sqrt(np.diag(back @ covariance @ back.T))
    z = coefficients / errors
    rows = {
        name: {
            "coefficient": b,
            "standard_error": e,
            "z": score,
            "p_value": 2 * stats.norm.sf(abs(score)),
            "odds_ratio": math.exp(min(b, 700)),
        }
        for name, b, e, score in zip(names, coefficients, errors, z)
    }
    chances = _chances(scaled @ fitted)
    likelihood = float(np.log(np.where(y == 1, chances, 1 - chances)).sum())
    share = y.mean()
    null = float(len(y) * (share * math.log(share) + (1 - share) * math.log(1 - share)))
    result: dict[str, Any] = {
        "coefficients": rows,
        "log_likelihood": likelihood,
        "pseudo_r_squared": 1 - likelihood / null,
    }
    result |= {"accuracy": float(((chances >= 0.5) == (y == 1)).mean()), "n": len(y), "iterations": steps}
    return result | ({"predictions": [_chances(_row(names, row) @ coefficients) for row in predict]} if predict else {})


def _newton(design: Any, y: Any) -> tuple[Any, Any, int]:
    """Coefficients and their covariance by Newton's method; columns are standardised: a large one means no end."""
    import numpy as np

    fitted = np.zeros(design.shape[1])
    for step in range(1, 51):
        chances = _chances(design @ fitted)
        weights = chances * (1 - chances)
        information = design.T @ (design * weights[:, None])
        if np.abs(fitted).max() > 30 or weights.max() < 1e-6:
            break
        move = np.linalg.solve(information, design.T @ (y - chances))
        fitted = fitted + move
        if np.abs(move).max() < 1e-10:
            return fitted, np.linalg.inv(information), step
    raise ToolError("tool_error", "predictors: they separate true from false (almost) perfectly, so the fit has no end")


def _chances(scores: Any) -> Any:
    from scipy.special import expit

    return expit(scores)


@by_library
def fit_polynomial(
    x: Sample, y: Sample, degree: Annotated[int, Ge(1), Le(10)] = 2, predict_at: Some | None = None
) -> dict[str, Any]:
    """Fit a polynomial to points by least squares.

    Args:
        x: first coordinates
        y: second coordinates
        degree: highest power
        predict_at: x whose y is predicted

    Example:
        {"x": [0, 1, 2, 3, 4], "y": [1, 2.1, 5.2, 9.8, 17.1], "degree": 2, "predict_at": [5]}
    """
    import numpy as np

    _paired(x, y)
    check(len(set(x)) > degree, f"degree: {degree} needs at least {degree + 1} different x")
    fitted = np.polynomial.Polynomial.fit(x, y, degree)
    residuals = np.asarray(y, dtype=float) - fitted(np.asarray(x, dtype=float))
    whole = float(((np.asarray(y, dtype=float) - np.mean(y)) ** 2).sum())
    result: dict[str, Any] = {"coefficients": list(fitted.convert().coef), "order": "constant first"}
    result |= {
        "r_squared": 1 - float(residuals @ residuals) / whole,
        "residual_mean_square": float((residuals**2).mean()),
    }
    return result | ({"predictions": [{"x": at, "y": fitted(at)} for at in predict_at]} if predict_at else {})


@by_library
def k_means(
    context: Context,
    points: Annotated[list[Annotated[list[Number], Len(1, 10)]], Len(2, 1000)],
    clusters: Annotated[int, Ge(1), Le(20)],
    scale: bool = False,
    seed: Annotated[int, Ge(0), Le(1_000_000)] = 0,
) -> dict[str, Any]:
    """Group points into clusters (k-means, the best of five starts).

    Args:
        points: coordinates of each point
        clusters: number of groups
        scale: whether each coordinate is standardised first
        seed: the same seed gives the same starts

    Example:
        {"points": [[1, 1], [1.2, 0.8], [5, 5], [5.1, 4.9], [0.9, 1.1]], "clusters": 2}
    """
    import numpy as np

    width = len(points[0])
    wrong = next((number for number, point in enumerate(points) if len(point) != width), None)
    check(wrong is None, f"points: point {wrong} has another number of coordinates than point 0 with {width}")
    array = np.asarray(points, dtype=float)
    different = len(np.unique(array, axis=0))
    check(different >= clusters, f"clusters: {clusters}, but there are only {different} different points")
    spread = np.where(array.std(axis=0) > 0, array.std(axis=0), 1.0) if scale else np.ones(width)
    rng = context.random("k_means", seed)
    starts = [_lloyd(array / spread, clusters, rng.getrandbits(64)) for _ in range(5)]
    inertia, labels = min(starts, key=lambda start: start[0])
    order = list(dict.fromkeys(labels.tolist()))
    centers = [array[labels == label].mean(axis=0) for label in order]
    sizes = [int((labels == label).sum()) for label in order]
    return {
        "labels": [order.index(label) for label in labels.tolist()],
        "centers": centers,
        "sizes": sizes,
        "inertia": inertia,
    }


def _lloyd(array: Any, clusters: int, seed: int) -> tuple[float, Any]:
    """One start of k-means++ and at most 100 rounds; gives the sum of squared distances, and the labels."""
    import numpy as np

    generator = np.random.default_rng(seed)
    centers = array[[generator.integers(len(array))]]
    while len(centers) < clusters:
        near = _squares(array, centers).min(axis=1)
        centers = np.vstack([centers, array[generator.choice(len(array), p=near / near.sum())]])
    labels = np.full(len(array), -1)
    for _ in range(100):
        squares = _squares(array, centers)
        found = squares.argmin(axis=1)
        for empty in set(range(clusters)) - set(found.tolist()):  # takes the point that lies worst
            found[squares[range(len(array)), found].argmax()] = empty
        if (found == labels).all():
            break
        labels = found
        centers = np.vstack(
            [array[labels == k].mean(axis=0) if (labels == k).any() else centers[k] for k in range(clusters)]
        )
    return float(((array - centers[labels]) ** 2).sum()), labels


def _squares(array: Any, centers: Any) -> Any:
    return ((array[:, None, :] - centers[None, :, :]) ** 2).sum(axis=2)


def _design(outcome: Sequence[object], predictors: Mapping[str, Sequence[float]]) -> Any:
    """A column of ones and one for each predictor."""
    import numpy as np

    for name, values in predictors.items():
        check(len(values) == len(outcome), f"predictors.{name}: {len(values)} values, but outcome has {len(outcome)}")
    check("intercept" not in predictors, "predictors: the name intercept is taken")
    return np.column_stack([np.ones(len(outcome)), *(np.asarray(v, dtype=float) for v in predictors.values())])


def _row(names: Sequence[str], row: Mapping[str, float]) -> Any:
    import numpy as np

    wanted, given = sorted(names[1:]), sorted(row)
    check(wanted == given, f"predict: each row needs just {', '.join(wanted)[:200]}; got {', '.join(given)[:200]}")
    return np.array([1.0, *(row[name] for name in names[1:])])


def _paired(x: Sequence[float], y: Sequence[float]) -> None:
    check(len(x) == len(y), f"y: {len(y)} values, but x has {len(x)}")
    for name, values in (("x", x), ("y", y)):
        check(len(set(values)) > 1, f"{name}: the values are all alike")
