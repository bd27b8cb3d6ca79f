"""The Excel workbooks and Parquet files of the company world."""

import datetime
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mcpserver.company.archives import unzip_files, zip_files
from mcpserver.company.made import COMPANY, MOMENT, Files, Made, days, generator, money
from mcpserver.company.people import CITIES, DEPARTMENTS, email, employees, person_names
from mcpserver.company.tables import REGIONS
from mcpserver.company.trade import CATEGORIES, customers

Rows = Sequence[Sequence[Any]]


class Formula(NamedTuple):
    """A cell with a formula and the value that Excel would keep beside it, for readers that do not compute."""

    text: str
    value: float


_SUPPLIERS = (
    "Forge & Sons",
    "Nordcast",
    "Polymer Works",
    "Lumen Electronics",
    "Brass Union",
    "Sealtec",
    "Vega Castings",
    "Tidewater Steel",
    "Copperhill",
    "Orbit Plastics",
    "Delft Springs",
    "Kiln Ceramics",
    "Marble Coatings",
    "Quayside Logistics",
    "Riveting Ltd",
    "Sorrel Gaskets",
    "Tern Motors",
    "Umbra Cables",
)


def make_sheets() -> Files:
    """The four workbooks and the three Parquet files under ``data/``."""
    return {
        "data/sales.xlsx": _workbook(
            _sales(), "Monthly sales by region: 2024, the start of 2025, and a summary (EUR)."
        ),
        "data/budget.xlsx": _workbook(
            _budget(), "The budget of 2024 by department and quarter, planned and actual (EUR)."
        ),
        "data/suppliers.xlsx": _workbook(_suppliers(), "The suppliers with rating and contact."),
        "data/payroll.xlsx": _workbook(_payroll(), "The payroll of March 2025: gross, tax and net (EUR)."),
        "data/trips.parquet": _trips(),
        "data/meters.parquet": _meters(),
        "data/orders.parquet": _orders(),
    }


def _workbook(sheets: Mapping[str, Rows], summary: str) -> Made:
    """A workbook with bold first rows; zipped anew, since openpyxl writes the time of saving."""
    from openpyxl import Workbook
    from openpyxl.styles import Font

    book = Workbook()
    book.remove(book.worksheets[0])
    book.properties.creator = COMPANY
    book.properties.created = MOMENT
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append([cell.text if isinstance(cell, Formula) else cell for cell in row])
        for cell in sheet[1]:
            cell.font = Font(bold=True)
        for column in sheet.iter_cols(min_row=1, max_row=1):
            sheet.column_dimensions[column[0].column_letter].width = 16
        sheet.freeze_panes = "A2"
    out = io.BytesIO()
    book.save(out)
    members = unzip_files(out.getvalue())
    formulas = [cell for rows in sheets.values() for row in rows for cell in row if isinstance(cell, Formula)]
    for name in [name for name in members if name.startswith("xl/worksheets/")]:
        for text, value in formulas:
            formula = f"<f>{text.removeprefix('=')}</f>".encode()
            members[name] = re.sub(
                re.escape(formula) + rb"<v */>|" + re.escape(formula) + rb"<v></v>",
                formula + f"<v>{value}</v>".encode(),
                members[name],
            )
    stamp = f">{MOMENT.isoformat()}Z</dcterms:modified>".encode()
    members["docProps/core.xml"] = re.sub(rb">[^<]*</dcterms:modified>", stamp, members["docProps/core.xml"])
    return Made(zip_files(members), summary)


def _sales() -> dict[str, Rows]:
    rng = generator("sales.xlsx")
    months = [f"2024-{month:02d}" for month in range(1, 13)] + ["2025-01", "2025-02"]
    rows: list[tuple[str, str, str, int, float]] = []
    for month in months:
        for region in REGIONS:
            for category, price in CATEGORIES.items():
                units = rng.randrange(8, 90)
                rows.append((month, region, category, units, money(units * price * rng.uniform(0.9, 1.05))))
    years = {year: [row for row in rows if row[0].startswith(year)] for year in ("2024", "2025")}
    summary: list[Sequence[Any]] = [("region", "revenue_2024", "revenue_2025")]
    for region in REGIONS:
        summary.append((region, *(money(sum(row[4] for row in part if row[1] == region)) for part in years.values())))
    totals = [money(sum(row[4] for row in part)) for part in years.values()]
    formulas = [Formula(f"=SUM({letter}2:{letter}5)", total) for letter, total in zip("BC", totals)]
    head = ("month", "region", "product", "units", "revenue")
    return {**{year: [head, *part] for year, part in years.items()}, "summary": [*summary, ("total", *formulas)]}


