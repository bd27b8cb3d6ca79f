"""Formulas solved, rewritten, differentiated and integrated, exactly where a method is known (sympy)."""

from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from mcpserver.tool_error import ToolError
from mcpserver.toolbox.figures import Number, check
from mcpserver.tools.maths._formulas import (
    Formula,
    Variable,
    by_algebra,
    check_places,
    is_endless,
    need_variable,
    read,
    read_equation,
    shown,
    sign_changes,
    symbol,
)
from toolwright.words import shorten

Values = Annotated[dict[Variable, Number], Len(0, 12)]
Place = Number | Annotated[str, Len(1, 60)]
Form = Literal["simplify", "expand", "factor", "cancel", "partial_fractions", "common_denominator", "trigonometric"]


class Bounds(TypedDict):
    """Ends of an interval: numbers, formulas such as pi/2, inf or -inf."""

    low: Place
    high: Place


@by_algebra
def solve_equation(
    equation: Formula, unknown: Variable = "x", domain: Literal["real", "complex"] = "real"
) -> dict[str, Any]:
    """Solve an equation for an unknown, exactly if possible, else by numbers between -100 and 100.

    Args:
        equation: such as x**2 - 3*x = 4; other letters stay as they are
        unknown: name of the unknown
        domain: real solutions only, or complex ones too

    Example:
        {"equation": "x**2 - 3*x = 4"}
        {"equation": "a*t + b = c", "unknown": "t"}
        {"equation": "x**2 + 4 = 0", "domain": "complex"}
    """
    import sympy

    term, variable = read_equation(equation, "equation"), symbol(unknown, "unknown")
    if sympy.expand(term) == 0:
        return {"solutions": [], "always_true": True}
    need_variable(term, variable, "unknown")
    try:
        found = sympy.solve(term, variable)
        method = "exact"
    except NotImplementedError:
        found, method = [], "numeric"
    if not found and len(term.free_symbols) == 1:
        method = "numeric"
        zeros = sign_changes(sympy.lambdify(variable, term, "math"), -100, 100)
        found = [sympy.Float(float(f"{zero:.12g}")) for zero in zeros][:40]
    solutions = [shown(solution) for solution in found]
    if domain == "real":
        solutions = [solution for solution in solutions if not isinstance(solution.get("value"), dict)]
    result: dict[str, Any] = {"solutions": solutions[:40], "method": method}
    periodic = term.has(sympy.sin, sympy.cos, sympy.tan) and solutions
    return result | ({"note": "trigonometric: only solutions of one period may be listed"} if periodic else {})


@by_algebra
def solve_equations(
    equations: Annotated[list[Formula], Len(1, 6)], unknowns: Annotated[list[Variable], Len(1, 6)]
) -> dict[str, Any]:
    """Solve several equations together.

    Args:
        equations: such as x + y = 10
        unknowns: names of the unknowns

    Example:
        {"equations": ["x + y = 10", "x - y = 2"], "unknowns": ["x", "y"]}
        {"equations": ["x**2 + y**2 = 25", "y = x + 1"], "unknowns": ["x", "y"]}
    """
    import sympy

    terms = [read_equation(text, f"equations[{number}]") for number, text in enumerate(equations)]
    variables = [symbol(name, f"unknowns[{number}]") for number, name in enumerate(unknowns)]
    found = sympy.solve(terms, variables, dict=True)
    solutions = [{str(variable): shown(value) for variable, value in solution.items()} for solution in found[:30]]
    free = sorted({str(name) for name in variables for solution in found if name not in solution})
    return {"solutions": solutions, "total": len(found), **({"free_unknowns": free} if free else {})}


@by_algebra
def solve_inequality(inequality: Formula, unknown: Variable = "x") -> dict[str, Any]:
    """Solve an inequality of one real unknown.

    Args:
        inequality: two sides with one of < <= > >=
        unknown: name of the unknown

    Example:
        {"inequality": "x**2 - 4 > 0"}
        {"inequality": "(x + 1)/(x - 2) <= 3"}
    """
    import sympy

    sign = next((sign for sign in ("<=", ">=", "<", ">") if sign in inequality), None)
    sides = inequality.split(sign) if sign else []
    check(len(sides) == 2, f"inequality: {shorten(inequality, 60)} needs just one of < <= > >=")
    symbol(unknown, "unknown")
    variable = sympy.Symbol(unknown, real=True)
    term = (read(sides[0], "inequality") - read(sides[1], "inequality")).subs(sympy.Symbol(unknown), variable)
    need_variable(term, variable, "unknown")
    check(len(term.free_symbols) == 1, "inequality: it must have no other unknown")
    relation = {"<": sympy.Lt, "<=": sympy.Le, ">": sympy.Gt, ">=": sympy.Ge}[str(sign)](term, 0)
    found = sympy.solve_univariate_inequality(relation, variable, relational=False)
    parts = list(found.args) if isinstance(found, sympy.Union) else [found]
    return {"solution": str(found)[:3000], "intervals": [_interval(part) for part in parts if not part.is_empty][:40]}


