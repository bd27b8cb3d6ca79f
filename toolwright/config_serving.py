"""Sections of the configuration for what comes after training: merge, export, serve, chat, eval, plan."""

from typing import Literal

from pydantic import Field

from toolwright.config_base import Fraction, Positive, Section


class WeightedAdapter(Section):
    """One adapter among several that are merged in a row."""

    path: str = Field(description="sft, rl, or an adapter directory")
    weight: float = Field(1.0, gt=0, description="factor on what the adapter adds")


class MergeConfig(Section):
    """Adapter into model."""

    base: str | None = Field(None, description="16-bit model to merge into: a directory or a hub id; none: `model`")
    adapter: str | list[WeightedAdapter] = Field(
        "rl", description="adapter to merge: rl, sft, or a directory; several in a row: a,b:0.5, or {path, weight}"
    )
    out: str | None = Field(None, description="directory of the merged model; none: `merged` of the run")
    engine: Literal["stream", "peft"] = Field(
        "stream",
        description="stream: shard by shard in little memory; peft: whole in memory, for what stream refuses",
    )
    dtype: Literal["base", "float32", "bfloat16", "float16"] = Field(
        "base", description="type of the merged weights; base: each as the base has it"
    )
    max_shard_size: str | None = Field(None, description="largest file of weights, such as 5GB; none: the base's files")
    tolerance: float = Field(
        0.25, gt=0, description="largest difference of logits that parity accepts; rounding to bfloat16 alone gives 0.1"
    )
    parity: Literal["auto", "logits", "layers"] = Field(
        "auto",
        description="logits: whole models compared in memory; layers: a layer at a time, from the files; auto: logits "
        "where they fit",
    )
    replace: bool = Field(False, description="replace an output directory that this configuration did not make")
    threads: Positive | None = Field(None, description="threads that merge; none: one per core")


class ExportConfig(Section):
    """The merged model in other forms."""

    to: Literal["gguf", "fp8", "awq", "gptq"] = Field("gguf", description="form: gguf (llama.cpp), fp8, awq or gptq")
    model: str = Field("merged", description="model to export: `merged` of the run, or a directory")
    out: str | None = Field(None, description="file or directory to write; none: beside the model")
    gguf_type: Literal["f32", "f16", "bf16", "q8_0"] = Field("bf16", description="type of GGUF weights")
    converter: str | None = Field(
        None, description="convert_hf_to_gguf.py, or a llama.cpp checkout; none: one on PATH or in $LLAMA_CPP"
    )
    python: str | None = Field(
        None, description="Python of an environment with llm-compressor (fp8, awq, gptq) or gguf; none: this one"
    )
    samples: Positive = Field(128, description="training conversations that calibrate awq and gptq")
    max_tokens: Positive = Field(2048, description="longest calibration conversation (tokens)")


