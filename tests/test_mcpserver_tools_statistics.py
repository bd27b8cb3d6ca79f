import math

import numpy as np
import pytest
from number_fuzz import check_extreme_numbers
from scipy import stats
from tool_calls import World
from tool_checks import check_example, check_random_calls, examples_of, refused, tools_of

from mcpserver.tools.statistics import hypotheses, models, samples, series, studies

MODULES = (samples, series, hypotheses, studies, models)
HEIGHTS = [172.0, 168, 181, 175, 166, 178, 169, 174, 171, 180]
OTHERS = [165.0, 170, 163, 172, 168, 161, 166, 169]
close = pytest.approx


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("env"))


@pytest.mark.parametrize(("tool", "example"), examples_of(*MODULES))
def test_examples_work_and_are_repeatable(tool, example, tmp_path):
    check_example(tool, example, tmp_path)


@pytest.mark.parametrize("tool", tools_of(*MODULES), ids=lambda tool: tool.spec.name)
def test_random_calls_fail_in_the_typed_way_only(tool, tmp_path):
    check_random_calls(tool, tmp_path)


@pytest.mark.parametrize("tool", tools_of(*MODULES), ids=lambda tool: tool.spec.name)
def test_extreme_numbers_give_finite_results_or_typed_errors(tool, world):
    check_extreme_numbers(tool, world)


def test_a_sample_is_described(world):
    found = world.call(samples.describe_sample, values=[2, 4, 4, 4, 5, 5, 7, 9], quantiles=[0.9])
    assert (found["mean"], found["median"], found["mode"], found["sum"]) == (5, 4.5, 4, 40)
    assert found["variance"] == close(32 / 7)
    assert found["quantiles"] == [{"share": 0.9, "value": 7.6}]
    assert found["skewness"] == close(0.818488, abs=1e-5)  # G1, as spreadsheets give it
    assert "variance" not in world.call(samples.describe_sample, values=[3])


@pytest.mark.parametrize(
    ("values", "method", "result"),
    [
        ([1, 2, 4], {"kind": "geometric"}, 2),
        ([40, 60], {"kind": "harmonic"}, 48),
        ([1, 7], {"kind": "quadratic"}, 5),
        ([30, 32, 35], {"kind": "weighted", "weights": [100, 50, 50]}, 31.75),
        ([1, 2, 3, 4, 500], {"kind": "trimmed", "share": 0.2}, 3),
        ([1, 2, 3, 4, 500], {"kind": "winsorized", "share": 0.2}, 3),
    ],
)
def test_means_of_other_kinds(world, values, method, result):
    assert world.call(samples.average_values, values=values, method=method)["result"] == close(result)


def test_intervals_agree_with_the_textbook(world):
    mean = world.call(samples.confidence_interval, estimate={"kind": "mean", "values": [1, 2, 3, 4, 5]})
    assert (mean["low"], mean["high"]) == close(
        (3 - 2.776445 * math.sqrt(0.5), 3 + 2.776445 * math.sqrt(0.5)), abs=1e-5
    )
    known = {"kind": "summary", "mean": 100, "deviation": 15, "n": 36, "population": True}
    assert world.call(samples.confidence_interval, estimate=known)["margin"] == close(1.959964 * 2.5, abs=1e-5)
    wilson = world.call(samples.confidence_interval, estimate={"kind": "proportion", "successes": 0, "trials": 10})
    z2 = 1.959964**2
    assert (wilson["low"], wilson["high"]) == close((0, z2 / (10 + z2)), abs=1e-5)
    exact = {"kind": "proportion", "successes": 10, "trials": 10, "method": "exact"}
    assert world.call(samples.confidence_interval, estimate=exact)["low"] == close(0.025**0.1)


def test_the_bootstrap_is_seeded_and_near_the_normal_interval(world):
    def call(seed):
        return world.call(samples.bootstrap_interval, values=HEIGHTS, statistic="mean", resamples=4000, seed=seed)

    assert call(1) == call(1) != call(2)
    error = np.std(HEIGHTS) / math.sqrt(10)
    assert call(1)["standard_error"] == close(error, rel=0.06)
    assert call(1)["low"] == close(np.mean(HEIGHTS) - 1.96 * error, abs=0.4)


