import asyncio
import os
import signal
import threading
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from attacks.watch import Leftovers, processes_of, runs
from mcpserver import environment as environment_module
from mcpserver.environment import Environment
from mcpserver.sandbox import level as level_module
from mcpserver.sandbox.level import choose_level, describe, reason_against
from mcpserver.sandbox.limits import Limits
from toolwright.errors import SandboxError
from toolwright.records import ToolCall


@pytest.fixture(params=["bwrap", "landlock"])
def level(request):
    if reason := reason_against(request.param):
        pytest.skip(f"{request.param}: {reason}")
    return request.param


@asynccontextmanager
async def opened(level, **limits):
    """An environment with little time, and what it must not leave behind."""
    async with Environment.create(3, world="desk", sandbox=level) as env:
        env.limits = Limits(**{"call_timeout_s": 20.0, **limits})
        yield env
        leftovers = Leftovers(env)
    assert not await leftovers.find()  # waits: the kernel takes a moment to take a namespace down


async def python(env, code, timeout_s=None):
    env.limits = Limits(call_timeout_s=timeout_s or env.limits.call_timeout_s)
    result = await env.call(ToolCall(name="run_python", arguments={"code": code}))
    env.limits = Limits(call_timeout_s=20.0)
    return result


async def read(env, path="kept.txt"):
    return await env.call(ToolCall(name="read_file", arguments={"path": path}))


def test_a_late_cell_is_interrupted_and_its_variables_stay(level):
    async def go():
        async with opened(level) as env:
            await python(env, "a = 42")
            late = await python(env, "import time\nb = 1\ntime.sleep(600)", 0.5)
            return late, await python(env, "a + b")

    late, after = asyncio.run(go())
    assert late.error == "timeout"
    assert "its variables are kept" in late.content
    assert after.content == "43"


STUBBORN = {
    "ignores signals": "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass",
    "in C": "sum(range(10**12))",
    "stopped": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
}


@pytest.mark.parametrize("code", STUBBORN.values(), ids=STUBBORN)
def test_a_stubborn_cell_is_ended_and_the_next_one_starts_anew(level, code):
    async def go():
        async with opened(level) as env:
            await python(env, "a = 42\nopen('kept.txt', 'w').write('kept')")
            late = await python(env, code, 0.5)
            return late, await python(env, "'a' in globals()"), await read(env)

    late, after, kept = asyncio.run(go())
    assert late.error == "timeout"
    assert "variables are lost" in late.content
    assert after.content == "False"
    assert kept.content == '{"text": "kept"}'


DEATHS = {
    "leaves": "import os\nos._exit(0)",
    "crashes": "import ctypes\nctypes.string_at(0)",
    "closes everything": "import os\nos.closerange(0, 256)",
}


@pytest.mark.parametrize("code", DEATHS.values(), ids=DEATHS)
def test_a_python_that_dies_is_told_and_started_again_on_the_same_files(level, code):
    async def go():
        async with opened(level) as env:
            await python(env, "a = 42\nopen('kept.txt', 'w').write('kept')")
            return await python(env, code), await python(env, "'a' in globals()"), await read(env)

    died, after, kept = asyncio.run(go())
    assert died.error == "tool_error"
    assert after.content == "False"
    assert kept.content == '{"text": "kept"}'


def test_a_late_tool_is_stopped_and_the_files_stay(level):
    async def go():
        async with opened(level) as env:
            await python(env, "a = 42\nopen('kept.txt', 'w').write('kept')")
            env.limits = Limits(call_timeout_s=0.5)
            arguments = {"pattern": "(a+)+$", "text": "a" * 40 + "!"}
            late = await env.call(ToolCall(name="regex_search", arguments=arguments))
            env.limits = Limits(call_timeout_s=20.0)
            return late, await read(env), await python(env, "'a' in globals()")

    late, kept, after = asyncio.run(go())
    assert late.error == "timeout"
    assert "variables are lost" in late.content
    assert kept.content == '{"text": "kept"}'
    assert after.content == "False"


