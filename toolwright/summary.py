"""What a finished chain tells: time and memory of each stage, read from the manifests."""

import os
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from toolwright.artifacts import read_manifest
from toolwright.chain import artifact_paths
from toolwright.config import RunConfig


def stage_costs(config: RunConfig) -> Iterator[tuple[str, float, float]]:
    """``(stage, wall time in s, peak resident memory in MiB)`` of each stage that has a manifest."""
    for name, path in artifact_paths(config).items():
        manifest = read_manifest(path)
        if manifest is not None:
            yield name, manifest.wall_s, manifest.peak_rss_mib


def print_costs(config: RunConfig) -> None:
    """Print the table of stage costs; imports and process starts are not in the times."""
    table = Table(title=f"time and memory on this machine ({os.cpu_count()} cores)")
    table.add_column("stage")
    table.add_column("wall time (s)", justify="right")
    table.add_column("peak memory (MiB)", justify="right")
    total_s = 0.0
    for name, wall_s, peak_mib in stage_costs(config):
        total_s += wall_s
        table.add_row(name, f"{wall_s:.1f}", f"{peak_mib:.0f}")
    table.add_section()
    table.add_row("all", f"{total_s:.1f}", "")
    Console().print(table)
