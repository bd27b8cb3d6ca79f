"""Merges LoRA adapters into a base model, one file of weights after the other, with one rounding for each weight.

Reads the base's and the adapters' directories; writes a model directory. The same bits as PEFT's ``merge_and_unload``
where that rounds once; where it rounds twice (embeddings, parameters of experts) these are the closer ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from merge.adapter import Source, read_adapter
from merge.base import read_base
from merge.output import Partial, copy_beside, require_space, write_config, write_index
from merge.plan import make_plan
from merge.stream import Progress, lay_out, write_file
from merge.weights import read_weights

Watch = Callable[[int], Progress]
"""Told the number of bytes that will be written; gives what is to be told of each piece."""


@dataclass(frozen=True)
class Applied:
    """What a merge did.

    Attributes:
        engine: which one did it.
        adapters: of each adapter, its directory, its weight, and into which weights each of its tensors went.
        adapter_tensors: tensors of all adapters; each was used exactly once.
        weights_changed: weights of the base that are others now, or new.
        dtypes: types of the merged weights.
        config: keys of ``config.json`` that had to change.
    """

    engine: str
    adapters: tuple[dict[str, Any], ...]
    adapter_tensors: int
    weights_changed: int
    dtypes: tuple[str, ...]
    config: dict[str, Any]


def merge(
    base: Path,
    sources: Sequence[Source],
    partial: Partial,
    *,
    dtype: str = "base",
    max_shard_size: int | None = None,
    threads: int = 1,
    watch: Watch | None = None,
) -> Applied:
    """Write the merged model to ``partial.path``, without what is finished there already.

    Raises:
        ModelError: base or adapter is broken, they do not fit, or the result is not finite; nothing was written if
            that could be known before.
        ArtifactError: the disk is too small.
    """
    weights = read_weights(base)
    model = read_base(base, weights)
    adapters = [read_adapter(source, alone=len(sources) == 1) for source in sources]
    plan = make_plan(model, adapters)
    files = lay_out(weights, plan, dtype, max_shard_size)
    partial.open()
    todo = [file for file in files if not partial.has(file)]
    size = sum(file.size for file in todo)
    require_space(partial, size)
    tell = watch(size) if watch else _ignore
    for file in todo:
        write_file(file, partial.begin(file), threads, tell)
        partial.finish(file)
    write_index(partial.path, weights, files, base)
    copy_beside(base, [source.directory for source in sources], partial.path)
    write_config(base, partial.path, plan.config, dtype)
    return Applied(
        engine="stream",
        adapters=tuple(
            {"directory": str(source.directory), "weight": source.weight, "tensors": applied}
            for source, applied in zip(sources, plan.applied)
        ),
        adapter_tensors=sum(len(applied) for applied in plan.applied),
        weights_changed=len(plan.edits.keys() | plan.added.keys()),
        dtypes=tuple(sorted({tensor.dtype for file in files for tensor in file.tensors})),
        config=plan.config,
    )


def _ignore(_: int) -> None:
    pass
