"""Plain counts of what happened, for whoever wants to know; nothing here is per token."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class JobMetrics:
    """`ended` by path and status, `errors` by code; `lag` is the most events that one reader
    found waiting for it since somebody last asked."""

    ended: Counter[tuple[str, str]] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    lag: int = 0

    def behind(self, events: int) -> None:
        self.lag = max(self.lag, events)

    def take_lag(self) -> int:
        lag, self.lag = self.lag, 0
        return lag
