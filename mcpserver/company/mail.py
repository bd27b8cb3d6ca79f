"""The e-mails, calendars and contacts of the company world."""

from email.message import EmailMessage

from mcpserver.company.made import COMPANY, DOMAIN, Files, Made, generator
from mcpserver.company.people import CITIES, email, employees, person_names, phone
from mcpserver.company.trade import customers, invoices, products

_ZONE = "+0000"


def make_mail() -> Files:
    """The files under ``mail/``, ``calendar/`` and ``contacts/``."""
    return {
        "mail/offer.eml": _offer(),
        "mail/complaint.eml": _complaint(),
        "mail/invitation.eml": _invitation(),
        "mail/invoice.eml": _invoice(),
        "mail/report.eml": _report(),
        "mail/newsletter.eml": _newsletter(),
        "calendar/team.ics": _calendar("team", _TEAM, "The team's calendar: eight events in March 2025."),
        "calendar/holidays.ics": _calendar("holidays", _HOLIDAYS, "The public holidays of 2025 as all-day events."),
        "contacts/partners.vcf": _contacts(),
    }


def _message(name: str, day: str, sender: str, to: str, subject: str, text: str) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, to, subject
    message["Date"] = f"{day} {_ZONE}"
    message["Message-ID"] = f"<{name}.2025@{DOMAIN}>"
    message.set_content(text.strip("\n") + "\n", cte="quoted-printable" if not text.isascii() else None)
    return message


def _eml(message: EmailMessage, summary: str) -> Made:
    """The bytes of a message; boundaries between parts, which Python draws, are numbered instead."""
    parts = [part for part in message.walk() if part.is_multipart()]
    for n, part in enumerate(parts):
        part.set_boundary(f"=_alderwick_{n}")
    return Made(message.as_bytes(), summary)


def _sales_head() -> str:
    head = employees()[0]
    return f"{head.name} <{head.email}>"


def _offer() -> Made:
    buyer = f"Buying <buying@{customers()[4].name.split()[0].lower()}.example>"
    text = (
        "Dear colleagues,\n\nthank you for the talk last week. Our offer 2025-117 is ready; the price list "
        "is attached.\n"
        "The offer is valid until 11 April 2025. May I call you on Tuesday at 10:30?\n\nKind regards\nSales"
    )
    message = _message("offer", "Wed, 12 Mar 2025 10:24:00", _sales_head(), buyer, "Our offer 2025-117", text)
    rows = "".join(f"{p.id},{p.name},{p.price:.2f}\n" for p in products()[:12])
    message.add_attachment(f"article,product,price_eur\n{rows}", subtype="csv", filename="prices.csv")
    return _eml(message, "The letter with offer 2025-117; a price list is attached as CSV.")


def _complaint() -> Made:
    text = """
Hello,

two of the four check valves from order 7043 leak. We noticed it on 6 March, a day after they were fitted.
The batch number is 2407-B. We need replacements by 20 March, because the boiler test is on the 21st.

Please tell me whom I can call. You reach me on +44 20 7946 0311.

Regards
Ruth Ellison, Lagoon Heating
"""
    message = _message(
        "complaint",
        "Fri, 07 Mar 2025 08:12:00",
        "Ruth Ellison <r.ellison@lagoon.example>",
        f"service@{DOMAIN}",
        "Leaking valves, order 7043",
        text,
    )
    message["Cc"] = f"sales@{DOMAIN}"
    message["Importance"] = "high"
    return _eml(message, "A customer complains about leaking check valves and asks for replacements.")


def _invitation() -> Made:
    text = """
Dear all,

our spring meeting is on Thursday, 27 March 2025, from 13:00 to 17:00 in the canteen in Leeds.
Agenda: results of the first quarter, the new order application, questions.

Please answer by 21 March. Dinner follows at 18:30 at the Old Weir.

See you there
HR
"""
    message = _message(
        "invitation",
        "Mon, 10 Mar 2025 15:40:00",
        f"HR <hr@{DOMAIN}>",
        f"everybody@{DOMAIN}",
        "Spring meeting on 27 March",
        text,
    )
    return _eml(message, "The invitation to the spring meeting on 27 March 2025.")


def _invoice() -> Made:
    invoice = invoices()[1]
    text = (
        f"Dear customer,\n\nplease find below the data of invoice {invoice.id} of {invoice.day}.\n\n"
        f"Customer: {invoice.customer.name}\nNet: {invoice.net:.2f} EUR\nTotal: {invoice.total:.2f} EUR\n"
        "Account: ALDERWICK-0001\nPayable within 30 days.\n\nFinance"
    )
    message = _message(
        "invoice",
        "Fri, 10 Jan 2025 09:05:00",
        f"Finance <finance@{DOMAIN}>",
        f"{invoice.customer.name} <accounts@{invoice.customer.name.split()[0].lower()}.example>",
        f"Invoice {invoice.id}",
        text,
    )
    return _eml(message, f"The message that sends invoice {invoice.id}, with its amounts.")


