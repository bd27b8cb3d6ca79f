"""Studies planned and weighed: sample sizes, power, effect sizes, survival, probabilities. Reads and writes nothing."""

import math
from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Gt, Le, Len
from typing_extensions import TypedDict

from mcpserver.tool_error import ToolError
from mcpserver.toolbox.figures import Inner, NotNegative, Number, Share, by_library, check

Sample = Annotated[list[Number], Len(2, 5000)]
Sides = Literal["two_sided", "one_sided"]
Effect = Annotated[float, Ge(0.01), Le(10)]
MAX_N = 1_000_000


class MeansDesign(TypedDict):
    """A t-test: effect is the difference in standard deviations (Cohen's d)."""

    test: Literal["t_one_sample", "t_paired", "t_two_sample"]
    effect: Effect


class ProportionsDesign(TypedDict):
    """Two proportions compared, by Cohen's h."""

    test: Literal["proportions"]
    first: Inner
    second: Inner


class CorrelationDesign(TypedDict):
    """A correlation that is not 0, by Fisher's z."""

    test: Literal["correlation"]
    r: Annotated[float, Ge(0.01), Le(0.99)]


class AnovaDesign(TypedDict):
    """Means of several groups; effect is Cohen's f."""

    test: Literal["anova"]
    groups: Annotated[int, Ge(2), Le(50)]
    effect: Effect


Design = MeansDesign | ProportionsDesign | CorrelationDesign | AnovaDesign


@by_library
def plan_sample_size(
    design: Design,
    power: Annotated[float, Ge(0.1), Le(0.999)] = 0.8,
    alpha: Annotated[float, Ge(0.0001), Le(0.5)] = 0.05,
    sides: Sides = "two_sided",
) -> dict[str, Any]:
    """Find how many subjects a study needs in each group.

    Args:
        design: test with the effect to be found
        power: chance to find the effect
        alpha: level of significance
        sides: one_sided or two_sided test; anova has no sides

    Example:
        {"design": {"test": "t_two_sample", "effect": 0.5}}
        {"design": {"test": "proportions", "first": 0.2, "second": 0.3}, "power": 0.9}
    """
    low, high = 3, 4
    while _power(design, high, alpha, sides) < power:
        low, high = high, high * 2
        if high > MAX_N:
            raise ToolError("limit", f"design: more than {MAX_N} subjects would be needed for so small an effect")
    low = 2 if high == 4 else low
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _power(design, middle, alpha, sides) >= power else (middle, high)
    per_group = low if low > 2 and _power(design, low, alpha, sides) >= power else high
    groups = _groups(design)
    reached = _power(design, per_group, alpha, sides)
    return {"n_per_group": per_group, "groups": groups, "n_total": per_group * groups, "power": reached}


@by_library
def compute_power(
    design: Design,
    n_per_group: Annotated[int, Ge(3), Le(MAX_N)],
    alpha: Annotated[float, Ge(0.0001), Le(0.5)] = 0.05,
    sides: Sides = "two_sided",
) -> dict[str, Any]:
    """Compute the chance that a study of a size finds an effect.

    Args:
        design: test with the effect
        n_per_group: subjects (or pairs) in each group
        alpha: level of significance
        sides: one_sided or two_sided test; anova has no sides

    Example:
        {"design": {"test": "t_two_sample", "effect": 0.5}, "n_per_group": 64}
        {"design": {"test": "anova", "groups": 3, "effect": 0.25}, "n_per_group": 30}
    """
    power = _power(design, n_per_group, alpha, sides)
    return {"power": power, "n_total": n_per_group * _groups(design)}


def _groups(design: Design) -> int:
    if design["test"] == "anova":
        return design["groups"]
    return 2 if design["test"] in ("t_two_sample", "proportions") else 1


