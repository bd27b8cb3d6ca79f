"""The people of the company world: the staff that all files share, and names for everybody else."""

import random
import unicodedata
from functools import lru_cache
from typing import NamedTuple

from mcpserver.company.made import DOMAIN, generator, later

FIRST_NAMES = (
    "Amelia Oscar Priya Tomás Ingrid Malik Zoë Henrik Yara Lucas Noor Viktor Elena Samuel Aisha Jonas Chiara Dmitri "
    "Fatima George Hana Ibrahim Julia Kofi Lena Mateo Nadia Otto Paula Quentin Rosa Stefan Tessa Umar Vera Wei "
    "Ximena Yusuf Zainab Anders Beatriz Cormac Daria Emil Freya Gianni Helga Ivo Jasmin Karim"
)
LAST_NAMES = (
    "Abbott Bergström Castillo Dawson Eriksen Fontaine Gruber Haddad Ivanova Jansen Kowalski Lindqvist Moreau "
    "Nakamura Okafor Petrov Quinn Rossi Schneider Tanaka Ueda Vasquez Whitfield Xu Yilmaz Zeller Almeida Brandt "
    "Carver Dubois Ellery Fischer Garrity Holm Iqbal Jørgensen Keller Larkin Mendes Novák Osei Pereira Radley "
    "Sandoval Thorne Urbina Voss Wagner Yeats Zimmer"
)
CITIES = (
    ("Rotterdam", "Netherlands"),
    ("Hamburg", "Germany"),
    ("Lyon", "France"),
    ("Porto", "Portugal"),
    ("Gdansk", "Poland"),
    ("Leeds", "United Kingdom"),
    ("Bergen", "Norway"),
    ("Turin", "Italy"),
    ("Graz", "Austria"),
    ("Malmö", "Sweden"),
    ("Valencia", "Spain"),
    ("Ghent", "Belgium"),
)
CITY_NAMES = tuple(city for city, _ in CITIES)
OFFICES = ("Leeds", "Rotterdam", "Hamburg", "Lyon", "Gdansk")
DEPARTMENTS = ("Sales", "Engineering", "Finance", "Operations", "HR")
_SIZES = {"Sales": 15, "Engineering": 18, "Finance": 8, "Operations": 13, "HR": 6}
_TITLES = {
    "Sales": ("Head of Sales", "Key Account Manager", "Sales Representative", "Sales Assistant"),
    "Engineering": ("Head of Engineering", "Lead Engineer", "Mechanical Engineer", "Test Technician"),
    "Finance": ("Head of Finance", "Controller", "Accountant", "Payroll Clerk"),
    "Operations": ("Head of Operations", "Plant Supervisor", "Machinist", "Warehouse Clerk"),
    "HR": ("Head of HR", "Recruiter", "HR Adviser", "HR Assistant"),
}
_SALARIES = (88_000, 61_000, 46_000, 36_000)
_UNFOLDED = str.maketrans({"ø": "o", "Ø": "O", "ł": "l", "ß": "ss"})


class Employee(NamedTuple):
    """One of the company's staff."""

    id: int
    name: str
    department: str
    title: str
    salary: int
    hired: str
    city: str
    email: str


@lru_cache(maxsize=1)
def employees() -> tuple[Employee, ...]:
    """The 60 employees, the same in every file that names them; the first of a department leads it."""
    rng = generator("employees")
    names = person_names(rng, sum(_SIZES.values()))
    posts = [(department, rank) for department, size in _SIZES.items() for rank in range(size)]
    leads = [post for post in posts if post[1] == 0]
    rest = [post for post in posts if post[1] > 0]
    rng.shuffle(rest)
    return tuple(_hire(rng, n + 1, name, *post) for n, (name, post) in enumerate(zip(names, leads + rest)))


def _hire(rng: random.Random, number: int, name: str, department: str, rank: int) -> Employee:
    level = 0 if rank == 0 else 1 if rank <= 2 else 2 if rank % 3 else 3
    salary = _SALARIES[level] + rng.randrange(-8, 17) * 500
    hired = later("2012-01-02", rng.randrange(0, 4750))
    return Employee(
        number, name, department, _TITLES[department][level], salary, hired, rng.choice(OFFICES), email(name)
    )


def person_names(rng: random.Random, count: int) -> list[str]:
    """``count`` different names, first and last."""
    everybody = [f"{first} {last}" for first in FIRST_NAMES.split() for last in LAST_NAMES.split()]
    return rng.sample(everybody, count)


def ascii_name(name: str) -> str:
    """A name in lower-case ASCII with dots, as in e-mail addresses."""
    folded = unicodedata.normalize("NFKD", name.translate(_UNFOLDED))
    return "".join(character for character in folded.lower().replace(" ", ".") if character.isascii())


def email(name: str, domain: str = DOMAIN) -> str:
    """A person's e-mail address."""
    return f"{ascii_name(name)}@{domain}"


def phone(rng: random.Random) -> str:
    """A telephone number from the British range that is kept for fiction."""
    return f"+44 20 7946 0{rng.randrange(1000):03d}"
