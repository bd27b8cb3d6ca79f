"""Arrangements counted, sequences, truth tables, numbers drawn by chance. Reads and writes nothing."""

import ast
import itertools
import math
from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.figures import Number, check, in_figures
from mcpserver.tools.maths._primes import is_prime
from toolwright.words import shorten

RUNS_IN = "server"
Whole = Annotated[int, Ge(-(10**15)), Le(10**15)]
Count = Annotated[int, Ge(0), Le(1000)]


class Choice(TypedDict):
    """Ways to take some of n different things, with or without order and repetition."""

    kind: Literal["permutations", "combinations"]
    n: Count
    take: Count
    repetition: NotRequired[bool]


class Arrangement(TypedDict):
    """Ways to put things of several kinds in a row: how many there are of each kind."""

    kind: Literal["multiset"]
    counts: Annotated[list[Count], Len(1, 30)]


class Special(TypedDict):
    """Factorial, derangements, Catalan number, partitions of a number, or ways to split n things into groups (bell)."""

    kind: Literal["factorial", "derangements", "catalan", "partitions", "bell"]
    n: Annotated[int, Ge(0), Le(300)]


class Steps(TypedDict):
    """Start, then the same step added (arithmetic) or multiplied (geometric)."""

    kind: Literal["arithmetic", "geometric"]
    start: Number
    step: Number


class Named(TypedDict):
    """A well-known sequence from its beginning."""

    kind: Literal["fibonacci", "lucas", "triangular", "squares", "cubes", "primes", "powers_of_two", "factorials"]


class Collatz(TypedDict):
    """Halve even numbers, treble odd ones and add 1."""

    kind: Literal["collatz"]
    start: Annotated[int, Ge(1), Le(10**12)]


class Recurrence(TypedDict):
    """Each term is the sum of the last ones times factors (of the last one first), plus a constant."""

    kind: Literal["recurrence"]
    first: Annotated[list[Number], Len(1, 6)]
    factors: Annotated[list[Annotated[float, Ge(-100), Le(100)]], Len(1, 6)]
    constant: NotRequired[Number]


def count_arrangements(of: Choice | Arrangement | Special) -> dict[str, Any]:
    """Count permutations, combinations and other arrangements.

    Args:
        of: what is counted

    Example:
        {"of": {"kind": "combinations", "n": 49, "take": 6}}
        {"of": {"kind": "multiset", "counts": [1, 4, 4, 2]}}
        {"of": {"kind": "partitions", "n": 100}}
    """
    if of["kind"] == "multiset":
        total = sum(of["counts"])
        check(total <= 1000, "of.counts: at most 1000 things")
        result = math.factorial(total) // math.prod(map(math.factorial, of["counts"]))
    elif of["kind"] == "permutations" or of["kind"] == "combinations":
        n, take, repeated = of["n"], of["take"], of.get("repetition", False)
        if of["kind"] == "permutations":
            result = n**take if repeated else math.perm(n, take)
        else:
            result = math.comb(n + take - 1, take) if repeated and n else math.comb(n, take)
    else:
        result = _special(of["kind"], of["n"])
    if result < 10**15:
        return {"result": result}
    digits = str(result)
    shown = {"result": digits} if len(digits) <= 1000 else {"first_digits": digits[:50]}
    return shown | {"digits": len(digits), "about": f"{digits[0]}.{digits[1:6]}e{len(digits) - 1}"}


def _special(kind: str, n: int) -> int:
    if kind == "factorial":
        return math.factorial(n)
    if kind == "catalan":
        return math.comb(2 * n, n) // (n + 1)
    if kind == "derangements":
        value = 1
        for number in range(1, n + 1):
            value = value * number + (-1) ** number
        return value
    if kind == "partitions":
        ways = [1] + [0] * n
        for part in range(1, n + 1):
            for total in range(part, n + 1):
                ways[total] += ways[total - part]
        return ways[n]
    row = [1]
    for _ in range(n):  # Bell's triangle
        row = list(itertools.accumulate([row[-1], *row]))
    return row[0]


@in_figures
def generate_sequence(
    sequence: Steps | Named | Collatz | Recurrence,
    count: Annotated[int, Ge(1), Le(200)] = 10,
    offset: Annotated[int, Ge(0), Le(1000)] = 0,
) -> dict[str, Any]:
    """List the terms of a sequence with their sum.

    Args:
        sequence: kind of sequence with its numbers
        count: terms to list
        offset: terms to leave out first

    Example:
        {"sequence": {"kind": "arithmetic", "start": 3, "step": 4}, "count": 5}
        {"sequence": {"kind": "fibonacci"}, "count": 12}
        {"sequence": {"kind": "recurrence", "first": [100], "factors": [1.05], "constant": -10}, "count": 6}
    """
    terms = list(itertools.islice(_terms(sequence), offset, offset + count))
    if any(abs(term) > 1e300 for term in terms):
        raise ToolError("limit", "count, offset: the terms grow above 1e300; ask for fewer")
    shown = [term if abs(term) < 10**15 else float(f"{float(term):.10g}") for term in terms]
    return {"terms": shown, "first_index": offset, "sum": float(math.fsum(terms))}


