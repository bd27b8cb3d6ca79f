"""Units, shapes, vectors, sets, points between points, and distances on the globe. Reads and writes nothing."""

import math
from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from mcpserver.tool_error import ToolError
from mcpserver.toolbox.figures import Number, Positive, check, in_figures

RUNS_IN = "server"
# sizes in metre, square metre, cubic metre, kilogram, second, metre per second, pascal, byte, degree, newton
LENGTHS = {"mm": 0.001, "cm": 0.01, "m": 1.0, "km": 1000.0, "inch": 0.0254, "foot": 0.3048, "yard": 0.9144}
LENGTHS |= {"mile": 1609.344, "nautical_mile": 1852.0}
AREAS = {"cm2": 1e-4, "m2": 1.0, "hectare": 1e4, "km2": 1e6, "square_foot": 0.09290304, "acre": 4046.8564224}
AREAS |= {"square_mile": 2589988.110336}
VOLUMES = {"ml": 1e-6, "litre": 0.001, "m3": 1.0, "cubic_foot": 0.028316846592, "us_gallon": 0.003785411784}
VOLUMES |= {"imperial_gallon": 0.00454609, "barrel": 0.158987294928, "us_cup": 0.0002365882365}
MASSES = {"mg": 1e-6, "g": 0.001, "kg": 1.0, "tonne": 1000.0, "ounce": 0.028349523125, "pound": 0.45359237}
MASSES |= {"short_ton": 907.18474, "stone": 6.35029318}
TIMES = {"ms": 0.001, "s": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0, "week": 604800.0, "year": 31557600.0}
SPEEDS = {"m/s": 1.0, "km/h": 1 / 3.6, "mph": 0.44704, "knot": 1852 / 3600, "ft/s": 0.3048}
PRESSURES = {"Pa": 1.0, "kPa": 1000.0, "bar": 1e5, "mbar": 100.0, "atm": 101325.0, "psi": 6894.757293168361}
PRESSURES |= {"mmHg": 133.322387415}
DATA = {"bit": 0.125, "byte": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KiB": 2.0**10, "MiB": 2.0**20}
DATA |= {"GiB": 2.0**30, "TiB": 2.0**40}
ANGLES = {"degree": 1.0, "radian": 180 / math.pi, "gradian": 0.9, "turn": 360.0, "arcminute": 1 / 60}
POWERS = {"W": 1.0, "kW": 1e3, "MW": 1e6, "GW": 1e9, "horsepower": 745.6998715822702, "BTU/h": 0.29307107017222}
EARTH_RADIUS_KM = 6371.0088

LengthUnit = Literal["mm", "cm", "m", "km", "inch", "foot", "yard", "mile", "nautical_mile"]
AreaUnit = Literal["cm2", "m2", "hectare", "km2", "square_foot", "acre", "square_mile"]
VolumeUnit = Literal["ml", "litre", "m3", "cubic_foot", "us_gallon", "imperial_gallon", "barrel", "us_cup"]
MassUnit = Literal["mg", "g", "kg", "tonne", "ounce", "pound", "short_ton", "stone"]
TimeUnit = Literal["ms", "s", "minute", "hour", "day", "week", "year"]
SpeedUnit = Literal["m/s", "km/h", "mph", "knot", "ft/s"]
PressureUnit = Literal["Pa", "kPa", "bar", "mbar", "atm", "psi", "mmHg"]
DataUnit = Literal["bit", "byte", "kB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB"]
AngleUnit = Literal["degree", "radian", "gradian", "turn", "arcminute"]
PowerUnit = Literal["W", "kW", "MW", "GW", "horsepower", "BTU/h"]
Degree = Literal["celsius", "fahrenheit", "kelvin"]


class Length(TypedDict):
    """Length."""

    quantity: Literal["length"]
    unit: LengthUnit
    to: LengthUnit


class Area(TypedDict):
    """Area."""

    quantity: Literal["area"]
    unit: AreaUnit
    to: AreaUnit


class Volume(TypedDict):
    """Volume."""

    quantity: Literal["volume"]
    unit: VolumeUnit
    to: VolumeUnit


class Mass(TypedDict):
    """Mass."""

    quantity: Literal["mass"]
    unit: MassUnit
    to: MassUnit


class Time(TypedDict):
    """Time."""

    quantity: Literal["time"]
    unit: TimeUnit
    to: TimeUnit


class Speed(TypedDict):
    """Speed."""

    quantity: Literal["speed"]
    unit: SpeedUnit
    to: SpeedUnit


class Pressure(TypedDict):
    """Pressure."""

    quantity: Literal["pressure"]
    unit: PressureUnit
    to: PressureUnit


class Data(TypedDict):
    """Amount of data; kB is 1000 bytes, KiB 1024."""

    quantity: Literal["data"]
    unit: DataUnit
    to: DataUnit


class Angle(TypedDict):
    """Angle."""

    quantity: Literal["angle"]
    unit: AngleUnit
    to: AngleUnit


class Power(TypedDict):
    """Power."""

    quantity: Literal["power"]
    unit: PowerUnit
    to: PowerUnit


class Temperature(TypedDict):
    """Temperature."""

    quantity: Literal["temperature"]
    unit: Degree
    to: Degree


Units = Length | Area | Volume | Mass | Time | Speed | Pressure | Data | Angle | Power | Temperature
SIZES: dict[str, dict[str, float]] = {
    **{"length": LENGTHS, "area": AREAS, "volume": VOLUMES, "mass": MASSES, "time": TIMES, "speed": SPEEDS},
    **{"pressure": PRESSURES, "data": DATA, "angle": ANGLES, "power": POWERS},
}
Sides = Annotated[list[Positive], Len(3, 3)]
Coordinate = Annotated[list[Number], Len(2, 2)]


class Round(TypedDict):
    """Circle or sphere."""

    shape: Literal["circle", "sphere"]
    radius: Positive


class Tall(TypedDict):
    """Cylinder or cone."""

    shape: Literal["cylinder", "cone"]
    radius: Positive
    height: Positive


class Rectangle(TypedDict):
    """Rectangle, or box with a height."""

    shape: Literal["rectangle"]
    width: Positive
    length: Positive
    height: NotRequired[Positive]


class Triangle(TypedDict):
    """Triangle by its three sides."""

    shape: Literal["triangle"]
    sides: Sides


class Trapezoid(TypedDict):
    """Trapezoid by its parallel sides and height."""

    shape: Literal["trapezoid"]
    parallel: Annotated[list[Positive], Len(2, 2)]
    height: Positive


class Ellipse(TypedDict):
    """Ellipse by its half axes."""

    shape: Literal["ellipse"]
    axes: Annotated[list[Positive], Len(2, 2)]


class Regular(TypedDict):
    """Polygon with equal sides."""

    shape: Literal["regular_polygon"]
    corners: Annotated[int, Ge(3), Le(1000)]
    side: Positive


class Polygon(TypedDict):
    """Polygon by its corners in order."""

    shape: Literal["polygon"]
    points: Annotated[list[Coordinate], Len(3, 200)]


Shape = Round | Tall | Rectangle | Triangle | Trapezoid | Ellipse | Regular | Polygon


class Position(TypedDict):
    """Place on the globe in degrees, north and east positive."""

    latitude: Annotated[float, Ge(-90), Le(90)]
    longitude: Annotated[float, Ge(-180), Le(180)]


Vector = Annotated[list[Number], Len(1, 100)]
Set = Annotated[list[str | Number], Len(0, 500)]


@in_figures
def convert_units(value: Number, conversion: Units) -> dict[str, Any]:
    """Convert a length, area, volume, mass, time, speed, pressure, amount of data, angle, power or temperature.

    Args:
        value: the number
        conversion: quantity, its unit, and the wanted unit

    Example:
        {"value": 26.2, "conversion": {"quantity": "length", "unit": "mile", "to": "km"}}
        {"value": 451, "conversion": {"quantity": "temperature", "unit": "fahrenheit", "to": "celsius"}}
        {"value": 3.2, "conversion": {"quantity": "data", "unit": "GiB", "to": "MB"}}
    """
    if conversion["quantity"] != "temperature":
        sizes = SIZES[conversion["quantity"]]
        return {"result": value * sizes[conversion["unit"]] / sizes[conversion["to"]], "unit": conversion["to"]}
    kelvin = {"celsius": value + 273.15, "fahrenheit": (value + 459.67) / 1.8, "kelvin": float(value)}[
        conversion["unit"]
    ]
    check(kelvin >= -1e-9, f"value: {value} {conversion['unit']} lies below absolute zero")
    result = {"celsius": kelvin - 273.15, "fahrenheit": kelvin * 1.8 - 459.67, "kelvin": kelvin}[conversion["to"]]
    return {"result": round(result, 9), "unit": conversion["to"]}


@in_figures
def measure_shape(of: Shape) -> dict[str, Any]:
    """Compute area and circumference of a flat shape, or volume and surface of a body.

    Args:
        of: shape with its sizes

    Example:
        {"of": {"shape": "cylinder", "radius": 2, "height": 10}}
        {"of": {"shape": "triangle", "sides": [3, 4, 5]}}
        {"of": {"shape": "polygon", "points": [[0, 0], [4, 0], [4, 3]]}}
    """
    match of["shape"]:
        case "circle":
            return {"area": math.pi * of["radius"] ** 2, "circumference": 2 * math.pi * of["radius"]}
        case "sphere":
            return {"volume": 4 / 3 * math.pi * of["radius"] ** 3, "surface": 4 * math.pi * of["radius"] ** 2}
        case "cylinder" | "cone":
            return _tall(of["shape"], of["radius"], of["height"])
        case "rectangle":
            return _box(of["width"], of["length"], of.get("height"))
        case "triangle":
            return _triangle(*of["sides"])
        case "trapezoid":
            return {"area": sum(of["parallel"]) / 2 * of["height"]}
        case "ellipse":
            return _ellipse(*of["axes"])
        case "regular_polygon":
            n, side = of["corners"], of["side"]
            return {"area": n * side**2 / (4 * math.tan(math.pi / n)), "circumference": n * side}
        case "polygon":
            return _polygon(of["points"])


def _tall(shape: str, radius: float, height: float) -> dict[str, float]:
    base = math.pi * radius**2
    if shape == "cylinder":
        return {"volume": base * height, "surface": 2 * base + 2 * math.pi * radius * height}
    return {"volume": base * height / 3, "surface": base + math.pi * radius * math.hypot(radius, height)}


def _box(width: float, length: float, height: float | None) -> dict[str, float]:
    if height is None:
        return {"area": width * length, "circumference": 2 * (width + length), "diagonal": math.hypot(width, length)}
    surface = 2 * (width * length + width * height + length * height)
    return {"volume": width * length * height, "surface": surface, "diagonal": math.hypot(width, length, height)}


def _triangle(a: float, b: float, c: float) -> dict[str, Any]:
    low, middle, high = sorted((a, b, c))
    check(low + middle > high, "of.sides: the two shorter sides together must be longer than the third")
    # Kahan's form of Heron's formula, which stays exact for needles
    area = (
        math.sqrt((high + (middle + low)) * (low - (high - middle)) * (low + (high - middle)) * (high + (middle - low)))
        / 4
    )
    angles = [
        math.degrees(math.acos(max(-1.0, min(1.0, (y * y + z * z - x * x) / (2 * y * z)))))
        for x, y, z in ((a, b, c), (b, a, c), (c, a, b))
    ]
    return {
        "area": area,
        "circumference": a + b + c,
        "angles": angles,
        "right_angled": any(abs(t - 90) < 1e-7 for t in angles),
    }


def _ellipse(a: float, b: float) -> dict[str, float]:
    """Circumference by Ramanujan's second formula, whose error lies below 0.04 %."""
    h = ((a - b) / (a + b)) ** 2
    around = math.pi * (a + b) * (1 + 3 * h / (10 + math.sqrt(4 - 3 * h)))
    return {"area": math.pi * a * b, "circumference": around}


def _polygon(points: list[list[float]]) -> dict[str, Any]:
    pairs = list(zip(points, [*points[1:], points[0]]))
    double = math.fsum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairs)
    around = math.fsum(math.dist(one, two) for one, two in pairs)
    result: dict[str, Any] = {"area": abs(double) / 2, "circumference": around}
    if double:
        terms = [(x1 + x2, y1 + y2, x1 * y2 - x2 * y1) for (x1, y1), (x2, y2) in pairs]
        result["center"] = [math.fsum(t[axis] * t[2] for t in terms) / (3 * double) for axis in (0, 1)]
    return result


