"""The embedded service: one process that serves, runs jobs and keeps them."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from sluice.domain.chat import Job
from sluice.domain.errors import Unavailable
from sluice.infrastructure.composition.embedded import Embedded
from sluice.infrastructure.composition.starting import build_every_path, instrumented
from sluice.infrastructure.settings import Settings, WrongSetting
from sluice.infrastructure.sqlite.checkpoints import SqliteCheckpoints
from sluice.infrastructure.sqlite.database import SqliteDatabase
from sluice.infrastructure.telemetry.loop_watch import watched_loop
from sluice.infrastructure.telemetry.tracing import traced
from sluice.interfaces.processes.forgetting import forgotten_in_time
from sluice.interfaces.processes.http_service import Check, HttpService
from sluice.interfaces.processes.rollout import deliveries_kept, share_kept

logger = logging.getLogger(__name__)


@asynccontextmanager
async def embedded(
    settings: Settings, offline_url: str | None
) -> AsyncGenerator[HttpService, None]:
    """Raises WrongSetting for a graph, a folder or a store that cannot be used."""
    async with AsyncExitStack() as stack:
        stack.enter_context(traced())
        container, chats_check = await _opened(settings, offline_url, stack)
        log, queue = container.log(), container.queue()
        await log.open()
        stack.push_async_callback(log.aclose)
        stack.push_async_callback(container.completions().aclose)
        stack.push_async_callback(container.shadow().aclose)
        await _resume(container)

        async def drain() -> None:
            """Streams stay while their job runs, within the grace; then each ends properly."""
            await asyncio.gather(container.shadow().aclose(), queue.drain(settings.shutdown_grace))

        await stack.enter_async_context(deliveries_kept(container))
        await stack.enter_async_context(forgotten_in_time(container))
        await stack.enter_async_context(share_kept(container))
        watch = stack.enter_context(watched_loop())
        checks = [log.check, *chats_check]
        yield HttpService(container, watch, queue, drain=drain, checks=checks)


async def _opened(
    settings: Settings, offline_url: str | None, stack: AsyncExitStack
) -> tuple[Embedded, Sequence[Check]]:
    """Its databases are open; the checks are of the one that has the chats, if it is another's."""
    if settings.database is None:
        container = Embedded(settings=settings, offline_url=offline_url)
        await stack.enter_async_context(instrumented(container))
        build_every_path(container)
        await _open(container.database(), stack)
        state = container.state_file()
        if state.exists or container.wrapped_graph().saver is not None:
            await _open(state, stack)
        await container.forget_threads()()
        return container, []
    from sluice.infrastructure.composition.embedded_postgres import EmbeddedPostgres

    shared = EmbeddedPostgres(settings=settings, offline_url=offline_url)
    await stack.enter_async_context(instrumented(shared))
    build_every_path(shared)
    await _open(shared.database(), stack)
    postgres = shared.postgres()
    await postgres.open()
    stack.push_async_callback(postgres.aclose)
    return shared, [postgres.check]


async def _open(database: SqliteDatabase | SqliteCheckpoints, stack: AsyncExitStack) -> None:
    try:
        await database.open()
    except ValueError as error:
        raise WrongSetting(f"SLUICE_STORE: {error}") from error
    stack.push_async_callback(database.aclose)


async def _resume(container: Embedded) -> None:
    """What was running when the service last stopped goes on."""
    unfinished: Sequence[Job]
    try:
        unfinished = await container.log().unfinished()
    except Unavailable as error:
        raise WrongSetting(f"SLUICE_STORE: {error}") from error
    container.queue().take_up(unfinished)
    for job in unfinished:
        logger.info("job %s goes on where it was left", job.id)
        container.readers().submitted(job.id)
