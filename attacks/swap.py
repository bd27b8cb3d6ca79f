"""A race: a name that is a file and a link by turns, swapped from outside while tools open it."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from attacks.watch import keeper_root
from mcpserver.environment import Environment
from toolwright.records import ToolCall

_STEP = """
import os as _os
_os.path.lexists(".half") and _os.unlink(".half")
_os.symlink({target!r}, ".half") if {link} else open(".half", "w").write("inside")
_os.replace(".half", {name!r})
"""


@asynccontextmanager
async def swapping(environment: Environment, race: tuple[str, str, str] | None) -> AsyncIterator[None]:
    """Swap a name between a file and a link to the target meanwhile.

    The sandbox freezes its own code while tools run, so the swapping is done through the host's view of the files; an
    ordinary user may have none, then the environment's own code swaps between the calls.
    """
    if race is None:
        yield
        return
    name, _, target = race
    folder, stop = keeper_root(environment), threading.Event()
    if os.access(folder, os.W_OK | os.X_OK):
        thread = threading.Thread(target=_swap, args=(folder, name, target, stop))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            await asyncio.to_thread(thread.join)
        return
    task = asyncio.create_task(_alternate(environment, name, target))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _swap(folder: str, name: str, target: str, stop: threading.Event) -> None:
    half = f"{folder}/.half"
    while not stop.is_set():
        with suppress(OSError):
            with open(half, "w") as file:
                file.write("inside")
            os.chmod(half, 0o644)
            os.replace(half, f"{folder}/{name}")
            os.symlink(target, half)
            os.replace(half, f"{folder}/{name}")


async def _alternate(environment: Environment, name: str, target: str) -> None:
    link = False
    while True:
        link = not link
        code = _STEP.format(target=target, name=name, link=link)
        await environment.call(ToolCall(name="run_python", arguments={"code": code}))
        await asyncio.sleep(0.001)
