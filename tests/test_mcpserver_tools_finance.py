import math

import pytest
from number_fuzz import check_extreme_numbers
from tool_calls import World
from tool_checks import check_example, check_random_calls, examples_of, refused, tools_of

from mcpserver.tools.finance import _rates, accounts, investments, loans

MODULES = (loans, investments, accounts)
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
    check_extreme_numbers(tool, world, calls=300)


def test_the_four_figures_of_a_loan_agree(world):
    rate, n = 0.05 / 12, 360
    payment = 100_000 * rate / (1 - (1 + rate) ** -n)
    given = {"principal": 100_000, "rate_percent": 5, "months": n}
    found = world.call(loans.solve_loan, loan={"find": "payment", **given})
    assert found["payment"] == round(payment, 2) == 536.82
    loan = {"find": "principal", "payment": payment, "rate_percent": 5, "months": n}
    assert world.call(loans.solve_loan, loan=loan)["principal"] == 100_000
    loan = {"find": "rate", "principal": 100_000, "payment": payment, "months": n}
    assert world.call(loans.solve_loan, loan=loan)["rate_percent"] == close(5)
    loan = {"find": "months", "principal": 100_000, "payment": payment, "rate_percent": 5}
    assert world.call(loans.solve_loan, loan=loan)["months"] == n
    free = {"find": "payment", "principal": 1200, "rate_percent": 0, "months": 12}
    assert world.call(loans.solve_loan, loan=free)["payment"] == 100
    with refused("bad_arguments", "first month's interest of 100"):
        world.call(loans.solve_loan, loan={"find": "months", "principal": 10_000, "payment": 100, "rate_percent": 12})


@pytest.mark.parametrize("kind", ["annuity", "linear", "interest_only"])
def test_a_schedule_pays_back_to_the_cent(world, kind):
    found = world.call(loans.loan_schedule, principal=10_000.01, rate_percent=7, months=24, kind=kind)
    rows = found["rows"]
    assert rows[-1]["balance"] == 0
    assert sum(row["payment"] - row["interest"] for row in rows) == close(10_000.01)
    assert found["interest_total"] == close(sum(row["interest"] for row in rows))
    assert rows[0]["interest"] == 58.33
    payments = {row["payment"] for row in rows[:-1]}
    assert (len(payments) == 1) == (kind != "linear")


def test_a_schedule_is_paged_and_ends_early_with_extra_payments(world):
    found = world.call(loans.loan_schedule, principal=1000, rate_percent=0, months=10, extra=100, limit=2, offset=3)
    assert (found["months"], found["total"], found.get("next_offset", None)) == (5, 5, None)
    assert [row["balance"] for row in found["rows"]] == [200, 0]


def test_true_costs_and_rates(world):
    free = world.call(loans.loan_true_cost, principal=1000, rate_percent=12, months=12, fees=[])
    assert free["apr_percent"] == close((1.01**12 - 1) * 100, abs=1e-4)
    fees = [{"name": "x", "amount": 20, "when": "start"}]
    assert world.call(loans.loan_true_cost, principal=1000, rate_percent=12, months=12, fees=fees)["apr_percent"] > 16
    found = world.call(loans.convert_interest_rate, rate_percent=12, compounded="monthly", to="continuously")
    assert found["rate_percent"] == close(1200 * math.log(1.01))
    back = world.call(
        loans.convert_interest_rate, rate_percent=found["rate_percent"], compounded="continuously", to="monthly"
    )
    assert back["rate_percent"] == close(12)


