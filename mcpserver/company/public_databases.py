"""The databases of other places that the company's people use: library, clinic, school, airline, hotel, music."""

import random

from mcpserver.company.made import Files, Made, days, generator, later, money
from mcpserver.company.people import CITIES, email, person_names, phone
from mcpserver.company.sqlite_files import KEY, Table, made_database, one_of, refers

_TODAY = "2025-03-17"
_CITY_NAMES = [city for city, _ in CITIES]


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


def _titles(rng: random.Random, count: int) -> list[str]:
    """Invented titles of books and records."""
    first = (
        "Silent",
        "Copper",
        "Winter",
        "Hidden",
        "Seventh",
        "Paper",
        "Distant",
        "Broken",
        "Salt",
        "Amber",
        "Northern",
        "Slow",
    )
    second = (
        "Harbour",
        "Orchard",
        "Bridge",
        "Letters",
        "Engine",
        "Garden",
        "Tide",
        "Window",
        "Map",
        "Stairs",
        "Lantern",
        "River",
    )
    found = [f"The {a} {b}" for a in first for b in second]
    return rng.sample(found, count)


def _library() -> Made:
    rng = generator("library.db")
    authors = person_names(rng, 18)
    books = [
        (n + 1, title, rng.choice(authors), rng.randrange(1948, 2025), rng.choice((1, 1, 2, 3)))
        for n, title in enumerate(_titles(rng, 60))
    ]
    members = [(n + 1, name, later("2016-02-01", rng.randrange(3200))) for n, name in enumerate(person_names(rng, 35))]
    loans = []
    for book in books:
        day = later("2024-06-03", rng.randrange(120))
        while day < "2025-03-12" and len(loans) < 110:
            back = later(day, rng.randrange(5, 40))
            loans.append((book[0], rng.randrange(1, 36), day, back if back < _TODAY else None))
            day = later(back, rng.randrange(20, 160))
    loans.sort(key=lambda loan: (loan[2], loan[0]))
    tables = {
        "books": Table(
            (
                KEY,
                "title TEXT NOT NULL",
                "author TEXT NOT NULL",
                "year INTEGER",
                "copies INTEGER NOT NULL CHECK (copies >= 0)",
            ),
            books,
            ("author",),
        ),
        "members": Table((KEY, "name TEXT NOT NULL", "joined TEXT NOT NULL"), members),
        "loans": Table(
            (KEY, refers("book_id", "books"), refers("member_id", "members"), "lent TEXT NOT NULL", "returned TEXT"),
            [(n + 1, *loan) for n, loan in enumerate(loans)],
            ("book_id", "member_id"),
        ),
    }
    return made_database(tables, "A library: 60 books, 35 members, and loans; a loan without return day is still out.")


_REASONS = ("check-up", "back pain", "vaccination", "blood test", "headache", "skin rash", "follow-up", "cough")


def _clinic() -> Made:
    rng = generator("clinic.db")
    patients = [
        (n + 1, name, later("1942-01-01", rng.randrange(28000)), rng.choice(_CITY_NAMES), phone(rng))
        for n, name in enumerate(person_names(rng, 45))
    ]
    skills = ("general medicine", "general medicine", "cardiology", "dermatology", "orthopaedics", "paediatrics")
    doctors = [
        (n + 1, f"Dr {name}", skill, 201 + n) for n, (name, skill) in enumerate(zip(person_names(rng, 6), skills))
    ]
    slots = [
        (doctor[0], day, f"{hour:02d}:{minute:02d}")
        for doctor in doctors
        for day in days("2025-02-24", 25, weekends=False)
        for hour in (8, 9, 10, 11, 14, 15)
        for minute in (0, 30)
    ]
    chosen = sorted(rng.sample(slots, 110), key=lambda slot: (slot[1], slot[2], slot[0]))
    visits = []
    for n, (doctor_id, day, time) in enumerate(chosen):
        status = (
            rng.choices(("done", "missed", "cancelled"), (10, 1, 1))[0]
            if day < _TODAY
            else rng.choices(("booked", "cancelled"), (9, 1))[0]
        )
        visits.append((n + 1, rng.randrange(1, 46), doctor_id, day, time, rng.choice(_REASONS), status))
    tables = {
        "patients": Table((KEY, "name TEXT NOT NULL", "born TEXT NOT NULL", "city TEXT", "phone TEXT"), patients),
        "doctors": Table((KEY, "name TEXT NOT NULL", "speciality TEXT NOT NULL", "room INTEGER NOT NULL"), doctors),
        "appointments": Table(
            (
                KEY,
                refers("patient_id", "patients"),
                refers("doctor_id", "doctors"),
                "day TEXT NOT NULL",
                "time TEXT NOT NULL",
                "reason TEXT",
                one_of("status", "booked", "done", "missed", "cancelled"),
                "UNIQUE (doctor_id, day, time)",
            ),
            visits,
            ("patient_id", "day"),
        ),
    }
    return made_database(tables, "A clinic: 45 patients, six doctors, and appointments in February and March 2025.")


