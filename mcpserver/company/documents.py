"""The Word documents and PDFs of the company world."""

import datetime
import io
from collections.abc import Sequence
from typing import Any

from mcpserver.company.archives import unzip_files, zip_files
from mcpserver.company.made import COMPANY, DOMAIN, MOMENT, Files, Made, generator, money
from mcpserver.company.people import employees
from mcpserver.company.trade import CATEGORIES, Invoice, customers, invoices, products

Block = str | list[str] | list[tuple[str, ...]]
"""A paragraph (headings begin with ``#``), a list, or a table whose first row is the head."""


def make_documents() -> Files:
    """The Word documents and PDFs under ``docs/``."""
    first, second = invoices()[:2]
    return {
        "docs/handbook.docx": _word(
            "Staff Handbook", _handbook(), "The staff handbook: hours, leave, travel, safety, contacts."
        ),
        "docs/offer.docx": _word(
            "Offer 2025-117", _offer(), "An offer of pumps and sensors to a customer, with prices."
        ),
        "docs/minutes.docx": _word(
            "Minutes of the Operations Meeting",
            _minutes(),
            "The minutes of the meeting of 10 March 2025 with decisions and actions.",
        ),
        "docs/annual_report.pdf": Made(
            _annual_report(), "The annual report of 2024 on four pages: letter, figures, regions, outlook."
        ),
        "docs/datasheet.pdf": Made(_datasheet(), "The data sheet of the pump Hydra 80, one page with a table."),
        "docs/invoice_1001.pdf": Made(
            _invoice(first), f"Invoice 1001 to {first.customer.name}, total {first.total:.2f} EUR."
        ),
        "docs/invoice_1002.pdf": Made(
            _invoice(second), f"Invoice 1002 to {second.customer.name}, total {second.total:.2f} EUR."
        ),
    }


def _word(title: str, blocks: Sequence[Block], summary: str) -> Made:
    """A Word document of headings, paragraphs, lists and tables, zipped with fixed times."""
    from docx import Document

    document = Document()
    document.add_heading(title, 0)
    for block in blocks:
        _add_block(document, block)
    about = document.core_properties
    about.title, about.author, about.last_modified_by, about.comments = title, COMPANY, COMPANY, ""
    about.created = about.modified = MOMENT
    about.revision = 1
    out = io.BytesIO()
    document.save(out)
    return Made(zip_files(unzip_files(out.getvalue())), summary)


def _add_block(document: Any, block: Block) -> None:
    if isinstance(block, str):
        level = len(block) - len(block.lstrip("#"))
        if level:
            document.add_heading(block[level:].strip(), level)
        else:
            document.add_paragraph(block)
        return
    rows = [entry for entry in block if isinstance(entry, tuple)]
    if not rows:
        for entry in block:
            document.add_paragraph(entry, style="List Bullet")
        return
    table = document.add_table(rows=len(rows), cols=len(rows[0]), style="Table Grid")
    for cells, row in zip(table.rows, rows):
        for cell, text in zip(cells.cells, row):
            cell.text = text


def _handbook() -> list[Block]:
    heads: list[tuple[str, ...]] = [("Department", "Head", "E-mail")]
    heads += [(e.department, e.name, e.email) for e in employees() if e.title.startswith("Head of")]
    return [
        f"Welcome to {COMPANY}. This handbook says how we work; where it is silent, ask your head of department.",
        "# Working hours",
        "A full week has 37.5 hours. Core time is from 10:00 to 15:00; outside it you choose your own hours.",
        "Hours are entered in the time sheet by 18:00 on the last working day of the week.",
        "# Leave",
        "Everybody has 28 days of paid leave a year. Up to five days may be carried into the next year.",
        [
            "Ask for leave at least two weeks ahead.",
            "Report illness before 09:00 on the first day.",
            "A doctor's note is due on the third day.",
        ],
        "# Travel",
        "## Booking",
        "Travel is booked by the assistants of the department. Trains are preferred for journeys under five hours.",
        "## Expenses",
        "Meals are paid up to 42 EUR a day. Receipts are handed in within 30 days.",
        "# Safety",
        "Helmets and safety shoes are worn in all halls. Every accident is reported, however small.",
        "# Contacts",
        heads,
    ]