class ServeConfig(Section):
    """The OpenAI-compatible endpoint."""

    model: str = Field(
        "merged",
        description="directory of a model or a run, `merged` of the run (with an adapter: `base`), `base`, or a hub id",
    )
    adapter: str | None = Field(None, description="adapter on top: sft, rl, or a directory")
    engine: Literal["auto", "vllm", "transformers"] = Field("auto", description="auto: vLLM where its command is found")
    host: str = Field("127.0.0.1", description="address to listen on; others can reach anything but loopback")
    port: int = Field(8000, ge=0, le=65535, description="port; 0 takes a free one and prints it")
    dtype: Literal["float32", "bfloat16"] = Field("bfloat16", description="type of the weights (transformers engine)")
    max_batch: Positive = Field(64, description="requests decoded together (transformers engine)")
    max_waiting: Positive = Field(
        1024, description="requests that may wait; further ones are answered 503 (transformers engine)"
    )
    max_body_mib: Positive = Field(8, description="largest body of a request (MiB, transformers engine)")
    max_model_len: Positive | None = Field(
        None, description="longest prompt and reply together (tokens); none: what model and device allow"
    )
    memory_share: Fraction | None = Field(None, description="share of each GPU that vLLM may use; none: what is free")
    tensor_parallel: Positive | None = Field(None, description="GPUs that hold one copy; none: as few as it fits on")
    data_parallel: Positive | None = Field(None, description="copies of the model; none: one per set of free GPUs")
    api_key_env: str | None = Field(None, description="environment variable with the key that clients must send")
    start_timeout_s: float = Field(1800.0, gt=0, description="deadline for vLLM to be ready (seconds)")
    restarts: int = Field(3, ge=0, description="times that vLLM is started again after it died, within ten minutes")
    drain_s: float = Field(30.0, ge=0, description="what replies under way get on SIGTERM (seconds)")
    smoke: bool = Field(True, description="prove at start that a tool call comes back parsed")
    receipt: str | None = Field(None, description="JSON file for what the smoke test found; none: not written")
    check: bool = Field(False, description="start, run the smoke test, exit: 0 if a call came back parsed, else 1")
    vllm_args: list[str] = Field(default_factory=list, description="further flags for `vllm serve`")


class ChatConfig(Section):
    """An agent in the terminal."""

    url: str | None = Field(None, description="endpoint (http://host:port/v1); none: serve.model is started for it")
    model: str | None = Field(None, description="model name to ask the endpoint for; none: the first it lists")
    api_key_env: str = Field("OPENAI_API_KEY", description="environment variable that holds the endpoint's key")
    system: str | None = Field(None, description="system message; none: none")
    max_turns: Positive = Field(8, description="most assistant turns after one message of yours (turns)")
    max_tokens: Positive = Field(1024, description="longest assistant turn (tokens)")
    temperature: float = Field(0.0, ge=0, description="sampling temperature")
    tools: Positive | None = Field(
        None, description="most tools shown to the model, chosen by the words of the first message; none: all"
    )
    save: str | None = Field(None, description="JSONL file that the conversation is added to")


class EvalConfig(Section):
    """Held-out tasks played against an endpoint."""

    suites: list[Literal["heldout"]] = Field(["heldout"], description="what to score")
    models: list[str] = Field(
        ["base", "sft", "rl"],
        description="base, sft, rl, merged, a directory (a model, or an adapter for the base), or http://…/v1",
    )
    model_name: str | None = Field(None, description="model name to ask an endpoint for; none: the first it lists")
    n_tasks: Positive | None = Field(None, description="use at most this many held-out tasks; none: all")
    concurrency: Positive = Field(16, description="tasks played at once")
    max_turns: Positive = Field(6, description="most assistant turns in a task (turns)")
    max_tokens: Positive = Field(256, description="longest assistant turn (tokens)")
    temperature: float = Field(0.0, ge=0, description="sampling temperature")
    api_key_env: str = Field("OPENAI_API_KEY", description="environment variable that holds an endpoint's key")
    timeout_s: float = Field(120.0, gt=0, description="deadline of one request to the model (seconds)")
    retries: int = Field(4, ge=0, description="repeats after 429, 5xx and lost connections")
    serve_timeout_s: float = Field(900.0, gt=0, description="deadline for a served model to be ready (seconds)")


class PlanConfig(Section):
    """What a run would cost."""

    device: str = Field("here", description="device to plan for: here, or one such as h100-80gb (`--device list`)")
    devices: Positive | None = Field(None, description="number of devices; none: those here, else 1")
    price_per_hour: float | None = Field(None, ge=0, description="price of one device for one hour; none: not known")
    teacher_price_in: float | None = Field(None, ge=0, description="price of a million tokens that the teacher reads")
    teacher_price_out: float | None = Field(None, ge=0, description="price of a million tokens that the teacher writes")
    mean_tokens: Positive | None = Field(
        None, description="tokens of one conversation; none: measured on the run's, else on the tools' own"
    )
