"""The floor in Python: bytes from socket to socket, an asyncio protocol on uvloop.

HTTP is not even parsed. It keeps nothing, knows nothing and cannot resume.
"""

import asyncio
import json
import os
from typing import cast
from urllib.parse import urlsplit

import uvloop


class Pipe(asyncio.Protocol):
    """One side of a proxied connection: what comes in leaves by the other."""

    def __init__(self, other: "Pipe | None" = None) -> None:
        self._other = other
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if self._other is None:
            self._dial = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        port = urlsplit(os.environ["OPENAI_BASE_URL"]).port or 80
        loop = asyncio.get_running_loop()
        _, self._other = await loop.create_connection(lambda: Pipe(self), "127.0.0.1", port)
        self._other.transport.writelines(self._early)

    def data_received(self, data: bytes) -> None:
        if self._other:
            self._other.transport.write(data)
        else:
            self._early.append(data)

    def pause_writing(self) -> None:
        if self._other:
            self._other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._other:
            self._other.transport.resume_reading()

    def connection_lost(self, _exc: Exception | None) -> None:
        if self._other:
            self._other.transport.close()


async def serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Pipe, "127.0.0.1", 0, backlog=4096)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve())