def _report() -> Made:
    text = (
        "Hello,\n\nthe nightly report ran on 13 March at 02:19.\nOrders: 41\n"
        "Revenue: 18,204.60 EUR\nFailed jobs: 1 (mail)\n\nOperations"
    )
    message = _message(
        "report",
        "Thu, 13 Mar 2025 02:20:00",
        f"operations@{DOMAIN}",
        f"finance@{DOMAIN}",
        "Nightly report 2025-03-13",
        text,
    )
    message.add_alternative(
        "<html><body><h1>Nightly report</h1><table><tr><th>Orders</th><th>Revenue</th></tr>"
        "<tr><td>41</td><td>18,204.60 EUR</td></tr></table><p>Failed jobs: 1 (mail)</p></body></html>\n",
        subtype="html",
    )
    return _eml(message, "The nightly report of 13 March 2025, as plain text and as HTML.")


def _newsletter() -> Made:
    text = f"""
{COMPANY} news, March 2025

1. Hydra 80 wins an efficiency label: https://www.{DOMAIN}/news/41
2. Gdańsk warehouse opens on Saturdays: https://www.{DOMAIN}/news/42
3. Free course "Reading flow meters" on 27 March in Leeds: https://www.{DOMAIN}/news/43

You get this letter because you are a customer. Unsubscribe: https://www.{DOMAIN}/unsubscribe
"""
    message = _message(
        "newsletter",
        "Mon, 03 Mar 2025 07:00:00",
        f"{COMPANY} <news@{DOMAIN}>",
        "customers@lists.example",
        "What is new at Alderwick – März 2025",
        text,
    )
    message["List-Unsubscribe"] = f"<https://www.{DOMAIN}/unsubscribe>"
    return _eml(message, "The customers' newsletter of March 2025 with three links.")


_TEAM = (
    ("20250303T090000Z", "20250303T093000Z", "Weekly planning", "Leeds, room 101"),
    ("20250305T130000Z", "20250305T143000Z", "Design review Aurora", "Leeds, room 102"),
    ("20250310T140000Z", "20250310T151000Z", "Operations meeting", "Gdansk, hall B"),
    ("20250312T100000Z", "20250312T110000Z", "Offer 2025-117", "Online"),
    ("20250317T093000Z", "20250317T103000Z", "Budget talk", "Leeds, room 101"),
    ("20250319T150000Z", "20250319T160000Z", "Interview machinist", "Hamburg"),
    ("20250321T080000Z", "20250321T120000Z", "Boiler test", "Rotterdam"),
    ("20250327T130000Z", "20250327T170000Z", "Spring meeting", "Leeds, canteen"),
)
_HOLIDAYS = (
    ("20250101", "20250102", "New Year's Day", ""),
    ("20250418", "20250419", "Good Friday", ""),
    ("20250421", "20250422", "Easter Monday", ""),
    ("20250505", "20250506", "Early May bank holiday", ""),
    ("20250526", "20250527", "Spring bank holiday", ""),
    ("20250825", "20250826", "Summer bank holiday", ""),
    ("20251225", "20251226", "Christmas Day", ""),
    ("20251226", "20251227", "Boxing Day", ""),
)


def _calendar(name: str, events: tuple[tuple[str, str, str, str], ...], summary: str) -> Made:
    """An iCalendar file; events without a time of day last all day."""
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", f"PRODID:-//{COMPANY}//{name}//EN", "CALSCALE:GREGORIAN"]
    for n, (start, end, title, place) in enumerate(events, 1):
        form = "" if "T" in start else ";VALUE=DATE"
        lines += ["BEGIN:VEVENT", f"UID:{name}-{n}@{DOMAIN}", "DTSTAMP:20250301T080000Z"]
        lines += [f"DTSTART{form}:{start}", f"DTEND{form}:{end}", f"SUMMARY:{title}"]
        lines += [f"LOCATION:{place}".replace(",", "\\,")] if place else ["TRANSP:TRANSPARENT"]
        lines += ["END:VEVENT"]
    return Made(("\r\n".join([*lines, "END:VCALENDAR"]) + "\r\n").encode(), summary)


def _contacts() -> Made:
    rng = generator("partners.vcf")
    firms = (
        "Tern Parcel",
        "Quayside Freight",
        "Sealtec",
        "Nordcast",
        "Brass Union",
        "Orbit Plastics",
        "Delft Springs",
        "Vega Castings",
        "Lumen Electronics",
        "Tidewater Steel",
    )
    cards = []
    for firm, name in zip(firms, person_names(rng, len(firms))):
        first, _, last = name.partition(" ")
        city, country = rng.choice(CITIES)
        street = f"{rng.choice(('Mill', 'Dock', 'Station', 'Church'))} Street {rng.randrange(1, 90)}"
        domain = firm.replace(" ", "").lower() + ".example"
        lines = ["BEGIN:VCARD", "VERSION:3.0", f"N:{last};{first};;;", f"FN:{name}", f"ORG:{firm}"]
        lines += [
            f"TITLE:{rng.choice(('Sales Manager', 'Dispatcher', 'Owner', 'Engineer'))}",
            f"EMAIL;TYPE=WORK:{email(name, domain)}",
        ]
        lines += [
            f"TEL;TYPE=WORK:{phone(rng)}",
            f"ADR;TYPE=WORK:;;{street};{city};;;{country}",
            "END:VCARD",
        ]
        cards.append("\r\n".join(lines))
    return Made(("\r\n".join(cards) + "\r\n").encode(), "The contact cards of ten partners.")
