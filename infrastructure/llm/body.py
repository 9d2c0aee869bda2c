"""The bytes of an answer, given on where they arrive.

Fast for two reasons. A task that is woken for each read costs more than all that is done with a
token, so whoever waits for a body says what is done with bytes, and when that is worth a wake-up.
And where nothing has to be decompressed, bytes come straight from aiohttp's parser: past its
buffer, the SDK's transport and httpx2. Whoever is busy meanwhile finds them in aiohttp's buffer,
which stops its peer when it is full.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from math import inf
from typing import Any, Self

import aiohttp
import httpx2

from sluice.application.short_deque import ShortDeque

from .arrivals import arrivals

Read = Callable[[], Awaitable[bytes]]
"""The next bytes of a body, none at its end."""

Close = Callable[[], Awaitable[None]]

Take = Callable[[bytes], bool]
"""Takes bytes, and says whether whoever waits shall be woken now."""

_NEEDED = (
    *("_buffer", "_exception", "_waiter", "_timer"),
    *("begin_http_chunk_receiving", "end_http_chunk_receiving"),
)
"""What aiohttp keeps to itself may change; then bytes are read and not pushed."""

_NEEDED_TO_PAUSE = ("transport", "read_timeout", "_reading_paused", "_buffer_paused")
"""Likewise of its connection; then each read is taken as it comes."""


class Body:
    """What is read by whoever waits for it, as the SDK would read it; left, it is closed."""

    def __init__(self, read: Read, close: Close | None = None) -> None:
        self.read, self._close = read, close

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._close is not None:
            await self._close()

    async def gather(self, take: Take, seconds: float) -> bool:
        """Bytes have been taken, or the body has come to its end; False: nothing will follow.

        Returns when `take` says so, or with the first bytes `seconds` after the last return.
        Raises what `take` does, and what broke.
        """
        if data := await self.read():
            take(data)
        return bool(data)

    def pause_reading(self, seconds: float) -> None:
        """For `take`, where nobody hears what follows: it is taken together, so much later at most.
        The first `seconds` of an answer are taken as they come, a short one so at no cost.
        """


class PushedBody(Body):
    """aiohttp's, which pushes while somebody waits. Its reader knows this object as the future
    that is waited for.
    """

    def __init__(self, content: aiohttp.StreamReader) -> None:
        super().__init__(content.readany)
        content.__class__ = _PushingReader
        content._http_chunk_splits = None  # 760 bytes, of the one chunk that has begun before
        self._content: Any = content
        self._shorten(content._protocol)
        self._loop = asyncio.get_running_loop()
        self._arrivals = arrivals()
        self._last = self._loop.time()
        self._woken: asyncio.Future[None]
        self._timer: asyncio.TimerHandle | None
        self._unheard_since: float | None = None
        self._resume: asyncio.TimerHandle | None = None
        self._gathered: list[bytes] | None = None
        """Of the first read behind a pause, to be taken together; None: they are not."""

    async def gather(self, take: Take, seconds: float) -> bool:
        content = self._content
        waits = content._buffer or content._exception is not None
        if waits and (data := content.read_nowait()):
            take(data)
            return True
        if content.is_eof():
            return False
        self._shorten(content)
        self._woken = self._loop.create_future()
        self._seconds, self._timer = seconds, None
        # What is told is told for whoever waits, also where it looks into its context.
        self._run, self._take = copy_context().run, take
        content._waiter = self
        try:
            with content._timer:
                await self._woken
        finally:
            content._waiter = None
            if self._timer is not None:
                self._timer.cancel()
            self._gathered = None
            if self._resume is not None:
                self._resume.cancel()
                self._resume_reading()
        self._last = self._loop.time()
        return True

    def _shorten(self, holder: Any) -> None:
        if type(buffer := getattr(holder, "_buffer", None)) is deque and not buffer:
            holder._buffer = ShortDeque()  # likewise, of nothing

    def arrived(self, data: bytes) -> None:
        """This runs for every read."""
        if (gathered := self._gathered) is not None:
            if not gathered:
                self._loop.call_soon(self._give_gathered)
            gathered.append(data)
            return
        arrivals = self._arrivals
        arrivals.left -= 1
        if not arrivals.left:
            arrivals.look()
        try:
            wake = self._run(self._take, data)
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            self._content._waiter = None
            self.set_exception(error)
            return
        if not wake and self._timer is None and self._seconds < inf:
            left = self._last + self._seconds - self._loop.time()
            wake = left <= 0
            if not wake:
                self._timer = self._loop.call_later(left, self.set_result, None)
        if wake:
            self._content._waiter = None
            self.set_result(None)

    def _give_gathered(self) -> None:
        gathered, self._gathered = self._gathered, None
        if gathered and not self._woken.done():
            self.arrived(b"".join(gathered))

    def pause_reading(self, seconds: float) -> None:
        """All that are paused go on together, by the clock, so that the loop wakes up once.

        Past aiohttp's own way to pause, which would leave the rest of a read unparsed. Its own may
        begin meanwhile, and then goes on; the end of a body ends either.
        """
        now, protocol = self._loop.time(), self._content._protocol
        if self._unheard_since is None:
            self._unheard_since = now
        if (
            now - self._unheard_since < seconds
            or self._content._waiter is not self
            or not all(hasattr(protocol, name) for name in _NEEDED_TO_PAUSE)
            or protocol.transport is None
            or (protocol.read_timeout and protocol.read_timeout <= 2 * seconds)
        ):
            return
        self._gathered = []
        if self._resume is None:
            protocol.transport.pause_reading()
            self._resume = self._loop.call_later(seconds - now % seconds, self._resume_reading)

    def _resume_reading(self) -> None:
        self._resume, protocol = None, self._content._protocol
        if protocol.transport and not (protocol._reading_paused or protocol._buffer_paused):
            protocol.transport.resume_reading()

    # What aiohttp asks of the future that it knows.

    def done(self) -> bool:
        return self._woken.done()

    def set_result(self, _: None) -> None:
        self._give_gathered()
        if not self._woken.done():
            self._woken.set_result(None)

    def set_exception(self, error: BaseException) -> None:
        self._give_gathered()
        if not self._woken.done():
            self._woken.set_exception(error)


class _PushingReader(aiohttp.StreamReader):
    """Of the same layout, so that the object that aiohttp's parser holds can become one."""

    __slots__ = ()
    _buffer: Any

    def feed_data(self, data: bytes, size: int = 0) -> bool:
        waiter: object = self._waiter
        if type(waiter) is PushedBody and data:
            waiter.arrived(data)
        else:
            if self._buffer and type(self._buffer) is ShortDeque:
                self._buffer = deque(self._buffer)  # taking many pieces from a list is quadratic
            super().feed_data(data, size)
        return False

    begin_http_chunk_receiving = end_http_chunk_receiving = staticmethod(bool)  # type: ignore[assignment]
    """Nobody asks where chunks begin and end; to keep it costs as much as to parse them. It does
    nothing, in C.
    """


def body_of(response: httpx2.Response) -> Body:
    """The SDK's transport and httpx2 would pass each read through five more generators."""
    if (content := plain_body(response)) is not None:
        pushes = type(content) is aiohttp.StreamReader and all(
            hasattr(content, name) for name in _NEEDED
        )
        return PushedBody(content) if pushes else Body(content.readany)
    reads: Any = response.aiter_bytes()
    return Body(lambda: anext(reads, b""), reads.aclose)


def plain_body(response: httpx2.Response) -> aiohttp.StreamReader | None:
    """What the SDK's aiohttp transport reads from, if its bytes are the body's own."""
    below = aiohttp_response(response)
    if below is not None and "content-encoding" not in response.headers:
        return below.content
    return None


def aiohttp_response(response: httpx2.Response) -> aiohttp.ClientResponse | None:
    """What the SDK's aiohttp transport has made the response of, if it has."""
    stream = getattr(response.stream, "_stream", response.stream)  # httpx2's client wraps it
    below = getattr(stream, "_aiohttp_response", None)
    return below if isinstance(below, aiohttp.ClientResponse) else None
