"""Settings in files of several forms: read as JSON values, and single ones changed with the rest left as it is."""

import configparser
import json
import re
from typing import Any, Literal, get_args

from mcpserver.tool_error import ToolError
from mcpserver.toolbox.json_patch import apply_operation
from mcpserver.toolbox.json_values import plain
from mcpserver.toolbox.structured_text import read_structured, write_structured
from toolwright.words import shorten

Form = Literal["json", "yaml", "toml", "ini", "env"]
Scalar = str | int | float | bool

_ENDS: dict[str, Form] = {"yml": "yaml", "cfg": "ini", "conf": "ini", "properties": "ini"}
_ENV_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=(.*)")
_INI_LINE = re.compile(r"\s*([^=:\s\[#;][^=:]*?)\s*[=:]")
_INI_SECTION = re.compile(r"\s*\[([^\]]+)\]")


def form_of(path: str) -> Form:
    """The form of a file of settings, by its name.

    Raises:
        ToolError: ``bad_arguments``.
    """
    end = path.rpartition("/")[2].rpartition(".")[2].lower()
    form = _ENDS.get(end, end)
    for known in get_args(Form):
        if form == known:
            return known  # type: ignore[no-any-return]
    raise ToolError("bad_arguments", f"form: {path!r} does not tell its form; give one of {', '.join(get_args(Form))}")


def read_settings_text(text: str, form: Form, parameter: str = "path") -> Any:
    """Read a file of settings as a JSON value; the values of ini and env are texts.

    Raises:
        ToolError: it is not of this form.
    """
    if form == "env":
        return read_env(text)
    if form != "ini":
        return plain(read_structured(text, form, parameter), parameter)
    parser = configparser.ConfigParser(interpolation=None, strict=False, default_section="DEFAULT")
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise ToolError("tool_error", f"{parameter}: no ini file ({shorten(str(error), 120)})") from None
    values = {name: dict(parser[name]) for name in parser.sections()}
    return values | ({"DEFAULT": dict(parser.defaults())} if parser.defaults() else {})


def read_env(text: str) -> dict[str, str]:
    """The variables of a .env file; other lines are left out."""
    values = {}
    for line in text.split("\n"):
        if match := _ENV_LINE.fullmatch(line.rstrip("\r")):
            values[match[1]] = _unquote(match[2].strip())
    return values


def _unquote(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] == "'":
        return value[1:-1]
    if len(value) >= 2 and value[0] == value[-1] == '"':
        return re.sub(r"\\([\\\"nrt$])", lambda m: {"n": "\n", "r": "\r", "t": "\t"}.get(m[1], m[1]), value[1:-1])
    return re.split(r"\s+#", value, maxsplit=1)[0]


def _quote(value: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_./:@%+,=-]*", value):
        return value
    escaped = re.sub(r"[\\\"$]", lambda match: "\\" + match[0], value)
    return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + '"'


def change_env(text: str, values: dict[str, str | None]) -> str:
    """A .env file with some variables set or, where the value is nothing, taken out; other lines stay."""
    left, lines = dict(values), []
    for line in text.split("\n")[: -1 if text.endswith("\n") or not text else None]:
        match = _ENV_LINE.fullmatch(line.rstrip("\r"))
        if match is None or match[1] not in values:
            lines.append(line)
        elif left.get(match[1]) is not None:
            lines.append(f"{match[1]}={_quote(str(left.pop(match[1])))}")
    lines += [f"{name}={_quote(value)}" for name, value in left.items() if value is not None]
    return "".join(f"{line}\n" for line in lines)


def change_settings(text: str, form: Form, keys: list[str], value: Scalar | list[Scalar]) -> str:
    """A file of settings with one value set; comments stay in ini and env only.

    Args:
        text: the file.
        form: its form.
        keys: names from the outermost in; a section and a name for ini, one name for env.
        value: what to set; lists not for ini and env.

    Raises:
        ToolError: the file is not of this form, or the keys or the value do not suit it.
    """
    if form == "ini" or form == "env":
        wanted = 2 if form == "ini" else 1
        written = value if isinstance(value, str) else json.dumps(value)
        if len(keys) != wanted or isinstance(value, list) or (form == "ini" and "\n" in written):
            raise ToolError("bad_arguments", f"key: {form} takes {wanted} name(s) and a plain value on one line")
        if form == "env":
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", keys[0]):
                raise ToolError("bad_arguments", f"key: {keys[0]!r} is no name of a variable")
            return change_env(text, {keys[0]: written})
        return _change_ini(text, keys[0], keys[1], written)
    document = read_structured(text, form, "path")
    for depth in range(1, len(keys)):
        pointer = _pointer(keys[:depth])
        if not _has(document, keys[:depth]):
            document = apply_operation(document, {"op": "add", "path": pointer, "value": {}})
    op: Literal["replace", "add"] = "replace" if _has(document, keys) else "add"
    return write_structured(apply_operation(document, {"op": op, "path": _pointer(keys), "value": value}), form)


def _pointer(keys: list[str]) -> str:
    return "".join("/" + key.replace("~", "~0").replace("/", "~1") for key in keys)


def _has(document: Any, keys: list[str]) -> bool:
    for key in keys:
        if isinstance(document, list) and key.isascii() and key.isdigit() and len(key) < 9 and int(key) < len(document):
            document = document[int(key)]
        elif isinstance(document, dict) and key in document:
            document = document[key]
        else:
            return False
    return True


def _change_ini(text: str, section: str, name: str, value: str) -> str:
    if re.search(r"[\[\]\n\r]", section) or re.search(r"[=:\[\]\n\r]|^[#;]", name) or not name.strip() or not section:
        raise ToolError("bad_arguments", f"key: {shorten(section, 30)} and {shorten(name, 30)} are no section and name")
    read_settings_text(text, "ini")
    lines, here, end = text.split("\n")[: -1 if text.endswith("\n") or not text else None], False, None
    for index, line in enumerate(lines):
        if match := _INI_SECTION.match(line):
            here = match[1] == section
            end = index if here else end
        elif here and (match := _INI_LINE.match(line)) and match[1].lower() == name.lower():
            lines[index] = f"{match[1]} = {value}"
            return "".join(f"{line}\n" for line in lines)
        elif here and line.strip():
            end = index
    if end is None:
        lines += [*([""] if lines else []), f"[{section}]", f"{name} = {value}"]
    else:
        lines.insert(end + 1, f"{name} = {value}")
    return "".join(f"{line}\n" for line in lines)
