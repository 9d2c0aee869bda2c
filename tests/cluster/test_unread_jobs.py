"""Jobs that nobody reads, while readers move between gateways and gateways go."""

import asyncio
import signal
from collections.abc import AsyncIterator

import pytest

from sluice.offline_model import Break, Reply
from tests.cluster.conftest import working
from tests.http.house import Frame
from tests.live.cluster import Cluster
from tests.live.service import Service
from tests.services import PostgresServer, RedisServer

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
async def processes(
    own_redis: RedisServer, own_postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Cluster]:
    folder, setting = tmp_path_factory.mktemp("orphans"), {"SLUICE_ON_DISCONNECT": "cancel:1"}
    async with working(folder, own_redis, own_postgres, workers=1, **setting) as cluster:
        yield cluster


async def hanging(cluster: Cluster, gateway: Service) -> str:
    """A job that says a word and ends by itself only much later."""
    cluster.says("hangs", Reply(["half", Break.HANG]))
    job: str = (await gateway.ask("hangs"))["job_id"]
    return job


async def ended(gateway: Service, job: str) -> Frame:
    """Without being its reader before."""
    async with asyncio.timeout(20):
        while (await gateway.job(job))["ended_at"] is None:  # noqa: ASYNC110 - as a client looks
            await asyncio.sleep(0.05)
    async with gateway.stream(job) as stream:
        return (await stream.all())[-1]


async def assert_orphaned(cluster: Cluster, gateway: Service, job: str) -> None:
    end = await ended(gateway, job)
    assert end.data == {"status": "cancelled", "reason": "orphaned"}
    await cluster.model.until_idle()


async def goes_on_while_another_ends(cluster: Cluster, gateway: Service, job: str) -> None:
    """The other begins now and is never read: when it ends, time is over for both."""
    await ended(gateway, await hanging(cluster, gateway))
    assert (await gateway.job(job))["ended_at"] is None


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_reader_may_move_to_another_gateway(cluster: Cluster, restarted: bool) -> None:
    one, other = cluster.gateways
    job = await hanging(cluster, one)
    async with one.stream(job) as stream:
        await stream.until("token")
        if restarted:
            one.tell(signal.SIGTERM)
            await stream.all()
    async with other.stream(job, stream.seen[-1].id):
        if restarted:
            assert await one.gone() == 0
            await one.start()
        await goes_on_while_another_ends(cluster, one, job)
    await assert_orphaned(cluster, one, job)


async def test_a_killed_gateways_readers_are_gone(cluster: Cluster) -> None:
    one, other = cluster.gateways
    job = await hanging(cluster, other)
    async with other.stream(job) as stream:
        await stream.until("token")
        await other.kill()
    try:
        await assert_orphaned(cluster, one, job)
    finally:
        await other.start()


async def test_nobody_is_gone_while_redis_is(cluster: Cluster) -> None:
    one, other = cluster.gateways
    job = await hanging(cluster, one)
    async with other.stream(job) as stream:
        await stream.until("token")
        with cluster.redis.frozen():
            for _ in range(2):  # three seconds each
                refused = await one.client.post(f"{one.url}/api/v1/chat", json={"message": "now?"})
                assert refused.status_code == 503
        await cluster.ready(one)
        await goes_on_while_another_ends(cluster, one, job)
    await assert_orphaned(cluster, one, job)
