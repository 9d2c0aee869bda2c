"""HTTP/1.1 over one socket, with enough control over it to break it on purpose."""

import asyncio
import socket
import struct
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import h11

MAX_BODY = 32 * 2**20
_READ = 2**16
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Request(NamedTuple):
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Connection:
    """Requests and answers in turn. Writes raise ConnectionError when the client has gone."""

    byte_by_byte = False
    """Each byte of the present answer in a segment of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER)

    async def request(self) -> Request | None:
        """The next request, None when the client has gone. Raises h11.RemoteProtocolError."""
        head = await self._event()
        if not isinstance(head, h11.Request):
            return None
        body = bytearray()
        while isinstance(part := await self._event(), h11.Data):
            body += part.data
            if len(body) > MAX_BODY:
                raise h11.RemoteProtocolError("body too large", error_status_hint=413)
        return Request(
            head.method.decode(),
            head.target.decode().partition("?")[0],
            {name.decode(): value.decode("latin-1") for name, value in head.headers},
            bytes(body),
        )

    async def while_connected(self, work: Coroutine[Any, Any, None]) -> bool:
        """Do the work, or stop it the moment the client leaves; False then."""
        stayed = True
        try:
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(self._watch())
                await work
                watch.cancel()
        except* ConnectionError:
            stayed = False
        return stayed

    async def begin(self, status: int, headers: Mapping[str, str]) -> None:
        await self._send(h11.Response(status_code=status, headers=list(headers.items())))

    async def send(self, data: bytes) -> None:
        await self._send(h11.Data(data=data))

    async def end(self, last: bytes = b"") -> None:
        """End the body properly; its last bytes leave in the same write as the end."""
        await self._send(h11.Data(data=last), h11.EndOfMessage())

    async def answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        head = h11.Response(
            status_code=status, headers=[*headers.items(), ("content-length", str(len(body)))]
        )
        await self._send(head, h11.Data(data=body), h11.EndOfMessage())

    async def cut(self, data: bytes) -> None:
        """Close within `data`, which stays incomplete by the framing of the body."""
        framed = self._framed(h11.Data(data=data))
        await self._write(framed[: len(framed) // 2])
        self._writer.close()

    def reset(self) -> None:
        raw: socket.socket = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.abort()

    def ready_for_next(self) -> bool:
        """Whether the connection lives on after the present exchange."""
        self.byte_by_byte = False
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    def abort(self) -> None:
        """Close at once; what is not sent yet is lost."""
        self._writer.transport.abort()

    async def close(self) -> None:
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()

    async def _event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                await self._send(h11.InformationalResponse(status_code=100, headers=[]))
            self._http.receive_data(await self._reader.read(_READ))
        return event

    async def _watch(self) -> None:
        while data := await self._reader.read(_READ):
            self._http.receive_data(data)
        raise ConnectionAbortedError

    async def _send(self, *events: h11.Event) -> None:
        await self._write(b"".join(map(self._framed, events)))

    def _framed(self, event: h11.Event) -> bytes:
        return self._http.send(event) or b""

    async def _write(self, data: bytes) -> None:
        size = 1 if self.byte_by_byte else max(len(data), 1)
        for start in range(0, len(data), size):
            self._writer.write(data[start : start + size])
            await self._writer.drain()
            if self.byte_by_byte:
                await asyncio.sleep(0)  # the reader's turn, lest two bytes be read as one
