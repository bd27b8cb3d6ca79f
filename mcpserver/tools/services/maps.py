"""A simulated map: search, geocoding, routes, distances, opening hours and saved places."""

import datetime
import itertools
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Len

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.tools.services._kinds import NOW, TODAY, Day, Id, Limit, Line, Moment, Offset
from mcpserver.tools.services._maps import Kind, Mode, Point, Stop, find_place, hours_of, make_map, point_of, travel
from mcpserver.tools.services._places import CITIES, CityName, distance_km
from mcpserver.tools.services._records import check, find, holds, keep_room, later, only, page
from toolwright.words import nearest

RUNS_IN = "server"
MAX_SAVED, MAX_ROUTE_KM = 150, 6000.0
_SERVICE = "maps"

Stops = Annotated[list[Stop], Len(1, 6)]


def search_places(
    context: Context,
    city: CityName,
    text: Line | None = None,
    kind: Kind | None = None,
    limit: Limit = 10,
    offset: Offset = 0,
) -> dict[str, Any]:
    """Search places of a city by name or kind.

    Args:
        city: where
        text: words of name or address
        kind: kind of place
        limit: most places to list
        offset: places to leave out first

    Example:
        {"city": "Rotterdam", "kind": "cafe"}
        {"city": "Vienna", "text": "park"}
    """
    rows = [
        place
        for place in context.read(_SERVICE, make_map)["places"].values()
        if place["city"] == city and kind in (None, place["kind"]) and holds(text, place["name"], place["address"])
    ]
    return page(sorted(rows, key=lambda place: (-place["rating"], place["id"])), limit, offset, "places")


def find_nearby_places(
    context: Context,
    center: Stop,
    radius_m: Annotated[int, Ge(50), Le(20_000)],
    kinds: Annotated[list[Kind], Len(1, 8)] | None = None,
    open_at: Moment | None = None,
    limit: Limit = 10,
) -> dict[str, Any]:
    """Find places around a point or place, nearest first.

    Args:
        center: point, or id of a place
        radius_m: metres around it
        kinds: kinds of places
        open_at: only places open then
        limit: most places to list

    Example:
        {"center": "RTM-station-1", "radius_m": 5000, "kinds": ["cafe", "pharmacy"]}
        {"center": {"latitude": 52.37, "longitude": 4.9}, "radius_m": 3000, "open_at": "2025-03-18 10:00"}
    """
    state = context.read(_SERVICE, make_map)
    middle, rows = point_of(state, center, "center"), []
    for place in state["places"].values():
        metres = round(1000 * distance_km(middle, (place["latitude"], place["longitude"])))
        is_wanted = place["id"] != center and (kinds is None or place["kind"] in kinds) and metres <= radius_m
        if is_wanted and (open_at is None or _is_open(place, open_at)):
            rows.append(only(place, "id", "name", "kind", "address", "rating") | {"distance_m": metres})
    return page(sorted(rows, key=lambda row: (row["distance_m"], row["id"])), limit, 0, "places")


def geocode(context: Context, what: Point | Line) -> dict[str, Any]:
    """Turn an address or place name into coordinates, or back.

    Args:
        what: address, name, or point

    Example:
        {"what": "Central Station, Rotterdam"}
        {"what": {"latitude": 48.2, "longitude": 16.37}}
    """
    state = context.read(_SERVICE, make_map)
    if not isinstance(what, str):
        middle = point_of(state, what, "what")
        near = min(
            state["places"].values(), key=lambda p: (distance_km(middle, (p["latitude"], p["longitude"])), p["id"])
        )
        metres = round(1000 * distance_km(middle, (near["latitude"], near["longitude"])))
        if metres > 20_000:
            raise ToolError("tool_error", f"what: nothing is known within 20 km; the nearest city is {near['city']}")
        return {**only(near, "id", "name", "address", "city"), "distance_m": metres}
    words = what.replace(",", " ")
    hits = [place for place in state["places"].values() if holds(words, place["name"], place["address"])]
    cities = [{"name": name, "latitude": c.latitude, "longitude": c.longitude} for name, c in CITIES.items()]
    rows = [only(p, "id", "name", "address", "latitude", "longitude") for p in hits]
    rows += [city for city in cities if str(city["name"]).lower() == words.strip().lower()]
    if not rows:
        known = [place["name"] for place in state["places"].values()] + list(CITIES)
        raise ToolError("bad_arguments", f"what: nothing is known under {what!r}{nearest(what, known)}")
    return page(rows, 10, 0, "matches")


