"""Scenarios of the simulated ticket desk, customer desk, shop and travel desk."""

import pytest
from tool_calls import World

from mcpserver.tool_error import ToolError
from mcpserver.tools.services import bookings, crm_app, orders, shop, tickets


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_a_ticket_goes_its_way_and_no_other(world):
    ticket = world.call(tickets.create_ticket, title="Black screen", text="Desk 12", priority="urgent")["id"]
    with pytest.raises(ToolError, match="assign it first"):
        world.call(tickets.change_ticket_status, ticket=ticket, status="in_progress")
    with pytest.raises(ToolError, match="from open a ticket goes to in_progress or closed, not to resolved"):
        world.call(tickets.change_ticket_status, ticket=ticket, status="resolved", resolution="x")
    world.call(tickets.assign_ticket, ticket=ticket, assignee="lukas brandt")
    world.call(tickets.change_ticket_status, ticket=ticket, status="in_progress")
    before = {row["group"]: row for row in world.call(tickets.report_ticket_sla, group_by="priority")["rows"]}["urgent"]
    world.call(tickets.change_ticket_status, ticket=ticket, status="resolved", resolution="New cable")
    after = {row["group"]: row for row in world.call(tickets.report_ticket_sla, group_by="priority")["rows"]}["urgent"]
    assert after["resolved_in_time"] == before["resolved_in_time"] + 1
    world.call(tickets.change_ticket_status, ticket=ticket, status="closed")
    with pytest.raises(ToolError, match="is closed; open it again first"):
        world.call(tickets.assign_ticket, ticket=ticket, assignee="Rafael Ortiz")
    assert world.call(tickets.get_ticket, ticket=ticket)["resolution"] == "New cable"
    reopened = world.call(tickets.change_ticket_status, ticket=ticket, status="open")
    assert reopened["allowed_next"] == ["in_progress", "closed"]
    assert world.call(tickets.get_ticket, ticket=ticket)["resolved"] is None


def test_a_link_stands_on_both_tickets(world):
    world.call(tickets.link_tickets, ticket="T-1001", other="T-1005", relation="blocks")
    assert world.call(tickets.get_ticket, ticket="T-1005")["links"] == [{"relation": "blocked_by", "ticket": "T-1001"}]
    with pytest.raises(ToolError, match="linked already"):
        world.call(tickets.link_tickets, ticket="T-1005", other="T-1001", relation="duplicates")


def test_tickets_are_found_by_nested_conditions(world):
    ticket = world.call(tickets.create_ticket, title="Zebra crossing", text="x", team="metering", priority="low")["id"]
    where = {"text": "zebra", "status": ["open"], "priority": ["low"], "team": "metering"}
    hits = world.call(tickets.search_tickets, where={**where, "created": {"since": "2025-03-17"}})
    assert [row["id"] for row in hits["tickets"]] == [ticket]
    assert world.call(tickets.search_tickets, where={**where, "created": {"until": "2025-03-16"}})["total"] == 0


def test_a_lead_is_won_only_step_by_step_and_with_a_value(world):
    lead = world.call(crm_app.create_lead, company={"name": "Nimbus Glass"}, contact="Ida Berg")["id"]
    for stage in ("contacted", "qualified", "proposal"):
        world.call(crm_app.move_lead_stage, lead=lead, stage=stage)
    with pytest.raises(ToolError, match="needs a value"):
        world.call(crm_app.move_lead_stage, lead=lead, stage="won")
    world.call(crm_app.update_lead, lead=lead, changes={"value": 1000, "owner": "Claire Fontaine"})
    world.call(crm_app.log_activity, lead=lead, activity={"kind": "note", "summary": "Signed."})
    assert world.call(crm_app.get_lead, lead=lead)["activities"][0]["summary"] == "Signed."
    world.call(crm_app.move_lead_stage, lead=lead, stage="won")
    with pytest.raises(ToolError, match="from won a lead stays there"):
        world.call(crm_app.move_lead_stage, lead=lead, stage="lost", lost_because="price")
    with pytest.raises(ToolError, match="is a lead of this firm and contact already"):
        world.call(crm_app.create_lead, company={"name": "nimbus glass"}, contact="ida berg")


def test_the_pipeline_counts_each_stage_at_its_probability(world):
    rows = {row["stage"]: row for row in world.call(crm_app.report_pipeline, group_by="stage")["rows"]}
    proposals = world.call(crm_app.search_leads, where={"stages": ["proposal"]}, limit=50)["leads"]
    value = sum(lead["value"] for lead in proposals)
    assert (rows["proposal"]["value"], rows["proposal"]["expected_value"]) == (value, round(value * 0.6, 2))
    assert rows["lost"]["expected_value"] == 0


