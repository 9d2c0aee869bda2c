"""What a worker makes of a job that another one has by now, or that a zombie had a hand in."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest

from sluice.application.ports import Stop
from sluice.domain.chat import Job
from sluice.domain.errors import Superseded, Unavailable
from sluice.domain.events import QUEUED
from sluice.infrastructure.event_log.memory import MemoryEventLog
from sluice.infrastructure.jobs.redis import worker
from sluice.infrastructure.jobs.redis.scheduler import RedisScheduler
from sluice.infrastructure.jobs.redis.worker import LEASE_S, JobWorker
from sluice.infrastructure.redis.client import RedisClient, Word
from tests.cluster.conftest import BOUNDS, claimed, submitted
from tests.doubles import a_job
from tests.waiting import until


class WatchedScheduler(RedisScheduler):
    """`before` is called with each operation's name before Redis is asked."""

    before: Callable[[str], None] = staticmethod(lambda _: None)

    async def _do(self, operation: str, *arguments: Word) -> object:
        self.before(operation)
        return await super()._do(operation, *arguments)


@dataclass
class Bench:
    """A worker; `error` is how its runs end, `gate` what they wait for."""

    scheduler: RedisScheduler
    own: WatchedScheduler
    begun: list[tuple[str, int | None, int]] = field(default_factory=list)
    ends: list[str | None] = field(default_factory=list)
    error: Exception | None = None
    gate: asyncio.Event | None = None
    log: MemoryEventLog = field(default_factory=MemoryEventLog)

    def __post_init__(self) -> None:
        self.worker = JobWorker(self.own, self.log, self._run, BOUNDS)
        self.job = a_job()

    async def submit(self) -> None:
        await self.log.create(self.job, QUEUED)
        await submitted(self.scheduler, self.job)

    async def idle(self) -> None:
        await until(lambda: not self.worker.running)

    async def holder(self) -> str:
        """The claim that holds the job."""
        found = await self.scheduler._server.ask(
            "HGET", f"sluice:{{jobs}}:job:{self.job.id}", "fence"
        )
        return "" if found is None else str(found.decode())

    async def lapse(self) -> None:
        """The worker's lease, which another one's heartbeat finds; that one claims the job."""
        await self.passes(60)
        await self.scheduler.beat("other", 2, 60, [])
        assert [each.job_id for each in await claimed(self.scheduler, "other")] == [self.job.id]

    async def passes(self, seconds: int) -> None:
        """On the scheduler's clock."""
        await self.scheduler._server.ask("HINCRBY", "sluice:{jobs}:clock", "ms", seconds * 1000)

    async def _run(self, job: Job, stop: Stop, after: int | None = None, returns: int = 0) -> None:
        self.begun.append((job.id, after, returns))
        try:
            await self.log.begin(job.id, after=after)
            if self.gate is not None:
                await self.gate.wait()
            if self.error is not None:
                raise self.error
        except asyncio.CancelledError:
            if stop() is None:
                raise
        self.ends.append(stop())


@pytest.fixture
async def bench(scheduler: RedisScheduler, redis_url: str) -> AsyncIterator[Bench]:
    await scheduler.gone("worker")
    server = RedisClient.at(redis_url)
    bench = Bench(scheduler, WatchedScheduler(server))
    running = asyncio.create_task(bench.worker.run())
    yield bench
    await bench.worker.drain(0)
    await asyncio.wait([running])
    await server.aclose()


async def test_an_attempt_is_begun_after_those_that_had_begun_and_the_job_is_finished(
    bench: Bench,
) -> None:
    await bench.submit()
    await until(lambda: bench.ends == [None])
    await bench.idle()
    assert bench.begun == [(bench.job.id, 0, 0)]
    assert (await bench.scheduler.count())[1:] == (0, 0, 0, 0)