def _budget() -> dict[str, Rows]:
    rng = generator("budget")
    head = ("department", "q1", "q2", "q3", "q4")
    plan: list[tuple[Any, ...]] = [
        (department, *(rng.randrange(60, 320) * 1000 for _ in range(4))) for department in DEPARTMENTS
    ]
    actual = [(row[0], *(round(value * rng.uniform(0.88, 1.14)) for value in row[1:])) for row in plan]
    return {"plan": [head, *plan], "actual": [head, *actual]}


def _suppliers() -> dict[str, Rows]:
    rng = generator("suppliers")
    rows = []
    for name, person in zip(_SUPPLIERS, person_names(rng, len(_SUPPLIERS))):
        domain = "".join(character for character in name.lower() if character.isalpha()) + ".example"
        rows.append((name, rng.choice(CITIES)[1], rng.choice("AAABBC"), email(person, domain)))
    return {"suppliers": [("name", "country", "rating", "contact"), *rows]}


def _payroll() -> dict[str, Rows]:
    rows = []
    for employee in employees():
        gross = money(employee.salary / 12)
        tax = money(gross * (0.32 if employee.salary >= 60_000 else 0.24))
        rows.append((employee.id, employee.name, employee.department, gross, tax, money(gross - tax)))
    return {"march": [("id", "name", "department", "gross", "tax", "net"), *rows]}


def _parquet(columns: Mapping[str, Sequence[Any]], summary: str) -> Made:
    """A Parquet file without pandas' metadata, whose text changes with versions."""
    import pyarrow
    import pyarrow.parquet

    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(dict(columns)), out)
    return Made(out.getvalue(), summary)


def _trips() -> Made:
    rng = generator("trips")
    first = datetime.datetime(2025, 2, 1, 6)
    km = [round(rng.lognormvariate(2.1, 0.7), 1) for _ in range(200)]
    minutes = [max(3, round(distance * rng.uniform(1.2, 2.8))) for distance in km]
    starts = sorted(first + datetime.timedelta(minutes=rng.randrange(60 * 24 * 40)) for _ in km)
    fares = [money(3.5 + 1.4 * distance + 0.3 * duration) for distance, duration in zip(km, minutes)]
    table = {"trip_id": range(1, 201), "start": starts, "minutes": minutes, "km": km, "fare": fares}
    return _parquet(
        {name: list(values) for name, values in table.items()}, "200 taxi trips of field staff with fares (EUR)."
    )


def _meters() -> Made:
    rng = generator("meters")
    meters = [f"M-{number:02d}" for number in (11, 12, 13, 21, 22)]
    rows = [
        (meter, datetime.date.fromisoformat(day), round(180 + 40 * n + rng.gauss(0, 22), 1))
        for n, meter in enumerate(meters)
        for day in days("2025-02-10", 30)
    ]
    columns = {name: [row[n] for row in rows] for n, name in enumerate(("meter", "day", "kwh"))}
    return _parquet(columns, "Daily consumption of five electricity meters of the plant, 30 days (kWh).")


def _orders() -> Made:
    rng = generator("orders")
    names = [customer.name for customer in customers()]
    table: dict[str, Sequence[Any]] = {
        "order_id": list(range(7001, 7121)),
        "customer": [rng.choice(names) for _ in range(120)],
        "amount": [money(rng.lognormvariate(7.2, 0.8)) for _ in range(120)],
        "status": [rng.choices(("paid", "open", "cancelled"), (7, 3, 1))[0] for _ in range(120)],
    }
    return _parquet(table, "120 orders of 2025 with amount (EUR) and status; customers are those of customers.csv.")