def _terms(sequence: Steps | Named | Collatz | Recurrence) -> Any:
    if sequence["kind"] == "arithmetic":
        return (sequence["start"] + sequence["step"] * index for index in itertools.count())
    if sequence["kind"] == "geometric":
        ratio = float(sequence["step"])
        return itertools.accumulate(itertools.repeat(ratio), lambda term, r: term * r, initial=float(sequence["start"]))
    if sequence["kind"] == "collatz":
        return _collatz(sequence["start"])
    if sequence["kind"] == "recurrence":
        return _recurrence(sequence)
    kind = sequence["kind"]
    if kind == "fibonacci" or kind == "lucas":
        return _added(*((0, 1) if kind == "fibonacci" else (2, 1)))
    if kind == "primes":
        return (number for number in itertools.count(2) if is_prime(number))
    if kind == "factorials":
        return itertools.accumulate(itertools.count(1), lambda a, b: a * b, initial=1)
    rules = {"triangular": lambda n: n * (n + 1) // 2, "squares": lambda n: n * n, "cubes": lambda n: n**3}
    return map(rules.get(kind, lambda n: 2**n), itertools.count(0))


def _added(a: int, b: int) -> Any:
    while True:
        yield a
        a, b = b, a + b


def _collatz(number: int) -> Any:
    while True:
        yield number
        if number == 1:
            return
        number = number // 2 if number % 2 == 0 else 3 * number + 1


def _recurrence(sequence: Recurrence) -> Any:
    first, factors = sequence["first"], sequence["factors"]
    check(len(first) >= len(factors), "sequence.first: as many terms as factors are needed")
    yield from first
    last = [float(term) for term in first[-len(factors) :]]
    while True:
        term = sum(f * t for f, t in zip(factors, reversed(last))) + sequence.get("constant", 0.0)
        yield term
        last = [*last[1:], term]


def tabulate_truth(formula: Annotated[str, Len(1, 200)]) -> dict[str, Any]:
    """Make the truth table of a logical formula, and say whether it always holds.

    Args:
        formula: up to 6 names joined by and, or, not, xor (^), implies (->), iff (<->), with brackets

    Example:
        {"formula": "(a and not b) or c"}
        {"formula": "(p -> q) <-> (not q -> not p)"}
    """
    words = {"<->": " == ", "->": " >> ", " iff ": " == ", " implies ": " >> ", " xor ": " ^ "}
    text = formula.replace("&", " and ").replace("|", " or ").replace("!", " not ").replace("~", " not ")
    for word, sign in words.items():
        text = text.replace(word, sign)
    text = text.replace(" and ", " & ").replace(" or ", " | ").replace("not ", "~")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        names = sorted({node.id for node in ast.walk(tree) if isinstance(node, ast.Name)})
        check(1 <= len(names) <= 6, f"formula: 1 to 6 names are needed, there are {len(names)}")
        rows = []
        for values in itertools.product((False, True), repeat=len(names)):
            rows.append([*values, _truth(tree, dict(zip(names, values)))])
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ToolError("bad_arguments", f"formula: {shorten(formula, 80)} is no logical formula") from None
    results = {row[-1] for row in rows}
    kind = {frozenset({True}): "tautology", frozenset({False}): "contradiction"}.get(frozenset(results), "contingent")
    lines = [" ".join("T" if value else "F" for value in row) for row in rows]
    return {"names": names, "rows": lines, "kind": kind, "true_rows": sum(row[-1] for row in rows)}


def _truth(node: ast.expr, values: dict[str, bool]) -> bool:
    match node:
        case ast.Name(id=name):
            return values[name]
        case ast.Constant(value=bool() as value):
            return value
        case ast.UnaryOp(op=ast.Invert() | ast.Not(), operand=operand):
            return not _truth(operand, values)
        case ast.BinOp(left=left, op=ast.BitAnd(), right=right):
            return _truth(left, values) and _truth(right, values)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _truth(left, values) or _truth(right, values)
        case ast.BinOp(left=left, op=ast.BitXor(), right=right):
            return _truth(left, values) != _truth(right, values)
        case ast.BinOp(left=left, op=ast.RShift(), right=right):
            return not _truth(left, values) or _truth(right, values)
        case ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]):
            return _truth(left, values) == _truth(right, values)
    raise ToolError(
        "bad_arguments", f"formula: {shorten(ast.unparse(node), 40)} is not understood; use names, and, or, not"
    )


def draw_numbers(
    context: Context,
    low: Whole,
    high: Whole,
    count: Annotated[int, Ge(1), Le(500)] = 1,
    unique: bool = False,
    seed: Annotated[int, Ge(0), Le(10**6)] = 0,
) -> dict[str, Any]:
    """Draw whole numbers by chance, such as dice or a lottery; the same seed draws the same ones.

    Args:
        low: lowest number
        high: highest number
        count: numbers to draw
        unique: whether none may come twice
        seed: another seed gives other numbers

    Example:
        {"low": 1, "high": 6, "count": 5}
        {"low": 1, "high": 49, "count": 6, "unique": true, "seed": 3}
    """
    check(low <= high, f"high: must not be less than low {low}")
    check(not unique or count <= high - low + 1, f"count: only {high - low + 1} different numbers are there")
    rng = context.random("draw_numbers", seed)
    drawn = rng.sample(range(low, high + 1), count) if unique else [rng.randint(low, high) for _ in range(count)]
    return {"numbers": drawn, "sum": sum(drawn)}
