"""A calculator without ``eval``: parses an arithmetic expression and works it out within fixed bounds.

Only numbers, ``+ - * / // % **``, brackets and a few functions; no names, no attributes, no assignment.
"""

import ast
import math
import operator
from collections.abc import Callable
from typing import Any

from mcpserver.tool_error import ToolError
from toolwright.words import nearest, shorten

MAX_CHARACTERS = 200
MAX_NODES = 100
MAX_MAGNITUDE = 1e18
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "max": max,
    "min": min,
    "round": round,
    "sqrt": math.sqrt,
}


def evaluate(expression: str) -> int | float:
    """Work out an arithmetic expression.

    Raises:
        ToolError: ``bad_arguments`` for what is not arithmetic, ``limit`` when it is too long or a number too large.
    """
    if len(expression) > MAX_CHARACTERS:
        raise ToolError("limit", f"expression: at most {MAX_CHARACTERS} characters, got {len(expression)}")
    try:
        tree = ast.parse(expression.strip(), mode="eval")
        if sum(1 for _ in ast.walk(tree)) > MAX_NODES:
            raise ToolError("limit", f"expression: at most {MAX_NODES} parts; split it into several calls")
        return tidy(_value(tree.body))
    except ZeroDivisionError:
        raise ToolError("tool_error", "expression: division by zero") from None
    except OverflowError:
        raise ToolError("limit", f"expression: numbers stay below {MAX_MAGNITUDE:g}") from None
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise ToolError("bad_arguments", f"expression: {shorten(expression, 60)} is not arithmetic: {reason}") from None


def tidy(value: float) -> int | float:
    """Round away the noise of binary fractions; whole numbers become ``int``."""
    if isinstance(value, int):
        return value
    rounded = float(f"{value:.12g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded


def _value(node: ast.expr) -> int | float:
    match node:
        case ast.Constant(value=value) if type(value) in (int, float):
            result = value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            result = -_value(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            result = _value(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            result = _combine(op, _value(left), _value(right))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
            if name not in _FUNCTIONS:
                raise ToolError("bad_arguments", f"expression: no function {name!r}{nearest(name, list(_FUNCTIONS))}")
            result = _FUNCTIONS[name](*(_value(argument) for argument in args))
        case _:
            raise ToolError("bad_arguments", f"expression: {ast.unparse(node)[:60]!r} is not arithmetic")
    return _checked(result)


def _combine(op: ast.operator, left: int | float, right: int | float) -> Any:
    if isinstance(op, ast.Pow) and (abs(right) > 64 or (left == 0 and right < 0)):
        raise ToolError("limit", "expression: exponents stay between -64 and 64, and 0 has no negative power")
    return _BINARY[type(op)](left, right)


def _checked(value: Any) -> int | float:
    if type(value) not in (int, float):
        raise ToolError("bad_arguments", f"expression: gives {type(value).__name__}, not a real number")
    if not abs(value) <= MAX_MAGNITUDE:
        raise OverflowError
    result: int | float = value
    return result
