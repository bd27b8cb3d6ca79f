"""``python -m serve [config.yaml] [--model merged] [-- flags of vLLM]``: a model behind an OpenAI-compatible endpoint.

Prints ``serving NAME on http://HOST:PORT`` when it answers, then proves that a tool call comes back parsed. SIGTERM,
Ctrl-C and a closed terminal end it with exit code 0; ``--check`` ends it after the proof: 0 if a call came back parsed,
else 1.
``python -m serve chat`` is an agent in the terminal.
"""

import sys
from collections.abc import Sequence

from serve.target import find_target
from toolwright.command import Flag, parse_command, run_command

FLAGS = (
    Flag(("--model",), "serve.model", "what to serve: a directory, `merged`, `base` or a hub id"),
    Flag(("--adapter",), "serve.adapter", "adapter on top: sft, rl, or a directory"),
    Flag(("--engine",), "serve.engine", "auto, vllm or transformers"),
    Flag(("--host",), "serve.host", "address to listen on"),
    Flag(("--port",), "serve.port", "port; 0 takes a free one"),
    Flag(("--api-key-env",), "serve.api_key_env", "environment variable with the key that clients must send"),
    Flag(("--check",), "serve.check", "exit after the smoke test", switch=True),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``python -m serve``."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["chat"]:
        from serve.chat import main as chat

        return chat(words[1:])
    return run_command(lambda: _run(words))


def _run(words: list[str]) -> int:
    words, further = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    config = parse_command(words, prog="python -m serve", about=__doc__ or "", sections=("serve",), flags=FLAGS)
    target = find_target(config)
    if target.engine == "vllm":
        from serve.vllm import serve_vllm

        return serve_vllm(config, target, further)
    from serve.server import serve_transformers

    return serve_transformers(config, target, further)


if __name__ == "__main__":
    sys.exit(main())
