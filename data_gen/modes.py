"""What the modes mean, checked on calls that were made: the same check for plans and for what a model played."""

from collections.abc import Callable, Sequence

from data_gen import results
from data_gen.spoken import leaves, mentions
from toolwright.calls import canonical
from toolwright.records import Mode, Step


def why_not(mode: Mode, steps: Sequence[Step], text: str) -> str | None:
    """Why executed calls are not of ``mode``; none when they are.

    Args:
        mode: what was asked for.
        steps: the calls of each assistant turn with their results.
        text: the user's request.
    """
    return _CHECKS[mode](steps, text)


def depends(steps: Sequence[Step], text: str) -> bool:
    """Whether a later call uses a value that stands in an earlier result and not in the request."""
    earlier: list[object] = []
    for step in steps:
        for call in step.calls:
            given = (leaf for value in call.arguments.values() for leaf in leaves(value))
            if any(results.find_source(earlier, leaf) and not mentions(text, leaf) for leaf in given):
                return True
        earlier += [results.parse(content) for content in step.results]
    return False


def _calls(steps: Sequence[Step]) -> list[str]:
    return [canonical(call) for step in steps for call in step.calls]


def _names(steps: Sequence[Step]) -> set[str]:
    return {call.name for step in steps for call in step.calls}


def _single(steps: Sequence[Step], _text: str) -> str | None:
    return None if len(_calls(steps)) == 1 else f"{len(_calls(steps))} calls instead of one"


def _parallel(steps: Sequence[Step], text: str) -> str | None:
    if len(_calls(steps)) < 2 or len(steps) != 1:
        return "not several calls in one turn"
    if len(_names(steps)) > 1:
        return "calls of several tools instead of one"
    return "the same call twice" if len(set(_calls(steps))) < len(_calls(steps)) else None


def _multiple(steps: Sequence[Step], text: str) -> str | None:
    if len(_names(steps)) < 2:
        return "fewer than two tools"
    return "a call depends on an earlier one" if depends(steps, text) else None


def _dependent(steps: Sequence[Step], text: str) -> str | None:
    return None if depends(steps, text) else "no call depends on an earlier result"


def _none(steps: Sequence[Step], _text: str) -> str | None:
    return None if not _calls(steps) else "a call where none was wanted"


_CHECKS: dict[Mode, Callable[[Sequence[Step], str], str | None]] = {
    "single": _single,
    "parallel": _parallel,
    "multiple": _multiple,
    "dependent": _dependent,
    "no_tool": _none,
    "missing_parameter": _none,
}
