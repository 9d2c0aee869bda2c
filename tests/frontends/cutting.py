"""A proxy that cuts event streams at a random byte: by a reset, or by a proper end of the body."""

import asyncio
import re
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from tests.cuts import byte_chooser, report

Cut = Literal["reset", "end"]
_MOMENT = 0.01
"""Seconds for the peer to read what it was sent: a reset drops what it has not."""
_NO_LINGER = struct.pack("ii", 1, 0)


@dataclass
class CuttingProxy:
    """Of every `of` streams the first `of - 1` are cut, behind `shortest` to `longest` bytes.

    `framed`: only between two frames, where a proxy that keeps a body's chunks may end it.
    """

    port: int
    by: Cut
    longest: int
    shortest: int = 0
    of: int = 5
    framed: bool = False
    rng: Random = field(default_factory=byte_chooser)
    streams: int = 0
    cuts: int = 0
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Any number of requests, as a client keeps the connection."""
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while not writer.is_closing():
                    await self._pass(reader, writer)
        finally:
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, up = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            up.write(head + await reader.readexactly(_length(head)))
            head = await upstream.readuntil(b"\r\n\r\n")
            _send(writer, head)
            if b"transfer-encoding: chunked" in head.lower():
                await self._stream(upstream, writer, cut=b"event-stream" in head)
            else:
                _send(writer, await upstream.readexactly(_length(head)))
            await writer.drain()
        finally:
            up.close()

    async def _stream(
        self, upstream: asyncio.StreamReader, writer: asyncio.StreamWriter, *, cut: bool
    ) -> None:
        self.streams += cut
        left = 1 << 60
        if cut and self.streams % self.of:
            left = self.rng.randrange(self.shortest, self.longest)
        while chunk := await _chunk(upstream):
            part = chunk[:left]
            left -= len(part)
            if self.framed and not left:
                part = part[: part.rfind(b"\n\n") + 2] if b"\n\n" in part else b""
            if part:
                _send(writer, b"%x\r\n%b\r\n" % (len(part), part))
                await writer.drain()
            if not left:
                self.cuts += 1
                await asyncio.sleep(_MOMENT)
                self._cut(writer)
                return
        _send(writer, b"0\r\n\r\n")

    def _cut(self, writer: asyncio.StreamWriter) -> None:
        if self.by == "end":
            _send(writer, b"0\r\n\r\n")
            return
        peer: socket.socket = writer.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        writer.transport.abort()


@asynccontextmanager
async def cutting(
    port: int,
    by: Cut,
    longest: int,
    *,
    shortest: int = 0,
    of: int = 5,
    framed: bool = False,
) -> AsyncIterator[CuttingProxy]:
    proxy = CuttingProxy(port, by, longest, shortest, of, framed)
    open_now = set[asyncio.Task[None]]()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(proxy.serve(reader, writer))
        open_now.add(task)
        task.add_done_callback(open_now.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        report(proxy.cuts, proxy.streams, by)
        server.close()
        for task in list(open_now):
            task.cancel()
        if open_now:
            await asyncio.wait(open_now)


def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Raises ConnectionError where the client has left: uvloop would raise a RuntimeError."""
    if writer.is_closing():
        raise ConnectionResetError
    writer.write(data)


def _length(head: bytes) -> int:
    found = re.search(rb"\r\ncontent-length: *([0-9]+)\r\n", head.lower())
    return int(found[1]) if found else 0


async def _chunk(reader: asyncio.StreamReader) -> bytes:
    """Of a chunked body; empty at its end."""
    size = int(await reader.readuntil(b"\r\n"), 16)
    return (await reader.readexactly(size + 2))[:-2]
