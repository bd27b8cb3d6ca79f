"""Text into token ids: the tokenizer's own, faster where its parts allow it, and counted up to given characters.

A byte-level BPE treats the text between two added tokens (``<|im_end|>``) on its own, and cuts it into words that it
merges one by one. So each distinct segment is encoded once, each distinct line in it (a tool that comes in many lists
of tools is one), and each distinct word is merged once, by the tokenizer's own model; the cutting is Python's, and is
verified against the tokenizer before it is used. Any other tokenizer encodes the whole text itself.

Within this file ids are bytes (int32), which join, compare and hash faster than arrays do.
"""

import json
import re
import unicodedata
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import regex
from numpy.typing import NDArray

Ids = NDArray[np.int32]

_CACHE_CHARACTERS = 64 * 2**20
_CACHE_WORDS = 2**20
_LONG_WORD = 64
_ID_BYTES = array("i").itemsize
_GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# A line ends with a line break between two characters that are not blank.
_LINES = re.compile(r"(?:[^\n]++|\n(?!(?<=\S\n)\S))++\n?")
_TRIAL = (
    'user\nWhat\'s the weather in São Paulo — 23°C?\n\n{"name": "get_weather", "arguments": {"city": "Zürich", '
    '"days": 12345, "ok": true, "x": [1.5e-3, null]}}\n  \t indented\r\n\r\n   trailing   \n</tools> <b>HTML</b> '
    "東京の天気 是晴朗 Привет мир مرحبا नमस्ते 한국어 👩‍👩‍👧 🇳🇴 e\u0301 ﬁ №5 ½ x² a\u00a0b\u3000c I'LL don't WE'RE "
    "http://a.b/c?d=1&e=%20 def f(x):\n\treturn x**2  # !?\n----====____....,,,,;;;;((((\x00\x1f\x7f \u200b ZZZ "
    "zzzzzzzzzzzzzzzzzzzz 000111"
)


class TokenBorderError(Exception):
    """A token lies across a place where the prompt of a turn ends; ``token`` is its text."""

    def __init__(self, token: str) -> None:
        super().__init__(token)
        self.token = token


class _Segments(dict[str, bytes]):
    """The ids of the segments that were met lately."""

    def __init__(self, encode: Callable[[str], bytes]) -> None:
        super().__init__()
        self._encode = encode
        self._characters = 0

    def __missing__(self, segment: str) -> bytes:
        self._characters += len(segment)
        if self._characters > _CACHE_CHARACTERS:
            self.clear()
            self._characters = len(segment)
        ids = self[segment] = self._encode(segment)
        return ids


