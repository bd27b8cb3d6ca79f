"""Samples of numbers described: averages, ranks, intervals. Reads and writes nothing."""

import math
import statistics
from collections import Counter
from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Le, Len, Lt
from typing_extensions import TypedDict

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.figures import Name, NotNegative, Number, Numbers, Positive, Share, by_library, check

Level = Annotated[float, Ge(0.5), Le(0.999)]
Sample = Annotated[list[Number], Len(2, 10_000)]
Short = Annotated[list[Number], Len(2, 800)]


class PlainMean(TypedDict):
    """Geometric or harmonic mean, or root of the mean square."""

    kind: Literal["geometric", "harmonic", "quadratic"]


class WeightedMean(TypedDict):
    """Each value counts by its weight."""

    kind: Literal["weighted"]
    weights: Annotated[list[NotNegative], Len(1, 10_000)]


class TrimmedMean(TypedDict):
    """Without a share of the lowest and of the highest values; winsorized moves them inwards."""

    kind: Literal["trimmed", "winsorized"]
    share: Annotated[float, Ge(0), Lt(0.5)]


class MeanOf(TypedDict):
    """The mean of values, by Student's t."""

    kind: Literal["mean"]
    values: Sample


class MeanFrom(TypedDict):
    """The mean from figures of a sample, or with the known deviation of the population, by the normal law."""

    kind: Literal["summary"]
    mean: Number
    deviation: Positive
    n: Annotated[int, Ge(2), Le(10_000_000)]
    population: NotRequired[bool]


class ProportionOf(TypedDict):
    """A proportion, by Wilson's score, exactly (Clopper-Pearson), or by the normal law (wald)."""

    kind: Literal["proportion"]
    successes: Annotated[int, Ge(0), Le(10_000_000)]
    trials: Annotated[int, Ge(1), Le(10_000_000)]
    method: NotRequired[Literal["wilson", "exact", "wald"]]


@by_library
def describe_sample(values: Numbers, quantiles: Annotated[list[Share], Len(0, 20)] | None = None) -> dict[str, Any]:
    """Describe a sample: size, mean, deviation, quartiles, skewness and kurtosis.

    Args:
        values: the numbers
        quantiles: shares whose quantiles are wanted too

    Example:
        {"values": [2, 4, 4, 5, 7, 9]}
        {"values": [31.2, 29.8, 30.4, 33.1], "quantiles": [0.05, 0.95]}
    """
    import numpy as np
    from scipy import stats

    array = np.asarray(values, dtype=float)
    low, median, high = np.quantile(array, [0.25, 0.5, 0.75])
    result: dict[str, Any] = {"n": len(values), "mean": array.mean(), "min": array.min(), "max": array.max()}
    result |= {"sum": math.fsum(values), "median": median, "q1": low, "q3": high, "iqr": high - low}
    counts = Counter(values).most_common(2)
    if counts[0][1] > 1 and (len(counts) < 2 or counts[1][1] < counts[0][1]):
        result["mode"] = counts[0][0]
    if len(values) > 1:
        deviation = array.std(ddof=1)
        result |= {"standard_deviation": deviation, "variance": deviation**2}
        result["standard_error"] = deviation / math.sqrt(len(values))
        if deviation > 0 and len(values) > 3:
            result |= {"skewness": stats.skew(array, bias=False), "excess_kurtosis": stats.kurtosis(array, bias=False)}
    if quantiles:
        result["quantiles"] = [{"share": q, "value": np.quantile(array, q)} for q in quantiles]
    return result


@by_library
def average_values(values: Numbers, method: PlainMean | WeightedMean | TrimmedMean) -> dict[str, Any]:
    """Compute a weighted, geometric, harmonic, quadratic, trimmed or winsorized mean.

    Args:
        values: the numbers
        method: kind of mean, with its weights or share

    Example:
        {"values": [1.05, 1.1, 0.97], "method": {"kind": "geometric"}}
        {"values": [30, 32, 35], "method": {"kind": "weighted", "weights": [100, 50, 50]}}
        {"values": [1, 2, 3, 4, 500], "method": {"kind": "trimmed", "share": 0.2}}
    """
    if method["kind"] == "weighted":
        weights = method["weights"]
        check(len(weights) == len(values), f"method.weights: {len(weights)} weights for {len(values)} values")
        check(math.fsum(weights) > 0, "method.weights: at least one must be above 0")
        return {"result": math.fsum(v * w for v, w in zip(values, weights)) / math.fsum(weights)}
    if method["kind"] == "trimmed" or method["kind"] == "winsorized":
        ordered, cut = sorted(values), int(method["share"] * len(values))
        inner = ordered[cut : len(values) - cut]
        if method["kind"] == "winsorized":
            inner = [inner[0]] * cut + inner + [inner[-1]] * cut
        return {"result": statistics.fmean(inner), "values_per_end": cut}
    if method["kind"] == "quadratic":
        return {"result": math.sqrt(statistics.fmean(value * value for value in values))}
    check(min(values) > 0, f"values: a {method['kind']} mean needs numbers above 0")
    function = statistics.geometric_mean if method["kind"] == "geometric" else statistics.harmonic_mean
    return {"result": function(values)}


