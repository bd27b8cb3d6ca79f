"""Splits conversations without leaks, by tool and by plan: ``python -m data_gen.split``.

Reads ``conversations.jsonl``; writes ``train.jsonl``, ``dev.jsonl`` and ``heldout.jsonl`` of the run. Conversations
that share their calls or their request are one group, and a group is on one side only. Some tools are held out:
training never sees them, neither called nor on offer. A row's ``group`` begins with ``tool-`` where a held-out tool
is needed and with ``plan-`` elsewhere, so that the evaluation can tell unseen tools from unseen plans of known tools.
"""

import hashlib
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

from rich.console import Console
from rich.table import Table

from data_gen.conversations import COMMAND as CONVERSATIONS_COMMAND
from data_gen.similar import normalise
from mcpserver.catalogue import all_tools
from toolwright.artifacts import read_records, require, write_rows
from toolwright.calls import canonical
from toolwright.command import parse_command, run_command
from toolwright.config import DataGenConfig, RunConfig
from toolwright.errors import ConfigError, DataError
from toolwright.records import Conversation
from toolwright.stage import Job, run_dir

COMMAND = "python -m data_gen.split"
SIDES = ("train", "dev", "heldout")
TOOL, PLAN = "tool-", "plan-"
Sides = dict[str, list[Conversation]]


def calls_of(conversation: Conversation) -> list[str]:
    """The canonical calls, sorted."""
    return sorted(canonical(call) for message in conversation.messages for call in message.tool_calls)


def request_of(conversation: Conversation) -> str:
    """The normalised first request."""
    return next((normalise(m.content or "") for m in conversation.messages if m.role == "user"), "")


def needed_tools(conversation: Conversation) -> frozenset[str]:
    """The tools that a conversation is about: called, lacking a value, or the right one that is not on offer."""
    called = {call.name for message in conversation.messages for call in message.tool_calls}
    about = conversation.plan.about if conversation.plan else None
    if not called and about is None and conversation.mode == "missing_parameter":
        return frozenset(tool.name for tool in conversation.tools)  # a model wrote it; any of them may be meant
    return frozenset(called | ({about} if about else set()))


