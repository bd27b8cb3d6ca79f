"""Matrices and what is worked out with them: products, inverses, systems of equations, eigenvalues, programs."""

from fractions import Fraction
from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from mcpserver.tool_error import ToolError
from mcpserver.toolbox.figures import Name, Number, by_library, check

Entry = Annotated[float, Ge(-1e9), Le(1e9)]
Matrix = Annotated[list[Annotated[list[Entry], Len(1, 25)]], Len(1, 25)]
Vector = Annotated[list[Entry], Len(1, 25)]
Measure = Literal["determinant", "rank", "trace", "condition", "norm", "symmetric", "definite"]


class Constraint(TypedDict):
    """Coefficients of variables, a comparison, and a number; variables that are not named have 0."""

    coefficients: Annotated[dict[Name, Number], Len(1, 30)]
    relation: Literal["<=", ">=", "="]
    bound: Number


class Limits(TypedDict):
    """Lowest (0 if not given) and highest value of a variable; whether it is a whole number."""

    min: NotRequired[Number]
    max: NotRequired[Number]
    whole: NotRequired[bool]


@by_library
def multiply_matrices(matrices: Annotated[list[Matrix], Len(2, 5)]) -> dict[str, Any]:
    """Multiply matrices from left to right.

    Args:
        matrices: two to five matrices, each a list of rows

    Example:
        {"matrices": [[[1, 2], [3, 4]], [[0, 1], [1, 0]]]}
        {"matrices": [[[1, 2, 3]], [[1], [0], [2]]]}
    """
    result = _array(matrices[0], "matrices[0]")
    for number, matrix in enumerate(matrices[1:], 1):
        other = _array(matrix, f"matrices[{number}]")
        wide, tall = result.shape[1], other.shape[0]
        check(wide == tall, f"matrices[{number}]: it has {tall} rows, but {wide} columns stand left of it")
        result = result @ other
    return {"result": result, "shape": result.shape}


@by_library
def combine_matrices(
    first: Matrix,
    second: Matrix,
    operation: Literal["add", "subtract", "multiply_entries", "kronecker", "beside", "below"],
) -> dict[str, Any]:
    """Add, subtract or join two matrices, or multiply them entry by entry.

    Args:
        first: list of rows
        second: list of rows
        operation: beside and below put the second right of or under the first

    Example:
        {"first": [[1, 2], [3, 4]], "second": [[10, 20], [30, 40]], "operation": "add"}
        {"first": [[1, 2]], "second": [[3, 4]], "operation": "below"}
    """
    import numpy as np

    one, two = _array(first, "first"), _array(second, "second")
    axis = {"beside": 0, "below": 1}.get(operation)
    if axis is not None:
        check(one.shape[axis] == two.shape[axis], f"second: {two.shape} does not fit {operation} {one.shape}")
        result = np.concatenate([one, two], axis=1 - axis)
    elif operation == "kronecker":
        check(one.size * two.size <= 900, "second: the product would have more than 900 entries")
        result = np.kron(one, two)
    else:
        check(one.shape == two.shape, f"second: has shape {two.shape}, but first {one.shape}")
        result = {"add": np.add, "subtract": np.subtract, "multiply_entries": np.multiply}[operation](one, two)
    return {"result": result, "shape": result.shape}


@by_library
def measure_matrix(matrix: Matrix, measures: Annotated[list[Measure], Len(1, 7)]) -> dict[str, Any]:
    """Get determinant, rank, trace, condition or norm of a matrix, or whether it is symmetric or definite.

    Args:
        matrix: list of rows
        measures: what is wanted

    Example:
        {"matrix": [[2, 1], [1, 3]], "measures": ["determinant", "rank", "definite"]}
    """
    import numpy as np

    array = _array(matrix, "matrix")
    square = array.shape[0] == array.shape[1]
    result: dict[str, Any] = {}
    for measure in measures:
        check(
            square or measure in ("rank", "norm", "symmetric", "condition"),
            f"measures: {measure} needs a square matrix",
        )
        if measure == "condition":
            condition = np.linalg.cond(array)
            result[measure] = condition if condition < 1e16 else "singular"
        elif measure == "symmetric":
            result[measure] = square and bool(np.allclose(array, array.T))
        elif measure == "definite":
            result[measure] = _definite(array)
        else:
            functions: dict[str, Any] = {"determinant": _determinant, "trace": np.trace, "norm": np.linalg.norm}
            result[measure] = int(np.linalg.matrix_rank(array)) if measure == "rank" else functions[measure](array)
    return result