def test_the_cart_is_ordered_and_the_stock_goes_down_and_comes_back(world):
    stock = world.call(shop.get_product, product="P-102")["stock"]
    world.call(shop.set_cart_items, items=[{"product": "P-101", "quantity": 0}, {"product": "P-102", "quantity": 4}])
    order = world.call(orders.place_order, items="cart", coupon="spring10", address="office")
    price = order["items"][0]["unit_price"]
    assert order["discount"] == round(round(4 * price, 2) * 0.1, 2)
    assert order["total"] == round(order["goods"] - order["discount"] + order["shipping"], 2)
    assert world.call(shop.view_cart)["items"] == []
    assert world.call(shop.get_product, product="P-102")["stock"] == stock - 4
    with pytest.raises(ToolError, match="the cart is empty"):
        world.call(orders.place_order, items="cart")
    smaller = [{"product": "P-102", "quantity": 1}]
    assert world.call(orders.change_order_items, order=order["id"], items=smaller)["items"][0]["quantity"] == 1
    assert world.call(shop.get_product, product="P-102")["stock"] == stock - 1
    cancelled = world.call(orders.cancel_order, order=order["id"], reason="too_slow")
    assert cancelled["refunded"] == world.call(orders.get_order, order=order["id"])["total"]
    assert world.call(shop.get_product, product="P-102")["stock"] == stock


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        (orders.cancel_order, {"order": "O-5002", "reason": "too_slow"}),
        (orders.change_order_address, {"order": "O-5003", "address": "home"}),
        (orders.change_order_items, {"order": "O-5004", "items": [{"product": "P-101", "quantity": 1}]}),
    ],
)
def test_only_pending_orders_change(world, tool, arguments):
    with pytest.raises(ToolError, match="only while it is pending"):
        world.call(tool, **arguments)


def test_no_more_is_returned_or_refunded_than_was_bought(world):
    item = {"product": "P-101", "quantity": 1, "reason": "damaged"}
    first = world.call(orders.return_order_items, order="O-5003", items=[item])
    price = next(i for i in world.call(orders.get_order, order="O-5003")["items"] if i["product"] == "P-101")
    assert first["refund"] == price["unit_price"]
    world.call(orders.return_order_items, order="O-5003", items=[item])
    with pytest.raises(ToolError, match="only 0 of P-101 can still be returned"):
        world.call(orders.return_order_items, order="O-5003", items=[item])
    world.call(orders.refund_order, order="O-5003", amount="full", reason="damaged")
    order = world.call(orders.get_order, order="O-5003")
    assert order["refunded"] == order["total"]
    with pytest.raises(ToolError, match="refunded already"):
        world.call(orders.refund_order, order="O-5003", amount=0.5, reason="late")


def test_a_hotel_found_is_booked_and_has_fewer_rooms(world):
    stay = {"check_in": "2025-06-02", "check_out": "2025-06-05"}
    hotel = world.call(bookings.search_hotels, city="Madrid", **stay)["hotels"][0]
    booking = {"kind": "hotel", "hotel": hotel["id"], "rooms": 2, **stay}
    reservation = world.call(bookings.make_reservation, booking=booking)
    assert reservation["price"] == round(2 * hotel["price_per_room"], 2)
    again = world.call(bookings.search_hotels, city="Madrid", **stay)["hotels"]
    left = {row["id"]: row["rooms_left"] for row in again}.get(hotel["id"], 0)
    assert left == hotel["rooms_left"] - 2
    with pytest.raises(ToolError, match=f"has {left} rooms left"):
        world.call(bookings.make_reservation, booking={**booking, "rooms": left + 1})
    free = world.call(bookings.cancel_reservation, reservation=reservation["id"])
    assert (free["fee"], free["refund"]) == (0, reservation["price"])
    assert hotel in world.call(bookings.search_hotels, city="Madrid", **stay)["hotels"]


def test_cancelling_a_flight_costs_what_was_told_and_needs_a_yes(world):
    quote = world.call(bookings.check_cancellation_fee, reservation="B-302")
    price = world.services.states["bookings"]["reservations"]["B-302"]["price"]
    assert quote["fee"] == round(0.6 * price, 2)
    with pytest.raises(ToolError, match="say true to agree"):
        world.call(bookings.cancel_reservation, reservation="B-302")
    done = world.call(bookings.cancel_reservation, reservation="B-302", accept_fee=True)
    assert done["fee"] + done["refund"] == pytest.approx(price)
    with pytest.raises(ToolError, match="B-302 is cancelled"):
        world.call(bookings.cancel_reservation, reservation="B-302", accept_fee=True)


def test_a_flight_that_is_found_can_be_booked_until_its_seats_are_gone(world):
    flights = []
    for day in ("2025-05-05", "2025-05-06", "2025-05-07"):
        flights += world.call(bookings.search_flights, origin="Paris", destination="Oslo", day=day)["flights"]
    flight = flights[0]
    seats = {"kind": "flight", "flight": flight["flight"], "day": flight["day"], "passengers": ["Nora Lindqvist"]}
    bought = 0
    with pytest.raises(ToolError, match="has 0 economy seats left"):
        while True:
            assert world.call(bookings.make_reservation, booking=seats)["price"] == flight["price_per_seat"]
            bought += 1
    assert bought == flight["seats_left"]


def test_a_reservation_changes_only_what_its_kind_has(world):
    with pytest.raises(ToolError, match="a restaurant reservation changes at, people, not rooms"):
        world.call(bookings.change_reservation, reservation="B-303", changes={"rooms": 2})
    with pytest.raises(ToolError, match="has no table at 2025-03-18 03:00"):
        world.call(bookings.change_reservation, reservation="B-303", changes={"at": "2025-03-18 03:00"})
    assert world.call(bookings.change_reservation, reservation="B-303", changes={"people": 2})["people"] == 2
