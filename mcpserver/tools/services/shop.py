"""A simulated web shop: its products and the cart."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from annotated_types import Len

from mcpserver.context import Context
from mcpserver.tools.services._kinds import Id, Limit, Offset
from mcpserver.tools.services._orders import (
    HOME,
    CartItem,
    ProductFilter,
    find_product,
    lines_of,
    make_order,
    make_shop,
)
from mcpserver.tools.services._records import Record, holds, only, page, refuse_if

RUNS_IN = "server"
_SERVICE = "shop"


def browse_products(
    context: Context,
    where: ProductFilter,
    sort: Literal["name", "cheapest", "dearest", "rating"] = "name",
    limit: Limit = 10,
    offset: Offset = 0,
) -> dict[str, Any]:
    """Browse the products of the shop.

    Args:
        where: conditions that must all hold
        sort: order of the list
        limit: most products to list
        offset: products to leave out first

    Example:
        {"where": {"category": "electronics", "price": {"max": 150}}, "sort": "cheapest"}
        {"where": {"text": "lamp"}}
    """
    price = where.get("price", {})
    hits = [
        product
        for product in context.read(_SERVICE, make_shop)["products"].values()
        if holds(where.get("text"), product["name"])
        and where.get("category", product["category"]) == product["category"]
        and price.get("min", 0) <= product["price"] <= price.get("max", 1e9)
        and where.get("in_stock", product["stock"] > 0) == (product["stock"] > 0)
    ]
    key, falling = {"cheapest": ("price", False), "dearest": ("price", True), "rating": ("rating", True)}.get(
        sort, ("name", False)
    )
    hits.sort(key=lambda product: product[key], reverse=falling)
    return page(hits, limit, offset, "products")


def get_product(context: Context, product: Id) -> dict[str, Any]:
    """Get price, stock and rating of a product.

    Args:
        product: id of the product

    Example:
        {"product": "P-101"}
    """
    return find_product(context.read(_SERVICE, make_shop), product)


def view_cart(context: Context) -> dict[str, Any]:
    """View the shopping cart and what it would cost.

    Example:
        {}
    """
    return _cart(context.read(_SERVICE, make_shop))


def set_cart_items(context: Context, items: Annotated[list[CartItem], Len(1, 10)]) -> dict[str, Any]:
    """Put products into the cart, change quantities, or remove.

    Args:
        items: products with their new quantities

    Example:
        {"items": [{"product": "P-102", "quantity": 4}, {"product": "P-101", "quantity": 0}]}
    """
    state = context.change(_SERVICE, make_shop)
    for item in items:
        stock = find_product(state, item["product"])["stock"]
        refuse_if(item["quantity"] > stock, f"items: only {stock} of {item['product']} are in stock")
        state["cart"].pop(item["product"], None)
        if item["quantity"]:
            state["cart"][item["product"]] = item["quantity"]
    return _cart(state)


def _cart(state: Mapping[str, Any]) -> Record:
    empty = make_order("cart", lines_of(state["products"], state["cart"]), HOME, "card")
    return only(empty, "items", "goods", "shipping", "total")
