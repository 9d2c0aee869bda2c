"""Answers of unknown length that HTTP/1.0 can read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


def unchunked(cycle: RequestResponseCycle, app: ASGI3Application) -> ASGI3Application:
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
