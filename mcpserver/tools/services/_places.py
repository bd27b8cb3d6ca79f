"""The cities of the simulated services: where they are, and how warm they are in the mean."""

import math
from typing import Literal, NamedTuple

CityName = Literal[
    "Rotterdam",
    "Amsterdam",
    "Hamburg",
    "Berlin",
    "London",
    "Paris",
    "Milan",
    "Madrid",
    "Oslo",
    "Vienna",
    "Warsaw",
    "Lisbon",
]
EARTH_RADIUS_KM = 6371.0


class City(NamedTuple):
    """Degrees north and east, airport, and mean temperature with its yearly swing in degrees Celsius."""

    country: str
    latitude: float
    longitude: float
    airport: str
    mean: float
    swing: float


CITIES: dict[str, City] = {
    "Rotterdam": City("Netherlands", 51.9225, 4.4792, "RTM", 10.9, 7.2),
    "Amsterdam": City("Netherlands", 52.3676, 4.9041, "AMS", 10.7, 7.4),
    "Hamburg": City("Germany", 53.5511, 9.9937, "HAM", 9.8, 8.6),
    "Berlin": City("Germany", 52.52, 13.405, "BER", 10.2, 9.8),
    "London": City("United Kingdom", 51.5074, -0.1278, "LHR", 11.6, 6.7),
    "Paris": City("France", 48.8566, 2.3522, "CDG", 12.5, 8.0),
    "Milan": City("Italy", 45.4642, 9.19, "MXP", 14.2, 11.4),
    "Madrid": City("Spain", 40.4168, -3.7038, "MAD", 15.3, 10.1),
    "Oslo": City("Norway", 59.9139, 10.7522, "OSL", 6.9, 11.0),
    "Vienna": City("Austria", 48.2082, 16.3738, "VIE", 11.2, 10.7),
    "Warsaw": City("Poland", 52.2297, 21.0122, "WAW", 9.1, 11.3),
    "Lisbon": City("Portugal", 38.7223, -9.1393, "LIS", 17.4, 5.9),
}


def distance_km(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Kilometres along the great circle between two points (latitude, longitude)."""
    north_a, north_b = math.radians(a[0]), math.radians(b[0])
    half_north, half_east = (north_b - north_a) / 2, math.radians(b[1] - a[1]) / 2
    chord = math.sin(half_north) ** 2 + math.cos(north_a) * math.cos(north_b) * math.sin(half_east) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(min(1.0, math.sqrt(chord)))
