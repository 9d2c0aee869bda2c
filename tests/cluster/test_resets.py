"""A worker behind a balancer that resets its connections to Redis while they wait."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from tests.live.worker import Worker
from tests.waiting import until

TIMES = 10
NOW = struct.pack("ii", 1, 0)


class Balancer:
    """`open`: its connections to whoever came, which are ended with `reset`."""

    def __init__(self, url: str) -> None:
        self._behind = urlsplit(url)
        self.open: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back = await asyncio.open_connection(self._behind.hostname, self._behind.port)
        self.open.add(writer)
        await asyncio.gather(passed(reader, back[1]), passed(back[0], writer))
        self.open.discard(writer)

    def reset(self) -> None:
        for writer in self.open:
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NOW)
            writer.transport.abort()
        self.open.clear()


async def passed(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await source.read(65536):
            target.write(data)
    target.close()


@asynccontextmanager
async def balanced(url: str) -> AsyncIterator[tuple[Balancer, str]]:
    balancer = Balancer(url)
    async with await asyncio.start_server(balancer.serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield balancer, urlsplit(url)._replace(netloc=f"127.0.0.1:{port}").geturl()


async def test_a_worker_outlives_resets_of_its_waiting_connections(
    redis_url: str, tmp_path: Path
) -> None:
    async with balanced(redis_url) as (balancer, url):
        upstream = {"OPENAI_BASE_URL": "http://127.0.0.1:1", "OPENAI_API_KEY": "key"}
        stores = {"SLUICE_STORE": url, "SLUICE_DATABASE": "postgresql://127.0.0.1:1/none"}
        worker = Worker(tmp_path / "log", upstream | stores | {"OPENAI_MODEL": "m"})
        try:
            await worker.start()
            for _ in range(TIMES):
                await until(lambda: len(balancer.open) > 1 or not worker.lives)
                balancer.reset()
            await until(lambda: len(balancer.open) > 1 or not worker.lives)
            assert worker.lives, worker.life
        finally:
            await worker.aclose()