def test_annuities_and_savings(world):
    found = world.call(loans.value_annuity, payment=100, rate_percent=10, periods=2)
    assert (found["present_value"], found["future_value"]) == (173.55, 210)
    due = world.call(loans.value_annuity, payment=100, rate_percent=10, periods=2, due="begin", growth_percent=10)
    assert due["present_value"] == 200
    savings = world.call(loans.grow_savings, start=1000, monthly=0, rate_percent=5, years=2, inflation_percent=5)
    assert (savings["balance"], savings["years"][1]["real"]) == (1102.5, 1000)
    taxed = world.call(loans.grow_savings, start=1000, monthly=0, rate_percent=10, years=1, tax_percent=25)
    assert taxed["balance"] == 1075
    with refused("tool_error", "used up in year 1"):
        world.call(loans.grow_savings, start=100, monthly=-50, rate_percent=1, years=3)
    assert world.call(loans.annual_growth_rate, first=100, last=121, years=2)["growth_percent"] == close(10)


def test_returns_of_flows(world):
    assert world.call(investments.net_present_value, flows=[-100, 60.5, 60.5], rate_percent=10)[
        "net_present_value"
    ] == close(5, abs=0.005)
    assert world.call(investments.internal_rate_of_return, flows=[-100, 0, 121])["rate_percent"] == close(10)
    two = world.call(investments.internal_rate_of_return, flows=[-100, 230, -132])
    assert sorted([two["rate_percent"], *two["other_rates_percent"]]) == close([10, 20])
    modified = world.call(
        investments.internal_rate_of_return, flows=[-100, 50, 60], finance_percent=5, reinvest_percent=10
    )
    assert modified["modified_percent"] == close((math.sqrt(1.15) - 1) * 100)
    with refused("tool_error", "both signs"):
        world.call(investments.internal_rate_of_return, flows=[100, 100])
    flows = [
        ("2008-01-01", -10000),
        ("2008-03-01", 2750),
        ("2008-10-30", 4250),
        ("2009-02-15", 3250),
        ("2009-04-01", 2750),
    ]
    found = world.call(investments.dated_rate_of_return, flows=[{"day": day, "amount": a} for day, a in flows])
    assert found["rate_percent"] == close(37.336, abs=0.001)  # the example of the spreadsheets' manuals
    plain = world.call(investments.payback_period, investment=1000, flows=[400, 400, 400])
    assert plain == {"paid_back": True, "periods": 2.5, "surplus": 200}
    assert not world.call(investments.payback_period, investment=1000, flows=[400, 400])["paid_back"]


def test_bonds(world):
    par = world.call(investments.value_bond, face=100, coupon_percent=6, years=3, yield_percent=6, frequency="yearly")
    weights = [6 / 1.06, 12 / 1.06**2, 318 / 1.06**3]
    assert (par["price"], par["duration_years"]) == close((100, sum(weights) / 100))
    assert par["modified_duration"] == close(sum(weights) / 106)
    broken = world.call(
        investments.value_bond, face=100, coupon_percent=6, years=2.25, yield_percent=6, frequency="yearly"
    )
    assert broken["accrued_interest"] == 4.5
    price = world.call(investments.value_bond, face=1000, coupon_percent=5, years=7.3, yield_percent=3.7)["clean_price"]
    found = world.call(investments.bond_yield, price=price, face=1000, coupon_percent=5, years=7.3)
    assert found["yield_percent"] == close(3.7, abs=1e-5)


def test_options_are_those_of_hull(world):
    given = {"spot": 42, "strike": 40, "years": 0.5, "rate_percent": 10}
    call = world.call(investments.price_option, kind="call", volatility_percent=20, **given)
    put = world.call(investments.price_option, kind="put", volatility_percent=20, **given)
    assert (call["price"], put["price"]) == close((4.76, 0.81), abs=0.005)
    assert call["price"] - put["price"] == close(42 - 40 * math.exp(-0.05))
    implied = world.call(
        investments.price_option, kind="call", volatility_percent={"market_price": call["price"]}, **given
    )
    assert implied["implied_volatility_percent"] == close(20)
    for name, change, step in (("delta", "spot", 0.01), ("rho_per_percent", "rate_percent", 0.01)):
        more = world.call(
            investments.price_option, kind="call", volatility_percent=20, **{**given, change: given[change] + step}
        )
        assert (more["price"] - call["price"]) / step == close(call[name], rel=0.01)
    with refused("tool_error", "no volatility"):
        world.call(investments.price_option, kind="call", volatility_percent={"market_price": 50}, **given)


