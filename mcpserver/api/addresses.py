"""Which addresses may be called: http and https, and no machine of a private network unless that is allowed.

Names are looked up here and the connection goes to the address that was checked, so a name cannot mean another machine
a moment later.
"""

import asyncio
import ipaddress
import socket
from typing import NamedTuple
from urllib.parse import urlsplit

from mcpserver.tool_error import ToolError
from toolwright.errors import ConfigError
from toolwright.words import shorten

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_COMPATIBLE = ipaddress.ip_network("::/96")


class Target(NamedTuple):
    """A checked endpoint: the host as it is named, the address to connect to, and the port."""

    host: str
    address: str
    port: int


def check_url(url: str) -> None:
    """Refuse what is no http or https URL.

    Raises:
        ConfigError: says what is wrong.
    """
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        good = good and not parts.query and not parts.fragment and parts.username is None
    except ValueError:
        good = False
    if not good:
        raise ConfigError(f"base_url {shorten(url)}: expected http://… or https://… without user, query or fragment")


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet; those that stand for another one are judged by it."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and (ip in _NAT64 or ip in _COMPATIBLE):
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if ip.teredo is not None:
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


async def find_target(scheme: str, host: str, port: int | None, *, allow_private: bool) -> Target:
    """Look up a host and check where it is.

    Raises:
        ToolError: ``denied``, the host is in a private network.
        OSError: the host is not known.
    """
    if scheme not in ("http", "https"):
        raise ToolError("denied", f"only http and https are called, not {shorten(scheme, 20)}")
    number = port or (443 if scheme == "https" else 80)
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, number, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(row[4][0]) for row in found))
    if not addresses:
        raise OSError(f"no address for {host}")
    if not allow_private and not all(map(is_public, addresses)):
        raise ToolError(
            "denied",
            f"{shorten(host, 60)} is this machine or in a private network; the setting apis.allow_private allows it",
        )
    return Target(host, addresses[0], number)
