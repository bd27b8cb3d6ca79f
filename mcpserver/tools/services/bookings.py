"""A simulated travel desk: hotels, flights and restaurants to search, reserve, change and cancel, with fees."""

from collections.abc import Mapping
from typing import Any, Literal

from mcpserver.context import Context
from mcpserver.tools.services._bookings import (
    N_FLIGHTS_A_DAY,
    Booking,
    Changes,
    Cuisine,
    FlightWishes,
    HotelWishes,
    Places,
    cancellation_fee,
    flight_offer,
    hotel_offer,
    keep,
    make_bookings,
    nights_of,
    tables_left,
)
from mcpserver.tools.services._kinds import Day, Id, Limit, Moment, Offset
from mcpserver.tools.services._places import CITIES, CityName
from mcpserver.tools.services._records import Record, check, find, keep_room, new_id, only, page, refuse_if

RUNS_IN = "server"
MAX_RESERVATIONS = 150
FLIGHT_CHANGE_FEE = 40.0
_SERVICE = "bookings"
_CHANGEABLE = {"hotel": ("check_in", "check_out", "rooms"), "flight": ("day",), "restaurant": ("at", "people")}


def search_hotels(
    context: Context,
    city: CityName,
    check_in: Day,
    check_out: Day,
    rooms: Places = 1,
    wishes: HotelWishes | None = None,
) -> dict[str, Any]:
    """Search hotels with rooms left, cheapest first.

    Args:
        city: where
        check_in: first night, YYYY-MM-DD
        check_out: day of leaving, YYYY-MM-DD
        rooms: rooms wanted
        wishes: what it must offer

    Example:
        {"city": "Lisbon", "check_in": "2025-04-07", "check_out": "2025-04-10"}
        {"city": "Oslo", "check_in": "2025-05-02", "check_out": "2025-05-04", "wishes": {"min_stars": 3, "amenities": ["breakfast"]}}
    """  # noqa: E501
    state, wanted = context.read(_SERVICE, make_bookings), wishes or {}
    nights = nights_of(check_in, check_out)
    rows = []
    for hotel in state["hotels"].values():
        if hotel["city"] == city and hotel["stars"] >= wanted.get("min_stars", 1):
            left, price = hotel_offer(context, state, hotel["id"], nights)
            fits = price / len(nights) <= wanted.get("max_price", price) and left >= rooms
            if fits and set(wanted.get("amenities", ())) <= set(hotel["amenities"]):
                row = only(hotel, "id", "name", "stars", "amenities")
                rows.append(row | {"rooms_left": left, "price_per_room": price, "nights": len(nights)})
    return {"hotels": sorted(rows, key=lambda row: (row["price_per_room"], row["id"])), "max_price_is": "per night"}


def search_flights(
    context: Context,
    origin: CityName,
    destination: CityName,
    day: Day,
    passengers: Places = 1,
    wishes: FlightWishes | None = None,
) -> dict[str, Any]:
    """Search flights with seats left.

    Args:
        origin: from
        destination: to
        day: day of departure, YYYY-MM-DD
        passengers: seats wanted
        wishes: what it must be like

    Example:
        {"origin": "Amsterdam", "destination": "Lisbon", "day": "2025-04-07"}
        {"origin": "London", "destination": "Milan", "day": "2025-04-01", "wishes": {"cabin": "business", "depart_after": "09:00"}}
    """  # noqa: E501
    check(origin != destination, "destination: must differ from origin")
    state, wanted, rows = context.read(_SERVICE, make_bookings), wishes or {}, []
    cabin = wanted.get("cabin", "economy")
    for index in range(1, N_FLIGHTS_A_DAY + 1):
        number = f"{CITIES[origin].airport}-{CITIES[destination].airport}-{index}"
        offer = flight_offer(context, state, number, day)
        price, left = offer["prices"][cabin], offer["seats_left"][cabin]
        in_time = wanted.get("depart_after", "00:00") <= offer["departs"] and offer["arrives"] <= wanted.get(
            "arrive_before", "23:59"
        )
        if in_time and left >= passengers and price <= wanted.get("max_price", price):
            row = only(offer, "flight", "day", "departs", "arrives")
            rows.append(row | {"cabin": cabin, "price_per_seat": price, "seats_left": left})
    return {"flights": rows}


def search_restaurants(
    context: Context, city: CityName, at: Moment, people: Places, cuisine: Cuisine | None = None
) -> dict[str, Any]:
    """Search restaurants with tables left, best first.

    Args:
        city: where
        at: when, YYYY-MM-DD HH:MM
        people: how many
        cuisine: kind of food

    Example:
        {"city": "Rotterdam", "at": "2025-03-18 19:00", "people": 4}
    """
    state, rows = context.read(_SERVICE, make_bookings), []
    for about in state["restaurants"].values():
        left = tables_left(context, state, about["id"], at) if about["city"] == city else 0
        if left and cuisine in (None, about["cuisine"]):
            rows.append({**about, "tables_left": left})
    return {"people": people, "restaurants": sorted(rows, key=lambda row: (-row["rating"], row["id"]))}


def make_reservation(context: Context, booking: Booking) -> dict[str, Any]:
    """Reserve a hotel, flight seats or a restaurant table.

    Args:
        booking: what to reserve

    Example:
        {"booking": {"kind": "restaurant", "restaurant": "R-RTM-1", "at": "2025-03-29 19:00", "people": 4}}
    """
    state = context.change(_SERVICE, make_bookings)
    keep_room(state["reservations"], MAX_RESERVATIONS, "reservations")
    wanted: Record = dict(booking)
    if booking["kind"] == "hotel":
        wanted.setdefault("rooms", 1)
    elif booking["kind"] == "flight":
        wanted.setdefault("cabin", "economy")
    price = _price(context, state, wanted)
    return keep(state, new_id(state, "B"), wanted, price)


