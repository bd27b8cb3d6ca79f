"""The web pages, Markdown documents and terms under ``docs/``."""

from html import escape

from mcpserver.company.made import COMPANY, DOMAIN, Files, made_text
from mcpserver.company.trade import products


def make_pages() -> Files:
    """The HTML, Markdown and text files under ``docs/``."""
    return {
        "docs/index.html": made_text(
            _html("Home", _INDEX), "The company's home page with links and a list of services."
        ),
        "docs/products.html": made_text(
            _html("Products", _product_table()), "The product page: a table of the 30 products with prices (EUR)."
        ),
        "docs/faq.html": made_text(
            _html("Questions and answers", _faq()), "Eight questions of customers with answers."
        ),
        "docs/readme.md": made_text(_README, "What is in the folders, and whom to ask."),
        "docs/guide.md": made_text(_GUIDE, "The guide to the order application: steps, a table of keys, a code block."),
        "docs/changelog.md": made_text(_CHANGELOG, "The changes of the order application, versions 3.2 to 3.4.1."),
        "docs/terms.txt": made_text(_TERMS, "The terms of sale in nine numbered clauses."),
    }


def _html(title: str, body: str) -> str:
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title} - {COMPANY}</title>
<meta name="description" content="{COMPANY}: pumps, valves, meters, pipes and sensors">
</head>
<body>
<nav><a href="index.html">Home</a> <a href="products.html">Products</a> <a href="faq.html">Questions</a></nav>
<h1>{title}</h1>
{body.strip()}
<footer><p>&copy; 2025 {COMPANY}, Canal Street 12, Leeds</p></footer>
</body>
</html>"""


_INDEX = f"""
<p>We make things that move, measure and hold water: <strong>pumps</strong>, <strong>valves</strong>,
<strong>meters</strong>, <strong>pipes</strong> and <strong>sensors</strong>. Since 1987, in five cities.</p>
<h2>What we do</h2>
<ul>
<li>Planning of pumping stations</li>
<li>Delivery from stock within three days</li>
<li>Calibration of flow meters</li>
<li>Repairs, also of other makers' pumps</li>
</ul>
<h2>News</h2>
<p>Hydra 80 wins an efficiency label. <a href="https://www.{DOMAIN}/news/41">Read more</a></p>
<img src="../images/logo.png" alt="The logo of {COMPANY}" width="128" height="128">
<h2>Contact</h2>
<p>Write to <a href="mailto:info@{DOMAIN}">info@{DOMAIN}</a> or call +44 20 7946 0100,
Monday to Friday, 08:00 to 17:00.</p>
"""

_FAQ = (
    ("How long does delivery take?", "Three working days from stock, up to three weeks for pumps made to order."),
    ("Is delivery free?", "Above 150 EUR it is. Below that we charge 6.90 EUR for a parcel."),
    ("Can I return an article?", "Yes, within 30 days, unused and in its packing. Cut pipes cannot be returned."),
    ("How long is the warranty?", "Two years on all parts; five years on the castings of the Hydra pumps."),
    (
        "Do you calibrate flow meters?",
        "Yes, in Leeds and Hamburg. It takes five working days and costs 85 EUR a meter.",
    ),
    ("Which pump do I need?", "Tell us the flow in litres a minute and the height in metres; we answer within a day."),
    ("How can I pay?", "By bank transfer within 30 days. New customers pay the first order in advance."),
    ("Where do I find the manuals?", "On the page of each product, as PDF in English, German, French and Polish."),
)


def _faq() -> str:
    entries = "\n".join(f"<dt>{escape(question)}</dt>\n<dd>{escape(answer)}</dd>" for question, answer in _FAQ)
    return f"<dl>\n{entries}\n</dl>"


def _product_table() -> str:
    rows = "\n".join(
        f"<tr><td>{p.id}</td><td>{escape(p.name)}</td><td>{p.category}</td><td>{p.price:.2f}</td></tr>"
        for p in products()
    )
    return (
        f'<p>All prices in EUR before tax.</p>\n<table id="products">\n<thead><tr><th>Article</th><th>Name</th>'
        f"<th>Category</th><th>Price</th></tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"
    )


_README = f"""
# Shared folder of {COMPANY}

