"""The plan of each stage: memory, tokens, time, money and disk, and which keys to change where it does not fit.

Reads manifests of stages that ran before: what they measured stands in place of an estimate.
"""

from collections.abc import Callable, Sequence

from toolwright.config import RunConfig
from toolwright.devices import TABLE
from toolwright.engine.fitness import check_architecture
from toolwright.errors import ConfigError, ModelError
from toolwright.model import DTYPES
from toolwright.plan_check import check
from toolwright.plan_cure import Change, find_cure
from toolwright.plan_measured import rollout_tokens
from toolwright.plan_memory import (
    ENGINE_SLOTS,
    VLLM_SHARE,
    Memory,
    Served,
    merge_memory,
    rl_memory,
    serve_memory,
    sft_memory,
)
from toolwright.plan_site import Site, StagePlan
from toolwright.plan_time import START_S, STRAGGLERS, decode_s, files_s, prefill_s, train_s
from toolwright.plan_tokens import teacher_tokens

ROW_BYTES = 6_000
"""Of a conversation as JSON, in each of the files that hold it."""
SERVED_AT_ONCE = 16
VLLM_START_S = 120.0
NO_CURE = "settings and devices are not enough: take a smaller base model"
FSDP = "accelerate launch --config_file configs/accelerate/fsdp2.yaml"


def plan_data(site: Site) -> StagePlan:
    """Questions and conversations: what the teacher reads and writes. Its time is its own, known only afterwards."""
    config, plan = site.config, site.config.plan
    read, written = teacher_tokens(config, site.talk)
    scripted = config.data_gen.teacher.kind == "scripted"
    prices = plan.teacher_price_in, plan.teacher_price_out
    cost = 0.0 if scripted else None
    if not scripted and prices[0] is not None and prices[1] is not None:
        cost = (read * prices[0] + written * prices[1]) / 1e6
    tokens = {} if scripted else {"teacher in": read, "teacher out": written}
    notes = ["scripted teacher: no model, no key" if scripted else f"teacher {config.data_gen.teacher.model}"]
    return site.finish(
        "data",
        None,
        None,
        0,
        tokens=tokens,
        cost=cost,
        disk_bytes=3.0 * ROW_BYTES * site.counts.conversations,
        notes=notes,
    )


def plan_sft(site: Site) -> StagePlan:
    """Supervised fine-tuning; weights are sharded over the devices where each cannot hold them all."""
    settings, models = site.config.sft, site.sft
    memory, sharded = _sft(site)
    share = site.talk.sampled / site.talk.total
    tokens = site.counts.train * site.talk.total * settings.epochs
    if settings.max_conversations:
        tokens *= min(1.0, settings.max_conversations / max(site.counts.train, 1))
    row = float(settings.pack_tokens or settings.max_tokens) if settings.packing == "documents" else site.talk.total
    full, dtype = settings.method == "full", site.dtype
    recompute = settings.gradient_checkpointing
    time_s = train_s(
        site.work, site.device, tokens, tokens * share, min(row, site.talk.total), dtype, full=full, recompute=recompute
    )
    weights = DTYPES[dtype].itemsize * models.total
    trained = 4.0 * models.trainable
    notes = (
        [f"sharded over {site.devices} devices: {FSDP} --num_processes {site.devices} sft/train.py"] if sharded else []
    )
    return site.finish(
        "sft",
        memory,
        START_S + files_s(weights) + time_s / site.devices,
        site.devices,
        cure=[] if site.fits(memory) else _cure(site, lambda other: _sft(other)[0], _SFT_CHANGES),
        tokens={"trained in": tokens, "with a loss": tokens * share},
        disk_bytes=(0.0 if site.origin == "directory" else 2.0 * models.total) + trained * (1 + 2 * 3),
        notes=notes,
    )


def _sft(site: Site) -> tuple[Memory, bool]:
    """Memory of SFT, and whether weights are sharded."""
    memory = sft_memory(site.config, site.sft, site.talk, site.device, site.dtype, site.devices)
    if site.devices == 1 or site.fits(memory):
        return memory, False
    return sft_memory(site.config, site.sft, site.talk, site.device, site.dtype, site.devices, sharded=True), True


