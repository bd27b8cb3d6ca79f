"""Numbers that tools take and give: bounded ones in, finite ones of ten digits out. Reads and writes nothing.

Nothing but the standard library and annotated_types, since it is used by sandboxed workers.
"""

import functools
import math
import warnings
from collections.abc import Callable
from typing import Annotated, Any, ParamSpec, TypeVar

from annotated_types import Ge, Gt, Le, Len, Lt

from mcpserver.tool_error import ToolError
from mcpserver.toolbox.arithmetic import tidy
from toolwright.words import cut

MAX_NUMBER = 1e12
Number = Annotated[float, Ge(-MAX_NUMBER), Le(MAX_NUMBER)]
Positive = Annotated[float, Gt(0), Le(MAX_NUMBER)]
NotNegative = Annotated[float, Ge(0), Le(MAX_NUMBER)]
Share = Annotated[float, Ge(0), Le(1)]
Inner = Annotated[float, Gt(0), Lt(1)]
Numbers = Annotated[list[Number], Len(1, 10_000)]
Name = Annotated[str, Len(1, 60)]
_NOT_FINITE = "the result is no finite number: the values are too large, too close to zero, or too much alike"
P = ParamSpec("P")
R = TypeVar("R")


def check(right: bool, message: str) -> None:
    """Demand something of the arguments.

    Raises:
        ToolError: ``bad_arguments`` with the message.
    """
    if not right:
        raise ToolError("bad_arguments", message)


def figures(value: Any) -> Any:
    """A result as plain JSON: arrays as lists, numbers to ten digits, whole ones as ``int``.

    Raises:
        ToolError: ``tool_error`` where a number is infinite or NaN.
    """
    if isinstance(value, dict):
        return {str(key): figures(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [figures(inner) for inner in value]
    if hasattr(value, "tolist"):
        return figures(value.tolist())
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ToolError("tool_error", _NOT_FINITE)
        return tidy(float(f"{value:.10g}"))
    return value


def in_figures(function: Callable[P, R]) -> Callable[P, R]:
    """Give what a tool returns as ``figures``; a number too large or a division by zero becomes a ``ToolError``."""

    @functools.wraps(function)
    def worked(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            result: R = figures(function(*args, **kwargs))
        except ArithmeticError:
            raise ToolError("tool_error", _NOT_FINITE) from None
        return result

    return worked


def by_library(function: Callable[P, R]) -> Callable[P, R]:
    """As ``in_figures``, for tools that call numpy or scipy in a worker: no warnings, and complaints become errors."""

    @functools.wraps(function)
    def worked(*args: P.args, **kwargs: P.kwargs) -> R:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return in_figures(function)(*args, **kwargs)
            except ValueError as error:  # numpy's LinAlgError is one too
                raise ToolError("tool_error", f"cannot be worked out: {cut(str(error))}") from None

    return worked
