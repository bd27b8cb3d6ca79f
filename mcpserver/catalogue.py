"""The tool catalogue: typed Python functions become tools with a JSON Schema that a small model can read.

Reads the modules ``mcpserver/tools/<category>/<toolset>.py``, and those of users' own folders and packages (see
``discovery``); every public function defined there is a tool. Its type hints give the schemas, its docstring the
description (first line), parameter descriptions (``Args:``) and runnable examples (``Example:``, JSON objects of
arguments). Writes nothing.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, Literal, cast

from mcpserver.arguments import bind_text, to_text
from mcpserver.binding import prepare_result, refer_to
from mcpserver.discovery import Found, find_modules, own_functions, sources_from_environment, walk_package
from mcpserver.docstring import read_docstring
from mcpserver.signature import Function, Signature, read_output, read_signature
from mcpserver.tool_error import ToolError
from toolwright.calls import check_schema
from toolwright.errors import ConfigError, DataError
from toolwright.records import ToolSpec
from toolwright.words import nearest, shorten

if TYPE_CHECKING:
    from mcpserver.api.operation import ApiOperation

RunsIn = Literal["server", "worker", "api"]
API_SUFFIX = ".api.jsonl"
BUILT_IN = "mcpserver.tools"
BUILT_IN_FOLDER = Path(__file__).with_name("tools")


@dataclass(frozen=True)
class Tool:
    """A tool: what the model sees, the function behind it, its place in the catalogue, and arguments that work.

    Attributes:
        output_schema: the JSON Schema of the result as it is served.
        wraps_result: whether the result is no object and so is served as ``{"result": …}``.
        runs_in: ``worker``, the sandboxed process of an environment; or ``server``, for functions that touch no files,
            SQL, regular expressions, images or code, and take no time; or ``api``, an endpoint or its stand-in.
        module: what ``binding.load_module`` finds the function's module by: a dotted name, or a path if ``is_file``.
        place: file and line, for messages.
        api: what a tool of an API calls.
    """

    spec: ToolSpec
    function: Function
    category: str
    toolset: str
    examples: tuple[dict[str, Any], ...]
    signature: Signature
    output_schema: Mapping[str, Any]
    wraps_result: bool
    runs_in: RunsIn
    module: str
    is_file: bool
    place: str
    api: "ApiOperation | None" = None

    @property
    def context_name(self) -> str | None:
        """The parameter that takes the ``Context``, if any; no caller can give it."""
        return self.signature.context_name

    @property
    def takes_context(self) -> bool:
        """Whether the function wants the ``Context``."""
        return self.signature.context_name is not None

    @property
    def needs_conversion(self) -> bool:
        """Whether the function wants values that JSON has not: ``binding.convert`` makes them from the arguments.

        Where it does not, what ``check`` gives are JSON values, fit to be sent to another process.
        """
        return not self.signature.native

    def bind_json(self, text: str | bytes) -> dict[str, Any]:
        """Check the JSON text of a call's arguments, and turn them into the values that the function wants.

        Raises:
            ToolError: ``bad_arguments``, naming each parameter that is wrong.
        """
        return bind_text(self.spec, self.signature, text)

    def check(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """As ``bind_json``, for arguments that are not text yet."""
        return self.bind_json(to_text(arguments))

    def run(self, context: object, values: Mapping[str, Any]) -> Any:
        """Call the function with what ``check`` gave; the context goes where the function wants it."""
        name = self.signature.context_name
        return self.function(**values) if name is None else self.function(**{name: context}, **values)

    def prepare(self, result: object) -> dict[str, Any]:
        """The result as the JSON object that is served; values inside it are left to ``binding.to_plain``.

        Raises:
            ToolError: ``tool_error``, when the tool promises an object and gave something else.
        """
        try:
            return prepare_result(result, self.wraps_result)
        except TypeError as error:
            raise ToolError("tool_error", f"{self.spec.name} failed: {error}") from None


def make_tool(function: Function, toolset: str, category: str = "", runs_in: RunsIn = "worker") -> Tool:
    """Make a tool from a typed function with a Google docstring.

    Raises:
        DataError: a missing type hint or docstring, or one that cannot be used; names file and line.
    """
    place = _place(function)
    name = function.__name__
    if not re.fullmatch(r"[A-Za-z]\w{0,63}", name, re.ASCII):
        raise DataError(f"{place}: {shorten(name)} is no name for a tool: 1 to 64 of a-z, 0-9 and _")
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise DataError(f"{place}: tool {name!r} is async or a generator; make it a plain function that returns")
    text = read_docstring(function, place)
    signature = read_signature(function, text.parameters, place)
    output_schema, wraps_result = read_output(function, place)
    spec = ToolSpec(name=name, description=text.summary, parameters=signature.schema)
    module, is_file = refer_to(function)
    return Tool(
        spec=spec,
        function=function,
        category=category,
        toolset=toolset,
        examples=text.examples,
        signature=signature,
        output_schema=output_schema,
        wraps_result=wraps_result,
        runs_in=runs_in,
        module=module,
        is_file=is_file,
        place=place,
    )


def _place(function: Function) -> str:
    code = inspect.unwrap(function).__code__
    return f"{code.co_filename}:{code.co_firstlineno}"


def collect(modules: Iterable[tuple[str, str, ModuleType] | Found]) -> dict[str, Tool]:
    """Make the tools of several modules, given with category and toolset; in the order of the source.

    Raises:
        DataError: two tools with one name (naming both places), or a function that cannot be a tool.
    """
    tools: dict[str, Tool] = {}
    for found in modules:
        _add(tools, _tools_of(Found(*found)))
    return tools


def _tools_of(found: Found) -> Iterator[Tool]:
    runs_in = getattr(found.module, "RUNS_IN", "worker")
    if runs_in not in ("server", "worker"):
        raise DataError(f"{found.module.__file__}: RUNS_IN is {shorten(runs_in)}; write 'server' or 'worker'")
    functions = own_functions(found.module)
    for name in functions if found.names is None else found.names:
        yield make_tool(functions[name], found.toolset, found.category, cast(RunsIn, runs_in))


def _add(tools: dict[str, Tool], more: Iterable[Tool]) -> None:
    for tool in more:
        other = tools.get(tool.spec.name)
        if other is None:
            tools[tool.spec.name] = tool
        elif other.function is not tool.function and other.place != tool.place:
            cure = "rename one" if tool.api is None else "import the API again, with --prefix"
            raise DataError(f"two tools are called {tool.spec.name!r}: {other.place} and {tool.place}; {cure}")


@lru_cache(maxsize=1)
def all_tools() -> Mapping[str, Tool]:
    """Every tool of ``mcpserver/tools``, by name, sorted by toolset; read once per process.

    Raises:
        DataError: a module that cannot be imported, a function that cannot be a tool, an example that is not there.
    """
    return _checked(walk_package(BUILT_IN))


@lru_cache(maxsize=16)
def built_in(names: tuple[str, ...]) -> Mapping[str, Tool] | None:
    """The built-in tools of these toolsets and categories, without loading the others; None if a name is neither.

    Raises:
        DataError: as ``all_tools``.
    """
    places = [(path.parent.name, path.stem) for path in sorted(BUILT_IN_FOLDER.glob("*/[!_]*.py"))]
    wanted: set[tuple[str, str]] = set()
    for name in names:
        meant = [place for place in places if place[1] == name] or [place for place in places if place[0] == name]
        if not meant:
            return None
        wanted.update(meant)
    return _checked(found for place in sorted(wanted) for found in walk_package(f"{BUILT_IN}.{'.'.join(place)}"))


def _checked(found: Iterable[Found]) -> Mapping[str, Tool]:
    """Built-in tools in the order of the catalogue, each with an example that fits."""
    ordered = sorted(found, key=lambda module: (module.toolset, module.category))
    tools = collect(ordered)
    for tool in tools.values():
        if not tool.examples:
            raise DataError(f"{tool.place}: tool {tool.spec.name!r} has no example; write 'Example:' and a JSON object")
        _check_examples(tool)
    return tools


def load_tools(sources: Sequence[str]) -> dict[str, Tool]:
    """The tools of users' own folders, files, packages, modules and functions; see ``discovery`` for how to name them.

    Raises:
        ConfigError: a source that is not there, or holds no tools.
        DataError: a module that cannot be imported, a function that cannot be a tool, two tools with one name, an
            example that does not fit; names file and line.
    """
    tools: dict[str, Tool] = {}
    for source in sources:
        if source.endswith(API_SUFFIX):
            from mcpserver.api.storage import read_catalogue  # it makes ``Tool``s, and so imports this module

            _add(tools, read_catalogue(Path(source)))
        else:
            _add(tools, collect(find_modules(source)).values())
    for tool in tools.values():
        if tool.api is not None:
            continue  # checked when it was imported: to compile thousands of schemas takes seconds
        _check_examples(tool)
        try:
            check_schema(tool.spec)
        except DataError as error:
            raise DataError(f"{tool.place}: {error}") from None
    return tools


def _check_examples(tool: Tool) -> None:
    for example in tool.examples:
        try:
            tool.check(example)
        except ToolError as error:
            raise DataError(f"{tool.place}: example of tool {tool.spec.name!r}: {error.message}") from None


def catalogue(sources: Sequence[str] = ()) -> Mapping[str, Tool]:
    """The built-in tools, then those of the sources and of ``TOOLWRIGHT_TOOLS``; read once per process.

    Raises:
        ConfigError, DataError: as ``load_tools``; also when a tool has the name of a built-in one.
    """
    return _catalogue((*sources, *sources_from_environment()))


@lru_cache(maxsize=16)
def _catalogue(sources: tuple[str, ...]) -> Mapping[str, Tool]:
    tools = dict(all_tools())
    _add(tools, load_tools(sources).values())
    return MappingProxyType(tools)


def toolsets(tools: Mapping[str, Tool] | None = None) -> tuple[str, ...]:
    """The names of the toolsets, sorted; of the built-in tools if none are given."""
    return tuple(sorted({tool.toolset for tool in (all_tools() if tools is None else tools).values()}))


def select_tools(names: Sequence[str] | None = None, tools: Mapping[str, Tool] | None = None) -> dict[str, Tool]:
    """The tools that the names mean, in the order of the catalogue; all of them for no names.

    A name is that of a toolset, else of a category, else of a tool. ``category/`` is always the category, and
    ``category/toolset`` one toolset of it.

    Args:
        names: what is wanted.
        tools: where to select; the built-in tools if not given.

    Raises:
        ConfigError: a name that means nothing, with the nearest ones.
    """
    tools = all_tools() if tools is None else tools
    if names is None:
        return dict(tools)
    wanted: set[str] = set()
    for name in names:
        wanted |= _meant(name, tools)
    return {name: tool for name, tool in tools.items() if name in wanted}


def _meant(name: str, tools: Mapping[str, Tool]) -> set[str]:
    ways: tuple[Callable[[Tool], object], ...] = (
        lambda tool: tool.toolset == name,
        lambda tool: tool.category == name,
        lambda tool: tool.spec.name == name,
        lambda tool: f"{tool.category}/" == name,
        lambda tool: f"{tool.category}/{tool.toolset}" == name,
    )
    for way in ways:
        if meant := {tool.spec.name for tool in tools.values() if way(tool)}:
            return meant
    known = {*toolsets(tools), *(tool.category for tool in tools.values()), *tools}
    raise ConfigError(f"no toolset, category or tool {shorten(name)}{nearest(name.rstrip('/'), sorted(known))}")