def _determinant(array: Any) -> float:
    """Exactly, since a determinant of 0 would else be lost in rounding."""
    rows = [[Fraction(value) for value in row] for row in array.tolist()]
    result = Fraction(1)
    for column in range(len(rows)):
        pivot = next((number for number in range(column, len(rows)) if rows[number][column]), None)
        if pivot is None:
            return 0.0
        if pivot != column:
            rows[column], rows[pivot], result = rows[pivot], rows[column], -result
        result *= rows[column][column]
        for number in range(column + 1, len(rows)):
            if factor := rows[number][column] / rows[column][column]:
                rows[number] = [a - factor * b for a, b in zip(rows[number], rows[column])]
    return float(result)


def _definite(array: Any) -> str:
    import numpy as np

    if not np.allclose(array, array.T):
        return "not symmetric"
    values = np.linalg.eigvalsh(array)
    small = 1e-12 * max(1.0, float(np.abs(values).max()))
    if values.min() > small or values.max() < -small:
        return "positive" if values.min() > 0 else "negative"
    if values.min() >= -small or values.max() <= small:
        return "positive semidefinite" if values.min() >= -small else "negative semidefinite"
    return "indefinite"


@by_library
def invert_matrix(matrix: Matrix, pseudo: bool = False) -> dict[str, Any]:
    """Invert a matrix.

    Args:
        matrix: list of rows
        pseudo: the Moore-Penrose inverse, which every matrix has

    Example:
        {"matrix": [[4, 7], [2, 6]]}
        {"matrix": [[1, 2], [3, 4], [5, 6]], "pseudo": true}
    """
    import numpy as np

    array = _array(matrix, "matrix")
    if pseudo:
        return {"inverse": np.linalg.pinv(array)}
    _need_square(array, "matrix")
    if np.linalg.matrix_rank(array) < len(array):
        raise ToolError("tool_error", "matrix: it is singular and has no inverse; try pseudo")
    return {"inverse": np.linalg.inv(array), "condition": np.linalg.cond(array)}


@by_library
def solve_linear_system(matrix: Matrix, right: Vector) -> dict[str, Any]:
    """Solve a system of linear equations; with too many equations, by least squares.

    Args:
        matrix: coefficients, a row for each equation
        right: right sides

    Example:
        {"matrix": [[2, 1], [1, 3]], "right": [3, 5]}
        {"matrix": [[1, 1], [1, 2], [1, 3]], "right": [1, 2, 2]}
    """
    import numpy as np

    array, wanted = _array(matrix, "matrix"), np.asarray(right, dtype=float)
    check(len(wanted) == len(array), f"right: {len(wanted)} numbers for {len(array)} equations")
    solution, _, rank, _ = np.linalg.lstsq(array, wanted, rcond=None)
    left = float(np.linalg.norm(array @ solution - wanted))
    exact = left <= 1e-9 * max(1.0, float(np.linalg.norm(wanted)))
    kind = "least squares" if not exact else "unique" if rank == array.shape[1] else "one of many (the shortest)"
    return {"solution": solution, "kind": kind, "residual": 0.0 if exact else left, "rank": int(rank)}


@by_library
def find_eigenvalues(matrix: Matrix, vectors: bool = False) -> dict[str, Any]:
    """Find the eigenvalues of a square matrix, largest first, with eigenvectors if wanted.

    Args:
        matrix: list of rows
        vectors: whether eigenvectors of length 1 are returned too

    Example:
        {"matrix": [[2, 0], [0, 3]], "vectors": true}
        {"matrix": [[0, -1], [1, 0]]}
    """
    import numpy as np

    array = _array(matrix, "matrix")
    _need_square(array, "matrix")
    symmetric = bool((array == array.T).all())
    values, columns = np.linalg.eigh(array) if symmetric else np.linalg.eig(array)
    order = sorted(range(len(values)), key=lambda i: (-abs(values[i]), -values[i].real, -values[i].imag))
    result: dict[str, Any] = {"values": [_complex(complex(values[i])) for i in order]}
    if vectors:
        check(len(array) <= 12, "vectors: they are returned for matrices up to 12 x 12")
        result["vectors"] = [[_complex(part) for part in _pointed(columns[:, i])] for i in order]
    return result


