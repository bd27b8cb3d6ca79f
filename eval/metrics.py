"""The judgement of one task and the statistics over many: pure functions, nothing read or written.

A task with planned calls passes when the model executed exactly those calls, left the environment in the planned
state and ended with an answer. A task without planned calls (nothing to call, or a parameter that the user left out)
passes when the model called nothing and said something.
"""

import math
import re
from collections.abc import Sequence

from pydantic import Field

from toolwright.calls import match_calls, same_call
from toolwright.records import ErrorType, Plan, Record, ToolCall

Z_95 = 1.959963984540054

# Openings of calls in the chat texts that models speak; in a finished answer they mean a call that nobody parsed.
_CALL_LIKE = re.compile(
    r"</?tool_call\b|✿FUNCTION✿|<\|python_tag\|>|<function[=_]|\[TOOL_CALLS\]|<invoke\b"
    r'|"name"\s*:\s*"[^"]*"\s*,\s*"(arguments|parameters)"\s*:'
)


class CallRecord(Record):
    """One call that a model made and what came of it; ``error`` is set when it was refused or failed."""

    name: str
    arguments: dict[str, object] = Field(default_factory=dict)
    result: str = ""
    error: ErrorType | None = None

    @property
    def executed(self) -> bool:
        """Whether the tool ran: calls refused before that (no such tool, wrong arguments) changed nothing."""
        return self.error in (None, "tool_error", "timeout")

    def to_call(self) -> ToolCall:
        """The call without its outcome."""
        return ToolCall(name=self.name, arguments=self.arguments)


class Attempt(Record):
    """What a model did with a task: its calls in order, its answer, and the state that it left.

    ``malformed`` counts replies with a call that nobody could read, ``call_like_text`` says that some reply's text held
    something like a call.
    """

    calls: tuple[CallRecord, ...] = ()
    answer: str | None = None
    state: str | None = None
    turns: int = 0
    stopped: str = "answer"
    malformed: int = 0
    call_like_text: bool = False


class Verdict(Record):
    """Whether a task passed, why not in one phrase, and the parts of the judgement.

    ``name``, ``parameters`` and ``values`` are F1 in [0, 1] (``toolwright.calls.match_calls``), none for tasks without
    planned calls;
    ``state`` is none where the plan names no state. ``calls`` counts calls made, readable or not; ``malformed`` those
    of them that were unreadable or refused.
    """

    passed: bool
    reason: str
    name: float | None = None
    parameters: float | None = None
    values: float | None = None
    state: bool | None = None
    abstained: bool | None = None
    calls: int = 0
    malformed: int = 0
    call_like_text: bool = False
    turns: int = 0


def judge(plan: Plan, attempt: Attempt) -> Verdict:
    """Judge one attempt against the plan of its task."""
    reason = _abstention_fault(attempt) if not plan.calls else _call_fault(plan, attempt)
    match = match_calls([call.to_call() for call in attempt.calls], plan.calls) if plan.calls else None
    return Verdict(
        passed=reason is None,
        reason=reason or ("made the planned calls and answered" if plan.calls else "called nothing and answered"),
        name=match.names.f1 if match else None,
        parameters=match.parameters.f1 if match else None,
        values=match.values.f1 if match else None,
        state=attempt.state == plan.state if plan.state is not None and plan.calls else None,
        abstained=not (attempt.calls or attempt.malformed) if not plan.calls else None,
        calls=len(attempt.calls) + attempt.malformed,
        malformed=sum(not call.executed for call in attempt.calls) + attempt.malformed,
        call_like_text=attempt.call_like_text,
        turns=attempt.turns,
    )


def _abstention_fault(attempt: Attempt) -> str | None:
    if attempt.calls:
        return f"called {attempt.calls[0].name} where no call was due"
    if attempt.malformed or attempt.call_like_text:
        return "wrote text that looks like a call where no call was due"
    return _answer_fault(attempt)


def _call_fault(plan: Plan, attempt: Attempt) -> str | None:
    executed = [call.to_call() for call in attempt.calls if call.executed]
    missing, extra = difference(plan.calls, executed)
    if not executed:
        refused = f": {attempt.calls[0].name} was refused ({attempt.calls[0].error})" if attempt.calls else ""
        looks = " (wrote text that looks like a call)" if attempt.malformed or attempt.call_like_text else ""
        return f"executed no call{refused}{looks}"
    if missing and extra:
        same_tools = sorted(call.name for call in missing) == sorted(call.name for call in extra)
        return f"wrong arguments for {extra[0].name}" if same_tools else f"called {extra[0].name} not {missing[0].name}"
    if missing:
        return f"left out {missing[0].name}"
    if extra:
        return f"one call too many: {extra[0].name}" if len(extra) == 1 else f"{len(extra)} calls too many"
    if plan.mode == "dependent" and not in_order(plan, executed):
        return "made dependent calls in the wrong order"
    if plan.state is not None and attempt.state != plan.state:
        return "left the environment in another state"
    return _answer_fault(attempt)


def _answer_fault(attempt: Attempt) -> str | None:
    if attempt.answer is not None and attempt.answer.strip():
        return None
    return "ended without an answer" if attempt.stopped == "answer" else f"ended without an answer ({attempt.stopped})"


def difference(gold: Sequence[ToolCall], made: Sequence[ToolCall]) -> tuple[list[ToolCall], list[ToolCall]]:
    """``(missing, extra)``: gold calls that were not made and made calls that are not gold, both as multisets."""
    missing, extra = list(gold), []
    for call in made:
        index = next((i for i, wanted in enumerate(missing) if same_call(call, wanted)), None)
        if index is None:
            extra.append(call)
        else:
            del missing[index]
    return missing, extra


def in_order(plan: Plan, executed: Sequence[ToolCall]) -> bool:
    """Whether calls come step after step; within one step, whose calls are independent, any order is right.

    Only plans of mode ``dependent`` need this: elsewhere no step uses another's result, so order means nothing.
    """
    start = 0
    for step in plan.steps:
        made = executed[start : start + len(step.calls)]
        if any(difference(step.calls, made)):
            return False
        start += len(step.calls)
    return start == len(executed)


def looks_like_a_call(text: str | None) -> bool:
    """Whether a finished answer holds the opening of a tool call that the endpoint did not parse."""
    return bool(text and _CALL_LIKE.search(text))


def wilson_interval(passed: int, n: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson score interval of a share, 95 % by default; ``(0, 1)`` when nothing was tried.

    Source: Wilson (1927), J. Am. Stat. Assoc. 22, 209.
    """
    if n == 0:
        return 0.0, 1.0
    share = passed / n
    centre = share + z * z / (2 * n)
    reach = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (centre - reach) / scale), min(1.0, (centre + reach) / scale)


def mcnemar_exact(wins: int, losses: int) -> float:
    """Two-sided exact p of a paired test: wins and losses are tasks that only the second or only the first passed.

    Under the null hypothesis each discordant task is a fair coin, so this is the exact binomial test.
    """
    discordant = wins + losses
    if discordant == 0:
        return 1.0
    tail = sum(math.comb(discordant, k) for k in range(min(wins, losses) + 1))
    p: float = 2 * tail / (1 << discordant)
    return min(1.0, p)
