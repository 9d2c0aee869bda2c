"""The load as in life, every server beside the others in each round, and how much of it is borne.

A stream is a user who asks, reads the answer to its end, and asks anew. Answers are lognormal
(median 150 tokens, mean 225), the first token takes 300 ms, and tokens come as a Poisson process,
50 a second. The old load, `slots`, is endless answers whose tokens share ticks of a millisecond.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks.fake_model import FIRST_S, MEAN
from benchmarks.harness import Bench, Cell
from benchmarks.results import Results, Row
from benchmarks.servers import (
    CHATOPENAI,
    NAIVE,
    NAIVE_AGENT,
    PASSTHROUGH,
    PROXY,
    SERVERS,
    SLUICE,
    USERS,
    Server,
)

PACE_S = 0.02
FULL, LIGHT = 50, 25
"""Streams: at the first the baselines are saturated, at the second they are not."""
ROUNDS, WINDOW_S = 3, 5
LAG_MS = 10
STEP = 1.1
LADDER = tuple(sorted({round(8 * STEP**n) for n in range(44)}))
"""Streams of the rates that are tried, up to some 22,000 tokens a second."""
RATE_WINDOW_S = 4
FULLY_BUSY = 0.9
"""Of its core: from there on a server is late by what it has to do."""
MEMORY = SERVERS["a2-memory"]
STORES = (MEMORY, SERVERS["a2-redis"])
BESIDE = (PROXY, PASSTHROUGH, NAIVE, SLUICE)
MIX = {
    FULL: (*BESIDE, *STORES, *USERS, NAIVE_AGENT, SERVERS["a1-sqlite"]),
    LIGHT: (*BESIDE, CHATOPENAI, SERVERS["a1-sqlite"]),
}
QUICK = {FULL: (*BESIDE, CHATOPENAI, USERS[-1], NAIVE_AGENT, SERVERS["a1-sqlite"])}
RATED = (SLUICE, CHATOPENAI, PASSTHROUGH, NAIVE, PROXY)
"""The last says where the rig itself ends."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do, and what the progress bar says while it is done."""

    says: str
    run: Callable[[], object]


def offered(streams: int) -> float:
    """Tokens a second of so many users, if no server took time."""
    return streams * MEAN / (FIRST_S + MEAN * PACE_S)


def mix(bench: Bench, results: Results) -> list[Step]:
    return [
        step
        for streams, servers in MIX.items()
        for step in _rounds(bench, results, servers, life(streams, WINDOW_S), ROUNDS)
    ]


def quick_mix(bench: Bench, results: Results) -> list[Step]:
    return _rounds(bench, results, QUICK[FULL], life(FULL, 2), 1)


def life(streams: int, window_s: float) -> Cell:
    return Cell(streams=streams, pace=PACE_S, mixed=True, window_s=window_s)


def slots(bench: Bench, results: Results) -> list[Step]:
    """At several loads for one process: `benchmarks.growth` fits its model to them."""
    at_full = _rounds(bench, results, (*BESIDE, MEMORY), Cell(streams=FULL, pace=PACE_S), 2)
    return at_full + [
        step
        for streams in (20, 100, 200)
        for step in _rounds(bench, results, (SLUICE, MEMORY), Cell(streams=streams, pace=PACE_S), 1)
    ]


def _rounds(
    bench: Bench, results: Results, servers: Sequence[Server], cell: Cell, rounds: int
) -> list[Step]:
    def measure(server: Server) -> None:
        if running := bench.server(server):
            results.rows.append(bench.measure(running, cell))

    says = f"{cell.streams} streams {'as in life' if cell.mixed else 'in slots'}"
    servers = [server for server in servers if bench.chosen(server)]
    start = [Step(f"start {server.says}", partial(bench.server, server)) for server in servers]
    return start + [
        Step(f"{says}: {server.says}", partial(measure, server))
        for _ in range(rounds)
        for server in servers
    ]


def rate(bench: Bench, results: Results) -> list[Step]:
    """The largest rate whose lag p99 is at most 10 ms, in steps of 10 %."""
    return [
        Step(f"largest rate: {server.says}", partial(_search, bench, results, server))
        for server in RATED
        if bench.chosen(server)
    ]


def quick_rate(bench: Bench, results: Results) -> list[Step]:
    return rate(bench, results)[:1]


def _search(bench: Bench, results: Results, server: Server) -> None:
    best: Row | None = None
    first, last = 0, len(LADDER)
    while first < last:
        at = (first + last) // 2
        if row := _held(bench, server, LADDER[at]):
            best, first = row, at + 1
        else:
            last = at
    if best is not None:
        results.add(f"rate {server.name}", best.sent_s)
        results.add(f"rate_streams {server.name}", best.streams)
        results.add(f"rate_lag_ms {server.name}", best.lag_p99_ms)
        results.add(f"rate_busy {server.name}", best.busy)
        results.add(f"rate_rig {server.name}", best.rig_busy)


def _held(bench: Bench, server: Server, streams: int) -> Row | None:
    """At most thrice, where its core had time left: then it was not the rate that made it late."""
    for _ in range(3):
        if not (running := bench.server(server)):
            return None
        row = bench.measure(running, life(streams, RATE_WINDOW_S))
        if holds(row):
            return row
        if row.busy > FULLY_BUSY and not row.disturbed:
            break
    return None


def holds(row: Row) -> bool:
    """In time, and nothing left behind."""
    kept_up = (row.tokens_s or 0) >= 0.98 * row.sent_s
    return not row.disturbed and kept_up and 0 < row.lag_p99_ms <= LAG_MS
