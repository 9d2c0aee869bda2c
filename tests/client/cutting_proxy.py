"""A proxy that cuts connections at a random byte of their answers, so many times."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Literal

from tests.cuts import byte_chooser, report

Cut = Literal["reset", "fin", "clean"]
_NO_LINGER = struct.pack("ii", 1, 0)


class CuttingProxy:
    """`reset` and `fin` close in the middle of a body of chunks, which every client notices.

    `clean` speaks HTTP/1.0 to the service, as some proxies do: a body without chunks, whose end is
    a proper one at whatever byte, and inside a frame as well. `left`: the cuts still to come.
    """

    def __init__(self, to: int, how: Cut, cuts: int, *, within: int) -> None:
        self._to, self._how, self._within = to, how, within
        self._random = byte_chooser()
        self.left = cuts
        self.streams = 0
        self.url = ""

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, up = await asyncio.open_connection("127.0.0.1", self._to)
        sending = asyncio.create_task(self._send(reader, up))
        try:
            if await self._answer(upstream, writer) and self._how == "reset":
                peer: socket.socket = writer.get_extra_info("socket")
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
                writer.transport.abort()
        finally:
            sending.cancel()
            up.transport.abort()
            writer.close()

    async def _send(self, reader: asyncio.StreamReader, up: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if self._how == "clean":
                data = data.replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", 1)
            up.write(data)

    async def _answer(self, upstream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether it is cut."""
        self.streams += 1
        rest = self._random.randrange(self._within)
        cuts = self.left > 0
        with suppress(ConnectionError):
            while data := await upstream.read(65536):
                if cuts and len(data) > rest:
                    self.left -= 1
                    writer.write(data[:rest])
                    await writer.drain()
                    return True
                rest -= len(data)
                writer.write(data)
                await writer.drain()
        return False


@asynccontextmanager
async def cutting(to: int, how: Cut, cuts: int, *, within: int) -> AsyncIterator[CuttingProxy]:
    """`within`: the bytes of an answer, its head among them, behind which none is cut."""
    proxy = CuttingProxy(to, how, cuts, within=within)
    passing: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passing.add(asyncio.create_task(proxy.pass_on(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield proxy
    finally:
        report(cuts - proxy.left, proxy.streams, how)
        server.close()
        for task in passing:
            task.cancel()
        if passing:
            await asyncio.wait(passing)
