"""Rollouts: episodes on live tools whose every token is known.

The sampled ids are carried from turn to turn and never re-tokenised: the prompt of turn n+1 is the prompt of turn n,
the ids that were sampled, and the template's own text for the tool results. Tool tokens are marked 0 in the mask.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from toolwright.chat import Reply
from toolwright.dialect import opened_reasoning, parse, render_prompt
from toolwright.engine import GenerationRequest, GenerationResult
from toolwright.episode import Episode, play
from toolwright.errors import ModelError
from toolwright.records import Message, ToolSpec
from toolwright.task import Task

Sample = Callable[[GenerationRequest], Awaitable[GenerationResult]]


@dataclass(frozen=True)
class Limits:
    """Sampling and length limits of a rollout; lengths in tokens."""

    max_tokens: int
    max_completion_tokens: int
    max_turns: int
    temperature: float
    call_timeout_s: float


@dataclass(frozen=True)
class Rollout:
    """One finished episode with its tokens.

    Attributes:
        prompt_ids: ids of the task's prompt, shape (P,).
        completion_ids: everything after it, sampled or from tools, shape (T,).
        sampled: 1 where the model sampled the token, 0 where a tool result or a header came from outside, shape (T,).
        last_turn: where the tokens of the last assistant turn begin in ``completion_ids``.
        logprobs: log-probability of each sampled token when it was sampled, 0 elsewhere, shape (T,).
    """

    task: Task
    episode: Episode
    prompt_ids: list[int]
    completion_ids: list[int]
    sampled: list[int]
    logprobs: list[float]
    last_turn: int
    state: str | None

    @property
    def rewarded(self) -> list[int]:
        """``sampled`` without the words of an answer that follows calls, shape (T,).

        A rule-based reward does not read them, so their gradient would be noise. The first token (to answer, not to
        call) and the last one (to end) stay.
        """
        if not self.episode.calls or self.episode.stopped != "answer":
            return self.sampled
        first, last = self.last_turn, len(self.sampled) - 1
        return [own if index in (first, last) or index < first else 0 for index, own in enumerate(self.sampled)]


@dataclass
class TokenChat:
    """A chat on an engine for one episode; remembers the ids of everything that was said."""

    sample: Sample
    tokenizer: Any
    dialect: str
    limits: Limits
    seed: int
    prompt_ids: list[int] = field(default_factory=list)
    completion_ids: list[int] = field(default_factory=list)
    sampled: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    last_turn: int = 0
    _seen: int = 0
    _turn: int = 0
    _think: str = ""

    async def complete(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], *, seed: int | None = None
    ) -> Reply:
        """Sample the next assistant turn; a rollout that is out of budget gets an empty turn with reason "length"."""
        self._append_outside(messages, tools)
        budget = min(self.limits.max_tokens, self.limits.max_completion_tokens - len(self.completion_ids))
        self._seen = len(messages) + 1
        if budget <= 0:
            return Reply(message=Message(role="assistant", content=""), finish_reason="length")
        request = GenerationRequest(
            prompt_ids=(*self.prompt_ids, *self.completion_ids),
            max_tokens=budget,
            temperature=self.limits.temperature,
            seed=self.seed * 64 + self._turn,
            stop_ids=frozenset({self.tokenizer.eos_token_id}),
        )
        result = await self.sample(request)
        self._turn += 1
        self.last_turn = len(self.completion_ids)
        self._extend(list(result.ids), 1, list(result.logprobs))
        return self._reply(result, tools)

    def _append_outside(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> None:
        if not self.prompt_ids:
            text = render_prompt(self.tokenizer, messages, tools)
            self.prompt_ids = self._ids(text)
        else:
            text = outside_text(self.tokenizer, messages[self._seen :])
            self._extend(self._ids(text), 0)
        self._think = opened_reasoning(text, self.dialect)

    def _extend(self, ids: list[int], sampled: int, logprobs: list[float] | None = None) -> None:
        self.completion_ids += ids
        self.sampled += [sampled] * len(ids)
        self.logprobs += logprobs if logprobs is not None else [0.0] * len(ids)

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _reply(self, result: GenerationResult, tools: Sequence[ToolSpec]) -> Reply:
        parsed = parse(self._think + result.text, self.dialect, tools)
        message = Message(
            role="assistant",
            content=parsed.content,
            reasoning_content=parsed.reasoning,
            tool_calls=parsed.calls,
        )
        return Reply(
            message=message,
            finish_reason="length" if result.finish_reason == "length" else "tool_calls" if parsed.calls else "stop",
            problems=parsed.problems,
            completion_tokens=len(result.ids),
        )


def outside_text(tokenizer: Any, messages: Sequence[Message]) -> str:
    """What the template writes between two assistant turns: end of the first, ``messages``, header of the second.

    Found by rendering them after a stand-in turn, so that the sampled text is never rendered again.

    Raises:
        ModelError: the template rewrites earlier turns, or ends turns in another way, so no such text exists.
    """
    opening = [Message(role="user", content="?"), Message(role="assistant", content="!")]
    before = render_prompt(tokenizer, opening, [], add_generation_prompt=False)
    after = render_prompt(tokenizer, [*opening, *messages], [])
    end = before.rfind(tokenizer.eos_token) + len(tokenizer.eos_token)
    if end < len(tokenizer.eos_token):
        raise ModelError(
            f"the chat template does not end turns with the tokenizer's eos_token {tokenizer.eos_token!r}, at which RL "
            "ends sampling; save the tokenizer with the token that does"
        )
    if not after.startswith(before[:end]):
        raise ModelError("the chat template rewrites earlier turns when a tool answers; RL cannot keep sampled tokens")
    return after[end:]


async def roll_out(
    task: Task, world_of: Callable[[int], Any], sample: Sample, tokenizer: Any, dialect: str, limits: Limits, seed: int
) -> Rollout:
    """Play ``task`` once in a fresh environment; a failure inside becomes data of the episode."""
    chat = TokenChat(sample, tokenizer, dialect, limits, seed)
    async with world_of(task.seed) as world:
        episode = await play(
            chat,
            world,
            task.messages,
            task.tools,
            max_turns=limits.max_turns,
            call_timeout_s=limits.call_timeout_s,
        )
        state = await world.state()
    return Rollout(
        task=task,
        episode=episode,
        prompt_ids=chat.prompt_ids,
        completion_ids=chat.completion_ids,
        sampled=chat.sampled,
        logprobs=chat.logprobs,
        last_turn=chat.last_turn,
        state=state,
    )
