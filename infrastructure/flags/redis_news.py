"""Gateways tell each other over Redis that the share was changed; what it is, the store says."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import NoReturn

from sluice.application.background import survives
from sluice.domain.errors import Unavailable
from sluice.infrastructure.redis.client import RedisClient

_CHANNEL = "sluice:share"
_RETRY_SECONDS = 1.0
_ANNOUNCE_SECONDS = 0.5
"""An operator does not wait longer: the others look at the store every second."""


class RedisShareNews:
    """Without Redis a change only takes until the next look at the store."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis

    async def announce(self) -> None:
        """Raises Unavailable, sooner than a Redis that hangs is given up elsewhere."""
        try:
            async with asyncio.timeout(_ANNOUNCE_SECONDS):
                await self._redis.ask("PUBLISH", _CHANNEL, "")
        except TimeoutError:
            raise Unavailable("Redis hangs") from None

    async def hear(self, wake: Callable[[], None]) -> NoReturn:
        """Until it is cancelled. `wake` is also called whenever news may have been missed."""
        while True:
            await survives(self._heard(wake), "hearing of changes of the share")
            await asyncio.sleep(_RETRY_SECONDS)

    async def _heard(self, wake: Callable[[], None]) -> None:
        async with aclosing(self._redis.listen(_CHANNEL)) as messages:
            async for _ in messages:
                wake()