@in_figures
def operate_vectors(
    first: Vector,
    operation: Literal["add", "subtract", "dot", "cross", "angle", "length", "unit", "project", "distance"],
    second: Vector | None = None,
) -> dict[str, Any]:
    """Calculate with vectors: sums, products, angle, length, projection, distance.

    Args:
        first: a vector
        operation: what is done; length and unit use the first vector only, project puts the first onto the second
        second: the other vector

    Example:
        {"first": [1, 2, 3], "operation": "cross", "second": [4, 5, 6]}
        {"first": [3, 4], "operation": "length"}
    """
    length = math.hypot(*first)
    if operation == "length":
        return {"result": length}
    if operation == "unit":
        check(length > 0, "first: has no direction")
        return {"result": [value / length for value in first]}
    if second is None:
        raise ToolError("bad_arguments", f"second: {operation} needs another vector")
    check(len(first) == len(second), f"second: has {len(second)} numbers, but first {len(first)}")
    dot, other = math.fsum(a * b for a, b in zip(first, second)), math.hypot(*second)
    match operation:
        case "add" | "subtract":
            sign = 1 if operation == "add" else -1
            return {"result": [a + sign * b for a, b in zip(first, second)]}
        case "dot":
            return {"result": dot}
        case "distance":
            return {"result": math.dist(first, second)}
        case "cross":
            check(len(first) == 3, "first: cross takes vectors of 3 numbers")
            (a, b, c), (x, y, z) = first, second
            return {"result": [b * z - c * y, c * x - a * z, a * y - b * x]}
        case "project":
            check(other > 0, "second: has no direction")
            return {"result": [dot / other / other * value for value in second]}
    check(length > 0 and other > 0, "first, second: a vector has no direction")
    cosine = max(-1.0, min(1.0, dot / length / other))
    return {"result": math.degrees(math.acos(cosine)), "unit": "degree", "cosine": cosine}


