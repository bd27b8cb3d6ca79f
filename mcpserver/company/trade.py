"""What the company sells, to whom, and the invoices: shared by tables, documents, letters and messages."""

from functools import lru_cache
from typing import NamedTuple

from mcpserver.company.made import days, generator, later, money
from mcpserver.company.people import CITIES

CATEGORIES = {"Pump": 480.0, "Valve": 75.0, "Meter": 210.0, "Pipe": 32.0, "Sensor": 128.0}
"""The categories, which are also the products of ``sales.csv``, with a typical price in EUR."""
_NAMES = {
    "Pump": (
        "Hydra 40 Pump",
        "Hydra 80 Pump",
        "Otter Drain Pump",
        "Mistral Booster",
        "Kelpie Dosing Pump",
        "Atlas 200 Pump",
    ),
    "Valve": (
        "Lock Ball Valve",
        "Gate Valve DN50",
        "Butterfly Valve DN80",
        "Check Valve DN25",
        "Needle Valve",
        "Relief Valve 10 bar",
    ),
    "Meter": (
        "Clario Flow Meter",
        "Clario Mini",
        "Tally Water Meter",
        "Heat Meter HM2",
        "Level Meter LM1",
        "Gas Meter G4",
    ),
    "Pipe": (
        "Steel Pipe 2 m",
        "Steel Pipe 6 m",
        "Copper Pipe 3 m",
        "PE Pipe 25 m",
        "Flexible Hose 5 m",
        "Elbow Set 90",
    ),
    "Sensor": (
        "Pulse Pressure Sensor",
        "Thermo T10",
        "Vibro V3",
        "Leak Sensor LS",
        "Humidity Sensor H1",
        "Turbidity Probe",
    ),
}
_FACTORS = (0.6, 0.85, 1.0, 1.2, 1.55, 2.4)
_FIRST = (
    "Northgate",
    "Bluewater",
    "Silverline",
    "Oakhurst",
    "Lagoon",
    "Summit",
    "Redstone",
    "Harbour",
    "Greenfield",
    "Vista",
)
_SECOND = ("Utilities", "Foods", "Chemicals", "Brewery", "Heating")
SEGMENTS = ("industry", "utility", "public", "retail")


class Product(NamedTuple):
    """An article of the price list; the price is in EUR."""

    id: str
    name: str
    category: str
    price: float
    stock: int


class Customer(NamedTuple):
    """A customer of ``customers.csv``; the limit is in EUR."""

    id: str
    name: str
    country: str
    segment: str
    since: str
    credit_limit: int


class Invoice(NamedTuple):
    """An invoice with its lines: product and quantity."""

    id: int
    day: str
    customer: Customer
    lines: tuple[tuple[Product, int], ...]

    @property
    def net(self) -> float:
        """The sum in EUR before tax."""
        return money(sum(product.price * quantity for product, quantity in self.lines))

    @property
    def total(self) -> float:
        """The sum in EUR with 20 % tax."""
        return money(self.net * 1.2)


@lru_cache(maxsize=1)
def products() -> tuple[Product, ...]:
    """The 30 articles, six of each category."""
    rng = generator("products")
    found: list[Product] = []
    for category, price in CATEGORIES.items():
        for name, factor in zip(_NAMES[category], _FACTORS):
            number = 101 + len(found)
            listed = money(round(price * factor * rng.uniform(0.95, 1.05)) - 0.1)
            found.append(Product(f"P-{number}", name, category, listed, rng.randrange(0, 240)))
    return tuple(found)


@lru_cache(maxsize=1)
def customers() -> tuple[Customer, ...]:
    """The 50 customers."""
    rng = generator("customers")
    names = [f"{first} {second}" for first in _FIRST for second in _SECOND]
    rng.shuffle(names)
    countries = [country for _, country in CITIES]
    return tuple(
        Customer(
            f"C{n + 1:03d}",
            name,
            rng.choice(countries),
            rng.choices(SEGMENTS, (5, 3, 2, 2))[0],
            later("2010-01-04", rng.randrange(5400)),
            rng.randrange(2, 41) * 2500,
        )
        for n, name in enumerate(names)
    )


@lru_cache(maxsize=1)
def invoices() -> tuple[Invoice, ...]:
    """The 12 invoices of the first quarter, numbers 1001 to 1012."""
    rng = generator("invoices")
    dates = days("2025-01-06", 50, weekends=False)[::4]
    return tuple(
        Invoice(
            1001 + n,
            dates[n],
            rng.choice(customers()),
            tuple((product, rng.randrange(1, 13)) for product in rng.sample(products(), rng.randrange(2, 6))),
        )
        for n in range(12)
    )
