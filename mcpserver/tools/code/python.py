"""Code that a model writes: a Python whose variables live from call to call, and a shell; in the sandbox only."""

from typing import Annotated

from annotated_types import Len

from mcpserver.context import Cell

RUNS_IN = "server"  # the functions only say what the sandbox is to run

Code = Annotated[str, Len(1, 100_000)]
_LIST = """
for _name, _value in sorted(globals().items()):
    if not _name.startswith("_"):
        _text = repr(_value)
        print(f"{_name}: {type(_value).__name__} = {_text if len(_text) <= 80 else _text[:79] + '…'}")
del globals()["_name"], globals()["_value"]
globals().pop("_text", None)
"""


def run_python(code: Code) -> Cell:
    """Run Python code; variables, imports and files stay for the next call, the value of a last expression is shown.

    Args:
        code: Python 3 code; the working directory holds the files, figures of matplotlib are shown

    Example:
        {"code": "total = sum(range(101))\\nprint(total)"}
        {"code": "import csv\\nrows = list(csv.DictReader(open('prices/ttf.csv')))\\nlen(rows)"}
    """
    return Cell(code)


def run_shell(command: Code) -> Cell:
    """Run a shell command in the folder of the files; processes that it leaves behind are ended.

    Args:
        command: a command for /bin/sh

    Example:
        {"command": "ls prices | sort"}
    """
    return Cell(command, shell=True)


def list_variables() -> Cell:
    """List the variables of the Python session with their types and values.

    Example:
        {}
    """
    return Cell(_LIST)


def reset_python() -> Cell:
    """Start Python again; all variables are forgotten, files stay.

    Example:
        {}
    """
    return Cell(restart=True)
