"""Small rewrites of type hints: plain strings in ``Annotated`` become descriptions, optional parameters lose None."""

from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NotRequired, Required, Union, get_args, get_origin

from pydantic import ConfigDict, Field
from pydantic.fields import FieldInfo
from typing_extensions import ReadOnly, TypedDict, get_type_hints, is_typeddict

UNIONS = (Union, UnionType)
_CONTAINERS = (list, dict, tuple, set, frozenset, Required, NotRequired, ReadOnly)


def describe(hint: Any, inside: Mapping[Any, Any] | None = None) -> Any:
    """The hint with each plain string in an ``Annotated`` made a pydantic description, at every depth.

    Looks into unions, built-in containers and TypedDicts; models and dataclasses have fields of their own. ``inside``
    holds the TypedDicts that are being rewritten, for those that contain themselves.
    """
    inside = inside or {}
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        base, *extras = arguments
        texts = [Field(description=extra) if isinstance(extra, str) else extra for extra in extras]
        return Annotated[(describe(base, inside), *texts)]
    if is_typeddict(hint):
        return inside[hint] if hint in inside else _describe_fields(hint, inside)
    if origin not in (*UNIONS, *_CONTAINERS):
        return hint
    parts = tuple(describe(part, inside) for part in arguments)
    if all(new is old for new, old in zip(parts, arguments)):
        return hint
    if origin in UNIONS:
        return Union[parts]  # noqa: UP007
    return origin[parts if len(parts) > 1 else parts[0]]


def _describe_fields(row: Any, inside: Mapping[Any, Any]) -> Any:
    """A TypedDict with described fields; itself where nothing is to be described."""
    hints = get_type_hints(row, include_extras=True)
    fields = {name: describe(hint, {**inside, row: row}) for name, hint in hints.items()}
    if all(fields[name] is hints[name] or fields[name] == hints[name] for name in hints):
        return row
    fields = {name: _present(hint, name in row.__required_keys__) for name, hint in fields.items()}
    described = make_row(row.__name__, fields, getattr(row, "__pydantic_config__", None))
    described.__doc__, described.__module__ = row.__doc__, row.__module__
    return described


def make_row(name: str, fields: Mapping[str, Any], config: ConfigDict | None) -> Any:
    """A TypedDict that is not written down as a class."""
    make: Any = TypedDict
    row = make(name, dict(fields))
    if config is not None:
        row.__pydantic_config__ = config
    return row


def _present(hint: Any, is_required: bool) -> Any:
    if get_origin(hint) in (Required, NotRequired):
        return hint
    return Required[hint] if is_required else NotRequired[hint]


def has_description(hint: Any) -> bool:
    """Whether the hint itself says what it is; a model's docstring does not count."""
    return get_origin(hint) is Annotated and any(
        isinstance(extra, FieldInfo) and extra.description for extra in get_args(hint)
    )


def without_none(hint: Any) -> Any:
    """The hint of an optional parameter: it is left out, never null, so ``T | None = None`` shows as ``T``."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return Annotated[(without_none(arguments[0]), *arguments[1:])]
    left = tuple(part for part in arguments if part not in (None, NoneType))
    if not left or len(left) == len(arguments):
        return hint
    if origin in UNIONS:
        return Union[left]  # noqa: UP007
    return Literal[left] if origin is Literal else hint