@pytest.mark.parametrize("lost", [False, True])
async def test_who_has_slept_asks_whether_the_job_is_still_his_before_an_attempt_begins(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    attempts, looking, go_on = bench.log.attempts, asyncio.Event(), asyncio.Event()

    async def slowly(job_id: str) -> int:
        looking.set()
        await go_on.wait()
        return await attempts(job_id)

    monkeypatch.setattr(bench.log, "attempts", slowly)
    await bench.submit()
    await looking.wait()
    (lease,) = bench.worker._leases
    if lost:
        await bench.lapse()
    lease.lost.clear()  # a heartbeat may have told already
    lease.renewed -= 60
    go_on.set()
    await until(lambda: lease.run.done())
    assert lease.lost.is_set() is lost
    assert [after for _, after, _ in bench.begun] == ([] if lost else [0])


@pytest.mark.parametrize("emptied", [False, True])
async def test_a_run_whose_lease_is_lost_goes_on_if_the_job_is_lost_too(
    bench: Bench, emptied: bool
) -> None:
    """Nobody else has it then, and nobody else would write its end."""
    bench.gate = asyncio.Event()
    await bench.submit()
    await until(lambda: bench.begun)
    if emptied:
        await bench.log.delete(bench.job.chat_id)
    await bench.lapse()
    (lease,) = bench.worker._leases
    await lease.lost.wait()
    if emptied:
        await asyncio.wait([lease.run], timeout=0.2)
        assert not lease.run.done()
        bench.gate.set()
    await bench.idle()
    assert bench.ends == ([None] if emptied else [])
    assert await bench.holder() == "other"


async def test_a_job_whose_run_a_zombie_has_superseded_is_claimed_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_RETRY_S", 0)
    bench.error = Superseded()
    await bench.submit()
    await until(lambda: len(bench.begun) >= 2)
    bench.error = None
    await until(lambda: bench.ends)


async def test_a_job_that_crashes_is_not_claimed_again_at_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would crash hundreds of times in a second."""
    monkeypatch.setattr(worker, "_RETRY_S", 60)
    bench.error = TypeError()
    await bench.submit()
    await until(lambda: bench.begun)
    (lease,) = bench.worker._leases
    await asyncio.wait([lease.run])
    await asyncio.wait([bench.worker._leases[lease]], timeout=0.2)
    assert len(bench.begun) == 1
    assert await bench.holder() == lease.held.fence
    bench.worker._leases[lease].cancel()


async def test_a_cancelled_run_is_stopped_once_however_often_it_is_said(bench: Bench) -> None:
    """Heartbeats repeat it, also while the run writes its end."""
    bench.gate = asyncio.Event()
    await bench.submit()
    await until(lambda: bench.begun)
    (lease,) = bench.worker._leases
    stopped = 0

    def count() -> None:
        nonlocal stopped
        stopped += 1

    lease.stop = count  # type: ignore[method-assign]
    await bench.scheduler.cancel(bench.job.id, "user")
    await until(lambda: stopped)
    for _ in range(3):
        await bench.worker._beat()
    assert stopped == 1
    lease.run.cancel()
    await until(lambda: bench.ends == ["user"])


@pytest.mark.parametrize("begun", [False, True])
async def test_an_attempt_that_a_leaving_worker_hands_back_does_not_count(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    bench.gate = asyncio.Event()
    if not begun:
        monkeypatch.setattr(bench.log, "job", lambda _: asyncio.Event().wait())
    await bench.submit()
    await until(lambda: bench.begun if begun else bench.worker.running)
    await bench.worker.drain(0)
    await bench.scheduler.beat("other", 2, 60, [])
    assert await claimed(bench.scheduler, "other") == [(bench.job.id, None, int(begun))]


async def test_a_claim_whose_answer_is_lost_is_asked_for_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the job would wait for its lease to lapse."""
    monkeypatch.setattr(worker, "_RETRY_S", 0)
    claim, lost = bench.own.claim, 0

    async def losing(*given: object, **named: object) -> object:
        nonlocal lost
        found = await claim(*given, **named)  # type: ignore[arg-type]
        if found and not lost:
            lost += 1
            raise Unavailable
        return found

    monkeypatch.setattr(bench.own, "claim", losing)
    await bench.submit()
    await until(lambda: bench.ends == [None])
    assert (lost, len(bench.begun)) == (1, 1)


async def test_a_lease_is_renewed_while_its_job_runs(bench: Bench) -> None:
    bench.gate = asyncio.Event()
    await bench.submit()
    await until(lambda: bench.begun)
    for _ in range(3):
        await bench.passes(LEASE_S - 1)
        await bench.worker._beat()
    (lease,) = bench.worker._leases
    assert await bench.holder() == lease.held.fence
    bench.gate.set()
    await until(lambda: bench.ends == [None])


async def test_more_jobs_than_slots_run_one_after_the_other(bench: Bench) -> None:
    jobs = [a_job(user=f"user-{n}", chat_id=f"chat-{n}") for n in range(3 * BOUNDS.running)]
    for job in jobs:
        await bench.log.create(job, QUEUED)
        await submitted(bench.scheduler, job)
    await until(lambda: len(bench.ends) == len(jobs))


async def test_a_queue_that_cannot_be_reached_is_told_once_and_once_more_when_it_is(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker, "_BEAT_S", 0)
    asked = 0

    def beats(operation: str) -> None:
        nonlocal asked
        asked += operation == "beat"
        if operation == "beat" and asked <= 3:
            raise Unavailable("Redis cannot be reached")

    bench.own.before = beats
    await until(lambda: asked > 4)
    told = [record.getMessage().partition(": ")[0] for record in caplog.records]
    assert told == ["the queue cannot be reached", "the queue is reached again"]