def combine_sets(
    first: Set,
    second: Set,
    operation: Literal["union", "intersection", "difference", "symmetric_difference", "compare"],
) -> dict[str, Any]:
    """Combine two sets of texts or numbers, or compare them.

    Args:
        first: members
        second: members
        operation: what is done; compare tells subset, overlap and Jaccard index

    Example:
        {"first": ["TTF", "NBP", "THE"], "second": ["THE", "PEG"], "operation": "intersection"}
        {"first": [1, 2, 3], "second": [2, 3, 4], "operation": "compare"}
    """
    one, two = dict.fromkeys(first), dict.fromkeys(second)
    both = [member for member in one if member in two]
    if operation == "compare":
        whole = len(one) + len(two) - len(both)
        result: dict[str, Any] = {"equal": one.keys() == two.keys(), "subset": len(both) == len(one)}
        result |= {"superset": len(both) == len(two), "common": len(both), "only_first": len(one) - len(both)}
        return result | {"only_second": len(two) - len(both), "jaccard": round(len(both) / whole, 10) if whole else 1}
    only_first = [member for member in one if member not in two]
    only_second = [member for member in two if member not in one]
    members = {
        **{"union": [*one, *only_second], "intersection": both, "difference": only_first},
        "symmetric_difference": [*only_first, *only_second],
    }[operation]
    if sum(len(str(member)) + 4 for member in members) > 10_000:
        raise ToolError("limit", f"first, second: the result has {len(members)} long members; give smaller sets")
    return {"members": members, "count": len(members)}


