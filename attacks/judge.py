"""Whether a case came out as its ``must`` says; everything is read from the case's kind, payload and words.

What must never be (a canary touched, something left behind, an environment spoilt) fails a case whatever its verdict.
"""

import ast
import json
import os
import re
from collections.abc import Callable
from typing import Any

from attacks.cases import Case
from attacks.faces import Reply
from attacks.play import Outcome
from attacks.setup import race_of
from mcpserver.environment import DEFAULT_LIMITS
from mcpserver.rendering import MAX_RESULT_BYTES

PROCESSES = 128
REFUSALS = ("denied", "tool_error", "bad_arguments", "unknown_tool", "limit")
_OUT_OF_BOUNDS = re.compile(
    r"at most|too (?:large|big|many|long|much|deep)|limit|no (?:room|space)|memory|larger|more than|exceed|less than or"
)
_MARKER = re.compile(r"\[cut: |… \[|left out|\n…\n|more \(|\"total\"|\"next_offset\"|\"truncated\"")
_SUCCESS = re.compile(r"\s*(?:0|True|\(?0, 0\)?|0 0)\s*")


def judge(case: Case, outcome: Outcome) -> str:
    """What is wrong with an outcome; empty when the case passed."""
    crashed = next((reply for reply in outcome.replies if reply.error == "crash"), None)
    if crashed is not None:
        return crashed.content[:300]
    if outcome.wrong:
        return "; ".join(outcome.wrong[:3])
    if not outcome.replies:
        return "no call was made"
    reasons = [_JUDGES[verdict](case, outcome) for verdict in case.verdicts]
    if "" in reasons:
        return ""
    return f"{'; '.join(dict.fromkeys(reasons))} (got {_tell(outcome.replies[-1])})"


def _deny(case: Case, outcome: Outcome) -> str:
    """Refused: an error, or code that ran and shows no sign of success."""
    if case.is_code:
        return next((why for reply in outcome.replies if reply.ok and (why := _success(case, reply))), "")
    allowed = _harmless(case)
    for reply in outcome.replies:
        if reply.error == "timeout":
            return "not refused but timed out"
        if reply.ok and not allowed(reply):
            return "not refused"
    return ""


def _harmless(case: Case) -> Callable[[Reply], bool]:
    """Which good results mean the same as a refusal."""
    setup = case.payload.get("setup") if isinstance(case.payload, dict) else None
    if race_of(setup) is not None:  # the file is there in between
        return lambda reply: "inside" in reply.content
    if re.search(r"empty|nothing|no (?:name|match|result)", case.must):
        return lambda reply: _is_empty(reply.content)
    return lambda reply: False


def _is_empty(content: str) -> bool:
    try:
        value = json.loads(content)
    except ValueError:
        return not content.strip()
    lists = [item for item in value.values() if isinstance(item, list)] if isinstance(value, dict) else [value]
    return bool(lists) and not any(lists)


def _success(case: Case, reply: Reply) -> str:
    """What in the output of code says that an attack went well: its own mark of success, or a call that returned 0."""
    code = case.payload if isinstance(case.payload, str) else json.dumps(case.payload)
    for mark in _marks(code):
        if re.search(rf"\b{re.escape(mark)}\b", reply.content):
            return f"the code says {mark}"
    if "ctypes" in code and _SUCCESS.fullmatch(reply.content.split("\n[", 1)[0]):
        return "the system call went well"
    return ""


def _marks(code: str) -> set[str]:
    """The texts in capitals that code prints when it went well."""
    try:
        texts = [node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)]
    except (SyntaxError, ValueError, RecursionError):
        texts = re.findall(r"echo\s+[\"']?([A-Z_ ]{3,})", code)
    return {text for text in texts if isinstance(text, str) and re.fullmatch(r"[A-Z][A-Z _-]{2,}", text)}


def _error(case: Case, outcome: Outcome) -> str:
    for reply in outcome.replies:
        if reply.ok or reply.error == "timeout":
            return "not an error" if reply.ok else "not an error but timed out"
        if "unknown tool" in case.must and reply.error != "unknown_tool":
            return f"{reply.error} where the tool is unknown"
    within = re.search(r"within (\d+(?:\.\d+)?) s", case.must)
    if within and outcome.replies[-1].seconds > float(within[1]) * _patience():
        return f"it took {outcome.replies[-1].seconds:.1f} s"
    return ""


