"""The CSV and TSV files of the company world."""

import datetime
import math

from mcpserver.company.made import Files, Made, days, generator, made_table, money
from mcpserver.company.people import employees
from mcpserver.company.trade import CATEGORIES, customers, products

REGIONS = ("North", "South", "East", "West")
PROJECTS = ("Aurora", "Borealis", "Cascade", "Delta", "Internal")
WAREHOUSES = ("Leeds", "Rotterdam", "Gdansk")


def make_tables() -> Files:
    """The eight files with columns under ``data/``."""
    staff = [(e.id, e.name, e.department, e.salary, e.hired, e.city, e.email) for e in employees()]
    return {
        "data/employees.csv": made_table(
            "id,name,department,salary,hire_date,city,email", staff, "The 60 employees with salary in EUR a year."
        ),
        "data/sales.csv": _sales(),
        "data/customers.csv": made_table(
            "customer_id,name,country,segment,since,credit_limit",
            customers(),
            "The 50 customers, credit limits in EUR.",
        ),
        "data/products.csv": made_table(
            "product_id,name,category,price,stock", products(), "The price list: 30 products in five categories, EUR."
        ),
        "data/inventory.tsv": _inventory(),
        "data/timesheet.tsv": _timesheet(),
        "data/sensors.csv": _sensors(),
        "data/survey.csv": _survey(),
    }


def _sales() -> Made:
    rng = generator("sales")
    dates = sorted(rng.choices(days("2024-01-02", 260, weekends=False), k=400))
    rows = []
    for n, day in enumerate(dates):
        product = rng.choices(tuple(CATEGORIES), (2, 5, 3, 6, 4))[0]
        price = money(CATEGORIES[product] * rng.uniform(0.9, 1.12))
        units = max(1, round(rng.lognormvariate(2.2, 0.8)))
        rows.append((5001 + n, day, rng.choice(REGIONS), product, units, price, rng.choice((0, 0, 0, 0.05, 0.1, 0.15))))
    return made_table(
        "order_id,date,region,product,units,unit_price,discount",
        rows,
        "The 400 orders of 2024 by region and product; prices in EUR, discount as a share.",
    )


def _inventory() -> Made:
    """Every article is in one warehouse, ten also in a second; together they hold the stock of the price list."""
    rng = generator("inventory")
    twice = set(rng.sample(products(), 10))
    rows = []
    for product in products():
        first, second = rng.sample(WAREHOUSES, 2)
        part = round(product.stock * rng.uniform(0.2, 0.8)) if product in twice else product.stock
        parts = {first: part, second: product.stock - part} if product in twice else {first: part}
        rows += [(product.id, place, parts[place], rng.randrange(2, 9) * 5) for place in sorted(parts)]
    return made_table(
        "sku,warehouse,quantity,reorder_level",
        rows,
        "Stock of 40 articles by warehouse with reorder levels.",
        delimiter="\t",
    )


def _timesheet() -> Made:
    rng = generator("timesheet")
    names = [employee.name for employee in employees() if employee.department == "Engineering"][:8]
    rows = [
        (day, name, rng.choice(PROJECTS), rng.randrange(4, 20) / 2)
        for day in days("2025-03-03", 10, weekends=False)
        for name in names
    ]
    return made_table(
        "day,employee,project,hours",
        rows,
        "Hours of eight engineers on five projects, 3 to 14 March 2025.",
        delimiter="\t",
    )


def _sensors() -> Made:
    rng = generator("sensors")
    first = datetime.datetime(2025, 3, 10)
    rows = []
    for hour in range(100):
        time = first + datetime.timedelta(hours=hour)
        for station, offset in (("A", 0.0), ("B", 2.5), ("C", -1.8)):
            wave = math.sin((time.hour - 9) / 24 * 2 * math.pi)
            temperature = 7.5 + offset + 4 * wave + rng.gauss(0, 0.6)
            humidity = 72 - 14 * wave + rng.gauss(0, 3)
            pressure = 1012 + 6 * math.sin(hour / 30) + rng.gauss(0, 0.4)
            cells = (round(temperature, 1), round(humidity, 1), round(pressure, 1))
            rows.append((time.isoformat(), station, *("" if rng.random() < 0.05 else cell for cell in cells)))
    return made_table(
        "time,station,temperature,humidity,pressure",
        rows,
        "Hourly readings of stations A, B and C from 10 March 2025 (deg C, %, hPa); some cells are empty.",
    )


def _survey() -> Made:
    rng = generator("survey")
    rows = []
    for respondent in range(1, 81):
        group = "treatment" if respondent % 2 == 0 else "control"
        before = min(100, max(0, round(rng.gauss(58, 11))))
        after = min(100, max(0, round(before + rng.gauss(7 if group == "treatment" else 1.5, 6))))
        satisfied = "yes" if rng.random() < (0.75 if after > before else 0.35) else "no"
        rows.append(
            (respondent, rng.randrange(19, 66), rng.choice(("female", "male")), group, before, after, satisfied)
        )
    return made_table(
        "respondent,age,gender,group,score_before,score_after,satisfied",
        rows,
        "A training course's survey: 80 people in two groups, scores out of 100 before and after.",
    )
