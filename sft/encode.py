"""Conversations into tokens, with labels on exactly what the model itself would write.

``labels`` are -100 but on the text, the calls and the terminator of trained assistant turns: never on headers, on the
newline after a terminator, on tool results, or on text that only looks like a marker. Reads and writes no files.
"""

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sft.frame import EncodeError, Frame, TooLongError, common_length, learn_frame
from sft.reading import drop_thinking, escape_markers, require_no_markers, split_thinking
from sft.rows import IGNORE, Encoded, Refusal, Span, TrainPolicy
from sft.tokens import Ids, TokenBorderError, Tokens, tokens_of
from sft.turns import Rendered, borrowed, exact_rows, find_rows, name_of
from toolwright.errors import DataError
from toolwright.records import Conversation, Message

__all__ = ["IGNORE", "EncodeError", "Encoded", "Refusal", "Span", "TrainPolicy", "encode", "encode_many"]

EVERY_TURN = TrainPolicy()
_FIRST_VERIFIED = (0, 31)


def encode(
    conversation: Conversation | Mapping[str, Any],
    tokenizer: Any,
    *,
    train: TrainPolicy = EVERY_TURN,
    max_tokens: int | None = None,
    template_kwargs: Mapping[str, Any] | None = None,
) -> Encoded:
    """Encode one conversation (a record, or ``{"messages": […], "tools": […]}`` in OpenAI form), fully verified.

    Raises:
        EncodeError: it cannot be trained on exactly, needs several rows, or its first trained turn does not fit in
            ``max_tokens``.
        DataError: it is not a conversation.
        ModelError: the tokenizer's chat template cannot be used.
    """
    rows = encode_many(
        [conversation], tokenizer, train=train, max_tokens=max_tokens, template_kwargs=template_kwargs, verify="full"
    )
    if len(rows) > 1:
        raise EncodeError(
            f"the chat template rewrites history, so this conversation needs {len(rows)} rows to be trained as it is "
            "served; use encode_many, or history='stable'"
        )
    return rows[0]


def encode_many(
    conversations: Iterable[Conversation | Mapping[str, Any]],
    tokenizer: Any,
    *,
    train: TrainPolicy = EVERY_TURN,
    max_tokens: int | None = None,
    template_kwargs: Mapping[str, Any] | None = None,
    verify: Literal["sample", "full"] = "sample",
    refused: list[Refusal] | None = None,
) -> list[Encoded]:
    """Encode conversations, in their order; those that cannot be go to ``refused`` when it is given.

    Every trained turn of every row is read back and compared with its message, and the tokens of its prompt are those
    that the prompt has alone. ``verify`` says for which conversations this is done once more from nothing, with the
    tokenizer's own rendering and encoding of the row and of each prompt: for all, or for a sample (the 1st, the 32nd,
    each 1000th; of these the last prompt).

    Raises:
        EncodeError, DataError: as ``encode``, for the first conversation that cannot be and no ``refused``.
        ModelError: the tokenizer's chat template cannot be used.
    """
    tokens = tokens_of(tokenizer)
    usual = learn_frame(tokenizer, template_kwargs)
    rows: list[Encoded] = []
    with no_collector():
        for index, item in enumerate(conversations):
            try:
                conversation = item if isinstance(item, Conversation) else Conversation.from_row(item)
                own = conversation.chat_template_kwargs
                frame = learn_frame(tokenizer, {**(template_kwargs or {}), **own}) if own else usual
                depth = verify if verify == "full" or index in _FIRST_VERIFIED or index % 1000 == 999 else None
                rows += _encode(conversation, index, frame, tokens, train, max_tokens, depth)
            except DataError as error:
                if refused is None:
                    raise
                refused.append(Refusal(index, str(error)))
    return rows


