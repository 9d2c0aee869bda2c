"""What is forgotten while a service runs."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from sluice.infrastructure.composition.base import Base


@asynccontextmanager
async def forgotten_in_time(container: Base) -> AsyncGenerator[None, None]:
    keeping = asyncio.create_task(container.forgetting().keep(), name="forgetting")
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])
