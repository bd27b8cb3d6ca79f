"""A runner for speed: short prompts go together, and the beginning that most requests share is attended to once.

What it computes for a request may differ in the last bits with the other requests; ``Runner`` is the one that does not.
Shapes: ``R`` rows, ``N`` tokens of each, ``H`` key heads, ``G`` heads for each of them, ``T`` positions of the trunk,
``K`` positions of a row after it, ``D`` width of a head.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor

from toolwright.engine.attention import attend_with_trunk, trunk_mask
from toolwright.engine.cache import PAD, KeyValues, Piece, Prefixes
from toolwright.engine.dense import Attend, DenseNetwork, few, suits

PIECE = 32
"""Tokens of a prompt that are remembered together."""
SHORT = 2 * PIECE
"""Prompts of which so many tokens are not known yet go through the model together."""
LONG_STEP = 256
"""Tokens of a longer prompt that go through the model at once."""
FEWEST_TOKENS = 8
"""Tokens that a row of prompts has at least, for few shapes."""
FEWEST_PIECES = 2
PREFIX_BYTES = 512 * 2**20


@dataclass(frozen=True)
class Trunk:
    """The beginning that rows share: keys and values (L, H, T, D); ``id`` is that of its last piece."""

    id: int
    keys: Tensor
    values: Tensor

    @property
    def length(self) -> int:
        """Positions."""
        return self.keys.shape[2]


@dataclass(frozen=True)
class _Prompt:
    """A prompt to be admitted: the pieces of it that are known, and how many tokens may follow it."""

    ids: Sequence[int]
    room: int
    known: list[Piece]

    @property
    def start(self) -> int:
        return len(self.known) * PIECE

    @property
    def left(self) -> int:
        return len(self.ids) - self.start

    @property
    def next_piece(self) -> tuple[int, tuple[int, ...]] | None:
        """The piece that this prompt will make known."""
        if self.left < PIECE:
            return None
        return (self.known[-1].id if self.known else 0), tuple(self.ids[self.start : self.start + PIECE])


class SharedRunner:
    """Runs a network for up to ``max_batch`` slots, in the way of ``Runner``.

    Args:
        network: the model's arithmetic.
        max_batch: number of slots.
    """

    at_once = 16
    """Most prompts that ``admit`` takes."""

    def __init__(self, network: DenseNetwork, max_batch: int) -> None:
        self.network = network
        self._parameters = list(network.model.parameters())
        self._weights = self._versions()
        self._slots = KeyValues(network.n_layers)
        self._prefixes = Prefixes(PREFIX_BYTES)
        self._trunk: Trunk | None = None
        self._offsets = [0] * max_batch  # the position at which a slot begins: 0, or the end of the trunk

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Around every other method."""
        with torch.inference_mode():
            yield

    def check(self, source: str) -> None:
        """``shared_runner`` has compared it with the model."""

    def forget_if_trained(self) -> None:
        """Take the weights anew if they are not the same."""
        weights = self._versions()
        if weights != self._weights:
            self._weights = weights
            self.network.load()
            self.forget_prompts()

    def _versions(self) -> list[tuple[int, int]]:
        return [(parameter.data_ptr(), parameter._version) for parameter in self._parameters]

    def forget_prompts(self) -> None:
        """Compute every prompt anew; rows in flight keep their trunk."""
        self._prefixes.clear()

    def admit(self, prompts: Sequence[tuple[Sequence[int], int]], first: int) -> tuple[int, Tensor]:
        """Fill the slots from ``first`` on with prompts, as many as go well together; each has a room after it.

        Returns the number of tokens that had to be computed, and the logits that follow each prompt taken, (R, V).
        """
        wave = self._choose(prompts)
        for prompt in wave:
            for piece in prompt.known:
                piece.uses += 1
        if not any(self._offsets[:first]):
            self._plant(wave[0].known)
        for slot, prompt in enumerate(wave, first):
            self._enter(slot, prompt)
        hidden_RC = self._run_tails(wave, first)
        for slot, prompt in enumerate(wave, first):
            self._remember(slot, prompt)
        return sum(prompt.left for prompt in wave), self.network.logits(hidden_RC)

    def _choose(self, prompts: Sequence[tuple[Sequence[int], int]]) -> list[_Prompt]:
        """The first prompts, up to one that is long, or begins with what another one will make known."""
        wave: list[_Prompt] = []
        coming = set()
        for ids, room in prompts:
            prompt = _Prompt(ids, room, self._known(ids))
            piece = prompt.next_piece
            if wave and (prompt.left > SHORT or piece in coming):
                break
            wave.append(prompt)
            if prompt.left > SHORT:
                break
            if piece is not None:
                coming.add(piece)
        return wave

    def _known(self, ids: Sequence[int]) -> list[Piece]:
        """Known pieces of a prompt, at least its last token excepted: its logits are wanted."""
        known: list[Piece] = []
        for start in range(0, len(ids) - PIECE, PIECE):
            piece = self._prefixes.find(known[-1].id if known else 0, tuple(ids[start : start + PIECE]))
            if piece is None:
                break
            known.append(piece)
        return known

    def _plant(self, known: list[Piece]) -> None:
        """Make the trunk of the pieces with which most prompts go on that begin like this one."""
        most = known[0].uses if known else 0
        common = list(takewhile(lambda piece: piece.uses >= 2 and 2 * piece.uses >= most, known))
        if len(common) < FEWEST_PIECES or (self._trunk is not None and self._trunk.id == common[-1].id):
            return
        keys, values = (torch.cat(tensors, 2) for tensors in zip(*((piece.keys, piece.values) for piece in common)))
        self._trunk = Trunk(common[-1].id, keys, values)

    def _enter(self, slot: int, prompt: _Prompt) -> None:
        """Write what is known of a prompt, and not in the trunk, into its slot."""
        trunk, count = self._trunk, 0
        if trunk is not None and trunk.length <= prompt.start:
            pieces = trunk.length // PIECE
            count = pieces if prompt.known[pieces - 1].id == trunk.id else 0
        offset = self._offsets[slot] = count * PIECE
        self._reserve(slot + 1, len(prompt.ids) + max(prompt.room, LONG_STEP) - offset)
        for index, piece in enumerate(prompt.known[count:]):
            self._slots.paste(slot, index * PIECE, piece.keys, piece.values)

    def _reserve(self, rows: int, length: int) -> None:
        """Have room; it grows in large steps, since all of it is copied then."""
        keys = self._slots.keys
        if keys is not None and (keys.shape[1] < rows or keys.shape[3] < length):
            more = keys.shape[1] if keys.shape[1] >= rows else max(rows, min(2 * keys.shape[1], len(self._offsets)))
            self._slots.reserve(more, length if keys.shape[3] >= length else length + length // 4)
        elif keys is None:
            self._slots.reserve(rows, length)
            like = torch.empty((1, self.network.key_heads, 1, self.network.width), dtype=self.network.model.dtype)
            self._slots.allocate(like)

    def _run_tails(self, wave: Sequence[_Prompt], first: int) -> Tensor:
        """Compute what is not known; the hidden states at the ends, (R, C)."""
        longest = max(prompt.left for prompt in wave)
        for begin in range(0, longest, LONG_STEP):
            width = few(max(FEWEST_TOKENS, min(LONG_STEP, longest - begin)))
            tokens = [list(prompt.ids[prompt.start + begin :][:width]) for prompt in wave]
            hidden_RNC = self._forward(
                [ids + [0] * (width - len(ids)) for ids in tokens], [prompt.start + begin for prompt in wave], first
            )
        ends = torch.tensor([prompt.left - 1 - begin for prompt in wave])
        return hidden_RNC[torch.arange(len(wave)), ends]

    def _remember(self, slot: int, prompt: _Prompt) -> None:
        parent = prompt.known[-1].id if prompt.known else 0
        for start in range(prompt.start, len(prompt.ids) - PIECE + 1, PIECE):
            own = start - self._offsets[slot]
            tokens = tuple(prompt.ids[start : start + PIECE])
            parent = self._prefixes.add(parent, tokens, *self._slots.cut(slot, own, own + PIECE), None).id

    def decode(self, tokens: Sequence[int], positions: Sequence[int]) -> Tensor:
        """One more token for each of the first slots, written at its position: logits that follow it, (R, V)."""
        keys, _ = self._slots.held()
        live, rows = len(tokens), min(few(len(tokens)), keys.shape[1])
        self._offsets[live:rows] = spare = [0] * (rows - live)  # rows of slots that are free
        hidden_RNC = self._forward([[token] for token in (*tokens, *spare)], [*positions, *spare], 0)
        return self.network.logits(hidden_RNC[:, 0])[:live]

    def _forward(self, ids: Sequence[Sequence[int]], starts: Sequence[int], first: int) -> Tensor:
        """Tokens (R, N) of the slots from ``first`` on, from positions ``starts`` on: hidden states (R, N, C)."""
        rows, width = len(ids), len(ids[0])
        positions_RN = torch.tensor(starts)[:, None] + torch.arange(width)
        offsets = self._offsets[first : first + rows]
        attend = self._attention(positions_RN, offsets, first, max(a - b for a, b in zip(starts, offsets)) + width)
        seen_RN = positions_RN.clamp(max=self.network.length - 1)  # what fills a row may stand beyond the end
        hidden_NC = self.network.forward(torch.tensor(ids).flatten(), seen_RN.flatten(), attend)
        return hidden_NC.view(rows, width, -1)

    def _attention(self, positions_RN: Tensor, offsets: Sequence[int], first: int, length: int) -> Attend:
        """Attention of these rows to their slots, and to the trunk where a row stands on it."""
        rows, width = positions_RN.shape
        offsets_R = torch.tensor(offsets)
        own_RN, rows_R1 = positions_RN - offsets_R[:, None], torch.arange(first, first + rows)[:, None]
        all_keys, all_values = self._slots.held()
        length = min(PAD * few(-(-length // PAD)), all_keys.shape[3])
        trunk = self._trunk if any(offsets) else None
        mask = trunk_mask(own_RN, length, offsets_R > 0, trunk.length if trunk else 0, self.network.model.dtype)
        heads, groups = self.network.key_heads, self.network.heads // self.network.key_heads
        split = (rows, width, heads, groups, self.network.width)

        def attend(layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            slot_keys, slot_values = all_keys[layer], all_values[layer]
            slot_keys[rows_R1, :, own_RN] = keys.view(rows, width, heads, -1)
            slot_values[rows_R1, :, own_RN] = values.view(rows, width, heads, -1)
            q_RHMD = (queries * self.network.scale).view(split).permute(0, 2, 3, 1, 4).flatten(2, 3)
            own = slice(first, first + rows)
            out = attend_with_trunk(
                q_RHMD,
                slot_keys[own, :, :length].contiguous(),  # a transposed view of a part is read several times slower
                slot_values[own, :, :length].contiguous(),
                (trunk.keys[layer], trunk.values[layer]) if trunk is not None else None,
                mask,
            )
            return out.view(rows, heads, groups, width, -1).permute(0, 3, 1, 2, 4).reshape(rows * width, -1)

        return attend

    def move(self, source: int, target: int, length: int) -> None:
        """Move the first ``length`` positions of a slot to another."""
        self._slots.move(source, target, length - self._offsets[source])
        self._offsets[target] = self._offsets[source]

    def wipe(self, slot: int) -> None:
        """Clear a slot whose numbers are not finite."""
        self._slots.wipe(slot)


def shared_runner(model: Any, max_batch: int, length: int) -> SharedRunner | None:
    """A runner for ``model``, if its arithmetic is known here and gives the model's own logits."""
    if not suits(model):
        return None
    runner = SharedRunner(DenseNetwork(model, length), max_batch)
    return runner if _agrees(runner, min(PIECE + 8, length)) else None


def _agrees(runner: SharedRunner, length: int) -> bool:
    """Whether a short text, in one pass and then token by token, ends with the logits that the model gives it."""
    model = runner.network.model
    ids = [index % model.config.vocab_size for index in range(1, length + 1)]
    with runner.ready():
        wanted = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].float()
        _, logits_RV = runner.admit([(ids[: length // 2], length)], 0)
        for position in range(length // 2, length):
            logits_RV = runner.decode([ids[position]], [position])
        runner.forget_prompts()
    gap = (wanted - logits_RV[0].float()).abs().max().item()
    return bool(gap <= 0.1 * wanted.std().item() + 1e-3)
