"""Cases as they lie in a file, and their payloads with placeholders and repetitions filled in."""

import ast
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolwright.errors import DataError

VERDICTS = frozenset(("deny", "error", "limit", "timeout", "truncate", "isolated", "clean", "ok", "inside"))
MAX_BUILT = 256 * 1024 * 1024
_PLACEHOLDER = re.compile(r"\$\{([A-Z][A-Z0-9_]*)\}")
_VERDICTS = re.compile(r"[a-z]+(?:-or-[a-z]+)*")


@dataclass(frozen=True)
class Case:
    """One attack.

    Attributes:
        where: ``file:line``.
        kind: of the attack; ``tool_kind`` what its payload is written for.
        payload: code or a command, or an object; see ``play``.
        must: what has to happen: verdicts with ``-or-`` between them, then words on what shows it.
    """

    where: str
    id: str
    kind: str
    tool_kind: str
    payload: Any
    must: str

    @property
    def verdicts(self) -> tuple[str, ...]:
        """The verdicts of which one must come true."""
        match = _VERDICTS.match(self.must)
        return tuple(match[0].split("-or-")) if match else ()

    @property
    def is_code(self) -> bool:
        """Whether the payload is run, not called."""
        return self.tool_kind in ("python", "shell") and not (isinstance(self.payload, dict) and "tool" in self.payload)


def read_cases(path: Path) -> tuple[list[Case], list[str]]:
    """The cases of a file, and one line for each line of it that is none.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}; give a file with one JSON object a line") from None
    cases: list[Case] = []
    wrong, seen = [], set[str]()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            case = _read_case(where, line)
        except DataError as error:
            wrong.append(str(error))
            continue
        if case.id in seen:
            wrong.append(f"{where}: the id {case.id!r} comes twice; give each case its own")
            continue
        seen.add(case.id)
        cases.append(case)
    return cases, wrong


def _read_case(where: str, line: bytes) -> Case:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: error: not JSON ({error}); write one object a line") from None
    names = ("id", "kind", "tool_kind", "payload", "must")
    if not isinstance(row, dict) or any(name not in row for name in names):
        raise DataError(f"{where}: error: expected an object with {', '.join(names)}")
    for name in ("id", "kind", "tool_kind", "must"):
        if not isinstance(row[name], str) or not row[name]:
            raise DataError(f"{where}: error: {name} is a text that is not empty, got {row[name]!r:.60}")
    case = Case(where, *(row[name] for name in names))
    unknown = [word for word in case.verdicts if word not in VERDICTS]
    if unknown or not case.verdicts:
        raise DataError(f"{where}: error: must: begins with one of {', '.join(sorted(VERDICTS))}, got {case.must:.60}")
    return case


def fill(value: Any, places: Mapping[str, str]) -> Any:
    """A payload with its placeholders, ``$repeat`` and ``$repeat_list`` filled in.

    Raises:
        DataError: a placeholder that nothing fills.
    """
    if isinstance(value, str):
        return _PLACEHOLDER.sub(lambda match: _place(match[1], places), value)
    if isinstance(value, list):
        return [fill(item, places) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1 and (repeated := _repeat(value, places)) is not None:
        return repeated
    return {fill(key, places): fill(item, places) for key, item in value.items()}


def _place(name: str, places: Mapping[str, str]) -> str:
    if name not in places:
        raise DataError(f"nothing fills the placeholder ${{{name}}}; there are {', '.join(sorted(places))}")
    return places[name]


def _repeat(value: Mapping[str, Any], places: Mapping[str, str]) -> Any:
    (key, inner), *_ = value.items()
    if key in ("$repeat", "$repeat_list", "$repeat_str") and isinstance(inner, list) and len(inner) == 2:
        item, count = fill(inner[0], places), int(inner[1])
        many = item if key != "$repeat_list" and isinstance(item, str) else [item]
        return _bounded(many, count)
    return evaluate(inner) if key in ("$expr", "$eval") and isinstance(inner, str) else None


def _bounded(item: Any, count: int) -> Any:
    if count * max(1, len(item)) > MAX_BUILT:
        raise DataError(f"a repetition of {count} times {len(item)} is too large to build")
    return item * count


def evaluate(expression: str) -> Any:
    """The value of a ``raw_expr``: constants, ``+ * %``, lists and ``join``; it is read, never run.

    Raises:
        DataError: anything else in it.
    """
    try:
        return _value(ast.parse(expression, mode="eval").body)
    except (SyntaxError, ValueError, TypeError, RecursionError) as error:
        raise DataError(f"an expression that cannot be worked out: {error}") from None


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Dict):
        return {_value(key): _value(item) for key, item in zip(node.keys, node.values, strict=True) if key}
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    if isinstance(node, ast.BinOp):
        return _operate(node.op, _value(node.left), _value(node.right))
    if isinstance(node, ast.Call) and not node.keywords:
        return _call(node.func, [_value(item) for item in node.args])
    raise ValueError(f"{ast.unparse(node)[:60]} is more than constants, + * % and join")


def _operate(operator: ast.operator, left: Any, right: Any) -> Any:
    if isinstance(operator, ast.Add) and type(left) is type(right):
        return left + right
    if isinstance(operator, ast.Mult) and isinstance(right, int):
        return left * right if isinstance(left, int | float) else _bounded(left, right)
    if isinstance(operator, ast.Mult) and isinstance(left, int):
        return _bounded(right, left)
    if isinstance(operator, ast.Mod) and isinstance(left, str):
        return left % (tuple(right) if isinstance(right, list) else right)
    if isinstance(operator, ast.Pow) and isinstance(left, int) and isinstance(right, int) and 0 <= right <= 100_000:
        return left**right
    raise ValueError(f"{type(operator).__name__} of {type(left).__name__} and {type(right).__name__}")


def _call(function: ast.expr, arguments: list[Any]) -> Any:
    if isinstance(function, ast.Attribute) and function.attr in ("join", "replace", "upper", "lower"):
        return getattr(str(_value(function.value)), function.attr)(*arguments)
    plain: dict[str, Callable[..., Any]] = {"str": str, "chr": chr, "repr": repr, "len": len}
    if isinstance(function, ast.Name) and function.id in plain:
        return plain[function.id](*arguments)
    if ast.unparse(function) == "json.dumps":
        return json.dumps(*arguments)
    raise ValueError(f"the call of {ast.unparse(function)[:40]}")
