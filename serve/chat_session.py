"""One conversation in the terminal: its history, its environment, and turns through the loop of all stages."""

import asyncio
import re
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from math import log

from mcpserver.world import ToolWorld, Worlds
from serve.chat_endpoint import Endpoint
from serve.chat_screen import Screen
from toolwright.chat import Chat, OpenAIChat
from toolwright.chat_stream import without_problems
from toolwright.config import RunConfig
from toolwright.episode import Episode, Turn, World, play
from toolwright.records import Conversation, Message, ToolCall, ToolResult, ToolSpec

TIMEOUT_S = 600.0
"""Deadline of one reply; whoever waits can end it."""
COMMON = frozenset(["the", "and", "for", "from", "with", "that", "this", "what", "which", "are", "how", "there"])
UNFIT = ("unknown_tool", "bad_arguments", "malformed_call", "limit")
"""Errors of calls that the model wrote wrongly: such turns are kept, and not to be learnt from."""


class Session:
    """The conversation so far.

    Attributes:
        messages: the history, from the system message on.
        tools: those that the model is shown, once there was a first message.
        endpoint: what answers.
    """

    def __init__(self, config: RunConfig, endpoint: Endpoint, chat: Chat, worlds: Worlds, screen: Screen) -> None:
        self.endpoint, self.worlds, self.screen = endpoint, worlds, screen
        self._config, self._chat = config, chat
        self._stack = AsyncExitStack()
        self._world: ToolWorld | None = None
        self._begin()
        self.set_system(config.chat.system or "")

    def _begin(self) -> None:
        self.messages: list[Message] = []
        self.tools: list[ToolSpec] = []
        self._synthetic: tuple[int, ...] = ()

    @property
    def n_messages(self) -> int:
        """Messages of the user so far."""
        return sum(message.role == "user" for message in self.messages)

    async def ask(self, text: str) -> Episode:
        """Put a message; nothing of it stays if it is interrupted or fails.

        Raises:
            DataError: a tool whose schema is wrong.
            EndpointError, ToolServerError: the model, or a server, is gone or refuses.
        """
        settings = self._config.chat
        if not self.tools:
            self.tools = choose_tools(self.worlds.tools, text, settings.tools)
        watched = _WatchedWorld(await self._open_world(), self.screen)

        def on_turn(turn: Turn) -> None:
            self._show(turn, watched)
            if turn.results:
                self.screen.busy("thinking …")

        self.screen.busy("thinking …")
        try:
            episode = await play(
                self._chat,
                watched,
                [*self.messages, Message(role="user", content=text)],
                self.tools,
                max_turns=settings.max_turns,
                call_timeout_s=self._config.tools.call_timeout_s,
                on_turn=on_turn,
            )
        finally:
            self.screen.idle()
            self.screen.end_text()
            self.screen.shown = ""
        self._keep(episode)
        return episode

    async def _open_world(self) -> ToolWorld:
        if self._world is None:
            self._world = await self._stack.enter_async_context(self.worlds.environment(self._config.seed))
        return self._world

    def _show(self, turn: Turn, watched: "_WatchedWorld") -> None:
        calls = turn.reply.message.tool_calls
        if self.screen.live or calls:
            self.screen.words(without_problems(turn.reply.message.content or "", turn.reply.problems))
        for call, result in zip(calls, turn.results):
            self.screen.card(call, result, watched.seconds(call))
        self.screen.malformed(turn.reply.problems)

    def _keep(self, episode: Episode) -> None:
        """Take an episode into the history; a turn that was written wrongly or cut short is not to be learnt from."""
        messages, turns = list(episode.messages), iter(episode.turns)
        for index in range(len(self.messages) + 1, len(messages)):
            if messages[index].role == "assistant" and not _is_fit(next(turns)):
                messages[index] = messages[index].model_copy(update={"loss_weight": 0.0})
        if episode.stopped == "length" and (calls := len(messages[-1].tool_calls)):
            # Calls of a reply that was cut did not run, and a call without a result is no conversation.
            note = Message(role="tool", content="limit: the reply was cut, so this call did not run")
            last = messages[-1]
            messages += [
                note.model_copy(update={"tool_call_id": c.id, "name": c.name}) for c in last.tool_calls[:calls]
            ]
        self._synthetic += episode.synthetic
        self.messages = messages

    def undo(self) -> str | None:
        """Take the last message of the user back, and all after it; gives its text, None where there is none."""
        places = [index for index, message in enumerate(self.messages) if message.role == "user"]
        if not places:
            return None
        text = self.messages[places[-1]].content
        self.messages = self.messages[: places[-1]]
        self._synthetic = tuple(place for place in self._synthetic if place < places[-1])
        return text

    def set_system(self, text: str) -> None:
        """Put a system message at the head, or take it away."""
        had = bool(self.messages) and self.messages[0].role == "system"
        head = [Message(role="system", content=text)] if text else []
        moved = len(head) - had
        self.messages = [*head, *self.messages[had:]]
        self._synthetic = tuple(place + moved for place in self._synthetic)

    @property
    def system(self) -> str:
        """The system message, "" for none."""
        first = self.messages[0] if self.messages else None
        return (first.content or "") if first is not None and first.role == "system" else ""

    async def reset(self) -> None:
        """Begin anew: no history but the system message, and a fresh environment."""
        system = self.system
        await self.close()
        self._begin()
        self.set_system(system)

    async def close(self) -> None:
        """End the environment."""
        self._world = None
        await self._stack.aclose()

    def conversation(self) -> Conversation:
        """The conversation as other stages read it; without what was malformed, whose marks cannot be trained on."""
        places, messages = leave_out_malformed(self.messages)
        return Conversation(
            id=f"chat-{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:8]}",
            messages=tuple(messages),
            tools=tuple(self.tools),
            seed=self._config.seed,
            sandbox=self._world.sandbox if self._world is not None else None,
            synthetic=tuple(new for new, old in enumerate(places) if old in self._synthetic),
        )


