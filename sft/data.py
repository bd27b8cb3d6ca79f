"""The conversations of a run as training rows: encoded once, kept on disk, split and mixed by number.

Reads the JSONL files that the configuration names, or ``train.jsonl`` and ``dev.jsonl`` of the run; writes what
``sft.encoded`` writes.
"""

import hashlib
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sft.chunks import Recipe
from sft.encode import TrainPolicy
from sft.encoded import Part, Refused, open_or_encode
from sft.store import RowView
from toolwright.artifacts import require
from toolwright.config import DataSource, RunConfig, SftConfig
from toolwright.errors import ConfigError, DataError
from toolwright.stage import run_dir


@dataclass(frozen=True)
class Data:
    """Rows for training and for the dev loss, and what was lost on the way."""

    train: RowView
    dev: RowView
    refused: list[Refused]
    sources: Mapping[str, int]

    @property
    def counts(self) -> dict[str, Any]:
        """Rows, of each file too, tokens, trained share, refused conversations and turns cut by ``max_tokens``."""
        tokens, trained, cut = (int(n.sum()) for n in (self.train.lengths, self.train.trained, self.train.cut_turns))
        return {
            "rows": len(self.train),
            "dev_rows": len(self.dev),
            "sources": dict(self.sources),
            "tokens": tokens,
            "trained_tokens": trained,
            "trained_share": round(trained / max(tokens, 1), 4),
            "refused": len(self.refused),
            "refused_by_reason": dict(Counter(_kind_of(each.reason) for each in self.refused).most_common(20)),
            "rows_cut": int(np.count_nonzero(self.train.cut_turns)),
            "turns_cut": cut,
        }


def _kind_of(reason: str) -> str:
    """A reason without the names, numbers and values in it."""
    reason = re.sub(r"^conversation '[^']*': ", "", reason)
    return re.sub(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\d+", "…", reason)[:80]


@dataclass(frozen=True)
class DataFiles:
    """The files that are trained on, each with its weight, and that of the dev loss."""

    train: tuple[DataSource, ...]
    dev: Path | None

    @property
    def inputs(self) -> dict[str, Path | str]:
        """What a ``Job`` depends on."""
        found: dict[str, Path | str] = {}
        for number, source in enumerate(self.train):
            name = "train" if len(self.train) == 1 else f"train[{number}]"
            found[name] = Path(source.path)
            if source.weight != 1:
                found[f"{name}.weight"] = repr(source.weight)
        return found | ({"dev": self.dev} if self.dev else {})


def data_files(config: RunConfig) -> DataFiles:
    """The files of the configuration, else those of the run.

    Raises:
        ArtifactError: the run has none, or they are unfinished.
        ConfigError: settings that do not go together.
        DataError: a file that the configuration names is not there.
    """
    settings = config.sft
    if settings.dev_share and settings.dev_data:
        raise ConfigError("sft.dev_share and sft.dev_data: both say what the dev loss is taken on; set one of them")
    named = [DataSource(path=settings.data)] if isinstance(settings.data, str) else settings.data
    if named == []:
        raise ConfigError("sft.data: an empty list; name at least one file as {path: …, weight: 1.0}")
    for path in [*(source.path for source in named or ()), *filter(None, [settings.dev_data])]:
        if not Path(path).is_file():
            what = "a directory" if Path(path).is_dir() else "no such file"
            raise DataError(f"{path}: {what}; name a JSONL file with conversations")
    dev = Path(settings.dev_data) if settings.dev_data else None
    if named is not None:
        return DataFiles(tuple(named), dev)
    made_by = "python -m data_gen.split"
    train, of_run = run_dir(config) / "train.jsonl", run_dir(config) / "dev.jsonl"
    require(train, made_by=made_by)
    if dev is None and not settings.dev_share and of_run.exists():
        require(of_run, made_by=made_by)
        dev = of_run if of_run.stat().st_size else None
    return DataFiles((DataSource(path=str(train)),), dev)


def load_data(config: RunConfig, tokenizer: Any) -> Data:
    """The rows of a run: those that an earlier start left on disk, or encoded now.

    Several processes may call this at once: one encodes, the others wait for it.

    Raises:
        DataError: a conversation that cannot be trained on, unless ``sft.on_error`` is ``skip``; or none is left.
        StageError: one of ``sft.encode_processes`` died.
        ModelError: the tokenizer's chat template cannot be used.
    """
    files, settings = data_files(config), config.sft
    sets = {"train": [Path(source.path) for source in files.train], **({"dev": [files.dev]} if files.dev else {})}
    parts = open_or_encode(sets, config, recipe_of(settings, tokenizer))
    dev = RowView(parts["dev"].store) if "dev" in parts else None
    train, from_train = _split(parts["train"], settings.dev_share, config.seed)
    numbers = _mix(parts["train"], train, [source.weight for source in files.train], config.seed)
    if not sum(map(len, numbers)):
        raise DataError("sft.data: the weights leave no conversation to train on; raise one of them")
    refused = [each for part in parts.values() for each in part.refused]
    return Data(
        RowView(parts["train"].store, np.concatenate(numbers)),
        RowView(parts["train"].store, from_train) if dev is None else dev,
        refused,
        {source.path: len(rows) for source, rows in zip(files.train, numbers)},
    )


def recipe_of(settings: SftConfig, tokenizer: Any) -> Recipe:
    """How a configuration has conversations encoded."""
    policy = TrainPolicy(
        turns=settings.train_on,
        history=settings.history,
        thinking=settings.thinking,
        call_weight=settings.call_weight,
        text_weight=settings.text_weight,
        reasoning_weight=settings.reasoning_weight,
        markers=settings.markers,
    )
    hashed = settings.dev_share > 0
    return Recipe(tokenizer, policy, settings.max_tokens, settings.template_kwargs, settings.verify, hashed)


def _split(part: Part, share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The numbers of the rows to train on, and of those whose conversations are kept for the dev loss.

    Equal conversations, and all rows of one, are on the same side.
    """
    everything = np.arange(len(part.store))
    if not share:
        return everything, everything[:0]
    hashes = part.places["hash"][part.store.sources]
    salt = hashlib.blake2b(f"sft-dev-{seed}".encode(), digest_size=8).digest()
    mixed = hashes ^ np.frombuffer(salt, "<u8")[0]
    distinct = np.unique(mixed)
    if len(distinct) < 2:
        raise DataError("sft.dev_share: there is one conversation only, which cannot be split; set sft.dev_data")
    count = min(max(round(share * len(distinct)), 1), len(distinct) - 1)
    in_dev = mixed < distinct[count]
    return everything[~in_dev], everything[in_dev]


def _mix(part: Part, rows: NDArray[np.int64], weights: Sequence[float], seed: int) -> list[NDArray[np.int64]]:
    """For each file its ``rows`` as often as its weight says: whole copies, and a seeded sample of conversations."""
    sources = part.store.sources[rows]
    files = part.places["file"][sources]
    numbers = []
    for file, weight in enumerate(weights):
        own = files == file
        copies = [rows[own]] * int(weight)
        if weight % 1:
            conversations = np.unique(sources[own])
            draw = random.Random(f"sft-mixture-{seed}-{file}")
            places = draw.sample(range(len(conversations)), round(weight % 1 * len(conversations)))
            copies.append(rows[own & np.isin(sources, conversations[places])])
        numbers.append(np.concatenate([rows[:0], *copies]))
    return numbers
