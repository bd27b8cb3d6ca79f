"""The plan as tables for people, and as JSON for machines. Writes to standard output."""

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from toolwright.devices import TABLE
from toolwright.plan_site import Site, StagePlan

GIB = 2**30
UNKNOWN = "unknown"
_ORIGINS = {"directory": "", "hub": "", "shapes": " (shape known to toolwright/footprint.py)"}
_PARTS = (
    "weights",
    "adapter",
    "gradients",
    "optimizer",
    "activations",
    "logits",
    "KV cache",
    "blocks",
    "mapped files",
    "allocator",
)


class Plan(BaseModel):
    """What a run takes, stage by stage. Bytes, seconds, tokens; none: not known."""

    model_config = ConfigDict(frozen=True)

    name: str
    model: str
    parameters: int
    trainable: dict[str, int]
    device: dict[str, str | float | int]
    conversation: dict[str, str | float | int | None]
    conversations: dict[str, str | int]
    stages: list[StagePlan]
    fits: bool
    time_s: float | None
    cost: float | None
    disk_bytes: float
    free_bytes: int | None = None


def to_plan(site: Site, stages: list[StagePlan], free_bytes: int | None) -> Plan:
    """All in one record. The time is of the stages whose time is known; the cost is known where that of all is."""
    device, talk, counts = site.device, site.talk, site.counts
    billed = [stage for stage in stages if stage.stage != "serve"]
    costs = [stage.cost for stage in billed]
    times = [stage.time_s for stage in billed if stage.time_s is not None]
    return Plan(
        name=site.config.name,
        model=f"{site.config.model}{_ORIGINS[site.origin]}",
        parameters=site.sft.total,
        trainable={"sft": site.sft.trainable, "rl": site.rl.trainable},
        device={
            "name": device.name,
            "title": device.title,
            "devices": site.devices,
            "memory_bytes": device.memory,
            "tflops": device.tflops,
            "tflops_float32": device.tflops_float32,
            "bandwidth_gbs": device.bandwidth_gbs,
            "origin": device.origin,
        },
        conversation={
            "tokens": round(talk.total),
            "prompt": round(talk.prompt),
            "sampled": round(talk.sampled),
            "results": round(talk.results),
            "turns": round(talk.turns, 2),
            "origin": talk.origin,
        },
        conversations={
            "all": counts.conversations,
            "train": counts.train,
            "heldout": counts.heldout,
            "origin": counts.origin,
        },
        stages=stages,
        fits=all(stage.fits is not False for stage in stages),
        time_s=sum(times) if times else None,
        cost=None if any(cost is None for cost in costs) else sum(cost for cost in costs if cost is not None),
        disk_bytes=sum(stage.disk_bytes for stage in stages),
        free_bytes=free_bytes,
    )


def print_plan(plan: Plan, console: Console) -> None:
    """The tables, then what to change."""
    for line in _head(plan):
        console.print(escape(line), highlight=False)
    console.print(_memory_table(plan))
    console.print(_stage_table(plan))
    for stage in plan.stages:
        for note in stage.notes:
            console.print(f"  {stage.stage}: {escape(note)}", highlight=False)
    if plan.free_bytes is not None and plan.free_bytes < plan.disk_bytes:
        console.print(f"[red]disk: {_size(plan.disk_bytes)} wanted, {_size(plan.free_bytes)} free in runs_dir[/red]")
    for stage in plan.stages:
        for number, cure in enumerate(stage.cure):
            told = f"{stage.stage} does not fit:"
            first = told if number == 0 else "or".rjust(len(told))
            console.print(f"[red]{first}[/red] {escape(cure)}", highlight=False, soft_wrap=True)


