"""Call a tool of the catalogue in this process, over a folder of its own: for the tests of single tools.

What the dispatcher, the worker and the sandbox add is tested with the environment (``test_mcpserver_environment*``).
"""

import json
from pathlib import Path
from typing import Any

from mcpserver.catalogue import Function, Tool, make_tool
from mcpserver.context import Context, Picture, Services
from mcpserver.settings import Settings
from mcpserver.workspace import DATABASES, FILES, Workspace
from toolwright.calls import check_arguments
from toolwright.errors import DataError

DESK = Settings(toolsets=("database", "energy", "files", "maths"), world="desk")
"""The tools and the world of ``configs/tiny.yaml``."""


class World:
    """A folder with files and databases, the services of a seed, and calls on them.

    Attributes:
        pictures: what the last call showed.
    """

    def __init__(self, folder: Path, base: dict[str, bytes] | None = None, seed: int = 17) -> None:
        for top in (FILES, DATABASES):
            (folder / top).mkdir(parents=True, exist_ok=True)
        for name, content in (base or {}).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        self.workspace = Workspace(folder)
        self.services = Services(seed)
        self.seed = seed
        self.pictures: list[Picture] = []

    def call(self, function: Function | Tool, /, **arguments: Any) -> Any:
        """Call a tool as the dispatcher does: schema, types, function, JSON; gives the JSON value.

        Raises:
            ToolError: the tool refuses.
            DataError: the arguments do not fit the schema.
        """
        tool = function if isinstance(function, Tool) else make_tool(function, "test")
        if problems := check_arguments(tool.spec, arguments):
            raise DataError("; ".join(problems))
        context = Context(self.seed, services=self.services, workspace=self.workspace)
        result = tool.run(context, tool.check(arguments))
        context.commit()
        self.pictures = context.pictures
        return json.loads(json.dumps(result, allow_nan=False))

    def write(self, path: str, content: str | bytes) -> None:
        self.workspace.write(path, content if isinstance(content, bytes) else content.encode())
