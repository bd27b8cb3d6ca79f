"""Reads a configuration: YAML file, then ``section.key=value`` overrides, then the typed models.

Every error names file and line (or the override), the key, the value and the nearest known key.
"""

import difflib
import re
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from toolwright.config import RunConfig
from toolwright.errors import ConfigError
from toolwright.words import shorten

REPOSITORY = Path(__file__).resolve().parents[1]
DEFAULT_CONFIG = "configs/tiny.yaml"

_EXPONENT = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")

Key = tuple[str, ...]
Origins = dict[Key, str]


def load_config(path: Path | None = None, overrides: Sequence[str] = ()) -> RunConfig:
    """Read ``path`` (default ``configs/tiny.yaml``) and apply overrides such as ``sft.lr=1.0e-3``.

    Raises:
        ConfigError: file not readable, not YAML, unknown key, wrong type or value out of range.
    """
    source = find_file(path if path is not None else Path(DEFAULT_CONFIG))
    values, origins = _read_yaml(source)
    for override in overrides:
        _apply_override(values, origins, override)
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error, origins, source)) from None


def find_file(path: Path) -> Path:
    """``path`` as it is, or below the repository when only that exists; so commands work from any directory."""
    if not path.exists() and not path.is_absolute() and (REPOSITORY / path).exists():
        return REPOSITORY / path
    return path


def _read_yaml(path: Path) -> tuple[dict[str, Any], Origins]:
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; name an existing configuration file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if node is None:
        return {}, {}
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{path}:1: expected `section: …` lines, got {shorten(node.value)}")
    origins: Origins = {}
    _collect_lines(node, path, (), origins)
    return typing.cast(dict[str, Any], yaml.safe_load(path.read_text(encoding="utf-8"))), origins


def _collect_lines(node: yaml.MappingNode, path: Path, prefix: Key, origins: Origins) -> None:
    for key_node, value_node in node.value:
        key = (*prefix, str(key_node.value))
        where = f"{path}:{key_node.start_mark.line + 1}"
        if key in origins:
            raise ConfigError(f"{where}: {'.'.join(key)} is given twice (first at {origins[key]})")
        origins[key] = where
        if isinstance(value_node, yaml.MappingNode):
            _collect_lines(value_node, path, key, origins)


def _apply_override(values: dict[str, Any], origins: Origins, override: str) -> None:
    dotted, _, text = override.partition("=")
    key = tuple(dotted.split("."))
    if not all(key):
        raise ConfigError(f"override {override!r}: expected section.key=value")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"override {override!r}: the value is not YAML") from None
    if isinstance(value, str) and _EXPONENT.fullmatch(text.strip()):
        value = float(text)  # a shell has no other way to write 1e-4; in a file it stays an error
    place = values
    for part in key[:-1]:
        inner = place.get(part)
        if inner is None:
            inner = place[part] = {}
        if not isinstance(inner, dict):
            raise ConfigError(f"override {override!r}: {part} is {shorten(inner)}, not a section")
        place = inner
    place[key[-1]] = value
    origins[key] = f"override {override!r}"


def _explain(error: ValidationError, origins: Origins, source: Path) -> str:
    lines = [_explain_one(item, origins, source) for item in error.errors()]
    return lines[0] if len(lines) == 1 else "; ".join(lines)


def _explain_one(item: Any, origins: Origins, source: Path) -> str:
    key = tuple(str(part) for part in item["loc"])
    where = next((origins[key[:n]] for n in range(len(key), 0, -1) if key[:n] in origins), str(source))
    name, given = ".".join(key), shorten(item.get("input"))
    if item["type"] == "extra_forbidden":
        return f"{where}: unknown key {name}{_nearest(key)}"
    hint = ""
    if isinstance(item.get("input"), str) and item["type"] in ("float_type", "int_type"):
        hint = _number_hint(item["input"])
    return f"{where}: {name}: {item['msg'][0].lower()}{item['msg'][1:]}, got {given}{hint}"


def _number_hint(text: str) -> str:
    try:
        return f"; YAML reads this as text: write {float(text):.1e}" if "e" in text.lower() else "; remove the quotes"
    except ValueError:
        return ""


def _nearest(key: Key) -> str:
    known = [".".join(path) for path, _ in fields()]
    close = difflib.get_close_matches(".".join(key), known, n=1, cutoff=0.5)
    close = close or [name for name in known if name.split(".")[-1] == key[-1]][:1]
    return f"; did you mean {close[0]}?" if close else "; --help lists the known keys"


def fields(model: type[BaseModel] = RunConfig, prefix: Key = ()) -> Iterator[tuple[Key, FieldInfo]]:
    """All keys with their field, sections opened, in the order of the file."""
    for name, field in model.model_fields.items():
        yield (*prefix, name), field
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from fields(field.annotation, (*prefix, name))


def describe_fields(sections: Sequence[str]) -> str:
    """The text under ``--help``: every key of ``sections`` and the top level, with type, default and unit."""
    lines = []
    for key, field in fields():
        opened = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        if opened or not (len(key) == 1 or key[0] in sections):
            continue
        default = field.get_default(call_default_factory=True)
        lines.append(
            f"  {'.'.join(key)} = {_show(default)}  ({_type_name(field.annotation)})\n      {field.description}"
        )
    return "\n".join(lines)


def _show(value: object) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("...\n").strip()


def _type_name(annotation: Any) -> str:
    if typing.get_origin(annotation) is typing.Annotated:
        return _type_name(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) is typing.Literal:
        return "|".join(str(option) for option in typing.get_args(annotation))
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return " or ".join(_type_name(option) for option in typing.get_args(annotation))
    if annotation is type(None):
        return "none"
    return str(getattr(annotation, "__name__", annotation))
