"""vLLM behind our command: its argument list and its environment. vLLM itself is never imported.

It runs as a child (``serve.supervisor``), not in our place, because somebody has to wait for it, prove that calls come
back parsed, and start it again.
"""

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serve.capacity import Devices, device_environment, device_flags, names_flag
from serve.families import FAMILIES, family_flags, thinks
from serve.fidelity import read_conversations
from serve.notices import warn
from serve.server import address, announce, listen
from serve.smoke import prove
from serve.supervisor import Limits, Stop, supervise
from serve.target import Target
from toolwright.config import RunConfig
from toolwright.dialect import dialect_for, render_prompt
from toolwright.errors import ConfigError, ModelError
from toolwright.stage import run_dir

OURS = ("--host", "--port", "--served-model-name", "--api-key")
UNKNOWN = Devices(others=True)
LORA_ONLY = {"use_dora": "DoRA", "lora_bias": "biases", "layer_replication": "replicated layers"}


def serve_vllm(config: RunConfig, target: Target, further: Sequence[str]) -> int:
    """Start vLLM and stay until a signal ends it; with ``serve.check`` until the smoke test is over.

    Raises:
        ConfigError: the port is in use, or a flag is set that this command sets itself.
        ModelError: the model cannot be served: no parser, no chat template with tools, too big for the GPUs.
        EndpointError: vLLM did not become ready, or died too often.
    """
    with listen(config.serve.host, config.serve.port) as listener:
        url, port = address(listener), listener.getsockname()[1]
    _check_tokenizer(target, [*config.serve.vllm_args, *further])
    devices = Devices.here()
    argv = build_argv(config, target, port, further, devices=devices, thinks=begins_with_reasoning(config, target))
    environment = child_environment(config, target, devices)
    stop = Stop()
    stop.on_signals()
    warn(f"starting: {' '.join(argv)}")

    def on_ready(first: bool) -> int | None:
        announce(config, target, url)
        if not (config.serve.smoke or config.serve.check):
            return None
        passed = prove(config, target, url, first=first, stopped=stop.asked.is_set)
        return int(not passed) if config.serve.check else None

    serve = config.serve
    limits = Limits(serve.start_timeout_s, 0 if serve.check else serve.restarts, serve.drain_s)
    code = supervise("vllm serve", argv, environment, url, limits, stop, on_ready)
    return int(serve.check) if stop.asked.is_set() else code


def _check_tokenizer(target: Target, extra: Sequence[str]) -> None:
    """Refuse what vLLM would serve and answer every request with tools wrongly or not at all."""
    if Path(target.source).is_dir() and not any(names_flag(extra, flag) for flag in ("--chat-template", "--tokenizer")):
        from toolwright.model import load_tokenizer

        load_tokenizer(target.tokenizer)


def build_argv(
    config: RunConfig,
    target: Target,
    port: int,
    further: Sequence[str] = (),
    *,
    devices: Devices = UNKNOWN,
    thinks: bool = False,
) -> list[str]:
    """The command line of vLLM for a target; ``serve.vllm_args`` and ``further`` come last, and so win.

    ``thinks``: whether replies begin with reasoning. Without ``devices`` vLLM finds out where the model goes.

    Raises:
        ConfigError: they set what this command sets itself.
        ModelError: the model writes calls in no form that we know a parser of vLLM for, or fits nowhere.
    """
    extra = [*config.serve.vllm_args, *further]
    clash = next((flag for flag in extra if flag.split("=")[0] in OURS), None)
    if clash:
        raise ConfigError(f"{clash}: set it with a flag before --, or in the serve section")
    model_type, template, template_file = read_template(target)
    argv = [target.vllm, "serve", target.source, "--host", config.serve.host, "--port", str(port)]
    argv += _name_flags(target)
    argv += family_flags(
        model_type,
        template,
        thinks=thinks,
        template_kwargs=config.sft.template_kwargs,
        given=extra,
    )
    argv += ["--enable-auto-tool-choice"]
    if template_file is not None:
        argv += ["--chat-template", str(template_file)]
    if config.serve.drain_s >= 1:
        argv += ["--shutdown-timeout", str(math.ceil(config.serve.drain_s))]  # vLLM's own is 0: replies break off
    argv += _dtype_flags(config, target, extra)
    return argv + device_flags(config.serve, target, devices, extra) + extra


