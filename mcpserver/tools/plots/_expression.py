"""Expressions of x worked out for many x at once, without ``eval``."""

import ast
from typing import Any

from mcpserver.tool_error import ToolError
from toolwright.words import nearest, shorten

MAX_NODES = 100
NAMES = ("x", "pi", "e")
FUNCTIONS = (
    *("abs", "arccos", "arcsin", "arctan", "ceil", "cos", "cosh", "exp", "floor", "log", "log10", "log2"),
    *("maximum", "minimum", "sign", "sin", "sinh", "sqrt", "tan", "tanh"),
)


def evaluate_at(expression: str, xs: Any, parameter: str = "expression") -> Any:
    """The values of an expression such as ``sin(x) / x`` at an array of x; NaN where there is none.

    Raises:
        ToolError: ``bad_arguments`` for what is no such expression.
    """
    import numpy as np

    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise ToolError("bad_arguments", f"{parameter}: {shorten(expression, 60)} is no expression: {reason}") from None
    if sum(1 for _ in ast.walk(tree)) > MAX_NODES:
        raise ToolError("limit", f"{parameter}: at most {MAX_NODES} parts")
    with np.errstate(all="ignore"):
        values = np.asarray(_value(tree.body, xs, parameter), dtype=float) + np.zeros_like(xs)
    return np.where(np.abs(values) <= 1e12, values, np.nan)


def _value(node: ast.expr, xs: Any, parameter: str) -> Any:
    import numpy as np

    operators = {
        **{ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply, ast.Div: np.divide},
        **{ast.FloorDiv: np.floor_divide, ast.Mod: np.mod, ast.Pow: np.power},
    }
    match node:
        case ast.Constant(value=int() | float() as value) if abs(value) <= 1e12:
            return np.float64(value)
        case ast.Name(id=name) if name in NAMES:
            return {"x": xs, "pi": np.float64(np.pi), "e": np.float64(np.e)}[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, xs, parameter)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in operators:
            return operators[type(op)](_value(left, xs, parameter), _value(right, xs, parameter))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            wanted = 2 if name in ("maximum", "minimum") else 1
            if name not in FUNCTIONS:
                hint = nearest(name, FUNCTIONS)
                raise ToolError("bad_arguments", f"{parameter}: no function {name!r}{hint}")
            if len(arguments) != wanted:
                raise ToolError("bad_arguments", f"{parameter}: {name} takes {wanted} numbers, got {len(arguments)}")
            return getattr(np, name)(*(_value(argument, xs, parameter) for argument in arguments))
    part = shorten(ast.unparse(node), 40)
    raise ToolError("bad_arguments", f"{parameter}: {part} is not understood; use x, numbers, + - * / ** and functions")