def _power(design: Design, n: int, alpha: float, sides: Sides) -> float:
    from scipy import stats

    tail = alpha / 2 if sides == "two_sided" else alpha
    if design["test"] == "anova":
        between, within = design["groups"] - 1, design["groups"] * (n - 1)
        limit = stats.f.isf(alpha, between, within)
        return _sure(stats.ncf.sf(limit, between, within, design["effect"] ** 2 * n * design["groups"]))
    if design["test"] == "proportions" or design["test"] == "correlation":
        if design["test"] == "proportions":
            angles = [2 * math.asin(math.sqrt(p)) for p in (design["first"], design["second"])]
            shift = abs(angles[0] - angles[1]) * math.sqrt(n / 2)
        else:
            shift = math.atanh(design["r"]) * math.sqrt(max(n - 3, 0))
        limit = stats.norm.isf(tail)
        return float(stats.norm.sf(limit - shift) + (stats.norm.cdf(-limit - shift) if sides == "two_sided" else 0.0))
    pairs = design["test"] == "t_two_sample"
    degrees, shift = (2 * n - 2, math.sqrt(n / 2)) if pairs else (n - 1, math.sqrt(n))
    shift *= design["effect"]
    limit = stats.t.isf(tail, degrees)
    power = _sure(stats.nct.sf(limit, degrees, shift))
    return min(1.0, power + (_sure(stats.nct.cdf(-limit, degrees, shift), 0.0) if sides == "two_sided" else 0.0))


def _sure(value: Any, otherwise: float = 1.0) -> float:
    """Far out, where scipy has no number, the power is 1 and the other tail is 0."""
    return float(value) if math.isfinite(value) else otherwise


class MeansEffect(TypedDict):
    """Difference of two samples: Cohen's d, Hedges' g, Glass' delta, Cliff's delta."""

    kind: Literal["means"]
    first: Sample
    second: Sample
    paired: NotRequired[bool]


class TableEffect(TypedDict):
    """Odds ratio, relative risk and phi of [[yes, no] of the exposed, [yes, no] of the others]."""

    kind: Literal["two_by_two"]
    table: Annotated[list[Annotated[list[Annotated[int, Ge(0), Le(10**9)]], Len(2, 2)]], Len(2, 2)]


class ProportionsEffect(TypedDict):
    """Cohen's h of two proportions."""

    kind: Literal["proportions"]
    first: Share
    second: Share


@by_library
def effect_size(comparison: MeansEffect | TableEffect | ProportionsEffect) -> dict[str, Any]:
    """Measure how large a difference is: Cohen's d, odds ratio and their like.

    Args:
        comparison: what is compared

    Example:
        {"comparison": {"kind": "means", "first": [5, 6, 7, 8], "second": [3, 4, 5, 6]}}
        {"comparison": {"kind": "two_by_two", "table": [[20, 80], [10, 90]]}}
        {"comparison": {"kind": "proportions", "first": 0.4, "second": 0.25}}
    """
    if comparison["kind"] == "proportions":
        angles = [2 * math.asin(math.sqrt(p)) for p in (comparison["first"], comparison["second"])]
        return {"cohens_h": angles[0] - angles[1], "difference": comparison["first"] - comparison["second"]}
    if comparison["kind"] == "means":
        return _means_effect(comparison)
    (a, b), (c, d) = comparison["table"]
    check(a + b > 0 and c + d > 0, "comparison.table: a row has only zeros")
    corrected = 0.5 if 0 in (a, b, c, d) else 0.0
    a2, b2, c2, d2 = (count + corrected for count in (a, b, c, d))
    log_odds = math.log(a2 * d2 / (b2 * c2))
    margin = 1.959963984540054 * math.sqrt(1 / a2 + 1 / b2 + 1 / c2 + 1 / d2)
    result = {
        "odds_ratio": math.exp(log_odds),
        "interval_95": [math.exp(log_odds - margin), math.exp(log_odds + margin)],
    }
    risks = [a / (a + b), c / (c + d)]
    result |= {"risks": risks, "risk_difference": risks[0] - risks[1], "half_added_to_cells": corrected > 0}
    result |= {"relative_risk": risks[0] / risks[1]} if risks[1] else {}
    columns = (a + c) * (b + d)
    return result | ({"phi": (a * d - b * c) / math.sqrt((a + b) * (c + d) * columns)} if columns else {})


