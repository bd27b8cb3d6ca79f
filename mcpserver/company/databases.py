"""The databases of the company itself: staff, shop, customers, projects, logistics, weather."""

import math
import random

from mcpserver.company import schemas
from mcpserver.company.made import Files, Made, days, generator, later
from mcpserver.company.people import CITY_NAMES, DEPARTMENTS, email, employees, person_names, phone
from mcpserver.company.sqlite_files import Row, made_database
from mcpserver.company.trade import products

_TODAY = "2025-03-17"


def make_company_databases() -> Files:
    """The six databases about the company's own work."""
    return {
        "hr.db": _hr(),
        "shop.db": _shop(),
        "crm.db": _crm(),
        "projects.db": _projects(),
        "logistics.db": _logistics(),
        "weather.db": _weather(),
    }


def _hr() -> Made:
    """The employees of ``employees.csv``; the salary of 2025 is the one given there."""
    rng = generator("hr.db")
    salaries = [
        (employee.id, year, round(employee.salary * (1 - 0.03 * (2025 - year)), -2))
        for employee in employees()
        for year in (2023, 2024, 2025)
        if int(employee.hired[:4]) <= year
    ]
    tables: dict[str, list[Row]] = {
        "departments": [(department, rng.randrange(6, 30) * 50_000) for department in DEPARTMENTS],
        "employees": [(e.name, DEPARTMENTS.index(e.department) + 1, e.title, e.hired, e.city) for e in employees()],
        "salaries": [*salaries],
    }
    return made_database(schemas.HR, tables, "Staff: 60 employees in five departments, salaries of 2023 to 2025 (EUR).")


def _shop() -> Made:
    """Prices in the lines of an order are those of the product."""
    rng = generator("shop.db")
    people = person_names(rng, 40)
    orders: list[Row] = []
    lines: list[Row] = []
    for day in sorted(rng.choices(days("2024-10-01", 165), k=120)):
        status = rng.choices(("delivered", "shipped", "paid", "open", "cancelled"), (8, 2, 2, 2, 1))[0]
        orders.append((rng.randrange(1, 41), day, status))
        for index in rng.sample(range(30), rng.choice((1, 1, 2, 2, 3, 4))):
            lines.append((len(orders), index + 1, rng.randrange(1, 7), products()[index].price))
    tables: dict[str, list[Row]] = {
        "customers": [(name, rng.choice(CITY_NAMES), email(name, "mail.example")) for name in people],
        "products": [(p.name, p.category, p.price, p.stock) for p in products()],
        "orders": orders,
        "order_items": lines,
    }
    return made_database(schemas.SHOP, tables, "The web shop: customers, products, 120 orders and their lines (EUR).")


_FIRST = ("Ember", "Fjell", "Garnet", "Hollow", "Indigo", "Juniper")
_INDUSTRIES = {"Labs": "research", "Dairy": "food", "Power": "energy", "Mills": "paper", "Marine": "shipping"}


def _crm() -> Made:
    rng = generator("crm.db")
    names = iter(person_names(rng, 90))
    companies: list[Row] = []
    contacts: list[Row] = []
    for first in _FIRST:
        for second, industry in _INDUSTRIES.items():
            size = round(rng.lognormvariate(4.6, 1.0))
            companies.append((f"{first} {second}", industry, rng.choice(CITY_NAMES), size))
            for name in (next(names) for _ in range(rng.choice((1, 2, 2)))):
                address = email(name, f"{first}{second}.example".lower())
                role = rng.choice(("Buyer", "Plant Manager", "Director", "Engineer"))
                contacts.append((len(companies), name, role, address, phone(rng)))
    tables = {"companies": companies, "contacts": contacts, "deals": [_deal(rng, contacts) for _ in range(45)]}
    return made_database(
        schemas.CRM, tables, "Prospects: 30 companies, the people there, 45 deals with stage and amount (EUR)."
    )


def _deal(rng: random.Random, contacts: list[Row]) -> Row:
    index = rng.randrange(len(contacts))
    stage = rng.choice(("lead", "offer", "offer", "negotiation", "won", "won", "lost"))
    what = rng.choice(("Supply", "Renewal", "Pilot", "Service"))
    title = f"{what} of {rng.choice(('pumps', 'valves', 'meters', 'sensors'))}"
    closed = stage in ("won", "lost")
    closes = later("2024-11-01", rng.randrange(130)) if closed else later(_TODAY, rng.randrange(4, 120))
    return (contacts[index][0], index + 1, title, rng.randrange(4, 190) * 500, stage, closes)