@by_library
def percentile_rank(values: Numbers, score: Number, kind: Literal["mean", "weak", "strict"] = "mean") -> dict[str, Any]:
    """Find which percentage of a sample lies below a score.

    Args:
        values: the sample
        score: number to be ranked
        kind: weak counts equal values as below, strict does not, mean takes half of them

    Example:
        {"values": [55, 60, 60, 71, 80], "score": 60}
    """
    below, equal = sum(v < score for v in values), sum(v == score for v in values)
    counted = below + {"mean": 0.5, "weak": 1.0, "strict": 0.0}[kind] * equal
    return {"percentile": 100 * counted / len(values), "below": below, "equal": equal, "n": len(values)}


@by_library
def standardize_values(
    values: Short, method: Literal["z_score", "min_max", "robust", "rank"] = "z_score"
) -> dict[str, Any]:
    """Bring numbers to a common scale.

    Args:
        values: at most 800 numbers
        method: z_score by mean and sample deviation, min_max to 0..1, robust by median and interquartile range,
            rank to ranks with equal numbers sharing theirs

    Example:
        {"values": [10, 12, 14, 20]}
        {"values": [3, 8, 5], "method": "min_max"}
    """
    import numpy as np
    from scipy import stats

    array = np.asarray(values, dtype=float)
    if method == "rank":
        return {"values": stats.rankdata(array), "n": len(values)}
    low, median, high = np.quantile(array, [0.25, 0.5, 0.75])
    center = {"z_score": array.mean(), "min_max": array.min(), "robust": median}[method]
    scale = {"z_score": array.std(ddof=1), "min_max": np.ptp(array), "robust": high - low}[method]
    check(scale > 0, f"values: they do not differ enough for {method}")
    return {"values": [float(f"{v:.6g}") for v in (array - center) / scale], "center": center, "scale": scale}


@by_library
def confidence_interval(estimate: MeanOf | MeanFrom | ProportionOf, level: Level = 0.95) -> dict[str, Any]:
    """Compute the confidence interval of a mean or of a proportion.

    Args:
        estimate: a sample, its summary, or successes and trials
        level: confidence, such as 0.95

    Example:
        {"estimate": {"kind": "mean", "values": [4.1, 5.2, 4.8, 5.0]}}
        {"estimate": {"kind": "proportion", "successes": 42, "trials": 80, "method": "exact"}, "level": 0.99}
        {"estimate": {"kind": "summary", "mean": 30.5, "deviation": 2.1, "n": 40}}
    """
    from scipy import stats

    if estimate["kind"] == "proportion":
        return _proportion_interval(estimate, level)
    if estimate["kind"] == "mean":
        values = estimate["values"]
        mean, error, degrees = (
            statistics.fmean(values),
            statistics.stdev(values) / math.sqrt(len(values)),
            len(values) - 1,
        )
        factor = stats.t.ppf(0.5 + level / 2, degrees)
    else:
        mean, error, degrees = estimate["mean"], estimate["deviation"] / math.sqrt(estimate["n"]), estimate["n"] - 1
        known = estimate.get("population", False)
        factor = stats.norm.ppf(0.5 + level / 2) if known else stats.t.ppf(0.5 + level / 2, degrees)
    margin = factor * error
    return {"estimate": mean, "low": mean - margin, "high": mean + margin, "margin": margin, "standard_error": error}


def _proportion_interval(estimate: ProportionOf, level: float) -> dict[str, Any]:
    from scipy import stats

    successes, trials, method = estimate["successes"], estimate["trials"], estimate.get("method", "wilson")
    check(successes <= trials, f"estimate.successes: {successes} of {trials} trials")
    share = successes / trials
    if method == "wald":
        margin = stats.norm.ppf(0.5 + level / 2) * math.sqrt(share * (1 - share) / trials)
        low, high = max(0.0, share - margin), min(1.0, share + margin)
    else:
        interval = stats.binomtest(successes, trials).proportion_ci(level, method)
        low, high = interval.low, interval.high
    return {"estimate": share, "low": low, "high": high, "margin": (high - low) / 2, "method": method}


