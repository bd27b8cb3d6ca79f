"""The report as one self-contained HTML page: no external resource, light and dark, good on a phone.

Everything that models, tools or configurations wrote is escaped, or travels as JSON and is shown as text; the page's
content security policy lets no script run but its own.
"""

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from eval.charts import Series, interval_bar, line_chart, p_value, percent, plain_bar
from eval.heldout import HeldoutTask
from eval.summary import TaskRow
from toolwright.page import fill, safe_json, script_hash
from toolwright.records import ToolCall

MAX_DATA_BYTES = 2_600_000
"""Room for the embedded tasks, so that the page stays under 3 MB."""
TEXT_LIMITS = (400, 200, 100, 50)
"""Longest texts (characters), tried in turn until the tasks fit."""
COLOURS = 6

Curves = Mapping[str, Sequence[tuple[float, float]]]
PARTS = {
    "name": "names",
    "parameters": "parameters",
    "values": "values",
    "state": "state",
    "abstention": "abstention",
    "malformed_calls": "malformed calls",
    "call_like_text": "unparsed call text",
    "turns": "turns",
}


def build_page(
    report: Mapping[str, Any],
    tasks: Sequence[HeldoutTask],
    rows_by_model: Mapping[str, Sequence[TaskRow]],
    *,
    reward: Curves,
    loss: Curves,
) -> str:
    """The whole page.

    Args:
        report: what ``report.json`` holds.
        tasks: the tasks that were played.
        rows_by_model: model -> its rows.
        reward: curve name -> points (step, value) of RL; empty without RL.
        loss: the same of SFT.
    """
    data, note = embed_tasks(tasks, rows_by_model)
    template = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    sections = [_result(report), _by_mode(report), _parts(report), _funnel(report), _training(reward, loss)]
    return fill(
        template,
        {
            "title": f"toolwright: {escape(report['run'])}",
            "script_hash": script_hash(template),
            "eyebrow": f"toolwright · run {escape(report['run'])} · {escape(report['created'][:10])}",
            "headline": _headline(report["models"]),
            "lead": f"Share of {report['tasks']} held-out tasks passed, each played live against real tools in an "
            "environment of its own. A task passes when exactly the planned calls ran, the environment ended as "
            "planned and the model answered; where nothing was to be called, when nothing was.",
            "sections": "\n".join(filter(None, sections)),
            "tasks_note": escape(note),
            "receipt": _receipt(report),
            "data": data,
        },
    )


def _headline(models: Sequence[Mapping[str, Any]]) -> str:
    return " → ".join(f"<span>{escape(model['name'])} {percent(model['score'])}</span>" for model in models)


def _result(report: Mapping[str, Any]) -> str:
    pairs = {pair["b"]: pair for pair in report["paired"]}
    against, note = "", ""
    if pairs:
        against = "against the one above"
        note = "Won and lost: tasks that only this model, or only the one above, passed; exact paired McNemar test."
    lines = []
    for number, model in enumerate(report["models"]):
        low, high = model["interval"]
        pair = pairs.get(model["name"])
        versus = "" if pair is None else f"won {pair['wins']}, lost {pair['losses']}, {p_value(pair['p'])}"
        failed = f", {model['failed']} not played" if model["failed"] else ""
        lines.append(
            f"<tr><td>{escape(model['name'])}</td>"
            f'<td class="n score">{percent(model["score"])}</td>'
            f'<td class="wide">{interval_bar(model["score"], low, high, number % COLOURS)}</td>'
            f'<td class="n late">{percent(low)} – {percent(high)}{failed}</td><td class="n late">{versus}</td></tr>'
        )
    return (
        '<table class="result"><thead><tr><th>model</th><th class="n">passed</th><th></th>'
        f'<th class="n">95% interval (Wilson)</th><th class="n">{against}</th></tr></thead>'
        f'<tbody>{"".join(lines)}</tbody></table><p class="note">{note}</p>'
    )


def _by_mode(report: Mapping[str, Any]) -> str:
    models = report["models"]
    blocks = [
        _group(models, table, key, title)
        for table, suffix in (("by_mode", ""), ("by_tools", " tools"))
        for key, title in {key: key.replace("_", " ") + suffix for model in models for key in model[table]}.items()
    ]
    legend = "".join(
        f'<span><i class="dot c{number % COLOURS}"></i>{escape(model["name"])}</span>'
        for number, model in enumerate(models)
    )
    return f'<h2>By kind of task</h2><div class="legend">{legend}</div><div class="groups">{"".join(blocks)}</div>'


def _group(models: Sequence[Mapping[str, Any]], table: str, key: str, title: str) -> str:
    rows = [(number, model[table][key]) for number, model in enumerate(models) if key in model[table]]
    bars = "".join(
        f'<div class="row">{plain_bar(entry["score"], number % COLOURS)}<b>{percent(entry["score"])}</b></div>'
        for number, entry in rows
    )
    return f'<div class="group"><h3>{escape(title)} <span>{rows[0][1]["n"]} tasks</span></h3>{bars}</div>'


