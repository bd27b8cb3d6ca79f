"""A simulated team chat: channels, messages, threads, reactions, pins, direct messages and members."""

from collections.abc import Mapping
from typing import Annotated, Any

from annotated_types import Len
from pydantic import StringConstraints

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.tools.services._chat import ChatFilter, Emoji, find_message, joined, make_chat, may_read, put
from mcpserver.tools.services._kinds import Id, Limit, Line, Offset, Text
from mcpserver.tools.services._people import COLLEAGUES, ME, find_person
from mcpserver.tools.services._records import Record, check, holds, keep_room, newest_first, only, page, refuse_if

RUNS_IN = "server"
MAX_CHANNELS, MAX_PINS = 40, 10
_SERVICE = "chat"


def list_channels(context: Context, limit: Limit = 20, offset: Offset = 0) -> dict[str, Any]:
    """List the chat channels with topic and number of members.

    Args:
        limit: most channels to list
        offset: channels to leave out first

    Example:
        {}
    """
    state = context.read(_SERVICE, make_chat)
    rows = []
    for channel in state["channels"].values():
        if ME.email in channel["members"] and not channel["name"].startswith("@"):
            row = only(channel, "name", "topic", "private")
            rows.append(row | {"members": len(channel["members"]), "messages": len(_inside(state, channel["name"]))})
    return page(rows, limit, offset, "channels")


def list_channel_members(context: Context, channel: Line) -> dict[str, Any]:
    """List who is in a chat channel.

    Args:
        channel: name of the channel

    Example:
        {"channel": "trading"}
    """
    return only(joined(context.read(_SERVICE, make_chat), channel), "name", "members")


def read_channel(context: Context, channel: Line, limit: Limit = 20, offset: Offset = 0) -> dict[str, Any]:
    """Read a chat channel, newest first, without replies.

    Args:
        channel: name of a channel, or @address
        limit: most messages to show
        offset: messages to leave out first

    Example:
        {"channel": "general"}
    """
    state = context.read(_SERVICE, make_chat)
    name = _direct_name(channel[1:]) if channel.startswith("@") else joined(state, channel)["name"]
    inside = _inside(state, name)
    n_replies = {message["id"]: sum(other["reply_to"] == message["id"] for other in inside) for message in inside}
    rows = [{**message, "replies": n_replies[message["id"]]} for message in inside if not message["reply_to"]]
    return page(newest_first(rows), limit, offset, "messages")


def read_thread(context: Context, message: Id, limit: Limit = 20, offset: Offset = 0) -> dict[str, Any]:
    """Read a chat message with its replies, oldest first.

    Args:
        message: id of the message
        limit: most replies to show
        offset: replies to leave out first

    Example:
        {"message": "X-1001"}
    """
    state = context.read(_SERVICE, make_chat)
    found = find_message(state, message)
    replies = [other for other in state["messages"].values() if other["reply_to"] == found["id"]]
    return {"message": found, **page(sorted(replies, key=lambda reply: str(reply["time"])), limit, offset, "replies")}


def search_chat(context: Context, where: ChatFilter, limit: Limit = 10, offset: Offset = 0) -> dict[str, Any]:
    """Search chat messages by text, channel, author or day.

    Args:
        where: conditions that must all hold
        limit: most messages to list
        offset: messages to leave out first

    Example:
        {"where": {"text": "nomination", "since": "2025-03-10"}}
        {"where": {"channel": "general", "author": "Nora Lindqvist"}}
    """
    state = context.read(_SERVICE, make_chat)
    channel = joined(state, where["channel"])["name"] if "channel" in where else None
    author = find_person(where["author"], "author", COLLEAGUES).email if "author" in where else None
    hits = [
        message
        for message in newest_first(state["messages"].values())
        if may_read(state, message)
        and channel in (None, message["channel"])
        and author in (None, message["author"])
        and _fits(message, where)
    ]
    return page(hits, limit, offset, "messages")


def post_message(context: Context, channel: Line, text: Text) -> dict[str, Any]:
    """Post a message to a chat channel.

    Args:
        channel: name of the channel
        text: the message

    Example:
        {"channel": "operations", "text": "The compressor is back at full power."}
    """
    state = context.change(_SERVICE, make_chat)
    return put(state, joined(state, channel)["name"], text)


def reply_in_thread(context: Context, message: Id, text: Text) -> dict[str, Any]:
    """Reply to a chat message in its thread.

    Args:
        message: id of the message
        text: the reply

    Example:
        {"message": "X-1001", "text": "Thank you, seen."}
    """
    state = context.change(_SERVICE, make_chat)
    found = find_message(state, message)
    return put(state, found["channel"], text, reply_to=found["reply_to"] or found["id"])


def send_direct_message(context: Context, person: Line, text: Text) -> dict[str, Any]:
    """Send a direct chat message to a colleague.

    Args:
        person: name or address
        text: the message

    Example:
        {"person": "Yusuf Demir", "text": "Can you call me at ten?"}
    """
    state = context.change(_SERVICE, make_chat)
    name = _direct_name(person)
    check(name != f"@{ME.email}", "person: that is yourself")
    return put(state, name, text)