@by_library
def bootstrap_interval(
    context: Context,
    values: Annotated[list[Number], Len(2, 1000)],
    statistic: Literal["mean", "median", "standard_deviation", "trimmed_mean"] = "median",
    level: Level = 0.95,
    resamples: Annotated[int, Ge(100), Le(5000)] = 2000,
    seed: Annotated[int, Ge(0), Le(1_000_000)] = 0,
) -> dict[str, Any]:
    """Compute a confidence interval by drawing many samples anew (percentile bootstrap).

    Args:
        values: the sample, at most 1000 numbers
        statistic: what is computed of each sample; trimmed_mean leaves out a tenth at each end
        level: confidence, such as 0.95
        resamples: samples to draw
        seed: the same seed gives the same draws

    Example:
        {"values": [3, 5, 5, 6, 9, 12, 14], "statistic": "median", "resamples": 500}
    """
    import numpy as np
    from scipy import stats

    array = np.asarray(values, dtype=float)
    functions: dict[str, Any] = {
        "mean": lambda a: a.mean(axis=-1),
        "median": lambda a: np.median(a, axis=-1),
        "standard_deviation": lambda a: a.std(axis=-1, ddof=1),
        "trimmed_mean": lambda a: stats.trim_mean(a, 0.1, axis=-1),
    }
    generator = np.random.default_rng(context.random("bootstrap", seed).getrandbits(64))
    drawn = np.concatenate(
        [
            functions[statistic](generator.choice(array, (min(200, resamples - start), len(values))))
            for start in range(0, resamples, 200)
        ]
    )
    low, high = np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2])
    result = {"estimate": functions[statistic](array), "low": low, "high": high}
    return result | {"standard_error": drawn.std(ddof=1), "bias": drawn.mean() - functions[statistic](array)}


Record = Annotated[dict[Name, str | bool | Number], Len(1, 30)]


@by_library
def cross_tabulate(
    records: Annotated[list[Record], Len(1, 2000)],
    rows: Name,
    columns: Name,
    show: Literal["counts", "row_percent", "column_percent", "total_percent"] = "counts",
) -> dict[str, Any]:
    """Count records by two of their fields, as a contingency table.

    Args:
        records: objects with the fields
        rows: field whose values become rows
        columns: field whose values become columns
        show: counts, or percentages of a row, a column or of all

    Example:
        {"records": [{"group": "a", "ok": true}, {"group": "a", "ok": false}, {"group": "b", "ok": true}],
         "rows": "group", "columns": "ok"}
    """
    fields = sorted({name for record in records for name in record})
    for parameter, name in (("rows", rows), ("columns", columns)):
        absent = next((number for number, record in enumerate(records) if name not in record), None)
        check(
            absent is None, f"{parameter}: record {absent} has no field {name!r}; fields are {', '.join(fields)[:200]}"
        )
    pairs = Counter((_label(record[rows]), _label(record[columns])) for record in records)
    across, along = sorted({pair[0] for pair in pairs}), sorted({pair[1] for pair in pairs})
    if len(across) * len(along) > 600:
        raise ToolError("limit", f"rows, columns: {len(across)} x {len(along)} cells; at most 600 are shown")
    table = [[pairs[row, column] for column in along] for row in across]
    result: dict[str, Any] = {"rows": across, "columns": along, "total": len(records)}
    in_rows, in_columns = [sum(row) for row in table], [sum(column) for column in zip(*table)]
    if show != "counts":
        return result | {"table": _percentages(table, in_rows, in_columns, show)}
    return result | {"table": table, "row_totals": in_rows, "column_totals": in_columns}


def _percentages(table: list[list[int]], in_rows: list[int], in_columns: list[int], show: str) -> list[list[float]]:
    shares = []
    for i, row in enumerate(table):
        wholes = {"row_percent": [in_rows[i]] * len(row), "column_percent": in_columns}
        bases = wholes.get(show, [sum(in_rows)] * len(row))
        shares.append([round(100 * count / base, 2) for count, base in zip(row, bases)])
    return shares


def _label(value: str | bool | float) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value[:60] if isinstance(value, str) else f"{value:.10g}"
