"""Conversations into tokens, with labels on exactly what the model itself would write.

``labels`` are -100 but on the text, the calls and the terminator of trained assistant turns: never on headers, on the
newline after a terminator, on tool results, or on text that only looks like a marker. Reads and writes no files.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sft.turns import EncodeError, Frame, Turn, escape_markers, find_turns, learn_frame, name_of, require_no_markers
from toolwright.errors import DataError
from toolwright.records import Conversation

__all__ = ["IGNORE", "EncodeError", "Encoded", "Refusal", "Span", "TrainPolicy", "encode", "encode_many"]

IGNORE = -100
_CHUNK = 256


@dataclass(frozen=True)
class TrainPolicy:
    """What is trained and how much.

    ``turns``: every assistant turn, or only the last one. ``history``: what to do where the template rewrites earlier
    turns: ``split`` into the fewest rows that show each turn as it is served, train the ``stable`` turns only, or
    train the whole render ``as_rendered``. ``thinking``: ``train`` reasoning, ``mask`` its words, or ``drop`` it.
    ``call_weight`` and ``text_weight`` multiply the loss of turns with and without calls, ``reasoning_weight`` that
    of reasoning within them. ``markers``: what to do with special tokens in the words of a conversation: ``refuse``
    it, or ``escape`` them (``<|im_end|>`` becomes ``< |im_end|>``).
    """

    turns: Literal["all", "last_turn"] = "all"
    history: Literal["split", "stable", "as_rendered"] = "split"
    thinking: Literal["train", "mask", "drop"] = "train"
    call_weight: float = 1.0
    text_weight: float = 1.0
    reasoning_weight: float = 1.0
    markers: Literal["refuse", "escape"] = "refuse"


@dataclass(frozen=True)
class Span:
    """Tokens ``start:end`` are the trained turn of ``message``, terminator included."""

    message: int
    start: int
    end: int


@dataclass(frozen=True, eq=False)
class Encoded:
    """One training row of T tokens.

    Attributes:
        input_ids: int32 (T,).
        labels: int32 (T,), ``input_ids`` where trained and -100 elsewhere; not shifted.
        weights: float32 (T,), what the loss of each token is multiplied with; 0 where not trained.
        spans: the trained turns.
        source: index of the conversation in the input; a template that rewrites history may need several rows of one.
        cut_turns: assistant turns that ``max_tokens`` cost.
    """

    input_ids: NDArray[np.int32]
    labels: NDArray[np.int32]
    weights: NDArray[np.float32]
    spans: tuple[Span, ...]
    source: int = 0
    cut_turns: int = 0

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Encoded):
            return NotImplemented
        return (self.spans, self.source, self.cut_turns) == (other.spans, other.source, other.cut_turns) and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in ("input_ids", "labels", "weights")
        )

    @property
    def trained(self) -> int:
        """How many tokens carry a label."""
        return int(np.count_nonzero(self.labels != IGNORE))


@dataclass(frozen=True)
class Refusal:
    """A conversation that was left out: its place in the input (from 0) and why."""

    index: int
    reason: str


def encode(
    conversation: Conversation | Mapping[str, Any],
    tokenizer: Any,
    *,
    train: TrainPolicy = TrainPolicy(),
    max_tokens: int | None = None,
    template_kwargs: Mapping[str, Any] | None = None,
) -> Encoded:
    """Encode one conversation (a record, or ``{"messages": […], "tools": […]}`` in OpenAI form).

    Raises:
        EncodeError: it cannot be trained on exactly, or its first trained turn does not fit in ``max_tokens``.
        DataError: it is not a conversation.
        ModelError: the tokenizer's chat template cannot be used.
    """
    rows = encode_many([conversation], tokenizer, train=train, max_tokens=max_tokens, template_kwargs=template_kwargs)
    return rows[0]


def encode_many(
    conversations: Iterable[Conversation | Mapping[str, Any]],
    tokenizer: Any,
    *,
    train: TrainPolicy = TrainPolicy(),
    max_tokens: int | None = None,
    template_kwargs: Mapping[str, Any] | None = None,
    refused: list[Refusal] | None = None,
) -> list[Encoded]:
    """Encode conversations in batches; those that cannot be go to ``refused`` when it is given.

    Raises:
        EncodeError, DataError: as ``encode``, for the first conversation that cannot be and no ``refused``.
        ModelError: the tokenizer's chat template cannot be used.
    """
    frame = learn_frame(tokenizer, template_kwargs)
    engine = _engine(tokenizer)
    rows: list[Encoded] = []
    numbered = enumerate(conversations)
    while chunk := list(islice(numbered, _CHUNK)):
        found = list(_find(chunk, frame, train, refused))
        encodings = engine.encode_batch([item.text for item in found], add_special_tokens=False)
        for item, encoding in zip(found, encodings):
            try:
                rows.append(_label(item, encoding, max_tokens))
            except EncodeError as error:
                _refuse(item.index, EncodeError(f"{item.name}: {error}"), refused)
    return rows


@dataclass(frozen=True)
class _Found:
    """A rendered conversation, its turns to train and the weight of each."""

    index: int
    name: str
    text: str
    turns: Sequence[Turn]
    weights: Sequence[float]


def _find(
    chunk: Sequence[tuple[int, Conversation | Mapping[str, Any]]],
    frame: Frame,
    train: TrainPolicy,
    refused: list[Refusal] | None,
) -> Iterator[_Found]:
    for index, item in chunk:
        try:
            conversation = item if isinstance(item, Conversation) else Conversation.from_row(item)
            if train.markers == "escape":
                conversation = escape_markers(conversation, frame)
            require_no_markers(conversation, frame)
            text, turns = find_turns(conversation, frame, last_only=train.turns == "last_turn")
        except DataError as error:
            _refuse(index, error, refused)
            continue
        calls = [bool(conversation.messages[turn.message].tool_calls) for turn in turns]
        weights = [train.call_weight if call else train.text_weight for call in calls]
        yield _Found(index, name_of(conversation), text, turns, weights)


def _refuse(index: int, error: DataError, refused: list[Refusal] | None) -> None:
    if refused is None:
        raise error
    refused.append(Refusal(index, str(error)))


def _engine(tokenizer: Any) -> Any:
    """The tokenizer's own engine, apart from its state: no truncation, and offsets that no post-processor trims."""
    from tokenizers import Tokenizer

    engine = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    engine.no_truncation()
    engine.no_padding()
    engine.post_processor = None
    return engine


