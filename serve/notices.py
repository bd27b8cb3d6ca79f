"""Lines that a server prints for people. Nobody has to read them: a closed pipe or terminal does not end a server."""

import os
import sys


def say(words: str) -> None:
    """Print what went well, on standard output."""
    _print(words, "stdout")


def warn(words: str) -> None:
    """Print what did not, on standard error."""
    _print(words, "stderr")


def _print(words: str, name: str) -> None:
    stream = getattr(sys, name)
    try:
        print(words, file=stream, flush=True)
    except OSError:
        # What is left in the buffer would fail again when Python ends, and change the exit code.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
