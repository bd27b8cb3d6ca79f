import math
import time
from fractions import Fraction

import pytest
from number_fuzz import check_extreme_numbers
from tool_calls import World
from tool_checks import check_example, check_random_calls, examples_of, refused, tools_of

from mcpserver.tools.maths import _primes, counting, measures, numbers

MODULES = (numbers, counting, measures)
close = pytest.approx


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("env"))


@pytest.mark.parametrize(("tool", "example"), examples_of(*MODULES))
def test_examples_work_and_are_repeatable(tool, example, tmp_path):
    check_example(tool, example, tmp_path)


@pytest.mark.parametrize("tool", tools_of(*MODULES), ids=lambda tool: tool.spec.name)
def test_random_calls_fail_in_the_typed_way_only(tool, tmp_path):
    check_random_calls(tool, tmp_path)


@pytest.mark.parametrize("tool", tools_of(*MODULES), ids=lambda tool: tool.spec.name)
def test_extreme_numbers_give_finite_results_or_typed_errors(tool, world):
    check_extreme_numbers(tool, world)


def test_primes_are_those_of_the_sieve():
    sieve = [True] * 10_000
    for n in range(2, 100):
        sieve[n * n :: n] = [False] * len(sieve[n * n :: n])
    assert [n for n in range(10_000) if _primes.is_prime(n)] == [n for n in range(2, 10_000) if sieve[n]]
    assert not _primes.is_prime(3215031751)  # a strong pseudoprime to 2, 3, 5 and 7


@pytest.mark.parametrize(
    "number", [999999999999989, 999999000001, 31622743**2, 31622741 * 31622743, 2**49, 10**15, 9999991**2, 997**5]
)
def test_the_hardest_numbers_are_factored_at_once(number, world):
    start = time.process_time()
    found = world.call(numbers.factorize_integer, number=number)
    assert time.process_time() - start < 1
    assert math.prod(row["prime"] ** row["power"] for row in found["factors"]) == number
    assert all(_primes.is_prime(row["prime"]) for row in found["factors"])