def test_portfolios_and_risk(world):
    holdings = [{"name": "a", "weight": 0.5, "returns": [10, -10]}, {"name": "b", "weight": 0.5, "returns": [0, 0]}]
    found = world.call(investments.portfolio_performance, holdings=holdings, periods_per_year=2)
    assert found["total_percent"] == close((1.05 * 0.95 - 1) * 100)
    assert found["volatility_percent"] == close(math.sqrt(50) * math.sqrt(2))
    assert found["largest_fall_percent"] == close(5)
    assert found["parts"]["b"]["correlation"] is None
    holdings[0]["weight"] = 0.6
    with refused("bad_arguments", "add up to 1.1"):
        world.call(investments.portfolio_performance, holdings=holdings)
    returns = [float(-n) for n in range(1, 21)]
    risk = world.call(investments.value_at_risk, amount=1000, returns=returns, level=0.9)
    assert (risk["value_at_risk"], risk["expected_shortfall"]) == (190, 195)
    normal = world.call(investments.value_at_risk, amount=1000, returns=[-1, 1] * 10, method="normal", periods=4)
    assert normal["value_at_risk"] == close(1.644854 * math.sqrt(20 / 19) * 20, abs=0.01)


def test_indicators(world):
    def call(kind, prices, **more):
        return world.call(investments.compute_indicator, prices=prices, indicator={"kind": kind, **more})

    assert call("sma", [1, 2, 3, 4], window=2)["values"] == [1.5, 2.5, 3.5]
    assert call("ema", [1, 2, 3, 4], window=3)["values"] == [2, 3]
    assert call("momentum", [10, 11, 12.1], window=2)["values"] == [21]
    assert call("rsi", [1, 2, 3, 2, 3], window=4)["values"] == [75]
    assert call("rsi", [1, 1, 1], window=2)["values"] == [50]
    assert call("drawdown", [10, 8, 12, 9])["values"] == [0, -20, 0, -25]
    bands = call("bollinger", [1, 3, 5], window=2, deviations=1)
    assert (bands["low"], bands["high"]) == ([1, 3], [3, 5])
    macd = call("macd", [float(n) for n in range(1, 41)])
    assert macd["macd"] == close([7.0] * len(macd["macd"]))
    assert macd["histogram"] == close([0.0] * len(macd["macd"]), abs=1e-9)
    with refused("bad_arguments", "too few"):
        call("sma", [1, 2, 3], window=9)


def test_invoices_are_rounded_as_tax_offices_want(world):
    lines = [{"description": "a", "quantity": 3, "unit_price": 1.115, "vat_percent": 19}]
    found = world.call(accounts.total_invoice, lines=lines)
    assert (found["net"], found["vat"], found["gross"]) == (3.35, 0.64, 3.99)
    gross = [{"description": "a", "quantity": 1, "unit_price": 119, "vat_percent": 19, "discount_percent": 50}]
    assert world.call(accounts.total_invoice, lines=gross, prices="gross")["net"] == 50
    assert world.call(accounts.total_invoice, lines=lines, discount_percent=100)["gross"] == 0


@pytest.mark.parametrize(
    ("amount", "shares", "parts"),
    [
        (100, {"a": 1, "b": 1, "c": 1}, [33.34, 33.33, 33.33]),
        (0.05, {"a": 3, "b": 7}, [0.02, 0.03]),
        (10, {"a": 0, "b": 1}, [0, 10]),
        (1000, {"a": 0.1, "b": 0.2}, [333.33, 666.67]),
    ],
)
def test_amounts_are_split_without_losing_a_cent(world, amount, shares, parts):
    found = world.call(accounts.split_amount, amount=amount, shares=shares)
    assert list(found["parts"].values()) == parts
    assert math.fsum(found["parts"].values()) == close(amount)


