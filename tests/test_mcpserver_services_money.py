"""Scenarios of the simulated bank and broker."""

import pytest
from tool_calls import World

from mcpserver.tool_error import ToolError
from mcpserver.tools.services import bank_cards, banking, stocks

PAYEE = {"name": "Aldgate Freight", "iban": "GB29NWBK60161331926819"}


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def _balances(world):
    return {row["id"]: row["balance"] for row in world.call(banking.list_bank_accounts)["accounts"]}


def test_a_transfer_between_own_accounts_moves_money_and_stands_in_both_lists(world):
    before = _balances(world)
    world.call(banking.transfer_money, account="A-1", to="A-2", amount=100.254, reference="Holiday")
    after = _balances(world)
    assert after["A-1"] == round(before["A-1"] - 100.25, 2)
    assert after["A-2"] == round(before["A-2"] + 100.25, 2)
    where = {"text": "holiday", "since": "2025-03-17"}
    amounts = [
        world.call(banking.search_transactions, account=account, where=where)["transactions"][0]["amount"]
        for account in ("A-1", "A-2")
    ]
    assert amounts == [-100.25, 100.25]


def test_a_statement_adds_up(world):
    for month in ("2025-01", "2025-02", "2025-03"):
        sheet = world.call(banking.get_bank_statement, account="A-1", month=month)
        change = round(sheet["received"] - sheet["spent"], 2)
        assert round(sheet["opening_balance"] + change, 2) == sheet["closing_balance"]
        assert round(sum(sheet["by_category"].values()), 2) == change
    assert sheet["closing_balance"] == _balances(world)["A-1"]


def test_an_exchange_pays_the_rate_less_the_fee(world):
    before = _balances(world)
    rate = world.call(banking.get_exchange_rates, base="EUR")["rates"]["USD"]
    done = world.call(banking.exchange_money, account="A-1", to_account="A-3", amount=200)
    assert done["received"] == round(200 * 0.995 * rate, 2)
    assert _balances(world)["A-3"] == round(before["A-3"] + done["received"], 2)
    with pytest.raises(ToolError, match="use exchange_money"):
        world.call(banking.transfer_money, account="A-1", to="A-3", amount=1)
    with pytest.raises(ToolError, match="use transfer_money"):
        world.call(banking.exchange_money, account="A-1", to_account="A-2", amount=1)


def test_funds_and_the_daily_limit_are_kept(world):
    balance = _balances(world)["A-1"]
    with pytest.raises(ToolError, match="insufficient funds"):
        world.call(banking.transfer_money, account="A-1", to=PAYEE, amount=balance + 0.01)
    world.services.states["bank"]["accounts"]["A-1"]["balance"] = 50_000.0
    world.call(banking.transfer_money, account="A-1", to=PAYEE, amount=9_999)
    with pytest.raises(ToolError, match=r"leaves 1\.00 of 10000\.00 EUR") as error:
        world.call(banking.transfer_money, account="A-1", to=PAYEE, amount=1.5)
    assert error.value.kind == "limit"
    world.call(banking.transfer_money, account="A-1", to="A-2", amount=20_000)  # own accounts are free


def test_a_standing_order_lives_until_it_is_cancelled(world):
    order = world.call(
        banking.create_standing_order, account="A-1", to=PAYEE, amount=10, every="quarter", first_day="2025-04-01"
    )
    assert order in world.call(banking.list_standing_orders)["standing_orders"]
    world.call(banking.cancel_standing_order, standing_order=order["id"])
    with pytest.raises(ToolError, match=f'there is no standing_order "{order["id"]}"'):
        world.call(banking.cancel_standing_order, standing_order=order["id"])


def test_a_lost_card_stays_blocked_and_another_is_freed(world):
    world.call(bank_cards.block_card, card="C-1", reason="travel")
    assert world.call(bank_cards.unblock_card, card="C-1")["status"] == "active"
    world.call(bank_cards.block_card, card="C-1", reason="lost")
    with pytest.raises(ToolError, match="stays blocked") as error:
        world.call(bank_cards.unblock_card, card="C-1")
    assert error.value.kind == "denied"
    with pytest.raises(ToolError, match="per_payment is at most per_day, 500"):
        world.call(bank_cards.set_card_limits, card="C-2", limits={"per_day": 500})


def test_buying_and_selling_at_the_market_moves_cash_and_shares(world):
    cash = world.call(stocks.get_portfolio)["cash"]
    price = world.call(stocks.get_stock_quotes, symbols=["VNTG"])["quotes"][0]["price"]
    held = {row["symbol"]: row["quantity"] for row in world.call(stocks.get_portfolio)["positions"]}
    order = {"type": "market"}
    bought = world.call(stocks.place_stock_order, symbol="vntg", side="buy", quantity=10, order=order)
    assert (bought["status"], bought["fee"]) == ("filled", max(2.0, round(price * 10 * 0.001, 2)))
    assert bought["cash"] == round(cash - round(price * 10, 2) - bought["fee"], 2)
    everything = held.get("VNTG", 0) + 10
    world.call(stocks.place_stock_order, symbol="VNTG", side="sell", quantity=everything, order=order)
    assert "VNTG" not in [row["symbol"] for row in world.call(stocks.get_portfolio)["positions"]]


def test_a_limit_order_waits_claims_its_money_and_can_be_cancelled_once(world):
    cash = world.call(stocks.get_portfolio)["cash"]
    far = {"type": "limit", "price": 1.0, "good_for": "week"}
    most = int((cash - 60 * 9) / 1.01) - 100
    order = world.call(stocks.place_stock_order, symbol="TIDE", side="buy", quantity=most, order=far)
    assert (order["status"], order["valid_until"], order["cash"]) == ("open", "2025-03-24", cash)
    with pytest.raises(ToolError, match="are needed with fee"):
        world.call(stocks.place_stock_order, symbol="KSTL", side="buy", quantity=30, order={"type": "market"})
    world.call(stocks.cancel_stock_order, order=order["id"])
    with pytest.raises(ToolError, match="is cancelled; only open orders"):
        world.call(stocks.cancel_stock_order, order=order["id"])
    world.call(stocks.place_stock_order, symbol="KSTL", side="buy", quantity=30, order={"type": "market"})


def test_shares_in_an_open_order_are_not_sold_twice(world):
    held = world.services.get("stocks", stocks.make_portfolio)["positions"]["OAKM"]["quantity"]
    high = {"type": "limit", "price": 9999.0, "good_for": "month"}
    world.call(stocks.place_stock_order, symbol="OAKM", side="sell", quantity=held, order=high)
    with pytest.raises(ToolError, match="only 0 shares of OAKM are free to sell"):
        world.call(stocks.place_stock_order, symbol="OAKM", side="sell", quantity=1, order={"type": "market"})


def test_a_history_has_trading_days_only_and_screening_obeys_each_bound(world):
    period = {"symbol": "TIDE", "first_day": "2025-03-03", "last_day": "2025-03-16"}
    days = [row["day"] for row in world.call(stocks.get_stock_history, **period)["prices"]]
    assert len(days) == 10
    weeks = world.call(stocks.get_stock_history, **period, interval="week")["prices"]
    assert [row["day"] for row in weeks] == ["2025-03-07", "2025-03-14"]
    criteria = {"dividend_percent": {"min": 4}, "pe_ratio": {"max": 10}}
    found = world.call(stocks.screen_stocks, criteria=criteria)["stocks"]
    assert {row["symbol"] for row in found} == {"OAKM", "HLLM"}
