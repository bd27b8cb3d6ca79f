"""Where tools come from: folders, Python files, packages, modules, single functions. Imports them; writes nothing.

A source is a folder (searched through), a ``.py`` file, a package or module name, or one of the last two followed by
``:function`` or ``:All`` (every public function, sorted). Names that begin with an underscore, and tests, are left out.
"""

import ast
import importlib.util
import inspect
import os
import pkgutil
import re
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from mcpserver.binding import load_module
from toolwright.errors import ConfigError, DataError
from toolwright.words import cut, nearest, shorten

SOURCES_VARIABLE = "TOOLWRIGHT_TOOLS"
EVERYTHING = "All"


class Found(NamedTuple):
    """A module with tools; ``names`` are those that were asked for, if not all in the order of the source."""

    category: str
    toolset: str
    module: ModuleType
    names: tuple[str, ...] | None = None


def sources_from_environment() -> tuple[str, ...]:
    """The folders and packages in ``TOOLWRIGHT_TOOLS``, with ``os.pathsep`` between them."""
    return tuple(part for part in os.environ.get(SOURCES_VARIABLE, "").split(os.pathsep) if part.strip())


def find_modules(source: str) -> list[Found]:
    """The modules of a source, sorted by toolset.

    Raises:
        ConfigError: no such source, or one without tools.
        DataError: a module that cannot be imported, or that defines a tool twice; names file and line.
    """
    path = Path(source)
    if not source.strip():
        raise ConfigError("tools: an empty name is no folder, no .py file and no name of a package")
    if path.is_dir():
        found = list(_walk_folder(path.resolve()))
    elif ":" in source and not path.exists():
        found = [_read_single(source)]
    elif path.suffix == ".py":
        found = [_find_file(path, path.resolve().parent.name)]
    else:
        found = list(walk_package(source))
    for item in found:
        _refuse_overrides(item.module)
    if not any(_names(item) for item in found):
        raise ConfigError(
            f"no tools in {source!r}: expected public functions in .py files, python -m mcpserver new NAME"
        )
    return sorted(found, key=lambda item: (item.toolset, item.category))


def own_functions(module: ModuleType) -> dict[str, Callable[..., Any]]:
    """The public functions that a module defines itself, in the order of the source."""
    functions: dict[str, Callable[..., Any]] = {}
    for name, value in vars(module).items():
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_"):
            functions[name] = value
    return functions


def _names(found: Found) -> list[str]:
    return list(own_functions(found.module)) if found.names is None else list(found.names)


def _walk_folder(folder: Path) -> Iterator[Found]:
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).parts
        if not any(part.startswith(("_", ".")) for part in parts) and not _is_test(path.stem):
            yield _find_file(path, parts[0] if len(parts) > 1 else folder.name)


def _is_test(stem: str) -> bool:
    return stem.startswith("test_") or stem.endswith("_test") or stem == "conftest"


def _find_file(path: Path, category: str) -> Found:
    if not path.is_file():
        raise ConfigError(f"tools: no file {path}")
    return Found(category, path.stem, import_tools(str(path.resolve())))


def walk_package(name: str) -> Iterator[Found]:
    """The modules of a package, at every depth; a plain module is its own toolset.

    Raises:
        ConfigError, DataError: as ``find_modules``.
    """
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", name):
        raise ConfigError(f"tools: {shorten(name)} is no folder, no .py file and no name of a package")
    module = import_tools(name)
    parts = name.split(".")
    if not hasattr(module, "__path__"):
        yield Found(parts[-2] if len(parts) > 1 else name, parts[-1], module)
        return
    for inner in _walk_modules(module):
        below = inner.__name__.removeprefix(f"{name}.").split(".")
        yield Found(below[0] if len(below) > 1 else parts[-1], below[-1], inner)


def _walk_modules(package: ModuleType) -> Iterator[ModuleType]:
    for item in sorted(pkgutil.iter_modules(package.__path__), key=lambda item: item.name):
        if item.name.startswith("_") or _is_test(item.name):
            continue
        module = import_tools(f"{package.__name__}.{item.name}")
        if item.ispkg:
            yield from _walk_modules(module)
        else:
            yield module


def _read_single(source: str) -> Found:
    """``module:function`` or ``module:All``; the module may be a file."""
    left, _, name = source.rpartition(":")
    path = Path(left)
    if path.suffix == ".py":
        found = _find_file(path, path.resolve().parent.name)
    else:
        modules = list(walk_package(left))
        if len(modules) != 1 or hasattr(modules[0].module, "__path__") or modules[0].module.__name__ != left:
            raise ConfigError(f"tools: {left!r} is a package; name one of its modules before the ':'")
        found = modules[0]
    functions = own_functions(found.module)
    if name == EVERYTHING:
        return found._replace(names=tuple(sorted(functions)))
    if name not in functions:
        raise ConfigError(f"tools: no function {name!r} in {left}{nearest(name, list(functions))}")
    return found._replace(names=(name,))


def import_tools(reference: str) -> ModuleType:
    """Import a module of tools, by name or absolute path.

    Raises:
        ConfigError: no such module.
        DataError: the module raises; names the file and the line of the statement.
    """
    file = reference if os.path.isabs(reference) else _file_of(reference)
    try:
        return load_module(reference)
    except (Exception, SystemExit) as error:
        reason = cut(f"{type(error).__name__}: {error}".replace("\n", " "), 300)
        raise DataError(f"{file}:{_failing_line(error, file)}: tools cannot be imported: {reason}") from error


def _file_of(name: str) -> str:
    parent = name.rpartition(".")[0]
    if parent:
        import_tools(parent)
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise ConfigError(f"tools: no module named {name!r}, and no such folder; start from the folder that holds it")
    return spec.origin or name


def _failing_line(error: BaseException, file: str) -> int:
    """The line of the file at which an import failed: that of a statement, or of wrong syntax."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return error.lineno or 1
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return (lines[-1] if lines else None) or 1


def _refuse_overrides(module: ModuleType) -> None:
    """Refuse a module whose second function of a name silently replaces the first."""
    if not module.__file__:
        return
    lines: dict[str, int] = {}
    for node in ast.parse(Path(module.__file__).read_bytes()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.decorator_list:
            if node.name in lines and not node.name.startswith("_"):
                raise DataError(
                    f"{module.__file__}:{node.lineno}: {node.name!r} overrides the function of line "
                    f"{lines[node.name]}; rename one"
                )
            lines[node.name] = node.lineno
