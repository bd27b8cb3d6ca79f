"""Loads what is trained, merged and served: base model, tokenizer with its chat template, LoRA adapter; threads, seeds.

Reads model and adapter directories (or hub ids); every way in which they do not fit is a ModelError here, so that the
stages need no checks of their own. Imports torch; transformers and PEFT are imported by the functions that need them.
"""

import json
import logging
import os
import random
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from toolwright.artifacts import fingerprint, hash_of, read_manifest
from toolwright.config_file import find_file
from toolwright.dialect import check_template
from toolwright.errors import ModelError
from toolwright.words import shorten

# Says at every import, which PEFT makes, that a faster kernel for CPUs is elsewhere.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
ADAPTER_WEIGHTS = "adapter_model.safetensors"


def set_threads(count: int | None) -> None:
    """Fix torch's CPU threads; none takes ``OMP_NUM_THREADS``, else one per core that this process may use."""
    if count is None and "OMP_NUM_THREADS" in os.environ:
        return
    torch.set_num_threads(count or len(os.sched_getaffinity(0)))


def choose_dtype(name: str) -> str:
    """``auto`` becomes bfloat16 on a GPU or a CPU that computes in it, else float32; other names stay.

    A CPU without AVX512-BF16 or AMX emulates bfloat16, slower than float32; on one with it training takes half the
    time (tiny model, one core: 8,000 against 4,100 tokens/s).
    """
    if name != "auto":
        return name
    if torch.cuda.is_available():
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    able: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return "bfloat16" if able.get("avx512_bf16") or able.get("amx_bf16") else "float32"


def quiet_libraries() -> None:
    """Silence what libraries say to their own developers: progress of loading weights, warnings of coming changes."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning)


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch, and ask torch for deterministic algorithms (a warning where there is none)."""
    import numpy

    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)


def model_source(model: str | Path) -> Path | str:
    """The directory of a model, or the hub id as it is; also what a ``Job`` lists as its input ``model``.

    Raises:
        ModelError: looks like a path, and is not a directory.
    """
    path = find_file(Path(model))
    if path.is_dir():
        return path
    text = str(model)
    if path.exists() or text.startswith((".", "/", "~")) or text.count("/") > 1:
        raise ModelError(f"{text}: not a model directory; name one, or a hub id such as Qwen/Qwen2.5-7B-Instruct")
    return text


def model_identity(model: str | Path) -> str:
    """Hash of a model directory's content; a hub id stands for itself."""
    source = model_source(model)
    return fingerprint(source) if isinstance(source, Path) else source


def load_tokenizer(path: str | Path, *, need_tools: bool = True) -> Any:
    """The fast tokenizer of a model or adapter directory, with a chat template that shows tools if ``need_tools``.

    Raises:
        ModelError: no tokenizer there, not a fast one, no chat template, or a template that leaves tools out.
    """
    from transformers import AutoTokenizer

    source = model_source(path)
    if isinstance(source, Path) and not (source / "tokenizer.json").exists() and not _has_vocabulary(source):
        raise ModelError(f"{source}: not a model directory (no tokenizer.json); check the path")
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(source), trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{source}: the tokenizer cannot be loaded: {_first_line(error)}") from None
    if not tokenizer.is_fast:
        raise ModelError(f"{source}: needs a fast tokenizer (tokenizer.json), got {type(tokenizer).__name__}")
    if need_tools:
        check_template(tokenizer, str(source))
    return tokenizer


def _has_vocabulary(directory: Path) -> bool:
    return any((directory / name).exists() for name in ("tokenizer.model", "vocab.json", "tokenizer_config.json"))


def load_model(path: str | Path, dtype: str = "base", **options: Any) -> Any:
    """A causal language model in ``dtype`` (float32, bfloat16, float16, or ``base``: as stored), in evaluation mode.

    ``options`` go to ``from_pretrained`` (quantization_config, device_map, attn_implementation).

    Raises:
        ModelError: no model there, weights that are missing or of another shape than the configuration says, or code
            of its own, which is never run.
    """
    from transformers import AutoModelForCausalLM

    source = model_source(path)
    if isinstance(source, Path) and not (source / "config.json").exists():
        raise ModelError(f"{source}: not a model directory (no config.json); check the path")
    wanted = "auto" if dtype == "base" else DTYPES[dtype]
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            str(source), dtype=wanted, output_loading_info=True, trust_remote_code=False, **options
        )
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as error:
        raise ModelError(f"{source}: the model cannot be loaded: {_first_line(error)}") from None
    broken = sorted({*map(str, info.get("missing_keys") or ()), *map(str, info.get("mismatched_keys") or ())})
    if broken:
        raise ModelError(f"{source}: {len(broken)} weights are missing or of another shape, first {broken[0]}")
    return model.eval()


