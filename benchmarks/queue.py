"""What the distributed queue costs: from submission to a run's begin, and what it asks of Redis.

    python -m benchmarks.queue --redis redis://127.0.0.1:6379/9

One gateway's queue and two workers of eight slots, in one process, with a log in memory and runs
that do nothing: so only the queue is measured. The database that is named is emptied.
"""

import argparse
import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from statistics import quantiles

from redis.asyncio import Redis

from sluice.application.ports import Stop
from sluice.application.scheduling import Bounds
from sluice.domain.chat import Job, new_id
from sluice.domain.errors import Unavailable
from sluice.domain.events import QUEUED
from sluice.infrastructure.event_log.memory import MemoryEventLog
from sluice.infrastructure.jobs.redis.queue import RedisJobQueue
from sluice.infrastructure.jobs.redis.scheduler import RedisScheduler
from sluice.infrastructure.jobs.redis.worker import JobWorker
from sluice.infrastructure.redis.client import RedisClient

BOUNDS = Bounds(running=8, queued=10_000, user_running=None, user_queued=None)


class Fleet:
    """`begun` has the time, in seconds, from each job's submission to its begin."""

    def __init__(self, queue: RedisJobQueue, log: MemoryEventLog) -> None:
        self.queue, self._log = queue, log
        self._submitted: dict[str, float] = {}
        self.begun: list[float] = []

    async def run(self, job: Job, stop: Stop, after: int | None = None, returns: int = 0) -> None:
        self.begun.append(time.perf_counter() - self._submitted[job.id])

    async def submit(self) -> None:
        job = Job(new_id(), new_id(), "user", "A2", "why", "request")
        self._submitted[job.id] = time.perf_counter()
        await self.queue.submit(job, lambda: self._log.create(job, QUEUED))

    async def drained(self, count: int) -> None:
        while len(self.begun) < count or self.queue.running or self.queue.queued:
            await self.queue.check()
            await asyncio.sleep(0.01)


@asynccontextmanager
async def fleet(url: str) -> AsyncGenerator[Fleet, None]:
    async with AsyncExitStack() as stack:
        log = MemoryEventLog()
        servers = [RedisClient.at(url) for _ in range(3)]
        for server in servers:
            stack.push_async_callback(server.aclose)
        fleet = Fleet(RedisJobQueue(RedisScheduler(servers[0]), BOUNDS), log)
        for server in servers[1:]:
            worker = JobWorker(RedisScheduler(server), log, fleet.run, BOUNDS)
            running = asyncio.create_task(worker.run())
            stack.push_async_callback(asyncio.wait, [running])
            stack.push_async_callback(worker.drain, 0)
        while True:
            with suppress(Unavailable):
                await fleet.queue.check()
                break
            await asyncio.sleep(0.01)
        await asyncio.sleep(1)  # both are there
        yield fleet


async def asked_of(url: str, seconds: float, quiet: asyncio.Event) -> int:
    """How many commands clients send until `quiet`, or for so many seconds."""
    count = 0
    async with Redis.from_url(url) as admin, admin.monitor() as monitor:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                async for command in monitor.listen():
                    count += command["client_type"] != "lua"
                    if quiet.is_set():
                        break
    return count


async def measure(url: str, rate: float, seconds: float, burst: int) -> dict[str, float]:
    async with Redis.from_url(url) as admin:
        await admin.flushdb()
    async with fleet(url) as one:
        idle = await asked_of(url, 5, asyncio.Event()) / 5
        for _ in range(int(rate * seconds)):
            await one.submit()
            await asyncio.sleep(1 / rate)
        await one.drained(int(rate * seconds))
        cuts = quantiles(one.begun, n=100)
        paced = {"begin_p50_ms": cuts[49] * 1000, "begin_p99_ms": cuts[98] * 1000}
        quiet, began = asyncio.Event(), time.perf_counter()
        counting = asyncio.create_task(asked_of(url, 60, quiet))
        await asyncio.sleep(0.2)
        for _ in range(50):
            done = len(one.begun)
            await one.submit()
            while len(one.begun) == done:  # noqa: ASYNC110 - a plain list tells nobody
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.05)
        quiet.set()
        counted = await counting - idle * (time.perf_counter() - began)
        one.begun.clear()
        began = time.perf_counter()
        await asyncio.gather(*(one.submit() for _ in range(burst)))
        await one.drained(burst)
        rest = {"commands_a_job": counted / 50, "idle_commands_per_s": idle}
        rest["burst_jobs_per_s"] = burst / (time.perf_counter() - began)
        return {name: round(value, 2) for name, value in (paced | rest).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--redis", required=True)
    parser.add_argument("--rate", type=float, default=20)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--burst", type=int, default=500)
    given = parser.parse_args()
    print(json.dumps(asyncio.run(measure(given.redis, given.rate, given.seconds, given.burst))))


if __name__ == "__main__":
    main()
