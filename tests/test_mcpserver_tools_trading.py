import datetime
import itertools
import random
import statistics

import pytest
from number_fuzz import check_extreme_numbers
from tool_calls import World
from tool_checks import check_example, check_random_calls, examples_of, refused, tools_of

from mcpserver.toolbox import market
from mcpserver.tools.energy import energy, trading
from mcpserver.tools.energy._book import forward_price, hours_of, month_ahead, trade
from mcpserver.tools.energy._storage import best_levels

close = pytest.approx
TODAY = datetime.date(2025, 3, 17)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.mark.parametrize(("tool", "example"), examples_of(trading))
def test_examples_work_and_are_repeatable(tool, example, tmp_path):
    check_example(tool, example, tmp_path)


@pytest.mark.parametrize("tool", tools_of(trading), ids=lambda tool: tool.spec.name)
def test_random_calls_fail_in_the_typed_way_only(tool, tmp_path):
    check_random_calls(tool, tmp_path)


@pytest.mark.parametrize("tool", tools_of(trading), ids=lambda tool: tool.spec.name)
def test_extreme_numbers_give_finite_results_or_typed_errors(tool, world):
    check_extreme_numbers(tool, world)


def test_the_curve_shows_what_orders_and_spot_prices_cost(world):
    months = world.call(trading.get_price_curve, hubs=["TTF"], delivery={"kind": "months", "count": 24})["curve"]
    assert [months[0]["month"], months[9]["month"], months[-1]["month"]] == ["2025-04", "2026-01", "2027-03"]
    order = {"hub": "TTF", "month": "2025-04", "mw": 1, "order": {"kind": "market"}}
    assert world.call(trading.place_gas_order, side="buy", **order)["price"] == close(months[0]["TTF"] + 0.05)
    assert world.call(trading.place_gas_order, side="sell", **order)["price"] == close(months[0]["TTF"] - 0.05)
    days = {"kind": "days", "first": "2025-03-14", "count": 3}
    found = world.call(trading.get_price_curve, hubs=["NBP"], delivery=days)["curve"]
    spot = [world.call(energy.get_spot_price, hub="NBP", date=row["day"])["price"] for row in found]
    assert [row["NBP"] for row in found] == spot


def test_orders_change_the_position_and_are_valued(world):
    def buy(mw, side="buy", **order):
        order = order or {"kind": "market"}
        return world.call(trading.place_gas_order, hub="PEG", month="2025-06", side=side, mw=mw, order=order)

    first = buy(10)
    assert (first["status"], first["position"]["mw"], first["energy_mwh"]) == ("filled", 10, 7200)
    low = buy(10, kind="limit", price=1, good_for_days=5)
    assert (low["status"], low["valid_until"]) == ("open", "2025-03-22")
    assert buy(10, kind="limit", price=200)["price"] == first["price"]  # filled at what is offered, not at the limit
    sold = buy(20, "sell")
    assert sold["position"] == {"mw": 0, "price": 0, "realised": close(20 * 720 * -0.1)}
    assert world.call(trading.cancel_gas_order, order=low["id"])["status"] == "cancelled"
    with refused("tool_error", "is cancelled"):
        world.call(trading.cancel_gas_order, order=low["id"])
    with refused("bad_arguments", 'did you mean "GO-1"'):
        world.call(trading.cancel_gas_order, order="GO1")
    position = world.call(trading.get_gas_position, hub="PEG")
    assert [order["status"] for order in position["orders"]] == ["filled", "cancelled", "filled", "filled"]
    value = world.call(trading.mark_to_market)
    by_hand = 0.0
    for row in value["positions"]:
        price = forward_price(17, row["hub"], row["month"], TODAY)
        by_hand += row["mw"] * hours_of(row["month"]) * (price - row["mean_price"])
    assert value["unrealised"] == close(by_hand, abs=0.05)
    assert value["realised"] == close(-1440)


def test_positions_turn_through_zero():
    book = {"positions": {}}
    for mw, price in ((10, 30), (10, 34), (-5, 33), (-25, 30)):
        trade(book, "TTF", "2025-04", mw, price)
    held = book["positions"]["TTF 2025-04"]
    assert held == {"mw": -10, "price": 30, "realised": 5 * 720 * 1 + 15 * 720 * -2}


def test_limits_hold_for_orders_and_bids(world):
    order = {"kind": "limit", "price": 1}
    given = {"hub": "NBP", "month": "2025-08", "side": "buy"}
    world.call(trading.place_gas_order, mw=60, order=order, **given)
    with refused("denied", "40 MW are left to buy"):
        world.call(trading.place_gas_order, mw=41, order=order, **given)
    before = dict(world.services.states["trading"])
    with refused("denied", "40 MW are left"):
        world.call(trading.submit_auction_bid, hub="NBP", month="2025-08", steps=[{"price": 99, "mw": 41}])
    assert world.services.states["trading"] == before
    with refused("bad_arguments", "months are 2025-04 to 2027-03"):
        world.call(trading.place_gas_order, hub="NBP", month="2025-03", side="buy", mw=1, order=order)


