"""Token ids into text, all at once or token by token."""

from collections.abc import Sequence
from typing import Any

_LONGEST_CHARACTER = 6
"""Tokens after which an unfinished character is taken for what it is: a byte that is no text."""


def decode(tokenizer: Any, ids: Sequence[int]) -> str:
    """The text of ``ids``, special tokens included, exactly as the model wrote it."""
    return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))


class TextStream:
    """Decodes a reply while it is being sampled; joined, the pieces are the text of all ids.

    A piece is held back until its last character is complete. Each piece is decoded with the ids of the one before it,
    because some tokenizers write a leading space only inside a text.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.text = ""
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._start = 0
        self._end = 0

    def feed(self, token: int) -> str:
        """Take one token in; give the text that is certain now."""
        self._ids.append(token)
        return self._advance(held=_LONGEST_CHARACTER)

    def close(self) -> str:
        """Give what was held back."""
        return self._advance(held=0)

    def _advance(self, held: int) -> str:
        known = decode(self._tokenizer, self._ids[self._start : self._end])
        text = decode(self._tokenizer, self._ids[self._start :])
        if text.endswith("�") and len(self._ids) - self._end <= held:
            return ""
        self._start, self._end = self._end, len(self._ids)
        self.text += text[len(known) :]
        return text[len(known) :]
