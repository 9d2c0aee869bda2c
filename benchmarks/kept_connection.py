"""Small requests one after the other on a connection that is kept, as a browser sends them."""

import asyncio
import json
from typing import Any, cast

import httptools


def request(method: str, path: str, body: object = None) -> bytes:
    data = json.dumps(body).encode() if body else b""
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(data)}\r\n"
    kind = "Content-Type: application/json\r\n" if data else ""
    return f"{head}{kind}\r\n".encode() + data


class RefusedError(Exception):
    """The reply's status, as text."""


class KeptConnection(asyncio.Protocol):
    def __init__(self, port: int) -> None:
        self._port = port
        self._transport: asyncio.Transport | None = None
        self._reply: asyncio.Future[Any] | None = None

    async def post(self, path: str, body: object = None) -> Any:
        """The reply's JSON. Raises RefusedError, and OSError for a connection that breaks."""
        loop = asyncio.get_running_loop()
        if self._transport is None:
            await loop.create_connection(lambda: self, "127.0.0.1", self._port)
        assert self._transport is not None
        self._body, self._reply = b"", loop.create_future()
        self._transport.write(request("POST", path, body))
        return await self._reply

    @property
    def open(self) -> bool:
        return self._transport is not None

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._parser = httptools.HttpResponseParser(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        reply, self._reply = self._reply, None
        if reply is None or reply.done():
            return
        status = self._parser.get_status_code()
        if status < 400:
            reply.set_result(json.loads(self._body))
        else:
            reply.set_exception(RefusedError(f"status {status}"))

    def connection_lost(self, _exc: Exception | None) -> None:
        """The server may close it while nothing is asked: the next request opens another."""
        self._transport = None
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(ConnectionError("connection lost"))
