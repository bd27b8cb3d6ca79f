"""The YAML, TOML and INI files of the company world."""

from mcpserver.company.made import Files, made_text


def make_settings() -> Files:
    """The settings under ``data/``."""
    return {
        "data/settings.yaml": made_text(_SETTINGS, "Settings of the web shop: server, features, shipping, languages."),
        "data/pipeline.yaml": made_text(_PIPELINE, "A nightly data pipeline: six steps that depend on each other."),
        "data/app.toml": made_text(_APP_TOML, "Settings of the order application in TOML."),
        "data/app.ini": made_text(_APP_INI, "Settings of the time-sheet application in INI form."),
    }


_SETTINGS = """
# Web shop
server:
  host: 0.0.0.0
  port: 8080
  workers: 4
  timeout_s: 30
features:
  reviews: true
  wish_list: false
  live_stock: true
shipping:
  free_above_eur: 150
  carriers:
    - name: Tern Parcel
      days: 2
      price_eur: 6.9
    - name: Quayside Freight
      days: 5
      price_eur: 24.5
languages: [en, de, fr, pl]
contact:
  email: shop@alderwick.example
  phone: "+44 20 7946 0100"
"""

_PIPELINE = """
name: nightly
schedule: "0 2 * * *"
owner: operations
steps:
  - id: fetch_orders
    run: fetch --source shop --table orders
    minutes: 4
  - id: fetch_meters
    run: fetch --source plant --table meters
    minutes: 6
  - id: clean
    run: clean --drop-empty
    needs: [fetch_orders, fetch_meters]
    minutes: 3
  - id: join
    run: join --on day
    needs: [clean]
    minutes: 2
  - id: report
    run: report --format pdf
    needs: [join]
    minutes: 5
  - id: mail
    run: mail --to finance@alderwick.example
    needs: [report]
    minutes: 1
on_failure:
  retry: 2
  notify: [operations@alderwick.example]
"""

_APP_TOML = """
title = "Order desk"
version = "3.4.1"
released = 2025-02-11

[database]
path = "shop.db"
pool = 5
read_only = false

[limits]
max_lines = 40
max_amount_eur = 25000.0
approval_above_eur = 5000.0

[mail]
sender = "orders@alderwick.example"
copies = ["archive@alderwick.example"]

[[printer]]
name = "leeds-1"
paper = "A4"

[[printer]]
name = "gdansk-2"
paper = "A5"
"""

_APP_INI = """
; Time sheet
[app]
name = timesheet
language = en
debug = no

[hours]
per_week = 37.5
round_to_minutes = 15
latest_entry = 18:00

[holidays]
days_per_year = 28
carry_over = 5

[export]
format = tsv
folder = data
"""
