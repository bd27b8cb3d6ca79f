"""The company world: names and columns that tools and examples rely on, formats, keys, and the same bytes each time."""

import csv
import hashlib
import io
import json
import os
import re
import sqlite3
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from mcpserver.baseworld import default_base
from mcpserver.company import company_base, company_catalogue, company_folder
from mcpserver.workspace import Workspace

COLUMNS = {
    "data/employees.csv": ("id,name,department,salary,hire_date,city,email", 60),
    "data/sales.csv": ("order_id,date,region,product,units,unit_price,discount", 400),
    "data/customers.csv": ("customer_id,name,country,segment,since,credit_limit", 50),
    "data/products.csv": ("product_id,name,category,price,stock", 30),
    "data/inventory.tsv": ("sku,warehouse,quantity,reorder_level", 40),
    "data/timesheet.tsv": ("day,employee,project,hours", 80),
    "data/sensors.csv": ("time,station,temperature,humidity,pressure", 300),
    "data/survey.csv": ("respondent,age,gender,group,score_before,score_after,satisfied", 80),
    "data/trips.parquet": ("trip_id,start,minutes,km,fare", 200),
    "data/meters.parquet": ("meter,day,kwh", 150),
    "data/orders.parquet": ("order_id,customer,amount,status", 120),
    "data/events.jsonl": ("time,user,action,ms", 100),
    "data/tickets.jsonl": ("id,subject,priority,status", 25),
    "data/reviews.jsonl": ("product,stars,text", 30),
}
SHEETS = {
    "data/sales.xlsx": ("2024", "2025", "summary"),
    "data/budget.xlsx": ("plan", "actual"),
    "data/suppliers.xlsx": ("suppliers",),
    "data/payroll.xlsx": ("march",),
}
OTHERS = """
data/catalog.json data/org_chart.json data/settings.yaml data/pipeline.yaml data/app.toml data/app.ini data/feed.xml
data/invoices.xml docs/handbook.docx docs/offer.docx docs/minutes.docx docs/annual_report.pdf docs/datasheet.pdf
docs/invoice_1001.pdf docs/invoice_1002.pdf docs/index.html docs/products.html docs/faq.html docs/readme.md
docs/guide.md docs/changelog.md docs/terms.txt mail/offer.eml mail/complaint.eml mail/invitation.eml
mail/invoice.eml mail/report.eml mail/newsletter.eml calendar/team.ics calendar/holidays.ics contacts/partners.vcf
logs/server.log logs/access.log logs/jobs.log archives/reports.zip archives/logs.tar.gz archives/old.tar
archives/note.txt.gz text/english.txt text/poem.txt text/names.txt text/mixed.txt text/german.txt code/stats.py
code/fib.py code/broken.py code/query.sql code/app.js geo/stations.geojson
"""
IMAGES = {
    "images/logo.png": (128, 128, "RGBA", 1),
    "images/chart.png": (320, 240, "RGB", 1),
    "images/photo.jpg": (320, 200, "RGB", 1),
    "images/site.jpg": (400, 300, "RGB", 1),
    "images/animation.gif": (64, 64, None, 4),
    "images/scan.bmp": (100, 80, "L", 1),
    "images/icon.webp": (48, 48, "RGBA", 1),
    "images/plan.tiff": (200, 150, "RGB", 1),
}
TABLES = {
    "trades": "trades partners invoices",
    "storage": "sites levels maintenance",
    "hr": "employees(id,name,department_id,title,hired,city) departments(id,name,budget) "
    "salaries(id,employee_id,year,amount)",
    "shop": "customers(id,name,city,email) products(id,name,category,price,stock) orders(id,customer_id,day,status) "
    "order_items(id,order_id,product_id,quantity,price)",
    "library": "books(id,title,author,year,copies) members(id,name,joined) loans(id,book_id,member_id,lent,returned)",
    "clinic": "patients doctors appointments",
    "school": "students courses enrolments",
    "flights": "airports flights bookings",
    "hotel": "rooms guests reservations",
    "crm": "companies contacts deals",
    "music": "artists albums tracks",
    "logistics": "warehouses shipments vehicles",
    "projects": "projects tasks members",
    "weather": "stations readings",
}
ENTRIES = {entry["name"]: entry for entry in company_catalogue()}


def open_copy(name: str) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.deserialize(company_base()[f"databases/{name}.db"])
    return connection


def rows_of(path: str, delimiter: str = ",") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(company_base()[f"files/{path}"].decode()), delimiter=delimiter))


def test_the_world_has_a_hundred_files_in_many_formats_and_14_databases_and_is_small() -> None:
    base = company_base()
    files = [path for path in base if path.startswith("files/")]
    wanted = {f"files/{path}" for path in (*COLUMNS, *SHEETS, *IMAGES, *OTHERS.split())}
    assert wanted <= set(files)
    assert len(files) >= 100
    assert len({path.rpartition(".")[2] for path in files}) >= 15
    assert len(base) - len(files) == 14
    assert sum(map(len, base.values())) <= 4 * 1024 * 1024
    assert max(map(len, base.values())) <= 1024 * 1024
    assert all(base.values())