def test_a_keeper_that_is_killed_is_replaced_and_the_files_stay(level):
    async def go():
        async with opened(level) as env:
            await python(env, "open('kept.txt', 'w').write('kept')")
            first = env._worker._keeper
            os.kill(first, signal.SIGKILL)
            results = [await read(env), await read(env)]
            return first, env._worker._keeper, results, await python(env, "6 * 7")

    first, second, results, after = asyncio.run(go())
    assert results[-1].content == '{"text": "kept"}'
    assert first != second
    assert after.content == "42"


def test_memory_of_all_processes_together_is_bounded(level):
    code = """
import os, time
for _ in range(8):
    if os.fork() == 0:
        kept = bytearray(b'x') * (300 << 20)
        time.sleep(60)
        os._exit(0)
time.sleep(60)
"""

    async def go():
        async with opened(level) as env:
            return await python(env, code), await python(env, "6 * 7")

    result, after = asyncio.run(go())
    assert result.error == "limit"
    assert "memory" in result.content
    assert after.content == "42"


def test_what_a_cell_leaves_running_is_ended_with_it(level):
    async def go():
        async with opened(level) as env:
            code = "import subprocess\nfor _ in range(3): subprocess.Popen(['sleep', '86390'], start_new_session=True)"
            result = await python(env, code)
            alive = [process for process in processes_of(env) if runs(process)]
            names = [process.name() for process in alive]
            return result, names

    result, names = asyncio.run(go())
    assert "3 processes that it had started were ended" in result.content
    assert "sleep" not in names


WRITER = """
import threading, time
def write():
    while True:
        open('grows.txt', 'a').write('x')
        time.sleep(0.001)
threading.Thread(target=write, daemon=True).start()
"""


def test_nothing_changes_while_nothing_is_called(level):
    async def go():
        async with opened(level) as env:
            await python(env, WRITER)
            first = await env.snapshot()
            await asyncio.sleep(0.3)
            second = await env.snapshot()
            await python(env, "import time\ntime.sleep(0.3)")
            return first, second, await env.diff(first)

    first, second, changes = asyncio.run(go())
    assert first == second
    assert "file:grows.txt" in first
    assert changes == {"file:grows.txt": "changed"}


def test_trees_too_deep_for_python_and_files_that_may_not_be_read_are_in_a_snapshot(level):
    code = "import os\ntop = os.getcwd()\nfor _ in range(2000):\n    os.mkdir('d')\n    os.chdir('d')\nos.chdir(top)\n"
    code += "open('closed.txt', 'w').write('x')\nos.chmod('closed.txt', 0)\nos.mkdir('shut')\nos.chmod('shut', 0)"

    async def go():
        async with opened(level) as env:
            before = await env.state()
            made = await python(env, code)
            snapshot = await env.snapshot()
            await env.reset()
            return made, snapshot, before, await env.state()

    made, snapshot, before, after = asyncio.run(go())
    assert made.ok, made.content
    assert snapshot["file:closed.txt"].startswith("unreadable")
    assert snapshot["file:shut/"] == "folder"
    assert before == after


def test_a_full_disk_does_not_silence_python(level):
    code = (
        "import tempfile\nfor n in range(60):\n    open(f'{tempfile.gettempdir()}/{n}', 'wb').write(b'x' * (4 << 20))"
    )

    async def go():
        async with opened(level) as env:
            return await python(env, code), await python(env, "6 * 7")

    full, after = asyncio.run(go())
    assert full.ok or full.error == "limit"
    assert after.content.startswith("42") or after.error == "limit"


@pytest.mark.parametrize("what", ["python", "tool"])
def test_a_call_that_is_cancelled_leaves_a_working_environment(level, what):
    async def go():
        async with opened(level) as env:
            await python(env, "open('kept.txt', 'w').write('kept')")
            arguments = {"pattern": "(a+)+$", "text": "a" * 40 + "!"}
            calls = {"python": ToolCall(name="run_python", arguments={"code": "while True: pass"}),
                     "tool": ToolCall(name="regex_search", arguments=arguments)}  # fmt: skip
            task = asyncio.create_task(env.call(calls[what]))
            await asyncio.sleep(0.3)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return await read(env), await python(env, "6 * 7")

    kept, after = asyncio.run(go())
    assert kept.content == '{"text": "kept"}'
    assert after.content == "42"


