"""Conditions on the rows of a table as tools take them: nested lists, and their SQL.

Nothing but the standard library (and typing_extensions), since it is imported by sandboxed workers.
"""

from collections.abc import Callable, Iterator
from typing import Annotated, Literal, NotRequired

from annotated_types import Len
from typing_extensions import TypedDict

from mcpserver.tool_error import ToolError

Operator = Literal[
    "=", "!=", "<", "<=", ">", ">=", "in", "not_in", "between", "contains", "starts_with", "ends_with", "matches",
    "is_missing", "is_present",
]  # fmt: skip
Scalar = str | int | float | bool
_COMPARISONS = ("=", "!=", "<", "<=", ">", ">=")
_TEXTS = ("contains", "starts_with", "ends_with", "matches")


class Condition(TypedDict):
    """A column, an operator, and a value that fits it."""

    column: str
    operator: Operator
    value: NotRequired[Scalar | list[Scalar]]


class AnyOf(TypedDict):
    """Conditions of which one must hold."""

    any: Annotated[list[Condition], Len(1, 20)]


Where = Annotated[list[Condition | AnyOf], Len(0, 20)]


def groups(where: list[Condition | AnyOf]) -> Iterator[tuple[str, list[Condition]]]:
    """The conditions as a list of alternatives each, with the place of each list for messages.

    Raises:
        ToolError: ``bad_arguments``, a value that does not fit its operator.
    """
    for n, item in enumerate(where):
        alternatives: list[Condition] = item.get("any") or [item]  # type: ignore[assignment]
        for condition in alternatives:
            _check(condition, f"where[{n}]")
        yield f"where[{n}]", alternatives


def _check(condition: Condition, place: str) -> None:
    operator, value = condition["operator"], condition.get("value")
    if operator in ("is_missing", "is_present"):
        fits, wanted = value is None, "no value"
    elif operator == "between":
        fits, wanted = isinstance(value, list) and len(value) == 2, "a list of two values, the lowest and the highest"
    elif operator in ("in", "not_in"):
        fits, wanted = isinstance(value, list) and 1 <= len(value) <= 200, "a list of 1 to 200 values"
    elif operator in _TEXTS:
        fits, wanted = isinstance(value, str) and 0 < len(value) <= 500, "a text of 1 to 500 characters"
    else:
        fits, wanted = value is not None and not isinstance(value, list), "one value"
    if not fits:
        raise ToolError("bad_arguments", f"{place}: operator {operator!r} needs {wanted}, got {value!r:.80}")


def to_sql(where: list[Condition | AnyOf], quote: Callable[[str], str]) -> tuple[str, list[Scalar]]:
    """A WHERE clause (``1`` for no conditions) and its values; the columns must have been checked."""
    clauses, values = [], list[Scalar]()
    for _, alternatives in groups(where):
        parts = []
        for condition in alternatives:
            part, more = _one_to_sql(condition, quote(condition["column"]))
            parts.append(part)
            values += more
        clauses.append(f"({' OR '.join(parts)})")
    return " AND ".join(clauses) or "1", values


def _one_to_sql(condition: Condition, column: str) -> tuple[str, list[Scalar]]:
    operator, value = condition["operator"], condition.get("value")
    values = value if isinstance(value, list) else [] if value is None else [value]
    if operator in _COMPARISONS:
        return f"{column} {operator} ?", values
    marks = ", ".join("?" * len(values))
    text = {
        "in": f"{column} IN ({marks})",
        "not_in": f"{column} NOT IN ({marks})",
        "between": f"{column} BETWEEN ? AND ?",
        "contains": f"instr(lower({column}), lower(?)) > 0",
        "starts_with": f"instr(lower({column}), lower(?)) = 1",
        "matches": f"{column} REGEXP ?",
        "is_missing": f"{column} IS NULL",
        "is_present": f"{column} IS NOT NULL",
    }
    if operator == "ends_with":
        return f"lower(substr({column}, -length(?))) = lower(?)", values * 2
    return text[operator], values
