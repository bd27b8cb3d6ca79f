"""Formulas of worksheets, worked out for the part of Excel that is common: arithmetic, comparisons, a few functions.

What is not known is refused by name rather than guessed.
"""

import math
import re
import statistics
from collections.abc import Callable, Iterator
from typing import Any

from mcpserver.tool_error import ToolError
from mcpserver.tools.tabular._workbooks import pick_sheet
from toolwright.words import cut, shorten

MAX_FORMULA = 500
MAX_RANGE_CELLS = 100_000
MAX_DEPTH = 50
MAX_STEPS = 200_000
LAST_ROW, LAST_COLUMN = 100_000, 702  # ZZ
_RANGE = re.compile(r"\$?([A-Z]{1,3})\$?([1-9]\d{0,6})(?::\$?([A-Z]{1,3})\$?([1-9]\d{0,6}))?", re.IGNORECASE)
_ORDER = {"=": 1, "<>": 1, "<": 1, ">": 1, "<=": 1, ">=": 1, "&": 2, "+": 3, "-": 3, "*": 4, "/": 4, "^": 5}

Place = tuple[str, int, int]  # sheet, row, column
Box = tuple[int, int, int, int]  # first row, first column, last row, last column


class FormulaError(Exception):
    """A formula has no value: one of Excel's errors, or what is not known here."""


def parse_range(text: str, parameter: str = "area") -> Box:
    """A range such as ``B2:D9``, or a cell, as first row, first column, last row, last column.

    Raises:
        ToolError: ``bad_arguments``; ``limit`` for one far outside what is worked with here.
    """
    match = _RANGE.fullmatch(text.strip())
    if not match:
        raise ToolError("bad_arguments", f"{parameter}: {shorten(text, 60)} is no range such as B2 or B2:D9")
    first, top, last, bottom = match.groups()
    rows = sorted((int(top), int(bottom or top)))
    columns = sorted((_column_number(first), _column_number(last or first)))
    if rows[1] > LAST_ROW or columns[1] > LAST_COLUMN:
        raise ToolError("limit", f"{parameter}: rows up to {LAST_ROW} and columns up to ZZ are worked with")
    return rows[0], columns[0], rows[1], columns[1]


def parse_cell(text: str, parameter: str = "cell") -> tuple[int, int]:
    """A cell such as ``B2`` as row and column.

    Raises:
        ToolError: as ``parse_range``.
    """
    top, left, bottom, right = parse_range(text, parameter)
    if (top, left) != (bottom, right):
        raise ToolError("bad_arguments", f"{parameter}: {shorten(text, 60)} is a range, not one cell")
    return top, left


def cell_name(row: int, column: int) -> str:
    """The name of a cell: row 2, column 28 is ``AB2``."""
    letters = ""
    while column:
        column, rest = divmod(column - 1, 26)
        letters = chr(65 + rest) + letters
    return f"{letters}{row}"


def range_name(box: Box) -> str:
    """The name of a range."""
    top, left, bottom, right = box
    first, last = cell_name(top, left), cell_name(bottom, right)
    return first if first == last else f"{first}:{last}"


def _column_number(letters: str) -> int:
    number = 0
    for letter in letters.upper():
        number = number * 26 + ord(letter) - 64
    return number


def check_formula(text: str, parameter: str) -> str:
    """A formula that may be written to a cell.

    Raises:
        ToolError: ``bad_arguments`` when it is none, ``denied`` when it reaches out of the workbook.
    """
    if not text.startswith("=") or not 1 < len(text) <= MAX_FORMULA or not text.isprintable():
        raise ToolError("bad_arguments", f"{parameter}: {shorten(text, 60)} is no formula such as =SUM(B2:B9)")
    outside = re.search(r"[|\[]|\b(WEBSERVICE|HYPERLINK|IMAGE|RTD|CALL|REGISTER|EXEC|DDE)\b", text, re.IGNORECASE)
    if outside:
        raise ToolError("denied", f"{parameter}: {shorten(outside[0], 30)} reaches out of the workbook")
    return text


