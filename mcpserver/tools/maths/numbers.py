"""Whole numbers, fractions and bases. Reads and writes nothing."""

import math
import re
from fractions import Fraction
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from mcpserver.tool_error import ToolError
from mcpserver.toolbox.figures import check
from mcpserver.tools.maths._primes import is_prime, prime_factors
from toolwright.words import shorten

RUNS_IN = "server"
MAX_FACTORED = 10**15
Whole = Annotated[int, Ge(-(10**15)), Le(10**15)]
Natural = Annotated[int, Ge(0), Le(10**15)]
Count = Annotated[int, Ge(0), Le(1000)]
Digits = Annotated[str, Len(1, 70)]
Ratio = Whole | Annotated[str, Len(1, 40)]


class Congruence(TypedDict):
    """What is left of the number when it is divided by modulus."""

    remainder: Annotated[int, Ge(0), Le(10**6)]
    modulus: Annotated[int, Ge(2), Le(10**6)]


def find_divisors(numbers: Annotated[list[Annotated[int, Ge(1), Le(10**15)]], Len(2, 50)]) -> dict[str, Any]:
    """Find the greatest common divisor and the least common multiple of whole numbers.

    Args:
        numbers: two or more

    Example:
        {"numbers": [84, 126, 210]}
    """
    divisor = math.gcd(*numbers)
    return {"divisor": divisor, "multiple": _whole(math.lcm(*numbers)), "coprime": divisor == 1}


def factorize_integer(number: Annotated[int, Ge(2), Le(MAX_FACTORED)]) -> dict[str, Any]:
    """Split a whole number into its prime factors, with its divisors.

    Args:
        number: 2 to 10**15

    Example:
        {"number": 360}
        {"number": 600851475143}
    """
    factors = prime_factors(number)
    divisors = [1]
    for prime, power in factors.items():
        divisors = [divisor * prime**k for divisor in divisors for k in range(power + 1)]
    totient = math.prod(prime ** (power - 1) * (prime - 1) for prime, power in factors.items())
    result: dict[str, Any] = {"factors": [{"prime": prime, "power": power} for prime, power in factors.items()]}
    result |= {"is_prime": factors == {number: 1}, "divisor_count": len(divisors), "divisor_sum": sum(divisors)}
    return result | {"divisors": sorted(divisors)[:100], "totient": totient}


def list_primes(low: Natural, high: Natural, limit: Annotated[int, Ge(1), Le(500)] = 100) -> dict[str, Any]:
    """List the prime numbers between two numbers.

    Args:
        low: first number
        high: last number, at most 20000 above low
        limit: most primes to list

    Example:
        {"low": 100, "high": 150}
        {"low": 1000000000, "high": 1000000100}
    """
    check(low <= high, f"high: must not be less than low {low}")
    check(high - low <= 20_000, "high: must lie at most 20000 above low")
    found = [number for number in range(max(low, 2), high + 1) if is_prime(number)]
    return {"primes": found[:limit], "total": len(found)}


def convert_base(
    number: Whole | Digits, from_base: Annotated[int, Ge(2), Le(36)], to_base: Annotated[int, Ge(2), Le(36)]
) -> dict[str, Any]:
    """Write a whole number in another base, such as binary or hexadecimal.

    Args:
        number: its digits, 0-9 and a-z, with - in front if negative; prefixes 0x, 0b and 0o are understood
        from_base: base of the digits
        to_base: wanted base

    Example:
        {"number": "ff", "from_base": 16, "to_base": 2}
        {"number": 255, "from_base": 10, "to_base": 36}
    """
    text = str(number).strip().lower()
    if not text.isascii() or "_" in text:
        raise ToolError("bad_arguments", f"number: {shorten(number, 40)} holds other characters than 0-9 and a-z")
    try:
        value = int(text, from_base)
    except ValueError:
        raise ToolError("bad_arguments", f"number: {shorten(number, 40)} is no number of base {from_base}") from None
    digits, rest = "", abs(value)
    while rest:
        rest, digit = divmod(rest, to_base)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return {"result": ("-" if value < 0 else "") + (digits or "0"), "decimal": str(value)}


def compute_bits(
    first: Natural,
    operation: Literal["and", "or", "xor", "not", "shift_left", "shift_right", "count"],
    second: Natural = 0,
    width: Literal["8", "16", "32", "64"] = "32",
) -> dict[str, Any]:
    """Combine whole numbers bit by bit.

    Args:
        first: number from 0
        operation: what is done; count counts the ones, not and count use the first number only
        second: other number, or places to shift by
        width: bits of the numbers; what does not fit is cut off

    Example:
        {"first": 12, "second": 10, "operation": "xor", "width": "8"}
        {"first": 5, "operation": "not", "width": "16"}
    """
    mask = (1 << int(width)) - 1
    check(first <= mask, f"first: {first} does not fit into {width} bits")
    shift = operation.startswith("shift")
    check(not shift or second <= 64, "second: at most 64 places")
    check(shift or second <= mask, f"second: {second} does not fit into {width} bits")
    if operation == "count":
        return {"result": first.bit_count()}
    moved = {"shift_left": first << (second if shift else 0), "shift_right": first >> (second if shift else 0)}
    results = {"and": first & second, "or": first | second, "xor": first ^ second, "not": ~first, **moved}
    result = results[operation] & mask
    return {"result": result, "binary": f"{result:0{width}b}", "hexadecimal": f"{result:x}"}


