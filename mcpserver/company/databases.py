"""The databases of the company itself: staff, shop, customers, projects, logistics, weather."""

import math

from mcpserver.company.made import Files, Made, days, generator, later, money
from mcpserver.company.people import CITIES, DEPARTMENTS, email, employees, person_names, phone
from mcpserver.company.sqlite_files import KEY, Table, made_database, one_of, refers
from mcpserver.company.trade import products

_CITY_NAMES = [city for city, _ in CITIES]


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
    keys = {department: n + 1 for n, department in enumerate(DEPARTMENTS)}
    staff = [(e.id, e.name, keys[e.department], e.title, e.hired, e.city) for e in employees()]
    pay = [
        (e.id, year, round(e.salary * (1 - 0.03 * (2025 - year)), -2))
        for e in employees()
        for year in (2023, 2024, 2025)
        if int(e.hired[:4]) <= year
    ]
    budgets = [(keys[d], d, rng.randrange(6, 30) * 50_000) for d in DEPARTMENTS]
    tables = {
        "departments": Table((KEY, "name TEXT NOT NULL UNIQUE", "budget INTEGER NOT NULL"), budgets),
        "employees": Table(
            (
                KEY,
                "name TEXT NOT NULL",
                refers("department_id", "departments"),
                "title TEXT NOT NULL",
                "hired TEXT NOT NULL",
                "city TEXT",
            ),
            staff,
            ("department_id",),
        ),
        "salaries": Table(
            (
                KEY,
                refers("employee_id", "employees"),
                "year INTEGER NOT NULL",
                "amount INTEGER NOT NULL CHECK (amount > 0)",
                "UNIQUE (employee_id, year)",
            ),
            [(n + 1, *row) for n, row in enumerate(pay)],
        ),
    }
    return made_database(tables, "Staff: 60 employees in five departments, with their salaries of 2023 to 2025 (EUR).")


def _shop() -> Made:
    rng = generator("shop.db")
    people = [
        (n + 1, name, rng.choice(_CITY_NAMES), email(name, "mail.example"))
        for n, name in enumerate(person_names(rng, 40))
    ]
    articles = [(n + 1, p.name, p.category, p.price, p.stock) for n, p in enumerate(products())]
    orders, lines = [], []
    for n, day in enumerate(sorted(rng.choices(days("2024-10-01", 165), k=120))):
        status = rng.choices(("delivered", "shipped", "paid", "open", "cancelled"), (8, 2, 2, 2, 1))[0]
        orders.append((n + 1, rng.randrange(1, 41), day, status))
        for article in rng.sample(articles, rng.choice((1, 1, 2, 2, 3, 4))):
            lines.append((len(lines) + 1, n + 1, article[0], rng.randrange(1, 7), article[3]))
    tables = {
        "customers": Table((KEY, "name TEXT NOT NULL", "city TEXT", "email TEXT UNIQUE"), people, ("city",)),
        "products": Table(
            (
                KEY,
                "name TEXT NOT NULL",
                "category TEXT NOT NULL",
                "price REAL NOT NULL CHECK (price >= 0)",
                "stock INTEGER NOT NULL DEFAULT 0",
            ),
            articles,
            ("category",),
        ),
        "orders": Table(
            (
                KEY,
                refers("customer_id", "customers"),
                "day TEXT NOT NULL",
                one_of("status", "open", "paid", "shipped", "delivered", "cancelled"),
            ),
            orders,
            ("customer_id", "day"),
        ),
        "order_items": Table(
            (
                KEY,
                refers("order_id", "orders"),
                refers("product_id", "products"),
                "quantity INTEGER NOT NULL CHECK (quantity > 0)",
                "price REAL NOT NULL",
            ),
            lines,
            ("order_id", "product_id"),
        ),
    }
    return made_database(
        tables, "The web shop: customers, products, 120 orders since October 2024 and their lines (EUR)."
    )


