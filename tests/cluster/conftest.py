"""One cluster for the tests of a module; whatever they did to it, the next one finds it whole.

And of such a cluster its scheduler alone.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis import Redis

from sluice.application.scheduling import Bounds
from sluice.domain.chat import Job
from sluice.infrastructure.event_log.redis.log import RedisEventLog
from sluice.infrastructure.jobs.redis.scheduler import Claimed, Held, RedisScheduler
from sluice.infrastructure.redis.client import RedisClient
from sluice.offline_model import OfflineModel
from tests.cluster.redis_logs import process
from tests.http.house import Frame, text
from tests.live.cluster import Cluster, clustered
from tests.live.service import Service
from tests.live.stream import TERMINAL
from tests.services import PostgresServer, RedisServer

WORDS = [f"{n:03} 조각 " for n in range(200)]
ANSWER = "".join(WORDS)
BOUNDS = Bounds(running=2)


async def read(gateway: Service, job: str, after: str | None = None) -> list[Frame]:
    async with gateway.stream(job, after) as stream:
        await stream.all(40)
    assert stream.properly
    return stream.seen


def ids(seen: Sequence[Frame]) -> list[tuple[int, ...]]:
    return [tuple(map(int, (frame.id or "").split("-"))) for frame in seen]


def assert_whole(seen: Sequence[Frame], attempts: int = 1) -> None:
    """Rising ids, one end, the answer; a reset at the head of every later attempt."""
    assert ids(seen) == sorted(set(ids(seen)))
    assert [frame.event in TERMINAL for frame in seen].count(True) == 1
    assert seen[-1].event == "done"
    assert text(seen) == seen[-1].data["answer"] == ANSWER
    resets = [(frame.id, frame.data["reason"]) for frame in seen if frame.event == "reset"]
    assert resets == [(f"{n}-1", "new_attempt") for n in range(2, attempts + 1)]


@asynccontextmanager
async def working(
    folder: Path, redis: RedisServer, postgres: PostgresServer, *, workers: int, **given: str
) -> AsyncIterator[Cluster]:
    """Two gateways and that many workers, in a Redis with nothing in it."""
    with Redis.from_url(redis.url) as admin:
        admin.flushall()
    async with (
        OfflineModel(pace=0) as model,
        clustered(folder, model, redis, postgres, workers=workers, **given) as cluster,
    ):
        yield cluster


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
async def scheduler(redis_url: str) -> AsyncIterator[RedisScheduler]:
    """With a worker of two slots."""
    server = RedisClient.at(redis_url)
    scheduler = RedisScheduler(server)
    await scheduler.beat("worker", 2, 60, [])
    yield scheduler
    await server.aclose()


async def submitted(scheduler: RedisScheduler, *jobs: Job) -> None:
    for job in jobs:
        await scheduler.admit(job, BOUNDS, "enqueue")
        await scheduler.ready(job.id)


async def claimed(
    scheduler: RedisScheduler, claim: str = "claim", bounds: Bounds = BOUNDS
) -> Sequence[Claimed]:
    """All that there is to claim."""
    return await scheduler.claim("worker", claim, slots=100, ends=100, bounds=bounds, lease_s=60)


async def finished(scheduler: RedisScheduler, job_id: str, claim: str = "claim") -> None:
    await scheduler.finish(Held(job_id, claim))


@pytest.fixture
async def worker(own_redis: RedisServer) -> AsyncIterator[RedisEventLog]:
    with Redis.from_url(own_redis.url) as admin:
        admin.flushall()
        admin.config_set("maxmemory", 0)
    async with process(own_redis.url) as log:
        yield log


@pytest.fixture
async def gateway(own_redis: RedisServer) -> AsyncIterator[RedisEventLog]:
    async with process(own_redis.url) as log:
        yield log
