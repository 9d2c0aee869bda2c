"""One upstream, the servers beside each other, and one measured load at a time."""

import json
import os
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.client import Plan
from benchmarks.cluster import started
from benchmarks.processes import (
    Process,
    StartError,
    before_others,
    call,
    core_s,
    python,
    spinner,
    two_cpus,
)
from benchmarks.results import Row
from benchmarks.servers import Running, Server
from benchmarks.stamp import now_us

CLIENT_START_US = 400_000
SETTLE_US = 500_000
OPENED_PER_S = 150
"""A stream takes a server some 6 ms of CPU to open, which is not what a token costs."""
IDLE_SHARE = 0.05
SATURATED = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One load on one server. `pace` in seconds, 0 unpaced; `tokens` 0: until the window ends.

    `drain_s`: how long streams may still deliver after the upstream has ended. `mixed`: answers
    of lengths and at times as in life, see `fake_model`; those that are open first are under way.
    """

    streams: int
    pace: float = 0.02
    tokens: int = 0
    window_s: float = 2.0
    drain_s: float = 1.5
    mixed: bool = False
    rounds: int = 0
    urls: tuple[str, ...] = ()
    timed: bool = True
    ramp_s: float | None = None


WARM_UP = Cell(streams=10, pace=0, tokens=50, rounds=2, window_s=0.25, ramp_s=0)


class Bench:
    """Keeps servers alive between loads, so that theirs can be interleaved."""

    def __init__(self, chosen: Collection[str]) -> None:
        self._names = chosen
        self.cpus = two_cpus()
        if self.cpus[1] is not None:
            os.sched_setaffinity(0, {self.cpus[1]})
        self._spinners = [spinner(cpu) for cpu in self.cpus if cpu is not None]
        self.upstream = Process(python("benchmarks.upstream"), self.cpus[1]).read_port()
        self.refused: dict[str, str] = {}
        self._running: dict[str, Running] = {}

    def chosen(self, server: Server) -> bool:
        return server.name in self._names

    def server(self, server: Server) -> Running | None:
        """The running server, started at its first use; None if not chosen or it won't start."""
        if not self.chosen(server):
            return None
        if server.name not in self._running and server.name not in self.refused:
            try:
                running = started(server, self.upstream, self.cpus)
            except StartError as error:
                self.refused[server.name] = str(error)
            else:
                self._running[server.name] = running
                self.load(running, WARM_UP).came()
        return self._running.get(server.name)

    @contextmanager
    def fresh(self, server: Server) -> Iterator[Running]:
        """A server of its own for measurements that earlier loads would spoil."""
        running = started(server, self.upstream, self.cpus)
        try:
            yield running
        finally:
            running.stop()

    def control(self, pace: float, tokens: int, *, mixed: bool = False, begun: int = 0) -> None:
        given = {"pace": pace, "tokens": tokens, "mixed": mixed, "begun": begun}
        call(self.upstream.port, "/control", given)

    def others_s(self, running: Running) -> float:
        """Seconds so far in which others than the server had its core."""
        cpu = self.cpus[0]
        if cpu is None:
            return 0.0
        return core_s(cpu) - self._spinners[0].cpu_s() - running.cpu_s()

    def finish(self) -> None:
        call(self.upstream.port, "/finish", {})

    def load(self, running: Running, cell: Cell) -> "Load":
        self.control(cell.pace, cell.tokens, mixed=cell.mixed, begun=cell.streams)
        return Load(self, running, cell)

    def measure(self, running: Running, cell: Cell) -> Row:
        """Runs the load to its end and leaves the server idle, restarted if it takes that."""
        with before_others(self.upstream, *running.processes.values()):
            load = self.load(running, cell)
            load.sample()
            self.finish()
            row = load.row(load.came())
        self.settle(running)
        return row

    def settle(self, running: Running) -> None:
        self.control(0, 1)
        call(self.upstream.port, "/abort", {})
        deadline = time.monotonic() + 1.5
        while time.monotonic() < deadline:
            before = running.cpu_s()
            time.sleep(0.1)
            if running.cpu_s() - before < IDLE_SHARE * 0.1:
                return
        if self._running.pop(running.server.name, None):
            running.stop()

    def close(self) -> None:
        for running in self._running.values():
            running.stop()
        for process in (self.upstream, *self._spinners):
            process.stop()