def _parts(report: Mapping[str, Any]) -> str:
    heads = "".join(f'<th class="n">{escape(title)}</th>' for title in PARTS.values())
    lines = []
    for model in report["models"]:
        cells = "".join(f'<td class="n">{_part(key, model["components"][key])}</td>' for key in PARTS)
        lines.append(f"<tr><td>{escape(model['name'])}</td>{cells}</tr>")
    return (
        f'<h2>Parts of the score</h2><div class="scroll"><table><thead><tr><th>model</th>{heads}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
        '<p class="note">Names, parameters and values: mean F1 of the calls against the plan. State: environment as '
        "planned. Abstention: nothing called where nothing was due. Malformed: calls that were refused or could not be "
        "read. Turns: mean number of replies.</p>"
    )


def _part(key: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.2f}" if key == "turns" else percent(value)


def _funnel(report: Mapping[str, Any]) -> str:
    steps = report["funnel"]
    if len(steps) < 2:
        return ""
    most = max(step["n"] for step in steps) or 1
    lines = "".join(
        f"<span>{escape(step['step'])}</span>{plain_bar(step['n'] / most, 1)}<b>{step['n']:,}</b>" for step in steps
    )
    return f'<h2>Data</h2><div class="funnel">{lines}</div>'


def _training(reward: Curves, loss: Curves) -> str:
    styles = ("main", "second", "third")
    charts = []
    for title, curves, smoothed in (("SFT: loss", loss, False), ("RL: mean reward of the rollouts", reward, True)):
        series = [Series(name, points, style) for (name, points), style in zip(curves.items(), styles, strict=False)]
        chart = line_chart(series, "optimizer step", smoothed=smoothed)
        if chart:
            charts.append(f"<div><h3>{title}</h3>{chart}</div>")
    return f'<h2>Training</h2><div class="charts">{"".join(charts)}</div>' if charts else ""


def _receipt(report: Mapping[str, Any]) -> str:
    receipt = report["receipt"]
    pairs: list[tuple[str, str]] = [("run", report["run"]), ("seed", str(report["seed"])), ("made", report["created"])]
    pairs += receipt["hashes"].items()
    pairs.append(("versions", ", ".join(f"{name} {version}" for name, version in report["versions"].items())))
    facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs)
    stages = "".join(
        f"<tr><td>{escape(stage['name'])}</td><td><code>{escape(stage['command'])}</code></td>"
        f'<td class="n">{stage["wall_s"]:.1f}</td><td class="n">{stage["peak_rss_mib"]:.0f}</td></tr>'
        for stage in receipt["stages"]
    )
    return (
        f'<h2>Receipt</h2><dl>{facts}</dl><h3 style="margin-top:1.2rem">Commands to reproduce</h3>'
        '<div class="scroll"><table><thead><tr><th>stage</th><th>command</th><th class="n">time (s)</th>'
        f'<th class="n">peak memory (MiB)</th></tr></thead><tbody>{stages}</tbody></table></div>'
    )


def embed_tasks(
    tasks: Sequence[HeldoutTask], rows_by_model: Mapping[str, Sequence[TaskRow]], max_bytes: int = MAX_DATA_BYTES
) -> tuple[str, str]:
    """``(JSON, note for people)``: the tasks with each model's attempt, texts cut so that it fits in ``max_bytes``.

    The JSON can stand in an HTML script element: it holds no ``<``, ``>`` or ``&``.
    """
    by_id = [{row.id: row for row in rows} for rows in rows_by_model.values()]
    for limit in TEXT_LIMITS:
        entries = [_task_entry(heldout, [rows.get(heldout.task.id) for rows in by_id], limit) for heldout in tasks]
        sizes = [len(safe_json(entry).encode()) + 1 for entry in entries]
        if sum(sizes) <= max_bytes:
            break
    shown, room = 0, max_bytes
    while shown < len(entries) and sizes[shown] <= room:
        room -= sizes[shown]
        shown += 1
    note = f"Long texts are cut at {limit} characters; whole rows are in the .jsonl files beside this page."
    if shown < len(entries):
        note = f"The first {shown} of {len(entries)} tasks. {note}"
    return safe_json({"models": list(rows_by_model), "tasks": entries[:shown]}), note


def _task_entry(heldout: HeldoutTask, rows: Sequence[TaskRow | None], limit: int) -> dict[str, Any]:
    task = heldout.task
    asked = "\n".join(message.content or "" for message in task.messages if message.role == "user")
    return {
        "id": task.id,
        "mode": task.plan.mode,
        "seen": heldout.seen,
        "q": _cut(asked, limit),
        "tools": [tool.name for tool in task.tools],
        "gold": [[[call.name, _arguments(call, limit)] for call in step.calls] for step in task.plan.steps],
        "by": [_attempt_entry(row, limit) if row else None for row in rows],
    }


def _attempt_entry(row: TaskRow, limit: int) -> dict[str, Any]:
    reason = row.verdict.reason if row.verdict else f"not played: {row.failed}"
    return {
        "p": int(row.passed),
        "r": _cut(reason, limit),
        "c": [
            [call.name, _arguments(call.to_call(), limit), _cut(call.result, limit), call.error or ""]
            for call in row.calls
        ],
        "a": _cut(row.answer or "", limit),
    }


def _arguments(call: ToolCall, limit: int) -> str:
    return _cut(json.dumps(call.arguments, ensure_ascii=False)[1:-1], limit)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