class Evaluator:
    """Works out the cells of a workbook, each once."""

    def __init__(self, book: Any) -> None:
        self._book = book
        self._known: dict[Place, Any] = {}
        self._open: list[Place] = []
        self._steps = 0

    def cell(self, sheet: str, row: int, column: int) -> Any:
        """The value of a cell; text that begins with ``#`` where it has none."""
        try:
            return self._cell((sheet, row, column))
        except FormulaError as failure:
            return f"#{str(failure).lstrip('#')}"

    def _cell(self, place: Place) -> Any:
        if place in self._known:
            known = self._known[place]
            if isinstance(known, FormulaError):
                raise known
            return known
        sheet, row, column = place
        cell = self._book[sheet]._cells.get((row, column))  # cell() would make empty ones
        if cell is None or cell.data_type != "f":
            value = None if cell is None else cell.value
            if cell is not None and cell.data_type == "e":
                raise FormulaError(str(value))
            return value
        try:
            value = self._formula(place, cell.value)
        except FormulaError as failure:
            self._known[place] = failure
            raise
        self._known[place] = value
        return value

    def _formula(self, place: Place, text: Any) -> Any:
        from openpyxl.formula import Tokenizer

        self._steps += 1
        if place in self._open:
            raise FormulaError("circular reference")
        if len(self._open) >= MAX_DEPTH:
            raise FormulaError(f"more than {MAX_DEPTH} formulas refer to each other in a row")
        if not isinstance(text, str) or len(text) > 2000 or self._steps > MAX_STEPS:
            raise FormulaError("array formula or too long")
        self._open.append(place)
        try:
            tokens = [token for token in Tokenizer(text).items if token.type != "WHITE-SPACE"]
            parser = _Parser(self, place[0], tokens)
            value = parser.expression(0)
            if parser.here is not None:
                raise FormulaError(f"not known: {cut(text, 60)}")
            return _single(value)
        except (ValueError, OverflowError, ArithmeticError, RecursionError, IndexError) as error:
            raise FormulaError(f"NUM! ({cut(str(error), 60)})") from None
        finally:
            self._open.pop()

    def cells(self, sheet: str, text: str) -> list[Any]:
        """The values of a range, written in a formula of a sheet."""
        name, _, area = text.rpartition("!")
        title = name.strip("'").replace("''", "'") or sheet
        if title not in self._book.sheetnames:
            raise FormulaError(f"REF! (no sheet {cut(title, 40)})")
        try:
            top, left, bottom, right = parse_range(area)
        except ToolError as error:
            raise FormulaError(f"not known: {cut(text, 40)} ({error.message})") from None
        if (bottom - top + 1) * (right - left + 1) > MAX_RANGE_CELLS:
            raise FormulaError("a range is too large")
        bottom, right = self._clip(title, top, left, bottom, right)
        self._steps += (bottom - top + 1) * (right - left + 1)
        if self._steps > MAX_STEPS:
            raise FormulaError("the formulas read too many cells")
        return [self._cell((title, row, column)) for row in range(top, bottom + 1) for column in range(left, right + 1)]

    def _clip(self, title: str, top: int, left: int, bottom: int, right: int) -> tuple[int, int]:
        sheet = self._book[title]
        return max(top, min(bottom, sheet.max_row)), max(left, min(right, sheet.max_column))


class _Parser:
    """Reads the tokens of one formula by precedence, and works it out on the way."""

    def __init__(self, evaluator: Evaluator, sheet: str, tokens: list[Any]) -> None:
        self._evaluator = evaluator
        self._sheet = sheet
        self._tokens = iter(tokens)
        self.here: Any = next(self._tokens, None)

    def _next(self) -> Any:
        token = self.here
        if token is None:
            raise FormulaError("the formula ends too early")
        self.here = next(self._tokens, None)
        return token

    def expression(self, least: int) -> Any:
        left = self._operand()
        while self.here is not None:
            token = self.here
            if token.type == "OPERATOR-POSTFIX":
                self._next()
                left = _number(_single(left)) / 100
            elif token.type == "OPERATOR-INFIX" and _ORDER.get(token.value, -1) > least:
                self._next()
                left = _combine(token.value, _single(left), _single(self.expression(_ORDER[token.value])))
            else:
                break
        return left

    def _operand(self) -> Any:
        token = self._next()
        if token.type == "OPERATOR-PREFIX":
            value = _number(_single(self._operand()))
            return -value if token.value == "-" else value
        if token.type == "PAREN" and token.subtype == "OPEN":
            value = self.expression(0)
            self._close()
            return value
        if token.type == "FUNC" and token.subtype == "OPEN":
            return _call(token.value.rstrip("(").upper(), list(self._arguments()))
        if token.type != "OPERAND":
            raise FormulaError(f"not known: {cut(str(token.value), 40)}")
        match token.subtype:
            case "NUMBER":
                return float(token.value)
            case "TEXT":
                return token.value[1:-1].replace('""', '"')
            case "LOGICAL":
                return token.value.upper() == "TRUE"
            case "RANGE":
                return self._evaluator.cells(self._sheet, token.value)
        raise FormulaError(str(token.value))

    def _arguments(self) -> Iterator[Any]:
        while self.here is not None and not (self.here.type == "FUNC" and self.here.subtype == "CLOSE"):
            yield self.expression(0)
            if self.here is not None and self.here.type == "SEP":
                self._next()
        self._close()

    def _close(self) -> None:
        if getattr(self._next(), "subtype", "") != "CLOSE":
            raise FormulaError("a bracket is missing")


