"""The scheme of the keys, held to by a Redis that refuses commands whose keys may lie apart.

It is one node of a cluster, with all slots: what it refuses, several nodes cannot do.
"""

import time
from collections.abc import Iterator

import pytest
from redis import Redis

from sluice.domain.errors import NotFound, Unavailable
from sluice.domain.events import Token
from sluice.infrastructure.jobs.redis.scheduler import RedisScheduler
from sluice.infrastructure.redis.client import RedisClient
from tests.cluster.conftest import claimed, finished, submitted
from tests.cluster.redis_logs import DONE, FIRST, begun, process
from tests.doubles import a_job
from tests.services import RedisServer, found, free_port, missing


@pytest.fixture(scope="module")
def node() -> Iterator[str]:
    if found("redis-server") is None:
        missing("redis-server")
    server = RedisServer("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    with Redis.from_url(server.url) as admin:
        admin.execute_command("CLUSTER ADDSLOTS", *range(16384))
        while admin.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
            time.sleep(0.05)
    yield server.url
    server.close()


async def test_a_jobs_log_lies_together(node: str) -> None:
    async with process(node) as log:
        first, told = await begun(log)
        other, _ = await begun(log)
        told.publish(Token("a", "answer"))
        await told.end(DONE)
        events = [each.event for each in (await log.read(first.id)).events]
        assert events == [FIRST, Token("a", "answer"), DONE]
        assert [job.id for job in await log.unfinished(first.chat_id)] == [other.id]
        assert [job.id for job in await log.unfinished()] == [other.id]
        await log.delete(first.chat_id)
        with pytest.raises(NotFound):
            await log.read(other.id)


async def test_what_is_known_of_all_jobs_lies_together(node: str) -> None:
    server = RedisClient.at(node)
    scheduler = RedisScheduler(server)
    await scheduler.beat("worker", 1, 60, [])
    running, waiting = a_job(chat_id="one"), a_job(chat_id="two")
    await submitted(scheduler, running, waiting)
    assert await claimed(scheduler) == [(running.id, None, 0)]
    await scheduler.cancel(waiting.id, "user")
    await finished(scheduler, running.id)
    assert await claimed(scheduler, "another") == [(waiting.id, "user", 0)]
    await server.aclose()


async def test_a_cluster_is_refused_with_its_reason(node: str) -> None:
    """Its gateways would read nothing: they read all their jobs with one command."""
    async with process(node) as log:
        with pytest.raises(Unavailable, match="Redis is a cluster"):
            await log.check()
