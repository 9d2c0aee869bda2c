"""The share of a cluster: set at one gateway, in force at all, whatever is away."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sluice.domain.rollout import Share
from tests.cluster.conftest import working
from tests.live.cluster import Cluster
from tests.live.service import Service
from tests.services import PostgresServer, RedisServer
from tests.waiting import until

ROLLOUT = "/api/v1/rollout"


@pytest.fixture(scope="module")
async def processes(
    own_redis: RedisServer, own_postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    settings = {"ENABLE_TOKEN_STREAMING": "0%"}
    async with working(folder, own_redis, own_postgres, workers=1, **settings) as cluster:
        yield cluster


async def set_share(gateway: Service, share: float) -> dict[str, Any]:
    headers = {"If-Match": "*"}
    url = f"{gateway.url}{ROLLOUT}"
    answer = await gateway.client.put(url, json={"share": share}, headers=headers)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def in_force(gateway: Service, share: float, *, stale: bool = False) -> None:
    """Until it is, as the gateway's metrics tell: they ask nobody."""
    async with asyncio.timeout(5):
        while await told(gateway) != (share, stale):  # noqa: ASYNC110 - another process tells nobody
            await asyncio.sleep(0.05)


async def told(gateway: Service) -> tuple[float, float]:
    metrics = await gateway.metrics()
    return metrics["sluice_rollout_share"], metrics["sluice_rollout_stale"]


async def test_a_share_that_is_set_at_one_gateway_is_in_force_at_the_other(
    cluster: Cluster,
) -> None:
    here, there = cluster.gateways
    for share in (100, 0, 25):
        body = await set_share(here, share)
        async with asyncio.timeout(2):  # as is promised
            await in_force(there, share)
        asked = await there.ask("Why?")
        job = await there.job(asked["job_id"])
        assert job["path"] == ("A2" if Share(share).holds(asked["chat_id"]) else "A1")
        assert job["flag"] == {
            "share": share, "reason": "control", "source": "control", "rollout": body["rollout"],
        }  # fmt: skip


async def test_a_job_has_one_outcome_with_what_was_handed_over_at_another_gateway(
    cluster: Cluster,
) -> None:
    here, there = cluster.gateways
    rollout = (await set_share(here, 100))["rollout"]
    asked = await here.ask("Why?")
    async with there.stream(asked["job_id"]) as stream:
        await stream.all(20)
    url = f"{here.url}{ROLLOUT}/outcomes?rollout={rollout}"
    async with asyncio.timeout(5):
        while True:
            lines = (await here.client.get(url)).text.splitlines()
            found = [one for one in map(json.loads, lines) if one["job_id"] == asked["job_id"]]
            if found and found[0]["first_character_at"]:
                break
            await asyncio.sleep(0.05)
    (outcome,) = found
    assert (outcome["arm"], outcome["path"], outcome["status"]) == ("A2", "A2", "completed")
    assert outcome["admitted_at"] < outcome["first_character_at"]
    assert outcome["attempts"] == 1


async def test_a_share_is_kept_over_a_restart_of_every_gateway(cluster: Cluster) -> None:
    await set_share(cluster.gateways[0], 42)
    for gateway in cluster.gateways:
        await gateway.kill()
    for gateway in cluster.gateways:
        await gateway.start()
        answer = (await gateway.client.get(f"{gateway.url}{ROLLOUT}")).json()
        assert (answer["share"], answer["source"], answer["environment"]) == (42, "control", "0%")


async def test_without_redis_a_share_is_found_by_looking(cluster: Cluster) -> None:
    here, there = cluster.gateways
    with cluster.redis.frozen():
        number = (await set_share(here, 61))["history"][0]["number"]
        # Its metrics would wait for Redis.
        await until(lambda: f"operators' share: 61 % (change {number})" in there.life)
    await in_force(there, 61)


async def test_while_postgresql_is_away_the_last_share_stays(cluster: Cluster) -> None:
    here, there = cluster.gateways
    await set_share(here, 33)
    await in_force(there, 33)
    cluster.postgres.stop()
    try:
        for gateway in cluster.gateways:
            await in_force(gateway, 33, stale=True)
        refused = await here.client.put(
            f"{here.url}{ROLLOUT}", json={"share": 1}, headers={"If-Match": "*"}
        )
        assert refused.status_code == 503
        shown = (await here.client.get(f"{here.url}{ROLLOUT}")).json()
        assert (shown["share"], shown["reason"], shown["history"]) == (33, "stale", None)
    finally:
        cluster.postgres.start()
    for gateway in cluster.gateways:
        await in_force(gateway, 33)


async def test_a_gateway_that_starts_without_postgresql_draws_nobody_by_the_environment(
    cluster: Cluster,
) -> None:
    here, there = cluster.gateways
    await set_share(here, 100)
    await there.kill()
    cluster.postgres.stop()
    try:
        await there.start()
        url = f"{there.url}/api/v1/chat"
        refused = await there.client.post(url, json={"message": "Why?"})
        assert refused.status_code == 503
    finally:
        cluster.postgres.start()
    await cluster.ready(there)
    asked = await there.ask("Why?")
    assert asked["path"] == "A2"
    assert (await there.job(asked["job_id"]))["flag"]["source"] == "control"
