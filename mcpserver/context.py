"""What a tool may touch besides its arguments: the one parameter that the dispatcher gives and no caller can.

A tool that declares a first parameter ``context: Context`` gets it. Nothing but the standard library, since it is
imported by sandboxed workers.
"""

import datetime
import json
import marshal
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from mcpserver.tool_error import ToolError
from mcpserver.workspace import Workspace

if TYPE_CHECKING:  # hints only: a worker starts in milliseconds, and these take most of them
    import sqlite3
    from contextlib import AbstractContextManager
    from random import Random

    from mcpserver.databases import Access

FIRST_MOMENT = datetime.datetime(2025, 3, 17, 9, 0)
"""A Monday. The clock of an environment stands still: a tool that read the real one could not be played twice."""
MAX_PICTURE_BYTES = 1024 * 1024
MAX_PICTURES = 4

State = dict[str, Any]
MakeState = Callable[["Random"], State]


class Picture(NamedTuple):
    """An image that goes to the model beside the text of a result."""

    mime_type: str
    content: bytes


class Cell(NamedTuple):
    """What a tool returns to have code run by the environment's Python, with the variables of earlier cells.

    Attributes:
        code: Python, or a command of the shell.
        shell: whether it is a command.
        restart: forget all variables instead.
    """

    code: str = ""
    shell: bool = False
    restart: bool = False


class Services:
    """The state of the simulated services of one environment: JSON objects by service name, made on first use."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.states: dict[str, State] = {}
        self.first: dict[str, bytes] = {}

    def get(self, name: str, make: MakeState) -> State:
        """The state of a service; ``make`` draws the first one from a generator of the service's own."""
        if name not in self.states:
            self.states[name] = make(draw(self.seed, name))
            self.first[name] = marshal.dumps(self.states[name])
        return self.states[name]

    def changed(self) -> dict[str, str]:
        """The SHA-256 of each state that is not the first one any more: looking at a service changes nothing."""
        return {
            name: _sha256(json.dumps(state, sort_keys=True)).hex()
            for name, state in self.states.items()
            if state != marshal.loads(self.first[name])
        }


def _sha256(text: str) -> bytes:
    import hashlib

    return hashlib.sha256(text.encode()).digest()


def draw(seed: int, *names: object) -> "Random":
    """A random generator that depends only on the seed and the names."""
    from random import Random

    return Random(_sha256(json.dumps([seed, *map(str, names)])))


def nobody(question: str) -> str:
    """The human prompt service where there is no human."""
    raise ToolError("denied", "nobody is there to answer; go on with what is known, or say what is missing")


class Context:
    """One call's view of its environment.

    Args:
        seed: decides everything that is simulated.
        services: the state of simulated services; only for tools that run in the server.
        workspace: the files and databases; only for tools that run in the environment's worker.
        deadline: the ``time.monotonic()`` at which the call is given up.
        ask_human: puts a question to a human and gives the answer; only for tools that run in the server.
        attachments: what the user sent along, as paths of files.

    Attributes:
        now: the environment's clock, which stands still.
        pictures: what ``show`` collected.
    """

    def __init__(
        self,
        seed: int,
        *,
        services: Services | None = None,
        workspace: Workspace | None = None,
        deadline: float = float("inf"),
        ask_human: Callable[[str], str] = nobody,
        attachments: Sequence[str] = (),
    ) -> None:
        self.seed = seed
        self.now = FIRST_MOMENT
        self.ask_human = ask_human
        self.attachments = tuple(attachments)
        self.pictures: list[Picture] = []
        self._services = services
        self._workspace = workspace
        self._deadline = deadline
        self._changed: dict[str, State] = {}

    @property
    def files(self) -> Workspace:
        """The files of the environment.

        Raises:
            ToolError: the tool runs in the server, where there are none.
        """
        if self._workspace is None:
            raise ToolError("tool_error", "this tool runs in the server and has no files")
        return self._workspace

    def random(self, *names: object) -> "Random":
        """A generator that depends only on the environment's seed and the names."""
        return draw(self.seed, *names)

    def open_database(self, name: str, access: "Access" = "rows") -> "AbstractContextManager[sqlite3.Connection]":
        """Open one of the environment's databases for this call, under the authorizer; see ``mcpserver.databases``."""
        from mcpserver.databases import open_database

        return open_database(self.files.databases, name, lambda: self._deadline, access)

    def read(self, service: str, make: MakeState) -> Mapping[str, Any]:
        """The state of a service, to look at. It must not be changed: that is what ``change`` is for."""
        if service in self._changed:
            return self._changed[service]
        return self._state(service, make)

    def change(self, service: str, make: MakeState) -> State:
        """A copy of the state of a service, to change; it becomes the state when the call ends well.

        So a call that fails halfway changes nothing. The state must hold JSON values only.
        """
        if service not in self._changed:
            self._changed[service] = marshal.loads(marshal.dumps(self._state(service, make)))
        return self._changed[service]

    def _state(self, service: str, make: MakeState) -> State:
        if self._services is None:
            raise ToolError("tool_error", "this tool runs in a worker and has no services")
        return self._services.get(service, make)

    def commit(self) -> None:
        """Keep what was changed; the dispatcher calls it after a call that ended well."""
        if self._services is not None:
            self._services.states.update(self._changed)
        self._changed.clear()

    def show(self, content: bytes, mime_type: str = "image/png") -> None:
        """Send an image to the model beside the text of the result.

        Raises:
            ToolError: ``limit``.
        """
        if len(content) > MAX_PICTURE_BYTES or len(self.pictures) >= MAX_PICTURES:
            raise ToolError("limit", f"at most {MAX_PICTURES} pictures of {MAX_PICTURE_BYTES} bytes are shown")
        self.pictures.append(Picture(mime_type, content))

    def check_deadline(self) -> None:
        """Stop a call that was already given up.

        Raises:
            ToolError: ``timeout``.
        """
        if time.monotonic() > self._deadline:
            raise ToolError("timeout", "the call took too long; nothing more was changed")
