"""The exception tree. Every message says what is wrong, where, with which value, and what to do next.

ToolwrightError
├── ConfigError        a configuration file, an override or a flag
├── DataError          a line of a JSONL file, a tool schema, a message
├── ArtifactError      an artifact of a run that is missing, stale, cut short or foreign
├── ModelError         a model directory, a tokenizer, a chat template, an adapter
├── EndpointError      a model server or a teacher that does not answer as it should
├── ToolServerError    an MCP server that is not there, or died
├── SandboxError       no sandbox on this machine, or one that does not start
└── StageError         a stage of the chain that failed
"""


class ToolwrightError(Exception):
    """A mistake or a failure that a user can act on; shown as one line, exit code 2."""


class ConfigError(ToolwrightError, ValueError):
    """A configuration file, an override or a flag is wrong."""


class DataError(ToolwrightError, ValueError):
    """A record is wrong: names file and line, field and value."""


class ArtifactError(ToolwrightError):
    """An artifact is missing, stale, truncated or made from something else; names the command that makes it."""


class ModelError(ToolwrightError, ValueError):
    """A model directory, tokenizer, chat template or adapter cannot be used."""


class EndpointError(ToolwrightError, ConnectionError):
    """An OpenAI-compatible endpoint refused, failed or answered nonsense."""


class ToolServerError(ToolwrightError, ConnectionError):
    """An MCP server could not be started or reached, or died."""


class SandboxError(ToolwrightError, RuntimeError):
    """No sandbox can run here, or one did not start; says why and what to install."""


class StageError(ToolwrightError, RuntimeError):
    """A stage of the chain ended with an error."""
