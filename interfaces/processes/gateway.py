"""A gateway: it serves any job, and leaves running them to the workers."""

import logging
from contextlib import AsyncExitStack, suppress

from sluice.domain.errors import Unavailable
from sluice.infrastructure.cluster import joined, queue_of, readers_reported
from sluice.infrastructure.jobs.redis.queue import RedisJobQueue
from sluice.infrastructure.settings import Settings
from sluice.interfaces.processes.embedded import Service

logger = logging.getLogger(__name__)


class Gateway(Service):
    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, None)
        self._queue: RedisJobQueue | None = None

    async def _open(self, stack: AsyncExitStack) -> None:
        cluster = await stack.enter_async_context(joined(self._container))
        self._queue = queue_of(self._container, cluster)
        await stack.enter_async_context(readers_reported(self._container, cluster))
        self._checks = [self._container.log().check, cluster.chats.check, self._queue.check]
        if trouble := await self._ready():
            logger.warning("not ready yet: %s", trouble)

    async def _drain(self) -> None:
        """Streams end at once: the reader goes on at another gateway, where it was."""
        logger.info("leaving: no new jobs, %d streams are open", self._streams.open)
        assert self._queue is not None  # noqa: S101 - it is open
        await self._queue.drain()
        self._container.log().hang_up()

    async def _count(self) -> None:
        """The jobs of all gateways; while Redis is down, what there were."""
        assert self._queue is not None  # noqa: S101 - it is open
        with suppress(Unavailable):
            await self._queue.check()