This folder holds the working files of the company. Please keep it tidy.

## What is where

- `data/` - tables and workbooks
- `docs/` - documents and web pages
- `images/` - logos, photos and plans
- `mail/`, `calendar/`, `contacts/` - exported messages and dates
- `logs/` - logs of the server, kept for 30 days
- `archives/` - what is no longer changed

## Rules

1. Do not rename the files in `data/`: the nightly pipeline reads them.
2. Amounts are in EUR, dates are written 2025-03-17.
3. Ask before you delete anything.

## Whom to ask

Operations, operations@{DOMAIN}. See also the [guide](guide.md) and the [changelog](changelog.md).
"""

_GUIDE = """
# Guide to the order application

The order application stores orders, checks the stock and prints delivery notes. This guide is for the sales team.

## Before you start

You need an account and a role. Ask the help desk for both. The application runs in every browser that is not older
than two years. Training videos are on the [intranet](https://intranet.alderwick.example/videos).

## Enter an order

1. Choose the customer, or press `F2` to create one.
2. Add the lines: article and quantity. The price is filled in.
3. Check the **credit limit** in the upper right corner.
4. Press `Store`. The order gets its number.

### When the credit limit is exceeded

Orders above the limit wait for approval by Finance. You are told by e-mail, *usually within two hours*.

### When an article is out of stock

The application offers the nearest warehouse that has it. See the [product page](products.html) for replacements.

## Keys

| Key | What it does |
|-----|--------------|
| F2 | New customer |
| F3 | Search an article |
| F5 | Refresh the stock |
| F9 | Print the delivery note |

## Orders from a file

Orders can be loaded from a CSV file:

```python
import csv

with open("orders.csv", newline="") as file:
    for row in csv.DictReader(file):
        store(row["customer_id"], row["product_id"], int(row["quantity"]))
```

Rows with an unknown article are left out and listed at the end.

## Help

Write to the [help desk](mailto:help@alderwick.example) or read the [questions](faq.html).
"""

_CHANGELOG = """
# Changelog of the order application

## 3.4.1 - 2025-02-11

- Fixed: umlauts in customer names are printed again.
- Fixed: the stock of Gdansk was counted twice.

## 3.4.0 - 2025-01-20

- Added: delivery notes in Polish.
- Added: a warning when the credit limit is nearly reached.
- Changed: the search also finds article numbers without the dash.

## 3.3.0 - 2024-10-07

- Added: orders from a CSV file.
- Removed: the fax button.

## 3.2.0 - 2024-06-17

- Added: approval of large orders by Finance.
- Changed: sessions end after 45 minutes.
- Fixed: totals of orders with more than 20 lines.
"""

_TERMS = f"""
TERMS OF SALE OF {COMPANY.upper()}
Version of 1 January 2025

1. Scope
These terms apply to all sales of goods by {COMPANY} to companies and public bodies.

2. Offers
Our offers are valid for 30 days. A contract is made when we confirm an order in writing.

3. Prices
Prices are in EUR before tax. Packing is included; carriage is free for orders above 150 EUR.

4. Payment
Invoices are payable within 30 days. A discount of 2 % is granted for payment within 10 days. For late payment we charge
interest of 8 % a year.

5. Delivery
Delivery dates are estimates unless we call them fixed. We may deliver in parts.

6. Returns
Unused goods may be returned within 30 days. Goods cut or made to order are not taken back.

7. Warranty
We repair or replace faulty goods for 24 months from delivery. Wear parts, such as seals, are covered for 6 months.

8. Liability
Our liability is limited to the price of the goods, except for injury and for damage done on purpose.

9. Law
The law of England applies. Disputes are heard by the courts of Leeds.
"""