def test_taxes_rise_by_bracket(world):
    brackets = [{"up_to": 10_000, "rate_percent": 0}, {"up_to": 30_000, "rate_percent": 20}, {"rate_percent": 40}]
    found = world.call(accounts.tax_by_brackets, income=50_000, brackets=brackets, deductions={"a": 5000})
    assert (found["tax"], found["marginal_percent"], found["net"]) == (10_000, 40, 40_000)
    assert world.call(accounts.tax_by_brackets, income=0, brackets=brackets)["tax"] == 0
    with refused("bad_arguments", "only the last bracket"):
        world.call(accounts.tax_by_brackets, income=1, brackets=[{"rate_percent": 1}, {"rate_percent": 2}])
    with refused("bad_arguments", "must be more than 10000"):
        world.call(accounts.tax_by_brackets, income=1, brackets=[brackets[0], brackets[0]])
    with refused("bad_arguments", "below the taxable income"):
        world.call(accounts.tax_by_brackets, income=50_000, brackets=brackets[:2])


@pytest.mark.parametrize(
    ("method", "depreciation"),
    [
        ({"kind": "straight_line", "years": 3}, [300, 300, 300]),
        ({"kind": "sum_of_years", "years": 3}, [450, 300, 150]),
        ({"kind": "declining_balance", "years": 3, "rate_percent": 50}, [500, 250, 125]),
        ({"kind": "declining_balance", "years": 4}, [500, 250, 125, 25]),
        ({"kind": "units", "total_units": 90, "units": [30, 80]}, [300, 600]),
    ],
)
def test_assets_lose_worth_down_to_the_salvage(world, method, depreciation):
    found = world.call(accounts.depreciate_asset, cost=1000, salvage=100, method=method)
    assert [row["depreciation"] for row in found["years"]] == depreciation
    assert found["book_value"] == 1000 - sum(depreciation)


def test_currencies_break_even_and_ratios(world):
    rates = {"EUR": 1, "USD": 1.25, "GBP": 0.8}
    found = world.call(accounts.convert_money, amount=100, currency="USD", to="GBP", rates=rates, fee_percent=1)
    assert found == {"amount": 63.36, "currency": "GBP", "rate": 0.64, "fee": 0.64}
    with refused("bad_arguments", "no rate of 'CHF'"):
        world.call(accounts.convert_money, amount=100, currency="USD", to="CHF", rates=rates)
    products = [
        {"name": "A", "price": 10, "variable_cost": 6, "share": 3},
        {"name": "B", "price": 20, "variable_cost": 12},
    ]
    mix = world.call(accounts.break_even, fixed_costs=1000, products=products)
    assert (mix["units"], [row["units"] for row in mix["products"]], mix["revenue"]) == (200, [150, 50], 2500)
    with refused("bad_arguments", "never covered"):
        world.call(accounts.break_even, fixed_costs=1, products=[{"name": "A", "price": 1, "variable_cost": 2}])
    sheet = {"assets": {"cash": 50, "inventory": 50, "fixed": 100}, "liabilities": {"current": 50, "long_term": 50}}
    income = {"revenue": 400, "net_profit": 20, "operating_profit": 30, "interest": 10}
    found = world.call(accounts.analyze_balance_sheet, **sheet, income=income)["ratios"]
    expected = {"current_ratio": 2, "quick_ratio": 1, "debt_to_equity": 1, "net_margin": 0.05, "interest_cover": 3}
    assert {name: found[name] for name in expected} == expected
    assert found["return_on_equity"] == 0.2


def test_cents_are_rounded_up_from_the_half():
    assert [_rates.cents(value) for value in (1.005, 2.675, -1.005, 0, 1e12)] == [1.01, 2.68, -1.01, 0, 1e12]
