"""What every command shares: ``[config.yaml] [section.key=value …]``, flags as short names of keys, clean failure."""

import argparse
import errno
import json
import sys
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from toolwright.config import RunConfig
from toolwright.config_file import describe_fields, fields, load_config
from toolwright.errors import ConfigError, ToolwrightError

USER_ERROR = 2
_DISK_FULL = "No space left on device"
_TORCH_DISK_FULL = ("iostream error", "PytorchStreamWriter failed writing")  # torch does not hand the reason on
_FREE_SPACE = "free space or choose another runs_dir, then run again"


class Flag(NamedTuple):
    """A flag that is a short name for one key; ``switch`` flags take no value and set the key to true.

    A ``many`` flag takes values with commas between them and sets the key to their list.
    """

    names: tuple[str, ...]
    key: str
    help: str
    switch: bool = False
    many: bool = False


class Option(NamedTuple):
    """A flag that is no key of the configuration, but only for one command; ``read`` makes its value from text.

    A ``switch`` takes no value and is true or false.
    """

    name: str
    help: str
    read: Callable[[str], Any] = str
    default: Any = None
    switch: bool = False


def parse_command(
    argv: Sequence[str] | None, *, prog: str, about: str, sections: Sequence[str], flags: Sequence[Flag] = ()
) -> RunConfig:
    """Parse ``[config.yaml] [section.key=value …] [flags]`` into a configuration; later wins, flags win over all.

    Raises:
        ConfigError: wrong key, value or file.
        SystemExit: ``--help`` (0) or a flag that does not exist (2).
    """
    return parse_with_options(argv, prog=prog, about=about, sections=sections, flags=flags)[0]


def parse_with_options(
    argv: Sequence[str] | None,
    *,
    prog: str,
    about: str,
    sections: Sequence[str],
    flags: Sequence[Flag] = (),
    options: Sequence[Option] = (),
    file_key: str | None = None,
) -> tuple[RunConfig, dict[str, Any]]:
    """As ``parse_command``, and the values of ``options`` by name (``--out`` is ``out``).

    With ``file_key``, a word that names no YAML file is the value of that key: ``FILE [config.yaml] …``.

    Raises:
        ConfigError, SystemExit: as ``parse_command``.
    """
    file = "[FILE] " if file_key else ""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="keys, as section.key=value here or in the YAML file, with defaults:\n" + describe_fields(sections),
    )
    parser.add_argument(
        "words", nargs="*", metavar=f"{file}[config.yaml] [section.key=value …]", help="default: configs/tiny.yaml"
    )
    for flag in flags:
        extra: dict[str, Any] = {"action": "store_true", "default": None} if flag.switch else {"metavar": "VALUE"}
        parser.add_argument(*flag.names, dest=flag.key, help=f"{flag.help} (short for {flag.key})", **extra)
    for option in options:
        form: dict[str, Any] = {"type": option.read, "default": option.default, "metavar": "VALUE"}
        parser.add_argument(option.name, help=option.help, **({"action": "store_true"} if option.switch else form))
    parsed = vars(parser.parse_intermixed_args(argv))
    overrides = [word for word in parsed["words"] if "=" in word and not Path(word).exists()]
    files = [word for word in parsed["words"] if word not in overrides]
    if file_key:
        named = [word for word in files if not word.endswith((".yaml", ".yml"))]
        if len(named) > 1:
            raise ConfigError(f"one file at a time, got {', '.join(named)}")
        files = [word for word in files if word not in named]
        overrides += [f"{file_key}={json.dumps(word)}" for word in named]
    if len(files) > 1:
        raise ConfigError(f"one configuration file at a time, got {', '.join(files)}")
    overrides += [f"{flag.key}={_flag_value(flag, parsed[flag.key])}" for flag in flags if parsed[flag.key] is not None]
    config = load_config(Path(files[0]) if files else None, overrides)
    return config, {name: parsed[name] for name in (option.name.lstrip("-").replace("-", "_") for option in options)}


def _flag_value(flag: Flag, value: str | bool) -> str:
    if isinstance(value, bool):
        return json.dumps(value)
    if flag.many:
        return json.dumps(value.split(","))
    return json.dumps(value) if _is_text(flag.key) else value


def _is_text(key: str) -> bool:
    """Whether a key's value is a text, so that what stands after its flag is meant literally (``--host ::``)."""
    field = next(field for path, field in fields() if path == tuple(key.split(".")))
    return str in (field.annotation, *typing.get_args(field.annotation))


def run_command(body: Callable[[], int | None]) -> int:
    """Run a command's body; a user's mistake becomes one line on stderr and exit code 2, never a traceback."""
    try:
        return body() or 0
    except ToolwrightError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror}; {_FREE_SPACE}", file=sys.stderr)
    except Exception as error:  # safetensors, tokenizers and torch wrap the system's error in their own
        if not any(text in str(error) for text in (_DISK_FULL, *_TORCH_DISK_FULL)):
            raise
        print(f"error: {_DISK_FULL}; {_FREE_SPACE}", file=sys.stderr)
    except KeyboardInterrupt:
        print("stopped; the same command continues", file=sys.stderr)
        return 130
    return USER_ERROR
