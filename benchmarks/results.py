"""What a run found: a row per measured load, and single figures by name."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.stats import middle, ratio

DISTURBED = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One load on one server; `mixed`: as in life, see `benchmarks.mix`.

    `tokens_s` is what arrived, or for a paced A1 what was sent upstream.

    `cpu_us` is the server's per token, `redis_us` its Redis's besides. `busy` and `rig_busy` are
    shares of one CPU: at 1.0 the server is saturated, or the load generator is. `waited`: the
    share of the time in which the server was kept from its CPU by other processes.
    """

    server: str
    streams: int
    pace_ms: float
    mixed: bool
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


Read = Callable[[Row], float | None]


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

    def rounds(self, server: str, streams: int, *, mixed: bool = True) -> list[Row]:
        """In their order: the nth of each server were measured beside each other."""
        return [
            row
            for row in self.rows
            if (row.server, row.streams, row.mixed) == (server, streams, mixed) and row.pace_ms
        ]

    def at(self, server: str, streams: int, read: Read, *, mixed: bool = True) -> float | None:
        """The median of the undisturbed rounds: the others prove nothing."""
        rows = self.rounds(server, streams, mixed=mixed)
        return middle([read(row) for row in rows if not row.disturbed])

    def ratios(self, above: str, below: str, streams: int, *, mixed: bool = True) -> list[float]:
        """Of CPU per token, round by round."""
        pairs = zip(
            self.rounds(above, streams, mixed=mixed),
            self.rounds(below, streams, mixed=mixed),
            strict=False,
        )
        found = [ratio(a.cpu_us, b.cpu_us) for a, b in pairs if not a.disturbed | b.disturbed]
        return [each for each in found if each is not None]

    def as_json(self) -> dict[str, Any]:
        return {"rows": [asdict(row) for row in self.rows], "figures": dict(self.samples)}
