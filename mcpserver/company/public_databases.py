"""The databases of other places that the company's people use: library, clinic, school, airline, hotel, music."""

import random

from mcpserver.company import schemas
from mcpserver.company.made import Files, Made, days, generator, later, money
from mcpserver.company.people import CITIES, CITY_NAMES, email, person_names, phone
from mcpserver.company.sqlite_files import Row, made_database

_TODAY = "2025-03-17"


def make_public_databases() -> Files:
    """The six databases that have nothing to do with the company's work."""
    return {
        "library.db": _library(),
        "clinic.db": _clinic(),
        "school.db": _school(),
        "flights.db": _flights(),
        "hotel.db": _hotel(),
        "music.db": _music(),
    }


_FIRST_WORDS = "Silent Copper Winter Hidden Seventh Paper Distant Broken Salt Amber Northern Slow"
_SECOND_WORDS = "Harbour Orchard Bridge Letters Engine Garden Tide Window Map Stairs Lantern River"


def _titles(rng: random.Random, count: int) -> list[str]:
    """Invented titles of books and records."""
    found = [f"The {first} {second}" for first in _FIRST_WORDS.split() for second in _SECOND_WORDS.split()]
    return rng.sample(found, count)


def _library() -> Made:
    """A copy of a book is lent again only after it came back."""
    rng = generator("library.db")
    authors = person_names(rng, 18)
    titles = _titles(rng, 60)
    loans: list[Row] = []
    for book in range(1, len(titles) + 1):
        day = later("2024-06-03", rng.randrange(200))
        while day < "2025-03-12":
            back = later(day, rng.randrange(5, 40))
            loans.append((book, rng.randrange(1, 36), day, back if back < _TODAY else None))
            day = later(back, rng.randrange(20, 220))
    tables: dict[str, list[Row]] = {
        "books": [(t, rng.choice(authors), rng.randrange(1948, 2025), rng.choice((1, 1, 2, 3))) for t in titles],
        "members": [(name, later("2016-02-01", rng.randrange(3000))) for name in person_names(rng, 35)],
        "loans": sorted(loans, key=lambda loan: (loan[2], loan[0])),
    }
    return made_database(
        schemas.LIBRARY, tables, "A library: 60 books, 35 members, loans; those not returned are still out."
    )


_REASONS = ("check-up", "back pain", "vaccination", "blood test", "headache", "skin rash", "follow-up", "cough")
_SKILLS = ("general medicine", "general medicine", "cardiology", "dermatology", "orthopaedics", "paediatrics")


def _clinic() -> Made:
    rng = generator("clinic.db")
    hours = [f"{hour:02d}:{minute:02d}" for hour in (8, 9, 10, 11, 14, 15) for minute in (0, 30)]
    slots = [
        (day, hour, doctor)
        for day in days("2025-02-24", 25, weekends=False)
        for hour in hours
        for doctor in range(1, 7)
    ]
    visits: list[Row] = []
    for day, hour, doctor in sorted(rng.sample(slots, 110)):
        states = ("done", "missed", "cancelled") if day < _TODAY else ("booked", "booked", "cancelled")
        status = rng.choices(states, (10, 1, 1))[0]
        visits.append((rng.randrange(1, 46), doctor, day, hour, rng.choice(_REASONS), status))
    tables: dict[str, list[Row]] = {
        "patients": [
            (name, later("1942-01-01", rng.randrange(28000)), rng.choice(CITY_NAMES), phone(rng))
            for name in person_names(rng, 45)
        ],
        "doctors": [
            (f"Dr {name}", skill, 201 + n) for n, (name, skill) in enumerate(zip(person_names(rng, 6), _SKILLS))
        ],
        "appointments": visits,
    }
    return made_database(schemas.CLINIC, tables, "A clinic: 45 patients, six doctors, 110 appointments of early 2025.")


_SUBJECTS = (
    "Algebra",
    "Biology",
    "Chemistry",
    "Drawing",
    "English",
    "French",
    "Geography",
    "History",
    "Informatics",
    "Music",
)


def _school() -> Made:
    """Grades are from 1 to 6, 6 the best; the spring term has none yet."""
    rng = generator("school.db")
    rows: list[Row] = []
    for student in range(1, 49):
        for course in sorted(rng.sample(range(1, len(_SUBJECTS) + 1), rng.randrange(2, 5))):
            term = rng.choice(("2024-autumn", "2025-spring"))
            grade = round(min(6.0, max(1.0, rng.gauss(4.4, 0.8))), 1)
            rows.append((student, course, term, grade if term == "2024-autumn" else None))
    tables: dict[str, list[Row]] = {
        "students": [(name, rng.randrange(1, 5), rng.choice(CITY_NAMES[:5])) for name in person_names(rng, 48)],
        "courses": [
            (subject, name, rng.choice((2, 3, 4, 6))) for subject, name in zip(_SUBJECTS, person_names(rng, 10))
        ],
        "enrolments": rows,
    }
    return made_database(
        schemas.SCHOOL, tables, "A school: 48 students, ten courses, enrolments with grades (6 is best)."
    )