def test_scales_and_ranks(world):
    assert world.call(samples.standardize_values, values=[1, 2, 3])["values"] == [-1, 0, 1]
    assert world.call(samples.standardize_values, values=[5, 1, 5], method="rank")["values"] == [2.5, 1, 2.5]
    for kind, percent in (("strict", 20), ("weak", 60), ("mean", 40)):
        found = world.call(samples.percentile_rank, values=[55, 60, 60, 71, 80], score=60, kind=kind)
        assert found["percentile"] == percent


def test_records_are_cross_tabulated(world):
    records = [{"g": "a", "ok": True}, {"g": "a", "ok": False}, {"g": "b", "ok": True}, {"g": "a", "ok": True}]
    found = world.call(samples.cross_tabulate, records=records, rows="g", columns="ok")
    assert (found["rows"], found["columns"], found["table"]) == (["a", "b"], ["false", "true"], [[1, 2], [0, 1]])
    shares = world.call(samples.cross_tabulate, records=records, rows="g", columns="ok", show="column_percent")
    assert shares["table"] == [[100, 66.67], [0, 33.33]]
    with refused("bad_arguments", "record 1 has no field 'ok'"):
        world.call(samples.cross_tabulate, records=[records[0], {"g": "b"}], rows="g", columns="ok")


def test_t_tests_by_hand(world):
    one = world.call(hypotheses.t_test_mean, values=[1, 2, 3, 4, 5], expected=1)
    assert (one["t"], one["degrees_of_freedom"]) == (close(2 / math.sqrt(0.5)), 4)
    pooled = world.call(hypotheses.t_test_groups, first=[1, 2, 3], second=[2, 4, 6], equal_var=True)
    assert pooled["t"] == close(-2 / math.sqrt(2.5 * 2 / 3))
    assert pooled["degrees_of_freedom"] == 4
    welch = world.call(hypotheses.t_test_groups, first=[1, 2, 3], second=[2, 4, 6])
    assert welch["degrees_of_freedom"] == close((5 / 3) ** 2 / ((1 / 9 + 16 / 9) / 2))
    pairs = world.call(hypotheses.t_test_paired, before=[1, 2, 3], after=[2, 4, 6], alternative="greater")
    assert pairs["t"] == close(2 * math.sqrt(3))
    assert pairs["p_value"] == close(stats.t.sf(2 * math.sqrt(3), 2))
    assert set(pairs["interval"]) == {"low"}


def test_rank_tests_by_counting(world):
    found = world.call(hypotheses.mann_whitney_test, first=[4, 5, 6], second=[1, 2, 3], alternative="greater")
    assert (found["u"], found["p_value"], found["effect_r"]) == (9, 0.05, 1)
    found = world.call(hypotheses.wilcoxon_test, before=[1, 1, 1, 1, 1], after=[2, 3, 4, 5, 6], alternative="greater")
    assert found["p_value"] == close(1 / 32)
    with refused("bad_arguments", "no pair differs"):
        world.call(hypotheses.wilcoxon_test, before=[1, 2], after=[1, 2])


def test_tables_of_counts(world):
    found = world.call(hypotheses.chi_square_test, table=[[30, 10], [20, 40]], correction=False)
    assert found["chi2"] == close(100 * (30 * 40 - 10 * 20) ** 2 / (40 * 60 * 50 * 50))
    assert found["cramers_v"] == close(math.sqrt(found["chi2"] / 100))
    fit = world.call(hypotheses.chi_square_fit, observed=[84, 36], expected=[3, 1])
    assert fit["chi2"] == close(36 / 90 + 36 / 30)
    assert fit["expected"] == [90, 30]
    with refused("bad_arguments", "row 1 has another length"):
        world.call(hypotheses.chi_square_test, table=[[1, 2], [1, 2, 3]])
    with refused("bad_arguments", "only zeros"):
        world.call(hypotheses.chi_square_test, table=[[1, 0], [1, 0]])