def _interval(part: Any) -> dict[str, Any]:
    import sympy

    if isinstance(part, sympy.Interval):
        ends = {"low": part.start, "high": part.end}
        known = {name: shown(end) for name, end in ends.items() if end.is_finite}
        return known | {"low_included": not bool(part.left_open), "high_included": not bool(part.right_open)}
    return {"values": [shown(value) for value in part]} if isinstance(part, sympy.FiniteSet) else {"set": str(part)}


@by_algebra
def differentiate_formula(
    expression: Formula, variable: Variable = "x", order: Annotated[int, Ge(1), Le(5)] = 1, at: Values | None = None
) -> dict[str, Any]:
    """Differentiate a formula.

    Args:
        expression: such as x**2 * sin(x)
        variable: variable to differentiate by
        order: how many times
        at: values of variables at which the derivative is worked out too

    Example:
        {"expression": "x**3 - 2*x", "at": {"x": 2}}
        {"expression": "exp(-t) * cos(w*t)", "variable": "t", "order": 2}
    """
    import sympy

    term = read(expression, "expression")
    found = sympy.simplify(sympy.diff(term, symbol(variable, "variable"), order))
    result = {"derivative": str(found)[:3000]}
    return result | ({"at": shown(_inserted(found, at))} if at else {})


def _inserted(term: Any, values: dict[str, float]) -> Any:
    import sympy

    found = term
    for name, value in values.items():
        number = sympy.Rational(repr(value))
        check_places(found, symbol(name, "at"), [number], f"at.{name}")
        found = found.subs(symbol(name, "at"), number)
    if is_endless(found):
        raise ToolError("tool_error", "at: there is no value at this point")
    return found


@by_algebra
def integrate_formula(expression: Formula, variable: Variable = "x", bounds: Bounds | None = None) -> dict[str, Any]:
    """Integrate a formula: the antiderivative, or the integral between bounds (by numbers if need be).

    Args:
        expression: such as x * exp(-x)
        variable: variable of integration
        bounds: low and high end; without them the antiderivative

    Example:
        {"expression": "x * exp(-x)"}
        {"expression": "sin(x)", "bounds": {"low": 0, "high": "pi"}}
        {"expression": "exp(-x**2)", "bounds": {"low": "-inf", "high": "inf"}}
    """
    import sympy

    term, name = read(expression, "expression"), symbol(variable, "variable")
    if bounds is None:
        found = sympy.integrate(term, name)
        if found.has(sympy.Integral):
            raise ToolError(
                "tool_error", "expression: no antiderivative was found; give bounds to integrate by numbers"
            )
        return {"antiderivative": str(found)[:3000]}
    low, high = _place(bounds["low"], "bounds.low"), _place(bounds["high"], "bounds.high")
    check_places(term, name, [end for end in (low, high) if end.is_finite], "bounds")
    found = sympy.integrate(term, (name, low, high))
    if is_endless(found):
        raise ToolError("tool_error", "expression: the integral has no finite value between these bounds")
    if not found.has(sympy.Integral):
        return shown(found) | {"method": "exact"}
    if len(term.free_symbols) > 1:
        raise ToolError("tool_error", "expression: no closed form was found, and other letters have no number")
    return _quadrature(sympy.lambdify(name, term, "math"), float(low), float(high))


def _quadrature(function: Any, low: float, high: float) -> dict[str, Any]:
    from scipy import integrate

    value, error = integrate.quad(function, low, high, limit=200)
    if not error <= 1e-6 * max(1.0, abs(value)):
        raise ToolError("tool_error", "expression: the integral does not settle on a number between these bounds")
    return {"value": value, "error_estimate": error, "method": "numeric"}


def _place(value: float | str, parameter: str) -> Any:
    """A number, a formula without variables, or infinity."""
    import sympy

    text = value.strip() if isinstance(value, str) else repr(value)
    if text.lstrip("+-") in ("inf", "infinity", "oo"):
        return -sympy.oo if text.startswith("-") else sympy.oo
    term = read(text, parameter)
    check(
        bool(term.is_number) and bool(term.is_real), f"{parameter}: {shorten(text, 40)} is no real number, inf or -inf"
    )
    return term


