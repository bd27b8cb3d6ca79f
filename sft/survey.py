"""What a dataset gives in training: its rows and their lengths, what is trained, what is cut, repeated and refused.

Reads JSONL files line by line, bad lines included, and keeps numbers only; writes nothing.
"""

import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sft.chunks import read_conversation
from sft.data import recipe_of
from sft.encode import Encoded, Refusal, TrainPolicy, encode_many
from sft.frame import Frame, learn_frame
from sft.reading import drop_thinking, escape_markers
from sft.token_roles import ROLES, special_ids, trained_by_role
from toolwright.artifacts import parse_line, read_lines
from toolwright.config import RunConfig
from toolwright.errors import DataError
from toolwright.records import Conversation

_CHUNK = 500


class Line(NamedTuple):
    """One line of a file: the conversation, or why it is none; ``key`` is equal for equal conversations."""

    where: str
    conversation: Conversation | None
    reason: str = ""
    key: bytes = b""


class RowFact(NamedTuple):
    """One training row: the line it comes from (from 0, over all files), the how-manieth of its conversation."""

    line: int
    where: str
    part: int
    parts: int
    tokens: int
    trained: int
    turns: int


class Refused(NamedTuple):
    """A conversation that cannot be trained on: its line (from 0, over all files), file:line, and why."""

    line: int
    where: str
    reason: str


@dataclass
class Survey:
    """Statistics of a dataset.

    Attributes:
        lines: lines that are not empty, each a conversation or refused.
        tools: tools on offer, for each conversation that gives rows.
        by_role: trained tokens by ``ROLES``.
        cut_turns, cut_tokens: what ``max_tokens`` cost, refused conversations included.
        unstable_turns: turns that ``history=stable`` leaves out.
        repeats: lines that repeat an earlier one, with that one.
    """

    lines: int = 0
    rows: list[RowFact] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    tools: list[int] = field(default_factory=list)
    by_role: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ROLES, 0))
    cut_turns: int = 0
    cut_tokens: int = 0
    unstable_turns: int = 0
    repeats: list[tuple[str, str]] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        return sum(row.tokens for row in self.rows)

    @property
    def trained(self) -> int:
        return sum(row.trained for row in self.rows)


@dataclass(frozen=True)
class Encoder:
    """``encode_many`` with the settings of a configuration."""

    tokenizer: Any
    train: TrainPolicy
    max_tokens: int
    template_kwargs: dict[str, Any]
    verify: Literal["sample", "full"]

    @classmethod
    def of(cls, config: RunConfig, tokenizer: Any) -> "Encoder":
        """As training would encode with this configuration."""
        recipe = recipe_of(config.sft, tokenizer)
        return cls(tokenizer, recipe.policy, config.sft.max_tokens, config.sft.template_kwargs, recipe.verify)

    def rows(self, conversations: Iterable[Conversation], refused: list[Refusal], *, cut: bool = True) -> list[Encoded]:
        """The rows; without ``cut``, as if ``max_tokens`` had no end."""
        limit = self.max_tokens if cut else None
        return encode_many(
            conversations,
            self.tokenizer,
            train=self.train,
            max_tokens=limit,
            template_kwargs=self.template_kwargs,
            verify=self.verify,
            refused=refused,
        )

    def frame(self, conversation: Conversation) -> Frame:
        """What is known of the chat template with the keywords of this conversation."""
        return learn_frame(self.tokenizer, {**self.template_kwargs, **conversation.chat_template_kwargs})

    def rendered(self, conversation: Conversation) -> Conversation:
        """The conversation as it goes to the chat template."""
        if self.train.markers == "escape":
            conversation = escape_markers(conversation, self.frame(conversation))
        return drop_thinking(conversation) if self.train.thinking == "drop" else conversation


def read_conversations(files: Sequence[Path], wanted: Container[int] | None = None) -> Iterator[tuple[int, Line]]:
    """Yield ``(number of the line over all files, line)`` of every line that is not blank, or of the ``wanted`` ones.

    Raises:
        DataError: a file cannot be read, or is one JSON array.
    """
    lines = ((path, line, text) for path in files for line, text in read_lines(path))
    for number, (path, line, text) in enumerate(lines):
        if line == 1 and text.lstrip().startswith(b"["):
            raise DataError(f"{path}:{line}: a JSON array; write one object on each line: jq -c '.[]' {path}")
        if wanted is None or number in wanted:
            yield number, _read(f"{path.name}:{line}", text)


def _read(where: str, text: bytes) -> Line:
    try:
        row = parse_line(text)
        conversation = read_conversation(row)
    except DataError as error:
        return Line(where, None, str(error))
    words = json.dumps([row.get("messages"), row.get("tools")], sort_keys=True).encode()
    return Line(where, conversation, key=hashlib.blake2b(words, digest_size=16).digest())


