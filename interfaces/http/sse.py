"""A job's log as an event stream.

Frames leave as the bytes the log holds. Four ways to end: after the terminal event; with a
`retry` when the log cannot be read for now; without one when the reader's identity expires;
and by the reader, who may come back with a cursor.
"""

import asyncio
import random
import re
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import AppStatus
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from sluice.application.wire import BEGINNING, KEEPALIVE, MAX_TOKEN
from sluice.domain.errors import NotFound, Unavailable
from sluice.domain.events import TERMINAL, Cursor, Recorded
from sluice.interfaces.http.services import StreamStats

Batches = AsyncGenerator[Sequence[Recorded], None]

HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",
}
_SOON = b"retry: 1000\n\n"
_WRITE = 2 * MAX_TOKEN
_CURSOR = re.compile(r"([1-9][0-9]{0,17})-(0|[1-9][0-9]{0,17})")
_NOWHERE = Cursor(0, 0)
"""In no log: its reader is told so, and given everything."""


def leave_ending_to_the_log() -> None:
    """The library would cut every stream at SIGTERM; the log knows which jobs may still end.

    Its switch is one for the whole process.
    """
    AppStatus.enable_automatic_graceful_drain = False


def cursor_of(header: str | None, query: str | None) -> Cursor | None:
    """The header wins: EventSource repeats the query at every reconnect."""
    # Of the space around a header's value the server strips only what stands before it.
    text = query if header is None else header.rstrip(" \t")
    if not text:
        return None
    match = _CURSOR.fullmatch(text)
    return Cursor(int(match[1]), int(match[2])) if match else _NOWHERE


def come_back() -> Response:
    """What a reader is told while the log cannot be read: EventSource gives up on any 5xx."""
    headers = {**HEADERS, "Connection": "close"}
    return Response(_later(), headers=headers, media_type="text/event-stream")


class EventStream(EventSourceResponse):
    """`expires`: the epoch second at which the reader's identity ends."""

    def __init__(
        self, batches: Batches, stats: StreamStats, *, ping: float, expires: float | None
    ) -> None:
        self._batches, self._ended = batches, False
        super().__init__(
            self._frames(batches, stats, expires),
            headers=HEADERS,
            ping=ping,
            ping_message_factory=_keepalive,
        )
        self.headers["Connection"] = "close"  # the library would keep it alive

    async def _send_with_timeout(self, send: Send, message: Message) -> None:
        """Without a timer for each write, a tenth of a token's cost: `Connection` cuts stalls.

        Megabytes, as a `done` may have, are handed over in parts, so that a connection whose
        peer does not read holds one of them.
        """
        body = message.get("body", b"")
        if self._ended and body == KEEPALIVE:
            return  # its reader is slow, and would find it behind the end
        if len(body) <= _WRITE and not self._ended:
            await send(message)
            return
        async with self._send_lock:  # no keepalive comes between two parts, nor behind the last
            for start in range(0, len(body), _WRITE):
                await send({**message, "body": body[start : start + _WRITE]})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Also for HEAD, and for a reader that leaves before the first byte.
        async with aclosing(self._batches):
            await super().__call__(scope, receive, send)

    async def _frames(
        self, batches: Batches, stats: StreamStats, expires: float | None
    ) -> AsyncGenerator[bytes, None]:
        stats.open += 1
        try:
            yield _SOON
            deadline = expires and asyncio.get_running_loop().time() + expires - time.time()
            while batch := await (_by(deadline, batches) if deadline else anext(batches, None)):
                if batch[0].id == BEGINNING:
                    stats.resets += 1
                if isinstance(batch[-1].event, TERMINAL):
                    self._ended = True
                if len(batch) == 1:
                    yield batch[0].frame
                else:
                    yield b"".join([recorded.frame for recorded in batch])
        except TimeoutError:
            stats.expired += 1
        except (Unavailable, NotFound):
            yield _later()
        finally:
            stats.open -= 1


async def _by(deadline: float, batches: Batches) -> Sequence[Recorded] | None:
    """Raises TimeoutError when it is time, but never while the reader is being written to."""
    async with asyncio.timeout_at(deadline):
        return await anext(batches, None)


def _later() -> bytes:
    return b"retry: %d\n\n" % random.randint(1000, 5000)


def _keepalive() -> ServerSentEvent:
    return ServerSentEvent(event="keepalive", data="{}", sep="\n")
