"""Formulas such as ``x**2 - 3*x = 4``: read by an allow-list into sympy's terms, never by ``sympify`` or ``eval``.

Every step is bounded: characters, parts, exponents, the size of each number, the terms that expanding can give.
"""

import ast
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Annotated, Any, ParamSpec, TypeVar

from annotated_types import Len

from mcpserver.tool_error import ToolError
from mcpserver.toolbox.figures import figures
from toolwright.words import cut, nearest, shorten

MAX_CHARACTERS, MAX_NODES, MAX_EXPONENT, MAX_DEGREE, MAX_TERMS = 300, 120, 60, 60, 3000
MAX_SIZE = 10**100
FUNCTIONS = (
    *("abs", "acos", "asin", "atan", "cbrt", "ceil", "cos", "cosh", "exp", "factorial", "floor", "ln", "log", "sign"),
    *("sin", "sinh", "sqrt", "tan", "tanh"),
)
CONSTANTS = {"pi": "pi", "e": "E", "E": "E", "I": "I"}
Formula = Annotated[str, Len(1, MAX_CHARACTERS)]
Variable = Annotated[str, Len(1, 16)]
P = ParamSpec("P")
R = TypeVar("R")


def by_algebra(function: Callable[P, R]) -> Callable[P, R]:
    """Give what a tool returns as ``figures``, and what sympy cannot do as a ``ToolError``.

    sympy fails with exceptions of any class on what it has no method for, so that all are caught here.
    """

    @functools.wraps(function)
    def worked(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            result: R = figures(function(*args, **kwargs))
        except ToolError:
            raise
        except Exception as error:  # noqa: BLE001
            reason = cut(str(error) or type(error).__name__, 150)
            raise ToolError("tool_error", f"no method was found for this: {reason}") from None
        return result

    return worked


def read(text: str, parameter: str, values: Mapping[str, float] | None = None) -> Any:
    """A formula as a term of sympy; names that have values become numbers.

    Raises:
        ToolError: ``bad_arguments`` for what is no formula, ``limit`` for what is too large.
    """
    try:
        tree = ast.parse(text.strip().replace("^", "**"), mode="eval")
        if sum(1 for _ in ast.walk(tree)) > MAX_NODES:
            raise ToolError("limit", f"{parameter}: at most {MAX_NODES} parts")
        term = _term(tree.body, parameter, values or {})
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else cut(str(error), 80)
        raise ToolError("bad_arguments", f"{parameter}: {shorten(text, 60)} is no formula: {reason}") from None
    degree, terms = _extent(term)
    if degree > MAX_DEGREE or terms > MAX_TERMS:
        raise ToolError("limit", f"{parameter}: powers up to {MAX_DEGREE} and {MAX_TERMS} terms when multiplied out")
    return term


def read_equation(text: str, parameter: str) -> Any:
    """The difference of both sides of an equation; a formula alone is set equal to 0."""
    sides = text.replace("==", "=").split("=")
    if len(sides) > 2 or any(sign in text for sign in "<>!"):
        raise ToolError("bad_arguments", f"{parameter}: {shorten(text, 60)} is no equation with one =")
    terms = [read(side, parameter) for side in sides]
    return terms[0] - terms[1] if len(terms) == 2 else terms[0]


def symbol(name: str, parameter: str) -> Any:
    """The unknown of a name.

    Raises:
        ToolError: ``bad_arguments`` when it is no name of a variable.
    """
    import sympy

    if not (name.isascii() and name.isidentifier()) or name in CONSTANTS or name in FUNCTIONS:
        raise ToolError("bad_arguments", f"{parameter}: {shorten(name, 30)} is no name of a variable such as x")
    return sympy.Symbol(name)


def need_variable(term: Any, variable: Any, parameter: str) -> None:
    """Refuse a formula without the variable that it is about."""
    if variable not in term.free_symbols:
        names = sorted(map(str, term.free_symbols))
        hint = f"; it has {', '.join(names)}" if names else "; it has no variable"
        raise ToolError("bad_arguments", f"{parameter}: there is no {variable} in the formula{hint}")


def is_endless(term: Any) -> bool:
    """Whether infinity, or no value at all, is a part of a term."""
    import sympy

    return bool(term.has(sympy.oo, -sympy.oo, sympy.zoo, sympy.nan))


def shown(term: Any) -> dict[str, Any]:
    """A term as text that can be read again, with its value when it is a number.

    Raises:
        ToolError: ``limit`` when it is too long.
    """
    import sympy

    text = str(term)
    if len(text) > 3000:
        raise ToolError("limit", f"the result has {len(text)} characters; ask for less")
    if not term.is_number:
        return {"exact": text}
    value = complex(sympy.N(term, 15)) if term.is_finite is not False else None
    if value is None or not (math.isfinite(value.real) and math.isfinite(value.imag)):
        return {"exact": text}
    if abs(value.imag) <= 1e-13 * abs(value):
        return {"exact": text, "value": value.real}
    return {"exact": text, "value": {"real": value.real, "imaginary": value.imag}}


def _term(node: ast.expr, parameter: str, values: Mapping[str, float]) -> Any:
    import sympy

    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            result = _number(number, parameter)
        case ast.Name(id=name) if name in values:
            result = _number(values[name], parameter)
        case ast.Name(id=name) if name in CONSTANTS:
            result = getattr(sympy, CONSTANTS[name])
        case ast.Name(id=name):
            result = symbol(cut(name, 40), parameter)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            result = -_term(operand, parameter, values)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            result = _term(operand, parameter, values)
        case ast.BinOp(left=left, op=op, right=right):
            result = _combined(op, _term(left, parameter, values), _term(right, parameter, values), parameter)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            result = _called(name, [_term(argument, parameter, values) for argument in arguments], parameter)
        case _:
            part = shorten(ast.unparse(node), 40)
            raise ToolError("bad_arguments", f"{parameter}: {part} is not understood; use + - * / ** and functions")
    return _bounded(result, parameter)


def _number(value: float, parameter: str) -> Any:
    import sympy

    if not abs(value) <= 1e15:
        raise ToolError("limit", f"{parameter}: numbers stay between -1e15 and 1e15")
    return sympy.Rational(repr(value)) if abs(value) >= 1e-12 or value == 0 else sympy.Integer(0)


def _combined(op: ast.operator, left: Any, right: Any, parameter: str) -> Any:
    match op:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Mult():
            return left * right
        case ast.Div():
            if right.is_zero:
                raise ToolError("bad_arguments", f"{parameter}: division by zero")
            return left / right
        case ast.Pow():
            return _power(left, right, parameter)
    raise ToolError("bad_arguments", f"{parameter}: only + - * / and ** join terms")


def _power(base: Any, exponent: Any, parameter: str) -> Any:
    """A power; of a number exactly as long as it is short."""
    import sympy

    if not exponent.is_number:
        return base**exponent
    size = abs(float(exponent)) if exponent.is_real else math.inf
    if base.is_Rational and exponent.is_Integer and size * math.log10(max(abs(base.p), base.q)) > 100:
        if size <= 10**6 and size * abs(math.log10(abs(float(base)))) < 100:
            return sympy.Float(base, 60) ** exponent
        raise ToolError("limit", f"{parameter}: powers of numbers stay below 1e100")
    if size > (10**6 if base.is_Rational and exponent.is_Integer else MAX_EXPONENT):
        raise ToolError("limit", f"{parameter}: exponents stay between -{MAX_EXPONENT} and {MAX_EXPONENT}")
    return base**exponent


def check_places(term: Any, variable: Any, places: Iterable[Any], parameter: str) -> None:
    """Refuse numbers for a variable that would make a power of it endless.

    Raises:
        ToolError: ``limit``.
    """
    import sympy

    exponents = [power.exp for power in term.atoms(sympy.Pow) if variable in power.exp.free_symbols]
    for place in places:
        for exponent in exponents:
            value = exponent.subs(variable, place)
            if value.is_number and not abs(value.evalf(5)) <= 1000:
                raise ToolError("limit", f"{parameter}: an exponent would be larger than 1000 there")


def _called(name: str, arguments: list[Any], parameter: str) -> Any:
    import sympy

    if name not in FUNCTIONS:
        raise ToolError("bad_arguments", f"{parameter}: no function {shorten(name, 30)}{nearest(name, FUNCTIONS)}")
    if len(arguments) != 1 and not (name == "log" and len(arguments) == 2):
        raise ToolError("bad_arguments", f"{parameter}: {name} takes one argument, got {len(arguments)}")
    if name == "factorial" and not (arguments[0].is_Integer and 0 <= arguments[0] <= 60):
        raise ToolError("limit", f"{parameter}: factorial takes whole numbers from 0 to 60")
    names = {"abs": "Abs", "ceil": "ceiling", "ln": "log"}
    return getattr(sympy, names.get(name, name))(*arguments)


def _bounded(term: Any, parameter: str) -> Any:
    import sympy

    if is_endless(term):
        raise ToolError("bad_arguments", f"{parameter}: a part of it has no value (such as a division by zero)")
    if term.is_number and not abs(sympy.N(term, 5)) < MAX_SIZE:
        raise ToolError("limit", f"{parameter}: numbers stay below 1e100")
    return term


def _extent(term: Any) -> tuple[int, int]:
    """Bounds of the degree, and of the number of terms when multiplied out."""
    parts = [_extent(part) for part in term.args]
    if term.is_Add:
        return max(degree for degree, _ in parts), sum(terms for _, terms in parts)
    if term.is_Mul:
        return sum(degree for degree, _ in parts), math.prod(terms for _, terms in parts)
    if term.is_Pow and term.exp.is_number:
        times = math.ceil(abs(float(term.exp)))
        return parts[0][0] * times, math.comb(parts[0][1] + times - 1, times)
    return max([1 if term.is_Symbol else 0, *(degree for degree, _ in parts)]), max([1, *(terms for _, terms in parts)])


def sign_changes(function: Callable[[float], float], low: float, high: float, steps: int = 2000) -> Iterator[float]:
    """Zeros of a function between two numbers that a scan of small steps finds, by bisection."""
    points = [low + (high - low) * step / steps for step in range(steps + 1)]
    values = [_safe(function, point) for point in points]
    for (a, b), (left, right) in zip(pairwise(points), pairwise(values)):
        if left == 0:
            yield a
        elif left * right < 0:
            zero = _bisect(function, a, b, left)
            if abs(_safe(function, zero)) <= abs(left) + abs(right):  # no pole
                yield zero
    if values[-1] == 0:
        yield points[-1]


def _bisect(function: Callable[[float], float], a: float, b: float, left: float) -> float:
    for _ in range(80):
        middle = (a + b) / 2
        a, b = (a, middle) if _safe(function, middle) * left <= 0 else (middle, b)
    return (a + b) / 2


def _safe(function: Callable[[float], float], point: float) -> float:
    try:
        value = complex(function(point))
    except (ArithmeticError, ValueError, TypeError):
        return math.nan
    return value.real if abs(value.imag) <= 1e-12 * (1 + abs(value.real)) else math.nan
