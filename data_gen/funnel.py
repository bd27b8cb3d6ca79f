"""Counts of what was drawn, kept and dropped, for the manifest and as a small table at the end."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table


def progress_bar() -> Progress:
    """A bar on stderr, shown on terminals only, so that logs stay short."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)


def track(count: int, what: str) -> Iterator[int]:
    """``range(count)`` with a bar."""
    with progress_bar() as bar:
        yield from bar.track(range(count), description=what)


def tally(values: "Counter[str]") -> dict[str, int]:
    """Counts as a plain mapping, the most frequent first."""
    return dict(sorted(values.items(), key=lambda item: (-item[1], item[0])))


def print_funnel(title: str, counts: Mapping[str, Any]) -> None:
    """Print counts; a mapping among them gives one row for each of its entries."""
    Console().print(title, soft_wrap=True, highlight=False)
    table = Table()
    table.add_column("what")
    table.add_column("count", justify="right")
    for name, value in counts.items():
        if isinstance(value, Mapping):
            for inner, count in value.items():
                table.add_row(f"  {name}: {inner}", f"{count:,}")
        else:
            table.add_row(name, f"{value:,}")
    Console().print(table)
