"""A proxy that cuts event streams at a random byte: by a reset, or by a proper end of the body."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Literal

Cut = Literal["reset", "end"]
_NO_LINGER = struct.pack("ii", 1, 0)


@dataclass
class CuttingProxy:
    """Of every `of` streams the first `of - 1` are cut, before their first `longest` bytes end."""

    port: int
    by: Cut
    longest: int
    of: int = 5
    rng: Random = field(default_factory=lambda: Random(7))
    streams: int = 0
    cuts: int = 0
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream, up = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            writer.close()
            return
        try:
            up.write(_closing(await reader.readuntil(b"\r\n\r\n")))
            sending = asyncio.create_task(_copy(reader, up))
            head = await upstream.readuntil(b"\r\n\r\n")
            writer.write(_closing(head))
            if b"text/event-stream" in head.lower() and b"chunked" in head.lower():
                await self._stream(upstream, writer)
            else:
                await _copy(upstream, writer)
            sending.cancel()
            await asyncio.wait([sending])
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            up.close()
            writer.close()

    async def _stream(self, upstream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.streams += 1
        cut = self.streams % self.of != 0
        left = self.rng.randrange(self.longest) if cut else 1 << 60
        while chunk := await _chunk(upstream):
            part = chunk[:left]
            left -= len(part)
            if part:
                writer.write(b"%x\r\n%b\r\n" % (len(part), part))
                await writer.drain()
            if not left:
                self.cuts += 1
                self._cut(writer)
                return
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    def _cut(self, writer: asyncio.StreamWriter) -> None:
        if self.by == "end":
            writer.write(b"0\r\n\r\n")
            return
        peer: socket.socket = writer.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        writer.transport.abort()


@asynccontextmanager
async def cutting(
    port: int, by: Cut, longest: int, *, of: int = 5, seed: int = 7
) -> AsyncIterator[CuttingProxy]:
    proxy = CuttingProxy(port, by, longest, of, Random(seed))
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
        server.close()
        for task in list(open_now):
            task.cancel()
        if open_now:
            await asyncio.wait(open_now)


def _closing(head: bytes) -> bytes:
    """One request a connection."""
    lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    kept = [line for line in lines if not line.lower().startswith(b"connection:")]
    return b"\r\n".join([*kept, b"Connection: close", b"", b""])


async def _chunk(reader: asyncio.StreamReader) -> bytes:
    """Of a chunked body; empty at its end."""
    size = int(await reader.readuntil(b"\r\n"), 16)
    return (await reader.readexactly(size + 2))[:-2]


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while part := await reader.read(65536):
        writer.write(part)
        await writer.drain()
