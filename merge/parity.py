"""``python -m merge.parity [config.yaml] [--base --adapter --out]``: measure whether a merged model says the same.

Base and adapters, as PEFT runs them, against the merged model: logits and replies on fixed prompts with tools, every
single weight, tokenizer and chat template. Reads the models from disk; writes ``parity.json`` beside the merged model.
Exit code 1 when they are not the same.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict

from merge.adapter import Source
from merge.base import read_config
from merge.elements import Elements
from merge.greedy import Rendered, render_prompts, stops_of, terminator
from merge.halves import Differences
from merge.job import applied_before, read_order
from merge.measure import Reply, Watch, fits, measure_layers, measure_whole, weigh
from merge.output import local_base
from merge.reference import tokenizer_hashes, tokenizer_home
from toolwright.artifacts import write_text
from toolwright.command import Flag, parse_command, run_command
from toolwright.errors import ModelError
from toolwright.model import load_tokenizer, model_source, quiet_libraries, set_threads

COMMAND = "python -m merge.parity"
FLAGS = (
    Flag(("--base",), "merge.base", "model that was merged into"),
    Flag(("--adapter",), "merge.adapter", "adapter that was merged: rl, sft, a directory, or several: a,b:0.5"),
    Flag(("--out",), "merge.out", "directory of the merged model"),
)
FAILED = 1
Method = Literal["auto", "logits", "layers"]


class Continuation(BaseModel):
    """What base and adapters say to one prompt; ``margin``: least lead of a chosen token over the next best."""

    model_config = ConfigDict(frozen=True)

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]
    text: str
    content: str
    calls: list[dict[str, Any]]
    ids: list[int]
    margin: float


class Parity(BaseModel):
    """How far the merged model is from base and adapters.

    Logit differences are over all positions. ``flips`` are positions after which the merged model would choose another
    token, each after the same text: of the replies with method ``logits``, all with ``layers``. The margin is how far
    the reference preferred its own. ``greedy_identical``: same calls and content in all replies (``layers``: no flip).
    """

    model_config = ConfigDict(frozen=True)

    passed: bool
    why: str
    method: Literal["logits", "layers"]
    max_abs_logit_diff: float
    mean_abs_logit_diff: float
    tolerance: float
    greedy_identical: bool
    flips: int
    largest_flip_margin: float
    prompts: int
    positions: int
    computed_in: str
    weights: Elements | None
    files_identical: bool
    sha256: dict[str, dict[str, str]]
    warnings: list[str]
    continuations: list[Continuation]


def compare(base: str, sources: Sequence[Source], merged: Path, *, tolerance: float, method: Method = "auto") -> Parity:
    """Measure parity on the fixed prompts, and weight by weight.

    It passes when no logit differs by more than ``tolerance``, the replies come to the same calls and content but for
    ties closer than that (``layers``: the likeliest token is the same everywhere but for such ties), no weight is
    further from PEFT's than rounding explains, and tokenizer and chat template have the same bytes.

    Raises:
        ModelError: a model or an adapter cannot be loaded, or not in the way that was asked for.
    """
    home, tokenizer, prompts = prompts_of(base, sources)
    _require_rows(prompts, home, merged)
    whole = fits(local_base(model_source(base)), merged, "cuda" if torch.cuda.is_available() else "cpu")
    dtype, replies = "float32", list[Reply]()
    with _bar() as watch:
        if method == "layers" or (method == "auto" and not whole):
            method, found = "layers", measure_layers(base, sources, merged, prompts, watch)
            margins = found.flips
        else:
            method, dtype = "logits", "float32" if whole else "base"
            found, replies = measure_whole(base, sources, merged, prompts, tokenizer, dtype=dtype)
            margins = [reply.margin for reply in replies if reply.margin is not None]
        weights, warnings = weigh(base, sources, merged, watch)
    hashes = tokenizer_hashes(home, merged)
    odd = [name for name, sides in hashes.items() if len(set(sides.values())) != 1]
    why = [*_reasons(found, margins, tolerance, weights), *([f"not as trained: {', '.join(odd)}"] if odd else [])]
    return Parity(
        passed=not why,
        why="; ".join(why),
        method=method,
        max_abs_logit_diff=round(found.largest, 6),
        mean_abs_logit_diff=round(found.mean, 6),
        tolerance=tolerance,
        greedy_identical=not margins,
        flips=len(found.flips),
        largest_flip_margin=round(max(found.flips, default=0.0), 6),
        prompts=len(prompts),
        positions=found.positions,
        computed_in=dtype if dtype == "float32" else "as stored",
        weights=weights,
        files_identical=not odd,
        sha256=hashes,
        warnings=[*warnings, *_check_terminator(tokenizer, merged)],
        continuations=[_continuation(reply) for reply in replies],
    )


def prompts_of(base: str, sources: Sequence[Source]) -> tuple[Path, Any, list[Rendered]]:
    """Where the tokenizer of training is, the tokenizer, and the fixed prompts as its chat template gives them.

    Raises:
        ModelError: no tokenizer, or no chat template that shows tools.
    """
    home = tokenizer_home(base, sources)
    tokenizer = load_tokenizer(home)
    return home, tokenizer, render_prompts(tokenizer)


def _require_rows(prompts: Sequence[Rendered], home: Path, merged: Path) -> None:
    """The model has an embedding of every token that the template writes."""
    rows = read_config(merged).get_text_config().vocab_size
    most = max(max(prompt.with_answer) for prompt in prompts)
    if most >= rows:
        raise ModelError(
            f"{home}: its chat template writes token {most}, the model has embeddings of {rows}; train with a resized "
            "embedding that is saved with the adapter, or take the tokenizer of the base"
        )


def _reasons(found: Differences, margins: Sequence[float], tolerance: float, weights: Elements | None) -> Iterator[str]:
    """Why parity fails, as far as models go."""
    if not found.largest <= tolerance:
        yield f"largest logit difference {found.largest:.4g} (tolerance {tolerance:g})"
    if (margin := max(margins, default=0.0)) > tolerance:
        yield f"other greedy choices where the reference is sure (margin {margin:.4g}, tolerance {tolerance:g})"
    if weights is not None and weights.wrong:
        yield f"{weights.wrong} of {weights.elements} weights are not what PEFT makes of them, first in {weights.first}"


def _continuation(reply: Reply) -> Continuation:
    prompt = reply.rendered.prompt
    return Continuation(
        messages=[message.to_openai() for message in prompt.messages],
        tools=[tool.to_openai() for tool in prompt.tools],
        text=reply.said.text,
        content=reply.said.content,
        calls=[call.to_openai() for call in reply.said.calls],
        ids=list(reply.ids),
        margin=round(reply.lead, 6),
    )


def _check_terminator(tokenizer: Any, merged: Path) -> list[str]:
    """A model whose ``generation_config`` does not know how its turns end writes on after them, where that is used."""
    token = terminator(tokenizer)
    if token is None or tokenizer.convert_tokens_to_ids(token) in stops_of(merged):
        return []
    return [
        f"the chat template ends an assistant's turn with {token}, which eos_token_id of generation_config.json does "
        "not name: generation that goes by that file will not stop there"
    ]


@contextmanager
def _bar() -> Iterator[Watch]:
    """A bar on a terminal."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("parity: {task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("models")
        yield lambda what, done, of: bar.update(task, description=what, completed=done, total=of)


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    return run_command(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    config = parse_command(argv, prog=COMMAND, about=__doc__ or "", sections=("merge",), flags=FLAGS)
    order = read_order(config)
    if not (order.output / "config.json").is_file():
        raise ModelError(f"{order.output}: no merged model there; make it with: python -m merge")
    quiet_libraries()
    set_threads(config.threads)
    parity = compare(
        str(order.base),
        order.sources,
        order.output,
        tolerance=config.merge.tolerance,
        method=config.merge.parity,
    )
    content = {**applied_before(order.parity), **parity.model_dump(mode="json")}
    write_text(order.parity, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    for warning in parity.warnings:
        print(f"parity: {warning}", file=sys.stderr)
    if not parity.passed:
        print(f"parity failed: {parity.why}; see {order.parity}", file=sys.stderr)
        return FAILED
    print(f"parity: {summary(parity)} -> {order.parity}", flush=True)
    return 0


def summary(parity: Parity) -> str:
    """What was found, in a line."""
    weights = f", {parity.weights.weights} weights as PEFT makes them" if parity.weights else ""
    return (
        f"largest logit difference {parity.max_abs_logit_diff:.4f} (tolerance {parity.tolerance:g}, {parity.method}), "
        f"{parity.flips} of {parity.positions} tokens chosen otherwise{weights}, tokenizer files "
        f"{'identical' if parity.files_identical else 'differ'}"
    )


if __name__ == "__main__":
    sys.exit(main())
