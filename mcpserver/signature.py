"""Type hints of a function to the JSON Schema and the validator of its parameters, both by pydantic.

The validator reads JSON text in strict mode. ``Signature.exact`` says whether it takes just what the JSON Schema takes
(narrowed by the hints' own checks, and by formats such as dates); where it may take more, both must be asked.
"""

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, NotRequired, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from mcpserver.context import Cell, Context
from mcpserver.core_schema import is_exact, is_native
from mcpserver.hints import UNIONS, describe, has_description, make_row, without_none
from mcpserver.json_schema import find_faults, tidy_schema
from toolwright.errors import DataError
from toolwright.words import nearest, shorten

Function = Callable[..., Any]
_KEY_ORDER = {"type": 0, "description": 1, "enum": 2}
_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Signature:
    """The parameters of a tool.

    Attributes:
        schema: the JSON Schema that models see.
        validator: pydantic's validator of JSON text; gives the values by parameter, only those that were given.
        exact: whether the validator takes nothing that the schema refuses.
        native: whether the values are plain JSON values.
        context_name: the parameter that takes the ``Context``, if any.
    """

    schema: dict[str, Any]
    validator: Any
    exact: bool
    native: bool
    context_name: str | None

    def validate(self, text: str | bytes) -> dict[str, Any]:
        """The values by parameter that a JSON text gives.

        Raises:
            ValidationError: what does not fit.
        """
        values: dict[str, Any] = self.validator.validate_json(
            text, strict=True, extra="forbid", by_alias=True, by_name=False
        )
        return values


def read_signature(function: Function, texts: Mapping[str, str], place: str) -> Signature:
    """Read the parameters of a tool; ``texts`` describe those whose hint does not, ``place`` is file and line.

    Raises:
        DataError: a parameter without hint, or with one that JSON has no values for; ``*args``; a wrong default.
    """
    hints = read_hints(function, place)
    where = f"{place}: tool {function.__name__!r}"
    fields: dict[str, Any] = {}
    defaults: dict[str, Any] = {}
    contexts: list[str] = []
    for name, parameter in inspect.signature(function).parameters.items():
        _check_kind(parameter, hints, where)
        if _is_context(hints[name]):
            contexts.append(name)
        elif name.startswith("_"):
            if parameter.default is parameter.empty:
                raise DataError(f"{where}: parameter {name!r} is never shown to models, so it needs a default")
        else:
            hint = describe(hints[name])
            hint = without_none(hint) if parameter.default is None else hint
            if name in texts and not has_description(hint):
                hint = Annotated[hint, Field(description=texts[name])]
            fields[name] = hint
            if parameter.default is not parameter.empty:
                fields[name], defaults[name] = NotRequired[hint], parameter.default
    if len(contexts) > 1:
        raise DataError(f"{where}: {' and '.join(contexts)} both take the Context; keep one")
    _check_texts(texts, [*fields, *contexts], where)
    return _build(fields, defaults, contexts[0] if contexts else None, where)


def read_hints(function: Function, place: str) -> dict[str, Any]:
    """The hints of a function, with the names in quoted ones looked up; ``Context`` need not be imported for that.

    Raises:
        DataError: a hint that cannot be evaluated.
    """
    names = {"Context": Context, **getattr(inspect.unwrap(function), "__globals__", {})}
    try:
        return get_type_hints(function, names, include_extras=True)
    except Exception as error:  # a hint is any expression
        reason = shorten(str(error))
        raise DataError(f"{place}: a type hint of tool {function.__name__!r} cannot be read: {reason}") from error


def _check_kind(parameter: inspect.Parameter, hints: Mapping[str, Any], where: str) -> None:
    name = parameter.name
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        raise DataError(f"{where}: parameter {str(parameter).split(':')[0]!r} takes anything; name each parameter")
    if parameter.kind is parameter.POSITIONAL_ONLY:
        raise DataError(f"{where}: parameter {name!r} is positional only, and models give names; take the '/' away")
    if name not in hints:
        raise DataError(f"{where}: parameter {name!r} has no type hint")
    if isinstance(parameter.default, FieldInfo) or any(map(_has_default, get_args(hints[name]))):
        raise DataError(f"{where}: parameter {name!r} has a Field with a default; write the default as '= value'")


def _has_default(part: object) -> bool:
    return isinstance(part, FieldInfo) and not part.is_required()


