"""What uvicorn's connections lack: patience that ends, and answers that HTTP/1.0 can read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from sluice.interfaces.http.services import StreamStats

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

_LET_BY = 16 * 1024 * 1024
"""Bytes of a body that may still come after its answer."""


PUSH = "sluice.push"
"""The ASGI extension for a Push: it writes to the body that is being sent."""

_JOIN_WITHIN_S = 0.0005
"""Less than uvloop's clock can tell: what comes faster is left to be joined."""


class BodyWriter:
    """The Push of one response: past the task that waits to send the next part of its body.

    A wake-up, a dozen coroutines and three layers of `send` are most of what a reader costs.
    """

    __slots__ = ("_chunked", "_flow", "_now", "_transport", "_wrote")

    def __init__(self, cycle: RequestResponseCycle, now: Callable[[], float]) -> None:
        """It does not keep the cycle, whose scope keeps it: such rings wait for the collector."""
        self._flow, self._transport, self._now = cycle.flow, cycle.transport, now
        self._chunked = cycle.scope["http_version"] != "1.0"
        self._wrote = 0.0

    def __call__(self, frames: bytes) -> bool:
        now = self._now()
        if now - self._wrote < _JOIN_WITHIN_S:
            return False
        if self._flow.write_paused or self._transport.is_closing():
            return False
        self._wrote = now
        if self._chunked:
            frames = b"%x\r\n%b\r\n" % (len(frames), frames)
        self._transport.write(frames)
        return True


class Connection(HttpToolsProtocol):
    """Cuts a peer that is too slow to ask, or that stops reading; `patience` is in seconds.

    A stalled peer costs a timer, not one per write: the transport says when its buffer is
    full and when it has room again. Nothing is lost with the connection, for its reader
    resumes from the log. Closing would wait for the peer to read: only `abort` ends it.
    """

    stats: ClassVar[StreamStats]
    patience: ClassVar[float]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._asking: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._lingers = False
        self._let_by = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._asking = self._later(transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        _stop(self._asking)
        _stop(self._unread)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """An empty line between two requests begins none, and takes uvicorn's own timer away."""
        super().data_received(data)
        idle = self.cycle is None or self.cycle.response_complete
        if idle and (self._asking is None or self._asking.cancelled()):
            self._asking = self._later(self.transport.abort)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._let_by = 0
        _stop(self._asking)
        self._asking = self._later(self.transport.abort)

    def on_body(self, body: bytes) -> None:
        """What still comes after the answer is let go by, so that its peer gets to read it."""
        super().on_body(body)
        if self.cycle.response_complete:
            self._let_by += len(body)
            if self._let_by > _LET_BY:
                self.transport.abort()

    def on_message_complete(self) -> None:
        _stop(self._asking)
        super().on_message_complete()
        if self._lingers:
            self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        _stop(self._unread)
        super().resume_writing()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._lingers and not self.transport.is_closing():
            self.transport.write_eof()
        if self.transport.get_write_buffer_size():
            self._watch()

    def _watch(self) -> None:
        _stop(self._unread)
        self._unread = self._later(self._cut)

    def _cut(self) -> None:
        if self.flow.write_paused or (
            self.cycle.response_complete and self.transport.get_write_buffer_size()
        ):
            self.stats.stalled += 1
            self.transport.abort()

    def _later(self, call: Any) -> asyncio.TimerHandle:
        return self.loop.call_later(self.patience, call)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        writer: Any = BodyWriter(cycle, self.loop.time)
        cycle.scope["extensions"] = {PUSH: writer}
        if not cycle.keep_alive:
            app = self._lingering(cycle, app)
        if cycle.scope["http_version"] == "1.0":
            app = _unchunked(cycle, app)
        super()._start_asgi_task(cycle, app)

    def _lingering(self, cycle: RequestResponseCycle, app: ASGI3Application) -> ASGI3Application:
        """Closing on a peer that still sends would reset the connection, and lose our answer.

        So what it sends is let go by until it is through, or its time to ask is over.
        """

        async def run(scope: Any, receive: Any, send: Any) -> None:
            async def patiently(message: Any) -> None:
                body = message["type"] == "http.response.body"
                if body and not message.get("more_body", False) and cycle.more_body:
                    cycle.keep_alive = self._lingers = True
                await send(message)

            await app(scope, receive, patiently)

        return run


def connections(stats: StreamStats, *, patience: float = 30) -> type[asyncio.Protocol]:
    """For uvicorn's `http`, which makes one for every connection."""
    return type("Connection", (Connection,), {"stats": stats, "patience": patience})


def _unchunked(cycle: RequestResponseCycle, app: ASGI3Application) -> ASGI3Application:
    """HTTP/1.0 knows no chunks: a body of unknown length ends with the connection."""

    async def run(scope: Any, receive: Any, send: Any) -> None:
        async def plain(message: Any) -> None:
            if message["type"] == "http.response.body":
                while cycle.flow.write_paused and not cycle.disconnected:
                    await cycle.flow.drain()  # or another part would set its length meanwhile
                cycle.expected_content_length = len(message.get("body", b""))
            await send(message)

        cycle.chunked_encoding = False
        await app(scope, receive, plain)

    return run


def _stop(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
