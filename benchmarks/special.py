"""What one number of streams cannot show: first tokens, overload, long answers, many readers …"""

import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise

from benchmarks.harness import Bench, Cell
from benchmarks.matrix import PACE_S, Step
from benchmarks.processes import Process, call, python
from benchmarks.results import Results
from benchmarks.servers import DIRECT, NAIVE, PASSTHROUGH, PROXY, SERVERS, Running
from benchmarks.stamp import now_us

A2 = SERVERS["a2-memory"]
NORMAL_LAG_MS = 10
KIB = 1024
OVERLOAD_STREAMS = 1000


def idle(bench: Bench, results: Results) -> list[Step]:
    """One user at a time: how long the whole round takes to the first token."""
    servers = (DIRECT, PROXY, PASSTHROUGH, NAIVE, A2, SERVERS["a2-sqlite"])
    cell = Cell(streams=1, pace=0, tokens=2, rounds=20, window_s=1.5, ramp_s=0)

    def measure(name: str) -> None:
        if running := bench.server(SERVERS[name]):
            before = running.process.cpu_s()
            came = bench.load(running, cell).came()
            took = running.process.cpu_s() - before
            results.add(f"round_cpu_ms {name}", took * 1000 / cell.rounds)
            results.add(f"round_ms {name}", came["round_ms"]["p50"])
            results.add(f"round_p99_ms {name}", came["round_ms"]["p99"])

    names = [server.name for server in servers] * 3
    return [Step(f"first token when idle: {name}", partial(measure, name)) for name in names]


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
    """Five times what was delivered at most, then drained to the last token, then half load.

    The streams are open before their first token: what is judged is the load, not its arrival.
    """

    def measure() -> None:
        if not (running := bench.server(A2)):
            return
        peak = _peak(bench, results, running)
        cell = Cell(streams=OVERLOAD_STREAMS, pace=-1, ramp_s=12, window_s=3, drain_s=30)
        before = call(bench.upstream.port, "/stats")["sent"]
        load = bench.load(running, cell)
        time.sleep((load.window[0] - now_us()) / 1e6)
        results.add("overload_open", call(bench.upstream.port, "/stats")["open"])
        bench.control(OVERLOAD_STREAMS / (5 * peak), 0)
        load.sample()
        bench.finish()
        ended = now_us()
        came = load.came()
        drained = now_us()
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
        results.add("overload_broken", OVERLOAD_STREAMS - came["outcomes"].get("ended", 0))
        results.add("overload_fairness", row.fairness)
        results.add("overload_drain_s", (drained - ended) / 1e6)
        results.add("overload_recovery_s", _recovery(bench, running, peak, drained))

    return [Step("overload and recovery", measure)]


def _peak(bench: Bench, results: Results, running: Running) -> float:
    """Most tokens per second it delivers; from the matrix, if that was run."""
    if peak := results.figure("peak") or results.peak(A2.name):
        return peak
    peak = max(bench.measure(running, Cell(streams=n)).tokens_s or 0 for n in (200, 500))
    results.add("peak", peak)
    return peak


def _recovery(bench: Bench, running: Running, peak: float, since_us: int) -> float:
    """Seconds from `since_us` until half load is served as usual for half a second.

    If that was not seen, the seconds it was looked for.
    """
    cell = Cell(streams=round(peak * PACE_S / 2), window_s=2.5, ramp_s=0.1)
    load = bench.load(running, cell)
    load.sample()
    bench.finish()
    timeline = load.came()["timeline"]
    bench.settle(running)
    normal = (
        float(first["s"])
        for first, second in pairwise(timeline)
        if max(first["lag_p99_ms"], second["lag_p99_ms"]) <= NORMAL_LAG_MS
    )
    return (load.window[0] - since_us) / 1e6 + next(normal, cell.window_s)


