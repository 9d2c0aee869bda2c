"""The queue of this process, whatever comes between whatever: bounds hold, and everything ends."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.application.scheduling import Bounds
from sluice.domain.chat import Job
from sluice.domain.errors import LimitReached, Unavailable
from sluice.infrastructure.jobs.inline.queue import InlineJobQueue
from tests.doubles import a_job
from tests.queue_bench import RecordingRuns

BOUNDS = Bounds(running=3, queued=4, user_running=2, user_queued=2)

Verb = Literal["submit", "write", "fail", "leave", "cancel", "finish"]
VERB: st.SearchStrategy[Verb] = st.sampled_from(
    ["submit", "submit", "submit", "write", "write", "fail", "leave", "cancel", "finish"]
)
STEP = st.tuples(VERB, st.integers(0, 99), st.integers(0, 3))
"""What happens, to which of those it can happen to, and how often the loop turns after it."""


@dataclass(eq=False)
class Asked:
    """A job on its way in: `record` is what the store will do, `client` who waits for it."""

    job: Job
    record: "asyncio.Future[None]"
    client: "asyncio.Task[None]"


@dataclass
class Play:
    runs: RecordingRuns = field(default_factory=RecordingRuns)
    asked: list[Asked] = field(default_factory=list)
    cancelled: set[str] = field(default_factory=set)
    cancelling: list["asyncio.Task[None]"] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.queue = InlineJobQueue(self.runs, BOUNDS)

    async def step(self, verb: Verb, which: int) -> None:
        if verb == "submit":
            self.submit(which)
        elif verb in ("write", "fail", "leave"):
            if pending := [one for one in self.asked if not one.record.done()]:
                self.settle(verb, pending[which % len(pending)])
        elif verb == "finish" and self.runs.active:
            self.runs.gate(self.runs.active[which % len(self.runs.active)]).set()
        elif verb == "cancel" and self.asked:
            job = self.asked[which % len(self.asked)].job
            self.cancelled.add(job.id)
            self.cancelling.append(asyncio.create_task(self.queue.cancel(job.id, "user")))
            await asyncio.sleep(0)

    def submit(self, which: int) -> None:
        user = f"user-{which % 3}"
        job = a_job(user=user, chat_id=f"{user}-chat-{which % 4}")
        record: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def wait() -> None:
            await record

        client = asyncio.create_task(self.queue.submit(job, wait))
        self.asked.append(Asked(job, record, client))

    def settle(self, verb: Verb, one: Asked) -> None:
        if verb == "write":
            one.record.set_result(None)
        elif verb == "fail":
            one.record.set_exception(Unavailable("the store is down"))
        else:
            one.client.cancel()

    def check(self) -> None:
        """Cancelled jobs only write their end: no bound counts them."""
        jobs = {one.job.id: one.job for one in self.asked}
        active = [jobs[job_id] for job_id in self.runs.active if job_id not in self.cancelled]
        assert len(active) <= BOUNDS.running
        assert max(Counter(job.user for job in active).values(), default=0) <= 2
        assert max(Counter(job.chat_id for job in active).values(), default=0) <= 1
        assert len(self.runs.started) == len(set(self.runs.started))
        assert self.queue.running + self.queue.queued <= 7 + len(self.cancelled)

    async def end(self) -> None:
        for one in self.asked:
            if not one.record.done():
                one.record.set_result(None)
            self.runs.gate(one.job.id).set()
        for _ in range(50 * len(self.asked)):
            await asyncio.sleep(0)
        assert (self.queue.running, self.queue.queued) == (0, 0)
        await asyncio.gather(*self.cancelling)
        await asyncio.gather(*(one.client for one in self.asked), return_exceptions=True)
        for one in self.asked:
            refused = one.client.cancelled() or one.client.exception()
            if not refused:
                assert self.runs.ends[one.job.id] in ("done", "user")
            elif refused is not True:
                assert isinstance(refused, LimitReached | Unavailable)
                assert one.job.id not in self.runs.started


@settings(max_examples=4 * settings().max_examples)
@given(st.lists(STEP, min_size=10, max_size=60))
def test_bounds_hold_and_every_job_that_was_taken_ends_once(
    steps: list[tuple[Verb, int, int]],
) -> None:
    async def play() -> None:
        play = Play()
        for verb, which, turns in steps:
            await play.step(verb, which)
            for _ in range(turns):
                await asyncio.sleep(0)
            play.check()
        await play.end()

    asyncio.run(play())