def list_reservations(
    context: Context,
    kind: Literal["hotel", "flight", "restaurant"] | None = None,
    status: Literal["confirmed", "cancelled"] | None = None,
    limit: Limit = 20,
    offset: Offset = 0,
) -> dict[str, Any]:
    """List your reservations.

    Args:
        kind: only of this kind
        status: only with this status
        limit: most reservations to list
        offset: reservations to leave out first

    Example:
        {}
        {"kind": "hotel", "status": "confirmed"}
    """
    rows = [
        reservation
        for reservation in context.read(_SERVICE, make_bookings)["reservations"].values()
        if kind in (None, reservation["kind"]) and status in (None, reservation["status"])
    ]
    return page(rows, limit, offset, "reservations")


def change_reservation(context: Context, reservation: Id, changes: Changes) -> dict[str, Any]:
    """Change day, time, rooms or people of a reservation.

    Args:
        reservation: id of the reservation
        changes: new values

    Example:
        {"reservation": "B-303", "changes": {"people": 3}}
    """
    check(bool(changes), "changes: say what to change")
    state = context.change(_SERVICE, make_bookings)
    found = _confirmed(state, reservation)
    allowed = _CHANGEABLE[found["kind"]]
    wrong = [name for name in changes if name not in allowed]
    check(not wrong, f"changes: a {found['kind']} reservation changes {', '.join(allowed)}, not {', '.join(wrong)}")
    old_price, found["status"] = found["price"], "changing"  # its own room, seat or table is free for itself
    found.update(changes)
    found["price"] = _price(context, state, found)
    found["status"] = "confirmed"
    fee = (
        FLIGHT_CHANGE_FEE * len(found["passengers"])
        if found["kind"] == "flight" and found["cabin"] == "economy"
        else 0.0
    )
    found["fees"] = round(found["fees"] + fee, 2)
    return {**found, "price_difference": round(found["price"] - old_price, 2), "change_fee": fee}


def check_cancellation_fee(context: Context, reservation: Id) -> dict[str, Any]:
    """Tell what cancelling a reservation would cost now.

    Args:
        reservation: id of the reservation

    Example:
        {"reservation": "B-302"}
    """
    state = context.read(_SERVICE, make_bookings)
    fee, rule = cancellation_fee(context, state, _confirmed(state, reservation))
    return {"reservation": reservation, "fee": fee, "rule": rule}


def cancel_reservation(context: Context, reservation: Id, accept_fee: bool = False) -> dict[str, Any]:
    """Cancel a reservation.

    Args:
        reservation: id of the reservation
        accept_fee: needed where cancelling costs money

    Example:
        {"reservation": "B-301"}
        {"reservation": "B-302", "accept_fee": true}
    """
    state = context.change(_SERVICE, make_bookings)
    found = _confirmed(state, reservation)
    fee, rule = cancellation_fee(context, state, found)
    refuse_if(fee > 0 and not accept_fee, f"accept_fee: cancelling costs {fee:.2f} EUR ({rule}); say true to agree")
    found |= {"status": "cancelled", "fees": round(found["fees"] + fee, 2)}
    return {"cancelled": reservation, "fee": fee, "refund": round(max(0.0, found["price"] - fee), 2), "rule": rule}


def get_flight_status(context: Context, flight: Id, day: Day) -> dict[str, Any]:
    """Get whether a flight is on time on a day.

    Args:
        flight: number such as AMS-LIS-2
        day: YYYY-MM-DD

    Example:
        {"flight": "AMS-LIS-2", "day": "2025-03-17"}
    """
    offer = flight_offer(context, context.read(_SERVICE, make_bookings), flight, day)
    rng = context.random("flight status", flight, day)
    status = rng.choice(("on time", "on time", "on time", "delayed", "cancelled" if rng.random() < 0.3 else "on time"))
    delay = 5 * rng.randint(3, 24) if status == "delayed" else 0
    return {**only(offer, "flight", "day", "departs", "arrives"), "status": status, "delay_minutes": delay}


def _confirmed(state: Mapping[str, Any], reservation: str) -> Record:
    found: Record = find(state["reservations"], reservation, "reservation", "list_reservations")
    refuse_if(found["status"] != "confirmed", f"reservation: {reservation} is {found['status']}")
    return found


def _price(context: Context, state: Mapping[str, Any], wanted: Mapping[str, Any]) -> float:
    """What a booking costs in all; refuses what is not free."""
    if wanted["kind"] == "hotel":
        left, price = hotel_offer(context, state, wanted["hotel"], nights_of(wanted["check_in"], wanted["check_out"]))
        refuse_if(left < wanted["rooms"], f"rooms: {wanted['hotel']} has {left} rooms left in these nights")
        return float(round(price * wanted["rooms"], 2))
    if wanted["kind"] == "flight":
        offer = flight_offer(context, state, wanted["flight"], wanted["day"])
        left = offer["seats_left"][wanted["cabin"]]
        n_seats = len(wanted["passengers"])
        refuse_if(left < n_seats, f"passengers: {wanted['flight']} has {left} {wanted['cabin']} seats left on this day")
        return round(float(offer["prices"][wanted["cabin"]]) * n_seats, 2)
    left = tables_left(context, state, wanted["restaurant"], wanted["at"])
    refuse_if(left < 1, f"at: {wanted['restaurant']} has no table at {wanted['at']}; see search_restaurants")
    return 0.0