def test_groups_are_compared(world):
    groups = {"north": [5, 6, 7], "south": [8, 9, 10], "west": [5, 7, 6]}
    found = world.call(hypotheses.compare_groups, groups=groups, pairwise=True)
    assert (found["f"], found["eta_squared"], found["degrees_of_freedom"]) == (9, 0.75, [2, 6])
    assert found["pairs"][0]["p_value"] == close(0.0242, abs=1e-4)
    ranks = world.call(hypotheses.compare_groups, groups=groups, method="kruskal_wallis", pairwise=True)
    assert ranks["h"] == close(stats.kruskal(*groups.values()).statistic)
    two = {name: groups[name] for name in ("north", "south")}
    welch = world.call(hypotheses.compare_groups, groups=two, method="welch_anova")
    assert welch["p_value"] == close(stats.ttest_ind(*two.values(), equal_var=False).pvalue)
    spread = world.call(hypotheses.compare_variances, groups={"a": [1, 2, 3], "b": [0, 5, 10]})
    assert spread["variances"] == {"a": 1, "b": 25}
    with refused("bad_arguments", "no group varies"):
        world.call(hypotheses.compare_groups, groups={"a": [1, 1], "b": [2, 2]})


@pytest.mark.parametrize("method", ["shapiro_wilk", "dagostino", "jarque_bera", "anderson_darling", "lilliefors"])
def test_normal_samples_pass_and_skewed_ones_fail(world, method):
    normal = list(stats.norm.ppf((np.arange(60) + 0.5) / 60))
    for values, expected in ((normal, True), (list(np.exp(normal)), False)):
        assert world.call(hypotheses.normality_test, values=values, method=method)["normal_at_5_percent"] is expected


def test_proportions_are_tested(world):
    sample = {"successes": 8, "trials": 10}
    one = world.call(hypotheses.proportion_test, sample=sample, against=0.5, alternative="greater")
    assert one["p_value"] == close(56 / 1024)
    two = world.call(hypotheses.proportion_test, sample=sample, against={"successes": 4, "trials": 10})
    assert two["z"] == close(0.4 / math.sqrt(0.6 * 0.4 * 0.2))


@pytest.mark.parametrize(
    ("method", "corrected"),
    [
        ("bonferroni", [0.04, 0.16, 0.12, 0.02]),
        ("sidak", [1 - 0.99**4, 1 - 0.96**4, 1 - 0.97**4, 1 - 0.995**4]),
        ("holm", [0.03, 0.06, 0.06, 0.02]),
        ("benjamini_hochberg", [0.02, 0.04, 0.04, 0.02]),
        ("benjamini_yekutieli", [0.02 * 25 / 12, 0.04 * 25 / 12, 0.04 * 25 / 12, 0.02 * 25 / 12]),
    ],
)
def test_p_values_are_corrected(world, method, corrected):
    found = world.call(hypotheses.correct_p_values, p_values=[0.01, 0.04, 0.03, 0.005], method=method)
    assert found["corrected"] == close(corrected)


@pytest.mark.parametrize(
    ("design", "n"),  # from Cohen's tables (1988), and G*Power
    [
        ({"test": "t_two_sample", "effect": 0.5}, 64),
        ({"test": "t_two_sample", "effect": 0.8}, 26),
        ({"test": "t_paired", "effect": 0.5}, 34),
        ({"test": "anova", "groups": 3, "effect": 0.25}, 53),
        ({"test": "correlation", "r": 0.3}, 85),
        ({"test": "t_two_sample", "effect": 10}, 3),
    ],
)
def test_sample_sizes_are_those_of_the_tables(world, design, n):
    plan = world.call(studies.plan_sample_size, design=design)
    assert plan["n_per_group"] == n
    assert world.call(studies.compute_power, design=design, n_per_group=n)["power"] == plan["power"] >= 0.8
    assert n == 3 or world.call(studies.compute_power, design=design, n_per_group=n - 1)["power"] < 0.8


def test_effects_are_measured(world):
    means = {"kind": "means", "first": [5, 6, 7, 8], "second": [3, 4, 5, 6]}
    found = world.call(studies.effect_size, comparison=means)
    assert found["cohens_d"] == close(2 / math.sqrt(5 / 3))
    assert found["cliffs_delta"] == 0.75
    table = world.call(studies.effect_size, comparison={"kind": "two_by_two", "table": [[20, 80], [10, 90]]})
    assert (table["odds_ratio"], table["relative_risk"]) == close((2.25, 2))


