"""Runs the cases of a file, several at a time, and prints what did not come out as it must."""

import asyncio
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from attacks import extra_tools
from attacks.cases import Case, read_cases
from attacks.judge import judge
from attacks.names import DATABASE
from attacks.play import Player
from mcpserver.base import open_base
from mcpserver.baseworld import write_base
from mcpserver.company import company_base
from mcpserver.sandbox.launch import Level
from mcpserver.settings import Settings
from toolwright.errors import DataError, ToolwrightError
from toolwright.words import nearest

AT_ONCE = 8
CASE_TIMEOUT_S = 180.0
_HEAVY = ("$repeat", "raw_expr", "environments", "memory", "fork", "zip_", "tar_", "$expr")


def run_file(path: Path, level: Level, only: str = "", *, times: bool = False) -> int:
    """Run the cases of a file; prints a line for each failure and the sum, and gives the number of failures.

    Raises:
        DataError: the file cannot be read, or has no such case.
    """
    cases, wrong = read_cases(path)
    for line in wrong:
        print(line, flush=True)
    chosen = [case for case in cases if only in ("", case.id)]
    if only and not chosen:
        raise DataError(f"{path}: no case {only!r}{nearest(only, [case.id for case in cases])}")
    failed = len(wrong) + asyncio.run(_run(chosen, level, times))
    passed = len(chosen) + len(wrong) - failed
    print(f"{passed} passed, {failed} failed", flush=True)
    return failed


async def _run(cases: Sequence[Case], level: Level, times: bool) -> int:
    """How many of the cases fail. Heavy ones run alone, since they keep the machine or this process busy."""
    work = Path(tempfile.mkdtemp(prefix="toolwright-attacks-"))
    work.chmod(0o755)
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = tempfile.tempdir = str(work)  # so that environments lie beside the canaries
    try:
        world = _make_world(work / "toolwright-world")
        settings = Settings(sources=(str(extra_tools.__file__),), world=str(world), sandbox=level)
        player, slots, failures = Player(settings, work, open_base(str(world)).folder), asyncio.Semaphore(AT_ONCE), 0

        async def one(case: Case) -> None:
            nonlocal failures
            async with slots:
                start = time.monotonic()
                reason = await _outcome(player, case)
            if times:
                print(f"{time.monotonic() - start:6.1f} s  {case.id}", flush=True)
            if reason:
                failures += 1
                print(f"FAILED {case.id}: must {case.must[:160]}; {reason}".replace("\n", "\\n"), flush=True)

        heavy = [case for case in cases if any(word in f"{case.kind} {case.payload}" for word in _HEAVY)]
        await asyncio.gather(*(one(case) for case in cases if case not in heavy))
        for case in heavy:
            await one(case)
        return failures
    finally:
        os.environ.pop("TMPDIR") if before is None else os.environ.__setitem__("TMPDIR", before)
        tempfile.tempdir = None
        shutil.rmtree(work, ignore_errors=True)


async def _outcome(player: Player, case: Case) -> str:
    """Why a case failed; empty when it did not."""
    try:
        async with asyncio.timeout(CASE_TIMEOUT_S):
            return judge(case, await player.play(case))
    except ToolwrightError as error:
        return f"{case.where}: {error}"
    except TimeoutError:
        return f"the case took more than {CASE_TIMEOUT_S:g} s"
    except Exception as error:  # noqa: BLE001 - a case that we cannot play is one failure, not the end
        return f"{case.where}: it cannot be played: {type(error).__name__}: {error}"


def _make_world(folder: Path) -> Path:
    """The company world with the file ``f.txt`` and a database with a table ``users``, which cases speak of."""
    database = folder.parent / "users.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT, email TEXT, age INTEGER)")
        people = [(n, f"user{n}", f"user{n}@example.org", 20 + n) for n in range(1, 31)]
        connection.executemany("INSERT INTO users VALUES (?, ?, ?, ?)", people)
        connection.commit()
    extra = {"files/f.txt": b"base\n", f"databases/{DATABASE}.db": database.read_bytes()}
    database.unlink()
    write_base({**company_base(), **extra}, folder)
    return folder
