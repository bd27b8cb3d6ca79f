"""The report as a table on the terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from eval.charts import p_value, percent


def print_report(report: Mapping[str, Any], page: Path, console: Console) -> None:
    """Print scores with intervals, scores by mode, paired tests, the funnel, and where the page is."""
    models = report["models"]
    console.print(_scores(models, report["tasks"]))
    for pair in report["paired"]:
        console.print(
            f"{escape(pair['a'])} → {escape(pair['b'])}: won {pair['wins']}, lost {pair['losses']} of {pair['n']} "
            f"tasks, {p_value(pair['p'])} (exact McNemar)",
            highlight=False,
        )
    if report["funnel"]:
        console.print(" → ".join(f"{step['n']} {step['step']}" for step in report["funnel"]), highlight=False)
    console.print(f"report: {page}", soft_wrap=True, highlight=False)


def _scores(models: Sequence[Mapping[str, Any]], n_tasks: int) -> Table:
    modes = list(dict.fromkeys(mode for model in models for mode in model["by_mode"]))
    kinds = list(dict.fromkeys(kind for model in models for kind in model["by_tools"]))
    table = Table(title=f"passed of {n_tasks} held-out tasks")
    table.add_column("")
    for model in models:
        table.add_column(escape(model["name"]), justify="right")
    table.add_row("passed", *(f"[bold]{percent(model['score'])}[/]" for model in models))
    table.add_row("95% interval", *(_interval(model) for model in models))
    table.add_row("not played", *(str(model["failed"]) for model in models))
    table.add_section()
    for mode in modes:
        table.add_row(mode.replace("_", " "), *(_entry(model["by_mode"].get(mode)) for model in models))
    table.add_section()
    for kind in kinds:
        table.add_row(f"{kind} tools", *(_entry(model["by_tools"].get(kind)) for model in models))
    return table


def _interval(model: Mapping[str, Any]) -> str:
    low, high = model["interval"]
    return f"{percent(low)} – {percent(high)}"


def _entry(entry: Mapping[str, Any] | None) -> str:
    return "–" if entry is None else f"{percent(entry['score'])} of {entry['n']}"
