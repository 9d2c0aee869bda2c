"""What uvicorn's connections lack: deadlines, bounds, and answers that HTTP/1.0 can read."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from sluice.application.lazy_event import LazyEvent
from sluice.application.short_deque import ShortDeque
from sluice.interfaces.http.server.cycle import KNOWN, Cycle
from sluice.interfaces.http.server.frame_writer import ON_LEFT, PUSH, RESET, FrameWriter, Left
from sluice.interfaces.http.server.head_limit import HeadLimit
from sluice.interfaces.http.server.refusal import BAD_REQUEST, HEAD_TOO_LARGE, refusal
from sluice.interfaces.http.server.target_host import with_host_of_target
from sluice.interfaces.http.server.unchunked import unchunked
from sluice.interfaces.http.services import StreamStats

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

_MAX_DISCARDED_BYTES = 28 * 1024 * 1024
"""Of what a peer still sends after its answer: it is read so that the peer gets to read that."""

_PARSED_BYTES = 1024
"""At a time: of so many it is not known where in them the last field ended."""


class Connection(HttpToolsProtocol):
    """Cuts a peer that is too slow to ask, or that stops reading; `timeout` is in seconds.

    A stalled peer costs a timer, not one per write: the transport says when its buffer is
    full and when it has room again. Nothing is lost with the connection, for its reader
    resumes from the log. Closing would wait for the peer to read: only `abort` ends it.
    """

    stats: ClassVar[StreamStats]
    timeout: ClassVar[float]

    __slots__ = (
        *("_answered_early", "_answering", "_discarded", "_head", "_in_body"),
        *("_refused", "_request_timer", "_write_timer", "_writer"),
    )
    """Beyond thirty attributes of its dictionary, each connection has their names for itself."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._request_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._answered_early = False
        self._discarded = 0
        self._head = HeadLimit()
        self._in_body = False
        self._refused = False
        self._answering: RequestResponseCycle | None = None
        self._writer: FrameWriter | None = None
        self.pipeline: Any = ShortDeque()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        writable: Any = LazyEvent()
        writable.set()
        self.flow._is_writable_event = writable
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._request_timer = _stopped(self._request_timer)
        self._write_timer = _stopped(self._write_timer)
        if self._answering is not None:  # uvicorn tells the last request only that has come
            self._answering.disconnected = not self._answering.response_complete
        super().connection_lost(exc)
        if self._left is not None:
            self._left()

    @property
    def _left(self) -> Left | None:
        """Whom to tell when the peer is gone: the body that is being sent, if it asked for that."""
        return None if self._writer is None else self._writer.left

    def data_received(self, data: bytes) -> None:
        for start in range(0, len(data), _PARSED_BYTES):
            if self._refused or self.transport.is_closing():
                self._discard(len(data) - start)
                return
            part = data[start : start + _PARSED_BYTES]
            self._head.read(len(part))
            super().data_received(part)
            if self._head.exceeded and not self._refused:
                self._refuse()
        # An empty line between two requests begins none, and takes uvicorn's own timer away.
        idle = self.cycle is None or self.cycle.response_complete
        if idle and self._request_timer is None:
            self._await_request()

    def _await_request(self) -> None:
        _stopped(self._request_timer)
        self._request_timer = self._later(self.transport.abort)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head.reset()
        self._discarded = 0
        self._await_request()

    def on_url(self, url: bytes) -> None:
        self._head.add(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A trailer is no field of the head: else it could say who the user is."""
        self._head.add_field(name, value)
        if not self._in_body:
            # Space around a value is no part of it (RFC 9110, 5.5); the parser leaves what follows.
            super().on_header(name, value.rstrip(b" \t"))

    def on_headers_complete(self) -> None:
        self._head.add(len(self.parser.get_method()) + len(b"  HTTP/1.1\r\n\r\n"))
        if not self.url.startswith(b"/"):
            self.headers[:] = with_host_of_target(self.url, self.headers)
        super().on_headers_complete()
        self._in_body = True
        self._head.reset()

    def on_chunk_header(self) -> None:
        self._head.reset()

    def on_body(self, body: bytes) -> None:
        """What still comes after the answer is discarded, so that its peer gets to read it."""
        self._head.reset()
        unread = self._left is not None
        if not unread:
            super().on_body(body)
        if unread or self.cycle.response_complete:
            self._discard(len(body))

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._discarded > _MAX_DISCARDED_BYTES:
            self.transport.abort()

    def on_message_complete(self) -> None:
        self._in_body = False
        self._head.reset()
        self._request_timer = _stopped(self._request_timer)
        super().on_message_complete()
        if self._answered_early:
            self.transport.close()

    def send_400_response(self, _msg: str) -> None:
        """uvicorn calls it when its parser has given up."""
        self._refuse()

    def _refuse(self) -> None:
        """Answers, if the peer cannot take that for the answer to another request."""
        self._refused = True
        waiting = self.cycle is not None and not self.cycle.response_complete
        if self._in_body and waiting and not (self.cycle.response_started or self.pipeline):
            self.cycle.disconnected = True  # nobody else answers it
            self.cycle.message_event.set()
        elif self._in_body or waiting:
            self.transport.close()
            return
        problem = HEAD_TOO_LARGE if self._head.exceeded else BAD_REQUEST
        self.transport.write(refusal(problem, self.server_state.default_headers))
        self.transport.write_eof()
        self._await_request()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_reader()

    def resume_writing(self) -> None:
        self._write_timer = _stopped(self._write_timer)
        super().resume_writing()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._answered_early and not self.transport.is_closing():
            self.transport.write_eof()
        if self.transport.get_write_buffer_size():
            self._await_reader()
        if self.cycle.response_complete and not self.cycle.more_body:
            self._forget_request()

    def _forget_request(self) -> None:
        """What a connection that waits for the next request would keep of the last one."""
        self._answering = self._writer = None
        kept: Any = self
        kept.cycle = kept.scope = None
        self.headers = []

    def _await_reader(self) -> None:
        _stopped(self._write_timer)
        self._write_timer = self._later(self._cut)

    def _cut(self) -> None:
        answered = self.cycle is None or self.cycle.response_complete
        if self.flow.write_paused or (answered and self.transport.get_write_buffer_size()):
            self.stats.stalled += 1
            self.transport.abort()

    def _later(self, call: Any) -> asyncio.TimerHandle:
        return self.loop.call_later(self.timeout, call)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        if type(cycle) is RequestResponseCycle and KNOWN:
            cycle.__class__ = Cycle
        writer: Any = FrameWriter(cycle, self.loop.time)
        cycle.scope["extensions"] = {PUSH: writer, RESET: writer.reset, ON_LEFT: writer.on_left}
        self._answering, self._writer = cycle, writer
        told: Any = LazyEvent()
        if cycle.message_event.is_set():
            told.set()
        cycle.message_event = told
        if not cycle.keep_alive:
            app = self._reading_on(cycle, app)
        if cycle.scope["http_version"] == "1.0":
            app = unchunked(cycle, app)
        super()._start_asgi_task(cycle, app)

    def _reading_on(self, cycle: RequestResponseCycle, app: ASGI3Application) -> ASGI3Application:
        """Closing on a peer that still sends would reset the connection, and lose our answer.

        So what it sends is discarded until it is through, or its time to ask is over.
        """

        async def run(scope: Any, receive: Any, send: Any) -> None:
            async def answer(message: Any) -> None:
                body = message["type"] == "http.response.body"
                if body and not message.get("more_body", False) and cycle.more_body:
                    cycle.keep_alive = self._answered_early = True
                await send(message)

            await app(scope, receive, answer)

        return run


def connections(stats: StreamStats, *, timeout: float = 30) -> type[asyncio.Protocol]:
    """For uvicorn's `http`, which makes one for every connection."""
    return type("Connection", (Connection,), {"stats": stats, "timeout": timeout})


def _stopped(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    """None takes the timer's place: cancelled it would be kept with its context."""
    if timer is not None:
        timer.cancel()
    return None
