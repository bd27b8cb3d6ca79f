"""vLLM behind our command: its argument list, and its process while it serves. vLLM itself is never imported.

It runs as a child, not in our place, because somebody has to wait for it, prove that calls come back parsed, and pass
signals on.
"""

import json
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serve.server import address, announce, listen
from serve.smoke import report, smoke_request, smoke_test
from serve.target import Target
from toolwright.config import RunConfig
from toolwright.dialect import dialect_for, vllm_parser
from toolwright.errors import ConfigError, EndpointError, ModelError

LOOK_S = 0.5
STOP_S = 30.0
OURS = ("--host", "--port", "--served-model-name", "--api-key")


def serve_vllm(config: RunConfig, target: Target, further: Sequence[str]) -> int:
    """Start vLLM and stay until it ends or a signal ends it; with ``serve.check`` until the smoke test is over.

    Raises:
        ConfigError: the port is in use, or a flag is set that this command sets itself.
        EndpointError: vLLM ended by itself.
    """
    with listen(config.serve.host, config.serve.port) as listener:
        url, port = address(listener), listener.getsockname()[1]
    argv = build_argv(config, target, port, further)
    print(f"starting: {' '.join(argv)}", file=sys.stderr, flush=True)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    process = subprocess.Popen(argv, env=child_environment(target))
    try:
        return _attend(config, target, process, url, stopping)
    finally:
        _stop(process)


def build_argv(config: RunConfig, target: Target, port: int, further: Sequence[str] = ()) -> list[str]:
    """The command line of vLLM for a target; ``serve.vllm_args`` and ``further`` come last, and so win.

    Raises:
        ConfigError: they set what this command sets itself.
        ModelError: the model writes calls in no form that we know a parser of vLLM for.
    """
    extra = [*config.serve.vllm_args, *further]
    clash = next((flag for flag in extra if flag.split("=")[0] in OURS), None)
    if clash:
        raise ConfigError(f"{clash}: set it with a flag before --, or in the serve section")
    model_type, template, template_file = read_template(target)
    argv = [target.vllm, "serve", target.source, "--host", config.serve.host, "--port", str(port)]
    if target.adapter is None:
        argv += ["--served-model-name", target.name]
    else:
        # The base needs a name of its own: the adapter has the one that clients ask for.
        rank = json.loads((target.adapter / "adapter_config.json").read_text(encoding="utf-8")).get("r", 16)
        argv += ["--served-model-name", f"{target.name}/base", "--enable-lora"]
        argv += ["--max-lora-rank", str(max(8, 1 << (int(rank) - 1).bit_length()))]
        argv += ["--lora-modules", f"{target.name}={target.adapter}"]
    if "--tool-call-parser" not in {flag.split("=")[0] for flag in extra}:
        argv += ["--tool-call-parser", _find_parser(model_type, template)]
    argv += ["--enable-auto-tool-choice"]
    if config.serve.max_model_len is not None:
        argv += ["--max-model-len", str(config.serve.max_model_len)]
    if template_file is not None:
        argv += ["--chat-template", str(template_file)]
    return argv + extra


def _find_parser(model_type: str, template: str | None) -> str:
    try:
        dialect = dialect_for(model_type, template)
    except ModelError as error:
        raise ModelError(f"{error}, or name a parser of vLLM's: -- --tool-call-parser NAME") from None
    return vllm_parser(dialect)


def read_template(target: Target) -> tuple[str, str | None, Path | None]:
    """Model type or name, chat template, and the file that vLLM must be given because it would not find it itself.

    An adapter's template is what it was trained with: it wins over the base's, which vLLM would take.
    """
    source = Path(target.source)
    model_type = str(_read_json(source / "config.json").get("model_type") or target.source)
    if target.adapter is not None and (target.adapter / "chat_template.jinja").is_file():
        path = target.adapter / "chat_template.jinja"
        return model_type, path.read_text(encoding="utf-8"), path
    if (source / "chat_template.jinja").is_file():
        return model_type, (source / "chat_template.jinja").read_text(encoding="utf-8"), None
    template = _read_json(source / "tokenizer_config.json").get("chat_template")
    return model_type, template if isinstance(template, str) else None, None


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path}: not JSON ({error}); save the model anew") from None
    return content if isinstance(content, dict) else {}


def child_environment(target: Target) -> dict[str, str] | None:
    """Environment of vLLM: the key goes there, where a list of processes does not show it."""
    import os

    return None if target.api_key is None else {**os.environ, "VLLM_API_KEY": target.api_key}


def _attend(
    config: RunConfig, target: Target, process: "subprocess.Popen[bytes]", url: str, stopping: threading.Event
) -> int:
    if not _wait_until_healthy(process, url, stopping):
        return 0
    announce(config, target, url)
    if config.serve.smoke or config.serve.check:
        passed = report(smoke_test(url, target, smoke_request(config, target)))
        if config.serve.check:
            return 0 if passed else 1
    while not stopping.wait(LOOK_S):
        _require_alive(process)
    return 0


def _wait_until_healthy(process: "subprocess.Popen[bytes]", url: str, stopping: threading.Event) -> bool:
    """Wait as long as vLLM takes, which can be minutes; false when told to stop meanwhile."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while not stopping.wait(LOOK_S):
        _require_alive(process)
        try:
            with opener.open(f"{url}/health", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            continue
    return False


def _require_alive(process: "subprocess.Popen[bytes]") -> None:
    code = process.poll()
    if code is not None:
        raise EndpointError(f"vllm serve ended with code {code}; its own messages are above")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.terminate()
    deadline = time.monotonic() + STOP_S
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    if process.poll() is None:
        process.kill()
    process.wait()
