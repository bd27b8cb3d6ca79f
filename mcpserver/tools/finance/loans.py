"""Loans and annuities: payments, schedules, true costs, rates of interest. Reads and writes nothing."""

import math
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from mcpserver.tool_error import ToolError
from mcpserver.toolbox.figures import Name, check, in_figures
from mcpserver.toolbox.results import page
from mcpserver.tools.finance._rates import (
    Amount,
    AnyPercent,
    Cost,
    Money,
    Percent,
    cents,
    payment_of,
    present_value,
    solve,
)

RUNS_IN = "server"
Months = Annotated[int, Ge(1), Le(600)]


class FindPayment(TypedDict):
    """What the loan costs each month."""

    find: Literal["payment"]
    principal: Amount
    rate_percent: Percent
    months: Months


class FindPrincipal(TypedDict):
    """How much can be borrowed."""

    find: Literal["principal"]
    payment: Amount
    rate_percent: Percent
    months: Months


class FindMonths(TypedDict):
    """How long it takes to pay back."""

    find: Literal["months"]
    principal: Amount
    payment: Amount
    rate_percent: Percent


class FindRate(TypedDict):
    """Which yearly rate the payments contain."""

    find: Literal["rate"]
    principal: Amount
    payment: Amount
    months: Months


class Fee(TypedDict):
    """A fee at the start, or with each payment."""

    name: Name
    amount: Cost
    when: Literal["start", "monthly"]


@in_figures
def solve_loan(loan: FindPayment | FindPrincipal | FindMonths | FindRate) -> dict[str, Any]:
    """Find the missing figure of a loan with level monthly payments: payment, principal, months or rate.

    Args:
        loan: what is wanted, and the other three figures; rates in percent per year

    Example:
        {"loan": {"find": "payment", "principal": 250000, "rate_percent": 4.2, "months": 300}}
        {"loan": {"find": "months", "principal": 12000, "payment": 350, "rate_percent": 6}}
        {"loan": {"find": "rate", "principal": 10000, "payment": 200, "months": 60}}
    """
    if loan["find"] == "rate":
        return _find_rate(loan["principal"], loan["payment"], loan["months"])
    rate = loan["rate_percent"] / 1200
    if loan["find"] == "months":
        return _find_months(loan["principal"], loan["payment"], rate)
    if loan["find"] == "principal":
        return {"principal": cents(loan["payment"] / payment_of(1.0, rate, loan["months"]))}
    payment = payment_of(loan["principal"], rate, loan["months"])
    total = payment * loan["months"]
    return {"payment": cents(payment), "total": cents(total), "interest": cents(total - loan["principal"])}


def _find_rate(principal: float, payment: float, months: int) -> dict[str, Any]:
    check(
        payment * months >= principal, f"loan.payment: {months} payments of {payment:g} do not pay back {principal:g}"
    )
    found = solve(lambda rate: payment_of(principal, rate, months) - payment, 0.0, 10.0)
    if found is None:
        raise ToolError("tool_error", "loan.payment: the rate would lie above 12000 percent")
    return {
        "rate_percent": round(found * 1200, 6),
        "effective_percent": round(math.expm1(12 * math.log1p(found)) * 100, 6),
    }


def _find_months(principal: float, payment: float, rate: float) -> dict[str, Any]:
    interest = principal * rate
    check(payment > interest, f"loan.payment: must be more than the first month's interest of {cents(interest):g}")
    exact = principal / payment if rate == 0 else -math.log1p(-interest / payment) / math.log1p(rate)
    if exact > 1_000_000:
        raise ToolError("tool_error", "loan.payment: it would take more than a million months")
    return {"months": math.ceil(exact - 1e-9), "exact": round(exact, 4), "years": round(exact / 12, 2)}


@in_figures
def loan_schedule(
    principal: Amount,
    rate_percent: Percent,
    months: Months,
    kind: Literal["annuity", "linear", "interest_only"] = "annuity",
    extra: Cost = 0,
    limit: Annotated[int, Ge(1), Le(120)] = 24,
    offset: Annotated[int, Ge(0), Le(600)] = 0,
) -> dict[str, Any]:
    """List the monthly payments of a loan with interest, repayment and balance.

    Args:
        principal: amount borrowed
        rate_percent: interest per year
        months: term
        kind: annuity has level payments, linear level repayments, interest_only repays at the end
        extra: additional repayment each month
        limit: months to list
        offset: months to leave out first

    Example:
        {"principal": 20000, "rate_percent": 5, "months": 36, "limit": 6}
        {"principal": 300000, "rate_percent": 3.8, "months": 360, "extra": 200, "limit": 12, "offset": 12}
    """
    rate, balance, rows = rate_percent / 1200, cents(principal), []
    level = cents(payment_of(principal, rate, months))
    for month in range(1, months + 1):
        interest = cents(balance * rate)
        plan = {"annuity": level - interest, "linear": cents(principal / months), "interest_only": 0.0}[kind] + extra
        repaid = balance if month == months else min(balance, max(0.0, cents(plan)))
        balance = cents(balance - repaid)
        rows.append({"month": month, "payment": cents(interest + repaid), "interest": interest, "balance": balance})
        if balance == 0:
            break
    interest_total = cents(math.fsum(float(row["interest"]) for row in rows))
    summary = {"months": len(rows), "interest_total": interest_total, "paid_total": cents(principal + interest_total)}
    return summary | page("rows", rows, offset, limit)


