"""A delivery whose worker was frozen goes to another one, and stays there."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from redis.asyncio import Redis
from streaq import Worker
from streaq.constants import REDIS_GROUP
from streaq.types import StreamMessage

from sluice.infrastructure.jobs.redis import deliveries
from sluice.infrastructure.jobs.redis.deliveries import Deliveries, Lease
from sluice.infrastructure.jobs.redis.places import Given
from tests.services import RedisServer
from tests.waiting import until

STREAM = b"streaq:{jobs}:queues:normal"
GIVEN = Given("job", 1)


class Taking:
    """What one worker took; each run lasts until it is told that it is `over`."""

    def __init__(self, url: str) -> None:
        self.took, self.over = asyncio.Event(), asyncio.Event()
        self.deliveries = Deliveries(url, 1, self._run)

    async def _run(self, given: Given, lease: Lease) -> None:
        assert given == GIVEN
        self.lease = lease
        self.took.set()
        await self.over.wait()

    async def finish(self) -> None:
        self.over.set()
        await until(lambda: not self.deliveries._held)


@asynccontextmanager
async def taking(url: str) -> AsyncIterator[Taking]:
    worker = Taking(url)
    running = asyncio.create_task(worker.deliveries.run_async())
    await until(lambda: worker.deliveries.accepts)
    yield worker
    worker.over.set()
    running.cancel()
    await asyncio.wait([running])


async def test_a_worker_that_wakes_up_completes_nothing_that_another_one_holds(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "LEASE", 0.5)
    monkeypatch.setattr(deliveries, "_BEAT", 0.05)
    async with taking(redis_url) as frozen, Redis.from_url(redis_url) as admin:
        await frozen.deliveries.put(GIVEN)
        await frozen.took.wait()
        monkeypatch.setattr(frozen.deliveries, "_renew", asyncio.Event().wait)
        async with taking(redis_url) as other:
            await other.took.wait()
            await frozen.finish()
            (pending,) = await admin.xpending_range(STREAM, REDIS_GROUP, "-", "+", 2)
            assert pending["consumer"] == other.deliveries.id.encode()
            await other.finish()
            assert await admin.keys("streaq:*") == [STREAM]
            assert await admin.xlen(STREAM) == 0


async def test_a_worker_that_wakes_up_asks_before_it_goes_on(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "LEASE", 0.5)
    monkeypatch.setattr(deliveries, "_BEAT", 60)  # the frozen one renews nothing
    async with taking(redis_url) as frozen:
        await frozen.deliveries.put(GIVEN)
        await frozen.took.wait()
        assert await frozen.lease.held()
        monkeypatch.setattr(deliveries, "_BEAT", 0.05)
        async with taking(redis_url) as other:
            await other.took.wait()
            assert await other.lease.held()
            assert not await frozen.lease.held()


@pytest.mark.filterwarnings("ignore:Unclosed <MemoryObject:ResourceWarning")
async def test_a_redis_that_stays_away_for_several_tries_is_waited_for(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "_PAUSE", 0.05)
    tries, prepare = 0, Deliveries._prepare

    async def counted(worker: Deliveries) -> None:
        nonlocal tries
        tries += 1
        await prepare(worker)

    monkeypatch.setattr(Deliveries, "_prepare", counted)
    async with taking(own_redis.url) as worker, asyncio.timeout(20):
        own_redis.stop()
        await until(lambda: tries >= 3)
        own_redis.start()  # empty: it knows neither functions nor groups
        while not worker.took.is_set():
            with suppress(OSError):
                await worker.deliveries.put(GIVEN)
            await asyncio.sleep(0.1)
    gc.collect()  # the client's failed connections leave their streams open


async def test_a_delivery_that_hangs_before_it_begins_is_left_to_another_worker(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "LEASE", 0.5)
    monkeypatch.setattr(deliveries, "_BEAT", 0.05)
    hangs, run = asyncio.Event(), Worker.run_task

    async def hang(worker: Worker[None], message: StreamMessage) -> None:
        if hangs.is_set():
            await run(worker, message)
            return
        hangs.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(Worker, "run_task", hang)
    async with taking(redis_url) as hanging:
        await hanging.deliveries.put(GIVEN)
        await hangs.wait()
        async with taking(redis_url) as other, asyncio.timeout(10):
            taken = [asyncio.create_task(each.took.wait()) for each in (hanging, other)]
            await asyncio.wait(taken, return_when=asyncio.FIRST_COMPLETED)


async def test_a_run_may_last_longer_than_its_beginning(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "LEASE", 0.5)
    monkeypatch.setattr(deliveries, "_BEAT", 0.05)
    async with taking(redis_url) as worker:
        await worker.deliveries.put(GIVEN)
        await worker.took.wait()
        await asyncio.sleep(1)
        assert worker.deliveries._held
        assert await worker.lease.held()
