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
    task = asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await until_over(task)
        except asyncio.CancelledError as error:
            cancelled = error
            if gives_up():
                task.cancel()
    return task.result(), cancelled


def until_over(task: asyncio.Future[Any]) -> asyncio.Future[None]:
    """Is done when the task is. Who awaits it may be cancelled: the task is not.

    What `asyncio.wait` and `asyncio.shield` would do, for a tenth of what the former costs.
    """
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    task.add_done_callback(lambda _: None if over.done() else over.set_result(None))
    return over