@by_algebra
def rewrite_formula(expression: Formula, form: Form = "simplify", variable: Variable = "x") -> dict[str, Any]:
    """Rewrite a formula: simplify, expand, factor, partial fractions and the like.

    Args:
        expression: such as (x + 1)**3 - 1
        form: what it is brought into
        variable: variable of partial_fractions

    Example:
        {"expression": "(x + 1)**3 - (x - 1)**3", "form": "expand"}
        {"expression": "x**4 - 1", "form": "factor"}
        {"expression": "1/(x**2 - 1)", "form": "partial_fractions"}
    """
    import sympy

    term, name = read(expression, "expression"), symbol(variable, "variable")
    functions: dict[str, Any] = {
        **{"simplify": sympy.simplify, "expand": sympy.expand, "factor": sympy.factor, "cancel": sympy.cancel},
        **{"common_denominator": sympy.together, "trigonometric": sympy.trigsimp},
        "partial_fractions": lambda term: sympy.apart(term, name),
    }
    found = functions[form](term)
    return shown(found) | {"unchanged": bool(found == term)}


@by_algebra
def find_limit(
    expression: Formula, to: Place, variable: Variable = "x", side: Literal["both", "left", "right"] = "both"
) -> dict[str, Any]:
    """Find the limit of a formula.

    Args:
        expression: such as sin(x)/x
        to: number, formula such as pi/2, inf or -inf
        variable: the variable that tends to it
        side: from which side

    Example:
        {"expression": "sin(x)/x", "to": 0}
        {"expression": "(1 + 1/n)**n", "to": "inf", "variable": "n"}
        {"expression": "1/x", "to": 0, "side": "right"}
    """
    import sympy

    place, name = _place(to, "to"), symbol(variable, "variable")
    signs = {"both": "+-", "left": "-", "right": "+"}[side] if place.is_finite else "+"
    term = read(expression, "expression")
    check_places(term, name, [place] if place.is_finite else [], "to")
    found, *others = [sympy.limit(term, name, place, sign) for sign in signs]
    if any(other != found for other in others):
        raise ToolError("tool_error", "expression: the limits from both sides differ; ask for one side")
    if found.has(sympy.nan, sympy.AccumBounds, sympy.Limit):
        raise ToolError("tool_error", "expression: there is no limit")
    if is_endless(found):
        return {"exact": {"oo": "inf", "-oo": "-inf"}.get(str(found), str(found)), "finite": False}
    return shown(found) | {"finite": True}


@by_algebra
def expand_series(
    expression: Formula, variable: Variable = "x", around: Number = 0, terms: Annotated[int, Ge(1), Le(10)] = 5
) -> dict[str, Any]:
    """Expand a formula as a Taylor series.

    Args:
        expression: such as exp(x)
        variable: variable of the series
        around: point of the expansion
        terms: powers from 0 to terms - 1

    Example:
        {"expression": "exp(x)", "terms": 5}
        {"expression": "ln(x)", "around": 1, "terms": 4}
    """
    import sympy

    term, name = read(expression, "expression"), symbol(variable, "variable")
    point, derivative, coefficients = sympy.Rational(repr(around)), term, []
    check_places(term, name, [point], "around")
    for power in range(terms):
        value = sympy.simplify(derivative.subs(name, point) / sympy.factorial(power))
        if is_endless(value):
            raise ToolError("tool_error", f"around: derivative {power} has no value at {around}")
        coefficients.append(value)
        derivative = sympy.diff(derivative, name)
    series = sum(value * (name - point) ** power for power, value in enumerate(coefficients))
    return {"series": str(series)[:3000], "coefficients": [shown(value) for value in coefficients]}


@by_algebra
def evaluate_formula(expression: Formula, values: Values, digits: Annotated[int, Ge(1), Le(60)] = 15) -> dict[str, Any]:
    """Work out a formula with values for its letters, to as many digits as wanted.

    Args:
        expression: such as p * (1 + r)**n
        values: number of each letter
        digits: significant digits

    Example:
        {"expression": "p * (1 + r)**n", "values": {"p": 1000, "r": 0.05, "n": 120}}
        {"expression": "sqrt(2)", "values": {}, "digits": 40}
    """
    import sympy

    term = read(expression, "expression", values)
    missing = sorted(map(str, term.free_symbols))
    check(not missing, f"values: give a number for {', '.join(missing)[:200]}")
    exact = {"exact": str(term)} if len(str(term)) <= 120 and not term.has(sympy.Float) else {}
    return {"text": str(sympy.N(term, digits)), "value": shown(term).get("value"), **exact}


