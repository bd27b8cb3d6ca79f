"""Arguments that mean something: for our own tools taken from the base world, for other tools drawn from the schema."""

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Any

from data_gen.samplers import decimal, draw_date, draw_value
from mcpserver.baseworld import default_base
from mcpserver.catalogue import all_tools
from mcpserver.workspace import DATABASES, FILES
from toolwright.records import ToolSpec

OPTIONAL_SHARE = 0.3
EXAMPLE_SHARE = 0.7
TASKS = ("call", "check", "review", "send", "update", "sign", "print", "close")
OBJECTS = ("the contract", "the invoice", "the forecast", "the storage report", "the operator", "the price list")
NAMES = ("todo", "plan", "summary", "ideas", "draft", "memo", "budget", "agenda", "review", "log")
KEYED_BY_NUMBER = ("trades", "invoices", "levels", "maintenance")
MAX_ROWS_SHOWN = 3

Arguments = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """A table of the base world: its columns and rows."""

    database: str
    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class Facts:
    """What there is to ask about: the text files by path, and the tables."""

    files: Mapping[str, str]
    tables: tuple[Table, ...]

    @property
    def folders(self) -> list[str]:
        return sorted({path.split("/")[0] for path in self.files if "/" in path})


@lru_cache(maxsize=1)
def load_facts() -> Facts:
    """The content of the base world, which every fresh environment starts with."""
    base = default_base()
    files = {n.removeprefix(f"{FILES}/"): c.decode() for n, c in sorted(base.items()) if n.startswith(f"{FILES}/")}
    tables: list[Table] = []
    for name, content in sorted(base.items()):
        if name.startswith(f"{DATABASES}/"):
            with closing(sqlite3.connect(":memory:")) as connection:
                connection.deserialize(content)
                tables += _tables(connection, name.removeprefix(f"{DATABASES}/").removesuffix(".db"))
    return Facts(files, tuple(tables))


def _tables(connection: sqlite3.Connection, database: str) -> list[Table]:
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    tables = []
    for name in names:
        cursor = connection.execute(f'SELECT * FROM "{name}"')
        tables.append(Table(database, name, tuple(item[0] for item in cursor.description), tuple(cursor.fetchall())))
    return tables


def draw_arguments(spec: ToolSpec, rng: Random, facts: Facts | None) -> Arguments:
    """Arguments for one call: all required parameters, and some of the others.

    ``facts`` is the world of our own tools, none for the tools of other servers.
    """
    ground = GROUNDED.get(spec.name) if facts else None
    properties: Mapping[str, Mapping[str, Any]] = spec.parameters.get("properties", {})
    if ground and facts:
        arguments = ground(rng, facts)
        if arguments.keys() <= properties.keys():
            return arguments
    required = set(spec.parameters.get("required", ()))
    if facts and not all(_is_closed(properties[name]) for name in required) and rng.random() < EXAMPLE_SHARE:
        tool = all_tools().get(spec.name)
        if tool and tool.examples:
            return dict(rng.choice(tool.examples))
    return {
        name: draw_value(schema, name, rng)
        for name, schema in properties.items()
        if name in required or rng.random() < OPTIONAL_SHARE
    }


def _is_closed(schema: Mapping[str, Any]) -> bool:
    """Whether any value that fits the schema means something: words drawn for a path or an id would not."""
    return "enum" in schema or "format" in schema or schema.get("type") in ("integer", "number", "boolean")


def _amount(rng: Random) -> int | float:
    pick = rng.random()
    if pick < 0.4:
        return rng.randint(2, 99) * 10
    return rng.randint(11, 999) * 5 if pick < 0.7 else decimal(rng, 10, 900, 1)


def _number(rng: Random) -> int | float:
    return rng.randint(2, 250) if rng.random() < 0.5 else decimal(rng, 1, 99, rng.choice((1, 1, 2)))


def _two(rng: Random, options: tuple[str, ...]) -> tuple[str, str]:
    first, second = rng.sample(options, 2)
    return first, second


HUBS = ("TTF", "NBP", "THE", "PEG", "PSV")
UNITS = ("MWh", "kWh", "GJ", "therm")
PIPELINES = ("Europipe", "Franpipe", "Langeled", "Transmed", "Zeepipe")


def _auction(rng: Random, _facts: Facts) -> Arguments:
    return {"product": f"{rng.choice((2025, 2025, 2026))}-{rng.randint(1, 12):02d}", "hub": rng.choice(HUBS)}


def _conversion(rng: Random, _facts: Facts) -> Arguments:
    given, wanted = _two(rng, UNITS)
    return {"value": _amount(rng), "from_unit": given, "to_unit": wanted}


def _gas_volume(rng: Random, _facts: Facts) -> Arguments:
    return {"volume_m3": rng.randint(1, 900) * 100, "heating_value": decimal(rng, 10.1, 12.1, rng.choice((1, 2)))}


def _spread(rng: Random, _facts: Facts) -> Arguments:
    first, second = _two(rng, HUBS)
    return {"hub_a": first, "hub_b": second, "date": draw_date(rng)}


def _transport(rng: Random, _facts: Facts) -> Arguments:
    return {"pipeline": rng.choice(PIPELINES), "energy_mwh": _amount(rng)}


def _trading_day(rng: Random, _facts: Facts) -> Arguments:
    return {"date": draw_date(rng), "offset": rng.choice((1, 2, 2, 3, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20))}


def _period(rng: Random, _facts: Facts) -> Arguments:
    start, end = sorted((draw_date(rng), draw_date(rng)))
    return {"start": start, "end": end}