@pytest.mark.parametrize(
    ("function", "arguments", "expected"),
    [
        (numbers.find_divisors, {"numbers": [12, 18]}, {"divisor": 6, "multiple": 36, "coprime": False}),
        (numbers.factorize_integer, {"number": 97}, {"is_prime": True, "divisors": [1, 97], "totient": 96}),
        (numbers.factorize_integer, {"number": 12}, {"divisors": [1, 2, 3, 4, 6, 12], "divisor_sum": 28, "totient": 4}),
        (numbers.list_primes, {"low": 0, "high": 20}, {"primes": [2, 3, 5, 7, 11, 13, 17, 19], "total": 8}),
        (numbers.convert_base, {"number": "-0xFF", "from_base": 16, "to_base": 2}, {"result": "-11111111"}),
        (numbers.convert_base, {"number": 0, "from_base": 2, "to_base": 10}, {"result": "0"}),
        (numbers.compute_bits, {"first": 1, "operation": "shift_left", "second": 8, "width": "8"}, {"result": 0}),
        (numbers.compute_bits, {"first": 0, "operation": "not", "width": "8"}, {"result": 255, "hexadecimal": "ff"}),
        (numbers.compute_fraction, {"left": "-1 1/2", "operation": "subtract", "right": 1}, {"mixed": "-2 1/2"}),
        (numbers.compute_fraction, {"left": "1/3", "operation": "compare", "right": "0.333"}, {"larger": "left"}),
        (numbers.approximate_fraction, {"value": 0.75}, {"fraction": "3/4", "continued_fraction": [0, 1, 3]}),
        (
            numbers.modular_arithmetic,
            {"operation": "power", "number": 3, "exponent": 200, "modulus": 50},
            {"result": 1},
        ),
        (numbers.modular_arithmetic, {"operation": "remainder", "number": -7, "modulus": 5}, {"result": 3}),
        (
            numbers.solve_congruences,
            {"congruences": [{"remainder": r, "modulus": m} for r, m in ((2, 3), (3, 5), (2, 7))]},
            {"result": 23, "repeats_every": 105},
        ),
        (
            counting.count_arrangements,
            {"of": {"kind": "combinations", "n": 5, "take": 3, "repetition": True}},
            {"result": 35},
        ),
        (counting.count_arrangements, {"of": {"kind": "permutations", "n": 5, "take": 3}}, {"result": 60}),
        (counting.count_arrangements, {"of": {"kind": "multiset", "counts": [2, 2]}}, {"result": 6}),
        (counting.count_arrangements, {"of": {"kind": "derangements", "n": 5}}, {"result": 44}),
        (counting.count_arrangements, {"of": {"kind": "catalan", "n": 5}}, {"result": 42}),
        (counting.count_arrangements, {"of": {"kind": "bell", "n": 5}}, {"result": 52}),
        (counting.count_arrangements, {"of": {"kind": "partitions", "n": 10}}, {"result": 42}),
        (counting.count_arrangements, {"of": {"kind": "factorial", "n": 20}}, {"result": "2432902008176640000"}),
        (
            counting.generate_sequence,
            {"sequence": {"kind": "collatz", "start": 6}, "count": 50},
            {"terms": [6, 3, 10, 5, 16, 8, 4, 2, 1]},
        ),
        (counting.generate_sequence, {"sequence": {"kind": "primes"}, "count": 3, "offset": 3}, {"terms": [7, 11, 13]}),
        (
            counting.generate_sequence,
            {"sequence": {"kind": "geometric", "start": 2, "step": 3}, "count": 4},
            {"terms": [2, 6, 18, 54], "sum": 80},
        ),
        (
            counting.generate_sequence,
            {"sequence": {"kind": "recurrence", "first": [0, 1], "factors": [1, 2]}, "count": 5},
            {"terms": [0, 1, 1, 3, 5]},
        ),
        (counting.tabulate_truth, {"formula": "p and not p"}, {"kind": "contradiction", "rows": ["F F", "T F"]}),
        (counting.tabulate_truth, {"formula": "not a or b <-> (a -> b)"}, {"kind": "tautology"}),
        (counting.tabulate_truth, {"formula": "a ^ b"}, {"rows": ["F F F", "F T T", "T F T", "T T F"]}),
        (
            measures.convert_units,
            {"value": 0, "conversion": {"quantity": "temperature", "unit": "celsius", "to": "fahrenheit"}},
            {"result": 32},
        ),
        (
            measures.convert_units,
            {"value": 36, "conversion": {"quantity": "speed", "unit": "km/h", "to": "m/s"}},
            {"result": 10},
        ),
        (
            measures.convert_units,
            {"value": 1, "conversion": {"quantity": "data", "unit": "MiB", "to": "bit"}},
            {"result": 8388608},
        ),
        (
            measures.convert_units,
            {"value": 1, "conversion": {"quantity": "area", "unit": "acre", "to": "square_foot"}},
            {"result": 43560},
        ),
        (
            measures.convert_units,
            {"value": 1, "conversion": {"quantity": "volume", "unit": "barrel", "to": "us_gallon"}},
            {"result": 42},
        ),
        (
            measures.convert_units,
            {"value": 14, "conversion": {"quantity": "mass", "unit": "pound", "to": "stone"}},
            {"result": 1},
        ),
        (
            measures.measure_shape,
            {"of": {"shape": "rectangle", "width": 2, "length": 3, "height": 6}},
            {"volume": 36, "surface": 72, "diagonal": 7},
        ),
        (measures.measure_shape, {"of": {"shape": "triangle", "sides": [5, 3, 4]}}, {"area": 6, "right_angled": True}),
        (measures.measure_shape, {"of": {"shape": "trapezoid", "parallel": [3, 5], "height": 2}}, {"area": 8}),
        (
            measures.measure_shape,
            {"of": {"shape": "regular_polygon", "corners": 4, "side": 3}},
            {"area": 9, "circumference": 12},
        ),
        (
            measures.measure_shape,
            {"of": {"shape": "polygon", "points": [[0, 0], [0, 2], [2, 2], [2, 0]]}},
            {"area": 4, "circumference": 8, "center": [1, 1]},
        ),
        (
            measures.operate_vectors,
            {"first": [1, 0, 0], "operation": "cross", "second": [0, 1, 0]},
            {"result": [0, 0, 1]},
        ),
        (measures.operate_vectors, {"first": [2, 0], "operation": "angle", "second": [0, 9]}, {"result": 90}),
        (measures.operate_vectors, {"first": [2, 3], "operation": "project", "second": [5, 0]}, {"result": [2, 0]}),
        (
            measures.combine_sets,
            {"first": [1, 2, 2], "second": [2, 3], "operation": "symmetric_difference"},
            {"members": [1, 3], "count": 2},
        ),
        (
            measures.combine_sets,
            {"first": ["a"], "second": ["a", "b"], "operation": "compare"},
            {"subset": True, "superset": False, "jaccard": 0.5},
        ),
        (measures.interpolate_points, {"points": [[0, 1], [2, 3]], "at": [0.5]}, {"values": [{"x": 0.5, "y": 1.5}]}),
        (
            measures.interpolate_points,
            {"points": [[2, 4], [0, 0], [1, 1]], "at": [1.5], "method": "polynomial"},
            {"values": [{"x": 1.5, "y": 2.25}]},
        ),
        (
            measures.interpolate_points,
            {"points": [[0, 0], [1, 1], [2, 2]], "at": [1.7], "method": "cubic_spline"},
            {"values": [{"x": 1.7, "y": 1.7}]},
        ),
    ],
)
def test_results_worked_out_by_hand(world, function, arguments, expected):
    found = world.call(function, **arguments)
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("function", "arguments", "kind", "text"),
    [
        (numbers.convert_base, {"number": "12", "from_base": 2, "to_base": 10}, "bad_arguments", "no number of base 2"),
        (numbers.convert_base, {"number": "1_0", "from_base": 2, "to_base": 10}, "bad_arguments", "other characters"),
        (numbers.compute_fraction, {"left": "1e999999999", "operation": "add", "right": 1}, "bad_arguments", "left"),
        (numbers.compute_fraction, {"left": "1/0", "operation": "add", "right": 1}, "bad_arguments", "left"),
        (numbers.compute_fraction, {"left": 1, "operation": "divide", "right": 0}, "bad_arguments", "by zero"),
        (
            numbers.modular_arithmetic,
            {"operation": "inverse", "number": 2, "modulus": 4},
            "bad_arguments",
            "no inverse",
        ),
        (
            numbers.solve_congruences,
            {"congruences": [{"remainder": 1, "modulus": 4}, {"remainder": 2, "modulus": 6}]},
            "tool_error",
            "contradicts",
        ),
        (numbers.list_primes, {"low": 5, "high": 10**6}, "bad_arguments", "at most 20000"),
        (counting.generate_sequence, {"sequence": {"kind": "factorials"}, "offset": 500}, "limit", "1e300"),
        (
            counting.generate_sequence,
            {"sequence": {"kind": "geometric", "start": 1, "step": -1e12}, "count": 200},
            "limit",
            "1e300",
        ),
        (counting.tabulate_truth, {"formula": "a and"}, "bad_arguments", "no logical formula"),
        (counting.tabulate_truth, {"formula": "a.b or __import__('os')"}, "bad_arguments", "not understood"),
        (counting.tabulate_truth, {"formula": "a|b|c|d|e|f|g"}, "bad_arguments", "there are 7"),
        (counting.draw_numbers, {"low": 1, "high": 3, "count": 4, "unique": True}, "bad_arguments", "only 3"),
        (
            measures.convert_units,
            {"value": -300, "conversion": {"quantity": "temperature", "unit": "celsius", "to": "kelvin"}},
            "bad_arguments",
            "absolute zero",
        ),
        (
            measures.measure_shape,
            {"of": {"shape": "triangle", "sides": [1, 2, 3]}},
            "bad_arguments",
            "longer than the third",
        ),
        (measures.operate_vectors, {"first": [1], "operation": "add"}, "bad_arguments", "needs another"),
        (measures.operate_vectors, {"first": [0, 0], "operation": "unit"}, "bad_arguments", "no direction"),
        (measures.interpolate_points, {"points": [[0, 1], [2, 3]], "at": [5]}, "bad_arguments", "outside"),
        (measures.interpolate_points, {"points": [[0, 1], [0, 3]], "at": [0]}, "bad_arguments", "same x"),
    ],
)
def test_what_makes_no_sense_is_refused(world, function, arguments, kind, text):
    with refused(kind, text):
        world.call(function, **arguments)


