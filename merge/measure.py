"""Base and adapters beside the merged model: whole in memory (``logits``), or a layer at a time (``layers``)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from merge.adapter import Source, changes_base
from merge.elements import Elements, compare_elements
from merge.greedy import Rendered, Said, find_dialect, read_reply, reply_greedily, stop_ids
from merge.halves import Differences, Halves, compare_halves
from merge.layers import LayersError, Store, Streamed, empty_model, own_weights
from merge.output import local_base
from merge.reference import apply_sources, load_reference
from toolwright.model import adapter_settings, load_model, model_source

Watch = Callable[[str, int, int], None]
"""Told what is being done, and how much of how much of it is done."""
_ROOM = 1.3  # of the weights in float32: what is computed beside them
_LEAST_ROOM = 2**29


@dataclass(frozen=True)
class Reply:
    """What base and adapters say to a prompt.

    Attributes:
        rendered: the prompt.
        ids: the reply's, the token that ends it included.
        said: the reply as it is read.
        lead: least lead of a chosen token over the next best.
        margin: where the merged model's reply comes to something else, lead of the token at which they went apart.
    """

    rendered: Rendered
    ids: tuple[int, ...]
    said: Said
    lead: float
    margin: float | None = None


def fits(base: Path, merged: Path, device: str) -> bool:
    """Whether each of the two has room in memory, in float32."""
    from psutil import virtual_memory

    try:
        most = max(Store(directory).parameters for directory in (base, merged))
    except LayersError:
        return True
    free = torch.cuda.mem_get_info()[0] if device == "cuda" else min(virtual_memory().available, _container_memory())
    return bool(4 * most * _ROOM + _LEAST_ROOM <= free)


def _container_memory() -> float:
    """Bytes that the container of this process still has."""
    group = Path("/sys/fs/cgroup")
    try:
        return int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())
    except (OSError, ValueError):  # no limit, or no such system
        return float("inf")


def measure_whole(
    base: str, sources: Sequence[Source], merged: Path, prompts: Sequence[Rendered], tokenizer: Any, *, dtype: str
) -> tuple[Differences, list[Reply]]:
    """Let base and adapters reply, and compare the logits of both models on prompts and replies.

    Raises:
        ModelError: one of the models cannot be loaded.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    reference = load_reference(base, sources, dtype).to(device)
    stops = stop_ids(reference.get_base_model(), tokenizer)
    dialect = find_dialect(reference.get_base_model().config.model_type, tokenizer)
    replies = reply_greedily(reference, [one.ids for one in prompts], stops)
    sequences = [[*one.ids, *ids] for one, ids in zip(prompts, replies, strict=True)]
    first = Halves(reference, sequences)
    del reference
    model = load_model(merged, dtype).to(device)
    found = compare_halves(first, Halves(model, sequences, keep=True), [len(one.ids) - 1 for one in prompts])
    read = [read_reply(one, ids, stops, tokenizer, dialect) for one, ids in zip(prompts, replies, strict=True)]
    margins: dict[int, float] = {}
    apart = {index: text.first_flip for index, text in enumerate(found.texts) if text.first_flip is not None}
    others = reply_greedily(model, [prompts[index].ids for index in apart], stops) if apart else []
    for (index, margin), ids in zip(apart.items(), others, strict=True):
        if not read[index].same(read_reply(prompts[index], ids, stops, tokenizer, dialect)):
            margins[index] = margin
    return found, [
        Reply(one, tuple(replies[index]), read[index], found.texts[index].lead, margins.get(index))
        for index, one in enumerate(prompts)
    ]


def measure_layers(
    base: str, sources: Sequence[Source], merged: Path, prompts: Sequence[Rendered], watch: Watch
) -> Differences:
    """Compare the logits of both models on prompts and good answers, with a layer of each in memory at a time.

    Raises:
        ModelError: a model cannot be read that way.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    sequences = [one.with_answer for one in prompts]
    directory = local_base(model_source(base))
    model = empty_model(directory)
    homes = own_weights(model)
    model = _adapt(model, base, sources).get_base_model()
    first = Halves(model, sequences, _streamed(model, Store(directory, device), homes, watch, "base and adapters"))
    model = empty_model(merged)
    store = Store(merged, device)
    second = Halves(model, sequences, _streamed(model, store, own_weights(model), watch, "merged model"))
    found = compare_halves(first, second, [0] * len(sequences))
    if found.reference_broken:
        raise LayersError(f"{base}: some weights are used outside of their layer")
    return found


def _streamed(model: Any, store: Store, homes: Any, watch: Watch, what: str) -> Streamed:
    done = 0

    def filled(_: str) -> None:
        nonlocal done
        done += 1
        watch(what, done, len(store.units))

    return Streamed(model, store, homes, filled)


def _adapt(model: Any, base: str, sources: Sequence[Source]) -> Any:
    for source in sources:
        if changes_base(adapter_settings(source.directory)):
            raise LayersError(f"{source.directory}: changes the base as well, which takes all of its weights")
    return apply_sources(model, base, sources, empty=True)


def weigh(base: str, sources: Sequence[Source], merged: Path, watch: Watch) -> tuple[Elements | None, list[str]]:
    """Every weight of the merged model against PEFT's; or a line that says why they cannot be compared."""

    def show(done: int, of: int) -> None:
        watch("weights", done, of)

    try:
        directory = local_base(model_source(base))
        return compare_elements(directory, merged, lambda model: _adapt(model, base, sources), show), []
    except LayersError as error:
        return None, [f"weights were not compared one by one: {error}"]
