"""A gateway: it serves any job, and leaves running them to the workers.

How it leaves, after SIGTERM: `UvicornServer.handle_exit` starts `HttpService._drain`, which lets no
new job in (`queue.drain`, at most 4 s) and ends native streams with a `retry` and cuts the others
(`log.hang_up`): their readers go on at another gateway. Then uvicorn closes its connections,
`joined` closes the log, PostgreSQL and Redis, and the process ends with status 0, in time by
`ExitDeadline`.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

from sluice.domain.errors import Unavailable
from sluice.infrastructure.composition.gateway import Gateway
from sluice.infrastructure.settings import Settings
from sluice.infrastructure.telemetry.loop_watch import watched_loop
from sluice.interfaces.processes.cluster import joined
from sluice.interfaces.processes.forgetting import forgotten_in_time
from sluice.interfaces.processes.http_service import HttpService
from sluice.interfaces.processes.rollout import deliveries_kept, share_kept

logger = logging.getLogger(__name__)


@asynccontextmanager
async def gateway(settings: Settings) -> AsyncGenerator[HttpService, None]:
    """Raises WrongSetting."""
    container = Gateway(settings=settings)
    async with (
        joined(container),
        deliveries_kept(container),
        forgotten_in_time(container),
        readers_reported(container),
        share_heard(container),
    ):
        queue, log = container.queue(), container.log()

        async def count() -> None:
            """The jobs of all gateways; while Redis is down, what there were."""
            with suppress(Unavailable):
                await queue.check()

        with watched_loop() as watch:
            service = HttpService(
                container,
                watch,
                queue,
                drain=queue.drain,  # readers go on at another gateway, where they were
                checks=[log.check, container.postgres().check, queue.check],
                count=count,
            )
            if trouble := await service.trouble():
                logger.warning("not ready yet: %s", trouble)
            yield service
            if not settings.offline:  # it has asked a model for front ends' side calls
                await container.completions().aclose()


def share_heard(container: Gateway) -> AbstractAsyncContextManager[None]:
    """A share that is set at another gateway is in force here at once."""
    return share_kept(container, container.share_news().hear)


@asynccontextmanager
async def readers_reported(container: Gateway) -> AsyncGenerator[None, None]:
    """What nobody reads, at any gateway, is for the workers to cancel."""
    if container.settings().orphaned_after is None:
        yield
        return
    reporting = asyncio.create_task(container.redis_readers().report(), name="readers")
    try:
        yield
    finally:
        reporting.cancel()
        await asyncio.wait([reporting])