def _offer() -> list[Block]:
    customer = customers()[4]
    chosen = [(products()[n], quantity) for n, quantity in ((1, 4), (8, 12), (24, 10), (27, 6))]
    rows: list[tuple[str, ...]] = [("Article", "Product", "Quantity", "Price", "Sum")]
    rows += [(p.id, p.name, str(n), f"{p.price:.2f}", f"{money(p.price * n):.2f}") for p, n in chosen]
    total = money(sum(p.price * n for p, n in chosen))
    return [
        f"To: {customer.name}, {customer.country}",
        "Date: 12 March 2025. Valid until: 11 April 2025.",
        "# What we offer",
        "Thank you for your enquiry. We are glad to offer the following equipment for your new pumping station:",
        rows,
        f"Total before tax: {total:.2f} EUR",
        "# Terms",
        [
            "Delivery within three weeks of the order.",
            "Payment within 30 days, 2 % discount within ten days.",
            "Two years of warranty on all parts.",
        ],
        "# Next step",
        f"Please send your order to orders@{DOMAIN} and quote the number 2025-117.",
    ]


def _minutes() -> list[Block]:
    chair, *others = [e.name for e in employees() if e.department == "Operations"][:5]
    actions: list[tuple[str, ...]] = [
        ("Who", "What", "Until"),
        (others[0], "Change the reorder level", "2025-03-14"),
        (others[1], "Report on the trial", "2025-04-30"),
        (others[2], "Tell the carriers about hall B", "2025-03-21"),
    ]
    return [
        "Date: Monday, 10 March 2025, 14:00 to 15:10",
        f"Chair: {chair}",
        "# Present",
        others,
        "# Topics",
        "## Stock in Gdansk",
        "Check valves ran out twice in February. The reorder level goes up from 20 to 35 pieces.",
        "## Night shift",
        "The trial of a shorter night shift ends in April. Output fell by two per cent, sick days by nine.",
        "## Crane inspection",
        "The crane in hall B is inspected on 26 March; the hall is closed in the morning.",
        "# Decisions",
        [
            "Raise the reorder level of check valves.",
            "Extend the night-shift trial by one month.",
            "Close hall B on 26 March until noon.",
        ],
        "# Actions",
        actions,
    ]


def _pdf(title: str) -> Any:
    """An empty PDF with a fixed date."""
    from fpdf import FPDF

    pdf = FPDF()
    pdf.set_creation_date(MOMENT.replace(tzinfo=datetime.UTC))  # else it is written in the zone of the machine
    pdf.set_title(title)
    pdf.set_author(COMPANY)
    pdf.set_producer(COMPANY)
    pdf.set_font("helvetica", size=11)
    return pdf


def _page(pdf: Any, heading: str, paragraphs: Sequence[str]) -> None:
    pdf.add_page()
    pdf.set_font("helvetica", "B", 18)
    pdf.cell(0, 14, heading, new_x="LMARGIN", new_y="NEXT")
    pdf.set_font("helvetica", size=11)
    for paragraph in paragraphs:
        pdf.multi_cell(0, 6, paragraph, new_x="LMARGIN", new_y="NEXT")
        pdf.ln(3)


def _rows(pdf: Any, rows: Sequence[Sequence[str]]) -> None:
    with pdf.table(text_align="LEFT") as table:
        for row in rows:
            table.row(row)


