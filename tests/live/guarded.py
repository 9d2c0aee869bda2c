"""A guarded rollout on real processes: two gateways, two workers, Redis and PostgreSQL.

    python -m tests.live.guarded [errors late left doubled both]

Injects each regression into A2, or into both arms, and prints what the guard made of it. With
`doubled` the process that decides is killed in the middle.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from itertools import count
from pathlib import Path
from typing import Any

from redis import Redis

from sluice.offline_model import OfflineModel
from tests.live.cluster import Cluster, clustered
from tests.live.service import Service
from tests.services import PostgresServer, RedisServer

GRAPH = {"SLUICE_PIPELINE": "tests.faults.graphs:worse_on_a2", "ENABLE_TOKEN_STREAMING": "0%"}
PLAN = {
    "steps": [{"share": 50, "seconds": 9999, "users": 10}],
    "limits": {"ratio": "any", "late_seconds": 4, "ill": 0.5},
}
ROLLOUT = "/api/v1/rollout"
_PATIENCE_SECONDS = 0.7
"""A reader who has seen nothing for so long leaves."""


class Guarded:
    """`gateways` serve users who ask for a regression; every chat is another user."""

    def __init__(self, gateways: Sequence[Service]) -> None:
        self.gateways = gateways
        self._turn = count()

    async def change(self, **body: Any) -> dict[str, Any]:
        """By hand, at whatever gateway is there."""
        (gateway, *_) = [one for one in self.gateways if one.lives]
        headers = {"If-Match": "*"}
        answer = await gateway.client.put(f"{gateway.url}{ROLLOUT}", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    async def shown(self) -> dict[str, Any]:
        (gateway, *_) = [one for one in self.gateways if one.lives]
        told: dict[str, Any] = (await gateway.client.get(f"{gateway.url}{ROLLOUT}")).json()
        return told

    async def starts(self) -> None:
        """A plan, at every gateway."""
        await self.change(plan=PLAN)
        await self.in_force(50)

    async def in_force(self, share: float) -> None:
        """At every gateway, as its metrics tell."""
        async with asyncio.timeout(5):
            for gateway in self.gateways:
                while (await gateway.metrics())["sluice_rollout_share"] != share:
                    await asyncio.sleep(0.05)

    async def asks(self, kind: str, users: int) -> None:
        there = [one for one in self.gateways if one.lives]
        await asyncio.gather(
            *(self._ask(there[next(self._turn) % len(there)], kind) for _ in range(users))
        )

    async def _ask(self, gateway: Service, kind: str) -> None:
        asked = await gateway.ask(kind)
        async with gateway.stream(asked["job_id"]) as stream:
            try:
                async with asyncio.timeout(_PATIENCE_SECONDS if kind == "left" else 20):
                    async for _ in stream:
                        pass
            except TimeoutError:
                return

    async def decider(self) -> Service:
        async with asyncio.timeout(15):
            while True:
                for gateway in (one for one in self.gateways if one.lives):
                    if (await gateway.metrics()).get("sluice_guard_decides"):
                        return gateway
                await asyncio.sleep(0.1)

    async def acts(self, state: str, rule: str, within: float = 12) -> dict[str, Any]:
        """Until the newest decision is that one."""
        async with asyncio.timeout(within):
            while True:
                newest = (await self.shown())["history"][0]
                verdict = newest["verdict"]
                if verdict and (newest["state"], verdict["rule"]) == (state, rule):
                    decided: dict[str, Any] = newest
                    return decided
                await asyncio.sleep(0.1)


RULES = {"errors": "failed", "late": "late", "left": "left", "doubled": "spoiled"}


async def regression(guarded: Guarded, kind: str, *, kill: bool = False) -> dict[str, Any]:
    """Injects it and gives the decision."""
    await guarded.starts()
    if kill:
        await guarded.asks(kind, 16)
        decider = await guarded.decider()
        await decider.kill()
    await guarded.asks(kind, 24)
    for _ in range(6):
        try:
            if kind == "both":
                return await guarded.acts("running", "upstream", 4)
            return await guarded.acts("stepped_back", RULES[kind], 4)
        except TimeoutError:
            await guarded.asks(kind, 12)
    raise AssertionError((await guarded.shown())["guard"])


async def measured(cluster: Cluster, kind: str) -> str:
    guarded, begun = Guarded(cluster.gateways), time.monotonic()
    decided = await regression(guarded, kind, kill=kind == "doubled")
    took = time.monotonic() - begun
    told = f"{kind}: {decided['from']:g} % -> {decided['to']:g} %, {decided['why']} ({took:.1f} s)"
    for gateway in cluster.gateways:
        if not gateway.lives:
            await gateway.start()
    await cluster.whole()
    if decided["state"] == "running":
        await guarded.change(state="stopped")
    return told


async def main(kinds: Sequence[str]) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis = stack.enter_context(closing(RedisServer()))
        postgres = stack.enter_context(closing(PostgresServer()))
        with Redis.from_url(redis.url) as admin:
            admin.flushall()
        async with (
            OfflineModel(pace=0) as model,
            clustered(folder, model, redis, postgres, workers=2, **GRAPH) as cluster,
        ):
            for kind in kinds or (*RULES, "both"):
                print(await measured(cluster, kind), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
