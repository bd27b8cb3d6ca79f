"""What each token of a training row is: its text, role and message; and where a server would have shown something else.

The roles of trained turns come from the tokens themselves, those of the rest from the places at which messages begin
in the template's render; what cannot be told apart is ``structure``. Reads and writes no files.
"""

import re
from bisect import bisect_left
from collections.abc import Container, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sft.encode import IGNORE, Encoded
from sft.frame import Frame, common_length, special_tokens
from sft.reading import split_thinking
from sft.turns import borrowed
from toolwright.errors import ModelError
from toolwright.records import Conversation, Message, ToolSpec

ROLES = ("structure", "system", "tools", "user", "text", "reasoning", "call", "result", "end")
"""``text``, ``reasoning``, ``call`` and ``end`` (the terminator) are an assistant's; ``result`` is a tool's."""
_ROLE_OF_MESSAGE = {"system": "system", "user": "user", "tool": "result"}
_THOUGHT_ENDS = re.compile(r"\s*(?:</think>|\[/THINK\]|<\|END_THINKING\|>|<channel\|>|<\|end\|>)?\s*")
_NO_THOUGHT = re.compile(r"\s*<think>\s*</think>\s*")
_SHOWN_TOKENS = 60

Parts = list[tuple[int, int, str]]
Roles = NDArray[np.uint8]


@dataclass(frozen=True)
class Tokens:
    """The T tokens of a row: their texts, roles (places in ``ROLES``) and messages (-1: none).

    A token that holds only the first bytes of a character has the text "", the last one has the character.
    """

    pieces: Sequence[str]
    roles: Roles
    messages: NDArray[np.int32]


@dataclass(frozen=True)
class Difference:
    """Before the turn of ``message``, tokens ``start:end`` are not what a server would show; both texts there."""

    message: int
    start: int
    end: int
    row: str
    served: str


def turn_parts(text: str, message: Message) -> Parts:
    """``(start, end, role)`` of the reasoning, text and calls in an assistant's turn; later parts lie over earlier."""
    thought, content = split_thinking(message)
    parts: Parts = [(0, len(text), "call" if message.tool_calls else "text")]
    after = 0
    if thought and (at := text.find(thought)) >= 0:
        ends = _THOUGHT_ENDS.match(text, at + len(thought))
        after = ends.end() if ends else at + len(thought)
    elif empty := _NO_THOUGHT.match(text):
        after = empty.end()
    if after:
        parts.append((0, after, "reasoning"))
    if content and message.tool_calls and (at := text.find(content, after)) >= 0:
        parts.append((at, at + len(content), "text"))
    return parts


def turn_roles(ids: Sequence[int], message: Message, tokenizer: Any, specials: frozenset[int]) -> Roles:
    """The role of each token of a trained turn."""
    roles = np.full(len(ids), ROLES.index("call" if message.tool_calls else "text"), np.uint8)
    mixed = message.reasoning_content or (message.content or "").strip()
    if mixed and (message.tool_calls or message.reasoning_content or "<think>" in (message.content or "")):
        text = _decode(tokenizer, ids)
        for start, end, role in turn_parts(text, message)[1:]:
            roles[_count(tokenizer, ids, start) : _count(tokenizer, ids, end)] = ROLES.index(role)
    if int(ids[-1]) in specials:
        roles[-1] = ROLES.index("end")
    return roles


