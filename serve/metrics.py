"""What has happened since the start, counted and timed, and written in the text form of Prometheus."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import psutil

PREFIX = "toolwright_"
FIRST_TOKEN_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
REQUEST_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class Histogram:
    """Durations, counted by upper bound (s)."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def lines(self, name: str) -> Iterator[str]:
        """Cumulated counts, sum and count."""
        total = 0
        for bound, count in zip((*self._bounds, "+Inf"), self._counts):
            total += count
            yield f'{name}_bucket{{le="{bound}"}} {total}'
        yield f"{name}_sum {self._sum:.6f}"
        yield f"{name}_count {total}"


@dataclass
class Metrics:
    """Counters of a server.

    Attributes:
        requests: accepted for generation.
        under_way: choices that wait or are generated now.
        missed_calls: replies without the call that ``tool_choice`` asked for.
        dropped: requests whose client went before the answer.
        responses: by path and status.
    """

    requests: int = 0
    under_way: int = 0
    prompt_tokens: int = 0
    tokens: int = 0
    malformed_calls: int = 0
    missed_calls: int = 0
    dropped: int = 0
    responses: Counter[tuple[str, int]] = field(default_factory=Counter)
    first_token: Histogram = field(default_factory=lambda: Histogram(FIRST_TOKEN_S))
    whole: Histogram = field(default_factory=lambda: Histogram(REQUEST_S))

    def summary(self) -> dict[str, int]:
        """The counters that ``/health`` shows."""
        names = ("requests", "under_way", "tokens", "malformed_calls", "missed_calls", "dropped")
        return {name: getattr(self, name) for name in names}

    def text(self, slots: int) -> str:
        """All of it; ``slots`` is how many choices are generated together."""
        running = min(self.under_way, slots)
        values = [
            ("requests_total", "counter", "requests accepted for generation", self.requests),
            ("choices_running", "gauge", "choices that are generated now", running),
            ("choices_waiting", "gauge", "choices that wait for a slot", self.under_way - running),
            ("prompt_tokens_total", "counter", "tokens of prompts", self.prompt_tokens),
            ("generation_tokens_total", "counter", "tokens generated", self.tokens),
            ("malformed_calls_total", "counter", "calls that could not be read and came as text", self.malformed_calls),
            ("missed_calls_total", "counter", "replies without the call asked for by tool_choice", self.missed_calls),
            ("dropped_requests_total", "counter", "requests whose client went away", self.dropped),
            ("resident_memory_bytes", "gauge", "memory of the process", psutil.Process().memory_info().rss),
        ]
        lines = []
        for name, kind, what, value in values:
            lines += [*_head(name, kind, what), f"{PREFIX}{name} {value}"]
        lines += _head("responses_total", "counter", "HTTP responses by path and status")
        for (path, code), count in sorted(self.responses.items()):
            lines.append(f'{PREFIX}responses_total{{path="{path}",code="{code}"}} {count}')
        lines += _head("time_to_first_token_seconds", "histogram", "from the request to the first token of a stream")
        lines += self.first_token.lines(f"{PREFIX}time_to_first_token_seconds")
        lines += _head("request_seconds", "histogram", "from a request for generation to the end of its answer")
        lines += self.whole.lines(f"{PREFIX}request_seconds")
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str, what: str) -> list[str]:
    return [f"# HELP {PREFIX}{name} {what}", f"# TYPE {PREFIX}{name} {kind}"]