def survey(files: Sequence[Path], encoder: Encoder) -> Survey:
    """Read and encode everything, a few hundred conversations at a time.

    Raises:
        DataError: a file cannot be read, or there is nothing in them.
        ModelError: the tokenizer's chat template cannot be used.
    """
    found = Survey()
    seen: dict[bytes, str] = {}
    numbered = read_conversations(files)
    while chunk := list(islice(numbered, _CHUNK)):
        for number, line in chunk:
            if line.conversation is None:
                found.refused.append(Refused(number, line.where, line.reason))
            elif (first := seen.setdefault(line.key, line.where)) != line.where:
                found.repeats.append((line.where, first))
        found.lines += len(chunk)
        _add(found, [(number, line.where, line.conversation) for number, line in chunk if line.conversation], encoder)
    if not found.lines:
        raise DataError(f"{', '.join(map(str, files))}: no conversation in it; name a JSONL file with conversations")
    found.refused.sort()
    return found


def _add(found: Survey, lines: Sequence[tuple[int, str, Conversation]], encoder: Encoder) -> None:
    """Count the rows of some conversations, each given with its number and place."""
    specials = special_ids(encoder.tokenizer)
    refused: list[Refusal] = []
    rows = encoder.rows([conversation for _, _, conversation in lines], refused)
    parts = Counter(row.source for row in rows)
    counted: Counter[int] = Counter()
    for row in rows:
        number, where, conversation = lines[row.source]
        fact = RowFact(
            number, where, counted[row.source], parts[row.source], len(row.input_ids), row.trained, len(row.spans)
        )
        found.rows.append(fact)
        counted[row.source] += 1
        for role, count in zip(
            ROLES, trained_by_role(row, encoder.rendered(conversation), encoder.tokenizer, specials)
        ):
            found.by_role[role] += count
    found.tools += [len(lines[source][2].tools) for source in parts]
    found.refused += [Refused(*lines[refusal.index][:2], refusal.reason) for refusal in refused]
    _add_cuts(found, lines, rows, {refusal.index for refusal in refused}, encoder)


def _add_cuts(
    found: Survey,
    lines: Sequence[tuple[int, str, Conversation]],
    rows: Sequence[Encoded],
    refused: set[int],
    encoder: Encoder,
) -> None:
    """Count what ``max_tokens`` cost: encode what it cut, or may have refused, as if it had no end."""
    cut = sorted({row.source for row in rows if row.cut_turns} | refused)
    whole = encoder.rows([lines[source][2] for source in cut], [], cut=False)
    for row in whole:
        found.unstable_turns += row.cut_turns
        found.cut_turns += len(row.spans)
        found.cut_tokens += row.trained
    for row in rows:
        if row.source in cut:
            found.cut_turns -= len(row.spans)
            found.cut_tokens -= row.trained


def choose_rows(found: Survey, count: int, seed: int, asked: int | None = None) -> list[tuple[int, str]]:
    """``(index of a row, why)`` of at most ``count`` rows to look at: notable ones, then a seeded sample."""
    rows = found.rows
    if not rows:
        return []
    lengths = [row.tokens for row in rows]
    split = [index for index, row in enumerate(rows) if row.parts > 1]
    notable = [
        *([(asked, "asked for")] if asked is not None else []),
        (0, "first"),
        (lengths.index(max(lengths)), "longest"),
        (lengths.index(min(lengths)), "shortest"),
        *((index, f"part {rows[index].part + 1} of {rows[index].parts}") for index in split[: max(2, count // 4)]),
    ]
    chosen: dict[int, str] = {}
    for index, why in notable:
        chosen[index] = f"{chosen[index]}, {why}" if index in chosen else why
    chosen = dict(list(chosen.items())[:count])
    rest = [index for index in range(len(rows)) if index not in chosen]
    sample = random.Random(seed).sample(rest, min(len(rest), count - len(chosen)))
    return [*chosen.items(), *((index, "sample") for index in sorted(sample))]


def read_rows_again(
    files: Sequence[Path], facts: Sequence[RowFact], encoder: Encoder
) -> list[tuple[Encoded, Conversation]]:
    """The rows that ``facts`` describe, with their conversations as they were rendered."""
    lines = {number: line.conversation for number, line in read_conversations(files, {fact.line for fact in facts})}
    numbers, conversations = list(lines), [conversation for conversation in lines.values() if conversation]
    by_line: dict[int, list[Encoded]] = {}
    for row in encoder.rows(conversations, []):
        by_line.setdefault(numbers[row.source], []).append(row)
    of_line = {number: encoder.rendered(conversation) for number, conversation in zip(numbers, conversations)}
    return [(by_line[fact.line][fact.part], of_line[fact.line]) for fact in facts]


def group_refusals(refused: Sequence[Refused]) -> list[tuple[int, Refused]]:
    """``(how many, the first)`` of each kind of reason, most frequent first."""
    kinds: dict[str, list[Refused]] = {}
    for each in refused:
        kinds.setdefault(_kind_of(each.reason), []).append(each)
    return sorted(((len(group), group[0]) for group in kinds.values()), key=lambda item: -item[0])


def _kind_of(reason: str) -> str:
    """A reason without what differs from one conversation to the next: names, values and numbers."""
    reason = re.sub(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\d+", "…", reason)
    return re.sub(r"(?:got|:) [\[{(].*", "", reason)[:80]
