"""The source files under ``code/``: two programs that run, one that does not parse, a query and a script."""

from mcpserver.company.made import Files, made_text


def make_programs() -> Files:
    """The five files under ``code/``."""
    return {
        "code/stats.py": made_text(_STATS, "Python: mean, median, variance and a small class, with a main function."),
        "code/fib.py": made_text(_FIB, "Python: three ways to compute Fibonacci numbers; prints the first ten."),
        "code/broken.py": made_text(_BROKEN, "Python with a syntax error: a bracket that is never closed."),
        "code/query.sql": made_text(_QUERY, "SQL for shop.db: revenue by category since the new year."),
        "code/app.js": made_text(_APP, "JavaScript: a cart with totals and a discount."),
    }


_STATS = '''
"""Small statistics without libraries."""

import math


def mean(values):
    """The arithmetic mean."""
    return sum(values) / len(values)


def median(values):
    """The middle of the sorted values."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2


def variance(values):
    """The sample variance."""
    centre = mean(values)
    return sum((value - centre) ** 2 for value in values) / (len(values) - 1)


class Summary:
    """Numbers that describe a list of values."""

    def __init__(self, values):
        self.count = len(values)
        self.mean = mean(values)
        self.median = median(values)
        self.deviation = math.sqrt(variance(values))

    def __str__(self):
        return f"n={self.count} mean={self.mean:.2f} median={self.median:.2f} sd={self.deviation:.2f}"


def main():
    print(Summary([3, 5, 8, 13, 21, 34]))


if __name__ == "__main__":
    main()
'''

_FIB = '''
"""Fibonacci numbers, three ways."""

from functools import lru_cache


def loop(n):
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a


@lru_cache(maxsize=None)
def recursive(n):
    return n if n < 2 else recursive(n - 1) + recursive(n - 2)


def numbers():
    a, b = 0, 1
    while True:
        yield a
        a, b = b, a + b


if __name__ == "__main__":
    source = numbers()
    print([next(source) for _ in range(10)])
    assert loop(30) == recursive(30) == 832040
'''

_BROKEN = '''
"""Total of an order. Does not run: somebody forgot a bracket."""

PRICES = {"pump": 480.0, "valve": 75.0, "meter": 210.0}


def total(order):
    amount = sum(PRICES[name] * count for name, count in order.items()
    return round(amount, 2)


print(total({"pump": 2, "valve": 5}))
'''

_QUERY = """
-- Revenue by category of delivered orders since the new year
SELECT p.category,
       COUNT(DISTINCT o.id) AS orders,
       ROUND(SUM(i.quantity * i.price), 2) AS revenue
FROM orders AS o
JOIN order_items AS i ON i.order_id = o.id
JOIN products AS p ON p.id = i.product_id
WHERE o.status = 'delivered'
  AND o.day >= '2025-01-01'
GROUP BY p.category
ORDER BY revenue DESC;
"""

_APP = """
// The cart of the web shop
const TAX = 0.2;

class Cart {
  constructor() {
    this.lines = [];
  }

  add(name, price, quantity = 1) {
    const line = this.lines.find((entry) => entry.name === name);
    if (line) {
      line.quantity += quantity;
    } else {
      this.lines.push({ name, price, quantity });
    }
    return this;
  }

  net() {
    return this.lines.reduce((sum, { price, quantity }) => sum + price * quantity, 0);
  }

  total(discount = 0) {
    return Math.round(this.net() * (1 - discount) * (1 + TAX) * 100) / 100;
  }
}

const cart = new Cart().add("Hydra 40 Pump", 289.9).add("Needle Valve", 89.9, 3);
console.log(`net ${cart.net().toFixed(2)}, total ${cart.total(0.05)}`);
"""
