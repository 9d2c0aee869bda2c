"""The embedded queue does what the model does, whatever happens in whatever order."""

import asyncio
from dataclasses import dataclass, field
from typing import Literal

from hypothesis import given, settings

from sluice.application.scheduling import (
    Bounds,
    WhenBusy,
)
from sluice.domain.errors import Conflict, LimitReached
from sluice.infrastructure.jobs.inline.queue import InlineJobQueue
from tests.contract.scheduling.model import BOUNDS, WHEN_BUSY, Model, Step, asked, steps
from tests.queue_bench import RecordingRuns


@dataclass
class InlinePlay:
    """The same to the embedded queue, which fills slots as soon as they are free."""

    model: Model
    runs: RecordingRuns = field(default_factory=RecordingRuns)
    records: "dict[str, asyncio.Future[None]]" = field(default_factory=dict)
    tasks: "list[asyncio.Task[None]]" = field(default_factory=list)
    number: int = 0

    def __post_init__(self) -> None:
        self.queue = InlineJobQueue(self.runs, self.model.bounds, when_busy=self.model.when_busy)

    async def step(self, step: Step) -> None:
        self.number += 1
        await getattr(self, step[0])(step[1])
        await self.settle()
        active = [one.job.id for one in self.model.jobs if one.recorded and one.state == "running"]
        assert sorted(self.runs.active) == sorted(active)

    async def settle(self) -> None:
        """A run that is cancelled ends at once."""
        for _ in range(20):
            await asyncio.sleep(0)
        over = [one for one in self.model.jobs if one.recorded and one.reason]
        for one in over:
            assert self.runs.ends[one.job.id] == one.reason
            self.model.jobs.remove(one)
        self.model.fill_slots()

    async def submit(self, which: int) -> None:
        job = asked(self.number, which)
        record = self.records[job.id] = asyncio.get_running_loop().create_future()

        async def written() -> None:
            await record

        submitting = asyncio.create_task(self.queue.submit(job, written))
        self.tasks.append(submitting)
        await asyncio.sleep(0)
        told: Literal["taken", "conflict", "busy", "user"] = "taken"
        if submitting.done():
            match submitting.exception():
                case Conflict():
                    told = "conflict"
                case LimitReached() as busy:
                    told = "user" if busy.per_user else "busy"
        assert told == self.model.admit(job)

    async def write(self, which: int) -> None:
        if found := [one for one in self.model.jobs if not one.recorded]:
            one = found[which % len(found)]
            self.records[one.job.id].set_result(None)
            self.model.record(one)

    async def finish(self, which: int) -> None:
        if active := self.runs.active:
            job_id = active[which % len(active)]
            self.runs.gate(job_id).set()
            self.model.jobs = [one for one in self.model.jobs if one.job.id != job_id]

    async def pause(self, which: int) -> None:
        if active := self.runs.active:
            job_id = active[which % len(active)]
            self.runs.pause(job_id)
            self.model.pause(next(one for one in self.model.jobs if one.job.id == job_id))

    async def wake(self, which: int) -> None:
        if self.model.jobs:
            one = self.model.jobs[which % len(self.model.jobs)]
            await self.queue.wake(one.job.id)
            self.model.wake(one)

    async def cancel(self, which: int) -> None:
        if self.model.jobs:
            one = self.model.jobs[which % len(self.model.jobs)]
            self.tasks.append(asyncio.create_task(self.queue.cancel(one.job.id, "user")))
            self.model.cancel(one, "user")

    async def end(self) -> None:
        for record in self.records.values():
            if not record.done():
                record.set_result(None)
        await self.queue.drain(0)
        await asyncio.gather(*self.tasks, return_exceptions=True)


@settings(max_examples=150)
@given(
    BOUNDS,
    WHEN_BUSY,
    steps(
        *("submit", "submit", "submit", "write", "write", "write"),
        "finish",
        "cancel",
        "pause",
        "wake",
    ),
)
def test_the_embedded_queue_follows_the_policy(
    bounds: Bounds, when_busy: WhenBusy, steps: list[Step]
) -> None:
    async def play() -> None:
        play = InlinePlay(Model(bounds, when_busy))
        try:
            for step in steps:
                await play.step(step)
        finally:
            await play.end()

    asyncio.run(play())
