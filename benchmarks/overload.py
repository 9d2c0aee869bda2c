"""Half of what the service can do, five times of it, and the way back."""

import time
from collections.abc import Mapping, Sequence
from itertools import pairwise

from benchmarks.harness import Bench, Cell
from benchmarks.mix import MEMORY, PACE_S, Step
from benchmarks.processes import call
from benchmarks.results import Results
from benchmarks.servers import Running
from benchmarks.stamp import now_us

A2 = MEMORY
NORMAL_LAG_MS = 10
STREAMS = 1000
EASED_S = 4


def half(bench: Bench, results: Results) -> list[Step]:
    def measure() -> None:
        if running := bench.server(A2):
            streams = round(_peak(bench, results, running) * PACE_S / 2)
            row = bench.measure(running, Cell(streams=streams, window_s=4))
            results.add("half_streams", streams)
            results.add("half_waited", row.waited)
            if row.disturbed:
                return
            results.add("half_lag_p50_ms", row.lag_p50_ms)
            results.add("half_lag_p99_ms", row.lag_p99_ms)

    return [Step("half load", measure)]


def overload(bench: Bench, results: Results) -> list[Step]:
    """Five times what was delivered at most, then half of it in the same streams.

    They are open before their first token: what is judged is the load, not its arrival.
    """

    def measure() -> None:
        if not (running := bench.server(A2)):
            return
        peak = _peak(bench, results, running)
        cell = Cell(streams=STREAMS, pace=-1, ramp_s=8, window_s=3, drain_s=30)
        half_load = STREAMS / (peak / 2)
        before = call(bench.upstream.port, "/stats")["sent"]
        load = bench.load(running, cell)
        time.sleep((load.window[0] - now_us()) / 1e6)
        results.add("overload_open", call(bench.upstream.port, "/stats")["open"])
        bench.control(STREAMS / (5 * peak), 0)
        load.sample()
        bench.control(half_load, 0)
        eased_s = (now_us() - load.window[1]) / 1e6
        time.sleep(EASED_S)
        bench.finish()
        came = load.came()
        row = load.row(came)
        sent = call(bench.upstream.port, "/stats")["sent"] - before
        results.add("overload_times", row.sent_s / peak)
        results.add("overload_waited", row.waited)
        if not row.disturbed:
            results.add("overload_share", (row.tokens_s or 0) / peak)
            results.add("overload_least", row.least)
        results.add("overload_lost", sent - came["tokens_total"])
        for outcome, count in came["outcomes"].items():
            results.add(f"overload: {outcome}", count)
        results.add("overload_broken", STREAMS - came["outcomes"].get("ended", 0))
        results.add("overload_fairness", row.fairness)
        results.add("overload_recovery_s", _recovery(came["timeline"], cell.window_s + eased_s))

    return [Step("overload and recovery", measure)]


def _peak(bench: Bench, results: Results, running: Running) -> float:
    """Most tokens per second it delivers."""
    if peak := results.figure("peak"):
        return peak
    peak = max(bench.measure(running, Cell(streams=n)).tokens_s or 0 for n in (200, 500))
    results.add("peak", peak)
    return peak


def _recovery(timeline: Sequence[Mapping[str, float]], since_s: float) -> float:
    """Seconds until what the overload left is delivered, and half load as usual for half a second.

    If that was not seen, the seconds it was looked for.
    """
    normal = (
        first["s"] - since_s
        for first, second in pairwise(timeline)
        if first["s"] >= since_s and max(first["lag_p99_ms"], second["lag_p99_ms"]) <= NORMAL_LAG_MS
    )
    return next(normal, EASED_S)
