"""Tools that cases name and the catalogue has none of the kind of: a user's own, brought by ``--tools`` as users do.

They are written as carelessly as users write: what must hold them is the dispatcher, not they themselves.
"""

from typing import Any

from mcpserver.context import Context


def add(a: int, b: int) -> dict[str, Any]:
    """Add two integers.

    Args:
        a: an integer
        b: an integer

    Example:
        {"a": 1, "b": 2}
    """
    return {"sum": a + b}


def divide(a: float, b: float) -> dict[str, Any]:
    """Divide two numbers as processors do, which gives NaN and infinity.

    Args:
        a: the dividend
        b: the divisor

    Example:
        {"a": 1, "b": 4}
    """
    if b == 0:
        return {"quotient": float("nan") if a == 0 else float("inf")}
    return {"quotient": a / b}


def echo(text: str) -> dict[str, Any]:
    """Give a text back.

    Args:
        text: any text

    Example:
        {"text": "hello"}
    """
    return {"text": text}


def load_array(context: Context, path: str) -> dict[str, Any]:
    """Load an array of NumPy.

    Args:
        context: the environment
        path: a .npy file
    """
    import io

    import numpy

    array = numpy.load(io.BytesIO(context.files.read_bytes(path)), allow_pickle=False)
    return {"shape": list(array.shape), "values": array.ravel()[:100].tolist()}
