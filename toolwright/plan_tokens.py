"""How many tokens a run reads, writes and trains: measured on its conversations where they are, else on its tools.

Reads the conversations of a run and its tokenizer, or asks ``python -m mcpserver list`` for the tools; writes nothing.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from toolwright.artifacts import read_lines, read_manifest, read_rows
from toolwright.command import USER_ERROR
from toolwright.config import RunConfig
from toolwright.errors import ConfigError, DataError, ModelError
from toolwright.records import Conversation
from toolwright.stage import run_dir

CHARS_PER_TOKEN = 3.6
"""Of tool schemas and conversations under Qwen's and Llama's tokenizers, where no tokenizer is at hand."""
SAMPLE = 100
DRAWN_PER_QUESTION = 1.12
"""Questions drawn for one that is kept. Measured: tiny, 1,680 for 1,500."""
ASK_TOKENS = 250
"""What the teacher reads besides the tools, when it writes a question."""
GUIDE_TOKENS = 150
"""What tells the teacher how to answer, before each of its turns."""
_TOOLS_TIMEOUT_S = 60


@dataclass(frozen=True)
class Talk:
    """The mean conversation (tokens): the prompt with its tools, what the model writes, what tools answer; its turns.

    ``origin`` says where the numbers are from.
    """

    prompt: float
    sampled: float
    results: float
    turns: float
    origin: str
    longest: int | None = None

    @property
    def total(self) -> float:
        """Tokens of the whole conversation."""
        return self.prompt + self.sampled + self.results

    @property
    def read_by_turns(self) -> float:
        """Tokens that a server without a cache reads over all turns: each reads all that was said before it."""
        return self.turns * self.prompt + (self.turns - 1) / 2 * (self.sampled + self.results)

    def scaled(self, total: float) -> "Talk":
        """The same conversation with another length."""
        factor = total / self.total
        parts = self.prompt * factor, self.sampled * factor, self.results * factor
        return Talk(*parts, self.turns, "plan.mean_tokens")


UNKNOWN_TOOLS = Talk(prompt=600, sampled=110, results=80, turns=1.9, origin="assumed")
"""Where the tools cannot be listed: the company's."""
SAID = Talk(prompt=45, sampled=75, results=60, turns=1.85, origin="assumed")
"""A conversation besides the tools on offer. Measured: tiny, 1,500 conversations under Qwen2.5's tokenizer."""


@dataclass(frozen=True)
class Counts:
    """Conversations of a run: all, for training, for dev, held out; ``origin`` says where the numbers are from."""

    conversations: int
    train: int
    dev: int
    heldout: int
    origin: str


def mean_talk(config: RunConfig) -> Talk:
    """The mean conversation of a run.

    Raises:
        ConfigError: the tools that it names are not there.
        DataError: a line of the run's conversations is broken.
    """
    path = _data_file(config)
    rows = _conversations(path) if path else []
    if rows:
        talk = _measure(rows, *_counter(config))
    else:
        tools, origin = _tool_tokens(config)
        talk = Talk(SAID.prompt + tools, SAID.sampled, SAID.results, SAID.turns, origin) if tools else UNKNOWN_TOOLS
    return talk.scaled(config.plan.mean_tokens) if config.plan.mean_tokens else talk


def data_files(config: RunConfig) -> list[Path]:
    """The files that ``sft.data`` names."""
    named = config.sft.data
    return [Path(named)] if isinstance(named, str) else [Path(source.path) for source in named or ()]


def _data_file(config: RunConfig) -> Path | None:
    """The training conversations: the first that ``sft.data`` names, or the run's."""
    run = run_dir(config)
    names = data_files(config) or [run / "train.jsonl", run / "conversations.jsonl"]
    return next((path for path in names if path.is_file()), None)


def _conversations(path: Path) -> list[Conversation]:
    """The longest conversation of a file, and a sample of them all."""
    longest = max(((len(line), number) for number, line in read_lines(path)), default=(0, 0))[1]
    conversations: list[Conversation] = []
    for number, row in read_rows(path):
        if number > SAMPLE and number != longest:
            if number > longest:
                break
            continue
        try:
            one = Conversation.from_row(row)
        except (ValueError, DataError) as error:
            raise DataError(f"{path}:{number}: {' '.join(str(error).split())[:200]}") from None
        conversations = [one, *conversations] if number == longest else [*conversations, one]
    return conversations


Counter = Callable[[str], int]


def _counter(config: RunConfig) -> tuple[Any | None, str]:
    """The tokenizer of the base, if it is at hand, and what numbers of it are called."""
    from toolwright.model import load_tokenizer, model_source, quiet_libraries

    quiet_libraries()
    try:
        source = model_source(config.model)
        tokenizer = load_tokenizer(config.model) if isinstance(source, Path) else _cached_tokenizer(source)
    except ModelError:
        tokenizer = None
    return tokenizer, "run's conversations" if tokenizer else "run's conversations, by characters"


