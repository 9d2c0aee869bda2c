"""Users' own clients in Sluice beside what a user writes first, on a load as in life."""

from functools import partial

from benchmarks.harness import Bench, Cell
from benchmarks.matrix import PACE_S, Step
from benchmarks.results import Results
from benchmarks.servers import NAIVE, PASSTHROUGH, PROXY, SERVERS, USERS

STREAMS = (25, 50)
"""The first leaves the pass-through room to breathe, the second does not."""
ROUNDS = 5
WINDOW_S = 6


def users(bench: Bench, results: Results) -> list[Step]:
    """All servers in every round, each figure under `mixed_cpu_us SERVER STREAMS`.

    Rounds in which others took the server's CPU are left out.
    """
    servers = [PROXY, PASSTHROUGH, NAIVE, SERVERS["a2-memory"], *USERS]
    servers = [server for server in servers if bench.chosen(server)]

    def measure(name: str, streams: int) -> None:
        if not (running := bench.server(SERVERS[name])):
            return
        cell = Cell(streams=streams, pace=PACE_S, mixed=True, window_s=WINDOW_S)
        row = bench.measure(running, cell)
        if not row.disturbed:
            results.add(f"mixed_cpu_us {name} {streams}", row.cpu_us)
            results.add(f"mixed_tokens_s {name} {streams}", row.tokens_s)
            results.add(f"mixed_lag_p99_ms {name} {streams}", row.lag_p99_ms)

    return [
        Step(f"{streams} streams as in life: {server.says}", partial(measure, server.name, streams))
        for streams in STREAMS
        for _ in range(ROUNDS)
        for server in servers
    ]
