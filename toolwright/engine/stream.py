"""The engine for asyncio: any number of coroutines wait for their own reply while one batch is decoded."""

import asyncio
from collections.abc import AsyncIterator
from typing import Self

from toolwright.engine.core import Engine
from toolwright.engine.request import Event, GenerationError, GenerationRequest, GenerationResult

SILENT_STEPS = 4
"""Steps before the event loop is asked again, where only whole replies are waited for."""


class AsyncEngine:
    """Runs an engine's steps in a thread while there is work; use it as an async context manager.

    Nothing else may use the engine inside the block.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._queues: dict[int, asyncio.Queue[Event]] = {}
        self._silent: set[int] = set()
        self._wake = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._pump = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_exception: object) -> None:
        self.end_all("the engine was stopped")
        assert self._pump is not None
        self._pump.cancel()
        await asyncio.gather(self._pump, return_exceptions=True)
        if self.engine.busy:
            await asyncio.to_thread(self.engine.step)

    def end_all(self, reason: str) -> None:
        """End every request that is under way with a GenerationError."""
        for ticket, queue in self._queues.items():
            self.engine.cancel(ticket)
            queue.put_nowait(Event(ticket, -1, 0.0, error=reason))

    async def sample(self, request: GenerationRequest) -> GenerationResult:
        """Run one request to its end.

        Raises:
            DataError: the prompt is too long.
            GenerationError: the model failed on it.
        """
        result = None
        async for event in self._read(request, silent=True):
            result = event.result
        assert result is not None, "a stream without an error ends with a result"
        return result

    def stream(self, request: GenerationRequest) -> AsyncIterator[Event]:
        """The events of one request as they come; leaving the loop early frees its slot.

        Raises:
            DataError: the prompt is too long.
            GenerationError: the model failed on it.
        """
        return self._read(request, silent=False)

    async def _read(self, request: GenerationRequest, *, silent: bool) -> AsyncIterator[Event]:
        """The events of a request; a silent one has its last event alone, and so costs nothing on the way."""
        ticket = self.engine.submit(request)
        queue = self._queues[ticket] = asyncio.Queue()
        if silent:
            self._silent.add(ticket)
        self._wake.set()
        done = False
        try:
            while not done:
                event = await queue.get()
                done = event.last
                if event.error is not None:
                    raise GenerationError(event.error)
                yield event
        finally:
            del self._queues[ticket]
            self._silent.discard(ticket)
            if not done:
                self.engine.cancel(ticket)

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self.engine.busy:
                await self._step()

    async def _step(self) -> None:
        step = asyncio.ensure_future(asyncio.to_thread(self._work))
        try:
            events = await asyncio.shield(step)
        except asyncio.CancelledError:
            # The thread cannot be interrupted: wait for it, so that nobody else uses the model meanwhile.
            await asyncio.gather(step, return_exceptions=True)
            raise
        except Exception as error:  # noqa: BLE001  # whatever the model raises belongs to those who wait for it
            events = [Event(ticket, -1, 0.0, error=f"{type(error).__name__}: {error}") for ticket in self._queues]
            self.engine.clear()
        for event in events:
            queue = self._queues.get(event.ticket)
            if queue is not None and (event.last or event.ticket not in self._silent):
                queue.put_nowait(event)

    def _work(self) -> list[Event]:
        """One step, in a thread; several where nobody waits for what is sampled on the way."""
        events = self.engine.step()
        for _ in range(SILENT_STEPS - 1):
            heard = len(self._silent) < len(self._queues)
            if heard or not self.engine.busy or any(event.last for event in events):
                break
            events = [*events, *self.engine.step()]
        return events
