"""JSON, YAML and TOML: text to JSON values and back. YAML without tags, objects or alias bombs."""

import json
import re
import tomllib
from typing import Any, Literal

from mcpserver.tool_error import ToolError
from mcpserver.toolbox.json_values import parse_json, plain
from toolwright.words import shorten

Format = Literal["json", "yaml", "toml"]

_LINE_ENDS = re.compile("[\x85\u2028\u2029\ufeff]")
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def read_structured(text: str, form: Format, parameter: str = "text") -> Any:
    """Read a text as a JSON value.

    Raises:
        ToolError: it is not of this form, or too large or deep.
    """
    if form == "json":
        return parse_json(text, parameter)
    try:
        return plain(tomllib.loads(text) if form == "toml" else _load_yaml(text), parameter)
    except (ValueError, RecursionError) as error:
        reason = shorten(" ".join(str(error).split()), 160)
        raise ToolError("bad_arguments", f"{parameter}: no {form.upper()}: {reason}") from None


def _load_yaml(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
    except (AttributeError, KeyError, IndexError, TypeError, OverflowError) as error:
        raise ValueError(f"a value does not fit its tag ({error})") from None  # such as !!bool maybe


def write_structured(value: Any, form: Format) -> str:
    """Write a JSON value as text.

    Raises:
        ToolError: TOML has no null, and is an object at the top.
    """
    if form == "json":
        return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    if form == "yaml":
        import yaml

        # line ends of Unicode do not come back from PyYAML unless they are escaped
        readable = not _LINE_ENDS.search(json.dumps(value, ensure_ascii=False))
        return str(yaml.safe_dump(value, allow_unicode=readable, sort_keys=False, width=100))
    if not isinstance(value, dict):
        raise ToolError("tool_error", "a TOML document is an object at the top, not a list or a plain value")
    return "\n".join(_table(value, ())).strip() + "\n"


def _table(table: dict[str, Any], path: tuple[str, ...]) -> list[str]:
    """The lines of a table: its plain values first, since what follows a header belongs to the header."""
    lines = [f"{_key(key)} = {_inline(value)}" for key, value in table.items() if not _is_table(value)]
    for key, value in table.items():
        inner = (*path, _key(key))
        if isinstance(value, dict):
            lines += ["", f"[{'.'.join(inner)}]", *_table(value, inner)]
        elif _is_table(value):
            for item in value:
                lines += ["", f"[[{'.'.join(inner)}]]", *_table(item, inner)]
    return lines


def _is_table(value: Any) -> bool:
    is_tables = isinstance(value, list) and value != [] and all(isinstance(item, dict) for item in value)
    return isinstance(value, dict) or is_tables


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _string(key)


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _inline(value: Any) -> str:
    if value is None:
        raise ToolError("tool_error", "TOML has no null; remove the empty values first")
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {_inline(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, str):
        return _string(value)
    return json.dumps(value)
