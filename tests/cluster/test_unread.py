"""When a job that nobody reads is cancelled: as the scheduler counts, on a clock of its own."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from sluice.domain.chat import Job, JobId, new_id
from sluice.infrastructure.jobs.redis.readers import RedisReaders
from sluice.infrastructure.jobs.redis.scheduler import Held, RedisScheduler
from sluice.infrastructure.redis.client import RedisClient
from tests.cluster.conftest import claimed, finished, submitted
from tests.doubles import a_job


class Clock:
    """The scheduler's clock, moved by hand."""

    def __init__(self, server: RedisClient) -> None:
        self.server = server

    async def passes(self, seconds: float) -> float:
        """And not a moment more until the next heartbeat. Returns what it says then."""
        milliseconds = int(seconds * 1000)
        now = await self.server.ask("HINCRBY", "sluice:{jobs}:clock", "ms", milliseconds)
        await self.server.ask("HSET", "sluice:{jobs}:clock", "at", 10**13)
        return int(now) / 1000

    async def stands(self, seconds: float) -> None:
        """No heartbeat came for so long."""
        await self.server.ask("HINCRBY", "sluice:{jobs}:clock", "at", int(-seconds * 1000))

    async def read_at(self, job_id: JobId) -> float:
        """-1: never."""
        found = await self.server.ask("ZSCORE", "sluice:{jobs}:read", job_id)
        return -1 if found is None else float(found) / 1000


@pytest.fixture
async def clock(scheduler: RedisScheduler, redis_url: str) -> AsyncIterator[Clock]:
    server = RedisClient.at(redis_url)
    yield Clock(server)
    await server.aclose()


async def runs(scheduler: RedisScheduler) -> JobId:
    await submitted(scheduler, job := a_job(chat_id=new_id()))
    assert await claimed(scheduler, f"of {job.id}") == [(job.id, None, 0)]
    return job.id


async def beaten(
    scheduler: RedisScheduler, *jobs: JobId, after: float = 2, claim: str = "of {}"
) -> list[str | None]:
    """Why they are cancelled."""
    held = [Held(job, claim.format(job)) for job in jobs]
    return [*(await scheduler.beat("worker", 2, 3600, held, after)).told]


@pytest.mark.parametrize(("after", "patience"), [(0, 3), (0.5, 3), (2, 3), (10, 11)])
async def test_a_job_never_read_is_cancelled_from_its_start(
    scheduler: RedisScheduler, clock: Clock, after: float, patience: float
) -> None:
    job = await runs(scheduler)
    assert await beaten(scheduler, job, after=after) == [None]
    await clock.passes(patience - 0.5)
    assert await beaten(scheduler, job, after=after) == [None]
    await clock.passes(1)
    assert await beaten(scheduler, job, after=after) == ["orphaned"]


async def test_a_run_that_begins_again_is_no_reader(
    scheduler: RedisScheduler, clock: Clock
) -> None:
    job = await runs(scheduler)
    await clock.passes(2)
    await scheduler.release(Held(job, f"of {job}"))
    assert await claimed(scheduler, "again") == [(job, None, 0)]
    await clock.passes(2)
    assert await beaten(scheduler, job, claim="again") == ["orphaned"]


async def test_a_job_that_is_read_anywhere_goes_on(scheduler: RedisScheduler, clock: Clock) -> None:
    job = await runs(scheduler)
    for _ in range(3):
        await scheduler.are_read([a_job().id, job])
        await clock.passes(2)
        assert await beaten(scheduler, job) == [None]
    await clock.passes(2)
    await beaten(scheduler)  # another worker's: any of them may find it
    assert await beaten(scheduler, job, after=60) == ["orphaned"]


async def test_a_job_that_waits_counts_from_its_last_reader_only(
    scheduler: RedisScheduler, clock: Clock
) -> None:
    running = [await runs(scheduler), await runs(scheduler)]
    never, left = a_job(chat_id="never"), a_job(chat_id="left")
    await submitted(scheduler, never, left)
    await scheduler.are_read([left.id])
    await beaten(scheduler)
    await clock.passes(60)
    await scheduler.are_read(running)
    assert await beaten(scheduler, *running) == [None, None]
    assert await claimed(scheduler) == [(left.id, "orphaned", 0)]


@pytest.mark.parametrize("seconds", [60, -60])
async def test_an_outage_or_a_clock_that_jumps_does_not_count(
    scheduler: RedisScheduler, clock: Clock, seconds: float
) -> None:
    job = await runs(scheduler)
    await beaten(scheduler)
    await clock.stands(seconds)
    assert await beaten(scheduler, job) == [None]
    await clock.passes(3)
    assert await beaten(scheduler, job) == ["orphaned"]


async def test_a_gateway_tells_of_its_readers_until_the_last_has_left(
    scheduler: RedisScheduler, clock: Clock
) -> None:
    stays, leaves, brief = a_job(), a_job(), a_job()
    await submitted(scheduler, stays, leaves, brief)
    readers = RedisReaders(scheduler)
    for job in (stays, leaves, leaves, brief):
        readers.joined(job.id)
    for job in (leaves, brief):
        readers.left(job.id)
    await beaten(scheduler)
    telling = asyncio.create_task(readers.report())

    async def told(*jobs: Job) -> None:
        now = await clock.passes(10)
        async with asyncio.timeout(5):
            for job in jobs:
                while await clock.read_at(job.id) < now:  # noqa: ASYNC110 - Redis tells nobody
                    await asyncio.sleep(0.01)

    await told(stays, leaves)
    assert 0 <= await clock.read_at(brief.id) <= 10
    readers.left(leaves.id)
    await told(stays)
    before = await clock.read_at(leaves.id)
    await told(stays)
    assert await clock.read_at(leaves.id) == before
    telling.cancel()
    await asyncio.wait([telling])


async def test_nothing_is_left_of_who_read_what(scheduler: RedisScheduler, clock: Clock) -> None:
    jobs = [await runs(scheduler), await runs(scheduler)]
    await scheduler.are_read(jobs)
    for job in jobs:
        await finished(scheduler, job, f"of {job}")
        await scheduler.are_read([job])
    await beaten(scheduler, *jobs)
    assert await clock.server.ask("EXISTS", "sluice:{jobs}:read") == 0