def _school() -> Made:
    rng = generator("school.db")
    subjects = (
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
    courses = [
        (n + 1, title, name, rng.choice((2, 3, 4, 6)))
        for n, (title, name) in enumerate(zip(subjects, person_names(rng, len(subjects))))
    ]
    students = [
        (n + 1, name, rng.randrange(1, 5), rng.choice(_CITY_NAMES[:5])) for n, name in enumerate(person_names(rng, 48))
    ]
    rows = []
    for student in students:
        for course in rng.sample(courses, rng.randrange(2, 5)):
            term = rng.choice(("2024-autumn", "2025-spring"))
            grade = None if term == "2025-spring" else round(min(6.0, max(1.0, rng.gauss(4.4, 0.8))), 1)
            rows.append((len(rows) + 1, student[0], course[0], term, grade))
    tables = {
        "students": Table(
            (KEY, "name TEXT NOT NULL", "year INTEGER NOT NULL CHECK (year BETWEEN 1 AND 4)", "city TEXT"), students
        ),
        "courses": Table(
            (KEY, "title TEXT NOT NULL UNIQUE", "teacher TEXT NOT NULL", "credits INTEGER NOT NULL"), courses
        ),
        "enrolments": Table(
            (
                KEY,
                refers("student_id", "students"),
                refers("course_id", "courses"),
                "term TEXT NOT NULL",
                "grade REAL",
                "UNIQUE (student_id, course_id, term)",
            ),
            rows,
            ("course_id",),
        ),
    }
    return made_database(tables, "A school: 48 students, ten courses, enrolments with grades from 1 to 6, 6 the best.")


_AIRPORTS = (
    ("LBA", "Leeds", "United Kingdom"),
    ("RTM", "Rotterdam", "Netherlands"),
    ("HAM", "Hamburg", "Germany"),
    ("LYS", "Lyon", "France"),
    ("OPO", "Porto", "Portugal"),
    ("GDN", "Gdansk", "Poland"),
    ("BGO", "Bergen", "Norway"),
    ("TRN", "Turin", "Italy"),
    ("GRZ", "Graz", "Austria"),
    ("VLC", "Valencia", "Spain"),
)


def _flights() -> Made:
    rng = generator("flights.db")
    airports = [(n + 1, *place) for n, place in enumerate(_AIRPORTS)]
    flights, bookings = [], []
    for n, day in enumerate(sorted(rng.choices(days("2025-03-10", 21), k=60))):
        start, end = rng.sample(range(1, len(airports) + 1), 2)
        hour, minute, length = rng.randrange(6, 20), rng.choice((0, 15, 30, 45)), rng.randrange(65, 170)
        arrival = hour * 60 + minute + length
        flights.append(
            (
                n + 1,
                f"AF{210 + n}",
                start,
                end,
                f"{day}T{hour:02d}:{minute:02d}",
                f"{day}T{arrival // 60:02d}:{arrival % 60:02d}",
                rng.choice((48, 76, 120)),
                rng.randrange(49, 280),
            )
        )
    names = person_names(rng, 70)
    for flight in flights:
        seats = rng.sample([f"{row}{letter}" for row in range(1, 13) for letter in "ABCD"], rng.randrange(0, 6))
        for seat in sorted(seats):
            status = rng.choices(("confirmed", "cancelled", "waiting"), (8, 1, 1))[0]
            bookings.append(
                (
                    len(bookings) + 1,
                    flight[0],
                    rng.choice(names),
                    seat,
                    status,
                    money(flight[7] * rng.choice((1, 1, 0.8, 1.25))),
                )
            )
    tables = {
        "airports": Table((KEY, "code TEXT NOT NULL UNIQUE", "city TEXT NOT NULL", "country TEXT NOT NULL"), airports),
        "flights": Table(
            (
                KEY,
                "number TEXT NOT NULL UNIQUE",
                refers("origin_id", "airports"),
                refers("destination_id", "airports"),
                "departs TEXT NOT NULL",
                "arrives TEXT NOT NULL",
                "seats INTEGER NOT NULL",
                "price INTEGER NOT NULL",
            ),
            flights,
            ("origin_id", "destination_id", "departs"),
        ),
        "bookings": Table(
            (
                KEY,
                refers("flight_id", "flights"),
                "passenger TEXT NOT NULL",
                "seat TEXT NOT NULL",
                one_of("status", "confirmed", "waiting", "cancelled"),
                "paid REAL NOT NULL",
                "UNIQUE (flight_id, seat)",
            ),
            bookings,
            ("passenger",),
        ),
    }
    return made_database(tables, "Flights between ten airports, 10 to 30 March 2025, with bookings (EUR).")


def _hotel() -> Made:
    rng = generator("hotel.db")
    prices = {"single": 84, "double": 118, "suite": 205}
    kinds = [rng.choices(tuple(prices), (3, 5, 1))[0] for _ in range(28)]
    rooms = [
        (n + 1, 100 * (1 + n // 10) + n % 10 + 1, kind, 1 + n // 10, prices[kind] + 6 * (n // 10))
        for n, kind in enumerate(kinds)
    ]
    guests = [
        (n + 1, name, rng.choice(CITIES)[1], email(name, "post.example"))
        for n, name in enumerate(person_names(rng, 40))
    ]
    stays = []
    for room in rooms:
        day = later("2025-02-20", rng.randrange(12))
        while day < "2025-04-10":
            end = later(day, rng.randrange(1, 7))
            status = "checked out" if end <= _TODAY else "checked in" if day < _TODAY else "booked"
            stays.append((room[0], rng.randrange(1, 41), day, end, "cancelled" if rng.random() < 0.08 else status))
            day = later(end, rng.randrange(1, 18))
    stays.sort(key=lambda stay: (stay[2], stay[0]))
    tables = {
        "rooms": Table(
            (
                KEY,
                "number INTEGER NOT NULL UNIQUE",
                one_of("kind", *prices),
                "floor INTEGER NOT NULL",
                "price INTEGER NOT NULL",
            ),
            rooms,
            ("kind",),
        ),
        "guests": Table((KEY, "name TEXT NOT NULL", "country TEXT", "email TEXT"), guests),
        "reservations": Table(
            (
                KEY,
                refers("room_id", "rooms"),
                refers("guest_id", "guests"),
                "arrival TEXT NOT NULL",
                "departure TEXT NOT NULL",
                one_of("status", "booked", "checked in", "checked out", "cancelled"),
                "CHECK (departure > arrival)",
            ),
            [(n + 1, *stay) for n, stay in enumerate(stays)],
            ("room_id", "arrival"),
        ),
    }
    return made_database(
        tables, "A hotel of 28 rooms with guests and reservations, February to April 2025 (EUR a night)."
    )


def _music() -> Made:
    rng = generator("music.db")
    bands = [
        f"{a} {b}"
        for a in ("Velvet", "Electric", "Tidal", "Lunar", "Gravel")
        for b in ("Foxes", "Assembly", "Echo", "Parade", "Union")
    ]
    artists = [(n + 1, name, rng.choice(CITIES)[1], rng.randrange(1968, 2018)) for n, name in enumerate(bands)]
    records, tracks = [], []
    for title in _titles(rng, 40):
        artist = rng.choice(artists)
        records.append((len(records) + 1, artist[0], title, rng.randrange(artist[3] + 1, 2025)))
        for number in range(1, rng.randrange(4, 9)):
            song = f"{rng.choice(('Running', 'Waiting', 'Glass', 'Morning', 'Paper', 'Violet', 'Low'))} {rng.choice(('Light', 'Hands', 'Road', 'Signal', 'Weather', 'Room', 'Song'))}"
            tracks.append((len(tracks) + 1, len(records), number, song, rng.randrange(95, 420)))
    tables = {
        "artists": Table((KEY, "name TEXT NOT NULL UNIQUE", "country TEXT", "formed INTEGER"), artists),
        "albums": Table(
            (KEY, refers("artist_id", "artists"), "title TEXT NOT NULL", "year INTEGER NOT NULL"),
            records,
            ("artist_id",),
        ),
        "tracks": Table(
            (
                KEY,
                refers("album_id", "albums"),
                "number INTEGER NOT NULL",
                "title TEXT NOT NULL",
                "seconds INTEGER NOT NULL CHECK (seconds > 0)",
                "UNIQUE (album_id, number)",
            ),
            tracks,
        ),
    }
    return made_database(tables, "A record collection: 25 artists, 40 albums and their tracks with length in seconds.")