def test_sixteen_environments_live_at_once_and_leave_nothing(level):
    async def one(number):
        async with opened(level) as env:
            await python(env, f"open('own.txt', 'w').write('{number}')")
            ready.append(number)
            while len(ready) < 16:
                await asyncio.sleep(0.01)
            return (await read(env, "own.txt")).content

    async def go():
        return await asyncio.gather(*map(one, range(16)))

    ready = []
    assert asyncio.run(go()) == [f'{{"text": "{number}"}}' for number in range(16)]


def test_two_event_loops_have_environments_of_their_own(level):
    def run(number):
        async def go():
            async with opened(level) as env:
                return [(await python(env, f"{number} * 10 + {n}")).content for n in range(5)]

        results[number] = asyncio.run(go())

    results = {}
    threads = [threading.Thread(target=run, args=(number,)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: [str(number * 10 + n) for n in range(5)] for number in (1, 2)}


def test_a_closed_environment_leaves_no_file_and_no_mount(level, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    tmp_path.chmod(0o755)
    mounts = Path("/proc/self/mountinfo").read_text()

    async def go():
        async with opened(level) as env:
            await python(env, "import os\nos.makedirs('a/b')\nos.chmod('a', 0)\nos.chmod('..', 0)")

    asyncio.run(go())
    assert not list(tmp_path.glob("toolwright-env-*"))
    assert Path("/proc/self/mountinfo").read_text() == mounts


def test_an_environment_that_is_closed_refuses_calls(level):
    async def go():
        async with Environment.create(1, world="desk", sandbox=level) as env:
            await read(env, "notes/credit.md")
        return await read(env, "notes/credit.md"), await python(env, "1")

    for result in asyncio.run(go()):
        assert result.error == "tool_error"
        assert "closed" in result.content


def test_no_sandbox_is_never_chosen_by_itself(monkeypatch):
    monkeypatch.delenv("TOOLWRIGHT_SANDBOX", raising=False)
    monkeypatch.setattr(level_module, "reason_against", lambda level: f"{level} is broken")
    assert choose_level() is None
    assert choose_level("none") == "none"
    with pytest.raises(SandboxError, match="bwrap is broken"):
        choose_level("bwrap")
    text = describe()
    assert "none works; code tools are refused" in text
    assert "bwrap is broken" in text
    assert "--sandbox=none" in text


def test_without_a_sandbox_code_is_refused_and_tools_run(monkeypatch):
    monkeypatch.setattr(environment_module, "choose_level", lambda choice: None)

    async def go():
        async with Environment.create(1, world="desk") as env:
            return await python(env, "1"), await read(env, "notes/credit.md")

    refused, content = asyncio.run(go())
    assert refused.error == "denied"
    assert "--sandbox=none" in refused.content
    assert content.ok


def test_the_doctor_says_which_level_works_and_why():
    text = describe()
    first, *rest = text.splitlines()
    assert first.startswith("sandbox: ")
    assert len(rest) == 3
    for name, line in zip(("bwrap", "landlock"), rest, strict=False):
        assert line.split()[0] == name
        assert ("works: " in line) is not ("does not work: " in line)
        assert ("does not work: " in line) is bool(reason_against(name))


def test_starting_calling_and_closing_take_no_long_time():
    if choose_level() is None:
        pytest.skip("no sandbox works on this machine: `python -m mcpserver doctor` says why")

    async def go():
        start = time.monotonic()
        async with Environment.create(1, world="desk") as env:
            await read(env, "notes/credit.md")
        return time.monotonic() - start

    assert min(asyncio.run(go()) for _ in range(3)) < 5
