"""A small company world for the tests of table, spreadsheet and SQL tools: the names and columns that examples use."""

import io
import json
import random
import sqlite3
from contextlib import closing

import pytest
from tool_fuzz import refusals

from mcpserver.catalogue import collect
from mcpserver.tool_error import ToolError

SHOP = """
CREATE TABLE customers(id INTEGER PRIMARY KEY, name TEXT NOT NULL, city TEXT, email TEXT);
CREATE TABLE products(id INTEGER PRIMARY KEY, name TEXT NOT NULL, category TEXT, price REAL, stock INTEGER);
CREATE TABLE orders(id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customers(id), day TEXT, status TEXT);
CREATE TABLE order_items(id INTEGER PRIMARY KEY, order_id INTEGER REFERENCES orders(id),
    product_id INTEGER REFERENCES products(id), quantity INTEGER, price REAL);
CREATE INDEX order_items_order ON order_items(order_id);
"""
HR = "CREATE TABLE employees(id INTEGER PRIMARY KEY, name TEXT, department_id INTEGER, title TEXT, hired TEXT, city)"
LIBRARY = """
CREATE TABLE books(id INTEGER PRIMARY KEY, title TEXT, author TEXT, year INTEGER, copies INTEGER);
CREATE TABLE loans(id INTEGER PRIMARY KEY, book_id INTEGER REFERENCES books(id), member_id INTEGER);
"""
STORAGE = "CREATE TABLE maintenance(id INTEGER PRIMARY KEY, site TEXT, task TEXT, status TEXT)"


def _database(script, rows):
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(script)
        for table, values in rows.items():
            connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(values[0]))})", values)
        connection.commit()
        return connection.serialize()


def databases():
    cities = ("Berlin", "Oslo", "Madrid", "Lyon")
    shop = {
        "customers": [(n, f"Customer {n}", cities[n % 4], f"c{n}@example.com") for n in range(1, 31)],
        "products": [(n, f"Pump {n}", ("Pump", "Valve", "Meter")[n % 3], n * 10.5, n * 3) for n in range(1, 31)],
        "orders": [(n, n % 30 + 1, f"2024-{n % 12 + 1:02d}-05", ("open", "paid")[n % 2]) for n in range(1, 41)],
        "order_items": [(n, n % 40 + 1, n % 30 + 1, n % 5 + 1, 10.0) for n in range(1, 61)],
    }
    people = [(n, f"Person {n}", n % 5 + 1, "Clerk", "2020-01-01", cities[n % 4]) for n in range(1, 31)]
    library = {
        "books": [(n, f"Book {n}", f"Author {n % 7}", 1950 + n, n % 4) for n in range(1, 31)],
        "loans": [(n, n % 30 + 1, n % 9 + 1) for n in range(1, 31)],
    }
    tasks = [(n, "Rehden", "meter check", "done") for n in range(1, 6)]
    return {
        "databases/shop.db": _database(SHOP, shop),
        "databases/hr.db": _database(HR, {"employees": people}),
        "databases/library.db": _database(LIBRARY, library),
        "databases/storage.db": _database(STORAGE, {"maintenance": tasks}),
    }


def _csv(header, rows, delimiter=","):
    lines = [delimiter.join("" if value is None else str(value) for value in row) for row in rows]
    return ("\n".join([header.replace(",", delimiter), *lines]) + "\n").encode()


def files():
    rng = random.Random(1)
    departments = ("Sales", "Engineering", "Finance", "Operations", "HR")
    day = [f"2024-{n // 34 + 1:02d}-{n % 28 + 1:02d}" for n in range(400)]
    products = ("Pump", "Valve", "Meter", "Pipe", "Sensor")
    regions = ("North", "South", "East", "West")

    def maybe(value):
        return None if rng.random() < 0.05 else value

    made = {
        "data/employees.csv": _csv(
            "id,name,department,salary,hire_date,city,email",
            [
                (
                    n,
                    f"Person {n}",
                    departments[n % 5],
                    40000 + n * 500,
                    f"20{n % 20 + 10}-03-01",
                    "Oslo",
                    f"p{n}@example.com",
                )
                for n in range(1, 61)
            ],
        ),
        "data/sales.csv": _csv(
            "order_id,date,region,product,units,unit_price,discount",
            [
                (n, day[n], regions[n % 4], products[n % 5], n % 9 + 1, 9.5 + n % 7, (0, 0.05, 0.1)[n % 3])
                for n in range(400)
            ],
        ),
        "data/customers.csv": _csv(
            "customer_id,name,country,segment,since,credit_limit",
            [
                (n, f"Customer {n}", "Norway", ("retail", "industry")[n % 2], "2019-05-01", n * 1000)
                for n in range(1, 51)
            ],
        ),
        "data/products.csv": _csv(
            "product_id,name,category,price,stock",
            [(n, f"Item {n}", products[n % 5], n * 2.5, n * 4) for n in range(1, 31)],
        ),
        "data/inventory.tsv": _csv(
            "sku,warehouse,quantity,reorder_level", [(n, "Leeds", n, 20) for n in range(1, 41)], "\t"
        ),
        "data/timesheet.tsv": _csv(
            "day,employee,project,hours", [(day[n], f"Person {n % 9}", "Aurora", 7.5) for n in range(80)], "\t"
        ),
        "data/sensors.csv": _csv(
            "time,station,temperature,humidity,pressure",
            [
                (
                    f"2025-03-{n // 72 + 1:02d}T{n // 3 % 24:02d}:00:00",
                    "ABC"[n % 3],
                    maybe(round(rng.gauss(8, 3), 1)),
                    maybe(60 + n % 30),
                    maybe(1013.2),
                )
                for n in range(300)
            ],
        ),
        "data/survey.csv": _csv(
            "respondent,age,gender,group,score_before,score_after,satisfied",
            [
                (
                    n,
                    20 + n % 50,
                    "fm"[n % 2],
                    ("control", "treatment")[n % 2],
                    50 + n % 11,
                    55 + n % 13,
                    ("yes", "no")[n % 2],
                )
                for n in range(1, 81)
            ],
        ),
        "data/events.jsonl": "".join(
            json.dumps(
                {
                    "time": f"2025-03-14T08:{n % 60:02d}:00",
                    "user": f"u{n % 7}",
                    "action": ("login", "save")[n % 2],
                    "ms": n * 3,
                }
            )
            + "\n"
            for n in range(100)
        ).encode(),
        "data/tickets.jsonl": "".join(
            json.dumps({"id": n, "subject": f"Ticket {n}", "priority": ("low", "high")[n % 2], "status": "open"}) + "\n"
            for n in range(1, 26)
        ).encode(),
        "data/reviews.jsonl": "".join(
            json.dumps({"product": products[n % 5], "stars": n % 5 + 1, "text": "fine"}) + "\n" for n in range(30)
        ).encode(),
    }
    return {f"files/{name}": content for name, content in made.items()}


