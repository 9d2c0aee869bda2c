"""What a gateway and a worker open, and close, alike."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

from sluice.infrastructure.composition.cluster import Cluster
from sluice.infrastructure.telemetry.tracing import traced


@asynccontextmanager
async def joined(container: Cluster) -> AsyncGenerator[None, None]:
    """Redis and PostgreSQL may be down now, and later. Raises WrongSetting."""
    async with AsyncExitStack() as stack:
        stack.enter_context(traced())
        postgres, redis, log = container.postgres(), container.redis(), container.log()
        stack.push_async_callback(redis.aclose)
        await postgres.open()
        stack.push_async_callback(postgres.aclose)
        await log.open()
        stack.push_async_callback(log.aclose)
        yield