def long(bench: Bench, results: Results) -> list[Step]:
    """The same tokens in answers of 500 and of 8,000: whole jobs, from the first request on."""

    def measure(tokens: int) -> None:
        if not (running := bench.server(A2)):
            return
        rounds = 1 if tokens == 8000 else 8
        cell = Cell(streams=5, pace=0.001, tokens=tokens, rounds=rounds, window_s=12, ramp_s=0)
        before = running.process.cpu_s()
        came = bench.load(running, cell).came()
        took = running.process.cpu_s() - before
        results.add(f"long_cpu_us {tokens}", took * 1e6 / came["tokens_total"])
        results.add(f"long_bytes {tokens}", came["wire_bytes"] / came["tokens_total"])

    return [
        Step(f"answers of {tokens} tokens", partial(measure, tokens)) for tokens in (500, 8000, 500)
    ]


def readers(bench: Bench, results: Results) -> list[Step]:
    """One job read by one and by a hundred: what each further reader costs per token."""

    def measure(count: int) -> None:
        if running := bench.server(A2):
            bench.control(PACE_S, 0)
            cell = Cell(streams=count, urls=(_job(running),), ramp_s=0.2)
            row = bench.measure(running, cell)
            if row.cpu_us is not None:
                results.add(f"readers_cpu_us {count}", row.cpu_us * count)

    counts = (1, 100) * 2
    return [Step(f"{count} readers of one job", partial(measure, count)) for count in counts]


def _job(running: Running) -> str:
    chat = call(running.port, "/api/v1/chat", {})["id"]
    url: str = call(running.port, f"/api/v1/chat/{chat}/messages", {"message": "?"})["stream_url"]
    return url


def replay(bench: Bench, results: Results) -> list[Step]:
    def measure(name: str) -> None:
        if not (running := bench.server(SERVERS[name])):
            return
        written = Cell(streams=5, pace=0, tokens=8000, rounds=4, window_s=0.25, drain_s=20)
        urls = tuple(bench.load(running, written).came()["urls"])
        row = bench.measure(running, Cell(streams=5, urls=urls, timed=False, ramp_s=0))
        results.add(f"replay_tokens_s {name}", row.tokens_s)

    names = ("a2-memory", "a2-sqlite")
    return [Step(f"replay of finished jobs: {name}", partial(measure, name)) for name in names]


def memory(bench: Bench, results: Results) -> list[Step]:
    """Growth of a fresh server's proportional set per open stream, and per idle reader.

    A stream is measured when some 100 tokens of its answer have been read, under the load of
    fifty streams at the usual pace.
    """
    streams, idle_readers = 100, 500
    cell = Cell(streams=streams, pace=2 * PACE_S, ramp_s=1, window_s=4)

    def stream(name: str) -> None:
        with bench.fresh(SERVERS[name]) as running:
            bench.measure(running, Cell(streams=20, window_s=0.5))
            before = running.process.memory()
            load = bench.load(running, cell)
            load.sample()
            grown = running.process.memory() - before
            results.add(f"stream_kib {name}", grown / streams / KIB)
            bench.finish()
            load.came()

    def reader() -> None:
        with bench.fresh(A2) as running:
            bench.measure(running, Cell(streams=20, window_s=0.5))
            bench.control(-1, 0)
            url = _job(running)
            before = running.process.memory()
            load = bench.load(running, Cell(streams=idle_readers, urls=(url,), window_s=0.5))
            load.sample()
            grown = running.process.memory() - before
            results.add("reader_kib", grown / idle_readers / KIB)
            bench.finish()
            load.came()

    names = (PROXY.name, PASSTHROUGH.name, NAIVE.name, A2.name)
    steps = [Step(f"memory per open stream: {name}", partial(stream, name)) for name in names]
    return [*steps, Step("memory per idle reader", reader)]


def startup(bench: Bench, results: Results) -> list[Step]:
    def ready() -> None:
        began = time.monotonic()
        with bench.fresh(A2):
            results.add("ready_s", time.monotonic() - began)

    def helped() -> None:
        began = time.monotonic()
        Process(python("interfaces.cli", "--help"), bench.cpus[0]).output(10)
        results.add("help_s", time.monotonic() - began)

    serve = [Step("sluice serve, until ready", ready)] * 3
    return [*serve, *[Step("sluice --help", helped)] * 5]


SPECIAL: dict[str, Callable[[Bench, Results], list[Step]]] = {
    "idle": idle,
    "half": half,
    "overload": overload,
    "long": long,
    "readers": readers,
    "replay": replay,
    "memory": memory,
    "startup": startup,
}
