"""Work that is not given up half way."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def to_its_end(
    work: Coroutine[Any, Any, T], gives_up: Callable[[], bool] = lambda: False
) -> tuple[T, asyncio.CancelledError | None]:
    """Awaits `work` through any number of cancellations; gives its result and the last of them.

    Where it `gives_up`, the work is cancelled too.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
            if gives_up():
                task.cancel()
    return task.result(), cancelled
