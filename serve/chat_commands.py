"""The commands of the chat: words that begin with a slash, and what they do to a session."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from serve.chat_session import Session
from toolwright.records import ToolSpec
from toolwright.words import cut, nearest

ONE_LINE = 100


@dataclass(frozen=True)
class Command:
    """What a command does; ``run`` gives whether the chat goes on."""

    usage: str
    about: str
    run: Callable[[Session, str], Awaitable[bool]]


async def _tools(session: Session, _: str) -> bool:
    shown = session.tools or session.worlds.tools
    toolsets: dict[str, list[ToolSpec]] = {}
    for tool in shown:
        toolsets.setdefault(session.worlds.toolset(tool.name), []).append(tool)
    for toolset, tools in toolsets.items():
        session.screen.note(toolset, "bold")
        for tool in tools:
            session.screen.note(f"  {signature(tool)}", "cyan")
            session.screen.note(f"      {cut(' '.join(tool.description.split()), ONE_LINE)}")
    hidden = len(session.worlds.tools) - len(shown)
    more = f", {hidden} more are not shown to it (chat.tools)" if hidden else ""
    session.screen.note(f"the model sees {len(shown)} tools{more}")
    return True


def signature(tool: ToolSpec) -> str:
    """A tool as ``name(parameter: type, other?: type)``."""
    required = tool.parameters.get("required") or ()
    properties = tool.parameters.get("properties") or {}
    parts = (f"{name}{'' if name in required else '?'}: {_type(schema)}" for name, schema in properties.items())
    return f"{tool.name}({', '.join(parts)})"


def _type(schema: object) -> str:
    if not isinstance(schema, dict):
        return "any"
    if isinstance(schema.get("enum"), list):
        return cut("|".join(json.dumps(value, ensure_ascii=False) for value in schema["enum"]), 40)
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return "|".join(dict.fromkeys(map(_type, options)))
    kind = schema.get("type", "any")
    if kind == "array":
        return f"{_type(schema.get('items', {}))}[]"
    return "|".join(map(str, kind)) if isinstance(kind, list) else str(kind)


async def _reset(session: Session, _: str) -> bool:
    await session.reset()
    session.screen.note("a fresh conversation in a fresh environment")
    return True


async def _save(session: Session, argument: str) -> bool:
    if not argument:
        session.screen.error("/save FILE: name a JSONL file")
    else:
        save(session, Path(argument).expanduser())
    return True


def save(session: Session, path: Path) -> None:
    """Add the conversation to a JSONL file, as data generation writes it; a failure is only shown."""
    conversation = session.conversation()
    if not any(message.role == "assistant" for message in conversation.messages):
        session.screen.error("nothing to save: the model has not said anything yet")
        return
    line = json.dumps(conversation.to_row(), ensure_ascii=False).encode("utf-8", "replace")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            size = file.seek(0, 2)
            if size:
                file.seek(size - 1)
            # a file that somebody edited may lack its last line break
            file.write((b"\n" if size and file.read(1) != b"\n" else b"") + line + b"\n")
    except OSError as error:
        session.screen.error(f"{path}: {error.strerror or error}; choose another file")
    else:
        left_out = len(session.messages) - len(conversation.messages)
        note = f"; {left_out} left out, since their calls could not be read" if left_out else ""
        session.screen.note(f"added to {path}: {len(conversation.messages)} messages{note}")


async def _system(session: Session, argument: str) -> bool:
    session.set_system(argument)
    session.screen.note("system message set" if argument else "no system message")
    return True


async def _undo(session: Session, _: str) -> bool:
    text = session.undo()
    if text is None:
        session.screen.error("nothing to undo")
    else:
        session.screen.note(f"taken back: {cut(' '.join(text.split()), 80)} (what calls changed stays; see /reset)")
    return True


async def _help(session: Session, _: str) -> bool:
    for command in COMMANDS.values():
        session.screen.note(f"{command.usage:<13} {command.about}")
    session.screen.note("A backslash at the end of a line goes on in the next. Ctrl-C stops a reply, Ctrl-D ends.")
    return True


async def _quit(_: Session, __: str) -> bool:
    return False


COMMANDS = {
    "tools": Command("/tools", "the tools that the model sees, with signatures", _tools),
    "reset": Command("/reset", "forget the conversation and begin in a fresh environment", _reset),
    "save": Command("/save FILE", "add the conversation to a JSONL file that sft.data can name", _save),
    "system": Command("/system TEXT", "set the system message; without a text: take it away", _system),
    "undo": Command("/undo", "take back the last message and what came of it", _undo),
    "help": Command("/help", "this list", _help),
    "quit": Command("/quit", "end", _quit),
}


def find_command(line: str) -> tuple[str, str] | None:
    """``/name argument`` as its two parts; None for a message, which may begin with a path such as ``/etc/hosts``."""
    name, _, argument = line.partition(" ")
    if not name.startswith("/") or not name[1:].isalpha():
        return None
    return name[1:].lower(), argument.strip()


async def run_line(session: Session, name: str, argument: str) -> bool:
    """Run a command; whether the chat goes on."""
    command = COMMANDS.get(name)
    if command is None:
        session.screen.error(f"there is no command /{cut(name, 40)}{nearest(name, list(COMMANDS))}")
        return True
    return await command.run(session, argument)
