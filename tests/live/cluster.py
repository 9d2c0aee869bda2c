"""The distributed service: two gateways, workers, Redis, PostgreSQL, an upstream."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sluice.offline_model import OfflineModel, Reply
from tests.live.process import STARTED_WITHIN
from tests.live.service import Service
from tests.live.worker import Worker
from tests.services import PostgresServer, RedisServer
from tests.waiting import until


@dataclass
class Cluster:
    gateways: list[Service]
    workers: list[Worker]
    model: OfflineModel
    redis: RedisServer
    postgres: PostgresServer

    def says(self, message: str, reply: Reply) -> None:
        """What the answering call for that message gets."""

        def meant(body: Any) -> bool:
            asked: bool = body["messages"][-1]["content"] == message
            return asked and "response_format" not in body

        self.model.script_when(meant, reply)

    async def worker_of(self, job: str) -> Worker:
        await until(lambda: any(worker.lives and worker.has(job) for worker in self.workers))
        return next(worker for worker in self.workers if worker.lives and worker.has(job))

    async def whole(self) -> None:
        """Everything lives, and every gateway says so."""
        for worker in self.workers:
            if not worker.lives:
                await worker.start()
        for gateway in self.gateways:
            await self.ready(gateway)

    async def ready(self, gateway: Service, reason: str | None = None) -> None:
        """Until it is ready, or says why not."""
        async with asyncio.timeout(STARTED_WITHIN):
            while True:
                answer = (await gateway.client.get(f"{gateway.url}/readyz")).json()
                if reason in answer.get("detail", "") if reason else "detail" not in answer:
                    return
                await asyncio.sleep(0.1)


@asynccontextmanager
async def clustered(
    folder: Path,
    model: OfflineModel,
    redis: RedisServer,
    postgres: PostgresServer,
    *,
    workers: int,
    **given: str,
) -> AsyncIterator[Cluster]:
    """Two gateways and so many workers, killed at the end; `given` are further settings."""
    settings = {
        "OPENAI_BASE_URL": model.base_url,
        "OPENAI_API_KEY": "key",
        "OPENAI_MODEL": "m",
        "SLUICE_STORE": redis.url,
        "SLUICE_DATABASE": postgres.url,
        "SLUICE_SHUTDOWN_GRACE": "1",
        "SLUICE_LOG_LEVEL": "INFO",
    } | given
    gateways = [Service(folder / f"gateway-{n}.log", settings) for n in range(2)]
    crew = [Worker(folder / f"worker-{n}.log", settings) for n in range(workers)]
    async with AsyncExitStack() as stack:
        for process in [*gateways, *crew]:
            stack.push_async_callback(process.aclose)
            await process.start()
        yield Cluster(gateways, crew, model, redis, postgres)
