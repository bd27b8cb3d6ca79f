"""The simulated team chat: channels and first messages drawn from a seed, and finding them."""

from collections.abc import Mapping
from random import Random
from typing import Any, Literal

from typing_extensions import TypedDict

from mcpserver.tool_error import ToolError
from mcpserver.tools.services._kinds import NOW, Day, Line
from mcpserver.tools.services._people import COLLEAGUES, ME
from mcpserver.tools.services._records import Record, find, keep_room, later, new_id, one_of

Emoji = Literal["thumbs_up", "heart", "eyes", "check", "question", "party"]
MAX_MESSAGES, MAX_THREAD, FIRST_NUMBER = 300, 60, 1001
_CHANNELS = (
    ("general", False, "Everything for everybody"),
    ("trading", False, "Prices and positions"),
    ("operations", False, "Nominations, outages, storage"),
    ("it-help", False, "Questions to IT"),
    ("random", False, "Not about work"),
    ("budget-2026", True, "Private: the next budget"),
)
_LINES = (
    "The nomination for tomorrow is in: {n} MWh.",
    "Has anybody seen the report of week {m}?",
    "Meter {n} is back online.",
    "I am out of the office until {m} o'clock.",
    "Who can take the late shift on Thursday?",
    "The price jumped by {m} % after the outage.",
    "Cake in the kitchen, {m} pieces left.",
    "Please review draft {m} before noon.",
    "The VPN was slow this morning; ticket T-10{n} is open.",
    "Storage is at {n} %, withdrawal goes on.",
)


class ChatFilter(TypedDict, total=False):
    """Conditions that must all hold."""

    text: Line
    channel: Line
    author: Line
    since: Day
    until: Day
    pinned: bool
    reaction: Emoji


def make_chat(rng: Random) -> dict[str, Any]:
    """Messages X-1001 … in six channels; X-1001 is by a colleague in general, X-1002 by the owner there."""
    channels: dict[str, Any] = {}
    for name, is_private, topic in _CHANNELS:
        members = COLLEAGUES if name in ("general", "random") else rng.sample(COLLEAGUES[1:], 5)
        emails = sorted({ME.email, *(person.email for person in members)})
        channels[name] = {"name": name, "private": is_private, "topic": topic, "members": emails}
    state: Record = {"channels": channels, "messages": {}, "next": {"X": FIRST_NUMBER}}
    ages = sorted((rng.randint(5, 6000) for _ in range(40)), reverse=True)
    for index, age_min in enumerate(ages):
        channel = "general" if index < 2 else rng.choice(_CHANNELS)[0]
        others = [email for email in channels[channel]["members"] if email != ME.email]
        author = others[0] if index == 0 else ME.email if index == 1 else rng.choice([*others, ME.email])
        text = rng.choice(_LINES).format(n=rng.randint(10, 99), m=rng.randint(2, 9))
        threads = [m for m in state["messages"].values() if m["channel"] == channel and not m["reply_to"]]
        parent = rng.choice(threads)["id"] if index > 5 and threads and rng.random() < 0.3 else None
        message = put(state, channel, text, author, parent) | {"time": later(NOW, -age_min)}
        if rng.random() < 0.3:
            message["reactions"] = {rng.choice(("thumbs_up", "heart", "eyes")): [rng.choice(others)]}
        state["messages"][message["id"]] = message
    return state


def put(state: Record, channel: str, text: str, author: str = ME.email, reply_to: str | None = None) -> Record:
    """Keep a new message.

    Raises:
        ToolError: ``limit``.
    """
    keep_room(state["messages"], MAX_MESSAGES, "messages")
    if reply_to is not None:
        keep_room([m for m in state["messages"].values() if m["reply_to"] == reply_to], MAX_THREAD, "replies")
    number = new_id(state, "X")
    message = {"id": number, "channel": channel, "author": author, "time": NOW, "text": text, "reply_to": reply_to}
    state["messages"][number] = message | {"reactions": {}, "pinned": False}
    kept: Record = state["messages"][number]
    return kept


def find_channel(state: Mapping[str, Any], channel: str) -> Record:
    """The channel of a name, with or without #.

    Raises:
        ToolError: there is none.
    """
    names = [name for name in state["channels"] if not name.startswith("@")]
    found: Record = state["channels"][one_of(channel.removeprefix("#"), names, "channel")]
    return found


def joined(state: Mapping[str, Any], channel: str) -> Record:
    """The channel of a name where the owner is a member.

    Raises:
        ToolError: ``denied``.
    """
    found = find_channel(state, channel)
    if ME.email not in found["members"]:
        raise ToolError("denied", f"channel: you are not a member of {found['name']}; ask a member to add you")
    return found


def find_message(state: Mapping[str, Any], message: str) -> Record:
    """The message with an id, in a channel where the owner is a member."""
    found: Record = find(state["messages"], message, "message", "search_chat")
    if not found["channel"].startswith("@"):
        joined(state, found["channel"])
    return found


def may_read(state: Mapping[str, Any], message: Mapping[str, Any]) -> bool:
    """Whether the owner is a member where a message stands."""
    name = message["channel"]
    return name.startswith("@") or ME.email in state["channels"][name]["members"]
