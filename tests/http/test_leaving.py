"""What a request is told that is still under way when the service ends."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import uvicorn
from aiohttp import ClientPayloadError, ClientSession
from starlette.types import ASGIApp, Receive, Scope, Send

from sluice.application.ports import nothing
from sluice.interfaces.http.middleware import ResponseHeaders
from sluice.interfaces.http.server.connection import connections
from sluice.interfaces.http.server.uvicorn_server import UvicornServer
from sluice.interfaces.http.services import StreamStats


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[tuple[str, Callable[[], None]]]:
    """The application's address, and what tells its service to leave, which waits for a second."""
    config = uvicorn.Config(
        ResponseHeaders(app),
        http=connections(StreamStats()),
        lifespan="off",
        log_config=None,
        timeout_graceful_shutdown=1,
    )
    server = UvicornServer(config, nothing, lambda: None)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve([listener]))
        port = listener.getsockname()[1]
        yield f"http://127.0.0.1:{port}", lambda: server.handle_exit(signal.SIGTERM, None)
        await serving


@pytest.mark.parametrize("begun", [False, True])
async def test_a_request_that_a_leaving_service_cuts_is_told_to_come_again(begun: bool) -> None:
    asked = asyncio.Event()

    async def stuck(scope: Scope, receive: Receive, send: Send) -> None:
        if begun:
            head = [(b"content-type", b"text/plain")]
            await send({"type": "http.response.start", "status": 200, "headers": head})
            await send({"type": "http.response.body", "body": b"a", "more_body": True})
        asked.set()
        await asyncio.Event().wait()

    async with served(stuck) as (url, leave), ClientSession() as client:
        asking = asyncio.create_task(client.post(f"{url}/api/v1/chat"))
        await asyncio.wait_for(asked.wait(), 5)
        leave()
        async with asyncio.timeout(5), await asking as reply:
            if begun:
                with pytest.raises(ClientPayloadError):
                    await reply.read()
            else:
                assert (reply.status, reply.headers["Retry-After"]) == (503, "2")
                assert (await reply.json())["code"] == "unavailable"