def _decode(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _count(tokenizer: Any, ids: Sequence[int], characters: int) -> int:
    """How many of the first tokens it takes for so many characters."""
    return bisect_left(range(len(ids)), characters, key=lambda count: len(_decode(tokenizer, ids[:count])))


def special_ids(tokenizer: Any) -> frozenset[int]:
    """The ids of the tokenizer's special tokens."""
    return frozenset(tokenizer.convert_tokens_to_ids(sorted(special_tokens(tokenizer))))


def trained_by_role(row: Encoded, conversation: Conversation, tokenizer: Any, specials: frozenset[int]) -> list[int]:
    """How many trained tokens of a row have each of ``ROLES``."""
    counts = np.zeros(len(ROLES), int)
    for span in row.spans:
        ids = row.input_ids[span.start : span.end].tolist()
        roles = turn_roles(ids, conversation.messages[span.message], tokenizer, specials)
        counts += np.bincount(roles[row.labels[span.start : span.end] != IGNORE], minlength=len(ROLES))
    return [int(count) for count in counts]


def describe_tokens(row: Encoded, conversation: Conversation, frame: Frame) -> Tokens:
    """Text, role and message of each token of a row.

    Args:
        row: what was encoded.
        conversation: what it was encoded from, as it was rendered.
        frame: the tokenizer's chat template with the keywords that it was rendered with.
    """
    ids, tokenizer = row.input_ids.tolist(), frame.tokenizer
    found = _find_text(ids, row, conversation, frame)
    roles, owners = np.zeros(len(ids), np.uint8), np.full(len(ids), -1, np.int32)
    if found is None:
        pieces = [_decode(tokenizer, [token]) for token in ids]
    else:
        text, starts, stop = found
        pieces = [text[a:b] for a, b in pairwise(starts)]
        of_characters, owners_of_characters = _paint(
            text, conversation, stop, {span.message for span in row.spans}, frame
        )
        firsts = np.minimum(np.array(starts[:-1]), len(text) - 1)
        roles, owners = of_characters[firsts], owners_of_characters[firsts]
    specials = special_ids(tokenizer)
    roles[np.isin(row.input_ids, list(specials))] = ROLES.index("structure")
    for span in row.spans:
        here = slice(span.start, span.end)
        roles[here] = turn_roles(ids[here], conversation.messages[span.message], tokenizer, specials)
        owners[here] = span.message
    return Tokens(pieces, roles, owners)


def _find_text(
    ids: list[int], row: Encoded, conversation: Conversation, frame: Frame
) -> tuple[str, list[int], int] | None:
    """The render that begins with the row, where each token starts in it and the last one ends, its messages."""
    messages = conversation.messages
    for stop in (len(messages), *range(row.spans[-1].message + 1, len(messages))):
        text = frame.render(messages[:stop], conversation.tools, prompt=False) + borrowed(messages[stop - 1], frame)
        encoding = frame.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        if encoding["input_ids"][: len(ids)] == ids:
            offsets = encoding["offset_mapping"]
            starts = [start for start, _ in offsets[: len(ids) + 1]]
            return text, (starts if len(offsets) > len(ids) else [*starts, len(text)]), stop
    return None


def _paint(
    text: str, conversation: Conversation, stop: int, trained: Container[int], frame: Frame
) -> tuple[Roles, NDArray[np.int32]]:
    """Role and message of each character of the render of the first ``stop`` messages, but for ``trained`` turns."""
    messages, tools = conversation.messages[:stop], conversation.tools
    roles, owners = np.zeros(len(text), np.uint8), np.full(len(text), -1, np.int32)
    start, end = _tools_region(text, messages, tools, frame)
    roles[start:end] = ROLES.index("tools")
    starts = sorted((start, index) for index, start in _starts(text, messages, tools, frame).items())
    before = 0
    for (start, index), (end, _) in pairwise([*starts, (len(text), -1)]):
        owners[start:end] = index
        if messages[index].role != "assistant":
            a, b, role = _content(text, (before, start, end), messages[index])
            roles[a:b], owners[a:b] = ROLES.index(role), index
        elif index not in trained:
            for a, b, role in _untrained_parts(text[start:end], index, messages, tools, frame):
                roles[start + a : start + b] = ROLES.index(role)
        before = start
    return roles, owners


def _starts(text: str, messages: Sequence[Message], tools: Sequence[ToolSpec], frame: Frame) -> dict[int, int]:
    """Where messages begin; without a marked template, where the render of the ones before ends."""
    try:
        starts = frame.starts(messages, tools)[1]
    except ModelError:
        starts = {}
        for index in range(1, len(messages)):
            before = _render(frame, messages[:index], tools)
            if before and text.startswith(before):
                starts[index] = len(before)
    # A first message outside of the loop over messages, or skipped in it, comes before all others.
    starts.setdefault(0, 0)
    return starts if starts[0] < starts.get(1, len(text)) else {**starts, 0: 0}


def _render(frame: Frame, messages: Sequence[Message], tools: Sequence[ToolSpec], prompt: bool = False) -> str:
    try:
        return frame.render(messages, tools, prompt=prompt)
    except ModelError:
        return ""


def _tools_region(text: str, messages: Sequence[Message], tools: Sequence[ToolSpec], frame: Frame) -> tuple[int, int]:
    """The characters that are only there because tools are on offer."""
    bare = _render(frame, messages, ()) if tools else ""
    if not bare or len(bare) >= len(text):
        return 0, 0
    shortest = len(bare)
    head = next((at for at in range(shortest) if text[at] != bare[at]), shortest)
    tail = next((at for at in range(shortest - head) if text[-1 - at] != bare[-1 - at]), shortest - head)
    return head, len(text) - tail


def _content(text: str, places: tuple[int, int, int], message: Message) -> tuple[int, int, str]:
    """Where the words of a message stand: between the last two places, or from the first, or the whole of its own."""
    before, start, end = places
    role, content = _ROLE_OF_MESSAGE[message.role], (message.content or "").strip()
    if not content:
        return start, start, role
    at = text.find(content, start, end)
    if at < 0:
        at = text.find(content, before, end)  # some templates write results while they are at the calls
    return (at, at + len(content), role) if at >= 0 else (start, end, role)


def _untrained_parts(
    block: str, index: int, messages: Sequence[Message], tools: Sequence[ToolSpec], frame: Frame
) -> Parts:
    """The parts of an assistant's ``block`` of text, after what the generation prompt has in common with it."""
    bare, prompt = (_render(frame, messages[:index], tools, prompt) for prompt in (False, True))
    lead = prompt.removeprefix(bare)
    header = common_length(lead, block)
    return [(header + a, header + b, role) for a, b, role in turn_parts(block[header:].rstrip(), messages[index])]


def serving_differences(row: Encoded, conversation: Conversation, frame: Frame) -> list[Difference]:
    """For each trained turn, where the tokens before it are not those that a server would be given at that moment."""
    differences = []
    for span in row.spans:
        ours = row.input_ids[: span.start].tolist()
        try:
            prompt = frame.render(conversation.messages[: span.message], conversation.tools, prompt=True)
        except ModelError as error:
            differences.append(Difference(span.message, 0, span.start, "", f"no prompt: {error}"))
            continue
        served = frame.tokenizer(prompt, add_special_tokens=False, verbose=False)["input_ids"]
        if served != ours:
            at = common_length(ours, served)
            shown = (_decode(frame.tokenizer, ids[at : at + _SHOWN_TOKENS]) for ids in (ours, served))
            differences.append(Difference(span.message, min(at, span.start - 1), span.start, *shown))
    return differences
