"""What can be booked: hotels, flights and restaurants of the cities, drawn from a seed; prices, places left, fees."""

import datetime
from collections.abc import Mapping
from random import Random
from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.tools.services._kinds import NOW, TODAY, Clock, Day, Id, Line, Moment
from mcpserver.tools.services._places import CITIES, distance_km
from mcpserver.tools.services._records import Record, days_from, find

Cuisine = Literal["italian", "seafood", "indian", "vegetarian", "local", "japanese"]
Amenity = Literal["breakfast", "parking", "gym", "pool", "pets"]
Cabin = Literal["economy", "business"]
N_FLIGHTS_A_DAY, FIRST_NUMBER, TABLES, LAST_DAY = 3, 301, 6, "2025-12-31"
_HOTELS = ("Hotel Meridian", "Harbour House", "The Lantern", "Garden Court")
_RESTAURANTS = ("Olive and Oak", "Blue Pier", "Saffron Room", "Green Table", "The Old Mill", "Kumo")
_CUISINES: tuple[Cuisine, ...] = ("italian", "seafood", "indian", "vegetarian", "local", "japanese")

Places = Annotated[int, Ge(1), Le(9)]


class HotelWishes(TypedDict, total=False):
    """What a hotel must offer."""

    max_price: Annotated[float, Ge(1), Le(5000)]
    min_stars: Annotated[int, Ge(1), Le(5)]
    amenities: Annotated[list[Amenity], Len(1, 5)]


class FlightWishes(TypedDict, total=False):
    """What a flight must be like."""

    max_price: Annotated[float, Ge(1), Le(5000)]
    cabin: Cabin
    depart_after: Clock
    arrive_before: Clock


class HotelStay(TypedDict):
    """A stay at a hotel."""

    kind: Literal["hotel"]
    hotel: Id
    check_in: Day
    check_out: Day
    rooms: NotRequired[Places]


class FlightSeats(TypedDict):
    """Seats on a flight."""

    kind: Literal["flight"]
    flight: Id
    day: Day
    passengers: Annotated[list[Line], Len(1, 9)]
    cabin: NotRequired[Cabin]


class Table(TypedDict):
    """A table at a restaurant."""

    kind: Literal["restaurant"]
    restaurant: Id
    at: Moment
    people: Places


class Changes(TypedDict, total=False):
    """New values that fit the kind booked."""

    check_in: Day
    check_out: Day
    rooms: Places
    day: Day
    at: Moment
    people: Places


Booking = HotelStay | FlightSeats | Table


def make_bookings(rng: Random) -> dict[str, Any]:
    """Hotels H-AMS-1 …, restaurants R-AMS-1 …, and reservations B-301 (hotel), B-302 (flight), B-303 (restaurant)."""
    hotels: dict[str, Any] = {}
    restaurants: dict[str, Any] = {}
    for city, about in CITIES.items():
        for index in range(1, 4):
            number, stars = f"H-{about.airport}-{index}", rng.randint(2, 5)
            hotel = {"id": number, "name": f"{rng.choice(_HOTELS)} {city}", "city": city, "stars": stars}
            amenities = sorted(rng.sample(("breakfast", "parking", "gym", "pool", "pets"), rng.randint(1, 4)))
            hotels[number] = hotel | {"amenities": amenities, "base_price": rng.randint(30, 60) * stars}
            number = f"R-{about.airport}-{index}"
            table = {"id": number, "name": rng.choice(_RESTAURANTS), "city": city, "cuisine": rng.choice(_CUISINES)}
            restaurants[number] = table | {
                "rating": round(rng.uniform(3.2, 4.9), 1),
                "opens": "12:00",
                "closes": "22:00",
            }
    state = {"hotels": hotels, "restaurants": restaurants, "reservations": {}, "next": {"B": FIRST_NUMBER + 3}}
    nights = rng.randint(1, 4)
    city = rng.choice(("LIS", "OSL", "VIE"))
    stay: Record = {
        "hotel": f"H-{city}-1",
        "check_in": "2025-04-07",
        "check_out": days_from("2025-04-07", nights),
        "rooms": 1,
    }
    price = float(hotels[stay["hotel"]]["base_price"] * nights)
    keep(state, "B-301", {"kind": "hotel", **stay}, price)
    seats = {"flight": f"AMS-{city}-2", "day": "2025-04-07", "passengers": ["Nora Lindqvist"], "cabin": "economy"}
    keep(state, "B-302", {"kind": "flight", **seats}, float(rng.randint(90, 260)))
    keep(state, "B-303", {"kind": "restaurant", "restaurant": "R-RTM-1", "at": "2025-03-17 19:30", "people": 4}, 0.0)
    return state


def keep(state: Record, number: str, booking: Mapping[str, Any], price: float) -> Record:
    """Keep a confirmed reservation."""
    reservation: Record = {"id": number, "status": "confirmed", "booked": TODAY, "price": price, "fees": 0.0, **booking}
    state["reservations"][number] = reservation
    return reservation


def confirmed(state: Mapping[str, Any], key: str, value: str) -> list[Record]:
    """Confirmed reservations of a hotel, flight or restaurant."""
    return [r for r in state["reservations"].values() if r["status"] == "confirmed" and r.get(key) == value]