def _annual_report() -> bytes:
    rng = generator("annual_report.pdf")
    pdf = _pdf("Annual Report 2024")
    _page(
        pdf,
        "Annual Report 2024",
        (
            "Dear readers,",
            "2024 was a good year for our company. Revenue rose by six per cent to 41.8 million EUR, and the order "
            "book was the longest in ten years. We opened a warehouse in Gdansk and hired nine people.",
            "Not everything went to plan. A batch of leak sensors had to be replaced, and the price of steel stayed "
            "high. We thank our customers for their patience and our staff for many long evenings.",
            "Margaret Alderwick, Managing Director",
        ),
    )
    _page(pdf, "Figures", ("All amounts in thousand EUR.",))
    figures = [
        ("", "2023", "2024"),
        ("Revenue", "39,434", "41,800"),
        ("Cost of goods", "24,120", "25,310"),
        ("Staff", "8,760", "9,180"),
        ("Profit before tax", "3,910", "4,365"),
    ]
    _rows(pdf, figures)
    _page(pdf, "Regions and products", ("Revenue by product in thousand EUR:",))
    _rows(
        pdf,
        [
            ("Product", "Revenue", "Share"),
            *((name, f"{share * 418:,}", f"{share} %") for name, share in zip(CATEGORIES, (34, 19, 22, 11, 14))),
        ],
    )
    pdf.ln(4)
    pdf.multi_cell(0, 6, f"The North region grew fastest, by {rng.randrange(8, 12)} per cent; the South stayed level.")
    _page(
        pdf,
        "Outlook 2025",
        (
            "We expect revenue of about 44 million EUR. "
            "The new pump Hydra 80 and the wireless sensors should bring half of the growth.",
            "We will invest 2.1 million EUR: a test bench in Leeds, solar panels in Rotterdam, a new order desk.",
            "Risks are the price of steel, the exchange rate of the zloty, and a shortage of machinists.",
        ),
    )
    return bytes(pdf.output())


def _datasheet() -> bytes:
    pump = products()[1]
    pdf = _pdf("Data sheet Hydra 80")
    _page(
        pdf,
        f"Data sheet: {pump.name}",
        ("A self-priming pump for clean and slightly dirty water, for cellars, tanks and irrigation.",),
    )
    rows = (
        ("Property", "Value"),
        ("Article", pump.id),
        ("Flow", "80 l/min"),
        ("Head", "38 m"),
        ("Power", "0.75 kW"),
        ("Voltage", "230 V, 50 Hz"),
        ("Temperature", "5 to 60 deg C"),
        ("Weight", "11.4 kg"),
        ("Connection", "DN25"),
        ("Price", f"{pump.price:.2f} EUR"),
    )
    _rows(pdf, rows)
    pdf.ln(4)
    pdf.multi_cell(0, 6, "Do not run dry. Fit a strainer of at most 2 mm. Inspect the seal every 2,000 hours.")
    return bytes(pdf.output())


def _invoice(invoice: Invoice) -> bytes:
    pdf = _pdf(f"Invoice {invoice.id}")
    customer = invoice.customer
    _page(
        pdf,
        f"Invoice {invoice.id}",
        (
            f"{COMPANY}, Canal Street 12, Leeds",
            f"Customer: {customer.name} ({customer.id}), {customer.country}",
            f"Date: {invoice.day}",
        ),
    )
    lines = [(p.id, p.name, str(n), f"{p.price:.2f}", f"{money(p.price * n):.2f}") for p, n in invoice.lines]
    _rows(pdf, [("Article", "Product", "Quantity", "Price", "Sum"), *lines])
    pdf.ln(4)
    for name, amount in (
        ("Net", invoice.net),
        ("Tax 20 %", money(invoice.total - invoice.net)),
        ("Total", invoice.total),
    ):
        pdf.cell(0, 7, f"{name}: {amount:.2f} EUR", new_x="LMARGIN", new_y="NEXT")
    pdf.ln(4)
    pdf.multi_cell(0, 6, "Payable within 30 days. Thank you for your order.")
    return bytes(pdf.output())
