"""Files of settings (.env, ini, toml, yaml, json): read, changed and compared."""

from typing import Annotated, Any, Literal

from annotated_types import Len

from mcpserver.context import Context
from mcpserver.toolbox.json_patch import difference
from mcpserver.toolbox.json_values import need_path
from mcpserver.toolbox.results import clip, json_bytes, page
from mcpserver.toolbox.settings_files import Form, change_settings, form_of, read_settings_text

Path = Annotated[str, Len(1, 200)]
Keys = Annotated[list[Annotated[str, Len(1, 100)]], Len(1, 8)]
Scalar = str | int | float | bool


def read_settings(context: Context, path: str, key: Path | None = None, form: Form | None = None) -> dict[str, Any]:
    """Read a file of settings, or the values at one key.

    Args:
        path: file: .env, ini, toml, yaml or json
        key: such as server.port, steps[0].id or features.*; left out, the whole file
        form: form of the file; left out, the ending of its name tells

    Example:
        {"path": "data/app.ini"}
        {"path": "data/settings.yaml", "key": "server.port"}
    """
    values = _read(context, path, form)
    rows = [{"key": clip(place), "value": value} for place, value in need_path(values, key or "$")]
    if key is None and json_bytes(values) > 10_000 and isinstance(values, dict):
        rows = [{"key": clip(name), "value": value} for name, value in values.items()]
    return {"form": form or form_of(path), **page("settings", rows)}


def _read(context: Context, path: str, form: Form | None = None, parameter: str = "path") -> Any:
    text = context.files.read_text(path, parameter, limit=256 * 1024)
    return read_settings_text(text, form or form_of(path), parameter)


def change_setting(
    context: Context,
    path: str,
    keys: Keys,
    value: Scalar | Annotated[list[Scalar], Len(0, 50)],
    form: Form | None = None,
) -> dict[str, Any]:
    """Change or add one value in a file of settings; comments stay in .env and ini files only.

    Args:
        path: file: .env, ini, toml, yaml or json
        keys: names from the outermost in, such as ["server", "port"]; section and name for ini, one name for .env
        value: new value
        form: form of the file; left out, the ending of its name tells

    Example:
        {"path": "data/app.ini", "keys": ["export", "format"], "value": "csv"}
        {"path": "config/desk.json", "keys": ["new", "hubs"], "value": ["TTF", "THE"]}
    """
    text = context.files.read_text(path, limit=256 * 1024)
    new = change_settings(text, form or form_of(path), keys, value)
    context.files.write(path, new.encode())
    return {"path": path, "key": ".".join(keys), "changed": new != text}


def compare_settings(
    context: Context, first: str, second: str, show: Literal["all", "changed", "missing"] = "all"
) -> dict[str, Any]:
    """Compare two files of settings by their values, whatever their form, order and comments.

    Args:
        first: the old file
        second: the new file
        show: all differences, values that changed, or keys that only one has

    Example:
        {"first": "config/desk.json", "second": "data/app.toml", "show": "missing"}
    """
    names = {"replace": "changed", "remove": "only in first", "add": "only in second"}
    rows = []
    for operation in difference(_read(context, first, None, "first"), _read(context, second, None, "second")):
        if show == "all" or (show == "changed") == (operation["op"] == "replace"):
            value = {"value": operation["value"]} if "value" in operation else {}
            rows.append({"key": clip(operation["path"]), "difference": names[operation["op"]], **value})
    return {"same": not rows, **page("differences", rows)}