def edit_message(context: Context, message: Id, text: Text | None = None, delete: bool = False) -> dict[str, Any]:
    """Edit or delete your own chat message.

    Args:
        message: id of the message
        text: new text
        delete: true to remove the message

    Example:
        {"message": "X-1002", "text": "Correction: the meeting is at eleven."}
    """
    check((text is None) == delete, "text: give a new text, or delete true, not both")
    state = context.change(_SERVICE, make_chat)
    found = find_message(state, message)
    if found["author"] != ME.email:
        raise ToolError("denied", f"message: {message} is by {found['author']}; only the author may change it")
    if delete:
        replies = sorted(other["id"] for other in state["messages"].values() if other["reply_to"] == message)
        refuse_if(bool(replies), f"message: {message} has replies ({', '.join(replies[:3])}) and stays")
        del state["messages"][message]
        return {"deleted": message}
    found |= {"text": text, "edited": True}
    return found


def react_to_message(context: Context, message: Id, emoji: Emoji, remove: bool = False) -> dict[str, Any]:
    """React to a chat message, or take a reaction back.

    Args:
        message: id of the message
        emoji: the reaction
        remove: true to take it back

    Example:
        {"message": "X-1001", "emoji": "party"}
    """
    found = find_message(context.change(_SERVICE, make_chat), message)
    people = set(found["reactions"].get(emoji, ()))
    refuse_if(remove and ME.email not in people, f"emoji: you have not reacted with {emoji}")
    people = people - {ME.email} if remove else people | {ME.email}
    found["reactions"] = {name: who for name, who in found["reactions"].items() if name != emoji}
    found["reactions"] |= {emoji: sorted(people)} if people else {}
    return only(found, "id", "reactions")


def pin_message(context: Context, message: Id, pinned: bool = True) -> dict[str, Any]:
    """Pin a message to its chat channel, or unpin it.

    Args:
        message: id of the message
        pinned: false to unpin

    Example:
        {"message": "X-1001"}
    """
    state = context.change(_SERVICE, make_chat)
    found = find_message(state, message)
    refuse_if(found["pinned"] == pinned, f"message: {message} is {'pinned' if pinned else 'not pinned'} already")
    pins = [other for other in _inside(state, found["channel"]) if other["pinned"]]
    keep_room(pins if pinned else (), MAX_PINS, f"pins in {found['channel']}")
    found["pinned"] = pinned
    return only(found, "id", "channel", "pinned")


def create_channel(
    context: Context,
    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{1,29}$")],
    topic: Line,
    members: Annotated[list[Line], Len(0, 12)] | None = None,
    private: bool = False,
) -> dict[str, Any]:
    """Create a chat channel.

    Args:
        name: lower-case name
        topic: what it is for
        members: names or addresses of colleagues
        private: only for members

    Example:
        {"name": "outage-march", "topic": "The outage of the station", "members": ["Yusuf Demir", "Pieter Vermeer"]}
    """
    state = context.change(_SERVICE, make_chat)
    refuse_if(name in state["channels"], f"name: there is a channel {name!r} already")
    keep_room(state["channels"], MAX_CHANNELS, "channels")
    emails = {ME.email, *(find_person(who, "members", COLLEAGUES).email for who in members or ())}
    state["channels"][name] = {"name": name, "private": private, "topic": topic, "members": sorted(emails)}
    return dict(state["channels"][name])


def change_channel_members(
    context: Context,
    channel: Line,
    add: Annotated[list[Line], Len(0, 12)] | None = None,
    remove: Annotated[list[Line], Len(0, 12)] | None = None,
) -> dict[str, Any]:
    """Add members to a chat channel, or remove them.

    Args:
        channel: name of the channel
        add: names or addresses
        remove: names or addresses, you to leave

    Example:
        {"channel": "budget-2026", "remove": ["Nora Lindqvist"]}
    """
    check(bool(add or remove), "add: say whom to add or to remove")
    found = joined(context.change(_SERVICE, make_chat), channel)
    refuse_if(found["name"] == "general" and bool(remove), "remove: everybody stays in general")
    gone = {find_person(who, "remove", COLLEAGUES).email for who in remove or ()}
    absent = sorted(gone - set(found["members"]))
    check(not absent, f"remove: {', '.join(absent)} is no member of {found['name']}")
    new = {find_person(who, "add", COLLEAGUES).email for who in add or ()}
    found["members"] = sorted({*found["members"], *new} - gone)
    return only(found, "name", "members")


def _inside(state: Mapping[str, Any], channel: str) -> list[Record]:
    return [message for message in state["messages"].values() if message["channel"] == channel]


def _direct_name(person: str) -> str:
    return f"@{find_person(person, 'person', COLLEAGUES).email}"


def _fits(message: Mapping[str, Any], where: ChatFilter) -> bool:
    day = message["time"][:10]
    return (
        holds(where.get("text"), message["text"])
        and where.get("since", day) <= day <= where.get("until", day)
        and where.get("pinned", message["pinned"]) == message["pinned"]
        and ("reaction" not in where or where["reaction"] in message["reactions"])
    )
