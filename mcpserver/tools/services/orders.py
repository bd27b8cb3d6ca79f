"""Orders at the simulated shop and their rules: place, change, cancel, return, refund."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from annotated_types import Len

from mcpserver.context import Context
from mcpserver.tools.services._kinds import TODAY, Id, Limit, Line, Money, Offset
from mcpserver.tools.services._orders import (
    COUPONS,
    HOME,
    OFFICE,
    Items,
    OrderItem,
    OrderStatus,
    Payment,
    PostalAddress,
    ReturnItem,
    Where,
    add_up,
    find_product,
    lines_of,
    make_order,
    make_shop,
)
from mcpserver.tools.services._records import (
    Record,
    days_from,
    find,
    keep_room,
    new_id,
    newest_first,
    one_of,
    only,
    page,
    refuse_if,
)

RUNS_IN = "server"
MAX_ORDERS, MAX_RETURNS, RETURN_DAYS = 200, 200, 30
_SERVICE = "shop"


def place_order(
    context: Context,
    items: Items | Literal["cart"],
    address: Where = "home",
    payment: Payment = "card",
    coupon: Line | None = None,
) -> dict[str, Any]:
    """Order products, or what is in the cart.

    Args:
        items: products, or cart
        address: where to deliver
        payment: how to pay
        coupon: code for a discount

    Example:
        {"items": "cart", "coupon": "SPRING10"}
        {"items": [{"product": "P-102", "quantity": 2}], "address": "office", "payment": "invoice"}
        {"items": [{"product": "P-101", "quantity": 1}], "address": {"street": "Rue Verte 3", "city": "Paris", "postcode": "75011", "country": "France"}}
    """  # noqa: E501
    state = context.change(_SERVICE, make_shop)
    keep_room(state["orders"], MAX_ORDERS, "orders")
    refuse_if(items == "cart" and not state["cart"], "items: the cart is empty; fill it with set_cart_items")
    wanted = state["cart"] if isinstance(items, str) else _added(items)
    discount = COUPONS[one_of(coupon, COUPONS, "coupon")] if coupon else 0.0
    _take(state, wanted)
    order = make_order(new_id(state, "O"), lines_of(state["products"], wanted), _place(address), payment, discount)
    state["orders"][order["id"]] = order
    if items == "cart":
        state["cart"] = {}
    return order


def list_orders(
    context: Context,
    status: Annotated[list[OrderStatus], Len(1, 4)] | None = None,
    limit: Limit = 10,
    offset: Offset = 0,
) -> dict[str, Any]:
    """List your orders, newest first.

    Args:
        status: only orders with these statuses
        limit: most orders to list
        offset: orders to leave out first

    Example:
        {}
        {"status": ["pending", "shipped"]}
    """
    orders = newest_first(context.read(_SERVICE, make_shop)["orders"].values(), "placed")
    hits = [only(o, "id", "placed", "status", "total") for o in orders if status is None or o["status"] in status]
    return page(hits, limit, offset, "orders")


def get_order(context: Context, order: Id) -> dict[str, Any]:
    """Get an order: items, status, address, tracking, refunds.

    Args:
        order: id of the order

    Example:
        {"order": "O-5001"}
    """
    return _order(context.read(_SERVICE, make_shop), order)


def change_order_address(context: Context, order: Id, address: Where) -> dict[str, Any]:
    """Change where a pending order is delivered.

    Args:
        order: id of the order
        address: new address

    Example:
        {"order": "O-5001", "address": "office"}
    """
    found = _pending(context.change(_SERVICE, make_shop), order, "its address can change")
    found["address"] = _place(address)
    return only(found, "id", "status", "address")


def change_order_items(context: Context, order: Id, items: Items) -> dict[str, Any]:
    """Replace the items of a pending order.

    Args:
        order: id of the order
        items: all items that it shall have

    Example:
        {"order": "O-5001", "items": [{"product": "P-101", "quantity": 1}, {"product": "P-102", "quantity": 2}]}
    """
    state = context.change(_SERVICE, make_shop)
    found = _pending(state, order, "its items can change")
    _give_back(state, found)
    wanted = _added(items)
    _take(state, wanted)
    state["orders"][order] = add_up(found, lines_of(state["products"], wanted))
    return only(state["orders"][order], "id", "status", "items", "total")


def cancel_order(
    context: Context, order: Id, reason: Literal["changed_mind", "ordered_twice", "too_slow", "cheaper_elsewhere"]
) -> dict[str, Any]:
    """Cancel a pending order; what was paid goes back.

    Args:
        order: id of the order
        reason: why

    Example:
        {"order": "O-5001", "reason": "ordered_twice"}
    """
    state = context.change(_SERVICE, make_shop)
    found = _pending(state, order, "it can be cancelled")
    _give_back(state, found)
    found |= {"status": "cancelled", "cancel_reason": reason, "refunded": found["total"]}
    return only(found, "id", "status", "refunded")


def return_order_items(
    context: Context,
    order: Id,
    items: Annotated[list[ReturnItem], Len(1, 10)],
    refund_to: Literal["payment_method", "voucher"] = "payment_method",
) -> dict[str, Any]:
    """Send back delivered items, within 30 days.

    Args:
        order: id of the order
        items: what to return and why
        refund_to: where the money goes

    Example:
        {"order": "O-5003", "items": [{"product": "P-101", "quantity": 1, "reason": "damaged"}]}
    """
    state = context.change(_SERVICE, make_shop)
    found = _order(state, order)
    refuse_if(found["status"] != "delivered", f"order: {order} is {found['status']}; only delivered ones go back")
    last = days_from(found["delivered"], RETURN_DAYS)
    refuse_if(last < TODAY, f"order: the time for returns of {order} ended on {last}")
    keep_room(state["returns"], MAX_RETURNS, "returns")
    bought = {line["product"]: line for line in found["items"]}
    amount = 0.0
    for item in items:
        line = find(bought, item["product"], "product", "get_order")
        left = line["quantity"] - found["returned"].get(item["product"], 0)
        refuse_if(item["quantity"] > left, f"items: only {left} of {item['product']} can still be returned")
        found["returned"][item["product"]] = line["quantity"] - left + item["quantity"]
        amount += item["quantity"] * line["unit_price"] * (1 - found["discount_share"])
    amount = round(min(amount, found["total"] - found["refunded"]), 2)
    found["refunded"] = round(found["refunded"] + amount, 2)
    number = new_id(state, "RT")
    rows = sorted((dict(item) for item in items), key=lambda item: (str(item["product"]), str(item["reason"])))
    state["returns"][number] = {"id": number, "order": order, "items": rows, "refund": amount, "refund_to": refund_to}
    return {**state["returns"][number], "send_until": last}


def refund_order(
    context: Context,
    order: Id,
    amount: Money | Literal["full"],
    reason: Literal["late", "lost", "damaged", "price_match"],
) -> dict[str, Any]:
    """Refund a shipped or delivered order without a return.

    Args:
        order: id of the order
        amount: EUR, or full
        reason: why

    Example:
        {"order": "O-5002", "amount": 5, "reason": "late"}
        {"order": "O-5002", "amount": "full", "reason": "lost"}
    """
    found = _order(context.change(_SERVICE, make_shop), order)
    refuse_if(found["status"] == "pending", f"order: {order} is pending; cancel it instead")
    left = round(found["total"] - found["refunded"], 2)
    refuse_if(left <= 0, f"order: all of {order} is refunded already")
    wanted = left if isinstance(amount, str) else amount
    refuse_if(wanted > left, f"amount: at most {left:g} EUR of {order} are left to refund")
    found["refunded"] = round(found["refunded"] + wanted, 2)
    found["refund_reasons"] = sorted({*found.get("refund_reasons", ()), reason})
    return {"order": order, "refund": wanted, **only(found, "refunded", "total")}


def _order(state: Mapping[str, Any], order: str) -> Record:
    found: Record = find(state["orders"], order, "order", "list_orders")
    return found


def _pending(state: Mapping[str, Any], order: str, what: str) -> Record:
    found = _order(state, order)
    refuse_if(found["status"] != "pending", f"order: {order} is {found['status']}; {what} only while it is pending")
    return found


def _place(address: PostalAddress | str) -> Record:
    return dict({"home": HOME, "office": OFFICE}[address] if isinstance(address, str) else address)


def _added(items: Iterable[OrderItem]) -> dict[str, int]:
    wanted: dict[str, int] = {}
    for item in items:
        wanted[item["product"]] = wanted.get(item["product"], 0) + item["quantity"]
    return wanted


def _take(state: Record, wanted: Mapping[str, int]) -> None:
    for key, quantity in sorted(wanted.items()):
        product = find_product(state, key)
        refuse_if(quantity > product["stock"], f"items: only {product['stock']} of {key} are in stock")
        product["stock"] -= quantity


def _give_back(state: Record, order: Record) -> None:
    for line in order["items"]:
        state["products"][line["product"]]["stock"] += line["quantity"]
