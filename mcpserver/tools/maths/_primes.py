"""Prime numbers up to 10**18: the test, and factors. Reads and writes nothing."""

import itertools
import math


def is_prime(number: int) -> bool:
    """Miller and Rabin with the bases that are certain for such numbers.

    Source: Sorenson and Webster (2015): the first 12 primes are enough below 3.18e23.
    """
    bases = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)
    if number < 2 or any(number % base == 0 for base in bases):
        return number in bases
    power, odd = 0, number - 1
    while odd % 2 == 0:
        power, odd = power + 1, odd // 2
    for base in bases:
        value = pow(base, odd, number)
        if value in (1, number - 1):
            continue
        if not any((value := value * value % number) == number - 1 for _ in range(power - 1)):
            return False
    return True


def prime_factors(number: int) -> dict[int, int]:
    """Primes with their powers, in order: small ones by division, others by Pollard's rho (Brent's steps)."""
    found: dict[int, int] = {}
    for prime in (2, 3, *range(5, 1000, 2)):
        while number % prime == 0:
            found[prime] = found.get(prime, 0) + 1
            number //= prime
    parts = [number] if number > 1 else []
    while parts:
        part = parts.pop()
        if is_prime(part):
            found[part] = found.get(part, 0) + 1
            continue
        divisor = next(d for shift in itertools.count(1) if 1 < (d := _rho(part, shift)) < part)
        parts += [divisor, part // divisor]
    return dict(sorted(found.items()))


def _rho(number: int, shift: int) -> int:
    root = math.isqrt(number)
    if root * root == number:
        return root
    slow = fast = 2
    divisor = 1
    while divisor == 1:
        slow = (slow * slow + shift) % number
        fast = (fast * fast + shift) % number
        fast = (fast * fast + shift) % number
        divisor = math.gcd(abs(slow - fast), number)
    return divisor
