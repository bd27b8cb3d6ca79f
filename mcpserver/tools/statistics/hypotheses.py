"""Tests of hypotheses about samples, tables and proportions. Reads and writes nothing."""

import math
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from mcpserver.tool_error import ToolError
from mcpserver.toolbox.figures import Inner, Name, Number, Positive, Share, by_library, check

Sample = Annotated[list[Number], Len(2, 10_000)]
Alternative = Literal["two_sided", "less", "greater"]
Level = Annotated[float, Ge(0.5), Le(0.999)]
Counts = Annotated[list[Annotated[int, Ge(0), Le(1_000_000_000)]], Len(2, 30)]
Groups = Annotated[dict[Name, Annotated[list[Number], Len(2, 5000)]], Len(2, 20)]


class Trials(TypedDict):
    """Successes among trials."""

    successes: Annotated[int, Ge(0), Le(10_000_000)]
    trials: Annotated[int, Ge(1), Le(10_000_000)]


@by_library
def t_test_mean(
    values: Sample, expected: Number, alternative: Alternative = "two_sided", level: Level = 0.95
) -> dict[str, Any]:
    """Test whether the mean of a sample differs from a number (one-sample t-test).

    Args:
        values: the sample
        expected: mean under the null hypothesis
        alternative: whether the mean is another, less or greater
        level: confidence of the interval of the mean

    Example:
        {"values": [5.1, 4.9, 5.6, 5.8, 5.3], "expected": 5}
    """
    from scipy import stats

    _differ("values", values)
    found = stats.ttest_1samp(values, expected, alternative=_scipy(alternative))
    return _t_result(found, level) | {"mean": math.fsum(values) / len(values), "n": len(values)}


@by_library
def t_test_groups(
    first: Sample, second: Sample, equal_var: bool = False, alternative: Alternative = "two_sided", level: Level = 0.95
) -> dict[str, Any]:
    """Test whether two independent samples have the same mean (Welch's or Student's t-test).

    Args:
        first: a sample
        second: the other sample
        equal_var: whether the variances are taken to be equal (Student), else Welch
        alternative: whether the first mean is another, less or greater
        level: confidence of the interval of the difference

    Example:
        {"first": [20.1, 22.4, 19.8, 21.5], "second": [24.0, 23.1, 25.2, 22.8]}
        {"first": [1, 2, 3, 4], "second": [2, 4, 6, 9], "equal_var": true, "alternative": "less"}
    """
    from scipy import stats

    _differ("first, second", [*_centered(first), *_centered(second)])
    found = stats.ttest_ind(first, second, equal_var=equal_var, alternative=_scipy(alternative))
    means = [math.fsum(sample) / len(sample) for sample in (first, second)]
    return _t_result(found, level) | {"means": means, "difference": means[0] - means[1]}


@by_library
def t_test_paired(
    before: Sample, after: Sample, alternative: Alternative = "two_sided", level: Level = 0.95
) -> dict[str, Any]:
    """Test whether paired measurements changed (paired t-test).

    Args:
        before: first measurements
        after: second measurements of the same subjects, in the same order
        alternative: whether after is another than before, less or greater
        level: confidence of the interval of the change

    Example:
        {"before": [72, 80, 65, 90], "after": [75, 84, 66, 97], "alternative": "greater"}
    """
    from scipy import stats

    changes = _changes(before, after)
    _differ("before, after", changes, "the changes are all alike")
    found = stats.ttest_rel(after, before, alternative=_scipy(alternative))
    return _t_result(found, level) | {"mean_change": math.fsum(changes) / len(changes), "n": len(changes)}