def nights_of(check_in: str, check_out: str) -> list[str]:
    """The nights of a stay, at most 30.

    Raises:
        ToolError: no such stay.
    """
    if not TODAY <= check_in < check_out <= LAST_DAY:
        raise ToolError("bad_arguments", f"check_in: wanted {TODAY} <= check_in < check_out <= {LAST_DAY}")
    if check_out > days_from(check_in, 30):
        raise ToolError("limit", "check_out: a stay has at most 30 nights")
    nights = [check_in]
    while (following := days_from(nights[-1], 1)) < check_out:
        nights.append(following)
    return nights


def hotel_offer(context: Context, state: Mapping[str, Any], hotel: str, nights: list[str]) -> tuple[int, float]:
    """Rooms left in all nights, and the price of one room for all of them."""
    about = find(state["hotels"], hotel, "hotel", "search_hotels")
    stays = confirmed(state, "hotel", hotel)
    left, price = 99, 0.0
    for night in nights:
        rng = context.random("hotel", hotel, night)
        taken = sum(stay["rooms"] for stay in stays if stay["check_in"] <= night < stay["check_out"])
        left = min(left, rng.choice((0, 2, 3, 5, 8, 8)) - taken)
        price += round(about["base_price"] * rng.uniform(0.85, 1.3), 2)
    return max(0, left), round(price, 2)


def flight_offer(context: Context, state: Mapping[str, Any], flight: str, day: str) -> Record:
    """Times, prices and seats left of a flight such as AMS-LIS-2 on a day.

    Raises:
        ToolError: there is no such flight.
    """
    if not TODAY <= day <= LAST_DAY:
        raise ToolError("bad_arguments", f"day: flights are sold from {TODAY} to {LAST_DAY}, not for {day}")
    by_airport = {about.airport: about for about in CITIES.values()}
    parts = flight.split("-")
    is_known = len(parts) == 3 and parts[0] in by_airport and parts[1] in by_airport and parts[0] != parts[1]
    if not is_known or parts[2] not in ("1", "2", "3"):
        raise ToolError("bad_arguments", f"flight: there is no flight {flight!r}; see search_flights")
    a, b = by_airport[parts[0]], by_airport[parts[1]]
    length_km = distance_km((a.latitude, a.longitude), (b.latitude, b.longitude))
    fixed, rng = context.random("flight", flight), context.random("flight", flight, day)
    departs = 330 + 300 * (int(parts[2]) - 1) + 5 * fixed.randint(0, 50)
    arrives = departs + 35 + round(length_km / 12.5)
    economy = round((40 + 0.09 * length_km) * rng.uniform(0.7, 1.9), 2)
    offer: Record = {"flight": flight, "day": day, "departs": _clock(departs), "arrives": _clock(arrives)}
    offer["prices"] = {"economy": economy, "business": round(economy * 2.6, 2)}
    seats = {"economy": rng.choice((0, 2, 5, 9, 20)), "business": rng.choice((0, 1, 4, 8))}
    for taken in confirmed(state, "flight", flight):
        if taken["day"] == day:
            seats[taken["cabin"]] = max(0, seats[taken["cabin"]] - len(taken["passengers"]))
    return offer | {"seats_left": seats}


def _clock(minutes: int) -> str:
    return f"{minutes // 60 % 24:02}:{minutes % 60:02}"


def tables_left(context: Context, state: Mapping[str, Any], restaurant: str, at: str) -> int:
    """Tables left at a restaurant for two hours from a moment; none outside opening hours or in the past."""
    about = find(state["restaurants"], restaurant, "restaurant", "search_restaurants")
    if not about["opens"] <= at[11:] <= "20:30" or not NOW <= at <= f"{LAST_DAY} 23:59":
        return 0
    taken = sum(abs(_minutes_between(other["at"], at)) < 120 for other in confirmed(state, "restaurant", restaurant))
    return max(0, context.random("restaurant", restaurant, at[:13]).randint(1, TABLES) - taken)


def _minutes_between(a: str, b: str) -> float:
    return (datetime.datetime.fromisoformat(b) - datetime.datetime.fromisoformat(a)).total_seconds() / 60


def cancellation_fee(context: Context, state: Mapping[str, Any], reservation: Mapping[str, Any]) -> tuple[float, str]:
    """What it costs to cancel now, in EUR, and the rule."""
    if reservation["kind"] == "hotel":
        if _minutes_between(NOW, f"{reservation['check_in']} 15:00") >= 48 * 60:
            return 0.0, "hotel: free until 48 hours before check-in"
        n_nights = len(nights_of(reservation["check_in"], reservation["check_out"]))
        return round(reservation["price"] / n_nights, 2), "hotel: the first night, later than 48 hours before check-in"
    if reservation["kind"] == "flight":
        departs = flight_offer(context, state, reservation["flight"], reservation["day"])["departs"]
        if _minutes_between(NOW, f"{reservation['day']} {departs}") < 24 * 60:
            return reservation["price"], "flight: the whole price, later than 24 hours before departure"
        share = 0.6 if reservation["cabin"] == "economy" else 0.1
        return round(reservation["price"] * share, 2), f"flight: {share:.0%} of the price in {reservation['cabin']}"
    if _minutes_between(NOW, reservation["at"]) < 120:
        return 20.0 * reservation["people"], "restaurant: 20 EUR a person, later than 2 hours before"
    return 0.0, "restaurant: free until 2 hours before"