def _single(value: Any) -> Any:
    if isinstance(value, list):
        if len(value) != 1:
            raise FormulaError("VALUE! (a range where one value is needed)")
        return value[0]
    return value


def _number(value: Any) -> float:
    if value is None:
        return 0.0
    if not isinstance(value, bool | int | float):
        raise FormulaError("VALUE! (a text where a number is needed)")
    return float(value)


def _combine(operator: str, left: Any, right: Any) -> Any:
    if operator == "&":
        return cut("".join(map(_as_text, (left, right))), 2000)
    if _ORDER[operator] == 1:
        return _compare(operator, left, right)
    one, two = _number(left), _number(right)
    if operator == "/" and two == 0:
        raise FormulaError("DIV/0!")
    if operator == "^" and (abs(two) > 1000 or (one <= 0 and not two.is_integer()) or (one == 0 and two <= 0)):
        raise FormulaError("NUM!")
    work: dict[str, Callable[[float, float], float]] = {
        "+": lambda a, b: a + b,
        "-": lambda a, b: a - b,
        "*": lambda a, b: a * b,
        "/": lambda a, b: a / b,
        "^": lambda a, b: a**b,
    }
    return _finite(work[operator](one, two))


def _compare(operator: str, left: Any, right: Any) -> bool:
    one: Any
    two: Any
    one, two = (value.lower() if isinstance(value, str) else 0 if value is None else value for value in (left, right))
    if isinstance(one, str) != isinstance(two, str):
        if operator in ("=", "<>"):
            return operator == "<>"
        raise FormulaError("VALUE! (a text compared with a number)")
    if operator in ("=", "<>"):
        return bool(one == two) == (operator == "=")
    return bool({"<": one < two, ">": one > two, "<=": one <= two, ">=": one >= two}[operator])


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).upper()
    return "" if value is None else f"{value:.15g}" if isinstance(value, float) else str(value)


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise FormulaError("NUM!")
    return value


def _call(name: str, arguments: list[Any]) -> Any:
    """A function of the few that are known."""
    if name == "IF" and len(arguments) in (2, 3):
        return _single(arguments[1]) if _number(_single(arguments[0])) else _single((*arguments, False)[2])
    if name in ("ABS", "SQRT") and len(arguments) == 1:
        value = _number(_single(arguments[0]))
        return abs(value) if name == "ABS" else _finite(math.sqrt(value))
    if name == "ROUND" and len(arguments) == 2:
        digits = int(max(-15.0, min(15.0, _number(_single(arguments[1])))))
        value = _number(_single(arguments[0]))
        return math.copysign(math.floor(abs(value) * 10**digits + 0.5) / 10**digits, value)
    flat = [value for item in arguments for value in (item if isinstance(item, list) else [item])]
    if name == "COUNTA":
        return float(sum(value is not None for value in flat))
    known = [float(value) for value in flat if isinstance(value, int | float) and not isinstance(value, bool)]
    return aggregate(name, known)


def aggregate(name: str, known: list[float]) -> float:
    """Sum up numbers as a function of Excel does.

    Raises:
        FormulaError: an unknown function, or no numbers where some are needed.
    """
    functions: dict[str, Callable[[list[float]], float]] = {
        "SUM": math.fsum,
        "COUNT": len,
        "AVERAGE": statistics.fmean,
        "MIN": min,
        "MAX": max,
        "MEDIAN": statistics.median,
        "PRODUCT": math.prod,
    }
    if name not in functions:
        raise FormulaError(f"NAME? (the function {cut(name, 30)} is not known here)")
    if not known and name not in ("SUM", "COUNT"):
        if name in ("AVERAGE", "MEDIAN"):
            raise FormulaError("DIV/0!" if name == "AVERAGE" else "NUM!")
        return 0.0
    return _finite(float(functions[name](known)))


def used_range(book: Any, sheet: str | None, text: str | None) -> tuple[Any, Box]:
    """A sheet and a range of it, cut to the cells that are used; without a range all of them.

    Raises:
        ToolError: no such sheet or range.
    """
    page = pick_sheet(book, sheet)
    if text is None:
        return page, (1, 1, max(1, page.max_row), max(1, page.max_column))
    top, left, bottom, right = parse_range(text)
    return page, (top, left, max(top, min(bottom, page.max_row)), max(left, min(right, page.max_column)))