def test_units_come_back_to_themselves(world):
    schema = tools_of(measures)[0].spec.parameters
    for kind in schema["properties"]["conversion"].get("anyOf") or schema["properties"]["conversion"]["oneOf"]:
        properties = kind["properties"]
        quantity = properties["quantity"].get("const") or properties["quantity"]["enum"][0]
        for unit in properties["unit"]["enum"]:
            for to in properties["to"]["enum"]:
                there = {"quantity": quantity, "unit": unit, "to": to}
                back = {"quantity": quantity, "unit": to, "to": unit}
                value = world.call(measures.convert_units, value=300, conversion=there)["result"]
                assert abs(value) > 1e12 or world.call(measures.convert_units, value=value, conversion=back)[
                    "result"
                ] == close(300)


def test_bodies_and_curves(world):
    cone = world.call(measures.measure_shape, of={"shape": "cone", "radius": 3, "height": 4})
    assert (cone["volume"], cone["surface"]) == close((12 * math.pi, 24 * math.pi))
    ellipse = world.call(measures.measure_shape, of={"shape": "ellipse", "axes": [5, 5]})
    assert (ellipse["area"], ellipse["circumference"]) == close((25 * math.pi, 10 * math.pi))
    needle = world.call(measures.measure_shape, of={"shape": "triangle", "sides": [1e6, 1e6, 1e-3]})
    assert needle["area"] == close(500)


