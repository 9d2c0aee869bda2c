"""When a job that nobody reads is cancelled: as the places count it, on a clock of their own."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from sluice.domain.chat import Job, JobId, new_id
from sluice.domain.events import CancelReason
from sluice.infrastructure.jobs.redis.orphans import RedisOrphans
from sluice.infrastructure.jobs.redis.places import Places
from sluice.infrastructure.redis.client import RedisClient
from tests.cluster.conftest import BOUNDS, submitted, taken
from tests.doubles import a_job


class Clock:
    """The places' clock of what nobody reads, moved by hand."""

    def __init__(self, server: RedisClient) -> None:
        self.server = server

    async def passes(self, seconds: float) -> float:
        """And not a moment more until the next heartbeat. Returns what it says then."""
        milliseconds = int(seconds * 1000)
        now = await self.server.ask("HINCRBY", "sluice:{jobs}:lived", "for", milliseconds)
        await self.server.ask("HSET", "sluice:{jobs}:lived", "at", 10**13)
        return int(now) / 1000

    async def stands(self, seconds: float) -> None:
        """No heartbeat came for so long."""
        await self.server.ask("HINCRBY", "sluice:{jobs}:lived", "at", int(-seconds * 1000))

    async def read_at(self, job_id: JobId) -> float:
        """-1: never."""
        found = await self.server.ask("ZSCORE", "sluice:{jobs}:read", job_id)
        return -1 if found is None else float(found) / 1000


@pytest.fixture
async def clock(places: Places, redis_url: str) -> AsyncIterator[Clock]:
    server = RedisClient.at(redis_url)
    yield Clock(server)
    await server.aclose()


async def runs(places: Places) -> JobId:
    await submitted(places, job := a_job(chat_id=new_id()))
    (given,) = await places.give(BOUNDS)
    assert await taken(places, given) == ""
    return job.id


async def beaten(places: Places, *jobs: JobId, after: float = 2) -> list[CancelReason | None]:
    """Why they are cancelled."""
    return [*(await places.beat("worker", 2, 60, jobs, after))[1]]


@pytest.mark.parametrize(("after", "patience"), [(0, 3), (0.5, 3), (2, 3), (10, 11)])
async def test_a_job_never_read_is_cancelled_from_its_start(
    places: Places, clock: Clock, after: float, patience: float
) -> None:
    job = await runs(places)
    assert await beaten(places, job, after=after) == [None]
    await clock.passes(patience - 0.5)
    assert await beaten(places, job, after=after) == [None]
    await clock.passes(1)
    assert await beaten(places, job, after=after) == ["orphaned"]


async def test_a_run_that_begins_again_is_no_reader(places: Places, clock: Clock) -> None:
    job = await runs(places)
    await clock.passes(2)
    await places.hand_back(job, "run")
    (given,) = await places.give(BOUNDS)
    await taken(places, given)
    await clock.passes(2)
    assert await beaten(places, job) == ["orphaned"]


async def test_a_job_that_is_read_anywhere_goes_on(places: Places, clock: Clock) -> None:
    job = await runs(places)
    for _ in range(3):
        await places.are_read([a_job().id, job])
        await clock.passes(2)
        assert await beaten(places, job) == [None]
    await clock.passes(2)
    await beaten(places)  # another worker's: any of them may find it
    assert await beaten(places, job, after=60) == ["orphaned"]


async def test_a_job_that_waits_counts_from_its_last_reader_only(
    places: Places, clock: Clock
) -> None:
    running = [await runs(places), await runs(places)]
    never, left = a_job(chat_id="never"), a_job(chat_id="left")
    await submitted(places, never, left)
    await places.are_read([left.id])
    await beaten(places)
    await clock.passes(60)
    await places.are_read(running)
    assert await beaten(places, *running) == [None, None]
    (given,) = await places.give(BOUNDS)
    assert given.job == left.id
    assert await taken(places, given) == "orphaned"


@pytest.mark.parametrize("seconds", [60, -60])
async def test_an_outage_or_a_clock_that_jumps_does_not_count(
    places: Places, clock: Clock, seconds: float
) -> None:
    job = await runs(places)
    await beaten(places)
    await clock.stands(seconds)
    assert await beaten(places, job) == [None]
    await clock.passes(3)
    assert await beaten(places, job) == ["orphaned"]


async def test_a_gateway_tells_of_its_readers_until_the_last_has_left(
    places: Places, clock: Clock
) -> None:
    stays, leaves, brief = a_job(), a_job(), a_job()
    await submitted(places, stays, leaves, brief)
    orphans = RedisOrphans(places)
    for job in (stays, leaves, leaves, brief):
        orphans.joined(job.id)
    for job in (leaves, brief):
        orphans.left(job.id)
    await beaten(places)
    telling = asyncio.create_task(orphans.tell())

    async def told(*jobs: Job) -> None:
        now = await clock.passes(10)
        async with asyncio.timeout(5):
            for job in jobs:
                while await clock.read_at(job.id) < now:  # noqa: ASYNC110 - Redis tells nobody
                    await asyncio.sleep(0.01)

    await told(stays, leaves)
    assert 0 <= await clock.read_at(brief.id) <= 10
    orphans.left(leaves.id)
    await told(stays)
    before = await clock.read_at(leaves.id)
    await told(stays)
    assert await clock.read_at(leaves.id) == before
    telling.cancel()
    await asyncio.wait([telling])


async def test_nothing_is_left_of_who_read_what(places: Places, clock: Clock) -> None:
    jobs = [await runs(places), await runs(places)]
    await places.are_read(jobs)
    for job in jobs:
        await places.finish(job, "run")
        await places.are_read([job])
    await beaten(places, *jobs)
    assert await clock.server.ask("EXISTS", "sluice:{jobs}:read") == 0
