"""The report: its JSON contract, and a page that is one file, bounded, and never runs what a tool wrote."""

import json
import math
import random
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from eval.charts import Series, draw_reward_curve, line_chart, p_value, smooth, ticks
from eval.console import print_report
from eval.heldout import HeldoutTask
from eval.metrics import CallRecord, Verdict
from eval.page import build_page, embed_tasks
from eval.report import build_report, funnel, read_curves, write_report
from eval.summary import TaskRow
from toolwright.artifacts import write_rows
from toolwright.config import RunConfig
from toolwright.page import fill
from toolwright.records import MODES, Message, Plan, Step, ToolCall, ToolSpec
from toolwright.task import Task

PAYLOAD = "</script><script>alert('owned')</script><img src=x onerror=alert(1)>"
QUESTIONS = (
    "What did gas cost at the TTF hub on 1 March 2025?",
    "Convert 30.5 EUR/MWh into USD/MMBtu at a rate of 1.08.",
    "How full is the storage at Rehden, and at Haidach?",
    "Please add up the volumes of all trades at NBP in January.",
)


def task_and_rows(number: int, skill: dict[str, float], text: str = "") -> tuple[HeldoutTask, dict[str, TaskRow]]:
    rng = random.Random(number)
    mode = MODES[number % len(MODES)]
    call = ToolCall(name="spot_price", arguments={"hub": "TTF", "day": f"2025-03-{number % 28 + 1:02d}"})
    steps = () if mode in ("no_tool", "missing_parameter") else (Step(calls=(call,)),)
    if mode == "dependent":
        steps = (*steps, Step(calls=(ToolCall(name="convert", arguments={"value": 30.5, "to": "USD/MMBtu"}),)))
    task = Task(
        id=f"q{number:04d}",
        messages=(Message(role="user", content=QUESTIONS[number % 4] + text),),
        tools=(ToolSpec(name="spot_price"), ToolSpec(name="convert")),
        seed=number,
        plan=Plan(mode=mode, steps=steps),
    )
    made = tuple(
        CallRecord(name=c.name, arguments=c.arguments, result=json.dumps({"price": 30.5, "unit": "EUR/MWh"}) + text)
        for c in task.plan.calls
    )
    rows = {}
    luck = rng.random()
    for name, share in skill.items():
        passed = luck < share
        reason = "made the planned calls and answered" if passed else "wrong arguments for spot_price"
        verdict = Verdict(passed=passed, reason=reason + text, calls=len(made), turns=2, name=0.9)
        answer = "The price was 30.5 EUR/MWh." + text
        seen = number % 4 > 0
        rows[name] = TaskRow(id=task.id, mode=mode, seen=seen, verdict=verdict, calls=made, answer=answer)
    return HeldoutTask(task, number % 4 > 0), rows


def case(n: int, text: str = "", skill: dict[str, float] | None = None):
    skill = skill or {"base": 0.12, "sft": 0.61, "rl": 0.7}
    both = [task_and_rows(number, skill, text) for number in range(n)]
    return [task for task, _ in both], {name: [rows[name] for _, rows in both] for name in skill}


def write_run(tmp_path: Path) -> RunConfig:
    """A run with data and metrics, as the stages before leave them."""
    config = RunConfig(runs_dir=str(tmp_path))
    run = tmp_path / "tiny"
    for name, n in (("questions", 1800), ("conversations", 1520), ("train", 1150)):
        write_rows(run / f"{name}.jsonl", ({"id": i} for i in range(n)))
    noise = random.Random(3)
    rl = [(i, 2 + 1.6 * (1 - math.exp(-i / 30)) + noise.gauss(0, 0.25)) for i in range(1, 101)]
    rows = ({"step": i, "reward": y, "reward_format": 0.9, "reward_correctness": y - 0.9} for i, y in rl)
    write_rows(run / "rl/metrics.jsonl", rows)
    sft = ({"step": i, "loss": 0.2 + 2.5 * math.exp(-i / 40) + noise.gauss(0, 0.02)} for i in range(10, 260, 10))
    write_rows(run / "sft/metrics.jsonl", [*sft, {"step": 250, "dev_loss": 0.3}])
    return config


