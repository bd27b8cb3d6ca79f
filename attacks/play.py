"""Plays a case in real environments, and notes what happened: the replies, and what was touched, left or spoilt."""

import asyncio
import dataclasses
import json
import os
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attacks.canaries import PICKLED, Canaries
from attacks.cases import Case, evaluate, fill
from attacks.faces import Reply, as_text, call, call_http, call_mcp, call_text
from attacks.setup import race_of, setup_code
from attacks.swap import swapping
from attacks.tools import find_target, fit_arguments
from attacks.watch import Leftovers, Watch
from mcpserver.environment import Environment, offered_tools
from mcpserver.settings import Settings
from toolwright.errors import DataError
from toolwright.records import ToolCall

SETUP_TIMEOUT_S = 60.0
SHORT_TIMEOUT_S, TIMEOUT_S = 2.0, 10.0
MAX_REPEAT = 5000
_SEQUENCE = re.compile(r"(?:call|cell|step)_?(\d+)")
Call = tuple[str, Any]
"""How a call arrives (``text`` of a model, ``http``), and its JSON text."""


@dataclass
class Outcome:
    """What a case did.

    Attributes:
        replies: of the calls that are judged, in order.
        control: the reply of the same last call where nobody attacked, to compare with.
        expected: contents that were written, where the replies read them back.
        wrong: what must never be: canaries touched, things left behind, environments spoilt.
        changes: what is different in the environment after the call.
        limit_s: the deadline of one call.
        watch: memory and processes of the sandbox.
    """

    replies: list[Reply] = field(default_factory=list)
    control: Reply | None = None
    expected: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    changes: Mapping[str, str] = field(default_factory=dict)
    limit_s: float = TIMEOUT_S
    watch: Watch = field(default_factory=Watch)


