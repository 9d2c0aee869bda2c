"""Shadows of a cluster: run by workers, seen at every gateway, read by nobody."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql
from redis import Redis

from sluice.offline_model import Gate, Reply
from tests.cluster.conftest import read, working
from tests.http.house import text
from tests.live.cluster import Cluster
from tests.live.service import Service
from tests.live.shadowed import CANARY, says_apart, shadows, shadows_when
from tests.services import PostgresServer, RedisServer

SAID = "WHAT-WAS-SAID"


@pytest.fixture(scope="module")
async def processes(
    own_redis: RedisServer, own_postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    settings = {
        "SLUICE_SHADOW": "100%",
        "SLUICE_SHADOW_BUDGET": "1000000",
        "SLUICE_SHUTDOWN_GRACE": "20",
        "SLUICE_LOG_LEVEL": "DEBUG",
    }
    async with working(folder, own_redis, own_postgres, workers=2, **settings) as cluster:
        yield cluster


def kept_in_redis(redis: RedisServer) -> Iterator[bytes]:
    with Redis.from_url(redis.url) as admin:
        for key in admin.scan_iter():
            readers: dict[bytes, Any] = {
                b"stream": admin.xrange,
                b"hash": admin.hgetall,
                b"string": admin.get,
                b"set": admin.smembers,
                b"list": lambda name: admin.lrange(name, 0, -1),
                b"zset": lambda name: admin.zrange(name, 0, -1, withscores=True),
            }
            yield repr((key, readers[admin.type(key)](key))).encode()


def kept_in_postgres(postgres: PostgresServer) -> Iterator[str]:
    """Every row of every table; texts are in hexadecimal."""
    with psycopg.connect(postgres.url) as db:
        tables = db.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'sluice'"
        ).fetchall()
        for (table,) in tables:
            query = sql.SQL("SELECT t::text FROM sluice.{} t").format(sql.Identifier(table))
            yield from (row for (row,) in db.execute(query).fetchall())


async def outcomes(gateway: Service) -> int:
    """Of all jobs that this PostgreSQL has ever seen."""
    exported = await gateway.client.get(f"{gateway.url}/api/v1/rollout/outcomes")
    return len(exported.text.splitlines())


async def test_a_workers_shadow_is_seen_at_every_gateway_and_read_nowhere(
    cluster: Cluster,
) -> None:
    here, there = cluster.gateways
    shown = await shadows(here)
    assert (shown["runs"], shown["share"]) == (0, 100)
    before = await outcomes(here)
    says_apart(cluster.model, "Why?", Reply([SAID, " x"]), Reply([CANARY, " is else"]))
    job = (await here.ask("Why?"))["job_id"]
    assert SAID in text(await read(there, job))
    shown = await shadows_when(there, "runs")
    assert shown == await shadows(here)
    assert (shown["same_text"]["count"], shown["same_stages"]["count"]) == (0, 1)
    assert shown["paths"]["A1"]["answer"]["value"] > 0
    runs = [await worker.metrics() for worker in cluster.workers]
    name = 'sluice_shadow_runs_total{path="A1",result="different"}'
    assert sum(one.get(name, 0) for one in runs) == 1
    for gateway in cluster.gateways:
        assert CANARY not in text(await read(gateway, job))
        assert await outcomes(gateway) == before + 1
    in_redis = b"".join(kept_in_redis(cluster.redis))
    in_postgres = "".join(kept_in_postgres(cluster.postgres))
    assert SAID.encode() in in_redis
    assert SAID.encode().hex() in in_postgres
    assert CANARY.encode() not in in_redis
    assert CANARY.encode().hex() not in in_postgres
    assert CANARY not in in_postgres
    for process in (*cluster.gateways, *cluster.workers):
        assert CANARY not in process.log.read_text()


async def test_a_worker_that_leaves_ends_its_shadow_and_no_other_one_takes_it_up(
    cluster: Cluster,
) -> None:
    gate, (here, _) = Gate(), cluster.gateways
    before = await shadows(here)
    says_apart(cluster.model, "Go?", Reply(["so"]), Reply([CANARY, "x"], hold_after=1, gate=gate))
    job = (await here.ask("Go?"))["job_id"]
    await read(here, job)
    await gate.reached()
    worker = await cluster.worker_of(job)
    began = asyncio.get_running_loop().time()
    worker.tell(signal.SIGTERM)
    assert await worker.gone() == 0
    assert asyncio.get_running_loop().time() - began < 10, "half of the grace that a job has"
    shown = await shadows_when(here, "cancelled", before["cancelled"] + 1)
    assert (shown["unfinished"], shown["runs"]) == (0, before["runs"])
    assert shown["spent"] > before["spent"]
    await cluster.whole()
    says_apart(cluster.model, "Well?", Reply(["so"]), Reply(["so"]))
    job = (await here.ask("Well?"))["job_id"]
    await read(here, job)
    shown = await shadows_when(here, "runs", before["runs"] + 1)
    assert shown["cancelled"] == before["cancelled"] + 1


async def test_a_shadow_that_ends_while_postgresql_is_away_costs_its_figures_at_most(
    cluster: Cluster,
) -> None:
    """It is written late, or stays unfinished, as PostgreSQL comes back."""
    gate, (here, _) = Gate(), cluster.gateways
    before, same = await shadows(here), await same_texts(cluster)
    says_apart(cluster.model, "Away?", Reply(["so"]), Reply(["so"], hold_after=0, gate=gate))
    await read(here, (await here.ask("Away?"))["job_id"])
    await gate.reached()
    cluster.postgres.stop()
    try:
        gate.release()
        async with asyncio.timeout(5):
            while await same_texts(cluster) == same:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
    finally:
        cluster.postgres.start()
    await cluster.whole()
    says_apart(cluster.model, "Back?", Reply(["so"]), Reply(["so"]))
    await read(here, (await here.ask("Back?"))["job_id"])
    async with asyncio.timeout(10):
        while await same_texts(cluster) < same + 2:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)
    shown = await shadows_when(here, "runs", before["runs"] + 1)
    assert shown["runs"] + shown["unfinished"] == before["runs"] + 2


async def same_texts(cluster: Cluster) -> float:
    name = 'sluice_shadow_runs_total{path="A1",result="same"}'
    return sum([(await worker.metrics()).get(name, 0) for worker in cluster.workers])
