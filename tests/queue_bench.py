"""What the tests of the queue share: runs that end when they are told, and a loop left clean."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from sluice.application.ports import Stop
from sluice.application.scheduling import Bounds
from sluice.domain.chat import Job, now
from sluice.infrastructure.jobs.inline.queue import InlineJobQueue
from tests.waiting import until


class RecordingRuns:
    """Runs that last until `finish` or `pause`; remembers who started, and how each ended.

    An end is `done`, the reason of a cancellation, or `handed back`.
    """

    def __init__(self) -> None:
        self.started: list[str] = []
        self.ends: dict[str, str] = {}
        self._gates: dict[str, asyncio.Event] = {}
        self._pausing: dict[str, float] = {}

    async def __call__(self, job: Job, stop: Stop, *_: int | None) -> datetime | None:
        self.started.append(job.id)
        try:
            if stop() is None:
                await self.gate(job.id).wait()
            if job.id in self._pausing and stop() is None:
                self.started.remove(job.id)
                del self._gates[job.id]
                return now() + timedelta(seconds=self._pausing.pop(job.id))
            self.ends[job.id] = stop() or "done"
        except asyncio.CancelledError:
            self.ends[job.id] = stop() or "handed back"
            if stop() is None:
                raise
        return None

    def pause(self, job_id: str, seconds: float = 86400) -> None:
        """It stops to wait for a human, for so long."""
        self._pausing[job_id] = seconds
        self.gate(job_id).set()

    def is_pausing(self, job_id: str) -> bool:
        return job_id in self._pausing

    def gate(self, job_id: str) -> asyncio.Event:
        return self._gates.setdefault(job_id, asyncio.Event())

    @property
    def active(self) -> list[str]:
        return [job_id for job_id in self.started if job_id not in self.ends]

    async def finish(self, *jobs: Job) -> None:
        for job in jobs:
            self.gate(job.id).set()
        await until(lambda: all(job.id in self.ends for job in jobs))
        await asyncio.sleep(0)


class Bench:
    """A queue with its runs."""

    def __init__(self, bounds: Bounds | None = None, **options: object) -> None:
        self.runs = RecordingRuns()
        self._jobs: list[Job] = []
        self.queue = InlineJobQueue(self.runs, bounds or Bounds(), **options)  # type: ignore[arg-type]

    async def submit(self, *jobs: Job, record: Callable[[], Awaitable[None]] | None = None) -> None:
        for job in jobs:
            self._jobs.append(job)
            await self.queue.submit(job, record or recorded)

    def take_up(self, *jobs: Job) -> None:
        self._jobs += jobs
        self.queue.take_up(jobs)

    async def emptied(self) -> None:
        """Ends everything; nothing runs or waits any more, though drained before."""
        for job in self._jobs:
            await self.queue.cancel(job.id, "user")
        await until(lambda: not self.queue.running and not self.queue.queued)


Benches = Callable[..., Bench]


async def recorded() -> None:
    """A store that takes its time."""
    await asyncio.sleep(0)