class Load:
    """A client at work: begun at once, its window measured by `sample`, read by `came`."""

    def __init__(self, bench: Bench, running: Running, cell: Cell) -> None:
        self._bench, self._running, self._cell = bench, running, cell
        ramp_s = cell.streams / OPENED_PER_S if cell.ramp_s is None else cell.ramp_s
        begin = now_us() + CLIENT_START_US
        start = begin + int(ramp_s * 1e6) + (SETTLE_US if ramp_s else 0)
        self.window = (start, start + int(cell.window_s * 1e6))
        self.plan = Plan(
            port=running.port,
            dialect=running.server.dialect,
            path="" if cell.urls else running.server.path,
            streams=cell.streams,
            begin_us=begin,
            ramp_us=int(ramp_s * 1e6),
            window=self.window,
            stop_us=self.window[1],
            deadline_us=self.window[1] + int(cell.drain_s * 1e6),
            rounds=cell.rounds,
            urls=cell.urls,
            timed=cell.timed,
        )
        argv = python("benchmarks.client", json.dumps(asdict(self.plan)))
        self._client = Process(argv, bench.cpus[1])
        self._samples: list[dict[str, float]] = []

    def sample(self) -> None:
        """Waits for the window's begin and end, and reads every clock at both."""
        for at in self.window:
            time.sleep(max(0, at - now_us()) / 1e6)
            redis = self._running.redis
            self._samples.append(
                {
                    "at_s": now_us() / 1e6,
                    "server": self._running.cpu_s(),
                    "waited": self._running.waited_s(),
                    "others": self._bench.others_s(self._running),
                    "upstream": self._bench.upstream.cpu_s(),
                    "client": self._client.cpu_s(),
                    "redis": redis.cpu_s() if redis else 0.0,
                    "sent": call(self._bench.upstream.port, "/stats")["sent"],
                }
            )

    def came(self) -> dict[str, Any]:
        """What the client says at its end."""
        left = (self.plan.deadline_us - now_us()) / 1e6
        said: dict[str, Any] = json.loads(self._client.output(left + 10))
        return said

    def row(self, came: dict[str, Any]) -> Row:
        begin, end = self._samples
        took = {name: end[name] - begin[name] for name in begin}
        return describe(self._running.server, self._cell, took, came)


def describe(server: Server, cell: Cell, took: dict[str, float], came: dict[str, Any]) -> Row:
    """One row of the table.

    A paced A1 delivers nothing in the window: there a token is one that the upstream sent, which
    a saturated server need not have read.
    """
    delivered, sent, seconds = came["tokens"], took["sent"], took["at_s"]
    busy = took["server"] / seconds
    # A thread of its own that waits for another is not disturbed.
    waited = max(0.0, min(took["waited"], took["others"]))
    counted = delivered
    if server.whole and cell.pace:
        counted = sent if busy < SATURATED else 0

    def each(value: float, tokens: float) -> float | None:
        return value / tokens if tokens else None

    return Row(
        server=server.name,
        streams=cell.streams,
        pace_ms=cell.pace * 1000,
        mixed=cell.mixed,
        tokens_s=each(counted, seconds) or None,
        sent_s=sent / seconds,
        cpu_us=each(took["server"] * 1e6, counted),
        redis_us=each(took["redis"] * 1e6, counted) or None,
        busy=busy,
        waited=waited / seconds,
        rig_busy=(took["upstream"] + took["client"] + took["redis"]) / seconds,
        wire_bytes=each(came["wire_bytes"], delivered),
        content_bytes=each(came["content_bytes"], delivered),
        lag_p50_ms=came["lag_ms"]["p50"],
        lag_p99_ms=came["lag_ms"]["p99"],
        lag_max_ms=came["lag_ms"]["max"],
        first_p50_ms=came["first_ms"]["p50"],
        fairness=came["fairness"],
        least=came["least"],
        outcomes=came["outcomes"],
        gaps=came["gaps"],
        repeats=came["repeats"],
    )
