"""The queue of a gateway: it takes jobs, workers run them."""

import asyncio
from contextlib import suppress

from sluice.application.ports import Record, nothing
from sluice.application.scheduling import Bounds, WhenBusy, refused
from sluice.domain.chat import Job, JobId
from sluice.domain.errors import Abandoned, Conflict, LimitReached, Unavailable
from sluice.domain.events import CancelReason
from sluice.infrastructure.jobs.redis.scheduler import RedisScheduler

_DRAINS_WITHIN_S = 4
"""For what is being taken while a gateway leaves: it has five seconds in all."""


class RedisJobQueue:
    """`running` and `queued` are what all gateways together had when it was last looked."""

    def __init__(
        self, scheduler: RedisScheduler, bounds: Bounds, *, when_busy: WhenBusy = "enqueue"
    ) -> None:
        self._scheduler, self._bounds, self._when_busy = scheduler, bounds, when_busy
        self._recording: set[asyncio.Task[None]] = set()
        self._draining = False
        self.running = self.queued = 0

    async def submit(self, job: Job, record: Record, undo: Record = nothing) -> None:
        if self._draining:
            raise Unavailable("the service is shutting down")
        # A client that leaves while its job is being written does not stop that.
        recording = asyncio.create_task(self._take(job, record, undo))
        self._recording.add(recording)
        recording.add_done_callback(self._recorded)
        await asyncio.shield(recording)

    def _recorded(self, recording: asyncio.Task[None]) -> None:
        self._recording.discard(recording)
        if not recording.cancelled():
            recording.exception()  # seen, also when its client has left

    def runs_at_once(self, job_id: JobId) -> bool:
        return False  # a worker begins it

    async def cancel(self, job_id: JobId, reason: CancelReason) -> None:
        await self._scheduler.cancel(job_id, reason)

    async def wake(self, job_id: JobId, *, within: float = 0) -> None:
        await self._scheduler.wake(job_id, within)

    async def check(self) -> None:
        """Raises Unavailable when nobody would run a job."""
        counts = await self._scheduler.count()
        self.running, self.queued = counts.running, counts.waiting
        if not counts.workers:
            raise Unavailable("no worker is alive")

    async def drain(self) -> None:
        """Takes nothing new; what is being taken is taken, if Redis is there."""
        self._draining = True
        if self._recording:
            await asyncio.wait(self._recording, timeout=_DRAINS_WITHIN_S)

    async def _take(self, job: Job, record: Record, undo: Record) -> None:
        """Every step may be repeated, by whoever submits the same job at the same time."""
        admitted = False
        while not admitted:
            try:
                await self._admit(job)
                await record()
            except (LimitReached, Conflict, Abandoned):
                raise
            except Exception:
                if await self._abandon(job.id):
                    await undo()
                raise
            admitted = await self._ready(job.id)

    async def _abandon(self, job_id: JobId) -> bool:
        """False if it is not known to have come to nothing."""
        try:
            return await self._scheduler.abandon(job_id)
        except Unavailable:
            return False

    async def _ready(self, job_id: JobId) -> bool:
        """Asked twice: a Redis that froze may have obeyed, and says so when it is back."""
        with suppress(Unavailable):
            return await self._scheduler.ready(job_id)
        return await self._scheduler.ready(job_id)

    async def _admit(self, job: Job) -> None:
        match await self._scheduler.admit(job, self._bounds, self._when_busy):
            case "abandoned":
                raise Abandoned
            case "taken":
                return
            case refusal:
                raise refused(refusal)