def plan_route(
    context: Context,
    stops: Annotated[list[Stop], Len(2, 6)],
    mode: Mode,
    depart: Moment = NOW,
    order: Literal["as_given", "shortest"] = "as_given",
) -> dict[str, Any]:
    """Plan a route over two to six stops.

    Args:
        stops: points, or ids of places
        mode: how to travel
        depart: start, YYYY-MM-DD HH:MM
        order: shortest may swap the middle

    Example:
        {"stops": ["RTM-station-1", "RTM-museum-1"], "mode": "bicycle"}
        {"stops": ["AMS-cafe-1", {"latitude": 52.36, "longitude": 4.88}, "AMS-park-1"], "mode": "walk",
         "order": "shortest"}
    """
    state = context.read(_SERVICE, make_map)
    points = [point_of(state, stop, "stops") for stop in stops]
    route = list(range(len(stops)))
    if order == "shortest":  # first and last stay; at most four between them, so all 24 orders are tried
        tries = ([route[0], *middle, route[-1]] for middle in itertools.permutations(route[1:-1]))
        route = min(tries, key=lambda way: sum(distance_km(points[a], points[b]) for a, b in itertools.pairwise(way)))
    legs = []
    for start, end in itertools.pairwise(route):
        way_km, minutes = travel(points[start], points[end], mode)
        legs.append({"from": stops[start], "to": stops[end], "km": way_km, "minutes": minutes})
    total_km, total_min = sum(float(str(leg["km"])) for leg in legs), sum(int(str(leg["minutes"])) for leg in legs)
    check(total_km <= MAX_ROUTE_KM, f"stops: the way of {total_km:.0f} km is longer than {MAX_ROUTE_KM:.0f} km")
    arrive = later(depart, total_min)
    return {
        "mode": mode,
        "km": round(total_km, 2),
        "minutes": total_min,
        "depart": depart,
        "arrive": arrive,
        "legs": legs,
    }


def get_distance_matrix(context: Context, origins: Stops, destinations: Stops, mode: Mode) -> dict[str, Any]:
    """Get distances and times from several origins to destinations.

    Args:
        origins: points, or ids of places
        destinations: points, or ids of places
        mode: how to travel

    Example:
        {"origins": ["RTM-station-1", "RTM-cafe-1"], "destinations": ["RTM-museum-1", "RTM-park-1"], "mode": "walk"}
    """
    state = context.read(_SERVICE, make_map)
    ends = [point_of(state, stop, "destinations") for stop in destinations]
    rows = []
    for origin in origins:
        ways = [travel(point_of(state, origin, "origins"), end, mode) for end in ends]
        rows.append({"origin": origin, "km": [way[0] for way in ways], "minutes": [way[1] for way in ways]})
    return {"mode": mode, "destinations": destinations, "rows": rows}


def get_opening_hours(context: Context, place: Id, day: Day = TODAY) -> dict[str, Any]:
    """Get when a place is open on a day.

    Args:
        place: id of the place
        day: YYYY-MM-DD

    Example:
        {"place": "RTM-pharmacy-1", "day": "2025-03-23"}
    """
    found = find_place(context.read(_SERVICE, make_map), place)
    hours = hours_of(found, datetime.date.fromisoformat(day).weekday())
    opens, closes = hours or (None, None)
    return {**only(found, "id", "name"), "day": day, "open": hours is not None, "opens": opens, "closes": closes}


def save_place(
    context: Context,
    place: Id,
    to_list: Literal["favourites", "want_to_go", "work"] = "favourites",
    note: Line | None = None,
) -> dict[str, Any]:
    """Save a place to a list.

    Args:
        place: id of the place
        to_list: which list
        note: why

    Example:
        {"place": "OSL-museum-1", "to_list": "want_to_go", "note": "For the Sunday"}
    """
    state = context.change(_SERVICE, make_map)
    find_place(state, place)
    keep_room([] if place in state["saved"] else state["saved"], MAX_SAVED, "saved places")
    state["saved"][place] = {"list": to_list, "note": note or ""}
    return {"place": place, **state["saved"][place]}


def list_saved_places(context: Context, limit: Limit = 20, offset: Offset = 0) -> dict[str, Any]:
    """List the saved places.

    Args:
        limit: most places to list
        offset: places to leave out first

    Example:
        {}
    """
    state = context.read(_SERVICE, make_map)
    rows = [only(state["places"][key], "id", "name", "city") | about for key, about in sorted(state["saved"].items())]
    return page(rows, limit, offset, "places")


def remove_saved_place(context: Context, place: Id) -> dict[str, Any]:
    """Remove a place from the saved ones.

    Args:
        place: id of the place

    Example:
        {"place": "RTM-station-1"}
    """
    saved = context.change(_SERVICE, make_map)["saved"]
    find(saved, place, "place", "list_saved_places")
    del saved[place]
    return {"removed": place, "saved": len(saved)}


def _is_open(place: dict[str, Any], moment: str) -> bool:
    hours = hours_of(place, datetime.datetime.fromisoformat(moment).weekday())
    return hours is not None and hours[0] <= moment[11:] <= hours[1]
