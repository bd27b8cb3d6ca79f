"""Batches of token ids and labels, drawn on the fly from the seeded corpus generator."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import torch
from transformers import PreTrainedTokenizerFast

from models.pretrain.corpus import Difficulty, draw_conversation
from models.pretrain.render import render

IGNORED = -100
MAX_TOKENS = 1024
POOL = 96


@dataclass(frozen=True)
class Batch:
    """Rows of about one length, padded on the right."""

    ids_BT: torch.Tensor
    labels_BT: torch.Tensor
    """`ids_BT` where the assistant wrote the token, `IGNORED` elsewhere."""
    n_tokens: int


Row = tuple[list[int], list[int]]


def draw_row(rng: Random, difficulty: Difficulty, tokenizer: PreTrainedTokenizerFast) -> Row:
    """Draw one conversation as token ids and labels."""
    segments = render(draw_conversation(rng, difficulty))
    encoded = tokenizer.backend_tokenizer.encode_batch([text for text, _ in segments], add_special_tokens=False)
    ids: list[int] = []
    labels: list[int] = []
    for (_, trained), piece in zip(segments, encoded, strict=True):
        ids += piece.ids
        labels += piece.ids if trained else [IGNORED] * len(piece.ids)
    return ids, labels


def pad_rows(rows: list[Row], pad_token_id: int) -> Batch:
    """Pad rows on the right to one length."""
    width = max(len(ids) for ids, _ in rows)
    ids = [ids + [pad_token_id] * (width - len(ids)) for ids, _ in rows]
    labels = [labels + [IGNORED] * (width - len(labels)) for _, labels in rows]
    return Batch(torch.tensor(ids), torch.tensor(labels), sum(len(row) for row, _ in rows))


def draw_batches(
    rng: Random, difficulty: Difficulty, tokenizer: PreTrainedTokenizerFast, batch_tokens: int
) -> Iterator[Batch]:
    """Draw a pool of rows, cut it by length into batches of at most `batch_tokens`, and yield them shuffled."""
    rows = [draw_row(rng, difficulty, tokenizer) for _ in range(POOL)]
    rows = sorted((row for row in rows if len(row[0]) <= MAX_TOKENS), key=lambda row: len(row[0]))
    groups: list[list[Row]] = [[]]
    for row in rows:
        if groups[-1] and (len(groups[-1]) + 1) * len(row[0]) > batch_tokens:
            groups.append([])
        groups[-1].append(row)
    rng.shuffle(groups)
    for group in groups:
        yield pad_rows(group, int(tokenizer.pad_token_id or 0))
