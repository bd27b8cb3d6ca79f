"""Scenarios of the simulated maps, weather and smart home, and what the order of calls leaves in the states."""

import itertools

import pytest
from tool_calls import World

from mcpserver.tool_error import ToolError
from mcpserver.tools.services import bookings, chat_app, mail, maps, shop, smart_home, stocks, tickets, weather


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_places_nearby_are_sorted_open_and_inside_the_radius(world):
    wanted = {"center": "RTM-station-1", "radius_m": 6000, "kinds": ["pharmacy", "cafe"], "limit": 50}
    near = world.call(maps.find_nearby_places, **wanted)["places"]
    assert near == sorted(near, key=lambda row: row["distance_m"])
    assert {row["kind"] for row in near} <= {"pharmacy", "cafe"}
    sunday = world.call(maps.find_nearby_places, **wanted, open_at="2025-03-23 11:00")["places"]
    assert {row["kind"] for row in sunday} <= {"cafe"}
    assert world.call(maps.get_opening_hours, place="RTM-pharmacy-1", day="2025-03-23")["open"] is False


def test_an_address_leads_to_a_point_and_back(world):
    match = world.call(maps.geocode, what="central station, rotterdam")["matches"][0]
    point = {"latitude": match["latitude"], "longitude": match["longitude"]}
    assert world.call(maps.geocode, what=point)["id"] == match["id"]
    with pytest.raises(ToolError, match="did you mean"):
        world.call(maps.geocode, what="Centrl Station")


def test_a_route_adds_up_its_legs_and_the_matrix_agrees(world):
    stops = ["RTM-station-1", "RTM-cafe-1", "RTM-park-1"]
    route = world.call(maps.plan_route, stops=stops, mode="walk", depart="2025-03-18 23:30")
    assert route["km"] == round(sum(leg["km"] for leg in route["legs"]), 2)
    matrix = world.call(maps.get_distance_matrix, origins=stops[:1], destinations=stops[1:2], mode="walk")
    assert matrix["rows"][0]["km"] == [route["legs"][0]["km"]]
    assert route["arrive"] > route["depart"]


def test_the_shortest_order_keeps_the_ends_and_is_never_longer(world):
    for middle, saved_km in ((["CDG-park-1", "AMS-park-1", "CDG-cafe-1"], 500), (["AMS-park-1", "RTM-cafe-1"], 0)):
        stops = ["RTM-station-1", *middle, "RTM-museum-1"]
        given, short = (
            world.call(maps.plan_route, stops=stops, mode="car", order=order) for order in ("as_given", "shortest")
        )
        assert short["km"] <= given["km"] - saved_km
        assert (short["legs"][0]["from"], short["legs"][-1]["to"]) == (stops[0], stops[-1])


def test_a_saved_place_is_listed_until_it_is_removed(world):
    world.call(maps.save_place, place="OSL-park-1", to_list="want_to_go")
    assert [row["id"] for row in world.call(maps.list_saved_places)["places"]] == ["OSL-park-1", "RTM-station-1"]
    world.call(maps.remove_saved_place, place="OSL-park-1")
    assert world.services.changed() == {}


def test_forecast_comparison_and_watches_tell_of_the_same_weather(world):
    forecast = world.call(weather.get_weather_forecast, city="Hamburg", days=10)["forecast"]
    middle = sorted(day["wind_kmh"] for day in forecast)[5]
    when = {"measure": "wind_kmh", "direction": "above", "value": middle}
    watch = world.call(weather.watch_weather, city="Hamburg", when=when)
    assert [row["day"] for row in watch["next_days"]] == [d["day"] for d in forecast if d["wind_kmh"] > middle]
    day = forecast[2]["day"]
    ranking = world.call(weather.compare_weather, cities=["Hamburg", "Oslo"], day=day, measure="wind_kmh")["ranking"]
    assert {"city": "Hamburg", "wind_kmh": forecast[2]["wind_kmh"]} in ranking
    with pytest.raises(ToolError, match="watched for Hamburg already"):
        world.call(weather.watch_weather, city="Hamburg", when=when)
    world.call(weather.stop_weather_watch, watch=watch["id"])


def test_summer_is_warmer_than_winter_and_the_future_has_no_history(world):
    means = [
        world.call(weather.get_weather_history, city="Milan", first_day=f"2024-{month}-01", last_day=f"2024-{month}-28")
        for month in ("01", "07")
    ]
    assert means[0]["mean_temperature"] + 10 < means[1]["mean_temperature"]
    with pytest.raises(ToolError, match="last_day: wanted"):
        world.call(weather.get_weather_history, city="Milan", first_day="2025-03-10", last_day="2025-03-17")


def test_a_scene_does_what_its_devices_can_and_nothing_else(world):
    steps = [
        {"device": "D-7", "action": {"do": "move", "percent": 100}},
        {"device": "D-1", "action": {"do": "dim", "percent": 10}},
    ]
    world.call(smart_home.create_scene, name="movie", steps=steps)
    done = world.call(smart_home.run_scene, scene="Movie")["done"]
    assert [(device["id"], device["state"]["percent"]) for device in done] == [("D-1", 10), ("D-7", 100)]
    schedule = world.call(smart_home.schedule_scene, scene="movie", when={"at": "20:15", "days": ["sun", "mon"]})
    assert schedule["days"] == ["mon", "sun"]
    with pytest.raises(ToolError, match="is a light and cannot lock; it can switch or dim"):
        world.call(smart_home.control_device, device="D-1", action={"do": "lock", "locked": True})
    with pytest.raises(ToolError, match="it only measures"):
        world.call(smart_home.control_device, device="D-15", action={"do": "switch", "on": True})


INDEPENDENT = [
    (mail.mark_mail, {"messages": ["M-1001"], "add_labels": ["red"]}),
    (mail.mark_mail, {"messages": ["M-1001"], "add_labels": ["blue"]}),
    (mail.create_mail_folder, {"name": "beta"}),
    (mail.create_mail_folder, {"name": "alpha"}),
    (tickets.link_tickets, {"ticket": "T-1001", "other": "T-1004", "relation": "blocks"}),
    (tickets.link_tickets, {"ticket": "T-1001", "other": "T-1003", "relation": "blocks"}),
    (shop.set_cart_items, {"items": [{"product": "P-102", "quantity": 2}]}),
    (shop.set_cart_items, {"items": [{"product": "P-101", "quantity": 3}]}),
    (chat_app.react_to_message, {"message": "X-1001", "emoji": "heart"}),
    (chat_app.react_to_message, {"message": "X-1001", "emoji": "party"}),
    (stocks.change_watchlist, {"add": ["OAKM"]}),
    (stocks.change_watchlist, {"add": ["TIDE"]}),
    (bookings.change_reservation, {"reservation": "B-303", "changes": {"people": 2}}),
]


def test_independent_calls_leave_the_same_state_in_any_order(tmp_path):
    states = set()
    for calls in (INDEPENDENT, INDEPENDENT[::-1], INDEPENDENT[1::2] + INDEPENDENT[::2]):
        world = World(tmp_path)
        for tool, arguments in calls:
            world.call(tool, **arguments)
        states.add(tuple(sorted(world.services.changed().items())))
    assert len(states) == 1


def test_a_list_in_many_steps_refuses_as_a_whole(world):
    """The first message is moved before the second is found missing: nothing may remain of it."""
    world.call(mail.list_mail_folders)
    for messages in itertools.permutations(["M-1001", "M-9999"]):
        with pytest.raises(ToolError, match='there is no message "M-9999"'):
            world.call(mail.move_mail, messages=list(messages), folder="archive")
    assert world.services.changed() == {}