def test_the_files_of_the_desk_are_in_it_unchanged() -> None:
    assert company_base().items() >= default_base().items()


@pytest.mark.parametrize("path", COLUMNS)
def test_a_table_has_the_promised_columns_and_rows(path: str) -> None:
    columns, count = COLUMNS[path]
    assert [column["name"] for column in ENTRIES[path]["columns"]] == columns.split(",")
    assert ENTRIES[path]["rows"] == count


@pytest.mark.parametrize("path", SHEETS)
def test_a_workbook_has_the_promised_sheets(path: str) -> None:
    assert tuple(sheet["name"] for sheet in ENTRIES[path]["sheets"]) == SHEETS[path]
    assert all(sheet["rows"] >= 4 for sheet in ENTRIES[path]["sheets"])


@pytest.mark.parametrize("path", IMAGES)
def test_a_picture_has_the_promised_size(path: str) -> None:
    from PIL import Image

    width, height, mode, frames = IMAGES[path]
    with Image.open(io.BytesIO(company_base()[f"files/{path}"])) as image:
        image.load()
        assert image.size == (width, height)
        assert getattr(image, "n_frames", 1) == frames
        assert mode in (None, image.mode)
        assert path.endswith(".jpg") or not {"Software", "date:create"} & set(image.info)


@pytest.mark.parametrize("name", TABLES)
def test_a_database_is_sound_and_has_the_promised_tables(name: str) -> None:
    found = {table["name"]: table for table in ENTRIES[name]["tables"]}
    for wanted in TABLES[name].split():
        table, _, columns = wanted.rstrip(")").partition("(")
        assert not columns or [column["name"] for column in found[table]["columns"]] == columns.split(",")
    assert len(found) == len(TABLES[name].split())
    assert max(table["rows"] for table in found.values()) >= (12 if name in ("trades", "storage") else 48)
    connection = open_copy(name)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


@pytest.mark.parametrize("name", [name for name in TABLES if name not in ("trades", "storage")])
def test_the_tables_of_a_database_are_linked_and_their_links_indexed(name: str) -> None:
    connection = open_copy(name)
    tables = [table["name"] for table in ENTRIES[name]["tables"]]
    links = [link for table in tables for link in connection.execute(f"PRAGMA foreign_key_list({table})")]
    assert links
    assert all(connection.execute(f"SELECT min(id) FROM {table}").fetchone() == (1,) for table in tables)
    assert connection.execute("SELECT count(*) FROM sqlite_master WHERE type = 'index'").fetchone()[0] >= 1


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("shop", "SELECT * FROM order_items i JOIN products p ON p.id = product_id WHERE i.price != p.price"),
        ("shop", "SELECT * FROM orders o LEFT JOIN order_items i ON o.id = order_id WHERE i.id IS NULL"),
        ("crm", "SELECT * FROM deals d JOIN contacts c ON c.id = contact_id WHERE c.company_id != d.company_id"),
        ("library", "SELECT * FROM loans WHERE returned < lent"),
        ("flights", "SELECT * FROM flights WHERE arrives <= departs OR origin_id = destination_id"),
        ("hotel", "SELECT * FROM reservations a JOIN reservations b USING (room_id) WHERE a.id < b.id"
         " AND a.arrival < b.departure AND b.arrival < a.departure"),
        ("logistics", "SELECT * FROM shipments s JOIN vehicles v ON v.id = vehicle_id WHERE weight_kg > load_kg"),
        ("hr", "SELECT * FROM salaries s JOIN employees e ON e.id = employee_id WHERE year < substr(hired, 1, 4)"),
        ("projects", "SELECT * FROM tasks t JOIN projects p ON p.id = project_id WHERE due < starts OR due > ends"),
    ],
)  # fmt: skip
def test_no_row_of_a_database_contradicts_another(name: str, query: str) -> None:
    assert open_copy(name).execute(query).fetchall() == []


def test_what_several_files_say_about_one_thing_agrees() -> None:
    products = {row["product_id"]: row for row in rows_of("data/products.csv")}
    assert {row["sku"] for row in rows_of("data/inventory.tsv", "\t")} <= set(products)
    stock = dict.fromkeys(products, 0)
    for row in rows_of("data/inventory.tsv", "\t"):
        stock[row["sku"]] += int(row["quantity"])
    assert stock == {key: int(row["stock"]) for key, row in products.items()}
    catalog = json.loads(company_base()["files/data/catalog.json"])
    listed = {item["sku"]: item["price"] for category in catalog["categories"] for item in category["items"]}
    assert listed == {key: float(row["price"]) for key, row in products.items()}
    staff = {row["name"]: row for row in rows_of("data/employees.csv")}
    assert {row["employee"] for row in rows_of("data/timesheet.tsv", "\t")} <= set(staff)
    paid = open_copy("hr").execute(
        "SELECT name, amount FROM employees e JOIN salaries ON e.id = employee_id WHERE year = 2025"
    )
    assert {name: str(amount) for name, amount in paid} == {name: row["salary"] for name, row in staff.items()}
    invoices = company_base()["files/data/invoices.xml"].decode()
    totals = dict(re.findall(r'<invoice id="(\d+)">.*?<total[^>]*>([\d.]+)<', invoices, re.DOTALL))
    for number in ("1001", "1002"):
        assert f"total {totals[number]} EUR" in ENTRIES[f"docs/invoice_{number}.pdf"]["summary"]


