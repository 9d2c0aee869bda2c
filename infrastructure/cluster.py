"""The distributed service: which adapters stand behind the ports instead of the embedded ones.

Imported only where it is used: its libraries are an extra.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sluice.infrastructure.chats.postgres import PostgresConversations
from sluice.infrastructure.container import Container, bounds_of
from sluice.infrastructure.event_log.redis.log import RedisEventLog
from sluice.infrastructure.jobs.redis.queue import RedisJobQueue
from sluice.infrastructure.jobs.redis.readers import RedisReaders
from sluice.infrastructure.jobs.redis.scheduler import RedisScheduler
from sluice.infrastructure.jobs.redis.worker import JobWorker
from sluice.infrastructure.postgres.database import Database
from sluice.infrastructure.redis.client import RedisClient
from sluice.infrastructure.settings import WrongSetting


@dataclass(frozen=True, slots=True)
class Cluster:
    """What every process of the service shares with the others."""

    server: RedisClient
    chats: Database
    scheduler: RedisScheduler


@asynccontextmanager
async def chats_in_postgres(container: Container, url: str) -> AsyncGenerator[Database, None]:
    database = Database(url)
    container.conversations.override(PostgresConversations(database))
    await database.open()
    try:
        yield database
    finally:
        await database.aclose()


@asynccontextmanager
async def joined(container: Container) -> AsyncGenerator[Cluster, None]:
    """Redis and PostgreSQL may be down now, and later."""
    settings = container.settings()
    try:
        server = RedisClient.at(settings.store)
    except (TypeError, ValueError) as error:
        raise WrongSetting("SLUICE_STORE: names an option that Redis's client has not") from error
    log = RedisEventLog(server, retention=settings.retention)
    container.log.override(log)
    async with chats_in_postgres(container, str(settings.database)) as chats:
        await log.open()
        try:
            yield Cluster(server, chats, RedisScheduler(server))
        finally:
            await log.aclose()
            await server.aclose()


def queue_of(container: Container, cluster: Cluster) -> RedisJobQueue:
    """A gateway's."""
    settings = container.settings()
    queue = RedisJobQueue(cluster.scheduler, bounds_of(settings), when_busy=settings.when_busy)
    container.queue.override(queue)
    return queue


@asynccontextmanager
async def readers_reported(container: Container, cluster: Cluster) -> AsyncGenerator[None, None]:
    """A gateway's: what nobody reads, at any of them, is for the workers to cancel."""
    if container.settings().orphaned_after is None:
        yield
        return
    readers = RedisReaders(cluster.scheduler)
    container.readers.override(readers)
    reporting = asyncio.create_task(readers.report(), name="readers")
    try:
        yield
    finally:
        reporting.cancel()
        await asyncio.wait([reporting])


def worker_of(container: Container, cluster: Cluster) -> JobWorker:
    settings = container.settings()
    return JobWorker(
        cluster.scheduler,
        container.log(),
        container.run(),
        bounds_of(settings),
        unread_s=settings.orphaned_after,
    )
