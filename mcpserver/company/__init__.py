"""The company world: about a hundred files in many formats and 14 databases, made by a seeded generator.

``company_base`` gives the bytes, ``company_folder`` the same as a read-only directory, ``company_catalogue`` what is in
each file, and ``describe_folder`` the same of any other folder. ``python -m mcpserver.company DIR`` writes it out.
"""

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType


@lru_cache(maxsize=1)
def company_base() -> Mapping[str, bytes]:
    """The files and databases of the company world by path, with those of the desk."""
    from mcpserver.company.world import generate

    return MappingProxyType({path: made.content for path, made in generate().items()})
