"""A whole service for the tests: two gateways, workers, Redis, PostgreSQL, an upstream.

And of such a service the places of its jobs alone.
"""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from domain.chat import Job
from domain.events import CancelReason
from infrastructure.jobs.places import Given, Places
from infrastructure.jobs.shared import Bounds
from infrastructure.offline_model import OfflineModel, Reply
from infrastructure.redis.client import Server
from tests.live.service import GONE_WITHIN, ROOT, STARTED_WITHIN, Service, environment
from tests.services import PostgresServer, RedisServer

WORDS = [f"{n:03} 조각 " for n in range(200)]
ANSWER = "".join(WORDS)
BOUNDS = Bounds(running=2)


class Worker:
    """`sluice worker` in a process of its own."""

    def __init__(self, log: Path, settings: Mapping[str, str]) -> None:
        self.log, self._settings = log, settings
        self._process: Process | None = None

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "interfaces.cli", "worker"),
                cwd=ROOT,
                env=environment(**self._settings),
                stdout=PIPE,
                stderr=log,
            )
        assert self._process.stdout is not None
        async with asyncio.timeout(STARTED_WITHIN):
            while not (line := await self._process.stdout.readline()).startswith(b"Sluice works"):
                assert line, self.log.read_text()

    @property
    def lives(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def tell(self, what: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, what)

    async def gone(self, within: float = GONE_WITHIN) -> int:
        """Its exit status."""
        assert self._process is not None
        async with asyncio.timeout(within):
            return await self._process.wait()

    async def aclose(self) -> None:
        if self.lives:
            self.tell(signal.SIGKILL)
            await self.gone()

    def has(self, job: str) -> bool:
        """It took the job at some time."""
        return f"job {job} is taken" in self.log.read_text()


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


async def until(holds: Callable[[], object], within: float = 5) -> None:
    async with asyncio.timeout(within):
        while not holds():  # noqa: ASYNC110 - other processes have no events here
            await asyncio.sleep(0.02)


@asynccontextmanager
async def working(
    folder: Path, redis: RedisServer, postgres: PostgresServer, *, workers: int, **given: str
) -> AsyncIterator[Cluster]:
    """Two gateways and that many workers, in a Redis with nothing in it."""
    with Redis.from_url(redis.url) as admin:
        admin.flushall()
    async with AsyncExitStack() as stack:
        model = await stack.enter_async_context(OfflineModel(pace=0))
        settings = {
            "OPENAI_BASE_URL": model.base_url,
            "OPENAI_API_KEY": "key",
            "OPENAI_MODEL": "m",
            "SLUICE_STORE": redis.url,
            "SLUICE_DATABASE": postgres.url,
            "SLUICE_SHUTDOWN_GRACE": "1",
            "SLUICE_LOG_LEVEL": "INFO",
            **given,
        }
        serve = [Service(folder / f"gateway-{n}.log", settings) for n in range(2)]
        work = [Worker(folder / f"worker-{n}.log", settings) for n in range(workers)]
        processes: list[Service | Worker] = [*serve, *work]
        for process in processes:
            stack.push_async_callback(process.aclose)
            await process.start()
        yield Cluster(serve, work, model, redis, postgres)


@pytest.fixture(scope="module")
async def processes(
    own_redis: RedisServer, own_postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    async with working(folder, own_redis, own_postgres, workers=2) as cluster:
        yield cluster


@pytest.fixture
async def cluster(processes: Cluster) -> Cluster:
    await processes.whole()
    return processes


@pytest.fixture
async def places(redis_url: str) -> AsyncIterator[Places]:
    server = Server.at(redis_url)
    places = Places(server)
    await places.beat("worker", 2, 60, [])
    yield places
    await server.aclose()


async def submitted(places: Places, *jobs: Job) -> None:
    for job in jobs:
        await places.admit(job, BOUNDS, "enqueue")
        await places.ready(job.id)


async def taken(places: Places, given: Given) -> CancelReason | str | None:
    return await places.take(given, "run")
