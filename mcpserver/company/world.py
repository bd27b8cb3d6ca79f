"""Putting the company world together: every generated file, beside those of the desk."""

from mcpserver.baseworld import default_base
from mcpserver.company.archives import make_archives
from mcpserver.company.databases import make_company_databases
from mcpserver.company.documents import make_documents
from mcpserver.company.images import make_images
from mcpserver.company.logs import make_logs
from mcpserver.company.made import Files, Made
from mcpserver.company.mail import make_mail
from mcpserver.company.pages import make_pages
from mcpserver.company.programs import make_programs
from mcpserver.company.prose import make_prose
from mcpserver.company.public_databases import make_public_databases
from mcpserver.company.records import make_records
from mcpserver.company.settings import make_settings
from mcpserver.company.sheets import make_sheets
from mcpserver.company.tables import make_tables
from mcpserver.workspace import DATABASES, FILES

_DESK = {
    "notes": "The notes of a meeting of the gas desk on {name}.",
    "contracts": "The gas contract with {name}: hub, volume, price, month of delivery.",
    "prices": "Gas prices at {name} on eight days of March 2025 (EUR/MWh).",
    "config": "Settings of the gas desk: {name}.",
    "reports": "The gas desk's report of {name}: profit, trades, storage.",
}
_DESK_DATABASES = {
    "trades": "The gas desk: trades, partners and invoices.",
    "storage": "Gas storage: sites, their levels and maintenance.",
}


def generate() -> Files:
    """Make the whole world: ``files/…`` and ``databases/….db``, sorted by path."""
    world = {path: Made(content, _desk_summary(path)) for path, content in default_base().items()}
    desk = {path.removeprefix(f"{FILES}/"): content for path, content in default_base().items()}
    files = (
        make_tables()
        | make_sheets()
        | make_records()
        | make_settings()
        | make_documents()
        | make_pages()
        | make_images()
    )
    files |= make_mail() | make_logs() | make_prose() | make_programs()
    files |= make_archives(desk | {path: made.content for path, made in files.items()})
    world |= {f"{FILES}/{path}": made for path, made in files.items()}
    databases = make_company_databases() | make_public_databases()
    world |= {f"{DATABASES}/{name}": made for name, made in databases.items()}
    return dict(sorted(world.items()))


def _desk_summary(path: str) -> str:
    _, _, rest = path.partition("/")
    folder, _, name = rest.rpartition("/")
    stem = name.partition(".")[0].replace("_", " ")
    return _DESK[folder].format(name=stem) if folder else _DESK_DATABASES[stem]