def _crm() -> Made:
    rng = generator("crm.db")
    parts = [
        (first, second)
        for first in ("Ember", "Fjell", "Garnet", "Hollow", "Indigo", "Juniper")
        for second in ("Labs", "Dairy", "Power", "Mills", "Marine")
    ]
    companies, contacts, deals = [], [], []
    names = iter(person_names(rng, 90))
    for n, (first, second) in enumerate(parts):
        companies.append(
            (
                n + 1,
                f"{first} {second}",
                {"Labs": "research", "Dairy": "food", "Power": "energy", "Mills": "paper", "Marine": "shipping"}[
                    second
                ],
                rng.choice(_CITY_NAMES),
                round(rng.lognormvariate(4.6, 1.0)),
            )
        )
        for _ in range(rng.choice((1, 2, 2))):
            name = next(names)
            domain = f"{first}{second}.example".lower()
            contacts.append(
                (
                    len(contacts) + 1,
                    n + 1,
                    name,
                    rng.choice(("Buyer", "Plant Manager", "Director", "Engineer")),
                    email(name, domain),
                    phone(rng),
                )
            )
    for n in range(45):
        person = rng.choice(contacts)
        stage = rng.choice(("lead", "offer", "offer", "negotiation", "won", "won", "lost"))
        title = f"{rng.choice(('Supply', 'Renewal', 'Pilot', 'Service'))} of {rng.choice(('pumps', 'valves', 'meters', 'sensors'))}"
        deals.append(
            (
                n + 1,
                person[1],
                person[0],
                title,
                rng.randrange(4, 190) * 500,
                stage,
                later("2024-11-01", rng.randrange(240)),
            )
        )
    tables = {
        "companies": Table(
            (KEY, "name TEXT NOT NULL UNIQUE", "industry TEXT NOT NULL", "city TEXT", "employees INTEGER"),
            companies,
            ("industry",),
        ),
        "contacts": Table(
            (KEY, refers("company_id", "companies"), "name TEXT NOT NULL", "role TEXT", "email TEXT", "phone TEXT"),
            contacts,
            ("company_id",),
        ),
        "deals": Table(
            (
                KEY,
                refers("company_id", "companies"),
                refers("contact_id", "contacts"),
                "title TEXT NOT NULL",
                "amount INTEGER NOT NULL",
                one_of("stage", "lead", "offer", "negotiation", "won", "lost"),
                "closes TEXT",
            ),
            deals,
            ("company_id", "stage"),
        ),
    }
    return made_database(
        tables, "Sales prospects: 30 companies, the people there, and 45 deals with stage and amount (EUR)."
    )


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
    rng = generator("projects.db")
    people = [
        (n + 1, e.name, e.title, e.email)
        for n, e in enumerate(e for e in employees() if e.department in ("Engineering", "Operations"))
    ]
    projects, tasks = [], []
    for n, name in enumerate(_PROJECTS):
        starts = later("2024-09-02", 28 * n)
        projects.append(
            (
                n + 1,
                name,
                rng.randrange(1, len(people) + 1),
                starts,
                later(starts, rng.randrange(120, 300)),
                rng.randrange(8, 60) * 5000,
            )
        )
        for title in rng.sample(_TASKS, rng.randrange(6, 11)):
            due = later(starts, rng.randrange(20, 260))
            status = (
                rng.choice(("done", "done", "doing", "blocked"))
                if due < "2025-03-17"
                else rng.choice(("todo", "todo", "doing"))
            )
            tasks.append(
                (
                    len(tasks) + 1,
                    n + 1,
                    rng.randrange(1, len(people) + 1),
                    title,
                    status,
                    rng.choice(("low", "normal", "normal", "high")),
                    due,
                    rng.randrange(2, 41),
                )
            )
    tables = {
        "members": Table((KEY, "name TEXT NOT NULL", "role TEXT NOT NULL", "email TEXT UNIQUE"), people),
        "projects": Table(
            (
                KEY,
                "name TEXT NOT NULL UNIQUE",
                refers("lead_id", "members"),
                "starts TEXT NOT NULL",
                "ends TEXT NOT NULL",
                "budget INTEGER NOT NULL",
            ),
            projects,
        ),
        "tasks": Table(
            (
                KEY,
                refers("project_id", "projects"),
                refers("member_id", "members"),
                "title TEXT NOT NULL",
                one_of("status", "todo", "doing", "blocked", "done"),
                one_of("priority", "low", "normal", "high"),
                "due TEXT",
                "hours INTEGER NOT NULL DEFAULT 0",
            ),
            tasks,
            ("project_id", "member_id", "status"),
        ),
    }
    return made_database(tables, "Eight projects with their tasks, due days and members (budget in EUR).")