@in_figures
def interpolate_points(
    points: Annotated[list[Coordinate], Len(2, 500)],
    at: Annotated[list[Number], Len(1, 100)],
    method: Literal["linear", "nearest", "previous", "cubic_spline", "polynomial"] = "linear",
) -> dict[str, Any]:
    """Find values between known points.

    Args:
        points: pairs of x and y, in any order
        at: x whose y is wanted, within the points
        method: cubic_spline is a natural one; polynomial goes through at most 12 points

    Example:
        {"points": [[0, 10], [10, 20], [20, 15]], "at": [5, 12]}
        {"points": [[0, 0], [1, 1], [2, 8], [3, 27]], "at": [1.5], "method": "cubic_spline"}
    """
    ordered = sorted((x, y) for x, y in points)
    xs, ys = [x for x, _ in ordered], [y for _, y in ordered]
    check(len(set(xs)) == len(xs), "points: two have the same x")
    outside = [x for x in at if not xs[0] <= x <= xs[-1]]
    check(not outside, f"at: {outside[:3]} lie outside of {xs[0]} to {xs[-1]}")
    check(method != "polynomial" or len(xs) <= 12, "points: polynomial takes at most 12 points")
    bends = _spline(xs, ys) if method == "cubic_spline" else []
    return {"values": [{"x": x, "y": _between(xs, ys, bends, x, method)} for x in at]}