@by_algebra
def sum_formula(
    expression: Formula,
    index: Variable,
    low: Annotated[int, Ge(-1000), Le(1000)],
    high: Annotated[int, Ge(-1000), Le(1000)] | Literal["inf"] | Annotated[str, Len(1, 16)],
    operation: Literal["sum", "product"] = "sum",
) -> dict[str, Any]:
    """Add (or multiply) a formula over whole numbers, in closed form where there is one.

    Args:
        expression: such as k**2
        index: letter that runs
        low: first number
        high: last number, a letter such as n, or inf
        operation: sum or product

    Example:
        {"expression": "k**2", "index": "k", "low": 1, "high": "n"}
        {"expression": "1/k**2", "index": "k", "low": 1, "high": "inf"}
        {"expression": "k/(k + 1)", "index": "k", "low": 1, "high": 9, "operation": "product"}
    """
    import sympy

    term, name = read(expression, "expression"), symbol(index, "index")
    end = sympy.oo if high == "inf" else sympy.Integer(high) if isinstance(high, int) else symbol(high, "high")
    check(end != name, "high: must be another letter than index")
    check(not isinstance(high, int) or low <= high <= low + 500, "high: must lie 0 to 500 above low")
    check_places(term, name, [low, *([high] if isinstance(high, int) else [])], "low, high")
    found = (sympy.Sum if operation == "sum" else sympy.Product)(term, (name, low, end)).doit()
    if found.has(sympy.Sum, sympy.Product):
        raise ToolError("tool_error", "expression: no closed form was found; give high as a number")
    if is_endless(found):
        raise ToolError("tool_error", f"expression: the {operation} has no finite value")
    return shown(sympy.factor(found) if found.free_symbols else found)


@by_algebra
def find_extrema(expression: Formula, low: Number, high: Number, variable: Variable = "x") -> dict[str, Any]:
    """Find the lowest and highest value of a formula on an interval, and the places between where it turns.

    Args:
        expression: formula of one variable
        low: left end
        high: right end
        variable: the variable

    Example:
        {"expression": "x**3 - 3*x", "low": -2, "high": 3}
    """
    import sympy

    term, name = read(expression, "expression"), symbol(variable, "variable")
    need_variable(term, name, "variable")
    check(len(term.free_symbols) == 1, "expression: it must have no other variable")
    check(low < high, f"high: must be more than low {low}")
    function, slope = (sympy.lambdify(name, f, "math") for f in (term, sympy.diff(term, name)))
    turns = list(sign_changes(slope, low, high))[:40]
    points = [{"at": float(f"{at:.9g}"), "value": _real(function, at)} for at in (low, *turns, high)]
    ordered = sorted(points, key=lambda point: point["value"])
    return {"lowest": ordered[0], "highest": ordered[-1], "turning_points": points[1:-1]}


def _real(function: Any, at: float) -> float:
    try:
        return float(function(at))
    except (ArithmeticError, ValueError, TypeError):
        raise ToolError("tool_error", f"expression: it has no real value at {at:g}") from None


@by_algebra
def divide_polynomials(dividend: Formula, divisor: Formula, variable: Variable = "x") -> dict[str, Any]:
    """Divide polynomials with remainder, and find their greatest common divisor.

    Args:
        dividend: polynomial
        divisor: other polynomial
        variable: the variable

    Example:
        {"dividend": "x**3 - 2*x**2 + 4", "divisor": "x - 3"}
    """
    import sympy

    name = symbol(variable, "variable")
    terms = [read(text, parameter) for text, parameter in ((dividend, "dividend"), (divisor, "divisor"))]
    for term, parameter in zip(terms, ("dividend", "divisor")):
        check(bool(term.is_polynomial(name)), f"{parameter}: is no polynomial of {variable}")
    check(terms[1] != 0, "divisor: must not be 0")
    quotient, remainder = sympy.div(*terms, name)
    return {"quotient": str(quotient), "remainder": str(remainder), "common_divisor": str(sympy.gcd(*terms))}


@by_algebra
def find_polynomial_roots(coefficients: Annotated[list[Number], Len(2, 30)]) -> dict[str, Any]:
    """Find all real and complex roots of a polynomial by its coefficients.

    Args:
        coefficients: of the highest power first

    Example:
        {"coefficients": [1, -6, 11, -6]}
        {"coefficients": [1, 0, 1]}
    """
    import numpy as np

    check(coefficients[0] != 0, "coefficients: the first must not be 0")
    roots = np.roots(coefficients)
    roots = np.where(np.abs(roots.imag) < 1e-9 * np.maximum(1, np.abs(roots)), roots.real + 0j, roots)
    real = sorted(float(f"{root.real:.9g}") for root in roots if root.imag == 0)
    pairs = sorted((float(f"{root.real:.9g}"), float(f"{root.imag:.9g}")) for root in roots if root.imag != 0)
    return {"real": real, "complex": [{"real": a, "imaginary": b} for a, b in pairs], "degree": len(coefficients) - 1}
