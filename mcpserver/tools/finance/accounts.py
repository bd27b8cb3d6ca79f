"""Accounts: invoices, taxes, depreciation, currencies, break-even, balance sheets, shares. Reads and writes nothing."""

import math
from decimal import ROUND_HALF_UP, Decimal
from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Gt, Le, Len
from typing_extensions import TypedDict

from mcpserver.toolbox.figures import Name, check, in_figures
from mcpserver.tools.finance._rates import Amount, Cost, Money, cents
from toolwright.words import nearest, shorten

RUNS_IN = "server"
Discount = Annotated[float, Ge(0), Le(100)]
Years = Annotated[int, Ge(1), Le(60)]
Currency = Annotated[str, Len(3, 3)]


class Line(TypedDict):
    """A line of an invoice."""

    description: Name
    quantity: Annotated[float, Ge(-100_000), Le(100_000)]
    unit_price: Annotated[float, Ge(-1e7), Le(1e7)]
    vat_percent: Annotated[float, Ge(0), Le(100)]
    discount_percent: NotRequired[Discount]


class Bracket(TypedDict):
    """Part of the income with a rate; the last bracket has no up_to."""

    rate_percent: Annotated[float, Ge(0), Le(100)]
    up_to: NotRequired[Amount]


class Product(TypedDict):
    """A product with its share of all units sold."""

    name: Name
    price: Amount
    variable_cost: Cost
    share: NotRequired[Annotated[float, Gt(0), Le(1_000_000)]]


class ByTime(TypedDict):
    """Depreciation by years: equal parts, a percentage of the rest, or the sum of the years' digits."""

    kind: Literal["straight_line", "declining_balance", "sum_of_years"]
    years: Years
    rate_percent: NotRequired[Annotated[float, Gt(0), Le(100)]]


class ByUse(TypedDict):
    """Depreciation by units produced in each year."""

    kind: Literal["units"]
    total_units: Amount
    units: Annotated[list[Cost], Len(1, 60)]


class Assets(TypedDict):
    """What is owned."""

    cash: Cost
    receivables: NotRequired[Cost]
    inventory: NotRequired[Cost]
    other_current: NotRequired[Cost]
    fixed: NotRequired[Cost]


class Liabilities(TypedDict):
    """What is owed."""

    current: Cost
    long_term: NotRequired[Cost]


class Income(TypedDict):
    """Figures of the year."""

    revenue: Amount
    cost_of_sales: NotRequired[Cost]
    interest: NotRequired[Cost]
    operating_profit: NotRequired[Money]
    net_profit: NotRequired[Money]


def total_invoice(
    lines: Annotated[list[Line], Len(1, 200)], prices: Literal["net", "gross"] = "net", discount_percent: Discount = 0
) -> dict[str, Any]:
    """Add up an invoice: net, VAT by rate, and gross, rounded to cents by line and rate.

    Args:
        lines: lines with quantity, price, VAT and own discount
        prices: whether the unit prices are without (net) or with VAT (gross)
        discount_percent: discount on all lines

    Example:
        {"lines": [{"description": "Pump", "quantity": 2, "unit_price": 149.9, "vat_percent": 19},
         {"description": "Manual", "quantity": 1, "unit_price": 20, "vat_percent": 7, "discount_percent": 10}]}
    """
    sums: dict[Decimal, Decimal] = {}
    amounts = []
    for line in lines:
        share = (100 - _decimal(line.get("discount_percent", 0))) * (100 - _decimal(discount_percent)) / 10_000
        amount = _cents(_decimal(line["quantity"]) * _decimal(line["unit_price"]) * share)
        rate = _decimal(line["vat_percent"])
        sums[rate] = sums.get(rate, Decimal(0)) + amount
        amounts.append(float(amount))
    taxes = []
    for rate, amount in sorted(sums.items()):
        net = amount if prices == "net" else _cents(amount * 100 / (100 + rate))
        vat = _cents(amount * rate / 100) if prices == "net" else amount - net
        taxes.append({"vat_percent": float(rate), "net": float(net), "vat": float(vat)})
    net_total, vat_total = (sum(_decimal(row[name]) for row in taxes) for name in ("net", "vat"))
    result = {"net": float(net_total), "vat": float(vat_total), "gross": float(net_total + vat_total)}
    return result | {"by_rate": taxes, "line_amounts": amounts}


def split_amount(
    amount: Annotated[float, Ge(0), Le(1e10)],
    shares: Annotated[dict[Name, Annotated[float, Ge(0), Le(1e9)]], Len(1, 100)],
) -> dict[str, Any]:
    """Split an amount of money by shares so that no cent is lost (largest remainders).

    Args:
        amount: the amount, in whole cents
        shares: weight by name

    Example:
        {"amount": 100, "shares": {"Anna": 1, "Ben": 1, "Carla": 1}}
    """
    total = int(_cents(_decimal(amount)) * 100)
    weights = {name: _decimal(share) for name, share in shares.items()}
    whole = sum(weights.values())
    check(whole > 0, "shares: at least one must be above 0")
    exact = {name: total * weight / whole for name, weight in weights.items()}
    parts = {name: int(value) for name, value in exact.items()}
    order = sorted(parts, key=lambda name: (parts[name] - exact[name], list(parts).index(name)))
    for name in order[: total - sum(parts.values())]:
        parts[name] += 1
    return {"parts": {name: value / 100 for name, value in parts.items()}, "total": total / 100}


