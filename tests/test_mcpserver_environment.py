import asyncio
import time

import pytest

from mcpserver.baseworld import default_base, load_base, write_base
from mcpserver.catalogue import select_tools, toolsets
from mcpserver.environment import Environment
from mcpserver.rendering import MAX_RESULT_BYTES
from mcpserver.sandbox.level import choose_level
from toolwright.errors import ConfigError
from toolwright.records import ToolCall, ToolResult


def play(calls, seed=7, **options):
    """Results, final state and changes of a sequence of (name, arguments)."""

    async def go():
        async with Environment.create(seed, **options) as env:
            before = await env.snapshot()
            results = [await env.call(ToolCall(name=name, arguments=arguments)) for name, arguments in calls]
            return results, await env.state(), await env.diff(before)

    return asyncio.run(go())


@pytest.mark.parametrize("toolset", toolsets())
def test_every_example_runs_in_the_sandbox_and_gives_the_same_result_twice(toolset):
    if toolset == "python" and choose_level() is None:
        pytest.skip("no sandbox works on this machine, so code is refused: `python -m mcpserver doctor` says why")

    async def go():
        options = {"toolsets": [toolset], "world": "company"}
        async with Environment.create(7, **options) as one, Environment.create(7, **options) as other:
            for tool in select_tools([toolset]).values():
                for example in tool.examples:
                    call = ToolCall(name=tool.spec.name, arguments=example)
                    first, second = await asyncio.gather(one.call(call), other.call(call))
                    assert first.ok, (call, first.content)
                    assert first == second
                    assert await one.state() == await other.state()
                    await asyncio.gather(one.reset(), other.reset())

    asyncio.run(go())


def test_another_seed_gives_other_prices():
    call = [("get_spot_price", {"hub": "TTF", "date": "2025-03-14"})]
    assert play(call, seed=1)[0] != play(call, seed=2)[0]


def test_reading_leaves_the_state_alone_whether_or_not_files_were_copied():
    untouched = play([])[1]
    assert play([("mean", {"values": [1]})])[1] == untouched
    assert (
        play([("read_file", {"path": "config/desk.json"}), ("count_rows", {"database": "trades", "table": "trades"})])[
            1
        ]
        == untouched
    )


CHANGES = [
    ("append_line", {"path": "notes/credit.md", "text": "x"}, {"file:notes/credit.md": "changed"}),
    ("delete_file", {"path": "notes/credit.md"}, {"file:notes/credit.md": "removed"}),
    ("write_file", {"path": "new/a.txt", "text": "x"}, {"file:new/a.txt": "added"}),
    (
        "move_file",
        {"source": "notes/credit.md", "target": "notes/c.md"},
        {"file:notes/credit.md": "removed", "file:notes/c.md": "added"},
    ),
    (
        "delete_rows",
        {"database": "trades", "table": "partners", "column": "name", "value": "Nordgas"},
        {"table:trades/partners": "changed"},
    ),
    (
        "book_capacity",
        {"pipeline": "Langeled", "date": "2025-03-03", "energy_mwh": 10},
        {"service:bookings": "added"},
    ),
]


@pytest.mark.parametrize(("name", "arguments", "changes"), CHANGES, ids=[name for name, _, _ in CHANGES])
def test_each_change_shows_in_the_state_and_in_the_difference(name, arguments, changes):
    _, state, difference = play([(name, arguments)])
    assert difference == changes
    assert state != play([])[1]


def test_undoing_a_change_gives_the_first_state_again():
    there_and_back = [
        ("move_file", {"source": "notes/credit.md", "target": "notes/c.md"}),
        ("move_file", {"source": "notes/c.md", "target": "notes/credit.md"}),
    ]
    assert play(there_and_back)[1] == play([])[1]


def test_the_order_of_rows_and_bookings_leaves_no_trace_in_the_state():
    rows = [
        ("insert_row", {"database": "storage", "table": "maintenance", "values": {"id": n, "site": "Rough"}})
        for n in (90, 91)
    ]
    bookings = [("book_capacity", {"pipeline": "Langeled", "date": "2025-03-03", "energy_mwh": n}) for n in (10, 20)]
    assert play(rows + bookings)[1] == play([*reversed(rows), *reversed(bookings)])[1]