@by_library
def mann_whitney_test(
    first: Sample,
    second: Sample,
    alternative: Alternative = "two_sided",
    method: Literal["auto", "exact", "normal"] = "auto",
) -> dict[str, Any]:
    """Test by ranks whether one of two independent samples tends to larger values (Mann-Whitney U).

    Args:
        first: a sample
        second: the other sample
        alternative: whether the first is shifted at all, to less or to greater values
        method: p-value exactly (without ties), by the normal law, or as fits

    Example:
        {"first": [3, 5, 8, 9], "second": [1, 2, 4, 6]}
    """
    from scipy import stats

    if method == "exact" and len(first) * len(second) > 10_000:
        raise ToolError("limit", "method: exact takes at most 10000 pairs of values; use normal")
    way = {"normal": "asymptotic"}.get(method, method)
    found = stats.mannwhitneyu(first, second, alternative=_scipy(alternative), method=way)
    share = found.statistic / (len(first) * len(second))
    return {"u": found.statistic, "p_value": found.pvalue, "share_first_larger": share, "effect_r": 2 * share - 1}


@by_library
def wilcoxon_test(before: Sample, after: Sample, alternative: Alternative = "two_sided") -> dict[str, Any]:
    """Test by signed ranks whether paired measurements changed (Wilcoxon).

    Args:
        before: first measurements
        after: second measurements of the same subjects, in the same order
        alternative: whether after is another than before, less or greater

    Example:
        {"before": [10, 12, 9, 15, 11, 14], "after": [12, 15, 10, 19, 16, 13]}
    """
    from scipy import stats

    changes = _changes(before, after)
    check(any(changes), "before, after: no pair differs")
    found = stats.wilcoxon(changes, alternative=_scipy(alternative))
    used = sum(change != 0 for change in changes)
    return {"w": found.statistic, "p_value": found.pvalue, "pairs": len(changes), "pairs_that_differ": used}


@by_library
def chi_square_test(table: Annotated[list[Counts], Len(2, 30)], correction: bool = True) -> dict[str, Any]:
    """Test whether rows and columns of a contingency table are independent.

    Args:
        table: counts by row
        correction: Yates' correction, for tables of 2 x 2 only

    Example:
        {"table": [[30, 10], [20, 40]]}
        {"table": [[12, 8, 5], [6, 14, 10]], "correction": false}
    """
    from scipy import stats

    width = len(table[0])
    wrong = next((number for number, row in enumerate(table) if len(row) != width), None)
    check(wrong is None, f"table: row {wrong} has another length than row 0 with {width} counts")
    check(all(map(sum, table)) and all(map(sum, zip(*table))), "table: a row or a column has only zeros; leave it out")
    found = stats.chi2_contingency(table, correction=correction)
    total = sum(map(sum, table))
    plain = found.statistic if not correction else stats.chi2_contingency(table, correction=False).statistic
    result = {"chi2": found.statistic, "degrees_of_freedom": found.dof, "p_value": found.pvalue}
    result |= {"cramers_v": math.sqrt(plain / (total * (min(len(table), width) - 1))), "expected": found.expected_freq}
    if len(table) == width == 2:
        result["fisher_p_value"] = stats.fisher_exact(table).pvalue if total <= 100_000 else found.pvalue
    return result | {"cells_expected_below_5": int((found.expected_freq < 5).sum())}


@by_library
def chi_square_fit(observed: Counts, expected: Annotated[list[Positive], Len(2, 30)] | None = None) -> dict[str, Any]:
    """Test whether counts fit expected proportions (chi-square goodness of fit).

    Args:
        observed: count of each class
        expected: share or expected count of each class, scaled to the total; else all alike

    Example:
        {"observed": [18, 22, 16, 25, 12, 27]}
        {"observed": [90, 30], "expected": [3, 1]}
    """
    from scipy import stats

    shares = expected or [1.0] * len(observed)
    check(len(shares) == len(observed), f"expected: {len(shares)} classes, but observed has {len(observed)}")
    total = sum(observed)
    check(total > 0, "observed: all counts are 0")
    wanted = [share * total / math.fsum(shares) for share in shares]
    chi2 = math.fsum((seen - want) ** 2 / want for seen, want in zip(observed, wanted))
    degrees = len(observed) - 1
    return {"chi2": chi2, "degrees_of_freedom": degrees, "p_value": stats.chi2.sf(chi2, degrees), "expected": wanted}