class Tokens:
    """One tokenizer's way from text to ids.

    Attributes:
        segmented: whether text between added tokens is encoded on its own.
        by_words: whether the words of a segment are.
    """

    def __init__(self, tokenizer: Any, *, by_words: bool = True) -> None:
        from tokenizers import Tokenizer

        # The tokenizer's own engine, apart from its state: no truncation, no padding, nothing put around the text.
        self._backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._backend.no_truncation()
        self._backend.no_padding()
        self._backend.post_processor = None
        parts = json.loads(self._backend.to_str())
        added = parts["added_tokens"]
        plain = not any(token["lstrip"] or token["rstrip"] or token["single_word"] for token in added)
        pattern = _byte_level_pattern(parts)
        self._added = {token["content"]: _as_bytes([token["id"]]) for token in added}
        names = sorted(self._added, key=len, reverse=True)
        self._split = re.compile(f"({'|'.join(map(re.escape, names))})" if names else "((?!))").split
        self._segments = _Segments(self._by_backend)
        self.segmented = plain and pattern is not None and self._segments_agree()
        self.by_words = False
        if self.segmented and pattern is not None and by_words:
            words = _words(pattern, self._backend.model, parts)
            if words is not None and self._same(words.encode, parts):
                self._segments, self.by_words = _Segments(words.encode), True

    def encode(self, text: str, cuts: Sequence[int]) -> tuple[Ids, list[int]]:
        """The ids of ``text``, and for each character in ``cuts`` (ascending) the number of tokens before it.

        The tokens before a cut are those that the text up to the cut has alone.

        Raises:
            TokenBorderError: a token lies across a cut, or the cut changes the tokens before it.
        """
        if not self.segmented:
            return self._encode_whole(text, cuts)
        pieces = self._split(text)  # segments, and between them added tokens
        parts = [b""] * len(pieces)
        parts[::2] = map(self._segments.__getitem__, pieces[::2])
        parts[1::2] = map(self._added.__getitem__, pieces[1::2])
        ends = list(accumulate(map(len, pieces)))
        counts = list(accumulate(map(len, parts)))
        found = []
        for at in cuts:
            number = bisect_right(ends, at)
            before = counts[number - 1] if number else 0
            if number < len(ends):
                before += self._before(pieces[number], parts[number], at - (ends[number] - len(pieces[number])))
            found.append(before // _ID_BYTES)
        return np.frombuffer(bytearray().join(parts), np.int32), found  # a bytearray, so that it can be written to

    def _before(self, segment: str, ids: bytes, at: int) -> int:
        """How many bytes of the ids of ``segment`` belong to what is before its character ``at``."""
        if at <= 0:
            return 0
        head = self._segments[segment[:at]]
        if not ids.startswith(head):
            raise TokenBorderError(self._across(segment, at))
        return len(head)

    def _across(self, text: str, at: int) -> str:
        offsets = self._backend.encode(text, add_special_tokens=False).offsets
        return next((text[a:b] for a, b in offsets if a < at < b), text[max(0, at - 8) : at + 8])

    def inside(self, text: str, start: int, end: int) -> tuple[int, int]:
        """The tokens of ``text`` that overlap its characters ``start:end``."""
        offsets = self._backend.encode(text, add_special_tokens=False).offsets
        touched = [number for number, (a, b) in enumerate(offsets) if a < end and b > start]
        return (touched[0], touched[-1] + 1) if touched else (0, 0)

    def _encode_whole(self, text: str, cuts: Sequence[int]) -> tuple[Ids, list[int]]:
        encoding = self._backend.encode(text, add_special_tokens=False)
        offsets = encoding.offsets
        starts = [start for start, _ in offsets]
        counts = []
        for at in cuts:
            index = bisect_left(starts, at)
            if index and offsets[index - 1][1] > at:
                raise TokenBorderError(text[slice(*offsets[index - 1])])
            counts.append(index)
        return np.array(encoding.ids, np.int32), counts

    def _by_backend(self, text: str) -> bytes:
        return _as_bytes(self._backend.encode(text, add_special_tokens=False).ids)

    def _same(self, fast: Callable[[str], bytes], parts: Mapping[str, Any]) -> bool:
        """Whether ``fast`` gives the ids of the own engine, for a trial text and words of the vocabulary."""
        vocabulary = list(parts["model"]["vocab"])
        words = [self._backend.decoder.decode([token]) for token in vocabulary[:: max(1, len(vocabulary) // 1000)]]
        texts = [piece for text in (_TRIAL, *_TRIAL.split("\n"), *words) for piece in self._split(text)[::2]]
        try:
            return all(fast(text) == self._by_backend(text) for text in texts)
        except (KeyError, ValueError, TypeError):
            return False

    def _segments_agree(self) -> bool:
        """Whether segments on their own give what they give within a text."""
        names = list(self._added)[:4]
        text = "".join(name + part for name, part in zip(names, (_TRIAL, " a ", "\n\n", " b")))
        by_segment = [self._added[p] if n % 2 else self._by_backend(p) for n, p in enumerate(self._split(text)) if p]
        return b"".join(by_segment) == self._by_backend(text)


_TOKENS: WeakKeyDictionary[Any, tuple[int, Tokens]] = WeakKeyDictionary()


def tokens_of(tokenizer: Any) -> Tokens:
    """The ``Tokens`` of a tokenizer, kept as long as it lives and no token is added to it."""
    known = _TOKENS.get(tokenizer)
    if known is None or known[0] != len(tokenizer):
        known = _TOKENS[tokenizer] = (len(tokenizer), Tokens(tokenizer))
    return known[1]


def _as_bytes(ids: Iterable[int]) -> bytes:
    return array("i", ids).tobytes()


def _byte_level_pattern(parts: Mapping[str, Any]) -> str | None:
    """The pattern that cuts text into words before byte-level BPE; none for any other kind of tokenizer."""
    normalizer, model = parts["normalizer"], parts["model"]
    if (
        model["type"] != "BPE"
        or model.get("dropout")
        or model.get("unk_token")
        or (normalizer or {}).get("type") not in (None, "NFC")
    ):
        return None
    steps = parts["pre_tokenizer"] or {}
    steps = steps.get("pretokenizers", [steps])
    if not steps or steps[-1].get("type") != "ByteLevel" or steps[-1].get("add_prefix_space"):
        return None
    if len(steps) == 1 and steps[0].get("use_regex", True):
        return _GPT2
    if len(steps) == 2 and steps[0].get("type") == "Split" and not steps[1].get("use_regex", True):
        split = steps[0]
        if split["behavior"] == "Isolated" and not split["invert"]:
            return str(split["pattern"].get("Regex")) if "Regex" in split["pattern"] else None
    return None


class Words(dict[str, bytes]):
    """The words of a byte-level BPE that were met so far, with the bytes of their ids (int32)."""

    def __init__(self, pattern: str, model: Any, *, normal: bool) -> None:
        super().__init__()
        self._model = model
        self._normal = normal
        self._characters = _byte_characters()  # of byte n, as the table of str.translate
        self._find = regex.compile(pattern).findall
        self._find_lines = _LINES.findall if _may_be_cut_at_lines(self._find) else None
        self._lines = _Segments(self._by_words)
        in_ascii = _for_ascii(pattern)
        # Python's own engine is twice as fast, and knows no \\p{L}: it takes the text that needs none.
        self._find_ascii = self._find if in_ascii is None else re.compile(in_ascii, re.ASCII).findall

    def encode(self, text: str) -> bytes:
        """The ids of a text without added tokens."""
        lines = self._find_lines(text) if self._find_lines else ()
        return b"".join(map(self._lines.__getitem__, lines)) if len(lines) > 1 else self._by_words(text)

    def _by_words(self, text: str) -> bytes:
        if text.isascii():
            words = self._find_ascii(text)
        else:
            words = self._find(unicodedata.normalize("NFC", text) if self._normal else text)
        if len(self) > _CACHE_WORDS:
            self.clear()
        return b"".join(map(self.__getitem__, words))

    def __missing__(self, word: str) -> bytes:
        characters = word.encode().decode("latin-1").translate(self._characters)
        ids = _as_bytes(token.id for token in self._model.tokenize(characters))
        if len(word) <= _LONG_WORD:
            self[word] = ids
        return ids


def _may_be_cut_at_lines(find: Callable[[str], list[str]]) -> bool:
    """Whether no word goes over the end of a line, tried with every two kinds of characters on either side."""
    kinds = "sA1'.é \n\r"
    heads = [one + ink + "\n" for one in kinds for ink in kinds if not ink.isspace()]
    tails = [ink + one for one in kinds for ink in kinds if not ink.isspace()]
    found = {text: find(text) for text in (*heads, *tails)}
    return all(find(head + tail) == found[head] + found[tail] for head in heads for tail in tails)


def _words(pattern: str, model: Any, parts: Mapping[str, Any]) -> Words | None:
    try:
        return Words(pattern, model, normal=parts["normalizer"] is not None)
    except (re.error, regex.error):
        return None


_ASCII_CLASSES = {"L": "A-Za-z", "Lu": "A-Z", "Ll": "a-z", "Lt": "", "Lm": "", "Lo": "", "M": "", "N": "0-9"}


def _for_ascii(pattern: str) -> str | None:
    """``pattern`` without Unicode classes, for texts in ASCII; none where it has one that we cannot write."""
    inside = False
    parts = []
    for part in re.findall(r"\\[pP]\{\w+\}|\\.|.", pattern, re.DOTALL):
        inside = part == "[" or (inside and part != "]")
        if part[:2] in (r"\p", r"\P"):
            name = _ASCII_CLASSES.get(part[3:-1])
            if name is None or part[1] == "P" or not (inside or name):
                return None
            part = name if inside else f"[{name}]"
        parts.append(part)
    return "".join(parts)


def _byte_characters() -> dict[int, str]:
    """The character that stands for each byte in a byte-level vocabulary (GPT-2's table)."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {byte: chr(byte) for byte in shown} | {byte: chr(256 + number) for number, byte in enumerate(hidden)}
