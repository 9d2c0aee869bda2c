"""A job's log as an event stream, in any protocol's frames.

Frames leave as the bytes that the log's encoder made. Ways to end: after the terminal event; where
the job waits for a human, in protocols that end there;
by the reader, who may come back with a cursor; and unfinished, when the log cannot be read for now
or the reader's identity expires. Clients of most protocols take a proper end for a whole answer,
so an unfinished body is cut by a reset; one whose protocol knows better may say so and end it.

The library says what an event stream's response is; how it is sent is ours. It runs four tasks for
each stream, for the frames, for keepalives, for the reader's leaving and for SIGTERM: a fourteenth
of an answer's instructions, and a third of what a silent stream holds. Here the request's own task
sends the frames, the connection tells of the leaving, a timer of the silence, the log of SIGTERM.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, ClassVar

from sse_starlette import EventSourceResponse
from starlette.types import Receive, Scope, Send

from sluice.application.encoding import Batch, Push
from sluice.domain.errors import LimitReached, NotFound, Unavailable
from sluice.domain.events import BEGINNING, TERMINAL, Cursor, NeedsInput, Recorded
from sluice.interfaces.http.server.frame_writer import ON_LEFT, PUSH, RESET, OnLeft
from sluice.interfaces.http.services import StreamStats

Batches = AsyncGenerator[Batch, None]
AtPause = Callable[[Cursor], Awaitable[bytes | None]]

HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",
}
_FIELDS = [
    field
    for field in EventSourceResponse(iter(()), headers=HEADERS).raw_headers
    if field[0] != b"connection"
]
"""The library's, asked for once."""
_KEEP_ALIVE, _CLOSE = (b"connection", b"keep-alive"), (b"connection", b"close")
"""The library's is the first, also here: where it was to be closed, Node takes a reset for the end
of the body.
"""
_WRITE_BYTES = 16 * 1024
"""A part of a long body: one waits to be sent behind what the transport holds, for each reader."""


class EventStream(EventSourceResponse):
    """`expires`: the epoch second at which the reader's identity ends. `begins`: with the log's
    first event, which is always there.
    """

    status_code, background = 200, None

    opening: ClassVar[bytes] = b""
    """What leaves before the first event, or with it where that is there already."""
    keepalive: ClassVar[bytes] = b": keepalive\n\n"

    ends_unfinished: ClassVar[bool] = False
    """An unfinished body is ended properly, and not cut."""

    at_pause: AtPause | None = None
    """Asked behind a question of the job's: what ends the body there; None to go on reading."""

    def interrupted(self) -> bytes:
        """What is said at last when the log cannot be read for now, before a proper end."""
        return b""

    def __init__(
        self,
        batches: Batches,
        stats: StreamStats,
        *,
        ping: float,
        expires: float | None,
        begins: bool = False,
    ) -> None:
        self._batches, self._ended, self._sending = batches, False, False
        self._begins = begins
        self._reset: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle
        self._bodies = self._frames(batches, stats, expires)
        self.ping_interval = ping
        self.raw_headers = [*_FIELDS, _CLOSE if self.ends_unfinished else _KEEP_ALIVE]

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        # Also for HEAD, and for a reader that leaves before the first byte.
        async with aclosing(self._batches):
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if scope["method"] == "HEAD":
                await send({"type": "http.response.body"})
            else:
                await self._send_until_left(scope["extensions"], send)

    async def _send_until_left(self, connection: Mapping[str, Any], send: Send) -> None:
        if not self.ends_unfinished:
            self._reset = connection[RESET]
        on_left: OnLeft = connection[ON_LEFT]
        loop, push = asyncio.get_running_loop(), connection[PUSH]
        self._timer = loop.call_later(self.ping_interval, self._keep_alive, loop, push)
        try:
            async with asyncio.timeout(None) as reading:  # until the reader leaves
                on_left(lambda: reading.reschedule(0))
                await self._send(send)
        except TimeoutError:
            if not reading.expired():
                raise
        finally:
            on_left(None)
            self._timer.cancel()

    async def _send(self, send: Send) -> None:
        """Megabytes, as a `done` may have, are handed over in parts, so that a connection whose
        peer does not read holds one of them.
        """
        async with aclosing(self._bodies) as bodies:
            async for body in bodies:
                self._sending = True
                for start in range(0, len(body), _WRITE_BYTES):
                    part = body[start : start + _WRITE_BYTES]
                    await send({"type": "http.response.body", "body": part, "more_body": True})
                self._sending = False
        self._ended = True
        await send({"type": "http.response.body"})

    def _keep_alive(self, loop: asyncio.AbstractEventLoop, push: Push) -> None:
        """Pushed as a token is: never to a reader that does not read, and never between two parts
        of a body or behind the last.
        """
        if not (self._sending or self._ended):
            push(self.keepalive)
        self._timer = loop.call_later(self.ping_interval, self._keep_alive, loop, push)

    async def _frames(
        self, batches: Batches, stats: StreamStats, expires: float | None
    ) -> AsyncGenerator[bytes, None]:
        stats.open += 1
        try:
            opening = self.opening
            if opening and not self._begins:
                yield opening
                opening = b""
            deadline = expires and asyncio.get_running_loop().time() + expires - time.time()
            while batch := await (_by(deadline, batches) if deadline else anext(batches, None)):
                stats.resets += batch.events[0].id == BEGINNING
                self._ended = self._ended or isinstance(batch.events[-1].event, TERMINAL)
                if batch.body:
                    yield opening + batch.body if opening else batch.body
                    opening = b""
                if (closing := await self._closing(batch.events[-1])) is not None:
                    yield closing
                    return  # a proper end: nothing is cut
        except TimeoutError:
            stats.expired += 1
        except (Unavailable, NotFound, LimitReached):
            if said := self.interrupted():
                yield said
        finally:
            stats.open -= 1
        if self._reset is not None and not self._ended:
            self._reset()

    async def _closing(self, last: Recorded) -> bytes | None:
        if self.at_pause is None or not isinstance(last.event, NeedsInput):
            return None
        return await self.at_pause(last.id)


async def _by(deadline: float, batches: Batches) -> Batch | None:
    """Raises TimeoutError when it is time, but never while the reader is being written to."""
    async with asyncio.timeout_at(deadline):
        return await anext(batches, None)