@in_figures
def tax_by_brackets(
    income: Cost,
    brackets: Annotated[list[Bracket], Len(1, 20)],
    deductions: Annotated[dict[Name, Cost], Len(0, 20)] | None = None,
) -> dict[str, Any]:
    """Compute a progressive tax from its brackets.

    Args:
        income: income before deductions
        brackets: rates with the income up to which they hold, rising; the last without up_to
        deductions: amounts taken off the income, by name

    Example:
        {"income": 52000, "brackets": [{"up_to": 11000, "rate_percent": 0}, {"up_to": 40000, "rate_percent": 20},
         {"rate_percent": 40}], "deductions": {"travel": 1200}}
    """
    taxable = max(0.0, income - math.fsum((deductions or {}).values()))
    low, rows = 0.0, []
    for number, bracket in enumerate(brackets):
        last = number == len(brackets) - 1
        check("up_to" in bracket or last, f"brackets[{number}].up_to: only the last bracket may be open")
        high = bracket.get("up_to", math.inf)
        check(high > low, f"brackets[{number}].up_to: must be more than {low:g}")
        part = max(0.0, min(taxable, high) - low)
        rows.append(
            {
                "rate_percent": bracket["rate_percent"],
                "income": cents(part),
                "tax": cents(part * bracket["rate_percent"] / 100),
            }
        )
        low = high
    check(taxable <= low, f"brackets: the last one ends at {low:g}, below the taxable income of {taxable:g}")
    tax = cents(math.fsum(row["tax"] for row in rows))
    marginal = next(row["rate_percent"] for row, b in zip(rows, brackets) if taxable <= b.get("up_to", math.inf))
    average = {"average_percent": round(100 * tax / income, 4)} if income else {}
    return {
        "tax": tax,
        "taxable": cents(taxable),
        "marginal_percent": marginal,
        **average,
        "net": cents(income - tax),
        "parts": rows,
    }


@in_figures
def depreciate_asset(cost: Amount, salvage: Cost, method: ByTime | ByUse) -> dict[str, Any]:
    """List the depreciation of an asset year by year.

    Args:
        cost: price paid
        salvage: value that is left at the end
        method: declining_balance takes twice the straight rate if no rate is given

    Example:
        {"cost": 12000, "salvage": 2000, "method": {"kind": "straight_line", "years": 5}}
        {"cost": 12000, "salvage": 1000, "method": {"kind": "declining_balance", "years": 5, "rate_percent": 30}}
        {"cost": 50000, "salvage": 5000, "method": {"kind": "units", "total_units": 90000, "units": [20000, 25000]}}
    """
    check(salvage < cost, f"salvage: must be less than cost {cost:g}")
    if method["kind"] == "units":
        parts = [(cost - salvage) * units / method["total_units"] for units in method["units"]]
    elif method["kind"] == "declining_balance":
        rate = method.get("rate_percent", min(100.0, 200 / method["years"])) / 100
        parts = [cost * (1 - rate) ** year * rate for year in range(method["years"])]
    elif method["kind"] == "sum_of_years":
        n = method["years"]
        parts = [(cost - salvage) * (n - year) / (n * (n + 1) / 2) for year in range(n)]
    else:
        parts = [(cost - salvage) / method["years"]] * method["years"]
    book, rows = cents(cost), []
    for year, part in enumerate(parts, 1):
        last = year == len(parts) and method["kind"] in ("straight_line", "sum_of_years")
        part = cents(book - salvage) if last else min(cents(part), cents(book - salvage))
        book = cents(book - part)
        rows.append({"year": year, "depreciation": part, "book_value": book})
    return {"years": rows, "total": cents(cost - book), "book_value": book}


@in_figures
def convert_money(
    amount: Money,
    currency: Currency,
    to: Currency,
    rates: Annotated[dict[Currency, Annotated[float, Ge(1e-6), Le(1e6)]], Len(1, 60)],
    fee_percent: Annotated[float, Ge(0), Le(50)] = 0,
) -> dict[str, Any]:
    """Convert an amount between currencies by given rates.

    Args:
        amount: amount of money
        currency: its currency, three letters
        to: wanted currency
        rates: how much of each currency one unit of a common base buys; the base itself is 1
        fee_percent: fee taken off the result

    Example:
        {"amount": 250, "currency": "EUR", "to": "USD", "rates": {"EUR": 1, "USD": 1.085, "GBP": 0.842}}
        {"amount": 1000, "currency": "USD", "to": "GBP", "rates": {"EUR": 1, "USD": 1.085, "GBP": 0.842},
         "fee_percent": 1.5}
    """
    for parameter, name in (("currency", currency), ("to", to)):
        check(name in rates, f"{parameter}: there is no rate of {shorten(name)}{nearest(name, list(rates))}")
    rate = rates[to] / rates[currency]
    before = amount * rate
    fee = abs(before) * fee_percent / 100
    return {"amount": cents(before - fee), "currency": to, "rate": rate, "fee": cents(fee)}


