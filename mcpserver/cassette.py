"""Cassettes: real results of tools, recorded once and played again without the tools, exactly.

A call is found again by the seed of its conversation, tool, canonical arguments and how often the conversation made it
before. Where other calls came in between, the same call may have another result: then the one is taken that was
recorded after the same calls, first of all in the same conversation of the seed (the first one opened plays the first
one recorded, and so on). Reads and writes the file that ``cassette_file`` describes; wraps any ``Worlds``.
"""

import hashlib
import json
import secrets
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mcpserver.cassette_file import CassetteWriter, header, header_tools, read_cassette
from mcpserver.mcp_results import read_row, result_row
from mcpserver.tool_lists import difference
from toolwright.errors import ConfigError, DataError
from toolwright.records import ToolCall, ToolResult, ToolSpec
from toolwright.words import cut, nearest

if TYPE_CHECKING:
    from mcpserver.world import ToolWorld, Worlds

Mode = Literal["record", "replay", "auto"]
Key = tuple[int, str, str, int]
"""Seed, tool, canonical arguments, occurrence."""


def canonical_arguments(arguments: Mapping[str, Any]) -> str:
    """Arguments as text: equal ones are equal texts, and 1 is not 1.0, since a tool may take only one of them."""
    return json.dumps(arguments, sort_keys=True, separators=(",", ":"), default=repr)


