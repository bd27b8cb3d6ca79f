"""The variables of the environment. They are those of its file ``.env``: what is set is seen by every later call."""

import re
from typing import Annotated, Any, Literal

from annotated_types import Len

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.results import page, whole
from mcpserver.toolbox.settings_files import change_env, read_env
from toolwright.words import nearest, shorten

ENV_FILE = ".env"

Name = Annotated[str, Len(1, 64)]
Names = Annotated[list[Name], Len(1, 50)]


def read_variables(context: Context, names: Names | None = None) -> dict[str, Any]:
    """Read the environment variables, which are kept in the file .env.

    Args:
        names: which variables; left out, all

    Example:
        {}
    """
    values = _variables(context)
    if names is not None:
        if missing := [name for name in names if name not in values]:
            raise ToolError("tool_error", f"names: {missing[0]!r} is not set{nearest(missing[0], list(values))}")
        values = {name: values[name] for name in names}
    rows = [{"name": name, "value": shorten(value, 500)[1:-1]} for name, value in values.items()]
    return page("variables", rows, limit=200)


def _variables(context: Context) -> dict[str, str]:
    return read_env(_env_text(context))


def _env_text(context: Context) -> str:
    return context.files.read_text(ENV_FILE) if context.files.resolve(ENV_FILE).exists() else ""


def set_variables(
    context: Context, values: Annotated[dict[str, Annotated[str, Len(0, 1000)]], Len(1, 50)]
) -> dict[str, Any]:
    """Set environment variables, which are kept in the file .env.

    Args:
        values: value by name

    Example:
        {"values": {"DESK": "gas", "REGION": "north west"}}
    """
    if wrong := [name for name in values if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", name)]:
        raise ToolError("bad_arguments", f"values: {shorten(wrong[0], 40)} is no name of a variable, such as DESK_NAME")
    before = _variables(context)
    context.files.write(ENV_FILE, change_env(_env_text(context), dict(values)).encode())
    return {"set": list(values), "new": [name for name in values if name not in before]}


def unset_variables(context: Context, names: Names, missing_ok: bool = True) -> dict[str, Any]:
    """Take environment variables away.

    Args:
        names: which variables
        missing_ok: whether a variable that is not set is passed over

    Example:
        {"names": ["DESK"]}
    """
    before = _variables(context)
    missing = [name for name in names if name not in before]
    if missing and not missing_ok:
        raise ToolError("tool_error", f"names: {missing[0]!r} is not set{nearest(missing[0], list(before))}")
    gone = [name for name in names if name in before]
    if gone:
        context.files.write(ENV_FILE, change_env(_env_text(context), dict.fromkeys(gone)).encode())
    return {"unset": gone, "left": len(before) - len(set(gone))}


def expand_variables(
    context: Context,
    text: Annotated[str, Len(1, 5000)],
    unset: Literal["error", "keep", "empty"] = "error",
) -> dict[str, Any]:
    """Put the values of environment variables into a text with $NAME or ${NAME}.

    Args:
        text: text with variables; $$ stands for a dollar sign
        unset: what happens to variables that are not set

    Example:
        {"text": "reports/${YEAR}/$DESK.md costs 5$$", "unset": "keep"}
    """
    values = _variables(context)

    def put(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name is None:
            return "$"
        if name not in values and unset == "error":
            raise ToolError("tool_error", f"text: {name!r} is not set{nearest(name, list(values))}")
        return values.get(name, match[0] if unset == "keep" else "")

    return {"text": whole(re.sub(r"\$(?:\$|([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})", put, text))}
