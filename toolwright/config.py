"""One YAML file per experiment, one section per stage: typed models, strict keys, errors with file and line.

Fields of TRL, transformers and PEFT that have no name here pass straight through ``trainer:`` and ``lora:``.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from toolwright.config_base import Fraction, Positive, Section
from toolwright.config_serving import ChatConfig, EvalConfig, ExportConfig, MergeConfig, PlanConfig, ServeConfig
from toolwright.records import Mode

__all__ = [
    "ChatConfig",
    "DataGenConfig",
    "DataSource",
    "EvalConfig",
    "ExportConfig",
    "LoraSection",
    "MergeConfig",
    "PlanConfig",
    "RlConfig",
    "RunConfig",
    "ServeConfig",
    "SftConfig",
    "TeacherConfig",
    "ToolsConfig",
]


class ToolsConfig(Section):
    """Where the tools come from."""

    mcp_config: str | None = Field(None, description="mcpServers JSON of other people's servers; none: our own tools")
    transport: Literal["inprocess", "stdio"] = Field(
        "inprocess", description="how our own tools are reached: in this process, or as a real MCP server over stdio"
    )
    call_timeout_s: float = Field(20.0, gt=0, description="deadline of one tool call (seconds)")
    toolsets: list[str] | None = Field(
        None, description="toolsets, categories or tools of ours on offer; none: all (`python -m mcpserver list`)"
    )
    sources: list[str] = Field(
        [], description="your own tools: folders, packages, module:function, module:All, or x.api.jsonl (API tools)"
    )
    apis: dict[str, Any] = Field(
        {}, description="how API tools are answered (base_url, headers, llm_url, llm_model, …); empty: seeded replies"
    )
    world: str = Field("company", description="files and databases: company, desk (small), or a folder of yours")
    n_files: Positive | None = Field(
        None, description="files of the world in each environment, drawn by its seed; none: all"
    )
    sandbox: Literal["auto", "bwrap", "landlock", "none"] = Field(
        "auto", description="where tools and code run; auto: the safest that works here, and no code without one"
    )
    python: Literal["light", "jupyter"] = Field("light", description="interpreter of run_python")
    cassette: str | None = Field(None, description="JSONL file of recorded tool results; none: tools really run")
    cassette_mode: Literal["record", "replay", "auto"] = Field(
        "auto", description="add what tools give to the cassette, or play it; auto: play the one that is there"
    )


class TeacherConfig(Section):
    """Who writes questions and answers."""

    kind: Literal["scripted", "openai"] = Field(
        "scripted", description="scripted: verified plans, no key needed; openai: any OpenAI-compatible endpoint"
    )
    base_url: str = Field("http://localhost:8000/v1", description="endpoint of the openai teacher")
    model: str = Field("teacher", description="model name at that endpoint")
    api_key_env: str = Field("OPENAI_API_KEY", description="environment variable that holds the key")
    temperature: float = Field(0.7, ge=0, description="sampling temperature of the teacher")
    max_tokens: Positive = Field(1024, description="longest reply of the teacher (tokens)")
    timeout_s: float = Field(120.0, gt=0, description="deadline of one request (seconds)")
    retries: int = Field(4, ge=0, description="repeats after 429, 5xx and lost connections")


class DataGenConfig(Section):
    """Questions, conversations and their split."""

    n_questions: Positive = Field(200, description="questions to write")
    teacher: TeacherConfig = TeacherConfig()
    modes: dict[Mode, float] = Field(
        {
            "single": 0.3,
            "parallel": 0.15,
            "multiple": 0.15,
            "dependent": 0.15,
            "no_tool": 0.1,
            "missing_parameter": 0.15,
        },
        description="share of each kind of question (weights)",
    )
    tools_per_question: Annotated[list[Positive], Field(min_length=2, max_length=2)] = Field(
        [2, 4], description="least and most tools on offer (tools)"
    )
    max_turns: Positive = Field(6, description="most assistant turns in a conversation (turns)")
    transport: Literal["inprocess", "stdio"] | None = Field(
        None, description="how questions and conversations reach our own tools; none: as tools.transport"
    )
    concurrency: Positive = Field(16, description="conversations played at once")
    heldout_share: Fraction = Field(0.3, description="share of plans kept for the evaluation")
    dev_share: Fraction = Field(0.05, description="share of plans kept for tuning")
    heldout_tools: int = Field(3, ge=0, description="tools that training never sees, not even on offer (tools)")


class LoraSection(BaseModel):
    """LoRA; every further field of ``peft.LoraConfig`` passes through."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    rank: Positive = Field(32, description="rank of the update")
    alpha: Positive = Field(64, description="scale: the update is multiplied by alpha / rank")
    dropout: Fraction = Field(0.0, description="dropout on the adapter's input (share)")
    target_modules: str | list[str] = Field("all-linear", description="layers that get an adapter")


