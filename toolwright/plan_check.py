"""Refuses settings of which a stage would say only when it starts that they do not go together. Reads nothing else."""

from toolwright.config import RunConfig
from toolwright.errors import ConfigError
from toolwright.plan_tokens import data_files


def check(config: RunConfig, devices: int | None) -> None:
    """Refuse settings that their stages would refuse; with ``devices`` also those that do not go with so many.

    Raises:
        ConfigError: names the keys and a way out.
    """
    sft, rl, data = config.sft, config.rl, config.data_gen
    batch = rl.prompts_per_step * rl.group_size
    if sft.quantize_4bit and sft.method == "full":
        raise ConfigError("sft.quantize_4bit: weights of 4 bit are not trained; set sft.method=lora, or not 4 bit")
    if rl.start == "sft" and sft.method == "full":
        raise ConfigError(
            "rl.start: sft.method=full leaves no adapter; set rl.start=base and the model that SFT writes"
        )
    if batch % min(rl.micro_batch_size, batch):
        raise ConfigError(
            f"rl.micro_batch_size: {rl.micro_batch_size} does not divide the {batch} rollouts of a step "
            f"(prompts_per_step {rl.prompts_per_step} x group_size {rl.group_size})"
        )
    if data.heldout_share + data.dev_share >= 1:
        raise ConfigError(
            f"data_gen.heldout_share {data.heldout_share} and data_gen.dev_share {data.dev_share} leave nothing to "
            "train on; lower one of them"
        )
    for path in data_files(config):
        if not path.is_file():
            raise ConfigError(f"sft.data: {path}: no such file; name a JSONL file with conversations")
    if devices is not None:
        _check_devices(config, devices)


def _check_devices(config: RunConfig, devices: int) -> None:
    sft, serve = config.sft, config.serve
    micro = min(sft.micro_batch_size, max(sft.batch_size // devices, 1))
    if sft.batch_size % (micro * devices):
        raise ConfigError(
            f"sft.batch_size = {sft.batch_size} does not divide into {devices} devices with micro batches of {micro}; "
            f"choose a multiple of {micro * devices}"
        )
    wanted = (serve.tensor_parallel or 1) * (serve.data_parallel or 1)
    if config.plan.devices and wanted > devices:
        raise ConfigError(
            f"serve.tensor_parallel x serve.data_parallel takes {wanted} devices, and plan.devices is {devices}; lower "
            f"them, or plan for more: --devices {wanted}"
        )