def _logistics() -> Made:
    rng = generator("logistics.db")
    houses = [
        (n + 1, f"{city} {kind}", city, rng.randrange(6, 40) * 100)
        for n, (city, kind) in enumerate(zip(_CITY_NAMES, ("Hub", "Depot", "Yard") * 4))
    ]
    vehicles = [
        (n + 1, f"AF {rng.randrange(100, 999)} {rng.choice('KLMNP')}", kind, load, rng.randrange(1, len(houses) + 1))
        for n in range(25)
        for kind, load in [rng.choice((("van", 1200), ("truck", 7500), ("trailer", 24000)))]
    ]
    shipments = []
    for n, day in enumerate(sorted(rng.choices(days("2025-01-20", 70), k=90))):
        start, end = rng.sample(range(1, len(houses) + 1), 2)
        vehicle = rng.choice(vehicles)
        status = (
            rng.choice(("delivered", "delivered", "delivered", "lost"))
            if day < "2025-03-14" and rng.random() < 0.95
            else "planned"
            if day > "2025-03-17"
            else "on the way"
        )
        shipments.append((n + 1, start, end, vehicle[0], day, round(vehicle[3] * rng.uniform(0.1, 0.95)), status))
    tables = {
        "warehouses": Table(
            (KEY, "name TEXT NOT NULL UNIQUE", "city TEXT NOT NULL", "capacity INTEGER NOT NULL"), houses
        ),
        "vehicles": Table(
            (
                KEY,
                "plate TEXT NOT NULL UNIQUE",
                one_of("kind", "van", "truck", "trailer"),
                "load_kg INTEGER NOT NULL",
                refers("warehouse_id", "warehouses"),
            ),
            vehicles,
            ("warehouse_id",),
        ),
        "shipments": Table(
            (
                KEY,
                refers("origin_id", "warehouses"),
                refers("destination_id", "warehouses"),
                refers("vehicle_id", "vehicles"),
                "day TEXT NOT NULL",
                "weight_kg INTEGER NOT NULL",
                one_of("status", "planned", "on the way", "delivered", "lost"),
            ),
            shipments,
            ("day", "vehicle_id"),
        ),
    }
    return made_database(tables, "Twelve warehouses, 25 vehicles and 90 shipments between them, January to March 2025.")


def _weather() -> Made:
    rng = generator("weather.db")
    places = (
        (53.8, -1.55),
        (51.92, 4.48),
        (53.55, 9.99),
        (45.76, 4.84),
        (41.15, -8.61),
        (54.35, 18.65),
        (60.39, 5.32),
        (45.07, 7.69),
        (47.07, 15.44),
        (55.6, 13.0),
    )
    stations = [
        (n + 1, f"WX{n + 1:02d}", city, *place, rng.randrange(2, 420))
        for n, (city, place) in enumerate(
            zip(
                ("Leeds", "Rotterdam", "Hamburg", "Lyon", "Porto", "Gdansk", "Bergen", "Turin", "Graz", "Malmö"), places
            )
        )
    ]
    readings = []
    for station in stations:
        base = 22 - abs(station[3] - 30) * 0.55
        for offset, day in enumerate(days("2025-02-10", 35)):
            rain = round(max(0.0, rng.gauss(-1, 4)), 1)
            cells = (
                round(base + offset * 0.1 + 2 * math.sin(offset / 4) + rng.gauss(0, 1.2), 1),
                rng.randrange(48, 98),
                money(abs(rng.gauss(14, 7))),
                rain,
            )
            readings.append((len(readings) + 1, station[0], day, *cells))
    tables = {
        "stations": Table(
            (
                KEY,
                "code TEXT NOT NULL UNIQUE",
                "city TEXT NOT NULL",
                "latitude REAL NOT NULL",
                "longitude REAL NOT NULL",
                "altitude_m INTEGER",
            ),
            stations,
        ),
        "readings": Table(
            (
                KEY,
                refers("station_id", "stations"),
                "day TEXT NOT NULL",
                "temperature REAL",
                "humidity INTEGER",
                "wind_kmh REAL",
                "rain_mm REAL",
                "UNIQUE (station_id, day)",
            ),
            readings,
            ("day",),
        ),
    }
    return made_database(tables, "Ten weather stations with daily readings from 10 February to 16 March 2025.")