class DataSource(Section):
    """One dataset among several."""

    path: str = Field(description="conversations (JSONL)")
    weight: float = Field(1.0, gt=0, description="passes over it in one epoch: 2 takes each row twice, 0.5 takes half")


class SftConfig(Section):
    """Supervised fine-tuning."""

    data: str | list[DataSource] | None = Field(
        None, description="training conversations (JSONL), or several as {path, weight}; none: train.jsonl of the run"
    )
    dev_data: str | None = Field(None, description="conversations for the dev loss; none: dev.jsonl of the run")
    dev_share: Fraction = Field(0.0, description="share of the training conversations kept for the dev loss instead")
    train_on: Literal["all", "last_turn"] = Field("all", description="assistant turns that are trained")
    history: Literal["split", "stable", "as_rendered"] = Field(
        "split",
        description="templates that rewrite history: several rows, so that each turn is trained as served; only the "
        "turns that no rewriting touches; or the whole render as it is",
    )
    thinking: Literal["train", "mask", "drop"] = Field(
        "train", description="reasoning of assistants: trained, read but not trained, or taken out"
    )
    call_weight: float = Field(1.0, ge=0, description="weight of the loss on turns that call tools")
    text_weight: float = Field(1.0, ge=0, description="weight of the loss on turns that only talk")
    reasoning_weight: float = Field(1.0, ge=0, description="weight of the loss on reasoning, times that of its turn")
    template_kwargs: dict[str, Any] = Field(
        default_factory=dict, description="keywords for the chat template, such as enable_thinking; serve with the same"
    )
    markers: Literal["refuse", "escape"] = Field(
        "refuse", description="special tokens in the words of a conversation: refuse it, or break them up by a space"
    )
    verify: Literal["sample", "full"] = Field(
        "sample", description="rows whose every turn is rendered again as a server would: a sample, or all"
    )
    on_error: Literal["stop", "skip"] = Field(
        "stop", description="a conversation that cannot be trained on: stop, or leave it out and count it"
    )
    encode_processes: Positive = Field(1, description="processes that encode")
    method: Literal["lora", "full"] = Field("lora", description="train an adapter, or every weight of the base")
    epochs: float = Field(3.0, gt=0, description="passes over the training conversations")
    lr: float = Field(1.0e-4, gt=0, description="peak learning rate")
    packing: Literal["none", "documents", "shared_prefix"] = Field(
        "none",
        description="put several conversations into one row, none of which sees another; shared_prefix also computes "
        "what they begin with in common (system, tools) once",
    )
    pack_tokens: Positive | None = Field(None, description="length of a packed row (tokens); none: max_tokens")
    batch_size: Positive = Field(
        16, description="rows in one optimizer step, over all devices: conversations, or packed rows"
    )
    micro_batch_size: Positive = Field(16, description="rows in one forward pass on one device")
    max_tokens: Positive = Field(
        8192, description="longest conversation (tokens); longer ones lose whole turns, counted"
    )
    max_conversations: Positive | None = Field(None, description="use at most this many training conversations")
    keep: dict[Mode, Fraction] = Field(
        default_factory=dict, description="share of the conversations of a kind that SFT sees; kinds not named: all"
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="type of the base's weights while training; auto: bfloat16 where the machine computes in it"
    )
    attention: str | None = Field(
        None, description="attention of transformers: sdpa, eager, flash_attention_2, …; none: what it takes itself"
    )
    liger: bool = Field(False, description="Liger's fused kernels (CUDA; needs: pip install liger-kernel)")
    quantize_4bit: bool = Field(False, description="QLoRA: load the base in NF4 by bitsandbytes (extra: qlora)")
    gradient_checkpointing: bool = Field(False, description="recompute activations to save memory")
    warmup_share: Fraction = Field(0.05, description="share of the steps with a rising learning rate")
    save_steps: Positive = Field(50, description="steps between checkpoints")
    logging_steps: Positive = Field(10, description="steps between lines of metrics.jsonl")
    eval_steps: Positive | None = Field(None, description="steps between dev losses; none: only at the end")
    early_stopping: Positive | None = Field(
        None, description="stop after this many dev losses without a better one, and keep the best; needs eval_steps"
    )
    trackers: list[Literal["wandb", "tensorboard", "trackio"]] = Field(
        default_factory=list, description="trackers beside metrics.jsonl"
    )
    lora: LoraSection = LoraSection()
    trainer: dict[str, Any] = Field(
        default_factory=dict, description="further fields of transformers.TrainingArguments"
    )


