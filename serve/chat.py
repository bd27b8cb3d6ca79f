"""``python -m serve chat [config.yaml]``: an agent in the terminal, on a served model and any MCP server.

The model is the one at ``--url``; else the one that is served on ``serve.port`` already; else one that is started for
the time of the chat, as ``python -m serve`` does. The tools are our own (``tools.*``) or those of an ``mcpServers``
file. Each line is a message, or a command: /help lists them. Without a terminal the lines come from standard input,
standard output gets the answers alone, and the first failure ends it with exit code 2.
"""

import io
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from mcpserver.world import Worlds, open_configured
from serve.chat_commands import COMMANDS, find_command, run_line, save
from serve.chat_endpoint import Endpoint, open_endpoint
from serve.chat_screen import Screen, is_terminal
from serve.chat_session import Session, open_session
from serve.supervisor import stop_signals
from toolwright.command import Flag, Option, parse_with_options, run_command
from toolwright.config import RunConfig
from toolwright.episode import Episode
from toolwright.errors import DataError, EndpointError, ToolServerError

T = TypeVar("T")
PROG = "python -m serve chat"
INTERRUPTED = 130
STOP_S = 10.0
"""How long a reply that was interrupted may take to end; a sandbox whose code was stopped starts again first."""
FLAGS = (
    Flag(("--url",), "chat.url", "endpoint, http://host:port/v1"),
    Flag(("--adapter",), "serve.adapter", "adapter on top of the model that is started: sft, rl, or a directory"),
    Flag(("--system",), "chat.system", "system message"),
    Flag(("--save",), "chat.save", "JSONL file that the conversation is added to"),
    Flag(("--mcp-config",), "tools.mcp_config", "mcpServers JSON of the servers whose tools to use"),
    Flag(("--toolset",), "tools.toolsets", "toolsets of ours on offer, with commas between them", many=True),
)
MODEL = Option("--model", "model: its name with --url (chat.model), else what to start (serve.model)")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``python -m serve chat``."""
    return run_command(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    sections = ("chat", "serve", "tools")
    config, options = parse_with_options(
        argv, prog=PROG, about=__doc__ or "", sections=sections, flags=FLAGS, options=[MODEL]
    )
    config = _with_model(config, options["model"])
    _take_any_text()
    screen = Screen(is_terminal())
    try:
        with _ended_by_signals():
            _chat(config, screen)
    except KeyboardInterrupt:
        screen.idle()
        return INTERRUPTED
    return 0


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Inside the block SIGTERM and a closed terminal end the chat as Ctrl-D does: what is open is closed, and saved."""
    before = {number: signal.getsignal(number) for number in stop_signals() if number != signal.SIGINT}
    for number in before:
        signal.signal(number, _end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, _: object) -> None:
    for other in (signal.SIGTERM, number):
        signal.signal(other, signal.SIG_IGN)  # once is enough: a second would break off the end
    if number == signal.SIGHUP:  # nobody reads any more, and to write would be an error
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (1, 2):
            os.dup2(nowhere, stream)
    raise SystemExit(128 + number)


def _with_model(config: RunConfig, model: str | None) -> RunConfig:
    if model is None:
        return config
    section, values = ("chat", config.chat) if config.chat.url else ("serve", config.serve)
    return config.model_copy(update={section: values.model_copy(update={"model": model})})


