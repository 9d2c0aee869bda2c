"""The Redis log as processes of the service have it, and the jobs that are in it."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

from sluice.domain.chat import Job
from sluice.domain.events import (
    Done,
    Event,
    Recorded,
    StageCompleted,
)
from sluice.domain.ports import NotifierPort
from sluice.infrastructure.event_log.redis.log import RedisEventLog
from sluice.infrastructure.redis.client import RedisClient
from tests.doubles import a_job

FIRST = StageCompleted("queued", 0)


DONE = Done("A2", "answer")


@asynccontextmanager
async def process(url: str) -> AsyncIterator[RedisEventLog]:
    """A log as one process of the service has it."""
    server = RedisClient.at(url)
    log = RedisEventLog(server)
    yield log
    await log.aclose()
    await server.aclose()


async def begun(log: RedisEventLog) -> tuple[Job, NotifierPort]:
    job = a_job()
    await log.create(job, FIRST)
    return job, await log.begin(job.id)


async def rest(batches: AsyncGenerator[Sequence[Recorded], None]) -> list[Recorded]:
    async with asyncio.timeout(20), aclosing(batches):
        return [recorded async for batch in batches for recorded in batch]


async def publish_until_refused(notifier: NotifierPort, event: Event) -> None:
    """A refusal is told with one of the next events."""
    async with asyncio.timeout(10):
        while True:
            notifier.publish(event)
            await asyncio.sleep(0.01)