BAD_CALLS = [
    ("get_spot_prize", {}, "unknown_tool", 'did you mean "get_spot_price"'),
    ("", {}, "unknown_tool", "no tool"),
    ("get_spot_price", {"hub": "TTF"}, "bad_arguments", "date"),
    ("get_spot_price", {"hub": "ttf", "date": "2025-03-14"}, "bad_arguments", "TTF"),
    ("get_spot_price", {"hub": "TTF", "date": "14.3.2025"}, "bad_arguments", "date"),
    ("get_spot_price", {"hub": "TTF", "date": "2050-01-01"}, "bad_arguments", "2035-12-31"),
    ("get_spot_price", {"hub": "TTF", "date": "2025-02-30"}, "bad_arguments", "date"),
    ("get_spot_price", {"hub": "TTF", "date": "2025-03-14", "day": 1}, "bad_arguments", "day"),
    ("get_auction_price", {"hub": "TTF", "product": "2025-13"}, "bad_arguments", "product"),
    ("get_trading_day", {"date": "2025-03-14", "offset": 1.0}, "bad_arguments", "offset"),
    ("get_trading_day", {"date": "2025-03-14", "offset": True}, "bad_arguments", "offset"),
    ("get_trading_day", {"date": "2025-03-14", "offset": "1"}, "bad_arguments", "offset"),
    ("count_delivery_days", {"start": "2025-03-14", "end": "2025-03-13"}, "bad_arguments", "end"),
    ("book_capacity", {"pipeline": "Langeled", "date": "2025-03-03", "energy_mwh": 1e6}, "tool_error", "MWh are free"),
    ("mean", {"values": "[1,2,3]"}, "bad_arguments", "values"),
    ("mean", {"values": [float("nan")]}, "bad_arguments", "not JSON"),
    ("mean", {"values": [10**400]}, "bad_arguments", "too large"),
    ("calculate", {"expression": "\ud800"}, "bad_arguments", "arguments"),
    ("percent_change", {"old": 0, "new": 1}, "bad_arguments", "old"),
    ("standard_deviation", {"values": [1]}, "bad_arguments", "two numbers"),
    ("read_file", {"path": "notes/storag.md"}, "tool_error", 'did you mean "notes/storage.md"'),
    ("read_file", {"path": "notes"}, "tool_error", "is a folder"),
    ("list_files", {"folder": "note"}, "tool_error", 'did you mean "notes"'),
    ("write_file", {"path": "a.txt", "text": "x" * 70_000}, "limit", "65536"),
    ("query_rows", {"database": "trades", "table": "trade", "column": "id", "value": "1"}, "tool_error", '"trades"'),
]


@pytest.mark.parametrize(("name", "arguments", "error", "words"), BAD_CALLS)
def test_a_bad_call_is_a_typed_result_with_a_message_for_the_model(name, arguments, error, words):
    (result,), state, _ = play([(name, arguments)])
    assert (result.error, words in result.content) == (error, True), result.content
    assert state == play([])[1]


def test_capacity_runs_out_and_the_ledger_remembers():
    booking = ("book_capacity", {"pipeline": "Langeled", "date": "2025-03-03", "energy_mwh": 3000})
    results, _, _ = play([booking] * 8)
    kinds = [result.error for result in results]
    assert kinds[0] is None
    assert kinds[-1] == "tool_error"
    assert "LAN-20250303-2" in results[1].content


OWN_TOOLS = '''
import time


def wait_long(context: Context, seconds: float) -> str:
    """Write too late."""
    time.sleep(seconds)
    context.files.write("late.txt", b"late")
    return "done"


def give_long() -> str:
    """Give a long text."""
    return "ä" * 100_000


def crash() -> str:
    """Crash."""
    raise KeyError("where")


def give_infinite() -> float:
    """Give no number."""
    return float("inf")
'''


def play_own(tmp_path, calls, runs_in="worker", **options):
    (tmp_path / "own.py").write_text(f"from mcpserver.context import Context\n\nRUNS_IN = {runs_in!r}\n{OWN_TOOLS}")
    return play(calls, sources=(str(tmp_path / "own.py"),), **options)