def _means_effect(comparison: MeansEffect) -> dict[str, Any]:
    import numpy as np

    first, second = (np.asarray(comparison[name], dtype=float) for name in ("first", "second"))
    difference = first.mean() - second.mean()
    if comparison.get("paired", False):
        check(len(first) == len(second), f"comparison.second: {len(second)} values, but first has {len(first)}")
        return {"cohens_dz": difference / (first - second).std(ddof=1), "mean_difference": difference}
    degrees = len(first) + len(second) - 2
    pooled = math.sqrt(((len(first) - 1) * first.var(ddof=1) + (len(second) - 1) * second.var(ddof=1)) / degrees)
    check(pooled > 0, "comparison: neither sample varies, so that there is no scale")
    d = difference / pooled
    ordered = np.sort(second)
    above, not_below = np.searchsorted(ordered, first, "left").sum(), np.searchsorted(ordered, first, "right").sum()
    cliff = (int(above) + int(not_below)) / (len(first) * len(second)) - 1
    result = {"cohens_d": d, "hedges_g": d * (1 - 3 / (4 * degrees - 1)), "mean_difference": difference}
    spread = second.std(ddof=1)
    return result | {"cliffs_delta": cliff} | ({"glass_delta": difference / spread} if spread > 0 else {})


@by_library
def survival_curve(
    times: Annotated[list[NotNegative], Len(1, 2000)],
    events: Annotated[list[bool], Len(1, 2000)],
    limit: Annotated[int, Ge(1), Le(100)] = 50,
    offset: Annotated[int, Ge(0), Le(2000)] = 0,
) -> dict[str, Any]:
    """Estimate survival over time with subjects lost on the way (Kaplan-Meier).

    Args:
        times: time until the event or until the subject was last seen
        events: whether the event happened; false where the subject was lost
        limit: steps of the curve to return
        offset: steps to leave out first

    Example:
        {"times": [6, 6, 6, 7, 10, 13], "events": [true, true, false, true, false, true]}
    """
    check(len(times) == len(events), f"events: {len(events)} values, but times has {len(times)}")
    left, share, greenwood, median = len(times), 1.0, 0.0, None
    steps: list[dict[str, Any]] = []
    at = {time: [0, 0] for time in sorted(set(times))}
    for time, event in zip(times, events):
        at[time][0 if event else 1] += 1
    for time, (died, lost) in at.items():
        if died:
            share *= 1 - died / left
            greenwood += died / (left * (left - died)) if left > died else 0.0
            error = share * math.sqrt(greenwood)
            steps.append({"time": time, "at_risk": left, "events": died, "survival": share, "standard_error": error})
            median = time if median is None and share <= 0.5 else median
        left -= died + lost
    result: dict[str, Any] = {"total": len(steps), "steps": steps[offset : offset + limit], "events": sum(events)}
    return result | ({} if median is None else {"median_time": median})


class Location(TypedDict):
    """Normal or log-normal (mean and deviation of the logarithm) distribution."""

    kind: Literal["normal", "lognormal"]
    mean: Annotated[float, Ge(-1e6), Le(1e6)]
    deviation: Annotated[float, Gt(0), Le(1e6)]


class Degrees(TypedDict):
    """Student's t or chi-square distribution."""

    kind: Literal["student_t", "chi_square"]
    degrees: Annotated[float, Ge(0.1), Le(1e6)]


class FDistribution(TypedDict):
    """Fisher's F distribution."""

    kind: Literal["f"]
    numerator: Annotated[float, Ge(0.1), Le(1e6)]
    denominator: Annotated[float, Ge(0.1), Le(1e6)]


class Binomial(TypedDict):
    """Successes among trials."""

    kind: Literal["binomial"]
    trials: Annotated[int, Ge(1), Le(1_000_000)]
    chance: Share


