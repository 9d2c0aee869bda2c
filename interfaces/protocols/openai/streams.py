"""Event streams that end in an error rather than too early."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

from starlette.types import Receive, Scope, Send

from sluice.application.encoding import Push
from sluice.interfaces.http.services import StreamStats
from sluice.interfaces.http.sse import Batches, EventStream
from sluice.interfaces.protocols.openai.frames import ERROR, WAITS
from sluice.interfaces.protocols.openai.serving import JOB

_READING_SECONDS = 1.0
"""A reset may take with it what the client has not read yet: so long it has for the error."""


class JobStream(EventStream):
    def __init__(self, batches: Batches, job_id: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(batches, *args, **kwargs)
        self.headers[JOB] = job_id


class CompletionStream(JobStream):
    """`abandoned` is awaited if the client leaves before the end: nobody can come back."""

    def __init__(
        self,
        batches: Batches,
        job_id: str,
        abandoned: Callable[[], Awaitable[None]],
        *args: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(batches, job_id, *args, **kwargs)
        self._abandoned, self._over = abandoned, False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().__call__(scope, receive, send)
        if not self._over:
            await self._abandoned()

    async def _frames(
        self, batches: Batches, stats: StreamStats, expires: float | None
    ) -> AsyncGenerator[bytes, None]:
        """A client that knows no error frames shall not find a proper end behind one."""
        async with aclosing(super()._frames(batches, stats, expires)) as bodies:
            async for body in bodies:
                self._over = self._ended
                yield body
                if ends_in_error(body):
                    self._over = WAITS not in body
                    await asyncio.sleep(_READING_SECONDS)
                    if self._reset is not None:
                        self._reset()
                    return
        self._over = True


def ends_in_error(body: bytes) -> bool:
    """A text cannot look like it: in a frame there are no line breaks."""
    return body.startswith(ERROR) or b"\n" + ERROR in body


def unless_error(push: Push | None) -> Push | None:
    """Leaves an error to the stream's own task, which cuts the body behind it."""
    if push is None:
        return None
    return lambda body: not body.startswith(ERROR) and push(body)
