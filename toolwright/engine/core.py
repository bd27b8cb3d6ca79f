"""The generation engine: many requests decoded together, each as if it were alone.

Continuous batching on a transformers model: requests join and leave at any step; a prompt goes through the model once,
however many requests share it or a beginning of it; weights may be trained between calls.
"""

import itertools
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from toolwright.engine.fitness import check_architecture
from toolwright.engine.request import Event, FinishReason, GenerationError, GenerationRequest, GenerationResult, Top
from toolwright.engine.runner import Runner
from toolwright.engine.sampling import likeliest_tokens, noise_of, sample_tokens
from toolwright.engine.shared import SharedRunner, shared_runner
from toolwright.engine.text import TextStream, decode
from toolwright.errors import DataError
from toolwright.model import load_adapter, load_model, load_tokenizer, set_threads

_LOG = logging.getLogger(__name__)


@dataclass(eq=False)
class _Row:
    """A request in flight; its index in ``Engine._rows`` is its slot."""

    ticket: int
    request: GenerationRequest
    limit: int
    stream: TextStream | None
    noise: Sequence[float] = ()
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    tops: list[Top] = field(default_factory=list)

    @property
    def position(self) -> int:
        """Where the keys of the last sampled token go."""
        return len(self.request.prompt_ids) + len(self.ids) - 1


