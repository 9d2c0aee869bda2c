"""What a run found: a row per measured load, and single figures by name."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.stats import middle

DISTURBED = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One load on one server. `tokens_s` is what arrived, or for a paced A1 what was sent upstream.

    `cpu_us` is the server's per token, `redis_us` its Redis's besides. `busy` and `rig_busy` are
    shares of one CPU: at 1.0 the server is saturated, or the load generator is. `waited`: the
    share of the time in which the server was kept from its CPU by other processes.
    """

    server: str
    streams: int
    pace_ms: float
    tokens_s: float | None
    sent_s: float
    cpu_us: float | None
    redis_us: float | None
    busy: float
    waited: float
    rig_busy: float
    wire_bytes: float | None
    content_bytes: float | None
    lag_p50_ms: float
    lag_p99_ms: float
    lag_max_ms: float
    first_p50_ms: float
    fairness: float
    least: int
    outcomes: dict[str, int]
    gaps: int
    repeats: int

    @property
    def disturbed(self) -> bool:
        return self.waited > DISTURBED


@dataclass(slots=True)
class Results:
    rows: list[Row] = field(default_factory=list)
    samples: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, figure: str, value: float | None) -> None:
        if value is not None:
            self.samples[figure].append(value)

    def figure(self, name: str) -> float | None:
        """The median over the rounds of this run."""
        return middle(self.samples.get(name, []))

    def at(
        self, server: str, streams: int, read: Callable[[Row], float | None], pace_ms: float = 20
    ) -> float | None:
        found = [row for row in self._of(server, pace_ms) if row.streams == streams]
        return middle([read(row) for row in found])

    def sure(self, server: str, streams: int, read: Callable[[Row], float | None]) -> float | None:
        """As `at`, paced, from undisturbed rounds alone: the only ones that prove a goal."""
        return self.at(server, streams, lambda row: None if row.disturbed else read(row))

    def cpu(self, server: str, streams: int = 50) -> float | None:
        return self.sure(server, streams, lambda row: row.cpu_us)

    def peak(self, server: str, pace_ms: float = 20) -> float | None:
        """Most tokens per second at any number of streams, undisturbed."""
        rows = [row for row in self._of(server, pace_ms) if not row.disturbed]
        return max((row.tokens_s or 0 for row in rows), default=None)

    def _of(self, server: str, pace_ms: float) -> list[Row]:
        return [row for row in self.rows if row.server == server and row.pace_ms == pace_ms]

    def as_json(self) -> dict[str, Any]:
        return {"rows": [asdict(row) for row in self.rows], "figures": dict(self.samples)}
