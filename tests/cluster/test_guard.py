"""A guarded rollout at two gateways and two workers, which steps back by itself, or holds."""

from collections.abc import AsyncIterator

import pytest

from tests.cluster.conftest import working
from tests.live.cluster import Cluster
from tests.live.guarded import GRAPH, RULES, Guarded, regression
from tests.services import PostgresServer, RedisServer

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
async def processes(
    own_redis: RedisServer, own_postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    async with working(folder, own_redis, own_postgres, workers=2, **GRAPH) as cluster:
        yield cluster


@pytest.mark.parametrize("kind", ["errors", "late", "left"])
async def test_a_regression_of_a2_steps_back_by_itself(cluster: Cluster, kind: str) -> None:
    guarded = Guarded(cluster.gateways)
    back = await regression(guarded, kind)
    assert (back["from"], back["to"], back["by"]) == (50, 0, "guard")
    assert back["verdict"]["rule"] == RULES[kind]
    assert back["verdict"]["first_bad_events"][RULES[kind]]["A1"] == 0
    await guarded.in_force(0)


async def test_killing_the_decider_in_the_middle_changes_nothing(cluster: Cluster) -> None:
    guarded = Guarded(cluster.gateways)
    back = await regression(guarded, "doubled", kill=True)
    assert [one.lives for one in cluster.gateways].count(True) == 1
    assert (back["from"], back["to"], back["verdict"]["rule"]) == (50, 0, "spoiled")
    assert back["verdict"]["first_bad_events"]["spoiled"]["A1"] == 0
    for gateway in cluster.gateways:
        if not gateway.lives:
            await gateway.start()
    await cluster.whole()
    await guarded.in_force(0)


async def test_a_broken_upstream_that_hurts_both_arms_holds(cluster: Cluster) -> None:
    guarded = Guarded(cluster.gateways)
    held = await regression(guarded, "both")
    assert (held["from"], held["to"], held["state"]) == (50, 50, "running")
    assert held["verdict"]["rule"] == "upstream"
    await guarded.in_force(50)
    await guarded.change(state="stopped")
