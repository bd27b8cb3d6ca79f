"""The JSON, JSON Lines, XML and GeoJSON files of the company world."""

from typing import Any
from xml.sax.saxutils import escape

from mcpserver.company.made import COMPANY, DOMAIN, Files, Made, generator, made_json, made_jsonl, made_text
from mcpserver.company.people import DEPARTMENTS, ascii_name, employees
from mcpserver.company.trade import CATEGORIES, invoices, products

_SUBJECTS = (
    "Printer on floor 2 jams",
    "Cannot log in to the time sheet",
    "Pump test bench trips the fuse",
    "New laptop for a starter",
    "Price list shows old prices",
    "VPN drops every hour",
    "Label printer out of ribbon",
    "Invoice sent twice",
    "Scanner in warehouse offline",
    "Reset password",
    "Meeting room screen stays dark",
    "Sensor data missing for station C",
    "Phone forwards to wrong desk",
    "Badge does not open gate 4",
    "Export to Excel cuts the last row",
    "Backup report missing",
    "Heating in hall B too low",
    "Shared mailbox access",
    "Forklift tablet cracked",
    "Order form rejects umlauts",
    "Calendar shows wrong time zone",
    "Slow search in the catalogue",
    "Duplicate customer records",
    "Safety video will not play",
    "Wi-Fi weak in canteen",
)
_REVIEWS = {
    5: (
        "Runs quietly and has not missed a day since we fitted it.",
        "Exactly as described; the manual answers every question.",
        "Quick delivery and a solid feel. We ordered two more.",
    ),
    4: (
        "Good value, though the packing could be sturdier.",
        "Works well after a short calibration.",
        "Easy to fit; one bolt was missing but support sent it the next day.",
    ),
    3: (
        "Does the job, no more than that.",
        "Accurate enough, but the display is hard to read in the sun.",
        "Fine so far, the price went up since the last order.",
    ),
    2: ("Leaked at the joint until we changed the seal.", "Louder than the old model and slow to start."),
    1: ("Failed after nine days and the replacement took a month.", "Wrong size delivered twice."),
}
_TAGS = {
    "Pump": ("water", "rotating", "230V", "heavy"),
    "Valve": ("brass", "manual", "steel", "safety"),
    "Meter": ("measuring", "approved", "battery", "display"),
    "Pipe": ("steel", "indoor", "outdoor", "bulk"),
    "Sensor": ("measuring", "wireless", "battery", "outdoor"),
}
_NEWS = (
    ("Hydra 80 wins an efficiency label", "The pump uses a fifth less power than the model before it."),
    ("Gdansk warehouse opens on Saturdays", "From April on, orders can be collected until noon."),
    ("Training: reading flow meters", "A free half-day course in Leeds on 27 March; places are limited."),
    ("Recall of Leak Sensor LS, batch 2407", "The seal may harden in frost. We replace every piece at no cost."),
    ("Annual report published", "Revenue grew by six per cent; the order book is the longest in ten years."),
    ("We are hiring machinists", "Two posts in Gdansk and one in Hamburg, starting this summer."),
)


def make_records() -> Files:
    """The structured files under ``data/`` and ``geo/`` that are neither tables nor settings."""
    return {
        "data/events.jsonl": _events(),
        "data/tickets.jsonl": _tickets(),
        "data/reviews.jsonl": _reviews(),
        "data/catalog.json": made_json(_catalog(), "The catalogue: categories with items, prices (EUR) and tags."),
        "data/org_chart.json": made_json(_org_chart(), "Who reports to whom, nested, from the managing director down."),
        "data/feed.xml": made_text(_feed(), "The RSS feed of the company's news, six items."),
        "data/invoices.xml": made_text(_invoices(), "The 12 invoices 1001 to 1012 of early 2025 with totals (EUR)."),
        "geo/stations.geojson": made_json(_stations(), "Three weather stations as points, and the area they cover."),
    }


def _events() -> Made:
    rng = generator("events")
    users = [ascii_name(employee.name) for employee in employees()[:12]]
    actions = ("login", "search", "view", "add_to_cart", "checkout", "export", "logout")
    rows, minute = [], 7 * 60
    for _ in range(100):
        minute += rng.randrange(0, 11)
        time = f"2025-03-13T{minute // 60:02d}:{minute % 60:02d}:{rng.randrange(60):02d}"
        action = rng.choices(actions, (3, 6, 8, 3, 2, 1, 2))[0]
        milliseconds = round(rng.lognormvariate(4.6, 0.9))
        rows.append({"time": time, "user": rng.choice(users), "action": action, "ms": milliseconds})
    rows.sort(key=lambda row: str(row["time"]))
    return made_jsonl(rows, "100 events of the intranet on 13 March 2025 with their duration in ms.")


