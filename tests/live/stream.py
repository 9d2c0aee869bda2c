"""One subscription over a raw socket: every byte is checked, and so is how it ends."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Mapping
from typing import Self

import h11

from tests.http.house import Frame, frames

TERMINAL = ("done", "error", "cancelled")
_RETRY = re.compile(rb"(?:\A|\n\n)retry: (\d+)\n")


class Stream:
    """`async with` sends the request and reads the head; iterating gives frames as they come.

    `properly` says whether the body has had its proper end. `retries` are the values of the
    `retry` lines seen. A small `window` (bytes of socket buffer) makes for a reader that the
    service cannot push much to.
    """

    def __init__(
        self,
        port: int,
        job: str,
        after: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        window: int | None = None,
    ) -> None:
        self.job, self.after = job, after
        self._port, self._window = port, window
        self._headers = [("Host", "localhost"), *(headers or {}).items()]
        if after is not None:
            self._headers.append(("Last-Event-ID", after))
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=2**20)
        self._rest = bytearray()
        self.status = 0
        self.head: Mapping[str, str] = {}
        self.seen: list[Frame] = []
        self.retries: list[int] = []
        self.properly = False

    async def __aenter__(self) -> Self:
        raw = socket.socket()
        raw.setblocking(False)
        if self._window is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._window)
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_connect(raw, ("127.0.0.1", self._port))
        except BaseException:
            raw.close()
            raise
        self._socket = raw
        target = f"/api/v1/chat/{self.job}/events"
        request = h11.Request(method="GET", target=target, headers=self._headers)
        ask = self._http.send(request) or b""
        try:
            await loop.sock_sendall(raw, ask + (self._http.send(h11.EndOfMessage()) or b""))
            head = await self._next()
        except h11.RemoteProtocolError as error:
            raw.close()
            raise ConnectionError("gone before its head") from error
        except BaseException:
            raw.close()
            raise
        assert isinstance(head, h11.Response), head
        self.status = head.status_code
        self.head = {name.decode(): value.decode() for name, value in head.headers}
        return self

    async def __aexit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        self._socket.close()

    async def __aiter__(self) -> AsyncIterator[Frame]:
        """Ends with the body, properly or not: look at `properly`."""
        while (new := await self.more()) is not None:
            for frame in new:
                yield frame

    async def more(self) -> list[Frame] | None:
        """The frames of the next read, maybe none; None at the end."""
        try:
            event = await self._next()
        except (h11.RemoteProtocolError, ConnectionError):
            return None
        if not isinstance(event, h11.Data):
            self.properly = isinstance(event, h11.EndOfMessage)
            assert not self._rest or not self.properly, self._rest
            return None
        new = [frame for frame in frames(self._whole(event.data)) if frame.event != "keepalive"]
        self.seen += new
        return new

    def _whole(self, data: bytes) -> bytes:
        """The frames that `data` completes; a frame of megabytes comes in many reads."""
        self._rest += data
        end = self._rest.rfind(b"\n\n", max(0, len(self._rest) - len(data) - 1)) + 2
        if end < 2:
            return b""
        whole = bytes(self._rest[:end])
        del self._rest[:end]
        self.retries += map(int, _RETRY.findall(whole))
        return whole

    async def all(self, within: float = 20) -> list[Frame]:
        """To the end of the stream."""
        async with asyncio.timeout(within):
            async for _ in self:
                pass
        return self.seen

    async def until(self, event: str, within: float = 10, count: int = 1) -> Frame:
        """The next frame of that name, or the `count`th one."""
        async with asyncio.timeout(within):
            async for frame in self:
                count -= frame.event == event
                if not count:
                    return frame
        raise AssertionError(f"no {event} in {self.seen[-3:]}")

    @property
    def end(self) -> Frame | None:
        """The terminal event, if there was one."""
        last = self.seen[-1] if self.seen else None
        return last if last and last.event in TERMINAL else None

    async def _next(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        loop = asyncio.get_running_loop()
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await loop.sock_recv(self._socket, 65536))
        return event
