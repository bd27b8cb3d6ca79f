"""The simulated shop: its products, the customer's first orders drawn from a seed, and kinds of parameters."""

from collections.abc import Mapping
from random import Random
from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from mcpserver.tools.services._kinds import NOW, TODAY, Id, Line
from mcpserver.tools.services._records import Record, days_from, find

Category = Literal["office", "kitchen", "electronics", "safety", "outdoor"]
OrderStatus = Literal["pending", "shipped", "delivered", "cancelled"]
Payment = Literal["card", "invoice", "voucher"]
N_ORDERS, FIRST_ORDER, FIRST_PRODUCT, FREE_SHIPPING, SHIPPING = 12, 5001, 101, 75.0, 5.9
_PRODUCTS: tuple[tuple[str, Category, float], ...] = (
    ("Desk lamp Luma", "office", 39.9),
    ("Notebook A5, 5 pieces", "office", 12.5),
    ("Office chair Arc", "office", 229.0),
    ("Whiteboard 120 cm", "office", 84.0),
    ("Kettle 1.7 l", "kitchen", 34.9),
    ("Coffee beans 1 kg", "kitchen", 17.8),
    ("Water filter set", "kitchen", 26.4),
    ("Monitor 27 inch", "electronics", 289.0),
    ("Keyboard, quiet keys", "electronics", 64.5),
    ("Headset with microphone", "electronics", 89.0),
    ("USB-C dock", "electronics", 119.0),
    ("Safety helmet", "safety", 21.9),
    ("Gas detector GD-2", "safety", 349.0),
    ("First-aid kit", "safety", 45.0),
    ("Rain jacket", "outdoor", 79.9),
    ("Backpack 30 l", "outdoor", 69.0),
    ("Hiking boots", "outdoor", 129.0),
    ("Thermos flask", "outdoor", 24.9),
)
HOME = {"street": "Maaskade 14", "city": "Rotterdam", "postcode": "3071 NB", "country": "Netherlands"}
OFFICE = {"street": "Boompjes 200", "city": "Rotterdam", "postcode": "3011 XD", "country": "Netherlands"}
COUPONS: Mapping[str, float] = {"SPRING10": 0.10, "WELCOME5": 0.05}

Quantity = Annotated[int, Ge(1), Le(50)]


class OrderItem(TypedDict):
    """A product and how many of it."""

    product: Id
    quantity: Quantity


class CartItem(TypedDict):
    """A product and how many, 0 to remove."""

    product: Id
    quantity: Annotated[int, Ge(0), Le(50)]


class PostalAddress(TypedDict):
    """Where to deliver."""

    street: Line
    city: Line
    postcode: Annotated[str, Len(3, 10)]
    country: Line


class PriceRange(TypedDict, total=False):
    """Prices in EUR, both included."""

    min: Annotated[float, Ge(0), Le(100_000)]
    max: Annotated[float, Ge(0), Le(100_000)]


class ProductFilter(TypedDict, total=False):
    """Conditions that must all hold."""

    text: Line
    category: Category
    price: PriceRange
    in_stock: bool


class ReturnItem(TypedDict):
    """What to send back and why."""

    product: Id
    quantity: Quantity
    reason: Literal["damaged", "wrong_item", "does_not_fit", "not_wanted"]
    remark: NotRequired[Line]


Items = Annotated[list[OrderItem], Len(1, 10)]
Where = PostalAddress | Literal["home", "office"]


def make_shop(rng: Random) -> dict[str, Any]:
    """Products P-101 …; orders O-5001 (pending), O-5002 (shipped), O-5003 (delivered), O-5004 (cancelled), then any."""
    products: dict[str, Any] = {}
    for index, (name, category, price) in enumerate(_PRODUCTS):
        number = f"P-{FIRST_PRODUCT + index}"
        now = round(price * rng.uniform(0.9, 1.15), 2)
        rating = round(rng.uniform(3.1, 4.9), 1)
        stock = 40 if index < 2 else rng.choice((0, 3, 12, 25, 60))
        products[number] = {"id": number, "name": name, "category": category, "price": now, "stock": stock}
        products[number]["rating"] = rating
    state: Record = {"products": products, "cart": {}, "orders": {}, "returns": {}}
    state["next"] = {"O": FIRST_ORDER + N_ORDERS, "RT": 701}
    fixed = ("pending", "shipped", "delivered", "cancelled")
    for index in range(N_ORDERS):
        status = fixed[index] if index < 4 else rng.choice(("shipped", "delivered", "delivered", "cancelled"))
        number = f"O-{FIRST_ORDER + index}"
        wanted = {key: rng.randint(1, 3) for key in sorted(rng.sample(sorted(products), rng.randint(1, 3)))}
        if index == 2:
            wanted["P-101"] = 2  # so that something known can be returned
        order = make_order(number, lines_of(products, wanted), HOME, rng.choice(("card", "invoice")))
        state["orders"][number] = _age(order, status, index, rng)
    state["cart"] = {"P-101": rng.randint(1, 3)}
    return state


def _age(order: Record, status: str, index: int, rng: Random) -> Record:
    age_days = (1, 3, 9, 15)[index] if index < 4 else 12 + index * 6
    placed = days_from(TODAY, -age_days - rng.randint(0, 4))
    order |= {"placed": placed, "status": status}
    if status in ("shipped", "delivered"):
        order["tracking"] = f"DPS{rng.randint(10**8, 10**9 - 1)}"
    if status == "delivered":
        order["delivered"] = days_from(placed, rng.randint(2, 5))
    if status == "cancelled":
        order |= {"cancel_reason": "changed_mind", "refunded": order["total"]}
    return order


def lines_of(products: Mapping[str, Any], wanted: Mapping[str, int]) -> list[Record]:
    """The lines of an order, at the prices of now."""
    lines = []
    for key, quantity in sorted(wanted.items()):
        product = find(products, key, "product", "browse_products")
        lines.append({"product": key, "name": product["name"], "quantity": quantity, "unit_price": product["price"]})
    return lines


def make_order(
    number: str, lines: list[Record], address: Mapping[str, str], payment: str, discount: float = 0
) -> Record:
    """A pending order with its sums."""
    order = {"id": number, "placed": NOW[:10], "status": "pending", "address": dict(address), "payment": payment}
    return add_up(order | {"discount_share": discount, "refunded": 0.0, "returned": {}}, lines)


def add_up(order: Record, lines: list[Record]) -> Record:
    """The order with these lines and their sums."""
    goods = round(sum(line["quantity"] * line["unit_price"] for line in lines), 2)
    discount = round(goods * order["discount_share"], 2)
    shipping = 0.0 if goods - discount >= FREE_SHIPPING else SHIPPING
    total = round(goods - discount + shipping, 2)
    return order | {"items": lines, "goods": goods, "discount": discount, "shipping": shipping, "total": total}


def find_product(state: Mapping[str, Any], product: str) -> Record:
    """The product with an id."""
    found: Record = find(state["products"], product, "product", "browsefind_products")
    return found