@by_library
def compare_groups(
    groups: Groups, method: Literal["anova", "welch_anova", "kruskal_wallis"] = "anova", pairwise: bool = False
) -> dict[str, Any]:
    """Test whether several groups differ in level (ANOVA, Welch's ANOVA or Kruskal-Wallis).

    Args:
        groups: numbers by name of the group
        method: anova takes equal variances, welch_anova does not, kruskal_wallis compares ranks
        pairwise: whether each pair is tested too (Tukey; for other methods Holm-corrected Welch or Mann-Whitney)

    Example:
        {"groups": {"north": [5, 6, 7], "south": [8, 9, 10], "west": [5, 7, 6]}, "pairwise": true}
        {"groups": {"a": [1, 3, 2, 9], "b": [8, 4, 7, 12]}, "method": "kruskal_wallis"}
    """
    from scipy import stats

    samples = list(groups.values())
    _differ("groups", [value for sample in samples for value in sample])
    if method == "kruskal_wallis":
        found = stats.kruskal(*samples)
        result = {"h": found.statistic, "p_value": found.pvalue, "degrees_of_freedom": len(samples) - 1}
    else:
        _differ("groups", [value for sample in samples for value in _centered(sample)], "no group varies within")
        found = stats.f_oneway(*samples, equal_var=method == "anova")
        result = {"f": found.statistic, "p_value": found.pvalue, **_eta(samples, method)}
    result["groups"] = {name: {"n": len(s), "mean": math.fsum(s) / len(s)} for name, s in groups.items()}
    return result | ({"pairs": _pairs(groups, method)} if pairwise else {})


def _eta(samples: list[list[float]], method: str) -> dict[str, Any]:
    everything = [value for sample in samples for value in sample]
    whole = math.fsum(v * v for v in _centered(everything))
    within = math.fsum(v * v for sample in samples for v in _centered(sample))
    degrees = {"degrees_of_freedom": [len(samples) - 1, len(everything) - len(samples)]}
    return {"eta_squared": 1 - within / whole, **(degrees if method == "anova" else {})}


def _pairs(groups: dict[str, list[float]], method: str) -> list[dict[str, Any]]:
    from scipy import stats

    names, samples = list(groups), list(groups.values())
    places = [(i, j) for i in range(len(names)) for j in range(i + 1, len(names))]
    if method == "anova":
        tukey = stats.tukey_hsd(*samples)
        p_values = [float(tukey.pvalue[i, j]) for i, j in places]
    else:
        test = stats.mannwhitneyu if method == "kruskal_wallis" else _welch
        raw = [float(test(samples[i], samples[j]).pvalue) for i, j in places]
        p_values = _holm(raw)
    return [{"pair": [names[i], names[j]], "p_value": p} for (i, j), p in zip(places, p_values)]


def _welch(first: list[float], second: list[float]) -> Any:
    from scipy import stats

    return stats.ttest_ind(first, second, equal_var=False)


@by_library
def compare_variances(
    groups: Groups, method: Literal["levene", "brown_forsythe", "bartlett", "fligner"] = "brown_forsythe"
) -> dict[str, Any]:
    """Test whether several groups have the same variance.

    Args:
        groups: numbers by name of the group
        method: levene compares distances to means, brown_forsythe to medians; bartlett needs normal data; fligner ranks

    Example:
        {"groups": {"old": [9.8, 10.1, 10.4, 9.5], "new": [9.9, 10.0, 10.1, 10.0]}}
    """
    from scipy import stats

    samples = list(groups.values())
    _differ("groups", [value for sample in samples for value in _centered(sample)], "no group varies within")
    if method in ("levene", "brown_forsythe"):
        found = stats.levene(*samples, center="mean" if method == "levene" else "median")
    else:
        found = (stats.bartlett if method == "bartlett" else stats.fligner)(*samples)
    variances = {name: sum(v * v for v in _centered(s)) / (len(s) - 1) for name, s in groups.items()}
    return {"statistic": found.statistic, "p_value": found.pvalue, "variances": variances}


