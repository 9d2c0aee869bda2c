"""The loads every server gets, server after server at each load, so that ratios share a moment."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks.harness import Bench, Cell
from benchmarks.results import Results
from benchmarks.servers import (
    CLIENT,
    DIRECT,
    NAIVE,
    PASSTHROUGH,
    PROXY,
    REFERENCE,
    SERVERS,
    SLUICES,
    Server,
)

STREAMS = (1, 20, 50, 100, 200, 500, 1000)
KEY_STREAMS = 50
KEY_ROUNDS = 3
PACE_S = 0.02


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do, and what the progress bar says while it is done."""

    says: str
    run: Callable[[], object]


def matrix(bench: Bench, results: Results) -> list[Step]:
    """The rig by itself, A1's client and the reference reader are of interest at few loads."""
    servers = (PROXY, PASSTHROUGH, NAIVE, *SLUICES)
    cells = [(streams, pace) for streams in STREAMS for pace in (PACE_S, 0.0)]
    once = (DIRECT, CLIENT, REFERENCE)
    floor = _steps(bench, results, once, [(KEY_STREAMS, PACE_S)], KEY_ROUNDS)
    floor += _steps(bench, results, (REFERENCE,), [(200, PACE_S), (500, PACE_S)], 1)
    return floor + _steps(bench, results, servers, cells, KEY_ROUNDS)


def quick_matrix(bench: Bench, results: Results) -> list[Step]:
    names = ("proxy", "passthrough", "client", "naive", "a2-memory", "a1-memory")
    cells = [(KEY_STREAMS, PACE_S), (200, PACE_S), (KEY_STREAMS, 0.0)]
    return _steps(bench, results, [SERVERS[name] for name in names], cells, 1)


def _steps(
    bench: Bench,
    results: Results,
    servers: Sequence[Server],
    cells: Sequence[tuple[int, float]],
    key_rounds: int,
) -> list[Step]:
    servers = [server for server in servers if bench.chosen(server)]
    steps = [Step(f"start {server.says}", partial(bench.server, server)) for server in servers]
    for streams, pace in cells:
        cell = cell_of(streams, pace)
        rounds = key_rounds if (streams, pace) == (KEY_STREAMS, PACE_S) else 1
        says = f"{streams} streams, {'paced' if pace else 'unpaced'}"
        for _ in range(rounds):
            steps += [
                Step(f"{says}: {server.says}", partial(_measure, bench, results, server, cell))
                for server in servers
            ]
    return steps


def cell_of(streams: int, pace: float) -> Cell:
    if pace:
        return Cell(streams=streams, pace=pace)
    ramp_s = streams / 500
    return Cell(streams=streams, pace=0, tokens=1000, ramp_s=ramp_s, window_s=1, drain_s=1)


def _measure(bench: Bench, results: Results, server: Server, cell: Cell) -> None:
    if running := bench.server(server):
        results.rows.append(bench.measure(running, cell))