def compute_fraction(
    left: Ratio, operation: Literal["add", "subtract", "multiply", "divide", "compare"], right: Ratio
) -> dict[str, Any]:
    """Calculate with fractions exactly.

    Args:
        left: whole number, or text such as 3/4, 1 1/2 or 0.125
        operation: what is done; compare tells which is larger
        right: the other number

    Example:
        {"left": "3/4", "operation": "add", "right": "1/6"}
        {"left": "1 1/2", "operation": "divide", "right": "0.25"}
    """
    one, two = _fraction(left, "left"), _fraction(right, "right")
    if operation == "compare":
        return {"larger": "equal" if one == two else "left" if one > two else "right", **_shown(one - two)}
    check(operation != "divide" or two != 0, "right: division by zero")
    results = {"add": one + two, "subtract": one - two, "multiply": one * two}
    return _shown(one / two if operation == "divide" else results[operation])


def approximate_fraction(
    value: Annotated[float, Ge(-1e9), Le(1e9)], max_denominator: Annotated[int, Ge(1), Le(10**6)] = 1000
) -> dict[str, Any]:
    """Find the fraction nearest to a decimal number, and its continued fraction.

    Args:
        value: the number
        max_denominator: largest denominator

    Example:
        {"value": 3.14159265358979, "max_denominator": 1000}
    """
    exact = Fraction(repr(value)).limit_denominator(10**15)
    near, rest = exact.limit_denominator(max_denominator), exact
    terms: list[int] = []
    while len(terms) < 15:
        terms.append(rest.numerator // rest.denominator)
        if rest == terms[-1]:
            break
        rest = 1 / (rest - terms[-1])
    return _shown(near) | {"error": float(near - exact), "continued_fraction": terms}


def modular_arithmetic(
    operation: Literal["power", "inverse", "remainder"],
    number: Whole,
    modulus: Annotated[int, Ge(2), Le(10**15)],
    exponent: Annotated[int, Ge(0), Le(10**15)] = 1,
) -> dict[str, Any]:
    """Calculate modulo a number: powers, inverses and remainders.

    Args:
        operation: what is done
        number: number to be raised, inverted or divided
        modulus: the modulus
        exponent: for power

    Example:
        {"operation": "power", "number": 7, "exponent": 222, "modulus": 13}
        {"operation": "inverse", "number": 3, "modulus": 11}
    """
    if operation == "inverse":
        common = math.gcd(number, modulus)
        check(common == 1, f"number: {number} has no inverse modulo {modulus}, both are divisible by {common}")
        return {"result": pow(number, -1, modulus)}
    return {"result": pow(number, exponent, modulus) if operation == "power" else number % modulus}


def solve_congruences(congruences: Annotated[list[Congruence], Len(1, 10)]) -> dict[str, Any]:
    """Find the smallest number from 0 with given remainders (Chinese remainder theorem).

    Args:
        congruences: remainder and modulus of each

    Example:
        {"congruences": [{"remainder": 2, "modulus": 3}, {"remainder": 3, "modulus": 5}]}
    """
    value, step = 0, 1
    for congruence in congruences:
        remainder, modulus = congruence["remainder"], congruence["modulus"]
        common = math.gcd(step, modulus)
        if (remainder - value) % common:
            raise ToolError(
                "tool_error", f"congruences: remainder {remainder} of {modulus} contradicts the ones before"
            )
        part = modulus // common
        if part > 1:
            value += step * ((remainder - value) // common * pow(step // common, -1, part) % part)
        step *= part
        value %= step
    return {"result": _whole(value), "repeats_every": _whole(step)}


def _whole(value: int) -> int | str:
    """Numbers that JSON readers would round are given as digits."""
    return value if abs(value) < 10**15 else str(value)


def _fraction(value: int | str, parameter: str) -> Fraction:
    text = str(value).strip()
    match = re.fullmatch(r"([+-]?)(?:(\d{1,18}) )?(\d{1,18}(?:\.\d{1,18})?)(?:/(\d{1,18}))?", text, re.ASCII)
    if match is None or (match[4] and int(match[4]) == 0):
        raise ToolError("bad_arguments", f"{parameter}: {shorten(value, 40)} is no fraction such as 3/4 or 1 1/2")
    found = Fraction(match[3]) / int(match[4] or 1) + int(match[2] or 0)
    return -found if match[1] == "-" else found


def _shown(value: Fraction) -> dict[str, Any]:
    whole, rest = divmod(abs(value.numerator), value.denominator)
    sign = "-" if value < 0 else ""
    result = {"fraction": str(value), "value": float(f"{float(value):.12g}")}
    return result | ({"mixed": f"{sign}{whole} {rest}/{value.denominator}"} if whole and rest else {})