def test_a_slow_tool_times_out_and_changes_nothing_later(tmp_path):
    calls = [("wait_long", {"seconds": 2.0}), ("list_files", {"folder": "notes"}), ("wait_long", {"seconds": 0.0})]
    (late, listed, quick), _, changes = play_own(tmp_path, calls, call_timeout_s=0.5)
    assert late.error == "timeout"
    assert listed.ok
    assert quick.ok
    assert changes == {"file:late.txt": "added"}


@pytest.mark.parametrize("runs_in", ["server", "worker"])
@pytest.mark.parametrize(
    ("name", "error", "words"),
    [("crash", "tool_error", "failed: KeyError"), ("give_infinite", "tool_error", ""), ("give_long", None, "[cut: ")],
)
def test_crashes_and_huge_results_are_contained(tmp_path, runs_in, name, error, words):
    (result,), _, changes = play_own(tmp_path, [(name, {})], runs_in)
    assert result.error == error
    assert words in result.content
    assert len(result.content.encode()) <= MAX_RESULT_BYTES
    assert changes == {}


def test_a_closed_environment_leaves_no_process_and_refuses():
    async def go():
        async with Environment.create(1) as env:
            assert (await env.call(ToolCall(name="list_files", arguments={"folder": "notes"}))).ok
            process = env._worker._process
        return process.poll(), await env.call(ToolCall(name="list_files", arguments={"folder": "notes"}))

    ended, result = asyncio.run(go())
    assert ended is not None
    assert result == ToolResult(content="tool_error: this environment is closed", error="tool_error")


def test_32_environments_at_once_do_not_see_each_other():
    async def one(seed):
        async with Environment.create(seed) as env:
            booking = {"pipeline": "Langeled", "date": "2025-03-03", "energy_mwh": 1 + seed}
            results = [
                await env.call(ToolCall(name="append_line", arguments={"path": "notes/credit.md", "text": str(seed)})),
                await env.call(ToolCall(name="book_capacity", arguments=booking)),
                await env.call(ToolCall(name="read_file", arguments={"path": "notes/credit.md"})),
            ]
            row = {"database": "storage", "table": "maintenance", "values": {"task": str(seed)}}
            results.append(await env.call(ToolCall(name="insert_row", arguments=row)))
            return [result.content for result in results], await env.state()

    async def go():
        return await asyncio.gather(*(one(seed) for seed in range(32)))

    together = asyncio.run(go())
    assert together == [asyncio.run(one(seed)) for seed in range(32)]
    assert len({state for _, state in together}) == 32


def test_parallel_calls_of_one_environment_are_played_one_after_the_other():
    async def go():
        async with Environment.create(1) as env:
            line = ToolCall(name="append_line", arguments={"path": "notes/credit.md", "text": "x"})
            await asyncio.gather(*(env.call(line) for _ in range(20)))
            return (await env.call(ToolCall(name="read_file", arguments={"path": "notes/credit.md"}))).content

    assert asyncio.run(go()).count("\\nx") == 20


def test_creating_an_environment_is_fast():
    async def go():
        durations_s = []
        for seed in range(20):
            started = time.perf_counter()
            async with Environment.create(seed) as env:
                assert env.tools
            durations_s.append(time.perf_counter() - started)
        return durations_s

    assert min(asyncio.run(go())) < 0.005


def test_a_base_of_ones_own_is_copied_and_never_written(tmp_path):
    write_base(default_base(), tmp_path / "mine")
    (tmp_path / "mine/files/notes/own.md").write_text("hello")
    before = load_base(tmp_path / "mine")
    calls = [("read_file", {"path": "notes/own.md"}), ("delete_file", {"path": "notes/own.md"})]
    results, _, changes = play(calls, world=str(tmp_path / "mine"))
    assert results[0].content == '{"text": "hello"}'
    assert changes == {"file:notes/own.md": "removed"}
    assert load_base(tmp_path / "mine") == before


def test_a_base_that_cannot_be_copied_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no such directory"):
        play([], world=str(tmp_path / "none"))
    (tmp_path / "files").mkdir()
    (tmp_path / "files/link").symlink_to("/etc/passwd")
    with pytest.raises(ConfigError, match=r"files/link: only plain files"):
        play([], world=str(tmp_path))