class Rate(TypedDict):
    """Poisson (events in a period) or exponential (time until the next one) distribution."""

    kind: Literal["poisson", "exponential"]
    rate: Annotated[float, Ge(1e-6), Le(1e6)]


class Uniform(TypedDict):
    """All values between two numbers alike."""

    kind: Literal["uniform"]
    low: Number
    high: Number


class Beta(TypedDict):
    """Beta distribution, from 0 to 1."""

    kind: Literal["beta"]
    alpha: Annotated[float, Ge(0.01), Le(1e4)]
    beta: Annotated[float, Ge(0.01), Le(1e4)]


class Shaped(TypedDict):
    """Gamma or Weibull distribution."""

    kind: Literal["gamma", "weibull"]
    shape: Annotated[float, Ge(0.01), Le(1e4)]
    scale: Annotated[float, Ge(0.01), Le(1e4)]


Distribution = Location | Degrees | FDistribution | Binomial | Rate | Uniform | Beta | Shaped


class AtPoint(TypedDict):
    """Density (or probability of a count), or the chance of at most (below) or more than (above) x."""

    ask: Literal["density", "below", "above"]
    x: Number


class Between(TypedDict):
    """The chance of more than low and at most high."""

    ask: Literal["between"]
    low: Number
    high: Number


class Quantile(TypedDict):
    """The value that is not exceeded with this chance."""

    ask: Literal["quantile"]
    chance: Inner


@by_library
def evaluate_distribution(distribution: Distribution, question: AtPoint | Between | Quantile) -> dict[str, Any]:
    """Get a density, chance or quantile of a probability distribution.

    Args:
        distribution: kind with its parameters
        question: what is asked

    Example:
        {"distribution": {"kind": "normal", "mean": 100, "deviation": 15}, "question": {"ask": "above", "x": 130}}
        {"distribution": {"kind": "binomial", "trials": 10, "chance": 0.5}, "question": {"ask": "density", "x": 3}}
        {"distribution": {"kind": "student_t", "degrees": 9}, "question": {"ask": "quantile", "chance": 0.975}}
    """
    law = _law(distribution)
    about = {"mean": law.mean(), "variance": law.var()}
    about = {name: float(value) for name, value in about.items() if math.isfinite(value)}
    if question["ask"] == "quantile":
        return {"result": law.ppf(question["chance"]), **about}
    if question["ask"] == "between":
        check(question["low"] <= question["high"], "question.high: must not be less than low")
        return {"result": max(0.0, float(law.cdf(question["high"]) - law.cdf(question["low"]))), **about}
    if question["ask"] == "density":
        return {"result": (law.pmf if hasattr(law.dist, "pmf") else law.pdf)(question["x"]), **about}
    return {"result": (law.cdf if question["ask"] == "below" else law.sf)(question["x"]), **about}


def _law(given: Distribution) -> Any:
    from scipy import stats

    if given["kind"] == "normal" or given["kind"] == "lognormal":
        mean, deviation = given["mean"], given["deviation"]
        return (
            stats.norm(mean, deviation) if given["kind"] == "normal" else stats.lognorm(deviation, scale=math.exp(mean))
        )
    if given["kind"] == "student_t" or given["kind"] == "chi_square":
        return (stats.t if given["kind"] == "student_t" else stats.chi2)(given["degrees"])
    if given["kind"] == "f":
        return stats.f(given["numerator"], given["denominator"])
    if given["kind"] == "binomial":
        return stats.binom(given["trials"], given["chance"])
    if given["kind"] == "poisson" or given["kind"] == "exponential":
        return stats.poisson(given["rate"]) if given["kind"] == "poisson" else stats.expon(scale=1 / given["rate"])
    if given["kind"] == "uniform":
        check(given["low"] < given["high"], "distribution.high: must be more than low")
        return stats.uniform(given["low"], given["high"] - given["low"])
    if given["kind"] == "beta":
        return stats.beta(given["alpha"], given["beta"])
    family = stats.gamma if given["kind"] == "gamma" else stats.weibull_min
    return family(given["shape"], scale=given["scale"])