def _is_context(hint: Any) -> bool:
    """Whether a hint is the Context, also annotated, or optional."""
    if get_origin(hint) is Annotated or get_origin(hint) in UNIONS:
        return any(_is_context(part) for part in get_args(hint))
    return isinstance(hint, type) and issubclass(hint, Context)


def _check_texts(texts: Mapping[str, str], names: list[str], where: str) -> None:
    for name in texts:
        if name not in names and not name.startswith("_"):
            raise DataError(f"{where}: 'Args:' describes {name!r}, which is no parameter{nearest(name, names)}")


def _build(fields: dict[str, Any], defaults: dict[str, Any], context_name: str | None, where: str) -> Signature:
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(make_row("Arguments", fields, _STRICT))
        schema = tidy_schema(adapter.json_schema())
        plain = to_jsonable_python({name: value for name, value in defaults.items() if value is not None})
    except Exception as error:  # pydantic has some kinds of its own, and calls what hints bring along
        reason = str(error).partition("\n")[0]
        raise DataError(f"{where}: a parameter cannot become JSON Schema: {shorten(reason, 300)}") from error
    exact, native = is_exact(adapter.core_schema), is_native(adapter.core_schema)
    parameters = _parameters(schema, fields, plain, [name for name in fields if name not in defaults], where)
    signature = Signature(parameters, adapter.validator, exact, native, context_name)
    _check_defaults(signature, where)
    return signature


def _parameters(
    schema: Mapping[str, Any], fields: Mapping[str, Any], defaults: Mapping[str, Any], required: list[str], where: str
) -> dict[str, Any]:
    """The schema of all parameters, from pydantic's, in the order and with the keys that models were taught."""
    properties = schema["properties"]
    shown = dict(zip(fields, properties))  # an alias is shown instead of the name
    if len(properties) != len(fields):
        raise DataError(f"{where}: two parameters are shown under one alias")
    for fault in find_faults(schema):
        raise DataError(f"{where}: {fault}")
    for name, value in defaults.items():
        properties[shown[name]]["default"] = value
    parameters: dict[str, Any] = {"type": "object", "properties": {}}
    for name, part in properties.items():
        ordered = sorted(part.items(), key=lambda item: _KEY_ORDER.get(item[0], len(_KEY_ORDER)))
        parameters["properties"][name] = dict(ordered)
    if required:
        parameters["required"] = [shown[name] for name in required]
    parameters["additionalProperties"] = False
    return parameters | ({"$defs": schema["$defs"]} if "$defs" in schema else {})


def _check_defaults(signature: Signature, where: str) -> None:
    properties = signature.schema["properties"]
    given = {name: part["default"] for name, part in properties.items() if "default" in part}
    if not given:
        return
    try:
        signature.validate(json.dumps(given, allow_nan=False))
    except ValidationError as error:
        for fault in error.errors(include_url=False):
            if fault["type"] != "missing" or len(fault["loc"]) > 1:
                name = fault["loc"][0] if fault["loc"] else "?"
                raise DataError(
                    f"{where}: the default of {name!r} does not fit its hint ({fault['msg']}): "
                    f"{shorten(given.get(str(name)))}"
                ) from None
    except Exception as error:
        raise DataError(f"{where}: a default is not JSON ({shorten(str(error))}): {shorten(given)}") from error


@lru_cache(maxsize=1024)
def _output_of(hint: Any) -> dict[str, Any]:
    return tidy_schema(TypeAdapter(hint).json_schema(mode="serialization"))


def read_output(function: Function, place: str) -> tuple[dict[str, Any], bool]:
    """The JSON Schema of what a tool returns, and whether that is no object and so is served as ``{"result": …}``.

    Raises:
        DataError: no return hint, or one that JSON has no values for.
    """
    where = f"{place}: tool {function.__name__!r}"
    hints = read_hints(function, place)
    if "return" not in hints:
        raise DataError(f"{where} has no return hint; write what it returns, such as '-> dict[str, Any]'")
    hint = str if hints["return"] is Cell else hints["return"]  # what code prints is served, not the request to run it
    try:
        schema = _output_of(hint)
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{where}: its return hint cannot become JSON Schema: {shorten(reason, 300)}") from error
    if schema.get("type") == "object":
        return schema, False
    definitions = {"$defs": schema["$defs"]} if "$defs" in schema else {}
    inner = {key: value for key, value in schema.items() if key != "$defs"}
    wrapped = {"type": "object", "properties": {"result": inner}, "required": ["result"], "additionalProperties": False}
    return wrapped | definitions, True