class Engine:
    """Generates with ``model``, which stays the caller's: it may be trained, with or without PEFT, between calls.

    In float32 on a CPU a request's tokens and log-probabilities are the same bits in any batch and in any order of
    arrival. In bfloat16 the last bits may differ.

    Args:
        model: a causal language model of transformers with full attention, or a PEFT model around one.
        tokenizer: its tokenizer.
        max_batch: most requests decoded together.
        max_tokens_total: longest prompt and reply together, in tokens; the model's own limit, if that is less.
        prefill_tokens: most prompt tokens to compute before the next decoding step; none: all that wait.
        exact: false lets the last bits of a result depend on the other requests, which is faster on a CPU for the
            families of ``toolwright.engine.dense``; others do not notice.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        max_batch: int = 32,
        max_tokens_total: int = 4096,
        prefill_tokens: int | None = None,
        exact: bool = True,
    ) -> None:
        if max_batch < 1 or max_tokens_total < 2:
            raise DataError(f"max_batch {max_batch}, max_tokens_total {max_tokens_total}: too small to generate")
        self.model, self.tokenizer = model, tokenizer
        exact_runner = Runner(model, max_batch)
        check_architecture(exact_runner.config, max_tokens_total)
        longest = getattr(exact_runner.config, "max_position_embeddings", None) or max_tokens_total
        self.max_batch, self.max_tokens_total = max_batch, min(max_tokens_total, longest)
        shared = None if exact else shared_runner(model, max_batch, self.max_tokens_total)
        self._runner: Runner | SharedRunner = shared or exact_runner
        self._prefill_tokens = prefill_tokens
        self._tickets = itertools.count(1)
        self._waiting: deque[_Row] = deque()
        self._rows: list[_Row] = []
        self._cancelled: set[int] = set()

    @classmethod
    def load(
        cls,
        path: str | Path,
        adapter: str | Path | None = None,
        dtype: str = "float32",
        threads: int | None = None,
        **options: Any,
    ) -> Self:
        """An engine for a model directory or hub id, with a PEFT adapter on top; ``options`` go to the constructor.

        Raises:
            ModelError: no model, tokenizer or chat template with tools there; an adapter for another base; or a kind
                of model that this engine cannot run, which vLLM can.
        """
        set_threads(threads)
        # An adapter's tokenizer and chat template are what it was trained with: they win.
        own = adapter is not None and (Path(adapter) / "tokenizer_config.json").exists()
        tokenizer = load_tokenizer(adapter if own and adapter is not None else path)
        model = load_model(path, dtype)
        if adapter is not None:
            model = load_adapter(model, adapter, path)
        # Sums of bfloat16 round differently in other batches anyhow.
        engine = cls(model, tokenizer, **{"exact": dtype != "bfloat16"} | options)
        with engine._runner.ready():
            engine._runner.check(str(path))
        return engine

    @property
    def busy(self) -> bool:
        """Whether there is anything for ``step`` to do."""
        return bool(self._waiting or self._rows)

    def generate(self, requests: Sequence[GenerationRequest]) -> list[GenerationResult]:
        """Run requests to their ends; results in the order of the requests.

        Raises:
            DataError: a prompt that is too long, or requests of ``submit`` still in flight.
            GenerationError: the model's logits are not finite.
        """
        if self.busy:
            raise DataError("generate: other requests are in flight; use submit and step for all of them")
        results: dict[int, GenerationResult] = {}
        try:
            tickets = [self.submit(request) for request in requests]
            with self._runner.ready():
                while len(results) < len(tickets):
                    for event in self._step():
                        if event.error:
                            raise GenerationError(event.error)
                        if event.result:
                            results[event.ticket] = event.result
        finally:
            self.clear()
        return [results[ticket] for ticket in tickets]

    def submit(self, request: GenerationRequest) -> int:
        """Queue a request; its events come from ``step`` under the ticket that this returns. Any thread may call it.

        Raises:
            DataError: the prompt leaves no room for a reply.
        """
        self.check_prompt(request.prompt_ids)
        limit = min(request.max_tokens, self.max_tokens_total - len(request.prompt_ids))
        stream = TextStream(self.tokenizer) if request.stop else None
        row = _Row(next(self._tickets), request, limit, stream)
        self._waiting.append(row)
        return row.ticket

    def check_prompt(self, prompt_ids: Sequence[int]) -> None:
        """Refuse a prompt after which there is no room for a reply.

        Raises:
            DataError: names its length and the limit.
        """
        most = self.max_tokens_total - 1
        if len(prompt_ids) > most:
            raise DataError(f"prompt of {len(prompt_ids)} tokens: longer than the {most} that leave room for a reply")

    def cancel(self, ticket: int) -> None:
        """Drop a request before the next step; it gives no more events. Any thread may call it."""
        self._cancelled.add(ticket)

    def clear(self) -> None:
        """Drop all requests."""
        self._waiting.clear()
        self._rows.clear()
        self._cancelled.clear()

    def step(self) -> list[Event]:
        """Take waiting requests in and sample one token for every request in flight; gives what was sampled."""
        with self._runner.ready():
            return self._step()

    def forget_prompts(self) -> None:
        """Compute every prompt anew; needed only after a change of weights that goes past autograd (``p.data``)."""
        self._runner.forget_prompts()

    def _step(self) -> list[Event]:
        self._drop_cancelled()
        events = self._admit()
        if self._rows:
            tokens = [row.ids[-1] for row in self._rows]
            try:
                logits_RV = self._runner.decode(tokens, [row.position for row in self._rows])
            except Exception as error:  # noqa: BLE001  # what waits is not concerned
                events += [_failure(row, error) for row in self._rows]
                self._rows.clear()
            else:
                events += self._sample(self._rows, logits_RV)
        return events

    def _drop_cancelled(self) -> None:
        if not self._cancelled:
            return
        gone = set(self._cancelled)
        self._cancelled -= gone
        for row in list(self._waiting):  # a copy: other threads add requests meanwhile
            if row.ticket in gone:
                self._waiting.remove(row)
        self._drop(gone)

    def _drop(self, tickets: set[int]) -> None:
        """Free the slots of these tickets; from the last on, so that only rows that stay are moved."""
        if tickets:
            for slot in reversed([slot for slot, row in enumerate(self._rows) if row.ticket in tickets]):
                self._leave(slot)

    def _admit(self) -> list[Event]:
        """Prefill what waits, as far as there are slots; the first token of each is sampled from its prompt."""
        if not self._waiting or len(self._rows) >= self.max_batch:
            return []
        self._runner.forget_if_trained()
        new: list[_Row] = []
        logits: list[Tensor] = []
        failed: list[Event] = []
        computed = 0
        while self._waiting and len(self._rows) < self.max_batch:
            if self._prefill_tokens is not None and new and computed >= self._prefill_tokens:
                break
            try:
                count, logits_RV = self._prefill()
            except Exception as error:  # noqa: BLE001  # whatever the model raises is the end of this request alone
                failed.append(_failure(self._waiting.popleft(), error))
                continue
            computed += count
            for _ in logits_RV:
                row = self._waiting.popleft()
                row.noise = noise_of(row.request, row.limit)  # not before: thousands of requests may wait
                self._rows.append(row)
                new.append(row)
            logits.append(logits_RV)
        return failed + (self._sample(new, torch.cat(logits)) if new else [])

    def _prefill(self) -> tuple[int, Tensor]:
        """Run the first prompts that wait: tokens computed, logits (R, V) of as many as went together."""
        most = min(self._runner.at_once, self.max_batch - len(self._rows), len(self._waiting))
        rows = [self._waiting[index] for index in range(most)]
        prompts = [(row.request.prompt_ids, row.limit) for row in rows]
        try:
            return self._runner.admit(prompts, len(self._rows))
        except Exception:  # one of them may be at fault: the first goes alone
            if most == 1:
                raise
            return self._runner.admit(prompts[:1], len(self._rows))

    def _sample(self, rows: Sequence[_Row], logits_RV: Tensor) -> list[Event]:
        tokens, logprobs = sample_tokens(
            logits_RV,
            [row.request.temperature for row in rows],
            [row.request.top_p for row in rows],
            [row.noise[len(row.ids)] if row.noise else 0.0 for row in rows],
        )
        tops = likeliest_tokens(
            logits_RV, [row.request.temperature for row in rows], [row.request.top_logprobs for row in rows]
        )
        events = [self._advance(*item) for item in zip(rows, tokens, logprobs, tops)]
        self._drop({event.ticket for event in events if event.last})
        return events

    def _advance(self, row: _Row, token: int, logprob: float, top: Top) -> Event:
        row.ids.append(token)
        row.logprobs.append(logprob)
        row.tops += [top] if top else []
        if logprob != logprob:
            return Event(row.ticket, token, logprob, error="the model's logits are not finite: its weights are broken")
        result = self._result(row, token)
        return Event(row.ticket, token, logprob, result, top=top)

    def _result(self, row: _Row, token: int) -> GenerationResult | None:
        text: str | None = None
        reason: FinishReason | None = None
        if token in row.request.stop_ids:
            reason, text = "stop", decode(self.tokenizer, row.ids[:-1])
        elif row.stream is not None:
            row.stream.feed(token)
            text = cut_at(row.stream.text, row.request.stop)
            reason = "stop" if text is not None else None
        if reason is None and len(row.ids) >= row.limit:
            reason, text = "length", decode(self.tokenizer, row.ids)
        if reason is None or text is None:
            return None
        cut = cut_at(text, row.request.stop)
        return GenerationResult(
            tuple(row.ids),
            tuple(row.logprobs),
            "stop" if cut is not None else reason,
            text if cut is None else cut,
            tuple(row.tops),
        )

    def _leave(self, slot: int) -> None:
        """Free a slot and move the last row there: the rows in flight are always the first slots."""
        row, last = self._rows[slot], len(self._rows) - 1
        if row.logprobs and row.logprobs[-1] != row.logprobs[-1]:
            self._runner.wipe(slot)
        if slot != last:
            self._runner.move(last, slot, self._rows[last].position + 1)
            self._rows[slot] = self._rows[last]
        self._rows.pop()


def _failure(row: _Row, error: Exception) -> Event:
    _LOG.error("the model failed on a request", exc_info=error)
    return Event(row.ticket, -1, 0.0, error=f"{type(error).__name__}: {error}")


def cut_at(text: str, stops: Sequence[str]) -> str | None:
    """``text`` up to the first of ``stops``; none if none of them is in it."""
    ends = [text.index(stop) for stop in stops if stop in text]
    return text[: min(ends)] if ends else None
