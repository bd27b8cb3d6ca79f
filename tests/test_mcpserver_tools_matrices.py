import numpy as np
import pytest
from number_fuzz import check_extreme_numbers
from tool_calls import World
from tool_checks import check_example, check_random_calls, examples_of, refused, tools_of

from mcpserver.tools.maths import matrices

close = pytest.approx
SOME = [[2.0, -1, 0], [-1, 2, -1], [0, -1, 2]]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("env"))


@pytest.mark.parametrize(("tool", "example"), examples_of(matrices))
def test_examples_work_and_are_repeatable(tool, example, tmp_path):
    check_example(tool, example, tmp_path)


@pytest.mark.parametrize("tool", tools_of(matrices), ids=lambda tool: tool.spec.name)
def test_random_calls_fail_in_the_typed_way_only(tool, tmp_path):
    check_random_calls(tool, tmp_path)


@pytest.mark.parametrize("tool", tools_of(matrices), ids=lambda tool: tool.spec.name)
def test_extreme_numbers_give_finite_results_or_typed_errors(tool, world):
    check_extreme_numbers(tool, world)


def test_products_and_joins(world):
    found = world.call(matrices.multiply_matrices, matrices=[[[1, 2]], [[3], [4]], [[5]]])
    assert found == {"result": [[55]], "shape": [1, 1]}
    with refused("bad_arguments", "matrices[1]: it has 1 rows, but 2 columns"):
        world.call(matrices.multiply_matrices, matrices=[[[1, 2]], [[3]]])
    kron = world.call(matrices.combine_matrices, first=[[1, 2]], second=[[0], [3]], operation="kronecker")
    assert kron["result"] == [[0, 0], [3, 6]]
    beside = world.call(matrices.combine_matrices, first=[[1], [2]], second=[[3], [4]], operation="beside")
    assert beside["result"] == [[1, 3], [2, 4]]
    with refused("bad_arguments", "row 1 has another length"):
        world.call(matrices.reduce_rows, matrix=[[1, 2], [3]])


def test_measures(world):
    measures = ["determinant", "rank", "trace", "symmetric", "definite", "condition"]
    found = world.call(matrices.measure_matrix, matrix=SOME, measures=measures)
    assert found["determinant"] == 4
    assert (found["rank"], found["trace"], found["symmetric"], found["definite"]) == (3, 6, True, "positive")
    singular = world.call(matrices.measure_matrix, matrix=[[0.1, 0.2], [0.3, 0.6]], measures=["rank", "condition"])
    assert singular == {"rank": 1, "condition": "singular"}
    for matrix, word in (([[0, 1], [1, 0]], "indefinite"), ([[1, 0], [0, 0]], "positive semidefinite")):
        assert world.call(matrices.measure_matrix, matrix=matrix, measures=["definite"])["definite"] == word


def test_inverses_and_systems(world):
    inverse = world.call(matrices.invert_matrix, matrix=SOME)["inverse"]
    assert np.allclose(np.array(inverse) * 4, [[3, 2, 1], [2, 4, 2], [1, 2, 3]])
    with refused("tool_error", "singular"):
        world.call(matrices.invert_matrix, matrix=[[1, 2], [2, 4]])
    found = world.call(matrices.solve_linear_system, matrix=[[1, 1], [1, 2], [1, 3]], right=[1, 2, 2])
    assert (found["solution"], found["kind"]) == (close([2 / 3, 1 / 2]), "least squares")
    many = world.call(matrices.solve_linear_system, matrix=[[1, 1]], right=[2])
    assert (many["solution"], many["kind"][:3]) == (close([1, 1]), "one")


def test_eigenvalues_and_factors(world):
    found = world.call(matrices.find_eigenvalues, matrix=SOME, vectors=True)
    assert found["values"] == close([2 + 2**0.5, 2, 2 - 2**0.5])
    for value, vector in zip(found["values"], found["vectors"]):
        assert np.allclose(np.array(SOME) @ vector, value * np.array(vector))
    spin = world.call(matrices.find_eigenvalues, matrix=[[0, -2], [2, 0]])["values"]
    assert spin == [{"real": 0, "imaginary": 2}, {"real": 0, "imaginary": -2}]
    for method, product in (
        ("lu", lambda f: np.array(f["permutation"]) @ f["lower"] @ f["upper"]),
        ("qr", lambda f: np.array(f["q"]) @ f["r"]),
        ("svd", lambda f: np.array(f["u"]) @ np.diag(f["singular_values"]) @ np.array(f["v"]).T),
        ("cholesky", lambda f: np.array(f["lower"]) @ np.array(f["lower"]).T),
    ):
        assert np.allclose(product(world.call(matrices.decompose_matrix, matrix=SOME, method=method)), SOME), method


def test_powers_and_reduced_rows(world):
    assert world.call(matrices.power_matrix, matrix=[[1, 1], [1, 0]], exponent=30)["result"][0][1] == 832040
    assert world.call(matrices.power_matrix, matrix=[[2]], exponent=-3)["result"] == [[0.125]]
    with refused("tool_error", "no finite number"):
        world.call(matrices.power_matrix, matrix=[[9e8]], exponent=1000)
    found = world.call(matrices.reduce_rows, matrix=[[0.1, 0.3, 1], [0.2, 0.7, 3]])
    assert found["result"] == [["1", "0", "-20"], ["0", "1", "10"]]


def test_linear_programs(world):
    plan = {
        "objective": {"x": 5, "y": 4},
        "constraints": [
            {"coefficients": {"x": 6, "y": 4}, "relation": "<=", "bound": 24},
            {"coefficients": {"x": 1, "y": 2}, "relation": "<=", "bound": 6},
        ],
    }
    found = world.call(matrices.solve_linear_program, **plan)
    assert (found["value"], found["variables"]) == (21, {"x": 3, "y": 1.5})
    whole = {"x": {"whole": True}, "y": {"whole": True}}
    assert world.call(matrices.solve_linear_program, **plan, limits=whole)["value"] == 20
    with refused("tool_error", "no bound"):
        world.call(matrices.solve_linear_program, objective={"x": 1}, constraints=[])
    with refused("tool_error", "no values fulfil"):
        wrong = [{"coefficients": {"x": 1}, "relation": "<=", "bound": -1}]
        world.call(matrices.solve_linear_program, objective={"x": 1}, constraints=wrong)
    with refused("bad_arguments", "'z' is no variable"):
        world.call(matrices.solve_linear_program, objective={"x": 1}, constraints=[], limits={"z": {}})
