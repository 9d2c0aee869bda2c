"""Both queues do what `application.scheduling` says, whatever happens in whatever order.

The model keeps a list of jobs and asks the policy; each queue is asked the same, and compared.
"""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import islice
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sluice.application.scheduling import (
    Bounds,
    Scheduled,
    State,
    WhenBusy,
    admit,
    next_to_run,
    refused,
)
from sluice.domain.chat import Job, now
from sluice.domain.errors import Conflict, LimitReached
from sluice.infrastructure.jobs.inline.queue import InlineJobQueue
from sluice.infrastructure.jobs.redis.scheduler import Claimed, Held, RedisScheduler
from sluice.infrastructure.redis.client import RedisClient
from tests.doubles import a_job
from tests.queue_bench import RecordingRuns

A_DAY = timedelta(days=1)
LEASE_S = 6
LAPSE_S = LEASE_S + 1
UNRECORDED = 5
"""So many lapses are more than the 30 s in which a job has to be recorded."""

Step = tuple[str, int]
"""An operation, and which of the things that it can be done to."""


def steps(*operations: str) -> st.SearchStrategy[list[Step]]:
    """Enough of them for a queue to fill up."""
    operation = st.tuples(st.sampled_from(operations), st.integers(0, 11))
    return st.lists(operation, min_size=40, max_size=80)


BOUNDS = st.builds(
    Bounds,
    running=st.integers(0, 4),
    queued=st.integers(0, 6),
    user_running=st.sampled_from([None, 1, 2]),
    user_queued=st.sampled_from([None, 0, 1, 2]),
)
WHEN_BUSY: st.SearchStrategy[WhenBusy] = st.sampled_from(["enqueue", "reject", "interrupt"])


@dataclass(eq=False, slots=True)
class Known(Scheduled):
    """What a queue knows of a job beside what the policy asks."""

    reason: str | None = None
    claim: str | None = None
    returns: int = 0
    lapses: int = 0
    woken: bool = False


@dataclass
class Model:
    bounds: Bounds
    when_busy: WhenBusy
    jobs: list[Known] = field(default_factory=list)

    def fill_slots(self) -> None:
        while one := next_to_run(self.jobs, self.bounds):
            one.state = "running"

    def admit(self, job: Job) -> str:
        self.fill_slots()
        try:
            state = admit(self.jobs, job, self.bounds, self.when_busy)
        except Conflict:
            return "conflict"
        except LimitReached as busy:
            return "user" if busy.per_user else "busy"
        for other in [one for one in self.jobs if one.job.chat_id == job.chat_id]:
            if self.when_busy == "interrupt":
                self.cancel(other, "user")
        self.jobs.append(Known(job, state))
        return "taken"

    def record(self, one: Known) -> None:
        one.recorded = True
        self.end_if_cancelled(one)

    def cancel(self, one: Known, reason: str) -> None:
        one.reason = one.reason or reason
        self.end_if_cancelled(one)

    def end_if_cancelled(self, one: Known) -> None:
        if one.reason and one.recorded and one.claim is None:
            one.state = "ending"

    def claim(self, claim: str, slots: int, ends: int) -> list[Claimed]:
        self.fill_slots()
        free = [one for one in self.jobs if one.recorded and one.claim is None]
        due = (one for one in free if one.state == "running")
        ending = (one for one in free if one.state == "ending")
        claimed = [*islice(due, slots), *islice(ending, ends)]
        for one in claimed:
            one.claim = claim
        return [Claimed(one.job.id, one.reason, one.returns) for one in claimed]  # type: ignore[arg-type]

    def release(self, one: Known, *, returned: bool) -> None:
        one.claim = None
        one.returns += returned
        self.end_if_cancelled(one)

    def pause(self, one: Known) -> None:
        one.claim, one.state = None, "paused"
        if one.reason:
            one.state = "ending"
        elif one.woken:
            self.wake(one)

    def wake(self, one: Known) -> None:
        one.woken = one.state != "paused"
        if not one.woken:
            one.state = "waiting"

    def lapse(self) -> None:
        for one in self.jobs:
            one.lapses += 1
            if one.claim is not None:
                self.release(one, returned=False)
            if not one.recorded and one.lapses == UNRECORDED:
                self.abandon(one)

    def abandon(self, one: Known) -> None:
        one.reason = one.reason or "shutdown"
        self.record(one)

    def count(self, state: str) -> int:
        return sum(one.state == state for one in self.jobs)


def asked(number: int, which: int) -> Job:
    """A user with two chats, or one of two others."""
    user = f"user-{which % 3}"
    return a_job(id=f"job-{number}", user=user, chat_id=f"{user}-{which % 2}")


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


def jobs_of(*users: str) -> list[Scheduled]:
    """Recorded, each in a chat of its own."""
    return [
        Scheduled(a_job(user=user, chat_id=f"{user}-{n}"), "waiting", recorded=True)
        for n, user in enumerate(users)
    ]


