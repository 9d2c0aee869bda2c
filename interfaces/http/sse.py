"""A job's log as an event stream, in any protocol's frames.

Frames leave as the bytes that the log's encoder made. Ways to end: after the terminal event; where
the job waits for a human, in protocols that end there;
by the reader, who may come back with a cursor; and unfinished, when the log cannot be read for now
or the reader's identity expires. Clients of most protocols take a proper end for a whole answer,
so an unfinished body is cut by a reset; one whose protocol knows better may say so and end it.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import ClassVar

from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import AppStatus
from starlette.types import Message, Receive, Scope, Send

from sluice.application.encoding import Batch
from sluice.domain.errors import NotFound, Unavailable
from sluice.domain.events import BEGINNING, TERMINAL, Cursor, NeedsInput, Recorded
from sluice.interfaces.http.server.frame_writer import RESET
from sluice.interfaces.http.services import StreamStats

Batches = AsyncGenerator[Batch, None]
AtPause = Callable[[Cursor], Awaitable[bytes | None]]

HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",
}
_WRITE_BYTES = 16 * 1024
"""A part of a long body: one waits to be sent behind what the transport holds, for each reader."""


def leave_ending_to_the_log() -> None:
    """The library would cut every stream at SIGTERM; the log knows which jobs may still end.

    Its switch is one for the whole process.
    """
    AppStatus.enable_automatic_graceful_drain = False


class EventStream(EventSourceResponse):
    """`expires`: the epoch second at which the reader's identity ends."""

    opening: ClassVar[bytes] = b""
    """What leaves before the first event."""
    keepalive: ClassVar[bytes] = b": keepalive\n\n"

    ends_unfinished: ClassVar[bool] = False
    """An unfinished body is ended properly, and not cut."""

    at_pause: AtPause | None = None
    """Asked behind a question of the job's: what ends the body there; None to go on reading."""

    def interrupted(self) -> bytes:
        """What is said at last when the log cannot be read for now, before a proper end."""
        return b""

    def __init__(
        self, batches: Batches, stats: StreamStats, *, ping: float, expires: float | None
    ) -> None:
        self._batches, self._ended = batches, False
        self._reset: Callable[[], None] | None = None
        super().__init__(
            self._frames(batches, stats, expires),
            headers=HEADERS,
            ping=ping,
            ping_message_factory=partial(_Raw, self.keepalive),
        )
        if self.ends_unfinished:
            # The library keeps it alive. Others do so, too: where it was to be closed, Node takes
            # a reset for the end of the body.
            self.headers["Connection"] = "close"

    async def _send_with_timeout(self, send: Send, message: Message) -> None:
        """Without a timer for each write, a tenth of a token's cost: `Connection` cuts stalls.

        Megabytes, as a `done` may have, are handed over in parts, so that a connection whose
        peer does not read holds one of them.
        """
        body = message.get("body", b"")
        if self._ended and body == self.keepalive:
            return  # its reader is slow, and would find it behind the end
        if len(body) <= _WRITE_BYTES and not self._ended:
            await send(message)
            return
        async with self._send_lock:  # no keepalive comes between two parts, nor behind the last
            for start in range(0, len(body), _WRITE_BYTES):
                await send({**message, "body": body[start : start + _WRITE_BYTES]})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self.ends_unfinished:
            self._reset = scope["extensions"][RESET]
        # Also for HEAD, and for a reader that leaves before the first byte.
        async with aclosing(self._batches):
            await super().__call__(scope, receive, send)

    async def _frames(
        self, batches: Batches, stats: StreamStats, expires: float | None
    ) -> AsyncGenerator[bytes, None]:
        stats.open += 1
        try:
            if self.opening:
                yield self.opening
            deadline = expires and asyncio.get_running_loop().time() + expires - time.time()
            while batch := await (_by(deadline, batches) if deadline else anext(batches, None)):
                stats.resets += batch.events[0].id == BEGINNING
                self._ended = self._ended or isinstance(batch.events[-1].event, TERMINAL)
                if batch.body:
                    yield batch.body
                if (closing := await self._closing(batch.events[-1])) is not None:
                    self._ended = True
                    yield closing
                    return
        except TimeoutError:
            stats.expired += 1
        except (Unavailable, NotFound):
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


class _Raw(ServerSentEvent):
    """What the library sends as it is."""

    def __init__(self, frame: bytes) -> None:
        super().__init__()
        self._frame = frame

    def encode(self) -> bytes:
        return self._frame
