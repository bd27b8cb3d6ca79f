"""Text templates with ``{name}`` places, which take plain values and never look into an object.

``str.format`` is not used: its fields can walk through attributes to the modules of the process.
"""

import re
from collections.abc import Mapping

from mcpserver.tool_error import ToolError
from toolwright.words import nearest, shorten

_PLACE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_FIELD = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::([<>^]?\d{0,2},?(?:\.\d)?[dfs%]?))?")


def fill(template: str, values: Mapping[str, str | float | bool]) -> str:
    """Put values into the places of a template.

    Raises:
        ToolError: ``denied`` for a place that is no plain name, ``bad_arguments`` for one without a value.
    """

    def put(match: re.Match[str]) -> str:
        if match[0] in ("{{", "}}"):
            return match[0][0]
        field = _FIELD.fullmatch(match[1] or "")
        if field is None:
            text = f"template: {shorten(match[0], 60)} is no place such as {{name}} or {{price:.2f}}"
            raise ToolError("denied", f"{text}; attributes and items of values are not read, braces are doubled")
        name, form = field[1], field[2]
        if name not in values:
            raise ToolError("bad_arguments", f"values: nothing is given for {name!r}{nearest(name, list(values))}")
        try:
            return format(values[name], form or "")
        except ValueError:
            raise ToolError(
                "bad_arguments", f"template: {match[0]!r} does not fit {shorten(values[name], 40)}"
            ) from None

    return _PLACE.sub(put, template)