def draw_heldout_tools(conversations: Sequence[Conversation], count: int, seed: int) -> frozenset[str]:
    """Tools that training never sees: from different toolsets, called often enough, and in few dependent plans.

    Raises:
        ConfigError: there are not enough tools.
    """
    calls, chained = Counter[str](), Counter[str]()
    for conversation in conversations:
        names = {call.name for message in conversation.messages for call in message.tool_calls}
        calls.update(names)
        chained.update(names if conversation.mode == "dependent" else ())
    if count >= len(calls) and count:
        raise ConfigError(
            f"data_gen.heldout_tools: {count} of {len(calls)} tools that are called leave none to train on"
        )
    ranked = sorted(calls, key=lambda name: (chained[name], -calls[name], name))
    pool = ranked[: max(count, len(ranked) // 2)]
    by_toolset: dict[str, list[str]] = defaultdict(list)
    for name in Random(f"{seed}/heldout").sample(pool, len(pool)):
        by_toolset[toolset_of(name)].append(name)
    in_turn = sorted(
        (position, toolset, name) for toolset, names in by_toolset.items() for position, name in enumerate(names)
    )
    order = {
        toolset: n for n, toolset in enumerate(Random(f"{seed}/toolsets").sample(sorted(by_toolset), len(by_toolset)))
    }
    return frozenset(name for _, _, name in sorted(in_turn, key=lambda item: (item[0], order[item[1]]))[:count])


def toolset_of(name: str) -> str:
    """The toolset of one of our tools, or the server of another one (``server__tool``)."""
    if name in all_tools():
        return all_tools()[name].toolset
    return name.rpartition("__")[0]


def group(conversations: Sequence[Conversation]) -> list[list[Conversation]]:
    """Conversations with the same calls or the same request, together, also through a third one."""
    parent = list(range(len(conversations)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = index = parent[parent[index]]
        return index

    first: dict[str, int] = {}
    for index, conversation in enumerate(conversations):
        for key in _keys(conversation):
            parent[root(index)] = root(first.setdefault(key, index))
    groups: dict[int, list[Conversation]] = defaultdict(list)
    for index, conversation in enumerate(conversations):
        groups[root(index)].append(conversation)
    return list(groups.values())


def _keys(conversation: Conversation) -> list[str]:
    calls = calls_of(conversation)
    return [f"text {request_of(conversation)}", *(["calls " + "\n".join(calls)] if calls else [])]


def split(conversations: Sequence[Conversation], config: DataGenConfig, seed: int) -> tuple[Sides, frozenset[str]]:
    """Put every conversation on a side, its group set; and the tools that are held out.

    Raises:
        ConfigError: too many tools are to be held out.
    """
    heldout_tools = draw_heldout_tools(conversations, config.heldout_tools, seed)
    sides: Sides = {side: [] for side in SIDES}
    by_mode: dict[str, list[tuple[str, list[Conversation]]]] = defaultdict(list)
    for members in group(conversations):
        needs = any(
            needed_tools(member) & heldout_tools or not _without(member, heldout_tools).tools for member in members
        )
        name = _group_name(TOOL if needs else PLAN, members)
        if needs:
            sides["heldout"] += [member.model_copy(update={"group": name}) for member in members]
        else:
            kept = [_without(member, heldout_tools).model_copy(update={"group": name}) for member in members]
            by_mode[str(members[0].mode)].append((name, kept))
    for groups in by_mode.values():
        _deal(groups, sides, config, seed)
    return {side: sorted(rows, key=lambda row: row.id) for side, rows in sides.items()}, heldout_tools


def _without(conversation: Conversation, tools: frozenset[str]) -> Conversation:
    if not conversation.tools or not any(tool.name in tools for tool in conversation.tools):
        return conversation
    return conversation.model_copy(update={"tools": tuple(t for t in conversation.tools if t.name not in tools)})


def _group_name(prefix: str, members: Sequence[Conversation]) -> str:
    return prefix + hashlib.sha256(min(key for member in members for key in _keys(member)).encode()).hexdigest()[:12]


def _deal(groups: Sequence[tuple[str, list[Conversation]]], sides: Sides, config: DataGenConfig, seed: int) -> None:
    """Fill the sides to their share of a mode's conversations, group by group in an order that the seed gives."""
    total = sum(len(members) for _, members in groups)
    room = {"heldout": round(config.heldout_share * total), "dev": round(config.dev_share * total)}
    for _, members in sorted(groups, key=lambda item: hashlib.sha256(f"{seed}/{item[0]}".encode()).hexdigest()):
        side = next((side for side, free in room.items() if free >= len(members)), "train")
        if side != "train":
            room[side] -= len(members)
        sides[side] += members


def find_leaks(sides: Mapping[str, Sequence[Conversation]], heldout_tools: Iterable[str]) -> list[str]:
    """What training could have seen of the evaluation, found in the rows alone; empty when there is nothing."""
    leaks: list[str] = []
    held = frozenset(heldout_tools)
    known: dict[str, Callable[[Conversation], set[Any]]] = {
        "group": lambda row: {row.group},
        "request": lambda row: {request_of(row)},
        "calls": lambda row: {"\n".join(calls_of(row))} - {""},
    }
    for what, keys_of in known.items():
        owner: dict[Any, tuple[str, str]] = {}
        for side, rows in sides.items():
            for row in rows:
                for key in keys_of(row):
                    other = owner.setdefault(key, (side, row.id))
                    if other[0] != side:
                        leaks.append(f"{what} of {row.id} in {side} is also that of {other[1]} in {other[0]}")
    for side in ("train", "dev"):
        for row in sides.get(side, ()):
            if seen := (needed_tools(row) | {tool.name for tool in row.tools}) & held:
                leaks.append(f"{row.id} in {side} shows the held-out tool {min(seen)}")
    return leaks


def describe(rows: Sequence[Conversation]) -> dict[str, Any]:
    """Counts of one side."""
    called = {call.name for row in rows for message in row.messages for call in message.tool_calls}
    modes = Counter(str(row.mode) for row in rows)
    groups = {row.group for row in rows}
    return {"rows": len(rows), "groups": len(groups), "tools called": len(called), **dict(sorted(modes.items()))}


def print_split(sides: Sides, heldout_tools: frozenset[str]) -> None:
    """Print rows, groups, tools and modes of each side."""
    parts: dict[str, Sequence[Conversation]] = {
        "train": sides["train"],
        "dev": sides["dev"],
        "heldout: new plans": [row for row in sides["heldout"] if not str(row.group).startswith(TOOL)],
        "heldout: new tools": [row for row in sides["heldout"] if str(row.group).startswith(TOOL)],
    }
    counts = {name: describe(rows) for name, rows in parts.items()}
    Console().print(f"no leaks; tools held out: {', '.join(sorted(heldout_tools)) or 'none'}", soft_wrap=True)
    table = Table()
    table.add_column("what")
    for name in parts:
        table.add_column(name, justify="right")
    for key in dict.fromkeys(key for side in counts.values() for key in side):
        table.add_row(key, *(f"{side.get(key, 0):,}" for side in counts.values()))
    Console().print(table)


def make_split(config: RunConfig) -> None:
    """Write the three artifacts, unless they are up to date.

    Raises:
        DataError: a leak, or nothing is left to train on.
    """
    source = run_dir(config) / "conversations.jsonl"
    require(source, made_by=CONVERSATIONS_COMMAND)
    settings = config.data_gen.model_dump(include={"heldout_share", "dev_share", "heldout_tools"})
    jobs = {side: _job(config, side, settings, source) for side in SIDES}
    if all(job.is_current() for job in jobs.values()):
        return
    conversations: list[Conversation] = read_records(source, Conversation.from_row)
    with ExitStack() as stack:
        counts = {side: stack.enter_context(job.running()) for side, job in jobs.items()}
        sides, heldout_tools = split(conversations, config.data_gen, config.seed)
        if leaks := find_leaks(sides, heldout_tools):
            raise DataError(f"{len(leaks)} leaks, the first: {leaks[0]}")
        if not sides["train"]:
            raise DataError(
                f"{len(conversations)} conversations leave none to train on; write more or lower heldout_share"
            )
        for side, rows in sides.items():
            write_rows(jobs[side].output, (row.to_row() for row in rows))
            counts[side].update(describe(rows) | {"heldout_tools": sorted(heldout_tools)})
    print_split(sides, heldout_tools)


def _job(config: RunConfig, side: str, settings: Mapping[str, Any], source: Path) -> Job:
    return Job.of(
        config, "split", output=f"{side}.jsonl", command=COMMAND, settings=settings, inputs={"conversations": source}
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""

    def body() -> None:
        about = "Split the conversations into train, dev and heldout, leak-free by tool and by plan."
        make_split(parse_command(argv, prog=COMMAND, about=about, sections=("data_gen",)))

    return run_command(body)


if __name__ == "__main__":
    sys.exit(main())
