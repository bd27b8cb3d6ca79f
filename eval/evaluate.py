"""The evaluation of a run: for each model rows, from them the report.

Reads ``heldout.jsonl``, ``train.jsonl`` and the models; writes ``eval/<model>.jsonl`` (one row per task, with a
manifest), ``eval/report.json`` (with a manifest), ``eval/report.html`` and ``eval/reward_curve.png``.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from eval.console import print_report
from eval.heldout import HeldoutTask, load_tasks, play_tasks
from eval.report import build_report, write_report
from eval.rows import PartialRows
from eval.serving import Candidate, Endpoint, endpoint, find_candidates
from eval.summary import TaskRow
from mcpserver.world import open_configured
from toolwright.artifacts import read_records, require, write_rows
from toolwright.chat import OpenAIChat
from toolwright.config import RunConfig
from toolwright.stage import Job, run_dir

PROG = "python -m eval"


def evaluate(config: RunConfig, config_file: str = "") -> None:
    """Score every model of ``eval.models``, unless that is done, and show the result.

    Args:
        config: the run.
        config_file: the configuration as named on the command line, for the commands that messages advise.

    Raises:
        ArtifactError: tasks or a model are missing or stale; names the command that makes them.
        EndpointError: an endpoint failed for more than 1 % of the tasks.
    """
    made_by = f"python -m data_gen.split {config_file}".strip()
    run = run_dir(config)
    for name in ("heldout.jsonl", "train.jsonl"):
        require(run / name, made_by=made_by)
    candidates = find_candidates(config, config_file)
    job = _report_job(config, candidates)
    live = any(candidate.url for candidate in candidates)
    if live or not job.is_current() or not (run / "eval/report.html").exists():
        _make_report(config, candidates, job)
    report = json.loads(job.output.read_text(encoding="utf-8"))
    print_report(report, run / "eval/report.html", Console())


def _make_report(config: RunConfig, candidates: Sequence[Candidate], job: Job) -> None:
    run = run_dir(config)
    tasks = load_tasks(run / "heldout.jsonl", run / "train.jsonl", config.eval.n_tasks)
    with job.running() as counts:
        rows = {candidate.name: _rows_of(config, candidate, tasks) for candidate in candidates}
        report = build_report(config, candidates, tasks, rows)
        write_report(config, report, tasks, rows)
        counts["tasks"] = len(tasks)
        counts["scores"] = {model["name"]: model["score"] for model in report["models"]}


def _report_job(config: RunConfig, candidates: Sequence[Candidate]) -> Job:
    inputs = {f"{c.name}.{name}": source for c in candidates for name, source in c.inputs.items()}
    settings = {**_settings(config), "models": [candidate.name for candidate in candidates]}
    return _job(config, "eval/report.json", settings, inputs)


def _model_job(config: RunConfig, candidate: Candidate) -> Job:
    return _job(config, f"eval/{candidate.file_name}.jsonl", _settings(config), candidate.inputs)


def _job(config: RunConfig, output: str, settings: Mapping[str, Any], inputs: Mapping[str, Path | str]) -> Job:
    run = run_dir(config)
    data: dict[str, Path | str] = {"heldout": run / "heldout.jsonl", "train": run / "train.jsonl"}
    return Job.of(config, "eval", output=output, command=PROG, settings=settings, inputs={**data, **inputs})


def _settings(config: RunConfig) -> dict[str, Any]:
    """What a score depends on besides model and tasks; not how fast it is made."""
    section = config.eval.model_dump(include={"suites", "n_tasks", "max_turns", "max_tokens", "temperature"})
    return {**section, "tools": config.tools.model_dump(), "engine": config.serve.engine, "dtype": config.serve.dtype}


def _rows_of(config: RunConfig, candidate: Candidate, tasks: Sequence[HeldoutTask]) -> list[TaskRow]:
    """The rows of one model in the order of the tasks, played now unless they are there."""
    job = _model_job(config, candidate)
    # Nobody knows whether a URL still means the same model, so its finished rows are not used again.
    if candidate.url is None and job.is_current():
        rows: list[TaskRow] = read_records(job.output, TaskRow)
        return rows
    partial_path = job.output.with_suffix(".partial.jsonl")
    with job.running() as counts:
        with PartialRows(partial_path, job.key) as partial:
            waiting = [heldout for heldout in tasks if heldout.task.id not in partial.rows]
            if waiting:
                with endpoint(config, candidate) as asked:
                    asyncio.run(_play(config, candidate.name, asked, waiting, partial, len(tasks)))
            rows = [partial.rows[heldout.task.id] for heldout in tasks]
        write_rows(job.output, (row.model_dump(mode="json") for row in rows))
        partial_path.unlink()
        counts.update(tasks=len(rows), passed=sum(row.passed for row in rows))
    return rows


async def _play(
    config: RunConfig, name: str, asked: Endpoint, waiting: Sequence[HeldoutTask], partial: PartialRows, n_all: int
) -> None:
    """Play what is left of a model's tasks at its endpoint, with a progress bar."""
    async with _open_chat(config, asked) as chat, open_configured(config.tools) as worlds:
        with _progress() as progress:
            bar = progress.add_task(name, total=n_all, completed=n_all - len(waiting), passed="")

            def keep(row: TaskRow) -> None:
                partial.add(row)
                _advance(progress, bar, partial)

            await play_tasks(
                waiting,
                chat,
                worlds.environment,
                config.eval,
                call_timeout_s=config.tools.call_timeout_s,
                seed=config.seed,
                keep=keep,
                n_all=n_all,
            )


def _open_chat(config: RunConfig, asked: Endpoint) -> OpenAIChat:
    section = config.eval
    return OpenAIChat(
        asked.url,
        asked.model,
        api_key=asked.api_key,
        temperature=section.temperature,
        max_tokens=section.max_tokens,
        timeout_s=section.timeout_s,
        retries=section.retries,
        any_api=not asked.ours,
    )


def _progress() -> Progress:
    return Progress(
        TextColumn("eval {task.description:<6}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[passed]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _advance(progress: Progress, bar: TaskID, partial: PartialRows) -> None:
    passed = sum(row.passed for row in partial.rows.values())
    progress.update(bar, advance=1, passed=f"{passed / len(partial.rows):.1%} passed")
