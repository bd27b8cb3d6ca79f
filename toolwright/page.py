"""Self-contained HTML pages: a template with ``{{name}}`` places, data as JSON, a policy that lets one script run.

The page's content security policy should hold ``script-src 'sha256-{{script_hash}}'``: then what models, tools or data
wrote cannot run, even where it was not escaped. Reads and writes no files.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping


def fill(template: str, values: Mapping[str, str]) -> str:
    """Put values into ``{{name}}`` places, in one pass: what a value holds is never filled again."""
    return re.sub(r"\{\{(\w+)\}\}", lambda place: values[place[1]], template)


def script_hash(template: str) -> str:
    """SHA-256, in base64, of the template's one inline ``<script>``."""
    script = template.split("<script>")[1].split("</script>")[0]
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def safe_json(value: object) -> str:
    """JSON that can stand in an HTML script element: it holds no ``<``, ``>`` or ``&``."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
