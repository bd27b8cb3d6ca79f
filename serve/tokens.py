"""``/tokenize`` and ``/detokenize``, as vLLM has them: text or messages into token ids, and back."""

from typing import Any

from serve.fields import check_tokens, encode, refuse_unsupported
from serve.protocol import read_tools, render
from toolwright.engine import Engine
from toolwright.engine.text import decode
from toolwright.errors import DataError
from toolwright.words import shorten

MOST_SHOWN = 2**16
CONTEXTS = 16
"""How many times what the model takes may be counted."""


def count_tokens(engine: Engine, body: dict[str, Any]) -> dict[str, Any]:
    """Token ids of messages with tools, or of a text.

    Raises:
        ContextError: more tokens than are counted here.
        DataError: neither is there, a field is wrong, or the chat template refuses the messages.
    """
    refuse_unsupported({name: body.get(name) for name in ("chat_template", "continue_final_message")})
    if isinstance(body.get("messages"), list):
        tools, keywords = body.get("tools"), body.get("chat_template_kwargs")
        if not isinstance(tools, list | None) or not isinstance(keywords, dict | None):
            raise DataError("tools: expected a list, and chat_template_kwargs: an object")
        generation = _flag(body, "add_generation_prompt", True)
        text = render(engine, body["messages"], read_tools(tools), keywords, add_generation_prompt=generation)
        special = _flag(body, "add_special_tokens", False)
    elif isinstance(body.get("prompt"), str):
        text, special = body["prompt"], _flag(body, "add_special_tokens", True)
    else:
        raise DataError("body: expected messages (a list) or prompt (a text)")
    ids = list(encode(engine, text, "messages" if "messages" in body else "prompt", special, CONTEXTS))
    shown = _show(engine, ids) if _flag(body, "return_token_strs", False) else None
    return {"count": len(ids), "max_model_len": engine.max_tokens_total, "tokens": ids, "token_strs": shown}


def _show(engine: Engine, ids: list[int]) -> list[str]:
    if len(ids) > MOST_SHOWN:
        raise DataError(f"return_token_strs: {len(ids)} tokens: at most {MOST_SHOWN} are shown one by one")
    return [decode(engine.tokenizer, [token]) for token in ids]


def write_text(engine: Engine, body: dict[str, Any]) -> dict[str, Any]:
    """The text of token ids.

    Raises:
        DataError: no list of ids, or one that the model does not know.
    """
    tokens = body.get("tokens")
    if not isinstance(tokens, list) or not all(type(token) is int for token in tokens):
        raise DataError(f"tokens: expected a list of token ids, got {shorten(tokens)}")
    check_tokens(engine, tuple(tokens), "tokens")
    return {"prompt": decode(engine.tokenizer, tokens)}


def _flag(body: dict[str, Any], name: str, default: bool) -> bool:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise DataError(f"{name}: expected true or false, got {shorten(value)}")
    return value