def _name_flags(target: Target) -> list[str]:
    if target.adapter is None:
        return ["--served-model-name", target.name]
    settings = _read_json(target.adapter / "adapter_config.json")
    found = [what for key, what in LORA_ONLY.items() if settings.get(key)]
    found += ["whole modules (modules_to_save)"] if settings.get("modules_to_save") else []
    if found:
        raise ModelError(
            f"{target.adapter}: an adapter with {' and '.join(found)}; vLLM serves plain LoRA only: merge it first "
            "(python -m merge), or use serve.engine=transformers"
        )
    ranks = [settings.get("r", 16), *(settings.get("rank_pattern") or {}).values()]
    rank = max(8, 1 << (max(int(rank) for rank in ranks) - 1).bit_length())
    # The base needs a name of its own: the adapter has the one that clients ask for.
    flags = ["--served-model-name", f"{target.name}/base", "--enable-lora", "--max-lora-rank", str(rank)]
    flags += ["--lora-modules", f"{target.name}={target.adapter}"]
    return flags + (["--tokenizer", target.tokenizer] if target.tokenizer != target.source else [])


def begins_with_reasoning(config: RunConfig, target: Target) -> bool:
    """Whether replies begin with reasoning; the tokenizer is loaded only where the chat template leaves it open.

    Raises:
        ModelError: the tokenizer cannot be loaded.
    """
    model_type, template, _ = read_template(target)
    try:
        dialect = dialect_for(model_type, template)
    except ModelError:
        return False
    family = FAMILIES[dialect]
    if not family.reasoning or family.always or (template is not None and "<think>" not in template):
        return False
    if template is None:
        return any(word in model_type.lower() for word in ("qwen3", "qwq", "glm", "-r1", "nemotron"))
    from toolwright.model import load_tokenizer

    tokenizer = load_tokenizer(target.tokenizer)
    return thinks(tokenizer, dialect, config.sft.template_kwargs, _trained_replies(config, target, tokenizer))


def _trained_replies(config: RunConfig, target: Target, tokenizer: Any) -> list[str]:
    """Assistant turns as training rendered them; none for a model that was not trained here."""
    if target.run is None and target.adapter is None:
        return []
    replies = []
    for conversation in read_conversations(target.run or run_dir(config)):
        roles = [message.role for message in conversation.messages]
        if "assistant" in roles:
            last = len(roles) - 1 - roles[::-1].index("assistant")
            kwargs = {**config.sft.template_kwargs, **conversation.chat_template_kwargs}
            whole, before = conversation.messages[: last + 1], conversation.messages[:last]
            text = render_prompt(tokenizer, whole, conversation.tools, add_generation_prompt=False, **kwargs)
            replies.append(text.removeprefix(render_prompt(tokenizer, before, conversation.tools, **kwargs)))
        if len(replies) == 20:
            break
    return replies


def _dtype_flags(config: RunConfig, target: Target, extra: Sequence[str]) -> list[str]:
    """vLLM makes float16 of float32, in which a model that was trained in another type can overflow."""
    settings = _read_json(Path(target.source) / "config.json")
    stored = settings.get("dtype") or settings.get("torch_dtype")
    return ["--dtype", config.serve.dtype] if stored == "float32" and not names_flag(extra, "--dtype") else []


def child_environment(config: RunConfig, target: Target, devices: Devices) -> dict[str, str]:
    """Environment of vLLM; the key goes there, where a list of processes does not show it."""
    key = {} if target.api_key is None else {"VLLM_API_KEY": target.api_key}
    return {**os.environ, **device_environment(config.serve, target, devices), **key}


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