def _label(found: _Found, encoding: Any, max_tokens: int | None) -> Encoded:
    text, ids, offsets = found.text, encoding.ids, encoding.offsets
    starts = [start for start, _ in offsets]
    spans = [
        Span(turn.message, _boundary(turn.start, starts, offsets, text), _boundary(turn.end, starts, offsets, text))
        for turn in found.turns
    ]
    kept = spans
    if max_tokens is not None and len(ids) > max_tokens:
        kept = [span for span in spans if span.end <= max_tokens]
        if not kept:
            raise EncodeError(
                f"the first trained turn (messages[{spans[0].message}]) ends at token {spans[0].end}, beyond "
                f"max_tokens = {max_tokens}; raise max_tokens or drop the conversation"
            )
        ids = ids[: kept[-1].end]
    input_ids = np.array(ids, np.int32)
    labels, scale = np.full(len(ids), IGNORE, np.int32), np.zeros(len(ids), np.float32)
    for span, weight in zip(kept, found.weights):
        labels[span.start : span.end] = input_ids[span.start : span.end]
        scale[span.start : span.end] = weight
    if kept[0].start == 0:
        raise EncodeError("the first trained turn begins at the first token; something must come before it")
    return Encoded(input_ids, labels, scale, tuple(kept), found.index, len(spans) - len(kept))


def _boundary(at: int, starts: Sequence[int], offsets: Sequence[tuple[int, int]], text: str) -> int:
    """The first token that begins at character ``at`` or later; no token may lie across."""
    index = bisect_left(starts, at)
    if index and offsets[index - 1][1] > at:
        start, end = offsets[index - 1]
        raise EncodeError(
            f"the token {text[start:end]!r} lies across the border of a trained turn ({text[start:at]!r} | "
            f"{text[at:end]!r}); the message begins with text that the tokenizer joins to its header: strip it"
        )
    return index
