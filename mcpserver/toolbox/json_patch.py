"""JSON Patch (RFC 6902) and JSON Pointer (RFC 6901): changes of a JSON value, applied and found."""

from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Len
from typing_extensions import TypedDict

from mcpserver.tool_error import ToolError
from toolwright.words import nearest, shorten

Pointer = Annotated[str, Len(0, 300)]


class Operation(TypedDict):
    """One change. Paths are JSON Pointers such as /items/0/price; "-" stands for the end of a list.
    add, replace and test need a value; move and copy need a source.
    """

    op: Literal["add", "remove", "replace", "move", "copy", "test"]
    path: Pointer
    value: NotRequired[Any]
    source: NotRequired[Pointer]


def apply_operation(document: Any, operation: Operation) -> Any:
    """Change a JSON value (lists and objects in place), and give it.

    Raises:
        ToolError: a part is missing, a path leads nowhere, or a test fails.
    """
    op, path = operation["op"], operation["path"]
    if op in ("add", "replace", "test") and "value" not in operation:
        raise ToolError("bad_arguments", f"{op} needs a value")
    if op in ("move", "copy"):
        if "source" not in operation:
            raise ToolError("bad_arguments", f"{op} needs a source")
        value = _copy(get(document, operation["source"]))
        if op == "move":
            if path.startswith(operation["source"] + "/"):
                raise ToolError("bad_arguments", "a value cannot be moved into itself")
            document = _remove(document, operation["source"])
        return _add(document, path, value)
    if op == "test":
        if not same(get(document, path), operation["value"]):
            raise ToolError("tool_error", f"test: the value at {path!r} is {shorten(get(document, path), 60)}")
        return document
    if op == "remove":
        return _remove(document, path)
    if op == "replace":
        get(document, path)
        return _put(document, path, _copy(operation["value"]))
    return _add(document, path, _copy(operation["value"]))


def same(first: Any, second: Any) -> bool:
    """Whether two JSON values are equal; true is not 1, but 1 is 1.0."""
    if isinstance(first, bool) != isinstance(second, bool):
        return False
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(inner) for key, inner in value.items()}
    return [_copy(inner) for inner in value] if isinstance(value, list) else value


def _steps(path: str) -> list[str]:
    if path and not path.startswith("/"):
        raise ToolError("bad_arguments", f"path {shorten(path, 60)} does not begin with a slash")
    return [step.replace("~1", "/").replace("~0", "~") for step in path.split("/")[1:]]


def get(document: Any, path: str) -> Any:
    """The value at a pointer.

    Raises:
        ToolError: nothing is there.
    """
    for step in _steps(path):
        document = _child(document, step, path)
    return document


def _child(parent: Any, step: str, path: str) -> Any:
    if isinstance(parent, dict) and step in parent:
        return parent[step]
    if isinstance(parent, list) and (index := _index(step, len(parent) - 1)) is not None:
        return parent[index]
    names = list(parent) if isinstance(parent, dict) else []
    raise ToolError("tool_error", f"nothing is at {shorten(path, 60)}{nearest(step, names)}")


def _index(step: str, last: int) -> int | None:
    return int(step) if step.isascii() and step.isdigit() and len(step) < 9 and int(step) <= last else None


def _add(document: Any, path: str, value: Any) -> Any:
    steps = _steps(path)
    if not steps:
        return value
    parent = get(document, path[: path.rindex("/")])
    if isinstance(parent, dict):
        parent[steps[-1]] = value
        return document
    place = len(parent) if isinstance(parent, list) and steps[-1] == "-" else None
    if isinstance(parent, list) and place is None:
        place = _index(steps[-1], len(parent))
    if place is None:
        raise ToolError("tool_error", f"nothing can be added at {shorten(path, 60)}")
    parent.insert(place, value)
    return document


def _put(document: Any, path: str, value: Any) -> Any:
    steps = _steps(path)
    if not steps:
        return value
    parent = get(document, path[: path.rindex("/")])
    parent[int(steps[-1]) if isinstance(parent, list) else steps[-1]] = value
    return document


def _remove(document: Any, path: str) -> Any:
    steps = _steps(path)
    get(document, path)
    if not steps:
        raise ToolError("bad_arguments", "the whole value cannot be removed")
    parent = get(document, path[: path.rindex("/")])
    del parent[int(steps[-1]) if isinstance(parent, list) else steps[-1]]
    return document


def difference(first: Any, second: Any, path: str = "") -> list[Operation]:
    """The operations that make the second value of the first."""
    if isinstance(first, dict) and isinstance(second, dict):
        found: list[Operation] = []
        for key in first:
            inner = f"{path}/{key.replace('~', '~0').replace('/', '~1')}"
            if key in second:
                found += difference(first[key], second[key], inner)
            else:
                found.append({"op": "remove", "path": inner})
        new = [key for key in second if key not in first]
        return found + [_addition(f"{path}/{key.replace('~', '~0').replace('/', '~1')}", second[key]) for key in new]
    if isinstance(first, list) and isinstance(second, list):
        common = min(len(first), len(second))
        found = [op for index in range(common) for op in difference(first[index], second[index], f"{path}/{index}")]
        # from the end, so that the places of the others stay
        found += [{"op": "remove", "path": f"{path}/{index}"} for index in range(len(first) - 1, common - 1, -1)]
        return found + [_addition(f"{path}/{index}", second[index]) for index in range(common, len(second))]
    return [] if same(first, second) else [{"op": "replace", "path": path, "value": second}]


def _addition(path: str, value: Any) -> Operation:
    return {"op": "add", "path": path, "value": value}