def test_ways_on_the_globe(world):
    equator = world.call(
        measures.measure_globe_distance,
        start={"latitude": 0, "longitude": 0},
        end={"latitude": 0, "longitude": 90},
        unit="nautical_mile",
    )
    assert equator["distance"] == close(6371.0088 * math.pi / 2 / 1.852, abs=0.001)
    assert (equator["course_degrees"], equator["midpoint"]) == (90, {"latitude": 0, "longitude": 45})
    pole = world.call(
        measures.measure_globe_distance, start={"latitude": -90, "longitude": 0}, end={"latitude": 90, "longitude": 0}
    )
    assert pole["distance"] == close(6371.0088 * math.pi, abs=0.001)


def test_a_natural_spline_is_the_one_of_scipy(world):
    from scipy.interpolate import CubicSpline

    points = [[0, 1], [1, 3], [2.5, 2], [4, 0], [5, 4]]
    at = [0.2, 1.7, 3.3, 4.9]
    found = world.call(measures.interpolate_points, points=points, at=at, method="cubic_spline")["values"]
    expected = CubicSpline([x for x, _ in points], [y for _, y in points], bc_type="natural")(at)
    assert [row["y"] for row in found] == close(list(expected))


def test_drawn_numbers_are_seeded_and_stay_within(world):
    found = world.call(counting.draw_numbers, low=1, high=6, count=500)["numbers"]
    assert set(found) == set(range(1, 7))
    assert found == world.call(counting.draw_numbers, low=1, high=6, count=500)["numbers"]
    assert found != world.call(counting.draw_numbers, low=1, high=6, count=500, seed=1)["numbers"]
    assert sorted(world.call(counting.draw_numbers, low=1, high=9, count=9, unique=True)["numbers"]) == list(
        range(1, 10)
    )


def test_fractions_of_pi(world):
    found = world.call(numbers.approximate_fraction, value=math.pi, max_denominator=10**6)
    assert abs(Fraction(found["fraction"]) - Fraction(math.pi)) < 1e-11
    assert found["continued_fraction"][:5] == [3, 7, 15, 1, 292]
