"""The distributed run: gateways, workers and Redis are disturbed side by side."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

from redis import Redis

from sluice.infrastructure.jobs.redis.worker import LEASE_S
from tests.chaos.lanes import Lane, cut, dismiss, freeze, kill, restart
from tests.chaos.leftovers import against_fresh
from tests.chaos.run import SETTINGS, Opened
from tests.chaos.upstream import ChaosModel
from tests.live.cluster import Cluster, clustered
from tests.live.service import Service
from tests.live.worker import Worker
from tests.services import PostgresServer, RedisServer
from tests.waiting import until

_PAUSES = (4, 16)
_STANDING = {
    f"sluice:{{jobs}}:{name}" for name in ("arrivals", "claims", "clock", "slots", "workers")
}
_BEYOND_THE_LEASE = (LEASE_S + 1, LEASE_S + 4)
_AWAY = (1, 3)


class Distributed:
    def __init__(self, cluster: Cluster, model: ChaosModel) -> None:
        self._cluster, self._model = cluster, model
        self._rng = Random(f"{model.seed} port")
        self.lanes: Sequence[Lane] = [
            *[_gateways(f"gateway-{n}", gateway) for n, gateway in enumerate(cluster.gateways)],
            *[_workers(f"worker-{n}", worker) for n, worker in enumerate(cluster.workers)],
            _redis(cluster.redis),
            Lane("postgres", [restart(cluster.postgres, _AWAY)], _PAUSES),
        ]

    def port(self) -> int:
        return self._rng.choice(self._cluster.gateways).port

    async def left(self, job: str) -> dict[str, float]:
        cluster, model = self._cluster, self._model
        peers = model.base_url, cluster.redis.url, cluster.postgres.url
        with Redis.from_url(cluster.redis.url) as admin:
            await until(lambda: not _jobs(admin), 120)
            await model.until_idle(120)
            left: dict[str, float] = {f"key {key}": 1 for key in _endless(admin)}
            left |= {"calls upstream": model.opened - model.closed, "jobs": _jobs(admin)}
        await cluster.whole()  # and makes the gateways count
        for n, gateway in enumerate(cluster.gateways):
            await gateway.idle(120)
            left[f"streams of gateway-{n}"] = (await gateway.metrics())["sluice_open_streams"]
            left |= _of(f"gateway-{n}", await against_fresh(gateway, *peers, job=job))
        for n, worker in enumerate(cluster.workers):
            left |= _of(f"worker-{n}", await against_fresh(worker, *peers))
        return left


def _of(who: str, left: dict[str, float]) -> dict[str, float]:
    return {f"{what} of {who}": count for what, count in left.items()}


def _jobs(admin: Redis) -> int:
    """Those that are not over, for the scheduler."""
    return int(admin.zcard("sluice:{jobs}:jobs"))


def _endless(admin: Redis) -> list[str]:
    """Keys that would stay for good, but for the few that are no job's."""
    keys = [key.decode() for key in admin.scan_iter(count=1000) if admin.ttl(key) == -1]
    return sorted(set(keys) - _STANDING)


def _gateways(who: str, gateway: Service) -> Lane:
    faults = [kill(gateway), dismiss(gateway), freeze(lambda: gateway.pid, (1, 2))]
    return Lane(who, faults, _PAUSES, lambda: {"port": gateway.port})


def _workers(who: str, worker: Worker) -> Lane:
    faults = [kill(worker), dismiss(worker), freeze(lambda: worker.pid, _BEYOND_THE_LEASE)]
    return Lane(who, faults, _PAUSES, lambda: {"jobs": worker.jobs()})


def _redis(redis: RedisServer) -> Lane:
    faults = [cut(redis), freeze(lambda: redis.process.pid, (3, 3)), restart(redis, _AWAY)]
    return Lane("redis", faults, _PAUSES)


def distributed(redis: RedisServer, postgres: PostgresServer) -> Opened:
    """Over stores that are empty, nobody else's, and keep what they have when they are killed."""

    @asynccontextmanager
    async def opened(folder: Path, model: ChaosModel) -> AsyncIterator[Distributed]:
        async with clustered(folder, model, redis, postgres, workers=2, **SETTINGS) as cluster:
            await cluster.whole()
            yield Distributed(cluster, model)

    return opened