def test_survival_is_the_one_of_the_textbook(world):
    times = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]  # Freireich (1963), 6-MP
    lost = {3, 5, 7, 8, 11, 12, 13, 16, 17, 18, 19, 20}
    found = world.call(studies.survival_curve, times=times, events=[i not in lost for i in range(21)])
    assert [round(step["survival"], 3) for step in found["steps"]] == [0.857, 0.807, 0.753, 0.69, 0.627, 0.538, 0.448]
    assert found["median_time"] == 23
    assert round(found["steps"][0]["standard_error"], 4) == 0.0764


@pytest.mark.parametrize(
    ("distribution", "question", "result"),
    [
        ({"kind": "normal", "mean": 100, "deviation": 15}, {"ask": "above", "x": 130}, 0.0227501),
        ({"kind": "normal", "mean": 0, "deviation": 1}, {"ask": "between", "low": -1, "high": 1}, 0.6826895),
        ({"kind": "lognormal", "mean": 1, "deviation": 1}, {"ask": "quantile", "chance": 0.5}, math.e),
        ({"kind": "binomial", "trials": 10, "chance": 0.5}, {"ask": "density", "x": 3}, 120 / 1024),
        ({"kind": "poisson", "rate": 2}, {"ask": "below", "x": 1}, 3 * math.exp(-2)),
        ({"kind": "exponential", "rate": 2}, {"ask": "above", "x": 1}, math.exp(-2)),
        ({"kind": "uniform", "low": 2, "high": 6}, {"ask": "below", "x": 3}, 0.25),
        ({"kind": "student_t", "degrees": 9}, {"ask": "quantile", "chance": 0.975}, 2.262157),
        ({"kind": "chi_square", "degrees": 2}, {"ask": "above", "x": 2}, math.exp(-1)),
        ({"kind": "weibull", "shape": 2, "scale": 3}, {"ask": "above", "x": 3}, math.exp(-1)),
        ({"kind": "gamma", "shape": 1, "scale": 3}, {"ask": "density", "x": 3}, math.exp(-1) / 3),
        ({"kind": "beta", "alpha": 2, "beta": 1}, {"ask": "below", "x": 0.5}, 0.25),
        ({"kind": "f", "numerator": 2, "denominator": 10}, {"ask": "quantile", "chance": 0.95}, 4.102821),
    ],
)
def test_distributions(world, distribution, question, result):
    found = world.call(studies.evaluate_distribution, distribution=distribution, question=question)["result"]
    assert found == close(result, abs=1e-6)


def test_lines_and_curves_are_found_again(world):
    x = [1, 2, 3, 4, 5]
    line = world.call(models.linear_regression, x=x, y=[3, 5, 7, 9, 11], predict_at=[10])
    assert (line["slope"], line["intercept"], line["predictions"][0]["y"]) == close((2, 1, 21))
    noisy = world.call(models.linear_regression, x=x, y=[2, 4, 5, 4, 5])
    assert (noisy["slope"], noisy["intercept"], noisy["r_squared"]) == close((0.6, 2.2, 0.6))
    assert noisy["residual_error"] == close(math.sqrt(0.8))
    curve = world.call(models.fit_polynomial, x=x, y=[v**2 - v + 1 for v in x], degree=2)
    assert curve["coefficients"] == close([1, -1, 1], abs=1e-8)
    with refused("bad_arguments", "degree"):
        world.call(models.fit_polynomial, x=[1, 2, 1], y=[1, 2, 3], degree=2)


def test_several_predictors(world):
    a, b = [1, 2, 3, 4, 5, 6], [3, 5, 2, 6, 7, 4]
    outcome = [1 + 2 * u - v + e for u, v, e in zip(a, b, [0.1, -0.1, 0.2, 0, -0.2, 0.1])]
    found = world.call(
        models.multiple_regression, outcome=outcome, predictors={"a": a, "b": b}, predict=[{"a": 0, "b": 1}]
    )
    design = np.column_stack([np.ones(6), a, b])
    expected = np.linalg.lstsq(design, outcome)[0]
    values = [row["coefficient"] for row in found["coefficients"].values()]
    assert values == close(expected)
    assert found["predictions"] == close([expected[0] + expected[2]])
    squares = float(((np.array(outcome) - design @ expected) ** 2).sum())
    error = math.sqrt(squares / 3 * np.linalg.inv(design.T @ design)[1, 1])
    assert found["coefficients"]["a"]["standard_error"] == close(error)
    exact = world.call(models.multiple_regression, outcome=[1, 3, 5], predictors={"a": [0, 1, 2]})
    assert exact["r_squared"] == 1
    assert exact["coefficients"]["a"] == {"coefficient": 2, "standard_error": 0}
    with refused("tool_error", "follows from the others"):
        world.call(models.multiple_regression, outcome=a, predictors={"a": b, "b": [2 * v for v in b]})
    with refused("bad_arguments", "each row needs just a"):
        world.call(models.multiple_regression, outcome=a, predictors={"a": b}, predict=[{"c": 1}])


