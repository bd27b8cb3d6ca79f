"""The base world: small text, CSV, Markdown and JSON files in five folders, and two SQLite databases.

Generated from one fixed seed, in memory, once per process: a mapping from relative path (``files/notes/…`` or
``databases/trades.db``) to content. Environments copy it; nothing ever writes to it. ``python -m mcpserver.baseworld
DIR`` writes it out for people to look at, and ``load_base`` reads such a directory.
"""

import csv
import datetime
import io
import json
import random
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from mcpserver.workspace import DATABASES, FILES
from toolwright.command import run_command
from toolwright.errors import ConfigError

BASE_SEED = 2025
MAX_BASE_BYTES = 64 * 1024 * 1024
HUBS = ("TTF", "NBP", "THE", "PEG", "PSV")
COMPANIES = ("Nordgas", "Alpenergie", "Delta Power", "Fjord Energy", "Iberia Gas", "Baltic Trading", "Rhine Utilities")
COUNTRIES = ("Norway", "Austria", "Netherlands", "Norway", "Spain", "Lithuania", "Germany")
SITES = (("Rehden", "Germany", 43.6), ("Bergermeer", "Netherlands", 46.0), ("Haidach", "Austria", 31.9))
CONTRACTS = ("nordgas", "alpenergie", "delta_power", "fjord_energy", "iberia_gas")
TRADE_COLUMNS = ("id INTEGER PRIMARY KEY", "day TEXT", "hub TEXT", "side TEXT", "volume_mwh INTEGER", "price REAL")
PARTNER_COLUMNS = ("name TEXT PRIMARY KEY", "country TEXT", "rating TEXT", "credit_limit INTEGER")
INVOICE_COLUMNS = ("id INTEGER PRIMARY KEY", "partner TEXT", "amount_eur INTEGER", "status TEXT")
SITE_COLUMNS = ("name TEXT PRIMARY KEY", "country TEXT", "capacity_twh REAL")
LEVEL_COLUMNS = ("id INTEGER PRIMARY KEY", "site TEXT", "day TEXT", "level_twh REAL")
WORK_COLUMNS = ("id INTEGER PRIMARY KEY", "site TEXT", "task TEXT", "status TEXT")
TASKS = ("valve inspection", "compressor service", "pressure test", "pipe cleaning", "meter check", "leak survey")

Base = Mapping[str, bytes]
Row = Sequence[str | int | float]
Tables = Mapping[str, tuple[Sequence[str], Sequence[Row]]]


@lru_cache(maxsize=1)
def default_base() -> Base:
    """The generated world, the same bytes for the same SQLite version and the same rows always."""
    rng = random.Random(BASE_SEED)
    files = _notes(rng) | _contracts(rng) | _prices(rng) | _config(rng) | _reports(rng)
    base = {f"{FILES}/{path}": text.encode() for path, text in files.items()}
    base[f"{DATABASES}/trades.db"] = _trades_database(rng)
    base[f"{DATABASES}/storage.db"] = _storage_database(rng)
    return MappingProxyType(base)


def load_base(directory: Path) -> Base:
    """Read a base world from a directory with ``files/`` and ``databases/``.

    Raises:
        ConfigError: no such directory, a symbolic link or special file in it, or more than 64 MiB.
    """
    if not directory.is_dir():
        raise ConfigError(f"base world {directory}: no such directory; `python -m mcpserver.baseworld DIR` writes one")
    base: dict[str, bytes] = {}
    total = 0
    for path in sorted(directory.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            continue
        name = path.relative_to(directory).as_posix()
        if path.is_symlink() or not path.is_file():
            raise ConfigError(f"base world {path}: only plain files and folders are copied; remove this one")
        if name.split("/")[0] not in (FILES, DATABASES):
            raise ConfigError(f"base world {path}: expected under {FILES}/ or {DATABASES}/; move or remove it")
        base[name] = path.read_bytes()
        total += len(base[name])
        if total > MAX_BASE_BYTES:
            raise ConfigError(f"base world {directory}: more than {MAX_BASE_BYTES >> 20} MiB; make it smaller")
    return MappingProxyType(base)


def write_base(base: Base, directory: Path) -> None:
    """Write a base world into a directory, which also gets the two top folders."""
    folders = {FILES, DATABASES} | {name.rpartition("/")[0] for name in base}
    for folder in sorted(folders):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    for name, content in base.items():
        (directory / name).write_bytes(content)


def _days(count: int, start: str = "2025-03-03") -> list[str]:
    """``count`` working days from ``start`` on, as ISO dates."""
    first = datetime.date.fromisoformat(start)
    days = (first + datetime.timedelta(days=offset) for offset in range(2 * count + 2))
    return [day.isoformat() for day in days if day.weekday() < 5][:count]


def _notes(rng: random.Random) -> dict[str, str]:
    subjects = ("storage", "pipeline", "auction", "credit", "weather")
    todo = ("call the operator", "check the invoice", "update the forecast", "ask for a quote", "book capacity")
    notes = {}
    for day, subject in zip(_days(len(subjects)), subjects):
        partner, hub = rng.choice(COMPANIES), rng.choice(HUBS)
        notes[f"notes/{subject}.md"] = (
            f"# {subject.capitalize()} meeting\n\nDate: {day}\nPartner: {partner}\n"
            f"Hub: {hub}\nAction: {rng.choice(todo)}\n"
        )
    return notes


def _contracts(rng: random.Random) -> dict[str, str]:
    contracts = {}
    for partner in CONTRACTS:
        volume, price = rng.randrange(20, 200) * 1000, rng.randrange(2600, 4200) / 100
        contracts[f"contracts/{partner}.txt"] = (
            f"Partner: {partner}\nHub: {rng.choice(HUBS)}\nVolume: {volume} MWh\nPrice: {price} EUR/MWh\n"
            f"Delivery: 2025-{rng.randrange(4, 13):02d}\n"
        )
    return contracts


def _prices(rng: random.Random) -> dict[str, str]:
    tables = {}
    for hub in HUBS:
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("day", "price_eur_mwh"))
        writer.writerows((day, rng.randrange(2700, 4000) / 100) for day in _days(8))
        tables[f"prices/{hub.lower()}.csv"] = out.getvalue()
    return tables


