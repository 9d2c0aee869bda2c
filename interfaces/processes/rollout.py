"""What keeps the share up to date while a service runs."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from sluice.domain.errors import Unavailable
from sluice.infrastructure.composition.base import Base

logger = logging.getLogger(__name__)

_LEAVES_WITHIN_SECONDS = 1

Hear = Callable[[Callable[[], None]], Awaitable[None]]
"""Calls what it is given whenever the share may have been changed elsewhere, until cancelled."""


@asynccontextmanager
async def deliveries_kept(container: Base) -> AsyncGenerator[None, None]:
    """What this process's readers are handed is written down, also when it leaves."""
    deliveries = container.deliveries()
    keeping = asyncio.create_task(deliveries.keep(), name="deliveries")
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])
        with suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(_LEAVES_WITHIN_SECONDS):
                await deliveries.flush()


@asynccontextmanager
async def share_kept(container: Base, hear: Hear | None = None) -> AsyncGenerator[None, None]:
    """Nothing is asked where the environment says on or off: that wins over everything, and the
    guard does not act."""
    provider, control = container.flag_provider(), container.control()
    if container.flag().environment.fixed:
        if provider is not None:
            logger.warning("SLUICE_FLAG_PROVIDER is not asked: ENABLE_TOKEN_STREAMING decides")
        yield
        return
    works = [
        control.keep(),
        container.guard().keep(),
        *([] if hear is None else [hear(control.wake)]),
    ]
    keeping = [asyncio.ensure_future(work) for work in works]
    try:
        with suppress(Unavailable):
            await control.known()
        if provider is not None:
            await provider.open()
        yield
    finally:
        if provider is not None:
            provider.close()
        for task in keeping:
            task.cancel()
        await asyncio.wait(keeping)
