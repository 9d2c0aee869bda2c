"""What each process of the distributed mode costs: one gateway, one worker, Redis, PostgreSQL.

    python -m benchmarks.fleet [--rounds 3]

Each load is a row: jobs, tokens and copies (tokens times readers), and the CPU time of every
process. `python -m benchmarks.growth` makes a model of them. An existing PostgreSQL is used if
SLUICE_DATABASE names one, else initdb makes one.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.cluster import Fleet
from benchmarks.harness import Bench, Cell
from benchmarks.harness import Load as Client
from benchmarks.processes import call, machine
from benchmarks.servers import SERVERS
from benchmarks.stamp import now_us

PACE_S = 0.02
JOBS = 20
ANSWER = 200
"""Tokens of a job that is measured whole."""


@dataclass(frozen=True, slots=True)
class Moment:
    at_s: float
    sent: int
    cpu_s: dict[str, float]
    waited_s: dict[str, float]

    @classmethod
    def at(cls, when_us: int, bench: Bench, fleet: Fleet) -> "Moment":
        """Waits for it, if it is to come."""
        time.sleep(max(0, when_us - now_us()) / 1e6)
        return cls(
            time.monotonic(),
            call(bench.upstream.port, "/stats")["sent"],
            {name: process.cpu_s() for name, process in fleet.processes.items()},
            {name: process.waited_s() for name, process in fleet.processes.items()},
        )


def row(says: str, begin: Moment, end: Moment, jobs: int, copies: int) -> dict[str, Any]:
    seconds = end.at_s - begin.at_s
    return {
        "says": says,
        "seconds": seconds,
        "jobs": jobs,
        "tokens": end.sent - begin.sent,
        "copies": copies,
        "cpu_us": {name: (end.cpu_s[name] - begin.cpu_s[name]) * 1e6 for name in end.cpu_s},
        "waited": {
            name: (end.waited_s[name] - begin.waited_s[name]) / seconds for name in end.waited_s
        },
    }


def streams(bench: Bench, fleet: Fleet, count: int) -> dict[str, Any]:
    """In the middle of answers: no job begins or ends."""
    load = bench.load(fleet, Cell(streams=count))
    return _window(bench, fleet, load, f"{count} streams")


def readers(bench: Bench, fleet: Fleet, each: int) -> dict[str, Any]:
    """Of twenty jobs: one alone would mostly cost its wake-ups."""
    bench.control(PACE_S, 0)
    urls = tuple(_job(fleet.port) for _ in range(JOBS))
    cell = Cell(streams=JOBS * each, urls=urls, ramp_s=0.5)
    return _window(bench, fleet, bench.load(fleet, cell), f"{JOBS} streams of {each} readers")


def nothing(bench: Bench, fleet: Fleet) -> dict[str, Any]:
    begin = Moment.at(0, bench, fleet)
    return row("nothing", begin, Moment.at(now_us() + 2_000_000, bench, fleet), 0, 0)


def _window(bench: Bench, fleet: Fleet, load: Client, says: str) -> dict[str, Any]:
    begin, end = (Moment.at(edge, bench, fleet) for edge in load.window)
    bench.finish()
    copies = load.came()["tokens"]
    bench.settle(fleet)
    return row(says, begin, end, 0, copies)


def _job(port: int) -> str:
    chat = call(port, "/api/v1/chat", {})["id"]
    url: str = call(port, f"/api/v1/chat/{chat}/messages", {"message": "?"})["stream_url"]
    return url


def whole(bench: Bench, fleet: Fleet, tokens: int, rounds: int, pace: float) -> dict[str, Any]:
    """Jobs from the first request to the last frame."""
    lanes = 10
    seconds = rounds * (tokens * pace + 0.5)
    cell = Cell(streams=lanes, pace=pace, tokens=tokens, rounds=rounds, window_s=seconds, ramp_s=0)
    begin = Moment.at(0, bench, fleet)
    came = bench.load(fleet, cell).came()
    return row(
        f"jobs of {tokens} tokens",
        begin,
        Moment.at(0, bench, fleet),
        lanes * rounds,
        came["tokens_total"],
    )


def memory(bench: Bench, fleet: Fleet) -> dict[str, float]:
    """Bytes: proportional sets of processes that have served before, and what Redis says."""
    count, idle_readers = 100, 500
    at_rest = {name: process.memory() for name, process in fleet.processes.items()}
    with _held(bench, fleet, Cell(streams=count, window_s=4)):
        live = {name: process.memory() for name, process in fleet.processes.items()}
    figures = {
        "gateway_job": (live["gateway"] - at_rest["gateway"]) / count,
        "worker_job": (live["worker"] - at_rest["worker"]) / count,
    }
    bench.control(-1, 0)
    url, before = _job(fleet.port), fleet.process.memory()
    with _held(bench, fleet, Cell(streams=idle_readers, urls=(url,), window_s=0.5)):
        figures["gateway_reader"] = (fleet.process.memory() - before) / idle_readers
    kept = fleet.redis_bytes()
    written = whole(bench, fleet, ANSWER, 2, PACE_S)["tokens"]
    return figures | {"redis_token": (fleet.redis_bytes() - kept) / written}


@contextmanager
def _held(bench: Bench, fleet: Fleet, cell: Cell) -> Iterator[None]:
    load = bench.load(fleet, cell)
    time.sleep(max(0, load.window[1] - now_us()) / 1e6)
    yield
    bench.finish()
    load.came()
    bench.settle(fleet)


LOADS: tuple[Callable[[Bench, Fleet], dict[str, Any]], ...] = (
    nothing,
    *(lambda bench, fleet, n=n: streams(bench, fleet, n) for n in (20, 50, 100)),
    *(lambda bench, fleet, n=n: readers(bench, fleet, n) for n in (5, 10)),
    lambda bench, fleet: whole(bench, fleet, 2, 5, 0),
    lambda bench, fleet: whole(bench, fleet, ANSWER, 1, PACE_S),
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    about, bench = machine(), Bench(())
    loads, figures = [], list[dict[str, float]]()
    try:
        for _ in range(options.rounds):
            fleet = Fleet(SERVERS["a2-redis"], bench.upstream, bench.cpus)
            try:
                whole(bench, fleet, 2, 2, 0)
                figures.append(memory(bench, fleet))
                for load in LOADS:
                    loads.append(load(bench, fleet))
                    print(json.dumps(loads[-1]), file=sys.stderr, flush=True)
            finally:
                fleet.stop()
    finally:
        bench.close()
    middle = {name: median(found[name] for found in figures) for name in figures[0]}
    said = {"machine": about, "loads": loads, "figures": middle}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "fleet.json").write_text(json.dumps(said, indent=1) + "\n")


if __name__ == "__main__":
    main()