def plan_rl(site: Site) -> StagePlan:
    """GRPO on one device: rollouts by our engine, then their log-probabilities with gradients."""
    settings, models, talk = site.config.rl, site.rl, site.talk
    memory = rl_memory(site.config, models, talk, site.device)
    batch = settings.prompts_per_step * settings.group_size
    sampled = rollout_tokens(site.config) or min(talk.sampled + talk.results, settings.max_completion_tokens)
    prompts = settings.prompts_per_step * talk.prompt
    length, work, dtype = talk.prompt + sampled, site.work, settings.dtype
    rows = min(batch, ENGINE_SLOTS)
    played = prefill_s(work, site.device, prompts + batch * talk.results, length, dtype)
    played += decode_s(work, site.device, batch * sampled * STRAGGLERS, rows, length, dtype, ours=True)
    recompute = bool(settings.trainer.get("gradient_checkpointing"))
    unique = settings.prompts_per_step * talk.prompt * max(1, settings.group_size // max(settings.micro_batch_size, 1))
    scored = train_s(
        work, site.device, unique + batch * sampled, batch * sampled, length, dtype, full=False, recompute=recompute
    )
    time_s = START_S + files_s(DTYPES[dtype].itemsize * models.total) + settings.steps * (played + scored)
    return site.finish(
        "rl",
        memory,
        time_s,
        1,
        cure=[] if site.fits(memory) else _cure(site, _rl, _RL_CHANGES),
        tokens={"rollouts": settings.steps * batch * sampled, "rollout prompts": settings.steps * prompts},
        disk_bytes=4.0 * models.trainable * (1 + 3),
        notes=[*_refusal(site, length), "without what tools take"],
    )


def _refusal(site: Site, length: float) -> list[str]:
    """What our own engine would say of the model, which plays the rollouts."""
    try:
        check_architecture(site.rl.text, round(length))
    except ModelError as error:
        return [f"cannot be played: {str(error).partition(':')[2].partition(';')[0].strip()}"]
    return []


def _rl(site: Site) -> Memory:
    return rl_memory(site.config, site.rl, site.talk, site.device)


def plan_merge(site: Site) -> StagePlan:
    """Adapter into model, and the proof."""
    memory, total = merge_memory(site.config, site.sft, site.device), site.sft.total
    item = 4 if site.config.merge.dtype == "float32" else 2
    time_s = START_S / 2 + files_s((2 + item) * total) + files_s(3 * 2 * total)
    cure = [] if site.fits(memory) else _cure(site, _merge, _MERGE_CHANGES)
    return site.finish("merge", memory, time_s, 1, cure=cure, disk_bytes=float(item * total))


def _merge(site: Site) -> Memory:
    return merge_memory(site.config, site.sft, site.device)


def plan_serve(site: Site) -> StagePlan:
    """The endpoint, for as long as it runs."""
    served = serve_memory(site.config, site.sft, site.device, site.devices)
    if not site.fits(served.memory):
        cure = _cure(site, _serve, _SERVE_CHANGES)
        return site.finish("serve", served.memory, None, served.devices, cure=cure)
    notes = [f"copies: {served.copies}, each on {_devices(served.split)}"] if served.devices > 1 else []
    each = " in each copy" if served.copies > 1 else ""
    notes += [
        f"conversations of {served.longest:,} tokens at once{each}: {int(served.conversations):,}",
        f"{_speed(site, served, SERVED_AT_ONCE):,.0f} tokens/s with {SERVED_AT_ONCE} of these conversations at once",
    ]
    return site.finish("serve", served.memory, None, served.devices, notes=notes)


def _devices(count: int) -> str:
    return "one device" if count == 1 else f"{count} devices"


def _serve(site: Site) -> Memory:
    return serve_memory(site.config, site.sft, site.device, site.devices).memory


def _speed(site: Site, served: Served, most: int) -> float:
    """Tokens that are written in a second on all devices, with as many as ``most`` conversations at once."""
    rows = served.at_once(site.talk.total, most)
    taken = decode_s(site.work, site.device, 1.0, rows, site.talk.total, _served_in(site), ours=_ours(site))
    return served.split * min(served.copies, most) / taken


def _ours(site: Site) -> bool:
    """Whether our own engine serves."""
    return site.device.cpu or site.config.serve.engine == "transformers"


def _served_in(site: Site) -> str:
    return site.config.serve.dtype if _ours(site) else "bfloat16"


def plan_eval(site: Site) -> StagePlan:
    """Held-out tasks, played by each of the models."""
    settings, talk = site.config.eval, site.talk
    served = serve_memory(site.config, site.sft, site.device, site.devices)
    tasks = min(settings.n_tasks or site.counts.heldout, site.counts.heldout) * len(settings.models)
    written = tasks * talk.sampled
    read = tasks * (talk.total - talk.sampled)
    busy = served.split * min(served.copies, settings.concurrency)
    taken = prefill_s(site.work, site.device, read, talk.total, _served_in(site)) / busy
    taken += written / _speed(site, served, settings.concurrency)
    time_s = len(settings.models) * (START_S if _ours(site) else VLLM_START_S) + taken
    fits = site.fits(served.memory)
    return site.finish(
        "eval",
        served.memory,
        time_s if fits else None,
        served.devices,
        cure=[] if fits else _cure(site, _serve, _SERVE_CHANGES),
        tokens={"evaluation in": read, "evaluation out": written},
        disk_bytes=float(ROW_BYTES * tasks),
    )


STAGES: Sequence[Callable[[Site], StagePlan]] = (plan_data, plan_sft, plan_rl, plan_merge, plan_serve, plan_eval)

_SFT_CHANGES = (
    Change("sft.gradient_checkpointing", lambda config: True),
    Change("sft.micro_batch_size", lambda config: 1),
    Change("sft.quantize_4bit", lambda config: True if config.sft.method == "lora" else None),
    Change("sft.max_tokens", lambda config: min(config.sft.max_tokens, 4096)),
    Change("sft.max_tokens", lambda config: min(config.sft.max_tokens, 2048)),
)
_RL_CHANGES = (
    Change("rl.micro_batch_size", lambda config: min(config.rl.micro_batch_size, config.rl.group_size)),
    Change("rl.micro_batch_size", lambda config: 1),
    Change("rl.dtype", lambda config: "bfloat16"),
    Change("rl.trainer", lambda config: {**config.rl.trainer, "gradient_checkpointing": True}),
    Change("rl.prompts_per_step", lambda config: max(1, config.rl.prompts_per_step // 2)),
    Change("rl.prompts_per_step", lambda config: max(1, config.rl.prompts_per_step // 4)),
    Change("rl.max_completion_tokens", lambda config: min(config.rl.max_completion_tokens, 512)),
)
_MERGE_CHANGES = (Change("merge.parity", lambda config: "layers"),)
_SERVE_CHANGES = (
    Change("serve.max_batch", lambda config: 8),
    Change("serve.memory_share", lambda config: VLLM_SHARE if config.serve.memory_share else None),
    Change("serve.max_model_len", lambda config: 8192),
    Change("serve.max_model_len", lambda config: 4096),
)


def _cure(site: Site, memory: Callable[[Site], Memory], changes: Sequence[Change]) -> list[str]:
    """What to change so that it fits: settings, more devices, another device."""

    def fits(config: RunConfig) -> bool:
        other = site.with_config(config)
        try:
            check(config, other.devices)
        except ConfigError:
            return False
        return other.fits(memory(other))

    found = find_cure(site.config, changes, fits)
    lines = [" ".join(found)] if found else []
    for count in (2, 4, 8):
        more = site.config.model_copy(update={"plan": site.config.plan.model_copy(update={"devices": count})})
        if count > site.devices and memory is not _rl and memory is not _merge and not site.device.cpu and fits(more):
            lines.append(f"--devices {count}")
            break
    larger = next(
        (d for d in TABLE if d.memory > site.device.memory and (o := site.with_device(d)).fits(memory(o))), None
    )
    if larger is not None:
        lines.append(f"--device {larger.name}")
    return lines or [NO_CURE]
