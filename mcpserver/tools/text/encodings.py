"""Text in other forms: encoded and decoded, hashed, signed, taken apart by character, addresses built and read."""

import base64
import binascii
import hashlib
import hmac
import html
import json
import quopri
import unicodedata
import urllib.parse
import uuid
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from mcpserver.tool_error import ToolError
from mcpserver.toolbox.check_digits import Kind, check, normal
from mcpserver.toolbox.morse import from_morse, to_morse
from mcpserver.toolbox.results import page, whole

RUNS_IN = "server"

Text = Annotated[str, Len(0, 8000)]
Coding = Literal["base64", "base64url", "base32", "hex", "url", "html", "quoted_printable", "rot13", "morse", "json"]
Method = Literal["md5", "sha1", "sha224", "sha256", "sha384", "sha512", "sha3_256", "blake2b"]
Address = Annotated[str, Len(1, 2000)]

_ROT13 = str.maketrans(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", "NOPQRSTUVWXYZABCDEFGHIJKLMnopqrstuvwxyzabcdefghijklm"
)


class AddressParts(TypedDict, total=False):
    """The parts of a web address; query values may be lists for repeated names."""

    scheme: Literal["http", "https", "ftp"]
    host: Annotated[str, Len(1, 253)]
    port: Annotated[int, Ge(1), Le(65535)]
    path: Annotated[str, Len(0, 1000)]
    query: dict[str, str | int | float | bool | list[str]]
    fragment: Annotated[str, Len(0, 200)]


def encode_text(text: Text, coding: Coding) -> dict[str, Any]:
    """Encode a text.

    Args:
        text: any text; its UTF-8 bytes are encoded
        coding: url writes %20, html writes &amp;, json makes a quoted string

    Example:
        {"text": "Straße 5", "coding": "base64"}
        {"text": "a=1&b=2", "coding": "url"}
    """
    content = text.encode()
    match coding:
        case "base64" | "base64url":
            made = base64.b64encode(content) if coding == "base64" else base64.urlsafe_b64encode(content)
            return {"text": whole(made.decode())}
        case "base32":
            return {"text": whole(base64.b32encode(content).decode())}
        case "quoted_printable":
            return {"text": whole(quopri.encodestring(content).decode())}
        case "morse":
            return {"text": whole(to_morse(text))}
    simple = {
        "hex": lambda: content.hex(),
        "url": lambda: urllib.parse.quote(text, safe=""),
        "html": lambda: html.escape(text),
        "rot13": lambda: text.translate(_ROT13),
        "json": lambda: json.dumps(text, ensure_ascii=False),
    }
    return {"text": whole(simple[coding]())}


def decode_text(text: Text, coding: Coding) -> dict[str, Any]:
    """Decode a text; bytes that are no UTF-8 text are given in hexadecimal digits.

    Args:
        text: encoded text
        coding: how it is encoded

    Example:
        {"text": "U3RyYcOfZSA1", "coding": "base64"}
        {"text": "a%20b%3D1", "coding": "url"}
    """
    try:
        content = _decode(text, coding)
    except (ValueError, binascii.Error) as error:
        raise ToolError("bad_arguments", f"text: it is no {coding} ({error})") from None
    try:
        return {"text": whole(content if isinstance(content, str) else content.decode())}
    except UnicodeDecodeError:
        return {"hex": whole(content.hex() if isinstance(content, bytes) else ""), "bytes": len(content)}


def _decode(text: str, coding: Coding) -> str | bytes:
    plain = "".join(text.split())
    match coding:
        case "base64" | "base64url":
            padded = plain + "=" * (-len(plain) % 4)
            return base64.b64decode(padded, altchars=b"-_" if coding == "base64url" else None, validate=True)
        case "base32":
            return base64.b32decode(plain.upper() + "=" * (-len(plain) % 8))
        case "hex":
            return bytes.fromhex(plain)
        case "url":
            return urllib.parse.unquote_to_bytes(text)
        case "quoted_printable":
            return quopri.decodestring(text.encode())
        case "morse":
            return from_morse(text)
        case "json":
            return _from_json(text)
    return html.unescape(text) if coding == "html" else text.translate(_ROT13)


def _from_json(text: str) -> bytes:
    value = json.loads(text) if text.strip().startswith('"') else None
    if not isinstance(value, str):
        raise ValueError("a JSON string begins and ends with a quotation mark")
    return value.encode()


def hash_text(text: Text, method: Method = "sha256", key: Annotated[str, Len(1, 200)] | None = None) -> dict[str, Any]:
    """Compute the hash of a text, or its signature (HMAC) with a key.

    Args:
        text: any text; its UTF-8 bytes are hashed
        method: kind of hash
        key: secret key; left out, a plain hash

    Example:
        {"text": "order 5314", "method": "sha256"}
        {"text": "order 5314", "method": "sha1", "key": "secret"}
    """
    if key is None:
        digest = hashlib.new(method, text.encode(), usedforsecurity=False).hexdigest()
    else:
        digest = hmac.new(key.encode(), text.encode(), method).hexdigest()
    return {"method": f"hmac_{method}" if key else method, "digest": digest}