@in_figures
def break_even(
    fixed_costs: Cost, products: Annotated[list[Product], Len(1, 30)], target_profit: Cost = 0
) -> dict[str, Any]:
    """Find how many units must be sold to cover the costs.

    Args:
        fixed_costs: costs that do not depend on the units
        products: price and variable cost of each product, and its share of the units
        target_profit: profit wanted beyond

    Example:
        {"fixed_costs": 50000, "products": [{"name": "Pump", "price": 120, "variable_cost": 80}]}
        {"fixed_costs": 9000, "products": [{"name": "A", "price": 10, "variable_cost": 6, "share": 3}, {"name": "B",
         "price": 20, "variable_cost": 11, "share": 1}], "target_profit": 2000}
    """
    shares = [product.get("share", 1.0) for product in products]
    mix = [share / math.fsum(shares) for share in shares]
    margin = math.fsum(part * (p["price"] - p["variable_cost"]) for part, p in zip(mix, products))
    check(margin > 0, f"products: a unit brings {margin:g} on average, so that costs are never covered")
    units = (fixed_costs + target_profit) / margin
    revenue = units * math.fsum(part * p["price"] for part, p in zip(mix, products))
    rows = [
        {"name": p["name"], "units": math.ceil(round(units * part, 6)), "margin": p["price"] - p["variable_cost"]}
        for part, p in zip(mix, products)
    ]
    result = {"units": math.ceil(round(units, 6)), "exact_units": units, "revenue": cents(revenue)}
    return result | {
        "margin_per_unit": margin,
        "margin_percent": 100 * margin * units / revenue if revenue else 0.0,
        "products": rows,
    }


@in_figures
def analyze_balance_sheet(assets: Assets, liabilities: Liabilities, income: Income | None = None) -> dict[str, Any]:
    """Compute the financial ratios of a balance sheet, and of the income if given.

    Args:
        assets: what is owned
        liabilities: what is owed
        income: figures of the year

    Example:
        {"assets": {"cash": 120, "receivables": 80, "inventory": 150, "fixed": 650}, "liabilities": {"current": 200,
         "long_term": 300}, "income": {"revenue": 900, "cost_of_sales": 540, "net_profit": 70}}
    """
    quick = math.fsum([assets["cash"], assets.get("receivables", 0.0)])
    current = math.fsum([quick, assets.get("inventory", 0.0), assets.get("other_current", 0.0)])
    total = current + assets.get("fixed", 0.0)
    debt = liabilities["current"] + liabilities.get("long_term", 0.0)
    equity = total - debt
    result: dict[str, Any] = {"total_assets": total, "debt": debt, "equity": equity}
    result["working_capital"] = current - liabilities["current"]
    short = liabilities["current"]
    pairs: list[tuple[str, float, float]] = [("current_ratio", current, short), ("quick_ratio", quick, short)]
    pairs += [("cash_ratio", assets["cash"], short), ("debt_to_assets", debt, total), ("debt_to_equity", debt, equity)]
    if income is not None:
        pairs += _income_pairs(income, assets, total, equity)
    return result | {"ratios": {name: round(a / b, 6) for name, a, b in pairs if b > 0}}


def _income_pairs(income: Income, assets: Assets, total: float, equity: float) -> list[tuple[str, float, float]]:
    revenue = income["revenue"]
    pairs = [("asset_turnover", revenue, total), ("receivable_days", 365 * assets.get("receivables", 0.0), revenue)]
    if "cost_of_sales" in income:
        pairs += [("gross_margin", revenue - income["cost_of_sales"], revenue)]
        pairs += [("inventory_turnover", income["cost_of_sales"], assets.get("inventory", 0.0))]
    if "operating_profit" in income:
        pairs += [("operating_margin", income["operating_profit"], revenue)]
        pairs += [("interest_cover", income["operating_profit"], income.get("interest", 0.0))]
    if "net_profit" in income:
        profit = income["net_profit"]
        pairs += [("net_margin", profit, revenue), ("return_on_assets", profit, total)]
        pairs += [("return_on_equity", profit, equity)]
    return pairs


def _decimal(value: float) -> Decimal:
    return Decimal(repr(value))


def _cents(value: Decimal) -> Decimal:
    return value.quantize(Decimal("0.01"), ROUND_HALF_UP)