class _WatchedWorld:
    """A world that tells the screen what runs, and remembers how long it took."""

    def __init__(self, world: World, screen: Screen) -> None:
        self.sandbox: str | None = getattr(world, "sandbox", None)
        self._world, self._screen = world, screen
        self._begun: dict[str, float] = {}
        self._ended: dict[str, float] = {}
        self._running: Counter[str] = Counter()

    async def call(self, call: ToolCall) -> ToolResult:
        self._begun[call.id] = time.monotonic()
        self._running[call.name] += 1
        self._screen.busy(f"running {', '.join(name for name, count in self._running.items() if count)} …")
        try:
            return await self._world.call(call)
        finally:
            self._running[call.name] -= 1
            self._ended[call.id] = time.monotonic()

    def seconds(self, call: ToolCall) -> float | None:
        """How long a call took, up to now for one that was left behind; None for one that never got here."""
        if call.id not in self._begun:
            return None
        return self._ended.get(call.id, time.monotonic()) - self._begun[call.id]


def _is_fit(turn: Turn) -> bool:
    if turn.reply.finish_reason == "length":
        return False
    return not any(result.error in UNFIT for result in turn.results)


def leave_out_malformed(messages: Sequence[Message]) -> tuple[list[int], list[Message]]:
    """A history without calls that could not be read, nor the results that said so; the old places, and the messages.

    A turn that had good calls beside them keeps those, and loses its text.
    """
    calls = {call.id for message in messages for call in message.tool_calls}
    kept: list[tuple[int, Message]] = []
    for place, message in enumerate(messages):
        if message.role != "tool" or message.tool_call_id in calls:
            kept.append((place, message))
            continue
        turn = max(index for index, (_, earlier) in enumerate(kept) if earlier.role == "assistant")
        if kept[turn][1].tool_calls:
            kept[turn] = kept[turn][0], kept[turn][1].model_copy(update={"content": None})
        else:
            del kept[turn]
    return [place for place, _ in kept], [message for _, message in kept]


def choose_tools(tools: Sequence[ToolSpec], text: str, most: int | None) -> list[ToolSpec]:
    """At most ``most`` tools, in the order given: those whose names and descriptions share rare words with a text."""
    if most is None or len(tools) <= most:
        return list(tools)
    names = [_words(tool.name) for tool in tools]
    texts = [_words(f"{tool.name} {tool.description} {' '.join(_parameters(tool))}") for tool in tools]
    n_with = Counter(word for bag in texts for word in bag)
    asked = _words(text)

    def score(index: int) -> float:
        shared = asked & texts[index]
        return sum(log(1 + len(tools) / n_with[word]) * (1 + (word in names[index])) for word in shared)

    best = sorted(range(len(tools)), key=score, reverse=True)[:most]
    return [tools[index] for index in sorted(best)]


def _parameters(tool: ToolSpec) -> list[str]:
    return list(tool.parameters.get("properties") or ())


def _words(text: str) -> set[str]:
    """The words of a text in lower case but for the commonest, a plural as its singular."""
    found = re.findall(r"[^\W_]+", text.lower())
    return {word.removesuffix("s") for word in found if len(word) > 2 and word not in COMMON}


@asynccontextmanager
async def open_session(config: RunConfig, endpoint: Endpoint, worlds: Worlds, screen: Screen) -> AsyncIterator[Session]:
    """A session with an endpoint and tools, closed at the end."""
    async with OpenAIChat(
        endpoint.url,
        endpoint.model,
        api_key=endpoint.api_key,
        temperature=config.chat.temperature,
        max_tokens=config.chat.max_tokens,
        timeout_s=TIMEOUT_S,
        retries=1,
        any_api=not endpoint.ours,
        on_text=screen.text if screen.live else None,
    ) as chat:
        session = Session(config, endpoint, chat, worlds, screen)
        try:
            yield session
        finally:
            await asyncio.shield(session.close())
