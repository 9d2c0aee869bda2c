"""The service in a process of its own, and what can be asked of it."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

from sluice.client import AsyncClient, Received
from tests.live.process import Process
from tests.live.stream import Stream


class Service(Process):
    """`sluice serve`: the whole service, or a gateway. Its port stays the same."""

    command = "serve"
    banner = re.compile(rb"Sluice serves at (http://[^\s]+):(\d+)")

    def started(self, said: re.Match[bytes]) -> None:
        self.port = int(said[2])
        self._settings["SLUICE_PORT"] = str(self.port)

    async def ask(self, message: str, chat: str | None = None, **headers: str) -> dict[str, Any]:
        body = {"message": message} | ({"session_id": chat} if chat else {})
        answer = await self.client.post(f"{self.url}/api/v1/chat", json=body, headers=headers)
        assert answer.status_code == 202, answer.text
        accepted: dict[str, Any] = answer.json()
        return accepted

    async def told(self, message: str, **asked: Any) -> list[Received]:
        """All that our own client is told of an answer; what it checks is right then.

        `stream` is for a test that judges bytes and endings, which a client hides.
        """
        client = AsyncClient(self.url, http=self.client)
        async with aclosing(client.ask(message, **asked)) as events:
            return [received async for received in events]

    async def job(self, job: str) -> dict[str, Any]:
        answer = await self.client.get(f"{self.url}/api/v1/jobs/{job}")
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    async def cancel(self, job: str) -> int:
        return (await self.client.delete(f"{self.url}/api/v1/jobs/{job}")).status_code

    def stream(self, job: str, after: str | None = None, **options: Any) -> Stream:
        """To be entered."""
        return Stream(self.port, job, after, **options)

    async def idle(self, within: float = 5) -> None:
        """Until no job and no stream is left."""
        names = ["sluice_jobs_running", "sluice_jobs_queued", "sluice_open_streams"]
        async with asyncio.timeout(within):
            while any(map((await self.metrics()).__getitem__, names)):
                await asyncio.sleep(0.02)

    @property
    def connections(self) -> int:
        """Those of `client`, which wait for another request."""
        pool: Any = self.client._transport
        return len(pool._pool.connections)


@asynccontextmanager
async def serving(folder: Path, **settings: str) -> AsyncIterator[Service]:
    """Killed at the end, if it still lives then."""
    service = Service(folder / "service.log", settings)
    try:
        await service.start()
        yield service
    finally:
        await service.aclose()
