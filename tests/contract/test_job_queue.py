"""What every queue promises: bounds kept, one job at a time in a chat, all of them cancellable."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from sluice.application.ports import JobQueuePort
from sluice.application.scheduling import Bounds, WhenBusy
from sluice.domain.chat import Job
from sluice.domain.errors import Conflict, LimitReached, NotFound, Unavailable
from sluice.domain.events import QUEUED
from sluice.infrastructure.event_log.memory import MemoryEventLog
from sluice.infrastructure.jobs.inline.queue import InlineJobQueue
from sluice.infrastructure.jobs.redis.queue import RedisJobQueue
from sluice.infrastructure.jobs.redis.scheduler import RedisScheduler
from sluice.infrastructure.jobs.redis.worker import JobWorker
from sluice.infrastructure.redis.client import RedisClient
from tests.doubles import a_job
from tests.queue_bench import RecordingRuns
from tests.waiting import until


class Bench:
    """A queue and what it runs. Jobs are recorded in a log: workers look them up there."""

    def __init__(self, queue: JobQueuePort, runs: RecordingRuns, log: MemoryEventLog) -> None:
        self.queue, self.runs, self.log = queue, runs, log

    async def submit(self, *jobs: Job) -> None:
        for job in jobs:
            await self.queue.submit(job, lambda job=job: self.log.create(job, QUEUED))  # type: ignore[misc]

    async def finish(self, *jobs: Job) -> None:
        await self.runs.finish(*jobs)

    async def pause(self, job: Job, seconds: float = 86400) -> None:
        """It comes to wait for a human for so long."""
        self.runs.pause(job.id, seconds)
        await until(lambda: not self.runs.is_pausing(job.id))

    async def active(self, *jobs: Job) -> None:
        """Those jobs, and no others, come to run."""
        await until(lambda: set(self.runs.active) == {job.id for job in jobs})


BenchOf = Callable[..., Awaitable[Bench]]


@pytest.fixture(params=["inline", "redis"])
async def bench_of(request: pytest.FixtureRequest) -> AsyncIterator[BenchOf]:
    async with AsyncExitStack() as stack:

        async def made(bounds: Bounds | None = None, when_busy: WhenBusy = "enqueue") -> Bench:
            log, runs = MemoryEventLog(), RecordingRuns()
            bounds = bounds or Bounds()
            if request.param == "inline":
                inline = InlineJobQueue(runs, bounds, when_busy=when_busy)
                stack.push_async_callback(inline.drain, 0)
                return Bench(inline, runs, log)
            url = request.getfixturevalue("redis_url")
            queue = await distributed(stack, url, log, runs, bounds, when_busy)
            return Bench(queue, runs, log)

        yield made


async def distributed(
    stack: AsyncExitStack,
    url: str,
    log: MemoryEventLog,
    runs: RecordingRuns,
    bounds: Bounds,
    when_busy: WhenBusy,
) -> RedisJobQueue:
    """A gateway and a worker, each with connections of its own."""
    servers = [RedisClient.at(url), RedisClient.at(url)]
    for server in servers:
        stack.push_async_callback(server.aclose)
    queue = RedisJobQueue(RedisScheduler(servers[0]), bounds, when_busy=when_busy)
    worker = JobWorker(RedisScheduler(servers[1]), log, runs, bounds)
    running = asyncio.create_task(worker.run())
    stack.push_async_callback(asyncio.wait, [running])
    stack.push_async_callback(worker.drain, 0)
    async with asyncio.timeout(10):
        while True:
            try:
                await queue.check()
            except Unavailable:
                await asyncio.sleep(0.01)
            else:
                return queue


def a_user_each(count: int) -> list[Job]:
    return [a_job(id=f"job-{n}", chat_id=f"chat-{n}", user=f"user-{n}") for n in range(count)]


def a_chat_each(count: int, user: str = "ann") -> list[Job]:
    return [a_job(id=f"{user}-{n}", chat_id=f"{user}-{n}", user=user) for n in range(count)]


async def test_beyond_the_running_jobs_the_others_wait_and_the_oldest_goes_first(
    bench_of: BenchOf,
) -> None:
    bench = await bench_of(Bounds(running=2))
    jobs = a_user_each(5)
    await bench.submit(*jobs)
    await bench.active(*jobs[:2])
    await bench.finish(jobs[1])
    await bench.active(jobs[0], jobs[2])
    await bench.finish(jobs[0], jobs[2])
    await bench.active(*jobs[3:])


async def test_beyond_the_services_queue_it_is_busy(bench_of: BenchOf) -> None:
    bench = await bench_of(Bounds(running=1, queued=2))
    *fitting, beyond = a_user_each(4)
    await bench.submit(*fitting)
    await bench.active(fitting[0])
    with pytest.raises(LimitReached) as busy:
        await bench.submit(beyond)
    assert not busy.value.per_user
    await bench.finish(fitting[0])
    await bench.active(fitting[1])
    await bench.submit(beyond)


async def test_a_users_bounds_are_that_users_only(bench_of: BenchOf) -> None:
    bench = await bench_of(Bounds(user_running=1, user_queued=1))
    first, second, third = a_chat_each(3)
    await bench.submit(first, second)
    with pytest.raises(LimitReached) as busy:
        await bench.submit(third)
    assert busy.value.per_user
    (other,) = a_chat_each(1, user="bob")
    await bench.submit(other)
    await bench.active(first, other)
    await bench.finish(first)
    await bench.active(second, other)


async def test_users_without_bounds_have_none(bench_of: BenchOf) -> None:
    bench = await bench_of(Bounds(user_running=None, user_queued=None))
    jobs = a_chat_each(20)
    await bench.submit(*jobs)
    await bench.active(*jobs)


async def test_questions_of_one_chat_are_answered_one_after_the_other(bench_of: BenchOf) -> None:
    bench = await bench_of()
    jobs = [a_job() for _ in range(3)]
    await bench.submit(*jobs)
    for job in jobs:
        await bench.active(job)
        await bench.finish(job)


async def test_a_busy_chat_may_refuse(bench_of: BenchOf) -> None:
    bench = await bench_of(when_busy="reject")
    first, second = a_job(), a_job()
    await bench.submit(first)
    with pytest.raises(Conflict):
        await bench.submit(second)
    await bench.active(first)
    await bench.finish(first)
    async with asyncio.timeout(5):
        while second.id not in bench.runs.active:
            try:
                await bench.submit(second)
            except Conflict:
                await asyncio.sleep(0.005)
            else:
                await bench.active(second)


async def test_a_busy_chat_may_be_interrupted(bench_of: BenchOf) -> None:
    bench = await bench_of(when_busy="interrupt")
    first, second = a_job(), a_job()
    await bench.submit(first)
    await bench.active(first)
    await bench.submit(second)
    await bench.active(second)
    assert bench.runs.ends == {first.id: "user"}


async def test_a_running_job_is_cancelled_with_its_reason(bench_of: BenchOf) -> None:
    bench = await bench_of()
    await bench.submit(job := a_job())
    await bench.active(job)
    await bench.queue.cancel(job.id, "orphaned")
    await bench.queue.cancel(job.id, "user")
    await until(lambda: bench.runs.ends == {job.id: "orphaned"})


async def test_a_waiting_job_is_cancelled_though_nothing_is_free(bench_of: BenchOf) -> None:
    bench = await bench_of(Bounds(running=1))
    first, second, third = a_user_each(3)
    await bench.submit(first, second, third)
    await bench.active(first)
    await bench.queue.cancel(second.id, "user")
    await until(lambda: bench.runs.ends == {second.id: "user"})
    await bench.active(first)
    await bench.finish(first)
    await bench.active(third)


async def test_a_job_cancelled_while_it_is_recorded_ends_as_cancelled(bench_of: BenchOf) -> None:
    bench = await bench_of()
    job = a_job()

    async def record() -> None:
        await bench.queue.cancel(job.id, "user")
        await bench.log.create(job, QUEUED)

    await bench.queue.submit(job, record)
    await until(lambda: bench.runs.ends == {job.id: "user"})


async def test_cancelling_or_waking_what_is_not_there_is_no_error(bench_of: BenchOf) -> None:
    bench = await bench_of()
    await bench.queue.cancel("nowhere", "user")
    await bench.queue.wake("nowhere")


async def test_a_paused_job_has_no_slot_and_goes_on_behind_what_took_it(bench_of: BenchOf) -> None:
    bench = await bench_of(Bounds(running=1))
    first, second, third = a_user_each(3)
    await bench.submit(first, second, third)
    await bench.active(first)
    await bench.pause(first)
    await bench.active(second)
    await bench.queue.wake(first.id)
    await bench.queue.wake(first.id)
    await bench.active(second)
    await bench.finish(second)
    await bench.active(first)
    await bench.finish(first)
    await bench.active(third)


async def test_a_paused_job_keeps_its_chats_place(bench_of: BenchOf) -> None:
    bench = await bench_of()
    first, second, other = a_job(), a_job(), *a_user_each(1)
    await bench.submit(first, second, other)
    await bench.active(first, other)
    await bench.pause(first)
    await bench.active(other)
    await bench.queue.wake(first.id)
    await bench.active(first, other)
    await bench.finish(first)
    await bench.active(second, other)


async def test_a_job_that_is_woken_before_it_has_paused_goes_on_at_once(bench_of: BenchOf) -> None:
    bench = await bench_of()
    await bench.submit(job := a_job())
    await bench.active(job)
    await bench.queue.wake(job.id)
    await bench.pause(job)
    await bench.active(job)


async def test_a_paused_job_is_cancelled_though_nothing_is_free(bench_of: BenchOf) -> None:
    bench = await bench_of(Bounds(running=1))
    first, second = a_user_each(2)
    await bench.submit(first, second)
    await bench.active(first)
    await bench.pause(first)
    await bench.active(second)
    await bench.queue.cancel(first.id, "user")
    await until(lambda: bench.runs.ends == {first.id: "user"})
    await bench.active(second)


async def test_a_job_whose_time_to_wait_is_over_is_looked_at(bench_of: BenchOf) -> None:
    bench = await bench_of()
    await bench.submit(job := a_job())
    await bench.active(job)
    await bench.pause(job, seconds=0.05)
    await bench.active(job)


async def test_a_record_that_fails_is_undone_and_gives_the_place_back(bench_of: BenchOf) -> None:
    bench = await bench_of(Bounds(running=1, queued=1, user_running=1, user_queued=1))
    undone = []

    async def fails() -> None:
        raise NotFound

    async def undo() -> None:
        undone.append("it")

    for _ in range(3):
        with pytest.raises(NotFound):
            await bench.queue.submit(a_job(), fails, undo)
    assert undone == ["it"] * 3
    await bench.submit(job := a_job())
    await bench.active(job)


async def test_equal_submissions_at_once_take_one_place_and_run_once(bench_of: BenchOf) -> None:
    bench = await bench_of(Bounds(user_running=1, user_queued=1))
    job = a_job()
    await asyncio.gather(*(bench.submit(job) for _ in range(10)))
    await bench.active(job)
    assert bench.runs.started == [job.id]


async def test_a_client_that_leaves_while_its_job_is_recorded_stops_nothing(
    bench_of: BenchOf,
) -> None:
    bench = await bench_of()
    job, recording, go_on = a_job(), asyncio.Event(), asyncio.Event()

    async def record() -> None:
        recording.set()
        await go_on.wait()
        await bench.log.create(job, QUEUED)

    submitting = asyncio.create_task(bench.queue.submit(job, record))
    await recording.wait()
    submitting.cancel()
    await asyncio.wait([submitting])
    go_on.set()
    await bench.active(job)