def _take_any_text() -> None:
    """Bytes that are no text, and characters that the terminal cannot show, are replaced and never an error."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _chat(config: RunConfig, screen: Screen) -> None:
    """Open tools, model and conversation, tools first: what is wrong with them is told before a model is loaded.

    The event loop has a thread of its own, so that the main thread can read lines and take Ctrl-C.
    """
    with ExitStack() as stack:
        portal = stack.enter_context(start_blocking_portal())
        worlds = stack.enter_context(portal.wrap_async_context_manager(open_configured(config.tools)))
        endpoint = stack.enter_context(open_endpoint(config, screen.note))
        opened = open_session(config, endpoint, worlds, screen)
        session = stack.enter_context(portal.wrap_async_context_manager(opened))
        stack.callback(_save_if_asked, session, config)  # however the chat ends
        _greet(screen, endpoint, worlds)
        for line in _lines(screen):
            if not _take(portal, session, line, config):
                break


def _greet(screen: Screen, endpoint: Endpoint, worlds: Worlds) -> None:
    servers = ", ".join(server["name"] for server in worlds.describe())
    screen.note(f"{endpoint.model} ({endpoint.origin}) with {len(worlds.tools)} tools of {servers}; /help for commands")


def _save_if_asked(session: Session, config: RunConfig) -> None:
    if config.chat.save and any(message.role == "assistant" for message in session.messages):
        save(session, Path(config.chat.save).expanduser())


def _take(portal: BlockingPortal, session: Session, line: str, config: RunConfig) -> bool:
    """Take one line; whether the chat goes on."""
    command = find_command(line)
    if command is not None:
        name, argument = command
        if name == "reset":
            _save_if_asked(session, config)
        return _interruptible(portal, session.screen, lambda: run_line(session, name, argument)) is not False
    try:
        episode = _interruptible(portal, session.screen, lambda: session.ask(line))
    except (DataError, EndpointError, ToolServerError) as error:
        # A model that was started for this chat and died does not come back; its own last words are then told.
        if not session.screen.live or (session.endpoint.ours and not session.endpoint.is_alive):
            raise
        session.screen.error(error)
        session.screen.note("your message was taken back")
    else:
        _tell_end(session, episode, config)
    return True


def _tell_end(session: Session, episode: Episode | None, config: RunConfig) -> None:
    screen = session.screen
    if episode is None:
        screen.note("stopped; your message was taken back (what calls changed stays)")
        return
    if not screen.live:
        screen.answer(episode.messages[-1].content or "" if episode.stopped in ("answer", "length") else "")
    if episode.stopped == "length":
        screen.note(f"cut at chat.max_tokens={config.chat.max_tokens}, or where the model's context ends", "yellow")
    elif episode.stopped == "max_turns":
        screen.note(f"stopped after chat.max_turns={config.chat.max_turns} turns; ask it to go on", "yellow")


def _interruptible(portal: BlockingPortal, screen: Screen, work: Callable[[], Awaitable[T]]) -> T | None:
    """Run work in the event loop; Ctrl-C ends it, and then the result is None. A second Ctrl-C gets through."""
    ended = threading.Event()

    async def run() -> T:
        try:
            return await work()
        finally:
            ended.set()

    future = portal.start_task_soon(run)
    try:
        return future.result()
    except (KeyboardInterrupt, SystemExit) as end:
        future.cancel()
        ended.wait(STOP_S)
        screen.idle()
        if isinstance(end, SystemExit):
            raise
        return None
    except CancelledError:
        return None


def _lines(screen: Screen) -> Iterator[str]:
    """The lines that are not empty, from the terminal or from standard input; Ctrl-C at two prompts in a row ends."""
    if screen.live:
        _prepare_readline()
    interrupted = False
    while True:
        try:
            line = _read_line(screen.live)
        except EOFError:
            if screen.live:
                screen.note("")
            return
        except KeyboardInterrupt:
            if interrupted or not screen.live:
                raise
            interrupted = True
            screen.note("\nCtrl-C again, Ctrl-D or /quit ends")
            continue
        interrupted = False
        if line.strip():
            yield line.strip()


def _read_line(live: bool) -> str:
    """A line, and those after it as long as each ends with a backslash."""
    line = input("> ") if live else _next_line()
    while line.endswith("\\"):
        with suppress(EOFError):
            line = f"{line[:-1]}\n{input('… ') if live else _next_line()}"
            continue
        return line[:-1]
    return line


def _next_line() -> str:
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.removesuffix("\n")


def _prepare_readline() -> None:
    """Editing and history of lines, and Tab for commands, where Python has readline."""
    try:
        import readline
    except ImportError:
        return

    def complete(text: str, state: int) -> str | None:
        found = [f"/{name}" for name in COMMANDS if f"/{name}".startswith(text)] if text.startswith("/") else []
        return found[state] if state < len(found) else None

    readline.set_completer_delims(" \t\n")
    readline.set_completer(complete)
    readline.parse_and_bind("tab: complete")


if __name__ == "__main__":
    sys.exit(main())
