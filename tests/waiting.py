"""For what becomes true, and has no event of its own that could be awaited."""

import asyncio
from collections.abc import Callable


async def until(holds: Callable[[], object], within: float = 5, *, every: float = 0.005) -> None:
    """Looks `every` so many seconds; raises TimeoutError once it was not so `within` so many."""
    async with asyncio.timeout(within):
        while not holds():  # noqa: ASYNC110 - plain counts tell nobody when they change
            await asyncio.sleep(every)