def test_the_sensors_miss_some_readings_and_the_names_repeat() -> None:
    cells = [row[name] for row in rows_of("data/sensors.csv") for name in ("temperature", "humidity", "pressure")]
    assert 0.03 < cells.count("") / len(cells) < 0.07
    assert {row["station"] for row in rows_of("data/sensors.csv")} == set("ABC")
    names = company_base()["files/text/names.txt"].decode().split()
    assert len(set(names)) < len(names)
    assert names != sorted(names)


def test_logs_and_sources_are_what_their_names_say() -> None:
    base = company_base()
    log = base["files/logs/server.log"].decode().splitlines()
    assert len(log) == 200
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (INFO|WARNING|ERROR) \w+ .+", line) for line in log)
    access = base["files/logs/access.log"].decode().splitlines()
    assert len(access) == 150
    assert all(re.match(r'\S+ - - \[[^]]+\] "(GET|POST) \S+ HTTP/1.1" \d{3} (\d+|-)$', line) for line in access)
    for name in ("stats", "fib"):
        exec(compile(base[f"files/code/{name}.py"], name, "exec"), {"__name__": name})
    with pytest.raises(SyntaxError):
        compile(base["files/code/broken.py"], "broken", "exec")
    rows = open_copy("shop").execute(base["files/code/query.sql"].decode()).fetchall()
    assert len(rows) == 5


def test_messages_and_calendars_open_with_their_libraries() -> None:
    import icalendar

    assert ENTRIES["mail/offer.eml"]["attachments"] == ["prices.csv"]
    calendar = icalendar.Calendar.from_ical(company_base()["files/calendar/team.ics"].decode())
    starts = [event["DTSTART"].dt for event in calendar.walk("VEVENT")]
    assert len(starts) == 8
    assert {(start.year, start.month) for start in starts} == {(2025, 3)}
    assert ENTRIES["contacts/partners.vcf"]["count"] == 10


def test_every_entry_of_the_catalogue_is_whole_and_has_a_summary_of_its_own() -> None:
    entries = company_catalogue()
    assert [entry["path"] for entry in entries] == list(company_base())
    assert not [entry["path"] for entry in entries if "problem" in entry]
    assert all(entry["bytes"] == len(company_base()[entry["path"]]) for entry in entries)
    summaries = [entry["summary"] for entry in entries]
    assert len(set(summaries)) == len(summaries)
    assert all(summary.endswith((".", ".)")) and "\n" not in summary for summary in summaries)
    entries[0].clear()
    assert company_catalogue()[0]


def test_the_folder_holds_the_world_and_cannot_be_written() -> None:
    folder = company_folder()
    assert Workspace(folder).read_bytes("data/sales.csv") == company_base()["files/data/sales.csv"]
    modes = {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()}
    folders = {path.stat().st_mode & 0o777 for path in [folder, *folder.rglob("*")] if path.is_dir()}
    assert (modes, folders) == ({0o444}, {0o555})


def test_another_process_makes_the_same_bytes_without_the_cache() -> None:
    code = (
        "import hashlib, time; from mcpserver.company.world import generate\n"
        "print(hashlib.sha256(repr([(k, v.content) for k, v in generate().items()]).encode()).hexdigest())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "TZ": "Pacific/Auckland", "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == hashlib.sha256(repr(list(company_base().items())).encode()).hexdigest()


def test_archives_and_office_files_carry_one_fixed_time() -> None:
    for path, content in company_base().items():
        if path.endswith((".zip", ".xlsx", ".docx")):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                assert {member.date_time for member in archive.infolist()} == {(2025, 3, 14, 16, 0, 0)}, path
        if path.endswith(".pdf"):
            assert b"D:20250314160000" in content, path


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "mcpserver.company", *words], capture_output=True, text=True)


def test_the_command_writes_the_world_describes_it_and_refuses_a_full_directory(tmp_path: Path) -> None:
    assert run(str(tmp_path / "new")).returncode == 0
    written = {
        path.relative_to(tmp_path / "new").as_posix() for path in (tmp_path / "new").rglob("*") if path.is_file()
    }
    assert written == set(company_base())
    again = run(str(tmp_path / "new"))
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert "not an empty directory" in again.stderr
    described = run("--describe")
    assert [json.loads(line) for line in described.stdout.splitlines()] == company_catalogue()


def test_the_command_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    for words in (["--describe", str(tmp_path / "none")], [str(tmp_path / "file" / "below")]):
        (tmp_path / "file").write_text("x")
        ran = run(*words)
        assert (ran.returncode, ran.stderr.count("\n")) == (2, 1), ran.stderr
    assert run().returncode == 2