def load_adapter(
    model: Any,
    adapter_dir: str | Path,
    base_path: str | Path,
    trainable: bool = False,
    name: str = "default",
    **options: Any,
) -> Any:
    """``model`` with the LoRA adapter of ``adapter_dir`` on it, adapter weights in float32.

    A model that has adapters gets one more, under another ``name``. ``options`` go to PEFT (low_cpu_mem_usage).

    Raises:
        ModelError: not an adapter, made for another base, or its tensors do not fit this model one to one.
    """
    from peft import PeftModel

    adapter_dir = Path(adapter_dir)
    if not (adapter_dir / "adapter_config.json").exists():
        raise ModelError(
            f"{adapter_dir}: not an adapter directory (no adapter_config.json); train one: python -m sft.train"
        )
    require_same_base(adapter_dir, base_path)
    try:
        if isinstance(model, PeftModel):
            peft_model = model
            peft_model.load_adapter(str(adapter_dir), name, is_trainable=trainable, **options)
        else:
            peft_model = PeftModel.from_pretrained(model, str(adapter_dir), name, is_trainable=trainable, **options)
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise ModelError(f"{adapter_dir}: does not fit the base model {base_path}: {_first_line(error)}") from None
    _require_same_tensors(peft_model, adapter_dir, name)
    return peft_model


def require_same_base(adapter_dir: Path, base_path: str | Path) -> None:
    """Refuse an adapter that was made for another base model.

    The manifest beside the adapter decides; without one, the base that ``adapter_config.json`` names, if it is there.
    An adapter that was trained on a quantised base belongs to the model that was quantised as well, which nothing can
    check but its shapes.

    Raises:
        ModelError: made for another base, or the same directory with other content; shows names and hashes.
    """
    manifest = read_manifest(adapter_dir)
    source, named = model_source(base_path), adapter_base(adapter_dir)
    recorded = manifest.inputs.get("model") if manifest else None
    if recorded is None and (named is None or str(named) == str(source)):
        return
    theirs: Path | str | None = None
    try:
        theirs = model_source(named) if named is not None else None
    except ModelError:
        if recorded is None:
            return  # the base it was made on is no longer there: shapes are all that can be compared
    if recorded is None:
        if theirs is None or isinstance(theirs, Path) != isinstance(source, Path):
            return
        recorded = _hash_of_model(theirs)
    actual = _hash_of_model(source)
    if actual != recorded and not _is_quantised(theirs):
        raise ModelError(
            f"{adapter_dir}: made for another base: {named or 'a model'} (hash {recorded[:12]}), not {source} (hash "
            f"{actual[:12]}); name its own base model, or train it anew on this one"
        )


def _hash_of_model(source: Path | str) -> str:
    return fingerprint(source) if isinstance(source, Path) else hash_of(source)


def _is_quantised(source: Path | str | None) -> bool:
    """Whether a model is stored in four or eight bits, by its configuration, or by what a hub id says."""
    if not isinstance(source, Path):
        return source is not None and any(mark in source.lower() for mark in ("bnb-4bit", "-awq", "-gptq", "-int4"))
    try:
        return "quantization_config" in json.loads((source / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False


def adapter_base(adapter_dir: Path) -> str | None:
    """The base model that an adapter names, a directory or a hub id."""
    return adapter_settings(adapter_dir).get("base_model_name_or_path")


def adapter_settings(adapter_dir: Path) -> Mapping[str, Any]:
    """The content of ``adapter_config.json``.

    Raises:
        ModelError: not there, or not a JSON object.
    """
    path = adapter_dir / "adapter_config.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read ({_first_line(error)}); train the adapter anew") from None
    if not isinstance(settings, dict):
        raise ModelError(f"{path}: expected an object, got {shorten(settings)}")
    return settings


def _require_same_tensors(peft_model: Any, adapter_dir: Path, name: str) -> None:
    """PEFT only warns about tensors that are missing, and merges on when some have no home: make both an error."""
    from peft import get_peft_model_state_dict
    from safetensors import safe_open

    with safe_open(adapter_dir / ADAPTER_WEIGHTS, framework="pt") as file:
        stored = set(file.keys())
    wanted = set(get_peft_model_state_dict(peft_model, adapter_name=name))
    odd = sorted(stored ^ wanted)
    if odd:
        where = "without a place in the model" if odd[0] in stored else "missing in the adapter"
        raise ModelError(f"{adapter_dir}: {len(odd)} tensors do not fit the base model, first {odd[0]} ({where})")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].strip() if lines else ''}"
