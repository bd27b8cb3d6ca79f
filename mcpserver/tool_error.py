"""The typed failure of a tool, which becomes a result for the model."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # records need pydantic, which a sandboxed worker does without
    from toolwright.records import ErrorType


class ToolError(Exception):
    """A call that failed in a way that the model should read; the dispatcher turns it into a ``ToolResult``."""

    def __init__(self, kind: "ErrorType", message: str) -> None:
        super().__init__(message)
        self.kind: ErrorType = kind
        self.message = message
