"""The queue of a gateway: it takes jobs, workers run them."""

import asyncio
from collections.abc import Awaitable, Callable

from domain.chat import Job, JobId
from domain.errors import Busy, Conflict, Unavailable
from domain.events import CancelReason
from infrastructure.jobs.places import Places
from infrastructure.jobs.shared import Bounds, WhenBusy


class StreaqJobQueue:
    """`running` and `queued` are what all gateways together had when it was last looked."""

    def __init__(self, places: Places, bounds: Bounds, *, when_busy: WhenBusy = "enqueue") -> None:
        self._places, self._bounds, self._when_busy = places, bounds, when_busy
        self._recording: set[asyncio.Task[None]] = set()
        self._draining = False
        self.running = self.queued = 0

    async def submit(self, job: Job, record: Callable[[], Awaitable[None]]) -> None:
        if self._draining:
            raise Unavailable("the service is shutting down")
        # A client that leaves while its job is being written does not stop that.
        recording = asyncio.create_task(self._take(job, record))
        self._recording.add(recording)
        recording.add_done_callback(self._recording.discard)
        await asyncio.shield(recording)

    async def cancel(self, job_id: JobId, reason: CancelReason) -> None:
        await self._places.cancel(job_id, reason)

    async def check(self) -> None:
        """Raises Unavailable when nobody would run a job."""
        alive, self.running, self.queued = await self._places.count()
        if not alive:
            raise Unavailable("no worker is alive")

    async def drain(self) -> None:
        """Takes nothing new; what is being taken is taken."""
        self._draining = True
        if self._recording:
            await asyncio.wait(self._recording)

    async def _take(self, job: Job, record: Callable[[], Awaitable[None]]) -> None:
        """Every step may be repeated, by whoever submits the same job at the same time."""
        admitted = False
        while not admitted:
            await self._admit(job)
            try:
                await record()
            except Unavailable:
                await self._places.abandon(job.id)
                raise
            except BaseException:
                await self._places.drop(job.id)
                raise
            admitted = await self._places.ready(job.id)

    async def _admit(self, job: Job) -> None:
        match await self._places.admit(job, self._bounds, self._when_busy):
            case "conflict":
                raise Conflict("the chat's last question is still being answered")
            case "busy":
                raise Busy("the service is busy", per_user=False, retry_after=5)
            case "user":
                raise Busy("too many questions are waiting", per_user=True, retry_after=5)
            case "taken":
                return
