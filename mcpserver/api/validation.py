"""Values and schemas of any type checked by the validator that checks the arguments of calls."""

from typing import Any

from toolwright.errors import DataError
from toolwright.explain import explain
from toolwright.records import ToolSpec
from toolwright.schemas import compile_schema

MAX_FAULTS = 5


def check_any_schema(schema: dict[str, Any]) -> None:
    """Refuse what is no JSON Schema.

    Raises:
        DataError: names the path and what is wrong there.
    """
    compile_schema(_as_parameters(schema))


def faults(schema: dict[str, Any], value: object) -> list[str]:
    """What is wrong with a value, in words for a model; empty when the schema takes it.

    Raises:
        DataError: the schema is wrong.
    """
    validator = compile_schema(_as_parameters(schema))
    found: list[str] = []
    instance: Any = {"value": value}
    try:
        for error in validator.iter_errors(instance):
            found += explain(error)
            if len(found) >= MAX_FAULTS:
                break
    except (RecursionError, ArithmeticError) as error:
        raise DataError(f"the value cannot be checked ({type(error).__name__})") from None
    return found[:MAX_FAULTS]


def _as_parameters(schema: dict[str, Any]) -> ToolSpec:
    """The schema as that of one parameter, its definitions where references look for them."""
    definitions = {"$defs": schema["$defs"]} if "$defs" in schema else {}
    inner = {key: value for key, value in schema.items() if key != "$defs"}
    parameters = {"type": "object", "properties": {"value": inner}, "required": ["value"], **definitions}
    return ToolSpec(name="value", parameters=parameters)
