"""What to paste to try a server: the same request for ``curl`` and for the ``openai`` package."""

import json
import pprint
import shlex
from collections.abc import Mapping
from typing import Any


def snippets(url: str, request: Mapping[str, Any], api_key_env: str | None) -> str:
    """Two ways to send ``request`` to the server at ``url``; the key comes from the variable that the server reads."""
    shell, program = curl(url, request, api_key_env), python(url, request, api_key_env)
    return f"try it with curl:\n\n{shell}\n\nor from Python:\n\n{program}\n"


def curl(url: str, request: Mapping[str, Any], api_key_env: str | None) -> str:
    """A line for a POSIX shell."""
    key = f'\\\n  -H "Authorization: Bearer ${api_key_env}" ' if api_key_env else ""
    body = shlex.quote(json.dumps(request, ensure_ascii=False))
    return f"curl -sS {url}/v1/chat/completions -H 'Content-Type: application/json' {key}\\\n  -d {body}"


def python(url: str, request: Mapping[str, Any], api_key_env: str | None) -> str:
    """A program; prints the calls, else the text."""
    key = f"os.environ[{api_key_env!r}]" if api_key_env else repr("none")
    fields = "\n".join(
        f"    {name}={pprint.pformat(value, width=100, sort_dicts=False).replace(chr(10), chr(10) + '    ')},"
        for name, value in request.items()
    )
    return (
        f"{'import os' + chr(10) if api_key_env else ''}from openai import OpenAI\n\n"
        f"client = OpenAI(base_url={url + '/v1'!r}, api_key={key})\n"
        f"reply = client.chat.completions.create(\n{fields}\n).choices[0].message\n"
        "print([(call.function.name, call.function.arguments) for call in reply.tool_calls or []] or reply.content)"
    )