@in_figures
def loan_true_cost(
    principal: Amount, rate_percent: Percent, months: Months, fees: Annotated[list[Fee], Len(0, 20)]
) -> dict[str, Any]:
    """Compute the effective yearly rate (APR) of a loan with its fees.

    Args:
        principal: amount borrowed
        rate_percent: nominal interest per year
        months: term with level payments
        fees: fees at the start (taken off the amount paid out) or monthly

    Example:
        {"principal": 10000, "rate_percent": 6, "months": 48, "fees": [{"name": "arrangement", "amount": 150,
         "when": "start"}, {"name": "account", "amount": 2, "when": "monthly"}]}
    """
    at_start = math.fsum(fee["amount"] for fee in fees if fee["when"] == "start")
    monthly = math.fsum(fee["amount"] for fee in fees if fee["when"] == "monthly")
    check(at_start < principal, f"fees: {at_start:g} at the start take the whole principal")
    payment = payment_of(principal, rate_percent / 1200, months)
    found = solve(lambda rate: payment_of(principal - at_start, rate, months) - payment - monthly, 0.0, 100.0)
    if found is None:
        raise ToolError("tool_error", "fees: the effective rate is beyond all bounds")
    paid = (payment + monthly) * months
    result = {"payment": cents(payment), "payment_with_fees": cents(payment + monthly), "paid_total": cents(paid)}
    apr = round(math.expm1(12 * math.log1p(found)) * 100, 4)
    return result | {"apr_percent": apr, "cost_total": cents(paid - principal + at_start)}


@in_figures
def convert_interest_rate(
    rate_percent: AnyPercent,
    compounded: Literal["yearly", "half_yearly", "quarterly", "monthly", "weekly", "daily", "continuously"],
    to: Literal["yearly", "half_yearly", "quarterly", "monthly", "weekly", "daily", "continuously"],
) -> dict[str, Any]:
    """Convert a nominal yearly rate to another compounding with the same growth.

    Args:
        rate_percent: nominal rate per year
        compounded: how often interest is added
        to: wanted compounding; yearly gives the effective rate

    Example:
        {"rate_percent": 12, "compounded": "monthly", "to": "yearly"}
    """
    times = {"yearly": 1, "half_yearly": 2, "quarterly": 4, "monthly": 12, "weekly": 52, "daily": 365}
    share = rate_percent / 100
    growth = share if compounded == "continuously" else times[compounded] * math.log1p(share / times[compounded])
    wanted = growth if to == "continuously" else times[to] * math.expm1(growth / times[to])
    return {"rate_percent": round(wanted * 100, 8), "effective_percent": round(math.expm1(growth) * 100, 8)}


@in_figures
def value_annuity(
    payment: Money,
    rate_percent: AnyPercent,
    periods: Annotated[int, Ge(1), Le(1200)],
    due: Literal["end", "begin"] = "end",
    growth_percent: AnyPercent = 0,
) -> dict[str, Any]:
    """Compute present and future value of equal or growing payments.

    Args:
        payment: first payment
        rate_percent: interest for each period
        periods: number of payments
        due: payments at the end or at the beginning of each period
        growth_percent: growth of the payment from period to period

    Example:
        {"payment": 1000, "rate_percent": 5, "periods": 10}
        {"payment": 500, "rate_percent": 0.4, "periods": 120, "due": "begin", "growth_percent": 0.1}
    """
    first, rate = (0 if due == "begin" else 1), rate_percent / 100
    growth = math.log1p(growth_percent / 100)
    flows = [(float(first + n), payment * math.exp(min(600.0, n * growth))) for n in range(periods)]
    present = present_value(rate, flows)
    return {"present_value": round(present, 2), "future_value": round(present * (1 + rate) ** periods, 2)}


@in_figures
def grow_savings(
    start: Cost,
    monthly: Money,
    rate_percent: AnyPercent,
    years: Annotated[int, Ge(1), Le(60)],
    inflation_percent: AnyPercent = 0,
    tax_percent: Annotated[float, Ge(0), Le(100)] = 0,
) -> dict[str, Any]:
    """Project savings with monthly payments year by year.

    Args:
        start: amount at the beginning
        monthly: payment at the end of each month, negative to draw money
        rate_percent: effective interest per year
        years: how long
        inflation_percent: loss of worth per year, for the value in today's money
        tax_percent: tax on each year's interest

    Example:
        {"start": 5000, "monthly": 200, "rate_percent": 4, "years": 10, "inflation_percent": 2}
    """
    rate, balance, rows = math.expm1(math.log1p(rate_percent / 100) / 12), float(start), []
    for year in range(1, years + 1):
        interest = 0.0
        for _ in range(12):
            earned = balance * rate
            interest, balance = interest + earned, balance + earned + monthly
        balance -= max(0.0, interest) * tax_percent / 100
        if balance < 0:
            raise ToolError("tool_error", f"monthly: the money is used up in year {year}")
        real = balance / (1 + inflation_percent / 100) ** year
        rows.append(
            {"year": year, "balance": round(balance, 2), "interest": round(interest, 2), "real": round(real, 2)}
        )
    paid = start + 12 * years * monthly
    return {"balance": round(balance, 2), "paid_in": round(paid, 2), "gain": round(balance - paid, 2), "years": rows}


@in_figures
def annual_growth_rate(first: Amount, last: Amount, years: Annotated[float, Ge(0.01), Le(500)]) -> dict[str, Any]:
    """Compute the yearly growth that leads from one value to another (CAGR), with the time to double.

    Args:
        first: value at the beginning
        last: value at the end
        years: time between

    Example:
        {"first": 1200, "last": 2100, "years": 6}
    """
    growth = math.log(last / first) / years
    result = {"growth_percent": round(math.expm1(growth) * 100, 6), "total_percent": round((last / first - 1) * 100, 6)}
    return result | ({"doubling_years": round(math.log(2) / growth, 4)} if growth > 1e-9 else {})