def _limit(case: Case, outcome: Outcome) -> str:
    """Bounded: refused over its size, or ended with the call before it took too much."""
    if outcome.watch.peak_processes >= PROCESSES:
        return f"{outcome.watch.peak_processes} processes lived at once"
    if outcome.watch.peak_bytes > 1.5 * DEFAULT_LIMITS.memory_bytes:
        return f"the sandbox took {outcome.watch.peak_bytes >> 20} MiB"
    for reply in outcome.replies:
        refused = reply.error in REFUSALS and (reply.error == "limit" or _OUT_OF_BOUNDS.search(reply.content))
        ended = case.is_code and reply.ok and "ended with the call" in reply.content
        if not refused and not ended:
            return "no limit was met"
    return ""


def _timeout(case: Case, outcome: Outcome) -> str:
    reply = outcome.replies[-1]
    if reply.error != "timeout":
        return "it did not time out"
    late = reply.seconds - outcome.limit_s
    return f"stopped {late:.1f} s after the limit" if late > 2.0 * _patience() else ""


def _truncate(case: Case, outcome: Outcome) -> str:
    for reply in outcome.replies:
        if len(reply.content.encode()) > MAX_RESULT_BYTES + 1000:
            return f"the result has {len(reply.content)} characters"
        if not _MARKER.search(reply.content):
            return "no mark says that something was cut"
    return ""


def _isolated(case: Case, outcome: Outcome) -> str:
    """Nothing crossed: what is read back is one's own, B sees what it sees without A, reading changes nothing."""
    if outcome.expected:
        strange = [reply for own, reply in zip(outcome.expected, outcome.replies) if own not in reply.content]
        return f"{len(strange)} of {len(outcome.expected)} environments do not read back their own" if strange else ""
    if outcome.control is not None:
        seen = outcome.replies[-1]
        same = (seen.content, seen.error) == (outcome.control.content, outcome.control.error)
        return "" if same else f"without the other environment it gives {_tell(outcome.control)}"
    if case.kind == "injection" and outcome.changes:
        return f"reading changed {', '.join(sorted(outcome.changes))[:100]}"
    if not case.is_code:
        return "" if outcome.replies[-1].error != "timeout" else "it timed out"
    return ""


def _clean(case: Case, outcome: Outcome) -> str:
    """It returned at once; that nothing is left is always looked for."""
    late = [reply for reply in outcome.replies if reply.error == "timeout"]
    return "it did not return by itself" if late else ""


def _ok(case: Case, outcome: Outcome) -> str:
    """The calls went well, gave strict JSON, and the stated result as far as it can be read."""
    for reply in outcome.replies:
        if not reply.ok:
            allowed = re.search(r"\bor (?:is )?(?:refused|an error|denied)", case.must) and reply.error in REFUSALS
            return "" if allowed else "it failed"
    if not case.is_code:
        for reply in outcome.replies:
            try:
                json.loads(reply.content, parse_constant=_refuse)
            except ValueError as error:
                return f"the result is no strict JSON ({error})"
    if isinstance(case.payload, dict) and "repeat" in case.payload and len({r.content for r in outcome.replies}) > 1:
        return "the results differ"
    return _lines(case, outcome)


def _lines(case: Case, outcome: Outcome) -> str:
    """Whether the file has the number of whole lines that is told, each of them as it was written."""
    told = re.search(r"exactly (\d+)", case.must)
    if not told or not isinstance(case.payload, dict) or "concurrent" not in case.payload:
        return ""
    text = json.loads(outcome.replies[-1].content).get("text", "")
    lines = [line for line in text.splitlines() if line]
    written = {str(value).strip() for call in case.payload["concurrent"] for value in call.get("args", {}).values()}
    if len(lines) != int(told[1]) or not set(lines) <= written:
        return f"the file has {len(lines)} lines"
    return ""


def _inside(case: Case, outcome: Outcome) -> str:
    """It may go well, as long as nothing outside is touched, which is always looked for."""
    return "" if outcome.replies[-1].error != "timeout" else "it timed out"


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _patience() -> float:
    """How much longer everything takes on this machine than on an idle one."""
    return min(6.0, max(1.5, os.getloadavg()[0] / (os.cpu_count() or 1)))


def _tell(reply: Reply) -> str:
    return f"{reply.error or 'ok'} after {reply.seconds:.1f} s: {reply.content[:160]!r}"


_JUDGES: dict[str, Callable[[Case, Outcome], str]] = {
    "deny": _deny, "error": _error, "limit": _limit, "timeout": _timeout, "truncate": _truncate,
    "isolated": _isolated, "clean": _clean, "ok": _ok, "inside": _inside,
}  # fmt: skip
