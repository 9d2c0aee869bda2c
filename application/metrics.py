"""Plain counts of what happened, for whoever wants to know; nothing here is per token."""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from sluice.application.keep_end import status_of
from sluice.application.relay import Relay
from sluice.domain.chat import Job, now
from sluice.domain.events import Done, Failed, Terminal

FIRST_CHARACTER = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30)
ANSWER = (0.5, 1, 2, 3, 5, 10, 20, 30, 60, 120, 300, 600)
LONGEST_GAP = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
"""Upper bounds in seconds: where they lie close, the difference is one that a user feels."""


class Histogram:
    """`counts` of each bucket by itself, the last one without a bound; `total` is their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts, self.total = [0] * (len(bounds) + 1), 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds


def _by_path(bounds: Sequence[float]) -> defaultdict[str, Histogram]:
    return defaultdict(lambda: Histogram(bounds))


@dataclass(slots=True, eq=False)
class JobMetrics:
    """`ended` by path and status, `errors` by code; `lag` is the most events that one reader
    found waiting for it since somebody last asked.

    By path are the seconds from admission until the first token was published, until a reader was
    handed the first character, and until the whole answer was there; the longest gap between two
    tokens that were handed over; and how many jobs' readers left before that, or fell back. What a
    human takes who is asked is in none of them.
    """

    ended: Counter[tuple[str, str]] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    lag: int = 0
    first_token: defaultdict[str, Histogram] = field(
        default_factory=lambda: _by_path(FIRST_CHARACTER)
    )
    first_character: defaultdict[str, Histogram] = field(
        default_factory=lambda: _by_path(FIRST_CHARACTER)
    )
    answer: defaultdict[str, Histogram] = field(default_factory=lambda: _by_path(ANSWER))
    longest_gap: defaultdict[str, Histogram] = field(default_factory=lambda: _by_path(LONGEST_GAP))
    left_early: Counter[str] = field(default_factory=Counter)
    fallbacks: int = 0
    tokens: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By path and kind: `input` and `output` as the upstream says, and `thrown_away` pieces."""
    shadows: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By the shadow's path and what came of it. They are in no other figure."""
    shadows_skipped: Counter[str] = field(default_factory=Counter)
    shadow_tokens: int = 0

    def behind(self, events: int) -> None:
        self.lag = max(self.lag, events)

    def take_lag(self) -> int:
        lag, self.lag = self.lag, 0
        return lag


def count_end(metrics: JobMetrics, job: Job, relay: Relay, end: Terminal) -> None:
    """Of a job that this process has run."""
    path = job.path
    metrics.ended[path, status_of(end)] += 1
    metrics.fallbacks += relay.fallen_back
    thrown_away = relay.thrown_away
    if isinstance(end, Failed):
        metrics.errors[end.code] += 1
    if isinstance(end, Done):
        if not relay.waited:
            metrics.answer[path].add((now() - job.created_at).total_seconds())
        if end.usage is not None:
            metrics.tokens[path, "input"] += end.usage.input_tokens
            metrics.tokens[path, "output"] += end.usage.output_tokens
    else:
        thrown_away += relay.tokens
    if thrown_away:
        metrics.tokens[path, "thrown_away"] += thrown_away
    if relay.first_token_at is not None and not relay.waited:
        metrics.first_token[path].add((relay.first_token_at - job.created_at).total_seconds())
