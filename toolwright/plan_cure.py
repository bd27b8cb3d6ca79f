"""Finds the settings to change so that a stage fits its device: as few as do, in the order of what they cost.

Pure functions of the configuration.
"""

import json
import shlex
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from toolwright.config import RunConfig


class Change(NamedTuple):
    """A key and its better value; none: this does not apply."""

    key: str
    value: Callable[[RunConfig], Any]


def find_cure(config: RunConfig, changes: Sequence[Change], fits: Callable[[RunConfig], bool]) -> list[str]:
    """The fewest of ``changes``, taken in their order and then without those that do not matter, after which it fits.

    Returns them as ``section.key=value``, as a shell takes them; nothing if all together are not enough.
    """
    chosen: dict[str, Any] = {}
    for change in changes:
        value = change.value(config)
        if value is None or value == _get(config, change.key):
            continue
        chosen[change.key] = value
        if fits(_apply(config, chosen)):
            break
    else:
        return []
    for key in list(chosen):
        without = {name: value for name, value in chosen.items() if name != key}
        if without and fits(_apply(config, without)):
            chosen = without
    return [word for key, value in chosen.items() for word in _words(key, value)]


def _words(key: str, value: Any) -> list[str]:
    if isinstance(value, dict):
        return [word for name, inner in value.items() for word in _words(f"{key}.{name}", inner)]
    return [shlex.quote(f"{key}={value if isinstance(value, str) else json.dumps(value)}")]


def _get(config: RunConfig, key: str) -> Any:
    section, _, name = key.partition(".")
    return getattr(getattr(config, section), name)


def _apply(config: RunConfig, chosen: dict[str, Any]) -> RunConfig:
    for key, value in chosen.items():
        section, _, name = key.partition(".")
        changed = getattr(config, section).model_copy(update={name: value})
        config = config.model_copy(update={section: changed})
    return config