def inspect_characters(text: Annotated[str, Len(1, 500)], only_strange: bool = False) -> dict[str, Any]:
    """Tell code point, name and category of each character of a text.

    Args:
        text: any text
        only_strange: leave out plain ASCII, to find hidden or look-alike characters

    Example:
        {"text": "pаypal", "only_strange": true}
    """
    rows = [
        {"position": place, "character": character if character.isprintable() else "", **_character(character)}
        for place, character in enumerate(text)
        if not (only_strange and " " <= character <= "~")
    ]
    return page("characters", rows, limit=500)


def _character(character: str) -> dict[str, str]:
    name = unicodedata.name(character, "no name")
    return {"code_point": f"U+{ord(character):04X}", "name": name, "category": unicodedata.category(character)}


def normalize_unicode(text: Text, form: Literal["NFC", "NFD", "NFKC", "NFKD", "casefold"] = "NFC") -> dict[str, Any]:
    """Bring a text into a normal form of Unicode.

    Args:
        text: any text
        form: NFC joins letters and accents, NFD parts them, NFKC and NFKD also replace forms such as ½,
            casefold is for comparing

    Example:
        {"text": "Cafe\\u0301 ½", "form": "NFKC"}
    """
    new = text.casefold() if form == "casefold" else unicodedata.normalize(form, text)
    return {"text": whole(new), "changed": new != text, "characters": len(new)}


def parse_url(url: Address) -> dict[str, Any]:
    """Take a web address apart.

    Args:
        url: address

    Example:
        {"url": "https://www.example.com:8080/prices/2025?lang=en&hub=TTF#top"}
    """
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
        pairs = urllib.parse.parse_qsl(parts.query, keep_blank_values=True, max_num_fields=200)
    except ValueError as error:
        raise ToolError("bad_arguments", f"url: {error}") from None
    query: dict[str, list[str]] = {}
    for name, value in pairs:
        query.setdefault(name, []).append(value)
    if not parts.scheme:
        raise ToolError("bad_arguments", "url: it begins with no scheme such as https:")
    return {
        "scheme": parts.scheme,
        "host": parts.hostname or "",
        **({"port": port} if port is not None else {}),
        **({"user": parts.username} if parts.username else {}),
        "path": urllib.parse.unquote(parts.path),
        "query": {name: values[0] if len(values) == 1 else values for name, values in query.items()},
        "fragment": urllib.parse.unquote(parts.fragment),
    }


def build_url(parts: AddressParts, base: Address | None = None) -> dict[str, Any]:
    """Build a web address from parts, or change parts of one.

    Args:
        parts: what the address has; parts that are left out are kept from base
        base: address to begin with

    Example:
        {"parts": {"host": "example.com", "path": "/search", "query": {"q": "gas price", "page": 2}}}
        {"base": "http://example.com/a?x=1", "parts": {"scheme": "https", "query": {"x": ["1", "2"]}}}
    """
    try:
        old = urllib.parse.urlsplit(base or "https:")
        host, port = parts.get("host", old.hostname or ""), parts.get("port", old.port)
    except ValueError as error:
        raise ToolError("bad_arguments", f"base: {error}") from None
    if not host or any(character in host for character in ":/?#@[]\\ \t\n"):
        raise ToolError("bad_arguments", f"parts: host {host!r} is no name of a host")
    path = urllib.parse.quote(parts["path"], safe="/:@!$&'()*+,;=~") if "path" in parts else old.path
    query = {name: _query_value(value) for name, value in parts.get("query", {}).items()}
    url = urllib.parse.urlunsplit((
        parts.get("scheme", old.scheme),
        f"{host}:{port}" if port else host,
        f"/{path.lstrip('/')}" if path else "",
        urllib.parse.urlencode(query, doseq=True, quote_via=urllib.parse.quote) if "query" in parts else old.query,
        urllib.parse.quote(parts["fragment"]) if "fragment" in parts else old.fragment,
    ))  # fmt: skip
    return {"url": whole(url)}


def _query_value(value: str | float | bool | list[str]) -> str | list[str]:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, list) else str(value)


def make_uuid(
    name: Annotated[str, Len(1, 1000)], namespace: Literal["dns", "url", "oid", "x500"] = "url"
) -> dict[str, Any]:
    """Make the UUID (version 5) that belongs to a name; the same name gives the same UUID.

    Args:
        name: name in the namespace
        namespace: what kind of name it is

    Example:
        {"name": "https://example.com/orders/5314"}
    """
    spaces = {
        "dns": uuid.NAMESPACE_DNS,
        "url": uuid.NAMESPACE_URL,
        "oid": uuid.NAMESPACE_OID,
        "x500": uuid.NAMESPACE_X500,
    }
    return {"uuid": str(uuid.uuid5(spaces[namespace], name))}


def validate_code(code: Annotated[str, Len(1, 60)], kind: Kind) -> dict[str, Any]:
    """Check the form and the check digit of a card number, IBAN, ISBN, EAN or LEI.

    Args:
        code: with or without spaces and hyphens
        kind: what it should be

    Example:
        {"code": "DE89 3704 0044 0532 0130 00", "kind": "iban"}
        {"code": "978-3-16-148410-0", "kind": "isbn13"}
    """
    problem = check(code, kind)
    return {"valid": not problem, "code": normal(code), **({"problem": problem} if problem else {})}
