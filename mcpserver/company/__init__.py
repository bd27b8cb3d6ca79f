"""The company world: about a hundred files in many formats and 14 databases, made by a seeded generator.

``company_base`` gives the bytes, ``company_folder`` the same as a read-only directory, ``company_catalogue`` what is in
each file, and ``describe_folder`` the same of any other folder. ``python -m mcpserver.company DIR`` writes it out.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def company_base() -> Mapping[str, bytes]:
    """The files and databases of the company world by path, with those of the desk; nothing ever writes to it.

    Raises:
        ConfigError: neither the user's cache nor a temporary directory can be written.
    """
    from mcpserver.company.cache import open_company

    return open_company().base


def company_folder() -> Path:
    """A read-only directory with ``files/`` and ``databases/`` of the company world, checked once in each process.

    Raises:
        ConfigError: as ``company_base``.
    """
    from mcpserver.company.cache import open_company

    return open_company().folder


def company_catalogue() -> list[dict[str, Any]]:
    """What is in each file and database of the company world, as ``describe_folder``, with the generator's summaries.

    Raises:
        ConfigError: as ``company_base``.
    """
    from mcpserver.company.cache import open_company

    entries: list[dict[str, Any]] = json.loads(open_company().catalogue)
    return entries


def describe_folder(directory: Path) -> list[dict[str, Any]]:
    """Describe every file below a folder; see ``mcpserver.company.describe``.

    Raises:
        ConfigError: no such folder.
    """
    from mcpserver.company import describe

    return describe.describe_folder(directory)