def test_a_logistic_model_fits_the_shares_of_two_groups(world):
    outcome = [True] * 3 + [False] * 7 + [True] * 8 + [False] * 2  # 30 % and 80 %
    found = world.call(
        models.logistic_regression, outcome=outcome, predictors={"x": [0] * 10 + [1] * 10}, predict=[{"x": 0}, {"x": 1}]
    )
    assert found["predictions"] == close([0.3, 0.8])
    slope = found["coefficients"]["x"]
    assert slope["odds_ratio"] == close((8 / 2) / (3 / 7))
    assert slope["standard_error"] == close(math.sqrt(1 / 3 + 1 / 7 + 1 / 8 + 1 / 2))
    with refused("tool_error", "perfectly"):
        world.call(models.logistic_regression, outcome=[True, True, False, False], predictors={"x": [1, 2, 3, 4]})


def test_correlations(world):
    x, y = [1, 2, 3, 4, 5], [5, 6, 7, 8, 7]
    assert world.call(models.correlate_values, x=x, y=y)["coefficient"] == close(6 / math.sqrt(10 * 5.2))
    assert world.call(models.correlate_values, x=x, y=y, method="spearman")["coefficient"] == close(0.820783, abs=1e-6)
    assert world.call(models.correlate_values, x=[1, 2, 3], y=[1, 3, 2], method="kendall")["coefficient"] == close(
        1 / 3
    )
    assert world.call(models.correlate_values, x=x, y=x)["coefficient"] == 1
    with refused("bad_arguments", "all alike"):
        world.call(models.correlate_values, x=[1, 1, 1], y=[1, 2, 3])


def test_clusters_are_found_and_seeded(world):
    points = [[0, 0], [0, 1], [10, 10], [10, 11], [20, 0], [20, 1]]
    found = world.call(models.k_means, points=points, clusters=3)
    assert found["labels"] == [0, 0, 1, 1, 2, 2]
    assert found["inertia"] == 1.5
    assert found["centers"] == [[0, 0.5], [10, 10.5], [20, 0.5]]
    with refused("bad_arguments", "only 1 different points"):
        world.call(models.k_means, points=[[1, 1], [1, 1]], clusters=2)


def test_series_are_smoothed_and_forecast(world):
    values = [1, 2, 3, 4, 5, 6]
    assert world.call(series.smooth_series, values=values, method={"kind": "centered", "window": 3}) == {
        "values": [2, 3, 4, 5],
        "first_index": 1,
    }
    weights = {"kind": "weighted", "weights": [1, 3]}
    assert world.call(series.smooth_series, values=[0, 4, 8], method=weights)["values"] == [3, 7]
    holt = {"kind": "holt", "alpha": 0.5, "beta": 0.5}
    assert world.call(series.forecast_series, values=values, method=holt, steps=2)["forecast"] == close([7, 8])
    season = [10, 20, 30, 40] * 3
    winters = {"kind": "holt_winters", "alpha": 0.3, "beta": 0.2, "gamma": 0.1, "period": 4}
    found = world.call(series.forecast_series, values=season, method=winters, steps=6)
    assert found["forecast"] == close([10, 20, 30, 40, 10, 20])
    assert found["mean_absolute_error"] == close(0, abs=1e-9)
    drift = world.call(series.forecast_series, values=[1, 5, 3], method={"kind": "drift"}, steps=2)
    assert drift["forecast"] == [4, 5]


def test_autocorrelation_of_an_alternating_series(world):
    found = world.call(series.autocorrelate_series, values=[1, -1] * 10, lags=2)
    assert found["autocorrelation"] == close([-0.95, 0.9])
    assert found["significant_lags"] == [1, 2]
    assert found["ljung_box"] == close(20 * 22 * (0.95**2 / 19 + 0.9**2 / 18))