@by_library
def normality_test(
    values: Annotated[list[Number], Len(8, 5000)],
    method: Literal["shapiro_wilk", "dagostino", "jarque_bera", "anderson_darling", "lilliefors"] = "shapiro_wilk",
) -> dict[str, Any]:
    """Test whether a sample may come from a normal distribution.

    Args:
        values: 8 to 5000 numbers
        method: shapiro_wilk is the usual one; dagostino and jarque_bera look at skewness and kurtosis

    Example:
        {"values": [4.8, 5.1, 5.0, 5.3, 4.9, 5.2, 5.0, 4.7, 5.1]}
    """
    from scipy import stats

    _differ("values", values)
    if method == "anderson_darling":
        return _anderson(values)
    if method == "lilliefors":
        fitted = stats.norm(loc=math.fsum(values) / len(values), scale=stats.tstd(values))
        distance = stats.ks_1samp(values, fitted.cdf).statistic
        return {
            "statistic": distance,
            "critical_value_5_percent": _lilliefors(len(values)),
            "normal_at_5_percent": bool(distance < _lilliefors(len(values))),
        }
    tests = {"shapiro_wilk": stats.shapiro, "dagostino": stats.normaltest, "jarque_bera": stats.jarque_bera}
    found = tests[method](values)
    return {"statistic": found.statistic, "p_value": found.pvalue, "normal_at_5_percent": bool(found.pvalue >= 0.05)}


def _anderson(values: list[float]) -> dict[str, Any]:
    """Source: D'Agostino and Stephens, Goodness-of-Fit Techniques (1986), table 4.9."""
    from scipy import stats

    n, mean = len(values), math.fsum(values) / len(values)
    scores = [(value - mean) / float(stats.tstd(values)) for value in sorted(values)]
    low, high = stats.norm.logcdf(scores), stats.norm.logsf(scores)[::-1]
    raw = -n - sum((2 * i + 1) * (low[i] + high[i]) for i in range(n)) / n
    a = float(raw * (1 + 0.75 / n + 2.25 / n**2))
    if a >= 0.6:
        p = math.exp(1.2937 - 5.709 * a + 0.0186 * a * a)
    elif a > 0.34:
        p = math.exp(0.9177 - 4.279 * a - 1.38 * a * a)
    elif a > 0.2:
        p = 1 - math.exp(-8.318 + 42.796 * a - 59.938 * a * a)
    else:
        p = 1 - math.exp(-13.436 + 101.14 * a - 223.73 * a * a)
    return {"statistic": a, "p_value": min(1.0, p), "normal_at_5_percent": p >= 0.05}


def _lilliefors(n: int) -> float:
    """Source: Dallal and Wilkinson (1986), the approximation for 5 percent."""
    return 0.895 / (math.sqrt(n) - 0.01 + 0.85 / math.sqrt(n))


@by_library
def proportion_test(sample: Trials, against: Trials | Share, alternative: Alternative = "two_sided") -> dict[str, Any]:
    """Test a proportion against an expected one (exact binomial) or against another sample (z-test).

    Args:
        sample: successes and trials
        against: expected share, or the other sample
        alternative: whether the proportion is another, less or greater

    Example:
        {"sample": {"successes": 62, "trials": 100}, "against": 0.5}
        {"sample": {"successes": 45, "trials": 200}, "against": {"successes": 30, "trials": 210},
         "alternative": "greater"}
    """
    from scipy import stats

    own = _proportion(sample, "sample")
    if not isinstance(against, dict):
        found = stats.binomtest(sample["successes"], sample["trials"], against, alternative=_scipy(alternative))
        return {"proportion": own, "expected": against, "p_value": found.pvalue, "method": "exact binomial"}
    other = _proportion(against, "against")
    trials = sample["trials"] + against["trials"]
    pooled = (sample["successes"] + against["successes"]) / trials
    check(0 < pooled < 1, "against: both samples have only successes, or only failures")
    error = math.sqrt(pooled * (1 - pooled) * (1 / sample["trials"] + 1 / against["trials"]))
    z = (own - other) / error
    tails = {"less": stats.norm.cdf(z), "greater": stats.norm.sf(z), "two_sided": 2 * stats.norm.sf(abs(z))}
    return {
        "proportions": [own, other],
        "difference": own - other,
        "z": z,
        "p_value": tails[alternative],
        "method": "pooled z",
    }


