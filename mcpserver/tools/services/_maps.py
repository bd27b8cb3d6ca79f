"""The simulated map: places in twelve real cities, drawn from a seed; points, distances and travel times."""

from collections.abc import Mapping
from random import Random
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from typing_extensions import TypedDict

from mcpserver.tools.services._kinds import Id
from mcpserver.tools.services._places import CITIES, distance_km
from mcpserver.tools.services._records import Record, find

Kind = Literal["cafe", "museum", "station", "hospital", "supermarket", "park", "pharmacy", "library"]
Mode = Literal["walk", "bicycle", "car", "transit"]
DETOUR: Mapping[str, float] = {"walk": 1.2, "bicycle": 1.25, "car": 1.35, "transit": 1.4}
SPEED_KMH: Mapping[str, float] = {"walk": 4.8, "bicycle": 16.0, "car": 34.0, "transit": 24.0}
FAR_KM, FAR_SPEED_KMH = 30.0, {"walk": 4.8, "bicycle": 18.0, "car": 92.0, "transit": 125.0}
_NAMES: Mapping[str, tuple[str, ...]] = {
    "cafe": ("Cafe Tulip", "Corner Cup", "Cafe Meridian", "Two Spoons"),
    "museum": ("Museum of Light", "City Museum", "Maritime Museum", "House of Maps"),
    "station": ("Central Station", "North Station"),
    "hospital": ("Saint Anne Hospital", "City Hospital"),
    "supermarket": ("Greenline", "Daily Market", "Kop Market"),
    "park": ("Linden Park", "River Park", "Castle Garden"),
    "pharmacy": ("Star Pharmacy", "Old Town Pharmacy"),
    "library": ("Public Library", "Harbour Library"),
}
_STREETS = (
    "Mill Street",
    "Harbour Road",
    "Linden Lane",
    "Station Square",
    "King Street",
    "Bridge Street",
    "Canal Walk",
)
_HOURS: Mapping[str, tuple[str, str, str, str]] = {  # weekdays and Saturday open, close; Sunday open, close ("" closed)
    "cafe": ("08:00", "18:00", "09:00", "17:00"),
    "museum": ("10:00", "17:00", "10:00", "18:00"),
    "station": ("00:00", "23:59", "00:00", "23:59"),
    "hospital": ("00:00", "23:59", "00:00", "23:59"),
    "supermarket": ("07:00", "21:00", "10:00", "18:00"),
    "park": ("06:00", "22:00", "06:00", "22:00"),
    "pharmacy": ("08:30", "18:30", "", ""),
    "library": ("09:00", "20:00", "", ""),
}


class Point(TypedDict):
    """Degrees north and east."""

    latitude: Annotated[float, Ge(-90), Le(90)]
    longitude: Annotated[float, Ge(-180), Le(180)]


Stop = Point | Id


def make_map(rng: Random) -> dict[str, Any]:
    """Places such as RTM-cafe-1: one of each kind in every city, some twice; nothing saved but RTM-station-1."""
    places: dict[str, Any] = {}
    for city, about in CITIES.items():
        for kind, names in _NAMES.items():
            chosen = rng.sample(names, rng.randint(1, 2))
            if kind == "station":
                chosen = sorted(names[: len(chosen)])  # every city has its central station
            for index, name in enumerate(chosen, 1):
                number = f"{about.airport}-{kind}-{index}"
                latitude = round(about.latitude + rng.uniform(-0.03, 0.03), 5)
                longitude = round(about.longitude + rng.uniform(-0.05, 0.05), 5)
                place = {"id": number, "name": name, "kind": kind, "city": city, "latitude": latitude}
                address = f"{rng.choice(_STREETS)} {rng.randint(1, 120)}, {city}"
                places[number] = place | {
                    "longitude": longitude,
                    "address": address,
                    "rating": rng.randint(30, 49) / 10,
                }
    return {"places": places, "saved": {"RTM-station-1": {"list": "favourites", "note": ""}}}


def find_place(state: Mapping[str, Any], place: str, parameter: str = "place") -> Record:
    """The place with an id."""
    found: Record = find(state["places"], place, parameter, "search_places")
    return found


def point_of(state: Mapping[str, Any], stop: Point | str, parameter: str) -> tuple[float, float]:
    """Latitude and longitude of a point or of a place."""
    about = find_place(state, stop, parameter) if isinstance(stop, str) else stop
    return float(about["latitude"]), float(about["longitude"])


def travel(a: tuple[float, float], b: tuple[float, float], mode: str) -> tuple[float, int]:
    """Kilometres and minutes of a way: faster the part beyond a town."""
    way_km = distance_km(a, b) * DETOUR[mode]
    near_km = min(way_km, FAR_KM)
    hours = near_km / SPEED_KMH[mode] + (way_km - near_km) / FAR_SPEED_KMH[mode]
    waiting = 6 if mode == "transit" and way_km > 0 else 0
    return round(way_km, 2), round(hours * 60) + waiting


def hours_of(place: Mapping[str, Any], weekday: int) -> tuple[str, str] | None:
    """When a place opens and closes on a day of the week (0 is Monday); none when it is closed."""
    opens, closes, sunday_opens, sunday_closes = _HOURS[place["kind"]]
    if weekday == 6:
        return (sunday_opens, sunday_closes) if sunday_opens else None
    is_rest_day = place["kind"] == "museum" and weekday == 0
    return None if is_rest_day else (opens, closes)
