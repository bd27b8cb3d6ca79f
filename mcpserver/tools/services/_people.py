"""The people and companies of the simulated services; Nora Lindqvist is the one whom the agent works for."""

from collections.abc import Sequence
from typing import NamedTuple

from mcpserver.tool_error import ToolError
from toolwright.words import nearest, show

COMPANY = "Tidewell Gas"


class Person(NamedTuple):
    """Somebody with an address."""

    name: str
    company: str
    role: str
    city: str
    phone: str

    @property
    def email(self) -> str:
        """first.last@company.example"""
        domain = "".join(c for c in self.company.lower() if c.isalnum())
        return f"{self.name.lower().replace(' ', '.')}@{domain}.example"


COLLEAGUES = (
    Person("Nora Lindqvist", COMPANY, "Head of trading operations", "Rotterdam", "+31 10 555 0101"),
    Person("Tomasz Wilk", COMPANY, "Gas trader", "Rotterdam", "+31 10 555 0102"),
    Person("Ingrid Solheim", COMPANY, "Market analyst", "Oslo", "+47 21 555 103"),
    Person("Pieter Vermeer", COMPANY, "Scheduler", "Rotterdam", "+31 10 555 0104"),
    Person("Amara Okafor", COMPANY, "Risk manager", "London", "+44 20 5550 0105"),
    Person("Lukas Brandt", COMPANY, "IT support", "Hamburg", "+49 40 555 0106"),
    Person("Sofia Marchetti", COMPANY, "Financial controller", "Milan", "+39 02 555 0107"),
    Person("Daniel Kovacs", COMPANY, "Legal counsel", "Vienna", "+43 1 555 0108"),
    Person("Hannah Price", COMPANY, "HR partner", "London", "+44 20 5550 0109"),
    Person("Yusuf Demir", COMPANY, "Operations engineer", "Hamburg", "+49 40 555 0110"),
    Person("Claire Fontaine", COMPANY, "Key account manager", "Paris", "+33 1 5550 0111"),
    Person("Rafael Ortiz", COMPANY, "Data engineer", "Madrid", "+34 91 555 0112"),
)
PARTNERS = (
    Person("Greta Brinkmann", "Brinkmann Pumps", "Managing director", "Hamburg", "+49 40 555 0201"),
    Person("Simon Achebe", "Aldgate Freight", "Logistics planner", "London", "+44 20 5550 0202"),
    Person("Luisa Corvo", "Corvo Metering", "Sales engineer", "Milan", "+39 02 555 0203"),
    Person("Judith Hallam", "Hallam Law", "Partner", "London", "+44 20 5550 0204"),
    Person("Erik Haugen", "Fjordline Storage", "Storage planner", "Oslo", "+47 21 555 205"),
    Person("Priya Raman", "Kestrel Software", "Customer success", "Amsterdam", "+31 20 555 0206"),
    Person("Marco Bellini", "Vantage Catering", "Event manager", "Milan", "+39 02 555 0207"),
    Person("Helen Whitby", "Oakmere Insurance", "Underwriter", "London", "+44 20 5550 0208"),
    Person("Joris Maas", "Delta Port Services", "Berth coordinator", "Rotterdam", "+31 10 555 0209"),
    Person("Emily Carter", "Solace Travel", "Travel agent", "Paris", "+33 1 5550 0210"),
)
PEOPLE = COLLEAGUES + PARTNERS
ME = PEOPLE[0]
NAMES = tuple(person.name for person in PEOPLE)
_BY_LOWER = {key.lower(): person for person in PEOPLE for key in (person.name, person.email)}


def find_person(who: str, parameter: str, among: Sequence[Person] = PEOPLE) -> Person:
    """The person with a name or an e-mail address.

    Raises:
        ToolError: nobody; names the nearest.
    """
    person = _BY_LOWER.get(who.strip().lower())
    if person is None or person not in among:
        options = [key for p in among for key in (p.name, p.email)]
        raise ToolError("bad_arguments", f"{parameter}: nobody is called {show(who)}{nearest(who, options)}")
    return person