_CODES = {
    "LBA": "Leeds",
    "RTM": "Rotterdam",
    "HAM": "Hamburg",
    "LYS": "Lyon",
    "OPO": "Porto",
    "GDN": "Gdansk",
    "BGO": "Bergen",
    "TRN": "Turin",
    "GRZ": "Graz",
    "VLC": "Valencia",
}


def _flights() -> Made:
    rng = generator("flights.db")
    names = person_names(rng, 70)
    flights: list[Row] = []
    bookings: list[Row] = []
    for day in sorted(rng.choices(days("2025-03-10", 21), k=60)):
        start, end = rng.sample(range(1, len(_CODES) + 1), 2)
        leaves = 15 * rng.randrange(24, 80)
        times = [f"{day}T{at // 60:02d}:{at % 60:02d}" for at in (leaves, leaves + rng.randrange(65, 170))]
        price = rng.randrange(49, 280)
        flights.append((f"AF{210 + len(flights)}", start, end, *times, rng.choice((48, 76, 120)), price))
        seats = rng.sample([(row, letter) for row in range(1, 13) for letter in "ABCD"], rng.randrange(0, 6))
        for row, letter in sorted(seats):
            status = rng.choices(("confirmed", "cancelled", "waiting"), (8, 1, 1))[0]
            paid = money(price * rng.choice((1, 1, 0.8, 1.25)))
            bookings.append((len(flights), rng.choice(names), f"{row}{letter}", status, paid))
    tables: dict[str, list[Row]] = {
        "airports": [(code, city, dict(CITIES)[city]) for code, city in _CODES.items()],
        "flights": flights,
        "bookings": bookings,
    }
    return made_database(
        schemas.FLIGHTS, tables, "Flights between ten airports, 10 to 30 March 2025, with bookings (EUR)."
    )


def _hotel() -> Made:
    """No room is let twice for one night."""
    rng = generator("hotel.db")
    prices = {"single": 84, "double": 118, "suite": 205}
    rooms: list[Row] = []
    stays: list[Row] = []
    for n in range(28):
        floor = 1 + n // 10
        kind = rng.choices(tuple(prices), (3, 5, 1))[0]
        rooms.append((100 * floor + n % 10 + 1, kind, floor, prices[kind] + 6 * (floor - 1)))
        day = later("2025-02-20", rng.randrange(12))
        while day < "2025-04-10":
            end = later(day, rng.randrange(1, 7))
            status = "checked out" if end <= _TODAY else "checked in" if day < _TODAY else "booked"
            stays.append((n + 1, rng.randrange(1, 41), day, end, "cancelled" if rng.random() < 0.08 else status))
            day = later(end, rng.randrange(1, 18))
    tables: dict[str, list[Row]] = {
        "rooms": rooms,
        "guests": [(name, rng.choice(CITIES)[1], email(name, "post.example")) for name in person_names(rng, 40)],
        "reservations": sorted(stays, key=lambda stay: (stay[2], stay[0])),
    }
    return made_database(schemas.HOTEL, tables, "A hotel: 28 rooms, guests, reservations of spring 2025 (EUR a night).")


_SONGS = (
    ["Running", "Waiting", "Glass", "Morning", "Paper", "Violet", "Low"],
    ["Light", "Hands", "Road", "Signal", "Weather", "Room", "Song"],
)


def _music() -> Made:
    rng = generator("music.db")
    bands = [
        f"{a} {b}"
        for a in ("Velvet", "Electric", "Tidal", "Lunar", "Gravel")
        for b in ("Foxes", "Echo", "Parade", "Union", "Owls")
    ]
    artists: list[Row] = [(band, rng.choice(CITIES)[1], rng.randrange(1968, 2018)) for band in bands]
    albums: list[Row] = []
    tracks: list[Row] = []
    songs = [f"{first} {second}" for first in _SONGS[0] for second in _SONGS[1]]
    for title in _titles(rng, 40):
        artist = rng.randrange(len(artists))
        albums.append((artist + 1, title, rng.randrange(artists[artist][2] + 1, 2025)))
        for number, song in enumerate(rng.sample(songs, rng.randrange(4, 9)), 1):
            tracks.append((len(albums), number, song, rng.randrange(95, 420)))
    tables = {"artists": artists, "albums": albums, "tracks": tracks}
    return made_database(
        schemas.MUSIC, tables, "A record collection: 25 artists, 40 albums, their tracks with length in seconds."
    )