def _head(plan: Plan) -> Iterator[str]:
    device, talk, counts = plan.device, plan.conversation, plan.conversations
    trained = ", ".join(
        f"{stage} trains {count:,} ({count / plan.parameters:.2%})" for stage, count in plan.trainable.items()
    )
    yield f"plan of {plan.name}: {plan.model}, {plan.parameters:,} parameters; {trained}"
    memory = f"{float(device['memory_bytes']) / GIB:.1f} GiB"
    yield (
        f"device {device['name']}: {device['devices']} x {device['title']}, {memory}, "
        f"{float(device['tflops']):.3g} TFLOPS bfloat16, {float(device['tflops_float32']):.3g} float32, "
        f"{float(device['bandwidth_gbs']):,.0f} GB/s ({device['origin']})"
    )
    yield (
        f"a conversation: {talk['tokens']} tokens ({talk['prompt']} prompt and tools, {talk['sampled']} by the model, "
        f"{talk['results']} results) in {talk['turns']} turns ({talk['origin']}); {counts['all']} of them, "
        f"{counts['train']} to train on, {counts['heldout']} held out ({counts['origin']})"
    )


def _memory_table(plan: Plan) -> Table:
    """Memory by part, on one device."""
    table = Table(title="memory on one device")
    table.add_column("part")
    shown = [stage for stage in plan.stages if stage.memory]
    for stage in shown:
        table.add_column(stage.stage, justify="right")
    for part in (*_PARTS, "runtime"):
        if any(part in stage.memory for stage in shown):
            table.add_row(part, *(_size(stage.memory[part]) if part in stage.memory else "" for stage in shown))
    table.add_section()
    table.add_row("in all", *(_size(sum(stage.memory.values())) for stage in shown))
    verdicts = {True: "[green]fits[/green]", False: "[red]does not fit[/red]"}
    table.add_row(f"of {_size(float(plan.device['memory_bytes']))}", *(verdicts[bool(stage.fits)] for stage in shown))
    return table


def _stage_table(plan: Plan) -> Table:
    """Tokens, time, money and disk."""
    table = Table(title="tokens, time, money, disk")
    for column, justify in (
        ("stage", "left"),
        ("tokens", "left"),
        ("time", "right"),
        ("cost", "right"),
        ("disk", "right"),
        ("source", "left"),
    ):
        table.add_column(column, justify="right" if justify == "right" else "left")
    for stage in plan.stages:
        endless = stage.stage == "serve"
        table.add_row(
            stage.stage,
            ", ".join(f"{_count(number)} {name}" for name, number in stage.tokens.items()) or "-",
            "while it runs" if endless else _time(stage.time_s),
            "by the hour" if endless else _money(stage.cost),
            _size(stage.disk_bytes) if stage.disk_bytes else "-",
            stage.origin,
        )
    table.add_section()
    partly = any(stage.time_s is None for stage in plan.stages if stage.stage != "serve")
    table.add_row(
        "all", "", ("> " if partly else "") + _time(plan.time_s), _money(plan.cost), _size(plan.disk_bytes), ""
    )
    return table


def print_devices(console: Console) -> None:
    """The devices that ``--device`` knows."""
    table = Table(title="devices (--device NAME; here: this machine, measured)")
    for column in ("name", "device", "GiB", "TFLOPS bf16", "TFLOPS fp32", "GB/s"):
        table.add_column(column, justify="left" if column in ("name", "device") else "right")
    for device in TABLE:
        rates = f"{device.tflops:g}", f"{device.tflops_float32:g}", f"{device.bandwidth_gbs:g}"
        table.add_row(device.name, device.title, f"{device.memory_gib:g}", *rates)
    console.print(table)


def _size(size: float) -> str:
    if size >= GIB / 10:
        return f"{size / GIB:.1f} GiB"
    return f"{size / 2**20:.1f} MiB" if size < 10 * 2**20 else f"{size / 2**20:.0f} MiB"


def _count(number: float) -> str:
    size, unit = next(((s, u) for s, u in ((1e9, "B"), (1e6, "M"), (1e3, "k")) if number >= s), (1.0, ""))
    return f"{number / size:.1f}{unit}" if unit else f"{number:.0f}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return UNKNOWN
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _money(cost: float | None) -> str:
    return UNKNOWN if cost is None else f"{cost:,.2f}"
