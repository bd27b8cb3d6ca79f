"""Regular expressions that models write. Only for workers, whose deadline stops an expression that never ends."""

import re
import warnings

from mcpserver.tool_error import ToolError


def compile_pattern(pattern: str, flags: int = 0, parameter: str = "pattern") -> re.Pattern[str]:
    """Compile a regular expression of Python's ``re``.

    Raises:
        ToolError: ``bad_arguments`` with what is wrong and where.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return re.compile(pattern, flags)
    except (re.error, OverflowError, RecursionError, ValueError) as error:
        raise ToolError("bad_arguments", f"{parameter}: no regular expression ({error})") from None