def test_auctions_clear_at_the_published_price_and_take_one_bid(world):
    clearing = world.call(energy.get_auction_price, product="2025-07", hub="THE")["price"]
    steps = [{"price": clearing + 5, "mw": 7}, {"price": clearing, "mw": 3}, {"price": clearing - 0.01, "mw": 50}]
    found = world.call(trading.submit_auction_bid, hub="THE", month="2025-07", steps=steps)
    assert (found["won_mw"], found["cost"]) == (10, close(10 * 744 * clearing))
    held = world.call(trading.get_gas_position, hub="THE")["positions"][-1]
    assert (held["month"], held["mw"], held["price"]) == ("2025-07", 10, clearing)
    with refused("denied", "was made already"):
        world.call(trading.submit_auction_bid, hub="THE", month="2025-07", steps=steps)
    with refused("bad_arguments", "must fall"):
        world.call(trading.submit_auction_bid, hub="THE", month="2025-08", steps=steps[::-1])


def test_more_capacity_lets_more_be_nominated(world):
    right = world.call(trading.list_nominations, pipeline="Zeepipe")["pipelines"][0]["right_mwh_per_day"]
    flow = {"day": "2025-03-20", "energy_mwh": right + 500}
    with refused("denied", "book_capacity gives more"):
        world.call(trading.nominate_flow, pipeline="Zeepipe", flows=[{"day": "2025-03-19", "energy_mwh": 5}, flow])
    assert not world.call(trading.list_nominations, pipeline="Zeepipe")["pipelines"][0]["nominations"]
    world.call(energy.book_capacity, pipeline="Zeepipe", date="2025-03-20", energy_mwh=500)
    found = world.call(trading.nominate_flow, pipeline="Zeepipe", flows=[flow])
    assert found["accepted"][0]["left_mwh"] == 0
    assert found["transport_cost"] == close(market.tariff(17, "Zeepipe") * (right + 500), abs=0.01)
    world.call(trading.nominate_flow, pipeline="Zeepipe", flows=[{"day": "2025-03-20", "energy_mwh": 0}])
    assert not world.call(trading.list_nominations, pipeline="Zeepipe")["pipelines"][0]["nominations"]
    with refused("bad_arguments", "next 90 days"):
        world.call(trading.nominate_flow, pipeline="Zeepipe", flows=[{"day": "2025-03-17", "energy_mwh": 1}])


def test_storage_plans_are_the_best_there_are(world):
    """Against all plans of whole steps: with levels and rates of whole steps, one of them is the best of all."""
    draw = random.Random(5)
    for _ in range(150):
        capacity, up, down = draw.randint(1, 5), draw.randint(0, 3), draw.randint(0, 3)
        start, final = draw.randint(0, capacity), draw.randint(0, capacity)
        prices, cost = [draw.randint(-2, 9) for _ in range(4)], draw.choice([0, 0.5, 2])
        best = None
        for levels in itertools.product(range(capacity + 1), repeat=4):
            flows = [after - before for before, after in itertools.pairwise([start, *levels])]
            if levels[-1] >= final and all(-down <= flow <= up for flow in flows):
                earned = sum(-flow * price - abs(flow) * cost for flow, price in zip(flows, prices))
                best = earned if best is None else max(best, earned)
        given = {
            "capacity_mwh": capacity,
            "level_mwh": start,
            "injection_mwh": up,
            "withdrawal_mwh": down,
            "cost": cost,
        }
        if best is None:
            with refused("tool_error", "cannot be reached"):
                world.call(trading.plan_storage, storage=given, prices=prices, final_level_mwh=final)
            continue
        found = world.call(trading.plan_storage, storage=given, prices=prices, final_level_mwh=final)
        assert found["result"] == close(best), (given, prices, final)
        levels = [start, *(row["level"] for row in found["plan"])]
        assert all(-down - 1e-6 <= b - a <= up + 1e-6 and 0 <= b <= capacity for a, b in itertools.pairwise(levels))


def test_a_storage_rests_when_nothing_is_to_be_earned():
    assert best_levels([30, 30.5, 30], 100, 40, 40, 10, 10, 1.0) == [40, 40, 40, 40]


def test_hedges_imbalance_and_spreads(world):
    exposure = {"hub": "PSV", "first": "2025-01-06", "count": 40}
    found = world.call(trading.compute_hedge_ratio, exposure=exposure, hedge_hub="TTF", energy_mwh=10_000, lot_mwh=100)
    days = [datetime.date(2025, 1, 6) + datetime.timedelta(days=n) for n in range(40)]
    own, other = ([market.spot_price(17, hub, day) for day in days] for hub in ("PSV", "TTF"))
    slope = statistics.linear_regression(*([b - a for a, b in itertools.pairwise(p)] for p in (other, own))).slope
    assert found["hedge_ratio"] == close(slope)
    assert found["lots_to_sell"] == round(slope * 100)
    price = market.spot_price(17, "TTF", datetime.date(2025, 3, 12))
    rows = [{"day": "2025-03-12", "nominated_mwh": 1000, "measured_mwh": measured} for measured in (1100, 900, 1000)]
    settled = world.call(trading.settle_imbalance, hub="TTF", days=rows)["days"]
    assert [row["cost"] for row in settled] == close([20 * price + 88 * price, -20 * price - 72 * price, 0], abs=0.01)
    margin = world.call(
        trading.spark_spread, gas_price=30, power_price=80, efficiency_percent=50, carbon_price=50, other_cost=2
    )
    assert (margin["spark_spread"], margin["clean_spark_spread"], margin["runs"]) == (20, close(-2.2), False)


def test_months_ahead():
    assert [month_ahead(TODAY, n) for n in (0, 1, 9, 10, 22)] == ["2025-03", "2025-04", "2025-12", "2026-01", "2027-01"]
    assert [hours_of(month) for month in ("2024-02", "2025-02", "2025-12")] == [696, 672, 744]
