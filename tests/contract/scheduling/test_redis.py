"""The scheduler in Redis does what the model does, whatever happens in whatever order."""

import asyncio
from dataclasses import dataclass, replace

from hypothesis import HealthCheck, given, settings

from sluice.application.scheduling import (
    Bounds,
    WhenBusy,
)
from sluice.domain.chat import now
from sluice.infrastructure.jobs.redis.scheduler import Held, RedisScheduler
from sluice.infrastructure.redis.client import RedisClient
from tests.contract.scheduling.model import (
    A_DAY,
    BOUNDS,
    LAPSE_S,
    LEASE_S,
    WHEN_BUSY,
    Known,
    Model,
    Step,
    asked,
    steps,
)


@dataclass
class RedisPlay:
    """The same to the scheduler in Redis, operation by operation."""

    model: Model
    server: RedisClient
    number: int = 0

    def __post_init__(self) -> None:
        self.scheduler = RedisScheduler(self.server)

    async def step(self, step: Step) -> None:
        self.number += 1
        await getattr(self, step[0])(step[1])
        count, model = await self.scheduler.count(), self.model
        assert count[1:] == tuple(map(model.count, ("running", "waiting", "ending", "paused")))

    def one(self, which: int, *, held: bool | None = None, recorded: bool = True) -> Known | None:
        found = [one for one in self.model.jobs if one.recorded == recorded]
        found = [one for one in found if held is None or (one.claim is not None) == held]
        return found[which % len(found)] if found else None

    async def admit(self, which: int) -> None:
        job = asked(self.number, which)
        told = await self.scheduler.admit(job, self.model.bounds, self.model.when_busy)
        assert told == self.model.admit(job)

    async def ready(self, which: int) -> None:
        if one := self.one(which, recorded=False):
            assert await self.scheduler.ready(one.job.id)
            self.model.record(one)

    async def abandon(self, which: int) -> None:
        if one := self.one(which, recorded=False):
            assert await self.scheduler.abandon(one.job.id)
            self.model.abandon(one)

    async def cancel(self, which: int) -> None:
        if self.model.jobs:
            one = self.model.jobs[which % len(self.model.jobs)]
            await self.scheduler.cancel(one.job.id, "user")
            self.model.cancel(one, "user")

    async def claim(self, which: int) -> None:
        slots, ends, claim = which % 4, which % 3, f"claim-{self.number}."
        claimed = await self.scheduler.claim(
            "w", claim, slots=slots, ends=ends, bounds=self.model.bounds, lease_s=LEASE_S
        )
        assert claimed == self.model.claim(claim, slots, ends)

    async def finish(self, which: int) -> None:
        if one := self.one(which, held=True):
            await self.scheduler.finish(Held(one.job.id, one.claim or ""))
            self.model.jobs.remove(one)

    async def release(self, which: int) -> None:
        if one := self.one(which, held=True):
            returned = bool(which % 2)
            await self.scheduler.release(Held(one.job.id, one.claim or ""), returned=returned)
            self.model.release(one, returned=returned)

    async def pause(self, which: int) -> None:
        if one := self.one(which, held=True):
            await self.scheduler.pause(Held(one.job.id, one.claim or ""), now() + A_DAY)
            self.model.pause(one)

    async def wake(self, which: int) -> None:
        if self.model.jobs:
            one = self.model.jobs[which % len(self.model.jobs)]
            await self.scheduler.wake(one.job.id)
            self.model.wake(one)

    async def grow(self, which: int) -> None:
        """Or shrink: workers come and go."""
        self.model.bounds = replace(self.model.bounds, running=which % 5)
        await self.beat()

    async def beat(self) -> None:
        await self.scheduler.beat("w", self.model.bounds.running, 60, [])

    async def lapse(self, which: int) -> None:
        await self.server.ask("HINCRBY", "sluice:{jobs}:clock", "ms", LAPSE_S * 1000)
        await self.beat()
        self.model.lapse()


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    BOUNDS,
    WHEN_BUSY,
    steps(
        *("admit", "admit", "admit", "admit", "ready", "ready", "ready", "claim", "claim"),
        *("finish", "finish", "release", "cancel", "abandon", "grow", "lapse", "pause", "wake"),
    ),
)
def test_the_scheduler_in_redis_follows_the_policy(
    redis_server_url: str, bounds: Bounds, when_busy: WhenBusy, steps: list[Step]
) -> None:
    async def play() -> None:
        server = RedisClient.at(redis_server_url)
        try:
            await server.ask("FLUSHDB")
            play = RedisPlay(Model(bounds, when_busy), server)
            await play.beat()
            for step in steps:
                await play.step(step)
        finally:
            await server.aclose()

    asyncio.run(play())
