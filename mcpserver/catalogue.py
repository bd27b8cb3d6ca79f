"""The tool catalogue: typed Python functions become tools with a JSON Schema that a small model can read.

Reads the modules ``mcpserver/tools/<category>/<toolset>.py``; every public function defined there is a tool. Its type
hints give the schema, its docstring the description (first line), parameter descriptions (``Args:``) and runnable
examples (``Example:``, JSON objects of arguments). Writes nothing.
"""

import importlib
import inspect
import json
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any, Literal, get_type_hints

from pydantic import TypeAdapter, ValidationError

import mcpserver.tools
from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from toolwright.calls import check_arguments
from toolwright.errors import ConfigError, DataError
from toolwright.records import ToolSpec
from toolwright.words import nearest, shorten

Function = Callable[..., Any]
RunsIn = Literal["server", "worker"]
_KEY_ORDER = {"type": 0, "description": 1, "enum": 2}


@dataclass(frozen=True)
class Tool:
    """A tool: what the model sees, the function behind it, its toolset, and arguments that are known to work.

    Attributes:
        runs_in: ``worker``, the sandboxed process of an environment; or ``server``, for functions that touch no files,
            SQL, regular expressions, images or code, and take no time.
        takes_context: whether the function's first parameter is the ``Context``.
    """

    spec: ToolSpec
    function: Function
    category: str
    toolset: str
    examples: tuple[dict[str, Any], ...]
    adapters: Mapping[str, TypeAdapter[Any]]
    runs_in: RunsIn
    takes_context: bool
    place: str

    @property
    def module(self) -> str:
        """The module of the function, by name or file."""
        return self.function.__module__

    @property
    def is_file(self) -> bool:
        """Whether ``module`` is a file."""
        return False

    @property
    def needs_conversion(self) -> bool:
        """Whether some argument is no JSON value for the function."""
        return False

    def bind_json(self, text: str) -> dict[str, Any]:
        """Turn arguments as JSON text into the values that the function wants.

        Raises:
            ToolError: ``bad_arguments``, naming each parameter at fault.
        """
        arguments = json.loads(text)
        if problems := check_arguments(self.spec, arguments):
            raise ToolError("bad_arguments", "; ".join(problems))
        return self.bind(arguments)

    def bind(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Turn JSON arguments into the Python values that the function wants.

        Raises:
            ToolError: ``bad_arguments``, naming the parameter.
        """
        values = {}
        for name, value in arguments.items():
            try:
                values[name] = self.adapters[name].validate_json(json.dumps(value), strict=True)
            except ValidationError as error:
                first = error.errors()[0]
                path = "".join(f"[{part!r}]" for part in first["loc"])
                reason = first["msg"].removeprefix("Value error, ")
                raise ToolError("bad_arguments", f"{name}{path}: {reason}, got {shorten(value, 60)}") from None
        return values


def make_tool(function: Function, toolset: str, category: str = "", runs_in: RunsIn = "worker") -> Tool:
    """Make a tool from a typed function with a Google docstring.

    Raises:
        DataError: a missing type hint or description, or an example that is not a JSON object.
    """
    place = _place(function)
    hints = get_type_hints(function, include_extras=True)
    text, argument_texts, examples = _read_docstring(function, place)
    properties: dict[str, Any] = {}
    adapters: dict[str, TypeAdapter[Any]] = {}
    required, takes_context = [], False
    for name, parameter in inspect.signature(function).parameters.items():
        if hints.get(name) is Context:
            takes_context = True
            continue
        if name.startswith("_"):
            continue
        if name not in hints:
            raise DataError(f"{place}: parameter {name!r} of tool {function.__name__!r} has no type hint")
        adapters[name] = TypeAdapter(hints[name])
        properties[name] = _parameter_schema(adapters[name], parameter, argument_texts.get(name))
        if parameter.default is inspect.Parameter.empty:
            required.append(name)
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required
    schema["additionalProperties"] = False
    spec = ToolSpec(name=function.__name__, description=text, parameters=schema)
    return Tool(spec, function, category, toolset, examples, adapters, runs_in, takes_context, place)


def _place(function: Function) -> str:
    code = inspect.unwrap(function).__code__
    return f"{code.co_filename}:{code.co_firstlineno}"


def _parameter_schema(adapter: TypeAdapter[Any], parameter: inspect.Parameter, text: str | None) -> dict[str, Any]:
    schema = tidy_schema(adapter.json_schema())
    if parameter.default is None:
        schema = _without_null(schema)
    elif parameter.default is not inspect.Parameter.empty:
        schema["default"] = parameter.default
    if text and "description" not in schema:
        schema["description"] = text
    return dict(sorted(schema.items(), key=lambda item: _KEY_ORDER.get(item[0], len(_KEY_ORDER))))


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """An optional parameter is left out, never null: ``T | None = None`` shows as ``T``."""
    branches = [branch for branch in schema.get("anyOf", ()) if branch != {"type": "null"}]
    if len(branches) != 1:
        return schema
    optional: dict[str, Any] = branches[0] | {
        key: value for key, value in schema.items() if key not in ("anyOf", "default")
    }
    return optional


def tidy_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Shorten what pydantic writes: no titles, references inlined, objects closed to unknown keys.

    A schema that contains itself keeps its ``$defs``, since it cannot be inlined.
    """
    definitions = schema.get("$defs", {})
    recursive = {name for name in definitions if _reaches(name, name, definitions)}
    tidied: dict[str, Any] = _tidy({k: v for k, v in schema.items() if k != "$defs"}, definitions, recursive)
    if recursive:
        tidied["$defs"] = {name: _tidy(definitions[name], definitions, recursive) for name in sorted(recursive)}
    return tidied


def _reaches(start: str, goal: str, definitions: Mapping[str, Any]) -> bool:
    todo, seen = [start], set[str]()
    while todo:
        for name in re.findall(r'"#/\$defs/([^"]+)"', json.dumps(definitions[todo.pop()])):
            if name == goal:
                return True
            if name not in seen:
                seen.add(name)
                todo.append(name)
    return False


def _tidy(node: Any, definitions: Mapping[str, Any], recursive: set[str]) -> Any:
    if isinstance(node, list):
        return [_tidy(item, definitions, recursive) for item in node]
    if not isinstance(node, dict):
        return node
    name = str(node.get("$ref", "")).removeprefix("#/$defs/")
    if name and name not in recursive:
        siblings = {key: value for key, value in node.items() if key != "$ref"}
        return _tidy({**definitions[name], **siblings}, definitions, recursive)
    tidied: dict[str, Any] = {}
    for key, value in node.items():
        if key == "properties":  # a property may itself be called "title"
            tidied[key] = {name: _tidy(schema, definitions, recursive) for name, schema in value.items()}
        elif key in ("enum", "default", "const", "examples"):
            tidied[key] = value
        elif key != "title" and not (key == "additionalProperties" and value is True):
            tidied[key] = _tidy(value, definitions, recursive)
    if "properties" in tidied:
        tidied.setdefault("additionalProperties", False)
    return tidied


def _read_docstring(function: Function, place: str) -> tuple[str, dict[str, str], tuple[dict[str, Any], ...]]:
    """First line, parameter descriptions and examples of a Google docstring."""
    lines = (inspect.getdoc(function) or "").splitlines()
    if not lines or not lines[0].strip():
        raise DataError(f"{place}: tool {function.__name__!r} has no docstring; its first line is what models read")
    sections: dict[str, list[str]] = {}
    section = ""
    for line in lines[1:]:
        if line.endswith(":") and not line.startswith(" "):
            section = line.rstrip(":")
        elif line.strip():
            sections.setdefault(section, []).append(line.strip())
    named = (re.match(r"(\w+)[^:]*:\s*(.+)", line) for line in sections.get("Args", ()))
    examples = tuple(_read_examples("\n".join(sections.get("Example", ())), function.__name__, place))
    return lines[0].strip().rstrip("."), {match[1]: match[2] for match in named if match}, examples


def _read_examples(text: str, name: str, place: str) -> Iterator[dict[str, Any]]:
    """The JSON objects of an ``Example:`` section, one after the other."""
    decoder = json.JSONDecoder()
    while text:
        try:
            example, end = decoder.raw_decode(text)
        except ValueError as error:
            raise DataError(f"{place}: example of tool {name!r} is not JSON ({error}): {shorten(text)}") from None
        if not isinstance(example, dict):
            raise DataError(f"{place}: example of tool {name!r} is not a JSON object: {shorten(text)}")
        yield example
        text = text[end:].lstrip()


def collect(modules: Iterable[tuple[str, str, ModuleType]]) -> dict[str, Tool]:
    """Make the tools of several modules, given with category and toolset, in the order of the source.

    Raises:
        DataError: two tools with one name (naming both places), or a function that cannot be a tool.
    """
    tools: dict[str, Tool] = {}
    for category, toolset, module in modules:
        runs_in = getattr(module, "RUNS_IN", "worker")
        for name, function in vars(module).items():
            is_own = inspect.isfunction(function) and function.__module__ == module.__name__
            if not is_own or name.startswith("_"):
                continue
            tool = make_tool(function, toolset, category, runs_in)
            if tool.spec.name in tools:
                other = tools[tool.spec.name].place
                raise DataError(f"two tools are called {tool.spec.name!r}: {other} and {tool.place}; rename one")
            tools[tool.spec.name] = tool
    return tools


@lru_cache(maxsize=1)
def all_tools() -> Mapping[str, Tool]:
    """Every tool of ``mcpserver/tools``, by name; read once per process."""
    found = []
    for module in pkgutil.walk_packages(mcpserver.tools.__path__, "mcpserver.tools."):
        if not module.ispkg and not module.name.rpartition(".")[2].startswith("_"):
            category, toolset = module.name.split(".")[-2:]
            found.append((category, toolset, importlib.import_module(module.name)))
    return collect(sorted(found, key=lambda item: item[1]))


def toolsets() -> tuple[str, ...]:
    """The names of the toolsets, sorted."""
    return tuple(sorted({tool.toolset for tool in all_tools().values()}))


def select_tools(names: Sequence[str] | None = None) -> dict[str, Tool]:
    """The tools of the named toolsets, or all.

    Raises:
        ConfigError: a toolset that does not exist.
    """
    for name in names or ():
        if name not in toolsets():
            raise ConfigError(f"unknown toolset {name!r}{nearest(name, toolsets())}")
    return {name: tool for name, tool in all_tools().items() if names is None or tool.toolset in names}