class History:
    """The calls that one conversation made so far."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.digest = ""
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, call: ToolCall) -> tuple[Key, str]:
        """Note a call; gives its key, and the digest of the calls before it."""
        arguments = canonical_arguments(call.arguments)
        key = (self.seed, call.name, arguments, self._counts[call.name, arguments])
        before = self.digest
        self._counts[call.name, arguments] += 1
        self.digest = hashlib.sha256(json.dumps([before, call.name, arguments]).encode()).hexdigest()[:24]
        return key, before


def _against_tools(path: Path, recorded: Sequence[ToolSpec], offered: Sequence[ToolSpec]) -> None:
    if changes := difference(recorded, offered):
        raise ConfigError(f"{path}: the cassette was recorded with other tools ({changes}); record another one")


class RecordingWorlds:
    """Worlds whose results are recorded; make it with ``open_cassette``."""

    def __init__(self, worlds: "Worlds", writer: CassetteWriter) -> None:
        self._worlds = worlds
        self._writer = writer
        self.toolsets = {tool.name: worlds.toolset(tool.name) for tool in worlds.tools}

    @property
    def tools(self) -> list[ToolSpec]:
        """The tools on offer."""
        return self._worlds.tools

    def describe(self) -> list[dict[str, Any]]:
        """The servers that are recorded."""
        return self._worlds.describe()

    def toolset(self, name: str) -> str:
        """The toolset of a tool."""
        return self._worlds.toolset(name)

    @asynccontextmanager
    async def environment(self, seed: int) -> "AsyncIterator[ToolWorld]":
        """A world for one conversation, which is recorded."""
        async with self._worlds.environment(seed) as world:
            recording = _RecordingWorld(self, world, self._writer, seed)
            self._writer.write({"opened": recording.conversation, "seed": seed, "sandbox": world.sandbox})
            yield recording


class _RecordingWorld:
    def __init__(self, worlds: RecordingWorlds, world: "ToolWorld", writer: CassetteWriter, seed: int) -> None:
        self.conversation = secrets.token_hex(8)
        self.sandbox = world.sandbox
        self._toolsets = worlds.toolsets
        self._world = world
        self._writer = writer
        self._history = History(seed)

    async def call(self, call: ToolCall) -> ToolResult:
        (seed, name, arguments, occurrence), before = self._history.add(call)
        result = await self._world.call(call)
        self._writer.write(
            {
                "called": name,
                "toolset": self._toolsets.get(name, ""),
                "conversation": self.conversation,
                "seed": seed,
                "arguments": arguments,
                "occurrence": occurrence,
                "history": before,
                "result": result_row(result),
            }
        )
        return result

    async def state(self) -> str | None:
        history = self._history.digest
        state = await self._world.state()
        row = {"conversation": self.conversation, "seed": self._history.seed, "history": history}
        self._writer.write({"state": state, **row})
        return state


@dataclass(frozen=True)
class _Take:
    """What was recorded for a key, in which conversation, and after which calls."""

    conversation: str
    history: str
    result: ToolResult


class ReplayWorlds:
    """The worlds on a cassette; no tool runs.

    Args:
        path: of the file.
        offered: the tools that must be on it, where they are known without asking a server.

    Raises:
        ConfigError: no such file, or another list of tools: names the difference.
        DataError: not a cassette.
    """

    def __init__(self, path: Path, offered: Sequence[ToolSpec] | None = None) -> None:
        rows = read_cassette(path)
        if not rows:
            raise ConfigError(f"{path}: no cassette is there; record one with tools.cassette_mode=record")
        self.path = path
        self._tools = header_tools(rows[0])
        if offered is not None:
            _against_tools(path, self.tools, offered)
        self._servers: list[dict[str, Any]] = rows[0]["servers"]
        self._takes: dict[Key, list[_Take]] = defaultdict(list)
        self._states: dict[tuple[int, str], dict[str, str | None]] = defaultdict(dict)
        self._opened: dict[int, list[tuple[str, str | None]]] = defaultdict(list)
        self._played: Counter[int] = Counter()
        for number, row in enumerate(rows[1:], 2):
            try:
                self._add(row)
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(f"{path}:{number}: not a line of a cassette ({cut(str(error))})") from None

    def _add(self, row: dict[str, Any]) -> None:
        if "opened" in row:
            self._opened[row["seed"]].append((row["opened"], row["sandbox"]))
        elif "called" in row:
            key = (row["seed"], row["called"], row["arguments"], row["occurrence"])
            self._takes[key].append(_Take(row["conversation"], row["history"], read_row(row["result"])))
        else:
            self._states[row["seed"], row["history"]][row["conversation"]] = row["state"]

    @property
    def tools(self) -> list[ToolSpec]:
        """The tools that were on offer."""
        return [spec for spec, _ in self._tools.values()]

    def toolset(self, name: str) -> str:
        """The toolset of a tool."""
        return self._tools[name][1]

    def describe(self) -> list[dict[str, Any]]:
        """The servers that were recorded."""
        return self._servers

    @asynccontextmanager
    async def environment(self, seed: int) -> "AsyncIterator[ToolWorld]":
        """The next conversation that was recorded for a seed; after the last one, that again."""
        opened = self._opened.get(seed, [("", None)])
        conversation, sandbox = opened[min(self._played[seed], len(opened) - 1)]
        self._played[seed] += 1
        yield _ReplayWorld(self, conversation, sandbox, seed)

    def find(self, key: Key, conversation: str, history: str) -> ToolResult:
        """What a call gave when it was recorded; for a call that was not, a result that says so."""
        takes = self._takes.get(key, [])
        fitting = [take for take in takes if take.history == history]
        if not fitting and takes and all(take.result == takes[0].result for take in takes):
            fitting = takes
        for take in fitting:
            if take.conversation == conversation:
                return take.result
        return fitting[0].result if fitting else self._missing(key, bool(takes))

    def _missing(self, key: Key, is_known: bool) -> ToolResult:
        seed, name, arguments, occurrence = key
        hint = nearest(name[:100], list(self._tools)) if name not in self._tools else ""
        why = "was recorded only after other calls" if is_known else "is not on it"
        text = (
            f"cassette {self.path}: call {occurrence + 1} of {name} {cut(arguments)} with seed {seed} {why}{hint};"
            " record it with tools.cassette_mode=record"
        )
        return ToolResult(content=f"tool_error: {text}", error="tool_error")

    def find_state(self, seed: int, conversation: str, history: str) -> str | None:
        """A state that was recorded after the same calls; None when none was."""
        states = self._states.get((seed, history), {})
        return states.get(conversation, next(iter(states.values()), None))


class _ReplayWorld:
    def __init__(self, worlds: ReplayWorlds, conversation: str, sandbox: str | None, seed: int) -> None:
        self.sandbox = sandbox
        self._worlds = worlds
        self._conversation = conversation
        self._history = History(seed)

    async def call(self, call: ToolCall) -> ToolResult:
        key, before = self._history.add(call)
        return self._worlds.find(key, self._conversation, before)

    async def state(self) -> str | None:
        return self._worlds.find_state(self._history.seed, self._conversation, self._history.digest)


@asynccontextmanager
async def open_cassette(
    path: Path,
    mode: Mode,
    open_live: "Callable[[], AbstractAsyncContextManager[Worlds]]",
    *,
    offered: Sequence[ToolSpec] | None = None,
    servers: Sequence[str] | None = None,
) -> "AsyncIterator[Worlds]":
    """Worlds that are recorded on a cassette, or played from it.

    Args:
        path: of the file; what is recorded is added to it.
        mode: ``auto`` plays a cassette that is there, and records one that is not.
        open_live: opens the real worlds; never called for playing.
        offered: the tools that the cassette must have, where they are known without asking a server.
        servers: the names of the servers that it must have, where they are known.

    Raises:
        ConfigError: the cassette has other tools or servers, or is not there.
        DataError: not a cassette, or one that cannot be written.
    """
    if mode == "replay" or (mode == "auto" and read_cassette(path)):
        replay = ReplayWorlds(path, offered)
        recorded = [str(server["name"]) for server in replay.describe()]
        if servers is not None and sorted(servers) != sorted(recorded):
            raise ConfigError(
                f"{path}: the cassette was recorded with the servers {', '.join(recorded)}, and wanted are"
                f" {', '.join(servers)}; record another one"
            )
        yield replay
        return
    async with open_live() as worlds:
        names = [worlds.toolset(tool.name) for tool in worlds.tools]
        if rows := read_cassette(path):
            _against_tools(path, [spec for spec, _ in header_tools(rows[0]).values()], worlds.tools)
        writer = CassetteWriter(path, header(worlds.tools, names, worlds.describe()))
        try:
            yield RecordingWorlds(worlds, writer)
        finally:
            writer.close()