def _pointed(vector: Any) -> list[complex]:
    """An eigenvector with its largest part real and positive, so that its sign is not left to chance."""
    largest = complex(max(vector, key=lambda part: round(abs(part), 9)))
    return [complex(part) * largest.conjugate() / abs(largest) for part in vector]


def _complex(value: complex) -> Any:
    real = 0.0 if abs(value.real) < 1e-12 * abs(value) or abs(value) < 1e-13 else value.real
    if abs(value.imag) <= 1e-10 * abs(value) or abs(value) < 1e-13:
        return real
    return {"real": real, "imaginary": value.imag}


@by_library
def decompose_matrix(matrix: Matrix, method: Literal["lu", "qr", "svd", "cholesky"]) -> dict[str, Any]:
    """Take a matrix apart into simpler factors.

    Args:
        matrix: list of rows, at most 12 x 12
        method: lu (permutation, lower, upper), qr, svd (u, singular values, v), cholesky (lower)

    Example:
        {"matrix": [[4, 2], [2, 3]], "method": "cholesky"}
        {"matrix": [[3, 0], [4, 5]], "method": "svd"}
    """
    import numpy as np
    from scipy import linalg

    array = _array(matrix, "matrix")
    check(max(array.shape) <= 12, "matrix: at most 12 x 12 are taken apart")
    if method == "cholesky":
        check(_is_square(array) and _definite(array) == "positive", "matrix: cholesky needs a symmetric positive one")
        return {"lower": np.linalg.cholesky(array)}
    if method == "lu":
        permutation, lower, upper = linalg.lu(array)
        return {"permutation": permutation, "lower": lower, "upper": upper}
    if method == "qr":
        q, r = np.linalg.qr(array)
        signs = np.where(np.diag(r) < 0, -1.0, 1.0)  # a positive diagonal makes it unique
        return {"q": q * signs, "r": r * signs[:, None]}
    u, values, v = np.linalg.svd(array, full_matrices=False)
    signs = np.where(u[np.abs(u).round(9).argmax(axis=0), range(u.shape[1])] < 0, -1.0, 1.0)
    return {"u": u * signs, "singular_values": values, "v": (v * signs[:, None]).T}


@by_library
def power_matrix(matrix: Matrix, exponent: Annotated[int, Ge(-10), Le(1000)]) -> dict[str, Any]:
    """Raise a square matrix to a whole power, such as of a Markov chain.

    Args:
        matrix: list of rows
        exponent: power; negative ones need an inverse

    Example:
        {"matrix": [[0.9, 0.1], [0.5, 0.5]], "exponent": 20}
    """
    import numpy as np

    array = _array(matrix, "matrix")
    _need_square(array, "matrix")
    if exponent < 0 and np.linalg.matrix_rank(array) < len(array):
        raise ToolError("tool_error", "matrix: it is singular and has no negative powers")
    return {"result": np.linalg.matrix_power(array, exponent)}


@by_library
def reduce_rows(matrix: Matrix) -> dict[str, Any]:
    """Bring a matrix to reduced row echelon form by exact fractions.

    Args:
        matrix: list of rows, at most 12 x 13

    Example:
        {"matrix": [[1, 2, 3], [2, 4, 7]]}
    """
    array = _array(matrix, "matrix")
    check(array.shape[0] <= 12 and array.shape[1] <= 13, "matrix: at most 12 rows of 13 numbers are reduced")
    rows = [[Fraction(repr(value)) for value in row] for row in array.tolist()]
    pivots: list[int] = []
    for column in range(array.shape[1]):
        top = len(pivots)
        found = next((number for number in range(top, len(rows)) if rows[number][column]), None)
        if found is None:
            continue
        rows[top], rows[found] = rows[found], rows[top]
        rows[top] = [value / rows[top][column] for value in rows[top]]
        for number in range(len(rows)):
            if number != top and rows[number][column]:
                factor = rows[number][column]
                rows[number] = [a - factor * b for a, b in zip(rows[number], rows[top])]
        pivots.append(column)
    texts = [[str(value) for value in row] for row in rows]
    if max(len(text) for row in texts for text in row) > 60:
        raise ToolError("limit", "matrix: the fractions become too long; give numbers with fewer digits")
    return {"result": texts, "pivot_columns": pivots, "rank": len(pivots)}


