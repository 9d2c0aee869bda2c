"""uvicorn, leaving as an SSE service must: streams first, properly, then the process."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any

import uvicorn


class UvicornServer(uvicorn.Server):
    """The first signal starts `drain` and serves on until it is over; a second exits at once.

    `signalled` is told of the first in its handler, whatever the event loop does then.

    uvicorn would raise the signal again after a clean stop; ours are handled here, so exit is 0.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        drain: Callable[[], Awaitable[None]],
        signalled: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._drain, self._signalled = drain, signalled
        self._draining: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.leaving = False

    async def startup(self, sockets: list[Any] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.leaving:
            os._exit(128 + sig)
        self.leaving = True
        self._signalled()
        if self._loop is None:
            self.should_exit = True
            return
        self._loop.call_soon_threadsafe(self._leave)

    def _leave(self) -> None:
        self._draining = asyncio.ensure_future(self._drain_and_exit())

    async def _drain_and_exit(self) -> None:
        try:
            await self._drain()
        finally:
            self.should_exit = True