_PROJECTS = ("Aurora", "Borealis", "Cascade", "Delta", "Estuary", "Foundry", "Granite", "Harvest")
_TASKS = (
    "Write the specification",
    "Order parts",
    "Build the prototype",
    "Test at pressure",
    "Review drawings",
    "Train operators",
    "Update the manual",
    "Check supplier quotes",
    "Fit sensors",
    "Clean the data",
    "Plan the rollout",
    "Close the report",
)


def _projects() -> Made:
    """Tasks that are due are done, under way or blocked; the later ones mostly not begun."""
    rng = generator("projects.db")
    members: list[Row] = [
        (e.name, e.title, e.email) for e in employees() if e.department in ("Engineering", "Operations")
    ]
    projects: list[Row] = []
    tasks: list[Row] = []
    for n, name in enumerate(_PROJECTS):
        starts, length = later("2024-09-02", 28 * n), rng.randrange(120, 300)
        lead = rng.randrange(1, len(members) + 1)
        projects.append((name, lead, starts, later(starts, length), rng.randrange(8, 60) * 5000))
        for title in rng.sample(_TASKS, rng.randrange(6, 11)):
            due = later(starts, rng.randrange(10, length))
            states = ("done", "done", "doing", "blocked") if due < _TODAY else ("todo", "todo", "doing")
            priority = rng.choice(("low", "normal", "normal", "high"))
            member, hours = rng.randrange(1, len(members) + 1), rng.randrange(2, 41)
            tasks.append((len(projects), member, title, rng.choice(states), priority, due, hours))
    tables = {"members": members, "projects": projects, "tasks": tasks}
    return made_database(schemas.PROJECTS, tables, "Eight projects with tasks, due days and members (budgets in EUR).")


def _logistics() -> Made:
    """No shipment weighs more than its vehicle can carry."""
    rng = generator("logistics.db")
    kinds = {"van": 1200, "truck": 7500, "trailer": 24000}
    houses: list[Row] = [
        (f"{city} {kind}", city, rng.randrange(6, 40) * 100)
        for city, kind in zip(CITY_NAMES, ("Hub", "Depot", "Yard") * 4)
    ]
    plates = [f"AF {number} {rng.choice('KLMNP')}" for number in rng.sample(range(100, 1000), 25)]
    vehicles: list[Row] = [
        (plate, kind, kinds[kind], rng.randrange(1, len(houses) + 1))
        for plate in plates
        for kind in [rng.choice(tuple(kinds))]
    ]
    shipments: list[Row] = []
    for day in sorted(rng.choices(days("2025-01-20", 70), k=90)):
        start, end = rng.sample(range(1, len(houses) + 1), 2)
        vehicle = rng.randrange(len(vehicles))
        arrived = rng.choices(("delivered", "lost"), (30, 1))[0]
        status = "planned" if day > _TODAY else "on the way" if day >= "2025-03-14" else arrived
        weight = round(vehicles[vehicle][2] * rng.uniform(0.1, 0.95))
        shipments.append((start, end, vehicle + 1, day, weight, status))
    tables = {"warehouses": houses, "vehicles": vehicles, "shipments": shipments}
    return made_database(schemas.LOGISTICS, tables, "Twelve warehouses, 25 vehicles, 90 shipments in early 2025.")


_PLACES = (
    ("Leeds", 53.8, -1.55),
    ("Rotterdam", 51.92, 4.48),
    ("Hamburg", 53.55, 9.99),
    ("Lyon", 45.76, 4.84),
    ("Porto", 41.15, -8.61),
    ("Gdansk", 54.35, 18.65),
    ("Bergen", 60.39, 5.32),
    ("Turin", 45.07, 7.69),
    ("Graz", 47.07, 15.44),
    ("Malmö", 55.6, 13.0),
)


def _weather() -> Made:
    """It is colder in the north, and warmer every day."""
    rng = generator("weather.db")
    stations: list[Row] = [(f"WX{n:02d}", *place, rng.randrange(2, 420)) for n, place in enumerate(_PLACES, 1)]
    readings: list[Row] = []
    for key, (_, latitude, _) in enumerate(_PLACES, 1):
        for offset, day in enumerate(days("2025-02-10", 35)):
            warmth = 22 - (latitude - 30) * 0.55 + offset * 0.1 + 2 * math.sin(offset / 4) + rng.gauss(0, 1.2)
            wind, rain = round(abs(rng.gauss(14, 7)), 1), round(max(0.0, rng.gauss(-1, 4)), 1)
            readings.append((key, day, round(warmth, 1), rng.randrange(48, 98), wind, rain))
    tables = {"stations": stations, "readings": readings}
    return made_database(
        schemas.WEATHER, tables, "Ten weather stations, daily readings from 10 February to 16 March 2025."
    )