def _config(rng: random.Random) -> dict[str, str]:
    settings: dict[str, dict[str, str | int]] = {
        "desk": {"name": "gas desk", "currency": "EUR", "hub": "TTF"},
        "limits": {"max_volume_mwh": rng.randrange(10, 50) * 1000, "max_open_trades": rng.randrange(5, 25)},
        "alerts": {"email": "desk@example.com", "price_above": rng.randrange(40, 60)},
        "calendar": {"timezone": "Europe/Amsterdam", "gas_day_start": "06:00"},
        "units": {"energy": "MWh", "volume": "m3"},
    }
    return {f"config/{name}.json": json.dumps(values, indent=1) + "\n" for name, values in settings.items()}


def _reports(rng: random.Random) -> dict[str, str]:
    reports = {}
    for month in ("2024-11", "2024-12", "2025-01", "2025-02", "2025-03"):
        profit, trades = rng.randrange(-90, 240) * 1000, rng.randrange(30, 90)
        reports[f"reports/{month}.md"] = (
            f"# Report {month}\n\nProfit: {profit} EUR\nTrades: {trades}\nBest hub: {rng.choice(HUBS)}\n"
            f"Storage: {rng.randrange(20, 95)} % full\n"
        )
    return reports


def _trades_database(rng: random.Random) -> bytes:
    trades = [
        (n + 1, day, rng.choice(HUBS), rng.choice(("buy", "sell")), rng.randrange(1, 40) * 250, _price(rng))
        for n, day in enumerate(_days(24))
    ]
    partners = [
        (name, country, rng.choice(("A", "B", "C")), rng.randrange(1, 20) * 50_000)
        for name, country in zip(COMPANIES, COUNTRIES)
    ]
    invoices = [
        (n + 1, rng.choice(COMPANIES), rng.randrange(4, 90) * 1000, rng.choice(("open", "paid", "late")))
        for n in range(12)
    ]
    tables: Tables = {
        "trades": (TRADE_COLUMNS, trades),
        "partners": (PARTNER_COLUMNS, partners),
        "invoices": (INVOICE_COLUMNS, invoices),
    }
    return _database(tables)


def _price(rng: random.Random) -> float:
    return rng.randrange(2700, 4000) / 100


def _storage_database(rng: random.Random) -> bytes:
    levels = [
        (7 * index + n + 1, site, day, round(capacity * rng.uniform(0.3, 0.9), 1))
        for index, (site, _, capacity) in enumerate(SITES)
        for n, day in enumerate(_days(7))
    ]
    work = [
        (n + 1, rng.choice(SITES)[0], task, rng.choice(("planned", "running", "done"))) for n, task in enumerate(TASKS)
    ]
    tables: Tables = {
        "sites": (SITE_COLUMNS, SITES),
        "levels": (LEVEL_COLUMNS, levels),
        "maintenance": (WORK_COLUMNS, work),
    }
    return _database(tables)


def _database(tables: Tables) -> bytes:
    connection = sqlite3.connect(":memory:")
    try:
        for table, (columns, rows) in tables.items():
            connection.execute(f"CREATE TABLE {table} ({', '.join(columns)})")
            connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(columns))})", rows)
        connection.commit()
        return connection.serialize()
    finally:
        connection.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Write the generated world into the directory that the command line names."""
    words = sys.argv[1:] if argv is None else list(argv)

    def write() -> None:
        if len(words) != 1 or words[0].startswith("-"):
            raise ConfigError("usage: python -m mcpserver.baseworld DIR (a directory that is new or empty)")
        target = Path(words[0])
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise ConfigError(f"{target}: not an empty directory; name a new one")
        write_base(default_base(), target)

    return run_command(write)


if __name__ == "__main__":
    sys.exit(main())