def _between(xs: list[float], ys: list[float], bends: list[float], x: float, method: str) -> float:
    if method == "polynomial":
        return math.fsum(
            y * math.prod((x - other) / (own - other) for other in xs if other != own) for own, y in zip(xs, ys)
        )
    right = next(number for number, other in enumerate(xs) if other >= x)
    if xs[right] == x:
        return ys[right]
    left = right - 1
    width = xs[right] - xs[left]
    a, b = (xs[right] - x) / width, (x - xs[left]) / width
    if method == "previous":
        return ys[left]
    if method == "nearest":
        return ys[left] if a >= b else ys[right]
    value = a * ys[left] + b * ys[right]
    if method == "cubic_spline":
        value += ((a**3 - a) * bends[left] + (b**3 - b) * bends[right]) * width**2 / 6
    return value


def _spline(xs: list[float], ys: list[float]) -> list[float]:
    """Second derivatives of the natural cubic spline, by elimination in the tridiagonal system."""
    n = len(xs)
    factors, rights = [0.0] * n, [0.0] * n
    for i in range(1, n - 1):
        left, right = xs[i] - xs[i - 1], xs[i + 1] - xs[i]
        pivot = 2 * (left + right) - left * factors[i - 1]
        wanted = 6 * ((ys[i + 1] - ys[i]) / right - (ys[i] - ys[i - 1]) / left)
        factors[i], rights[i] = right / pivot, (wanted - left * rights[i - 1]) / pivot
    bends = [0.0] * n
    for i in range(n - 2, 0, -1):
        bends[i] = rights[i] - factors[i] * bends[i + 1]
    return bends


@in_figures
def measure_globe_distance(
    start: Position, end: Position, unit: Literal["km", "mile", "nautical_mile"] = "km"
) -> dict[str, Any]:
    """Measure the shortest way between two places on the globe, with course and midpoint.

    Args:
        start: first place
        end: second place
        unit: unit of the distance

    Example:
        {"start": {"latitude": 52.37, "longitude": 4.9}, "end": {"latitude": 48.86, "longitude": 2.35}}
    """
    lat1, lon1, lat2, lon2 = (math.radians(p[name]) for p in (start, end) for name in ("latitude", "longitude"))
    half = math.sin((lat2 - lat1) / 2) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    km = 2 * EARTH_RADIUS_KM * math.asin(min(1.0, math.sqrt(half)))
    east, north = math.cos(lat2) * math.cos(lon2 - lon1), math.cos(lat2) * math.sin(lon2 - lon1)
    course = math.atan2(north, math.cos(lat1) * math.sin(lat2) - math.sin(lat1) * east)
    middle = math.atan2(math.sin(lat1) + math.sin(lat2), math.hypot(math.cos(lat1) + east, north))
    longitude = math.degrees(lon1 + math.atan2(north, math.cos(lat1) + east))
    midpoint = {"latitude": round(math.degrees(middle), 6), "longitude": round((longitude + 540) % 360 - 180, 6)}
    distance = round(km * 1000 / LENGTHS[unit], 3)
    return {
        "distance": distance,
        "unit": unit,
        "course_degrees": round(math.degrees(course) % 360, 3),
        "midpoint": midpoint,
    }