@by_library
def solve_linear_program(
    objective: Annotated[dict[Name, Number], Len(1, 30)],
    constraints: Annotated[list[Constraint], Len(0, 40)],
    goal: Literal["maximize", "minimize"] = "maximize",
    limits: Annotated[dict[Name, Limits], Len(0, 30)] | None = None,
) -> dict[str, Any]:
    """Find the best mix under linear constraints (linear program, also with whole numbers).

    Args:
        objective: what each unit of a variable brings or costs
        constraints: conditions on the variables
        goal: maximize or minimize
        limits: bounds of variables, 0 and more if not given

    Example:
        {"objective": {"pumps": 40, "valves": 30},
         "constraints": [{"coefficients": {"pumps": 2, "valves": 1}, "relation": "<=", "bound": 100},
                         {"coefficients": {"pumps": 1, "valves": 1}, "relation": "<=", "bound": 80}]}
        {"objective": {"a": 3, "b": 2}, "goal": "minimize", "limits": {"a": {"min": 1.5, "whole": true}},
         "constraints": [{"coefficients": {"a": 1, "b": 1}, "relation": ">=", "bound": 4}]}
    """
    import numpy as np
    from scipy import optimize

    names = list(objective)
    _check_names([(f"constraints[{i}]", c["coefficients"]) for i, c in enumerate(constraints)], names)
    _check_names([("limits", limits or {})], names)
    sign = -1 if goal == "maximize" else 1
    own = [(limits or {}).get(name, {}) for name in names]
    bounds = optimize.Bounds([o.get("min", 0.0) for o in own], [o.get("max", np.inf) for o in own])
    rows = [[c["coefficients"].get(name, 0.0) for name in names] for c in constraints]
    low = [-np.inf if c["relation"] == "<=" else c["bound"] for c in constraints]
    high = [np.inf if c["relation"] == ">=" else c["bound"] for c in constraints]
    found = optimize.milp(
        [sign * objective[name] for name in names],
        integrality=[int(o.get("whole", False)) for o in own],
        bounds=bounds,
        constraints=optimize.LinearConstraint(rows, low, high) if rows else (),
        options={"time_limit": 5.0, "node_limit": 5000},
    )
    if found.x is None:
        reason = {2: "no values fulfil all constraints", 3: "the objective has no bound"}.get(
            found.status, "no solution found"
        )
        raise ToolError("tool_error", f"constraints: {reason}")
    used = [float(np.dot(row, found.x)) for row in rows]
    slack = [abs(c["bound"] - value) for c, value in zip(constraints, used)]
    tight = [i for i, rest in enumerate(slack) if rest <= 1e-7 * max(1.0, abs(constraints[i]["bound"]))]
    return {"value": sign * found.fun, "variables": dict(zip(names, found.x)), "tight_constraints": tight}


def _check_names(places: list[tuple[str, Any]], names: list[str]) -> None:
    for place, given in places:
        unknown = [name for name in given if name not in names]
        check(not unknown, f"{place}: {', '.join(map(repr, unknown))[:200]} is no variable of the objective")


def _array(matrix: list[list[float]], parameter: str) -> Any:
    import numpy as np

    width = len(matrix[0])
    wrong = next((number for number, row in enumerate(matrix) if len(row) != width), None)
    check(wrong is None, f"{parameter}: row {wrong} has another length than row 0 with {width} numbers")
    return np.asarray(matrix, dtype=float)


def _is_square(array: Any) -> bool:
    return bool(array.shape[0] == array.shape[1])


def _need_square(array: Any, parameter: str) -> None:
    check(_is_square(array), f"{parameter}: must be square, is {array.shape[0]} x {array.shape[1]}")