class Page(HTMLParser):
    """Collects what a browser would load or run."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def test_the_json_holds_models_and_consecutive_pairs_as_agreed(tmp_path: Path):
    config = write_run(tmp_path)
    tasks, rows = case(60)
    write_report(config, build_report(config, [], tasks, rows), tasks, rows)
    report = json.loads((tmp_path / "tiny/eval/report.json").read_text())
    assert [model["name"] for model in report["models"]] == ["base", "sft", "rl"]
    for model in report["models"]:
        low, high = model["interval"]
        assert model["n"] == 60
        assert 0 <= low <= model["score"] <= high <= 1
        assert sum(entry["n"] for entry in model["by_mode"].values()) == 60
        assert sum(entry["passed"] for entry in model["by_tools"].values()) == round(model["score"] * 60)
    assert [(pair["a"], pair["b"]) for pair in report["paired"]] == [("base", "sft"), ("sft", "rl")]
    assert {"p", "wins", "losses"} <= set(report["paired"][0])
    assert [step["n"] for step in report["funnel"]] == [1800, 1520, 1150]
    assert report["versions"]["python"]
    assert (tmp_path / "tiny/eval/reward_curve.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_is_one_file_without_outside_resources(tmp_path: Path):
    config = write_run(tmp_path)
    tasks, rows = case(12)
    write_report(config, build_report(config, [], tasks, rows), tasks, rows)
    page = Page((tmp_path / "tiny/eval/report.html").read_text())
    assert not [value for name, value in page.attributes if name in ("src", "href", "srcset", "action")]
    assert page.tags.count("svg") == 2
    assert ("name", "viewport") in page.attributes


def test_markup_from_tools_questions_and_names_stays_text(tmp_path: Path):
    config = write_run(tmp_path)
    tasks, rows = case(6, text=PAYLOAD, skill={"base": 0.1, PAYLOAD: 0.9})
    report = build_report(config, [], tasks, rows)
    report["receipt"]["stages"] = [{"name": PAYLOAD, "command": PAYLOAD, "wall_s": 1.0, "peak_rss_mib": 1.0}]
    html = build_page(report, tasks, rows, reward={PAYLOAD: [(1, 1.0), (2, 2.0)]}, loss={})
    page = Page(html)
    assert page.tags.count("script") == 2
    assert "img" not in page.tags
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    data = json.loads(html.split('id="data">')[1].split("</script>")[0])
    assert data["tasks"][0]["q"].endswith(PAYLOAD)


def test_only_the_pages_own_script_may_run():
    tasks, rows = case(2)
    html = build_page(build_report(RunConfig(), [], tasks, rows), tasks, rows, reward={}, loss={})
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)[1]
    assert "default-src 'none'" in policy
    assert re.search(r"script-src 'sha256-[A-Za-z0-9+/=]{44}'", policy)
    assert "unsafe-inline" not in policy.split("script-src")[1]


def test_three_models_on_four_hundred_long_tasks_stay_under_three_megabytes():
    tasks, rows = case(400, text=" Öl & <gas> " * 200)
    html = build_page(build_report(RunConfig(), [], tasks, rows), tasks, rows, reward={}, loss={})
    assert len(html.encode()) < 3_000_000
    assert len(json.loads(html.split('id="data">')[1].split("</script>")[0])["tasks"]) == 400


def test_what_does_not_fit_is_left_out_and_said():
    tasks, rows = case(100)
    text, note = embed_tasks(tasks, rows, max_bytes=20_000)
    assert 0 < len(json.loads(text)["tasks"]) < 100
    assert note.startswith(f"The first {len(json.loads(text)['tasks'])} of 100 tasks.")


def test_a_value_is_never_filled_again():
    assert fill("{{a}} {{b}}", {"a": "{{b}}", "b": "x"}) == "{{b}} x"


def test_a_run_without_training_or_data_has_a_report_all_the_same(tmp_path: Path):
    config = RunConfig(runs_dir=str(tmp_path))
    tasks, rows = case(3, skill={"http://127.0.0.1:8000/v1": 0.5})
    report = build_report(config, [], tasks, rows)
    assert (report["funnel"], report["paired"]) == ([], [])
    assert "<svg" not in build_page(report, tasks, rows, reward={}, loss={})


def test_curves_take_the_fields_that_are_there(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    write_rows(path, [{"step": 1, "reward": 1}, {"step": 2, "other": 3}, {"step": 3, "reward": 2.5}])
    assert read_curves(path, {"reward": "reward", "x": "x"}) == {"reward": [(1.0, 1.0), (3.0, 2.5)]}
    assert read_curves(tmp_path / "absent.jsonl", {"reward": "reward"}) == {}


def test_the_funnel_counts_rows(tmp_path: Path):
    assert [(step["step"], step["n"]) for step in funnel(write_run(tmp_path))] == [
        ("questions", 1800),
        ("kept", 1520),
        ("trained", 1150),
    ]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 100, [0, 20, 40, 60, 80, 100]), (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (3, 3, [3]), (-0.3, 4.1, [0, 1, 2, 3, 4])],
)
def test_axis_ticks_are_round_numbers(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


def test_a_running_mean_keeps_ends_and_lines():
    assert [y for _, y in smooth([(i, 2.0 * i) for i in range(20)])] == pytest.approx([2.0 * i for i in range(20)])


@pytest.mark.parametrize("points", [[], [(1, 2.0)], [(1, 2.0), (2, 2.0)], [(1, math.nan), (2, 1.0), (3, math.inf)]])
def test_odd_curves_are_drawn_or_left_out(points, tmp_path: Path):
    chart = line_chart([Series("reward", points, "main")], "step")
    assert "nan" not in chart
    assert "inf" not in chart
    if points:
        draw_reward_curve(tmp_path / "curve.png", {"reward": points})


def test_tiny_p_values_are_not_written_as_zero():
    assert (p_value(1e-9), p_value(0.0123)) == ("p < 0.001", "p = 0.012")


def test_the_terminal_table_shows_scores_intervals_tests_and_the_page(tmp_path: Path):
    tasks, rows = case(60)
    console = Console(width=100, record=True, file=(tmp_path / "out.txt").open("w"))
    print_report(build_report(write_run(tmp_path), [], tasks, rows), Path("runs/tiny/eval/report.html"), console)
    text = console.export_text()
    for part in ("95% interval", "missing parameter", "unseen tools", "base → sft", "p < 0.001", "eval/report.html"):
        assert part in text