def _cached_tokenizer(name: str) -> Any | None:
    """The tokenizer of a hub model that was fetched before; planning fetches none."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name, local_files_only=True)
    except (OSError, ValueError, KeyError):
        return None


def _measure(rows: Sequence[Conversation], tokenizer: Any | None, origin: str) -> Talk:
    prompt = sampled = results = turns = 0.0
    longest = 0
    for row in rows:
        tools = sum(len(json.dumps(tool.to_openai())) for tool in row.tools)
        said = {"system": 0, "user": 0, "assistant": 0, "tool": 0}
        for message in row.messages:
            said[message.role] = said.get(message.role, 0) + len(json.dumps(message.to_row(), ensure_ascii=False)) - 30
            turns += message.role == "assistant"
        whole = _whole(row, tokenizer) or (tools + sum(said.values())) / CHARS_PER_TOKEN
        rate = whole / max(tools + sum(said.values()), 1)
        prompt += rate * (tools + said["system"] + said["user"])
        sampled += rate * said["assistant"]
        results += rate * said["tool"]
        longest = max(longest, round(whole))
    count = len(rows)
    return Talk(prompt / count, sampled / count, results / count, turns / count, origin, longest)


def _whole(row: Conversation, tokenizer: Any | None) -> int | None:
    """Tokens of a conversation as the template renders it; none where it cannot be rendered."""
    from toolwright.dialect import render_prompt

    if tokenizer is None:
        return None
    try:
        text = render_prompt(tokenizer, row.messages, row.tools, add_generation_prompt=False)
    except (ModelError, DataError, ValueError):
        return None
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])


def _tool_tokens(config: RunConfig) -> tuple[float, str]:
    """Tokens of the tools on offer in one conversation, and where the number is from; 0 where they cannot be told."""
    tools = config.tools
    if tools.mcp_config is not None:
        return 0.0, "assumed"
    sizes = _tool_sizes(tuple(tools.toolsets or ()), tuple(tools.sources))
    if not sizes:
        return 0.0, "assumed"
    least, most = config.data_gen.tools_per_question
    offered = (least + most) / 2
    return offered * sum(sizes) / len(sizes) / CHARS_PER_TOKEN, "tools, by characters"


@cache
def _tool_sizes(toolsets: tuple[str, ...], sources: tuple[str, ...]) -> tuple[int, ...]:
    """Characters of each tool's schema, as models get it; nothing if the tools cannot be listed.

    Raises:
        ConfigError: there are no such tools.
    """
    flags = [word for name in toolsets for word in ("--toolset", name)]
    flags += [word for name in sources for word in ("--tools", name)]
    command = [sys.executable, "-m", "mcpserver", "list", "--json", *flags]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_TOOLS_TIMEOUT_S, check=True)
        listed: list[Mapping[str, Any]] = json.loads(done.stdout)
    except subprocess.CalledProcessError as error:
        if error.returncode == USER_ERROR:
            said = error.stderr.decode(errors="replace").strip().splitlines() or ["no such tools"]
            raise ConfigError(said[-1].removeprefix("error: ")) from None
        return ()
    except (OSError, subprocess.SubprocessError, ValueError):
        return ()
    keys = ("name", "description", "parameters")
    return tuple(len(json.dumps({key: tool[key] for key in keys if key in tool})) + 40 for tool in listed)


def count_conversations(config: RunConfig) -> Counts:
    """How many conversations there are, or will be: counted where the split was made, else from its shares."""
    run, data = run_dir(config), config.data_gen
    sides = {side: read_manifest(run / f"{side}.jsonl") for side in ("train", "dev", "heldout")}
    found = {side: int(manifest.counts.get("rows", 0)) for side, manifest in sides.items() if manifest is not None}
    if len(found) == len(sides):
        return Counts(sum(found.values()), found["train"], found["dev"], found["heldout"], "measured")
    heldout, dev = (round(data.n_questions * share) for share in (data.heldout_share, data.dev_share))
    return Counts(data.n_questions, data.n_questions - heldout - dev, dev, heldout, "estimated")


def teacher_tokens(config: RunConfig, talk: Talk) -> tuple[float, float]:
    """Tokens that a model as teacher reads and writes: one request for a question, one for each assistant turn."""
    if config.data_gen.teacher.kind == "scripted":
        return 0.0, 0.0
    asked = config.data_gen.n_questions * DRAWN_PER_QUESTION
    read = asked * (talk.prompt + ASK_TOKENS) + config.data_gen.n_questions * (
        talk.read_by_turns + talk.turns * GUIDE_TOKENS
    )
    return read, asked * SAID.prompt + config.data_gen.n_questions * talk.sampled