class Player:
    """Plays cases.

    Args:
        settings: of the environments; their world is a folder.
        work: the folder in which environments lie where they lie on the host.
        base: the base world on disk, as environments copy it.
    """

    def __init__(self, settings: Settings, work: Path, base: Path) -> None:
        self._settings, self._work, self._base = settings, work, base
        self._tools = offered_tools(settings)
        self._count = 0

    async def play(self, case: Case) -> Outcome:
        """Play a case: once for each place at which the base can be looked for.

        Raises:
            DataError: the case asks for what nobody knows.
        """
        inside = "/base/files" if self._settings.sandbox == "bwrap" else None
        both = inside is not None and "${BASE}" in json.dumps(case.payload)
        outcome = Outcome()
        for base in (None, inside) if both else (None,):
            canaries = Canaries(self._work, self._base, json.dumps(case.payload))
            try:
                outcome = await self._play(case, canaries, base)
            finally:
                canaries.close()
            if outcome.wrong:
                break
        return outcome

    async def _play(self, case: Case, canaries: Canaries, base: str | None) -> Outcome:
        outcome = Outcome(limit_s=SHORT_TIMEOUT_S if "timeout" in case.verdicts else TIMEOUT_S)
        places = canaries.places() | ({"BASE": base} if base else {}) | {"ENV_ID": "env-0"}
        payload = case.payload
        if isinstance(payload, dict) and "environments" in payload:
            await self._many(case, payload, places, outcome)
        elif isinstance(payload, dict) and {"env_a", "env_b"} <= payload.keys():
            await self._two(case, fill(payload, places), outcome)
        elif isinstance(payload, dict) and "meta" in payload:
            name, arguments = self._fit(case, fill(payload, places))
            outcome.replies = [await call_mcp(self._settings, name, arguments, payload["meta"] or {})]
        else:
            await self._one(case, fill(payload, places), outcome)
        shown = "\n".join(reply.content for reply in outcome.replies)
        outcome.wrong += canaries.touched(shown)
        return outcome

    @asynccontextmanager
    async def _open(self, outcome: Outcome, seed: int = 7, setup: object = None) -> AsyncIterator[Environment]:
        """An environment, set up; what it leaves behind when it is closed is noted."""
        environment = Environment.open(seed, self._settings)
        try:
            if setup:
                environment.limits = dataclasses.replace(environment.limits, call_timeout_s=SETUP_TIMEOUT_S)
                reply = await call(environment, ToolCall(name="run_python", arguments={"code": setup_code(setup)}))
                if not reply.ok:
                    raise DataError(f"setup failed: {reply.content[-300:]}")
            environment.limits = dataclasses.replace(environment.limits, call_timeout_s=outcome.limit_s)
            yield environment
        finally:
            leftovers = Leftovers(environment)
            await environment.aclose()
            outcome.wrong += await leftovers.find()

    async def _one(self, case: Case, payload: Any, outcome: Outcome) -> None:
        """Calls in one environment, and what an environment must still do afterwards."""
        options = payload if isinstance(payload, dict) else {}
        calls = self._calls(case, payload)
        setup = options.get("setup") or _files_to_append_to(calls)
        async with self._open(outcome, setup=setup) as environment:
            before = await environment.snapshot()
            if options.get("close_env"):
                await environment.aclose()
            async with outcome.watch.of(environment), swapping(environment, race_of(setup)):
                if "concurrent" in options:
                    outcome.replies = list(await asyncio.gather(*(self._send(environment, item) for item in calls)))
                else:
                    for item in calls:
                        outcome.replies.append(await self._send(environment, item))
            if options.get("close_env"):
                return
            outcome.changes = await environment.diff(before)
            if "concurrent" in options and case.tool_kind == "file":
                outcome.replies.append(await self._read_back(environment, calls[0][1]))
            if len(calls) > 1 and case.is_code:
                await self._stands_still(environment, outcome)
            outcome.wrong += await self._aftercare(case, environment, outcome.changes)
        if "repeat" in options and "ok" in case.verdicts:
            async with self._open(outcome, setup=setup) as twin:
                outcome.replies.append(await self._send(twin, calls[0]))

    async def _aftercare(self, case: Case, environment: Environment, changes: Mapping[str, str]) -> list[str]:
        """What must work after whatever happened: tools, code, and another environment."""
        wrong = []
        probes: list[tuple[str, dict[str, Any], str]] = [("mean", {"values": [1, 2, 3]}, "2")]
        probes += [("run_python", {"code": "6 * 7"}, "42")] if case.is_code else []
        for name, arguments, expected in probes:
            for _ in range(2):  # the first call may be told that Python was started again
                reply = await call(environment, ToolCall(name=name, arguments=arguments))
                if expected in reply.content:
                    break
            else:
                wrong.append(f"afterwards {name} does not work: {reply.error}: {reply.content[:120]}")
        listed = await call(environment, ToolCall(name="list_files", arguments={"folder": "."}))
        if listed.error == "crash" or (not listed.ok and "sandbox" in listed.content[:200]):
            wrong.append(f"afterwards list_files does not work: {listed.content[:120]}")
        async with Environment.create(8, **_options(self._settings)) as other:
            reply = await call(other, ToolCall(name="read_file", arguments={"path": "f.txt"}))
            if not reply.ok:
                wrong.append(f"another environment does not work: {reply.content[:120]}")
        if any(PICKLED in name for name in changes):
            wrong.append("something was unpickled, and what it named was run")
        return wrong

    async def _stands_still(self, environment: Environment, outcome: Outcome) -> None:
        first = await environment.snapshot()
        await asyncio.sleep(1.2)
        if await environment.snapshot() != first:
            outcome.wrong.append("files change while nothing is called")

    async def _two(self, case: Case, payload: Mapping[str, Any], outcome: Outcome) -> None:
        """What B gives beside an A that was attacked, and what it gives alone."""
        first, second = (self._calls(case, payload[name])[0] for name in ("env_a", "env_b"))
        async with self._open(outcome) as alone:
            outcome.control = await self._send(alone, second)
        async with self._open(outcome) as a, self._open(outcome) as b:
            seen = await self._send(a, first)
            if seen.error not in (None, "denied"):  # what A may not even do, B does not see
                raise DataError(f"env_a: the call fails, so that nothing is shown: {seen.content[:200]}")
            outcome.replies = [await self._send(b, second)]
            outcome.wrong += await self._aftercare(case, b, {})

    async def _many(self, case: Case, payload: Mapping[str, Any], places: Mapping[str, str], outcome: Outcome) -> None:
        """Many environments at once, each of which writes its own name and reads it back."""
        count = int(payload["environments"])
        outcome.expected = [f"env-{number}-{os.urandom(4).hex()}" for number in range(count)]

        async def one(number: int) -> Reply:
            own = fill(payload, {**places, "ENV_ID": outcome.expected[number]})
            async with self._open(outcome, seed=number, setup=own.get("setup")) as environment:
                item = self._calls(case, own)[0]
                wrote = await self._send(environment, item)
                ready.append(number)
                while len(ready) < count:
                    await asyncio.sleep(0.01)
                return wrote if not wrote.ok else await self._read_back(environment, item[1])

        ready: list[int] = []
        outcome.replies = list(await asyncio.gather(*(one(number) for number in range(count))))

    async def _read_back(self, environment: Environment, text: str) -> Reply:
        path = json.loads(text)["arguments"].get("path", "")
        return await call(environment, ToolCall(name="read_file", arguments={"path": path}))

    async def _send(self, environment: Environment, item: Call) -> Reply:
        face, text = item
        return await (call_http(self._settings, text) if face == "http" else call_text(environment, text))

    def _calls(self, case: Case, payload: Any) -> list[Call]:
        """The calls of a payload, as JSON texts."""
        if isinstance(payload, str):
            return [self._plain(case, payload)]
        if not isinstance(payload, dict):
            raise DataError(f"payload: expected a text or an object, got {type(payload).__name__}")
        for key in ("concurrent", "calls", "sequence", "steps"):
            if isinstance(payload.get(key), list):
                return [item for part in payload[key] for item in self._calls(case, part)]
        numbered = sorted((int(match[1]), key) for key in payload if (match := _SEQUENCE.fullmatch(key)))
        if numbered:
            return [item for _, key in numbered for item in self._calls(case, payload[key])]
        repeat = min(int(payload.get("repeat", 1)), MAX_REPEAT)
        face = "http" if payload.get("face", payload.get("via", payload.get("transport"))) == "http" else "text"
        if "raw" in payload or "raw_expr" in payload:
            text = payload["raw"] if "raw" in payload else evaluate(payload["raw_expr"])
            return [(face, self._rename(case, str(text)))] * repeat
        for key in ("code", "python", "command", "shell", "query", "sql"):
            if isinstance(payload.get(key), str):
                return [self._plain(case, payload[key])] * repeat
        if "tool" not in payload:
            raise DataError(f"payload: no key that is known: {', '.join(payload)}")
        name, arguments = self._fit(case, payload)
        # a model's text may hold arguments as a string (OpenAI writes them so), the body of a request may not
        face = face if isinstance(arguments, dict) else "http"
        return [(face, as_text(name, arguments))] * repeat

    def _plain(self, case: Case, text: str) -> Call:
        """A payload that is only a text: code, a command, a query, or a model's own words."""
        if case.tool_kind in ("python", "shell"):
            name, parameter = ("run_python", "code") if case.tool_kind == "python" else ("run_shell", "command")
            return "text", as_text(name, {parameter: text})
        if case.tool_kind == "args":
            return "text", self._rename(case, text)
        generic = {"sql": ("sql_query", "query"), "file": ("read_file", "path"), "image": ("image_info", "path"),
                   "archive": ("unzip", "path"), "api": ("http_get", "url")}  # fmt: skip
        if case.tool_kind not in generic:
            raise DataError(f"tool_kind {case.tool_kind!r} is not known, for a payload that is only a text")
        tool, parameter = generic[case.tool_kind]
        name, arguments = self._fit(case, {"tool": tool, "args": {parameter: text}})
        return "text", as_text(name, arguments)

    def _fit(self, case: Case, payload: Mapping[str, Any]) -> tuple[str, Any]:
        name, arguments = str(payload["tool"]), payload.get("args", payload.get("arguments", {}))
        target = find_target(name, case, self._tools)
        if target is None:
            return name, arguments
        if not isinstance(arguments, dict):
            return target.name, arguments
        complete = case.tool_kind != "args"
        return target.name, fit_arguments(arguments, target, self._tools[target.name], complete=complete)

    def _rename(self, case: Case, text: str) -> str:
        """A raw text with the generic name and parameters in it replaced, where it can be seen what they are."""
        match = re.match(r'\s*\{\s*"name"\s*:\s*"([^"\\]*)"', text)
        target = find_target(match[1], case, self._tools) if match else None
        if match is None or target is None:
            return text
        text = text[: match.start(1)] + target.name + text[match.end(1) :]
        known = self._tools[target.name].spec.parameters.get("properties", {})
        for generic in re.findall(r'"(\w+)"\s*:', text[match.end(1) : 2000]):
            fitted = fit_arguments({generic: 0}, target, self._tools[target.name], complete=False)
            (own,) = fitted
            if own != generic and own in known and generic not in ("name", "arguments"):
                text = text.replace(f'"{generic}"', f'"{own}"', 1)
        return text


def _files_to_append_to(calls: Sequence[Call]) -> list[dict[str, Any]]:
    """Setup steps that make the files to which is appended: the catalogue's tool appends to a file that is there."""
    texts = [json.loads(text) for _, text in calls if text.startswith('{"name": "append_line"')]
    paths = {text["arguments"].get("path") for text in texts}
    return [{"append": [path, ""]} for path in paths if isinstance(path, str) and re.fullmatch(r"[\w.]+", path)]


def _options(settings: Settings) -> dict[str, Any]:
    """The options of ``Environment.create`` that mean these settings, and all tools."""
    return {item.name: getattr(settings, item.name) for item in dataclasses.fields(settings) if item.name != "toolsets"}