def workbooks():
    from openpyxl import Workbook

    def save(**sheets):
        book = Workbook()
        book.remove(book.worksheets[0])
        for title, rows in sheets.items():
            sheet = book.create_sheet(title.strip("_"))
            for row in rows:
                sheet.append(row)
        out = io.BytesIO()
        book.save(out)
        return out.getvalue()

    quarters = [
        [name, n * 10 + 1, n * 10 + 2, n * 10 + 3, n * 10 + 4] for n, name in enumerate(("Sales", "HR", "Finance"))
    ]
    months = [["month", "region", "amount"]] + [[f"{n:02d}", "North", n * 100] for n in range(1, 13)]
    budget = save(
        plan=[["department", "q1", "q2", "q3", "q4"], *quarters],
        actual=[["department", "q1", "q2", "q3", "q4"], *quarters],
    )
    suppliers = save(
        suppliers=[["name", "country", "rating", "contact"]]
        + [[f"Firm {n}", "Norway", n % 5 + 1, f"f{n}@example.com"] for n in range(18)]
    )
    return {
        "files/data/sales.xlsx": save(
            _2024=months, _2025=months[:4], summary=[["year", "total"], [2024, 7800], [2025, 600]]
        ),
        "files/data/budget.xlsx": budget,
        "files/data/suppliers.xlsx": suppliers,
        "files/data/payroll.xlsx": save(march=[["employee", "gross", "tax", "net"], ["Person 1", 4000, 1000, 3000]]),
    }


def parquets():
    import pandas as pd

    frames = {
        "trips": {
            "trip_id": range(200),
            "start": pd.date_range("2025-01-01", periods=200, freq="h"),
            "minutes": [n % 40 + 5 for n in range(200)],
            "km": [n % 13 * 1.5 for n in range(200)],
            "fare": [3 + n % 20 for n in range(200)],
        },
        "meters": {
            "meter": [f"M{n % 5}" for n in range(150)],
            "day": [f"2025-01-{n // 5 + 1:02d}" for n in range(150)],
            "kwh": [n % 11 * 1.1 for n in range(150)],
        },
        "orders": {
            "order_id": range(120),
            "customer": [f"C{n % 9}" for n in range(120)],
            "amount": [n * 1.5 for n in range(120)],
            "status": [("paid", "open")[n % 2] for n in range(120)],
        },
    }
    made = {}
    for name, columns in frames.items():
        out = io.BytesIO()
        pd.DataFrame(columns).to_parquet(out, index=False)
        made[f"files/data/{name}.parquet"] = out.getvalue()
    return made


def tools_of(*modules):
    """The tools of some modules, by name."""
    return collect([("test", module.__name__.split(".")[-1], module) for module in modules])


def refusal(world, tool, **arguments):
    """The kind of error that a call ends with."""
    with pytest.raises(ToolError) as caught:
        world.call(tool, **arguments)
    return caught.value.kind


WORDS = ["id", "name", "price", "units", "region", "date", "shop", "products", "plan", "2024", "A1:B3", "C2", "=A1"]
WORDS += ["data/sales.csv", "data/budget.xlsx", "data/trips.parquet", "data/none.csv", "out/new.csv", "out/new.xlsx"]


def random_calls(world, tools, seed, rounds=40):
    """Call each tool with random arguments; nothing but a ToolError may come out. Gives how many calls worked."""
    return sum(rounds - refusals(world, tool.function, rounds, WORDS, seed) for tool in tools.values())