class RlConfig(Section):
    """GRPO on live tools."""

    start: str = Field("sft", description="adapter to continue: sft, base (a new adapter), or a directory")
    reward: Literal["toolrl"] = Field("toolrl", description="reward function")
    matching: Literal["greedy", "optimal"] = Field("optimal", description="how predicted and gold calls are paired")
    switches: list[str] = Field(default_factory=list, description="ToolRL reward switches such as COARSEREWARD")
    steps: Positive = Field(100, description="optimizer steps")
    prompts_per_step: Positive = Field(8, description="tasks in one step")
    group_size: Annotated[int, Field(ge=2)] = Field(8, description="rollouts of one task, compared with each other")
    micro_batch_size: Positive = Field(32, description="rollouts in one forward pass on one device")
    lr: float = Field(1.0e-6, gt=0, description="peak learning rate")
    beta: float = Field(0.0, ge=0, description="weight of the KL term to the starting model")
    temperature: float = Field(1.0, gt=0, description="sampling temperature of rollouts")
    max_tokens: Positive = Field(512, description="longest assistant turn (tokens)")
    max_completion_tokens: Positive = Field(1024, description="longest rollout after the prompt, tool results included")
    max_turns: Positive = Field(6, description="most assistant turns in a rollout (turns)")
    train_answers: bool = Field(False, description="also train the words of answers after calls, which earn nothing")
    modes: dict[Mode, float] | None = Field(
        None, description="share of each kind of task (weights); none: as they come"
    )
    dtype: Literal["float32", "bfloat16"] = Field("bfloat16", description="type of the weights while training")
    save_steps: Positive = Field(20, description="steps between checkpoints")
    lora: LoraSection = LoraSection()
    trainer: dict[str, Any] = Field(default_factory=dict, description="further fields of trl.GRPOConfig")


class RunConfig(Section):
    """The whole file."""

    name: str = Field("tiny", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="artifacts go to runs_dir/name/")
    seed: int = Field(17, ge=0, description="seed of everything that is drawn")
    model: str = Field("models/tiny", description="base model: a directory or a hub id")
    runs_dir: str = Field("runs", description="directory of all runs")
    threads: Positive | None = Field(None, description="CPU threads of torch; none: one per core")
    tools: ToolsConfig = ToolsConfig()
    data_gen: DataGenConfig = DataGenConfig()
    sft: SftConfig = SftConfig()
    rl: RlConfig = RlConfig()
    merge: MergeConfig = MergeConfig()
    export: ExportConfig = ExportConfig()
    serve: ServeConfig = ServeConfig()
    chat: ChatConfig = ChatConfig()
    eval: EvalConfig = EvalConfig()
    plan: PlanConfig = PlanConfig()