def _proportion(sample: Trials, parameter: str) -> float:
    check(sample["successes"] <= sample["trials"], f"{parameter}.successes: more than {sample['trials']} trials")
    return sample["successes"] / sample["trials"]


@by_library
def correct_p_values(
    p_values: Annotated[list[Share], Len(1, 500)],
    method: Literal["bonferroni", "sidak", "holm", "benjamini_hochberg", "benjamini_yekutieli"] = "holm",
    alpha: Inner = 0.05,
) -> dict[str, Any]:
    """Correct p-values for multiple testing.

    Args:
        p_values: one of each test
        method: bonferroni, sidak and holm bound any false alarm, the others the rate of false discoveries
        alpha: level of significance

    Example:
        {"p_values": [0.01, 0.04, 0.03, 0.005], "method": "benjamini_hochberg"}
    """
    n = len(p_values)
    if method == "bonferroni":
        corrected = [min(1.0, n * p) for p in p_values]
    elif method == "sidak":
        corrected = [-math.expm1(n * math.log1p(-p)) if p < 1 else 1.0 for p in p_values]
    elif method == "holm":
        corrected = _holm(p_values)
    else:
        extra = sum(1 / i for i in range(1, n + 1)) if method == "benjamini_yekutieli" else 1.0
        corrected = _step_up(p_values, extra)
    found = [number for number, p in enumerate(corrected) if p <= alpha]
    return {"corrected": corrected, "significant": found, "tests": n}


def _holm(p_values: list[float]) -> list[float]:
    """Step down: the smallest p-value times n, the next times n - 1, never falling."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected, least = [0.0] * len(order), 0.0
    for rank, i in enumerate(order):
        least = max(least, min(1.0, (len(order) - rank) * p_values[i]))
        corrected[i] = least
    return corrected


def _step_up(p_values: list[float], extra: float) -> list[float]:
    """Benjamini and Hochberg: the p-value of rank r times n / r, never rising towards smaller ones."""
    order = sorted(range(len(p_values)), key=lambda i: -p_values[i])
    corrected, most, n = [0.0] * len(order), 1.0, len(order)
    for place, i in enumerate(order):
        most = min(most, p_values[i] * extra * n / (n - place))
        corrected[i] = most
    return corrected


def _scipy(alternative: str) -> str:
    return alternative.replace("_", "-")


def _centered(values: list[float]) -> list[float]:
    mean = math.fsum(values) / len(values)
    return [value - mean for value in values]


def _differ(parameter: str, values: Iterable[float], why: str = "the values are all alike") -> None:
    check(len(set(values)) > 1, f"{parameter}: {why}, so that nothing can be tested")


def _changes(before: list[float], after: list[float]) -> list[float]:
    check(len(before) == len(after), f"after: {len(after)} values, but before has {len(before)}")
    return [late - early for early, late in zip(before, after)]


def _t_result(found: Any, level: float) -> dict[str, Any]:
    interval = found.confidence_interval(level)
    ends = {name: float(end) for name, end in (("low", interval.low), ("high", interval.high)) if math.isfinite(end)}
    return {"t": found.statistic, "degrees_of_freedom": found.df, "p_value": found.pvalue, "interval": ends}