def _booking(rng: Random, _facts: Facts) -> Arguments:
    return {"pipeline": rng.choice(PIPELINES), "date": draw_date(rng), "energy_mwh": rng.randint(2, 190) * 10}


def _folder(rng: Random, facts: Facts) -> Arguments:
    return {"folder": rng.choice(facts.folders)}


def _path(rng: Random, facts: Facts) -> Arguments:
    return {"path": rng.choice(list(facts.files))}


def _new_path(rng: Random, facts: Facts) -> str:
    return f"{rng.choice(facts.folders)}/{rng.choice(NAMES)}.{rng.choice(('txt', 'md'))}"


def _line(rng: Random) -> str:
    text = f"{rng.choice(TASKS)} {rng.choice(OBJECTS)}"
    return f"Action: {text}" if rng.random() < 0.3 else text.capitalize()


def _write(rng: Random, facts: Facts) -> Arguments:
    return {"path": _new_path(rng, facts), "text": _line(rng)}


def _append(rng: Random, facts: Facts) -> Arguments:
    return {"path": rng.choice([path for path in facts.files if path.endswith((".md", ".txt"))]), "text": _line(rng)}


def _move(rng: Random, facts: Facts) -> Arguments:
    source = rng.choice(list(facts.files))
    folder, _, name = source.rpartition("/")
    renamed = f"{folder}/{rng.choice(NAMES)}.{name.rpartition('.')[2]}"
    return {"source": source, "target": renamed if rng.random() < 0.5 else f"archive/{name}"}


def _search(rng: Random, facts: Facts) -> Arguments:
    path = rng.choice([path for path in facts.files if path.endswith((".md", ".txt"))])
    lines = [line for line in facts.files[path].splitlines() if ": " in line and len(line) <= 40]
    line = rng.choice(lines)
    return {"pattern": line if rng.random() < 0.5 else line.partition(": ")[2], "folder": path.split("/")[0]}


def _database(rng: Random, facts: Facts) -> Arguments:
    return {"database": rng.choice(sorted({table.database for table in facts.tables}))}


def _table(rng: Random, facts: Facts) -> Arguments:
    table = rng.choice(facts.tables)
    return {"database": table.database, "table": table.name}


def _match(rng: Random, table: Table) -> tuple[str, str]:
    """A column and a value that few rows have, so that results stay short."""
    while True:
        column = rng.randrange(len(table.columns))
        value = rng.choice(table.rows)[column]
        if sum(row[column] == value for row in table.rows) <= MAX_ROWS_SHOWN:
            return table.columns[column], str(value)


def _query(rng: Random, facts: Facts) -> Arguments:
    table = rng.choice(facts.tables)
    column, value = _match(rng, table)
    return {"database": table.database, "table": table.name, "column": column, "value": value}


def _insert(rng: Random, facts: Facts) -> Arguments:
    table = rng.choice([table for table in facts.tables if table.name in KEYED_BY_NUMBER])
    columns = rng.sample(range(1, len(table.columns)), rng.choice((2, 2, 3)))
    values = {table.columns[column]: rng.choice(table.rows)[column] for column in sorted(columns)}
    return {"database": table.database, "table": table.name, "values": values}


def _update(rng: Random, facts: Facts) -> Arguments:
    table = rng.choice(facts.tables)
    where_column, where_value = _match(rng, table)
    column = rng.choice([n for n, name in enumerate(table.columns) if n and name != where_column])
    value = str(rng.choice(table.rows)[column])
    changed = {"column": table.columns[column], "value": value}
    return {
        "database": table.database, "table": table.name, **changed,
        "where_column": where_column, "where_value": where_value,
    }  # fmt: skip


def _expression(rng: Random, _facts: Facts) -> Arguments:
    a, b, c = (_number(rng) for _ in range(3))
    first, second = rng.choice("+-*/"), rng.choice("+-*")
    forms = (f"{a} {first} {b}", f"{a} {first} {b}", f"({a} {second} {b}) {first} {c}", f"{a} {second} {b} * {c}")
    return {"expression": rng.choice(forms)}


def _values(rng: Random, _facts: Facts) -> Arguments:
    return {"values": [_number(rng) for _ in range(rng.choice((2, 3, 3, 4, 5)))]}


def _change(rng: Random, _facts: Facts) -> Arguments:
    return {"old": _number(rng), "new": _number(rng)}


def _rounding(rng: Random, _facts: Facts) -> Arguments:
    return {"value": decimal(rng, 1, 999, rng.choice((3, 4, 5))), "digits": rng.choice((0, 1, 1, 2, 2))}


GROUNDED: Mapping[str, Callable[[Random, Facts], Arguments]] = {
    "get_auction_price": _auction,
    "convert_energy": _conversion,
    "gas_volume_to_energy": _gas_volume,
    "price_spread": _spread,
    "transport_cost": _transport,
    "get_trading_day": _trading_day,
    "count_delivery_days": _period,
    "book_capacity": _booking,
    "list_files": _folder,
    "read_file": _path,
    "write_file": _write,
    "append_line": _append,
    "move_file": _move,
    "delete_file": _path,
    "find_text": _search,
    "list_tables": _database,
    "describe_table": _table,
    "query_rows": _query,
    "count_rows": _table,
    "insert_row": _insert,
    "update_rows": _update,
    "delete_rows": _query,
    "calculate": _expression,
    "mean": _values,
    "median": _values,
    "standard_deviation": _values,
    "percent_change": _change,
    "sum_values": _values,
    "round_number": _rounding,
}