def _tickets() -> Made:
    rng = generator("tickets")
    rows = [
        {
            "id": 301 + n,
            "subject": subject,
            "priority": rng.choices(("low", "normal", "high", "urgent"), (4, 6, 3, 1))[0],
            "status": rng.choice(("open", "open", "waiting", "closed")),
        }
        for n, subject in enumerate(_SUBJECTS)
    ]
    return made_jsonl(rows, "25 tickets of the help desk with priority and status.")


def _reviews() -> Made:
    rng = generator("reviews")
    rows = []
    for _ in range(30):
        stars = rng.choices((5, 4, 3, 2, 1), (9, 9, 6, 3, 2))[0]
        rows.append({"product": rng.choice(products()).name, "stars": stars, "text": rng.choice(_REVIEWS[stars])})
    return made_jsonl(rows, "30 customer reviews with 1 to 5 stars; products are those of products.csv.")


def _catalog() -> dict[str, Any]:
    rng = generator("catalog")
    return {
        "version": "2025.1",
        "categories": [
            {
                "name": category,
                "items": [
                    {"sku": p.id, "name": p.name, "price": p.price, "tags": sorted(rng.sample(_TAGS[category], 2))}
                    for p in products()
                    if p.category == category
                ],
            }
            for category in CATEGORIES
        ],
    }


def _org_chart() -> dict[str, Any]:
    """The heads below a managing director, the second rank below them, and everybody else shared out."""
    heads = []
    for department in DEPARTMENTS:
        head, *others = [employee for employee in employees() if employee.department == department]
        seconds = [e for e in others if e.title in ("Key Account Manager", "Lead Engineer", "Plant Supervisor")]
        bosses = [_leaf(e.name, e.title) for e in seconds]
        rest = [_leaf(e.name, e.title) for e in others if e not in seconds]
        for n, leaf in enumerate(rest if bosses else []):
            bosses[n % len(bosses)]["reports"].append(leaf)
        heads.append({"name": head.name, "title": head.title, "reports": bosses or rest})
    return {"name": "Margaret Alderwick", "title": "Managing Director", "reports": heads}


def _leaf(name: str, title: str) -> dict[str, Any]:
    return {"name": name, "title": title, "reports": []}


def _feed() -> str:
    items = "\n".join(
        f"    <item>\n      <title>{escape(title)}</title>\n      <link>https://www.{DOMAIN}/news/{n}</link>\n"
        f"      <guid>https://www.{DOMAIN}/news/{n}</guid>\n"
        f"      <pubDate>{weekday}, {day:02d} Mar 2025 09:00:00 GMT</pubDate>\n"
        f"      <description>{escape(text)}</description>\n    </item>"
        for n, ((title, text), weekday, day) in enumerate(
            zip(_NEWS, ("Mon", "Wed", "Thu", "Fri", "Wed", "Fri"), (3, 5, 6, 7, 12, 14)), 41
        )
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<rss version="2.0">\n  <channel>\n    <title>{COMPANY} news</title>\n'
        f"    <link>https://www.{DOMAIN}/news</link>\n    <description>What is new at {COMPANY}</description>\n"
        f"    <language>en</language>\n{items}\n  </channel>\n</rss>"
    )


def _invoices() -> str:
    entries = "\n".join(
        f'  <invoice id="{invoice.id}">\n    <date>{invoice.day}</date>\n'
        f"    <customer>{escape(invoice.customer.name)}</customer>\n"
        f'    <total currency="EUR">{invoice.total:.2f}</total>\n  </invoice>'
        for invoice in invoices()
    )
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<invoices>\n{entries}\n</invoices>'


def _stations() -> dict[str, Any]:
    places = {"A": (-1.549, 53.801, 47), "B": (-1.472, 53.746, 31), "C": (-1.618, 53.848, 92)}
    points = [
        {
            "type": "Feature",
            "properties": {"station": name, "altitude_m": altitude, "since": f"20{18 + n}-05-01"},
            "geometry": {"type": "Point", "coordinates": [east, north]},
        }
        for n, (name, (east, north, altitude)) in enumerate(places.items())
    ]
    ring = [[-1.66, 53.72], [-1.44, 53.72], [-1.44, 53.87], [-1.66, 53.87], [-1.66, 53.72]]
    area = {
        "type": "Feature",
        "properties": {"name": "covered area"},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }
    return {"type": "FeatureCollection", "features": [*points, area]}
