"""What goes into the engine and what comes out: requests, results, and one event per sampled token."""

from dataclasses import dataclass
from typing import Literal

from toolwright.errors import DataError, ModelError

FinishReason = Literal["stop", "length"]
Top = tuple[tuple[int, float], ...]
"""Tokens with their log-probabilities, the likeliest first."""


@dataclass(frozen=True)
class GenerationRequest:
    """A prompt and how to continue it.

    Attributes:
        prompt_ids: token ids of the prompt, at least one.
        max_tokens: most tokens to sample; less is sampled where the engine's ``max_tokens_total`` comes first.
        temperature: 0 takes the likeliest token.
        top_p: sample from the likeliest tokens that together hold this share of the probability.
        seed: with the prompt, decides every sampled token, whatever else is in the batch; any integer.
        stop_ids: token ids that end the reply; the one that did is the last of ``GenerationResult.ids``.
        stop: strings that end the reply; the text is cut before the first of them.
        top_logprobs: likeliest tokens to give beside each sampled one.
    """

    prompt_ids: tuple[int, ...]
    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop_ids: frozenset[int] = frozenset()
    stop: tuple[str, ...] = ()
    top_logprobs: int = 0

    def __post_init__(self) -> None:
        """Refuse values that cannot be sampled with.

        Raises:
            DataError: names the field and the value.
        """
        if not self.prompt_ids:
            raise DataError("prompt_ids: the prompt is empty")
        if self.max_tokens < 1:
            raise DataError(f"max_tokens: expected at least 1, got {self.max_tokens}")
        if not 0 <= self.temperature < float("inf"):
            raise DataError(f"temperature: expected 0 or more, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise DataError(f"top_p: expected more than 0 and at most 1, got {self.top_p}")
        if "" in self.stop:
            raise DataError("stop: an empty string would end every reply")


@dataclass(frozen=True)
class GenerationResult:
    """A finished reply.

    Attributes:
        ids: the sampled tokens, with the stop token if one ended the reply, shape (T,).
        logprobs: log-probability of each under softmax(logits / temperature), at temperature 0 under softmax(logits);
            ``top_p`` does not change them, shape (T,).
        finish_reason: "stop" by a stop token or string, "length" by a limit.
        text: the reply without the stop token or string; special tokens inside are kept, call marks may be such.
        tops: the likeliest tokens with their log-probabilities, best first, where they were asked for, shape (T,).
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: FinishReason
    text: str
    tops: tuple[Top, ...] = ()


class GenerationError(ModelError):
    """The model failed on a request."""


@dataclass(frozen=True)
class Event:
    """One sampled token of one request; ``result`` is there on its last, ``error`` when the model failed on it."""

    ticket: int
    token: int
    logprob: float
    result: GenerationResult | None = None
    error: str | None = None
    top: Top = ()

    @property
    def last(self) -> bool:
        """Whether the request is over."""
        return self.result is not None or self.error is not None