def order(jobs: list[Scheduled], bounds: Bounds) -> list[str]:
    """Whose job runs next, if each runs for longer than that."""
    users = []
    while one := next_to_run(jobs, bounds):
        one.state = "running"
        users.append(one.job.user)
    return users


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        (Bounds(running=4, user_running=None), ["ann", "bob", "eve", "ann"]),
        (Bounds(running=9, user_running=1), ["ann", "bob", "eve"]),
        (Bounds(running=0), []),
    ],
)
def test_whoever_has_the_fewest_running_is_next_then_who_has_waited_longest(
    bounds: Bounds, expected: list[str]
) -> None:
    assert order(jobs_of("ann", "ann", "ann", "bob", "eve"), bounds) == expected


def test_only_a_chats_first_job_can_be_next_also_while_it_is_recorded() -> None:
    first, second = (Scheduled(a_job(), "waiting", recorded=True) for _ in range(2))
    assert next_to_run([first, second], Bounds()) is first
    first.recorded = False
    assert next_to_run([first, second], Bounds()) is None
    first.state = "ending"
    assert next_to_run([first, second], Bounds()) is None


def known(job: Job, state: State) -> Scheduled:
    return Scheduled(job, state, recorded=True)


ANN, ANNS_OTHER, BOB = (
    a_job(user=user, chat_id=chat) for user, chat in (("ann", "a"), ("ann", "b"), ("bob", "c"))
)
FULL = Bounds(running=1, queued=1, user_running=1, user_queued=1)


@pytest.mark.parametrize(
    ("jobs", "bounds", "when_busy", "expected"),
    [
        ([], Bounds(), "enqueue", "running"),
        ([], Bounds(running=0), "enqueue", "waiting"),
        ([(BOB, "running")], Bounds(running=1), "enqueue", "waiting"),
        ([(BOB, "running")], Bounds(running=2), "enqueue", "running"),
        ([(BOB, "waiting")], Bounds(running=1), "enqueue", "running"),
        # A user's own running jobs count, and no other's.
        ([(ANNS_OTHER, "running")], Bounds(user_running=1), "enqueue", "waiting"),
        ([(BOB, "running")], Bounds(user_running=1), "enqueue", "running"),
        ([(ANNS_OTHER, "running")] * 9, Bounds(user_running=None), "enqueue", "running"),
        # Whoever is in the chat is waited for, or refused.
        ([(ANN, "running")], Bounds(), "enqueue", "waiting"),
        ([(ANN, "ending")], Bounds(), "interrupt", "waiting"),
        ([(ANN, "waiting")], Bounds(), "reject", "conflict"),
        ([(ANN, "ending")], Bounds(), "reject", "conflict"),
        ([(BOB, "running")], Bounds(), "reject", "running"),
        ([(ANN, "running"), (BOB, "waiting")], FULL, "reject", "conflict"),
        # Those who wait count, of all and of the user, and neither who runs nor who ends.
        ([(BOB, "running"), (BOB, "waiting")], FULL, "enqueue", "busy"),
        ([(BOB, "running"), (BOB, "ending")], FULL, "enqueue", "waiting"),
        ([(BOB, "waiting")], Bounds(running=0, queued=2), "enqueue", "waiting"),
        ([(ANNS_OTHER, "waiting")], Bounds(running=0, user_queued=1), "enqueue", "user"),
        ([(ANNS_OTHER, "waiting")] * 2, Bounds(running=0, user_queued=1), "enqueue", "user"),
        ([(ANNS_OTHER, "waiting")], Bounds(running=0, user_queued=2), "enqueue", "waiting"),
        ([(BOB, "waiting")], Bounds(running=0, user_queued=1), "enqueue", "waiting"),
        ([(ANNS_OTHER, "waiting")] * 9, Bounds(running=0, user_queued=None), "enqueue", "waiting"),
    ],
)
def test_who_is_admitted_or_refused(
    jobs: list[tuple[Job, State]], bounds: Bounds, when_busy: WhenBusy, expected: str
) -> None:
    present = [known(*one) for one in jobs]
    job = a_job(user="ann", chat_id="a")
    if expected in ("waiting", "running"):
        assert admit(present, job, bounds, when_busy) == expected
        return
    with pytest.raises((Conflict, LimitReached)) as refusal:
        admit(present, job, bounds, when_busy)
    error = refusal.value
    told = ("user" if error.per_user else "busy") if isinstance(error, LimitReached) else "conflict"
    assert told == expected


@pytest.mark.parametrize(
    ("why", "text", "per_user"),
    [
        ("busy", "the service is busy", False),
        ("user", "too many questions are waiting", True),
    ],
)
def test_who_is_refused_for_want_of_room_is_told_why_and_to_come_back_in_five_seconds(
    why: Literal["busy", "user"], text: str, per_user: bool
) -> None:
    error = refused(why)
    assert isinstance(error, LimitReached)
    assert (str(error), error.per_user, error.retry_after) == (text, per_user, 5)


def test_who_is_refused_by_a_busy_chat_is_told_why() -> None:
    error = refused("conflict")
    assert isinstance(error, Conflict)
    assert str(error) == "the chat's last question is still being answered"
