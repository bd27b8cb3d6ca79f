"""Arithmetic over the columns of a table: parsed, checked and worked out without ``eval``."""

import ast
import operator
from collections.abc import Callable
from typing import Any

from mcpserver.tool_error import ToolError
from mcpserver.tools.tabular._columns import numbers
from mcpserver.tools.tabular._tables import Frame
from toolwright.words import nearest, shorten

MAX_NODES = 100
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_COUNTS = {"abs": 1, "round": 1, "sqrt": 1, "log": 1, "exp": 1, "floor": 1, "ceil": 1, "min": 2, "max": 2, "where": 3}


def evaluate(expression: str, frame: Frame) -> Any:
    """A new column: ``Int64`` when all of it is whole, else ``Float64``; what cannot be worked out is missing.

    Raises:
        ToolError: ``bad_arguments`` for what is not arithmetic over the columns, ``limit`` when it is too long.
    """
    import numpy as np
    import pandas as pd

    try:
        tree = ast.parse(expression.strip(), mode="eval")
        if sum(1 for _ in ast.walk(tree)) > MAX_NODES:
            raise ToolError("limit", f"expression: at most {MAX_NODES} parts; add the column in several steps")
        with np.errstate(all="ignore"):
            found = np.broadcast_to(_value(tree.body, frame), (len(frame),)).astype(float)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError, OverflowError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise ToolError("bad_arguments", f"expression: {shorten(expression, 60)} is not arithmetic: {reason}") from None
    known = np.isfinite(found)
    whole = bool(np.all(found[known] == np.floor(found[known])) and np.all(np.abs(found[known]) < 2**53))
    column = pd.Series(np.where(known, found, 0.0), index=frame.index)
    column = column.astype("Int64" if whole and known.any() else "Float64")
    return column.mask(~known)


def _value(node: ast.expr, frame: Frame) -> Any:
    """An array of floats (or one float), NaN where a value is missing."""
    import numpy as np

    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return np.float64(value)
        case ast.Name(id=name):
            return _column(name, frame)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, frame)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand, frame)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _BINARY[type(op)](_value(left, frame), _value(right, frame))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARE:
            first, second = _value(left, frame), _value(right, frame)
            return np.where(np.isnan(first) | np.isnan(second), np.nan, _COMPARE[type(op)](first, second))
        case ast.Call(func=ast.Name(id="col"), args=[ast.Constant(value=str(name))], keywords=[]):
            return _column(name, frame)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
            return _call(name, [_value(argument, frame) for argument in args])
    raise ToolError("bad_arguments", f"expression: {ast.unparse(node)[:60]!r} is not arithmetic over columns")


def _column(name: str, frame: Frame) -> Any:
    import numpy as np

    return numbers(frame, name, "expression").to_numpy(dtype=float, na_value=np.nan)


def _call(name: str, values: list[Any]) -> Any:
    import numpy as np

    if name not in _COUNTS:
        raise ToolError("bad_arguments", f"expression: no function {name!r}{nearest(name, [*_COUNTS, 'col'])}")
    if len(values) != _COUNTS[name] and not (name in ("min", "max") and len(values) > 2):
        raise ToolError("bad_arguments", f"expression: {name}() takes {_COUNTS[name]} values, got {len(values)}")
    if name == "where":
        return np.where(np.isnan(values[0]), np.nan, np.where(values[0] != 0, values[1], values[2]))
    if name in ("min", "max"):
        return (np.minimum if name == "min" else np.maximum).reduce(np.broadcast_arrays(*values))
    functions: dict[str, Callable[[Any], Any]] = {
        "abs": np.abs,
        "round": np.round,
        "sqrt": np.sqrt,
        "log": np.log,
        "exp": np.exp,
        "floor": np.floor,
        "ceil": np.ceil,
    }
    return functions[name](values[0])