@contextmanager
def no_collector() -> Iterator[None]:
    """Without Python's collector of cycles, which walks through all of torch and transformers again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _encode(
    conversation: Conversation,
    index: int,
    frame: Frame,
    tokens: Tokens,
    train: TrainPolicy,
    max_tokens: int | None,
    verify: Literal["sample", "full"] | None,
) -> list[Encoded]:
    if train.markers == "escape":
        conversation = escape_markers(conversation, frame)
    require_no_markers(conversation, frame, name_of(conversation))
    if train.thinking == "drop":
        conversation = drop_thinking(conversation)
    wanted = _wanted(conversation, train)
    rendered = find_rows(conversation, frame, wanted, train.history)
    if verify and train.history != "as_rendered" and exact_rows(conversation, frame, wanted, train.history) != rendered:
        raise EncodeError(f"{name_of(conversation)}: rendered one by one, its turns are others; please report this")
    rows, texts = _fitting(conversation, rendered, index, tokens, train, max_tokens)
    if verify:
        for row, text in zip(rows, texts):
            spans = row.spans if verify == "full" else row.spans[-1:]
            _verify(conversation, row, text, frame, spans if train.history != "as_rendered" else ())
    return rows


def _fitting(
    conversation: Conversation,
    rendered: Sequence[Rendered],
    index: int,
    tokens: Tokens,
    train: TrainPolicy,
    max_tokens: int | None,
) -> tuple[list[Encoded], list[Rendered]]:
    """The rows with at least one turn within ``max_tokens``; the turns of the others count as cut.

    Raises:
        EncodeError: as ``encode_many``, or no row is left.
    """
    rows, texts, lost = [], [], 0
    for text in rendered:
        try:
            rows.append(_label(conversation, text, index, tokens, train, max_tokens))
            texts.append(text)
        except TooLongError:
            lost += len(text.turns)
            if not rows and text is rendered[-1]:
                raise
    if lost:
        rows[0] = replace(rows[0], cut_turns=rows[0].cut_turns + lost)
    return rows, texts


def _wanted(conversation: Conversation, train: TrainPolicy) -> list[int]:
    """The messages that are trained.

    Raises:
        EncodeError: none.
    """
    assistant = [index for index, message in enumerate(conversation.messages) if message.role == "assistant"]
    if train.turns == "last_turn":
        assistant = assistant[-1:]
    wanted = [index for index in assistant if _weight(conversation.messages[index], train) > 0]
    if not wanted:
        what = "with a weight above 0, " if assistant else ""
        raise EncodeError(f"{name_of(conversation)}: no assistant message {what}so there is nothing to train; drop it")
    return wanted


def _weight(message: Message, train: TrainPolicy) -> float:
    weight = train.call_weight if message.tool_calls else train.text_weight
    return weight if message.loss_weight is None else weight * message.loss_weight


def _label(
    conversation: Conversation, row: Rendered, index: int, tokens: Tokens, train: TrainPolicy, max_tokens: int | None
) -> Encoded:
    where = name_of(conversation)
    cuts = [place for turn in row.turns for place in (turn.start, turn.end)]
    try:
        ids, counts = tokens.encode(row.text, cuts)
    except TokenBorderError as error:
        raise EncodeError(
            f"{where}: the token {error.token!r} lies across the border of a trained turn; the message begins with "
            "text that the tokenizer joins to its header: strip it"
        ) from None
    spans = [Span(turn.message, *counts[2 * number : 2 * number + 2]) for number, turn in enumerate(row.turns)]
    kept = spans
    if max_tokens is not None and len(ids) > max_tokens:
        kept = [span for span in spans if span.end <= max_tokens]
        if not kept:
            raise TooLongError(
                f"{where}: the first trained turn (messages[{spans[0].message}]) ends at token {spans[0].end}, beyond "
                f"max_tokens = {max_tokens}; raise max_tokens or drop the conversation"
            )
        ids = ids[: kept[-1].end]
    if kept[0].start == 0:
        raise EncodeError(f"{where}: the first trained turn begins at the first token; something must come before it")
    labels, weights = np.full(len(ids), IGNORE, np.int32), np.zeros(len(ids), np.float32)
    for span, turn in zip(kept, row.turns):
        message = conversation.messages[span.message]
        labels[span.start : span.end] = ids[span.start : span.end]
        weights[span.start : span.end] = _weight(message, train)
        if train.thinking == "mask" or train.reasoning_weight != 1.0:
            _weigh_reasoning(message, row.text[turn.start : turn.end], span, tokens, train, labels, weights)
    if not weights.any():
        raise EncodeError(f"{where}: every trained token has the weight 0; drop it")
    return Encoded(ids, labels, weights, tuple(kept), index, len(spans) - len(kept) + row.lost)


def _weigh_reasoning(
    message: Message,
    text: str,
    span: Span,
    tokens: Tokens,
    train: TrainPolicy,
    labels: Ids,
    weights: NDArray[np.float32],
) -> None:
    """Give the words of reasoning within a turn their weight, or none; the marks around them stay trained."""
    thought = split_thinking(message)[0]
    at = text.find(thought)
    if not thought or at < 0:
        return
    first, last = tokens.inside(text, at, at + len(thought))
    words = slice(span.start + first, span.start + last)
    if train.thinking == "mask" or train.reasoning_weight == 0:
        labels[words] = IGNORE
        weights[words] = 0
    else:
        weights[words] *= train.reasoning_weight


def _verify(conversation: Conversation, row: Encoded, rendered: Rendered, frame: Frame, spans: Sequence[Span]) -> None:
    """Compare a row with what the tokenizer itself gives for it, and for the prompts of the turns ``spans``.

    Raises:
        EncodeError: they differ; names the message and shows the text around.
    """
    messages, tools, tokenizer = conversation.messages, conversation.tools, frame.tokenizer

    def ids_of(text: str) -> Sequence[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]  # type: ignore[no-any-return]

    def require_same(theirs: Sequence[int], ours: Sequence[int], where: str, what: str) -> None:
        at = common_length(theirs, ours)
        if at < max(len(theirs), len(ours)):
            around = tokenizer.decode(theirs[max(0, at - 8) : at + 8]), tokenizer.decode(ours[max(0, at - 8) : at + 8])
            raise EncodeError(f"{where}: {what} at token {at}: {around[0]!r} against {around[1]!r}")

    where = name_of(conversation)
    shown = messages[: rendered.stop]
    own = rendered.text
    if not rendered.joined:
        own = frame.render(shown, tools, prompt=False) + borrowed(shown[-1], frame)
    require_same(ids_of(own)[: len(row.input_ids)], row.input_ids.tolist(), where, "the tokenizer's render differs")
    for span in spans:
        prompt = frame.render(messages[: span.message], tools, prompt=True)
        ours = row.input_ids[: span.start].tolist()
        require_same(ids_of(prompt), ours, f"{where}: messages[{span.message}]", "the served prompt differs")
