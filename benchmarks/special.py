"""What one number of streams cannot show: first tokens, long answers, many readers, stores …"""

import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.cluster import redis_server
from benchmarks.harness import Bench, Cell
from benchmarks.mix import MEMORY, PACE_S, Step, mix, rate, slots
from benchmarks.overload import half, overload
from benchmarks.processes import Process, call, python
from benchmarks.results import Results
from benchmarks.servers import DIRECT, NAIVE, PASSTHROUGH, PROXY, SERVERS, SLUICE, Running

A2 = MEMORY
KIB = 1024


def idle(bench: Bench, results: Results) -> list[Step]:
    """One user at a time: how long the whole round takes to the first token."""
    servers = (DIRECT, PROXY, PASSTHROUGH, NAIVE, A2, SLUICE)
    cell = Cell(streams=1, pace=0, tokens=2, rounds=200, window_s=5, ramp_s=0)

    def measure(name: str) -> None:
        if running := bench.server(SERVERS[name]):
            before = running.cpu_s()
            came = bench.load(running, cell).came()
            took = running.cpu_s() - before
            results.add(f"round_cpu_ms {name}", took * 1000 / cell.rounds)
            results.add(f"round_ms {name}", came["round_ms"]["p50"])
            results.add(f"round_p99_ms {name}", came["round_ms"]["p99"])

    names = [server.name for server in servers] * 2
    return [Step(f"first token when idle: {name}", partial(measure, name)) for name in names]


def long(bench: Bench, results: Results) -> list[Step]:
    """The same tokens in answers of 500 and of 8,000: whole jobs, from the first request on."""

    def measure(tokens: int) -> None:
        if not (running := bench.server(A2)):
            return
        rounds = 1 if tokens == 8000 else 8
        cell = Cell(streams=5, pace=0.001, tokens=tokens, rounds=rounds, window_s=12, ramp_s=0)
        before = running.cpu_s()
        came = bench.load(running, cell).came()
        took = running.cpu_s() - before
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


def store(bench: Bench, results: Results) -> list[Step]:
    """The log by itself, writer and reader together: what is left of it is the store's cost."""

    def measure() -> None:
        with tempfile.TemporaryDirectory() as folder:
            redis, url = redis_server(bench.cpus[1], Path(folder))
            try:
                argv = python("benchmarks.store", "--seconds", "3", "--redis", url)
                said = json.loads(Process(argv, bench.cpus[0]).output(60))
            finally:
                redis.stop()
        for name, cpu_us in said["cpu_us"].items():
            results.add(f"store_cpu_us {name}", cpu_us)

    return [Step("the log by itself, in each store", measure)]


def memory(bench: Bench, results: Results) -> list[Step]:
    """Growth of a fresh server's proportional set per silent open stream, and per idle reader."""
    streams, idle_readers = 300, 500

    def grown(running: Running, cell: Cell) -> float:
        """KiB of each stream of the cell."""
        before = running.process.memory()
        load = bench.load(running, cell)
        load.sample()
        growth = running.process.memory() - before
        bench.finish()
        load.came()
        return growth / cell.streams / KIB

    def stream(name: str) -> None:
        with bench.fresh(SERVERS[name]) as running:
            bench.measure(running, Cell(streams=20, window_s=0.5))
            silent = Cell(streams=streams, pace=-1, window_s=0.5)
            results.add(f"stream_kib {name}", grown(running, silent))

    def reader() -> None:
        with bench.fresh(A2) as running:
            bench.measure(running, Cell(streams=20, window_s=0.5))
            bench.control(-1, 0)
            cell = Cell(streams=idle_readers, pace=-1, urls=(_job(running),), window_s=0.5)
            results.add("reader_kib", grown(running, cell))

    def kept() -> None:
        said = json.loads(Process(python("benchmarks.store", "--kept"), bench.cpus[0]).output(60))
        results.add("kept_kib", said["kept_kib"])

    names = (PROXY.name, PASSTHROUGH.name, NAIVE.name, A2.name)
    steps = [Step(f"memory per silent stream: {name}", partial(stream, name)) for name in names]
    one = [Step("memory per idle reader", reader), Step("memory of a token that is kept", kept)]
    return steps + one


def startup(bench: Bench, results: Results) -> list[Step]:
    def ready() -> None:
        began = time.monotonic()
        with bench.fresh(A2):
            results.add("ready_s", time.monotonic() - began)

    def helped() -> None:
        began = time.monotonic()
        Process(python("sluice.interfaces.cli", "--help"), bench.cpus[0]).output(10)
        results.add("help_s", time.monotonic() - began)

    serve = [Step("sluice serve, until ready", ready)] * 3
    return [*serve, *[Step("sluice --help", helped)] * 5]


SCENARIOS: dict[str, Callable[[Bench, Results], list[Step]]] = {
    "mix": mix,
    "slots": slots,
    "rate": rate,
    "idle": idle,
    "readers": readers,
    "replay": replay,
    "memory": memory,
    "startup": startup,
}
ALONE: dict[str, Callable[[Bench, Results], list[Step]]] = {
    "half": half,
    "overload": overload,
    "long": long,
    "store": store,
}
"""Run when asked for by name only."""
